"""memory_profiler's start, increment and final of each function beside the function's exact peak."""

from __future__ import annotations

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common
from .common import Figure

TITLE = "Memory by function"
_INDEXER = "colbert.indexing.collection_indexer.CollectionIndexer."
# The published labels in the order in which the functions run, and what they are called in full.
FUNCTIONS = {
    "indexer.index": "colbert.indexer.Indexer.index",
    "setup": _INDEXER + "setup",
    "_sample_embeddings": _INDEXER + "_sample_embeddings",
    "encoder.encode_passages": "colbert.indexing.collection_encoder.CollectionEncoder.encode_passages",
    "train": _INDEXER + "train",
    "index": _INDEXER + "index",
    "finalize": _INDEXER + "finalize",
}
_ENCODE, _SETUP = "encoder.encode_passages", "setup"
_CAPTION = (
    "memory_profiler reads the memory of the process after each line, so what a line takes and gives back "
    "within itself is invisible to it; spans read the kernel's own peak counter. The two are separate runs, "
    "and each disturbs the next: memory_profiler's own memory is part of its rows. Marks are medians of the "
    "repeats, a horizontal line through a peak is their range; where a build was tried more than once, the "
    "last attempt is drawn. The number beside a peak is what it lies above the larger of start and final."
)
_KEY = ["series", "documents", "function"]
_PANEL_WIDTH, _ROW_HEIGHT = 300, 25
_MARKS = {
    "start (memory_profiler)": "circle",
    "increment from the start": "stroke",
    "final (memory_profiler)": "diamond",
    "exact peak (spans)": "M-0.14,-1.25L0.14,-1.25L0.14,1.25L-0.14,1.25Z",
}
_START, _INCREMENT, _FINAL, _PEAK = _MARKS
_NO_ROW, _NO_SPAN = "no row", "no span"


def draw(runs: pd.DataFrame, spans: pd.DataFrame, by_function: pd.DataFrame) -> Figure:
    """Args: the tables runs, spans and memory_by_function."""
    runs = common.label_systems(runs)
    rows = combine(runs, spans, by_function)
    if rows[["start_mib", "final_mib", "peak_mib"]].isna().all(axis=None):
        reason = "No run with the profiler memory_profiler or spans left a row for the seven functions."
        return common.nothing_to_draw(TITLE, reason, list(rows.columns))
    series, sizes = common.unique(runs["series"]), sorted(common.unique(rows["documents"]))
    end = 1.4 * rows[["start_mib", "final_mib", "peak_mib"]].max().max()
    used = runs[runs["profiler"].isin(["memory_profiler", "spans"])]
    panels = [
        _panel(
            rows[(rows["series"] == name) & (rows["documents"] == size)],
            used[(used["series"] == name) & (used["documents"] == size)],
            alt.TitleParams(
                name,
                subtitle=_heading(used[(used["series"] == name) & (used["documents"] == size)], size),
                fontSize=13,
                subtitleFontSize=11,
                subtitlePadding=2,
                offset=6,
            ),
            common.system_scale(runs),
            end,
            first=name == series[0],
        )
        for size in sizes
        for name in series
    ]
    chart = alt.concat(*panels, columns=len(series)).resolve_scale(shape="shared")
    title, support = _findings(rows)
    notes = [_missing(rows), common.incomplete_words(used)]
    elsewhere = by_function.loc[run_of_log(by_function["log"]).isna(), "log"].nunique()
    if elsewhere:
        notes.append(f"{elsewhere} logs of runs from elsewhere are in the table and not drawn.")
    return Figure(
        chart,
        rows,
        title,
        common.conditions(used),
        support,
        notes,
        _CAPTION,
        width=len(series) * (_PANEL_WIDTH + 30) + 170,
        is_finding=bool(rows["unseen_mib"].notna().any()),
    )


# From tables to rows


def run_of_log(log: pd.Series) -> pd.Series:
    """The run (as in the tables' column `run`) that a memory_profiler log is part of, by the log's path."""
    return log.str.extract(r"(?:^|/)index_runs/(.+)/memory_profiler\.log$", expand=False)


