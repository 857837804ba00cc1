"""memory_profiler's highest reading in each function against the function's exact peak: the "ghost"."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import altair as alt
import pandas as pd

from . import common, functions
from .common import Figure
from .functions import CALL, ENCODE, FUNCTIONS, KEY, SETUP

TITLE = "Exact peaks that memory_profiler does not read"
_CAPTION = (
    "A line profiler reads memory when a line has ended, so what a line takes and gives back within itself is "
    "in no reading; spans read the kernel's own peak counter. The highest reading is the highest of all lines "
    "that memory_profiler printed while the function ran, its callees' among them, in the same process. The "
    "two profilers are separate runs, whose memory differs by itself: the CSV has the gap also between what "
    "each run adds above its own level at the function's start (gap_above_start_mib). Beside each gap: the "
    "innermost function that has this peak. Medians of the repeats. The axis does not begin at zero."
)
_COLUMNS = [
    *KEY, "memory_profiler_runs", "spans_runs", "role", "highest_reading_mib", "peak_mib", "gap_mib",
    "gap_above_start_mib", "highest_reading_max_mib", "peak_min_mib", "peak_exact", "peak_in",
]  # fmt: skip
# Modules of ColBERT whose tables lie within Indexer.index.
_WITHIN_CALL = {"indexer", "launcher", "collection_indexer", "collection_encoder"}
# Functions whose own tables lie within a function, beside those of encode_passages.
_WITHIN = {
    "_sample_embeddings": {"_sample_embeddings"},
    SETUP: {"_sample_embeddings", "_sample_pids", "setup"},
}
_PANEL_WIDTH, _ROW_HEIGHT = 172, 24
_TEXT_WIDTH, _AXIS_WIDTH, _GAP = 170, 150, 20
_MARKS = {
    "highest reading of memory_profiler": "diamond",
    "exact peak (spans)": "M-0.14,-1.25L0.14,-1.25L0.14,1.25L-0.14,1.25Z",
}
_READING, _PEAK = _MARKS
_KMEANS = "colbert.indexing.collection_indexer.compute_faiss_kmeans"
_FLOAT32_BYTES = 4


def draw(runs: pd.DataFrame, spans: pd.DataFrame, by_function: pd.DataFrame, lines: pd.DataFrame) -> Figure:
    """Args: the tables runs, spans, memory_by_function and memory_profiler_lines."""
    runs = common.label_systems(common.own_runs(runs))
    rows = compare(runs, spans, by_function, lines)
    both = rows.dropna(subset=["gap_mib"])
    if both.empty:
        reason = "No function was measured by memory_profiler and by spans, for the same system and size."
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    used = runs[runs["profiler"].isin(["memory_profiler", "spans"])]
    sizes = sorted(common.unique(both["documents"]))
    names = {
        size: [name for name in common.unique(runs["series"]) if (each["series"] == name).any()]
        for size in sizes
        for each in [both[both["documents"] == size]]
    }
    columns = common.columns_that_fit(
        max(map(len, names.values())), _PANEL_WIDTH + _TEXT_WIDTH + _GAP, margin=_AXIS_WIDTH
    )
    levels = both[["highest_reading_mib", "peak_mib"]]
    low, high = levels.min().min(), levels.max().max()
    margin = max(1.0, 0.06 * (high - low))
    domain = [round(max(0.0, low - margin), 1), round(high + margin, 1)]
    panels = {
        size: [
            _panel(
                both[(both["series"] == name) & (both["documents"] == size)],
                used[(used["series"] == name) & (used["documents"] == size)],
                common.system_scale(runs),
                domain,
                first=number % columns == 0,
            )
            for number, name in enumerate(names[size])
        ]
        for size in sizes
    }
    title, support = _finding(both)
    return Figure(
        common.blocks(panels, columns),
        rows[_COLUMNS],
        title,
        common.conditions(used),
        support,
        [
            published_ghost(runs, spans),
            _one_sided(rows),
            common.incomplete_words(used),
            functions.elsewhere_words(by_function),
        ],
        _CAPTION,
        width=max(900, columns * (_PANEL_WIDTH + _TEXT_WIDTH + _GAP) + _AXIS_WIDTH),
    )


# From tables to rows


def highest_readings(runs: pd.DataFrame, by_function: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """The highest memory of any line while a function ran, for each run and function of its last attempt.

    A function's own row in its caller gives two readings: before it (start) and after it (final). `train`,
    `index` and `finalize` have no table of their own; every encoding after the first lies within `index`.

    Returns: the columns of memory_by_function, with `run` and `highest_reading_mib`.
    """
    readings = functions.last_readings(runs, by_function)
    tables: pd.DataFrame = (
        lines.assign(
            run=functions.run_of_log(lines["log"]),
            process=lines["process"].fillna(-1),
            module=lines["source_file"].map(lambda path: PurePosixPath(path.replace("\\", "/")).stem),
        )
        .dropna(subset=["run", "memory_mib", "function"])
        .groupby(["run", "attempt", "process", "table", "module", "function"], as_index=False)
        .agg(memory_mib=("memory_mib", "max"))
    )
    highest = [_highest_reading(row, tables) for row in common.each_row(readings)]
    return readings.assign(highest_reading_mib=pd.Series(highest, index=readings.index, dtype=float))


def _highest_reading(row: Any, tables: pd.DataFrame) -> float:
    process = -1 if pd.isna(row.process) else row.process
    tables = tables[
        (tables["run"] == row.run) & (tables["attempt"] == row.attempt) & (tables["process"] == process)
    ]
    if row.function == CALL:
        within = tables["module"].isin(_WITHIN_CALL)
    else:
        is_encoding = tables["module"] == "collection_encoder"
        first = is_encoding & (tables["table"] == tables.loc[is_encoding, "table"].min())
        within = (tables["module"] == "collection_indexer") & tables["function"].isin(
            _WITHIN.get(row.function, set())
        )
        if row.function in (ENCODE, "_sample_embeddings", SETUP):
            within |= first
        elif row.function == "index":
            within |= is_encoding & ~first
    levels = [row.start_mib, row.final_mib, tables.loc[within, "memory_mib"].max()]
    return float(pd.Series(levels, dtype=float).max())


def peak_in(span: Any, spans: pd.DataFrame) -> str:
    """The innermost function whose call, within that of `span` in its process, has the same exact peak."""
    inside = spans[
        (spans["run"] == span.run)
        & (spans["process_id"] == span.process_id)
        & (spans["started_seconds"] >= span.started_seconds)
        & (spans["ended_seconds"] <= span.ended_seconds)
        & (spans["peak_rss_mib"] == span.peak_rss_mib)
    ]
    return str(inside.sort_values("depth")["function"].iloc[-1])


def compare(
    runs: pd.DataFrame, spans: pd.DataFrame, by_function: pd.DataFrame, lines: pd.DataFrame
) -> pd.DataFrame:
    """One row for each series, size and function that either profiler measured."""
    read = highest_readings(runs, by_function, lines)
    read["rise"] = read["highest_reading_mib"] - read["start_mib"]
    highest = read.groupby(KEY).agg(
        memory_profiler_runs=("run", "nunique"),
        highest_reading_mib=("highest_reading_mib", "median"),
        highest_reading_max_mib=("highest_reading_mib", "max"),
        read_rise=("rise", "median"),
    )
    measured = functions.last_spans(spans)
    measured = measured.drop(columns=["documents"]).merge(functions.counted_runs(runs), on="run")
    measured["peak_in"] = [peak_in(row, spans) for row in common.each_row(measured)]
    measured["rise"] = measured["peak_rss_mib"] - measured["start_rss_mib"]
    exact = measured.groupby(KEY).agg(
        spans_runs=("run", "nunique"),
        role=("role", "last"),
        peak_mib=("peak_rss_mib", "median"),
        peak_min_mib=("peak_rss_mib", "min"),
        peak_exact=("peak_exact", "all"),
        peak_in=("peak_in", "last"),
        peak_rise=("rise", "median"),
    )
    rows = highest.join(exact, how="outer")
    counts = ["memory_profiler_runs", "spans_runs"]
    rows[counts] = rows[counts].fillna(0).astype(int)
    rows["peak_exact"] = rows["peak_exact"].astype("boolean")
    rows["gap_mib"] = rows["peak_mib"] - rows["highest_reading_mib"]
    rows["gap_above_start_mib"] = rows["peak_rise"] - rows["read_rise"]
    order = {name: number for number, name in enumerate([*common.unique(runs["series"]), *FUNCTIONS])}
    return rows.reset_index().sort_values(
        KEY, key=lambda column: column.map(order) if column.name != "documents" else column
    )


# Sentences


def _finding(both: pd.DataFrame) -> tuple[str, str]:
    """The largest gap; of equal ones, that of the inner function: a caller's gap is never the larger."""
    most = max(common.each_row(both.iloc[::-1]), key=lambda row: row.gap_mib)
    where = f"({most.series}, {common.documents(most.documents)})"
    function = _qualified(FUNCTIONS[most.function])
    if most.gap_mib < 1:
        return f"memory_profiler's readings reach the exact peak of every function of {len(both)}", ""
    title = (
        f"memory_profiler misses up to {common.mib(most.gap_mib)}: {function} peaks at "
        f"{common.mib(most.peak_mib)}, and no line-by-line reading within it is above "
        f"{common.mib(most.highest_reading_mib)} {where}"
    )
    separated = None
    if min(most.spans_runs, most.memory_profiler_runs) > 1:
        separated = bool(most.peak_min_mib > most.highest_reading_max_mib)
    support = (
        f"This gap {common.spread_words(separated)} ({most.spans_runs} and {most.memory_profiler_runs} runs)"
    )
    if pd.notna(most.gap_above_start_mib):
        support += (
            "; between what each of the two runs adds to its own level at the function's start it is "
            f"{common.mib(most.gap_above_start_mib)}"
        )
    return title, f"{support}. The peak is within {_qualified(most.peak_in)}."


