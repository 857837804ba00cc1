"""Peak memory of the process tree by system, size and profiler: every repeat, and the range they span."""

from __future__ import annotations

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common
from .common import Figure

TITLE = "Peak memory of the process tree"
_CAPTION = (
    "Each point is a run, each line the range of its repeats, each number their median. The peak is the "
    "largest sum, over all processes of a run, in samples of their RSS taken from outside; pages that "
    "processes share count in each. Where it is not in the framework's index call, its moment is given: "
    "libraries load at start-up and touch their pages again at exit. Profilers are runs of their own, to be "
    "read against none."
)
_COLUMNS = [
    "run",
    "system",
    "series",
    "documents",
    "profiler",
    "repeat",
    "outcome",
    "tree_peak_rss_mib",
    "tree_peak_moment",
    "index_peak_rss_mib",
]
_PANEL_WIDTH, _ROW_HEIGHT = 330, 22
_MARKS = {
    "peak of the whole run": "circle",
    "peak during the index call": "M-0.16,-1.1L0.16,-1.1L0.16,1.1L-0.16,1.1Z",
}
_RUN, _CALL = _MARKS
_INDEX_CALL = "index call"


def draw(runs: pd.DataFrame, comparison: pd.DataFrame) -> Figure:
    """Args: the tables runs and memory_comparison."""
    if runs.empty:
        return common.nothing_to_draw(TITLE, "The table of runs is empty: nothing was run.", _COLUMNS)
    runs = common.label_systems(runs)
    rows = runs[_COLUMNS].assign(
        outcome_words=runs["outcome"].map(common.outcome_words)
        + runs["tree_peak_rss_mib"].isna().map({True: ", no sample", False: ""}),
        row=runs["series"] + " · " + runs["profiler"],
    )
    plain = (runs["outcome"] == COMPLETED) & (runs["tree_peak_moment"].fillna(_INDEX_CALL) == _INDEX_CALL)
    room = 1.25 if plain.all() else 1.55  # for the texts beside the marks
    end = room * max(1.0, rows["tree_peak_rss_mib"].max())  # in this order: NaN is no maximum
    # A run that left no sample still has its mark, at the foot of the axis.
    rows["position"] = rows["tree_peak_rss_mib"].fillna(0.03 * end)
    profilers = common.unique([*common.PROFILERS, *runs["profiler"]])
    order = [f"{series} · {profiler}" for series in common.unique(runs["series"]) for profiler in profilers]
    order = [row for row in order if (rows["row"] == row).any()]
    sizes = sorted(common.unique(runs["documents"]))
    panels = [_panel(rows[rows["documents"] == size], size, order, runs, end) for size in sizes]
    columns = min(2, len(panels))
    chart = alt.concat(*panels, columns=columns).resolve_scale(shape="shared")
    title, support, notes = _findings(runs, comparison)
    return Figure(
        chart,
        rows.drop(columns=["outcome_words", "row", "position"]),
        title,
        common.conditions(runs),
        support,
        notes,
        _CAPTION,
        width=max(760, columns * (_PANEL_WIDTH + 210)),
    )


def _panel(rows: pd.DataFrame, size: int, order: list[str], runs: pd.DataFrame, end: float) -> common.Chart:
    present = [row for row in order if (rows["row"] == row).any()]
    base = alt.Chart(rows).encode(
        y=alt.Y("row:N", sort=present, title=None, axis=alt.Axis(grid=True, domain=False, ticks=False)),
        color=alt.Color("series:N", scale=common.system_scale(runs), title=None, legend=None),
    )
    completed = base.transform_filter(alt.datum.outcome == COMPLETED)
    tooltip: list[alt.Tooltip | str] = [
        alt.Tooltip("series:N", title="system"),
        alt.Tooltip("documents:Q", format=","),
        "profiler:N",
        "repeat:Q",
        alt.Tooltip("outcome_words:N", title="outcome"),
        alt.Tooltip("tree_peak_rss_mib:Q", title="peak (MiB)", format=",.1f"),
        alt.Tooltip("tree_peak_moment:N", title="peak reached in"),
        alt.Tooltip("index_peak_rss_mib:Q", title="in the index call (MiB)", format=",.1f"),
    ]

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q",
            title="peak RSS of the process tree (MiB)",
            scale=alt.Scale(domain=[0, end], nice=False),
            axis=alt.Axis(tickCount=6),
        )

    def mark(field: str, name: str, size: int) -> alt.Chart:
        shape = alt.Shape(
            "mark:N",
            title=None,
            scale=alt.Scale(domain=list(_MARKS), range=list(_MARKS.values())),
            legend=alt.Legend(orient="top", symbolStrokeColor=common.NOTE, symbolFillColor=common.NOTE),
        )
        marks: alt.Chart = completed.transform_calculate(mark=f"'{name}'").mark_point(
            size=size, filled=True, opacity=0.85
        )
        return marks.encode(x=x(field), shape=shape, tooltip=tooltip)

    spread = completed.mark_rule(strokeWidth=2, opacity=0.55).encode(
        x="min(position):Q", x2="max(position):Q"
    )
    labels = alt.Chart(_labels(rows)).mark_text(align="left", dx=9, fontSize=10, color=common.INK)
    values = labels.encode(x=x("position"), y=alt.Y("row:N", sort=present), text="words:N")
    incomplete = base.transform_filter(alt.datum.outcome != COMPLETED).encode(
        x=x("position"), tooltip=tooltip, color=alt.value(common.ALARM)
    )
    crosses = incomplete.mark_text(text="×", fontSize=18, fontWeight="bold")
    reasons = incomplete.mark_text(align="left", dx=9, fontSize=10).encode(text="outcome_words:N")
    return alt.layer(
        spread,
        mark("index_peak_rss_mib", _CALL, 60),
        mark("tree_peak_rss_mib", _RUN, 62),
        values,
        crosses,
        reasons,
    ).properties(
        width=_PANEL_WIDTH,
        height=_ROW_HEIGHT * len(present),
        title=alt.TitleParams(common.documents(size), fontSize=13, offset=6),
    )


