"""What is unequal between ColBERT and RAGatouille as they are shipped, and what each such thing makes in memory.

At each size a chain of systems leads from ColBERT in two processes to RAGatouille; from one to the next as few
settings change as the measured systems allow. Which settings those are is read from what really ran.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from indexscope.run_record import COMPLETED

from .memory_comparison import WITHOUT_PROFILER

Row = Mapping[str, Any]

BASE_FRAMEWORK = "colbert"  # RAGatouille calls it
PARENT, TREE = "parent process", "process tree"  # what is counted
MEASURES = {PARENT: "parent_peak_rss_mib", TREE: "tree_peak_rss_mib"}
CHILD_PROCESS = "child process"  # the process model of ColBERT as it is shipped

# Confounds, in the order in which a chain takes them where the systems leave a choice.
COUNTED, PROCESS_MODEL, ENVIRONMENT, MACHINE, INPUT, SETTINGS, PASSAGES, AMOUNT, FRAMEWORK = (
    "what is counted",
    "process model",
    "environment",
    "machine",
    "corpus and checkpoint",
    "settings",
    "passages",
    "amount of work",
    "framework",
)
_ORDER = (COUNTED, PROCESS_MODEL, ENVIRONMENT, MACHINE, INPUT, SETTINGS, PASSAGES, AMOUNT, FRAMEWORK)
# Not steps but the chain's ends, compared directly: the last rows of a size.
AS_STUDY_MEASURED, TREES = "all, as the study measured", "all, process trees"
TOTALS = (AS_STUDY_MEASURED, TREES)


class _Column(NamedTuple):
    """A column of the table of runs in which two systems may be unequal, and how a sentence calls it."""

    words: str
    confound: str
    may_be_unknown: bool = False  # equal where neither side knows it


# What must be equal for equal work; the first column of an environment is its name.
_COLUMNS = {
    "process_model": _Column("process model", PROCESS_MODEL),
    "environment": _Column("environment", ENVIRONMENT),
    **{
        f"{package}_version": _Column(package, ENVIRONMENT, may_be_unknown=True)
        for package in ("python", "torch", "transformers", "faiss", "colbert", "ragatouille")
    },
    "lock_digest": _Column("lock", ENVIRONMENT, may_be_unknown=True),
    "device": _Column("device", MACHINE),
    "threads": _Column("threads", MACHINE),
    "allocator": _Column("allocator", MACHINE),
    "cpu_model": _Column("CPU", MACHINE, may_be_unknown=True),
    "gpu_model": _Column("GPU", MACHINE, may_be_unknown=True),
    "corpus": _Column("corpus", INPUT),
    "checkpoint": _Column("checkpoint", INPUT),
    "nbits": _Column("bits per dimension", SETTINGS),
    "doc_maxlen": _Column("tokens kept of a passage", SETTINGS),
    "dim": _Column("values of an embedding", SETTINGS),
    "index_bsize": _Column("passages per encoder batch", SETTINGS),
    "kmeans_backend": _Column("k-means backend", SETTINGS),
    "kmeans_iterations": _Column("k-means iterations", SETTINGS),
    "passages": _Column("passages after splitting", PASSAGES),
    "embeddings": _Column("embeddings", AMOUNT),
    "partitions": _Column("partitions", AMOUNT),
    "framework": _Column("framework", FRAMEWORK),
}
# What these change, the amount of work follows: it is then no confound of its own.
_CAUSES = {INPUT, SETTINGS, PASSAGES}
# Columns of the table of runs that are read here.
COLUMNS = ("run", "system", "cell", "documents", "profiler", "outcome", *_COLUMNS, *MEASURES.values())


def words(column: str) -> str:
    """How a sentence calls a column of the table of runs in which systems may be unequal."""
    return _COLUMNS[column].words


@dataclass(frozen=True)
class System:
    """The runs of one system at one size without a profiler that completed; `name` as in memory_comparison."""

    name: str
    runs: Sequence[Row]

    def values(self, column: str) -> list[Any]:
        """The distinct values of its runs; None is one that is not known."""
        return list(dict.fromkeys(run.get(column) for run in self.runs))

    def samples(self, measure: str) -> list[float]:
        return [run[MEASURES[measure]] for run in self.runs if run[MEASURES[measure]] is not None]


def unequal(left: System, right: System) -> list[str]:
    """Columns of the table of runs in which two systems differ, or may differ because a value is not known."""
    return [name for name, column in _COLUMNS.items() if not _equal(name, column, left, right)]


def _equal(name: str, column: _Column, left: System, right: System) -> bool:
    values = left.values(name)
    if len(values) != 1 or values != right.values(name):
        return False
    return values[0] is not None or column.may_be_unknown


def _units(left: System, right: System) -> frozenset[str]:
    """What a step changes: columns, those of an environment as one, without what follows from others."""
    columns = unequal(left, right)
    confounds = {_COLUMNS[name].confound for name in columns}
    found = set()
    for name in columns:
        confound = _COLUMNS[name].confound
        if confound == AMOUNT and confounds & _CAUSES:
            continue
        found.add(ENVIRONMENT if confound == ENVIRONMENT else name)
    return frozenset(found)


def _confounds(units: Iterable[str]) -> list[str]:
    return sorted({_COLUMNS[unit].confound for unit in units}, key=_ORDER.index)


def changes(left: System, right: System) -> str:
    """What differs from `left` to `right`, each with its values; an environment's packages where they differ."""
    parts = []
    packages = []
    columns = unequal(left, right)
    for name in columns:
        sides = [_values_in_words(side.values(name)) for side in (left, right)]
        text = f"{_COLUMNS[name].words} ({sides[0]} → {sides[1]})"
        if _COLUMNS[name].confound == ENVIRONMENT and name != "environment":
            if "unknown" not in sides:
                packages.append(text)
        else:
            parts.append(text)
    if "environment" in columns:  # its name says it all but for the packages
        packages = [text for text in packages if not text.startswith("lock ")]
    return ", ".join(parts + packages) or "environment (unknown)"