def published_ghost(runs: pd.DataFrame, spans: pd.DataFrame) -> str:
    """Whether k-means' float32 copy of the sample is what the build's exact peak is made of, by system."""
    statement = (
        'the "ghost", memory that no reading shows, is the float32 copy of the sample that '
        "compute_faiss_kmeans makes (points × dimension × 4 bytes)"
    )
    runs = runs[runs["profiler"] == "spans"]
    measured = functions.last_spans(spans)
    builds = measured[measured["function"].isin([SETUP, "train", "index", "finalize"])]
    builds = builds.merge(runs[["run", "series", "kmeans_points", "dim"]], on="run")
    if builds.empty:
        return common.published(statement, "", {}, "no run with the profiler spans")
    size = builds["documents"].max()
    builds = builds[builds["documents"] == size]
    verdicts, found = {}, {}
    for series in [name for name in common.unique(runs["series"]) if (builds["series"] == name).any()]:
        of_series = builds[builds["series"] == series]
        highest = of_series.loc[of_series["peak_rss_mib"].idxmax()]
        inner = peak_in(highest, spans)
        verdicts[series] = inner == _KMEANS
        found[series] = f"in {_qualified(inner)}{_copy_words(highest, spans)}"
    evidence = f"the exact peak of the build is {common.grouped(found)}"
    return common.published(statement, f"at {common.documents(size)}", verdicts, evidence)


