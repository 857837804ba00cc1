"""What each profiler costs against none: ratios of time and of peak memory, published ones beside."""

from __future__ import annotations

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common
from .common import Figure

TITLE = "Cost of each profiler"
_CAPTION = (
    "Each point is a run under a profiler, divided by the median of the runs of the same system and size "
    "without one; the number is the ratio of the medians, the coloured line the range of repeats. The grey "
    "band is the range of the runs without a profiler about their own median: what repeats differ by anyway. "
    "A filled point is outside it. The line at 1 is no cost. Diamonds are published ratios of encoding, "
    "measured on other hardware with another checkpoint."
)
_QUANTITIES = {
    "seconds_per_25k_passages": "encoding",
    "index_seconds": "index call",
    "tree_peak_rss_mib": "peak memory of the process tree",
}
_AXES = {
    "seconds_per_25k_passages": "seconds of encoding, relative to none (logarithmic)",
    "index_seconds": "seconds of the index call, relative to none (logarithmic)",
    "tree_peak_rss_mib": "peak RSS, relative to none (logarithmic)",
}
_ENCODING, _CALL, _PEAK = _QUANTITIES
WITHOUT = "none"
_COLUMNS = [
    "quantity", "series", "documents", "profiler", "run", "repeat", "value", "none_median", "none_min",
    "none_max", "none_runs", "runs", "ratio", "median_ratio", "least_ratio", "most_ratio", "separated",
    "verdict", "published_ratio",
]  # fmt: skip
_BEYOND, _WITHIN, _UNKNOWN = "beyond none", "within none", "not known"
_WIDTH, _ROW = 260, 28


