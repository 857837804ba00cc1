"""From the logs of a run under `ledger` to what was alive at its highest points.

A process of its own, after the run: `python -m indexscope.ledger.reduce RUN_DIRECTORY` reads the folder `ledger`
(see `capture`), events.jsonl and memory_curve.csv, and writes ledger.jsonl: a line for each process at each moment.
"""

from __future__ import annotations

import array
import bisect
import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.ledger import places
from indexscope.measure import records

KEPT_BYTES = 64 * 1024  # lines of the heap that hold less are added up
_TREE_PEAK = "tree peak"
_WHOLE_RUN = "peak of the whole run"
_HIGHEST = "highest point of "
_MOST = "most in tensors of "
_SAME_SECONDS = 0.005
_ALL_BUT = 0.99  # of the largest RSS
# A sample of the curve is of up to this much earlier or later: on a busy machine the supervisor waits in between.
_CURVE_EARLIER_SECONDS = 0.03
_CURVE_LATER_SECONDS = 0.25
_LIKE_MIB = 0.25  # the curve's own steps
# A sample of the allocator is looked for so far around a moment, of a state that is as close as this.
_SAMPLE_SECONDS = 0.5
_SAMPLE_MIB = 4
_ARENA_BYTES = 2**20 if sys.version_info >= (3, 10) else 2**18  # of Python's allocator of small objects

Line = dict[str, Any]


class Moment(NamedTuple):
    """A time at which a run is looked at; `highest_in` is the process whose memory chose it."""

    name: str
    seconds: float
    highest_in: int | None


class Curve:
    """memory_curve.csv: RSS and shared pages of each process, as steps."""

    def __init__(self, rows: Iterable[dict[str, str]]) -> None:
        self.steps: dict[int, tuple[list[float], list[float], list[float]]] = {}
        self.roles: dict[int, str] = {}
        self._order: list[tuple[float, int, float]] = []
        for row in rows:
            pid, at, rss = int(row["process_id"]), float(row["seconds"]), float(row["rss_mib"])
            times, sizes, shared = self.steps.setdefault(pid, ([], [], []))
            times.append(at)
            sizes.append(rss)
            shared.append(float(row.get("shared_mib") or 0))
            self.roles[pid] = row["role"]
            self._order.append((at, pid, rss))

    def at(self, seconds: float) -> dict[int, tuple[float, float]]:
        """{process: (RSS, shared)} in MiB of the processes that ran then."""
        found = {}
        for pid, (times, sizes, shared) in self.steps.items():
            position = bisect.bisect_right(times, seconds) - 1
            if position >= 0 and sizes[position]:
                found[pid] = (sizes[position], shared[position])
        return found

    def peak(self, started: float = 0.0, ended: float = math.inf) -> float | None:
        """When the sum over processes was largest between two moments; None where there is no sample."""
        current: dict[int, float] = {}
        best, best_at = -1.0, None
        position = 0
        while position < len(self._order):
            at = self._order[position][0]
            while position < len(self._order) and self._order[position][0] == at:
                _, pid, rss = self._order[position]
                current[pid] = rss
                position += 1
            if started <= at <= ended and sum(current.values()) > best:
                best, best_at = sum(current.values()), at
        return best_at


class Snapshots:
    """memray's own readings: time in seconds of the run; RSS, and what is allocated, in MiB."""

    def __init__(self, found: Iterable[Any], epoch_ms: float) -> None:
        self.times = array.array("d")
        self.rss = array.array("d")
        self.heap = array.array("d")
        for each in found:
            self.times.append((each.time - epoch_ms) / 1000)
            self.rss.append(each.rss / 2**20)
            self.heap.append(each.heap / 2**20)

    def nearest(self, seconds: float) -> int:
        position = bisect.bisect_left(self.times, seconds)
        around = [each for each in (position - 1, position) if 0 <= each < len(self.times)]
        return min(around, key=lambda each: abs(self.times[each] - seconds), default=0)

    def like(self, seconds: float, rss_mib: float) -> int:
        """The snapshot of the state that the curve sampled: close by, with the RSS that is closest."""
        first = bisect.bisect_left(self.times, seconds - _CURVE_EARLIER_SECONDS)
        last = bisect.bisect_right(self.times, seconds + _CURVE_LATER_SECONDS)

        def unlike(each: int) -> tuple[int, float]:
            return int(abs(self.rss[each] - rss_mib) / _LIKE_MIB), abs(self.times[each] - seconds)

        return min(range(first, last), key=unlike, default=self.nearest(seconds))

    def highest(self, intervals: Iterable[tuple[float, float]]) -> int | None:
        """The highest snapshot within any of the intervals.

        Where the allocator has free blocks, the RSS stays as it is while much is allocated: of snapshots whose RSS
        is all but the largest, it is the one with most allocated.
        """
        found: list[int] = []
        for started, ended in intervals:
            found += range(bisect.bisect_left(self.times, started), bisect.bisect_right(self.times, ended))
        largest = max((self.rss[each] for each in found), default=0.0)
        high = [each for each in found if self.rss[each] >= _ALL_BUT * largest]
        return max(high, key=self.heap.__getitem__, default=None)


