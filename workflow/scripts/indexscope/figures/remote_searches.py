"""Searching each system's index: time to load, memory, and latency of single queries and of batches."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from . import common, remote_common
from .common import Figure

TITLE = "Searching the indexes"
_CAPTION = (
    "Each point is a fresh process that loads one system’s index and searches, one query at a time or in batches. "
    "Latency is of a query, or of a whole batch: median, 90th and 99th percentile of each process; the first query, "
    "which also warms up the encoder, is in none of them. Loading is of the index and the encoder, once the framework "
    "is imported. Memory is RSS: of the process when the index has been loaded, and the highest of its tree, libraries "
    "included. The numbers are medians over processes: p50 and p99, seconds, MiB when loaded."
)
_COLUMNS = [
    "series", "mode", "batch_size", "repeat", "outcome", "outcome_detail", "queries", "k", "device", "threads",
    "import_seconds", "load_seconds", "first_seconds", "p50_ms", "p90_ms", "p99_ms", "queries_per_second",
    "before_loading_mib", "loaded_mib", "peak_rss_mib", "gpu_peak_mib", "found_in_k", "results_digest",
]  # fmt: skip
_ROW = 30
_WIDTHS = {"latency": 330, "load": 190, "memory": 210}
# Column → what a legend calls it, and its shape.
_MARKS = {
    "p50_ms": ("p50", "circle"),
    "p90_ms": ("p90", "diamond"),
    "p99_ms": ("p99", "triangle-right"),
    "loaded_mib": ("index loaded", "square"),
    "peak_rss_mib": ("highest", "cross"),
}


def draw(searches: pd.DataFrame) -> Figure:
    """Args: the table remote_searches."""
    rows = remote_common.with_series(searches)
    known = remote_common.completed(rows, "p50_ms")
    if known.empty:
        reason = (
            f"No search completed ({common.outcome_counts(searches)})." if len(searches) else
            "The table is empty: nothing was searched."
        )  # fmt: skip
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    title, support = finding(known)
    notes = remote_common.sentences(
        batches(known), loading(known), same_results(known), found_words(known),
        common.incomplete_words(searches, ", told in words"),
    )  # fmt: skip
    return Figure(
        _chart(rows), rows[_COLUMNS], title, _conditions(rows), support, notes, _CAPTION,
        width=sum(_WIDTHS.values()) + 220,
    )  # fmt: skip


def mode_words(mode: str, batch_size: int) -> str:
    return "one query" if mode == remote_common.SINGLE else f"batch of {batch_size}"


def _chart(rows: pd.DataFrame) -> common.Chart:
    rows = rows.assign(
        line=[f"{row.series}, {mode_words(row.mode, row.batch_size)}" for row in common.each_row(rows)],
        _batch=rows["mode"] != remote_common.SINGLE,
    )
    rows = rows.sort_values(["_batch", "batch_size", "system"], kind="stable").drop(columns="_batch")
    lines = common.unique(rows["line"])
    known = remote_common.completed(rows, "p50_ms")
    colour = remote_common.series_colour(remote_common.with_series(rows))
    panels = [_latency(known, rows, lines, colour)]
    panels.append(_points(known, lines, colour, "load_seconds", "seconds to load", "load"))
    panels.append(_memory(known, lines, colour))
    chart: common.Chart = alt.hconcat(*panels, spacing=18)
    return chart


def _y(lines: list[str], first: bool) -> alt.Y:
    axis = alt.Axis(domain=False, ticks=False, grid=True, labels=first, labelLimit=260)
    return alt.Y("line:N", scale=alt.Scale(domain=lines), title=None, axis=axis)


def _latency(known: pd.DataFrame, rows: pd.DataFrame, lines: list[str], colour: alt.Color) -> common.Chart:
    y = _y(lines, first=True)
    columns = ["p50_ms", "p90_ms", "p99_ms"]
    low, high = float(known[columns].min().min()) / 1.5, float(known[columns].max().max()) * 5
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(values=_ticks(low, high), format=",~g")
    x = alt.X("value:Q", title="milliseconds (logarithmic)", scale=scale, axis=axis)
    layers = [_marks(known, columns, x, y, colour)]
    ends = known.groupby("line", sort=False)[columns].agg({"p50_ms": "median", "p99_ms": ["median", "max"]})
    ends.columns = ["p50", "p99", "p99_ms"]
    ends = ends.reset_index()
    ends["words"] = [
        remote_common.milliseconds(row.p50)
        + ("" if pd.isna(row.p99) else f", p99 {remote_common.milliseconds(row.p99)}")
        for row in common.each_row(ends)
    ]
    ends["value"] = ends["p99_ms"].fillna(ends["p50"])
    layers.append(
        alt.Chart(ends)
        .mark_text(align="left", dx=8, fontSize=10, color=common.INK)
        .encode(x=alt.X("value:Q", scale=scale), y=y, text="words:N")
    )
    layers += _endings(rows, known, y)
    chart: common.Chart = alt.layer(*layers).properties(
        width=_WIDTHS["latency"], height=_ROW * len(lines), title=_heading("Latency")
    )
    return chart


def _marks(known: pd.DataFrame, columns: list[str], x: alt.X, y: alt.Y, colour: alt.Color) -> alt.Chart:
    """A point for each process and each of `columns`, by its shape."""
    key = ["line", "series", "mode", "batch_size", "repeat"]
    long = known.melt(id_vars=key, value_vars=columns, var_name="column").dropna(subset=["value"])
    long = long.assign(kind=[_MARKS[column][0] for column in long["column"]])
    words, shapes = (list(each) for each in zip(*_MARKS.values(), strict=True))
    # The same object in both panels: they share the scale, and so the legend.
    shape = alt.Shape(
        "kind:N",
        scale=alt.Scale(domain=words, range=shapes),
        title=None,
        legend=alt.Legend(orient="top", symbolFillColor=common.NOTE, symbolStrokeWidth=0),
    )
    tooltip = [
        "series:N",
        "mode:N",
        "batch_size:Q",
        "repeat:Q",
        "kind:N",
        alt.Tooltip("value:Q", format=",.4g"),
    ]
    points: alt.Chart = (
        alt.Chart(long)
        .mark_point(filled=True, size=55, opacity=0.75)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)
    )
    return points


def _endings(rows: pd.DataFrame, known: pd.DataFrame, y: alt.Y) -> list[alt.Chart]:
    """Lines without a search that completed, in words."""
    lost = rows[~rows["line"].isin(known["line"])].drop_duplicates("line")
    if lost.empty:
        return []
    lost = lost.assign(words=["× " + common.outcome_words(outcome) for outcome in lost["outcome"]])
    return [
        alt.Chart(lost[["line", "words"]])
        .mark_text(align="left", fontSize=10.5, color=common.ALARM)
        .encode(x=alt.value(6), y=y, text="words:N")
    ]


def _points(
    known: pd.DataFrame, lines: list[str], colour: alt.Color, column: str, title: str, panel: str
) -> common.Chart:
    y = _y(lines, first=False)
    points = known.dropna(subset=[column])
    most = float(points[column].max()) if len(points) else 1.0
    scale = alt.Scale(domain=[0, 1.45 * max(most, 1e-9)], nice=False)
    x = alt.X(f"{column}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=5))
    ends = points.groupby("line", sort=False)[column].agg(["median", "max"]).reset_index()
    ends["words"] = [remote_common.duration(value) for value in ends["median"]]
    chart: common.Chart = alt.layer(
        alt.Chart(points)
        .mark_point(filled=True, size=45, opacity=0.8)
        .encode(x=x, y=y, color=colour, tooltip=_tooltip(column)),
        alt.Chart(ends)
        .mark_text(align="left", dx=8, fontSize=10, color=common.INK)
        .encode(x=alt.X("max:Q", scale=scale), y=y, text="words:N"),
    ).properties(width=_WIDTHS[panel], height=_ROW * len(lines), title=_heading("Loading"))
    return chart


def _memory(known: pd.DataFrame, lines: list[str], colour: alt.Color) -> common.Chart:
    y = _y(lines, first=False)
    columns = ["loaded_mib", "peak_rss_mib"]
    most = known[columns].max().max()
    scale = alt.Scale(domain=[0, 1.5 * (1.0 if pd.isna(most) else float(most))], nice=False)
    x = alt.X("value:Q", title="MiB", scale=scale, axis=alt.Axis(tickCount=4, format=",.0f"))
    layers = [_marks(known, columns, x, y, colour)]
    ends = known.groupby("line", sort=False)[columns].agg({"loaded_mib": "median", "peak_rss_mib": "max"})
    ends = ends.reset_index().dropna(subset=columns)
    ends["words"] = [common.mib(value) for value in ends["loaded_mib"]]
    ends["value"] = ends[columns].max(axis=1)
    layers.append(
        alt.Chart(ends)
        .mark_text(align="left", dx=8, fontSize=10, color=common.INK)
        .encode(x=alt.X("value:Q", scale=scale), y=y, text="words:N")
    )
    chart: common.Chart = alt.layer(*layers).properties(
        width=_WIDTHS["memory"], height=_ROW * len(lines), title=_heading("Memory")
    )
    return chart


def _heading(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, fontSize=12, offset=6)


def _tooltip(column: str) -> list[Any]:
    return ["series:N", "mode:N", "batch_size:Q", "repeat:Q", alt.Tooltip(f"{column}:Q", format=",.4g")]


def _ticks(low: float, high: float) -> list[float]:
    found = [
        step * 10.0**power
        for power in range(-4, 8)
        for step in (1, 2, 5)
        if low <= step * 10.0**power <= high
    ]
    return [float(f"{tick:.6g}") for tick in (found if len(found) < 8 else found[:: len(found) // 6])]


# Words


def medians(known: pd.DataFrame, mode: str, column: str = "p50_ms") -> pd.DataFrame:
    """One row for each system: median, least and most over the processes of a mode, the least median first.

    Returns:
        Columns series, batch_size, median, min, max, size.
    """
    rows = known[known["mode"] == mode].dropna(subset=[column])
    found = rows.groupby(["series", "batch_size"], sort=False)[column].agg(["median", "min", "max", "size"])
    return found.reset_index().sort_values("median", kind="stable")


def finding(known: pd.DataFrame) -> tuple[str, str]:
    """How long a query takes, and whether systems differ beyond their repeats."""
    mode = remote_common.SINGLE if (known["mode"] == remote_common.SINGLE).any() else remote_common.BATCH
    found = medians(known, mode)
    fast, slow = found.iloc[0], found.iloc[-1]
    what = "A query" if mode == remote_common.SINGLE else f"A batch of {fast['batch_size']}"
    if len(found) == 1:
        return (
            f"{what} takes {remote_common.milliseconds(fast['median'])} in the middle ({fast['series']})",
            "",
        )
    title = (
        f"{what} takes {remote_common.milliseconds(fast['median'])} ({fast['series']}) to "
        f"{remote_common.milliseconds(slow['median'])} ({slow['series']})"
    )
    repeated = fast["size"] > 1 and slow["size"] > 1
    separated = bool(fast["max"] < slow["min"]) if repeated else None
    spread = common.spread_words(separated)
    support = f"The difference of these two {spread} ({fast['size']} and {slow['size']} processes)."
    return title, support


def batches(known: pd.DataFrame) -> str:
    """What a batch brings, in queries a second."""
    single = medians(known, remote_common.SINGLE, "queries_per_second").set_index("series")["median"]
    words = []
    for row in common.each_row(medians(known, remote_common.BATCH, "queries_per_second")):
        beside = f" ({single[row.series]:,.3g} one at a time)" if row.series in single.index else ""
        words.append(f"{row.series} {row.median:,.3g}{beside}")
    return f"Queries a second in batches: {common.listed(words)}." if words else ""


def loading(known: pd.DataFrame) -> str:
    """How long an index takes to load, and what of the process's memory came with it."""
    words = []
    for series, rows in known.dropna(subset=["load_seconds"]).groupby("series", sort=False):
        text = f"{series} {remote_common.duration(rows['load_seconds'].median())}"
        gained = (rows["loaded_mib"] - rows["before_loading_mib"]).dropna()
        text += f", {common.mib(gained.median())} more" if len(gained) else ""
        words.append(text)
    return f"To load: {common.listed(words)}." if words else ""


