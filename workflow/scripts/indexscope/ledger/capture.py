"""What a measured process notes of its own memory under the profiler `ledger`.

Four sources, each for what it can see: memray for every block of the C heap with its Python stack; a
TorchDispatchMode for tensors, by operator; /proc/self/smaps for what is mapped; glibc's mallinfo2 for what the
allocator holds free. The process only writes logs, `NAME.PID` in the run's folder `ledger`; `reduce` reads them.
"""

from __future__ import annotations

import atexit
import collections
import ctypes
import functools
import gc
import json
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from indexscope.ledger import mappings, places
from indexscope.measure import instrument

MIN_STORAGE_BYTES = 64 * 1024  # of a tensor's storage that is written down
MEMRAY_INTERVAL_MS = 5
_SAMPLE_SECONDS = 0.01
_SAMPLE_SHARE = 0.05  # of the time, at most, goes into samples
_MAPS_STEP = 1.1  # mappings are read again when the process has grown by this since
_LARGE_STORAGE_BYTES = 4 * 2**20  # an allocator sample is taken when one of these is made
_MIN_STRINGS = 16  # of a list that may be the corpus
_PYMALLOC_BYTES = 512  # larger objects are malloc's
_STATUS = (b"RssAnon:", b"RssFile:", b"RssShmem:")

_recorders: list[Recorder] = []  # of this process: none, or one


def targets(run: dict[str, Any], role: str) -> list[instrument.Target]:
    """Begin to record this process; the functions to wrap are those of the run."""
    recorder = Recorder(Path(run["ledger"]), role, run["start_ns"])
    _recorders.append(recorder)
    return [
        instrument.Target(
            function["module"],
            function["qualname"],
            functools.partial(
                recorder.wrap, name=function["module"] + "." + function["qualname"], phase=function["phase"]
            ),
        )
        for function in run["functions"]
    ]


def mark(name: str) -> None:
    """Note a moment of this process: "framework ready" or "index call ended"."""
    for recorder in _recorders:
        recorder.moment(name)
        if name == "index call ended":
            recorder.trim()


