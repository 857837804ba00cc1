"""What remote_indexing took and cost, beside what was predicted and estimated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from indexscope import cost
from indexscope.cost import Tables
from indexscope.memory_model import PHASES, Prediction, predict
from indexscope.run_record import COMPLETED, InputError, read_run_record

from .memory_model_check import measured_gpu_phases, measured_phases, quantities_of_run
from .remote_estimate import ACTUAL
from .run_directories import run_rows, span_batches

Row = dict[str, Any]

_RUN_AGAIN = "the file is damaged; run index_collection.py again"


@dataclass(frozen=True)
class Measured:
    """A run: its row of the table of runs, its record, and its spans."""

    path: Path
    row: Row
    record: Mapping[str, Any]
    spans: Sequence[Mapping[str, Any]]


def read_runs(paths: Iterable[Path], labels: Mapping[str, str]) -> Iterator[Measured]:
    """Read run.json files; spans.jsonl lies beside each.

    Raises:
        InputError: a file is missing or damaged.
    """
    for path in paths:
        row = next(run_rows([path], labels))
        spans = [
            span for batch in span_batches([path.with_name("spans.jsonl")]) for span in batch.to_pylist()
        ]
        yield Measured(path, row, read_run_record(path), spans)


# Memory and time of each phase


def phase_rows(run: Measured, checkpoint: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of remote_phases: what was measured of a run, and what is predicted for what it resolved.

    What is predicted for a GPU is so on any device: it needs only the sizes.
    """
    row = run.row
    key = {
        name: row[name]
        for name in ("run", "system", "cell", "documents", "profiler", "repeat", "label", "device")
    }
    host, gpu = predictions(row, checkpoint)
    measured = measured_phases(row, run.spans) if row["process_model"] else {}
    allocated = measured_gpu_phases(row, run.spans)
    reserved = reserved_gpu_phases(run.spans)
    for phase in PHASES:
        predicted = host.mib(phase) if host else 0.0
        if not predicted and phase not in measured:
            continue  # it does not happen: a child's end without a child
        yield key | {
            "phase": phase,
            "seconds": row.get(f"{phase}_seconds"),
            "host_peak_mib": measured.get(phase),
            "host_predicted_mib": predicted or None,
            "gpu_allocated_peak_mib": allocated.get(phase),
            "gpu_reserved_peak_mib": reserved.get(phase),
            "gpu_predicted_mib": (gpu.mib(phase, "gpu") or None) if gpu else None,
        }


def predictions(
    row: Mapping[str, Any], checkpoint: Mapping[str, Any]
) -> tuple[Prediction | None, Prediction | None]:
    """On the device that a run had, and on a GPU; None where the run did not get far enough to resolve its sizes."""
    quantities = quantities_of_run(row, checkpoint)
    if isinstance(quantities, str):
        return None, None
    # A row of the table says how many ranks; quantities_of_run takes one.
    quantities = replace(quantities, nranks=row.get("ranks") or 1)
    return predict(quantities), predict(replace(quantities, device="cuda"))


