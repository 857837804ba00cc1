"""From trainings to tidy tables: one row per training, per rank and step, and per process.

A training's folder has run.json and steps.jsonl. Of a training that did not complete what is known stays, the rest is
null.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from indexscope import schemas
from indexscope.run_record import COMPLETED, InputError

Row = dict[str, Any]

_AGAIN = "the training did not finish or the file is damaged; run measure_training.py again"
_KEY = [
    "experiment", "loader", "parallelism", "world_size", "workers", "pin_memory", "precision", "cache",
    "documents", "repeat",
]  # fmt: skip
# Column of schemas.DOCUMENT_ACCESS → where its value is in run.json. The rest is computed.
_SOURCES: dict[str, tuple[str, ...]] = {
    **{
        name: ("training", name)
        for name in (*_KEY, "device", "batch_size", "max_length", "steps", "warm_up_steps")
    },
    **{
        name: (name,)
        for name in (
            "outcome", "outcome_detail", "backend", "interconnect", "memory_limit_mib", "predicted_mib",
            "lock_digest", "git_commit",
        )
    },
    **{
        name: ("memory", name)
        for name in (
            "tree_pss_mib", "tree_peak_rss_mib", "page_cache_mib", "page_cache_start_mib", "source_mib",
        )
    },
    "torch_version": ("versions", "torch"),
    **{name: ("hardware", name) for name in ("cpu_model", "cpu_count", "memory_total_mib", "kernel")},
}  # fmt: skip
# Means over ranks and measured steps.
_MEANS = [
    field.name
    for field in schemas.DOCUMENT_ACCESS_STEPS
    if field.name.endswith("_seconds") and field.name != "started_seconds"
]
_OWN_STEPS = [field for field in schemas.DOCUMENT_ACCESS_STEPS if field.name not in {"run", *_KEY}]
_OWN_PROCESSES = [field for field in schemas.DOCUMENT_ACCESS_PROCESSES if field.name not in {"run", *_KEY}]


@dataclass(frozen=True)
class TrainingRun:
    """One training as it was recorded: a row of each table, or several."""

    path: Path  # of run.json
    record: Mapping[str, Any]
    steps: Sequence[Row]  # as steps.jsonl has them

    @property
    def name(self) -> str:
        """Its folder below document_access/runs."""
        return f"{self.path.parent.parent.name}/{self.path.parent.name}"

    @property
    def key(self) -> Row:
        content = self.record["training"]
        return {"run": self.name, **{name: content[name] for name in _KEY}}

    @property
    def completed(self) -> bool:
        return bool(self.record["outcome"] == COMPLETED)


def read_run(path: Path) -> TrainingRun:
    """Read a run.json and the steps.jsonl beside it.

    Raises:
        InputError: one is missing or damaged, or a value does not fit its column.
    """
    record = _json_object(path)
    for section in ("training", "memory", "versions", "hardware"):
        if not isinstance(record.get(section), dict):
            raise InputError(f"{path}: {section} is missing: {_AGAIN}")
    for field in schemas.DOCUMENT_ACCESS:
        if field.name in _SOURCES:
            keys = _SOURCES[field.name]
            _check(_value(record, keys), field, f"{path}: {'.'.join(keys)}")
    run = TrainingRun(path, record, _read_steps(path.with_name("steps.jsonl")))
    if run.completed:
        _check_complete(run)
    return run


def access_row(run: TrainingRun) -> Row:
    """A row of schemas.DOCUMENT_ACCESS.

    Raises:
        InputError: a value does not fit its column.
    """
    row: Row = dict.fromkeys(schemas.DOCUMENT_ACCESS.names) | {"run": run.name}
    row |= {column: _value(run.record, keys) for column, keys in _SOURCES.items()}
    row["started_at"] = _started_at(run)
    processes = run.record["memory"].get("processes") or []
    row["processes"] = len(processes) or None
    row["largest_rank_pss_mib"] = max(
        (each["pss_mib"] for each in processes if each.get("role") == "rank"), default=None
    )
    row["gpu_peak_mib"] = _largest(run, "gpu_peak_mib")
    if run.completed:
        ranks = sorted(run.record["ranks"], key=lambda rank: rank["rank"])
        row |= _of_steps(run)
        row["open_seconds"] = _largest(run, "open_seconds")
        row["time_to_first_batch_seconds"] = _largest(run, "time_to_first_batch_seconds")
        row["final_loss"] = fmean(rank["final_loss"] for rank in ranks)
        for name in ("samples_digest", "texts_digest"):
            row[name] = _of_all(rank[name] for rank in ranks)
    for field in schemas.DOCUMENT_ACCESS:
        _check(row[field.name], field, f"{run.path}: {field.name}")
    return row


def step_rows(run: TrainingRun) -> Iterator[Row]:
    """Rows of schemas.DOCUMENT_ACCESS_STEPS: what was recorded, of a training that did not complete too."""
    return ({**run.key, **step} for step in run.steps)


def process_rows(run: TrainingRun) -> Iterator[Row]:
    """Rows of schemas.DOCUMENT_ACCESS_PROCESSES.

    Raises:
        InputError: a value does not fit its column.
    """
    for process in run.record["memory"].get("processes") or []:
        own = {field.name: process.get(field.name) for field in _OWN_PROCESSES}
        for field in _OWN_PROCESSES:
            _check(own[field.name], field, f"{run.path}: memory.processes: {field.name}")
        yield {**run.key, **own}


def check_equal_work(rows: Iterable[Mapping[str, Any]]) -> None:
    """Whether all loaders gave the same texts for the same samples.

    Args:
        rows: of schemas.DOCUMENT_ACCESS.

    Raises:
        InputError: two trainings of one parallelism, world size and number of documents differ; it names both.
    """
    first: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in rows:
        if row["outcome"] != COMPLETED:
            continue
        group = tuple(
            row[name]
            for name in (
                "parallelism", "world_size", "documents", "batch_size", "max_length", "steps", "warm_up_steps",
            )
        )  # fmt: skip
        other = first.setdefault(group, row)
        for digest, what in (("samples_digest", "samples"), ("texts_digest", "texts")):
            if row[digest] != other[digest]:
                raise InputError(
                    f"the trainings {other['run']} and {row['run']} read different {what} ({other[digest]}, "
                    f"{row[digest]}), so they cannot be compared; run both again"
                )


def _of_steps(run: TrainingRun) -> Row:
    """Seconds of a step, and samples of all ranks a second, without warm-up.

    All ranks work at once: what the slowest takes from its first measured step to the end of its last counts.
    """
    measured = [step for step in run.steps if step["measured"]]
    ranks = {rank: [step for step in measured if step["rank"] == rank] for rank in _ranks(measured)}
    content = run.record["training"]
    samples = content["batch_size"] * content["world_size"] * content["steps"]
    wall = max(
        max(step["started_seconds"] + step["step_seconds"] for step in own)
        - min(step["started_seconds"] for step in own)
        for own in ranks.values()
    )
    # As the published trainers timed it: from when the batch is there.
    after_fetch = max(
        sum(step["step_seconds"] - step["wait_seconds"] for step in own) for own in ranks.values()
    )
    return {
        **{name: fmean(step[name] for step in measured) for name in _MEANS},
        "step_seconds_median": median(step["step_seconds"] for step in measured),
        "samples_per_second": samples / wall,
        "samples_per_second_after_fetch": samples / after_fetch,
    }


def _ranks(steps: Iterable[Row]) -> list[int]:
    return sorted({step["rank"] for step in steps})


def _check_complete(run: TrainingRun) -> None:
    """That each rank of a completed training told what it measured, and each of its steps is there."""
    ranks = run.record.get("ranks")
    if not isinstance(ranks, list) or not ranks:
        raise InputError(f"{run.path}: ranks is missing: {_AGAIN}")
    for rank in ranks:
        for name, kind in {
            "rank": int, "open_seconds": float, "time_to_first_batch_seconds": float, "final_loss": float,
            "samples_digest": str, "texts_digest": str,
        }.items():  # fmt: skip
            value = rank.get(name)
            if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
                raise InputError(f"{run.path}: ranks: {name}: {value!r} is no {kind.__name__}: {_AGAIN}")
    expected = run.record["training"]["steps"]
    measured = [step["rank"] for step in run.steps if step["measured"]]
    for rank in sorted(rank["rank"] for rank in ranks):
        if measured.count(rank) != expected:
            raise InputError(
                f"{run.path.with_name('steps.jsonl')}: has {measured.count(rank)} measured steps of rank {rank}, "
                f"not {expected}: {_AGAIN}"
            )


def _largest(run: TrainingRun, name: str) -> Any:
    values = [rank.get(name) for rank in run.record.get("ranks") or []]
    return max((value for value in values if value is not None), default=None)


def _of_all(digests: Iterable[str]) -> str:
    """One digest of those of all ranks, in their order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def _started_at(run: TrainingRun) -> datetime | None:
    text = run.record.get("started_at")
    try:
        return None if text is None else datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise InputError(f"{run.path}: started_at: {text!r} is no ISO 8601 time: {_AGAIN}") from None