class Process:
    """The logs of one recorded process."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.pid = pid
        self._log = folder / f"log.{pid}"
        self._heap = folder / f"memray.{pid}"
        self.role = "other"
        self.epoch_ms = 0.0
        self.calls: dict[str, list[tuple[float, float]]] = {}
        self.marks: list[Line] = []
        for event in self.events():
            if event["event"] == "process":
                self.role, self.epoch_ms = event["role"], event["epoch_ms"]
            elif event["event"] == "call":
                self.calls.setdefault(event["function"], []).append((event["began"], event["ended"]))
            elif event["event"] == "moment":
                self.marks.append(event)
            elif event["event"] == "fault":
                raise RuntimeError(f"the ledger of process {pid} failed: {event['error']}")
        self.snapshots = self._read_snapshots()

    def events(self) -> Iterator[Line]:
        return records.read(str(self._log))

    def _reader(self) -> Any:
        import memray

        return memray.FileReader(self._heap)

    def _read_snapshots(self) -> Snapshots:
        try:
            with self._reader() as reader:
                return Snapshots(reader.get_memory_snapshots(), self.epoch_ms)
        except (OSError, ValueError, ModuleNotFoundError):  # killed before memray had written anything
            return Snapshots([], self.epoch_ms)

    def heap_records(self) -> Iterator[Any]:
        if not len(self.snapshots.times):
            return
        with self._reader() as reader:
            try:
                yield from reader.get_temporal_allocation_records(merge_threads=True)
            except (OSError, ValueError):  # the last record is incomplete
                return


def choose_moments(
    curve: Curve, processes: Sequence[Process], phases: Sequence[Line], indexed: Line | None
) -> list[Moment]:
    """The tree's peak, each phase's highest point, and that of each function that has another.

    Args:
        curve: of all processes.
        processes: those that were recorded.
        phases: events of phases: process_id, phase, started_seconds, ended_seconds.
        indexed: the event of the index call; None when the run did not come to its end.
    """
    call = (indexed["started_seconds"], indexed["ended_seconds"]) if indexed else (0.0, math.inf)
    moments: list[Moment] = []
    peak, whole = curve.peak(*call), curve.peak()
    if peak is None:
        peak = whole
    if peak is not None:
        moments.append(Moment(_TREE_PEAK, peak, None))
    if whole is not None and peak is not None and _tree(curve, whole) > _tree(curve, peak):
        moments.append(Moment(_WHOLE_RUN, whole, None))
    by_pid = {process.pid: process for process in processes}
    names = list(dict.fromkeys(phase["phase"] for phase in phases))
    for name in names:
        best: tuple[float, float, int] | None = None
        for phase in phases:
            process = by_pid.get(phase["process_id"])
            if phase["phase"] != name or process is None:
                continue
            at = process.snapshots.highest([(phase["started_seconds"], phase["ended_seconds"])])
            if at is not None and (best is None or process.snapshots.rss[at] > best[0]):
                best = (process.snapshots.rss[at], process.snapshots.times[at], process.pid)
        if best is not None:
            moments.append(Moment(name, best[1], best[2]))
    return moments + _function_moments(processes, moments)


def _function_moments(processes: Sequence[Process], moments: Sequence[Moment]) -> list[Moment]:
    """Of each function its highest point, and when most was alive of what its own lines made."""
    found: list[Moment] = []
    for process in processes:
        highest = {
            _HIGHEST + function: process.snapshots.times[at]
            for function, calls in process.calls.items()
            if (at := process.snapshots.highest(calls)) is not None
        }
        own = _most_in_own_tensors(process.events(), process.calls)
        for name, seconds in [*highest.items(), *((_MOST + name, at) for name, at in own.items())]:
            taken = [each.seconds for each in (*moments, *found) if each.highest_in in (None, process.pid)]
            if all(abs(seconds - other) > _SAME_SECONDS for other in taken):
                found.append(Moment(name, seconds, process.pid))
    return found


def _most_in_own_tensors(events: Iterable[Line], functions: Iterable[str]) -> dict[str, float]:
    """When the tensors that lines of each function made held most: {function: time}."""
    best: dict[str, tuple[int, float]] = {}
    alive: dict[int, tuple[str, int]] = {}
    totals: dict[str, int] = {}
    named: dict[str, str | None] = {}
    known = list(functions)
    for event in events:
        if event["event"] == "birth" and event["function"]:
            place = event["function"]
            if place not in named:
                module, _, name = place.rpartition(".")
                # A place lacks the class.
                mine = (each for each in known if each.startswith(f"{module}.") and each.endswith(f".{name}"))
                named[place] = next(mine, None)
            function = named[place]
            if function is not None:
                alive[event["id"]] = (function, event["bytes"])
                total = totals[function] = totals.get(function, 0) + event["bytes"]
                if total > best.get(function, (0, 0.0))[0]:
                    best[function] = (total, event["made"])
        elif event["event"] == "death" and event["id"] in alive:
            function, size = alive.pop(event["id"])
            totals[function] -= size
    return {function: at for function, (_, at) in best.items()}


def facts_of(process: Process, times: Sequence[float], snapshots: Sequence[int]) -> list[Line]:
    """What was alive in a process at each of `times`, whose snapshots of the heap are `snapshots`."""
    marks = [process.snapshots.nearest(mark["at"]) for mark in process.marks]
    lines, totals = heap_lines(process.heap_records(), [*snapshots, *marks])
    tensors, found = log_facts(process.events(), times)
    overheads = [
        (mark["at"], mark["in_use"] - total)
        for mark, total in zip(process.marks, totals[len(snapshots) :], strict=True)
        if "in_use" in mark
    ]
    facts = []
    for position, seconds in enumerate(times):
        # Of marks, where this process was calm: elsewhere the two readings are of different moments.
        overhead = min(overheads, key=lambda each: abs(each[0] - seconds), default=None)
        rss_mib = process.snapshots.rss[snapshots[position]] if process.snapshots.times else None
        in_use = totals[position] + (overhead[1] if overhead else 0)
        sample = _like_state(found[position].pop("samples", []), seconds, in_use, rss_mib)
        facts.append(
            {
                **found[position],
                **({"sample": sample} if sample else {}),
                "at": seconds,
                "heap": lines[position],
                "heap_bytes": totals[position],
                "heap_at": process.snapshots.times[snapshots[position]] if process.snapshots.times else None,
                "heap_rss_mib": rss_mib,
                "tensors": tensors[position],
                "malloc_overhead_bytes": overhead[1] if overhead else None,
            }
        )
    return facts


def _like_state(samples: Sequence[Line], seconds: float, in_use: float, rss_mib: float | None) -> Line | None:
    """The allocator's sample of the state that a process was in: what it has in use and its RSS are the closest.

    The nearest in time may be of before a large block came or went.
    """

    def unlike(sample: Line) -> tuple[int, float]:
        apart = abs(sample.get("in_use", in_use) - in_use) / 2**20
        if rss_mib is not None:
            apart += abs((sample["anon"] + sample["file"] + sample["shmem"]) / 1024 - rss_mib)
        return int(apart / _SAMPLE_MIB), abs(sample["at"] - seconds)

    return min(samples, key=unlike, default=None)


def heap_lines(found: Iterable[Any], points: Sequence[int]) -> tuple[list[list[Line]], list[int]]:
    """Live blocks at each of `points` (indices of snapshots), by who allocated them.

    Args:
        found: memray's TemporalAllocationRecords.

    Returns:
        For each point the lines, largest first, and the bytes of blocks that malloc handed out. `kind` of a line is
        aligned (posix_memalign and its like, as tensors are), malloc, arena (of Python's small objects) or mapping,
        of which nothing says that it is resident.
    """
    order = sorted(range(len(points)), key=points.__getitem__)
    sorted_points = [points[each] for each in order]
    sums: list[dict[Any, list[int]]] = [{} for _ in points]
    totals = [0] * len(points)
    for record in found:
        place: places.Place | None = None
        allocator = int(record.allocator)
        for interval in record.intervals:
            first = bisect.bisect_left(sorted_points, interval.allocated_before_snapshot)
            freed = interval.deallocated_before_snapshot
            last = len(points) if freed is None else bisect.bisect_left(sorted_points, freed)
            if first >= last:
                continue
            if place is None:
                place = places.place_of(record.stack_trace())
            kind = _kind(allocator, interval)
            for at in range(first, last):
                cell = sums[order[at]].setdefault((kind, place), [0, 0])
                cell[0] += interval.n_bytes
                cell[1] += interval.n_allocations
                if kind in ("aligned", "malloc"):
                    totals[order[at]] += interval.n_bytes
    return [_merged(each) for each in sums], totals


# memray.AllocatorType, whose numbers are part of its file format.
_ALIGNED = (9, 10, 11)
_MMAP = 14


def _kind(allocator: int, interval: Any) -> str:
    if allocator == _MMAP:
        return "arena" if interval.n_bytes == interval.n_allocations * _ARENA_BYTES else "mapping"
    return "aligned" if allocator in _ALIGNED else "malloc"


def _merged(sums: dict[Any, list[int]]) -> list[Line]:
    """Lines of the heap; those of less than KEPT_BYTES are added up by kind and package."""
    merged: dict[Any, list[int]] = {}
    for (kind, place), (size, blocks) in sums.items():
        kept = place if size >= KEPT_BYTES else place._replace(function=None, source=None)
        cell = merged.setdefault((kind, kept), [0, 0])
        cell[0] += size
        cell[1] += blocks
    lines = [
        {"kind": kind, **place._asdict(), "bytes": size, "blocks": blocks}
        for (kind, place), (size, blocks) in merged.items()
    ]
    return sorted(lines, key=lambda line: -line["bytes"])


def log_facts(events: Iterable[Line], times: Sequence[float]) -> tuple[list[list[Line]], list[Line]]:
    """Live tensors at each of `times`, and what was read of the process nearest to each."""
    tensors = _Tensors(times)
    facts: list[Line] = [{} for _ in times]
    corpus: list[Line] = []
    for event in events:
        kind = event["event"]
        if kind in ("birth", "death", "weights"):
            tensors.note(event)
        elif kind in ("sample", "moment", "mappings"):
            for each, seconds in zip(facts, times, strict=True):
                _keep(each, event, seconds)
        elif kind == "corpus":
            corpus.append(event)
        elif kind == "trim":
            for each in facts:
                each["trim"] = event
    for each, seconds in zip(facts, times, strict=True):
        known = [found for found in corpus if found["at"] <= seconds]
        if known:
            each["corpus"] = {
                name: sum(found[name] for found in known) for name in ("strings", "small", "large")
            }
    return tensors.alive_at(), facts


class _Tensors:
    """Which storages were alive at each of some times; holds those that are alive alone."""

    def __init__(self, times: Sequence[float]) -> None:
        self._order = sorted(range(len(times)), key=times.__getitem__)
        self._sorted = [times[each] for each in self._order]
        self._found: list[list[Line]] = [[] for _ in times]
        self._alive: dict[int, Line] = {}

    def note(self, event: Line) -> None:
        if event["event"] == "birth":
            self._alive[event["id"]] = {name: value for name, value in event.items() if name != "event"}
        elif event["event"] == "weights":
            if event["id"] in self._alive:
                self._alive[event["id"]]["model"] = True
        elif event["id"] in self._alive:
            self._add(self._alive.pop(event["id"]), event["at"])

    def alive_at(self) -> list[list[Line]]:
        for birth in self._alive.values():
            self._add(birth, math.inf)
        self._alive = {}
        return self._found

    def _add(self, birth: Line, died: float) -> None:
        # Weights that were loaded were found after they had been made.
        first = 0 if birth.get("weights") else bisect.bisect_left(self._sorted, birth["at"])
        for at in range(first, bisect.bisect_left(self._sorted, died)):
            self._found[self._order[at]].append(birth)


def _keep(facts: Line, event: Line, seconds: float) -> None:
    """Keep an event where it is the nearest of its kind; of the allocator's samples all that are near."""
    if event["event"] == "mappings":
        _keep_nearest(facts, "mappings", event, seconds)
        return
    if abs(event["at"] - seconds) < _SAMPLE_SECONDS:
        facts.setdefault("samples", []).append(event)
    _keep_nearest(facts, "sample", event, seconds)
    if "gpu" in event:
        _keep_nearest(facts, "gpu", {**event["gpu"], "at": event["at"]}, seconds)


def _keep_nearest(facts: Line, name: str, event: Line, seconds: float) -> None:
    if name not in facts or abs(event["at"] - seconds) < abs(facts[name]["at"] - seconds):
        facts[name] = event


def reduce(directory: Path) -> Iterator[Line]:
    """A line for each process at each moment; see `facts_of`.

    Processes that were not recorded, such as multiprocessing's manager, have `recorded` null.
    """
    folder = directory / "ledger"
    with (directory / "memory_curve.csv").open(encoding="utf-8") as file:
        curve = Curve(csv.DictReader(file))
    events = list(records.read(str(directory / "events.jsonl")))
    names = {event["process_id"]: event["name"] for event in events if event["event"] == "process"}
    phases = [event for event in events if event["event"] == "phase"]
    indexed = next((event for event in events if event["event"] == "indexed"), None)
    processes = [
        Process(folder, int(path.suffix[1:])) for path in sorted(folder.glob("log.*")) if path.stat().st_size
    ]
    moments = choose_moments(curve, processes, phases, indexed)
    trees = [_memory_at(moment, curve, processes) for moment in moments]
    recorded: dict[tuple[int, int], Line] = {}
    for process in processes:
        present = [position for position, tree in enumerate(trees) if process.pid in tree]
        chosen = [
            process.snapshots.like(moments[position].seconds, trees[position][process.pid][0])
            if moments[position].highest_in is None
            else process.snapshots.nearest(moments[position].seconds)
            for position in present
        ]
        times = [
            process.snapshots.times[at]
            if process.snapshots.times and moments[position].highest_in is None
            else moments[position].seconds
            for position, at in zip(present, chosen, strict=True)
        ]
        for position, facts in zip(present, facts_of(process, times, chosen), strict=True):
            recorded[position, process.pid] = facts
    for position, (moment, tree) in enumerate(zip(moments, trees, strict=True)):
        for pid, (rss, shared) in sorted(tree.items()):
            yield {
                "moment": moment.name,
                "seconds": round(moment.seconds, 4),
                "tree_rss_mib": round(sum(size for size, _ in tree.values()), 3),
                "process_id": pid,
                "role": curve.roles.get(pid, "other"),
                "name": names.get(pid),
                "rss_mib": round(rss, 3),
                "shared_mib": round(shared, 3),
                "recorded": recorded.get((position, pid)),
            }


def _memory_at(moment: Moment, curve: Curve, processes: Sequence[Process]) -> dict[int, tuple[float, float]]:
    """RSS and shared pages of each process; of the one that chose the moment, as memray read it then."""
    tree = curve.at(moment.seconds)
    for process in processes:
        if process.pid == moment.highest_in and process.pid in tree and len(process.snapshots.times):
            rss = process.snapshots.rss[process.snapshots.nearest(moment.seconds)]
            tree[process.pid] = (rss, tree[process.pid][1])
    return tree


def _tree(curve: Curve, seconds: float) -> float:
    return sum(rss for rss, _ in curve.at(seconds).values())


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m indexscope.ledger.reduce RUN_DIRECTORY")
    directory = Path(sys.argv[1])
    partial = directory / "ledger.jsonl.partial"
    with partial.open("w", encoding="utf-8") as file:
        for line in reduce(directory):
            file.write(json.dumps(line) + "\n")
    partial.replace(directory / "ledger.jsonl")


if __name__ == "__main__":
    main()
