"""Whether search notices a change of the PyTorch version: each measure's change, query by query."""

from __future__ import annotations

import altair as alt
import pandas as pd

from . import common, torch_common
from .common import Figure
from .torch_common import Pair

TITLE = "Search between PyTorch versions"
_CAPTION = (
    "Each circle is the queries whose measure changes by as much from the left version to the right one, its area "
    "their number; those that do not change are not drawn. The black bar is the mean over all queries. Own index: each "
    "version searches what it built; index of the left or right version: both search that one, so that only searching "
    "differs. The probability is that of a paired sign-flip permutation test: how often a mean change as large comes "
    "by chance when each query's change could as well have the other sign. Beyond chance is not yet worth "
    "mentioning, and these queries are not others."
)
_COLUMNS = [
    "left_version", "right_version", "comparison", "measure", "queries", "left_mean", "right_mean", "change",
    "increased", "equal", "decreased", "p_value", "permutations", "differing_passages", "same_ranking", "verdict",
    "left_outcome", "right_outcome", "detail",
]  # fmt: skip
UP, DOWN = "#2166AC", "#B35806"
_UP_WORDS, _DOWN_WORDS = "queries that rise", "queries that fall"
_COMPARISONS = ["own index", "index of left", "index of right"]
_MOST_PAIRS = 8
_NAMES, _ROW_HEIGHT, _PASSAGES = 170, 46, 130


