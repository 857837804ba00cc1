"""Search with, without and with a shared table: milliseconds and ratios over nprobe and list length; the break-even."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from . import common, faiss_common
from .common import Figure

TITLE = "Search with and without the table"
COMPARED, SHARED = "with by without", "shared by with"
QUANTILES = ["p50", "p90", "p99"]
NO_DIFFERENCE = "no difference"
_CAPTION = (
    "Above: milliseconds of a single query against the mean number of vectors in a list, one panel for each nprobe; a "
    "point is the median over rounds, the line upwards reaches to the 99th percentile. Below: the time with the table "
    "divided by that without it, and with a shared table by that with an own one, round by round, because all ways are "
    "measured in turn within a round; a point is the median over rounds, the rule their range. Under 1 the first of "
    "the two is faster; a filled point’s range leaves 1 out. The dashed line upright is the list length from which "
    "on the table is faster, between two that were measured. HNSWPQ’s SDC table is for adding vectors: searches "
    "should not notice it."
)
_COLUMNS = [
    "index_type", "dim", "nlist", "pq_m", "code_size", "list_length", "vectors", "nprobe", "queries", "compared",
    "quantile", "rounds", "ratio", "ratio_low", "ratio_high", "saved_ms", "table_mib", "verdict",
    "break_even_list_length", "break_even_nprobe", "agreement", "way", "p50_ms", "p90_ms", "p99_ms", "overhead_ms",
]  # fmt: skip
_KEY = ["index_type", "dim", "nlist", "pq_m", "code_size", "list_length", "vectors", "nprobe", "queries"]
# A way has the colour of its load mode.
_MODE_OF = {"with": "default", "without": "skip", "shared": "shared"}
_WAY_WORDS = {"with": "with the table", "without": "without it", "shared": "with a shared table"}
_COMPARED_WORDS = {COMPARED: "with, by without the table", SHARED: "shared, by an own table"}
# One legend for both halves: a ratio to an own table has the colour of the shared one.
_RATIO = "below: with, by without; blue: shared, by with"
_INKS = {way: faiss_common.MODE_COLOURS[mode] for way, mode in _MODE_OF.items()} | {_RATIO: common.INK}
_INK_OF = {COMPARED: _RATIO, SHARED: "shared"}
_WIDTH, _HEIGHT, _RATIO_HEIGHT, _ROW = 250, 170, 190, 24
_MOST_PANELS = 8


def draw(latency: pd.DataFrame, break_even: pd.DataFrame) -> Figure:
    """Args: the tables faiss_latency and faiss_break_even."""
    if latency.empty and break_even.empty:
        return common.nothing_to_draw(TITLE, "No search was measured.", _COLUMNS)
    medians = _medians(latency)
    lists = break_even[break_even["list_length"].notna()]
    blocks: list[common.Chart] = []
    if len(lists) or medians["list_length"].notna().any():
        blocks.append(_grid(medians[medians["list_length"].notna()], lists))
    graphs = break_even[break_even["list_length"].isna()]
    if len(graphs):
        blocks.append(_graph(graphs))
    title, support = _finding(break_even)
    notes = [
        *_break_even_notes(lists),
        _shared_note(break_even),
        *graph_notes(graphs),
        equal_results(break_even),
        _overhead(latency),
    ]
    rows = pd.concat([break_even.astype(object), medians.astype(object)], ignore_index=True)
    return Figure(
        alt.vconcat(*blocks, spacing=30).resolve_scale(color="independent"), rows.reindex(columns=_COLUMNS), title,
        _conditions(latency), support, [note for note in notes if note], _CAPTION, width=1080,
    )  # fmt: skip


def _medians(latency: pd.DataFrame) -> pd.DataFrame:
    """Median over rounds of each way's quantiles."""
    groups = latency.groupby([*_KEY, "way"], dropna=False, sort=False)
    return groups[["p50_ms", "p90_ms", "p99_ms", "overhead_ms"]].median().reset_index()


def _conditions(latency: pd.DataFrame) -> str:
    if latency.empty:
        return ""
    words = [
        faiss_common.index_words(str(name)) + ": " + faiss_common.geometry_words(rows)
        for name, rows in latency.groupby("index_type", sort=False)
    ]
    queries = common.listed([common.count(value) for value in common.unique(latency["queries"])])
    rounds = latency["round"].nunique()
    return f"{'; '.join(words)} · {queries} queries one at a time · {rounds} round{'s' * (rounds != 1)}"


