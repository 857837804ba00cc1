"""A run for other viewers: a Chrome trace (Perfetto) and a speedscope file, made of its run directory.

Chrome trace: "Trace Event Format", phases M, X, C and i
(https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU). Perfetto asks more of it:
slices of one track nest, and a thread id belongs to one process.
speedscope: https://www.speedscope.app/file-format-schema.json, profiles of type `evented` and `sampled`.

The memory curve is read twice as a stream, so a long run takes no more memory than a short one. Spans are held:
there is one for each call of an instrumented function.
"""

from __future__ import annotations

import csv
import heapq
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from indexscope.run_record import COMPLETED, InputError, RunIdentity, read_run_record

EXPORTER = "IndexScope"
SPEEDSCOPE_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
MOST_SAMPLES = 250_000  # rows of a curve beyond which its counters are thinned
MAIN_THREAD = "MainThread"
OUTSIDE = "outside of instrumented functions"

_AGAIN = "the file is damaged; run index_collection.py again"
_MICROSECONDS = 1_000_000
_MIB = 2**20
_CURVE_KEY = ("seconds", "process_id", "parent_process_id", "role")
_RSS = "rss_mib"
_NAMES = {_RSS: "RSS (MiB)"}

Event = dict[str, Any]


class Span(NamedTuple):
    """A call of an instrumented function; times in microseconds since the worker was started, sizes in MiB."""

    process_id: int
    thread: str
    function: str
    call: int
    depth: int
    started: int
    ended: int
    start_rss_mib: float
    end_rss_mib: float
    raised: str | None
    rest: Mapping[str, Any]  # the other columns that have a value

    @property
    def short(self) -> str:
        """Class and name of the function, without its module."""
        return ".".join(self.function.rsplit(".", 2)[-2:])


class Sample(NamedTuple):
    """A row of the memory curve: what a process held from this moment on."""

    at: int  # microseconds
    process_id: int
    role: str
    values: tuple[float, ...]  # MiB, of Curve.columns


@dataclass(frozen=True)
class Curve:
    """The memory curve of a run, read as a stream, and what a first pass found in it.

    Args:
        columns: the measured ones, `rss_mib` first.
        rows: how many there are.
        roles: process id → role, in the order in which processes appear.
        end: moment of the last row (microseconds).
        peak_at: the sample at which the sum of RSS over all processes is largest; None without a row.
        peak_mib: that sum.
    """

    path: Path
    columns: tuple[str, ...]
    rows: int
    roles: Mapping[int, str]
    end: int
    peak_at: int | None
    peak_mib: float

    def samples(self) -> Iterator[Sample]:
        return _samples(self.path, self.columns)


@dataclass(frozen=True)
class Track:
    """Spans of one thread that nest or follow each other, sorted by their start, a parent before its children."""

    process_id: int
    thread: str
    thread_id: int
    spans: Sequence[Span]


@dataclass(frozen=True)
class Run:
    """A run directory, as far as it is needed here."""

    identity: RunIdentity
    record: Mapping[str, Any]
    curve: Curve
    tracks: Sequence[Track]
    roles: Mapping[int, str]  # of every process
    tree: int  # process id that stands for the whole process tree; no process of the run has it

    @property
    def name(self) -> str:
        one = self.identity
        return f"{one.system}, {one.documents:,} documents, profiler {one.profiler}, repeat {one.repeat}"

    @property
    def end(self) -> int:
        """Microseconds."""
        wall = round(_MICROSECONDS * float(self.record.get("wall_seconds") or 0))
        ended = (span.ended for track in self.tracks for span in track.spans)
        return max(wall, self.curve.end, *ended, 0)

    def process_name(self, process_id: int) -> str:
        return f"{self.roles[process_id]} {process_id}"


# Reading


def read(directory: Path) -> Run:
    """Read a run directory.

    Raises:
        InputError: run.json, spans.jsonl or memory_curve.csv is missing or damaged. A last line that a killed
            process left incomplete is passed over.
    """
    path = directory / "run.json"
    record = read_run_record(path)
    identity = RunIdentity.of(record["run"], path)
    curve = read_curve(directory / "memory_curve.csv")
    spans, roles = _read_spans(directory / "spans.jsonl")
    for process in record.get("processes") or []:
        roles.setdefault(process["process_id"], process["role"])
    # A process announces its role; the curve learns it from there, but a killed run may know it from spans only.
    roles = {**curve.roles, **roles}
    highest = max(roles, default=0)
    return Run(identity, record, curve, tracks(spans, first_free=highest + 2), roles, tree=highest + 1)


