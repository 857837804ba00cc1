"""Memory against the number of segments by load mode: the formula as lines, measured processes as points."""

from __future__ import annotations

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common, faiss_common
from .common import Figure

TITLE = "Memory against segments by load mode"
_CAPTION = (
    "Each panel is an index type with one metric. Lines are the formula, from the geometry alone; each open circle is "
    "a process of its own that loaded so many segments: its memory above that of the same process just before "
    "loading. Both axes are logarithmic, so a distance upwards is a ratio. Where modes need the same their circles "
    "lie in one another and their lines on one another: default the widest, shared the narrowest. In default mode "
    "faiss computes the table of each segment at load; it is in no file. Skip computes none; shared computes one and "
    "all segments use it. × is a process that did not complete, at its memory limit where it had one, else at the "
    "formula."
)
_COLUMNS = [
    *faiss_common.CELL, "repeat", "outcome", "outcome_detail", "memory_limit_mib", *faiss_common.PARTS, "formula_mib",
    "redundant_mib", "file_mib", "measured_mib", "measured_anon_mib", "measured_file_pages_mib",
    "warm_measured_mib", "load_seconds", "results_digest",
]  # fmt: skip
_FORMULA, _PROCESS, _LOST = "formula", "a measured process", "did not complete"
_SHAPES = {_FORMULA: "stroke", _PROCESS: "circle", _LOST: faiss_common.CROSS}
_WIDTHS = {"default": 5.0, "skip": 2.8, "shared": 1.4}
_AREAS = {"default": 130, "skip": 62, "shared": 18}
_WIDTH, _HEIGHT = 300, 250


def draw(memory: pd.DataFrame) -> Figure:
    """Args: the table faiss_memory."""
    if memory.empty:
        return common.nothing_to_draw(TITLE, "No process was asked to load segments.", _COLUMNS)
    found = faiss_common.cells(memory)
    kinds = faiss_common.by_metric(faiss_common.kinds_of(memory))
    values = pd.concat([found["formula_mib"], memory["measured_mib"].dropna(), _limits(memory)])
    values = values[values > 0]
    scales = (
        faiss_common.log_scale(found["segments"].min(), found["segments"].max(), 1.3),
        faiss_common.log_scale(values.min(), values.max(), 1.35),
    )
    completed = memory["outcome"] == COMPLETED
    present = [_FORMULA] + [_PROCESS] * bool(completed.any()) + [_LOST] * bool((~completed).any())
    columns = faiss_common.columns_of(kinds)
    panels = [
        _panel(
            faiss_common.of_kind(found, kind),
            faiss_common.of_kind(memory, kind),
            kind,
            scales,
            place % columns,
            present,
        )
        for place, kind in enumerate(kinds)
    ]
    chart = alt.concat(*panels, columns=columns, spacing=22).resolve_scale(color="shared", shape="shared")
    title, support = _finding(found)
    notes = [*_notes(found, memory), faiss_common.lost_words(memory)]
    rows = memory.sort_values([*faiss_common.CELL, "repeat"], kind="stable")[_COLUMNS]
    return Figure(
        chart, rows, title, faiss_common.conditions(memory), support, [note for note in notes if note], _CAPTION,
        width=max(760, columns * (_WIDTH + 60)),
    )  # fmt: skip


def _limits(memory: pd.DataFrame) -> pd.Series:
    lost = memory[memory["outcome"] != COMPLETED]
    return lost["memory_limit_mib"].dropna().astype(float)


