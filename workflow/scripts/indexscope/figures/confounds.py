"""From one process of ColBERT to RAGatouille's process tree, one bar for each thing that is unequal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from indexscope.analysis import confounds
from indexscope.analysis.memory_comparison import WITHOUT_PROFILER

from . import common
from .common import Figure

TITLE = "What is unequal between the frameworks"
_CAPTION = (
    "Read from top to bottom: the parent process of ColBERT, which is what the published study measured of it; then "
    "what each change adds or takes away at the peak, one after the other; last RAGatouille's process tree. Every "
    "change is named with its values as they were resolved; where no system between two was measured, one bar has "
    "several. Bars are differences of the medians of runs without a profiler and add up; the black line is the least "
    "and the most that any two runs differ by (of what is counted: the range within the same runs). A faint bar is "
    "within the spread of repeats, a hollow one is not backed by repeats."
)
_TOTAL, _MORE, _LESS = "peak", "adds", "takes away"
COLOURS = {_TOTAL: "#6E6E6E", _MORE: "#B35806", _LESS: "#35978F"}
_OPACITY = {True: 0.95, False: 0.35, None: 0.08}  # beyond the spread of repeats, within it, not known
_VERDICTS = {
    True: "beyond the spread of repeats",
    False: "within the spread of repeats (faint)",
    None: "not backed by repeats (hollow)",
}
_COLUMNS = [
    "documents", "step", "confound", "changes", "from_system", "from_measure", "to_system", "to_measure",
    "from_runs", "to_runs", "from_mib", "to_mib", "share_mib", "share_low_mib", "share_high_mib", "beyond_spread",
]  # fmt: skip
_TEXT_WIDTH, _WIDTH, _LINE, _CHARACTERS = 430, 560, 13, 78


def draw(rows: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Args: the tables confounds and runs."""
    plain = common.plain_rows(rows)
    steps = confounds.steps(plain)
    if not steps:
        reason = "No size has completed runs, without a profiler, of ColBERT and of another framework."
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    runs = common.label_systems(runs)
    names = common.comparison_names(runs)
    bars = {
        size: _bars([step for step in steps if step["documents"] == size], names)
        for size in dict.fromkeys(step["documents"] for step in steps)
    }
    most = max(bar["right"] for of_size in bars.values() for bar in of_size)
    panels = [_panel(pd.DataFrame(of_size), size, 1.12 * most) for size, of_size in bars.items()]
    return Figure(
        alt.vconcat(*panels, spacing=26), rows[_COLUMNS], _title(plain, names),
        common.conditions(_used(runs, plain)), _support(steps), _notes(plain, names), _CAPTION,
        width=_TEXT_WIDTH + _WIDTH,
    )  # fmt: skip


def _used(runs: pd.DataFrame, rows: Sequence[confounds.Row]) -> pd.DataFrame:
    """The runs that the rows were made of."""
    names = common.comparison_names(runs)
    series = {names.get(row[side], row[side]) for row in rows for side in ("from_system", "to_system")}
    sizes = {row["documents"] for row in rows}
    return runs[
        runs["series"].isin(series) & runs["documents"].isin(sizes) & (runs["profiler"] == WITHOUT_PROFILER)
    ]


