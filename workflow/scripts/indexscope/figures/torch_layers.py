"""How far the outputs of two PyTorch versions are apart after each layer of the encoder."""

from __future__ import annotations

import math
import re

import altair as alt
import pandas as pd

from . import common, torch_common
from .common import Figure
from .torch_common import Pair

TITLE = "Divergence by layer"
_CAPTION = (
    "Each line is a case: a text, a batch of the corpus, or random tokens of one shape and seed, encoded by both "
    "versions, each on its own, so that differences add up from module to module; where the first one arises says "
    "the figure of the first operator. The axis is logarithmic; modules whose outputs are equal, bit for bit, lie on "
    "the line 0 below it. A dashed line is the absolute part of bitsandbytes’ tolerance of that precision's dtype; "
    "its relative part comes on top. Only pairs and precisions with a difference are drawn."
)
_COLUMNS = [
    "left_version", "right_version", "precision", "case", "input", "content", "batch_size", "sequence_length",
    "position", "module", "equal_fraction", "mean_absolute_difference", "max_absolute_difference",
    "max_ulp_distance",
]  # fmt: skip
_QUANTITIES = {
    "mean_absolute_difference": "mean absolute difference",
    "max_absolute_difference": "largest absolute difference",
}
INPUT_COLOURS = {  # of lines; no system's, role's or verdict's colours
    "text": "#DDAA33",
    "corpus batch": "#BB5566",
    "random tokens": "#4477AA",
}
_DTYPES = {"float32": "float32", "cpu_autocast_bfloat16": "bfloat16", "cuda_autocast_float16": "float16"}
_MOST_ROWS, _MOST_LINES = 8, 120  # a picture of many lines says no more, and its file grows with each
_WIDTH, _HEIGHT = 470, 200


