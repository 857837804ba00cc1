"""Peak memory of the process tree against the number of documents: every run, and lines through medians."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common
from .common import Figure

TITLE = "Peak memory of the process tree"
_CAPTION = (
    "Each point is a run, each line goes through the medians of its repeats. The peak is the largest sum, over "
    "all processes of a run, in samples of their RSS taken from outside; pages that processes share count in "
    "each. Libraries load at start-up and touch their pages again at exit, so the peak of the whole run may "
    "lie outside the framework's index call, whose own peak is shown apart. Profilers are runs of their own, "
    "to be read against none. × is the last sample of a run that did not complete. {scales}"
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
    "memory_limit_mib",
]
_INDEX_CALL = "index call"
# Beyond this ratio of sizes, linear axes would press all but the largest into a corner.
_LINEAR_RATIO = 12
_MAIN_WIDTH, _OTHER_WIDTH, _HEIGHT = 400, 190, 320
_LABEL_WIDTH, _LABEL_HEIGHT, _AXIS_WIDTH = 230, 13, 60
_STRIP_WIDTH, _ROW_HEIGHT = 300, 30
_MARKS = {
    "peak of the whole run": "circle",
    "peak during the index call": "M-0.16,-1.1L0.16,-1.1L0.16,1.1L-0.16,1.1Z",
}
_RUN, _CALL = _MARKS
_CALL_ACROSS = "M-1.1,-0.16L1.1,-0.16L1.1,0.16L-1.1,0.16Z"  # the second mark where memory goes upwards


def draw(runs: pd.DataFrame, comparison: pd.DataFrame) -> Figure:
    """Args: the tables runs and memory_comparison."""
    runs = common.label_systems(common.own_runs(runs))
    if runs.empty:
        return common.nothing_to_draw(TITLE, "The table of runs is empty: nothing was run.", _COLUMNS)
    rows = runs.assign(memory_limit_mib=common.memory_limits(runs))[_COLUMNS]
    sizes = sorted(common.unique(rows["documents"]))
    profilers = [name for name in common.PROFILERS if (rows["profiler"] == name).any()]
    if len(sizes) == 1:
        chart, width = _strips(rows, profilers, common.system_scale(runs))
        scales = "With one size there is no line: systems are in rows."
    else:
        axes = _axes(rows, sizes)
        chart, width = _trends(rows, profilers, axes, common.system_scale(runs))
        kind = "logarithmic: a straight line is a power of the number of documents, a level one a constant"
        scales = f"Both axes are {kind if axes.logarithmic else 'linear and begin at zero'}."
    title, support, notes = _findings(runs, comparison)
    return Figure(
        chart,
        rows,
        title,
        common.conditions(runs),
        support,
        [_published(runs), _growth(runs), *notes],
        _CAPTION.format(scales=scales),
        width=max(760, width),
    )


def _tooltip() -> list[alt.Tooltip | str]:
    return [
        alt.Tooltip("series:N", title="system"),
        alt.Tooltip("documents:Q", format=","),
        "profiler:N",
        "repeat:Q",
        alt.Tooltip("outcome_words:N", title="outcome"),
        alt.Tooltip("tree_peak_rss_mib:Q", title="peak (MiB)", format=",.1f"),
        alt.Tooltip("tree_peak_moment:N", title="peak reached in"),
        alt.Tooltip("index_peak_rss_mib:Q", title="in the index call (MiB)", format=",.1f"),
    ]


def _shape(call: str) -> alt.Shape:
    return alt.Shape(
        "mark:N",
        title=None,
        scale=alt.Scale(domain=list(_MARKS), range=[_MARKS[_RUN], call]),
        legend=alt.Legend(orient="top", symbolStrokeColor=common.NOTE, symbolFillColor=common.NOTE),
    )


def _with_words(rows: pd.DataFrame, foot: float) -> pd.DataFrame:
    """The rows with how each run ended in words, and where its mark is: at `foot` without a sample."""
    no_sample = rows["tree_peak_rss_mib"].isna().map({True: ", no sample", False: ""})
    return rows.assign(
        outcome_words=rows["outcome"].map(common.outcome_words) + no_sample,
        position=rows["tree_peak_rss_mib"].fillna(foot),
    )


def _highest(rows: pd.DataFrame) -> float:
    highest = float(rows[["tree_peak_rss_mib", "memory_limit_mib"]].max().max())
    return max(1.0, highest)  # in this order, for NaN


# Several sizes: memory against documents


@dataclass(frozen=True)
class _Axes:
    """The two scales that all panels share."""

    sizes: list[int]
    documents: tuple[float, float]
    mib: tuple[float, float]
    logarithmic: bool

    def x(self) -> alt.X:
        return alt.X(
            "documents:Q",
            title="documents",
            scale=alt.Scale(type=self._kind, domain=list(self.documents), nice=False),
            axis=alt.Axis(
                values=self.sizes, format="~s" if self.sizes[-1] >= 10_000 else ",d", labelOverlap="greedy"
            ),
        )

    def y(self, field: str, *, main: bool) -> alt.Y:
        return alt.Y(
            f"{field}:Q",
            title="peak RSS of the process tree (MiB)" if main else None,
            scale=alt.Scale(type=self._kind, domain=list(self.mib), nice=False),
            axis=alt.Axis(tickCount=6, format=",.0f", labels=main, ticks=main),
        )

    def spread(self, values: pd.Series) -> pd.Series:
        """Values at which texts beside `values` (sorted, rising) do not overlap."""
        low, high = self._length(self.mib[0]), self._length(self.mib[1])
        step = _LABEL_HEIGHT / _HEIGHT * (high - low)
        places: list[float] = []
        for value in values:
            floor = places[-1] + step if places else low
            places.append(max(self._length(value), floor))
        ceiling = high - step / 2  # what was pushed beyond the top edge comes down again
        for number in reversed(range(len(places))):
            places[number] = min(places[number], ceiling)
            ceiling = places[number] - step
        return pd.Series(
            [math.exp(each) if self.logarithmic else each for each in places], index=values.index
        )

    @property
    def _kind(self) -> Literal["log", "linear"]:
        return "log" if self.logarithmic else "linear"

    def _length(self, value: float) -> float:
        return math.log(value) if self.logarithmic else value


def _axes(rows: pd.DataFrame, sizes: list[int]) -> _Axes:
    highest = round(1.1 * _highest(rows), 1)
    if sizes[-1] / sizes[0] <= _LINEAR_RATIO:
        return _Axes(sizes, (0, 1.06 * sizes[-1]), (0, highest), logarithmic=False)
    levels = rows[["tree_peak_rss_mib", "index_peak_rss_mib"]]
    lowest = levels[levels > 0].min().min()
    low = highest / 10 if pd.isna(lowest) else round(0.8 * lowest, 1)
    return _Axes(sizes, (0.8 * sizes[0], 1.25 * sizes[-1]), (low, highest), logarithmic=True)


def _trends(
    rows: pd.DataFrame, profilers: Sequence[str], axes: _Axes, scale: alt.Scale
) -> tuple[common.Chart, int]:
    rows = _with_words(rows, foot=axes.mib[0] if axes.logarithmic else 0.02 * axes.mib[1])
    panels = [
        _trend(rows[rows["profiler"] == profiler], profiler, axes, scale, main=number == 0)
        for number, profiler in enumerate(profilers)
    ]
    chart: common.Chart = alt.hconcat(*panels).resolve_scale(shape="shared", color="shared")
    others = (len(profilers) - 1) * (_OTHER_WIDTH + 22)
    return chart, _AXIS_WIDTH + _MAIN_WIDTH + _LABEL_WIDTH + others


def _trend(rows: pd.DataFrame, profiler: str, axes: _Axes, scale: alt.Scale, *, main: bool) -> common.Chart:
    completed = rows[rows["outcome"] == COMPLETED]
    levels = ["tree_peak_rss_mib", "index_peak_rss_mib"]
    medians = completed.groupby(["series", "documents"], sort=False)[levels].median().reset_index()
    color = alt.Color("series:N", scale=scale, legend=None)

    def line(field: str, dash: list[int], opacity: float) -> alt.Chart:
        lines: alt.Chart = alt.Chart(medians).mark_line(strokeWidth=1.5, strokeDash=dash, opacity=opacity)
        return lines.encode(x=axes.x(), y=axes.y(field, main=main), color=color)

    def mark(field: str, name: str, size: int) -> alt.Chart:
        marks: alt.Chart = (
            alt.Chart(completed)
            .transform_calculate(mark=f"'{name}'")
            .mark_point(size=size, filled=True, opacity=0.75)
        )
        return marks.encode(
            x=axes.x(),
            y=axes.y(field, main=main),
            color=color,
            shape=_shape(_CALL_ACROSS),
            tooltip=_tooltip(),
        )

    layers = [
        line("index_peak_rss_mib", [4, 3], 0.6),
        line("tree_peak_rss_mib", [1, 0], 1.0),
        mark("index_peak_rss_mib", _CALL, 70),
        mark("tree_peak_rss_mib", _RUN, 45),
        *_limit_layers(rows, axes, main=main),
        *_ended_layers(rows, axes, color, main=main),
    ]
    if main:
        layers.append(_names(rows, axes, color))
    return alt.layer(*layers).properties(
        width=_MAIN_WIDTH if main else _OTHER_WIDTH,
        height=_HEIGHT,
        title=alt.TitleParams(f"profiler {profiler}", fontSize=13, offset=6),
    )


def _limit_layers(rows: pd.DataFrame, axes: _Axes, *, main: bool) -> list[alt.Chart]:
    limits = rows[["memory_limit_mib"]].dropna().drop_duplicates()
    if limits.empty:
        return []
    limits = limits.assign(words=[f"limit {common.mib(each)}" for each in limits["memory_limit_mib"]])
    base = alt.Chart(limits).encode(y=axes.y("memory_limit_mib", main=main), color=alt.value(common.ALARM))
    return [
        base.mark_rule(strokeDash=[5, 3]),
        base.mark_text(align="left", dy=-6, fontSize=10).encode(x=alt.value(4), text="words:N"),
    ]


def _ended_layers(rows: pd.DataFrame, axes: _Axes, color: alt.Color, *, main: bool) -> list[alt.Chart]:
    ended = rows[rows["outcome"] != COMPLETED]
    if ended.empty:
        return []
    crosses = alt.Chart(ended).encode(
        x=axes.x(), y=axes.y("position", main=main), color=color, tooltip=_tooltip()
    )
    layers = [crosses.mark_text(text="×", fontSize=20, fontWeight="bold")]
    # Into the panel; the same words of runs of one size once.
    late = ended["documents"] >= axes.sizes[len(axes.sizes) // 2]
    texts = ended.assign(late=late).drop_duplicates(["documents", "outcome_words"])
    sides: list[tuple[pd.DataFrame, Literal["left", "right"], int]] = [
        (texts[~texts["late"]], "left", 8),
        (texts[texts["late"]], "right", -8),
    ]
    for of_side, align, dx in sides:
        base = alt.Chart(of_side).encode(x=axes.x(), y=axes.y("position", main=main), text="outcome_words:N")
        layers += [
            base.mark_text(align=align, dx=dx, dy=9, fontSize=10, **look)
            for look in (common.HALO, {"color": common.ALARM})
        ]
    return layers


def _names(rows: pd.DataFrame, axes: _Axes, color: alt.Color) -> alt.Chart:
    """Each system's name beside the end of its line, with the median there."""
    last = rows[rows["documents"] == rows.groupby("series")["documents"].transform("max")]
    ends = []
    for series, of_series in last.groupby("series", sort=False):
        completed = of_series[of_series["outcome"] == COMPLETED]
        level = (of_series if completed.empty else completed)["position"].median()
        words = f"× {series}" if completed.empty else f"{common.count(level)} {series}"
        ends.append({"series": series, "level": level, "words": words})
    names = pd.DataFrame(ends, columns=["series", "level", "words"]).sort_values("level")
    names["place"] = axes.spread(names["level"].clip(lower=axes.mib[0]))
    texts: alt.Chart = alt.Chart(names).mark_text(align="left", fontSize=11)
    return texts.encode(
        x=alt.value(_MAIN_WIDTH + 6), y=axes.y("place", main=True), text="words:N", color=color
    )


