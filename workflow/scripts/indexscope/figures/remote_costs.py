"""What indexing costs: minutes and dollars on each GPU that can be rented, and estimated beside what it was."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from . import common, remote_common
from .common import Figure

TITLE = "Time and dollars of indexing"
_CAPTION = (
    "Above, what indexing would take on each GPU of the price table, cheapest by the hour first: estimated from "
    "throughput that was measured on some device and scaled to the others, so read them as a range, not as a "
    "measurement. A ring marks the GPU that was chosen; a GPU that does not hold the index is told in words. Below, "
    "what was estimated for the machine that was used (open) beside what the run took (filled). Dollars are of the "
    "price table; nothing was billed by this workflow. Both axes are logarithmic."
)
_COLUMNS = [
    "part", "case", "series", "machine", "moment", "minutes", "usd", "fits", "chosen", "ratio", "basis",
]  # fmt: skip
_WIDTH, _ROW = 300, 21
ON_GPUS, RUN = "on each GPU", "the run"
_BASIS = 150  # characters; the tables have all
_MOMENTS = {remote_common.ESTIMATED: False, remote_common.ACTUAL: True}  # filled


def draw(costs: pd.DataFrame, gpus: pd.DataFrame) -> Figure:
    """Args: the tables remote_costs and remote_gpus."""
    rows = drawn_rows(costs, gpus)
    if rows.dropna(subset=["minutes"]).empty and rows.dropna(subset=["usd"]).empty:
        reason = (
            "Nothing was estimated: the tables are empty."
            if rows.empty
            else "No throughput and no price is known."
        )
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    title, support, notes = told(costs, gpus)
    return Figure(
        _chart(rows), rows[_COLUMNS], title, _conditions(costs, gpus), support, notes, _CAPTION,
        width=2 * _WIDTH + 300,
    )  # fmt: skip


def drawn_rows(costs: pd.DataFrame, gpus: pd.DataFrame) -> pd.DataFrame:
    """One row for each system on each GPU (part ON_GPUS), and for each estimate and run (part RUN)."""
    on_gpus = remote_common.with_series(gpus)
    on_gpus = on_gpus.sort_values(["usd_per_hour", "memory_mib"], kind="stable").assign(
        part=ON_GPUS, machine=on_gpus["gpu"], moment=remote_common.ESTIMATED, ratio=float("nan")
    )
    runs = remote_common.with_series(costs)
    runs = runs.assign(
        part=RUN,
        case=remote_common.HERE,
        minutes=(runs["work_seconds"] + runs["start_seconds"].fillna(0)) / 60,
        ratio=runs["actual_by_estimated"],
        fits=None,
        chosen=None,
    )
    frames = [remote_common.empty_of(_COLUMNS, each).astype(object) for each in (on_gpus, runs) if len(each)]
    if not frames:
        return pd.DataFrame(columns=_COLUMNS)
    found = pd.concat(frames, ignore_index=True)
    numbers = ["minutes", "usd", "ratio"]
    return found.astype(dict.fromkeys(numbers, float)).astype({"fits": "boolean", "chosen": "boolean"})


def _chart(rows: pd.DataFrame) -> common.Chart:
    # Those of this configuration first, so that they have the colours that they have in other figures.
    here = rows[rows["case"] == remote_common.HERE]
    names = pd.DataFrame({"series": common.unique([*here["series"], *rows["series"]])})
    colour = remote_common.series_colour(names, alt.Legend(orient="top"))
    ends = {name: _ends(rows[name]) for name in ("minutes", "usd")}
    blocks: list[common.Chart] = []
    on_gpus = rows[rows["part"] == ON_GPUS]
    cases = common.unique([remote_common.HERE, remote_common.RECIPE, *on_gpus["case"]])
    for case in cases:
        of_case = on_gpus[on_gpus["case"] == case]
        if len(of_case):
            machines = common.unique(of_case["machine"])
            blocks.append(_block(of_case, machines, f"On each GPU: {case}", colour, ends, _gpu_layers))
    runs = rows[rows["part"] == RUN]
    if len(runs):
        runs = runs.assign(machine=runs["series"] + ", " + runs["machine"].astype(str))
        machines = common.unique(runs["machine"])
        blocks.append(_block(runs, machines, "Estimated → as it was", colour, ends, _run_layers))
    chart: common.Chart = alt.vconcat(*blocks, spacing=24).resolve_scale(color="shared")
    return chart


def _ends(values: pd.Series) -> list[float]:
    known = values[values > 0].dropna()
    if known.empty:
        return [0.1, 10.0]
    return [float(known.min()) / 2, float(known.max()) * 9]


def _block(
    rows: pd.DataFrame,
    machines: list[str],
    heading: str,
    colour: alt.Color,
    ends: Mapping[str, Sequence[float]],
    layers: Callable[..., list[alt.Chart]],
) -> common.Chart:
    """Two panels side by side: minutes and dollars of the same machines."""
    panels = []
    for column, title in (("minutes", "minutes (logarithmic)"), ("usd", "dollars (logarithmic)")):
        first = column == "minutes"
        y = alt.Y(
            "machine:N", scale=alt.Scale(domain=machines), title=None,
            axis=alt.Axis(domain=False, ticks=False, grid=True, labels=first, labelLimit=260,
                          minExtent=180 if first else 0),
        )  # fmt: skip
        low, high = ends[column]
        x = alt.X(
            f"{column}:Q",
            title=title,
            scale=alt.Scale(type="log", domain=[low, high], nice=False),
            axis=alt.Axis(values=_ticks(low, high), labelExpr=_TICK[column]),
        )
        panel = alt.layer(*layers(rows, column, x, y, colour)).properties(
            width=_WIDTH, height=_ROW * len(machines)
        )
        panels.append(panel)
    chart: common.Chart = alt.hconcat(*panels, spacing=14).properties(
        title=alt.TitleParams(heading, fontSize=13, offset=6)
    )
    return chart


_TICK = {
    "minutes": "datum.value < 1 ? format(datum.value * 60, '~g') + ' s' : format(datum.value, ',~g') + ' min'",
    "usd": "'$' + format(datum.value, ',~f')",
}


def _ticks(low: float, high: float) -> list[float]:
    found: list[float] = []
    tick = 1e-6
    while tick <= high:
        if tick >= low:
            found.append(float(f"{tick:.6g}"))
        tick *= 10
    return found or [float(f"{(low * high) ** 0.5:.1g}")]


def _tooltip() -> list[Any]:
    return [
        "series:N", "machine:N", "moment:N", alt.Tooltip("minutes:Q", format=",.3g"),
        alt.Tooltip("usd:Q", title="dollars", format=",.3g"), "basis:N",
    ]  # fmt: skip


def _words(column: str, value: float) -> str:
    return remote_common.duration(60 * value) if column == "minutes" else remote_common.usd(value)


def _gpu_layers(rows: pd.DataFrame, column: str, x: alt.X, y: alt.Y, colour: alt.Color) -> list[alt.Chart]:
    known = rows[(rows[column] > 0) & rows["fits"].astype(bool)]
    layers: list[alt.Chart] = []
    if len(known):
        points = known.assign(fits=known["fits"].astype(bool), chosen=known["chosen"].astype(bool))
        layers.append(
            alt.Chart(points)
            .mark_point(filled=True, size=45, opacity=0.85)
            .encode(x=x, y=y, color=colour, tooltip=_tooltip())
        )
        chosen = points[points["chosen"]]
        if len(chosen):
            layers.append(
                alt.Chart(chosen)
                .mark_point(filled=False, size=170, strokeWidth=1.6, color=common.INK)
                .encode(x=x, y=y)
            )
        ends = _labels(known, column)
        chosen_machines = set(chosen["machine"])
        partly = set(rows.loc[~rows["fits"].astype(bool), "machine"])
        ends["words"] = [
            row.words
            + ", chosen" * (row.machine in chosen_machines and column == "minutes")
            + ", × not all fit" * (row.machine in partly and column == "minutes")
            for row in common.each_row(ends)
        ]
        layers.append(_text(ends, column, x, y))
    lost = rows[~rows["fits"].astype(bool)]
    lost = lost[~lost["machine"].isin(known["machine"])].drop_duplicates("machine")
    if len(lost) and column == "minutes":
        lost = lost.assign(words="× does not fit")[["machine", "words"]]
        layers.append(
            alt.Chart(lost)
            .mark_text(align="left", fontSize=10.5, color=common.ALARM)
            .encode(x=alt.value(6), y=y, text="words:N")
        )
    if not layers:
        unknown = rows.drop_duplicates("machine").assign(words="not known")[["machine", "words"]]
        layers.append(
            alt.Chart(unknown)
            .mark_text(align="left", fontSize=10.5, color=common.NOTE)
            .encode(x=alt.value(6), y=y, text="words:N")
        )
    return layers


def _run_layers(rows: pd.DataFrame, column: str, x: alt.X, y: alt.Y, colour: alt.Color) -> list[alt.Chart]:
    layers: list[alt.Chart] = []
    known = rows[rows[column] > 0]
    for moment, filled in _MOMENTS.items():
        points = known[known["moment"] == moment].drop(columns=["fits", "chosen"])
        if len(points):
            layers.append(
                alt.Chart(points)
                .mark_point(filled=filled, size=60, strokeWidth=1.8, opacity=0.9)
                .encode(x=x, y=y, color=colour, tooltip=_tooltip())
            )
    if layers:
        ends = _run_labels(known, column)
        layers.append(_text(ends, column, x, y))
        return layers
    unknown = rows.drop_duplicates("machine").assign(words="not known")[["machine", "words"]]
    return [
        alt.Chart(unknown)
        .mark_text(align="left", fontSize=10.5, color=common.NOTE)
        .encode(x=alt.value(6), y=y, text="words:N")
    ]


def _run_labels(known: pd.DataFrame, column: str) -> pd.DataFrame:
    found = []
    for machine, rows in known.groupby("machine", sort=False):
        parts = []
        for moment in _MOMENTS:
            values = rows.loc[rows["moment"] == moment, column]
            if len(values):
                low, high = (_words(column, value) for value in (values.min(), values.max()))
                words = low if low == high else f"{low} to {high}"
                parts.append(words if moment == remote_common.ACTUAL else f"{words} →")
        if len(parts) == 1:
            parts = [f"{parts[0].removesuffix(' →')} {rows['moment'].iloc[0]}"]
        found.append({"machine": machine, column: rows[column].max(), "words": " ".join(parts)})
    return pd.DataFrame(found)


def _labels(known: pd.DataFrame, column: str) -> pd.DataFrame:
    """The least and the most of each machine's systems, at its rightmost point."""
    found = []
    for machine, rows in known.groupby("machine", sort=False):
        low, high = (_words(column, value) for value in (rows[column].min(), rows[column].max()))
        found.append(
            {
                "machine": machine,
                column: rows[column].max(),
                "words": low if low == high else f"{low} to {high}",
            }
        )
    return pd.DataFrame(found)