def draw(layers: pd.DataFrame, artifacts: pd.DataFrame, environments: pd.DataFrame) -> Figure:
    """Args: the tables torch_layers, torch_artifacts (for the tolerances) and torch_environments."""
    if layers.empty:
        return common.nothing_to_draw(TITLE, "No layer's output was compared between versions.", _COLUMNS)
    groups = _diverging(layers)
    drawn = groups[:_MOST_ROWS]
    tolerances = _tolerances(artifacts)
    rows = layers.assign(short=[_short(name) for name in layers["module"]])
    most = max(8, _MOST_LINES // max(1, len(drawn)))
    if drawn:
        chart: common.Chart = alt.vconcat(
            *[
                _row(_some_cases(_of(rows, pair, precision), most), pair, precision, tolerances)
                for pair, precision in drawn
            ],
            spacing=26,
        ).resolve_scale(color="shared")
    else:
        chart = _all_equal(layers)
    title, notes = _findings(layers, groups)
    if len(groups) > len(drawn):
        notes.append(f"Drawn are the {len(drawn)} with the largest differences; the others are in the CSV.")
    if any(_of(layers, *each)["case"].nunique() > most for each in drawn):
        notes.append(
            f"Of more than {most} cases, {most} are lines: from the smallest to the largest difference, evenly."
        )
    versions = torch_common.versions_of(layers)
    return Figure(
        chart,
        layers[_COLUMNS],
        title,
        f"{torch_common.conditions(environments, versions)} · {layers['case'].nunique()} cases",
        _noise(layers),
        [*notes, torch_common.failures(environments, versions)],
        _CAPTION,
        width=1160 if drawn else 760,
    )


def _of(layers: pd.DataFrame, pair: Pair, precision: str) -> pd.DataFrame:
    rows = torch_common.of_pair(layers, pair)
    return rows[rows["precision"] == precision]


def _diverging(layers: pd.DataFrame) -> list[tuple[Pair, str]]:
    """Pairs and precisions with a difference; in the order of the table, or by size where not all can be drawn."""
    found = []
    for pair in torch_common.pairs_of(layers):
        for precision in common.unique(torch_common.of_pair(layers, pair)["precision"]):
            largest = _of(layers, pair, precision)["max_absolute_difference"].max()
            if largest > 0:
                found.append((largest, pair, precision))
    if len(found) > _MOST_ROWS:
        found.sort(key=lambda each: -each[0])
    return [(pair, precision) for _, pair, precision in found]


def _some_cases(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """The rows of at most `most` cases, evenly from the smallest to the largest difference."""
    order = rows.groupby("case", sort=False)["max_absolute_difference"].max().sort_values(kind="stable").index
    if len(order) <= most:
        return rows
    chosen = {order[round(number * (len(order) - 1) / (most - 1))] for number in range(most)}
    return rows[rows["case"].isin(chosen)]


def _short(module: str) -> str:
    """Such as `layer 3` for bert.encoder.layer.3; without the name of the encoder."""
    name = re.sub(r"^(bert|model|encoder|\.)*", "", module)
    return re.sub(r"\blayer\.(\d+)", r"layer \1", name) or module


def _tolerances(artifacts: pd.DataFrame) -> dict[str, float]:
    """dtype → absolute part of bitsandbytes' tolerance, of the dtypes that artifacts have."""
    known = artifacts[["left_dtype", "bitsandbytes_atol"]].dropna().drop_duplicates()
    return {
        str(row.left_dtype).removeprefix("torch."): row.bitsandbytes_atol for row in common.each_row(known)
    }


def _row(rows: pd.DataFrame, pair: Pair, precision: str, tolerances: dict[str, float]) -> common.Chart:
    panels = [_panel(rows, quantity, tolerances.get(_DTYPES.get(precision, ""))) for quantity in _QUANTITIES]
    title = f"{torch_common.step(pair)}, {torch_common.PRECISIONS.get(precision, precision)}"
    chart: common.Chart = alt.hconcat(*panels, spacing=30).properties(
        title=alt.TitleParams(title, fontSize=13, offset=8)
    )
    return chart


def _panel(rows: pd.DataFrame, quantity: str, tolerance: float | None) -> common.Chart:
    limit = tolerance if quantity == "max_absolute_difference" else None
    positive = rows.loc[rows[quantity] > 0, quantity]
    # Whole decades, and one below for zero.
    low = math.floor(math.log10(min(positive.min(), limit or math.inf)))
    high = max(math.ceil(math.log10(max(positive.max(), limit or 0.0))), low + 1)
    zero = 10.0 ** (low - 1)
    modules = list(rows.sort_values("position", kind="stable")["short"].drop_duplicates())
    rows = rows.assign(level=rows[quantity].where(rows[quantity] > 0, zero))
    ticks = [10.0**power for power in range(low - 1, high + 1)]
    y = alt.Y(
        "level:Q",
        title=_QUANTITIES[quantity],
        scale=alt.Scale(type="log", domain=[zero, 10.0**high], nice=False),
        axis=alt.Axis(values=ticks, labelExpr=f"datum.value < {zero * 2} ? '0' : format(datum.value, '.0e')"),
    )
    x = alt.X(
        "short:O",
        sort=modules,
        scale=alt.Scale(domain=modules),
        title=None,
        axis=alt.Axis(labelAngle=-40, labelLimit=150, labelOverlap=False if len(modules) <= 40 else "greedy"),
    )
    present = [name for name in INPUT_COLOURS if (rows["input"] == name).any()]
    colour = alt.Color(
        "input:N",
        title=None,
        scale=alt.Scale(domain=present, range=[INPUT_COLOURS[name] for name in present]),
        # In every panel the same, so that they make one.
        legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=2.5),
    )
    lines = alt.Chart(rows).mark_line(strokeWidth=1.3, opacity=0.65, aria=False)
    # One mark where many lines are at zero, or the last module alone is.
    zeros = rows.loc[rows[quantity] == 0, ["short", "level"]].drop_duplicates()
    layers: list[alt.Chart] = [
        lines.encode(x=x, y=y, color=colour, detail="case:N", tooltip=["case:N", "input:N", "content:N"]),
        alt.Chart(zeros)
        .mark_point(
            shape="circle", size=36, filled=True, color="white", stroke=common.INK, opacity=1, aria=False
        )
        .encode(x=x, y=y),
    ]
    if limit is not None:
        words = f"bitsandbytes’ atol {limit:.0e}"
        rule = alt.Chart(pd.DataFrame({"level": [limit], "words": [words]})).encode(y=y)
        layers += [
            rule.mark_rule(strokeDash=[5, 3], color=common.INK, aria=False),
            rule.mark_text(
                align="right", baseline="top", dy=4, fontSize=10, color=common.INK, aria=False
            ).encode(x=alt.value(_WIDTH - 4), text="words:N"),
        ]
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)


