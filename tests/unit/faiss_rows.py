"""Made-up rows of faiss_tables in the schemas of results/tables, with known numbers.

Sizes come from the formulas of one geometry (SYSTEMS of the RFC: 4 bytes × nlist × pq_m × 2^code_size for the table of
IVFPQ with L2, 4 × pq_m × 4^code_size for the SDC table of HNSWPQ); what is "measured" is the formula and one percent,
a little more in each repeat. Nothing here was measured.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from indexscope import schemas

Row = dict[str, Any]
Tables = dict[str, list[Row]]

NAMES = [*schemas.FAISS_TABLES, *schemas.FAISS_RFC_TABLES]
INDEX_TYPES = ["ivf_flat", "hnsw_pq", "ivf_pq"]
METRICS = ["l2", "inner_product"]
SEGMENTS = [1, 2, 5, 10, 20, 50, 100]
MODES = ["default", "skip", "shared"]
ALTERNATIVES = ["keep", "disable", "serialise with the model", "initialise from the model index", "share"]
NO_TABLE = "this index has no table that is computed at load"
_MIB = 1 << 20


class Geometry(NamedTuple):
    dim: int = 64
    nlist: int = 256
    pq_m: int = 16
    code_size: int = 8
    hnsw_m: int = 16
    vectors: int = 4000


SMALL = Geometry()
RFC = Geometry(128, 2048, 64, 8, 16, 10_000)


def frame(name: str, rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """The rows as the table `name`, as a figure reads it."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schemas.TABLES[name]).to_pandas()