def _text(ends: pd.DataFrame, column: str, x: alt.X, y: alt.Y) -> alt.Chart:
    words: alt.Chart = (
        alt.Chart(ends[["machine", column, "words"]])
        .mark_text(align="left", dx=11, fontSize=10, color=common.INK)
        .encode(x=x, y=y, text="words:N")
    )
    return words


# Words


def told(costs: pd.DataFrame, gpus: pd.DataFrame) -> tuple[str, str, list[str]]:
    """Title, support and notes."""
    actual, cheapest = actual_words(costs), cheapest_words(gpus)
    title = actual or cheapest or "No cost is known"
    notes = remote_common.sentences(
        f"{cheapest}." if cheapest and cheapest != title else "", faster_and_dearer(gpus), bases(costs, gpus)
    )
    return title, ratio_words(costs), notes


def of_runs(costs: pd.DataFrame) -> pd.DataFrame:
    return remote_common.with_series(costs[costs["moment"] == remote_common.ACTUAL])


def actual_words(costs: pd.DataFrame) -> str:
    """What indexing cost, beside its estimate on the same machine; empty where nothing ran."""
    found = []
    for series, rows in of_runs(costs).dropna(subset=["usd"]).groupby("series", sort=False):
        machine = str(rows["machine"].iloc[0])
        cost = _range([remote_common.usd(value) for value in sorted(rows["usd"])])
        estimated = estimate_of(costs, rows.iloc[0])
        beside = f" (estimated: {estimated})" if estimated else ""
        found.append(f"{series} cost {cost} on {machine}{beside}")
    if not found:
        return ""
    return remote_common.capital("; ".join(found))


