"""What the memory model predicts against what was measured, and of which terms a run's phases are made."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from . import common
from .common import Figure

TITLE = "Predicted and measured peak memory"
_CAPTION = (
    "Left: a circle is the peak of a run, predicted from the settings and sizes that it resolved; a diamond is a "
    "published peak; triangles are peaks that are predicted with formulas and a level that smaller sizes alone give, "
    "with the interval of 95 % for one further value. On the line prediction and measurement are equal; "
    "within the band they are no more than 10 % apart. "
    "Right: one run's phases as the terms of the model, processes added up, "
    "beside what was measured (black). Terms that are small in each phase are one; the CSV has each with its formula."
)
_WITHIN = 10.0  # percent
PEAK = "peak"
_KINDS = {
    "run": "a run",
    "run extrapolated": "a run, from smaller sizes",
    "published": "published",
    "published extrapolated": "published, from at most 500,000",
}
_SHAPES = ["circle", "triangle-up", "diamond", "triangle-down"]
_PUBLISHED_COLOURS = ["#222222", "#8A8A8A", "#B9B9B9"]
_PHASES = ["start-up", "planning", "training", "encoding", "finalizing", "child exit"]
# Paul Tol's light and pale palettes and greys: no system's, role's or verdict's colour.
_TERM_COLOURS = [
    "#C9C9C9", "#9A9A9A", "#EE8866", "#77AADD", "#BBCC33", "#EEDD88", "#FFAABB", "#99DDFF", "#44BB99", "#AAAA00",
]  # fmt: skip
_REST = "smaller terms"
_SMALL = 0.02  # of the run's highest phase
_COLUMNS = [
    "source", "run", "system", "series", "documents", "phase", "memory", "profiler", "predicted_mib", "low_mib",
    "high_mib", "measured_mib", "error_percent", "deciding_phase", "process", "term", "formula", "mib", "basis",
]  # fmt: skip
_SIZE, _TERMS_WIDTH = 400, 420


def draw(model: pd.DataFrame, terms: pd.DataFrame) -> Figure:
    """Args: the tables memory_model and memory_model_terms."""
    model = model.assign(series=model["label"].where(model["label"].notna(), model["system"]))
    host = model[model["memory"] == "host"]
    peaks = host[(host["phase"] == PEAK) & host["measured_mib"].notna()]
    if peaks.empty:
        reason = "No completed run has the settings that the model needs, and no published peak is at hand."
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    chosen = _chosen(host)
    of_run = terms[(terms["run"] == chosen) & (terms["memory"] == "host")] if chosen else terms.iloc[:0]
    panels: list[common.Chart] = [_against(peaks)]
    if not of_run.empty:
        panels.append(_terms(of_run, host[host["run"] == chosen]))
    chart = alt.hconcat(*panels, spacing=40).resolve_scale(color="independent", shape="independent")
    shown = host[(host["phase"] == PEAK) | (host["run"] == chosen)] if chosen else host[host["phase"] == PEAK]
    parts: list[pd.DataFrame] = [shown.astype(object), of_run.astype(object)]
    drawn = pd.concat(parts, ignore_index=True)
    return Figure(
        chart, drawn.reindex(columns=_COLUMNS), _title(peaks), "", "", _notes(peaks, host), _CAPTION, width=1060
    )  # fmt: skip


# Words


def _title(peaks: pd.DataFrame) -> str:
    """Of the runs; of the published peaks where there are no runs."""
    runs = peaks[peaks["source"] == "run"]
    what = "runs" if len(runs) else "published peaks"
    rows = runs if len(runs) else peaks[peaks["source"] == "published"]
    within = int((rows["error_percent"].abs() <= _WITHIN).sum())
    worst = _worst(rows)
    size = common.documents(int(worst["documents"]))
    return (
        f"{within} of {len(rows)} {what} are predicted within 10 %; the largest error is "
        f"{worst['error_percent']:+.1f} % ({worst['series']}, {size})"
    )


def _worst(rows: pd.DataFrame) -> pd.Series:
    """The row of the largest error, of either sign."""
    return rows.iloc[int(rows["error_percent"].abs().to_numpy().argmax())]


def _notes(peaks: pd.DataFrame, host: pd.DataFrame) -> list[str]:
    notes = []
    for source, words in (
        ("run extrapolated", "Peaks of our runs predicted from smaller sizes alone"),
        ("published extrapolated", "Published peaks predicted from at most 500,000 documents alone"),
    ):
        rows = peaks[peaks["source"] == source]
        if len(rows):
            errors = [
                f"{row.error_percent:+.1f} % ({row.series}, {row.documents:,})"
                for row in common.each_row(rows)
            ]
            notes.append(f"{words}: {common.listed(errors)}.")
    phases = host[(host["source"] == "run") & (host["phase"] != PEAK) & host["error_percent"].notna()]
    if len(phases):
        within = int((phases["error_percent"].abs() <= _WITHIN).sum())
        worst = _worst(phases)
        notes.append(
            f"Phases: {within} of {len(phases)} within 10 %; the largest error is {worst['error_percent']:+.1f} % "
            f"({worst['phase']}, {worst['series']}, {common.documents(int(worst['documents']))})."
        )
    notes += _ahead(host[host["measured_mib"].isna() & host["source"].eq("published extrapolated")])
    return notes


def _ahead(rows: pd.DataFrame) -> list[str]:
    """What is predicted of sizes that nobody measured; by the model where a phase decides, else by the author."""
    notes = []
    for size, of_size in rows.groupby("documents"):
        said = []
        for machine, pair in of_size.groupby("system", sort=False):
            ours, author = pair[pair["deciding_phase"].notna()], pair[pair["deciding_phase"].isna()]
            words = [
                f"{row.predicted_mib / 1024:,.0f} GiB ({row.low_mib / 1024:,.0f} to {row.high_mib / 1024:,.0f}) by the "
                f"model, decided by {row.deciding_phase}"
                for row in common.each_row(ours.dropna(subset=["low_mib"]))
            ]
            words += [f"{row.predicted_mib / 1024:,.0f} GiB by the author" for row in common.each_row(author)]
            said.append(f"{str(machine).partition(', ')[2]} {', '.join(words)}")
        notes.append(f"Not measured, {size:,} documents: {'; '.join(said)} (× 1.5 a doubling).")
    return notes


def _chosen(host: pd.DataFrame) -> str | None:
    """The run whose phases are shown: measured by phase, the largest, then the highest peak."""
    phases = host[(host["source"] == "run") & (host["phase"] != PEAK) & host["measured_mib"].notna()]
    if phases.empty:
        return None
    ranked = phases.sort_values(["documents", "measured_mib"], ascending=False, kind="stable")
    return str(ranked["run"].iloc[0])


# Charts


def _colours(peaks: pd.DataFrame) -> alt.Scale:
    """Systems in the colours that they have in all figures; machines of published peaks in greys."""
    ours = common.system_scale(peaks[peaks["source"] == "run"])
    others = [name for name in common.unique(peaks["series"]) if name not in ours.domain]
    greys = [_PUBLISHED_COLOURS[place % len(_PUBLISHED_COLOURS)] for place in range(len(others))]
    return alt.Scale(domain=[*ours.domain, *others], range=[*ours.range, *greys])


def _against(peaks: pd.DataFrame) -> common.Chart:
    gib = peaks.assign(
        kind=peaks["source"].map(_KINDS),
        **{name: peaks[f"{name}_mib"] / 1024 for name in ("predicted", "measured", "low", "high")},
    )
    values = gib[["predicted", "measured"]]
    domain = [0.85 * float(values.min().min()), 1.2 * float(values.max().max())]
    scale = alt.Scale(type="log", domain=domain, nice=False)
    axis = alt.Axis(values=_ticks(domain), format="~g")
    line = pd.DataFrame({"measured": domain})
    line = line.assign(predicted=line["measured"], low=0.9 * line["measured"], high=1.1 * line["measured"])
    x = alt.X("measured:Q", scale=scale, axis=axis, title="measured (GiB)")
    y = alt.Y("predicted:Q", scale=scale, axis=axis, title="predicted (GiB)")
    band = (
        alt.Chart(line)
        .mark_area(color="#DDDDDD", opacity=0.7, clip=True)
        .encode(x=x, y=alt.Y("low:Q", scale=scale, axis=axis, title="predicted (GiB)"), y2="high:Q")
    )
    equal = alt.Chart(line).mark_line(color=common.NOTE, strokeWidth=1.6, clip=True).encode(x=x, y=y)
    there = [kind for kind in _KINDS.values() if (gib["kind"] == kind).any()]
    shapes = [_SHAPES[list(_KINDS.values()).index(kind)] for kind in there]
    below = alt.Legend(orient="bottom", columns=2, title=None, labelLimit=330)
    colour = alt.Color("series:N", scale=_colours(peaks), legend=below)
    interval = (
        alt.Chart(gib[gib["low"].notna()])
        .mark_rule(strokeWidth=1.2, opacity=0.55, clip=True)
        .encode(x=x, y=alt.Y("low:Q", scale=scale, axis=axis), y2="high:Q", color=colour)
    )
    points = (
        alt.Chart(gib)
        .mark_point(filled=False, size=62, strokeWidth=1.7, opacity=0.9)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=alt.Shape(
                "kind:N",
                scale=alt.Scale(domain=there, range=shapes),
                legend=alt.Legend(orient="top-left", title=None, labelLimit=330),
            ),
            tooltip=[
                alt.Tooltip("series:N", title="system"),
                alt.Tooltip("kind:N", title="what"),
                alt.Tooltip("documents:Q", format=","),
                "profiler:N",
                alt.Tooltip("predicted_mib:Q", title="predicted (MiB)", format=",.0f"),
                alt.Tooltip("measured_mib:Q", title="measured (MiB)", format=",.0f"),
                alt.Tooltip("error_percent:Q", title="error (%)", format="+.1f"),
                alt.Tooltip("deciding_phase:N", title="decided by"),
            ],
        )
    )
    return alt.layer(band, equal, interval, points).properties(
        width=_SIZE,
        height=_SIZE,
        title=common.panel_title("Peaks", ["band: within 10 %, both axes logarithmic"]),
    )


def _ticks(domain: Sequence[float]) -> list[float]:
    steps = [factor * 10.0**power for power in range(-3, 5) for factor in (1, 2, 5)]
    return [step for step in steps if domain[0] <= step <= domain[1]]


def _terms(of_run: pd.DataFrame, rows: pd.DataFrame) -> common.Chart:
    phases = [phase for phase in _PHASES if (of_run["phase"] == phase).any()]
    most = of_run.groupby("phase")["mib"].sum().max()
    by_term = of_run.assign(name=of_run["term"])
    # ColBERT's parent has libraries of its own.
    several = by_term.groupby("term")["process"].transform("nunique") > 1
    by_term["name"] = by_term["term"].where(~several, by_term["term"] + " (" + by_term["process"] + ")")
    highest = by_term.groupby(["name", "phase"])["mib"].sum().groupby("name").max()
    large = highest[highest >= _SMALL * most].sort_values(ascending=False).index[: len(_TERM_COLOURS) - 1]
    by_term["name"] = by_term["name"].where(by_term["name"].isin(large), _REST)
    order = [name for name in common.unique(by_term["name"]) if name != _REST] + [_REST]
    stacked = by_term.groupby(["phase", "name"], as_index=False)["mib"].sum()
    stacked["place"] = stacked["name"].map(order.index)
    measured = rows[(rows["phase"] != PEAK) & rows["measured_mib"].notna()]
    y = alt.Y("phase:N", sort=phases, title=None, axis=alt.Axis(domain=False, ticks=False))
    top = 1.14 * max(most, measured["measured_mib"].max())
    scale = alt.Scale(domain=[0, top], nice=False)
    bars = (
        alt.Chart(stacked)
        .mark_bar(height=26, stroke="white", strokeWidth=0.6)
        .encode(
            x=alt.X(
                "mib:Q",
                stack="zero",
                scale=scale,
                axis=alt.Axis(tickCount=6),
                title="memory of the process tree (MiB)",
            ),
            y=y,
            order="place:Q",
            color=alt.Color(
                "name:N",
                scale=alt.Scale(domain=order, range=_TERM_COLOURS[: len(order)]),
                legend=alt.Legend(
                    orient="bottom", columns=2, title=None, symbolType="square", labelLimit=250
                ),
            ),
            tooltip=[
                "phase:N",
                alt.Tooltip("name:N", title="term"),
                alt.Tooltip("mib:Q", title="MiB", format=",.1f"),
            ],
        )
    )
    base = alt.Chart(measured).encode(y=y, x=alt.X("measured_mib:Q", scale=scale))
    ticks = base.mark_tick(color=common.INK, thickness=3, height=34)
    labels = (
        base.mark_text(align="left", dx=6, fontSize=10, color=common.INK)
        .encode(text="words:N")
        .transform_calculate(words="format(datum.error_percent, '+.1f') + ' %'")
    )
    first = rows.iloc[0]
    heading = common.panel_title(
        str(first["series"]),
        [
            f"{common.documents(int(first['documents']))}; bars: predicted, black: measured, and the prediction's error"
        ],
    )
    return alt.layer(bars, ticks, labels).properties(
        width=_TERMS_WIDTH, height=56 * len(phases), title=heading
    )
