"""GPU memory of indexing by phase, predicted and where there is a GPU measured, against the GPUs that can be rented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from indexscope.memory_model import PHASES

from . import common, remote_common
from .common import Figure

TITLE = "GPU memory by phase"
PREDICTED, MARGIN, REMEDY = "predicted", "with the margin", "with the setting that fixes it"
RESERVED, TENSORS = "measured: reserved by PyTorch", "measured: tensors"
COLOURS = {
    PREDICTED: "#6C8EBF",
    MARGIN: "#D3DEEE",
    REMEDY: "#B9D3AE",
    RESERVED: "#B03060",
    TENSORS: "#F0B0C0",
}
_CAPTION = (
    "A bar is the GPU memory that a phase of indexing needs, by the memory model; the pale bar is the phase that needs "
    "most, with the margin that is kept free. Dashed lines are GPUs that can be rented: what lies left of one fits. "
    "Planning samples passages and encodes the sample, training is k-means and the residual codec. Points are "
    "measured, and only there where a run was on a GPU: what PyTorch’s allocator reserved, and of it tensors. Of "
    "the published recipe, which was not run here, only the phase that needs most is drawn, with the margin; where "
    "GPUs are too small for it, what it needs with the setting that fixes it."
)
_COLUMNS = [
    "case", "series", "phase", "kind", "mib", "runs", "least_mib", "most_mib",
]  # fmt: skip
_WIDTH, _ROW = 640, 22
_CHARACTER = 5.6  # pixels of a label of size 10


def draw(gpus: pd.DataFrame, phases: pd.DataFrame) -> Figure:
    """Args: the tables remote_gpus and remote_phases."""
    rows = drawn_rows(gpus, phases)
    if rows.empty:
        return common.nothing_to_draw(TITLE, "Nothing was predicted: the tables are empty.", _COLUMNS)
    title, support, notes = told(gpus, phases)
    chart, left_out = _chart(rows, gpus)
    notes = [*notes, *([f"Beyond the right edge: {common.listed(left_out)}."] if left_out else [])]
    return Figure(
        chart, rows[_COLUMNS], title, _conditions(gpus), support, notes, _CAPTION, width=_WIDTH + 260,
        is_finding=len(gpus) > 0,
    )  # fmt: skip


def drawn_rows(gpus: pd.DataFrame, phases: pd.DataFrame) -> pd.DataFrame:
    """One row for each bar and point group: case, series, phase, kind, median, least and most over runs."""
    found: list[dict[str, Any]] = []
    named = remote_common.with_series(phases)
    kinds = {
        PREDICTED: "gpu_predicted_mib", RESERVED: "gpu_reserved_peak_mib", TENSORS: "gpu_allocated_peak_mib",
    }  # fmt: skip
    for kind, column in kinds.items():
        known = named.dropna(subset=[column])
        groups = known.groupby(["series", "phase"], sort=False)[column].agg(["median", "min", "max", "size"])
        for row in common.each_row(groups.reset_index()):
            found.append(
                {"case": remote_common.HERE, "series": row.series, "phase": row.phase, "kind": kind, "mib": row.median,
                 "runs": row.size, "least_mib": row.min, "most_mib": row.max}
            )  # fmt: skip
    for case in common.unique(gpus["case"]):
        for of_system in remote_common.of_case(gpus, case):
            first = next(common.each_row(of_system))
            shared = {"case": case, "series": first.series, "phase": first.phase, "runs": None}
            found.append({**shared, "kind": MARGIN, "mib": first.needs_mib})
            remedies = of_system.dropna(subset=["needs_with_it_mib"])
            if len(remedies):
                found.append({**shared, "kind": REMEDY, "mib": remedies["needs_with_it_mib"].iloc[0]})
    numbers = ["mib", "runs", "least_mib", "most_mib"]
    table = pd.DataFrame(found, columns=_COLUMNS).astype(dict.fromkeys(numbers, float))
    if table.empty:
        return table
    order = {phase: place for place, phase in enumerate(PHASES)}
    table["_phase"] = [order.get(phase, len(order)) for phase in table["phase"]]
    cases = {remote_common.HERE: 0, remote_common.RECIPE: 1}
    table["_case"] = [cases.get(case, 2) for case in table["case"]]
    table = table.sort_values(["_case", "series", "_phase"], kind="stable")
    return table.drop(columns=["_phase", "_case"]).reset_index(drop=True)


def _chart(rows: pd.DataFrame, gpus: pd.DataFrame) -> tuple[common.Chart, list[str]]:
    """The panels, and the GPUs that lie beyond their right edge."""
    cards = gpus.drop_duplicates("gpu").sort_values(["memory_mib", "gpu"], kind="stable")
    most = float(rows[["mib", "most_mib"]].max().max())
    enough = cards.loc[cards["memory_mib"] >= most, "memory_mib"]
    end = 1.06 * max(most, float(enough.min()) if len(enough) else most)
    kinds = [kind for kind in COLOURS if kind in set(rows["kind"])]
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=[COLOURS[kind] for kind in kinds]),
        title=None,
        legend=alt.Legend(orient="top", labelLimit=260, symbolType="circle"),
    )
    groups = list(rows.groupby(["case", "series"], sort=False))
    panels = [
        _panel(of_panel, str(case), str(series), _of(gpus, str(case), str(series)), end, cards, colour,
               last=place == len(groups))
        for place, ((case, series), of_panel) in enumerate(groups, start=1)
    ]  # fmt: skip
    chart: common.Chart = alt.vconcat(*panels, spacing=16).resolve_scale(color="shared")
    beyond = [remote_common.gpu_words(row) for row in common.each_row(cards[cards["memory_mib"] > end])]
    return chart, beyond


def _of(gpus: pd.DataFrame, case: str, series: str) -> pd.DataFrame | None:
    return next(
        (each for each in remote_common.of_case(gpus, case) if each["series"].iloc[0] == series), None
    )


def _panel(
    rows: pd.DataFrame,
    case: str,
    series: str,
    of_system: pd.DataFrame | None,
    end: float,
    cards: pd.DataFrame,
    colour: alt.Color,
    *,
    last: bool,
) -> common.Chart:
    phases = common.unique([*(phase for phase in PHASES if phase in set(rows["phase"])), *rows["phase"]])
    scale = alt.Scale(domain=[0, end], nice=False)
    axis = alt.Axis(labels=last, ticks=last, grid=False, format=",.0f", tickCount=8)
    y = alt.Y(
        "line:N",
        scale=alt.Scale(domain=_lines(rows, phases)),
        title=None,
        axis=alt.Axis(domain=False, ticks=False, minExtent=190, maxExtent=190),
    )
    rows = rows.assign(line=[_line(row) for row in common.each_row(rows)])

    def x(title: str | None = None) -> alt.X:
        return alt.X("mib:Q", scale=scale, axis=axis, title=title)

    title = "GPU memory (MiB)" if last else None
    tooltip = ["phase:N", "kind:N", alt.Tooltip("mib:Q", title="MiB", format=",.0f"), "runs:Q"]
    layers: list[alt.Chart] = []
    for kind, share in ((MARGIN, 0.82), (REMEDY, 0.6), (PREDICTED, 0.5)):
        bars = rows[rows["kind"] == kind]
        if len(bars):
            layers.append(
                alt.Chart(bars)
                .mark_bar(height={"band": share})
                .encode(x=x(title), y=y, color=colour, tooltip=tooltip)
            )
    lines = cards[cards["memory_mib"] <= end]
    if len(lines):
        layers.append(
            alt.Chart(lines.rename(columns={"memory_mib": "mib"})[["gpu", "mib"]])
            .mark_rule(color=common.NOTE, strokeDash=[4, 3])
            .encode(x=x(title), tooltip=["gpu:N", alt.Tooltip("mib:Q", format=",.0f")])
        )
        layers += _labels(lines, end, scale)
    for kind, filled in ((RESERVED, False), (TENSORS, True)):
        points = rows[rows["kind"] == kind]
        if len(points):
            layers.append(
                alt.Chart(points)
                .mark_point(filled=filled, size=55, strokeWidth=2, opacity=1)
                .encode(x=x(title), y=y, color=colour, tooltip=tooltip)
            )
    layers.append(
        alt.Chart(_numbers(rows))
        .mark_text(align="left", dx=9, fontSize=10, color=common.INK)
        .encode(x=x(title), y=y, text="words:N")
    )
    heading = alt.TitleParams(
        f"{series}: {case}",
        subtitle=common.wrap(_fits(of_system), _WIDTH + 190, 5.6) if of_system is not None else [],
        fontSize=13, subtitleFontSize=11, subtitlePadding=3, offset=_HEADROOM if len(lines) else 8,
    )  # fmt: skip
    chart: common.Chart = alt.layer(*layers).properties(
        width=_WIDTH, height=_ROW * rows["line"].nunique(), title=heading
    )
    return chart


_HEADROOM = 22  # pixels between a panel and its heading, in which GPUs are named


def _line(row: Any) -> str:
    return f"{row.phase}, {row.kind}" if row.kind == REMEDY else str(row.phase)


def _lines(rows: pd.DataFrame, phases: Sequence[str]) -> list[str]:
    found = [_line(row) for phase in phases for row in common.each_row(rows[rows["phase"] == phase])]
    return common.unique(found)


def _labels(lines: pd.DataFrame, end: float, scale: alt.Scale) -> list[alt.Chart]:
    """Names above the lines, in two levels so that neighbours do not overlap."""
    merged: list[tuple[float, str]] = []
    for row in common.each_row(lines):
        if merged and merged[-1][0] == row.memory_mib:
            merged[-1] = (row.memory_mib, f"{merged[-1][1]}, {row.gpu}")
        else:
            merged.append((float(row.memory_mib), str(row.gpu)))
    free = [-1e9, -1e9]  # where each level is free, in pixels
    placed: list[list[tuple[float, str]]] = [[], []]
    for value, name in merged:
        at = value / end * _WIDTH
        half = len(name) * _CHARACTER / 2
        level = 0 if at - half > free[0] + 4 else 1
        free[level] = at + half
        placed[level].append((value, name))
    return [
        alt.Chart(pd.DataFrame(names, columns=["mib", "gpu"]))
        .mark_text(fontSize=10, color=common.NOTE, align="center")
        .encode(x=alt.X("mib:Q", scale=scale), y=alt.value(-7 - 12 * level), text="gpu:N")
        for level, names in enumerate(placed)
        if names
    ]


def _numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """What stands right of the marks of each line, at the largest of them."""
    found = []
    for line, of_line in rows.groupby("line", sort=False):
        values = dict(zip(of_line["kind"], of_line["mib"], strict=True))
        parts = []
        if PREDICTED in values:
            parts.append(common.mib(values[PREDICTED]))
        if MARGIN in values:
            number = f"{common.mib(values[MARGIN])} with the margin"
            parts.append(number)
        if REMEDY in values:
            parts.append(common.mib(values[REMEDY]))
        if RESERVED in values:
            parts.append(f"measured {common.mib(values[RESERVED])}")
        elif TENSORS in values:
            parts.append(f"measured {common.mib(values[TENSORS])} of tensors")
        found.append({"line": line, "mib": of_line["mib"].max(), "words": ", ".join(parts)})
    return pd.DataFrame(found)


def _fits(of_system: pd.DataFrame) -> str:
    """What stands below a panel's heading."""
    chosen = of_system[of_system["chosen"].astype(bool)]
    smallest = remote_common.smallest(of_system)
    parts = remote_common.sentences(
        "fits no GPU listed" if smallest is None else f"smallest that fits: {smallest.gpu}",
        f"chosen: {common.listed(common.unique(chosen['gpu']))}" if len(chosen) else "",
        remote_common.too_small(of_system),
    )
    return "; ".join(parts)


