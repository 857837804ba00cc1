"""Compare the cost of runs: systems against each other, and each profiler against none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

from indexscope.run_record import COMPLETED, InputError

QUANTITIES = (
    "tree_peak_rss_mib",
    "index_peak_rss_mib",
    "wall_seconds",
    "index_seconds",
    "seconds_per_25k_passages",
)
WITHOUT_PROFILER = "none"


@dataclass(frozen=True)
class _Group:
    """Repeats: runs that differ in nothing but `repeat`."""

    system: str
    documents: int
    profiler: str


Groups = Mapping[_Group, Sequence[Mapping[str, Any]]]


def compare_memory(
    runs: Iterable[Mapping[str, Any]], baseline: str | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of schemas.MEMORY_COMPARISON from rows of schemas.RUNS.

    Systems are compared, without a profiler, at each size at which both were run: each pair of them, or the
    `baseline` (left) with each other system. Profilers are compared within a system: `SYSTEM/none` (left)
    with each other profiler at each size at which that profiler was run. Only completed runs count; a side
    without any has 0 runs and nulls. A system of which there are several cells appears as `SYSTEM-CELL`.

    Raises:
        InputError: `baseline` names no system, or one with several cells.
    """
    groups = _groups(list(runs))
    yield from _systems(groups, baseline)
    yield from _profilers(groups)


def compare_samples(left: Sequence[float], right: Sequence[float]) -> dict[str, Any]:
    """Counts, medians, ranges and differences of two samples, as columns of schemas.MEMORY_COMPARISON.

    `separated` is true where the ranges do not overlap; it is null where a side has fewer than two samples,
    because one sample has no range.
    """
    row: dict[str, Any] = {}
    for side, samples in (("left", left), ("right", right)):
        row[f"{side}_runs"] = len(samples)
        if samples:
            row |= {
                f"{side}_median": median(samples),
                f"{side}_min": min(samples),
                f"{side}_max": max(samples),
            }
    if left and right:
        row["difference"] = row["right_median"] - row["left_median"]
        row["ratio"] = row["right_median"] / row["left_median"] if row["left_median"] else None
    if len(left) > 1 and len(right) > 1:
        row["separated"] = max(left) < min(right) or max(right) < min(left)
    return row


def _groups(runs: Sequence[Mapping[str, Any]]) -> Groups:
    cells: dict[str, set[str]] = {}
    for run in runs:
        cells.setdefault(run["system"], set()).add(run["cell"])
    groups: dict[_Group, list[Mapping[str, Any]]] = {}
    for run in runs:
        one_cell = len(cells[run["system"]]) == 1
        system = run["system"] if one_cell else f"{run['system']}-{run['cell']}"
        groups.setdefault(_Group(system, run["documents"], run["profiler"]), []).append(run)
    return groups


def _systems(groups: Groups, baseline: str | None) -> Iterator[dict[str, Any]]:
    systems = list(dict.fromkeys(group.system for group in groups))
    if baseline is not None and baseline not in systems:
        raise InputError(f"baseline {baseline!r} is no system of the table: name one of {', '.join(systems)}")
    pairs: Iterable[tuple[str, str]] = combinations(systems, 2)
    if baseline is not None:
        pairs = ((baseline, system) for system in systems if system != baseline)
    sizes = sorted({group.documents for group in groups})
    for left, right in pairs:
        for documents in sizes:
            sides = (_Group(left, documents, WITHOUT_PROFILER), _Group(right, documents, WITHOUT_PROFILER))
            if all(side in groups for side in sides):
                yield from _rows("systems", documents, (left, right), sides, groups)


def _profilers(groups: Groups) -> Iterator[dict[str, Any]]:
    for group in groups:
        if group.profiler != WITHOUT_PROFILER:
            sides = (_Group(group.system, group.documents, WITHOUT_PROFILER), group)
            names = (f"{group.system}/{WITHOUT_PROFILER}", f"{group.system}/{group.profiler}")
            yield from _rows("profilers", group.documents, names, sides, groups)


def _rows(
    comparison: str, documents: int, names: tuple[str, str], sides: tuple[_Group, _Group], groups: Groups
) -> Iterator[dict[str, Any]]:
    for quantity in QUANTITIES:
        left, right = (_samples(groups.get(side, ()), quantity) for side in sides)
        yield {
            "comparison": comparison,
            "documents": documents,
            "quantity": quantity,
            "left": names[0],
            "right": names[1],
            **compare_samples(left, right),
        }


def _samples(runs: Iterable[Mapping[str, Any]], quantity: str) -> list[float]:
    return [run[quantity] for run in runs if run["outcome"] == COMPLETED and run[quantity] is not None]
