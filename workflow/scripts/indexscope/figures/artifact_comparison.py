"""Which index artifacts are equal between two runs: a heat map of artifact by pair."""

from __future__ import annotations

import altair as alt
import pandas as pd

from . import common
from .common import Figure

TITLE = "Index artifacts compared"
# From harmless to worst; neither a system's nor a role's colours.
VERDICTS = {
    "equal": "#DCEBF7",
    "within tolerance": "#9FB9D6",
    "differs": "#B2182B",
    "dtype differs": "#7F3B08",
    "shape differs": "#4D004B",
    "missing": "#F2F2F2",
    "run failed": "#4A4A4A",
}
_DARK = ["differs", "dtype differs", "shape differs", "run failed"]
_CAPTION = (
    "Equal means the same bits in every element; differs is beyond the tolerance stated in the tooltip. "
    "An artifact is a tensor of the finished index; its name says stage, chunk and call. A difference "
    "between artifacts is not yet a difference in search results. What is missing on a side, and what could "
    "not be compared because a run did not complete, has a cell of its own."
)
_COLUMNS = [
    "pair", "documents", "artifact", "verdict", "compared", "equal_fraction", "mean_absolute_difference",
    "max_absolute_difference", "rtol", "atol", "left_shape", "right_shape", "left_dtype", "right_dtype",
    "left_run", "right_run", "left_outcome", "right_outcome",
]  # fmt: skip
_MOST_ROWS = 40
_CELL_WIDTH, _CELL_HEIGHT = 170, 34


