"""Fetching documents alone, without a model: at random and in order, with a warm and a cold page cache."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common, document_common
from .common import Figure

TITLE = "Fetching documents alone"
_CAPTION = (
    "Each process opens one loader and fetches documents by their identifiers. A point is the median fetch of a "
    "process, the line reaches from the median to the 99th percentile (medians of the processes), its mark is the "
    "90th. Random: a seeded sample of all documents; in order: neighbours, as they lie in the file. Cold: the "
    "loader’s files were dropped from the page cache before; a loader that reads everything when it opens pays then, "
    "below. Right and below: the time to open, and the memory (PSS) that the process has gained at the end; files "
    "that a loader maps count where they were touched."
)
_COLUMNS = [
    "loader", "order", "cache", "documents", "repeat", "outcome", "outcome_detail", "fetches", "open_seconds",
    "documents_per_second", "mib_per_second", "p50_us", "p90_us", "p99_us", "pss_mib", "cached_fraction_start",
]  # fmt: skip
_ORDERS = {"random": "at random", "sequential": "in order"}
_CACHES = {"warm": "warm page cache", "cold": "cold page cache"}
_WIDTH, _ROW = 400, 24


def draw(fetches: pd.DataFrame) -> Figure:
    """Args: the table document_fetches."""
    known = document_common.with_words(fetches[fetches["outcome"] == COMPLETED].dropna(subset=["p50_us"]))
    if known.empty:
        reason = (
            f"No fetching completed ({common.outcome_counts(fetches)})."
            if len(fetches)
            else "The table is empty: nothing was fetched."
        )
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    series = common.unique(document_common.with_words(fetches)["series"])
    ends = [known["p50_us"].min() / 1.5, known[["p50_us", "p90_us", "p99_us"]].max().max() * 14]
    panels = []
    for cache in [each for each in _CACHES if each in set(fetches["cache"])]:
        orders = [each for each in _ORDERS if each in set(fetches["order"])]
        of_cache = [
            _panel(known, fetches, order, cache, series, ends, first=not number)
            for number, order in enumerate(orders)
        ]
        panels.append(alt.hconcat(*of_cache, spacing=16))
    panels.append(alt.hconcat(*_costs(known, series), spacing=16))
    title, support, notes = _findings(known)
    notes += [_dropped(known), common.incomplete_words(fetches, ", told in words")]
    return Figure(
        alt.vconcat(*panels, spacing=22), document_common.with_words(fetches)[_COLUMNS], title,
        _conditions(fetches), support, notes, _CAPTION, width=2 * _WIDTH + 130,
    )  # fmt: skip


def _series(series: list[str], first: bool) -> alt.Y:
    axis = alt.Axis(domain=False, ticks=False, grid=True, labels=first)
    return alt.Y("series:N", sort=series, scale=alt.Scale(domain=series), title=None, axis=axis)


def _panel(
    known: pd.DataFrame,
    fetches: pd.DataFrame,
    order: str,
    cache: str,
    series: list[str],
    ends: list[float],
    first: bool,
) -> common.Chart:
    rows = known[(known["order"] == order) & (known["cache"] == cache)]
    y = _series(series, first)
    scale = alt.Scale(type="log", domain=ends, nice=False)
    x = alt.X(
        "p50_us:Q",
        title="microseconds a fetch (logarithmic)",
        scale=scale,
        axis=alt.Axis(values=decades(*ends), format=",~f"),
    )
    colour = document_common.loader_colour()
    middle = rows.groupby("series", sort=False)[["p50_us", "p90_us", "p99_us"]].median().reset_index()
    middle["words"] = [
        f"{document_common.duration(row.p50_us / 1e6)}, p99 {document_common.duration(row.p99_us / 1e6)}"
        for row in common.each_row(middle)
    ]
    tooltip = [
        "series:N", "repeat:Q", "fetches:Q",
        *(alt.Tooltip(f"{name}_us:Q", title=f"{name} (µs)", format=",.4g") for name in ("p50", "p90", "p99")),
        alt.Tooltip("documents_per_second:Q", title="documents a second", format=",.4g"),
        alt.Tooltip("cached_fraction_start:Q", title="cached at the start", format=".0%"),
    ]  # fmt: skip
    base = alt.Chart(middle).encode(y=y, color=colour)
    layers: list[alt.Chart] = [
        base.mark_rule(strokeWidth=2, opacity=0.55).encode(x=alt.X("p50_us:Q", scale=scale), x2="p99_us:Q"),
        base.mark_tick(thickness=2, size=9).encode(x=alt.X("p90_us:Q", scale=scale)),
        alt.Chart(rows)
        .mark_point(filled=True, size=38, opacity=0.75)
        .encode(x=x, y=y, color=colour, tooltip=tooltip),
        alt.Chart(middle)
        .mark_text(align="left", dx=6, fontSize=10, color=common.INK)
        .encode(x=alt.X("p99_us:Q", scale=scale), y=y, text="words:N"),
    ]
    failed = fetches[
        (fetches["order"] == order) & (fetches["cache"] == cache) & (fetches["outcome"] != COMPLETED)
    ]
    failed = document_common.with_words(failed)
    failed = failed[~failed["series"].isin(rows["series"])].drop_duplicates("series")
    if len(failed):
        failed = failed.assign(words=["× " + common.outcome_words(outcome) for outcome in failed["outcome"]])
        layers.append(
            alt.Chart(failed[["series", "words"]])
            .mark_text(align="left", fontSize=10.5, color=common.ALARM)
            .encode(x=alt.value(6), y=y, text="words:N")
        )
    chart: common.Chart = alt.layer(*layers).properties(
        width=_WIDTH, height=_ROW * len(series),
        title=alt.TitleParams(f"{_ORDERS[order]}, {_CACHES[cache]}", fontSize=12, offset=6),
    )  # fmt: skip
    return chart


def decades(low: float, high: float) -> list[float]:
    """The powers of ten between the ends of a logarithmic axis."""
    found = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    return [value for value in found if low <= value <= high]


def _costs(known: pd.DataFrame, series: list[str]) -> list[common.Chart]:
    """The time to open each loader, and the memory that it takes."""
    charts: list[common.Chart] = []
    for number, (column, title, form) in enumerate(
        (
            ("open_seconds", "seconds to open, warm filled, cold open (logarithmic)", "duration"),
            ("pss_mib", "PSS gained (MiB), warm filled, cold open", "mib"),
        )
    ):
        rows = known.dropna(subset=[column])
        logarithmic = form == "duration"
        rows = rows[rows[column] > 0] if logarithmic else rows
        if rows.empty:
            continue
        low, high = rows[column].min(), rows[column].max()
        scale = (
            alt.Scale(type="log", domain=[low / 1.6, high * 8], nice=False)
            if logarithmic
            else alt.Scale(domain=[min(0.0, 1.1 * low), max(1.0, 1.25 * high)], nice=False)
        )
        y = _series(series, first=not number)
        axis = alt.Axis(values=decades(low / 1.6, high * 8)) if logarithmic else alt.Axis(tickCount=6)
        x = alt.X(f"{column}:Q", title=title, scale=scale, axis=axis)
        colour = document_common.loader_colour()
        ends = rows.groupby("series", sort=False)[column].agg(["median", "max"]).reset_index()
        ends["words"] = [
            document_common.duration(value) if logarithmic else f"{value:,.3g} MiB"
            for value in ends["median"]
        ]
        points = [
            alt.Chart(rows[rows["cache"] == cache])
            .mark_point(size=38, filled=cache == "warm", opacity=0.8)
            .encode(x=x, y=y, color=colour, tooltip=["series:N", "cache:N", "order:N", "repeat:Q",
                    alt.Tooltip(f"{column}:Q", format=",.4g")])
            for cache in _CACHES
        ]  # fmt: skip
        labels = (
            alt.Chart(ends)
            .mark_text(align="left", dx=8, fontSize=10, color=common.INK)
            .encode(x=alt.X("max:Q", scale=scale), y=y, text="words:N")
        )
        charts.append(alt.layer(*points, labels).properties(width=_WIDTH, height=_ROW * len(series)))
    return charts


def _findings(known: pd.DataFrame) -> tuple[str, str, list[str]]:
    found = known.groupby(["order", "cache", "series"], sort=False)["p50_us"].agg(
        ["median", "min", "max", "size"]
    )
    found = found.reset_index()
    for order, cache in (
        ("random", "warm"),
        ("random", "cold"),
        ("sequential", "warm"),
        ("sequential", "cold"),
    ):
        rows = found[(found["order"] == order) & (found["cache"] == cache)].sort_values("median")
        if len(rows):
            break
    fast, slow = rows.iloc[0], rows.iloc[-1]
    where = f"{_ORDERS[order]}, {_CACHES[cache]}"
    if len(rows) == 1:
        title = f"{fast['series']}: a fetch takes {_us(fast['median'])} in the middle ({where})"
        return f"{title[:1].upper()}{title[1:]}", "", [_by_order(found), _by_cache(found)]
    title = (
        f"A fetch takes from {_us(fast['median'])} ({fast['series']}) to {_us(slow['median'])} ({slow['series']}): "
        f"{where}"
    )
    repeated = fast["size"] > 1 and slow["size"] > 1
    separated = bool(fast["max"] < slow["min"]) if repeated else None
    spread = common.spread_words(separated)
    support = f"The difference of these two {spread} ({fast['size']} and {slow['size']} processes)."
    return title, support, [_by_cache(found), _by_order(found)]


def _by_cache(found: pd.DataFrame) -> str:
    """How much longer the median fetch at random takes with a cold page cache."""
    return _ratios(found[found["order"] == "random"], "cache", "cold", "warm",
                   "Median fetch at random, cold over warm page cache")  # fmt: skip


def _by_order(found: pd.DataFrame) -> str:
    return _ratios(found[found["cache"] == "warm"], "order", "random", "sequential",
                   "Median fetch with a warm page cache, at random over in order")  # fmt: skip


def _ratios(rows: pd.DataFrame, column: str, upper: str, lower: str, what: str) -> str:
    tops, bottoms = (rows[rows[column] == each].set_index("series")["median"] for each in (upper, lower))
    words = [
        f"{series} {tops[series] / bottoms[series]:.3g}×"
        for series in tops.index
        if series in bottoms.index and bottoms[series] > 0
    ]
    return f"{what}: {', '.join(words)}." if words else ""


def _dropped(known: pd.DataFrame) -> str:
    """Whether cold was cold: the part of the files that was still cached."""
    cached = known.loc[known["cache"] == "cold", "cached_fraction_start"].dropna()
    if cached.empty:
        return ""
    return f"Of the files of a cold start at most {100 * cached.max():.0f} % were still in the page cache."


def _conditions(fetches: pd.DataFrame) -> str:
    numbers = fetches.groupby(["loader", "order", "cache"])["repeat"].nunique()
    sizes = common.listed([common.count(size) for size in sorted(common.unique(fetches["documents"]))])
    machines = [
        f"{row.cpu_model}, {row.cpu_count:.0f} cores"
        for row in common.each_row(fetches[["cpu_model", "cpu_count"]].dropna().drop_duplicates())
    ]
    counts = common.listed([common.count(each) for each in sorted(common.unique(fetches["fetches"]))])
    repeats = common.range_words(int(numbers.min()), int(numbers.max()), "d")
    processes = f"{repeats} process{'es' * (int(numbers.max()) > 1)} each"
    return " · ".join([f"{sizes} documents", f"{counts} fetches a process", processes, *machines])


def _us(microseconds: float) -> str:
    return document_common.duration(microseconds / 1e6)
