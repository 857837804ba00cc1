"""What measuring costs: time and peak memory under each way of measuring, divided by the same round's run without."""

from __future__ import annotations

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common
from .common import Figure

TITLE = "What measuring costs"
WITHOUT, BARE, AGAIN = "none", "bare", "none, again"
# The variant whose cost is claimed to be none: exact peaks of every call, with the curve.
CLAIMED = "spans"
BEYOND = "beyond"  # the verdict of what is neither at most 1.01 nor within the spread of none
FEWEST = 6  # rounds whose range covers the median ratio with 95 %
# Variant and what it is divided by → how a row of the figure is called.
ROWS = {
    (BARE, WITHOUT): BARE,
    (WITHOUT, WITHOUT): AGAIN,
    (CLAIMED, WITHOUT): CLAIMED,
    (CLAIMED, BARE): "spans, by bare",
    ("memory_profiler", WITHOUT): "memory_profiler",
    ("memray", WITHOUT): "memray",
}
_TIME, _PEAK = "index_seconds", "tree_peak_rss_mib"
_QUANTITIES = {_TIME: "time of the index call", _PEAK: "peak memory of the process tree"}
_AXES = {_TIME: "seconds, relative to none (logarithmic)", _PEAK: "peak RSS, relative to none (logarithmic)"}
_CAPTION = (
    "The same index was built in rounds, once under each way of measuring and twice under none, in an order that "
    "changes from round to round. Each point is one round: the run’s value divided by that of the round’s first run "
    "under none. All have the curve (the process tree is read from outside many times a second) but bare, of which "
    "the tree is looked at once a second; spans by bare is thus what spans and curve cost together. The line is the "
    "interval of the median ratio, from the order of the rounds alone; the number is the median. The grey band is "
    "the range of none against itself, widened to be the same in both directions, because which of two equal runs "
    "comes first is chance. Filled points: the median is above 1.01 (of memory: off by more than that) and outside "
    "that band. Peaks of bare are not drawn: once a second is too seldom to see them."
)
_COLUMNS = [
    "system", "label", "framework", "documents", "quantity", "variant", "baseline", "row", "round", "position",
    "value", "baseline_value", "ratio", "median_ratio", "interval_low", "interval_high", "interval_coverage",
    "none_low", "none_high", "verdict",
]  # fmt: skip
_COLOURS = dict(
    zip(ROWS.values(), ["#999999", "#5A5A5A", "#0072B2", "#0072B2", "#E69F00", "#CC79A7"], strict=True)
)
_WIDTH, _ROW = 400, 34


def draw(rounds: pd.DataFrame, overhead: pd.DataFrame) -> Figure:
    """Args: the tables profiler_rounds and profiler_overhead."""
    told = overhead[overhead["quantity"].isin(list(_QUANTITIES))].dropna(subset=["ratio"])
    names = [ROWS.get(pair, "") for pair in zip(told["variant"], told["baseline"], strict=True)]
    told = told.assign(row=names)
    told = told[told["row"] != ""]
    if told.empty:
        reason = "No round was measured." if rounds.empty else "No round has two completed runs to compare."
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    costs = told.assign(words=[f"{ratio:.3f}" for ratio in told["ratio"]])
    points = _points(rounds, costs)
    systems = common.unique(costs["system"])
    panels = [_system(costs, points, system) for system in systems]
    title, support = _claim(costs)
    return Figure(
        alt.vconcat(*panels, spacing=26), points[_COLUMNS], title, _conditions(rounds), support,
        [_others(costs), _sampling(rounds), _lost(rounds)], _CAPTION, width=1060,
    )  # fmt: skip


def _name(costs: pd.DataFrame) -> str:
    row = costs.iloc[0]
    return str(row["system"] if pd.isna(row["label"]) else row["label"])