# Charts


def _length_axis(rows: pd.DataFrame) -> tuple[alt.Scale, alt.Axis]:
    lengths = sorted(common.unique(rows["list_length"]))
    return faiss_common.log_scale(lengths[0], lengths[-1], 1.5), alt.Axis(values=lengths, format=",~g")


def _grid(medians: pd.DataFrame, lists: pd.DataFrame) -> common.Chart:
    """A column for each nprobe: milliseconds above, ratios below."""
    both = pd.concat([medians[["list_length", "nprobe"]], lists[["list_length", "nprobe"]]])
    nprobes = sorted(common.unique(both["nprobe"]))[:_MOST_PANELS]
    length = _length_axis(both)
    width = min(_WIDTH, (common.WIDEST - 80) // len(nprobes) - 24)
    panels: list[common.Chart] = []
    if len(medians):
        values = medians[["p50_ms", "p99_ms"]]
        scale = faiss_common.log_scale(float(values.min().min()), float(values.max().max()))
        panels += [
            _times(medians[medians["nprobe"] == nprobe], nprobe, length, scale, not place).properties(
                width=width
            )
            for place, nprobe in enumerate(nprobes)
        ]
    shown = lists[(lists["quantile"] == "p50") & lists["compared"].isin(list(_COMPARED_WORDS))]
    if len(shown):
        low, high = min(0.95, shown["ratio_low"].min()), max(1.05, shown["ratio_high"].max())
        scale = faiss_common.log_scale(low, high, 1.08)
        panels += [
            _ratios(
                shown[shown["nprobe"] == nprobe], nprobe, length, scale, not place, headed=not len(medians)
            ).properties(width=width)
            for place, nprobe in enumerate(nprobes)
        ]
    chart: common.Chart = alt.concat(*panels, columns=len(nprobes), spacing=12).resolve_scale(color="shared")
    return chart


def _heading(nprobe: float) -> alt.TitleParams:
    return faiss_common.heading(f"nprobe {nprobe:,.0f}")


def _ink() -> alt.Color:
    """The same in every panel, so that they make one legend."""
    return alt.Color(
        "ink:N",
        scale=alt.Scale(domain=list(_INKS), range=list(_INKS.values())),
        legend=faiss_common.words_legend(_WAY_WORDS, 4),
    )


def _times(
    medians: pd.DataFrame, nprobe: float, length: tuple[alt.Scale, alt.Axis], scale: alt.Scale, first: bool
) -> common.Chart:
    ticks = alt.Axis(values=faiss_common.log_ticks(*scale.domain), format="~g", labels=first, ticks=first)
    x = alt.X("list_length:Q", scale=length[0], axis=length[1], title=None)
    title = "milliseconds a query, p50 to p99" if first else None
    ways = [way for way in _MODE_OF if way in set(medians["way"])]
    layers: list[alt.Chart] = []
    for place, way in enumerate(ways):
        # Beside each other, as they are nearly equal.
        base = alt.Chart(medians[medians["way"] == way].assign(ink=way)).encode(
            x=x, color=_ink(), xOffset=alt.value(5 * (place - (len(ways) - 1) / 2))
        )
        y = alt.Y("p50_ms:Q", scale=scale, axis=ticks, title=title)
        layers += [
            base.mark_rule(strokeWidth=1.3, opacity=0.6, aria=False).encode(y=y, y2="p99_ms:Q"),
            base.mark_line(strokeWidth=1.4, opacity=0.7, aria=False).encode(y=y),
            base.mark_point(size=34, filled=True, opacity=1, aria=False).encode(
                y=y,
                tooltip=[
                    "way:N",
                    alt.Tooltip("nprobe:Q", format=","),
                    alt.Tooltip("list_length:Q", title="list length", format=",.0f"),
                    *(alt.Tooltip(f"{name}_ms:Q", title=f"{name} (ms)", format=".4g") for name in QUANTILES),
                ],
            ),
        ]
    if not layers:
        layers = [_no_marks()]
    return alt.layer(*layers).properties(height=_HEIGHT, title=_heading(nprobe))


def _no_marks() -> alt.Chart:
    """Of an nprobe that one half of the tables lacks."""
    words = alt.Chart(pd.DataFrame({"words": ["not measured"]})).mark_text(color=common.NOTE, aria=False)
    chart: alt.Chart = words.encode(text="words:N")
    return chart


def _ratio_ticks(domain: list[float], labels: bool = True) -> alt.Axis:
    wide = domain[1] / domain[0]
    steps = (
        [0.9, 0.95, 1, 1.05, 1.1]
        if wide < 1.3
        else [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 10]
    )
    values = [step for step in steps if domain[0] <= step <= domain[1]]
    return alt.Axis(values=values, format="~g", labels=labels, ticks=labels)


def _fill_opacity() -> Any:
    """Filled where the range of rounds leaves 1 out."""
    return alt.condition(
        alt.FieldEqualPredicate(equal=NO_DIFFERENCE, field="verdict"), alt.value(0.0), alt.value(1.0)
    )


_RATIO_TOOLTIP = [
    alt.Tooltip("compared:N"),
    alt.Tooltip("quantile:N"),
    alt.Tooltip("nprobe:Q", format=","),
    alt.Tooltip("list_length:Q", title="list length", format=",.0f"),
    alt.Tooltip("ratio:Q", format=".3f"),
    alt.Tooltip("ratio_low:Q", title="least of the rounds", format=".3f"),
    alt.Tooltip("ratio_high:Q", title="most", format=".3f"),
    alt.Tooltip("saved_ms:Q", title="saved a query (ms)", format=".4g"),
    alt.Tooltip("table_mib:Q", title="table (MiB)", format=",.1f"),
    alt.Tooltip("verdict:N"),
]


def _ratios(
    rows: pd.DataFrame,
    nprobe: float,
    length: tuple[alt.Scale, alt.Axis],
    scale: alt.Scale,
    first: bool,
    headed: bool,
) -> common.Chart:
    x_title = "vectors in a list (mean, logarithmic)"
    x = alt.X("list_length:Q", scale=length[0], axis=length[1], title=x_title)
    axis = _ratio_ticks(scale.domain, first)
    title = "time relative to (p50, logarithmic)" if first else None

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=scale, axis=axis, title=title)

    one = alt.Chart(pd.DataFrame({"one": [1.0]})).mark_rule(color=common.NOTE, strokeDash=[3, 3], aria=False)
    layers: list[alt.Chart] = [one.encode(y=y("one"))]
    for compared in _COMPARED_WORDS:
        of_kind = rows[rows["compared"] == compared]
        if of_kind.empty:
            continue
        base = alt.Chart(of_kind.assign(ink=_INK_OF[compared])).encode(
            x=x, color=_ink(), xOffset=alt.value(3 if compared == SHARED else -3)
        )
        layers += [
            base.mark_line(strokeWidth=1.3, opacity=0.6, aria=False).encode(y=y("ratio")),
            base.mark_rule(strokeWidth=1.5, aria=False).encode(y=y("ratio_low"), y2="ratio_high:Q"),
            base.mark_point(size=46, strokeWidth=1.5, fill="white", opacity=1, aria=False).encode(
                y=y("ratio")
            ),
            base.mark_point(size=46, strokeWidth=1.5, filled=True, aria=False).encode(
                y=y("ratio"), opacity=_fill_opacity(), tooltip=_RATIO_TOOLTIP
            ),
        ]
    marks = rows[rows["break_even_list_length"].notna()].head(1)
    if len(marks):
        value = float(marks["break_even_list_length"].iloc[0])
        told = pd.DataFrame({"list_length": [value], "words": [f"from {value:,.0f} on faster"]})
        base = alt.Chart(told).encode(x=x)
        layers += [
            base.mark_rule(strokeDash=[4, 3], color=common.NOTE, aria=False),
            base.mark_text(align="left", dx=4, dy=9, fontSize=10, **common.HALO).encode(
                y=alt.value(0), text="words:N"
            ),
            base.mark_text(align="left", dx=4, dy=9, fontSize=10, color=common.INK).encode(
                y=alt.value(0), text="words:N"
            ),
        ]
    chart = alt.layer(*layers).properties(height=_RATIO_HEIGHT)
    return chart.properties(title=_heading(nprobe)) if headed else chart