def draw(runs: pd.DataFrame, comparison: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Args: the tables runs, memory_comparison and published_encode_seconds."""
    if runs.empty:
        return common.nothing_to_draw(TITLE, "The table of runs is empty: nothing was run.", _COLUMNS)
    runs = common.label_systems(runs)
    costs = costs_of(runs, comparison, published)
    if costs.empty:
        reason = "No system has completed runs both with and without a profiler at one size."
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    rows = _points(costs, runs)
    sizes = sorted(common.unique(costs["documents"]))
    panels = [_size(costs[costs["documents"] == size], rows, size, runs, costs) for size in sizes]
    title, support, notes = _findings(costs, runs)
    return Figure(
        alt.vconcat(*panels), rows[_COLUMNS], title, common.conditions(runs), support, notes, _CAPTION,
        width=1080,
    )  # fmt: skip


def costs_of(runs: pd.DataFrame, comparison: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """One line for each quantity, system, size and profiler that has a ratio to none.

    `verdict` says whether the runs under the profiler are all outside the range of those without: of one run
    on a side that is less than `separated`, which needs two on both.
    """
    several = runs.groupby("system")["cell"].transform("nunique") > 1
    name = runs["system"].where(~several, runs["system"] + "-" + runs["cell"])
    series = dict(zip(name, runs["series"], strict=True))
    framework = dict(zip(name, runs["framework"], strict=True))
    without = common.published_encoding(published, WITHOUT)
    found = []
    profiled = comparison[
        (comparison["comparison"] == "profilers") & comparison["quantity"].isin(list(_QUANTITIES))
    ]
    for row in common.each_row(profiled.dropna(subset=["ratio"])):
        system, _, profiler = row.right.rpartition("/")
        with_profiler = common.published_encoding(published, profiler)
        of = framework.get(system, "")
        shown = row.quantity == _ENCODING and of in without and of in with_profiler
        found.append(
            {
                "quantity": row.quantity,
                "series": series.get(system, system),
                "framework": of,
                "documents": row.documents,
                "profiler": profiler,
                "none_median": row.left_median,
                "none_min": row.left_min,
                "none_max": row.left_max,
                "none_runs": row.left_runs,
                "runs": row.right_runs,
                "median_ratio": row.ratio,
                "least_ratio": row.right_min / row.left_median,
                "most_ratio": row.right_max / row.left_median,
                "band_low": row.left_min / row.left_median,
                "band_high": row.left_max / row.left_median,
                "separated": None if pd.isna(row.separated) else bool(row.separated),
                "verdict": _verdict(row),
                "published_ratio": with_profiler[of] / without[of] if shown else None,
            }
        )
    costs = pd.DataFrame(found)
    if len(costs):
        costs["row"] = costs["series"] + " · " + costs["profiler"]
        costs["words"] = [f"{ratio:.2f}" for ratio in costs["median_ratio"]]
        costs["published_ratio"] = costs["published_ratio"].astype(float)
    return costs


def _verdict(row: pd.Series) -> str:
    if row.left_runs < 2:
        return _UNKNOWN
    return _BEYOND if row.right_min > row.left_max or row.right_max < row.left_min else _WITHIN


def _points(costs: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each run under a profiler and quantity, beside what it is divided by."""
    completed = runs[runs["outcome"] == COMPLETED]
    values = completed.melt(
        ["series", "documents", "profiler", "run", "repeat"], list(_QUANTITIES), "quantity", "value"
    )
    rows = costs.merge(values.dropna(subset=["value"]), on=["quantity", "series", "documents", "profiler"])
    return rows.assign(ratio=rows["value"] / rows["none_median"])


def _domain(costs: pd.DataFrame, quantities: list[str]) -> list[float]:
    """Of the axis: all ratios of the `quantities`, 1, and room for the numbers."""
    of = costs[costs["quantity"].isin(quantities)]
    ends = of[["least_ratio", "most_ratio", "band_low", "band_high", "published_ratio"]]
    low, high = min(1.0, ends.min().min()), max(1.0, ends.max().max())
    margin = max(1.02, (high / low) ** 0.16)
    return [low / margin, high * margin]


def _size(
    costs: pd.DataFrame, rows: pd.DataFrame, size: int, runs: pd.DataFrame, all_costs: pd.DataFrame
) -> common.Chart:
    order = [row for row in common.series_and_profilers(runs) if (costs["row"] == row).any()]
    panels: list[common.Chart] = []
    for quantity in _QUANTITIES:
        of = costs[costs["quantity"] == quantity]
        if of.empty:
            continue
        points = rows[(rows["quantity"] == quantity) & (rows["documents"] == size)]
        quantities = [_PEAK] if quantity == _PEAK else [_ENCODING, _CALL]
        panels.append(_panel(of, points, order, runs, _domain(all_costs, quantities), first=not panels))
    heading = alt.TitleParams(common.documents(size), fontSize=13, offset=6, anchor="start")
    return alt.hconcat(*panels, spacing=16).properties(title=heading)


def _panel(
    costs: pd.DataFrame,
    points: pd.DataFrame,
    order: list[str],
    runs: pd.DataFrame,
    domain: list[float],
    first: bool,
) -> common.Chart:
    quantity = costs["quantity"].iloc[0]
    scale = alt.Scale(type="log", domain=domain, nice=False)
    axis = alt.Axis(grid=True, domain=False, ticks=False, labels=first)
    y = alt.Y("row:N", sort=order, scale=alt.Scale(domain=order), title=None, axis=axis)
    colour = alt.Color("series:N", scale=common.system_scale(runs), legend=None)
    filled = alt.condition(
        alt.FieldOneOfPredicate("verdict", [_WITHIN, _UNKNOWN]), alt.value(0.0), alt.value(0.9)
    )

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q",
            title=_AXES[quantity],
            scale=scale,
            axis=alt.Axis(format="~g", tickCount=5, values=_ticks(domain)),
        )

    base = alt.Chart(costs).encode(y=y)
    one = (
        alt.Chart(pd.DataFrame({"one": [1.0]}))
        .mark_rule(color=common.NOTE, strokeDash=[3, 3])
        .encode(x=x("one"))
    )
    band = base.mark_bar(height=14, color="#E2E2E2").encode(x=x("band_low"), x2="band_high:Q")
    spread = base.mark_rule(strokeWidth=2, opacity=0.6).encode(
        x=x("least_ratio"), x2="most_ratio:Q", color=colour
    )
    dots = (
        alt.Chart(points)
        .mark_point(size=48, strokeWidth=1.6)
        .encode(
            x=x("ratio"),
            y=y,
            color=colour,
            fill=alt.Color("series:N", scale=common.system_scale(runs), legend=None),
            fillOpacity=filled,
            tooltip=[
                alt.Tooltip("series:N", title="system"),
                "profiler:N",
                "repeat:Q",
                alt.Tooltip("value:Q", title=quantity, format=",.4g"),
                alt.Tooltip("none_median:Q", title="median without a profiler", format=",.4g"),
                alt.Tooltip("none_min:Q", title="least", format=",.4g"),
                alt.Tooltip("none_max:Q", title="most", format=",.4g"),
                alt.Tooltip("ratio:Q", format=".3f"),
                alt.Tooltip("verdict:N", title="outside the runs without"),
            ],
        )
    )
    labels = base.mark_text(dy=-9, fontSize=10, color=common.INK).encode(x=x("median_ratio"), text="words:N")
    layers = [band, one, spread, dots, labels]
    told = costs.dropna(subset=["published_ratio"])
    if len(told):
        theirs = alt.Chart(told).encode(y=y, x=x("published_ratio"))
        diamonds = theirs.mark_point(shape="diamond", size=70, strokeWidth=1.5, color=common.NOTE)
        words = theirs.mark_text(dy=10, fontSize=9.5, color=common.NOTE)
        layers += [
            diamonds.encode(tooltip=[alt.Tooltip("published_ratio:Q", format=".2f")]),
            words.transform_calculate(w="'published ' + format(datum.published_ratio, '.1f')").encode(
                text="w:N"
            ),
        ]
    return alt.layer(*layers).properties(
        width=_WIDTH,
        height=_ROW * len(order),
        title=alt.TitleParams(_QUANTITIES[quantity], fontSize=12, fontWeight="normal", offset=4),
    )