def _points(rounds: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """One row for each ratio of a round, beside what its variant costs."""
    completed = rounds[(rounds["outcome"] == COMPLETED) & (rounds["round"] > 0)]
    keys = ["system", "documents", "round"]
    values = completed.melt(
        [*keys, "position", "variant", "again"], list(_QUANTITIES), "quantity", "value"
    ).dropna(subset=["value"])
    again = values["again"].astype(bool)
    bases = values.loc[
        ~again & values["variant"].isin([WITHOUT, BARE]), [*keys, "quantity", "variant", "value"]
    ]
    bases = bases.rename(columns={"variant": "baseline", "value": "baseline_value"})
    others = values[(values["variant"] != WITHOUT) | again]
    points = others.merge(bases, on=[*keys, "quantity"])
    points = points.assign(ratio=points["value"] / points["baseline_value"])
    of = costs.rename(columns={"ratio": "median_ratio"})[
        [
            "system", "label", "framework", "documents", "quantity", "variant", "baseline", "row", "median_ratio",
            "interval_low", "interval_high", "interval_coverage", "none_low", "none_high", "verdict",
        ]
    ]  # fmt: skip
    return points.merge(of, on=["system", "documents", "quantity", "variant", "baseline"])


def _domain(points: pd.DataFrame, quantity: str) -> list[float]:
    """Of the axis, the same for all systems: all ratios, the band, 1, and room for the numbers."""
    of = points.loc[points["quantity"] == quantity, ["ratio", "none_low", "none_high"]]
    low, high = min(1.0, of.min().min()), max(1.0, of.max().max())
    margin = max(1.005, (high / low) ** 0.08)
    return [low / margin, high * margin]


def _system(costs: pd.DataFrame, points: pd.DataFrame, system: str) -> common.Chart:
    of = costs[costs["system"] == system]
    panels = [
        _panel(
            of[of["quantity"] == quantity],
            points[(points["system"] == system) & (points["quantity"] == quantity)],
            quantity,
            _domain(points, quantity),
            [name for name in ROWS.values() if (costs["row"] == name).any()],
            first=not number,
        )
        for number, quantity in enumerate(_QUANTITIES)
    ]
    heading = alt.TitleParams(_name(of), fontSize=13, offset=6, anchor="start")
    return alt.hconcat(*panels, spacing=20).properties(title=heading)


def _panel(
    costs: pd.DataFrame,
    points: pd.DataFrame,
    quantity: str,
    domain: list[float],
    order: list[str],
    first: bool,
) -> common.Chart:
    axis = alt.Axis(grid=True, domain=False, ticks=False, labels=first)
    y = alt.Y("row:N", sort=order, scale=alt.Scale(domain=order), title=None, axis=axis)
    scale = alt.Scale(type="log", domain=domain, nice=False)
    colours = alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values()))
    colour = alt.Color("row:N", scale=colours, legend=None)
    ticks = alt.Axis(format="~g", values=_ticks(domain), grid=True)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", title=_AXES[quantity], scale=scale, axis=ticks)

    one = (
        alt.Chart(pd.DataFrame({"one": [1.0]}))
        .mark_rule(color=common.NOTE, strokeDash=[3, 3])
        .encode(x=x("one"))
    )
    # One band for the whole panel: the same for every row.
    layers: list[alt.Chart] = []
    spread = costs.dropna(subset=["none_low"]).head(1)
    if len(spread):
        layers.append(
            alt.Chart(spread)
            .mark_rect(color="#DDDDDD", opacity=0.75)
            .encode(x=x("none_low"), x2="none_high:Q")
        )
    base = alt.Chart(costs).encode(y=y)
    interval = base.mark_rule(strokeWidth=2, opacity=0.7, yOffset=5).encode(
        x=x("interval_low"), x2="interval_high:Q", color=colour
    )
    dots = (
        alt.Chart(points)
        .mark_point(size=42, strokeWidth=1.5, yOffset=5)
        .encode(
            x=x("ratio"),
            y=y,
            color=colour,
            fill=alt.Fill("row:N", scale=colours, legend=None),
            fillOpacity=alt.condition(
                alt.FieldEqualPredicate(equal=BEYOND, field="verdict"), alt.value(0.9), alt.value(0.0)
            ),
            tooltip=[
                alt.Tooltip("row:N", title="measured"),
                alt.Tooltip("round:Q"),
                alt.Tooltip("position:Q", title="place in the round"),
                alt.Tooltip("value:Q", title=quantity, format=",.4g"),
                alt.Tooltip("baseline:N", title="divided by"),
                alt.Tooltip("baseline_value:Q", title="which is", format=",.4g"),
                alt.Tooltip("ratio:Q", format=".3f"),
                alt.Tooltip("median_ratio:Q", title="median ratio", format=".3f"),
                alt.Tooltip("verdict:N"),
            ],
        )
    )
    words = {"x": x("ratio"), "text": "words:N"}
    halo = base.mark_text(dy=-8, fontSize=10.5, **common.HALO).encode(**words)
    labels = base.mark_text(dy=-8, fontSize=10.5, color=common.INK).encode(**words)
    return alt.layer(*layers, one, interval, dots, halo, labels).properties(
        width=_WIDTH,
        height=_ROW * len(order),
        title=alt.TitleParams(_QUANTITIES[quantity], fontSize=12, fontWeight="normal", offset=4),
    )