def _json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {_AGAIN}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): {_AGAIN}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} does not hold a JSON object: {_AGAIN}")
    return value


def _read_steps(path: Path) -> list[Row]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): {_AGAIN}") from None
    rows = []
    # What follows the last newline is a line that a killed process left incomplete.
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            step = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number}: is not JSON ({error}): {_AGAIN}") from None
        if not isinstance(step, dict):
            raise InputError(f"{path}:{number}: is not a JSON object: {_AGAIN}")
        if unknown := step.keys() - {field.name for field in _OWN_STEPS}:
            raise InputError(f"{path}:{number}: {sorted(unknown)[0]} is no column of a step: {_AGAIN}")
        for field in _OWN_STEPS:
            _check(step.get(field.name), field, f"{path}:{number}: {field.name}")
        rows.append(step)
    return rows


def _value(record: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _check(value: Any, field: pa.Field, where: str) -> None:
    if value is None:
        if not field.nullable:
            raise InputError(f"{where} is missing: {_AGAIN}")
        return
    try:
        # pyarrow turns 1.5 into the integer 1 and true into the number 1.0 without a word.
        if isinstance(value, bool) != pa.types.is_boolean(field.type):
            raise pa.ArrowInvalid
        if isinstance(value, float) and pa.types.is_integer(field.type):
            raise pa.ArrowInvalid
        pa.scalar(value, field.type)
    except (pa.ArrowException, TypeError, ValueError):
        raise InputError(f"{where}: {value!r} is not of type {field.type}: {_AGAIN}") from None


def read_table(path: Path, columns: Sequence[str], program: str) -> list[Row]:
    """Rows of a table under results/tables, with `columns` only.

    Args:
        program: makes the table; named in errors.

    Raises:
        InputError: the table cannot be read or lacks a column.
    """
    try:
        if missing := set(columns) - set(pq.read_schema(path).names):
            raise InputError(f"{path} has no column {sorted(missing)[0]}: run {program} again")
        rows: list[Row] = pq.read_table(path, columns=list(columns)).to_pylist()
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({reason}): run {program}") from error
    return rows
