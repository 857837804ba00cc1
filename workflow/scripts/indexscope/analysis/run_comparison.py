"""Compare two sets of repeats phase by phase: what changed, and what looks like a change but is not one.

A quantity has changed when the repeats of the two sides separate (no value of one side lies within the range of
the other), the medians differ by a factor, and by a floor below which nobody cares. What differs but fails one of
these is kept, with the reason: suppressed is not equal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from indexscope.analysis.memory_comparison import compare_samples
from indexscope.run_record import COMPLETED, InputError
from indexscope.settings.systems import ADAPTERS

Row = Mapping[str, Any]

INCREASED, DECREASED, UNCHANGED = "increased", "decreased", "not changed"
ONLY_LEFT, ONLY_RIGHT = "only left", "only right"
WORSE, BETTER = "worse", "better"  # of outcomes
CHANGES = (INCREASED, DECREASED, ONLY_LEFT, ONLY_RIGHT, WORSE, BETTER)
RUN, PHASE, FUNCTION, OUTCOME = "run", "phase", "function", "outcome"
MEMORY, TIME = "memory", "time"

# Of a run, whatever the profiler: column of RUNS → part of the run.
_OF_RUNS = {
    "tree_peak_rss_mib": "whole run",
    "index_peak_rss_mib": "index call",
    "wall_seconds": "whole run",
    "index_seconds": "index call",
    "planning_seconds": "planning",
    "training_seconds": "training",
    "encoding_seconds": "encoding",
    "finalizing_seconds": "finalizing",
}
# Of a span, by its phase or function.
_OF_SPANS = ("start_rss_mib", "peak_rss_mib", "end_rss_mib", "end_tree_pss_mib")
_ORDER = ("start-up", "planning", "training", "encoding", "finalizing")

# Dotted name of a function → the phase that it is, in every framework.
_PHASES = {
    f"{module}.{qualname}": phase
    for adapter in ADAPTERS.values()
    for (module, qualname), phase in adapter.PHASES.items()
}
# What decides how much work a run is; where these differ, a difference of memory is no surprise.
_WORK = (
    "device", "process_model", "passages", "embeddings", "partitions", "dim", "nbits", "doc_maxlen", "index_bsize",
    "kmeans_iterations", "kmeans_backend", "kmeans_points", "threads", "allocator", "corpus", "checkpoint",
    "python_version", "torch_version", "transformers_version", "faiss_version", "colbert_version",
    "ragatouille_version", "cpu_model", "kernel", "lock_digest",
)  # fmt: skip


class Thresholds(NamedTuple):
    """From when on a separated difference is called a change."""

    factor: float = 1.1  # of the medians, either way
    mib: float = 10.0
    seconds: float = 0.5


@dataclass(frozen=True)
class Side:
    """Repeats of one system, size and profiler: rows of schemas.RUNS, and rows of schemas.SPANS of the same runs."""

    name: str
    runs: Sequence[Row]
    spans: Sequence[Row]

    @property
    def completed(self) -> list[Row]:
        return [run for run in self.runs if run["outcome"] == COMPLETED]

    @property
    def outcomes(self) -> str:
        """Such as "completed x 3"."""
        counts: dict[str, int] = {}
        for run in self.runs:
            counts[run["outcome"]] = counts.get(run["outcome"], 0) + 1
        return ", ".join(
            f"{outcome} × {count}" if count > 1 else outcome for outcome, count in counts.items()
        )


def compare(left: Side, right: Side, thresholds: Thresholds) -> list[dict[str, Any]]:
    """Rows of schemas.RUN_COMPARISON: the outcomes, then the run, then its phases, then functions.

    Only completed runs have quantities; both sides are of one size and profiler.
    """
    key = {
        "left": left.name,
        "right": right.name,
        "documents": left.runs[0]["documents"],
        "profiler": left.runs[0]["profiler"],
    }
    rows = [_outcomes(left, right)]
    samples = [_samples(side) for side in (left, right)]
    for part in sorted({*samples[0], *samples[1]}, key=_position):
        rows.append(
            {
                **part._asdict(),
                **_verdict(part, samples[0].get(part, []), samples[1].get(part, []), thresholds),
            }
        )
    return [{**key, **row} for row in rows]


def unequal_work(left: Side, right: Side) -> list[str]:
    """Settings, versions and hardware in which the two sides differ, in words: "nbits: 2 → 4"."""
    found = []
    for column in _WORK:
        values = [sorted({str(run.get(column)) for run in side.runs}) for side in (left, right)]
        if values[0] != values[1]:
            found.append(f"{column}: {' or '.join(values[0])} → {' or '.join(values[1])}")
    return found


def sides(runs: Iterable[Row], spans: Iterable[Row], name: str | None = None) -> dict[tuple[int, str], Side]:
    """Repeats by size and profiler, of runs of one system."""
    grouped: dict[tuple[int, str], list[Row]] = {}
    for run in runs:
        grouped.setdefault((run["documents"], run["profiler"]), []).append(run)
    of_run: dict[str, list[Row]] = {}
    for span in spans:
        of_run.setdefault(span["run"], []).append(span)
    return {
        key: Side(
            name or str(group[0]["system"]),
            group,
            [span for run in group for span in of_run.get(run["run"], [])],
        )
        for key, group in grouped.items()
    }


def compare_all(
    runs: Sequence[Row], spans: Sequence[Row], thresholds: Thresholds
) -> Iterator[dict[str, Any]]:
    """Every two systems at each size, without a profiler and under spans; rows of schemas.RUN_COMPARISON."""
    cells: dict[str, list[Row]] = {}
    for run in runs:
        if run["profiler"] in ("none", "spans"):
            cells.setdefault(f"{run['system']}-{run['cell']}", []).append(run)
    several = len({name.rpartition("-")[0] for name in cells}) < len(cells)
    found = {name: sides(group, spans, name if several else None) for name, group in cells.items()}
    for left, right in combinations(found, 2):
        for key in sorted(found[left].keys() & found[right].keys()):
            yield from compare(found[left][key], found[right][key], thresholds)


def read_rows(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """The rows of a table; a column that an earlier version of it lacks is null.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}): make it with snakemake tables") from error
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