def _graph(graphs: pd.DataFrame) -> common.Chart:
    """HNSWPQ: the ratio of each quantile, as it has neither lists nor nprobe."""
    shown = graphs[graphs["compared"].isin(list(_COMPARED_WORDS))]
    rows = shown.assign(row=shown["compared"].map(_COMPARED_WORDS) + ", " + shown["quantile"])
    order = [f"{words}, {name}" for words in _COMPARED_WORDS.values() for name in QUANTILES]
    order = [name for name in order if name in set(rows["row"])]
    low, high = min(0.95, rows["ratio_low"].min()), max(1.05, rows["ratio_high"].max())
    scale = faiss_common.log_scale(low, high, 1.04)
    y = alt.Y(
        "row:N",
        sort=order,
        scale=alt.Scale(domain=order),
        title=None,
        axis=alt.Axis(domain=False, ticks=False, grid=True),
    )

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q", scale=scale, axis=_ratio_ticks(scale.domain), title="time relative to (logarithmic)"
        )

    inks = alt.Scale(domain=list(_INK_OF), range=[_INKS[name] for name in _INK_OF.values()])
    colour = alt.Color("compared:N", scale=inks, legend=None)  # the rows say it
    one = alt.Chart(pd.DataFrame({"one": [1.0]})).mark_rule(color=common.NOTE, strokeDash=[3, 3], aria=False)
    base = alt.Chart(rows).encode(y=y, color=colour)
    names = common.listed([faiss_common.index_words(str(name)) for name in common.unique(rows["index_type"])])
    return alt.layer(
        one.encode(x=x("one")),
        base.mark_rule(strokeWidth=1.5, aria=False).encode(x=x("ratio_low"), x2="ratio_high:Q"),
        base.mark_point(size=46, strokeWidth=1.5, fill="white", opacity=1, aria=False).encode(x=x("ratio")),
        base.mark_point(size=46, strokeWidth=1.5, filled=True, aria=False).encode(
            x=x("ratio"), opacity=_fill_opacity(), tooltip=_RATIO_TOOLTIP
        ),
    ).properties(
        width=520,
        height=_ROW * len(order),
        title=faiss_common.heading(f"{names}: with and without its SDC table"),
    )  # fmt: skip


