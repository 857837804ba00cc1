"""RSS of every process against time, systems side by side, with the phases of the index build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common
from .common import Figure

TITLE = "Memory over time"
PHASES = ["setup", "train", "index", "finalize"]  # methods of CollectionIndexer
SUM = "sum of all processes"
_CAPTION = (
    "Each panel is one run (the profiler and the repeat are in its heading); samples come from outside the "
    "processes. Of a run with more than {instants} instants are drawn, in each of {intervals} equal "
    "intervals, those with the lowest and the highest sum, so no peak is lost. Bars above the curves are the "
    "phases of the index build; time outside them is start-up, imports, loading and, in a parent, waiting."
)
_COLUMNS = ["run", "series", "documents", "seconds", "role", "rss_mib", "tree_rss_mib"]
_PANEL_HEIGHT, _STRIP_HEIGHT = 230, 58  # pixels; the strip above the curves holds the phases
# Instants drawn in all panels together, so that an SVG stays near a megabyte, and the most in one panel.
_INSTANTS, _INSTANTS_PER_PANEL = 4500, 600
_TOOLTIPS = 1200  # in all panels together


@dataclass(frozen=True)
class _Panel:
    series: str
    outcome: str
    others: str  # the other runs of the same system and size that did not complete
    documents: int
    passages: float
    profiler: str
    repeat: int
    instants: pd.DataFrame  # seconds, a column for each role, tree: MiB; thinned
    phases: pd.DataFrame  # phase, started_seconds, ended_seconds
    peak_seconds: float
    peak_mib: float
    moment: str | None

    @property
    def peak_when(self) -> str:
        """The phase in which the peak is or, outside the phases, the moment of the run."""
        inside = self.phases[
            (self.phases["started_seconds"] <= self.peak_seconds)
            & (self.phases["ended_seconds"] >= self.peak_seconds)
        ]
        if inside.empty:
            return common.moment_words(self.moment)
        return f"in {inside['phase'].iloc[-1]}"


def draw(runs: pd.DataFrame, curve: pd.DataFrame, spans: pd.DataFrame, comparison: pd.DataFrame) -> Figure:
    """Args: the tables runs, memory_curve, spans and memory_comparison."""
    if runs.empty or curve.empty:
        reason = "The table of runs is empty." if runs.empty else "No run left a sample of its memory."
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    runs = common.label_systems(runs)
    chosen = common.one_run_each(runs, ["spans", "none", *common.PROFILERS[2:]])
    sizes, series = sorted(common.unique(chosen["documents"])), common.unique(runs["series"])
    instants = min(_INSTANTS_PER_PANEL, max(60, _INSTANTS // len(chosen)))
    drawn = {
        (row.series, row.documents): _select(row, runs, curve, spans, instants)
        for row in common.each_row(chosen)
    }
    panel_width = 310 if len(series) <= 3 else 230
    charts: list[common.Chart] = []
    roles = [role for role in common.ROLE_COLOURS if any(role in each.instants for each in drawn.values())]
    for size in sizes:
        in_row = [drawn[name, size] for name in series if (name, size) in drawn]
        scales = _Scales(
            seconds=max([each.instants["seconds"].max() for each in in_row if len(each.instants)] or [1.0]),
            mib=max([each.peak_mib for each in in_row] or [1.0])
            * _PANEL_HEIGHT
            / (_PANEL_HEIGHT - _STRIP_HEIGHT - 16),
            roles=roles,
            width=panel_width,
            notes=any(each.others for each in in_row),
            tooltips=max(20, _TOOLTIPS // len(chosen)),
        )
        for name in series:
            first = name == series[0]
            panel = drawn.get((name, size))
            charts.append(
                _draw_panel(panel, scales, first) if panel else _draw_absent(name, size, panel_width)
            )
    chart = alt.concat(*charts, columns=len(series)).resolve_scale(color="shared")
    title, support = _findings(list(drawn.values()), runs, comparison)
    return Figure(
        chart,
        _rows(chosen, drawn),
        title,
        common.conditions(runs),
        support,
        [common.incomplete_words(runs), "Scales are equal within a row."],
        _CAPTION.format(instants=instants, intervals=instants // 2),
        width=len(series) * (panel_width + 60),
    )


# From tables to panels


def sum_by_role(curve: pd.DataFrame) -> pd.DataFrame:
    """RSS of each role and of the tree at every instant of one run's curve.

    The sampler writes a process only when its memory has changed, so a process keeps its last value until the
    next one; a value of 0 ends it.

    Returns: `seconds`, one column for each role, `tree` (MiB).
    """
    by_process = curve.pivot_table(
        index="seconds", columns=["role", "process_id"], values="rss_mib", aggfunc="last"
    )
    by_role = by_process.ffill().fillna(0.0).T.groupby(level="role").sum().T
    by_role["tree"] = by_role.sum(axis=1)
    by_role.columns.name = None
    return by_role.reset_index()


def thin(instants: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` instants: the lowest and the highest sum in each of `most / 2` equal intervals."""
    if len(instants) <= most:
        return instants
    edges = np.linspace(instants["seconds"].min(), instants["seconds"].max(), most // 2 + 1)
    interval = np.clip(np.searchsorted(edges, instants["seconds"], side="right"), 1, most // 2)
    grouped = instants["tree"].groupby(interval)
    kept = np.unique(
        np.concatenate([grouped.idxmin(), grouped.idxmax(), [instants.index[0], instants.index[-1]]])
    )
    return instants.loc[kept]


def _select(row: Any, runs: pd.DataFrame, curve: pd.DataFrame, spans: pd.DataFrame, most: int) -> _Panel:
    instants = sum_by_role(curve[curve["run"] == row.run])
    of_run = spans[spans["run"] == row.run]
    phase = of_run["function"].str.extract(r"\.CollectionIndexer\.(\w+)$", expand=False)
    phases = of_run.assign(phase=phase)[phase.isin(PHASES)].sort_values("started_seconds")
    peak_seconds, peak_mib = 0.0, 0.0
    if len(instants):
        at = instants["tree"].to_numpy().argmax()
        peak_seconds, peak_mib = instants["seconds"].iloc[at], instants["tree"].iloc[at]
    if pd.notna(row.tree_peak_rss_mib):  # the sampler's own; the curve holds it to within its writing step
        peak_mib = row.tree_peak_rss_mib
    return _Panel(
        series=row.series,
        outcome=row.outcome,
        others=_others(row, runs),
        documents=row.documents,
        passages=row.passages,
        profiler=row.profiler,
        repeat=row.repeat,
        instants=thin(instants, most),
        phases=phases[["phase", "started_seconds", "ended_seconds"]],
        peak_seconds=peak_seconds,
        peak_mib=peak_mib,
        moment=row.tree_peak_moment,
    )


def _others(row: Any, runs: pd.DataFrame) -> str:
    same = runs[
        (runs["series"] == row.series) & (runs["documents"] == row.documents) & (runs["run"] != row.run)
    ]
    incomplete = same[same["outcome"] != COMPLETED]
    return ", ".join(
        f"{each.profiler}, repeat {each.repeat}: {common.outcome_words(each.outcome)}"
        for each in common.each_row(incomplete)
    )


def _rows(chosen: pd.DataFrame, drawn: dict[tuple[str, int], _Panel]) -> pd.DataFrame:
    parts = []
    for row in common.each_row(chosen):
        instants = drawn[row.series, row.documents].instants
        melted = instants.melt(["seconds", "tree"], var_name="role", value_name="rss_mib")
        melted = melted.rename(columns={"tree": "tree_rss_mib"})
        parts.append(melted.assign(run=row.run, series=row.series, documents=row.documents))
    return pd.concat(parts, ignore_index=True)[_COLUMNS]


def _findings(panels: list[_Panel], runs: pd.DataFrame, comparison: pd.DataFrame) -> tuple[str, str]:
    completed = [panel for panel in panels if panel.outcome == COMPLETED and len(panel.instants)]
    if not completed:
        return f"No run completed: {common.outcome_counts(runs)}", ""
    size = max(panel.documents for panel in completed)
    ranked = sorted((each for each in completed if each.documents == size), key=lambda each: -each.peak_mib)
    told = ranked if len(ranked) <= 3 else [ranked[0], ranked[-1]]
    peaks = [
        f"{common.mib(each.peak_mib)} for {each.series}" + (f" ({each.peak_when})" if each.peak_when else "")
        for each in told
    ]
    title = f"At {common.documents(size)} all processes together peak at {common.listed(peaks)}"
    names = common.comparison_names(runs)
    pair = {told[0].series, told[-1].series}
    support = [
        f"Without a profiler the difference between these highest and lowest {each.spread()}."
        for each in common.differences(comparison, "systems", "tree_peak_rss_mib", names)
        if each.documents == size and {each.high, each.low} == pair
    ]
    return title, "".join(support)


# Drawing


@dataclass(frozen=True)
class _Scales:
    """What the panels of a row share."""

    seconds: float
    mib: float
    roles: list[str]
    width: int
    notes: bool  # a panel has a note under its heading, so all leave room for one
    tooltips: int  # the most in a panel

    def x(self) -> alt.X:
        return alt.X(
            "seconds:Q",
            title="time since the start of the run (s)",
            scale=alt.Scale(domain=[0, self.seconds], nice=False),
        )

    def y(self, field: str, first: bool) -> alt.Y:
        return alt.Y(
            field,
            title="RSS (MiB)" if first else None,
            scale=alt.Scale(domain=[0, self.mib], nice=False),
            axis=alt.Axis(
                labels=first,
                ticks=first,
                tickCount=6,
                # A label at the very top would push its panel out of line with its neighbours.
                labelExpr=f"datum.value > {0.97 * self.mib} ? '' : datum.label",
            ),
        )

    def colour(self) -> alt.Color:
        colours = [*[common.ROLE_COLOURS[each] for each in self.roles], common.INK]
        return alt.Color(
            "role:N",
            title="RSS of",
            scale=alt.Scale(domain=[*self.roles, SUM], range=colours),
            legend=alt.Legend(orient="top", symbolType="square", symbolOpacity=1),
        )


def _draw_panel(panel: _Panel, scales: _Scales, first: bool) -> common.Chart:
    instants = panel.instants.round(
        {"seconds": 3, **{name: 1 for name in panel.instants if name != "seconds"}}
    )
    roles = [role for role in scales.roles if role in instants]
    instants = instants.assign(zero=0.0)
    lower = "zero"
    layers: list[alt.Chart] = []
    for role in roles:
        upper = f"to_{role}"
        instants[upper] = (instants[lower] + instants[role]).round(1)
        layers.append(
            alt.Chart()
            .transform_calculate(role=f"'{role}'")
            .mark_area(interpolate="step-after", opacity=0.9)
            .encode(x=scales.x(), y=scales.y(f"{upper}:Q", first), y2=f"{lower}:Q", color=scales.colour())
        )
        lower = upper
    layers.append(
        alt.Chart()
        .transform_calculate(role=f"'{SUM}'")
        .mark_line(interpolate="step-after", strokeWidth=1.2)
        .encode(x=scales.x(), y=scales.y("tree:Q", first), color=scales.colour())
    )
    # Invisible, for the tooltip only.
    tooltip = [alt.Tooltip("seconds:Q", format=".2f")]
    tooltip += [alt.Tooltip(f"{role}:Q", title=f"{role} (MiB)", format=",.0f") for role in [*roles, "tree"]]
    every = max(1, len(instants) // scales.tooltips)
    layers.append(
        alt.Chart(instants.iloc[::every])
        .mark_rule(opacity=0, strokeWidth=4)
        .encode(x=scales.x(), tooltip=tooltip)
    )
    curves = alt.layer(*layers, data=instants)
    passages = "" if pd.isna(panel.passages) else f", {common.count(panel.passages)} passages"
    heading = alt.TitleParams(
        panel.series,
        subtitle=[
            f"{common.documents(panel.documents)}{passages} · {panel.profiler}, repeat {panel.repeat}",
            *([f"× {panel.others}" if panel.others else " "] if scales.notes else []),
        ],
        fontSize=13,
        subtitleFontSize=11,
        subtitlePadding=2,
        offset=6,
    )
    return alt.layer(*_phase_layers(panel, scales), curves, *_mark_layers(panel, scales)).properties(
        width=scales.width, height=_PANEL_HEIGHT, title=heading
    )


def _phase_layers(panel: _Panel, scales: _Scales) -> list[alt.Chart]:
    """A row of its own for each phase above the curves, so that short phases stay legible."""
    if panel.phases.empty:
        return []
    row = panel.phases["phase"].map(PHASES.index)
    unit = scales.mib / _PANEL_HEIGHT
    started, ended = panel.phases["started_seconds"], panel.phases["ended_seconds"]
    length = ended - started
    place = pd.Series("right", index=panel.phases.index)
    place = place.mask(ended > 0.62 * scales.seconds, "left").mask(length > 0.35 * scales.seconds, "inside")
    phases = panel.phases.assign(
        seconds=started,
        middle_seconds=(started + ended) / 2,
        top=scales.mib - (3 + 13 * row) * unit,
        bottom=scales.mib - (14 + 13 * row) * unit,
        middle=scales.mib - (8.5 + 13 * row) * unit,
        floor=0.0,
        place=place,
        words=panel.phases["phase"] + " " + length.map(_seconds),
    )
    bars = alt.Chart(phases).encode(x=scales.x(), x2="ended_seconds:Q")
    tooltip = [
        "phase:N",
        alt.Tooltip("started_seconds:Q", format=".2f"),
        alt.Tooltip("ended_seconds:Q", format=".2f"),
    ]

    def label(
        place: str, x: str, align: Literal["left", "center", "right"], dx: int, colour: str
    ) -> alt.Chart:
        texts = alt.Chart(phases[phases["place"] == place]).encode(x=f"{x}:Q", y="middle:Q", text="words:N")
        marks: alt.Chart = texts.mark_text(align=align, dx=dx, fontSize=10, color=colour)
        return marks

    return [
        bars.mark_rect(color=common.NOTE, opacity=0.06).encode(y="top:Q", y2="floor:Q"),
        bars.mark_rect(color="#737373").encode(y="top:Q", y2="bottom:Q", tooltip=tooltip),
        label("right", "ended_seconds", "left", 4, common.INK),
        label("left", "started_seconds", "right", -4, common.INK),
        label("inside", "middle_seconds", "center", 0, "white"),
    ]


def _seconds(value: float) -> str:
    if value < 0.95:
        return f"{1000 * value:.0f} ms"
    return f"{value:,.{1 if value < 100 else 0}f} s"


def _mark_layers(panel: _Panel, scales: _Scales) -> list[alt.Chart]:
    late = panel.peak_seconds > 0.6 * scales.seconds
    peak = pd.DataFrame(
        {
            "seconds": [panel.peak_seconds],
            "tree": [panel.peak_mib],
            "words": [f"peak {common.mib(panel.peak_mib)}"],
        }
    )
    marks = alt.Chart(peak).encode(x=scales.x(), y="tree:Q")
    layers = []
    if len(panel.instants):
        layers = [
            marks.mark_point(filled=True, size=40, color=common.INK, opacity=1),
            marks.mark_text(
                align="right" if late else "left",
                dx=-6 if late else 6,
                dy=-7,
                fontWeight="bold",
                color=common.INK,
            ).encode(text="words:N"),
        ]
    if panel.outcome != COMPLETED:
        end = panel.instants["seconds"].max() if len(panel.instants) else 0.0
        level = panel.instants["tree"].iloc[-1] if len(panel.instants) else scales.mib / 2
        late = end > 0.5 * scales.seconds
        words = (
            f"{common.outcome_words(panel.outcome)} at {end:.1f} s"
            if end
            else common.outcome_words(panel.outcome)
        )
        ended = alt.Chart(pd.DataFrame({"seconds": [end], "tree": [level], "words": [words]}))
        ended = ended.encode(x=scales.x(), y="tree:Q")
        place: dict[str, Any] = {"align": "right" if late else "left", "dx": -10 if late else 10, "dy": 14}
        layers += [
            ended.mark_text(text="×", fontSize=20, fontWeight="bold", color=common.ALARM),
            ended.mark_text(fontWeight="bold", stroke="white", strokeWidth=4, **place).encode(text="words:N"),
            ended.mark_text(fontWeight="bold", color=common.ALARM, **place).encode(text="words:N"),
        ]
    return layers


def _draw_absent(series: str, size: int, width: int) -> common.Chart:
    chart: alt.Chart = alt.Chart(pd.DataFrame({"words": ["not run"]})).mark_text(color=common.NOTE)
    title = alt.TitleParams(series, subtitle=common.documents(size), fontSize=13, subtitleFontSize=11)
    return chart.encode(text="words:N").properties(width=width, height=_PANEL_HEIGHT, title=title)
