"""Who sees how much of a spike of known size: each instrument, with the GIL held and released, by hold time."""

from __future__ import annotations

import altair as alt
import pandas as pd

from . import common
from .common import Figure

TITLE = "What each instrument sees of a spike of known size"
# Instrument → how it looks.
_INSTRUMENTS = {
    "spans": "spans (VmHWM, reset at each call)",
    "curve": "our curve (from outside, {interval})",
    "sampling thread": "thread in the process (every 10 ms)",
    "memory_profiler": "memory_profiler (line by line)",
    "Snakemake benchmark": "Snakemake’s benchmark (every 0.5 s)",
}
# Of a single figure, so beyond the palettes of systems and roles: the size is in the shape.
_SHAPES = {4: "triangle-up", 64: "circle", 512: "square", 2048: "diamond"}
_GIL = {"held": "GIL held", "released": "GIL released"}
_CAPTION = (
    "Compiled code maps memory, touches every page, holds all of it for the time above the panel, and unmaps it, "
    "in one call; every point is a fresh process. Seen is what the instrument read above its own level before, as "
    "a part of the true size. The numbers at the right are the least and the most "
    "of the row. Touching a large spike takes time too, so who samples sees a "
    "part of it however short it is held. 4-KiB pages; the table has huge pages, other kinds of memory, threads "
    "and child processes too."
)
_COLUMNS = [
    "instrument", "row", "gil", "size_mib", "hold_seconds", "repeat", "true_mib", "seen_mib", "error_mib",
    "bound_mib", "within_bound", "seen_percent", "detail",
]  # fmt: skip
_WIDTH, _ROW, _NUMBERS = 220, 26, 62


def draw(accuracy: pd.DataFrame) -> Figure:
    """Args: the table measurement_accuracy."""
    plain = accuracy[(accuracy["case"] == "spike") & (accuracy["pages"] == "4 KiB")]
    rows = plain.dropna(subset=["seen_mib"]).reset_index(drop=True)
    if rows.empty:
        return common.nothing_to_draw(TITLE, "No spike was measured.", _COLUMNS)
    interval = _interval(rows)
    rows["seen_percent"] = 100 * rows["seen_mib"] / rows["true_mib"]
    rows["row"] = [
        _row_name(instrument, gil, interval)
        for instrument, gil in zip(rows["instrument"], rows["gil"], strict=True)
    ]
    order = [
        name
        for instrument in _INSTRUMENTS
        for gil in _GIL
        for name in [_row_name(instrument, gil, interval)]
        if (rows["row"] == name).any()
    ]
    holds = sorted(common.unique(rows["hold_seconds"]))
    panels = [
        _panel(rows[rows["hold_seconds"] == hold], hold, order, first=hold == holds[0]) for hold in holds
    ]
    chart = alt.hconcat(*panels, spacing=12).resolve_scale(shape="shared")
    title, support, notes = _findings(accuracy, rows, holds)
    return Figure(chart, rows[_COLUMNS], title, _conditions(rows), support, notes, _CAPTION, width=1060)


def _interval(rows: pd.DataFrame) -> str:
    """How often the curve was sampled, as most of its rows say."""
    details = rows.loc[rows["instrument"] == "curve", "detail"].value_counts()
    return str(details.index[0]) if len(details) else ""


def _row_name(instrument: str, gil: str, interval: str) -> str:
    name = _INSTRUMENTS[instrument].format(interval=interval)
    # Of what looks from outside the benchmark is shown one kind only.
    return name if instrument == "Snakemake benchmark" else f"{name} · {_GIL[gil]}"