# Words


def table_rows(break_even: pd.DataFrame) -> pd.DataFrame:
    """The median's rows of indexes with lists, with by without the table."""
    return break_even[
        (break_even["compared"] == COMPARED)
        & (break_even["quantile"] == "p50")
        & break_even["list_length"].notna()
    ]


def point_words(row: Any) -> str:
    return f"{row.list_length:,.0f} vectors a list, nprobe {row.nprobe:,.0f}"


def _finding(break_even: pd.DataFrame) -> tuple[str, str]:
    """Whether the table makes search faster, where most, and where it does not."""
    rows = table_rows(break_even)
    if rows.empty:
        return f"{TITLE}: the two were not measured beside each other", ""
    faster, slower = rows[rows["verdict"] == "faster"], rows[rows["verdict"] == "slower"]
    best = rows.iloc[int(rows["ratio"].to_numpy().argmin())]
    worst = rows.iloc[int(rows["ratio"].to_numpy().argmax())]
    table = faiss_common.size(float(best["table_mib"]))
    rounds = int(rows["rounds"].min())
    few = f" (in {rounds} round only)" if rounds == 1 else ""
    support = (
        f"Of {len(rows)} combinations of list length and nprobe the table is faster in {len(faster)}, slower in "
        f"{len(slower)}, and no difference is seen in {len(rows) - len(faster) - len(slower)} (ranges of {rounds} "
        f"round{'s' * (rounds != 1)}; p50)."
    )
    if len(faster):
        title = (
            f"The table of {table} a segment makes search faster in {len(faster)} of {len(rows)} combinations{few}, at "
            f"best {_share(best)} ({point_words(best)})"
        )
        if len(slower):
            title += f"; slower in {len(slower)}, at worst {_share(worst)} ({point_words(worst)})"
    elif len(slower):
        title = (
            f"The table of {table} a segment never makes search faster{few}; at worst it is {_share(worst)} "
            f"({point_words(worst)})"
        )
    else:
        title = f"No difference is seen between search with and without the table of {table} a segment{few}"
    return title, support