def exact_peaks(spans: pd.DataFrame) -> pd.DataFrame:
    """One row for each run and function: the span that the published label stands for, of the last attempt.

    The label encode_passages stands for the first call (of the sampled passages), all others for the only
    call of an attempt. An attempt begins with a call of `setup`.

    Returns: run, function (label), role, peak_rss_mib, end_rss_mib, peak_exact, raised.
    """
    labels = {name: label for label, name in FUNCTIONS.items()}
    known = spans.assign(function=spans["function"].map(labels)).dropna(subset=["function"])
    known = known.sort_values("started_seconds")
    last_setup = known[known["function"] == _SETUP].groupby("run")["started_seconds"].max()
    since = known["run"].map(last_setup).astype(float).fillna(0.0)
    encode = known[(known["function"] == _ENCODE) & (known["started_seconds"] >= since)]
    others = known[known["function"] != _ENCODE]
    picked = pd.concat(
        [
            encode.drop_duplicates(["run", "function"], keep="first"),
            others.drop_duplicates(["run", "function"], keep="last"),
        ]
    )
    return picked[["run", "function", "role", "peak_rss_mib", "end_rss_mib", "peak_exact", "raised"]]


def combine(runs: pd.DataFrame, spans: pd.DataFrame, by_function: pd.DataFrame) -> pd.DataFrame:
    """One row for each series, size and function, measured or not: medians over repeats and their ranges.

    A run that did not complete counts only where no repeat of it did.
    """
    completed = runs["outcome"] == COMPLETED
    repeats = [runs["series"], runs["documents"], runs["profiler"]]
    identity = runs.loc[
        completed | ~completed.groupby(repeats).transform("any"), ["run", "series", "documents"]
    ]
    of_logs = by_function.assign(run=run_of_log(by_function["log"])).merge(identity, on="run")
    of_logs["seen_mib"] = of_logs[["start_mib", "final_mib"]].max(axis=1)
    of_logs = of_logs.sort_values("attempt").drop_duplicates(["run", "function"], keep="last")
    profiled = of_logs.groupby(_KEY).agg(
        memory_profiler_runs=("run", "nunique"),
        start_mib=("start_mib", "median"),
        increment_mib=("increment_mib", "median"),
        final_mib=("final_mib", "median"),
        highest_mib=("seen_mib", "max"),
    )
    measured = (
        exact_peaks(spans)
        .merge(identity, on="run")
        .groupby(_KEY)
        .agg(
            spans_runs=("run", "nunique"),
            role=("role", "last"),
            peak_mib=("peak_rss_mib", "median"),
            peak_min_mib=("peak_rss_mib", "min"),
            peak_max_mib=("peak_rss_mib", "max"),
            peak_exact=("peak_exact", "all"),
        )
    )
    asked = runs.loc[
        runs["profiler"].isin(["memory_profiler", "spans"]), ["series", "documents"]
    ].drop_duplicates()
    index = asked.merge(pd.DataFrame({"function": list(FUNCTIONS)}), how="cross").set_index(_KEY).index
    rows = profiled.join(measured, how="outer").reindex(index)
    rows[["memory_profiler_runs", "spans_runs"]] = (
        rows[["memory_profiler_runs", "spans_runs"]].fillna(0).astype(int)
    )
    rows["peak_exact"] = rows["peak_exact"].astype("boolean")
    rows["unseen_mib"] = rows["peak_mib"] - rows[["start_mib", "final_mib"]].max(axis=1)
    return rows.reset_index()


def _findings(rows: pd.DataFrame) -> tuple[str, str]:
    both = rows.dropna(subset=["unseen_mib"])
    if both.empty:
        return f"{TITLE}: no function was measured by memory_profiler and by spans", ""
    most = max(common.each_row(both), key=lambda row: row.unseen_mib)
    if most.unseen_mib <= 0:
        return "No function's exact peak lies above what memory_profiler shows of it", ""
    function = ".".join(FUNCTIONS[most.function].split(".")[-2:])
    title = (
        f"memory_profiler misses up to {common.mib(most.unseen_mib)}: {function} peaks at "
        f"{common.mib(most.peak_mib)}, its row says {common.count(most.start_mib)} to "
        f"{common.mib(most.final_mib)} ({most.series}, {common.documents(most.documents)})"
    )
    separated = None
    if min(most.spans_runs, most.memory_profiler_runs) > 1:
        separated = bool(most.peak_min_mib > most.highest_mib)
    runs = f"{most.spans_runs} and {most.memory_profiler_runs} runs"
    return title, f"This difference {common.spread_words(separated)} ({runs})."


def _missing(rows: pd.DataFrame) -> str:
    parts = []
    for column, words in [("final_mib", "row of memory_profiler"), ("peak_mib", "span")]:
        missing = rows[column].isna().sum()
        if missing:
            parts.append(f"{missing} have no {words}")
    return f"Of {len(rows)} functions drawn, {common.listed(parts)}." if parts else ""


# Drawing


