"""What ranks say to one another, timed on its own, and what carries it.

Exposed time is what counts: all-reduce that runs beside a rank's own backward pass costs its step nothing.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from typing import Any, Protocol

_TOPOLOGY = ["nvidia-smi", "topo", "-m"]


class Communication(Protocol):
    """Seconds of communication in the parts of the step that is going on."""

    def forward_seconds(self) -> float:
        """Of the forward pass that has just ended."""

    def backward_seconds(self) -> float:
        """Of the backward pass that has just ended."""


class Silence:
    """One process on one device says nothing."""

    def forward_seconds(self) -> float:
        return 0.0

    def backward_seconds(self) -> float:
        return 0.0


class AllReduce:
    """The exposed part of DistributedDataParallel's all-reduce.

    From the moment when the last bucket of gradients is ready, which is when this rank has nothing of its own left
    to compute, until backward returns: what is left of all-reduce, waiting for slower ranks, and the copy of the
    averages to the parameters. On CUDA the moments are events on the stream that computes, which waits for
    NCCL's. All-reduce itself is PyTorch's own, begun bucket by bucket during backward.

    Args:
        model: wrapped by DistributedDataParallel; buffers must not be broadcast, which would be part of forward.
        cuda: whether it computes on CUDA.
    """

    def __init__(self, model: Any, cuda: bool) -> None:
        self._cuda = cuda
        self._ready: Any = None
        # PyTorch refuses any annotation of `bucket` but its own.
        model.register_comm_hook(None, lambda state, bucket: self._all_reduce(bucket))

    def _all_reduce(self, bucket: Any) -> Any:
        from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

        if bucket.is_last():
            self._ready = self._moment()
        return default_hooks.allreduce_hook(None, bucket)

    def _moment(self) -> Any:
        if not self._cuda:
            return time.perf_counter_ns()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def forward_seconds(self) -> float:
        return 0.0

    def backward_seconds(self) -> float:
        """To be called when backward has just returned, before the device is waited for."""
        if self._ready is None:
            return 0.0
        ready, done = self._ready, self._moment()
        self._ready = None
        if not self._cuda:
            return float(done - ready) / 1e9
        done.synchronize()
        return float(ready.elapsed_time(done)) / 1e3


class Replication:
    """DataParallel's scatter, replicate and gather, and their counterparts in backward, each synchronised.

    Every step copies the model to all devices, and sums their gradients on the first (the backward of
    `Broadcast`). Being waited for on both sides, they are counted in full; work of one Python process that
    starts all devices' kernels stays in forward and backward, where processor time tells it (the GIL).

    Args:
        model: torch.nn.DataParallel, or what has its three methods.
        functions: torch.nn.parallel._functions: the three autograd functions whose backward is timed.
        synchronise: waits for all devices.
        clock: nanoseconds.
    """

    def __init__(
        self,
        model: Any,
        functions: Any,
        synchronise: Callable[[], None],
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._synchronise = synchronise
        self._clock = clock
        self._nanoseconds = 0
        self._depth = 0
        for method in ("scatter", "replicate", "gather"):
            setattr(model, method, self._timed(getattr(model, method)))
        for function in ("Scatter", "Broadcast", "Gather"):
            found = getattr(functions, function)
            found.backward = staticmethod(self._timed(found.backward))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **keywords: Any) -> Any:
            if self._depth:  # within another, or beside it on another device's thread: in its time
                return function(*arguments, **keywords)
            self._synchronise()
            self._depth += 1
            started = self._clock()
            try:
                result = function(*arguments, **keywords)
                self._synchronise()
                return result
            finally:
                self._nanoseconds += self._clock() - started
                self._depth -= 1

        return timed

    def _take(self) -> float:
        taken, self._nanoseconds = self._nanoseconds, 0
        return taken / 1e9

    def forward_seconds(self) -> float:
        return self._take()

    def backward_seconds(self) -> float:
        return self._take()


def backend(device: str, parallelism: str) -> str:
    """What carries the process group's messages; none where there is no group."""
    if parallelism in ("single", "data_parallel"):
        return "none"
    return "nccl" if device == "cuda" else "gloo"


def interconnect(device: str, world_size: int) -> str | None:
    """What connects the devices; None where there is one, or where nobody tells."""
    if world_size == 1:
        return None
    if device == "cpu":
        return "memory of one machine (gloo)"
    try:
        done = subprocess.run(_TOPOLOGY, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return links(done.stdout, world_size)


def links(topology: str, world_size: int) -> str | None:
    """The links among the first `world_size` GPUs in what `nvidia-smi topo -m` prints, as `NV18: GPU0-GPU1, …`.

    NV# is a bond of # NVLinks, PIX to SYS ever longer ways over PCIe and between sockets (its legend).
    None where it has no such table.
    """
    # Terminal codes underline the header.
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).split() for line in topology.splitlines()]
    header = next((words for words in lines if words[:1] == ["GPU0"] and "X" not in words), None)
    if header is None:
        return None
    rows = {words[0]: words[1:] for words in lines if words and re.fullmatch(r"GPU\d+", words[0])}
    found: dict[str, list[str]] = {}
    for first in range(world_size):
        for second in range(first + 1, world_size):
            row = rows.get(f"GPU{first}", [])
            link = row[header.index(column)] if (column := f"GPU{second}") in header and row else "unknown"
            found.setdefault(link, []).append(f"GPU{first}-GPU{second}")
    return "; ".join(f"{link}: {', '.join(pairs)}" for link, pairs in found.items())