def _complete_lines(file: TextIO) -> Iterator[str]:
    return (line for line in file if line.endswith("\n"))


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {_AGAIN}") from error


def _read_spans(path: Path) -> tuple[list[Span], dict[int, str]]:
    """The spans and the role of each process that has one."""
    spans, roles = [], {}
    with _open(path) as file:
        for number, line in enumerate(_complete_lines(file), 1):
            try:
                row = json.loads(line)
                spans.append(_span(row))
                roles[int(row["process_id"])] = str(row["role"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{path}:{number}: {error!r}: {_AGAIN}") from error
    return spans, roles


def _span(row: dict[str, Any]) -> Span:
    started, ended = (round(_MICROSECONDS * row.pop(f"{side}_seconds")) for side in ("started", "ended"))
    taken = ("process_id", "thread", "function", "call", "depth", "start_rss_mib", "end_rss_mib", "raised")
    columns = {name: row[name] for name in taken}
    columns["thread"] = columns["thread"] or "thread"
    rest = {key: value for key, value in row.items() if value is not None and key not in {*taken, "role"}}
    return Span(started=started, ended=max(started, ended), rest=rest, **columns)


def read_curve(path: Path) -> Curve:
    """Look through a memory_curve.csv once.

    Raises:
        InputError: it cannot be read, or a line is malformed (named by its number).
    """
    with _open(path) as file:
        header = next(csv.reader(_complete_lines(file)), [*_CURVE_KEY, _RSS])
    if header[: len(_CURVE_KEY)] != list(_CURVE_KEY) or _RSS not in header:
        raise InputError(f"{path}:1: {','.join(header)!r} is not the header of a memory curve: {_AGAIN}")
    columns = (_RSS, *(name for name in header if name.endswith("_mib") and name != _RSS))
    rows, end, peak, peak_at = 0, 0, 0.0, None
    roles: dict[int, str] = {}
    for at, total, changed in _tree(_samples(path, columns)):
        rows += len(changed)
        end = at
        roles.update((sample.process_id, sample.role) for sample in changed)
        if peak_at is None or total > peak:
            peak, peak_at = total, at
    return Curve(path, columns, rows, roles, end, peak_at, peak)


def _samples(path: Path, columns: Sequence[str]) -> Iterator[Sample]:
    with _open(path) as file:
        reader = csv.reader(_complete_lines(file))
        header = next(reader, None)
        if header is None:
            return
        places = [header.index(name) for name in columns]
        for row in reader:
            try:
                seconds, process_id, _, role = row[: len(_CURVE_KEY)]
                values = tuple(float(row[place] or 0) for place in places)
                yield Sample(round(_MICROSECONDS * float(seconds)), int(process_id), role, values)
            except (ValueError, IndexError) as error:
                raise InputError(f"{path}:{reader.line_num}: {error}: {_AGAIN}") from error


def _tree(samples: Iterable[Sample]) -> Iterator[tuple[int, float, list[Sample]]]:
    """Moment, sum of RSS over all processes (MiB), and the rows, of each sample of the tree.

    The curve has no row where nothing changes: what was written last of a process holds until then.
    """
    current: dict[int, float] = {}
    for at, rows in itertools.groupby(samples, key=lambda sample: sample.at):
        changed = list(rows)
        current.update((sample.process_id, sample.values[0]) for sample in changed)
        yield at, sum(current.values()), changed


# Tracks


def tracks(spans: Iterable[Span], first_free: int) -> list[Track]:
    """Spans by process and thread; where those of one thread's name overlap, in several tracks.

    Args:
        first_free: the lowest thread id that may be given out. A main thread has its process's id, as on Linux.
    """
    by_thread: dict[tuple[int, str], list[Span]] = {}
    for span in spans:
        by_thread.setdefault((span.process_id, span.thread), []).append(span)
    free = itertools.count(first_free)
    found = []
    main_first = sorted(by_thread, key=lambda key: (key[0], key[1] != MAIN_THREAD, key[1]))
    for process_id, thread in main_first:
        for number, lane in enumerate(_lanes(by_thread[process_id, thread]), 1):
            is_main = thread == MAIN_THREAD and number == 1
            name = thread if number == 1 else f"{thread} ({number})"
            found.append(Track(process_id, name, process_id if is_main else next(free), lane))
    return found


def _lanes(spans: Sequence[Span]) -> list[list[Span]]:
    """`spans` in as few lists as the first-fit rule finds, in each of which they nest or follow each other."""
    lanes: list[list[Span]] = []
    open_spans: list[list[Span]] = []
    for span in sorted(spans, key=lambda each: (each.started, -each.ended, each.depth)):
        for lane, stack in zip(lanes, open_spans, strict=True):
            while stack and stack[-1].ended <= span.started:
                stack.pop()
            if not stack or span.ended <= stack[-1].ended:
                lane.append(span)
                stack.append(span)
                break
        else:
            lanes.append([span])
            open_spans.append([span])
    return lanes


class _Boundary(NamedTuple):
    at: int
    opens: bool
    span: Span
    track: int  # its place in Run.tracks


def _boundaries(track: Track, place: int) -> Iterator[_Boundary]:
    """Entries and exits of a track in the order of time, a child's exit before its parent's."""
    stack: list[Span] = []
    for span in track.spans:
        while stack and stack[-1].ended <= span.started:
            ended = stack.pop()
            yield _Boundary(ended.ended, False, ended, place)
        stack.append(span)
        yield _Boundary(span.started, True, span, place)
    while stack:
        ended = stack.pop()
        yield _Boundary(ended.ended, False, ended, place)


# Chrome trace


def trace_events(
    run: Run, parts: Iterable[Mapping[str, Any]] = (), most: int = MOST_SAMPLES
) -> Iterator[Event]:
    """The events: names of processes and threads, then slices, then counters.

    Args:
        parts: rows of the table ledger of this run, for counters of the parts of its memory.
        most: rows of the curve beyond which its counters are thinned (counter_step).
    """
    yield from _metadata(run)
    yield from _run_events(run)
    for track in run.tracks:
        yield from (_slice(span, track) for span in track.spans)
        yield from _raises(track)
    yield from _failed_attempts(run)
    yield from _counters_at_ends(run)
    yield from _curve_counters(run, counter_step(run.curve, most))
    yield from _part_counters(parts)


def counter_step(curve: Curve, most: int = MOST_SAMPLES) -> int:
    """Microseconds within which only the highest and the last value are kept; 0: every sample is."""
    return 0 if curve.rows <= most else -(-curve.end * len(curve.roles) // most)


def _metadata(run: Run) -> Iterator[Event]:
    def name(of: str, process_id: int, thread_id: int, **arguments: Any) -> Event:
        return {"ph": "M", "name": of, "pid": process_id, "tid": thread_id, "args": arguments}

    yield name("process_name", run.tree, run.tree, name="process tree")
    yield name("process_sort_index", run.tree, run.tree, sort_index=0)
    yield name("thread_name", run.tree, run.tree, name="run")
    for order, process_id in enumerate(run.roles, 1):
        yield name("process_name", process_id, process_id, name=run.roles[process_id])
        yield name("process_sort_index", process_id, process_id, sort_index=order)
    named = {(track.process_id, track.thread_id): track.thread for track in run.tracks}
    for process_id in run.roles:
        named.setdefault((process_id, process_id), MAIN_THREAD)
    for (process_id, thread_id), thread in named.items():
        yield name("thread_name", process_id, thread_id, name=thread)


def _run_events(run: Run) -> Iterator[Event]:
    """The run as a slice of the tree, its peak, and how it ended where it did not complete."""
    outcome = run.record["outcome"]
    memory = run.record.get("memory") or {}
    told = {
        key: memory[key] for key in ("tree_peak_rss_mib", "tree_peak_moment") if memory.get(key) is not None
    }
    resolved = {key: value for key, value in (run.record.get("resolved") or {}).items() if value is not None}
    own = {"pid": run.tree, "tid": run.tree}
    arguments = {"outcome": outcome, **run.identity.columns(), **told, **resolved}
    attempts = run.record.get("attempts") or []
    if attempts:
        arguments["attempts"] = attempts
    yield {"ph": "X", "cat": "run", "name": run.name, "ts": 0, "dur": run.end, "args": arguments, **own}
    if run.curve.peak_at is not None:
        peak = {"rss_mib": round(run.curve.peak_mib, 3)}
        yield _instant("run", "highest point of the process tree", run.curve.peak_at, own, peak)
    if outcome != COMPLETED:
        detail = {"detail": run.record.get("outcome_detail") or ""}
        yield _instant("outcome", outcome, run.end, own, detail)


def _instant(category: str, name: str, at: int, track: Mapping[str, int], arguments: Event) -> Event:
    # Scope p: drawn across its process.
    return {"ph": "i", "s": "p", "cat": category, "name": name, "ts": at, "args": arguments, **track}


def _slice(span: Span, track: Track) -> Event:
    arguments = {
        "function": span.function,
        "call": span.call,
        "start_rss_mib": span.start_rss_mib,
        "end_rss_mib": span.end_rss_mib,
        **span.rest,
    }
    if span.raised:
        arguments["raised"] = span.raised
    return {
        "ph": "X",
        "cat": "phase" if "end_pss_mib" in span.rest else "function",
        "name": span.short,
        "pid": track.process_id,
        "tid": track.thread_id,
        "ts": span.started,
        "dur": span.ended - span.started,
        "args": arguments,
    }


def _raised_in(track: Track) -> list[Span]:
    """Spans out of which an exception came that came out of no call in them: where each was raised."""
    found: list[Span] = []
    passed: set[int] = set()  # by identity: spans that a call's exception went through
    stack: list[Span] = []
    for each in _boundaries(track, 0):
        if each.opens:
            stack.append(each.span)
            continue
        stack.pop()
        if each.span.raised and id(each.span) not in passed:
            found.append(each.span)
        if each.span.raised and stack and stack[-1].raised == each.span.raised:
            passed.add(id(stack[-1]))
    return found


def _raises(track: Track) -> Iterator[Event]:
    own = {"pid": track.process_id, "tid": track.thread_id}
    for span in _raised_in(track):
        yield _instant(
            "exception", f"{span.raised} in {span.short}", span.ended, own, {"function": span.function}
        )


def _failed_attempts(run: Run) -> Iterator[Event]:
    """K-means attempts that failed, where the exception left the k-means; without a span no moment is known."""
    ends: dict[int, Iterator[tuple[Span, Track]]] = {}
    for track in run.tracks:
        raised = (
            (span, track)
            for span in _raised_in(track)
            if "kmeans" in span.function or "train" in span.function
        )
        ends[track.process_id] = itertools.chain(ends.get(track.process_id, iter(())), list(raised))
    for number, attempt in enumerate(run.record.get("attempts") or [], 1):
        if "failure" not in attempt:
            continue
        found = next(ends.get(attempt.get("process_id"), iter(())), None)
        if found is None:
            continue
        span, track = found
        name = f"k-means attempt {number} failed: {attempt.get('backend')}"
        own = {"pid": track.process_id, "tid": track.thread_id}
        yield _instant("attempt", name, span.ended, own, dict(attempt))


def _counter(name: str, process_id: int, at: int, **values: float) -> Event:
    # A counter belongs to its process; the thread id is there because some readers want one.
    return {"ph": "C", "name": name, "pid": process_id, "tid": process_id, "ts": at, "args": values}


def _counters_at_ends(run: Run) -> Iterator[Event]:
    """What is read as a span ends: PSS of phases, and of the GPU what PyTorch allocated and reserved."""
    spans = sorted((span for track in run.tracks for span in track.spans), key=lambda span: span.ended)
    for span in spans:
        if (pss := span.rest.get("end_pss_mib")) is not None:
            yield _counter("PSS at the end of phases (MiB)", span.process_id, span.ended, value=pss)
        if (pss := span.rest.get("end_tree_pss_mib")) is not None:
            yield _counter("PSS at the end of phases (MiB)", run.tree, span.ended, value=pss)
        for quantity in ("allocated", "reserved"):
            if (gpu := span.rest.get(f"gpu_{quantity}_mib")) is not None:
                yield _counter(f"GPU {quantity} (MiB)", span.process_id, span.ended, value=gpu)


def _curve_counters(run: Run, step: int) -> Iterator[Event]:
    names = [
        _NAMES.get(name, f"{name.removesuffix('_mib').replace('_', ' ')} (MiB)") for name in run.curve.columns
    ]
    thinned = _Thinned(step)
    for at, total, changed in _tree(run.curve.samples()):
        for sample in changed:
            for name, value in zip(names, sample.values, strict=True):
                yield from thinned.add(name, sample.process_id, at, value)
        yield from thinned.add(names[0], run.tree, at, round(total, 3))
    yield from thinned.rest()


@dataclass
class _Pending:
    step: int
    highest: tuple[int, float]
    last: tuple[int, float]


@dataclass
class _Thinned:
    """Of each counter and step of time the highest value, at its own moment, and the last; all without a step."""

    step: int
    _pending: dict[tuple[str, int], _Pending] = field(default_factory=dict)

    def add(self, name: str, process_id: int, at: int, value: float) -> Iterator[Event]:
        if not self.step:
            yield _counter(name, process_id, at, value=value)
            return
        key = (name, process_id)
        pending = self._pending.get(key)
        if pending is None or at // self.step != pending.step:
            yield from self._told(key)
            self._pending[key] = _Pending(at // self.step, (at, value), (at, value))
            return
        pending.last = (at, value)
        if value > pending.highest[1]:
            pending.highest = (at, value)

    def rest(self) -> Iterator[Event]:
        for key in self._pending:
            yield from self._told(key)

    def _told(self, key: tuple[str, int]) -> Iterator[Event]:
        pending = self._pending.get(key)
        if pending is not None:
            for at, value in dict.fromkeys([pending.highest, pending.last]):
                yield _counter(*key, at, value=value)


def _part_counters(rows: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    """Parts of each process's memory at the moments that the ledger looked at, as series of one counter."""
    sums: dict[tuple[int, int], dict[str, float]] = {}
    for row in rows:
        if row["device"] != "cpu":
            continue
        at = round(_MICROSECONDS * row["seconds"])
        parts = sums.setdefault((at, row["process_id"]), {})
        parts[row["part"]] = parts.get(row["part"], 0.0) + row["mib"]
    for (at, process_id), parts in sorted(sums.items(), key=lambda item: item[0]):
        for part, mib in parts.items():
            yield _counter(f"part: {part} (MiB)", process_id, at, value=round(mib, 3))


# speedscope


@dataclass
class _Frames:
    """Names by number; speedscope stores each name once."""

    numbers: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))


def speedscope(run: Run) -> dict[str, Any]:
    """Who makes the peak, in bytes, then the time of each thread, as profiles of one speedscope file."""
    frames = _Frames()
    profiles = [_peak_profile(run, frames)]
    profiles += [_time_profile(run, place, frames) for place in range(len(run.tracks))]
    return {
        "$schema": SPEEDSCOPE_SCHEMA,
        "exporter": EXPORTER,
        "name": run.name,
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": name} for name in frames.numbers]},
        "profiles": profiles,
    }


def _time_profile(run: Run, place: int, frames: _Frames) -> dict[str, Any]:
    track = run.tracks[place]
    events = [
        {"type": "O" if each.opens else "C", "frame": frames[each.span.short], "at": each.at}
        for each in _boundaries(track, place)
    ]
    return {
        "type": "evented",
        "name": f"time: {run.process_name(track.process_id)}, {track.thread}",
        "unit": "microseconds",
        "startValue": 0,
        "endValue": run.end,
        "events": events,
    }


def _peak_profile(run: Run, frames: _Frames) -> dict[str, Any]:
    samples, weights = [], []
    for stack, size in peak_stacks(run):
        samples.append([frames[name] for name in stack])
        weights.append(size)
    return {
        "type": "sampled",
        "name": "who makes the highest point of the process tree",
        "unit": "bytes",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }


@dataclass
class _Process:
    """What a process holds, by the calls under which its RSS last rose to each level."""

    level: int = 0
    held: list[tuple[tuple[str, ...], int]] = field(default_factory=list)

    def reach(self, level: int, stack: tuple[str, ...]) -> None:
        """RSS became `level` bytes under `stack`; what is given back is what was taken last."""
        rise = level - self.level
        self.level = level
        if rise > 0:
            if self.held and self.held[-1][0] == stack:
                rise += self.held.pop()[1]
            self.held.append((stack, rise))
        while rise < 0:
            under, size = self.held.pop()
            rise += size
            if rise > 0:
                self.held.append((under, rise))


def peak_stacks(run: Run) -> list[tuple[tuple[str, ...], int]]:
    """Stacks with the bytes that the tree's highest point owes to each; they add up to it.

    A byte is counted under the call that was open when the process's RSS rose through that level for the last
    time before. What had been given back by then does not count. Points are the samples of the curve and the RSS
    at the boundaries of spans; of several threads with open calls the one that entered its call last counts.
    """
    if run.curve.peak_at is None:
        return []
    processes: dict[int, _Process] = {}
    stacks: list[list[Span]] = [[] for _ in run.tracks]
    entered: dict[int, list[int]] = {}  # process id → places of tracks, one for each open span

    def stack_of(process_id: int) -> tuple[str, ...]:
        first = run.process_name(process_id)
        if not entered.get(process_id):
            return (first, OUTSIDE)
        place = entered[process_id][-1]
        thread = run.tracks[place].thread
        names = [] if thread == MAIN_THREAD else [thread]
        return (first, *names, *(span.short for span in stacks[place]))

    def reach(process_id: int, mib: float) -> None:
        process = processes.setdefault(process_id, _Process())
        process.reach(round(mib * _MIB), stack_of(process_id))

    latest: dict[int, float] = {}
    boundaries = heapq.merge(
        *(_boundaries(track, place) for place, track in enumerate(run.tracks)), key=lambda each: each.at
    )
    points: Iterable[_Boundary | Sample] = heapq.merge(
        boundaries, run.curve.samples(), key=lambda each: each.at
    )
    for point in points:
        if point.at > run.curve.peak_at:
            break
        if isinstance(point, Sample):
            latest[point.process_id] = point.values[0]
            reach(point.process_id, point.values[0])
            continue
        process_id = point.span.process_id
        if point.opens:
            reach(process_id, point.span.start_rss_mib)
            stacks[point.track].append(point.span)
            entered.setdefault(process_id, []).append(point.track)
        else:
            reach(process_id, point.span.end_rss_mib)
            stacks[point.track].pop()
            _remove_last(entered[process_id], point.track)
    for process_id in processes:
        # The curve decides: it has no row where little changed since the last one.
        reach(process_id, latest.get(process_id, 0.0))
    return [each for process in processes.values() for each in process.held]


def _remove_last(places: list[int], place: int) -> None:
    del places[len(places) - 1 - places[::-1].index(place)]


# Writing


def write(
    run: Run, prefix: Path, parts: Iterable[Mapping[str, Any]] = (), most: int = MOST_SAMPLES
) -> list[Path]:
    """Write PREFIX.trace.json and PREFIX.speedscope.json, each through a temporary name; returns the two."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    trace = prefix.with_name(prefix.name + ".trace.json")
    profile = prefix.with_name(prefix.name + ".speedscope.json")
    partials = [path.with_name(path.name + ".partial") for path in (trace, profile)]
    try:
        with partials[0].open("w", encoding="utf-8") as file:
            _write_trace(run, file, parts, most)
        with partials[1].open("w", encoding="utf-8") as file:
            json.dump(speedscope(run), file, ensure_ascii=False)
            file.write("\n")
    except BaseException:
        for partial in partials:
            partial.unlink(missing_ok=True)
        raise
    for partial, path in zip(partials, (trace, profile), strict=True):
        partial.replace(path)
    return [trace, profile]


def _write_trace(run: Run, file: TextIO, parts: Iterable[Mapping[str, Any]], most: int) -> None:
    """The JSON object form of the format, an event on each line."""
    step = counter_step(run.curve, most)
    told = {
        "exporter": EXPORTER,
        "run": run.identity.run,
        "outcome": run.record["outcome"],
        "started_at": run.record.get("started_at"),
        "counters": "every sample" if not step else f"highest and last of each {step / _MICROSECONDS:.6g} s",
    }
    head = json.dumps({"displayTimeUnit": "ms", "otherData": told}, ensure_ascii=False)
    file.write(head[:-1] + ', "traceEvents": [')
    separator = "\n"
    for event in trace_events(run, parts, most):
        file.write(separator + json.dumps(event, ensure_ascii=False))
        separator = ",\n"
    file.write("\n]}\n")
