"""The parent of a measured run: starts the worker, samples its process tree, and writes the run directory.

What it records survives the worker's death. How a run ends is a result: an out-of-memory run is an outcome,
not a crash. Only a defect of IndexScope itself is raised as an error.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import importlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from . import (
    beside,
    devices,
    extension_locks,
    gpu,
    heap,
    nvml,
    place,
    proc,
    process_tree,
    provenance,
    records,
    scratch,
    supervised,
    unfinished,
    worker,
)

FORMAT = 1  # of run.json
FILES = ("spans.jsonl", "memory_curve.csv", "memory_profiler.log", "ledger.jsonl", "stdout.log")
DUMPS = "dumps"  # a folder, of the profiler of that name
LEDGER = "ledger"  # the same; it is reduced to a file and goes
GPU_CURVE = "gpu_curve.csv"  # of runs on a GPU only

_STAGE_SECONDS = 2.0  # between two looks at which stage an index has reached
_EXIT_SECONDS = 0.5  # a peak this shortly before a process ended is of its exit
_PINNED_ALLOCATOR = "glibc.malloc.mmap_threshold=1048576:glibc.malloc.trim_threshold=1048576"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class Defect(Exception):
    """Something in IndexScope itself, or in what it was given, is wrong: no result can come of it."""


class Repeated(Exception):
    """The run ended for want of what its next attempt will be given: it has no result yet."""


class Paths(NamedTuple):
    """What a run reads and writes."""

    collection: str  # JSON lines
    checkpoint: str
    extensions: Optional[str]  # TORCH_EXTENSIONS_DIR
    output: str  # the run directory
    donor: Optional[str] = None  # the run directory that injected artifacts come from
    scratch: Optional[str] = None  # folder below which the index is built, then copied to the run directory


def run(
    cell: Dict[str, Any],
    documents: int,
    profiler: str,
    repeat: int,
    paths: Paths,
    worker_program: str,
    obstacle: Optional[str] = None,
) -> str:
    """Measure one run of `cell` and write its directory; returns the outcome.

    With an `obstacle`, a sentence, no worker is started: the run has failed, and that is why.

    A cell with `resume: true` goes on with the index that an earlier attempt left unfinished, and leaves its own
    where it is ended from outside. All other runs begin anew: they measure the whole.

    Raises:
        Defect: the run is being measured already, what it is given cannot be read, or the worker failed in
            IndexScope's own code.
        Repeated: a scheduler will start the run again, with more memory.
    """
    partial = paths.output.rstrip("/") + ".partial"
    # Artifacts that are dumped on the way are those of the whole way.
    resumes = bool(cell.get("resume")) and profiler != DUMPS and obstacle is None
    lock = _lock(partial)
    left: Sequence[str] = os.listdir(
        partial
    )  # what stays for the next attempt: at first, what the last one left
    try:
        attempt = place.begin(partial)
        where = _place(attempt)
        resumed = _go_on(cell, documents, profiler, paths, partial) if resumes else None
        left = _left(resumes, where)
        if not resumes:
            unfinished.empty(partial, keep=[place.ATTEMPTS])
        if obstacle is None:
            written = paths._replace(output=partial)
            if paths.extensions is not None:
                extension_locks.clear(paths.extensions)
            try:
                record = _measure(
                    cell, documents, profiler, repeat, written, worker_program, attempt, resumes
                )
            except Defect:  # nothing goes on with what came of a mistake of our own
                left = ()
                raise
        else:
            record = _not_measured(cell, documents, profiler, repeat, partial, obstacle)
        record.update(place={**where, **record["place"]}, resumed=resumed)
        outcome: str = record["outcome"]
        if outcome != "completed":
            attempt.ended(": ".join(filter(None, (outcome, record["outcome_detail"]))))
            if place.is_repeated(outcome, _passed_own_limit(cell, record)):
                raise Repeated(record["outcome_detail"])
        _publish(partial, paths.output, record)
        left = _left(unfinished.may_go_on(outcome) and resumes, where) if outcome != "completed" else ()
    finally:
        unfinished.leave(partial, left)
        os.close(lock)
    return outcome


def _passed_own_limit(cell: Dict[str, Any], record: Dict[str, Any]) -> bool:
    """Whether it is the configuration that let a run have no more memory."""
    own = cell.get("memory_limit_mib") is not None and record["memory"].get("tree_peak_rss_mib")
    return cell.get("allocation_limit_mib") is not None or bool(own and own > cell["memory_limit_mib"])


def _left(resumes: bool, where: Dict[str, Any]) -> List[str]:
    """What stays of a run that does not complete: an index to go on with; where jobs are tried again, that it was."""
    if resumes:
        return [place.ATTEMPTS, *unfinished.KEPT]
    return [place.ATTEMPTS] if where["scheduler"] is not None else []


def _go_on(
    cell: Dict[str, Any], documents: int, profiler: str, paths: Paths, partial: str
) -> Optional[Dict[str, Any]]:
    """Empty `partial` but for an unfinished index of this same run; what a record calls `resumed`.

    Raises:
        Defect: the collection or the checkpoint cannot be read.
    """
    try:
        this = unfinished.identity(cell, documents, profiler, paths.collection, paths.checkpoint)
    except OSError as error:
        raise Defect("what the index is made of cannot be read: %s" % error) from error
    if unfinished.belongs(partial, this):
        unfinished.empty(partial, keep=[place.ATTEMPTS, *unfinished.KEPT])
        return unfinished.go_on(partial, cell["framework"])
    unfinished.empty(partial, keep=[place.ATTEMPTS])
    unfinished.claim(partial, this)
    return None


def _lock(partial: str) -> int:
    """Make `partial` this process's own; what a killed supervisor left is still there."""
    os.makedirs(partial, exist_ok=True)
    lock = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Defect(
            "another process is measuring this run; wait for it, or end it: fuser %s" % partial
        ) from None
    return lock


