"""How far each way of estimating is from what was measured, by index type, metric, segments and load mode."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from . import common, faiss_common
from .common import Figure

TITLE = "Error of each estimator"
_CAPTION = (
    "Each point is a cell of index type, metric, number of segments and load mode: what the estimator says divided by "
    "the median of what processes measured, on a logarithmic axis. In the grey band at 1 it is right within 2 %. "
    "Large filled points are cells of 20 segments and more; of fewer, what a process needs besides the segments "
    "weighs more. An estimator that knows nothing of tables computed at load is left of 1 in default mode. The "
    "numbers are the median and the largest of the absolute errors of the filled points (of all, where there is none)."
)
_COLUMNS = [
    *faiss_common.CELL, "estimator", "source", "estimated_mib", "measured_mib", "measured_low_mib", "measured_high_mib",
    "runs", "error", "ratio",
]  # fmt: skip
LEAST = 0.01  # ratios below are drawn here
_WIDTH, _NUMBERS, _ROW = 235, 100, 36


def draw(estimates: pd.DataFrame) -> Figure:
    """Args: the table faiss_estimates."""
    rows = with_ratios(estimates)
    known = rows[rows["ratio"].notna()]
    if known.empty:
        reason = (
            "Nothing was estimated."
            if estimates.empty
            else "No cell has a completed process to compare with."
        )
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    kinds = faiss_common.by_metric(faiss_common.kinds_of(known))
    columns = faiss_common.columns_of(kinds)
    ranked = ranking(estimates)
    order = list(ranked["estimator"])
    order += [name for name in common.unique(rows["estimator"]) if name not in order]
    scale = ratio_scale(known)
    panels = [
        panel(
            faiss_common.of_kind(rows, kind),
            order,
            scale,
            faiss_common.kind_heading(*kind),
            first=not place % columns,
        )
        for place, kind in enumerate(kinds)
    ]
    title, support = finding(ranked, known)
    chart: common.Chart = alt.concat(*panels, columns=columns, spacing=18).resolve_scale(color="shared")
    clipped = int((known["ratio"] < LEAST).sum())
    notes = [
        f"{clipped} estimates below {100 * LEAST:.0f} % of the measured memory are drawn at the left edge."
        if clipped
        else "",
        _undefined(rows),
        *_sources(rows),
    ]
    return Figure(
        chart, rows.reindex(columns=_COLUMNS), title, _conditions(known), support, [note for note in notes if note],
        _CAPTION, width=max(760, 140 + columns * (_WIDTH + _NUMBERS)),
    )  # fmt: skip


def with_ratios(estimates: pd.DataFrame) -> pd.DataFrame:
    """`estimates` with `ratio`, estimated by measured; missing where either is."""
    return estimates.assign(ratio=1 + estimates["error"])


def large(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of FROM_SEGMENTS segments or more; all, where there are none."""
    found = rows[rows["segments"] >= faiss_common.FROM_SEGMENTS]
    return found if len(found) else rows


def ranking(estimates: pd.DataFrame) -> pd.DataFrame:
    """One row for each estimator, the least largest error first.

    By the largest, because most cells have no table, and without one most estimators are right. Cells of FROM_SEGMENTS
    segments or more count; an estimator that is not defined for an index is judged by the others.

    Returns:
        Columns estimator, source, cells, median and largest (absolute errors), and within, the cells within GOAL.
    """
    known = large(estimates[estimates["error"].notna()])
    size = known["error"].abs()
    groups = known.assign(size=size, within=size <= faiss_common.GOAL).groupby("estimator", sort=False)
    found = groups.agg(
        source=("source", "first"), cells=("size", "size"), median=("size", "median"), largest=("size", "max"),
        within=("within", "sum"),
    )  # fmt: skip
    return found.reset_index().sort_values("largest", kind="stable").reset_index(drop=True)


def ratio_scale(known: pd.DataFrame) -> alt.Scale:
    ratios = known["ratio"].clip(lower=LEAST)
    return faiss_common.log_scale(min(0.9, float(ratios.min())), max(1.1, float(ratios.max())), 1.12)


