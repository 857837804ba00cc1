"""Campaigns side by side: the runs of all, what differs between them, and which measured quantities changed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from indexscope import schemas
from indexscope.run_record import COMPLETED, InputError

from .memory_comparison import QUANTITIES, compare_samples

MEASURED = (*QUANTITIES, "index_size_mib")
FACTOR = 1.1  # asv's, https://asv.readthedocs.io/en/stable/commands.html#asv-continuous
LARGEST_CHANCE = 0.1  # of samples that nothing but noise separates; three runs on each side have it
UNNAMED = "default"

CHANGED = "changed"
COMPLETES_NO_LONGER = "no longer completes"
COMPLETES_NOW = "completes now"
WITHIN_SPREAD = "within the spread of repeats"
TOO_FEW = "too few repeats"
BELOW_FACTOR = "below the factor"
NO_RUN = "no completed run"

Row = Mapping[str, Any]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _gib(value: Any) -> str:
    return f"{value / 1024:.1f} GiB"


# Column of TRENDS that may explain a change → what a sentence calls it, and how it writes its values.
_FACTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "colbert_version": ("colbert-ai", _text),
    "ragatouille_version": ("ragatouille", _text),
    "torch_version": ("torch", _text),
    "transformers_version": ("transformers", _text),
    "faiss_version": ("faiss", _text),
    "python_version": ("Python", _text),
    "cpu_model": ("CPU", _text),
    "cpu_count": ("cores", _text),
    "memory_total_mib": ("memory", _gib),
    "gpu_model": ("GPU", _text),
    "kernel": ("kernel", _text),
    "device": ("device", _text),
    "threads": ("threads", _text),
    "allocator": ("allocator", _text),
    "corpus": ("corpus", _text),
    "checkpoint": ("checkpoint", _text),
    "process_model": ("process model", _text),
    "passages": ("passages", _text),
    "nbits": ("nbits", _text),
    "doc_maxlen": ("doc_maxlen", _text),
    "index_bsize": ("index_bsize", _text),
    "kmeans_iterations": ("k-means iterations", _text),
    "kmeans_backend": ("k-means backend", _text),
    "lock_digest": ("lock", _text),
    "git_commit": ("commit", _text),
}
# These depend on the number of documents; they are compared at one size only.
_OF_A_SIZE = {"passages"}


@dataclass(frozen=True)
class Source:
    """A table `runs`; without a label its campaign is called by the day of its first run."""

    path: Path
    label: str | None = None


def campaign_batches(sources: Iterable[Source]) -> Iterator[pa.RecordBatch]:
    """Rows of schemas.TRENDS from tables of runs; a run that several have is taken from the first of them.

    Columns that a table of an earlier version lacks are null. Memory stays at one batch, and 16 bytes a run.

    Raises:
        InputError: a table cannot be read, or lacks a column that identifies runs.
    """
    seen: set[bytes] = set()
    for source in sources:
        try:
            with pq.ParquetFile(source.path) as table:
                label = source.label or _day(table)
                for batch in table.iter_batches():
                    yield _without(seen, _labelled(batch, label, source.path))
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{source.path} cannot be read ({str(error).splitlines()[0]}): make it anew (snakemake tables)"
            ) from None


def _day(table: pq.ParquetFile) -> str:
    if "started_at" not in table.schema_arrow.names:
        return UNNAMED
    firsts = [
        first
        for batch in table.iter_batches(columns=["started_at"])
        if (first := pc.min(batch["started_at"]).as_py()) is not None
    ]
    return f"{min(firsts):%Y-%m-%d}" if firsts else UNNAMED


def _labelled(batch: pa.RecordBatch, label: str, path: Path) -> pa.RecordBatch:
    columns = [pa.repeat(pa.scalar(label), batch.num_rows)]
    for field in list(schemas.TRENDS)[1:]:
        if field.name in batch.schema.names:
            columns.append(batch[field.name].cast(field.type))
        elif field.nullable:
            columns.append(pa.nulls(batch.num_rows, field.type))
        else:
            raise InputError(f"{path} has no column {field.name}: make it anew (snakemake tables)")
    return pa.RecordBatch.from_arrays(columns, schema=schemas.TRENDS)


def _without(seen: set[bytes], batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of `batch` whose run is not among `seen`, which it then is."""
    keep = []
    identity = [batch[name].to_pylist() for name in ("run", "started_at", "git_commit", "wall_seconds")]
    for values in zip(*identity, strict=True):
        digest = hashlib.blake2b(repr(values).encode(), digest_size=16).digest()
        known = values[1] is not None and digest in seen  # without a time, nothing says that it is the same
        keep.append(not known)
        seen.add(digest)
    return batch.filter(pa.array(keep, pa.bool_()))


def campaigns_in_order(runs: Iterable[Row]) -> list[str]:
    """The campaigns by the time of their first run; those without a time last."""
    first: dict[str, datetime | None] = {}
    for run in runs:
        name, started = run["campaign"], run["started_at"]
        known = first.setdefault(name, started)
        if known is None or (started is not None and started < known):
            first[name] = started
    dated = sorted(((moment, name) for name, moment in first.items() if moment is not None))
    return [*(name for _, name in dated), *sorted(name for name, moment in first.items() if moment is None)]