def same_results(known: pd.DataFrame) -> str:
    """Whether repeats and modes found the same passages in the same order."""
    unlike = []
    several = False
    for series, rows in known.dropna(subset=["results_digest"]).groupby("series", sort=False):
        several |= len(rows) > 1
        if rows["results_digest"].nunique() > 1:
            unlike.append(str(series))
    if not several:
        return ""
    if unlike:
        return f"Repeats or modes did not find the same passages in the same order: {common.listed(unlike)}."
    return "All processes of a system found the same passages in the same order, single or in batches."


def found_words(known: pd.DataFrame) -> str:
    """How often the page that a query was made from is among the k."""
    words = []
    for series, rows in known.dropna(subset=["found_in_k"]).groupby("series", sort=False):
        shares = rows["found_in_k"]
        words.append(
            f"{series} {common.range_words(100 * shares.min(), 100 * shares.max(), '.3g')} % of the queries"
        )
    if not words:
        return ""
    k = common.listed([str(int(each)) for each in sorted(common.unique(known["k"]))])
    return f"The judged page is among the first {k}: {common.listed(words)}."


def _conditions(rows: pd.DataFrame) -> str:
    repeats = rows.groupby(["series", "mode"])["repeat"].nunique()
    processes = common.range_words(int(repeats.min()), int(repeats.max()), "d")
    threads = [str(int(each)) for each in sorted(common.unique(rows["threads"]))]
    queries = [common.count(each) for each in sorted(common.unique(rows["queries"]))]
    k = [str(int(each)) for each in sorted(common.unique(rows["k"]))]
    return " · ".join(
        remote_common.sentences(
            f"{common.listed(queries)} queries" if queries else "",
            f"k {common.listed(k)}" if k else "",
            common.listed(common.unique(rows["device"])),
            f"{common.listed(threads)} thread{'s' * (threads != ['1'])}" if threads else "",
            f"{processes} process{'es' * (processes != '1')} each",
        )
    )
