"""What the study's text says of its tables, against the numbers that it speaks of."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from . import common
from .common import Figure

_CAPTION = (
    "Each point is a number computed from the published tables, of one system and size; the band is what the text "
    "says. A bound is a rounded number: half of its last printed digit beyond it is inside. Sentences about a single "
    "number are in the CSV and in sentences.md."
)
_UNITS = {"ratio": "RAGatouille / ColBERT", "percent": "RAGatouille more than ColBERT (%)"}


def draw(values: pd.DataFrame, conditions: str) -> Figure:
    """Args: sentence_values.csv of check_published.py; what was measured, on what, as a sentence."""
    if values.empty:
        return common.nothing_to_draw("The study's sentences", "There is no sentence.", list(values.columns))
    several = values.groupby("sentence")["where"].transform("count") > 2
    shown = common.unique(values.loc[several, "sentence"])
    charts = [_row(values[values["sentence"] == name]) for name in shown]
    holds = values.drop_duplicates("sentence")["holds"].value_counts()
    single = values[~several].drop_duplicates("sentence")
    untrue = [f"“{row.text}”" for row in common.each_row(single) if row.holds == "no"]
    total = values["sentence"].nunique()
    return Figure(
        alt.vconcat(*charts, spacing=18) if charts else alt.Chart(values).mark_point(),
        values,
        f"Of {total} sentences about the tables {holds.get('yes', 0)} hold, {holds.get('partly', 0)} hold in part "
        f"and {holds.get('no', 0)} do not",
        conditions,
        "",
        [f"Of the sentences that are not drawn, not true: {common.listed(untrue)}."] if untrue else [],
        _CAPTION,
        width=940,
    )


def _row(values: pd.DataFrame) -> common.Chart:
    first = values.iloc[0]
    lowest, highest = values["value"].min(), values["value"].max()
    low, high = float(first["low"]), float(first["high"])
    ends = [value for value in (lowest, highest, low, high) if not np.isnan(value)]
    margin = 0.06 * (max(ends) - min(ends))
    start, end = min(ends) - margin, max(ends) + margin
    scale = alt.Scale(domain=[start, end], nice=False)
    band = pd.DataFrame({"low": [start if np.isnan(low) else low], "high": [end if np.isnan(high) else high]})
    inside = int(values["within"].sum())

    def x(field: str) -> alt.X:
        unit = _UNITS.get(first["measure"], "memory change (MiB)")
        return alt.X(f"{field}:Q", title=unit, scale=scale, axis=alt.Axis(tickCount=8, grid=False))

    points = alt.Chart(values.assign(inside=np.where(values["within"], "in the range", "outside")))
    return alt.layer(
        alt.Chart(band).mark_rect(color=common.NOTE, opacity=0.18).encode(x=x("low"), x2="high:Q"),
        points.mark_point(filled=True, size=70, opacity=0.85).encode(
            x=x("value"),
            shape=alt.Shape(
                "inside:N",
                title=None,
                scale=alt.Scale(domain=["in the range", "outside"], range=["circle", "cross"]),
                legend=alt.Legend(orient="top"),
            ),
            color=alt.Color(
                "inside:N",
                title=None,
                scale=alt.Scale(domain=["in the range", "outside"], range=[common.INK, common.ALARM]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["where:N", alt.Tooltip("value:Q", format=",.2f")],
        ),
    ).properties(
        width=880,
        height=34,
        title=alt.TitleParams(
            f"{first['section']}: “{first['text']}”",
            subtitle=f"{first['holds']}: {inside} of {len(values)} in the range",
            fontSize=12,
            subtitleFontSize=11,
            offset=4,
            anchor="start",
        ),
    )
