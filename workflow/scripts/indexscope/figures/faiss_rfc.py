"""The RFC's segments: what each load mode needs by formula, part by part, beside what was measured."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common, faiss_common, faiss_estimators
from .common import Figure

TITLE = "The RFC’s segments in one process"
_CAPTION = (
    "Above, a bar for each load mode: the memory of all segments by formula, in parts, the largest change first. The "
    "black mark is the median of what processes measured (above that of the process before loading), and the "
    "formula’s error beside it. A mode that was ended has no mark: the cross is the memory limit that it passed. "
    "Below, what each estimator says of each mode, divided by what was measured, on a logarithmic axis."
)
_COLUMNS = [
    *faiss_common.CELL, "part", "mib", "formula_mib", "redundant_mib", "file_mib", "measured_mib", "low_mib",
    "high_mib", "runs", "error", "measured_outcome", "memory_limit_mib", "load_seconds", "estimator",
    "estimated_mib",
]  # fmt: skip
_WIDTH, _BAR, _ROW, _ESTIMATORS = 760, 30, 66, 520


def draw(memory: pd.DataFrame, estimates: pd.DataFrame) -> Figure:
    """Args: the tables faiss_rfc_memory and faiss_rfc_estimates."""
    if memory.empty:
        return common.nothing_to_draw(TITLE, "No process was asked to load the RFC’s segments.", _COLUMNS)
    cells = faiss_common.cells(memory)
    several = [*{tuple(key) for key in cells[["index_type", "metric", "segments"]].to_numpy()}]
    cells = cells.assign(
        row=[_row_words(row, named=len(several) > 1) for row in common.each_row(cells)],
    )
    title, support = _finding(cells)
    panels: list[common.Chart] = [_stack(cells, memory)]
    ratios = faiss_estimators.with_ratios(estimates)
    known = ratios[ratios["ratio"].notna()]
    if len(known):
        order = list(faiss_estimators.ranking(estimates)["estimator"])
        order += [name for name in common.unique(ratios["estimator"]) if name not in order]
        panels.append(
            faiss_estimators.panel(
                ratios,
                order,
                faiss_estimators.ratio_scale(known),
                "What the estimators say",
                first=True,
                width=_ESTIMATORS,
            )
        )
    chart: common.Chart = alt.vconcat(*panels, spacing=30).resolve_scale(color="independent")
    rows = pd.concat([_parts(cells).astype(object), estimates.astype(object)], ignore_index=True)
    notes = [*_notes(cells), _ended(memory), *_loading(cells)]
    return Figure(
        chart, rows.reindex(columns=_COLUMNS), title, _conditions(memory), support, [note for note in notes if note],
        _CAPTION,        width=980,
    )  # fmt: skip


def _row_words(row: Any, *, named: bool) -> str:
    mode, number = str(row.load_mode), int(row.segments)
    if not named:
        return mode
    kind = faiss_common.kind_words(row.index_type, row.metric)
    return f"{kind}, {faiss_common.segments(number)}, {mode}"


def _conditions(memory: pd.DataFrame) -> str:
    kinds = common.listed([faiss_common.kind_words(*kind) for kind in faiss_common.kinds_of(memory)])
    numbers = common.listed([common.count(number) for number in sorted(common.unique(memory["segments"]))])
    limits = [faiss_common.size(float(limit)) for limit in common.unique(memory["memory_limit_mib"])]
    limit = f" · memory limit {common.listed(limits)}" if limits else ""
    return f"{numbers} segments of {kinds} · {faiss_common.conditions(memory)}{limit}"


def _parts(cells: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell and part of the formula."""
    values = list(faiss_common.PARTS)
    others = [name for name in cells.columns if name not in values]
    parts = cells.melt(others, values, "column", "mib")
    return parts[parts["mib"] > 0].assign(part=lambda rows: rows["column"].map(faiss_common.PARTS))


# Charts


