"""Which index artifacts are equal between two runs: a heat map of pair by artifact."""

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
    "A row is a pair of indexes, a column an artifact: a tensor of the finished index. Equal means the same bits in "
    "every element; a percentage is the part of the elements that are equal where some differ beyond the tolerance "
    "in the tooltip. Where shapes differ (other passages, other bits) no element can be compared. Repeats of one "
    "system come first: what differs there differs without a cause. “Other order” is equal once centroids are "
    "matched one to one, codes renumbered by that match, and inverted lists compared as sets. A difference between "
    "artifacts is not yet a difference in search results."
)
_COLUMNS = [
    "pair", "documents", "artifact", "verdict", "up_to_order", "compared", "equal_fraction",
    "mean_absolute_difference", "max_absolute_difference", "max_ulp_distance", "rtol", "atol", "left_shape",
    "right_shape", "left_dtype", "right_dtype", "left_run", "right_run", "left_outcome", "right_outcome",
]  # fmt: skip
_MOST_ARTIFACTS = 14
_CELL_WIDTH, _LINE = 88, 14
_HARMLESS = ["equal", "within tolerance"]
_EQUAL_UP_TO_ORDER = "equal up to order"  # in place of the verdict "as stored", where that is not equality
# In the order of the legend; that of _EQUAL_UP_TO_ORDER as in the figures of torch_versions.
_COLOURS = {"equal": VERDICTS["equal"], _EQUAL_UP_TO_ORDER: "#F3DE8A", **VERDICTS}
_SHORT = {
    _EQUAL_UP_TO_ORDER: "other order",
    "within tolerance": "in tolerance",
    "dtype differs": "dtype",
    "shape differs": "shape",
}
# What must be equal for two frameworks to be given equal work.
_WORK = [
    "passages", "dim", "nbits", "doc_maxlen", "index_bsize", "kmeans_iterations", "kmeans_backend", "partitions",
]  # fmt: skip