def compare_campaigns(runs: Iterable[Row], factor: float = FACTOR) -> Iterator[dict[str, Any]]:
    """Rows of schemas.CAMPAIGN_COMPARISON from rows of schemas.TRENDS.

    A system at a size under a profiler is compared with the campaign before (the last one that has it) and,
    where that is another, with the first that has it. A quantity changed when the medians differ by more than
    `factor`, the samples do not overlap, and there are so many runs that noise alone would rarely separate
    them; what was not called a change is in the rows as well. A system that completes in one campaign only
    has changed too.

    Raises:
        InputError: `factor` is less than 1.
    """
    if factor < 1:
        raise InputError(f"factor {factor:g} is less than 1: give the ratio that medians must differ by")
    runs = list(runs)
    names = system_names(runs)
    groups: dict[tuple[str, int, str], dict[str, list[Row]]] = {}
    for run in runs:
        key = (names[run["system"], run["cell"]], run["documents"], run["profiler"])
        groups.setdefault(key, {}).setdefault(run["campaign"], []).append(run)
    order = campaigns_in_order(runs)
    for (system, documents, profiler), group in groups.items():
        present = [name for name in order if name in group]
        pairs = [("previous", left, right) for left, right in pairwise(present)]
        pairs += [("first", present[0], right) for right in present[2:]]
        for comparison, left, right in pairs:
            differs = "; ".join(changes(group[left], group[right]))
            for quantity in MEASURED:
                row = _compared(group[left], group[right], quantity, factor)
                yield {
                    "comparison": comparison,
                    "left_campaign": left,
                    "right_campaign": right,
                    "system": system,
                    "documents": documents,
                    "profiler": profiler,
                    "quantity": quantity,
                    **row,
                    "factor": factor,
                    "differs": differs,
                }


def system_names(runs: Iterable[Row]) -> dict[tuple[str, str], str]:
    """(system, cell) → what to call it: the system, which has other cells in other campaigns.

    Where one campaign ran several cells of a system, `SYSTEM-CELL`.
    """
    cells: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        cells.setdefault((run["campaign"], run["system"]), set()).add(run["cell"])
    several = {system for (_, system), found in cells.items() if len(found) > 1}
    return {
        (system, cell): f"{system}-{cell}" if system in several else system
        for (_, system), found in cells.items()
        for cell in sorted(found)
    }


def changes(left: Sequence[Row], right: Sequence[Row]) -> list[str]:
    """What is known to differ between two sets of runs of one system: `torch 2.0.1 → 2.1.0`."""
    sizes = {run["documents"] for run in [*left, *right]}
    found = []
    for column, (name, write) in _FACTS.items():
        if column in _OF_A_SIZE and len(sizes) > 1:
            continue
        sides = [" and ".join(dict.fromkeys(_values(side, column, write))) for side in (left, right)]
        # A run that failed may not have got as far as knowing it.
        if all(sides) and sides[0] != sides[1]:
            found.append(f"{name} {sides[0]} → {sides[1]}")
    locks, cells = (
        [{run[name] for run in side} for side in (left, right)] for name in ("lock_digest", "cell")
    )
    if cells[0] != cells[1] and locks[0] == locks[1]:
        found.append(f"settings (cell {' and '.join(sorted(cells[0]))} → {' and '.join(sorted(cells[1]))})")
    return found


def campaign_changes(runs: Sequence[Row], left: str, right: str, labels: Mapping[str, str]) -> list[str]:
    """What differs between two campaigns in the systems that both have.

    A difference that only some of those systems have names them by their `labels`.
    """
    systems: dict[str, list[str]] = {}
    sides: dict[str, dict[str, list[Row]]] = {}
    for run in runs:
        sides.setdefault(run["system"], {}).setdefault(run["campaign"], []).append(run)
    common = [system for system, found in sides.items() if left in found and right in found]
    for system in common:
        for change in changes(sides[system][left], sides[system][right]):
            systems.setdefault(change, []).append(system)
    order = list(_FACTS.values())
    ranked = sorted(systems, key=lambda change: [not change.startswith(name) for name, _ in order])
    return [
        change
        if len(systems[change]) == len(common)
        else f"{change} ({', '.join(labels.get(system, system) for system in systems[change])})"
        for change in ranked
    ]


def _values(side: Sequence[Row], column: str, write: Callable[[Any], str]) -> list[str]:
    return [write(value) for value in sorted({run[column] for run in side} - {None})]


def _compared(left: Sequence[Row], right: Sequence[Row], quantity: str, factor: float) -> dict[str, Any]:
    samples = [
        [run[quantity] for run in side if run["outcome"] == COMPLETED and run[quantity] is not None]
        for side in (left, right)
    ]
    row = compare_samples(*samples)
    exceeds = _exceeds(row["left_median"], row["right_median"], factor) if all(samples) else None
    row["exceeds_factor"] = exceeds
    counts = [len(side) for side in samples]
    if min(counts) > 1:
        row["chance_of_separation"] = chance_of_separation(*counts)
    verdict = _verdict(row.get("separated"), exceeds, row.get("chance_of_separation", 1.0))
    completed = [any(run["outcome"] == COMPLETED for run in side) for side in (left, right)]
    if completed[0] != completed[1]:
        verdict = COMPLETES_NOW if completed[1] else COMPLETES_NO_LONGER
    return row | {"verdict": verdict, "changed": verdict in (CHANGED, COMPLETES_NOW, COMPLETES_NO_LONGER)}


def _verdict(separated: bool | None, exceeds: bool | None, chance: float) -> str:
    if exceeds is None:
        return NO_RUN
    if not exceeds:
        return BELOW_FACTOR
    if separated is False:
        return WITHIN_SPREAD
    return CHANGED if separated and chance <= LARGEST_CHANCE else TOO_FEW


def _exceeds(left: float, right: float, factor: float) -> bool:
    low, high = sorted((left, right))
    return high > low * factor


def chance_of_separation(left: int, right: int) -> float:
    """How often two samples of these sizes, drawn from one continuous distribution, do not overlap.

    Two of the equally probable orders separate them: 2 / C(left + right, left). It is the smallest two-sided p
    of the exact Mann-Whitney test.
    """
    return 2 / math.comb(left + right, left)