def _measure(
    cell: Dict[str, Any],
    documents: int,
    profiler: str,
    repeat: int,
    paths: Paths,
    worker_program: str,
    attempt: place.Attempt,
    resumes: bool,
) -> Dict[str, Any]:
    """Take what the run needs of the machine, for as long as it takes, and measure it."""
    # An index that is to be gone on with must outlive this machine.
    scratch_folder = None if resumes else paths.scratch
    with devices.reserved(devices.needed(cell)) as visible, _root(paths, scratch_folder) as root:
        record = _measure_here(
            cell, documents, profiler, repeat, paths, worker_program, attempt, resumes, visible, root
        )
    record["place"]["scratch"] = scratch_folder is not None
    return record


@contextlib.contextmanager
def _root(paths: Paths, scratch_folder: Optional[str]) -> Iterator[str]:
    """The folder below which the framework builds its index.

    Raises:
        Defect: there is no room for it on scratch.
    """
    if not scratch_folder:
        yield os.path.join(os.path.abspath(paths.output), unfinished.ROOT)
        return
    with contextlib.ExitStack() as stack:
        try:
            root = stack.enter_context(scratch.folder(scratch_folder, paths.output))
        except OSError as error:
            raise Defect("--scratch %s: %s" % (scratch_folder, error.strerror)) from error
        yield root


