"""What is read of a GPU, against a stand-in for NVML with the same calls and a stand-in for torch.cuda.

Neither is a GPU: that the real ones answer so is for tests/gpu to say.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from indexscope.measure import gpu, nvml, records

MIB = 2**20


class FakeNvml:
    """NVML's calls, with used memory (bytes) by GPU; handles are the GPUs' numbers plus 1."""

    def __init__(self, used: list[int], code: int = 0) -> None:
        self.used = used
        self.code = code
        self.open = 0

    def nvmlInit_v2(self) -> int:
        self.open += self.code == 0
        return self.code

    def nvmlShutdown(self) -> int:
        self.open -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.used)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        if index.value >= len(self.used):
            return 2  # NVML_ERROR_INVALID_ARGUMENT
        handle._obj.value = index.value + 1
        return 0

    def nvmlDeviceGetHandleByUUID(self, name: Any, handle: Any) -> int:
        handle._obj.value = {b"GPU-b": 2}[name.value]
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        used = self.used[handle.value - 1]
        if used < 0:
            return 15  # NVML_ERROR_GPU_IS_LOST
        # As the C struct lies in memory: three unsigned long long.
        (ctypes.c_ulonglong * 3).from_buffer(memory._obj)[:] = [80 << 30, (80 << 30) - used, used]
        return 0


def test_memory_of_every_gpu_and_of_those_that_are_visible() -> None:
    library = FakeNvml([3 * MIB, 5 * MIB])
    assert nvml.Devices(None, library).used_mib() == [3.0, 5.0]
    assert nvml.Devices("1,0", library).used_mib() == [5.0, 3.0]
    assert nvml.Devices("GPU-b", library).used_mib() == [5.0]
    assert len(nvml.Devices("", library)) == 0


@pytest.mark.parametrize(("library", "visible"), [(FakeNvml([1], code=9), None), (FakeNvml([1]), "4")])
def test_what_does_not_answer_is_unavailable_and_closed(library: FakeNvml, visible: str | None) -> None:
    with pytest.raises(nvml.Unavailable):
        nvml.Devices(visible, library)
    assert library.open == 0


def test_sampler_writes_what_changes_and_keeps_the_first_and_the_largest() -> None:
    library = FakeNvml([100 * MIB, 7 * MIB])
    curve = io.StringIO()
    sampler = nvml.GpuSampler(nvml.Devices(None, library), curve)
    for seconds, used in [(0.0, 100), (0.05, 999), (0.2, 400), (0.4, 400), (0.6, 250)]:
        library.used[0] = used * MIB
        sampler.sample(seconds)
    # 0.05 is before it is time to read again.
    assert curve.getvalue().splitlines() == [
        "seconds,gpu,used_mib",
        "0.0000,0,100.000",
        "0.0000,1,7.000",
        "0.2000,0,400.000",
        "0.6000,0,250.000",
    ]
    assert sampler.summary() == {"gpu_used_before_mib": 100.0, "gpu_used_peak_mib": 400.0}
    library.used[0] = -1
    sampler.sample(0.9)  # the GPU is lost: no error, and what was read stays
    assert sampler.summary()["gpu_used_peak_mib"] == 400.0


def test_nothing_is_written_for_a_run_on_a_cpu_or_without_nvml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml, "_LIBRARY", "no-such-library.so.1")
    for device in ("cpu", "cuda"):
        with nvml.watching(device, {}, str(tmp_path / "gpu_curve.csv")) as sampler:
            sampler.sample(0.0)
        assert sampler.summary() == {}
    assert not list(tmp_path.iterdir())


class FakeCuda:
    """PyTorch's counters of one process, in bytes."""

    def __init__(self) -> None:
        self.allocated = self.reserved = self.peak = self.reserved_peak = self.in_use = 0

    def use(self, allocated: int, reserved: int, in_use: int) -> None:
        self.allocated, self.reserved, self.in_use = allocated * MIB, reserved * MIB, in_use * MIB
        self.peak = max(self.peak, self.allocated)
        self.reserved_peak = max(self.reserved_peak, self.reserved)

    def is_initialized(self) -> bool:
        return True

    def memory_reserved(self) -> int:
        return self.reserved

    def max_memory_allocated(self) -> int:
        return self.peak

    def max_memory_reserved(self) -> int:
        return self.reserved_peak

    def mem_get_info(self) -> tuple[int, int]:
        return (1000 * MIB - self.in_use, 1000 * MIB)

    def reset_peak_memory_stats(self) -> None:
        self.peak, self.reserved_peak = self.allocated, self.reserved


def test_peaks_outlive_the_resets_of_spans_and_others_are_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    peaks = gpu.Peaks()
    monkeypatch.setattr(gpu, "PEAKS", peaks)
    cuda.use(allocated=300, reserved=350, in_use=350 + 120)
    cuda.use(allocated=20, reserved=350, in_use=350 + 120)
    assert peaks.take() == 300.0
    peaks.note_others()
    cuda.use(allocated=40, reserved=60, in_use=60 + 500)  # what PyTorch did not reserve has grown
    assert peaks.take() == 40.0
    peaks.note_others()
    cuda.use(allocated=10, reserved=60, in_use=60 + 120)
    path = tmp_path / "events.jsonl"
    gpu._record(records.Appender(str(path)), os.getpid())
    (event,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert gpu.summary([event, {"event": "process"}]) == {
        "gpu_allocated_peak_mib": 300.0,
        "gpu_reserved_peak_mib": 350.0,
        "gpu_others_peak_mib": 500.0,
    }


def test_a_process_without_cuda_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    peaks = gpu.Peaks()
    assert peaks.take() is None
    peaks.note_others()
    path = tmp_path / "events.jsonl"
    gpu._record(records.Appender(str(path)), os.getpid())
    assert path.read_text() == ""
    assert (peaks.others, gpu.summary([])) == (None, {})