def _order(cells: pd.DataFrame) -> list[str]:
    rank = {mode: number for number, mode in enumerate(faiss_common.MODES)}
    ranked = cells.assign(rank=cells["load_mode"].map(rank).fillna(len(rank)))
    ranked = ranked.sort_values(["index_type", "metric", "segments", "rank"], kind="stable")
    return common.unique(ranked["row"])


def _stack(cells: pd.DataFrame, memory: pd.DataFrame) -> common.Chart:
    order = _order(cells)
    parts = _parts(cells)
    present = [words for words in faiss_common.PARTS.values() if words in set(parts["part"])]
    parts = parts.assign(place=parts["part"].map(present.index), gib=parts["mib"] / 1024)
    marks = cells.assign(
        measured_gib=cells["measured_mib"] / 1024,
        limit_gib=_passed(cells) / 1024,
        end_gib=cells[["formula_mib", "measured_mib"]].max(axis=1) / 1024,
        words=[_bar_words(row) for row in common.each_row(cells)],
        lost=cells["measured_mib"].isna(),
    )
    # Room for the words right of bars that were measured; those of the others stand below them.
    ends = [marks["end_gib"].where(marks["lost"], 1.5 * marks["end_gib"]), 1.04 * marks["limit_gib"].dropna()]
    scale = alt.Scale(domain=[0, 1.02 * float(pd.concat(ends).max())], nice=False)
    y = alt.Y(
        "row:N",
        sort=order,
        scale=alt.Scale(domain=order),
        title=None,
        axis=alt.Axis(domain=False, ticks=False, labelLimit=320),
    )

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q", scale=scale, axis=alt.Axis(tickCount=8), title="memory of the segments (GiB)"
        )

    colours = {faiss_common.PARTS[name]: colour for name, colour in faiss_common.PART_COLOURS.items()}
    bars = (
        alt.Chart(parts[["row", "part", "gib", "mib", "place"]])
        .mark_bar(height=_BAR, stroke="white", strokeWidth=0.6, aria=False)
        .encode(
            x=alt.X(
                "gib:Q",
                stack="zero",
                scale=scale,
                axis=alt.Axis(tickCount=8),
                title="memory of the segments (GiB)",
            ),
            y=y,
            order="place:Q",
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=present, range=[colours[words] for words in present]),
                legend=alt.Legend(
                    orient="bottom", title=None, columns=4, columnPadding=18, symbolType="square"
                ),
            ),
            tooltip=["part:N", alt.Tooltip("mib:Q", title="MiB", format=",.1f")],
        )
    )
    base = alt.Chart(
        marks[["row", "measured_gib", "limit_gib", "end_gib", "words", "lost", "formula_mib", "measured_mib"]]
    ).encode(y=y)
    layers: list[alt.Chart] = [bars]
    if marks["measured_gib"].notna().any():
        layers.append(
            base.transform_filter("isValid(datum.measured_gib)")
            .mark_tick(color=common.INK, thickness=3, height=_BAR + 12, opacity=1, aria=False)
            .encode(
                x=x("measured_gib"),
                tooltip=[
                    alt.Tooltip("measured_mib:Q", title="measured (MiB)", format=",.1f"),
                    alt.Tooltip("formula_mib:Q", title="formula (MiB)", format=",.1f"),
                ],
            )
        )
    if marks["limit_gib"].notna().any():
        layers.append(
            base.transform_filter("isValid(datum.limit_gib)")
            .mark_point(
                shape=faiss_common.CROSS, color=common.ALARM, size=120, strokeWidth=2.2, opacity=1, aria=False
            )
            .encode(x=x("limit_gib"))
        )
    for lost in (False, True):
        layers.append(
            base.transform_filter(alt.datum.lost == lost)
            .mark_text(
                align="left", dx=8, dy=_BAR / 2 + 11 if lost else 0, fontSize=11,
                color=common.ALARM if lost else common.INK, aria=False,
            )
            .encode(x=alt.value(0) if lost else x("end_gib"), text="words:N")
        )  # fmt: skip
    return alt.layer(*layers).properties(
        width=_WIDTH,
        height=_ROW * len(order),
        title=faiss_common.heading("By formula in parts, and measured (black)"),
    )