def _measure_here(
    cell: Dict[str, Any],
    documents: int,
    profiler: str,
    repeat: int,
    paths: Paths,
    worker_program: str,
    attempt: place.Attempt,
    resumes: bool,
    visible: Optional[str],
    root: str,
) -> Dict[str, Any]:
    directory = os.path.abspath(paths.output)
    _make_files(directory)
    events_path = os.path.join(directory, "events.jsonl")
    start_ns = time.monotonic_ns()
    specification = {
        "framework": cell["framework"],
        "settings": cell["settings"],
        "split_to": cell.get("split_to"),
        "functions": cell["functions"],
        "profiler": profiler,
        "documents": documents,
        "collection": os.path.abspath(paths.collection),
        "checkpoint": os.path.abspath(paths.checkpoint),
        "device": cell["device"],
        "index_root": root,
        "resume": resumes,
        "events": events_path,
        "heap": os.path.join(directory, heap.FOLDER),
        "spans": os.path.join(directory, "spans.jsonl"),
        "memory_profiler_log": os.path.join(directory, "memory_profiler.log"),
        "dumps": os.path.join(directory, DUMPS),
        "ledger": os.path.join(directory, LEDGER),
        "artifacts": cell.get("artifacts") or [],
        "injected": cell.get("injected") or [],
        "donor": os.path.abspath(paths.donor) if paths.donor else None,
        "start_ns": start_ns,
        "supervisor": os.getpid(),
    }
    specification_path = os.path.join(directory, "specification.json")
    with open(specification_path, "w", encoding="utf-8") as file:
        json.dump(specification, file)

    started_at = supervised.now()
    environment = _environment(cell, paths, specification_path, visible)
    granted = place.limit_mib()
    limits = supervised.Limits(
        cell["sample_interval_seconds"],
        cell["timeout_seconds"],
        min((limit for limit in (cell.get("memory_limit_mib"), granted) if limit is not None), default=None),
        cell.get("allocation_limit_mib"),
    )
    with open(os.path.join(directory, "stdout.log"), "wb") as stdout:
        watched = supervised.start([sys.executable, worker_program], stdout, limits, environment, directory)
    curve_path = os.path.join(directory, "memory_curve.csv")
    processor_seconds = time.process_time()
    with open(curve_path, "w", encoding="utf-8") as curve, nvml.watching(
        cell["device"], environment, os.path.join(directory, GPU_CURVE)
    ) as gpus:
        sampler = process_tree.TreeSampler(watched.process.pid, curve, start_ns)
        neighbours = beside.Watch(watched.process.pid)
        heartbeat = _Heartbeat(attempt, cell["framework"], root)

        def look(sampled: process_tree.TreeSampler) -> None:
            gpus.sample(sampled.last_seconds)
            neighbours.look()
            heartbeat.beat()

        ending = watched.watch(sampler, look)
        beside_it = neighbours.summary()
    wall_seconds = (time.monotonic_ns() - start_ns) / 1e9
    processor_seconds = time.process_time() - processor_seconds
    events = list(records.read(events_path))
    roles = {event["process_id"]: event for event in events if event["event"] == "process"}
    _add_roles(curve_path, roles)
    if profiler == LEDGER:
        _reduce_ledger(directory, worker_program)

    indexed = next((event for event in events if event["event"] == "indexed"), None)
    printed = supervised.tail(os.path.join(directory, "stdout.log"))
    outcome, detail = _outcome(ending, limits, events, printed, indexed is not None)
    if ending.stopped_because == "out_of_memory_host" and limits.memory_limit_mib == granted:
        detail = "the process tree passed %s MiB, almost all that the scheduler granted" % granted
    resolved = _observed_settings(cell, events, roles)
    if outcome == "completed" and indexed is not None:
        resolved.update(
            _take_index(cell["framework"], indexed["index_path"], os.path.join(directory, "index"))
        )
        resolved["index_seconds"] = round(indexed["ended_seconds"] - indexed["started_seconds"], 3)
        if resolved.get("encoding_seconds") and resolved.get("passages"):
            per_passage = resolved["encoding_seconds"] / resolved["passages"]
            resolved["seconds_per_25k_passages"] = round(25000 * per_passage, 3)
        resolved["index_size_mib"] = round(_size(os.path.join(directory, "index")) / 2**20, 3)
    return {
        **_asked_for(cell, documents, profiler, repeat),
        "resolved": resolved,
        "outcome": outcome,
        "outcome_detail": detail,
        "exit_code": ending.exit_code,
        "place": {"devices": visible, **beside_it},
        "started_at": started_at,
        "ended_at": supervised.now(),
        "wall_seconds": round(wall_seconds, 3),
        "sampling_processor_seconds": round(processor_seconds, 3),
        "memory": {
            **_memory(sampler, roles, events),
            **_peak_moment(sampler, indexed, curve_path),
            **gpus.summary(),
            **gpu.summary(events),
            **_heap(directory),
        },
        "processes": _processes(sampler, roles),
        "instrumented": _instrumented(events),
        "attempts": _attempts(events),
        "phases": [_without(event, "event") for event in events if event["event"] == "phase"],
        "versions": provenance.versions(),
        "hardware": {**proc.hardware(), "gpus": provenance.gpus(cell["device"])},
    }


class _Heartbeat:
    """Notes which stage an index has reached, so that what became of a killed attempt can be told."""

    def __init__(self, attempt: place.Attempt, framework: str, root: str) -> None:
        self._attempt = attempt
        self._adapter = importlib.import_module("indexscope.frameworks." + framework)
        self._root = root
        self._last = time.monotonic()

    def beat(self) -> None:
        if time.monotonic() - self._last < _STAGE_SECONDS:
            return
        stage = self._adapter.stage(self._root) if hasattr(self._adapter, "stage") else None
        self._attempt.seen(stage)
        self._last = time.monotonic()


def _place(attempt: place.Attempt) -> Dict[str, Any]:
    """What a record says of where the run is, as far as that is known before it."""
    return {
        **place.facts(),
        "attempt": attempt.number,
        "earlier_attempts": attempt.earlier,
        "devices": None,
        "beside": [],
        "cores_beside": None,
        "scratch": False,
    }