def draw(comparison: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Args: the tables artifact_comparison and runs."""
    if comparison.empty:
        return common.nothing_to_draw(TITLE, "No pair of runs was compared.", _COLUMNS)
    comparison = _with_order(comparison)
    rows, grouped = _worst_by_name(comparison)
    rows = rows.assign(
        words=[_words(row.verdict, row.equal_fraction) for row in common.each_row(rows)],
        up_to_order=rows["up_to_order"].fillna(""),
        column=[_heading(artifact) for artifact in rows["artifact"]],
        row=["\n".join(_pair_lines(pair)) for pair in rows["pair"]],
        largest=[
            "" if pd.isna(value) else format(value, ",.0f" if value >= 10 else ".3g")
            for value in rows["max_absolute_difference"]
        ],
    )
    pairs = ordered_pairs(comparison)
    columns = common.unique(rows["column"])
    sizes = sorted(common.unique(rows["documents"]))
    panels = [_heat_map(rows[rows["documents"] == size], size, pairs, columns) for size in sizes]
    used = common.label_systems(runs)
    used = used[used["run"].isin({*comparison["left_run"], *comparison["right_run"]})]
    title, notes = _findings(comparison, pairs, used)
    return Figure(
        alt.vconcat(*panels),
        rows[_COLUMNS],
        title,
        common.conditions(used),
        _repeats(comparison),
        [
            *notes,
            f"More than {_MOST_ARTIFACTS} artifacts: a column is the worst of all chunks and calls."
            if grouped
            else "",
        ],
        _CAPTION,
        width=max(760, 270 + _CELL_WIDTH * len(columns)),
    )


def _with_order(comparison: pd.DataFrame) -> pd.DataFrame:
    """The rows "as stored", with what was found up to order and whether that is equality."""
    key = ["pair", "left_run", "right_run", "documents", "artifact"]
    ordered = comparison[comparison["compared_as"] == "up to order"].set_index(key)
    stored = comparison[comparison["compared_as"] == "as stored"]
    found = stored[key].join(ordered[["verdict", "detail"]], on=key)
    words = found["verdict"].where(found["detail"].isna(), found["verdict"] + ": " + found["detail"])
    return stored.assign(up_to_order=words, reordered=found["verdict"] == _EQUAL_UP_TO_ORDER)


def _worst_by_name(comparison: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """One row an artifact or, when those are too many to read, the worst row of each stage and name."""
    key = ["pair", "documents", "artifact"]
    grouped = comparison["artifact"].nunique() > _MOST_ARTIFACTS
    if grouped:
        stage = comparison["artifact"].str.split("/").str[0]
        comparison = comparison.assign(artifact=stage + "/…/" + comparison["name"])
    ranked = comparison.assign(
        _rank=comparison["verdict"].map(list(VERDICTS).index),
        compared=comparison.groupby(key)["artifact"].transform("size"),
        # Of all artifacts in the cell: nothing but the order differs.
        other_order=(comparison["reordered"] | (comparison["verdict"] == "equal"))
        .groupby([comparison[name] for name in key])
        .transform("all"),
    )
    ranked = ranked.sort_values(["_rank", "max_absolute_difference"], ascending=False, na_position="last")
    worst = ranked.drop_duplicates(key).drop(columns="_rank").sort_index()
    reordered = worst["other_order"] & (worst["verdict"] != "equal")
    return worst.assign(verdict=worst["verdict"].mask(reordered, _EQUAL_UP_TO_ORDER)), grouped


def _is_repeat(comparison: pd.DataFrame) -> pd.Series:
    """Whether each row compares two runs of one system."""
    system = comparison[["left_run", "right_run"]].apply(lambda runs: runs.str.split("/").str[0])
    same: pd.Series = system["left_run"] == system["right_run"]
    return same


def ordered_pairs(comparison: pd.DataFrame) -> list[str]:
    """Repeats of one system first; then those with the larger part of equal artifacts; then as in the table."""
    told = comparison.assign(
        _repeat=_is_repeat(comparison), _equal=comparison["verdict"].isin(_HARMLESS).astype(float)
    )
    by_pair = told.groupby("pair", sort=False).agg(repeat=("_repeat", "all"), equal=("_equal", "mean"))
    return list(by_pair.sort_values(["repeat", "equal"], ascending=False, kind="stable").index)


def _pair_lines(pair: str) -> list[str]:
    """The pair's name in at most two lines, one a side where it names two sides."""
    left, bar, right = pair.partition(" | ")
    return [left, "| " + right] if bar else common.wrap(pair, 300, 6.0)[:2]


def _heading(artifact: str) -> str:
    """The artifact's name; above it, in a line of its own, its stage and chunk where they say something."""
    stage, chunk, call, name = [*artifact.split("/"), "", "", ""][:4]
    if chunk == "…":  # grouped: {stage}/…/{name}
        chunk, call, name = "", "", call
    parts = [stage] * (stage != "final") + [f"chunk {chunk}"] * chunk.isdecimal()
    parts += [f"call {call}"] * (call.isdecimal() and call != "0")
    return "\n".join([name, ", ".join(parts)] if parts else [name])


def _words(verdict: str, equal_fraction: float) -> str:
    """What a cell says."""
    if verdict == "differs" and not pd.isna(equal_fraction):
        return f"{_percent(equal_fraction)} equal"
    return _SHORT.get(verdict, verdict)


def _percent(fraction: float) -> str:
    """To a tenth; neither 0 nor 100 % unless it is."""
    if 0 < fraction < 0.0005:
        return "<0.1 %"
    if 0.9995 < fraction < 1:
        return ">99.9 %"
    return f"{round(100 * fraction, 1):g} %"


def _findings(comparison: pd.DataFrame, pairs: list[str], runs: pd.DataFrame) -> tuple[str, list[str]]:
    """Which pairs are equal in every artifact, at every size, within tolerance; which are not; which unknown."""
    told = comparison.assign(_repeat=_is_repeat(comparison))
    equal: dict[bool, list[str]] = {True: [], False: []}  # of repeats, of different systems
    total = {True: 0, False: 0}
    differing, untold, reordered = [], [], []
    for pair in pairs:
        rows = told[told["pair"] == pair]
        repeat = bool(rows["_repeat"].all())
        if (rows["verdict"] == "run failed").any():
            untold.append(pair)
            continue
        total[repeat] += 1
        if rows["verdict"].isin(_HARMLESS).all():
            equal[repeat].append(pair)
        elif (rows["verdict"].isin(_HARMLESS) | rows["reordered"]).all():
            reordered.append(pair)
        else:
            different = (~rows["verdict"].isin(_HARMLESS)).sum()
            differing.append(f"{pair} ({different} of {len(rows)})")
    parts = []
    if total[False]:
        named = equal[False][:2]
        more = [f"{len(equal[False]) - 2} more"] if len(equal[False]) > 2 else []
        which = f" ({'; '.join([*named, *more])})" if named else ""
        parts.append(f"{len(equal[False])} of {total[False]} pairs of systems{which}")
    if total[True]:
        parts.append(f"{len(equal[True])} of {total[True]} repeats of one system")
    if not parts:
        return f"No pair can be told: of all {len(untold)}, a run did not complete", []
    title = f"Equal in every artifact: {' and '.join(parts)}"
    notes = []
    if reordered:
        notes.append(
            f"Equal in every artifact but for the order of centroids and lists: {'; '.join(reordered)}."
        )
    if differing:
        left = len(differing) - 4
        more = [f"{left} more pair" + "s" * (left > 1)] if left > 0 else []
        notes.append(f"Artifacts that differ beyond tolerance: {'; '.join([*differing[:4], *more])}.")
    if untold:
        notes.append(f"Not to be told, because a run did not complete: {'; '.join(untold)}.")
    notes.append(_published(comparison, runs))
    return title, notes


def _published(comparison: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Whether ColBERT and RAGatouille give one index where they are given equal work; empty where not told.

    Published: colbert-maintenance (V. Bakshi, 2025), nbits 4 and 2, faiss k-means, 1,000 and 69,199 passages of
    ConditionalQA: all artifacts identical.
    """
    by_run = runs.drop_duplicates("run").set_index("run")
    equal, told = 0, 0
    for _, rows in comparison[comparison["verdict"] != "run failed"].groupby(
        ["pair", "documents"], sort=False
    ):
        names = [rows["left_run"].iloc[0], rows["right_run"].iloc[0]]
        if not set(names) <= set(by_run.index):
            continue
        sides = by_run.loc[names]
        work = sides[_WORK]
        fair = bool((work.nunique(dropna=False) == 1).all() and work.notna().all(axis=None))
        if fair and sides["framework"].nunique() == 2 and sides["kmeans_backend"].iloc[0] == "faiss":
            told += 1
            equal += bool((rows["verdict"] == "equal").all())
    if not told:
        return ""
    holds = "holds at this scale" if equal == told else "does not hold at this scale"
    return (
        "Published: given equal settings and faiss k-means, ColBERT and RAGatouille give identical artifacts "
        f"(1,000 and 69,199 passages). Here {equal} of {told} such pairs of runs {'is' if told == 1 else 'are'} "
        f"equal, bit for bit: this {holds}."
    )


def _repeats(comparison: pd.DataFrame) -> str:
    """Whether a pair of repeats of one system shows what differs without any cause."""
    same = comparison[_is_repeat(comparison)]
    same = same[same["verdict"] != "run failed"]
    if same.empty:
        return "No repeat of the same system was compared, so the noise floor is not known."
    equal = (same["verdict"] == "equal").sum()
    return f"Between repeats of the same system {equal} of {len(same)} artifacts are equal, bit for bit."


def _heat_map(rows: pd.DataFrame, size: int, pairs: list[str], columns: list[str]) -> common.Chart:
    present = [verdict for verdict in _COLOURS if (rows["verdict"] == verdict).any()]
    labels = ["\n".join(_pair_lines(pair)) for pair in pairs if (rows["pair"] == pair).any()]
    height = _LINE * max(label.count("\n") + 1 for label in labels) + 8
    depth = max(column.count("\n") for column in columns)
    base = alt.Chart(rows).encode(
        x=alt.X(
            "column:N",
            sort=columns,
            title=None,
            scale=alt.Scale(domain=columns),
            axis=alt.Axis(
                orient="top", labelAngle=0, labelExpr="split(datum.value, '\\n')", domain=False, ticks=False,
                labelLimit=_CELL_WIDTH - 4, labelPadding=6 + 13 * depth, labelOverlap=False,
            ),
        ),
        y=alt.Y("row:N", sort=labels, title=None, axis=None),
        # In the texts too: they lie over the cells.
        tooltip=[
            "pair:N",
            "artifact:N",
            "verdict:N",
            alt.Tooltip("up_to_order:N", title="up to order"),
            alt.Tooltip("compared:Q", title="artifacts in this cell"),
            alt.Tooltip("equal_fraction:Q", title="equal fraction", format=".6f"),
            alt.Tooltip("mean_absolute_difference:Q", title="mean absolute difference", format=".3g"),
            alt.Tooltip("largest:N", title="largest absolute difference"),
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
            scale=alt.Scale(domain=present, range=[_COLOURS[verdict] for verdict in present]),
            legend=alt.Legend(orient="bottom", symbolType="square", symbolStrokeWidth=0, symbolSize=140),
        ),
    )
    ink = alt.condition(alt.FieldOneOfPredicate("verdict", _DARK), alt.value("white"), alt.value(common.INK))
    texts = base.mark_text(fontSize=10.5).encode(text="words:N", color=ink)
    # Not an axis: its labels of two lines would hang below the middle of their row.
    names = pd.DataFrame({"row": labels, "lines": [label.count("\n") + 1 for label in labels]})
    rest = alt.Chart(names).encode(y=alt.Y("row:N", sort=labels, axis=None), x=alt.value(-8), text="row:N")
    words = [
        rest.transform_filter(alt.datum.lines == lines).mark_text(
            align="right", lineBreak="\n", lineHeight=_LINE, dy=-_LINE / 2 * (lines - 1), color=common.INK
        )
        for lines in sorted(set(names["lines"]))
    ]
    panel: alt.LayerChart = alt.layer(cells, texts, *words).resolve_scale(color="independent")
    return panel.properties(
        view=alt.ViewBackground(stroke=None),
        width=_CELL_WIDTH * len(columns),
        height=height * len(labels),
        title=alt.TitleParams(common.documents(size), fontSize=13, offset=6),
    )
