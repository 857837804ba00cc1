"""From run directories to tidy tables: one row per run, per span, and per sample of the memory curve."""

from __future__ import annotations

import io
import json
import mmap
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from indexscope import schemas
from indexscope.run_record import InputError, RunIdentity, read_run_record

_MEASURE_AGAIN = "the file is damaged; run index_collection.py again"

# Column of schemas.RUNS → where its value is in run.json. The rest is computed in run_rows.
_SOURCES: dict[str, tuple[str, ...]] = {
    **{name: ("run", name) for name in ("framework", "environment", "corpus", "checkpoint")},
    **{
        name: ("resolved", name)
        for name in (
            "device",
            "process_model",
            "passages",
            "embeddings",
            "partitions",
            "dim",
            "nbits",
            "doc_maxlen",
            "index_bsize",
            "kmeans_iterations",
            "kmeans_backend",
            "kmeans_points",
            "kmeans_attempts",
            "kmeans_failures",
            "index_size_mib",
            "index_seconds",
            "planning_seconds",
            "training_seconds",
            "encoding_seconds",
            "finalizing_seconds",
            "seconds_per_25k_passages",
            "ranks",
        )
    },
    **{
        name: ("place", name)
        for name in ("scheduler", "scheduler_job", "granted_mib", "attempt", "cores_beside")
    },
    "visible_devices": ("place", "devices"),
    **{
        name: ("memory", name)
        for name in (
            "tree_peak_rss_mib",
            "tree_peak_moment",
            "index_peak_rss_mib",
            "gpu_used_peak_mib",
            "gpu_reserved_peak_mib",
            "gpu_allocated_peak_mib",
            "gpu_others_peak_mib",
            "memray_heap_peak_mib",
            "processes",
            "samples",
            "sample_interval_seconds",
            "peaks_exact",
            "peak_error_bound_mib",
            "peak_error_observed_mib",
        )
    },
    **{f"{role}_peak_rss_mib": ("memory", "by_role", role) for role in ("parent", "worker", "manager")},
    **{
        f"{package}_version": ("versions", package)
        for package in ("python", "torch", "transformers", "ragatouille")
    },
    "colbert_version": ("versions", "colbert-ai"),
    **{name: ("hardware", name) for name in ("cpu_model", "cpu_count", "memory_total_mib", "kernel")},
    **{
        name: (name,)
        for name in (
            "outcome",
            "outcome_detail",
            "exit_code",
            "wall_seconds",
            "threads",
            "allocator",
            "lock_digest",
            "git_commit",
        )
    },
}


def listed_paths(arguments: Iterable[Path], list_file: Path | None) -> list[Path]:
    """Paths given as arguments, then those in `list_file`, one on each line.

    Raises:
        InputError: one is there twice, or the list cannot be read.
    """
    paths = list(arguments)
    if list_file is not None:
        try:
            lines = list_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{list_file} cannot be read ({error}): give a file with one path on each line"
            ) from error
        paths += [Path(line) for line in lines if line.strip()]
    if not paths:  # a configuration may have no run of a kind
        print("No input files: the table is empty.", file=sys.stderr)
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise InputError(f"{path} is given twice: name each file once")
        seen.add(path)
    return paths


def read_labels(text: str) -> dict[str, str]:
    """Parse a JSON object: system → its name for figures.

    Raises:
        InputError: it is something else.
    """
    try:
        labels = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"labels: {text!r} is not JSON ({error}): give an object of system and label"
        ) from error
    if not isinstance(labels, dict) or not all(isinstance(label, str) for label in labels.values()):
        raise InputError(f"labels: {text!r} is not an object of texts: give an object of system and label")
    return labels


def run_rows(
    paths: Iterable[Path], labels: Mapping[str, str], campaign: str | None = None
) -> Iterator[dict[str, Any]]:
    """One row of schemas.RUNS for each run.json; `labels` names systems for figures, null where it has none.

    Raises:
        InputError: a run.json is missing or damaged, or a value does not fit its column.
    """
    for path in paths:
        record = read_run_record(path)
        identity = RunIdentity.of(record["run"], path)
        row = identity.columns() | {"label": labels.get(identity.system), "campaign": campaign}
        row |= {column: _value(record, keys) for column, keys in _SOURCES.items()}
        row["faiss_version"] = _faiss_version(record)
        row["started_at"] = _started_at(record, path)
        row["earlier_attempts"] = _earlier_attempts(record, path)
        row["resumed_from"] = _resumed_from(record)
        row["jobs_beside"] = ", ".join(_value(record, ("place", "beside")) or []) or None
        gpus = _value(record, ("hardware", "gpus"))
        row["gpu_model"] = gpus[0].split(",")[0] if gpus else None
        for field in schemas.RUNS:
            _check(row[field.name], field, path)
        yield row