def write(directory: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> Path:
    """Write all tables of faiss_tables into `directory`, empty where `tables` has none; returns the directory."""
    for name in NAMES:
        schemas.write_table(tables.get(name, ()), schemas.TABLES[name], directory / f"{name}.parquet")
    return directory


def table_mib(index_type: str, metric: str, geometry: Geometry = SMALL) -> float:
    """The table that one segment computes at load, in MiB."""
    if index_type == "ivf_pq" and metric == "l2":
        return 4 * geometry.nlist * geometry.pq_m * 2**geometry.code_size / _MIB
    if index_type == "hnsw_pq":
        return 4 * geometry.pq_m * 4**geometry.code_size / _MIB
    return 0.0


def parts(index_type: str, metric: str, segments: int, mode: str, geometry: Geometry = SMALL) -> Row:
    """The columns *_mib of the formula."""
    inverted, quantized = index_type != "hnsw_pq", index_type != "ivf_flat"
    code = (geometry.pq_m * geometry.code_size // 8) if quantized else 4 * geometry.dim
    each = {
        "centroids_mib": 4 * geometry.nlist * geometry.dim / _MIB if inverted else 0.0,
        "pq_centroids_mib": 4 * 2**geometry.code_size * geometry.dim / _MIB if quantized else 0.0,
        "codes_mib": code * geometry.vectors / _MIB,
        "ids_mib": 8 * geometry.vectors / _MIB if inverted else 0.0,
        "graph_mib": 0.0 if inverted else (8 + 8 * geometry.hnsw_m) * geometry.vectors / _MIB,
        "containers_mib": 0.02,
    }
    found = {name: segments * value for name, value in each.items()}
    table = table_mib(index_type, metric, geometry)
    found["tables_mib"] = table * {"default": segments, "skip": 0, "shared": 1}[mode]
    redundant = (segments - 1) * (each["centroids_mib"] + each["pq_centroids_mib"])
    redundant += (segments - 1) * table if mode == "default" else 0.0
    return {**found, "formula_mib": sum(found.values()), "redundant_mib": redundant}


def cell(
    index_type: str,
    metric: str,
    segments: int,
    mode: str,
    *,
    grid: str = "grid",
    geometry: Geometry = SMALL,
) -> Row:
    inverted, quantized = index_type != "hnsw_pq", index_type != "ivf_flat"
    return {
        "grid": grid,
        "index_type": index_type,
        "metric": metric,
        "dim": geometry.dim,
        "nlist": geometry.nlist if inverted else None,
        "pq_m": geometry.pq_m if quantized else None,
        "code_size": geometry.code_size if quantized else None,
        "hnsw_m": None if inverted else geometry.hnsw_m,
        "vectors_per_segment": geometry.vectors,
        "segments": segments,
        "load_mode": mode,
    }


def process(
    index_type: str,
    metric: str,
    segments: int,
    mode: str,
    repeat: int = 1,
    *,
    outcome: str = "completed",
    grid: str = "grid",
    geometry: Geometry = SMALL,
    **columns: Any,
) -> Row:
    """A row of faiss_memory: a process that measured one percent more than the formula, and 0.1 % a repeat."""
    made = parts(index_type, metric, segments, mode, geometry)
    row = {
        **cell(index_type, metric, segments, mode, grid=grid, geometry=geometry),
        **made,
        "repeat": repeat,
        "outcome": outcome,
        "cpu_model": "AMD EPYC 9554",
        "cpu_count": 2,
        "memory_total_mib": 16_000.0,
        "kernel": "6.18.5",
        "lock_digest": "0a1b2c3d",
        "git_commit": "abcdef1",
        "started_at": datetime.datetime(2026, 1, 2, 3, 4, repeat % 60, tzinfo=datetime.UTC),
    }
    if outcome == "completed":
        measured = made["formula_mib"] * (1.01 + 0.001 * (repeat - 1))
        row |= {
            "file_mib": made["formula_mib"] - made["tables_mib"] - made["containers_mib"],
            "measured_mib": measured,
            "measured_anon_mib": 0.99 * measured,
            "measured_file_pages_mib": 0.01 * measured,
            "warm_measured_mib": 1.002 * measured,
            "baseline_pss_mib": 60.0,
            "tree_peak_rss_mib": measured + 65,
            "load_seconds": 0.002 * segments + 0.01 * made["tables_mib"],
            "first_search_seconds": 0.001 * segments,
            "results_digest": hashlib.sha256(f"{index_type}{metric}{segments}".encode()).hexdigest()[:16],
            "faiss_version": "1.15.1",
        }
    return row | columns


def memory(
    index_types: Sequence[str] = tuple(INDEX_TYPES),
    metrics: Sequence[str] = tuple(METRICS),
    segments: Sequence[int] = tuple(SEGMENTS),
    modes: Sequence[str] = tuple(MODES),
    repeats: int = 3,
    **columns: Any,
) -> list[Row]:
    """Rows of faiss_memory: the whole grid."""
    return [
        process(index_type, metric, number, mode, repeat, **columns)
        for index_type in index_types
        for metric in metrics
        for number in segments
        for mode in modes
        for repeat in range(1, repeats + 1)
    ]


def rfc_memory(outcome: str = "out_of_memory_host") -> list[Row]:
    """Rows of faiss_rfc_memory; the default mode ended as `outcome`."""
    limit = 18_000
    detail = f"memory_limit_mib: {limit} was passed" if outcome != "completed" else None
    return [
        process(
            "ivf_pq", "l2", 100, mode, grid="rfc", geometry=RFC, memory_limit_mib=limit,
            outcome=outcome if mode == "default" else "completed",
            outcome_detail=detail if mode == "default" else None,
        )
        for mode in MODES
    ]  # fmt: skip


def estimates(rows: Iterable[Row]) -> list[Row]:
    """Rows of faiss_estimates of processes: ours is off by what `process` adds, the others by what they leave out."""
    found = []
    columns = [field.name for field in schemas.FAISS_ESTIMATES]
    of_cells: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in columns[: columns.index("estimator")])
        of_cells.setdefault(key, []).append(row)
    for group in of_cells.values():
        row = group[0]
        measured = sorted(each["measured_mib"] for each in group if each.get("measured_mib") is not None)
        middle = measured[len(measured) // 2] if measured else None
        file = row["formula_mib"] - row["tables_mib"]
        flat = row["index_type"] == "ivf_flat"
        geometry = RFC if row["grid"] == "rfc" else SMALL
        table = table_mib(row["index_type"], row["metric"], geometry)
        for estimator, source, value in (
            ("formula", "ours", row["formula_mib"]),
            ("file size", "the files", file),
            ("accounting tool", "k-NN, KiB of the file", file),
            ("estimate 1", "documentation, as if there were one segment", 1.1 * row["codes_mib"]),
            ("estimate 3", "k-NN#1507, end state", None if flat else 1.1 * (file + table)),
            ("estimate 4", "k-NN#1507, before", None if flat else 1.1 * (file + row["segments"] * table)),
        ):
            found.append(
                {
                    **{name: row.get(name) for name in columns[: columns.index("estimator")]},
                    "estimator": estimator,
                    "source": source,
                    "estimated_mib": value,
                    "measured_mib": middle,
                    "measured_low_mib": measured[0] if measured else None,
                    "measured_high_mib": measured[-1] if measured else None,
                    "runs": len(measured),
                    "error": None if middle is None or value is None else value / middle - 1,
                }
            )
    return found


def alternative(index_type: str, metric: str, name: str, segments: int = 20, **columns: Any) -> Row:
    """A row of faiss_alternatives."""
    table = table_mib(index_type, metric)
    row = {
        key: value
        for key, value in cell(index_type, metric, segments, "default").items()
        if key not in ("grid", "load_mode")
    }
    row["alternative"] = name
    if not table and name != "keep":
        return row | {"possible": False, "reason": NO_TABLE, "runs": 0} | columns
    copies = {"disable": 0, "share": 1}.get(name, segments)
    base = parts(index_type, metric, segments, "skip")["formula_mib"]
    measured = base + copies * table
    ratio = {"keep": 1.0, "disable": 1.4 if index_type == "ivf_pq" else 1.0}.get(name, 1.01)
    return {
        **row,
        "possible": True,
        "runs": 3,
        "measured_mib": measured,
        "measured_low_mib": 0.99 * measured,
        "measured_high_mib": 1.01 * measured,
        "tables_mib": copies * table,
        "extra_file_mib": table if name == "serialise with the model" else 0.0,
        "load_seconds": 0.05 + 0.004 * copies * table,
        "search_p50_ms": 0.08 * ratio,
        "search_by_keep": ratio,
        "search_by_keep_low": 0.97 * ratio,
        "search_by_keep_high": 1.03 * ratio,
        "results_equal": True,
        "largest_difference": 1e-7 if name == "disable" else 0.0,
        "can_add": not (index_type == "hnsw_pq" and name == "disable"),
    } | columns  # fmt: skip


def alternatives() -> list[Row]:
    return [
        alternative(index_type, metric, name)
        for index_type in INDEX_TYPES
        for metric in METRICS
        for name in ALTERNATIVES
    ]


LIST_LENGTHS, NPROBES, ROUNDS = [4, 32, 256, 1024], [1, 4, 16, 64], 6
WAYS = ["with", "without", "shared"]
# With by without at each list length: the table is slower below, faster above.
RATIOS = {4: 1.25, 32: 1.1, 256: 0.8, 1024: 0.6}
BREAK_EVEN = 64.0  # where a line between 1.1 and 0.8 over the logarithm of the length passes 1
_QUANTILES = {"p50": 1.0, "p90": 1.3, "p99": 2.0}


def _point(index_type: str, length: int | None, nprobe: int | None) -> Row:
    inverted = index_type == "ivf_pq"
    return {
        "index_type": index_type,
        "dim": SMALL.dim,
        "nlist": SMALL.nlist if inverted else None,
        "pq_m": SMALL.pq_m,
        "code_size": SMALL.code_size,
        "list_length": float(length) if length else None,
        "vectors": SMALL.nlist * length if length else SMALL.vectors,
        "nprobe": nprobe,
        "queries": 100,
    }


def _points() -> list[tuple[str, int | None, int | None]]:
    grid = [("ivf_pq", length, nprobe) for nprobe in NPROBES for length in LIST_LENGTHS]
    return [*grid, ("hnsw_pq", None, None)]


def latency() -> list[Row]:
    """Rows of faiss_latency."""
    found = []
    for index_type, length, nprobe in _points():
        without = 0.05 + 1e-4 * (length or 200) * (nprobe or 1)
        ratio = RATIOS[length] if length else 1.0
        for number in range(1, ROUNDS + 1):
            for way in WAYS:
                middle = without * (1.0 if way == "without" else ratio) * (1 + 0.002 * number)
                found.append(
                    {
                        **_point(index_type, length, nprobe),
                        "way": way,
                        "round": number,
                        **{f"{name}_ms": middle * factor for name, factor in _QUANTILES.items()},
                        "overhead_ms": 0.0021,
                        "results_digest": f"{index_type}-{length}-{nprobe}-{way == 'without'}",
                        "agreement": "equal to rounding" if way == "without" and length else "identical",
                        "largest_difference": 1e-7 if way == "without" and length else 0.0,
                    }
                )
    return found


def break_even(
    ratios: Mapping[int, float] = RATIOS, break_even_length: float | None = BREAK_EVEN
) -> list[Row]:
    """Rows of faiss_break_even."""
    found = []
    for index_type, length, nprobe in _points():
        without = 0.05 + 1e-4 * (length or 200) * (nprobe or 1)
        for compared in ("with by without", "shared by with"):
            ratio = (ratios[length] if length else 1.0) if compared == "with by without" else 1.0
            for quantile, factor in _QUANTILES.items():
                low, high = 0.97 * ratio, 1.03 * ratio
                found.append(
                    {
                        **_point(index_type, length, nprobe),
                        "compared": compared,
                        "quantile": quantile,
                        "rounds": ROUNDS,
                        "ratio": ratio,
                        "ratio_low": low,
                        "ratio_high": high,
                        "saved_ms": without * factor * (1 - ratio),
                        "table_mib": table_mib(index_type, "l2"),
                        "verdict": "no difference"
                        if low <= 1 <= high
                        else "faster"
                        if ratio < 1
                        else "slower",
                        "break_even_list_length": break_even_length
                        if compared == "with by without" and length
                        else None,
                        "break_even_nprobe": None,
                        "agreement": "equal to rounding"
                        if compared == "with by without" and length
                        else "identical",
                    }
                )
    return found


def published(measured: bool = False) -> list[Row]:
    """Rows of faiss_published."""
    found = []
    for source, nlist, pq_m, segments in (
        ("RFC k-NN#1507", 2048, 64, 100),
        ("faiss#3246", None, 64, 500),
        ("k-NN#1301", 4096, 192, 590),
    ):
        each = (4 * nlist * pq_m * 256 if nlist else 4 * pq_m * 256 * 256) / _MIB
        for quantity, copies in (("tables before", segments), ("tables after", 1 if nlist else 0)):
            ran = measured and source.startswith("RFC")
            found.append(
                {
                    "source": source,
                    "quantity": quantity,
                    "nlist": nlist,
                    "pq_m": pq_m,
                    "code_size": 8,
                    "segments": segments,
                    "published_mib": copies * each,
                    "formula_mib": copies * each,
                    "measured_mib": 1.01 * copies * each if ran else None,
                    "verdict": "reproduced" if ran else "not run here",
                }
            )
    return found


def study() -> Tables:
    """All tables of the default configuration, and of the RFC's segments where the default mode was ended."""
    rows = memory()
    rfc = rfc_memory()
    return {
        "faiss_memory": rows,
        "faiss_estimates": estimates(rows),
        "faiss_alternatives": alternatives(),
        "faiss_latency": latency(),
        "faiss_break_even": break_even(),
        "faiss_published": published(),
        "faiss_rfc_memory": rfc,
        "faiss_rfc_estimates": estimates(rfc),
    }
