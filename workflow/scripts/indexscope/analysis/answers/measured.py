"""The tables as the questions look at them: systems at a size, the memory of their functions, words for numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from indexscope import schemas
from indexscope.run_record import COMPLETED, InputError

Row = Mapping[str, Any]

TABLES = (
    "runs",
    "spans",
    "memory_by_function",
    "memory_profiler_lines",
    "memory_comparison",
    "published_memory",
    "ledger",
)
COLBERT, RAGATOUILLE = "colbert", "ragatouille"
NONE, SPANS, MEMORY_PROFILER = "none", "spans", "memory_profiler"
_COLLECTION_INDEXER = "colbert.indexing.collection_indexer.CollectionIndexer."
INDEXER_INDEX = "colbert.indexer.Indexer.index"
PROCESS_CORPUS = "ragatouille.RAGPretrainedModel.RAGPretrainedModel._process_corpus"
ENCODE_PASSAGES = "colbert.indexing.collection_encoder.CollectionEncoder.encode_passages"
SAMPLE_EMBEDDINGS = _COLLECTION_INDEXER + "_sample_embeddings"
TRAIN, INDEX, FINALIZE = (_COLLECTION_INDEXER + name for name in ("train", "index", "finalize"))
WORK = "colbert.indexing.collection_indexer.encode"  # what ColBERT's child runs
FAISS_KMEANS = "colbert.indexing.collection_indexer.compute_faiss_kmeans"
TORCH_KMEANS = "ragatouille.models.torch_kmeans.compute_pytorch_kmeans"

MIB = 1 << 20
# The range of identical runs where none were repeated: the most of 24 to 121 MiB that was seen with the default
# allocator on two cores.
_UNREPEATED_NOISE_MIB = 121.0
# A block above malloc's threshold is a mapping of its own, which is given back as it is freed; others may be kept.
# glibc lets the threshold grow to 32 MiB (DEFAULT_MMAP_THRESHOLD_MAX); `allocator: pinned` holds it at 1 MiB.
_MAPPED_FROM_MIB = {"pinned": 1.0}
_MAPPED_FROM_MIB_BY_DEFAULT = 32.0


class Level(NamedTuple):
    """RSS (MiB) of the process that runs a function: medians of the spans of repeated runs."""

    start: float
    end: float
    peak: float
    role: str

    @property
    def kept(self) -> float:
        return self.end - self.start

    @property
    def needed(self) -> float:
        return self.peak - self.start


class Reading(NamedTuple):
    """What memory_profiler says of a function (MiB)."""

    start: float
    increment: float
    final: float


class Noise(NamedTuple):
    """By how much the peaks of identical runs differ, at most."""

    mib: float
    words: str


@dataclass(frozen=True)
class Group:
    """A system at a size: its completed runs in which no k-means failed, under all profilers."""

    name: str
    framework: str
    documents: int
    runs: Sequence[Row]
    levels: Mapping[tuple[str, int], Level] = field(default_factory=dict)  # (function, call)
    readings: Mapping[str, Reading] = field(default_factory=dict)  # by qualified name

    def fact(self, column: str) -> Any:
        """The value of a column of runs, from the first run that has one."""
        return next((run[column] for run in self.runs if run[column] is not None), None)

    def samples(self, column: str, profiler: str = NONE) -> list[float]:
        return [run[column] for run in self.runs if run["profiler"] == profiler and run[column] is not None]

    def median(self, column: str, profiler: str = NONE) -> float | None:
        samples = self.samples(column, profiler)
        return median(samples) if samples else None

    def level(self, function: str, call: int = 0) -> Level | None:
        return self.levels.get((function, call))

    def reading(self, function: str) -> Reading | None:
        return self.readings.get(function)

    def sample_mib(self, bytes_per_value: int) -> float | None:
        """What is given to k-means, as numbers of so many bytes: points x dim x bytes."""
        points, dim = self.fact("kmeans_points"), self.fact("dim")
        return None if points is None or dim is None else points * dim * bytes_per_value / MIB

    def matrix_mib(self) -> float | None:
        """A number of 4 bytes for each point and partition."""
        points, partitions = self.fact("kmeans_points"), self.fact("partitions")
        return None if points is None or partitions is None else points * partitions * 4 / MIB

    def is_mapped(self, block_mib: float) -> bool:
        """A block of this size shows in the RSS as it comes and goes."""
        return block_mib > _MAPPED_FROM_MIB.get(self.fact("allocator"), _MAPPED_FROM_MIB_BY_DEFAULT)

    def __str__(self) -> str:
        return f"{self.name}, {count(self.documents)} documents"


@dataclass(frozen=True)
class Measured:
    """Rows of the tables that questions are answered from.

    Args:
        tables: rows by the table's name, of those in TABLES; `published` are statements of the study, rows of
            config/published/memory_questions.csv.
    """

    tables: Mapping[str, Sequence[Row]]
    published: Mapping[str, Sequence[Row]] = field(default_factory=dict)  # by question
    groups: Sequence[Group] = field(init=False)
    noise: Noise = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", _groups(self.tables))
        object.__setattr__(self, "noise", _noise(self.groups))

    def rows(self, table: str) -> Sequence[Row]:
        return self.tables.get(table, ())

    def of(self, framework: str) -> list[Group]:
        return [group for group in self.groups if group.framework == framework]

    def as_shipped(self, documents: int) -> Group | None:
        """ColBERT in a child process, as it works unless it is told otherwise; other ColBERTs come after it."""
        there = [group for group in self.of(COLBERT) if group.documents == documents]
        there.sort(key=lambda group: group.fact("process_model") != "child process")
        return there[0] if there else None

    def pairs(self) -> list[tuple[Group, Group]]:
        """Each RAGatouille with ColBERT as shipped at the same size."""
        found = [(group, self.as_shipped(group.documents)) for group in self.of(RAGATOUILLE)]
        return [(group, other) for group, other in found if other is not None]

    def fair_pairs(self) -> list[tuple[Group, Group]]:
        """Each RAGatouille with the ColBERT that was given the same work in the same environment and process model."""
        return [
            (group, other)
            for group in self.of(RAGATOUILLE)
            for other in self.of(COLBERT)
            if group.documents == other.documents
            and all(
                group.fact(column) is not None and group.fact(column) == other.fact(column)
                for column in _EQUAL_WORK
            )
        ]

    def quoted(self, question: str) -> list[str]:
        """What the study or its logs say, as evidence."""
        return [
            f"config/published/memory_questions.csv: {row['statement']} ({row['source']})"
            for row in self.published.get(question, ())
        ]


_EQUAL_WORK = (
    "passages", "nbits", "index_bsize", "doc_maxlen", "kmeans_backend", "kmeans_iterations", "partitions",
    "process_model", "environment", "device",
)  # fmt: skip


def read_tables(folder: Path) -> dict[str, Sequence[Row]]:
    """Those of TABLES below `folder`.

    Raises:
        InputError: one is missing, cannot be read, or lacks a column.
    """
    tables: dict[str, Sequence[Row]] = {}
    for name in TABLES:
        path = folder / f"{name}.parquet"
        again = f"make it again (snakemake {path})"
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} cannot be read ({error}): {again}") from error
        if missing := set(schemas.TABLES[name].names) - set(table.column_names):
            raise InputError(f"{path} has no column {sorted(missing)[0]}: {again}")
        tables[name] = table.to_pylist()
    return tables


def _groups(tables: Mapping[str, Sequence[Row]]) -> list[Group]:
    runs = [
        run for run in tables.get("runs", ()) if run["outcome"] == COMPLETED and not run["kmeans_failures"]
    ]
    cells: dict[str, set[str]] = {}
    for run in runs:
        cells.setdefault(run["system"], set()).add(run["cell"])
    by_group: dict[tuple[str, str, int], list[Row]] = {}
    for run in runs:
        by_group.setdefault((run["system"], run["cell"], run["documents"]), []).append(run)
    spans = _by(tables.get("spans", ()), lambda span: span["run"])
    readings = _by(tables.get("memory_by_function", ()), lambda reading: _run_of_log(reading["log"]))
    found = []
    for (system, cell, documents), of_group in by_group.items():
        label = of_group[0]["label"] or system
        found.append(
            Group(
                name=label if len(cells[system]) == 1 else f"{label} ({cell})",
                framework=of_group[0]["framework"],
                documents=documents,
                runs=of_group,
                levels=_levels(
                    span for run in of_group if run["profiler"] == SPANS for span in spans.get(run["run"], ())
                ),
                readings=_readings(row for run in of_group for row in readings.get(run["run"], ())),
            )
        )
    return sorted(found, key=lambda group: group.documents)


def _by(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    grouped: dict[Any, list[Row]] = {}
    for row in rows:
        grouped.setdefault(key(row), []).append(row)
    return grouped


def _run_of_log(log: str) -> str:
    """The run whose directory holds a log; of a log from elsewhere its own name."""
    return log.rpartition("index_runs/")[2].rpartition("/")[0] if "index_runs/" in log else log


def _levels(spans: Iterable[Row]) -> dict[tuple[str, int], Level]:
    grouped = _by(spans, lambda span: (span["function"], span["call"]))
    return {
        key: Level(
            start=median(row["start_rss_mib"] for row in rows),
            end=median(row["end_rss_mib"] for row in rows),
            peak=median(row["peak_rss_mib"] for row in rows),
            role=rows[0]["role"],
        )
        for key, rows in grouped.items()
    }


def _readings(rows: Iterable[Row]) -> dict[str, Reading]:
    complete = (
        row
        for row in rows
        if row["attempt"] == 1
        and None not in (row["start_mib"], row["increment_mib"], row["final_mib"], row["qualified_name"])
    )
    grouped = _by(complete, lambda row: row["qualified_name"])
    return {
        name: Reading(
            *(
                median(row[column] for row in of_name)
                for column in ("start_mib", "increment_mib", "final_mib")
            )
        )
        for name, of_name in grouped.items()
    }


def _noise(groups: Iterable[Group]) -> Noise:
    ranges = [
        (max(peaks) - min(peaks), group)
        for group in groups
        if len(peaks := group.samples("tree_peak_rss_mib")) > 1
    ]
    if not ranges:
        return Noise(
            _UNREPEATED_NOISE_MIB,
            f"taken as {mib(_UNREPEATED_NOISE_MIB)}, as nothing was repeated here",
        )
    most, group = max(ranges, key=lambda each: each[0])
    return Noise(most, f"{mib(most)}, the range of the peaks of identical runs ({group})")


# Words


def count(number: float) -> str:
    return f"{number:,.0f}"


def mib(value: float) -> str:
    return f"{value:,.{0 if abs(value) >= 100 else 1}f} MiB".replace("-", "−")


def signed(value: float) -> str:
    return ("+" if value >= 0 else "") + mib(value)


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return "".join(words) if len(words) < 2 else f"{', '.join(words[:-1])} and {words[-1]}"


def at(groups: Iterable[Group]) -> str:
    """Such as `at 200 and 500 documents`."""
    sizes = sorted({group.documents for group in groups})
    return f"at {listed([count(size) for size in sizes])} documents"


def span_words(group: Group, function: str, level: Level) -> str:
    return (
        f"spans: {group}, {short(function)} ({level.role}): start {mib(level.start)}, end {mib(level.end)}, "
        f"exact peak {mib(level.peak)}"
    )


def short(function: str) -> str:
    """The class and name of a method, the name of a function."""
    owner, name = function.split(".")[-2:]
    return f"{owner}.{name}" if owner[:1].isupper() else name
