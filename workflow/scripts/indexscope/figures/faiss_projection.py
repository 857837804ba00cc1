"""Table memory before and after sharing: as published, by formula, and as measured here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from . import common, faiss_common
from .common import Figure

TITLE = "Table memory before and after sharing"
PUBLISHED, FORMULA, MEASURED = "published", "by formula", "measured here"
BEFORE, AFTER = "before", "after"
_CAPTION = (
    "A row is a set of segments, published ones above, ours below: the memory of tables alone, before (a table for "
    "each segment) and after (one for all, or none where search does not use it), on a logarithmic axis. Measured "
    "here is the difference of medians between a load mode and skip, which loads the same segments without a table; "
    "of published rows, what was measured where these very segments were run. Rows of other sizes than ours are not "
    "expected to agree with ours, but each with its own formula. A memory of zero is drawn at the left edge."
)
_COLUMNS = [
    "row", "source", "quantity", "side", "nlist", "pq_m", "code_size", "segments", "what", "mib", "published_mib",
    "formula_mib", "measured_mib", "verdict",
]  # fmt: skip
_SHAPES = {PUBLISHED: "diamond", FORMULA: "M0,-1L0,1", MEASURED: "circle"}
_SIDE_COLOURS = {BEFORE: faiss_common.MODE_COLOURS["default"], AFTER: faiss_common.MODE_COLOURS["shared"]}
_OTHER = "neither"
_WIDTH, _ROW = 560, 34


def draw(published: pd.DataFrame, memory: pd.DataFrame) -> Figure:
    """Args: the tables faiss_published and faiss_memory."""
    rows = pd.concat([_published(published), _ours(memory)], ignore_index=True)
    rows = rows[rows["mib"].notna()]
    if rows.empty:
        return common.nothing_to_draw(TITLE, "Nothing is published, and no table was measured.", _COLUMNS)
    title, support = _finding(published, rows)
    conditions = faiss_common.conditions(memory)
    return Figure(
        _chart(rows), rows.reindex(columns=_COLUMNS), title, f"Ours: {conditions}" if conditions else "", support,
        _notes(published, rows), _CAPTION, width=1000,
    )  # fmt: skip


def side_of(quantity: str) -> str:
    """Whether a published quantity is of tables before or after they are shared."""
    words = quantity.lower()
    return BEFORE if "before" in words or "redundant" in words else AFTER if "after" in words else _OTHER


def _geometry(row: Any) -> str:
    parts = [
        f"nlist {row.nlist:,.0f}" if pd.notna(row.nlist) else "",
        f"m {row.pq_m:,.0f}" if pd.notna(row.pq_m) else "",
        f"{row.code_size:.0f} bits" if pd.notna(row.code_size) else "",
        faiss_common.segments(int(row.segments)) if pd.notna(row.segments) else "",
    ]
    return ", ".join(part for part in parts if part)


def _published(published: pd.DataFrame) -> pd.DataFrame:
    """A row for each published number, and for formula and measurement beside it."""
    found = []
    for row in common.each_row(published):
        for what, value in (
            (PUBLISHED, row.published_mib), (FORMULA, row.formula_mib), (MEASURED, row.measured_mib)
        ):  # fmt: skip
            found.append(
                {
                    "row": f"{row.source}: {_geometry(row)}", "source": row.source, "quantity": row.quantity,
                    "side": side_of(str(row.quantity)), "nlist": row.nlist, "pq_m": row.pq_m,
                    "code_size": row.code_size, "segments": row.segments, "what": what, "mib": value,
                    "published_mib": row.published_mib, "formula_mib": row.formula_mib,
                    "measured_mib": row.measured_mib, "verdict": row.verdict,
                }
            )  # fmt: skip
    return pd.DataFrame(found, columns=_COLUMNS)


def _ours(memory: pd.DataFrame) -> pd.DataFrame:
    """The tables of our segments at the most of them: by formula, and as modes differ from skip."""
    found: list[dict[str, Any]] = []
    if memory.empty:
        return pd.DataFrame(found, columns=_COLUMNS)
    cells = faiss_common.cells(memory)
    for kind in faiss_common.kinds_of(cells):
        of_kind = faiss_common.of_kind(cells, kind)
        if not faiss_common.has_table(of_kind):
            continue
        last = faiss_common.most_segments(of_kind)
        without = last.loc[last["load_mode"] == "skip", "measured_mib"]
        base = float(without.iloc[0]) if len(without) else float("nan")
        for row in common.each_row(last[last["load_mode"].isin(["default", "shared"])]):
            told = f"here, {faiss_common.kind_words(*kind)}"
            for what, value in ((FORMULA, row.tables_mib), (MEASURED, row.measured_mib - base)):
                found.append(
                    {
                        "row": f"{told}: {_geometry(row)}", "source": told, "quantity": f"tables, {row.load_mode} mode",
                        "side": BEFORE if row.load_mode == "default" else AFTER, "nlist": row.nlist,
                        "pq_m": row.pq_m, "code_size": row.code_size, "segments": row.segments, "what": what,
                        "mib": value, "formula_mib": row.tables_mib, "measured_mib": row.measured_mib - base,
                        "verdict": "",
                    }
                )  # fmt: skip
    return pd.DataFrame(found, columns=_COLUMNS)


def _chart(rows: pd.DataFrame) -> common.Chart:
    above = rows.loc[rows["mib"] > 0, "mib"].astype(float)
    high = float(above.max()) if len(above) else 1.0
    low = float(above.min()) if len(above) else 0.1
    if (rows["mib"] <= 0).any():
        low /= 4
    rows = rows.assign(drawn=rows["mib"].astype(float).clip(lower=low))
    scale = faiss_common.log_scale(low, high, 1.5)
    order = common.unique(rows["row"])
    axis = alt.Axis(
        values=_binary_ticks(*scale.domain),
        labelExpr="datum.value >= 1024 ? format(datum.value / 1024, ',') + ' GiB' : format(datum.value, '~g') + ' MiB'",
    )
    y = alt.Y(
        "row:N",
        sort=order,
        scale=alt.Scale(domain=order),
        title=None,
        axis=alt.Axis(domain=False, ticks=False, grid=True, labelLimit=430),
    )

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=axis, title="memory of tables (logarithmic)")

    sides = [side for side in (BEFORE, AFTER, _OTHER) if side in set(rows["side"])]
    colour = alt.Color(
        "side:N",
        scale=alt.Scale(domain=sides, range=[_SIDE_COLOURS.get(side, common.INK) for side in sides]),
        legend=faiss_common.words_legend(
            {BEFORE: "before: a table for each segment", AFTER: "after: one for all, or none"}, 3
        ),
    )
    kinds = [kind for kind in _SHAPES if kind in set(rows["what"])]
    shape = alt.Shape(
        "what:N",
        scale=alt.Scale(domain=kinds, range=[_SHAPES[kind] for kind in kinds]),
        legend=faiss_common.shape_legend(),
    )
    spans = (
        rows[rows["side"].isin([BEFORE, AFTER])]
        .groupby("row", sort=False)["drawn"]
        .agg(["min", "max"])
        .reset_index()
    )
    span = (
        alt.Chart(spans)
        .mark_rule(color="#BDBDBD", strokeWidth=2, aria=False)
        .encode(x=x("min"), x2="max:Q", y=y)
    )
    tooltip = [
        "source:N", "quantity:N", alt.Tooltip("what:N"), alt.Tooltip("mib:Q", title="MiB", format=",.4g"),
        alt.Tooltip("segments:Q", format=","), "verdict:N",
    ]  # fmt: skip
    layers: list[alt.Chart] = [span]
    for kind, size, width in ((FORMULA, 420, 2.2), (PUBLISHED, 120, 1.7), (MEASURED, 50, 1.7)):
        of_kind = rows[rows["what"] == kind]
        if len(of_kind):
            layers.append(
                alt.Chart(
                    of_kind[
                        ["row", "source", "quantity", "side", "what", "mib", "drawn", "segments", "verdict"]
                    ]
                )
                .mark_point(size=size, strokeWidth=width, filled=kind == MEASURED, opacity=1, aria=False)
                .encode(x=x("drawn"), y=y, color=colour, shape=shape, tooltip=tooltip)
            )
    return alt.layer(*layers, _numbers(rows, order, y)).properties(width=_WIDTH, height=_ROW * len(order))


def _binary_ticks(low: float, high: float) -> list[float]:
    """Powers of four, of which those above 1,024 MiB are whole GiB."""
    ticks = [4.0**power for power in range(-6, 14) if low <= 4.0**power <= high]
    return ticks[::2] if len(ticks) > 9 else ticks


def _numbers(rows: pd.DataFrame, order: Sequence[str], y: alt.Y) -> alt.Chart:
    """At the right of each row: before → after, measured where it was, else published, else by formula."""
    said = []
    for name in order:
        of_row = rows[rows["row"] == name]
        parts = []
        for side in (BEFORE, AFTER, _OTHER):
            of_side = of_row[of_row["side"] == side].set_index("what")["mib"]
            known = [kind for kind in (MEASURED, PUBLISHED, FORMULA) if kind in of_side.index]
            if known:
                value = of_side.loc[[known[0]]].iloc[0]
                parts.append(faiss_common.size(float(value)))
        said.append([name, " → ".join(parts)])
    base = alt.Chart(pd.DataFrame(said, columns=["row", "words"])).encode(y=y)
    chart: alt.Chart = base.mark_text(align="left", dx=8, fontSize=11, color=common.INK, aria=False).encode(
        x=alt.value(_WIDTH), text="words:N"
    )
    return chart


# Words


def _finding(published: pd.DataFrame, rows: pd.DataFrame) -> tuple[str, str]:
    """Whether the published projection is what the formula says, and whether it was measured."""
    sides = pd.Series(
        [side_of(str(name)) for name in published["quantity"]], index=published.index, dtype=object
    )
    before = published[sides == BEFORE]
    support = _agreement(rows)
    if before.empty:
        ours = rows[(rows["side"] == BEFORE) & (rows["what"] == FORMULA)]
        if ours.empty:
            return f"{TITLE}: nothing was published of it", support
        row = ours.iloc[int(ours["mib"].astype(float).to_numpy().argmax())]
        return f"{faiss_common.size(float(row['mib']))} of tables, {row['row']}, by formula", support
    first = before.iloc[0]
    after = published[(sides == AFTER) & (published["source"] == first["source"])]
    numbers = faiss_common.size(float(first["published_mib"]))
    if len(after):
        numbers += f" before, {faiss_common.size(float(after['published_mib'].iloc[0]))} after"
    known = published.dropna(subset=["formula_mib"])
    off = (known["formula_mib"] - known["published_mib"]).abs() / known["published_mib"].clip(lower=1e-9)
    agreeing = int((off <= faiss_common.GOAL).sum())
    measured = published["measured_mib"].notna()
    title = (
        f"The formula gives {agreeing} of {len(known)} published numbers of table memory "
        f"({first['source']}: {numbers}); "
    )
    if not measured.any():
        return title + "their segments were not run here", support
    reproduced = int((published["verdict"] == "reproduced").sum())
    return title + f"{reproduced} of {int(measured.sum())} that were run here are reproduced", support


def _agreement(rows: pd.DataFrame) -> str:
    """How far what was measured here is from the formula."""
    ours = rows[rows["source"].astype(str).str.startswith("here, ")]
    wide = ours.pivot_table(
        index=["row", "quantity"], columns="what", values="mib", aggfunc="first", sort=False
    )
    if MEASURED not in wide or FORMULA not in wide:
        return "No table was measured here."
    wide = wide.dropna()
    wide = wide[wide[FORMULA].astype(float) > 0]
    if wide.empty:
        return "No table was measured here."
    errors = wide[MEASURED].astype(float) / wide[FORMULA].astype(float) - 1
    worst = int(errors.abs().to_numpy().argmax())
    return (
        f"Tables measured here are within {100 * float(errors.abs().max()):.1f} % of the formula in {len(wide)} cases "
        f"(at most {faiss_common.percent(float(errors.iloc[worst]))})."
    )


def _notes(published: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    counts = published["verdict"].value_counts(sort=False)
    notes = (
        [f"Published: {common.listed([f'{number} {verdict}' for verdict, number in counts.items()])}."]
        if len(counts)
        else []
    )
    zero = rows[(rows["mib"] <= 0) & (rows["what"] == FORMULA)]
    if len(zero):
        notes.append(
            f"None is left by formula, drawn at the left edge: {common.listed(common.unique(zero['source']))}."
        )
    return notes