def _panel(
    rows: pd.DataFrame,
    runs: pd.DataFrame,
    title: alt.TitleParams,
    scale: alt.Scale,
    end: float,
    *,
    first: bool,
) -> common.Chart:
    completed = set(runs.loc[runs["outcome"] == COMPLETED, "profiler"])
    rows = rows.assign(
        increment_end=rows["start_mib"] + rows["increment_mib"],
        top=rows[["start_mib", "final_mib"]].max(axis=1).clip(upper=rows["peak_mib"]),
        gap=[f"+{value:,.0f}" if value >= 1 else "" for value in rows["unseen_mib"]],
        note=[_note(row.role, row.final_mib, row.peak_mib, completed) for row in common.each_row(rows)],
    )
    base = alt.Chart(rows).encode(
        y=alt.Y(
            "function:N",
            sort=list(FUNCTIONS),
            scale=alt.Scale(domain=list(FUNCTIONS)),
            title=None,
            axis=alt.Axis(grid=True, ticks=False, domain=False, labels=first),
        ),
        color=alt.Color("series:N", scale=scale, legend=None),
        tooltip=[
            "function:N",
            alt.Tooltip("role:N", title="process (spans)"),
            *[
                alt.Tooltip(f"{name}_mib:Q", title=f"{name} (MiB)", format=",.1f")
                for name in ["start", "increment", "final", "peak", "unseen"]
            ],
            alt.Tooltip("memory_profiler_runs:Q", title="memory_profiler runs"),
            alt.Tooltip("spans_runs:Q", title="spans runs"),
        ],
    )

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q",
            title="RSS of the process (MiB)",
            scale=alt.Scale(domain=[0, end], nice=False),
            axis=alt.Axis(tickCount=4, labelFlush=False),
        )

    def mark(field: str, name: str, size: int) -> alt.Chart:
        shape = alt.Shape(
            "mark:N",
            title=None,
            scale=alt.Scale(domain=list(_MARKS), range=list(_MARKS.values())),
            legend=alt.Legend(
                orient="top",
                symbolStrokeColor=common.NOTE,
                symbolFillColor=common.NOTE,
                symbolSize=70,
                columns=0,
            ),
        )
        marks: alt.Chart = base.transform_calculate(mark=f"'{name}'").mark_point(
            size=size, filled=True, opacity=1
        )
        return marks.encode(x=x(field), shape=shape)

    note = base.mark_text(align="right", fontSize=10, fontStyle="italic", dx=-3).encode(
        x=alt.value(_PANEL_WIDTH), text="note:N", color=alt.value(common.NOTE)
    )
    return alt.layer(
        base.mark_rule(strokeWidth=1, strokeDash=[2, 2]).encode(
            x=x("top"), x2="peak_mib:Q", color=alt.value(common.INK)
        ),
        base.mark_rule(strokeWidth=7, opacity=0.35).encode(x=x("start_mib"), x2="increment_end:Q"),
        base.mark_rule(strokeWidth=2).encode(
            x=x("peak_min_mib"), x2="peak_max_mib:Q", color=alt.value(common.INK)
        ),
        mark("start_mib", _START, 55),
        mark("final_mib", _FINAL, 65),
        mark("peak_mib", _PEAK, 130).encode(color=alt.value(common.INK)),
        base.mark_text(align="left", dx=8, fontSize=10).encode(
            x=x("peak_max_mib"), text="gap:N", color=alt.value(common.INK)
        ),
        note,
    ).properties(
        width=_PANEL_WIDTH,
        height=_ROW_HEIGHT * len(FUNCTIONS),
        title=title,
    )


def _heading(runs: pd.DataFrame, size: int) -> list[str]:
    parts = []
    for profiler in ("memory_profiler", "spans"):
        of_profiler = runs[runs["profiler"] == profiler]
        incomplete = of_profiler[of_profiler["outcome"] != COMPLETED]
        words = "no run" if of_profiler.empty else f"{len(of_profiler)} run" + "s" * (len(of_profiler) > 1)
        if len(incomplete):
            words = f"× {common.outcome_counts(incomplete)}"
        parts.append(f"{profiler}: {words}")
    return [common.documents(size), " · ".join(parts)]


def _note(role: str, final: float, peak: float, completed: set[str]) -> str:
    """The process, and what a completed run lacks; that there was no run at all is in the heading."""
    checked = [("memory_profiler", final, _NO_ROW), ("spans", peak, _NO_SPAN)]
    missing = [words for profiler, value, words in checked if profiler in completed and pd.isna(value)]
    return ", ".join([*([] if pd.isna(role) else [f"in {role}"]), *missing])
