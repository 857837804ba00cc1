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
    "intervals, those with the lowest and the highest sum, so no peak is lost. The bands behind the curves are "
    "the phases of the index build, named above them in a row each, known from the profiler spans only; time "
    "outside them is start-up, imports, loading and, in a parent, waiting. × is where a run ended that did not "
    "complete; a dashed line is the limit that it passed."
)
_COLUMNS = ["run", "series", "documents", "seconds", "role", "rss_mib", "tree_rss_mib"]
_PANEL_HEIGHT, _STRIP_HEIGHT = 250, 58  # pixels; the strip above the curves holds the phases
# Instants drawn in all panels together, so that an SVG stays near a megabyte, and the most in one panel.
_INSTANTS, _INSTANTS_PER_PANEL = 4500, 600
_TOOLTIPS = 1200  # in all panels together
_WIDTHS = [560, 480, 340, 245]  # of a panel when so many stand side by side, in pixels
_AXIS_WIDTH, _GAP = 60, 42
_BANDS = [0.10, 0.22]  # opacities, in turns, so that neighbours are told apart
# Of the phases, those before the collection is encoded.
_BEFORE_ENCODING = ["setup", "train"]


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
    phases: pd.DataFrame  # phase, started_seconds, ended_seconds, raised (the exception that ended it)
    peak_seconds: float
    peak_mib: float
    moment: str | None
    limit_mib: float  # that the run passed
    highest_phase: str | None  # the phase during which the sum is highest

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
    runs = common.label_systems(common.own_runs(runs))
    curve = curve[curve["run"].isin(runs["run"])]
    if runs.empty or curve.empty:
        reason = "The table of runs is empty." if runs.empty else "No run left a sample of its memory."
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    chosen = common.one_run_each(runs, ["spans", "none", *common.PROFILERS[2:]])
    sizes, series = sorted(common.unique(chosen["documents"])), common.unique(runs["series"])
    instants = min(_INSTANTS_PER_PANEL, max(60, _INSTANTS // len(chosen)))
    chosen = chosen.assign(limit=common.memory_limits(chosen))
    drawn = {
        (row.series, row.documents): _select(row, runs, curve, spans, instants)
        for row in common.each_row(chosen)
    }
    in_size = {size: [drawn[name, size] for name in series if (name, size) in drawn] for size in sizes}
    most = max(map(len, in_size.values()))
    panel_width = _WIDTHS[min(most, len(_WIDTHS)) - 1]
    columns = common.columns_that_fit(most, panel_width + _GAP, margin=_AXIS_WIDTH)
    roles = [role for role in common.ROLE_COLOURS if any(role in each.instants for each in drawn.values())]
    panels: dict[int, list[common.Chart]] = {}
    for size, of_size in in_size.items():
        scales = _scales(of_size, roles, panel_width, max(20, _TOOLTIPS // len(chosen)))
        panels[size] = [
            _draw_panel(panel, scales, number % columns == 0) for number, panel in enumerate(of_size)
        ]
    title, support = _findings(list(drawn.values()), runs, comparison)
    return Figure(
        common.blocks(panels, columns),
        _rows(chosen, drawn),
        title,
        common.conditions(runs),
        support,
        [
            _published(list(drawn.values())),
            _failed_attempts(list(drawn.values())),
            common.incomplete_words(runs),
            _not_run(in_size, series),
            "Both scales are equal among the systems of a size"
            + (" and differ between sizes." if len(sizes) > 1 else "."),
        ],
        _CAPTION.format(instants=instants, intervals=instants // 2),
        width=max(720, columns * (panel_width + _GAP) + _AXIS_WIDTH),
    )


def _scales(panels: list[_Panel], roles: list[str], width: int, tooltips: int) -> _Scales:
    """What the panels of a size share; the curves leave the strip of the phases and a text free."""
    highest = max(float(pd.Series([each.peak_mib, each.limit_mib]).max()) for each in panels)
    return _Scales(
        seconds=max([each.instants["seconds"].max() for each in panels if len(each.instants)] or [1.0]),
        mib=max(1.0, highest) * _PANEL_HEIGHT / (_PANEL_HEIGHT - _STRIP_HEIGHT - 34),
        roles=roles,
        width=width,
        notes=any(each.others for each in panels),
        tooltips=tooltips,
    )


def _not_run(in_size: dict[int, list[_Panel]], series: list[str]) -> str:
    parts = []
    for size, panels in in_size.items():
        missing = [name for name in series if name not in {each.series for each in panels}]
        if missing:
            parts.append(f"{common.listed(missing)} at {common.documents(size)}")
    return f"Not run: {common.listed(parts)}." if parts else ""


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
    known: dict[str, float] = {}  # a phase comes again after a failed attempt
    for phase in common.each_row(phases[["phase", "started_seconds", "ended_seconds"]]):
        level = instants.loc[instants["seconds"].between(*phase[1:]), "tree"].max()
        if pd.notna(level):
            known[phase.phase] = max(level, known.get(phase.phase, 0.0))
    return _Panel(
        series=row.series,
        outcome=row.outcome,
        others=_others(row, runs),
        documents=row.documents,
        passages=row.passages,
        profiler=row.profiler,
        repeat=row.repeat,
        instants=thin(instants, most),
        phases=phases[["phase", "started_seconds", "ended_seconds", "raised"]],
        peak_seconds=peak_seconds,
        peak_mib=peak_mib,
        moment=row.tree_peak_moment,
        limit_mib=row.limit,
        highest_phase=max(known, key=lambda phase: known[phase]) if known else None,
    )


def _failed_attempts(panels: list[_Panel]) -> str:
    """A sentence on the phases that failed in runs that went on after them; empty where none did."""
    parts = []
    for panel in panels:
        failed = panel.phases[panel.phases["raised"].notna()]
        if panel.outcome == COMPLETED and len(failed):
            ends = [
                f"{row.phase} at {row.ended_seconds:.1f} s ({row.raised})" for row in common.each_row(failed)
            ]
            parts.append(f"{common.listed(ends)} in {panel.series} at {common.documents(panel.documents)}")
    if not parts:
        return ""
    return f"Failed, red with ×: {'; '.join(parts)}. In the same run the phases then begin anew."


def _others(row: Any, runs: pd.DataFrame) -> str:
    same = runs[
        (runs["series"] == row.series) & (runs["documents"] == row.documents) & (runs["run"] != row.run)
    ]
    incomplete = same[same["outcome"] != COMPLETED]
    if len(incomplete) > 1:
        return f"{len(incomplete)} other runs: {common.outcome_counts(incomplete)}"
    return "".join(
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


def _published(panels: list[_Panel]) -> str:
    """In which phase memory is highest, at the largest size with phases, beside where the study has it."""
    statement = (
        "of the phases, memory is highest in setup or train, before the whole collection is encoded (index)"
    )
    known = [each for each in panels if each.highest_phase and each.outcome == COMPLETED]
    if not known:
        return common.published(statement, "", {}, "no completed run with the profiler spans")
    size = max(each.documents for each in known)
    phases = {each.series: str(each.highest_phase) for each in known if each.documents == size}
    verdicts = {name: phase in _BEFORE_ENCODING for name, phase in phases.items()}
    evidence = "it is highest " + common.grouped({name: f"in {phase}" for name, phase in phases.items()})
    return common.published(statement, f"at {common.documents(size)}", verdicts, evidence)


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
            .mark_area(interpolate="step-after", opacity=0.82)
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
    passages = "" if pd.isna(panel.passages) else f"{common.count(panel.passages)} passages · "
    lines = [f"{passages}profiler {panel.profiler}, repeat {panel.repeat}"]
    if scales.notes:
        lines.append(f"× {panel.others}" if panel.others else " ")
    heading = common.panel_title(panel.series, lines)
    return alt.layer(*_phase_layers(panel, scales), curves, *_mark_layers(panel, scales)).properties(
        width=scales.width, height=_PANEL_HEIGHT, title=heading
    )


def _phase_layers(panel: _Panel, scales: _Scales) -> list[alt.Chart]:
    """A row of its own for each phase above the curves, so that short phases stay legible."""
    if panel.phases.empty:
        words = pd.DataFrame({"words": [f"phases are not recorded under profiler {panel.profiler}"]})
        if panel.profiler == "spans":
            words["words"] = "no phase was finished"
        text = alt.Chart(words).mark_text(align="left", fontSize=10, fontStyle="italic", color=common.NOTE)
        return [text.encode(x=alt.value(6), y=alt.value(10), text="words:N")]
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
        words=panel.phases["phase"]
        + " "
        + length.map(_seconds)
        + panel.phases["raised"].notna().map({True: " ×", False: ""}),
    )
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
        *[
            alt.Chart(phases[phases["phase"].map(PHASES.index) % len(_BANDS) == number])
            .mark_rect(color=common.INK, stroke=common.INK, strokeWidth=0.8, opacity=opacity)
            .encode(x=scales.x(), x2="ended_seconds:Q", y="top:Q", y2="floor:Q")
            for number, opacity in enumerate(_BANDS)
        ],
        *[
            alt.Chart(phases[phases["raised"].notna() == failed])
            .mark_rect(color=colour, stroke=colour, strokeWidth=1.2)
            .encode(x=scales.x(), x2="ended_seconds:Q", y="top:Q", y2="bottom:Q", tooltip=tooltip)
            for failed, colour in ((False, "#737373"), (True, common.ALARM))
            if (phases["raised"].notna() == failed).any()
        ],
        label("right", "ended_seconds", "left", 4, common.INK),
        label("left", "started_seconds", "right", -4, common.INK),
        label("inside", "middle_seconds", "center", 0, "white"),
    ]


def _seconds(value: float) -> str:
    if value < 0.95:
        return f"{1000 * value:.0f} ms"
    return f"{value:,.{1 if value < 100 else 0}f} s"


def _mark_layers(panel: _Panel, scales: _Scales) -> list[alt.Chart]:
    layers = []
    if len(panel.instants):
        late = panel.peak_seconds > 0.55 * scales.seconds
        lines: list[tuple[str, int, Literal["bold", "normal"]]] = [
            (f"peak {common.mib(panel.peak_mib)}", -19, "bold"),
            (", ".join(filter(None, [f"at {panel.peak_seconds:.1f} s", panel.peak_when])), -7, "normal"),
        ]
        peak = alt.Chart(pd.DataFrame({"seconds": [panel.peak_seconds], "tree": [panel.peak_mib]}))
        peak = peak.encode(x=scales.x(), y="tree:Q")
        layers = [
            peak.mark_point(filled=True, size=40, color=common.INK, opacity=1),
            *[
                peak.mark_text(
                    text=words,
                    align="right" if late else "left",
                    dx=4 if late else -4,
                    dy=dy,
                    fontWeight=weight,
                    **look,
                )
                for words, dy, weight in lines
                for look in (common.HALO, {"color": common.INK})
            ],
        ]
    if pd.notna(panel.limit_mib):
        limit = alt.Chart(pd.DataFrame({"tree": [panel.limit_mib]})).encode(y="tree:Q")
        layers += [
            limit.mark_rule(color=common.ALARM, strokeDash=[5, 3]),
            limit.mark_text(
                text=f"limit {common.mib(panel.limit_mib)}",
                align="left",
                dy=-6,
                color=common.ALARM,
                fontSize=10,
            ).encode(x=alt.value(4)),
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
            ended.mark_text(fontWeight="bold", **common.HALO, **place).encode(text="words:N"),
            ended.mark_text(fontWeight="bold", color=common.ALARM, **place).encode(text="words:N"),
        ]
    return layers
