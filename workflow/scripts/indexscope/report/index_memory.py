"""The report of index_memory: who needs most memory, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import yaml

from indexscope.figures import common
from indexscope.run_record import COMPLETED

from . import equal_work, facts, page
from .page import EmbeddedFigure, Finding, Link

# The other main findings, by their question: the title of the first of these figures that found something.
_FINDINGS = {
    "What line-by-line profiling misses": ["ghost", "memory_by_function"],
    "Whether the indexes are equal": ["artifact_comparison"],
}
_PEAK_FIGURE, _PEAK_QUESTION = "peak_memory", "Who needs most memory, and why"


def findings(
    runs: pd.DataFrame,
    measured: equal_work.Measured,
    figures: Sequence[EmbeddedFigure],
    has_steps: bool,
) -> list[Finding]:
    """At most three, in the order of what matters; a question that the data cannot answer is left out.

    Args:
        runs: the table runs, with `series`.
        has_steps: the page shows the steps from one framework to the other.
    """
    told = {figure.name: figure for figure in figures if figure.is_finding}
    drawn = {figure.name for figure in figures}
    found = []
    answer = equal_work.answer(measured)
    if answer:
        found.append(
            Finding(_PEAK_QUESTION, answer.sentence, answer.support, _PEAK_FIGURE * (_PEAK_FIGURE in drawn))
        )
    elif _PEAK_FIGURE in told and (runs["outcome"] == COMPLETED).any():
        found.append(_finding("The highest peak", told[_PEAK_FIGURE]))
    for question, names in _FINDINGS.items():
        found += [_finding(question, told[name]) for name in names if name in told][:1]
    if found and has_steps:
        found[0] = replace(found[0], more=Link("equal-work", "Step by step"))
    return found


def _finding(question: str, figure: EmbeddedFigure) -> Finding:
    return Finding(question, figure.title, figure.support, figure.name)


def render(
    runs: pd.DataFrame,
    comparison: pd.DataFrame,
    figures: Sequence[EmbeddedFigure],
    configuration: str,
    external_logs: pd.DataFrame | None = None,
) -> str:
    """The page.

    Args:
        runs, comparison: the tables runs and memory_comparison.
        figures: in the order in which to show them.
        configuration: the resolved configuration, YAML.
        external_logs: the table of that name; None where there is none.
    """
    runs = common.label_systems(runs)
    measured = equal_work.Measured(runs, comparison)
    steps = equal_work.steps(measured)
    sizes = measured.sizes()
    systems, more_systems = facts.systems(runs)
    return page.render(
        page.INDEX_MEMORY,
        runs,
        figures,
        configuration,
        summary=facts.summary(runs),
        troubles=facts.troubles(runs),
        findings=findings(runs, measured, figures, has_steps=bool(steps)),
        systems=systems,
        more_systems=more_systems,
        machine=facts.machine(runs),
        versions=facts.versions(runs),
        scale=facts.scale(runs, _mapping(configuration)),
        steps=facts.Table(
            [
                "documents", "from", "to", "what changes", "peak (MiB)", "in the index call (MiB)",
                "at the peak the difference is",
            ],
            equal_work.step_rows(measured, steps),
            frozenset({0, 4, 5}),
        ),
        no_fair_pair=equal_work.no_fair_pair(measured, sizes[-1]) if sizes and not steps else "",
        runs=facts.run_table(runs),
        comparison=facts.comparison_table(comparison, runs),
        external_logs=None
        if external_logs is None or external_logs.empty
        else facts.external_logs(external_logs),
        limits=facts.limits(runs),
    )  # fmt: skip


def _mapping(configuration: str) -> Mapping[str, Any]:
    """The configuration, where it is one; the page shows any text as it is."""
    try:
        value = yaml.safe_load(configuration)
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, Mapping) else {}