# Words


def told(gpus: pd.DataFrame, phases: pd.DataFrame) -> tuple[str, str, list[str]]:
    """Title, support and notes."""
    here, recipe = smallest_words(gpus), recipe_words(gpus)
    title = here or recipe or "No GPU to compare with: the table of GPUs is empty"
    notes = remote_common.sentences(
        f"{recipe}." if recipe and recipe != title else "", recipe_fit(gpus), largest_phases(phases)
    )
    return title, measured_words(phases), notes


def smallest_words(gpus: pd.DataFrame) -> str:
    """The smallest GPU that holds every system of this configuration, and which phase decides; empty without rows."""
    systems = remote_common.of_case(gpus, remote_common.HERE)
    if not systems:
        return ""
    leading = max(systems, key=lambda rows: float(rows["needs_mib"].max()))
    row = next(common.each_row(leading))
    smallest = remote_common.smallest(leading)
    who = f"{row.series} needs {remote_common.needs_words(row)}, with the margin"
    if smallest is None:
        return f"No GPU listed is large enough: {who}"
    return f"{remote_common.gpu_words(smallest)} is the smallest GPU that fits: {who}"


def recipe_words(gpus: pd.DataFrame) -> str:
    """Where the published recipe runs out of memory on smaller GPUs, and what fixes it; empty without rows."""
    systems = remote_common.of_case(gpus, remote_common.RECIPE)
    if not systems:
        return ""
    systems = sorted(systems, key=lambda rows: float(rows["needs_mib"].max()))
    first = [next(common.each_row(rows)) for rows in systems]
    words = f"The published recipe needs {_needs(first)}, with the margin"
    short = remote_common.too_small(systems[-1])
    if not short:
        least = remote_common.gpu_words(first[-1])
        return f"{words}: every GPU listed holds that, {least} too, so the memory model does not explain why it ran out"
    most = ", with the most text," if len(first) > 1 else ""
    return f"{words}:{most} {short}".replace(":, with", "; with")


