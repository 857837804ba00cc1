"""Recordings of mprof from elsewhere: memory of a process and of its children against time."""

from __future__ import annotations

import altair as alt
import pandas as pd

from . import common
from .common import Figure

TITLE = "Memory logs from elsewhere"
_CAPTION = (
    "Each panel is one recording of mprof: the process that was started and, where mprof recorded them, its children, "
    "each a line. Samples are mprof's own, ten a second by default, so a short spike may be missing."
)
_INSTANTS = 1500  # drawn in a panel
_COLUMNS = ["run", "system", "documents", "process_id", "role", "seconds", "rss_mib"]


def draw(logs: pd.DataFrame, curve: pd.DataFrame) -> Figure:
    """Args: the table external_logs, and the rows of memory_curve that its recordings gave."""
    kinds = logs["kind"].value_counts()
    counted = common.listed([f"{number} of {kind}" for kind, number in kinds.items()])
    if curve.empty:
        reason = f"No log is a recording of mprof ({counted or 'there is no log'})."
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    drawn = pd.concat([_thinned(rows) for _, rows in curve.groupby(["run", "process_id"], sort=False)])
    roles = [role for role in common.ROLE_COLOURS if role in set(drawn["role"])]
    panels = [_panel(rows, roles) for _, rows in drawn.groupby("run", sort=False)]
    peak = curve.nlargest(1, "rss_mib").iloc[0]
    machines = common.listed(common.unique(logs.loc[logs["kind"] == "mprof", "machine"]))
    return Figure(
        alt.concat(*panels, columns=2).resolve_scale(color="shared"),
        drawn[_COLUMNS],
        f"The largest process of the recordings from elsewhere reaches {common.mib(peak['rss_mib'])}: "
        f"{peak['system']}, {common.documents(int(peak['documents']))}, after {peak['seconds']:,.0f}\u00a0s",
        f"Logs: {counted}. Machine of the recordings: {machines}.",
        "",
        [],
        _CAPTION,
        width=940,
    )


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """At most _INSTANTS samples of one process, the highest and lowest of each stretch kept."""
    if len(rows) <= _INSTANTS:
        return rows
    stretch = pd.Series(range(len(rows)), index=rows.index) * (_INSTANTS // 2) // len(rows)
    grouped = rows["rss_mib"].groupby(stretch)
    return rows.loc[sorted({*grouped.idxmin(), *grouped.idxmax()})]


def _panel(rows: pd.DataFrame, roles: list[str]) -> common.Chart:
    first = rows.iloc[0]
    chart: common.Chart = (
        alt.Chart(rows)
        .mark_line(interpolate="step-after", strokeWidth=1.3)
        .encode(
            x=alt.X("seconds:Q", title="time since the first sample (s)", scale=alt.Scale(nice=False)),
            y=alt.Y("rss_mib:Q", title="RSS (MiB)", scale=alt.Scale(zero=True)),
            detail="process_id:N",
            color=alt.Color(
                "role:N",
                title="process",
                scale=alt.Scale(domain=roles, range=[common.ROLE_COLOURS[role] for role in roles]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=[
                "role:N",
                "process_id:N",
                alt.Tooltip("seconds:Q", format=",.2f"),
                alt.Tooltip("rss_mib:Q", format=",.1f"),
            ],
        )
        .properties(
            width=420,
            height=200,
            title=alt.TitleParams(
                str(first["system"]),
                subtitle=[common.documents(int(first["documents"])), str(first["run"]).split("/", 3)[-1]],
                fontSize=13,
                subtitleFontSize=11,
            ),
        )
    )
    return chart
