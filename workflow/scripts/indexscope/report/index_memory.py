"""The report of index_memory: who needs most memory, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import yaml

from indexscope.analysis import confounds
from indexscope.figures import common
from indexscope.run_record import COMPLETED

from . import answers, compared_runs, equal_work, facts, page
from .page import EmbeddedFigure, Finding, Link
from .traces import RunFiles

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
    traces: Sequence[RunFiles] = (),
    spans: pd.DataFrame | None = None,
    confound_rows: Sequence[confounds.Row] = (),
    compared: Sequence[compared_runs.Pair] = (),
    answer_rows: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page.

    Args:
        runs, comparison: the tables runs and memory_comparison.
        figures: in the order in which to show them.
        configuration: the resolved configuration, YAML.
        external_logs: the table of that name; None where there is none.
        traces: files of runs for other viewers, to link.
        spans: the table of that name; None where there is none.
        confound_rows: of the table confounds.
        compared: every two systems that were run with repeats.
        answer_rows: of the table answers.
    """
    runs = common.label_systems(runs)
    measured = equal_work.Measured(runs, comparison)
    names = common.comparison_names(runs)
    steps = equal_work.confound_table(confound_rows, names)
    sizes = measured.sizes()
    has_fair_pair = any(measured.fair_pairs(size) for size in sizes)
    systems, more_systems = facts.systems(runs)
    return page.render(
        page.INDEX_MEMORY,
        runs,
        figures,
        configuration,
        summary=facts.summary(runs),
        troubles=facts.troubles(runs),
        findings=findings(runs, measured, figures, has_steps=bool(steps.rows)),
        systems=systems,
        more_systems=more_systems,
        machine=facts.machine(runs),
        versions=facts.versions(runs),
        scale=facts.scale(runs, _mapping(configuration)),
        steps=steps,
        confounds_told=confounds.sentence(confound_rows, names),
        no_fair_pair=equal_work.no_fair_pair(measured, sizes[-1]) if sizes and not has_fair_pair else "",
        parent_and_child=None if spans is None else equal_work.parent_and_child(runs, spans),
        runs=facts.run_table(runs),
        comparison=facts.comparison_table(comparison, runs),
        external_logs=None
        if external_logs is None or external_logs.empty
        else facts.external_logs(external_logs),
        traces=traces,
        compared=compared,
        answers=answers.shown(answer_rows),
        limits=facts.limits(runs),
    )  # fmt: skip


def _mapping(configuration: str) -> Mapping[str, Any]:
    """The configuration, where it is one; the page shows any text as it is."""
    try:
        value = yaml.safe_load(configuration)
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, Mapping) else {}