# One size: a strip for each system


def _strips(rows: pd.DataFrame, profilers: Sequence[str], scale: alt.Scale) -> tuple[common.Chart, int]:
    plain = rows["tree_peak_moment"].fillna(_INDEX_CALL) == _INDEX_CALL
    room = 1.25 if plain.all() and (rows["outcome"] == COMPLETED).all() else 2.0  # for texts beside marks
    end = round(room * _highest(rows), 1)
    rows = _with_words(rows, foot=0.03 * end)
    columns = common.columns_that_fit(len(profilers), _STRIP_WIDTH + 22, margin=_LABEL_WIDTH)
    panels = [
        _strip(
            rows[rows["profiler"] == profiler],
            profiler,
            common.unique(rows["series"]),
            scale,
            end,
            first=number % columns == 0,
        )
        for number, profiler in enumerate(profilers)
    ]
    chart: common.Chart = alt.concat(*panels, columns=columns).resolve_scale(shape="shared", color="shared")
    return chart, columns * (_STRIP_WIDTH + 22) + _LABEL_WIDTH


def _strip(
    rows: pd.DataFrame, profiler: str, series: list[str], scale: alt.Scale, end: float, *, first: bool
) -> common.Chart:
    y = alt.Y(
        "series:N",
        sort=series,
        scale=alt.Scale(domain=series),
        title=None,
        axis=alt.Axis(grid=True, domain=False, ticks=False, labels=first),
    )
    color = alt.Color("series:N", scale=scale, legend=None)
    completed = alt.Chart(rows[rows["outcome"] == COMPLETED]).encode(y=y, color=color)

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q",
            title="peak RSS of the process tree (MiB)",
            scale=alt.Scale(domain=[0, end], nice=False),
            axis=alt.Axis(tickCount=5),
        )

    def mark(field: str, name: str, size: int) -> alt.Chart:
        marks: alt.Chart = completed.transform_calculate(mark=f"'{name}'").mark_point(
            size=size, filled=True, opacity=0.8
        )
        return marks.encode(x=x(field), shape=_shape(_MARKS[_CALL]), tooltip=_tooltip())

    values = alt.Chart(_labels(rows)).mark_text(align="left", dx=9, fontSize=10, color=common.INK)
    limits = alt.Chart(rows[["memory_limit_mib"]].dropna().drop_duplicates())
    ended = alt.Chart(rows[rows["outcome"] != COMPLETED]).encode(
        x=x("position"), y=y, tooltip=_tooltip(), color=alt.value(common.ALARM)
    )
    return alt.layer(
        completed.mark_rule(strokeWidth=2, opacity=0.55).encode(x="min(position):Q", x2="max(position):Q"),
        mark("index_peak_rss_mib", _CALL, 60),
        mark("tree_peak_rss_mib", _RUN, 62),
        values.encode(x=x("position"), y=y, text="words:N"),
        limits.mark_rule(color=common.ALARM, strokeDash=[5, 3]).encode(x=x("memory_limit_mib")),
        ended.mark_text(text="×", fontSize=18, fontWeight="bold"),
        ended.mark_text(align="left", dx=9, fontSize=10).encode(text="outcome_words:N"),
    ).properties(
        width=_STRIP_WIDTH,
        height=_ROW_HEIGHT * len(series),
        title=alt.TitleParams(f"profiler {profiler}", fontSize=13, offset=6),
    )