def _bars(steps: Sequence[confounds.Row], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """One for the start, one for each step and one for the end of the chain, in the order of drawing.

    `left` and `right` are the ends of all that is drawn, in MiB; `top` is the bar's first line, in lines of text.
    """
    first, last = steps[0], steps[-1]
    bars = [_total(first, "from", names)]
    for step in steps:
        bars.append(
            {
                "heading": step["confound"],
                "details": _details(step),
                "kind": _MORE if step["share_mib"] >= 0 else _LESS,
                "start": step["from_mib"],
                "end": step["to_mib"],
                "low": step["from_mib"] + step["share_low_mib"],
                "high": step["from_mib"] + step["share_high_mib"],
                "words": confounds.signed(step["share_mib"]),
                "opacity": _OPACITY[step["beyond_spread"]],
                "spread": common.spread_words(step["beyond_spread"]),
                "runs": f"{step['from_runs']} and {step['to_runs']}",
            }
        )
    bars.append(_total(last, "to", names))
    top = 0.0
    for bar in bars:
        lines = 2 + len(bar["details"].splitlines()) + 0.6
        bar |= {
            "top": top,
            "middle": top + lines / 2,
            "bottom": top + lines,
            "bar_top": top + lines / 2 - 0.9,
            "bar_bottom": top + lines / 2 + 0.9,
            "right": max(bar["end"], bar["start"], bar["high"]),
        }
        top += lines
    return bars


def _details(step: confounds.Row) -> str:
    """What changes, in lines; no line ends within a change's values, and the heading is not said again."""
    text = str(step["changes"])
    if text.startswith(f"{step['confound']} (") and text.count("(") == 1:
        text = text.removeprefix(f"{step['confound']} (").removesuffix(")")
    return textwrap.fill(text.replace(" → ", "\u00a0→\u00a0"), _CHARACTERS)


def _total(step: confounds.Row, side: str, names: Mapping[str, str]) -> dict[str, Any]:
    value = step[f"{side}_mib"]
    system = step[f"{side}_system"]
    return {
        "heading": names.get(system, system),
        "details": step[f"{side}_measure"],
        "kind": _TOTAL,
        "start": 0.0,
        "end": value,
        "low": value,
        "high": value,
        "words": common.mib(value),
        "opacity": _OPACITY[True],
        "spread": "",
        "runs": str(step[f"{side}_runs"]),
    }


def _panel(bars: pd.DataFrame, size: int, most: float) -> common.Chart:
    lines = float(bars["bottom"].max())
    height = round(_LINE * lines)
    y_scale = alt.Scale(domain=[lines, 0], nice=False, zero=False)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=y_scale, axis=None)

    base = alt.Chart(bars)
    text = base.encode(x=alt.value(0), y=y("top"))
    told = alt.layer(
        text.mark_text(align="left", baseline="top", dy=5, fontWeight="bold", limit=_TEXT_WIDTH).encode(
            text="heading:N"
        ),
        text.mark_text(
            align="left", baseline="top", dy=20, fontSize=10.5, color=common.NOTE, lineBreak="\n",
            lineHeight=_LINE, limit=_TEXT_WIDTH,
        ).encode(text="details:N"),
    ).properties(width=_TEXT_WIDTH, height=height, view=alt.ViewBackground(stroke=None))  # fmt: skip

    x_scale = alt.Scale(domain=[0, most], nice=False)

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q", title="peak RSS (MiB)", scale=x_scale, axis=alt.Axis(format=",.0f", tickCount=6)
        )

    kinds = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    legend = alt.Legend(orient="top")  # one for both channels: were one without, they would be in conflict
    colour = alt.Color("kind:N", scale=kinds, title=None, legend=legend)
    tooltip = [
        alt.Tooltip("heading:N", title="change"),
        alt.Tooltip("details:N", title="of"),
        alt.Tooltip("start:Q", title="from (MiB)", format=",.1f"),
        alt.Tooltip("end:Q", title="to (MiB)", format=",.1f"),
        alt.Tooltip("words:N", title="share (MiB)"),
        alt.Tooltip("spread:N", title="which"),
        alt.Tooltip("runs:N", title="runs"),
    ]
    filled = base.mark_rect(strokeWidth=1.2).encode(
        x=x("start"), x2="end:Q", y=y("bar_top"), y2="bar_bottom:Q", color=colour,
        stroke=alt.Stroke("kind:N", scale=kinds, title=None, legend=legend),
        fillOpacity=alt.FillOpacity("opacity:Q", scale=None), tooltip=tooltip,
    )  # fmt: skip
    ranges = (
        base.transform_filter(alt.datum.high > alt.datum.low)
        .mark_rule(color=common.INK, strokeWidth=1.6)
        .encode(x=x("low"), x2="high:Q", y=y("middle"))
    )
    links = pd.DataFrame(
        {
            "end": bars["end"].iloc[:-1].to_numpy(),
            "from": bars["bar_bottom"].iloc[:-1].to_numpy(),
            "to": bars["bar_top"].iloc[1:].to_numpy(),
        }
    )
    joined = (
        alt.Chart(links)
        .mark_rule(color="#8A8A8A", strokeDash=[2, 2])
        .encode(x=x("end"), y=y("from"), y2="to:Q")
    )
    words = base.mark_text(align="left", dx=7, fontWeight="bold", color=common.INK).encode(
        x=x("right"), y=y("middle"), text="words:N"
    )
    drawn = alt.layer(joined, filled, ranges, words).properties(width=_WIDTH, height=height)
    return alt.hconcat(told, drawn, spacing=8).properties(
        title=alt.TitleParams(common.documents(size), fontSize=13, offset=6)
    )


def _title(rows: Sequence[confounds.Row], names: Mapping[str, str]) -> str:
    """The sentence of the table in short."""
    comparison = confounds.told(rows)
    if comparison is None:
        return TITLE
    parts = [
        f"{confounds.signed(row['share_mib'])} MiB {words}"
        for row, words in (
            (comparison.as_study_measured, "as the study measured it"),
            (comparison.trees, "as process trees"),
            (comparison.equal_work, "on equal work in one environment"),
        )
        if row
    ]
    base, other = (
        names.get(comparison.trees[side], comparison.trees[side]) for side in ("from_system", "to_system")
    )
    return f"{other} compared with {base} at {common.documents(comparison.documents)}: {', '.join(parts)}"


def _support(steps: Sequence[confounds.Row]) -> str:
    """Which shares are beyond the spread of repeats; what is counted differs within each run."""
    sentences = []
    for size in dict.fromkeys(step["documents"] for step in steps):
        verdicts: dict[str, list[str]] = {}
        for step in steps:
            if step["documents"] == size and step["confound"] != confounds.COUNTED:
                verdicts.setdefault(_VERDICTS[step["beyond_spread"]], []).append(step["confound"])
        parts = [f"{verdict}: {common.listed(names)}" for verdict, names in verdicts.items()]
        sentences.append(f"At {common.documents(size)} {'; '.join(parts)}.")
    return " ".join(sentences)


def _notes(rows: Sequence[confounds.Row], names: Mapping[str, str]) -> list[str]:
    comparison = confounds.told(rows)
    if comparison is None:
        return []
    at = f"At {common.documents(comparison.documents)}"
    study, trees = comparison.as_study_measured, comparison.trees
    if study is None:
        return [
            f"{at} ColBERT was not measured in two processes, as it is shipped, so what the study measured is not here."
        ]
    return [
        f"{at} the one process of {names.get(study['to_system'], study['to_system'])} has "
        f"{common.mib(study['to_mib'])} at its peak, its process tree {common.mib(trees['to_mib'])}."
    ]
