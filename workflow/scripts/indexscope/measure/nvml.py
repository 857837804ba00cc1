"""What NVIDIA's management library says of GPUs, through ctypes: memory in use on the device, by whomever.

NVML counts every process's memory and what the driver keeps; PyTorch counts its own tensors. The difference is
contexts, libraries' own allocations, and other programs.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any, Dict, Iterator, List, Mapping, Optional, TextIO

INTERVAL_SECONDS = 0.1  # between two readings: one takes about as long as a sample of the process tree
_LIBRARY = "libnvidia-ml.so.1"
_MIB = 2**20


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = [
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    ]


class Unavailable(Exception):
    """NVML is not there, or does not answer."""


class Devices:
    """The GPUs that a run may use, in the order in which CUDA numbers them under CUDA_DEVICE_ORDER=PCI_BUS_ID.

    Args:
        visible: the run's CUDA_VISIBLE_DEVICES; None: all GPUs.
        library: NVML as a ctypes library; opened where it is not given.

    Raises:
        Unavailable: NVML cannot be loaded, does not start, or a GPU is not found.
    """

    def __init__(self, visible: Optional[str] = None, library: Any = None) -> None:
        if library is None:
            try:
                library = ctypes.CDLL(_LIBRARY)
            except OSError as error:
                raise Unavailable(str(error)) from None
        self._library = library
        self._call("nvmlInit_v2")
        try:
            self._handles = [self._handle(name) for name in self._names(visible)]
        except Unavailable:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._handles)

    def used_mib(self) -> List[float]:
        """Memory in use on each GPU."""
        used = []
        for handle in self._handles:
            memory = _Memory()
            self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
            used.append(round(memory.used / _MIB, 3))
        return used

    def close(self) -> None:
        self._library.nvmlShutdown()

    def _names(self, visible: Optional[str]) -> List[str]:
        if visible is not None:
            return [name.strip() for name in visible.split(",") if name.strip()]
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        return [str(index) for index in range(count.value)]

    def _handle(self, name: str) -> ctypes.c_void_p:
        """The GPU with an index, or a UUID in full."""
        handle = ctypes.c_void_p()
        if name.isdigit():
            self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(int(name)), ctypes.byref(handle))
        else:
            self._call("nvmlDeviceGetHandleByUUID", ctypes.c_char_p(name.encode()), ctypes.byref(handle))
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code != 0:
            raise Unavailable("%s returned %d" % (function, code))


class GpuSampler:
    """Reads the GPUs of a run at a coarse interval, and writes what changed.

    Args:
        devices: the GPUs; None where there are none to read: nothing is then recorded.
        curve: open text file, which gets a header and lines `seconds,gpu,used_mib`; not touched without devices.
    """

    def __init__(self, devices: Optional[Devices] = None, curve: Optional[TextIO] = None) -> None:
        self._devices = devices
        self._curve = curve
        self._next = 0.0
        self._written: Dict[int, float] = {}
        # Of the first GPU, which is the one that a run with one rank uses.
        self._before_mib: Optional[float] = None
        self._peak_mib: Optional[float] = None
        if devices is not None and curve is not None:
            curve.write("seconds,gpu,used_mib\n")

    def sample(self, seconds: float) -> None:
        """Read them if it is time to; `seconds` since the run's start."""
        if self._devices is None or self._curve is None or seconds < self._next:
            return
        self._next = seconds + INTERVAL_SECONDS
        try:
            used = self._devices.used_mib()
        except Unavailable:  # lost in mid-run: what was read stays
            self._devices = None
            return
        for number, mib in enumerate(used):
            if self._written.get(number) != mib:
                self._written[number] = mib
                self._curve.write("%.4f,%d,%.3f\n" % (seconds, number, mib))
        if used:
            self._before_mib = used[0] if self._before_mib is None else self._before_mib
            self._peak_mib = max(used[0], self._peak_mib or 0.0)

    def summary(self) -> Dict[str, Any]:
        """For run.json's `memory`; empty where nothing could be read."""
        if self._peak_mib is None:
            return {}
        return {"gpu_used_before_mib": self._before_mib, "gpu_used_peak_mib": self._peak_mib}


@contextlib.contextmanager
def watching(device: str, environment: Mapping[str, str], curve_path: str) -> Iterator[GpuSampler]:
    """A sampler of the GPUs that a process with this environment may use.

    The curve is written for a run on a GPU only; where NVML does not tell, the sampler records nothing.
    """
    if device == "cpu":
        yield GpuSampler()
        return
    try:
        devices = Devices(environment.get("CUDA_VISIBLE_DEVICES"))
    except Unavailable:
        yield GpuSampler()
        return
    try:
        with open(curve_path, "w", encoding="utf-8") as curve:
            yield GpuSampler(devices, curve)
    finally:
        devices.close()