def estimate_of(costs: pd.DataFrame, actual: Any) -> str:
    """The estimate for a run: of its machine where there is one, else of the machine that was planned."""
    rows = costs[(costs["system"] == actual["system"]) & (costs["moment"] == remote_common.ESTIMATED)]
    rows = rows.dropna(subset=["usd"])
    if rows.empty:
        return ""
    same = rows[rows["machine"] == actual["machine"]]
    if len(same):
        return remote_common.usd(same["usd"].iloc[0])
    return f"{remote_common.usd(rows['usd'].iloc[0])} on {rows['machine'].iloc[0]}"


def _range(texts: list[str]) -> str:
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"


def ratio_words(costs: pd.DataFrame) -> str:
    """How the seconds stand to those estimated."""
    ratios = of_runs(costs)["actual_by_estimated"].dropna()
    if ratios.empty:
        return ""
    words = common.range_words(ratios.min(), ratios.max(), ".2f")
    start = costs.loc[costs["moment"] == remote_common.ESTIMATED, "start_seconds"].max()
    more = f" The estimate has {start:.0f} s more, of a container's start." if start > 0 else ""
    return f"The work took {words} times the estimated seconds.{more}"


def cheapest_words(gpus: pd.DataFrame) -> str:
    """The smallest and the cheapest GPU that fits, which can differ; empty without an estimate."""
    systems = remote_common.of_case(gpus, remote_common.HERE)
    if not systems:
        return ""
    leading = max(systems, key=lambda rows: float(rows["needs_mib"].max()))
    fitting = leading[leading["fits"].astype(bool)].dropna(subset=["usd", "minutes"])
    smallest = remote_common.smallest(leading)
    if fitting.empty or smallest is None:
        return ""
    cheapest = next(common.each_row(fitting.sort_values("usd", kind="stable")))
    words = f"estimated for {cheapest.series}, {_estimate(cheapest)}"
    if cheapest.gpu == smallest.gpu:
        return f"The smallest GPU that fits is also the cheapest: {words}"
    known = fitting[fitting["gpu"] == smallest.gpu]
    own = f"; the smallest that fits, {_estimate(next(common.each_row(known)))}" if len(known) else ""
    return f"The cheapest GPU that fits is not the smallest: {words}{own}"


