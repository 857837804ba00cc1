"""What each alternative to a table for each segment takes, and what searches cost with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from indexscope.faiss_tables.formulas import HNSW_PQ, IVF_FLAT, MIB, Geometry, table_bytes
from indexscope.run_record import COMPLETED, InputError

from .measured_rows import json_lines

PROGRAM = "measure_faiss_alternatives.py"
KEEP = "keep"
# Alternative → tables in memory: so many for each segment, and so many besides.
_TABLES = {
    KEEP: (1, 0),
    "disable": (0, 0),
    "serialise with the model": (1, 0),
    "initialise from the model index": (1, 1),
    "share": (0, 1),
}
_DIFFERENT = "different"
_RECORD = (
    "index_type", "metric", "geometry", "segments", "alternative", "possible", "reason", "processes", "p50_nanoseconds",
    "extra_file_bytes", "agreement", "largest_difference", "can_add",
)  # fmt: skip

Row = Mapping[str, Any]


def read_records(path: Path) -> list[dict[str, Any]]:
    """What measure_faiss_alternatives.py wrote.

    Raises:
        InputError: the file is missing or empty, or a line is no record of it.
    """
    found = []
    for where, record in json_lines(path, PROGRAM, _RECORD):
        if record["alternative"] not in _TABLES:
            raise InputError(
                f"{where}: alternative: {record['alternative']!r} is not known: run {PROGRAM} again"
            )
        found.append(record)
    return found


def tabulate_alternatives(records: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.FAISS_ALTERNATIVES, in the order of the records."""
    given = list(records)
    keep = {_kind(record): record["p50_nanoseconds"] for record in given if record["alternative"] == KEEP}
    for record in given:
        runs = [run for run in record["processes"] if run["outcome"] == COMPLETED]
        measured = [(run["loaded_kib"]["rss"] - run["baseline_kib"]["rss"]) / 1024 for run in runs]
        p50 = record["p50_nanoseconds"]
        ratios = [mine / other for mine, other in zip(p50, keep.get(_kind(record), []), strict=False)]
        agreement = record["agreement"]
        yield {
            **_cell(record),
            "alternative": record["alternative"],
            "possible": record["possible"],
            "reason": record["reason"] or _failure(record),
            "runs": len(runs),
            "measured_mib": median(measured) if measured else None,
            "measured_low_mib": min(measured, default=None),
            "measured_high_mib": max(measured, default=None),
            "tables_mib": _tables_mib(record),
            "extra_file_mib": None
            if record["extra_file_bytes"] is None
            else record["extra_file_bytes"] / MIB,
            "load_seconds": median(run["load_seconds"] for run in runs) if runs else None,
            "search_p50_ms": median(p50) / 1e6 if p50 else None,
            "search_by_keep": median(ratios) if ratios else None,
            "search_by_keep_low": min(ratios, default=None),
            "search_by_keep_high": max(ratios, default=None),
            "results_equal": None if agreement is None else agreement != _DIFFERENT,
            "largest_difference": record["largest_difference"],
            "can_add": record["can_add"],
        }


def _kind(record: Row) -> tuple[str, str]:
    return record["index_type"], record["metric"]


def _cell(record: Row) -> dict[str, Any]:
    """Columns that identify the segments, null where the type of index has no such size."""
    geometry, kind = record["geometry"], record["index_type"]
    lacking = {
        "nlist": {HNSW_PQ},
        "pq_m": {IVF_FLAT},
        "code_size": {IVF_FLAT},
        "hnsw_m": {IVF_FLAT, "ivf_pq"},
    }
    sizes = {name: None if kind in lacking.get(name, ()) else geometry[name] for name in Geometry._fields}
    return {"index_type": kind, "metric": record["metric"], **sizes, "segments": record["segments"]}


def _tables_mib(record: Row) -> float | None:
    """By formula: what of tables the process holds."""
    if not record["possible"]:
        return None
    size = table_bytes(record["index_type"], record["metric"], Geometry.of(record["geometry"]))
    each, besides = _TABLES[record["alternative"]]
    return float(size * (each * record["segments"] + besides) / MIB)


def _failure(record: Row) -> str | None:
    """Where an alternative that is possible has no completed run: how the first ended."""
    runs = record["processes"]
    if not runs or any(run["outcome"] == COMPLETED for run in runs):
        return None
    detail = runs[0]["outcome_detail"]
    return f"{runs[0]['outcome']}: {detail}" if detail else str(runs[0]["outcome"])
