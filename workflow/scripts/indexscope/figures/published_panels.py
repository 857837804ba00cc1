"""A panel of one function: start, increment and final of each system at each number of documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
import pandas as pd

from . import common, functions

FUNCTIONS = list(functions.FUNCTIONS)  # in the order in which they run
START, FINAL, CONTRADICTED = "start", "final", "published, contradicted by the log"
_SHAPES = {START: "circle", FINAL: "diamond", CONTRADICTED: "cross"}
BAR_PIXELS, _GROUP_PIXELS = 15, 14


def size_words(documents: int) -> str:
    """100000 → 100k, as the study writes it."""
    for unit, suffix in ((1_000_000, "M"), (1_000, "k")):
        if documents % unit == 0:
            return f"{documents // unit}{suffix}"
    return str(documents)


def width_of(rows: pd.DataFrame) -> int:
    """Pixels that a panel of `rows` needs."""
    sizes, systems = rows["documents"].nunique(), rows["system"].nunique()
    return int(min(560, max(150, sizes * (systems * BAR_PIXELS + _GROUP_PIXELS))))


def panel(
    rows: pd.DataFrame,
    *,
    sizes: Sequence[int],
    systems: Sequence[str],
    colours: alt.Scale,
    domain: Sequence[float],
    marks: Sequence[str],
    width: int,
    height: int,
    title: alt.TitleParams,
    y_title: str | None,
    labels: Literal["none", "above", "upright"],
) -> common.Chart:
    """Bars from start to final; the dot is the start, so that a bar below its dot is memory that was given back.

    Args:
        rows: system, documents, start_mib, increment_mib, final_mib; and contradicted_mib, null where it is not.
        sizes, systems: in the order of the axis and within a group.
        domain: MiB of the axis, the same for all panels that are to be compared.
        marks: which of START, FINAL, CONTRADICTED the legend has.
        labels: how the increment is written at each bar.
    """
    order = [size_words(size) for size in sizes]
    rows = rows.assign(
        size=[size_words(size) for size in rows["documents"]],
        top=rows[["start_mib", "final_mib"]].max(axis=1),
        words=[f"{round(value) + 0:+,d}" if pd.notna(value) else "" for value in rows["increment_mib"]],
    )
    x = alt.X(
        "size:O",
        sort=order,
        scale=alt.Scale(domain=order, paddingInner=0.22, paddingOuter=0.12),
        title=None,
        axis=alt.Axis(labelAngle=0, ticks=False, domain=False),
    )
    offset = alt.XOffset("system:N", scale=alt.Scale(domain=list(systems)))
    legend = alt.Legend(orient="top", columns=3, values=list(systems))
    base = alt.Chart(rows).encode(
        x=x,
        xOffset=offset,
        color=alt.Color("system:N", scale=colours, title=None, legend=legend),
        tooltip=[
            "system:N",
            alt.Tooltip("documents:Q", format=",d"),
            *[
                alt.Tooltip(f"{name}_mib:Q", title=f"{name} (MiB)", format=",.1f")
                for name in ("start", "increment", "final")
            ],
        ],
    )

    def y(field: str) -> alt.Y:
        return alt.Y(
            f"{field}:Q",
            title=y_title,
            scale=alt.Scale(domain=list(domain), nice=False),
            axis=alt.Axis(tickCount=4, format=",d"),
        )

    def mark(field: str, name: str, size: int) -> alt.Chart:
        shape = alt.Shape(
            "mark:N",
            title=None,
            scale=alt.Scale(domain=list(marks), range=[_SHAPES[each] for each in marks]),
            legend=alt.Legend(
                orient="top", symbolFillColor=common.NOTE, symbolStrokeColor=common.NOTE, symbolSize=60
            ),
        )
        points: alt.Chart = base.transform_calculate(mark=f"'{name}'").mark_point(
            size=size, filled=True, opacity=1
        )
        return points.encode(y=y(field), shape=shape)

    layers: list[alt.Chart] = [
        base.mark_rule(strokeWidth=7, opacity=0.35).encode(y=y("start_mib"), y2="final_mib:Q"),
        mark("start_mib", START, 26),
        mark("final_mib", FINAL, 34),
    ]
    if CONTRADICTED in marks:
        wrong = mark("contradicted_mib", CONTRADICTED, 40).encode(color=alt.value(common.ALARM))
        layers.append(wrong.transform_filter("isValid(datum.contradicted_mib)"))
    if labels != "none":
        place: dict[str, Any] = {"dy": -8, "align": "center"}
        if labels == "upright":
            place = {"dx": 6, "align": "left", "baseline": "middle", "angle": 270}
        layers.append(
            base.mark_text(fontSize=9, **place).encode(
                y=y("top"), text="words:N", color=alt.value(common.INK)
            )
        )
    chart: common.Chart = alt.layer(*layers).properties(
        width=width,
        height=height,
        title=title,
    )
    return chart


def heading(function: str, column: str | None = None) -> alt.TitleParams:
    """A panel's title: the function, below the column's name where it is the first of one."""
    if column is None:
        return alt.TitleParams(function, fontSize=12, offset=4, anchor="start", fontWeight="normal")
    return alt.TitleParams(
        column,
        subtitle=[function],
        fontSize=13,
        subtitleFontSize=12,
        subtitleColor=common.INK,
        subtitlePadding=6,
        offset=4,
        anchor="start",
    )
