"""Published throughput beside ours, and what throughput seems to be when the timer starts after the fetch."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from . import common, document_common
from .common import Figure
from .document_fetches import decades
from .document_throughput import rate

TITLE = "Published beside ours"
PUBLISHED = "A. Câmara et al., “Moving Stuff Around”, ReNeuIR 2022 (arXiv 2205.08343)"
THROUGHPUT, MEMORY, OUTCOME = "samples_per_second", "memory_mib_per_process", "outcome"
_CAPTION = (
    "Top: samples per second against the number of GPUs as published, and against the world size here (plain "
    "trainings, medians). Hardware, model and corpus differ, so the heights do not compare, only how loaders stand to "
    "each other and how throughput grows. × is a loader that ran out of memory. Middle: memory of one process as "
    "published, by the formula of this project’s memory model for that number of documents, and as measured "
    "here. Bottom: the published timer starts after a batch was fetched. The filled mark is the throughput of whole "
    "steps here, the open mark what the same runs seem to reach by the published timer (medians of repeats): the line "
    "between them is the flaw."
)
_COLUMNS = [
    "panel", "source", "quantity", "loader", "world_size", "documents", "published", "published_out_of_memory", "ours",
    "ours_out_of_memory", "by_formula", "verdict", "detail", "situation", "samples_per_second",
    "samples_per_second_after_fetch", "overstated_percent",
]  # fmt: skip
_PANEL, _HEIGHT, _WIDE = 380, 220, 640
_SIDES = {
    "published": "diamond",
    "by formula": "square",
    "measured here": "circle",
}


def draw(published: pd.DataFrame, access: pd.DataFrame) -> Figure:
    """Args: the tables document_published and document_access."""
    flaw = timed(access)
    if published.empty and flaw.empty:
        return common.nothing_to_draw(
            TITLE, "Nothing was published of it, and no training completed.", _COLUMNS
        )
    panels: list[common.Chart] = []
    if len(_throughput(published)):
        panels.append(_scaling(published))
    memory = published[published["quantity"] == MEMORY]
    if len(memory):
        panels.append(_memory(memory))
    if len(flaw):
        panels.append(_flaw(flaw, access))
    title, notes = _findings(published, flaw)
    drawn = pd.concat(
        [published.assign(panel="published"), flaw.assign(panel="timer")], ignore_index=True
    ).reindex(columns=_COLUMNS)
    # A row of its own legend for each: shapes mean sides in one panel and timers in another.
    chart = alt.vconcat(*panels, spacing=26).resolve_scale(color="independent", shape="independent")
    return Figure(
        chart, drawn, title, document_common.conditions(access), "", notes, _CAPTION, width=2 * _PANEL + 190,
        is_finding=bool(len(flaw) or published["verdict"].isin(["reproduced", "differs"]).any()),
    )  # fmt: skip


def timed(access: pd.DataFrame) -> pd.DataFrame:
    """Throughput of whole steps and by the published timer: medians of each situation and loader.

    Only where no DataLoader workers fetch beside the step: with workers the timer misses the wait, not the fetch.

    Returns:
        SITUATION, loader, samples_per_second, samples_per_second_after_fetch, overstated_percent, situation.
    """
    known = document_common.completed(access, THROUGHPUT, f"{THROUGHPUT}_after_fetch")
    known = known[(known["workers"] == 0) & (known["experiment"] == document_common.GRID)]
    groups = known.groupby([*document_common.SITUATION, "loader"], sort=False)
    found = groups[[THROUGHPUT, f"{THROUGHPUT}_after_fetch"]].median().reset_index()
    usual = document_common.usual_documents(access)
    return found.assign(
        overstated_percent=100 * (found[f"{THROUGHPUT}_after_fetch"] / found[THROUGHPUT] - 1),
        situation=[document_common.situation_words(row, usual) for row in common.each_row(found)],
    )


def _throughput(published: pd.DataFrame) -> pd.DataFrame:
    """The rows on throughput, those of a loader that ran out of memory too."""
    ended = (published["quantity"] == OUTCOME) & published["published_out_of_memory"].astype(bool)
    told = ((published["quantity"] == THROUGHPUT) | ended) & published["world_size"].notna()
    return document_common.with_words(published[told])


def _scaling(published: pd.DataFrame) -> common.Chart:
    rows = _throughput(published)
    worlds = [str(int(world)) for world in sorted(common.unique(rows["world_size"]))]
    rows = rows.assign(world=[str(int(world)) for world in rows["world_size"]])
    charts = [
        _side(rows, worlds, "published", "published_out_of_memory", "published: GPUs", first=True),
        _side(rows, worlds, "ours", "ours_out_of_memory", "here: world size", first=False),
    ]
    chart = alt.hconcat(*charts, spacing=30)
    both: common.Chart = chart.resolve_scale(y="independent", color="shared")
    return both


def _side(
    rows: pd.DataFrame, worlds: list[str], column: str, ended: str, heading: str, first: bool
) -> common.Chart:
    known = rows[rows["quantity"] == THROUGHPUT].dropna(subset=[column])
    top = 1.15 * max(1e-9, known[column].max()) if len(known) else 1.0
    series = common.unique(rows["series"])
    x = alt.X(
        "world:N", sort=worlds, scale=alt.Scale(domain=worlds), title=heading.partition(": ")[2],
        axis=alt.Axis(labelAngle=0, grid=False),
    )  # fmt: skip
    offset = alt.XOffset("series:N", sort=series, scale=alt.Scale(domain=series, paddingOuter=0.6))
    y = alt.Y(
        f"{column}:Q", title="samples per second", scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(tickCount=6),
    )  # fmt: skip
    scale = document_common.loader_scale()
    # Of both panels the same object: one legend.
    colour = alt.Color(
        "series:N",
        title=None,
        scale=scale,
        legend=alt.Legend(orient="top", symbolType="circle", values=series),
    )
    base = alt.Chart(known.assign(words=[rate(value) for value in known[column]]))
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=x, xOffset=offset, y=y, color=colour,
        tooltip=["series:N", "world:N", alt.Tooltip(f"{column}:Q", format=",.4g"), "verdict:N", "detail:N"],
    )  # fmt: skip
    words = base.mark_text(dy=-10, fontSize=9, color=common.INK).encode(
        x=x, xOffset=offset, y=y, text="words:N"
    )
    layers: list[alt.Chart] = [points, words]
    over = rows[rows[ended].astype("boolean").fillna(False).astype(bool)].drop_duplicates(["series", "world"])
    if len(over):
        # Here it may have been a limit that was set for it.
        limited = column == "ours" and over["detail"].str.contains("limit").fillna(False).astype(bool).any()
        words = "out of memory, under a limit" if limited else "out of memory"
        marks = alt.Chart(over).encode(x=x, xOffset=offset)
        layers += [
            marks.mark_text(text="×", fontSize=18, dy=-8, color=common.ALARM).encode(y=alt.value(_HEIGHT)),
            marks.mark_text(
                text=words, angle=270, align="left", dx=20, fontSize=9.5, color=common.ALARM
            ).encode(y=alt.value(_HEIGHT)),
        ]
    if known.empty and over.empty:
        none = alt.Chart(pd.DataFrame({"words": ["not measured"]}))
        layers.append(
            none.mark_text(color=common.NOTE).encode(
                x=alt.value(_PANEL / 2), y=alt.value(_HEIGHT / 2), text="words:N"
            )
        )
    chart: common.Chart = alt.layer(*layers).properties(
        width=_PANEL, height=_HEIGHT,
        title=alt.TitleParams(f"Samples per second, {heading.partition(':')[0]}", fontSize=13, offset=6),
    )  # fmt: skip
    return chart


def _memory(memory: pd.DataFrame) -> common.Chart:
    """Published memory of a process, by formula and measured, on a logarithmic axis."""
    rows = document_common.with_words(memory)
    rows = rows.assign(
        line=[
            f"{row.series}, {common.documents(int(row.documents))}"
            if not pd.isna(row.documents)
            else row.series
            for row in common.each_row(rows)
        ]
    )
    order = common.unique(rows["line"])
    marks: list[dict[str, Any]] = []
    for row in common.each_row(rows):
        for side, value in zip(_SIDES, (row.published, row.by_formula, row.ours), strict=True):
            if not pd.isna(value) and value > 0:
                marks.append({"line": row.line, "side": side, "mib": value, "words": _gib(value)})
    found = pd.DataFrame(marks, columns=["line", "side", "mib", "words"])
    low, high = (found["mib"].min(), found["mib"].max()) if len(found) else (1.0, 10.0)
    scale = alt.Scale(type="log", domain=[low / 2, high * 3], nice=False)
    y = alt.Y("line:N", sort=order, scale=alt.Scale(domain=order), title=None,
              axis=alt.Axis(domain=False, ticks=False, grid=True, labelLimit=250))  # fmt: skip
    x = alt.X(
        "mib:Q",
        title="MiB of one process (logarithmic)",
        scale=scale,
        axis=alt.Axis(values=decades(low / 2, high * 3), format=",~f"),
    )
    used = [side for side in _SIDES if (found["side"] == side).any()]
    colours = dict(zip(_SIDES, [common.NOTE, "#8C6D1F", common.INK], strict=True))
    base = alt.Chart(found).encode(x=x, y=y)
    points = base.mark_point(size=60, strokeWidth=2).encode(
        shape=alt.Shape("side:N", title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=used, range=[_SIDES[side] for side in used])),
        color=alt.Color("side:N", title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=used, range=[colours[side] for side in used])),
        tooltip=["line:N", "side:N", alt.Tooltip("mib:Q", format=",.4g")],
    )  # fmt: skip
    places: list[dict[str, Any]] = [{"dy": -11}, {"dy": 13}, {"dx": 8, "align": "left"}]
    # Published above, by formula below, so that near values do not cover each other.
    words = [
        alt.Chart(found[found["side"] == side])
        .mark_text(fontSize=9.5, color=common.INK, **place)
        .encode(x=x, y=y, text="words:N")
        for side, place in zip(_SIDES, places, strict=True)
    ]
    chart: common.Chart = alt.layer(points, *words).properties(
        width=_WIDE, height=40 * max(1, len(order)),
        title=alt.TitleParams("Memory of one process for its documents", fontSize=13, offset=6),
    )  # fmt: skip
    return chart


def _flaw(flaw: pd.DataFrame, access: pd.DataFrame) -> common.Chart:
    """True and seeming throughput, line by line."""
    done = document_common.completed(access, THROUGHPUT, f"{THROUGHPUT}_after_fetch")
    rows = document_common.rows_of(
        done[(done["workers"] == 0) & (done["experiment"] == document_common.GRID)]
    )
    on_lines = document_common.on_rows(flaw.drop(columns="situation"), rows)
    on_lines = on_lines.assign(words=[signed(value) for value in on_lines["overstated_percent"]])
    y = rows.y()
    end = 1.16 * on_lines[[THROUGHPUT, f"{THROUGHPUT}_after_fetch"]].max().max()
    scale = alt.Scale(domain=[0, end], nice=False)
    x = alt.X(
        f"{THROUGHPUT}:Q", title="samples per second: ● whole steps, ○ by the published timer", scale=scale,
        axis=alt.Axis(orient="top", tickCount=8),
    )  # fmt: skip
    seeming = alt.X(f"{THROUGHPUT}_after_fetch:Q", scale=scale)
    tooltip: list[Any] = [
        "series:N", "situation:N",
        alt.Tooltip(f"{THROUGHPUT}:Q", title="whole steps", format=",.4g"),
        alt.Tooltip(f"{THROUGHPUT}_after_fetch:Q", title="published timer", format=",.4g"),
        alt.Tooltip("overstated_percent:Q", title="too much (%)", format="+.3g"),
    ]  # fmt: skip
    colour = document_common.loader_colour()
    base = alt.Chart(on_lines).encode(y=y, color=colour, tooltip=tooltip)
    layers = [
        *rows.headings(y),
        base.mark_rule(strokeWidth=1.6, opacity=0.6).encode(
            x=alt.X(f"{THROUGHPUT}:Q", scale=scale), x2=f"{THROUGHPUT}_after_fetch:Q"
        ),
        base.mark_point(filled=True, size=42).encode(x=x),
        base.mark_point(fill="white", size=42, strokeWidth=1.6).encode(x=seeming),
        alt.Chart(on_lines)
        .mark_text(align="left", dx=9, fontSize=10, color=common.INK)
        .encode(x=seeming, y=y, text="words:N"),
    ]
    chart: common.Chart = alt.layer(*layers).properties(
        width=_WIDE, height=rows.height,
        title=alt.TitleParams("What the published timer leaves out, here", fontSize=13, offset=6),
    )  # fmt: skip
    return chart


def _findings(published: pd.DataFrame, flaw: pd.DataFrame) -> tuple[str, list[str]]:
    notes = [_verdicts(published), _published_spread(published), f"Published: {PUBLISHED}."]
    if flaw.empty:
        return "Published throughput and memory; nothing of it was measured here", notes
    most = flaw.sort_values("overstated_percent").iloc[-1]
    title = (
        f"Timed from after the fetch, as published, throughput seems "
        f"{document_common.percent_range(list(flaw['overstated_percent']))} higher than it is, most with "
        f"{document_common.loader_words(most['loader'])} ({most['situation']})"
    )
    if len(flaw) == 1:
        title = (
            f"Timed from after the fetch, as published, {document_common.loader_words(most['loader'])} seems "
            f"{signed(most['overstated_percent'])} faster than it is"
        )
    return title, [hidden(flaw), *notes]


def hidden(flaw: pd.DataFrame) -> str:
    """What the published timer makes of the difference between loaders, where it is largest; empty with one loader."""
    found = []
    for situation, rows in flaw.groupby("situation", sort=False):
        if len(rows) > 1:
            spread = [
                100 * (rows[column].max() / rows[column].min() - 1)
                for column in (THROUGHPUT, f"{THROUGHPUT}_after_fetch")
            ]
            found.append((spread[0], spread[1], situation))
    if not found:
        return ""
    true, seeming, where = max(found)
    return (
        f"Loaders differ most in {where}: by {_percent(true)} in whole steps, "
        f"by {_percent(seeming)} by the published timer."
    )


def _verdicts(published: pd.DataFrame) -> str:
    theirs = published["published"].notna() | published["published_out_of_memory"].astype(bool)
    sentences = []
    for rows, what in (
        (published[theirs], "published numbers and claims"),
        (published[~theirs], "predictions of this project’s memory model"),
    ):
        counts = sorted(rows["verdict"].value_counts().items(), key=_verdict_place)
        words = ", ".join(f"{verdict} {number}" for verdict, number in counts)
        sentences += [f"Of {len(rows)} {what}: {words}."] * bool(len(rows))
    return " ".join(sentences)


def _verdict_place(counted: tuple[Any, int]) -> int:
    order = ["reproduced", "differs", "not testable here"]
    return order.index(counted[0]) if counted[0] in order else len(order)


def _published_spread(published: pd.DataFrame) -> str:
    """How far the published loaders are apart at each number of GPUs."""
    rows = published[published["quantity"] == THROUGHPUT].dropna(subset=["published", "world_size"])
    spreads = [
        100 * (of["published"].max() / of["published"].min() - 1)
        for _, of in rows.groupby("world_size")
        if len(of) > 1
    ]
    if not spreads:
        return ""
    return f"The published loaders differ by {document_common.percent_range(spreads)} at one number of GPUs."


def signed(percent: float) -> str:
    """Such as `+12 %`; with a true minus."""
    digits = 0 if abs(percent) >= 9.5 else 1 if abs(percent) >= 0.95 else 2
    text = f"{percent:+.{digits}f} %"
    return text.replace("-", "−")


def _percent(value: float) -> str:
    return f"{value:.0f} %" if value >= 9.5 else f"{value:.2g} %"


def _gib(mebibytes: float) -> str:
    return f"{mebibytes / 1024:,.3g} GiB" if mebibytes >= 1024 else f"{mebibytes:,.3g} MiB"
