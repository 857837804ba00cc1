"""Spans: one record for each call of an instrumented function, with the exact peak RSS while it was open.

At each entry and exit the kernel's peak counter is read and reset, and the maximum is handed to every span
that is open in the process. Threads share a process's RSS: a span gets the process's peak while it is open.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from typing import Any, Callable, Dict, List, Optional

from . import gpu, proc, records

_MIB_PER_KIB = 1 / 1024
_MIB_PER_BYTE = 1 / 2**20


class _Span:
    """An open call; sizes in KiB, GPU sizes in MiB."""

    __slots__ = (
        "call",
        "depth",
        "function",
        "gpu_peak",
        "peak",
        "raised",
        "start_peak",
        "start_rss",
        "started",
        "thread",
    )

    def __init__(self, function: str, call: int, depth: int, memory: proc.Memory) -> None:
        self.function = function
        self.call = call
        self.depth = depth
        self.thread = threading.current_thread().name
        self.start_rss = self.peak = memory.rss
        self.start_peak = memory.peak
        self.gpu_peak: Optional[float] = None
        self.raised: Optional[str] = None
        self.started = time.monotonic_ns()


class SpanRecorder:
    """Records spans of one process to a file which its children share.

    Args:
        path: the spans.jsonl to append to.
        role: this process's role in the tree (parent, worker, …).
        start_ns: the run's start on the monotonic clock; times are seconds since then.
        root: the run's first process, whose tree this one belongs to; default: this one.
    """

    def __init__(self, path: str, role: str, start_ns: int, root: Optional[int] = None) -> None:
        self._memory = proc.SelfMemory()
        self._output = records.Appender(path)
        self._role = role
        self._start_ns = start_ns
        self._root = os.getpid() if root is None else root
        self._lock = threading.Lock()
        self._open: List[_Span] = []
        self._calls: Dict[str, int] = {}
        os.register_at_fork(after_in_child=self._start_afresh)

    def _start_afresh(self) -> None:
        # /proc/self was resolved when the parent opened it; a forked child has memory of its own.
        self._memory = proc.SelfMemory()
        self._role = "other"
        self._lock = threading.Lock()
        self._open = []
        self._calls = {}

    @property
    def exact(self) -> bool:
        return self._memory.exact

    def wrap(self, function: Callable[..., Any], name: str, phase: bool) -> Callable[..., Any]:
        """A function which records a span named `name` for each call.

        With `phase`, PSS is read too, of this process and of the run's whole tree, once the span has ended: by a
        thread, while the caller goes on. `pss_read_seconds` is how long after the end the last page was counted.
        """

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            span = self._enter(name)
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                span.raised = type(error).__name__
                raise
            finally:
                self._exit(span, phase)

        return measured

    def _boundary(self) -> proc.Memory:
        memory = self._memory.read()
        self._memory.reset_peak()
        gpu_peak = gpu.PEAKS.take()
        for span in self._open:
            # Without a reset the counter only grows: a span that made it grow knows its peak, another a bound.
            known = self._memory.exact or memory.peak > span.start_peak
            span.peak = max(span.peak, memory.peak if known else memory.rss)
            if gpu_peak is not None:
                span.gpu_peak = max(span.gpu_peak or 0.0, gpu_peak)
        return memory

    def _enter(self, name: str) -> _Span:
        with self._lock:
            memory = self._boundary()
            call = self._calls.get(name, 0)
            self._calls[name] = call + 1
            span = _Span(name, call, len(self._open), memory)
            self._open.append(span)
        return span

    def _exit(self, span: _Span, phase: bool) -> None:
        ended = time.monotonic_ns()
        with self._lock:
            memory = self._boundary()
            self._open.remove(span)
        record = {
            "process_id": os.getpid(),
            "role": self._role,
            "thread": span.thread,
            "function": span.function,
            "call": span.call,
            "depth": span.depth,
            "started_seconds": round((span.started - self._start_ns) / 1e9, 6),
            "ended_seconds": round((ended - self._start_ns) / 1e9, 6),
            "start_rss_mib": _mib(span.start_rss),
            "end_rss_mib": _mib(memory.rss),
            "peak_rss_mib": _mib(max(span.peak, memory.rss)),
            "peak_exact": self._memory.exact,
            "end_anon_mib": _mib(memory.anon),
            "end_file_mib": _mib(memory.file),
            "end_shmem_mib": _mib(memory.shmem),
            "end_pss_mib": None,
            "end_tree_pss_mib": None,
            "pss_read_seconds": None,
            "gpu_allocated_mib": None,
            "gpu_reserved_mib": None,
            "gpu_peak_mib": span.gpu_peak,
            "raised": span.raised,
            **_gpu_memory(),
        }
        if not phase:
            self._output.record(**record)
            return
        gpu.PEAKS.note_others()
        # The page tables of a gigabyte take tens of milliseconds to read: beside the framework, not in its way.
        # No daemon: what a process has read is written before it ends.
        reader = threading.Thread(target=self._record_with_pss, args=(record, ended), name="indexscope-pss")
        try:
            reader.start()
        except RuntimeError:  # no thread can be had: too many, or the interpreter is ending
            self._record_with_pss(record, ended)

    def _record_with_pss(self, record: Dict[str, Any], ended_ns: int) -> None:
        pss = proc.pss_kib()
        if pss is not None:
            record["end_pss_mib"] = _mib(pss)
            record["end_tree_pss_mib"] = _mib(proc.tree_pss_kib(self._root, pss))
            record["pss_read_seconds"] = round((time.monotonic_ns() - ended_ns) / 1e9, 6)
        self._output.record(**record)


def _mib(kib: int) -> float:
    return round(kib * _MIB_PER_KIB, 3)


def _gpu_memory() -> Dict[str, float]:
    cuda = gpu.cuda()
    if cuda is None:
        return {}
    return {
        "gpu_allocated_mib": round(cuda.memory_allocated() * _MIB_PER_BYTE, 3),
        "gpu_reserved_mib": round(cuda.memory_reserved() * _MIB_PER_BYTE, 3),
    }