class _Part(NamedTuple):
    """What a quantity is of."""

    level: str  # run, phase, function
    part: str
    role: str | None  # of the process, where it is of one
    quantity: str


def _outcomes(left: Side, right: Side) -> dict[str, Any]:
    """The share of completed runs of each side; less of it is worse, whatever ended the others."""
    shares = [len(side.completed) / len(side.runs) for side in (left, right)]
    verdict = WORSE if shares[1] < shares[0] else BETTER if shares[1] > shares[0] else UNCHANGED
    return {
        "level": OUTCOME,
        "part": "whole run",
        "role": None,
        "quantity": OUTCOME,
        "left_runs": len(left.runs),
        "right_runs": len(right.runs),
        "verdict": verdict,
        "reason": f"{left.outcomes} → {right.outcomes}",
    }


def _samples(side: Side) -> dict[_Part, list[float]]:
    samples: dict[_Part, list[float]] = {}
    for run in side.completed:
        for quantity, part in _OF_RUNS.items():
            if run[quantity] is not None:
                level = PHASE if part in _ORDER else RUN
                samples.setdefault(_Part(level, part, None, quantity), []).append(run[quantity])
        of_run = [span for span in side.spans if span["run"] == run["run"]]
        for span_part, value in _of_spans(of_run).items():
            samples.setdefault(span_part, []).append(value)
    return samples


def _of_spans(spans: Sequence[Row]) -> dict[_Part, float]:
    """One value a part: of a phase that was begun twice the last, of a function the highest of its calls."""
    found: dict[_Part, float] = {}
    for span in sorted(spans, key=lambda row: row["started_seconds"]):
        phase = _PHASES.get(span["function"])
        if phase is not None:
            for quantity in _OF_SPANS:
                if span.get(quantity) is not None:
                    found[_Part(PHASE, phase, span["role"], quantity)] = span[quantity]
        else:
            part = _Part(FUNCTION, span["function"], span["role"], "peak_rss_mib")
            found[part] = max(found.get(part, 0.0), span["peak_rss_mib"])
    return found


def _position(part: _Part) -> tuple[Any, ...]:
    levels = (RUN, PHASE, FUNCTION)
    in_order = _ORDER.index(part.part) if part.part in _ORDER else -1
    return levels.index(part.level), in_order, part.part, kind(part.quantity), part.role or "", part.quantity


def kind(quantity: str) -> str:
    """What a quantity is, for thresholds and gates."""
    if quantity == OUTCOME:
        return OUTCOME
    return TIME if quantity.endswith("_seconds") else MEMORY


def regressions(rows: Iterable[Row], gates: Collection[str]) -> list[Row]:
    """The rows that a gate on `gates` (memory, time) fails for; outcomes that got worse always count."""
    return [
        row
        for row in rows
        if row["verdict"] == WORSE or (row["verdict"] == INCREASED and kind(row["quantity"]) in gates)
    ]


def _verdict(
    part: _Part, left: Sequence[float], right: Sequence[float], thresholds: Thresholds
) -> dict[str, Any]:
    row = compare_samples(left, right)
    if not left or not right:
        return row | {
            "verdict": ONLY_RIGHT if not left else ONLY_LEFT,
            "reason": "the other side has no such part",
        }
    difference = row["difference"]
    return row | {
        "verdict": (INCREASED if difference > 0 else DECREASED)
        if (reason := _suppressed(part, left, right, thresholds)) is None
        else UNCHANGED,
        "reason": reason or "beyond the repeats, the factor and the floor",
    }


def _suppressed(
    part: _Part, left: Sequence[float], right: Sequence[float], thresholds: Thresholds
) -> str | None:
    """Why a difference is not called a change; None where it is one."""
    medians = sorted([median(left), median(right)])
    difference = medians[1] - medians[0]
    if difference == 0:
        return "equal"
    floor, unit = (thresholds.seconds, "s") if kind(part.quantity) == TIME else (thresholds.mib, "MiB")
    if difference < floor:
        return f"below the floor of {floor:g} {unit}"
    # What fell to nothing has fallen by any factor.
    if medians[0] > 0 and medians[1] / medians[0] < thresholds.factor:
        return f"within the factor of {thresholds.factor:g} (× {medians[1] / medians[0]:.2f})"
    if min(len(left), len(right)) < 2:
        return "one run on a side: nothing tells it from noise"
    if max(left) >= min(right) and max(right) >= min(left):
        return "the repeats overlap"
    return None