def _needs(rows: Sequence[Any]) -> str:
    """Such as `11,000 MiB in training`; of several variants the least and the most, with their names."""
    ends = [rows[0], rows[-1]] if len(rows) > 1 else rows
    names = _told_apart([row.series for row in ends])
    phases = common.unique(row.phase for row in ends)
    if len(ends) == 1 or len(phases) > 1:
        return " to ".join(
            remote_common.needs_words(row) + (f" ({name})" if len(ends) > 1 else "")
            for row, name in zip(ends, names, strict=True)
        )
    each = (f"{common.mib(row.needs_mib)} ({name})" for row, name in zip(ends, names, strict=True))
    return " to ".join(each) + f" in {phases[0]}"


def _told_apart(series: Sequence[str]) -> list[str]:
    """The names without what they begin with alike: `RAGatouille, 400 pages …` is `400 pages …`."""
    parts = [name.split(", ") for name in series]
    alike = {name[0] for name in parts if len(name) > 1}
    shorter = len(alike) == 1 and all(len(name) > 1 for name in parts)
    return [", ".join(name[1:]) for name in parts] if shorter else list(series)


def recipe_fit(gpus: pd.DataFrame) -> str:
    """The smallest GPU for the recipe, where some are too small."""
    for of_system in remote_common.of_case(gpus, remote_common.RECIPE):
        smallest = remote_common.smallest(of_system)
        if remote_common.too_small(of_system) and smallest is not None:
            return (
                f"The smallest GPU that holds the recipe as published is {remote_common.gpu_words(smallest)}."
            )
    return ""