def draw(search: pd.DataFrame, queries: pd.DataFrame, environments: pd.DataFrame) -> Figure:
    """Args: the tables torch_search, torch_search_queries and torch_environments."""
    if search.empty:
        return common.nothing_to_draw(TITLE, "No pair of versions was searched.", _COLUMNS)
    pairs = torch_common.pairs_of(search)
    failed = [
        pair for pair in pairs if (torch_common.of_pair(search, pair)["verdict"] == "search failed").all()
    ]
    loud = [pair for pair in pairs if pair not in failed and _noticed(torch_common.of_pair(search, pair))]
    drawn = (loud or pairs[:1])[:_MOST_PAIRS]
    measures = common.unique(search["measure"])
    width = min(290, (common.WIDEST - _NAMES - _PASSAGES - 40) // len(measures) - 16)
    changes = _changes(queries)
    panels = [
        _panel(
            torch_common.of_pair(search, pair), torch_common.of_pair(changes, pair), pair, measures, width
        )
        for pair in drawn
    ]  # fmt: skip
    title, notes = _findings(search, loud)
    quiet = [pair for pair in pairs if pair not in [*drawn, *loud, *failed]]
    if quiet:
        notes.append(
            f"No difference in any measure, query or passage, not drawn: {torch_common.steps_words(quiet)}."
        )
    if len(loud) > len(drawn):
        notes.append(f"{len(loud) - len(drawn)} more pairs are in the CSV.")
    versions = torch_common.versions_of(search)
    asked = [int(number) for number in sorted(common.unique(search["queries"]))]
    chart: common.Chart = alt.vconcat(*panels, spacing=30)
    return Figure(
        chart,
        search[_COLUMNS],
        title,
        torch_common.conditions(environments, versions)
        + (f" · {common.listed([common.count(number) for number in asked])} queries" if asked else ""),
        "",
        [*notes, torch_common.failures(environments, versions)],
        _CAPTION,
        width=_NAMES + (width + 16) * len(measures) + _PASSAGES,
    )


def _noticed(rows: pd.DataFrame) -> bool:
    """Whether anything differs in a pair, or could not be told."""
    return bool((rows["verdict"] != "no difference").any() or (rows["differing_passages"] > 0).any())


def _changes(queries: pd.DataFrame) -> pd.DataFrame:
    """Queries that change, counted by the amount (to a thousandth)."""
    change = (queries["right_value"] - queries["left_value"]).round(3)
    moved = queries.assign(amount=change)[change != 0]
    key = [*torch_common.VERSIONS, "comparison", "measure", "amount"]
    counted: pd.DataFrame = moved.groupby(key, sort=False).size().rename("count").reset_index()
    return counted.assign(direction=counted["amount"].gt(0).map({True: _UP_WORDS, False: _DOWN_WORDS}))


def _comparison_words(comparison: str, pair: Pair) -> str:
    left, right = pair
    return {"index of left": f"index of {left}", "index of right": f"index of {right}"}.get(
        comparison, "own index"
    )


def _panel(
    rows: pd.DataFrame, changes: pd.DataFrame, pair: Pair, measures: list[str], width: int
) -> common.Chart:
    comparisons = common.unique(
        [name for name in _COMPARISONS if name in set(rows["comparison"])] + list(rows["comparison"])
    )
    labels = [_comparison_words(name, pair) for name in comparisons]
    rows = rows.assign(row=[_comparison_words(name, pair) for name in rows["comparison"]])
    changes = changes.assign(row=[_comparison_words(name, pair) for name in changes["comparison"]])
    largest = changes["amount"].abs().max() if len(changes) else 0.0
    reach = max(0.1, 1.15 * (0.0 if pd.isna(largest) else float(largest)))
    panels: list[common.Chart] = [
        _measure_panel(
            rows[rows["measure"] == measure], changes[changes["measure"] == measure], measure, labels, reach, width,
            first=number == 0,
        )
        for number, measure in enumerate(measures)
    ]  # fmt: skip
    panels.append(_passages(rows.drop_duplicates("row"), labels))
    return alt.hconcat(*panels, spacing=16).properties(
        title=alt.TitleParams(torch_common.step(pair), fontSize=13, offset=8, anchor="start")
    )


def _rows_axis(labels: list[str], *, first: bool) -> alt.Y:
    axis = alt.Axis(domain=False, ticks=False, labelPadding=8, minExtent=_NAMES - 20, maxExtent=_NAMES - 20)
    return alt.Y(
        "row:N", sort=labels, scale=alt.Scale(domain=labels), title=None, axis=axis if first else None
    )


def _measure_panel(
    rows: pd.DataFrame,
    changes: pd.DataFrame,
    measure: str,
    labels: list[str],
    reach: float,
    width: int,
    *,
    first: bool,
) -> common.Chart:
    y = _rows_axis(labels, first=first)
    scale = alt.Scale(domain=[-reach, reach], nice=False)
    rows = rows.assign(words=[_row_words(row) for row in common.each_row(rows)])

    axis = alt.Axis(
        tickCount=5, grid=False, labelExpr="datum.value == 0 ? '0' : format(datum.value, '+.2~f')"
    )

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, title="change of a query", axis=axis)

    colour = alt.Color(
        "direction:N",
        title=None,
        scale=alt.Scale(domain=[_UP_WORDS, _DOWN_WORDS], range=[UP, DOWN]),
        legend=alt.Legend(
            orient="bottom", symbolType="circle"
        ),  # in every panel the same, so that they make one
    )
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color="#B5B5B5", aria=False).encode(x=x("zero"))
    circles = alt.Chart(changes).mark_point(filled=True, opacity=0.75, yOffset=8, aria=False)
    means = alt.Chart(rows[rows["change"].notna()]).mark_tick(
        thickness=3, size=16, color=common.INK, yOffset=8, aria=False
    )
    texts = alt.Chart(rows).encode(x=alt.value(width / 2), y=y, text="words:N")
    tooltip = [
        *("comparison:N", "measure:N", "verdict:N"),
        alt.Tooltip("left_mean:Q", title="mean of left", format=".4f"),
        alt.Tooltip("right_mean:Q", title="mean of right", format=".4f"),
        alt.Tooltip("change:Q", format="+.5f"),
        alt.Tooltip("p_value:Q", title="p", format=".4f"),
        "permutations:Q",
    ]
    return alt.layer(
        zero,
        circles.encode(
            x=x("amount"),
            y=y,
            color=colour,
            size=alt.Size("count:Q", scale=alt.Scale(domain=[0, 40], range=[24, 420], clamp=True), legend=None),
            tooltip=[alt.Tooltip("amount:Q", format="+.3f", title="change"), alt.Tooltip("count:Q", title="queries")],
        ),
        means.encode(x=x("change"), y=y, tooltip=tooltip),
        *[
            texts.mark_text(dy=-12, fontSize=10, aria=False, **look)
            for look in (common.HALO, {"color": common.INK})
        ],
    ).properties(
        width=width,
        height=_ROW_HEIGHT * len(labels),
        title=alt.TitleParams(measure, fontSize=11, fontWeight="normal", offset=4, frame="group"),
    )  # fmt: skip


def _row_words(row: object) -> str:
    """Such as `11 rise, 183 equal, 6 fall: +0.008, p = 0.33`."""
    change = getattr(row, "change", None)
    if pd.isna(change):
        return str(getattr(row, "verdict", ""))
    up, equal, down = (getattr(row, name) for name in ("increased", "equal", "decreased"))
    if not up and not down:
        return f"all {equal:.0f} equal"
    return f"{up:.0f} rise, {down:.0f} fall, {equal:.0f} equal: {torch_common.signed(change)}, {_p(row)}"


def _p(row: object) -> str:
    p_value = getattr(row, "p_value", None)
    if pd.isna(p_value):
        return "not tested"
    text = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
    return text.replace(" ", "\u00a0")  # stays on one line