def _labels(rows: pd.DataFrame) -> pd.DataFrame:
    """For each system of a strip the median, and the moment of the peaks outside the index call."""
    labels = []
    for series, repeats in rows[rows["outcome"] == COMPLETED].groupby("series", sort=False):
        peaks = repeats["tree_peak_rss_mib"].dropna()
        moments = common.unique(repeats["tree_peak_moment"])
        words = common.count(peaks.median()) + (
            f" ({' or '.join(moments)})" if set(moments) - {_INDEX_CALL} else ""
        )
        labels.append({"series": series, "position": peaks.max(), "words": words})
    return pd.DataFrame(labels, columns=["series", "position", "words"])


# Sentences


def _published(runs: pd.DataFrame) -> str:
    """Whether RAGatouille's peak lies above ColBERT's: of the tree, and of one process, as was published."""
    statement = (
        "RAGatouille's highest reading lies above ColBERT's at every size, of the one process that was read"
    )
    plain = runs[(runs["outcome"] == COMPLETED) & (runs["profiler"] == "none")]
    plain = plain.assign(process_peak=plain[["parent_peak_rss_mib", "worker_peak_rss_mib"]].max(axis=1))
    higher, lower = (common.series_of(plain, name) for name in ("ragatouille", "colbert"))
    medians = plain.groupby(["documents", "series"])[["tree_peak_rss_mib", "process_peak"]].median()
    pairs = [
        (medians.loc[size, left], medians.loc[size, right], left)
        for size in sorted(common.unique(plain["documents"]))
        for left in higher
        for right in lower
        if {(size, left), (size, right)} <= set(medians.index)
    ]
    if not pairs:
        return common.published(statement, "", {}, "no size has runs of both without a profiler")
    verdicts: dict[str, bool] = {}
    for left, right, name in pairs:
        verdicts[name] = verdicts.get(name, True) and bool(left["process_peak"] > right["process_peak"])
    process, tree = (
        sum(left[quantity] > right[quantity] for left, right, _ in pairs)
        for quantity in ("process_peak", "tree_peak_rss_mib")
    )
    evidence = (
        f"the largest process is larger in {process} of {len(pairs)} pairs of a RAGatouille and a ColBERT "
        f"system of one size, all processes together in {tree}"
    )
    return common.published(statement, "here", verdicts, evidence)


def _growth(runs: pd.DataFrame) -> str:
    """What the median peak adds from the smallest to the largest size of each system."""
    plain = runs[(runs["outcome"] == COMPLETED) & (runs["profiler"] == "none")]
    parts = []
    for series, of_series in plain.groupby("series", sort=False):
        medians = of_series.groupby("documents")["tree_peak_rss_mib"].median().dropna()
        if len(medians) > 1:
            growth = (medians.iloc[-1] - medians.iloc[0]) / (medians.index[-1] - medians.index[0])
            parts.append((1000 * growth, series))
    if not parts:
        return ""
    parts.sort(reverse=True)
    told = parts if len(parts) <= 3 else [parts[0], parts[-1]]
    words = common.listed(
        [f"{growth:,.{0 if abs(growth) >= 10 else 1}f} MiB for {series}" for growth, series in told]
    )
    few = "" if len(told) == len(parts) else f" (most and least of {len(parts)} systems)"
    return (
        f"Each 1,000 documents more add to the median peak, between smallest and largest size: {words}{few}."
    )


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