def _share(row: pd.Series) -> str:
    """Such as `40 % less time`."""
    change = float(row["ratio"]) - 1
    return f"{100 * abs(change):.0f} % {'less' if change < 0 else 'more'} time"


def break_evens(lists: pd.DataFrame) -> dict[int, float | None]:
    """nprobe → the list length from which on the table is faster; None where no sign changes."""
    rows = table_rows(lists)
    found: dict[int, float | None] = {}
    for nprobe, of_nprobe in rows.groupby("nprobe"):
        lengths = of_nprobe["break_even_list_length"].dropna()
        found[int(str(nprobe).partition(".")[0])] = float(lengths.iloc[0]) if len(lengths) else None
    return found


def break_even_words(lists: pd.DataFrame) -> list[str]:
    """A phrase for each nprobe: where the table begins to be faster, or that it always or never is."""
    rows = table_rows(lists)
    words: dict[str, str] = {}
    for nprobe, length in break_evens(lists).items():
        verdicts = set(rows.loc[rows["nprobe"] == nprobe, "verdict"])
        ratios = rows.loc[rows["nprobe"] == nprobe, "ratio"]
        if length is not None:
            said = f"from {length:,.0f} vectors a list on"
        elif verdicts == {NO_DIFFERENCE}:
            said = "nowhere seen to differ"
        elif (ratios < 1).all():
            said = "at every list length"
        elif (ratios >= 1).all():
            said = "at none"
        else:
            said = "at some list lengths, without order"
        words[f"nprobe {nprobe}"] = said
    return [common.grouped(words)] if words else []


def _break_even_notes(lists: pd.DataFrame) -> list[str]:
    notes = [f"The table is faster: {words}." for words in break_even_words(lists)]
    nprobes = table_rows(lists)["break_even_nprobe"].dropna()
    if len(nprobes):
        between = common.range_words(nprobes.min(), nprobes.max(), ".2f")
        notes.append(f"Over nprobe it breaks even at {between}, interpolated, by list length.")
    return notes


def _shared_note(break_even: pd.DataFrame) -> str:
    rows = break_even[(break_even["compared"] == SHARED) & (break_even["quantile"] == "p50")]
    if rows.empty:
        return ""
    changed = rows[rows["verdict"] != NO_DIFFERENCE]
    spread = common.range_words(rows["ratio"].min(), rows["ratio"].max(), ".3f")
    return (
        f"A shared table against an own one: {spread} times as long (p50); a difference is seen in {len(changed)} of "
        f"{len(rows)} combinations."
    )


def graph_notes(graphs: pd.DataFrame) -> list[str]:
    rows = graphs[(graphs["compared"] == COMPARED) & (graphs["quantile"] == "p50")]
    return [
        f"{faiss_common.index_words(row.index_type)}: search with the SDC table takes {row.ratio:.3f} times as long as "
        f"without ({row.ratio_low:.3f} to {row.ratio_high:.3f}; {row.verdict})."
        for row in common.each_row(rows)
    ]


def equal_results(break_even: pd.DataFrame) -> str:
    """A sentence on whether the ways find the same; empty where that is not known."""
    known = break_even[break_even["agreement"].notna()]
    sentences = []
    for compared, rows in known.groupby("compared", sort=False):
        points = rows.drop_duplicates(_KEY)
        counts = points["agreement"].value_counts(sort=False)
        found = common.listed([f"{word} in {number}" for word, number in counts.items()])
        words = _COMPARED_WORDS.get(str(compared), str(compared)).replace(", by ", " and ")
        sentences.append(f"{words}: {found} of {len(points)} combinations")
    return f"Ids and distances, {'; '.join(sentences)}." if sentences else ""


def _overhead(latency: pd.DataFrame) -> str:
    known = latency["overhead_ms"].dropna()
    if known.empty:
        return ""
    return f"Of each time {faiss_common.milliseconds(float(known.median()))} are the clock and the binding (median)."
