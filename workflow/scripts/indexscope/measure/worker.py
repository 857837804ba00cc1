"""The measured process: one framework, one configuration, one index.

The program that runs this is imported again in every process that the framework spawns
(`multiprocessing`'s spawn imports the main module as `__mp_main__`); `prepare` then instruments that process
in the same way. Nothing of a framework is imported here before the framework itself would be.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import itertools
import json
import os
import signal
import sys
import time
import traceback
from typing import Any, Callable, Dict, List, Tuple

from . import calibration, gpu, heap, instrument, line_profile, proc, records, spans

SPECIFICATION = "INDEXSCOPE_RUN"  # environment variable: the path of the run's specification (JSON)
PARENT = "INDEXSCOPE_PARENT"  # environment variable: the process that starts this one
ROOT = "INDEXSCOPE_ROOT"  # environment variable: the run's first process, which all others are below
_PR_SET_PDEATHSIG = 1
_OWN_CODE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

Observer = Callable[..., Dict[str, Any]]


def prepare(main_name: str) -> None:
    """Instrument this process. `main_name` is the main module's `__name__`, which tells parent from child."""
    with open(os.environ[SPECIFICATION], encoding="utf-8") as file:
        run = json.load(file)
    _die_with(int(os.environ.get(PARENT, run["supervisor"])))
    os.environ[PARENT] = str(os.getpid())
    role, name = _identity(main_name)
    if role == "parent":
        os.environ[ROOT] = str(os.getpid())
    events = records.Appender(run["events"])
    events.record(
        event="process", process_id=os.getpid(), parent_process_id=os.getppid(), role=role, name=name
    )
    if role == "manager":  # holds no framework code
        return
    _calibrate(role, events)
    if run.get("device") == "cuda":
        gpu.record_at_exit(events)
    adapter = importlib.import_module("indexscope.frameworks." + run["framework"])
    patches = adapter.patches(run) if hasattr(adapter, "patches") else {}
    targets = [instrument.Target(module, qualname, wrap) for (module, qualname), wrap in patches.items()]
    targets += _profiler_targets(run, role, events)
    targets += [
        instrument.Target(module, qualname, functools.partial(_observe, observer, events))
        for (module, qualname), observer in adapter.OBSERVERS.items()
    ]
    targets += [
        instrument.Target(module, qualname, functools.partial(_time, phase, run["start_ns"], events))
        for (module, qualname), phase in adapter.PHASES.items()
    ]

    def report(module: str, qualname: str, patched: bool) -> None:
        events.record(event="instrumented", role=role, module=module, qualname=qualname, patched=patched)

    try:
        instrument.install(targets, report)
    except RuntimeError as error:
        _record_exception(error, events, own_fault=True)
        raise


def main() -> None:
    """Build the index that the specification asks for; an exception is recorded and ends the process with 1."""
    with open(os.environ[SPECIFICATION], encoding="utf-8") as file:
        run = json.load(file)
    events = records.Appender(run["events"])
    try:
        # Split beforehand, a document is several rows.
        rows = 0 if run["split_to"] else run["documents"]
        document_ids, texts = _read_collection(run["collection"], rows)
        adapter = importlib.import_module("indexscope.frameworks." + run["framework"])
        build = adapter.prepare(run)
        _mark_for_ledger(run, "framework ready")
        started = time.monotonic_ns()
        index_path = build(document_ids, texts)
        ended = time.monotonic_ns()
        events.record(
            event="indexed",
            index_path=os.path.abspath(index_path),
            started_seconds=(started - run["start_ns"]) / 1e9,
            ended_seconds=(ended - run["start_ns"]) / 1e9,
        )
        _mark_for_ledger(run, "index call ended")
    except BaseException as error:
        _record_exception(error, events, own_fault=_raised_by_own_line(error))
        raise


def _mark_for_ledger(run: Dict[str, Any], moment: str) -> None:
    if run["profiler"] == "ledger":
        importlib.import_module("indexscope.ledger.capture").mark(moment)


def _record_exception(error: BaseException, events: records.Appender, own_fault: bool) -> None:
    """Own faults are defects of IndexScope or of an adapter: no result can come of the run."""
    events.record(
        event="exception", type=type(error).__name__, message=str(error)[:2000], own_fault=own_fault
    )


def _raised_by_own_line(error: BaseException) -> bool:
    if isinstance(error, MemoryError):  # memory can end anywhere
        return False
    if getattr(error, "own_fault", None) is False:  # of a hook, which knows better
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and os.path.abspath(frames[-1].filename).startswith(_OWN_CODE)