def _all_equal(layers: pd.DataFrame) -> common.Chart:
    words = f"{layers['module'].nunique()} modules, {layers['case'].nunique()} cases: all outputs equal, bit for bit"
    chart: common.Chart = (
        alt.Chart(pd.DataFrame({"words": [words]}))
        .mark_text(fontSize=14, color=common.NOTE)
        .encode(text="words:N")
        .properties(width=720, height=90)
    )
    return chart


def _noise(layers: pd.DataFrame) -> str:
    same = layers[layers["left_version"] == layers["right_version"]]
    if same.empty:
        return ""
    versions = len(torch_common.versions_of(same))
    each = "1 version" if versions == 1 else f"each of {versions} versions"
    differing = (same["max_absolute_difference"] > 0).sum()
    if not differing:
        return f"Noise floor: {each} against itself gives all {common.count(len(same))} outputs equal, bit for bit."
    return (
        f"Noise floor: {each} against itself already differs in {common.count(differing)} of "
        f"{common.count(len(same))} outputs."
    )


def _findings(layers: pd.DataFrame, groups: list[tuple[Pair, str]]) -> tuple[str, list[str]]:
    across = [(pair, precision) for pair, precision in groups if pair[0] != pair[1]]
    compared = [pair for pair in torch_common.pairs_of(layers) if pair[0] != pair[1]]
    if not across:
        if groups:
            return (
                "A version against itself gives other outputs: differences between versions mean nothing",
                [],
            )
        if not compared:
            versions = common.listed(torch_common.versions_of(layers))
            return f"PyTorch {versions} against itself: every layer gives the same output, bit for bit", []
        return f"Every layer gives the same output, bit for bit: {torch_common.steps_words(compared)}", []
    pair, precision = max(across, key=lambda each: _of(layers, *each)["max_absolute_difference"].max())
    told = [each for each in across if each[1] == "float32"] or [(pair, precision)]
    pair, precision = max(told, key=lambda each: _of(layers, *each)["max_absolute_difference"].max())
    rows = _of(layers, pair, precision)
    changed = rows[rows["max_absolute_difference"] > 0]
    first = _short(str(changed["module"].iloc[int(changed["position"].to_numpy().argmin())]))
    largest = changed.iloc[int(changed["max_absolute_difference"].to_numpy().argmax())]
    title = (
        f"{torch_common.step(pair)}, {torch_common.PRECISIONS.get(precision, precision)}: outputs differ from {first} "
        f"on, by at most {largest['max_absolute_difference']:.1e} ({_short(str(largest['module']))})"
    )
    notes = []
    cases = rows.groupby("case")["max_absolute_difference"].max()
    if (cases == 0).any():
        notes.append(f"In {(cases == 0).sum()} of its {len(cases)} cases every output is equal.")
    equal = [each for each in compared if each not in {pair for pair, _ in across}]
    if equal:
        notes.append(f"Equal in every output, not drawn: {torch_common.steps_words(equal)}.")
    return title, notes