def _not_measured(
    cell: Dict[str, Any], documents: int, profiler: str, repeat: int, directory: str, obstacle: str
) -> Dict[str, Any]:
    """The record of a run that could not be started, with files that are empty."""
    _make_files(directory)
    now = supervised.now()
    return {
        **_asked_for(cell, documents, profiler, repeat),
        "resolved": {"device": cell["device"]},
        "outcome": "failed",
        "outcome_detail": " ".join(obstacle.split())[:500],
        "exit_code": None,
        "place": {},
        "started_at": now,
        "ended_at": now,
        "wall_seconds": None,
        "memory": {},
        "processes": [],
        "instrumented": [],
        "attempts": [],
        "phases": [],
        "versions": {},  # this Python need not be the environment's
        "hardware": {**proc.hardware(), "gpus": provenance.gpus(cell["device"])},
    }


def _asked_for(cell: Dict[str, Any], documents: int, profiler: str, repeat: int) -> Dict[str, Any]:
    """What a run's record says of its cell, however the run ends."""
    asked_for = {
        "format": FORMAT,
        "run": {
            **{
                name: cell[name]
                for name in ("system", "cell", "framework", "environment", "corpus", "checkpoint")
            },
            "documents": documents,
            "profiler": profiler,
            "repeat": repeat,
        },
        "requested": cell["settings"],
        "threads": cell["threads"],
        "allocator": cell["allocator"],
        "memory_limit_mib": cell.get("memory_limit_mib"),
        "allocation_limit_mib": cell.get("allocation_limit_mib"),
        "lock_digest": cell["lock_digest"],
        "git_commit": os.environ.get("INDEXSCOPE_COMMIT") or None,
    }
    if profiler == DUMPS:
        asked_for.update({name: cell.get(name) for name in ("artifacts", "injected", "donor")})
    return asked_for


def _make_files(directory: str) -> None:
    for name in FILES:
        open(os.path.join(directory, name), "w").close()


def _take_index(framework: str, built: str, index: str) -> Dict[str, Any]:
    """Move the index that was built to its place in the run directory; returns what its files tell.

    Raises:
        Defect: there is none, or the adapter cannot read it.
    """
    adapter = importlib.import_module("indexscope.frameworks." + framework)
    try:
        scratch.bring(built, index)
        resolved: Dict[str, Any] = adapter.resolve(index)
        return resolved
    except Exception as error:
        raise Defect(
            "frameworks/%s.py: the index that build returned cannot be resolved: %s: %s"
            % (framework, type(error).__name__, error)
        ) from error


def _environment(
    cell: Dict[str, Any], paths: Paths, specification_path: str, visible: Optional[str]
) -> Dict[str, str]:
    environment = dict(os.environ)
    environment[worker.SPECIFICATION] = specification_path
    environment.pop(worker.PARENT, None)
    if paths.extensions is not None:
        environment["TORCH_EXTENSIONS_DIR"] = os.path.abspath(paths.extensions)
    # Checkpoints are local files: without this every load waits on retries of the hub.
    environment["HF_HUB_OFFLINE"] = "1"
    environment["PYTHONUNBUFFERED"] = "1"  # what was printed before a kill is kept
    for variable in _THREAD_VARIABLES:
        environment[variable] = str(cell["threads"])
    if cell["device"] == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    else:  # as NVML numbers them, whose readings are recorded
        environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible
    if cell["allocator"] == "pinned":
        environment["GLIBC_TUNABLES"] = _PINNED_ALLOCATOR
    return environment


def _outcome(
    ending: supervised.Ending,
    limits: supervised.Limits,
    events: List[Dict[str, Any]],
    printed: str,
    indexed: bool,
) -> Tuple[str, Optional[str]]:
    """The name of a run's ending and one line of detail.

    Raises:
        Defect: the exception came from IndexScope's own line.
    """
    exception = next((event for event in events if event["event"] == "exception"), None)
    if ending.stopped_because not in ("out_of_memory_host", "timed_out"):
        if exception is not None and exception["own_fault"]:
            raise Defect("The worker failed in IndexScope's own code: %(type)s: %(message)s" % exception)
        if ending.exit_code == 0 and ending.failed_process is None and indexed:
            return "completed", None
    text = printed if exception is None else "%(type)s: %(message)s" % exception
    outcome, detail = supervised.name_of(ending, limits, printed, text)
    return outcome, detail or "exit code %d without an index" % ending.exit_code


