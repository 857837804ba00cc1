"""The alternatives to a table for each segment: memory, time to load, search time relative to keeping it."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from . import common, faiss_common
from .common import Figure

TITLE = "Alternatives to a table for each segment"
KEEP = "keep"
# In the order of the RFC; where an alternative is a load mode it has that mode's colour.
COLOURS = {
    KEEP: faiss_common.MODE_COLOURS["default"],
    "disable": faiss_common.MODE_COLOURS["skip"],
    "serialise with the model": "#785EF0",
    "initialise from the model index": "#FE6100",
    "share": faiss_common.MODE_COLOURS["shared"],
}
_CAPTION = (
    "Each alternative was tried with the same segments, memory and time to load in processes of their own, search in "
    "turn with keep in one process. Bars: median memory of all segments (above that of the process before loading), "
    "the thin line the range of the processes. Search: a query in one segment, its median time divided by that of "
    "keep in the same round; the rule is the range of rounds, and left of 1 is faster. What is not possible is said "
    "in its row. Indexes of which no alternative is possible have no rows."
)
_COLUMNS = [
    "index_type", "metric", *faiss_common.GEOMETRY, "segments", "alternative", "possible", "reason", "runs",
    "measured_mib", "measured_low_mib", "measured_high_mib", "tables_mib", "extra_file_mib", "load_seconds",
    "search_p50_ms", "search_by_keep", "search_by_keep_low", "search_by_keep_high", "results_equal",
    "largest_difference", "can_add",
]  # fmt: skip
_OTHER_COLOUR = "#8A8A8A"
_WIDTHS, _ROW = (330, 210, 300), 28
_ROOM, _WORDS_ROOM = 1.28, 1.62  # right of the longest bar, for its number or words


def draw(alternatives: pd.DataFrame) -> Figure:
    """Args: the table faiss_alternatives."""
    if alternatives.empty:
        return common.nothing_to_draw(TITLE, "No alternative was tried.", _COLUMNS)
    kinds = [
        kind
        for kind in faiss_common.kinds_of(alternatives)
        if _choices(faiss_common.of_kind(alternatives, kind)) or len(faiss_common.kinds_of(alternatives)) == 1
    ]
    told = _without_choice(alternatives, kinds)
    if not kinds:
        return common.nothing_to_draw(
            TITLE, told or "Nothing else than a table for each segment is possible.", _COLUMNS
        )
    order = _order(alternatives)
    blocks = [_block(faiss_common.of_kind(alternatives, kind), kind, order) for kind in kinds]
    title, support = _finding(alternatives, kinds)
    return Figure(
        alt.vconcat(*blocks, spacing=26), alternatives.reindex(columns=_COLUMNS), title, _conditions(alternatives),
        support,        [note for note in [*_notes(alternatives, kinds), told] if note], _CAPTION, width=1080,
    )  # fmt: skip


def _choices(rows: pd.DataFrame) -> bool:
    """Whether anything but keeping is possible."""
    return bool((rows["possible"].astype(bool) & (rows["alternative"] != KEEP)).any())


def _order(rows: pd.DataFrame) -> list[str]:
    there = common.unique(rows["alternative"])
    return [name for name in COLOURS if name in there] + [name for name in there if name not in COLOURS]


# Charts


def _block(rows: pd.DataFrame, kind: tuple[str, str], order: list[str]) -> common.Chart:
    """Memory, time to load and search time of one kind of index, side by side."""
    order = [name for name in order if name in set(rows["alternative"])]
    number = faiss_common.segments(int(rows["segments"].max()))
    panels = [_memory(rows, order), _loading(rows, order), _search(rows, order)]
    return alt.hconcat(*panels, spacing=18).properties(
        title=faiss_common.heading(f"{faiss_common.kind_heading(*kind)}, {number}")
    )


def _y(order: list[str], *, first: bool) -> alt.Y:
    axis = alt.Axis(domain=False, ticks=False, grid=False, labels=first, labelLimit=260)
    return alt.Y("alternative:N", sort=order, scale=alt.Scale(domain=order), title=None, axis=axis)


def _colour(order: list[str]) -> alt.Color:
    inks = [COLOURS.get(name, _OTHER_COLOUR) for name in order]
    return alt.Color("alternative:N", scale=alt.Scale(domain=order, range=inks), legend=None)


_TOOLTIP: list[Any] = [
    "alternative:N",
    alt.Tooltip("measured_mib:Q", title="measured (MiB)", format=",.1f"),
    alt.Tooltip("tables_mib:Q", title="tables by formula (MiB)", format=",.1f"),
    alt.Tooltip("extra_file_mib:Q", title="more on disk (MiB)", format=",.1f"),
    alt.Tooltip("load_seconds:Q", title="to load (s)", format=",.3f"),
    alt.Tooltip("search_p50_ms:Q", title="a search (ms)", format=".4g"),
    alt.Tooltip("search_by_keep:Q", title="by keep", format=".3f"),
    alt.Tooltip("results_equal:N", title="results equal"),
    alt.Tooltip("can_add:N", title="vectors can be added"),
]


def _memory(rows: pd.DataFrame, order: list[str]) -> common.Chart:
    known = rows[rows["measured_mib"].notna()]
    most = float(known["measured_high_mib"].fillna(known["measured_mib"]).max()) if len(known) else 1.0
    scale = alt.Scale(domain=[0, _WORDS_ROOM * most], nice=False)
    x = alt.X("measured_mib:Q", scale=scale, axis=alt.Axis(tickCount=5), title="memory of the segments (MiB)")
    y = _y(order, first=True)
    known = known.assign(
        words=[
            faiss_common.size(row.measured_mib)
            + (f" + {faiss_common.size(row.extra_file_mib)} on disk" if row.extra_file_mib > 0 else "")
            for row in common.each_row(known)
        ]
    )
    base = alt.Chart(known).encode(y=y)
    layers = [
        base.mark_bar(height=14, aria=False).encode(x=x, color=_colour(order), tooltip=_TOOLTIP),
        base.mark_rule(strokeWidth=1.2, color=common.INK, aria=False).encode(
            x=alt.X("measured_low_mib:Q", scale=scale), x2="measured_high_mib:Q"
        ),
        base.mark_text(align="left", dx=6, fontSize=10.5, color=common.INK, aria=False).encode(
            x=alt.X("measured_high_mib:Q", scale=scale), text="words:N"
        ),
        _reasons(rows, y),
    ]
    return alt.layer(*layers).properties(width=_WIDTHS[0], height=_ROW * len(order))


def _reasons(rows: pd.DataFrame, y: alt.Y) -> alt.Chart:
    """In the rows of what is not possible, or was tried and did not complete."""
    lost = rows[rows["measured_mib"].isna()]
    said = pd.DataFrame(
        {
            "alternative": lost["alternative"],
            "words": [
                ("did not complete" if row.possible else "not possible")
                + (f": {_shortened(str(row.reason))}" if pd.notna(row.reason) else "")
                for row in common.each_row(lost)
            ],
        }
    )
    chart: alt.Chart = (
        alt.Chart(said)
        .mark_text(align="left", dx=6, fontSize=10.5, color=common.NOTE, fontStyle="italic", aria=False)
        .encode(y=y, x=alt.value(0), text="words:N")
    )
    return chart


def _shortened(text: str, most: int = 150) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _loading(rows: pd.DataFrame, order: list[str]) -> common.Chart:
    known = rows[rows["load_seconds"].notna()]
    known = known.assign(words=[common.seconds(value) for value in known["load_seconds"]])
    most = float(known["load_seconds"].max()) if len(known) else 1.0
    scale = alt.Scale(domain=[0, _ROOM * most], nice=False)
    x = alt.X("load_seconds:Q", scale=scale, axis=alt.Axis(tickCount=4), title="to load all segments (s)")
    base = alt.Chart(known).encode(y=_y(order, first=False), x=x)
    return alt.layer(
        base.mark_bar(height=14, aria=False).encode(color=_colour(order), tooltip=_TOOLTIP),
        base.mark_text(align="left", dx=6, fontSize=10.5, color=common.INK, aria=False).encode(
            text="words:N"
        ),
    ).properties(width=_WIDTHS[1], height=_ROW * len(order))


def _search(rows: pd.DataFrame, order: list[str]) -> common.Chart:
    known = rows[rows["search_by_keep"].notna()]
    known = known.assign(words=[f"{value:.2f}" for value in known["search_by_keep"]])
    ends = pd.concat([known["search_by_keep_low"], known["search_by_keep_high"], known["search_by_keep"]])
    low = min(0.9, float(ends.min())) if len(known) else 0.9
    high = max(1.1, float(ends.max())) if len(known) else 1.1
    room = 0.08 * (high - low)
    scale = alt.Scale(domain=[low - room, high + 3 * room], nice=False, zero=False)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=alt.Axis(tickCount=5), title="time of a search, by keep")

    base = alt.Chart(known).encode(y=_y(order, first=False))
    one = alt.Chart(pd.DataFrame({"one": [1.0]})).mark_rule(color=common.NOTE, strokeDash=[3, 3], aria=False)
    return alt.layer(
        one.encode(x=x("one")),
        base.mark_rule(strokeWidth=2, aria=False).encode(
            x=x("search_by_keep_low"), x2="search_by_keep_high:Q", color=_colour(order)
        ),
        base.mark_point(size=60, filled=True, opacity=1, aria=False).encode(
            x=x("search_by_keep"), color=_colour(order), tooltip=_TOOLTIP
        ),
        base.mark_text(align="left", dx=7, fontSize=10.5, color=common.INK, aria=False).encode(
            x=x("search_by_keep_high"), text="words:N"
        ),
    ).properties(width=_WIDTHS[2], height=_ROW * len(order))


# Words


def _finding(rows: pd.DataFrame, kinds: list[tuple[str, str]]) -> tuple[str, str]:
    """What each alternative does to the kind of index with the largest table."""
    tables = rows[rows["alternative"] == KEEP].set_index(["index_type", "metric"])["tables_mib"]
    # Of equal tables that of the index that searches with it.
    kind = max(kinds, key=lambda each: (float(tables.get(each, 0.0) or 0.0), each[0] == "ivf_pq"))
    of_kind = faiss_common.of_kind(rows, kind).set_index("alternative")
    known = of_kind[of_kind["measured_mib"].notna()]
    name = faiss_common.kind_words(*kind)
    number = faiss_common.segments(int(of_kind["segments"].max()))
    if KEEP not in known.index:
        least = known["measured_mib"].astype(float)
        if least.empty:
            return f"No alternative for {number} of {name} completed", ""
        return f"{number} of {name} need least with: {least.idxmin()} ({faiss_common.size(least.min())})", ""
    keep, others = known.loc[[KEEP]].iloc[0], known.drop(index=KEEP).reset_index()
    title = f"{number} of {name} take {faiss_common.size(float(keep['measured_mib']))} with a table each"
    if others.empty:
        return f"{title}; nothing else completed", ""
    apart = (others["measured_low_mib"] > keep["measured_high_mib"]) | (
        others["measured_high_mib"] < keep["measured_low_mib"]
    )
    said = [
        f"{row.alternative} {faiss_common.size(row.measured_mib)}"
        + ("" if pd.isna(row.search_by_keep) else f" (search {row.search_by_keep:.2f} times as long)")
        for row in common.each_row(others[apart].sort_values("measured_mib", kind="stable"))
    ]
    same = list(others.loc[~apart, "alternative"])
    title += "".join(f"; {words}" for words in said)
    if same:
        title += f"; {common.listed(same)} save{'s' * (len(same) == 1)} nothing"
    if int(known["runs"].min()) < 2:
        return title, "Differences in memory are not backed by repeats."
    return (
        title,
        "Differences in memory are named where they are beyond the spread of processes." if said else "",
    )


def _notes(rows: pd.DataFrame, kinds: list[tuple[str, str]]) -> list[str]:
    notes = []
    shown = pd.concat([faiss_common.of_kind(rows, kind) for kind in kinds])
    unequal = shown[(~shown["results_equal"].astype("boolean")).fillna(False)]
    if len(unequal):
        named = [
            f"{row.alternative} ({faiss_common.kind_words(row.index_type, row.metric)})"
            for row in common.each_row(unequal)
        ]
        notes.append(f"Other results than keep’s, beyond rounding: {common.listed(named)}.")
    elif shown["results_equal"].notna().any():
        notes.append("All that could be tried finds what keep finds, up to rounding.")
    closed = shown[(~shown["can_add"].astype("boolean")).fillna(False)]
    if len(closed):
        words: dict[str, list[str]] = {}
        for row in common.each_row(closed):
            words.setdefault(str(row.alternative), []).append(
                faiss_common.kind_words(row.index_type, row.metric)
            )
        named = [f"{name} ({common.listed(of_kinds)})" for name, of_kinds in words.items()]
        notes.append(f"No vectors can be added any more: {common.listed(named)}.")
    return notes


def _without_choice(rows: pd.DataFrame, kinds: list[tuple[str, str]]) -> str:
    """A sentence on the indexes of which nothing but keep is possible, and why."""
    words: dict[str, list[str]] = {}
    for kind in faiss_common.kinds_of(rows):
        if kind in kinds:
            continue
        reasons = [
            str(text).rstrip(".") for text in common.unique(faiss_common.of_kind(rows, kind)["reason"])
        ]
        reason = reasons[0] if reasons else "no reason is given"
        words.setdefault(reason, []).append(faiss_common.kind_words(*kind))
    return " ".join(
        f"Nothing to choose for {common.listed(of_reason)}: {reason}." for reason, of_reason in words.items()
    )


def _conditions(rows: pd.DataFrame) -> str:
    runs = rows.loc[rows["runs"] > 0, "runs"]
    each = common.range_words(int(runs.min()), int(runs.max()), "d") if len(runs) else "no"
    return f"{faiss_common.geometry_words(rows)} · {each} process{'es' * (each != '1')} for each alternative"
