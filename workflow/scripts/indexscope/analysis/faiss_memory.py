"""What processes measured that loaded segments, beside formulas and other ways of estimating it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from indexscope.faiss_tables import formulas
from indexscope.faiss_tables.formulas import HNSW_PQ, IVF_FLAT, IVF_PQ, L2, MIB, Geometry
from indexscope.run_record import COMPLETED, FORMAT, InputError

from .measured_rows import json_lines

Row = dict[str, Any]

_PROGRAM = "measure_faiss_memory.py"
_REMEDY = f"run {_PROGRAM} again"
_KIB = 1024
CELL = (
    "grid",
    "index_type",
    "metric",
    "dim",
    "nlist",
    "pq_m",
    "code_size",
    "hnsw_m",
    "vectors_per_segment",
    "segments",
    "load_mode",
)


# Reading


class Record(NamedTuple):
    """A line of measure_faiss_memory.py."""

    where: str  # file and line
    line: Mapping[str, Any]
    geometry: Geometry

    @property
    def kind(self) -> tuple[str, str]:
        return self.line["index_type"], self.line["metric"]

    @property
    def segments(self) -> int:
        return int(self.line["segments"])

    def cell(self) -> Row:
        """The columns that identify its cell: null where an index type has no such size."""
        index_type, geometry = self.line["index_type"], self.geometry
        without = {
            IVF_FLAT: {"pq_m", "code_size", "hnsw_m"},
            HNSW_PQ: {"nlist"},
            IVF_PQ: {"hnsw_m"},
        }[index_type]
        sizes = {name: None if name in without else size for name, size in geometry._asdict().items()}
        named = {name: self.line[name] for name in ("grid", "index_type", "metric", "segments", "load_mode")}
        return {name: {**named, **sizes}[name] for name in CELL}

    def parts(self) -> formulas.Parts:
        return formulas.memory(*self.kind, self.geometry, self.segments, self.line["load_mode"])


def read(paths: Iterable[Path]) -> list[Record]:
    """All lines of `paths`.

    Raises:
        InputError: a file cannot be read, is empty, or a line is damaged.
    """
    return [_record(line, where) for path in paths for where, line in json_lines(path, _PROGRAM)]


def _record(line: dict[str, Any], where: str) -> Record:
    try:
        if line["format"] != FORMAT:
            raise InputError(f"{where}: format: {line['format']!r} is not {FORMAT}: {_REMEDY}")
        record = Record(where, line, Geometry.of(line["geometry"]))
        for key in ("grid", "repeat", "outcome", "file_bytes"):
            line[key]
        if (line["outcome"] == COMPLETED) != isinstance(line["measured"], Mapping):
            raise InputError(
                f"{where}: outcome: {line['outcome']} does not go with what is measured: {_REMEDY}"
            )
        record.cell()
        record.parts()
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: {error} is missing or damaged: {_REMEDY}") from None
    return record


# FAISS_MEMORY


def memory_rows(records: Iterable[Record]) -> Iterator[Row]:
    """Rows of schemas.FAISS_MEMORY. Raises InputError: a measured value is missing."""
    for record in records:
        line = record.line
        row = {
            **record.cell(),
            **{name: line[name] for name in ("repeat", "outcome")},
            **{
                name: line.get(name)
                for name in ("outcome_detail", "memory_limit_mib", "lock_digest", "git_commit")
            },
            **formula_columns(record),
            "file_mib": sum(line["file_bytes"]) / MIB,
            "tree_peak_rss_mib": line.get("tree_peak_rss_mib"),
            **{
                name: line.get("hardware", {}).get(name)
                for name in ("cpu_model", "cpu_count", "memory_total_mib", "kernel")
            },
            "started_at": datetime.datetime.fromisoformat(line["started_at"])
            if line.get("started_at")
            else None,
        }
        if line["outcome"] == COMPLETED:
            try:
                row |= _measured(line["measured"]) | {"results_digest": line["results_digest"]}
            except KeyError as error:
                raise InputError(f"{record.where}: measured: {error} is missing: {_REMEDY}") from None
        yield row


def formula_columns(record: Record) -> Row:
    """The formulas of a cell, in MiB."""
    parts = record.parts()
    redundant = formulas.redundant_bytes(
        *record.kind, record.geometry, record.segments, record.line["load_mode"]
    )
    return {
        **{f"{name}_mib": size / MIB for name, size in parts._asdict().items()},
        "formula_mib": parts.total / MIB,
        "redundant_mib": redundant / MIB,
    }


def _measured(measured: Mapping[str, Any]) -> Row:
    """Differences to the process before it loaded anything. Pages of files count whole: PSS shares them out."""
    baseline, loaded, warm = (_Memory.of(measured[name]) for name in ("baseline", "loaded", "warm"))
    return {
        "measured_mib": _mib(loaded.rss - baseline.rss),
        "measured_anon_mib": _mib(loaded.anonymous - baseline.anonymous),
        "measured_file_pages_mib": _mib(loaded.file_pages - baseline.file_pages),
        "measured_pss_mib": _mib(loaded.pss - baseline.pss),
        "warm_measured_mib": _mib(warm.rss - baseline.rss),
        "baseline_pss_mib": _mib(baseline.pss),
        **{name: measured[name] for name in ("load_seconds", "first_search_seconds", "faiss_version")},
    }


class _Memory(NamedTuple):
    """KiB, as the worker wrote them."""

    pss: int
    rss: int
    anonymous: int

    @classmethod
    def of(cls, section: Mapping[str, int]) -> _Memory:
        return cls(*(section[name] for name in cls._fields))

    @property
    def file_pages(self) -> int:
        return self.rss - self.anonymous


def _mib(kib: int) -> float:
    return kib / _KIB


# FAISS_ESTIMATES


class Estimator(NamedTuple):
    """A way of estimating the memory of segments."""

    name: str
    source: str
    bytes_of: Callable[[Record], float | None]  # None: not defined for such an index


def estimate_rows(records: Sequence[Record]) -> Iterator[Row]:
    """Rows of schemas.FAISS_ESTIMATES: every estimator for every cell, beside the median of completed processes."""
    cells: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        cells.setdefault(tuple(record.cell().values()), []).append(record)
    for group in cells.values():
        values = [_measured(each.line["measured"])["measured_mib"] for each in group if each.line["measured"]]
        middle = median(values) if values else None
        for estimator in ESTIMATORS:
            estimated = estimator.bytes_of(group[0])
            mib = None if estimated is None else estimated / MIB
            yield {
                **group[0].cell(),
                "estimator": estimator.name,
                "source": estimator.source,
                "estimated_mib": mib,
                "measured_mib": middle,
                "measured_low_mib": min(values, default=None),
                "measured_high_mib": max(values, default=None),
                "runs": len(values),
                "error": None if mib is None or not middle else mib / middle - 1,
            }


def _formula(record: Record) -> float:
    return float(record.parts().total)


def _file_size(record: Record) -> float:
    return float(sum(record.line["file_bytes"]))


def _accounting_tool(record: Record) -> float:
    """k-NN's native memory manager weighs an index by its file, in whole KB and one more."""
    return float(sum((size // _KIB + 1) * _KIB for size in record.line["file_bytes"]))


_OVERHEAD = 24  # bytes a vector, "determined empirically" (k-NN#1507)
_ROOM = 1.1


def _vectors(record: Record) -> int:
    return record.segments * record.geometry.vectors_per_segment


def _pq_code(geometry: Geometry) -> float:
    return geometry.code_size / 8 * geometry.pq_m


def _pq_centroids(geometry: Geometry) -> int:
    return (1 << geometry.code_size) * 4 * geometry.dim


def _coarse_centroids(geometry: Geometry) -> int:
    return 4 * geometry.nlist * geometry.dim


def _one_index(record: Record) -> float | None:
    """As if all vectors were in one index: centroids count once, however many segments there are."""
    geometry = record.geometry
    if record.line["index_type"] == IVF_FLAT:
        return _ROOM * (4 * geometry.dim * _vectors(record) + _coarse_centroids(geometry))
    if record.line["index_type"] == IVF_PQ:
        vectors = (_pq_code(geometry) + _OVERHEAD) * _vectors(record)
        return _ROOM * (vectors + _coarse_centroids(geometry) + _pq_centroids(geometry))
    return None


def _centroids_of_each(record: Record) -> float | None:
    """Centroids count for each segment; tables do not count."""
    geometry, segments = record.geometry, record.segments
    if record.line["index_type"] != IVF_PQ:
        return None
    vectors = (_pq_code(geometry) + _OVERHEAD) * _vectors(record)
    return _ROOM * (vectors + segments * (_coarse_centroids(geometry) + _pq_centroids(geometry)))


def _end_state(record: Record) -> float | None:
    """After the fix: one table for IVFPQ with L2, none for HNSWPQ."""
    geometry, index_type = record.geometry, record.line["index_type"]
    if index_type == HNSW_PQ:
        vectors = (_pq_code(geometry) + _OVERHEAD + 8 * geometry.hnsw_m) * _vectors(record)
        return _ROOM * (vectors + record.segments * _pq_centroids(geometry))
    if index_type == IVF_PQ and record.line["metric"] == L2:
        without = _centroids_of_each(record)
        return None if without is None else without + _ROOM * _table(record)
    return None


def _before(record: Record) -> float | None:
    """Before the fix: a table for each segment, in place of what the end state has."""
    end_state = _end_state(record)
    if end_state is None:
        return None
    counted = 0 if record.line["index_type"] == HNSW_PQ else 1
    return end_state + _ROOM * (record.segments - counted) * _table(record)


def _table(record: Record) -> int:
    return formulas.table_bytes(*record.kind, record.geometry)


# Numbers are ours, in the order in which the formulas were published.
ESTIMATORS = (
    Estimator("formula", "indexscope/faiss_tables/formulas.py", _formula),
    Estimator("file size", "size of the index files", _file_size),
    Estimator(
        "accounting tool", "k-NN, IndexEntryContext.calculateSizeInKB: IndexUtil.getFileSizeInKB of each file",
        _accounting_tool,
    ),
    Estimator(
        "estimate 1",
        "OpenSearch documentation before 2.13 and k-NN#1301: all vectors in one index; centroids once, no table",
        _one_index,
    ),
    Estimator(
        "estimate 2",
        "k-NN#1301 (2023-11-27) and OpenSearch documentation since 2.13: centroids of each segment, no table",
        _centroids_of_each,
    ),
    Estimator(
        "estimate 3",
        "k-NN#1507, end state: one table for all (IVFPQ, L2; its last factor completed as 4 * nlist), none (HNSWPQ)",
        _end_state,
    ),
    Estimator(
        "estimate 4",
        "k-NN#1507, before the change: the end state, with a table of each segment by the sizes told there",
        _before,
    ),
)  # fmt: skip