def _panel(
    found: pd.DataFrame,
    memory: pd.DataFrame,
    kind: tuple[str, str],
    scales: tuple[alt.Scale, alt.Scale],
    column: int,
    present: list[str],
) -> common.Chart:
    x_scale, y_scale = scales
    low, high = y_scale.domain
    x = alt.X(
        "segments:Q", scale=x_scale, title="segments in the process (logarithmic)",
        axis=alt.Axis(values=sorted(common.unique(found["segments"])), format=",d", labelOverlap="greedy"),
    )  # fmt: skip
    modes = faiss_common.modes_of(found)
    colour = alt.Color(
        "load_mode:N", scale=faiss_common.mode_scale(faiss_common.MODES), legend=faiss_common.mode_legend()
    )
    shape = alt.Shape(
        "what:N",
        scale=alt.Scale(domain=present, range=[_SHAPES[what] for what in present]),
        legend=faiss_common.shape_legend(),
    )
    axis = alt.Axis(values=faiss_common.log_ticks(low, high), format=",~g")

    def y(field: str) -> alt.Y:
        title = "memory of the segments (MiB, logarithmic)" if column == 0 else None
        return alt.Y(f"{field}:Q", scale=y_scale, axis=axis, title=title)

    # In the order of modes, so that the narrower lies on the wider.
    rank = {mode: number for number, mode in enumerate(modes)}
    formulas = found.assign(
        rank=found["load_mode"].map(rank), width=found["load_mode"].map(_WIDTHS), what=_FORMULA
    ).sort_values(["rank", "segments"])
    points = memory.assign(
        rank=memory["load_mode"].map(rank),
        area=memory["load_mode"].map(_AREAS),
        what=[_PROCESS if outcome == COMPLETED else _LOST for outcome in memory["outcome"]],
        drawn_mib=memory["measured_mib"].where(
            memory["outcome"] == COMPLETED,
            memory["memory_limit_mib"].astype(float).fillna(memory["formula_mib"]),
        ),
    ).sort_values("rank", kind="stable")
    line = alt.Chart(formulas[["segments", "load_mode", "formula_mib", "what", "width"]]).encode(
        x=x, y=y("formula_mib"), color=colour
    )
    layers = [
        line.mark_line(opacity=0.45, aria=False).encode(strokeWidth=alt.StrokeWidth("width:Q", scale=None)),
        line.mark_point(size=150, strokeWidth=1.4, aria=False).encode(shape=shape),  # of one number there is no line
        alt.Chart(points.loc[points["drawn_mib"] > 0, _POINT])
        .mark_point(strokeWidth=1.6, filled=False, aria=False)
        .encode(
            x=x, y=y("drawn_mib"), color=colour, shape=shape,
            size=alt.Size("area:Q", scale=None), tooltip=_TOOLTIP
        ),
    ]  # fmt: skip
    return alt.layer(*layers).properties(
        width=_WIDTH,
        height=_HEIGHT,
        title=common.panel_title(faiss_common.kind_heading(*kind), [_panel_words(found)]),
    )


_POINT = [
    "area", "segments", "load_mode", "repeat", "outcome", "what", "drawn_mib", "formula_mib", "tables_mib",
    "redundant_mib", "warm_measured_mib",
]  # fmt: skip
_TOOLTIP = [
    alt.Tooltip("load_mode:N", title="load mode"),
    alt.Tooltip("segments:Q", format=","),
    alt.Tooltip("repeat:Q"),
    alt.Tooltip("outcome:N"),
    alt.Tooltip("drawn_mib:Q", title="measured, or its limit (MiB)", format=",.2f"),
    alt.Tooltip("warm_measured_mib:Q", title="after searches (MiB)", format=",.2f"),
    alt.Tooltip("formula_mib:Q", title="formula (MiB)", format=",.2f"),
    alt.Tooltip("tables_mib:Q", title="of it tables (MiB)", format=",.2f"),
    alt.Tooltip("redundant_mib:Q", title="of it redundant (MiB)", format=",.2f"),
]


def _panel_words(found: pd.DataFrame) -> str:
    """Under a panel's heading: whether there is anything to share, and what it comes to at the most segments."""
    if not faiss_common.has_table(found):
        if set(found["load_mode"]) == {"skip"}:
            return "without its table, if it has one"
        return "no table is computed at load: nothing to share"
    last = faiss_common.most_segments(found)
    number = int(last["segments"].iloc[0])
    words = [
        f"{row.load_mode} {faiss_common.size(row.measured_mib if pd.notna(row.measured_mib) else row.formula_mib)}"
        + ("" if pd.notna(row.measured_mib) else " (formula)")
        for mode in faiss_common.modes_of(last)
        for row in common.each_row(last[last["load_mode"] == mode].head(1))
    ]
    return f"{faiss_common.segments(number)}: {', '.join(words)}"


