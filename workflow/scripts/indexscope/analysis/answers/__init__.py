"""What the measured rows say to the questions of the published study and of this project.

Each question is a claim and a function of the tables; its verdict is about the claim, and no verdict, number or
comparison of one is written down here. A question that the rows cannot answer says what to run.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from indexscope.run_record import InputError

from . import ours, study
from .measured import Measured, Row

QUESTIONS = (*study.QUESTIONS, *ours.QUESTIONS)
_PUBLISHED_COLUMNS = {"question", "statement", "source"}


def answer_questions(
    tables: Mapping[str, Sequence[Row]], published: Mapping[str, Sequence[Row]]
) -> Iterator[dict[str, Any]]:
    """Rows of schemas.ANSWERS, in the order of the questions.

    Args:
        tables: rows by name of table, those of `measured.TABLES`; one that is missing counts as empty.
        published: statements of the study by question, as read_statements reads them.
    """
    measured = Measured(tables, published)
    for question in QUESTIONS:
        found = question.decide(measured)
        yield {
            "question": question.name,
            "asked_by": question.asked_by,
            "text": question.text,
            "claim": question.claim,
            "experiment": question.experiment,
            "verdict": found.verdict,
            "answer": found.answer,
            "evidence": list(found.evidence),
            "remedy": found.remedy,
        }


def read_statements(path: Path) -> dict[str, list[dict[str, str]]]:
    """What the study and its logs say, by the question that it bears on (config/published/memory_questions.csv).

    Raises:
        InputError: the file cannot be read, lacks a column, or names a question that is not asked.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): restore it from the repository") from error
    if not rows or _PUBLISHED_COLUMNS - set(rows[0]):
        raise InputError(f"{path}: columns {', '.join(sorted(_PUBLISHED_COLUMNS))} are wanted: restore it")
    names = {question.name for question in QUESTIONS}
    statements: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(rows, start=2):
        if row["question"] not in names:
            raise InputError(f"{path}:{number}: no question is called {row['question']!r}: correct its name")
        statements.setdefault(row["question"], []).append(row)
    return statements