def _read_collection(path: str, documents: int) -> Tuple[List[str], List[str]]:
    document_ids, texts = [], []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            document = json.loads(line)
            document_ids.append(document["document_id"])
            texts.append(document["text"])
    # A document may be several rows, one after the other.
    found = sum(1 for _ in itertools.groupby(document_ids))
    if documents and found != documents:
        raise ValueError("%s: %d documents instead of %d" % (path, found, documents))
    return document_ids, texts


def _identity(main_name: str) -> Tuple[str, str]:
    """This process's role in the tree, and its name in multiprocessing."""
    if main_name == "__main__":
        return "parent", "MainProcess"
    from multiprocessing import process

    name = process.current_process().name
    return ("manager" if name.startswith("SyncManager") else "worker"), name


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends, so that no run leaves an orphan."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # not Linux: the supervisor's clean-up is what remains
        return
    stat = proc.stat(parent)
    if stat is None or stat.state == "Z":  # it ended before it could be watched
        os._exit(1)


def _calibrate(role: str, events: records.Appender) -> None:
    """Measure a known spike; under every profiler alike, so that their runs stay comparable."""
    memory = proc.SelfMemory()
    events.record(
        event="calibrated",
        process_id=os.getpid(),
        role=role,
        error_mib=calibration.calibrate(memory),
        bound_mib=calibration.peak_error_bound_mib(),
    )
    memory.close()


def _profiler_targets(run: Dict[str, Any], role: str, events: records.Appender) -> List[instrument.Target]:
    targets = []
    if run["profiler"] == "spans":
        recorder = spans.SpanRecorder(run["spans"], role, run["start_ns"], int(os.environ[ROOT]))
        events.record(event="spans", process_id=os.getpid(), exact=recorder.exact)
        for function in run["functions"]:
            name = function["module"] + "." + function["qualname"]
            wrap = functools.partial(recorder.wrap, name=name, phase=function["phase"])
            targets.append(instrument.Target(function["module"], function["qualname"], wrap))
    elif run["profiler"] == "memory_profiler":
        log = records.Appender(run["memory_profiler_log"])
        for function in run["functions"]:
            if function["memory_profiler"]:
                name = function["module"] + "." + function["qualname"]
                wrap = functools.partial(line_profile.wrap, name=name, role=role, log=log)
                targets.append(instrument.Target(function["module"], function["qualname"], wrap))
    elif run["profiler"] == "memray":
        try:
            heap.start(run["heap"])
        except ModuleNotFoundError as error:  # of IndexScope's environment, not of the framework's
            _record_exception(error, events, own_fault=True)
            raise
    elif run["profiler"] == "dumps":
        # A layer above, and of a newer Python: loaded, as adapters are, where it is asked for.
        hooks = importlib.import_module("indexscope.artifacts.hooks")
        targets += hooks.targets(run, functools.partial(_record_exception, events=events, own_fault=True))
    elif run["profiler"] == "ledger":
        capture = importlib.import_module("indexscope.ledger.capture")
        try:
            targets += capture.targets(run, role)
        except ModuleNotFoundError as error:  # memray, of IndexScope's environment
            _record_exception(error, events, own_fault=True)
            raise
    elif run["profiler"] != "none":
        raise ValueError("unknown profiler " + run["profiler"])
    return targets


def _observe(
    observer: Observer, events: records.Appender, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Note what a function was asked to do before it does it; kept out of the profilers' own records."""

    @functools.wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Any:
        facts: Dict[str, Any] = {}
        try:
            facts = observer(*args, **kwargs)
            events.record(event="observed", process_id=os.getpid(), **facts)
        except Exception as error:
            # Not to the framework, which may take it for a failure of its own and try something else.
            _record_exception(error, events, own_fault=True)
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            # A framework may swallow it and try again: what failed is a result too.
            events.record(
                event="observed_failure",
                process_id=os.getpid(),
                fact=facts.get("fact"),
                failure=_in_words(error),
            )
            raise

    return observed


def _time(
    phase: str, start_ns: int, events: records.Appender, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Note when a phase began and ended; two clock readings, whatever the profiler."""

    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        started = time.monotonic_ns()
        failure = None
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            failure = _in_words(error)
            raise
        finally:
            ended = time.monotonic_ns()
            events.record(
                event="phase",
                process_id=os.getpid(),
                phase=phase,
                started_seconds=(started - start_ns) / 1e9,
                ended_seconds=(ended - start_ns) / 1e9,
                completed=failure is None,
                failure=failure,
            )

    return timed


def _in_words(error: BaseException) -> str:
    return "%s: %s" % (type(error).__name__, str(error)[:500])


def run_program(main_name: str) -> None:
    """What the worker's program does: prepare every process, and in the first one build the index."""
    if SPECIFICATION not in os.environ:
        sys.exit("This program is started by index_collection.py; it does nothing on its own.")
    prepare(main_name)
    if main_name == "__main__":
        main()