def _passages(rows: pd.DataFrame, labels: list[str]) -> common.Chart:
    """How many passages differ in a query's result, in words."""
    words = [_passage_cell(row.differing_passages, row.same_ranking) for row in common.each_row(rows)]
    chart: common.Chart = (
        alt.Chart(rows.assign(words=words))
        .mark_text(fontSize=10.5, lineBreak="\n", lineHeight=13, color=common.INK, dy=-6, aria=False)
        .encode(y=_rows_axis(labels, first=False), text="words:N", x=alt.value(_PASSAGES / 2))
        .properties(
            width=_PASSAGES,
            height=_ROW_HEIGHT * len(labels),
            view=alt.ViewBackground(stroke=None),
            title=alt.TitleParams(
                "differing passages",
                fontSize=11,
                fontWeight="normal",
                offset=4,
                anchor="middle",
                frame="group",
            ),
        )
    )
    return chart


def _passage_cell(differing: float, same_ranking: float) -> str:
    if pd.isna(differing):
        return ""
    words = f"{differing:.3g} a query"
    if pd.isna(same_ranking) or (not differing and same_ranking == 1):
        return words
    return f"{words}\n{torch_common.percent(same_ranking)} same ranking"


# Sentences


def _findings(search: pd.DataFrame, loud: list[Pair]) -> tuple[str, list[str]]:
    failed = search[search["verdict"] == "search failed"]
    told = search[search["verdict"] != "search failed"]
    notes = [_verdicts(told), _passage_words(told), _failed(failed)]
    if told.empty:
        return "Whether search notices cannot be told: no search completed", notes
    beyond = told[told["verdict"] == "beyond chance"]
    changed = told[told["verdict"] == "within chance"]
    if len(beyond):
        most = _largest(beyond, beyond["change"].abs())
        pair = (most["left_version"], most["right_version"])
        others = len(beyond) - 1
        more = f", and {others} more beyond chance" if others else ""
        return (
            f"Search notices {torch_common.step(pair)}: {most['measure']} changes by "
            f"{torch_common.signed(most['change'])} ({_comparison_words(most['comparison'], pair)}, "
            f"{_p(_row(most))}){more}"
        ), notes
    if len(changed):
        most = _largest(changed, changed["change"].abs())
        pair = (most["left_version"], most["right_version"])
        pairs = [each for each in loud if _noticed(torch_common.of_pair(told, each))]
        which = torch_common.steps_words(pairs, 3)
        return (
            f"Search does not notice {which}: queries change, but their mean by at most "
            f"{torch_common.signed(most['change'])} ({most['measure']}), within chance ({_p(_row(most))})"
        ), notes
    pairs = torch_common.pairs_of(told)
    if (told["differing_passages"] > 0).any():
        return (
            f"Passages differ, but no measure of any query changes: {torch_common.steps_words(pairs)}",
            notes,
        )
    return f"Search does not notice: no query changes, {torch_common.steps_words(pairs)}", notes


def _largest(rows: pd.DataFrame, by: pd.Series) -> pd.Series:
    """The row of which `by` is largest, the first of several."""
    row: pd.Series = rows.iloc[int(by.to_numpy().argmax())]
    return row


def _row(series: pd.Series) -> object:
    return next(common.each_row(series.to_frame().T))


def _verdicts(told: pd.DataFrame) -> str:
    """The verdicts counted, and what the probability of the smallest one means."""
    if told.empty:
        return ""
    counts = told["verdict"].value_counts()
    each = [
        f"{counts[verdict]} {verdict}"
        for verdict in ("beyond chance", "within chance", "no difference")
        if verdict in counts
    ]
    moved = told[told["verdict"] != "no difference"].dropna(subset=["p_value"])
    text = f"Of {len(told)} comparisons of a measure: {common.listed(each)}."
    if len(moved):
        low = _largest(moved, -moved["p_value"])
        part = "less than 0.1 %" if low["p_value"] < 0.001 else f"{100 * low['p_value']:.3g} %"
        pair = (low["left_version"], low["right_version"])
        text += (
            f" The least likely by chance: {low['measure']}, {torch_common.step(pair)}, "
            f"{_comparison_words(low['comparison'], pair)}; {part} of random sign flips change the mean as much."
        )
        if len(moved) > 1:
            text += f" ({len(moved)} tests: some small probabilities are to be expected.)"
    return text


def _passage_words(told: pd.DataFrame) -> str:
    own = told[(told["comparison"] == "own index") & (told["differing_passages"] > 0)]
    if own.empty:
        return ""
    most = _largest(own, own["differing_passages"])
    pair = (most["left_version"], most["right_version"])
    return (
        f"On own indexes, {most['differing_passages']:.3g} retrieved passages a query differ at most on average "
        f"({torch_common.step(pair)}): those that only one of the versions retrieves."
    )


def _failed(failed: pd.DataFrame) -> str:
    if failed.empty:
        return ""
    names = [f"{torch_common.step(pair)}" for pair in torch_common.pairs_of(failed)]
    details = common.unique(failed["detail"])
    why = f" ({'; '.join(str(each).rstrip('.') for each in details[:2])})" if details else ""
    return f"Search failed in {common.listed(names[:4])}{why}."