def _estimate(row: Any) -> str:
    return f"{row.gpu}, {remote_common.duration(60 * row.minutes)} and {remote_common.usd(row.usd)}"


def faster_and_dearer(gpus: pd.DataFrame) -> str:
    """The fastest GPU of this configuration, with its price."""
    for of_system in remote_common.of_case(gpus, remote_common.HERE):
        fitting = of_system[of_system["fits"].astype(bool)].dropna(subset=["usd", "minutes"])
        if fitting["gpu"].nunique() > 1:
            fastest = next(common.each_row(fitting.sort_values("minutes", kind="stable")))
            return f"Fastest by the estimate: {_estimate(fastest)} ({fastest.series})."
    return ""


def bases(costs: pd.DataFrame, gpus: pd.DataFrame) -> str:
    """What the estimated seconds are from."""
    estimated = costs.loc[costs["moment"] == remote_common.ESTIMATED, "basis"]
    found = common.unique([*estimated, *gpus.loc[gpus["case"] == remote_common.HERE, "basis"]])
    if not found:
        return ""
    more = f" (and {len(found) - 1} more, in the tables)" if len(found) > 1 else ""
    basis = textwrap.shorten(str(found[0]).rstrip("."), _BASIS, placeholder="…")
    return f"Estimated from: {basis}{more}."


def _conditions(costs: pd.DataFrame, gpus: pd.DataFrame) -> str:
    documents = [common.documents(int(each)) for each in sorted(common.unique(costs["documents"]))]
    prices = sorted(common.unique([*costs["prices_as_of"], *gpus["prices_as_of"]]))
    return " · ".join(
        remote_common.sentences(
            common.listed(documents),
            f"prices as of {common.listed([str(each) for each in prices])}" if prices else "",
        )
    )