def reserved_gpu_phases(spans: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Phase → the most that PyTorch's allocator had reserved (MiB) at the end of a call in it."""
    found: dict[str, float] = {}
    names = {phase: f".CollectionIndexer.{method}" for phase, method in _METHODS.items()}
    for phase, name in names.items():
        for outer in spans:
            if not str(outer["function"]).endswith(name):
                continue
            for span in spans:
                inside = (
                    span["process_id"] == outer["process_id"]
                    and span["started_seconds"] >= outer["started_seconds"]
                    and span["ended_seconds"] <= outer["ended_seconds"]
                )
                if inside and span["gpu_reserved_mib"] is not None:
                    found[phase] = max(found.get(phase, 0.0), span["gpu_reserved_mib"])
    return found


_METHODS = {
    "start-up": "__init__",
    "planning": "setup",
    "training": "train",
    "encoding": "index",
    "finalizing": "finalize",
}


# Cost


class _Machine:
    """What a run had, as it would be billed."""

    def __init__(self, run: Measured, tables: Tables) -> None:
        row = run.row
        self.device = (
            "cuda" if row["device"] == "cuda" or (row["gpu_model"] and row["device"] != "cpu") else "cpu"
        )
        self.cores = float(row["threads"] or 1)
        self.gpu: str | None = None  # as it is priced, or as it is reported
        self.gpus = (row.get("ranks") or 1) if self.device == "cuda" else 0
        if self.device == "cuda":
            known = tables.reported(row["gpu_model"] or "")
            self.gpu = known.name if known else row["gpu_model"]
        self.name = self.gpu or ("an unknown GPU" if self.device == "cuda" else f"{self.cores:g} CPU cores")
        granted, peak = row.get("granted_mib"), row.get("tree_peak_rss_mib")
        self.host_mib = float(max(granted or 0, peak or 0.0))
        self.memory = "the memory that the scheduler granted" if granted else "the process tree's peak memory"


def cost_rows(runs: Iterable[Measured], estimates: Sequence[Row], tables: Tables) -> Iterator[Row]:
    """The estimated rows of remote_costs, then one for each run, finished or not."""
    yield from estimates
    for run in runs:
        yield _cost_row(run, estimates, tables)


def _cost_row(run: Measured, estimates: Sequence[Row], tables: Tables) -> Row:
    row = run.row
    machine = _Machine(run, tables)
    start, last = _seconds(row)
    earlier, attempts, unknown = earlier_seconds(run)
    work = None if last is None else last + earlier
    bill = None
    if work is not None:
        seconds = work + (start or 0.0)
        gpu = machine.name if machine.device == "cuda" else None
        bill = cost.bill(
            tables.prices, seconds, gpu, machine.cores, machine.host_mib, gpus=max(machine.gpus, 1)
        )
    estimated = next(
        (each for each in estimates if each["system"] == row["system"] and each["machine"] == machine.name),
        None,
    )
    ratio = None
    if row["outcome"] == COMPLETED and estimated and estimated["work_seconds"] and work is not None:
        ratio = work / estimated["work_seconds"]
    return {
        "system": row["system"],
        "label": row["label"],
        "run": row["run"],
        "moment": ACTUAL,
        "device": machine.device,
        "machine": machine.name,
        "documents": row["documents"],
        "passages": row["passages"],
        "start_seconds": start,
        "work_seconds": work,
        "host_mib": machine.host_mib or None,
        "usd": bill.total if bill else None,
        "usd_of_gpu": bill.gpu if bill else None,
        "usd_of_cores": bill.cores if bill else None,
        "usd_of_memory": bill.memory if bill else None,
        "prices_as_of": tables.prices.as_of.isoformat(),
        "basis": _basis(row, machine, bill, earlier, attempts, unknown),
        "actual_by_estimated": ratio,
    }


def _seconds(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Before and after the index call, and the call; of a run that did not finish it, all is work."""
    wall, index = row["wall_seconds"], row["index_seconds"]
    if wall is None or index is None:
        return None, wall
    return max(wall - index, 0.0), index


def earlier_seconds(run: Measured) -> tuple[float, int, int]:
    """Seconds of earlier attempts, how many there were, and of how many the time is not known.

    Raises:
        InputError: the record of an attempt is damaged.
    """
    attempts = (run.record.get("place") or {}).get("earlier_attempts") or []
    seconds, unknown = 0.0, 0
    for attempt in attempts:
        try:
            began, seen = attempt["started_at"], attempt["last_seen_at"]
            if began is None or seen is None:
                unknown += 1
                continue
            seconds += max((_moment(seen) - _moment(began)).total_seconds(), 0.0)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{run.path}: place.earlier_attempts: {attempt!r} cannot be read ({error}): {_RUN_AGAIN}"
            ) from error
    return seconds, len(attempts), unknown


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _basis(
    row: Mapping[str, Any],
    machine: _Machine,
    bill: cost.Bill | None,
    earlier: float,
    attempts: int,
    unknown: int,
) -> str:
    """A sentence or more: what was counted, at whose price, and what was not."""
    what = "Wall seconds of the run"
    if row["outcome"] != COMPLETED:
        what += f", which ended as {row['outcome']}"
    if attempts:
        times = "an earlier attempt" if attempts == 1 else f"{attempts} earlier attempts"
        what += f", with {earlier:,.0f} s of {times}, each until it was last seen"
        if unknown:
            what += f" ({unknown} of unknown length left out)"
    sentences = [f"{what}, with {machine.memory}, had it been rented."]
    if machine.device == "cuda" and (bill is None or bill.gpu is None):
        sentences.append(f"The price table has no {machine.name}.")
    if row["wall_seconds"] is not None and row["index_seconds"] is not None:
        sentences.append("Start is what lies outside the index call; a container's own start is not in it.")
    return " ".join(sentences)