class _Mallinfo2(ctypes.Structure):
    """mallinfo(3), of all arenas; since glibc 2.33."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def _allocator() -> tuple[Callable[[], Any] | None, Any]:
    libc = ctypes.CDLL(None)
    try:
        libc.mallinfo2.restype = _Mallinfo2
    except AttributeError:  # an older glibc, or another library
        return None, libc
    return libc.mallinfo2, libc


class Recorder:
    """Records one process until it ends.

    Args:
        folder: where logs are written.
        role: parent or worker.
        start_ns: the run's start on the monotonic clock.
    """

    def __init__(self, folder: Path, role: str, start_ns: int) -> None:
        import memray

        self._role = role
        self._start_ns = start_ns
        self._pid = os.getpid()
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / f"log.{self._pid}").open("w", encoding="utf-8")
        self._pending: collections.deque[Any] = collections.deque()
        self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        self._mallinfo, self._libc = _allocator()
        self._ids: dict[int, int] = {}  # storage → its number here
        self._sizes: dict[int, int] = {}
        self._weights: set[int] = set()
        self._next_id = 0
        self._mode: Any = None
        self._thread = threading.local()
        self._ready = False
        self._in_phases = False
        self._closed = False
        self._last_sample = 0.0
        self._sample_pause = _SAMPLE_SECONDS
        self._maps_at_kib = 0
        self._corpus_seen: set[int] = set()
        self._write(
            "process",
            pid=self._pid,
            role=role,
            # Of memray's clock, milliseconds since 1970, where ours is zero.
            epoch_ms=time.time() * 1000 - self._now() * 1000,
        )
        self._tracker = memray.Tracker(folder / f"memray.{self._pid}", memory_interval_ms=MEMRAY_INTERVAL_MS)
        self._tracker.__enter__()
        self.moment("recording begins")
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample_on, name="indexscope-ledger", daemon=True)
        self._sampler.start()
        os.register_at_fork(after_in_child=self._forget)
        if role == "parent":
            atexit.register(self.close)
        else:  # processes of multiprocessing end without atexit
            from multiprocessing import util

            util.Finalize(None, self.close, exitpriority=-100)

    # Writing

    def _now(self) -> float:
        return (time.monotonic_ns() - self._start_ns) / 1e9

    def _write(self, event: str, **fields: Any) -> None:
        # A weak reference's callback may run anywhere, in a write too: appending is atomic and takes no lock.
        self._pending.append((event, fields))

    def _flush(self) -> None:
        lines = []
        while self._pending:
            event, fields = self._pending.popleft()
            lines.append(json.dumps({"event": event, **fields}))
        if lines:
            self._log.write("\n".join(lines) + "\n")
            self._log.flush()

    def _forget(self) -> None:
        """In a forked child: its memory is not recorded."""
        self._closed = True
        self._pending.clear()

    # Moments and samples

    def _memory(self) -> dict[str, Any]:
        text = os.pread(self._status, 8192, 0)
        sizes = {}
        position = 0
        for field in _STATUS:
            position = text.index(field, position) + len(field)
            sizes[field[3:-1].decode().lower()] = int(text[position : text.index(b"kB", position)])
        if self._mallinfo is not None:
            info = self._mallinfo()
            # tcache's chunks count as in use.
            sizes["in_use"] = info.uordblks + info.hblkhd
            sizes["free"] = info.fordblks
        return sizes

    def _sample(self) -> None:
        begun = self._now()
        memory = self._memory()
        now = self._now()
        self._last_sample = now
        self._sample_pause = max(_SAMPLE_SECONDS, (now - begun) / _SAMPLE_SHARE)
        self._write("sample", at=round(now, 5), **memory)
        rss = memory["anon"] + memory["file"] + memory["shmem"]
        if rss > self._maps_at_kib * _MAPS_STEP:
            self._read_mappings()

    def _read_mappings(self) -> None:
        at = self._now()
        found = mappings.read()
        self._maps_at_kib = (
            sum(found["files"].values())
            + sum(found["private"].values())
            + sum(found[kind] for kind in ("heap", "stack", "anonymous"))
        )
        self._write("mappings", at=round(at, 5), ended=round(self._now(), 5), **found)

    def _sample_on(self) -> None:
        while not self._stop.wait(self._sample_pause):
            try:
                self._sample()
                self._flush()
            except (OSError, ValueError):  # the process is ending
                return

    def moment(self, name: str) -> None:
        """Note all that can be read of this process now."""
        if self._closed:
            return
        self._write("moment", name=name, at=round(self._now(), 5), **self._memory(), **_gpu_memory())
        if not name.startswith("begin of "):  # little changes between two phases
            self._read_mappings()

    def trim(self) -> None:
        """Have the allocator give back what it can, once: what falls is what it kept."""
        gc.collect()
        before = self._memory()
        self._libc.malloc_trim(0)
        self._write("trim", at=round(self._now(), 5), before=before, after=self._memory())

    def close(self) -> None:
        """End recording; the last thing this process does."""
        if self._closed or os.getpid() != self._pid:
            return
        self.moment("end")
        if self._role != "parent":
            self.trim()
        self._closed = True
        self._stop.set()
        self._sampler.join(5)
        self._tracker.__exit__(None, None, None)
        self._write("closed", at=round(self._now(), 5))
        self._flush()
        self._log.close()

    # Functions

    def wrap(self, function: Callable[..., Any], name: str, phase: bool) -> Callable[..., Any]:
        """A function that is noted when it runs, and in which tensors are watched."""

        @functools.wraps(function)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            if self._closed:
                return function(*args, **kwargs)
            if not self._ready:
                self._ready = True
                self.moment("first call")
            if not self._in_phases:
                self._look_for_corpus([*args, *kwargs.values()])
            if phase:
                self._in_phases = True
                self._look_for_weights()
                self.moment("begin of " + name)
            began = self._now()
            try:
                return self._watching_tensors(function, args, kwargs)
            finally:
                self._write("call", function=name, began=round(began, 5), ended=round(self._now(), 5))
                if phase:
                    self.moment("end of " + name)

        return recorded

    def _watching_tensors(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if getattr(self._thread, "watching", False) or "torch" not in sys.modules:
            return function(*args, **kwargs)
        if self._mode is None:
            self._mode = _dispatch_mode(self)
        self._thread.watching = True
        try:
            with self._mode():
                return function(*args, **kwargs)
        finally:
            self._thread.watching = False

    # Tensors

    def outputs(self, operator: Any, arguments: list[Any], out: Any, began: float) -> None:
        """Note the storages that an operator returned and that were not known."""
        import torch

        values = out if isinstance(out, (tuple, list)) else (out,)
        for value in values:
            if isinstance(value, torch.Tensor):
                self._output(operator, arguments, value, began)
            elif isinstance(value, (tuple, list)):
                for each in value:
                    if isinstance(each, torch.Tensor):
                        self._output(operator, arguments, each, began)

    def _output(self, operator: Any, arguments: list[Any], tensor: Any, began: float) -> None:
        try:
            storage = tensor.untyped_storage()
            size = storage.nbytes()
        except (NotImplementedError, RuntimeError, AttributeError):  # sparse or meta: it has none
            return
        if size < MIN_STORAGE_BYTES or tensor.device.type == "meta":
            return
        key = storage._cdata
        if self._sizes.get(key) == size:
            return
        if key in self._ids:  # it was resized
            self._write("death", id=self._ids[key], at=round(self._now(), 5))
        else:
            weakref.finalize(storage, self._died, key).atexit = False
        # A view's storage is of something that no operator made, such as an array of numpy.
        is_view = any(_storage_of(argument) == key for argument in arguments)
        self._born(key, size, tensor, None if is_view else _name(operator), began, *_caller())

    def _born(
        self,
        key: int,
        size: int,
        tensor: Any,
        operator: str | None,
        began: float,
        function: str | None,
        source: str | None,
        **more: Any,
    ) -> None:
        self._next_id += 1
        self._ids[key] = self._next_id
        self._sizes[key] = size
        self._write(
            "birth",
            id=self._next_id,
            at=round(began, 5),
            made=round(self._now(), 5),
            bytes=size,
            operator=operator,
            shape=str(list(tensor.shape)),
            dtype=str(tensor.dtype).replace("torch.", ""),
            device=str(tensor.device),
            function=function,
            source=source,
            **more,
        )
        if size >= _LARGE_STORAGE_BYTES and self._now() - self._last_sample > self._sample_pause / 4:
            self._sample()

    def _died(self, key: int) -> None:
        number = self._ids.pop(key, None)
        self._sizes.pop(key, None)
        if number is not None and not self._closed:
            self._write("death", id=number, at=round(self._now(), 5))

    def fault(self, error: Exception) -> None:
        """Note a defect of our own; `reduce` refuses such logs."""
        self._write("fault", error=f"{type(error).__name__}: {error}")

    def _look_for_weights(self) -> None:
        """Parameters and buffers of modules: those that operators made, and those that were loaded."""
        torch = sys.modules.get("torch")
        if torch is None:
            return
        ranges: list[tuple[int, int]] | None = None
        for tensor in _module_tensors(torch):
            try:
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
            except (NotImplementedError, RuntimeError, AttributeError):
                continue
            if key in self._weights or not size or tensor.device.type == "meta":
                continue
            self._weights.add(key)
            if key in self._ids:
                self._write("weights", id=self._ids[key])
                continue
            ranges = mappings.file_ranges() if ranges is None else ranges
            address = tensor.data_ptr()
            mapped = tensor.device.type == "cpu" and any(begin <= address < end for begin, end in ranges)
            weakref.finalize(storage, self._died, key).atexit = False
            self._born(key, size, tensor, None, self._now(), None, None, weights=True, mapped=mapped)

    def _look_for_corpus(self, arguments: list[Any]) -> None:
        """Lists of texts that a function is given, before the first phase: itself or in an object.

        A list that shares its first or last string with one seen before is a copy: the strings are counted once.
        """
        strings, small, large = 0, 0, 0
        for texts in _lists_of_texts(arguments):
            ends = {id(texts[0]), id(texts[-1])}
            if ends & self._corpus_seen:
                continue
            self._corpus_seen |= ends
            strings += len(texts)
            large += sys.getsizeof(texts)
            for text in texts:
                size = sys.getsizeof(text)
                if size > _PYMALLOC_BYTES:
                    large += size
                else:
                    small += size
        if strings:
            self._write("corpus", at=round(self._now(), 5), strings=strings, small=small, large=large)


def _dispatch_mode(recorder: Recorder) -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watching(TorchDispatchMode):  # type: ignore[misc, unused-ignore]
        """Tells the recorder what each operator returned, and when the operator began: memory fills while it runs."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            began = recorder._now()
            out = func(*args, **(kwargs or {}))
            try:
                recorder.outputs(func, [*args, *(kwargs or {}).values()], out, began)
            except Exception as error:
                recorder.fault(error)  # not to the framework, which may take it for a failure of its own
            return out

    return Watching