def panel(
    rows: pd.DataFrame, order: list[str], scale: alt.Scale, heading: str, *, first: bool, width: int = _WIDTH
) -> common.Chart:
    """Estimators below one another, the cells of each as points; names and numbers beside.

    Args:
        rows: of one index type, with `ratio`.
        first: whether the estimators' names stand at the left.
    """
    known = rows[rows["ratio"].notna()]
    modes = [mode for mode in faiss_common.MODES if mode in set(known["load_mode"])]
    points = known.assign(
        drawn=known["ratio"].clip(lower=LEAST),
        counted=known["segments"] >= faiss_common.FROM_SEGMENTS,
    )
    low, high = scale.domain
    axis = alt.Axis(values=_ticks(low, high), format="~g")
    y = alt.Y(
        "estimator:N", sort=order, scale=alt.Scale(domain=order), title=None,
        axis=alt.Axis(domain=False, ticks=False, labels=first, grid=True, labelLimit=250),
    )  # fmt: skip

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=axis, title="estimated / measured (logarithmic)")

    goal = pd.DataFrame({"low": [1 - faiss_common.GOAL], "high": [1 + faiss_common.GOAL]})
    view = alt.Chart(goal)
    colour = alt.Color(
        "load_mode:N", scale=faiss_common.mode_scale(faiss_common.MODES), legend=faiss_common.mode_legend()
    )
    layers: list[alt.Chart] = [
        view.mark_rect(color="#DDDDDD", opacity=0.75, aria=False).encode(x=x("low"), x2="high:Q"),
        alt.Chart(pd.DataFrame({"one": [1.0]}))
        .mark_rule(color=common.NOTE, strokeDash=[3, 3], aria=False)
        .encode(x=x("one")),
    ]
    for place, mode in enumerate(modes):
        for counted in (False, True):
            of_mode = points[(points["load_mode"] == mode) & (points["counted"] == counted)]
            if of_mode.empty:
                continue
            layers.append(
                alt.Chart(of_mode[_POINT])
                .mark_point(
                    filled=counted, size=44 if counted else 20, strokeWidth=1.2, opacity=0.75 if counted else 0.6,
                    yOffset=9 * (place - (len(modes) - 1) / 2), aria=False,
                )
                .encode(x=x("drawn"), y=y, color=colour, tooltip=_TOOLTIP)
            )  # fmt: skip
    texts = _texts(rows, order)
    base = alt.Chart(texts).encode(y=y)
    layers.append(
        base.mark_text(align="left", dx=6, fontSize=10.5, color=common.INK, aria=False).encode(
            x=alt.value(width), text="words:N"
        )
    )
    return alt.layer(*layers).properties(
        width=width,
        height=_ROW * len(order),
        title=faiss_common.heading(heading),
    )


_POINT = [
    "estimator", "metric", "segments", "load_mode", "drawn", "ratio", "error", "estimated_mib", "measured_mib",
    "source",
]  # fmt: skip
_TOOLTIP: list[Any] = [
    *("estimator:N", alt.Tooltip("load_mode:N", title="load mode"), "metric:N"),
    alt.Tooltip("segments:Q", format=","),
    alt.Tooltip("estimated_mib:Q", title="estimated (MiB)", format=",.2f"),
    alt.Tooltip("measured_mib:Q", title="measured (MiB)", format=",.2f"),
    alt.Tooltip("error:Q", title="error", format="+.1%"),
    "source:N",
]


