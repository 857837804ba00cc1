"""What the figures of faiss_tables share: load modes and their colours, words, medians of cells, conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common

MODES = ["default", "skip", "shared"]
# IBM's palette (https://www.ibm.com/design/language/color), safe for colour-blind readers.
MODE_COLOURS = {"default": "#DC267F", "skip": "#FFB000", "shared": "#648FFF"}
MODE_WORDS = {
    "default": "default: a table for each segment",
    "skip": "skip: no table",
    "shared": "shared: one table for all",
}
INDEX_WORDS = {"ivf_flat": "IVF-Flat", "hnsw_pq": "HNSWPQ", "ivf_pq": "IVFPQ"}
METRIC_WORDS = {"l2": "L2", "inner_product": "inner product"}
# What a cell is but for its number of segments and its load mode.
GEOMETRY = ["dim", "nlist", "pq_m", "code_size", "hnsw_m", "vectors_per_segment"]
KIND = ["grid", "index_type", "metric", *GEOMETRY]
CELL = [*KIND, "segments", "load_mode"]
PARTS = {
    "tables_mib": "tables computed at load",
    "centroids_mib": "coarse centroids",
    "pq_centroids_mib": "centroids of the product quantizer",
    "codes_mib": "codes or vectors",
    "ids_mib": "ids",
    "graph_mib": "graph of HNSW",
    "containers_mib": "containers",
}
PART_COLOURS = {
    "tables_mib": "#EE7733",
    "centroids_mib": "#33BBEE",
    "pq_centroids_mib": "#009988",
    "codes_mib": "#0077BB",
    "ids_mib": "#A5BCD6",
    "graph_mib": "#7B6A58",
    "containers_mib": "#CFCFCF",
}
CROSS = "M-.7,-.7L.7,.7M.7,-.7L-.7,.7"  # the shape of what did not complete
OURS = "formula"  # what the estimator of this project begins with
GOAL, FROM_SEGMENTS = 0.02, 20  # the formula is to be right within 2 % from 20 segments on
RIGHT = 1.0
_PRECISION = 3


# Words


def index_words(index_type: str) -> str:
    return INDEX_WORDS.get(index_type, index_type)


def kind_words(index_type: str, metric: str) -> str:
    """Such as `IVFPQ with L2`."""
    return f"{index_words(index_type)} with {METRIC_WORDS.get(metric, metric)}"


def kind_heading(index_type: str, metric: str) -> str:
    """Such as `IVFPQ, L2`."""
    return kind_words(index_type, metric).replace(" with ", ", ")


def segments(number: int) -> str:
    return f"{number:,} segment" + ("" if number == 1 else "s")


def size(mib: float) -> str:
    """To about three digits: `0.125 MiB`, `12.5 MiB`, `520 MiB`, `12.5 GiB`."""
    if abs(mib) >= 1024:
        return f"{_digits(mib / 1024)} GiB"
    return f"{_digits(mib)} MiB"


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    places = max(0, _PRECISION - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(places, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(fraction: float, digits: int = 1) -> str:
    """With a sign and a true minus; `0.0 %` without one."""
    text = f"{100 * fraction:+.{digits}f}"
    return f"{text[1:] if not float(text) else text.replace('-', '−')} %"


def times(ratio: float) -> str:
    """Such as `4.2 times`; of ratios near 1 with more digits."""
    return f"{ratio:.3g} times" if ratio >= 1.995 else f"{ratio:.2f} times"


def milliseconds(value: float) -> str:
    """To three digits."""
    return f"{_digits(value)} ms"


def conditions(rows: pd.DataFrame) -> str:
    """One line: geometry, repeats and the machine of rows of FAISS_MEMORY."""
    if rows.empty:
        return ""
    parts = [geometry_words(rows)]
    repeats = rows.groupby(CELL, dropna=False)["repeat"].nunique()
    low, high = int(repeats.min()), int(repeats.max())
    parts.append("one process each" if high == 1 else f"{common.range_words(low, high, 'd')} processes each")
    parts += [
        f"faiss {common.listed(versions)}" for versions in [common.unique(rows["faiss_version"])] if versions
    ]
    parts += machines(rows)
    return " · ".join(part for part in parts if part)


def geometry_words(rows: pd.DataFrame) -> str:
    """Such as `10,000 vectors of 128 values a segment, 2,048 lists, 64 subquantizers of 8 bits`."""

    def told(column: str, word: str) -> str:
        numbers = sorted(common.unique(rows[column])) if column in rows else []
        return f"{' or '.join(common.count(number) for number in numbers)} {word}" if numbers else ""

    vectors, values = told("vectors_per_segment", "vectors"), told("dim", "values")
    quantizer = " of ".join(
        text for text in (told("pq_m", "subquantizers"), told("code_size", "bits")) if text
    )
    parts = [
        f"{vectors} of {values} a segment" if vectors else f"vectors of {values}",
        told("nlist", "lists"),
        quantizer,
        told("hnsw_m", "neighbours"),
    ]
    return ", ".join(part for part in parts if part)


def machines(rows: pd.DataFrame) -> list[str]:
    """The CPUs that rows were measured on."""
    known = rows[["cpu_model", "cpu_count"]].dropna().drop_duplicates()
    return [
        str(row.cpu_model).replace("(R)", "").replace("(TM)", "")
        + f", {row.cpu_count:.0f} core{'s' * (row.cpu_count != 1)}"
        for row in common.each_row(known)
    ]


# Cells


def modes_of(rows: pd.DataFrame) -> list[str]:
    """The load modes of `rows`, in the order of MODES."""
    found = common.unique(rows["load_mode"])
    return [mode for mode in [*MODES, *sorted(set(found) - set(MODES))] if mode in found]


def kinds_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Index type and metric of `rows`, types in the order of INDEX_WORDS, L2 first."""
    pairs = rows[["index_type", "metric"]].drop_duplicates()
    order = list(INDEX_WORDS)
    return sorted(
        ((str(row.index_type), str(row.metric)) for row in common.each_row(pairs)),
        key=lambda pair: (order.index(pair[0]) if pair[0] in order else len(order), pair[1] != "l2", pair[1]),
    )