def draw(comparison: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Args: the tables artifact_comparison and runs."""
    if comparison.empty:
        return common.nothing_to_draw(TITLE, "No pair of runs was compared.", _COLUMNS)
    rows, grouped = _worst_by_name(comparison)
    rows = rows.assign(
        column=[_heading(row.pair, row.documents) for row in common.each_row(rows)],
        numbers=[_numbers(row.equal_fraction, row.max_absolute_difference) for row in common.each_row(rows)],
    )
    rows.loc[~rows["verdict"].isin(["differs", "within tolerance"]), "numbers"] = ""
    order = rows.assign(pair=rows["pair"].map(common.unique(comparison["pair"]).index))
    columns = common.unique(order.sort_values(["pair", "documents"])["column"])
    chart = _heat_map(rows, columns)
    used = common.label_systems(runs)
    used = used[used["run"].isin({*comparison["left_run"], *comparison["right_run"]})]
    return Figure(
        chart,
        rows[_COLUMNS],
        _finding(comparison),
        common.conditions(used),
        _repeats(comparison),
        [f"More than {_MOST_ROWS} artifacts: a row is the worst of all chunks and calls." if grouped else ""],
        _CAPTION,
        width=max(640, 260 + _CELL_WIDTH * len(columns)),
    )


def _worst_by_name(comparison: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """One row an artifact or, when those are too many to read, the worst row of each stage and name."""
    key = ["pair", "documents", "artifact"]
    grouped = comparison["artifact"].nunique() > _MOST_ROWS
    if grouped:
        stage = comparison["artifact"].str.split("/").str[0]
        comparison = comparison.assign(artifact=stage + "/…/" + comparison["name"])
    ranked = comparison.assign(
        _rank=comparison["verdict"].map(list(VERDICTS).index),
        compared=comparison.groupby(key)["artifact"].transform("size"),
    )
    ranked = ranked.sort_values(["_rank", "max_absolute_difference"], ascending=False, na_position="last")
    return ranked.drop_duplicates(key).drop(columns="_rank").sort_index(), grouped


def _heading(pair: str, documents: int) -> str:
    return "\n".join([*common.wrap(pair, _CELL_WIDTH, 6.2), common.documents(documents)])


def _numbers(equal_fraction: float, largest: float) -> str:
    """The second line of a cell."""
    if pd.isna(equal_fraction):
        return ""
    equal = f"{_percent(equal_fraction)} equal"
    return equal if pd.isna(largest) else f"{equal}, max {largest:{',.0f' if largest >= 10 else '.2g'}}"


def _percent(fraction: float) -> str:
    """To a tenth; neither 0 nor 100 % unless it is."""
    if 0 < fraction < 0.0005:
        return "below 0.1 %"
    if 0.9995 < fraction < 1:
        return "over 99.9 %"
    return f"{round(100 * fraction, 1):g} %"


def _finding(comparison: pd.DataFrame) -> str:
    """What differs at the largest size of each pair; pairs that could be compared come first."""
    told, untold = [], []
    for pair, of_pair in comparison.groupby("pair", sort=False):
        rows = of_pair[of_pair["documents"] == of_pair["documents"].max()]
        where = f"({pair}, {common.documents(rows['documents'].iloc[0])})"
        if (rows["verdict"] == "run failed").any():
            untold.append(f"not to be told {where}")
        else:
            differing = (~rows["verdict"].isin(["equal", "within tolerance"])).sum()
            told.append(f"{differing} of {len(rows)} {where}")
    parts = [*told, *untold]
    left = len(parts) - 3
    more = [f"{left} more pair" + "s" * (left > 1)] if left > 0 else []
    return f"Artifacts that differ beyond tolerance: {common.listed([*parts[:3], *more])}"


def _repeats(comparison: pd.DataFrame) -> str:
    """Whether a pair of repeats of one system shows what differs without any cause."""
    system = comparison[["left_run", "right_run"]].apply(lambda runs: runs.str.split("/").str[0])
    same = comparison[system["left_run"] == system["right_run"]]
    if same.empty:
        return "No repeat of the same system was compared, so the noise floor is not known."
    equal = (same["verdict"] == "equal").sum()
    return f"Between repeats of the same system {equal} of {len(same)} artifacts are equal, bit for bit."


def _heat_map(rows: pd.DataFrame, columns: list[str]) -> common.Chart:
    present = [verdict for verdict in VERDICTS if (rows["verdict"] == verdict).any()]
    base = alt.Chart(rows).encode(
        x=alt.X(
            "column:N",
            sort=columns,
            title=None,
            axis=alt.Axis(
                orient="top", labelAngle=0, labelExpr="split(datum.value, '\\n')", domain=False, ticks=False,
                labelLimit=_CELL_WIDTH, labelPadding=6 + 13 * max(column.count("\n") for column in columns),
            ),
        ),
        y=alt.Y(
            "artifact:N",
            sort=common.unique(rows["artifact"]),
            title=None,
            axis=alt.Axis(domain=False, ticks=False),
        ),
        # In the texts too: they lie over the cells.
        tooltip=[
            "artifact:N",
            "verdict:N",
            alt.Tooltip("equal_fraction:Q", title="equal fraction", format=".6f"),
            alt.Tooltip("mean_absolute_difference:Q", title="mean absolute difference", format=".3g"),
            alt.Tooltip("max_absolute_difference:Q", title="largest absolute difference", format=".3g"),
            alt.Tooltip("rtol:Q", format=".1g"),
            alt.Tooltip("atol:Q", format=".1g"),
            alt.Tooltip("left_shape:N", title="left shape"),
            alt.Tooltip("right_shape:N", title="right shape"),
            alt.Tooltip("left_dtype:N", title="left dtype"),
            alt.Tooltip("right_dtype:N", title="right dtype"),
            alt.Tooltip("left_run:N", title="left run"),
            alt.Tooltip("right_run:N", title="right run"),
        ],
    )  # fmt: skip
    cells = base.mark_rect(stroke="white", strokeWidth=2).encode(
        color=alt.Color(
            "verdict:N",
            title="verdict",
            scale=alt.Scale(domain=present, range=[VERDICTS[verdict] for verdict in present]),
            legend=alt.Legend(orient="bottom", symbolType="square", symbolStrokeWidth=0, symbolSize=140),
        ),
    )
    ink = alt.condition(alt.FieldOneOfPredicate("verdict", _DARK), alt.value("white"), alt.value(common.INK))
    two_lines = "datum.numbers != ''"
    texts = [
        base.transform_filter(f"!({two_lines})").mark_text(fontSize=10.5).encode(text="verdict:N", color=ink),
        base.transform_filter(two_lines).mark_text(fontSize=10.5, dy=-6).encode(text="verdict:N", color=ink),
        base.transform_filter(two_lines).mark_text(fontSize=10, dy=7).encode(text="numbers:N", color=ink),
    ]
    return alt.layer(cells, *texts).properties(
        width=_CELL_WIDTH * len(columns), height=_CELL_HEIGHT * rows["artifact"].nunique()
    )