def largest_phases(phases: pd.DataFrame) -> str:
    """Which phase is predicted to need most, by system."""
    known = remote_common.with_series(phases).dropna(subset=["gpu_predicted_mib"])
    found = {}
    for series, rows in known.groupby("series", sort=False):
        row = _highest(rows, "gpu_predicted_mib")
        found[str(series)] = f"{row['phase']} ({common.mib(row['gpu_predicted_mib'])})"
    if not found:
        return ""
    return f"Without the margin most is needed in {common.grouped(found)}."


def _highest(rows: pd.DataFrame, column: str) -> pd.Series:
    return rows.sort_values(column, ascending=False, kind="stable").iloc[0]


def measured_words(phases: pd.DataFrame) -> str:
    """How predictions stand to what was measured on a GPU, or that nothing was."""
    known = phases.dropna(subset=["gpu_reserved_peak_mib"])
    if known.empty:
        return "Predicted only: nothing ran on a GPU here."
    both = known.dropna(subset=["gpu_predicted_mib"])
    highest = _highest(known, "gpu_reserved_peak_mib")
    words = f"Measured on a GPU: at most {common.mib(highest['gpu_reserved_peak_mib'])} reserved, in {highest['phase']}"
    runs = known["run"].nunique()
    if both.empty:
        return f"{words} ({remote_common.plural(runs, 'run')})."
    peaks = both.groupby("run")[["gpu_reserved_peak_mib", "gpu_predicted_mib"]].max()
    ratio = peaks["gpu_predicted_mib"] / peaks["gpu_reserved_peak_mib"]
    spread = common.range_words(ratio.min(), ratio.max(), ".2f")
    return f"{words}; predicted peaks are {spread} times the measured ({remote_common.plural(runs, 'run')})."


def _conditions(gpus: pd.DataFrame) -> str:
    prices = common.listed([str(each) for each in sorted(common.unique(gpus["prices_as_of"]))])
    number = gpus["gpu"].nunique()
    return " · ".join(
        remote_common.sentences(
            f"{remote_common.plural(number, 'GPU')} of the price table" if number else "",
            f"prices as of {prices}" if prices else "",
        )
    )
