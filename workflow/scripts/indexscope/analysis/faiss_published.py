"""What was published of the memory of tables beside our formula and, where the same sizes were run, our measurement."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from indexscope.faiss_tables import formulas
from indexscope.faiss_tables.formulas import MIB, Geometry
from indexscope.run_record import COMPLETED, InputError

Row = dict[str, Any]

# Quantity → the load mode whose tables it is.
TABLES = {"tables before": formulas.DEFAULT, "tables after": formulas.SHARED}
# After the RFC no SDC table is left: a search does not read it.
_AFTER_WITHOUT_TABLE = {formulas.HNSW_PQ}
TOLERANCE = 0.02

REPRODUCED, DIFFERS, NOT_RUN = "reproduced", "differs", "not run here"
_SIZES = ("nlist", "pq_m", "code_size", "segments")
_COLUMNS = (
    "source", "quantity", "index_type", "metric", *_SIZES, "published_mib",
)  # fmt: skip


def read_facts(path: Path) -> list[Row]:
    """The rows of config/published/faiss_tables.csv; an empty size is None.

    Raises:
        InputError: the file cannot be read, or a cell is not what its column holds.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise InputError(f"{path}: lacks the column {missing[0]}; see README.md beside it")
            return [_fact(row, f"{path}: line {number}") for number, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); it is part of the repository") from None


def _fact(row: Mapping[str, str], where: str) -> Row:
    fact: Row = {name: row[name] for name in ("source", "quantity", "index_type", "metric")}
    if fact["quantity"] not in TABLES:
        raise InputError(f"{where}: quantity: {fact['quantity']!r} is not known; see README.md beside it")
    try:
        for name in _SIZES:
            fact[name] = int(row[name]) if row[name] else None
        fact["published_mib"] = float(row["published_mib"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}; see README.md beside it") from None
    return fact


def published_rows(facts: Iterable[Row], memory: Iterable[Row]) -> Iterator[Row]:
    """Rows of schemas.FAISS_PUBLISHED.

    Args:
        memory: rows of FAISS_MEMORY, of any grids.
    """
    measured = [row for row in memory if row["outcome"] == COMPLETED]
    for fact in facts:
        formula, ours = formula_mib(fact), measured_mib(fact, measured)
        yield {
            **{name: fact[name] for name in ("source", "quantity", *_SIZES, "published_mib")},
            "formula_mib": formula,
            "measured_mib": ours,
            "verdict": verdict(fact["published_mib"], formula, ours),
        }


def formula_mib(fact: Row) -> float:
    """Ours of what was published."""
    kind = fact["index_type"], fact["metric"]
    sizes = {name: fact[name] or 0 for name in ("nlist", "pq_m", "code_size")}
    table = formulas.table_bytes(*kind, Geometry(**sizes, dim=0, hnsw_m=0, vectors_per_segment=0))
    return formulas.tables_held(*kind, fact["segments"], _mode(fact)) * table / MIB


def measured_mib(fact: Row, memory: Iterable[Row]) -> float | None:
    """What was measured here at the same sizes: median above that of the mode without tables."""
    same = [
        row for row in memory if all(row[name] == fact[name] for name in ("index_type", "metric", *_SIZES))
    ]
    with_tables, without = (_median(same, mode) for mode in (_mode(fact), formulas.SKIP))
    return None if without is None or with_tables is None else with_tables - without


def _mode(fact: Row) -> str:
    mode = TABLES[fact["quantity"]]
    if mode == formulas.SHARED and fact["index_type"] in _AFTER_WITHOUT_TABLE:
        return formulas.SKIP
    return mode


def _median(rows: Iterable[Row], load_mode: str) -> float | None:
    values = [row["measured_mib"] for row in rows if row["load_mode"] == load_mode]
    return median(values) if values else None


def verdict(published: float, formula: float, measured: float | None) -> str:
    """Measured here: within 2 % of what was published or not. Otherwise the formula can only contradict it."""
    if measured is not None:
        return REPRODUCED if _near(measured, published) else DIFFERS
    return NOT_RUN if _near(formula, published) else DIFFERS


def _near(value: float, published: float) -> bool:
    return abs(value - published) <= TOLERANCE * published