def _passed(cells: pd.DataFrame) -> pd.Series:
    """The limit of cells that passed it; missing for all others."""
    passed = cells["measured_outcome"] == "out_of_memory_host"
    return cells["memory_limit_mib"].astype(float).where(passed)


def _bar_words(row: Any) -> str:
    """Such as `12.9 GiB by formula, 13.0 GiB measured (−1.0 %)`."""
    formula = f"{faiss_common.size(float(row.formula_mib))} by formula"
    measured = float(row.measured_mib)
    if pd.notna(measured):
        error = faiss_common.percent(float(row.error))
        return f"{formula}, {faiss_common.size(measured)} measured ({error})"
    outcome = common.outcome_words(str(row.measured_outcome))
    limit = row.memory_limit_mib
    at = f" of {faiss_common.size(float(limit))}" if pd.notna(limit) and "memory" in outcome else ""
    return f"{formula}; not measured: {outcome}{f', limit{at}' if at else ''}"


# Words


def _finding(cells: pd.DataFrame) -> tuple[str, str]:
    """What default mode needs beside sharing; measured where it was, else by formula."""
    last = cells[cells["segments"] == cells["segments"].max()]
    by_mode = {str(row.load_mode): row for row in common.each_row(last.iloc[::-1])}
    number = faiss_common.segments(int(last["segments"].max()))
    words = {mode: _need(row) for mode, row in by_mode.items()}
    default, shared = by_mode.get("default"), by_mode.get("shared")
    errors = faiss_common.formula_errors(cells)
    if default is None or shared is None:
        said = [f"{text} in {mode} mode" for mode, text in words.items()]
        return f"The RFC’s {number} need {common.listed(said[::-1])}", errors
    lost = pd.isna(default.measured_mib)
    ended = f" and ended {_ended_words(default)}" if lost else ""
    title = f"The RFC’s {number} need {words['default']} with a table each{ended}; "
    title += f"{words['shared']} with one shared table"
    support = errors
    if pd.notna(shared.measured_mib) and pd.notna(shared.file_mib):
        ideal = float(shared.tables_mib + shared.file_mib)
        ratio = shared.measured_mib / ideal
        support = f"Shared mode holds {ratio:.2f} times one table and the files ({faiss_common.size(ideal)}). {errors}"
    return title, support


def _need(row: Any) -> str:
    measured = float(row.measured_mib)
    if pd.notna(measured):
        return faiss_common.size(measured)
    return f"{faiss_common.size(float(row.formula_mib))} (by formula)"


def _ended_words(row: Any) -> str:
    return {"out_of_memory_host": "out of memory", "timed_out": "without finishing"}.get(
        str(row.measured_outcome), "without a result"
    )


def _notes(cells: pd.DataFrame) -> list[str]:
    notes = []
    for row in common.each_row(cells[cells["load_mode"] == "default"]):
        notes.append(
            f"By formula {faiss_common.size(row.redundant_mib)} of {faiss_common.size(row.formula_mib)} in default "
            "mode "
            f"({100 * row.redundant_mib / row.formula_mib:.0f} %) equal another segment’s; "
            f"{faiss_common.size(row.tables_mib)} are tables."
        )
    return notes


def _ended(memory: pd.DataFrame) -> str:
    lost = memory[memory["outcome"] != COMPLETED]
    if lost.empty:
        return ""
    each = [
        f"{row.load_mode} "
        f"({common.outcome_words(row.outcome)}"
        + ("" if pd.isna(row.outcome_detail) else f": {str(row.outcome_detail).rstrip('.')}")
        + ")"
        for row in common.each_row(lost)
    ]
    return f"Did not complete: {common.listed(each)}."


def _loading(cells: pd.DataFrame) -> list[str]:
    known = cells[cells["load_seconds"].notna()]
    if known.empty:
        return []
    each = [f"{row.load_mode} {common.seconds(row.load_seconds)}" for row in common.each_row(known)]
    return [f"To load them: {common.listed(each)}."]
