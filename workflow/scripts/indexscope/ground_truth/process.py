"""A fresh process that makes one case's memory under one instrument, and says what the instrument saw.

`python -m indexscope.ground_truth.process REQUEST` prints a JSON list of readings. What an instrument saw is
what it read above the level before the spike; a first, small spike has already made resident whatever the
code needs for itself.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ..measure import proc, records
from ..measure.spans import SpanRecorder
from . import spikes

SPANS, MEMORY_PROFILER, THREAD, NOTHING = "spans", "memory_profiler", "sampling thread", "nothing"
THREAD_INTERVAL_SECONDS = 0.01
THREADS = 32
SIMPLE = "spike"
_LONGEST_WAIT_SECONDS = 0.5  # between two looks of the slowest instrument, Snakemake's benchmark
_SETTLE_SECONDS = 0.05

Reading = Dict[str, Any]


class Making(NamedTuple):
    """What a case needs to make its memory."""

    library: spikes.Library
    spike: spikes.Spike
    file: int  # of a file-mapped spike
    request: Dict[str, Any]

    def make(self, spike: Optional[spikes.Spike] = None) -> None:
        self.library.make(spike or self.spike, self.file)

    def warm_up(self, make: Callable[..., None]) -> None:
        make(self.spike._replace(size_mib=1, hold_seconds=0.0))


def main() -> None:
    request = json.loads(sys.argv[1])
    spike = spikes.Spike(**request["spike"])
    file = spikes.file_of(spike.size_mib) if spike.kind == spikes.OF_FILE else -1
    making = Making(spikes.Library(request["library"]), spike, file, request)
    observe = {
        SPANS: _CASES[request["case"]],
        MEMORY_PROFILER: _memory_profiler,
        THREAD: _sampling_thread,
        NOTHING: _nothing,
    }[request["instrument"]]
    print(json.dumps(observe(making)), flush=True)


def _reading(seen_mib: Optional[float], true_mib: float, detail: str = "", case: str = "") -> Reading:
    rounded = None if seen_mib is None else round(seen_mib, 3)
    return {"seen_mib": rounded, "true_mib": true_mib, "detail": detail, "case": case}


# Spans: one function for each case


class _Recorded:
    """Functions under spans, and what was recorded of them."""

    def __init__(self, request: Dict[str, Any]) -> None:
        self._path = request["spans"]
        self.recorder = SpanRecorder(self._path, "parent", time.monotonic_ns())

    def wrap(self, function: Callable[..., None], name: str) -> Callable[..., None]:
        return self.recorder.wrap(function, name, phase=False)

    def of(self, name: str) -> List[Dict[str, Any]]:
        return [span for span in records.read(self._path) if span["function"] == name]


def _risen(span: Dict[str, Any]) -> float:
    return float(span["peak_rss_mib"] - span["start_rss_mib"])


def _words(span: Dict[str, Any], *more: str) -> str:
    return "; ".join([*more, *([] if span["peak_exact"] else ["a lower bound: the peak cannot be reset"])])


def _one(making: Making) -> List[Reading]:
    recorded = _Recorded(making.request)
    spanned = recorded.wrap(making.make, "spike")
    making.warm_up(spanned)
    spanned(making.spike)
    span = recorded.of("spike")[-1]
    more = []
    if making.spike.pages == spikes.HUGE and spikes.huge_pages_given() is False:
        more = ["the kernel gives no huge pages: 4-KiB pages"]
    return [_reading(_risen(span), making.spike.true_mib, _words(span, *more))]


def _nested(making: Making) -> List[Reading]:
    """The outer span holds memory while the inner one spikes; after it, a smaller spike of its own."""
    recorded = _Recorded(making.request)
    size = making.spike.size_mib
    inner = recorded.wrap(making.make, "inner")

    def outer(scale: float) -> None:
        with spikes.resident(max(1, int(size * scale))):
            inner(making.spike._replace(size_mib=max(1, int(size * scale / 2))))
        making.make(making.spike._replace(size_mib=max(1, int(size * scale / 4))))

    spanned = recorded.wrap(outer, "outer")
    spanned(1 / size)
    spanned(1)
    inner_span, outer_span = recorded.of("inner")[-1], recorded.of("outer")[-1]
    return [
        _reading(_risen(outer_span), size + size // 2, _words(outer_span), "nested, outer"),
        _reading(_risen(inner_span), size // 2, _words(inner_span), "nested, inner"),
    ]


def _small_after_large(making: Making) -> List[Reading]:
    recorded = _Recorded(making.request)
    spanned = recorded.wrap(making.make, "spike")
    making.warm_up(spanned)
    spanned(making.spike)
    spanned(making.spike._replace(size_mib=4))
    span = recorded.of("spike")[-1]
    return [_reading(_risen(span), 4, _words(span, "after %d MiB" % making.spike.size_mib))]


def _threads(making: Making) -> List[Reading]:
    """All threads hold their part at once; each one's span sees the process's peak, which is all of it."""
    recorded = _Recorded(making.request)
    part = making.spike.size_mib // THREADS
    making.library.gather(THREADS)
    ready, go = threading.Barrier(THREADS + 1), threading.Barrier(THREADS + 1)
    warm = recorded.wrap(making.make, "warm-up")
    together = recorded.wrap(making.library.make_together, "part")

    def work() -> None:
        making.warm_up(warm)
        ready.wait()
        go.wait()
        together(part, making.spike.hold_seconds)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()

    def release() -> None:
        go.wait()
        for thread in threads:
            thread.join()

    recorded.wrap(release, "all")()
    everything = recorded.of("all")[-1]
    lowest = min(span["peak_rss_mib"] for span in recorded.of("part")) - everything["start_rss_mib"]
    return [
        _reading(_risen(everything), THREADS * part, _words(everything), "threads, together"),
        _reading(lowest, THREADS * part, "the lowest of the threads' own spans", "threads, each"),
    ]


def _in_this_process(recorded: _Recorded, making: Making) -> None:
    spanned = recorded.wrap(making.make, "child")
    making.warm_up(spanned)
    spanned(making.spike)


def _forked(making: Making) -> List[Reading]:
    recorded = _Recorded(making.request)
    child = os.fork()
    if child == 0:
        try:
            _in_this_process(recorded, making)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return _of_child(recorded, making, child)


def _spawned(making: Making) -> List[Reading]:
    recorded = _Recorded(making.request)
    process = multiprocessing.get_context("spawn").Process(target=_in_spawned, args=(making.request,))
    process.start()
    process.join()
    return _of_child(recorded, making, process.pid)


def _in_spawned(request: Dict[str, Any]) -> None:
    making = Making(spikes.Library(request["library"]), spikes.Spike(**request["spike"]), -1, request)
    _in_this_process(_Recorded(request), making)


def _of_child(recorded: _Recorded, making: Making, child: Optional[int]) -> List[Reading]:
    span = recorded.of("child")[-1]
    if span["process_id"] != child:
        raise RuntimeError("the last span is not the child's")
    return [_reading(_risen(span), making.spike.true_mib, _words(span))]


def _exception(making: Making) -> List[Reading]:
    recorded = _Recorded(making.request)

    def fail(spike: spikes.Spike) -> None:
        making.make(spike)
        raise ValueError("in mid-span")

    spanned = recorded.wrap(fail, "fail")
    for spike in (making.spike._replace(size_mib=1), making.spike):
        try:
            spanned(spike)
        except ValueError:
            pass
    span = recorded.of("fail")[-1]
    return [_reading(_risen(span), making.spike.true_mib, _words(span, "raised %s" % span["raised"]))]


_CASES: Dict[str, Callable[[Making], List[Reading]]] = {
    SIMPLE: _one,
    "nested": _nested,
    "small after large": _small_after_large,
    "threads": _threads,
    "forked child": _forked,
    "spawned child": _spawned,
    "exception": _exception,
}


# Other instruments: the simple case


def _memory_profiler(making: Making) -> List[Reading]:
    import memory_profiler

    def traced(make: Callable[..., None], spike: spikes.Spike) -> None:
        make(spike)

    making.warm_up(lambda spike: memory_profiler.LineProfiler(backend="psutil")(traced)(making.make, spike))
    profiler = memory_profiler.LineProfiler(backend="psutil")
    profiler(traced)(making.make, making.spike)
    ((_, lines),) = profiler.code_map.items()
    memory = [measured[1] for _, measured in lines if measured is not None]  # the column "Mem usage"
    return [_reading(max(memory) - memory[0], making.spike.true_mib)]


def _sampling_thread(making: Making) -> List[Reading]:
    samples: List[int] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.is_set():
            samples.append(proc.resident(os.getpid()).rss)
            time.sleep(THREAD_INTERVAL_SECONDS)

    making.warm_up(making.make)
    thread = threading.Thread(target=sample)
    thread.start()
    time.sleep(_SETTLE_SECONDS + random.uniform(0, THREAD_INTERVAL_SECONDS))
    before = len(samples)
    base = samples[-1]
    making.make()
    stop.set()
    thread.join()
    detail = "%d samples" % (len(samples) - before)
    return [_reading((max(samples[before - 1 :]) - base) / 1024, making.spike.true_mib, detail)]


def _nothing(making: Making) -> List[Reading]:
    """For an instrument outside: first a line with the level before the spike, then the spike at some moment."""
    making.warm_up(making.make)
    base = proc.SelfMemory().read().rss
    shell = making.request.get("shell")
    if shell and shell != os.getpid():
        base += proc.resident(shell).rss
    print(json.dumps({"base_mib": round(base / 1024, 3)}), flush=True)
    time.sleep(_SETTLE_SECONDS + random.uniform(0, _LONGEST_WAIT_SECONDS))
    making.make()
    time.sleep(_SETTLE_SECONDS)
    return []


if __name__ == "__main__":
    main()