def _ticks(domain: list[float]) -> list[float]:
    wide = domain[1] / domain[0]
    candidates = (
        [0.9, 0.95, 0.98, 0.99, 1, 1.01, 1.02, 1.05, 1.1]
        if wide < 1.2
        else [0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5]
        if wide < 2
        else [0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50]
    )
    return [tick for tick in candidates if domain[0] <= tick <= domain[1]]


def _claim(costs: pd.DataFrame) -> tuple[str, str]:
    """Whether spans and curve cost time that could be told from none, for each system; and how sure it is."""
    claimed = costs[(costs["variant"] == CLAIMED) & (costs["quantity"] == _TIME)]
    what = "spans"
    if (claimed["baseline"] == BARE).any():
        claimed, what = claimed[claimed["baseline"] == BARE], "spans and curve"
    if claimed.empty:
        return f"{TITLE}: {CLAIMED} was not measured", ""
    names = [_name(claimed[claimed["system"] == system]) for system in claimed["system"]]
    found = {
        name: f"{row.ratio:.3f} times as long ({row.verdict})"
        for name, row in zip(names, common.each_row(claimed), strict=True)
    }
    disturbs = (claimed["verdict"] == BEYOND).any()
    verdict = "Measuring disturbs" if disturbs else "Measuring is not seen to disturb"
    few = int(claimed["rounds"].min())
    only = f" (in {few} round{'s' * (few > 1)} only)" if few < FEWEST else ""
    intervals = [
        f"{name} {row.interval_low:.3f} to {row.interval_high:.3f} "
        f"({100 * row.interval_coverage:.0f} % interval), none against itself "
        + (f"{row.none_low:.3f} to {row.none_high:.3f}" if not pd.isna(row.none_low) else "not known")
        for name, row in zip(names, common.each_row(claimed), strict=True)
    ]
    return (
        f"{verdict}{only}: {what} take {common.grouped(found)}",
        f"Time under {what}: {'; '.join(intervals)}.",
    )


def _others(costs: pd.DataFrame) -> str:
    """The range over systems of each other variant's ratios of time and peak."""
    sentences = []
    for (_, baseline), name in ROWS.items():
        if name == AGAIN or baseline != WITHOUT:
            continue
        words = []
        for quantity, what in ((_TIME, "time"), (_PEAK, "peak")):
            ratios = costs.loc[(costs["row"] == name) & (costs["quantity"] == quantity), "ratio"]
            if len(ratios):
                words.append(f"{what} {common.range_words(ratios.min(), ratios.max(), '.3f')}")
        if words:
            sentences.append(f"{name}: {' and '.join(words)}")
    return f"Times none: {'; '.join(sentences)}." if sentences else ""


def _sampling(rounds: pd.DataFrame) -> str:
    """How much of a core the sampling of the tree took, with the curve and without."""
    runs = rounds[(rounds["round"] > 0) & (rounds["wall_seconds"] > 0)]
    cores = 100 * runs["sampling_processor_seconds"] / runs["wall_seconds"]
    curve, bare = cores[runs["variant"] != BARE], cores[runs["variant"] == BARE]
    if curve.empty:
        return ""
    without = f", {bare.median():.2g} % with one look a second" if len(bare) else ""
    return f"Sampling the tree from outside takes {curve.median():.2g} % of one core (median of the runs){without}."


def _lost(rounds: pd.DataFrame) -> str:
    runs = rounds[rounds["round"] > 0]
    return common.incomplete_words(runs, ", and their ratios are missing")


def _conditions(rounds: pd.DataFrame) -> str:
    runs = rounds[rounds["round"] > 0]
    sizes = common.listed([common.count(size) for size in sorted(common.unique(runs["documents"]))])
    machines = [
        f"{row.cpu_model}, {row.cpu_count:.0f} cores"
        for row in common.each_row(runs[["cpu_model", "cpu_count"]].dropna().drop_duplicates())
    ]
    number = runs.groupby("system")["round"].nunique()
    parts = [
        f"{sizes} documents",
        f"{common.range_words(number.min(), number.max(), 'd')} round{'s' * int(number.max() > 1)}",
        *machines,
    ]
    return " · ".join(parts)
