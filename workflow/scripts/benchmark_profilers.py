"""Build one index again and again, once under each way of measuring in every round: what measuring costs.

Runs in the system's own environment. Each run is a fresh process; its record is one line of the output (JSON).

Runs of a round are made one after the other, so that a machine that grows slower does so for all of them. The order
changes from round to round: with an even number of runs a round, and as many rounds, each variant is once in each place
and once right after each other one (E. J. Williams, "Experimental designs balanced for the estimation of residual
effects of treatments", 1949).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from indexscope.measure import command_line

command_line.require_linux()

from indexscope.measure import supervisor  # noqa: E402 (needs Linux)

_PHASES = ("planning", "training", "encoding", "finalizing")


class Variant(NamedTuple):
    """A way of measuring: a profiler, and what it changes in the cell."""

    profiler: str
    changes: dict[str, Any]


WITHOUT = "none"  # what all others are compared with
VARIANTS = {
    # As little as can be: the tree is looked at once a second, to end what hangs. Its peaks are not comparable.
    "bare": Variant("none", {"sample_interval_seconds": 1.0}),
    WITHOUT: Variant("none", {}),
    "spans": Variant("spans", {}),
    "memory_profiler": Variant("memory_profiler", {}),
    "memray": Variant("memray", {}),
}


class Slot(NamedTuple):
    """A run: its round (0: a first run that is not compared), its place in it from 1, and how it is measured."""

    round: int
    position: int
    variant: str
    again: bool  # the second run without a profiler of the round


class NotComparable(Exception):
    """These variants cannot be compared; a sentence."""


def schedule(variants: Sequence[str], rounds: int) -> list[Slot]:
    """All runs in order: one to warm the file cache, then `rounds` rounds with `none` twice in each.

    Raises:
        NotComparable: `none` is not among the variants, one is there twice, or there is no round.
    """
    if WITHOUT not in variants:
        raise NotComparable("variants: none is missing, which the others are compared with; add it")
    if len(set(variants)) != len(variants):
        raise NotComparable("variants: one is there twice; name each once")
    if rounds < 1:
        raise NotComparable(f"rounds: {rounds} is no number of rounds; give 1 or more")
    labels = [(variant, False) for variant in variants] + [(WITHOUT, True)]
    slots = [Slot(0, 1, WITHOUT, False)]
    for number in range(1, rounds + 1):
        for position, index in enumerate(_order(len(labels), number - 1), 1):
            slots.append(Slot(number, position, *labels[index]))
    return slots


def _order(size: int, number: int) -> list[int]:
    """Row `number` of a Williams square: 0, 1, size - 1, 2, size - 2, … shifted by the row's number."""
    zigzag = [(place + 1) // 2 if place % 2 else (size - place // 2) % size for place in range(size)]
    return [(index + number) % size for index in zigzag]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    command_line.add_run(parser)
    parser.add_argument(
        "--variants",
        nargs="+",
        required=True,
        choices=list(VARIANTS),
        help="ways of measuring, none among them; none is run twice in every round",
    )
    parser.add_argument(
        "--rounds", type=int, required=True, help="rounds, after one run that is not compared"
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="JSON lines, one for each run")
    args = parser.parse_args()

    command_line.leave_by_exception()
    runs = args.output.with_name(args.output.name + ".runs")  # of a fixed name: a killed start's are found
    partial = args.output.with_name(args.output.name + ".partial")
    shutil.rmtree(runs, ignore_errors=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("w", encoding="utf-8") as records:
            for record in measure(args, runs):
                records.write(json.dumps(record) + "\n")
        partial.replace(args.output)
    except (supervisor.Defect, NotComparable) as error:
        sys.exit(f"{args.output}: {error}")
    finally:
        shutil.rmtree(runs, ignore_errors=True)
        partial.unlink(missing_ok=True)


def measure(args: argparse.Namespace, runs: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The records, in the order in which the runs are made; each run's files go once it has been read."""
    cell = json.loads(args.cell.read_text())
    worker_program = str(pathlib.Path(__file__).resolve().with_name("index_worker.py"))
    slots = schedule(args.variants, args.rounds)
    for number, slot in enumerate(slots, 1):
        variant = VARIANTS[slot.variant]
        directory = runs / str(number)
        paths = supervisor.Paths(args.collection, args.checkpoint, args.extensions, str(directory))
        outcome = supervisor.run(
            {**cell, **variant.changes}, args.documents, variant.profiler, slot.round, paths, worker_program
        )
        print(
            f"{number} of {len(slots)}: round {slot.round}, {slot.variant}{' again' * slot.again}: {outcome}",
            flush=True,
        )
        yield record_of(json.loads((directory / "run.json").read_text()), slot)
        shutil.rmtree(directory)


def record_of(run: dict[str, Any], slot: Slot) -> dict[str, Any]:
    """What is compared of a run; null where it did not complete."""
    resolved, memory = run["resolved"], run["memory"]
    return {
        **{name: run["run"][name] for name in ("system", "cell", "framework", "documents")},
        **slot._asdict(),
        "outcome": run["outcome"],
        "outcome_detail": run["outcome_detail"],
        "started_at": run["started_at"],
        "wall_seconds": run["wall_seconds"],
        "index_seconds": resolved.get("index_seconds"),
        **{f"{phase}_seconds": resolved.get(f"{phase}_seconds") for phase in _PHASES},
        "tree_peak_rss_mib": memory.get("tree_peak_rss_mib"),
        "index_peak_rss_mib": memory.get("index_peak_rss_mib"),
        "memray_heap_peak_mib": memory.get("memray_heap_peak_mib"),
        "samples": memory.get("samples"),
        "sampling_processor_seconds": run["sampling_processor_seconds"],
        "cpu_model": run["hardware"]["cpu_model"],
        "cpu_count": run["hardware"]["cpu_count"],
    }


if __name__ == "__main__":
    main()