def largest_saving(found: pd.DataFrame, by: str = "shared") -> pd.DataFrame:
    """Default mode beside `by` at the most segments where both completed, one row for each kind; largest ratio first.

    Args:
        found: of faiss_common.cells.

    Returns:
        Columns index_type, metric, segments, default_mib, other_mib, saved_mib, ratio, and separated: whether the
        ranges of the processes do not overlap (none with one process on a side).
    """
    columns = [
        "index_type",
        "metric",
        "segments",
        "default_mib",
        "other_mib",
        "saved_mib",
        "ratio",
        "separated",
    ]
    rows = []
    for kind in faiss_common.kinds_of(found):
        of_kind = faiss_common.of_kind(found, kind).dropna(subset=["measured_mib"])
        default = of_kind[of_kind["load_mode"] == "default"].set_index("segments")
        other = of_kind[of_kind["load_mode"] == by].set_index("segments")
        both = default.index.intersection(other.index)
        if both.empty or not faiss_common.has_table(of_kind):
            continue
        left, right = default.loc[both.max()], other.loc[both.max()]
        alone = min(left["runs"], right["runs"]) < 2
        rows.append(
            [
                *kind, int(both.max()), left["measured_mib"], right["measured_mib"],
                left["measured_mib"] - right["measured_mib"], left["measured_mib"] / right["measured_mib"],
                None if alone else bool(left["low_mib"] > right["high_mib"] or right["low_mib"] > left["high_mib"]),
            ]
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("ratio", ascending=False, kind="stable").reset_index(drop=True)


def _finding(found: pd.DataFrame) -> tuple[str, str]:
    """The largest saving that was measured; else what can be said of the modes that there are."""
    for by, how in (("shared", "with one shared table"), ("skip", "without")):
        saved = largest_saving(found, by)
        if saved.empty:
            continue
        row = saved.iloc[0]
        kind = faiss_common.kind_words(row["index_type"], row["metric"])
        separated = None if pd.isna(row["separated"]) else bool(row["separated"])
        numbers = f"{faiss_common.size(row['default_mib'])} beside {faiss_common.size(row['other_mib'])}"
        at = faiss_common.segments(int(row["segments"]))
        if separated is False or row["ratio"] <= 1:
            title = f"{at} of {kind} need about the same with a table each and {how}: {numbers}"
        else:
            title = (
                f"With a table each, {at} of {kind} need {faiss_common.times(row['ratio'])} the memory that they "
                f"need {how}: {numbers}"
            )
        return title, (
            f"That difference {common.spread_words(separated)}. {faiss_common.formula_errors(found)}".strip()
        )
    return _without_comparison(found)


def _without_comparison(found: pd.DataFrame) -> tuple[str, str]:
    """The title where no two modes of an index with a table completed."""
    completed = found.dropna(subset=["measured_mib"])
    support = faiss_common.formula_errors(found)
    if completed.empty:
        last = faiss_common.most_segments(found)
        row = last.iloc[int(last["formula_mib"].to_numpy().argmax())]
        return (
            f"No process completed; by formula {faiss_common.segments(int(row['segments']))} of "
            f"{faiss_common.kind_words(row['index_type'], row['metric'])} need "
            f"{faiss_common.size(row['formula_mib'])} in {row['load_mode']} mode",
            support,
        )
    last = faiss_common.most_segments(completed)
    row = last.iloc[int(last["measured_mib"].to_numpy().argmax())]
    what = (
        f"{faiss_common.segments(int(row['segments']))} of "
        f"{faiss_common.kind_words(row['index_type'], row['metric'])} take {faiss_common.size(row['measured_mib'])} "
        f"in {row['load_mode']} mode"
    )
    if row["load_mode"] == "default" and row["redundant_mib"] > 0:
        what += f", of which {faiss_common.size(row['redundant_mib'])} are redundant by formula"
    return what, support


def _notes(found: pd.DataFrame, memory: pd.DataFrame) -> list[str]:
    notes = []
    last = faiss_common.most_segments(found[found["load_mode"] == "default"])
    redundant = [
        f"{faiss_common.kind_words(row.index_type, row.metric)} {100 * row.redundant_mib / row.formula_mib:.0f} %"
        for row in common.each_row(last.sort_values("redundant_mib", ascending=False))
        if row.formula_mib > 0 and row.redundant_mib > 0
    ]
    if redundant:
        number = faiss_common.segments(int(last["segments"].iloc[0]))
        notes.append(
            f"Of what {number} hold in default mode, by formula this share equals another segment’s (tables and "
            f"centroids): {common.listed(redundant)}."
        )
    without = [
        faiss_common.kind_words(*kind)
        for kind in faiss_common.kinds_of(found)
        if not faiss_common.has_table(faiss_common.of_kind(found, kind))
    ]
    if without and "default" in set(found["load_mode"]):
        notes.append(f"{common.listed(without)}: no table is computed at load, so the modes do the same.")
    return [*notes, *results_notes(memory)]


def results_notes(memory: pd.DataFrame) -> list[str]:
    """Sentences on whether searches find the same in every mode; none where fewer than two modes completed."""
    completed = memory[(memory["outcome"] == COMPLETED) & memory["results_digest"].notna()]
    modes = faiss_common.modes_of(completed)
    if len(modes) < 2:
        return []
    wrong, rounding = faiss_common.unequal_results(memory)
    notes = []
    if wrong:
        notes.append(f"Searches do not find the same in every process: {'; '.join(wrong)}.")
    if rounding:
        kinds = common.listed(common.unique(words.partition(",")[0] for words in rounding))
        notes.append(
            f"{kinds}: distances found without the table differ from those found with it in their bits."
        )
    if not notes:
        notes.append(f"Searches find the same, to rounding, in all modes ({', '.join(modes)}) and repeats.")
    return notes