def _ticks(domain: list[float]) -> list[float]:
    candidates = [0.5, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100]
    inside = [tick for tick in candidates if domain[0] <= tick <= domain[1]]
    wide = domain[1] / domain[0] > 2
    return [tick for tick in inside if not wide or tick in (0.5, 1, 1.5, 2, 3, 5, 10, 20, 50, 100)]


def _findings(costs: pd.DataFrame, runs: pd.DataFrame) -> tuple[str, str, list[str]]:
    parts: list[str] = []
    for quantity, what in ((_ENCODING, "encoding"), (_CALL, "the index call")):
        of = costs[costs["quantity"] == quantity]
        if not parts and len(of):
            parts = [_times_words(of, what)]
    peaks = (100 * (costs.loc[costs["quantity"] == _PEAK, "median_ratio"] - 1)).round().astype(int)
    if len(peaks):
        change = common.range_words(peaks.min(), peaks.max(), "+d", " %").replace("-", "−")
        parts.append(f"the peak changes by {change}" if parts else f"Profilers change the peak by {change}")
    title = "; ".join(parts)
    return title, _support(costs), [_published(costs), common.incomplete_words(runs, "")]


def _times_words(costs: pd.DataFrame, what: str) -> str:
    """Each profiler's range of ratios, the most costly one first."""
    most = costs.groupby("profiler")["median_ratio"].max().sort_values(ascending=False)
    words = []
    for profiler in most.index:
        ratios = costs.loc[costs["profiler"] == profiler, "median_ratio"]
        words.append(f"{common.range_words(ratios.min(), ratios.max(), '.2f')} times")
    first = f"{most.index[0]} makes {what} {words[0]} as long as without a profiler"
    others = [f"{profiler} {ratio}" for profiler, ratio in zip(most.index[1:], words[1:], strict=True)]
    return ", ".join([first, *[common.listed(others)] * bool(others)])


def _support(costs: pd.DataFrame) -> str:
    """How many ratios are outside what repeats without a profiler differ by anyway."""
    sentences = []
    for quantity, words in _QUANTITIES.items():
        of = costs[costs["quantity"] == quantity]
        known = of[of["verdict"] != _UNKNOWN]
        if len(known):
            beyond = (known["verdict"] == _BEYOND).sum()
            sentences.append(f"{words} {beyond} of {len(known)}")
    if not sentences:
        return "No system was repeated without a profiler, so what repeats differ by anyway is not known."
    single = (costs["runs"] == 1).all()
    return (
        f"Outside the range of repeats without a profiler: {common.listed(sentences)}"
        + (", each from a single run under the profiler" if single else "")
        + "."
    )


def _published(costs: pd.DataFrame) -> str:
    """Whether RAGatouille pays more than ColBERT for memory_profiler, as published; empty where not told."""
    told = costs.dropna(subset=["published_ratio"])
    told = told[told["documents"] == told["documents"].max()].drop_duplicates("framework")
    told = told.set_index("framework")
    if not {"colbert", "ragatouille"} <= set(told.index):
        return ""
    colbert, ragatouille = told.loc["colbert"], told.loc["ragatouille"]
    apart = None
    if min(colbert["runs"], ragatouille["runs"]) > 1:
        apart = bool(
            colbert["most_ratio"] < ragatouille["least_ratio"]
            or ragatouille["most_ratio"] < colbert["least_ratio"]
        )
    same = (ragatouille["median_ratio"] > colbert["median_ratio"]) == (
        ragatouille["published_ratio"] > colbert["published_ratio"]
    )
    return (
        f"Published ({common.PUBLISHED_GPU}): with {colbert['profiler']} encoding takes "
        f"{colbert['published_ratio']:.1f} times as long for ColBERT and {ragatouille['published_ratio']:.1f} for "
        f"RAGatouille. Here {colbert['median_ratio']:.2f} ({colbert['series']}) and "
        f"{ragatouille['median_ratio']:.2f} ({ragatouille['series']}): that RAGatouille pays more "
        f"{common.holds_words(same, apart)}."
    )
