"""PyTorch's own account of a GPU, in a measured process, and what of the device it does not account for."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any, Dict, Optional

from . import records

_MIB_PER_BYTE = 1 / 2**20


def cuda() -> Optional[Any]:
    """torch.cuda when this process already uses it; asking must not start CUDA."""
    torch = sys.modules.get("torch")
    found = getattr(torch, "cuda", None)
    # During torch's own import the attribute is there before the function is.
    if found is None or not getattr(found, "is_initialized", bool)():
        return None
    return found


class Peaks:
    """The largest that this process has seen of its GPU, in MiB, whoever resets PyTorch's counters between.

    `others` is what is in use on the device and not reserved by this process's PyTorch: contexts, libraries' own
    allocations, other programs. It is known only where it was asked for (`note_others`).
    """

    def __init__(self) -> None:
        self.allocated: Optional[float] = None
        self.reserved: Optional[float] = None
        self.others: Optional[float] = None

    def take(self) -> Optional[float]:
        """The peak of tensors since the last call, and start anew; None without CUDA."""
        found = cuda()
        if found is None:
            return None
        peak = _mib(found.max_memory_allocated())
        self.allocated = max(peak, self.allocated or 0.0)
        self.reserved = max(_mib(found.max_memory_reserved()), self.reserved or 0.0)
        found.reset_peak_memory_stats()
        return peak

    def note_others(self) -> None:
        found = cuda()
        if found is not None:
            free, total = found.mem_get_info()
            others = _mib(total - free - found.memory_reserved())
            self.others = max(others, self.others or 0.0)


PEAKS = Peaks()  # of this process


def record_at_exit(events: records.Appender) -> None:
    """Note at this process's exit the largest of its GPU, where it used one."""
    atexit.register(_record, events, os.getpid())


def _record(events: records.Appender, process_id: int) -> None:
    if os.getpid() != process_id or cuda() is None:
        return
    PEAKS.take()
    PEAKS.note_others()
    events.record(
        event="gpu",
        process_id=process_id,
        allocated_peak_mib=PEAKS.allocated,
        reserved_peak_mib=PEAKS.reserved,
        others_peak_mib=PEAKS.others,
    )


def summary(events: Any) -> Dict[str, float]:
    """For run.json's `memory`: the largest of any process; empty where none used a GPU."""
    found: Dict[str, float] = {}
    for event in events:
        if event["event"] == "gpu":
            for name in ("allocated_peak_mib", "reserved_peak_mib", "others_peak_mib"):
                if event[name] is not None:
                    found["gpu_" + name] = max(event[name], found.get("gpu_" + name, 0.0))
    return found


def _mib(size: int) -> float:
    return round(size * _MIB_PER_BYTE, 3)