def _labels(rows: pd.DataFrame) -> pd.DataFrame:
    """For each row of a panel the median, and the moment of the peaks outside the index call."""
    labels = []
    for row, repeats in rows[rows["outcome"] == COMPLETED].groupby("row", sort=False):
        peaks = repeats["tree_peak_rss_mib"].dropna()
        moments = common.unique(repeats["tree_peak_moment"])
        words = common.count(peaks.median()) + (
            f" ({' or '.join(moments)})" if set(moments) - {_INDEX_CALL} else ""
        )
        labels.append({"row": row, "position": peaks.max(), "words": words})
    return pd.DataFrame(labels, columns=["row", "position", "words"])


def _findings(runs: pd.DataFrame, comparison: pd.DataFrame) -> tuple[str, str, list[str]]:
    completed = runs[runs["outcome"] == COMPLETED]
    if completed.empty:
        return f"No run completed: {common.outcome_counts(runs)}", "", []
    names = common.comparison_names(runs)
    systems = common.differences(comparison, "systems", "tree_peak_rss_mib", names)
    if systems:
        largest = max(difference.documents for difference in systems)
        most = max((each for each in systems if each.documents == largest), key=lambda each: each.percent)
        title = (
            f"Indexing {common.documents(largest)} takes {most.high} {common.mib(most.high_median)} at its "
            f"peak{_moment(completed, most)}, {most.percent:.0f} % more than {most.low} "
            f"({common.mib(most.low_median)})"
        )
        pair = {most.high, most.low}
        same_pair = [each for each in systems if {each.high, each.low} == pair]
        same_pair.sort(key=lambda each: each.documents)
        at_sizes = [f"at {common.documents(each.documents)} {each.spread()}" for each in same_pair]
        support = f"Between these two, the difference {common.listed(at_sizes)}."
        for call in common.differences(comparison, "systems", "index_peak_rss_mib", names):
            if call.documents == largest and {call.high, call.low} == pair:
                support += (
                    f" During the index call alone {call.high} takes {common.mib(call.high_median)} and "
                    f"{call.low} {common.mib(call.low_median)}; this difference {call.spread()}."
                )
    else:
        highest = max(common.each_row(completed), key=lambda row: row.tree_peak_rss_mib)
        title = (
            f"The highest peak is {common.mib(highest.tree_peak_rss_mib)}: {highest.series}, "
            f"{common.documents(highest.documents)}, profiler {highest.profiler}"
        )
        support = "No two systems were run without a profiler at the same size."
    notes = []
    profilers = common.differences(comparison, "profilers", "tree_peak_rss_mib", names)
    if profilers:
        most = max(profilers, key=lambda each: each.mib)
        notes.append(
            f"Largest effect of a profiler, at {common.documents(most.documents)}: {most.high} takes "
            f"{common.mib(most.mib)} more than {most.low}; this {most.spread()}."
        )
    notes.append(common.incomplete_words(runs))
    return title, support, notes


def _moment(completed: pd.DataFrame, difference: common.Difference) -> str:
    """When the larger side's peaks were reached, where that is one moment outside the index call."""
    group = completed[
        (completed["series"] == difference.high)
        & (completed["documents"] == difference.documents)
        & (completed["profiler"] == "none")
    ]
    moments = common.unique(group["tree_peak_moment"])
    outside = len(moments) == 1 and moments[0] != _INDEX_CALL
    return f" ({common.moment_words(moments[0])})" if outside else ""