def _panel(rows: pd.DataFrame, hold: float, order: list[str], first: bool) -> common.Chart:
    y = alt.Y(
        "row:N",
        sort=order,
        scale=alt.Scale(domain=order),
        title=None,
        axis=alt.Axis(labels=first, ticks=False, domain=False, grid=True, labelLimit=340),
    )
    x = alt.X(
        "seen_percent:Q",
        title="seen of the spike (%)",
        scale=alt.Scale(domain=[-4, 104], nice=False),
        axis=alt.Axis(values=[0, 25, 50, 75, 100]),
    )
    sizes = sorted(_SHAPES)
    # The sizes of a row a little apart, in order.
    offset = alt.YOffset("size_mib:N", sort=sizes, scale=alt.Scale(domain=sizes))
    points = (
        alt.Chart(rows)
        .mark_point(filled=True, size=34, opacity=0.75, color=common.INK)
        .encode(
            x=x,
            y=y,
            yOffset=offset,
            shape=alt.Shape(
                "size_mib:N",
                title="spike (MiB)",
                scale=alt.Scale(domain=sizes, range=[_SHAPES[size] for size in sizes]),
            ),
            tooltip=[
                alt.Tooltip("row:N", title="instrument"),
                alt.Tooltip("size_mib:Q", title="spike (MiB)"),
                alt.Tooltip("repeat:Q"),
                alt.Tooltip("seen_mib:Q", title="seen (MiB)", format=",.3f"),
                alt.Tooltip("error_mib:Q", title="error (MiB)", format=",.3f"),
                alt.Tooltip("bound_mib:Q", title="bound (MiB)", format=",.2f"),
                alt.Tooltip("detail:N"),
            ],
        )
    )
    ranges = rows.groupby("row")["seen_percent"].agg(["min", "max"]).reset_index()
    ranges["words"] = [
        common.range_words(least, most, ".0f", " %").replace(" to ", "–")
        for least, most in zip(ranges["min"], ranges["max"], strict=True)
    ]
    numbers = (
        alt.Chart(ranges)
        .mark_text(align="left", fontSize=11, color=common.INK)
        .encode(y=y, x=alt.value(_WIDTH + 6), text="words:N")
    )
    sizes_here = common.listed([common.count(size) for size in sorted(common.unique(rows["size_mib"]))])
    heading = alt.TitleParams(
        f"held {_duration(hold)}", subtitle=f"{sizes_here} MiB", fontSize=13, subtitleFontSize=11, offset=6
    )
    return alt.layer(points, numbers).properties(width=_WIDTH, height=_ROW * len(order), title=heading)


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:g} ms" if seconds < 1 else f"{seconds:g} s"


def _conditions(rows: pd.DataFrame) -> str:
    repeats = rows.groupby(["row", "size_mib", "hold_seconds"])["repeat"].nunique()
    words = common.range_words(repeats.min(), repeats.max(), "d")
    return f"Anonymous memory, 4-KiB pages · {words} repeats of each · a fresh process each"


def _findings(accuracy: pd.DataFrame, rows: pd.DataFrame, holds: list[float]) -> tuple[str, str, list[str]]:
    shortest = rows[rows["hold_seconds"] == holds[0]]
    least = shortest.groupby("instrument")["seen_percent"].min()
    title = _spans_words(shortest[shortest["instrument"] == "spans"], f"a spike held {_duration(holds[0])}")
    others = [name for name in _INSTRUMENTS if name in least.index and name != "spans"]
    if others:
        words = common.listed([f"{name} {least[name]:.0f} %" for name in others])
        title += f"; the least that others see: {words}" if title else f"The least that is seen: {words}"
    notes = []
    longest = rows[rows["hold_seconds"] == holds[-1]]
    if len(holds) > 1:
        seen = longest.groupby("instrument")["seen_percent"].min()
        partly = [
            f"{name} {seen[name]:.0f} %" for name in _INSTRUMENTS if name in seen.index and seen[name] < 97
        ]
        told = f"the least is {common.listed(partly)}" if partly else "every instrument sees it"
        notes.append(f"Held {_duration(holds[-1])}: {told}.")
    return title, _support(accuracy), notes


def _spans_words(spans: pd.DataFrame, spike: str) -> str:
    """What spans see of the spikes; empty where they were not asked."""
    if spans.empty:
        return ""
    if spans["bound_mib"].notna().all() and spans["within_bound"].astype(bool).all():
        bound = spans["bound_mib"].max()
        return f"Spans see {spike} to within {bound:.2f} MiB, whatever its size and whoever has the GIL"
    return f"Spans are off by up to {spans['error_mib'].abs().max():.2f} MiB for {spike}"


def _support(accuracy: pd.DataFrame) -> str:
    """How spans stand to their declared bound, in all cases of the table."""
    spans = accuracy[(accuracy["instrument"] == "spans")].dropna(subset=["error_mib"])
    if spans.empty:
        return ""
    worst = spans["error_mib"].abs().max()
    bounded = spans.dropna(subset=["bound_mib"])
    if bounded.empty:
        return f"Largest error of a span: {worst:.3f} MiB in {len(spans)} measurements; no bound is declared here."
    within = int(bounded["within_bound"].sum())
    return (
        f"{within} of {len(bounded)} measurements by spans, of all cases of the table, are within the declared "
        f"bound of {bounded['bound_mib'].max():.2f} MiB; the largest error is {worst:.3f} MiB."
    )