def columns_of(kinds: Sequence[tuple[str, str]]) -> int:
    """How many panels stand side by side: the types of an index, metrics below one another; at most three."""
    types = {index_type for index_type, _ in kinds}
    full = len(types) * len({metric for _, metric in kinds}) == len(kinds)
    return min(3, len(types) if full else len(kinds)) or 1


def by_metric(kinds: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """`kinds` in the order of panels: one metric after the other, L2 first."""
    return sorted(kinds, key=lambda kind: (kind[1] != "l2", kind[1]))


def of_kind(rows: pd.DataFrame, kind: tuple[str, str]) -> pd.DataFrame:
    return rows[(rows["index_type"] == kind[0]) & (rows["metric"] == kind[1])]


def cells(memory: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell: its formulas, and median and range of what completed processes measured.

    Args:
        memory: rows of FAISS_MEMORY.

    Returns:
        The columns of CELL, of the formulas, and `runs` (completed processes), `measured_mib`, `low_mib`, `high_mib`,
        `load_seconds` (median), `measured_outcome` (of the first process that did not complete, where none did) and
        `error` (formula / measured − 1).
    """
    formulas = [*PARTS, "formula_mib", "redundant_mib", "file_mib", "memory_limit_mib"]
    groups = memory.groupby(CELL, dropna=False, sort=False)
    first = groups[formulas].first()
    completed = memory[memory["outcome"] == COMPLETED].groupby(CELL, dropna=False, sort=False)
    measured = completed["measured_mib"].agg(
        runs="count", measured_mib="median", low_mib="min", high_mib="max"
    )
    lost = memory[memory["outcome"] != COMPLETED].groupby(CELL, dropna=False, sort=False)["outcome"].first()
    found = (
        first.join(measured).join(completed["load_seconds"].median()).join(lost.rename("measured_outcome"))
    )
    found = found.reset_index()
    error = found["formula_mib"] / found["measured_mib"] - 1
    return found.assign(
        runs=found["runs"].fillna(0).astype(int),
        error=error,
        measured_outcome=found["measured_outcome"].where(found["measured_mib"].isna()),
    )


def has_table(rows: pd.DataFrame) -> bool:
    """Whether any mode of these cells computes a table at load: without one there is nothing to share."""
    return bool((rows["tables_mib"] > 0).any())


def most_segments(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the largest number of segments."""
    last: pd.DataFrame = rows[rows["segments"] == rows["segments"].max()]
    return last


def formula_errors(found: pd.DataFrame) -> str:
    """How far the formula is from what was measured, over cells of FROM_SEGMENTS segments or more; of all else."""
    known = found[found["error"].notna()]
    large = known[known["segments"] >= FROM_SEGMENTS]
    said = large if len(large) else known
    if said.empty:
        return ""
    worst = said.iloc[int(said["error"].abs().to_numpy().argmax())]
    within = int((said["error"].abs() <= GOAL).sum())
    where = (
        f"from {FROM_SEGMENTS} segments on"
        if len(large)
        else f"below {FROM_SEGMENTS} segments, where more than the index counts"
    )
    return (
        f"The formula is within {100 * GOAL:.0f} % of the measured median in {within} of {len(said)} cells {where}; "
        f"the largest error is {percent(worst['error'])} ({kind_words(worst['index_type'], worst['metric'])}, "
        f"{segments(int(worst['segments']))}, {worst['load_mode']})."
    )


def lost_words(memory: pd.DataFrame, marked: str = ", marked ×") -> str:
    """A sentence on processes that did not complete; empty when all did."""
    return common.incomplete_words(memory, marked).replace(" runs did", " processes did")


def unequal_results(memory: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Where searches gave other ids or distances, bit by bit, in one process than in another.

    Returns:
        Index type, metric and segments of cells that differ between repeats, or between an own and a shared table; and
        of those where only processes without the table differ: these add the same terms in another order.
    """
    known = memory[(memory["outcome"] == COMPLETED) & memory["results_digest"].notna()]
    wrong, rounding = [], []
    for key, rows in known.groupby([*KIND, "segments"], dropna=False, sort=False):
        assert isinstance(key, tuple)
        words = f"{kind_words(str(key[1]), str(key[2]))}, {segments(int(str(key[-1])))}"
        without = rows["load_mode"] == "skip"
        if any(part["results_digest"].nunique() > 1 for part in (rows[without], rows[~without])):
            wrong.append(words)
        elif rows["results_digest"].nunique() > 1:
            rounding.append(words)
    return wrong, rounding


# Charts


def heading(text: str) -> alt.TitleParams:
    """Of a panel without a second line."""
    return alt.TitleParams(text, fontSize=13, offset=6, anchor="start")


def shape_legend() -> alt.Legend:
    """Below the chart, beside a legend of colours."""
    return alt.Legend(
        orient="bottom", title=None, columns=3, columnPadding=18, symbolStrokeColor=common.INK
    )  # fmt: skip


def mode_scale(modes: Sequence[str]) -> alt.Scale:
    """The colour of each load mode, the same in every figure."""
    return alt.Scale(domain=list(modes), range=[MODE_COLOURS.get(mode, common.INK) for mode in modes])


def mode_legend(columns: int = 3) -> alt.Legend:
    return words_legend(MODE_WORDS, columns)


def words_legend(words: Mapping[str, str], columns: int) -> alt.Legend:
    """A legend below the chart that says `words` of each value."""
    told = "{" + ", ".join(f"'{name}': '{text}'" for name, text in words.items()) + "}"
    return alt.Legend(
        orient="bottom", title=None, columns=columns, columnPadding=18, symbolOpacity=1,
        labelExpr=f"({told})[datum.label] || datum.label",
    )  # fmt: skip


def log_ticks(low: float, high: float, most: int = 9) -> list[float]:
    """1, 2 and 5 times powers of ten within the domain; powers of ten alone where these are too many."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            break
    return ticks


def log_scale(low: float, high: float, room: float = 1.15) -> alt.Scale:
    """A logarithmic scale from `low` to `high`, both above zero, with some room."""
    return alt.Scale(type="log", domain=[low / room, high * room], nice=False)