def _storage_of(value: Any) -> Any:
    try:
        return value.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError, AttributeError):
        return None


def _name(operator: Any) -> str:
    """aten.mm of aten.mm.default, aten.sort.stable as it is."""
    name = str(operator)
    return name[: -len(".default")] if name.endswith(".default") else name


def _caller() -> tuple[str | None, str | None]:
    """Function and line of the innermost frame of whom a tensor is made for; see places.place_of."""
    frame: Any = sys._getframe(2)
    own = None
    while frame is not None:
        path = frame.f_code.co_filename
        if places.is_caller(path):
            break
        if own is None and places.is_own(path):
            own = frame
        frame = frame.f_back
    frame = frame or own
    if frame is None:
        return None, None
    path = frame.f_code.co_filename
    function = f"{places.module_of(path)}.{frame.f_code.co_name}"
    return function, f"{places.short(path)}:{frame.f_lineno}"


def _module_tensors(torch: Any) -> Iterator[Any]:
    module = torch.nn.Module
    for found in gc.get_objects():
        if isinstance(type(found), type) and issubclass(type(found), module):
            own = getattr(found, "__dict__", {})
            for group in ("_parameters", "_buffers"):
                yield from (each for each in (own.get(group) or {}).values() if each is not None)


def _lists_of_texts(arguments: list[Any]) -> Iterator[list[str]]:
    for argument in arguments:
        for found in (argument, *getattr(argument, "__dict__", {}).values()):
            if (
                type(found) is list
                and len(found) >= _MIN_STRINGS
                and all(type(each) is str for each in found)
            ):
                yield found


def _gpu_memory() -> dict[str, Any]:
    """What this process and others hold of its GPU; nothing where it uses none."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not getattr(cuda, "is_initialized", bool)():
        return {}
    free, total = cuda.mem_get_info()
    return {
        "gpu": {
            "device": f"cuda:{cuda.current_device()}",
            "used": total - free,
            "reserved": cuda.memory_reserved(),
            "allocated": cuda.memory_allocated(),
        }
    }