def _copy_words(build: pd.Series, spans: pd.DataFrame) -> str:
    """What the copy should take, and what the exact peak of k-means adds to its start."""
    kmeans = spans[(spans["run"] == build["run"]) & (spans["function"] == _KMEANS)]
    if kmeans.empty:
        return ""
    rise = (kmeans["peak_rss_mib"] - kmeans["start_rss_mib"]).iloc[-1]
    if pd.isna(build["kmeans_points"]) or pd.isna(build["dim"]):
        return f" (compute_faiss_kmeans adds {rise:,.1f} MiB)"
    copy = build["kmeans_points"] * build["dim"] * _FLOAT32_BYTES / 2**20
    return f" (the copy is {copy:,.1f} MiB, compute_faiss_kmeans adds {rise:,.1f} MiB)"


def _one_sided(rows: pd.DataFrame) -> str:
    """Systems and sizes that only one of the two profilers measured."""
    gaps = rows.groupby(["series", "documents"])[["peak_mib", "gap_mib"]].count()
    lacking = gaps[gaps["gap_mib"] == 0]
    spans = int((lacking["peak_mib"] > 0).sum())
    parts = [
        f"{number} with {profiler} only"
        for number, profiler in [(spans, "spans"), (len(lacking) - spans, "memory_profiler")]
        if number
    ]
    words = f"Not drawn, of {len(gaps)} systems and sizes, for want of the other profiler:"
    return f"{words} {common.listed(parts)}." if parts else ""