def _values_in_words(values: Sequence[Any]) -> str:
    return " or ".join(
        "unknown" if value is None else f"{value:,.0f}" if isinstance(value, int | float) else str(value)
        for value in values
    )


def confound_rows(runs: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.CONFOUNDS from rows of schemas.RUNS.

    At each size at which ColBERT and another framework completed: the steps of the chain, from the parent
    process of ColBERT to RAGatouille's process tree, whose shares add up; then the ends of the chain compared
    directly (TOTALS). Where systems between two links were not measured, one step changes several things and
    names them all. Systems without a completed run are named in those steps, with how they ended.
    """
    without = [run for run in runs if run["profiler"] == WITHOUT_PROFILER]
    names = _names(without)
    for documents in sorted({run["documents"] for run in without}):
        systems: dict[str, list[Row]] = {}
        for run in without:
            if run["documents"] == documents:
                systems.setdefault(names[run["system"], run["cell"]], []).append(run)
        for step, row in enumerate(_of_size(systems)):
            yield {"documents": documents, "step": step, **row}


def _names(runs: Sequence[Row]) -> dict[tuple[str, str], str]:
    """(system, cell) → SYSTEM, or SYSTEM-CELL where a system has several cells."""
    cells: dict[str, set[str]] = {}
    for run in runs:
        cells.setdefault(run["system"], set()).add(run["cell"])
    return {
        (run["system"], run["cell"]): run["system"]
        if len(cells[run["system"]]) == 1
        else f"{run['system']}-{run['cell']}"
        for run in runs
    }


def _of_size(systems: Mapping[str, Sequence[Row]]) -> Iterator[dict[str, Any]]:
    completed = []
    left_out = []
    for name, runs in systems.items():
        usable = [run for run in runs if run["outcome"] == COMPLETED and run[MEASURES[TREE]] is not None]
        if usable:
            completed.append(System(name, usable))
        else:
            outcomes = " or ".join(dict.fromkeys(str(run["outcome"]).replace("_", " ") for run in runs))
            left_out.append(f"{name} ({outcomes})")
    chain = _chain(completed)
    if not chain:
        return
    start, end = chain[0], chain[-1]
    counts_parent = start.values("process_model") == [CHILD_PROCESS] and bool(start.samples(PARENT))
    if counts_parent:
        yield _row(COUNTED, f"memory counted ({PARENT} → {TREE})", (start, PARENT), (start, TREE))
    for left, right in itertools.pairwise(chain):
        confounds = _confounds(_units(left, right))
        text = changes(left, right)
        if len(confounds) > 1 and left_out:
            text += f"; not completed: {', '.join(left_out)}"
        yield _row(" + ".join(confounds), text, (left, TREE), (right, TREE))
    if counts_parent and end.samples(PARENT):
        yield _row(AS_STUDY_MEASURED, changes(start, end), (start, PARENT), (end, PARENT))
    yield _row(TREES, changes(start, end), (start, TREE), (end, TREE))


def _chain(systems: Sequence[System]) -> list[System]:
    """From ColBERT as it is shipped to another framework, by single changes as far as systems allow.

    Of several chains the one that ends with equal work, then the one of most steps, then the one whose ends
    differ least, then the first by the order of the table.
    """
    bases = [system for system in systems if system.values("framework") == [BASE_FRAMEWORK]]
    others = [system for system in systems if BASE_FRAMEWORK not in system.values("framework")]
    shipped = [system for system in bases if system.values("process_model") == [CHILD_PROCESS]] or bases
    found = []
    for end in others:
        if not shipped:
            break
        differing = {system.name: _units(system, end) for system in bases}
        start = max(shipped, key=lambda system: len(differing[system.name]))
        chain = _longest(start, end, bases, differing)
        equal_work = differing[chain[-2].name] == {"framework"}
        found.append(((equal_work, len(chain), -len(differing[start.name])), chain))
    return max(found, key=lambda each: each[0])[1] if found else []


def _longest(
    start: System, end: System, bases: Sequence[System], differing: Mapping[str, frozenset[str]]
) -> list[System]:
    """The chain of most steps in which each brings a part of what differs to what it is at the end."""
    rest = differing[start.name]
    candidates = []
    for system in bases:
        ahead = differing[system.name]
        # Nothing but what comes nearer may change: what differs from both ends would be a detour.
        if ahead < rest and _units(start, system) == rest - ahead:
            chain = [start, *_longest(system, end, bases, differing)]
            candidates.append(chain)
    if not candidates:
        return [start, end]

    def rank(chain: Sequence[System]) -> tuple[int, list[list[int]]]:
        steps = [_confounds(_units(*pair)) for pair in itertools.pairwise(chain)]
        return -len(chain), [[_ORDER.index(confound) for confound in step] for step in steps]

    return min(candidates, key=rank)


def _row(confound: str, text: str, left: tuple[System, str], right: tuple[System, str]) -> dict[str, Any]:
    """One comparison; where both sides are the same runs, the range of the share is that within each run."""
    samples = [system.samples(measure) for system, measure in (left, right)]
    medians = [median(values) for values in samples]
    if left[0] is right[0]:
        both = [[run[MEASURES[measure]] for _, measure in (left, right)] for run in left[0].runs]
        shares = [pair[1] - pair[0] for pair in both if None not in pair]
        low, high = min(shares), max(shares)
    else:
        low, high = min(samples[1]) - max(samples[0]), max(samples[1]) - min(samples[0])
    repeated = min(map(len, samples)) > 1
    return {
        "confound": confound,
        "changes": text,
        "from_system": left[0].name,
        "from_measure": left[1],
        "to_system": right[0].name,
        "to_measure": right[1],
        "from_runs": len(samples[0]),
        "to_runs": len(samples[1]),
        "from_mib": medians[0],
        "to_mib": medians[1],
        "share_mib": medians[1] - medians[0],
        "share_low_mib": low,
        "share_high_mib": high,
        "beyond_spread": (low > 0 or high < 0) if repeated else None,
    }


# What the rows say


def steps(rows: Iterable[Row]) -> list[Row]:
    """The rows whose shares add up, in order."""
    return sorted(
        (row for row in rows if row["confound"] not in TOTALS),
        key=lambda row: (row["documents"], row["step"]),
    )


@dataclass(frozen=True)
class Comparison:
    """The frameworks compared at one size in three ways; None where that was not measured."""

    documents: int
    as_study_measured: Row | None
    trees: Row
    equal_work: Row | None


def comparisons(rows: Iterable[Row]) -> list[Comparison]:
    """One for each size, ascending."""
    by_size: dict[int, dict[str, Row]] = {}
    for row in rows:
        by_size.setdefault(row["documents"], {})[row["confound"]] = row
    return [
        Comparison(size, of.get(AS_STUDY_MEASURED), of[TREES], of.get(FRAMEWORK))
        for size, of in sorted(by_size.items())
        if TREES in of
    ]


def told(rows: Iterable[Row]) -> Comparison | None:
    """The comparison that says most, of the largest such size; None where there is none."""
    return max(
        comparisons(rows),
        key=lambda each: (
            (each.as_study_measured is not None) + (each.equal_work is not None),
            each.documents,
        ),
        default=None,
    )


def sentence(rows: Iterable[Row], names: Mapping[str, str] | None = None) -> str:
    """What changes between the study's way of measuring, process trees and equal work; empty without a row.

    Args:
        rows: of schemas.CONFOUNDS.
        names: what to call a system; default: as the table does.
    """
    comparison = told(rows)
    if comparison is None:
        return ""
    names = names or {}
    base, other = (
        names.get(comparison.trees[side], comparison.trees[side]) for side in ("from_system", "to_system")
    )
    at = f"at {comparison.documents:,} document" + ("" if comparison.documents == 1 else "s")
    study, trees, equal = comparison.as_study_measured, comparison.trees, comparison.equal_work
    if study:
        first = f"Measured as the study did, one process of each, {other} {_against(study, base)} {at}"
        second = f"; counting whole process trees it {_against(trees, '', study)}"
    else:
        first = f"Counting whole process trees, {other} {_against(trees, base)} {at}"
        second = ""
    if equal:
        third = f"; given equal work and an equal environment it {_against(equal, '', trees)}"
    else:
        third = "; with equal work and an equal environment it was not measured"
    return f"{first}{second}{third}."


def _against(row: Row, base: str, before: Row | None = None) -> str:
    """The predicate of a difference; `before` is the one that was told before it."""
    share = row["share_mib"]
    if row["beyond_spread"] is False:
        than = f" from {base}" if base else ""
        return f"shows no difference{than} beyond the spread of repeats ({signed(share)} MiB)"
    rounded = round(share)
    than = f" than {base}" if base else ""
    if not rounded:
        return "needs as much" + (f" as {base}" if base else "")
    same = (
        before is not None
        and before["beyond_spread"] is not False
        and bool(round(before["share_mib"]))
        and (before["share_mib"] > 0) == (share > 0)
    )
    still = "still " if same else ""
    return f"{still}needs {abs(rounded):,} MiB {'more' if rounded > 0 else 'less'}{than}"


def signed(mib: float) -> str:
    """To one MiB, with its sign: +12, −3, 0."""
    rounded = round(mib)
    return f"{rounded:+,}".replace("-", "−") if rounded else "0"
