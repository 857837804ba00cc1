"""The answers in the page: verdict, question, answer, and the rows that it rests on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from indexscope.analysis.answers.question import NOT_TESTABLE, SUPPORTED


@dataclass(frozen=True)
class Shown:
    """One question; texts are HTML."""

    name: str
    verdict: str
    style: str  # CSS class of the verdict
    text: Markup
    claim: Markup
    experiment: Markup
    answer: Markup
    evidence: Sequence[Markup]
    remedy: Markup | None


@dataclass(frozen=True)
class Answers:
    by_asker: Sequence[tuple[str, Sequence[Shown]]]  # in the order of the rows
    summary: str

    def __bool__(self) -> bool:
        return bool(self.by_asker)


def shown(rows: Sequence[Mapping[str, Any]]) -> Answers:
    """Rows of the table answers for the page."""
    by_asker: dict[str, list[Shown]] = {}
    for row in rows:
        by_asker.setdefault(f"Asked by {row['asked_by']}", []).append(_shown(row))
    return Answers(list(by_asker.items()), _summary([row["verdict"] for row in rows]))


def _summary(verdicts: Sequence[str]) -> str:
    """Such as `11 of 14 questions answered: 8 claims supported, 3 not`."""
    tested = [verdict for verdict in verdicts if verdict != NOT_TESTABLE]
    holding = tested.count(SUPPORTED)
    words = f"{len(tested)} of {len(verdicts)} questions answered"
    if not tested:
        return words
    return f"{words}: {holding} claim{'' if holding == 1 else 's'} supported, {len(tested) - holding} not"


def _shown(row: Mapping[str, Any]) -> Shown:
    return Shown(
        name=row["question"],
        verdict=row["verdict"],
        style=row["verdict"].replace(" ", "-"),
        text=_html(row["text"]),
        claim=_html(row["claim"]),
        experiment=_html(row["experiment"]),
        answer=_html(row["answer"]),
        evidence=[_html(each) for each in row["evidence"]],
        remedy=_html(row["remedy"]) if row["remedy"] else None,
    )


def _html(text: str) -> Markup:
    """`text` as HTML; what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