def _qualified(name: str) -> str:
    """The last two parts of a method's dotted name, the last of a function's."""
    parts = name.split(".")
    return ".".join(parts[-2:] if parts[-2][:1].isupper() else parts[-1:])


# Drawing


def _panel(
    rows: pd.DataFrame, runs: pd.DataFrame, scale: alt.Scale, domain: list[float], *, first: bool
) -> common.Chart:
    rows = rows.assign(words=[_words(row.gap_mib, row.peak_in) for row in common.each_row(rows)])
    y = functions.axis(labels=first)
    base = alt.Chart().encode(
        y=y,
        color=alt.Color("series:N", scale=scale, legend=None),
        tooltip=[
            "function:N",
            alt.Tooltip("role:N", title="process"),
            alt.Tooltip("highest_reading_mib:Q", title="highest reading (MiB)", format=",.1f"),
            alt.Tooltip("peak_mib:Q", title="exact peak (MiB)", format=",.1f"),
            alt.Tooltip("gap_mib:Q", title="gap (MiB)", format=",.1f"),
            alt.Tooltip("gap_above_start_mib:Q", title="gap above each start (MiB)", format=",.1f"),
            alt.Tooltip("peak_in:N", title="peak within"),
            alt.Tooltip("memory_profiler_runs:Q", title="memory_profiler runs"),
            alt.Tooltip("spans_runs:Q", title="spans runs"),
        ],
    )

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q",
            title="RSS of the process (MiB)",
            scale=alt.Scale(domain=domain, nice=False, zero=False),
            axis=alt.Axis(tickCount=3, labelFlush=False),
        )

    def mark(field: str, name: str, size: int) -> alt.Chart:
        shape = alt.Shape(
            "mark:N",
            title=None,
            scale=alt.Scale(domain=list(_MARKS), range=list(_MARKS.values())),
            legend=alt.Legend(
                orient="top", symbolStrokeColor=common.NOTE, symbolFillColor=common.NOTE, symbolSize=70
            ),
        )
        marks: alt.Chart = base.transform_calculate(mark=f"'{name}'").mark_point(
            size=size, filled=True, opacity=1
        )
        return marks.encode(x=x(field), shape=shape)

    title = common.panel_title(rows["series"].iloc[0], [functions.profiler_words(runs)])
    return alt.layer(
        base.mark_rule(strokeWidth=6, opacity=0.35).encode(x=x("highest_reading_mib"), x2="peak_mib:Q"),
        mark("highest_reading_mib", _READING, 60),
        mark("peak_mib", _PEAK, 130).encode(color=alt.value(common.INK)),
        alt.Chart()
        .mark_text(align="left", x=_PANEL_WIDTH, dx=8, fontSize=10, color=common.INK)
        .encode(y=y, text="words:N"),
        data=rows,
    ).properties(width=_PANEL_WIDTH, height=_ROW_HEIGHT * len(FUNCTIONS), title=title)


def _words(gap: float, inner: str) -> str:
    """Such as `+140 in compute_pytorch_kmeans`; a reading above the peak is of another run."""
    if round(gap) <= 0:
        return f"−{-gap:,.0f} MiB, reading higher" if round(gap) else "0 MiB"
    return f"+{gap:,.0f} MiB in {inner.rsplit('.', 1)[-1]}"