def span_batches(paths: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    """Rows of schemas.SPANS from spans.jsonl files; each lies beside its run.json.

    Raises:
        InputError: a run.json is missing, or a line is malformed (named by its number).
    """
    return _batches(paths, schemas.SPANS, _JSON_LINES)


def memory_curve_batches(paths: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    """Rows of schemas.MEMORY_CURVE from memory_curve.csv files; each lies beside its run.json.

    Raises:
        InputError: a run.json is missing, or a line is malformed (named by its number).
    """
    return _batches(paths, schemas.MEMORY_CURVE, _CSV)


def _value(record: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _faiss_version(record: Mapping[str, Any]) -> Any:
    # faiss-cpu, faiss-gpu and faiss-gpu-cu12 all install the module `faiss`; an environment has one of them.
    versions = record.get("versions") or {}
    return next((versions[name] for name in sorted(versions) if name.startswith("faiss")), None)


def _earlier_attempts(record: Mapping[str, Any], path: Path) -> str | None:
    """A sentence for each attempt at the run that ended without a result; null where this was the first."""
    attempts = _value(record, ("place", "earlier_attempts")) or []
    try:
        return " ".join(_sentence(number, attempt) for number, attempt in enumerate(attempts, 1)) or None
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: place.earlier_attempts: {attempts!r} cannot be read ({error}): {_MEASURE_AGAIN}"
        ) from error


def _sentence(number: int, attempt: Mapping[str, Any]) -> str:
    stage = f", in stage {attempt['stage']}" if attempt.get("stage") else ""
    job = f" as job {attempt['scheduler_job']}" if attempt.get("scheduler_job") else ""
    granted = f" with {attempt['granted_mib']:,} MiB" if attempt.get("granted_mib") else ""
    return f"Attempt {number}{job}{granted}: {attempt['how']}{stage}, last seen {attempt['last_seen_at']}."


def _resumed_from(record: Mapping[str, Any]) -> str | None:
    """The stage that was gone on with; null of a run that began anew, or that found nothing whole."""
    return _value(record, ("resumed", "from")) if _value(record, ("resumed", "kept")) else None


def _started_at(record: Mapping[str, Any], path: Path) -> datetime | None:
    text = record.get("started_at")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: started_at: {text!r} is no ISO 8601 time: {_MEASURE_AGAIN}") from error
    if moment.tzinfo is None:
        raise InputError(f"{path}: started_at: {text!r} has no time zone: {_MEASURE_AGAIN}")
    return moment


def _check(value: Any, field: pa.Field, path: Path) -> None:
    key = ".".join(_SOURCES.get(field.name, (field.name,)))
    if value is None:
        if not field.nullable:
            raise InputError(f"{path}: {key} is missing: {_MEASURE_AGAIN}")
        return
    try:
        # pyarrow turns 1.5 into the integer 1 and true into the number 1.0 without a word.
        if isinstance(value, bool) != pa.types.is_boolean(field.type):
            raise pa.ArrowInvalid
        if isinstance(value, float) and pa.types.is_integer(field.type):
            raise pa.ArrowInvalid
        pa.scalar(value, field.type)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{path}: {key}: {value!r} is not of type {field.type}: {_MEASURE_AGAIN}") from error


def _batches(paths: Iterable[Path], schema: pa.Schema, text: _Text) -> Iterator[pa.RecordBatch]:
    own = pa.schema(list(schema)[len(schemas.RUN_KEY) :])
    for path in paths:
        record_path = path.with_name("run.json")
        columns = RunIdentity.of(read_run_record(record_path)["run"], record_path).columns()
        key = [pa.scalar(columns[field.name], field.type) for field in schemas.RUN_KEY]
        content = _complete_lines(path)
        try:
            for batch in text.read(content, own):
                arrays = [*(pa.repeat(value, batch.num_rows) for value in key), *batch.columns]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except pa.ArrowInvalid as error:
            problem = _first_problem(content, own, text) or f": {error}"
            raise InputError(f"{path}{problem}: {_MEASURE_AGAIN}") from error


def _complete_lines(path: Path) -> pa.Buffer:
    """The file, mapped, without a last line that a killed process left incomplete."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return pa.py_buffer(b"")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}): {_MEASURE_AGAIN}") from error
    return pa.py_buffer(mapped).slice(0, mapped.rfind(b"\n") + 1)


def _first_problem(content: pa.Buffer, own: pa.Schema, text: _Text) -> str | None:
    """Where the first malformed line is and what is wrong with it: ":LINE: PROBLEM"."""
    file = io.BytesIO(content)
    header = b"".join(file.readline() for _ in range(text.header_lines))
    for number, line in enumerate(file, text.header_lines + 1):
        try:
            for _ in text.read(pa.py_buffer(header + line), own):
                pass
        except pa.ArrowInvalid as error:
            return f":{number}: {error}"
    return None


def _read_json(content: pa.Buffer, own: pa.Schema) -> Iterator[pa.RecordBatch]:
    if content.size == 0:  # no call was recorded
        return
    # Nullable here, because the parser's own message does not name the field that is missing.
    nullable = pa.schema([field.with_nullable(True) for field in own])
    options = pyarrow.json.ParseOptions(explicit_schema=nullable)
    yield from _conforming(pyarrow.json.open_json(pa.BufferReader(content), parse_options=options), own)


def _read_csv(content: pa.Buffer, own: pa.Schema) -> Iterator[pa.RecordBatch]:
    options = pyarrow.csv.ConvertOptions(column_types=own)
    yield from _conforming(pyarrow.csv.open_csv(pa.BufferReader(content), convert_options=options), own)


def _conforming(batches: Iterable[pa.RecordBatch], own: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batches with the columns of `own` in its order; absent columns are null where they may be."""
    for batch in batches:
        if unexpected := set(batch.schema.names) - set(own.names):
            raise pa.ArrowInvalid(f"unexpected columns {sorted(unexpected)}")
        columns = []
        for field in own:
            present = field.name in batch.schema.names
            column = batch[field.name] if present else pa.nulls(batch.num_rows, field.type)
            if column.null_count and not field.nullable:
                raise pa.ArrowInvalid(f"{field.name} is missing")
            columns.append(column)
        yield pa.RecordBatch.from_arrays(columns, schema=own)


@dataclass(frozen=True)
class _Text:
    """A text format: how many lines its header has, and how its rows become batches of a schema."""

    header_lines: int
    read: Callable[[pa.Buffer, pa.Schema], Iterator[pa.RecordBatch]]


_JSON_LINES = _Text(0, _read_json)
_CSV = _Text(1, _read_csv)