def _texts(rows: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """What stands at the right of each estimator."""
    said = []
    for estimator in order:
        of_estimator = rows[rows["estimator"] == estimator]
        errors = large(of_estimator[of_estimator["error"].notna()])["error"].abs()
        if len(errors):
            said.append([estimator, f"{_short(errors.median())}, ≤ {_short(errors.max())}"])
        elif len(of_estimator):
            said.append(
                [estimator, "not defined" if of_estimator["estimated_mib"].isna().all() else "not measured"]
            )
    return pd.DataFrame(said, columns=["estimator", "words"])


def _short(fraction: float) -> str:
    """An absolute error, to a tenth of a percent where it is small."""
    return f"{100 * fraction:,.{1 if fraction < 0.1 else 0}f} %"


def _ticks(low: float, high: float) -> list[float]:
    near = [0.9, 0.95, 1, 1.05, 1.1]
    if high / low < 1.6:
        return [tick for tick in near if low <= tick <= high]
    ticks = [*faiss_common.log_ticks(low, high, 6)]
    return sorted({*ticks, 1.0})


# Words


def finding(ranked: pd.DataFrame, known: pd.DataFrame) -> tuple[str, str]:
    """Which estimator is right, and how wrong the others are."""
    best, others = ranked.iloc[0], ranked.iloc[1:]
    title = f"{best['estimator']} is off by at most {_short(best['largest'])}"
    if len(others):
        least, most = others.iloc[0], others.iloc[-1]
        title += f"; the largest errors of the others are {_short(least['largest'])} ({least['estimator']})"
        if len(others) > 1:
            title += f" to {_short(most['largest'])} ({most['estimator']})"
        title = (
            title.replace("errors of the others are", "error of the other is") if len(others) == 1 else title
        )
    counted = (known["segments"] >= faiss_common.FROM_SEGMENTS).any()
    where = (
        f"Cells of {faiss_common.FROM_SEGMENTS} segments and more"
        if counted
        else "All cells (none has 20 segments)"
    )
    within = f"within {100 * faiss_common.GOAL:.0f} % in {best['within']} of {best['cells']}"
    support = f"{where}: {best['estimator']} is {within}."
    nearest = [
        f"in {mode} mode {words}" for mode, words in nearest_others(known, str(best["estimator"])).items()
    ]
    if nearest:
        support += f" Of the others the nearest is {common.listed(nearest)}."
    return title[:1].upper() + title[1:], support


def nearest_others(known: pd.DataFrame, best: str) -> dict[str, str]:
    """Load mode → the estimator but `best` whose largest error is smallest in it, of indexes with a table that they "
    "know."""
    found = {}
    with_table = known[known["index_type"] != "ivf_flat"]
    with_table = with_table[(with_table["index_type"] != "ivf_pq") | (with_table["metric"] == "l2")]
    for mode in faiss_common.modes_of(with_table):
        ranked = ranking(with_table[(with_table["load_mode"] == mode) & (with_table["estimator"] != best)])
        if len(ranked):
            found[mode] = f"{ranked['estimator'].iloc[0]} (up to {_short(ranked['largest'].iloc[0])})"
    return found


def _sources(rows: pd.DataFrame) -> list[str]:
    """Where the estimators that are no more than a number come from."""
    pairs = rows[["estimator", "source"]].drop_duplicates()
    return [
        f"{str(row.estimator)[:1].upper()}{str(row.estimator)[1:]}: {str(row.source).rstrip('.')}."
        for row in common.each_row(pairs)
        if any(character.isdigit() for character in str(row.estimator))
    ]


def _conditions(known: pd.DataFrame) -> str:
    runs = known["runs"]
    each = common.range_words(int(runs.min()), int(runs.max()), "d")
    segments = common.listed([common.count(number) for number in sorted(common.unique(known["segments"]))])
    processes = f"{each} process{'es' * (each != '1')} for each cell"
    return f"{segments} segments · {faiss_common.geometry_words(known)} · {processes}"


def _undefined(rows: pd.DataFrame) -> str:
    """Which estimators say nothing of which indexes."""
    words: dict[str, list[str]] = {}
    for estimator, of_estimator in rows.groupby("estimator", sort=False):
        without = of_estimator[of_estimator["estimated_mib"].isna()]
        kinds = [
            faiss_common.kind_words(*kind)
            for kind in faiss_common.kinds_of(of_estimator)
            if faiss_common.of_kind(of_estimator, kind)["estimated_mib"].isna().all()
        ]
        if kinds and len(without):
            words.setdefault(common.listed(kinds), []).append(str(estimator))
    said = [f"{common.listed(names)} for {kinds}" for kinds, names in words.items()]
    return f"Not defined: {'; '.join(said)}." if said else ""