def _observed_settings(
    cell: Dict[str, Any], events: List[Dict[str, Any]], roles: Dict[int, Dict[str, Any]]
) -> Dict[str, Any]:
    """Resolved settings that are known even when no index came of the run."""
    kmeans = _attempts(events)
    last = kmeans[-1] if kmeans else {}
    seconds = {
        event["phase"]: event["ended_seconds"] - event["started_seconds"]
        for event in events
        if event["event"] == "phase" and event["completed"]
    }
    return {
        **{phase + "_seconds": round(duration, 3) for phase, duration in seconds.items()},
        "device": cell["device"],
        "process_model": "child process"
        if any(process["role"] == "worker" for process in roles.values())
        else "in process",
        "partitions": last.get("partitions"),
        "kmeans_backend": last.get("backend"),
        "kmeans_points": last.get("points"),
        "kmeans_iterations": last.get("iterations"),
        "kmeans_attempts": len(kmeans),
        "kmeans_failures": "; ".join(
            "%(backend)s: %(failure)s" % attempt for attempt in kmeans if "failure" in attempt
        )
        or None,
    }


def _attempts(events: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Each k-means that was begun, in order; with `failure`, and its outcome's name, where it failed."""
    attempts: List[Dict[str, Any]] = []
    for event in events:
        if event.get("fact") != "kmeans":
            continue
        if event["event"] == "observed":
            attempts.append(_without(event, "event"))
        elif attempts:
            attempts[-1]["failure"] = event["failure"]
            attempts[-1]["outcome"] = supervised.failure_outcome(event["failure"])
    return attempts


def _memory(
    sampler: process_tree.TreeSampler, roles: Dict[int, Dict[str, Any]], events: List[Dict[str, Any]]
) -> Dict[str, Any]:
    by_role: Dict[str, float] = {}
    for process in sampler.all_processes():
        role = _role(process.pid, roles)
        by_role[role] = max(by_role.get(role, 0.0), round(process.peak_kib / 1024, 3))
    exact = [event["exact"] for event in events if event["event"] == "spans"]
    calibrated = [event for event in events if event["event"] == "calibrated"]
    bounds = [event["bound_mib"] for event in calibrated if event["bound_mib"] is not None]
    errors = [event["error_mib"] for event in calibrated if event["error_mib"] is not None]
    return {
        "tree_peak_rss_mib": round(sampler.tree_peak_kib / 1024, 3),
        "by_role": by_role,
        "processes": sum(process.counted for process in sampler.all_processes()),
        "samples": sampler.samples,
        "sample_interval_seconds": sampler.median_interval(),
        "peaks_exact": all(exact) if exact else None,
        "peak_error_bound_mib": max(bounds, default=None),
        "peak_error_observed_mib": max(errors, default=None),
    }


def _heap(directory: str) -> Dict[str, Any]:
    """Of a run under memray: the most that one of its processes had allocated at once."""
    of_processes = heap.peaks_mib(os.path.join(directory, heap.FOLDER))
    peaks = [peak for peak in of_processes.values() if peak is not None]
    return {"memray_heap_peak_mib": max(peaks)} if peaks else {}


def _peak_moment(
    sampler: process_tree.TreeSampler, indexed: Optional[Dict[str, Any]], curve_path: str
) -> Dict[str, Any]:
    """When the tree was largest, and its peak while the framework's index call ran.

    Libraries touch their pages again as a process exits, which can pass anything that indexing needed.
    """
    if indexed is None:
        return {"tree_peak_moment": None, "index_peak_rss_mib": None}
    started, ended = indexed["started_seconds"], indexed["ended_seconds"]
    at = sampler.tree_peak_at
    exits = [
        process.ended_at - at
        for process in sampler.all_processes()
        if process.ended_at is not None and process.pid != sampler.root
    ]
    if at < started:
        moment = "start-up"
    elif at > ended:
        moment = "exit"
    elif any(0 <= delay < _EXIT_SECONDS for delay in exits):
        moment = "child exit"
    else:
        moment = "index call"
    return {
        "tree_peak_seconds": round(at, 3),
        "tree_peak_moment": moment,
        # The curve rounds each process; a sum of it may pass the tree's own peak by that.
        "index_peak_rss_mib": min(
            round(_tree_peak_between(curve_path, started, ended), 3), round(sampler.tree_peak_kib / 1024, 3)
        ),
    }


def _tree_peak_between(curve_path: str, started: float, ended: float) -> float:
    """Largest sum over processes between two moments, from the curve as written (steps of 256 KiB).

    What was written last before the first of them holds there: a curve has no row where nothing changes.
    """
    current: Dict[str, float] = {}
    peak = 0.0
    with open(curve_path, encoding="utf-8") as curve:
        samples = itertools.groupby(csv.DictReader(curve), key=lambda row: float(row["seconds"]))
        for seconds, rows in samples:
            if seconds > ended:
                break
            if seconds > started:
                peak = max(peak, sum(current.values()))
            current.update((row["process_id"], float(row["rss_mib"])) for row in rows)
    return max(peak, sum(current.values()))


def _processes(sampler: process_tree.TreeSampler, roles: Dict[int, Dict[str, Any]]) -> List[Dict[str, Any]]:
    return [
        {
            "process_id": process.pid,
            "parent_process_id": process.parent,
            "role": _role(process.pid, roles),
            "name": roles.get(process.pid, {}).get("name"),
            "seen_at_seconds": round(process.seen_at, 3),
            "peak_rss_mib": round(process.peak_kib / 1024, 3),
        }
        for process in sampler.all_processes()
    ]


def _role(pid: int, roles: Dict[int, Dict[str, Any]]) -> str:
    """Roles are announced by the processes themselves; the resource tracker runs no code of ours."""
    role: str = roles[pid]["role"] if pid in roles else "other"
    return role


def _add_roles(curve_path: str, roles: Dict[int, Dict[str, Any]]) -> None:
    """Rewrite the curve with the header and the role, which is known only once a process has announced it."""
    with open(curve_path, encoding="utf-8") as raw, open(
        curve_path + ".roles", "w", encoding="utf-8"
    ) as curve:
        writer = csv.writer(curve, lineterminator="\n")
        writer.writerow(["seconds", "process_id", "parent_process_id", "role", "rss_mib", "shared_mib"])
        for seconds, pid, parent, rss, shared in csv.reader(raw):
            writer.writerow([seconds, pid, parent, _role(int(pid), roles), rss, shared])
    os.replace(curve_path + ".roles", curve_path)


def _reduce_ledger(directory: str, worker_program: str) -> None:
    """Turn the ledger's logs, which may be large, into ledger.jsonl, in a process of its own.

    Raises:
        Defect: that failed.
    """
    scripts = os.path.dirname(os.path.abspath(worker_program))
    command = [sys.executable, "-m", "indexscope.ledger.reduce", directory]
    reduced = subprocess.run(
        command, cwd=scripts, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if reduced.returncode:
        raise Defect("The ledger's logs could not be read: %s" % supervised.last_error_line(reduced.stderr))


def _instrumented(events: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    return [_without(event, "event") for event in events if event["event"] == "instrumented"]


def _without(event: Dict[str, Any], *names: str) -> Dict[str, Any]:
    return {name: value for name, value in event.items() if name not in names}


def _size(directory: str) -> int:
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(directory)
        for name in names
    )


def _publish(partial: str, output: str, record: Dict[str, Any]) -> None:
    """Move the finished run into place; run.json comes last and says that all is there."""
    os.makedirs(output, exist_ok=True)
    for name in ("run.json", *FILES, GPU_CURVE):
        if os.path.exists(os.path.join(output, name)):
            os.remove(os.path.join(output, name))
    for name in ("index", DUMPS):
        shutil.rmtree(os.path.join(output, name), ignore_errors=True)
    if record["run"]["profiler"] == DUMPS:  # empty where nothing was dumped
        os.makedirs(os.path.join(partial, DUMPS), exist_ok=True)
        os.rename(os.path.join(partial, DUMPS), os.path.join(output, DUMPS))
    os.makedirs(os.path.join(partial, "index"), exist_ok=True)  # empty where the run made none
    os.rename(os.path.join(partial, "index"), os.path.join(output, "index"))
    for name in FILES:
        os.replace(os.path.join(partial, name), os.path.join(output, name))
    if os.path.exists(os.path.join(partial, GPU_CURVE)):
        os.replace(os.path.join(partial, GPU_CURVE), os.path.join(output, GPU_CURVE))
    with open(os.path.join(partial, "run.json"), "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.write("\n")
    os.replace(os.path.join(partial, "run.json"), os.path.join(output, "run.json"))
