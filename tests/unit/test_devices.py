"""GPUs that a run has for itself: which there are, which are free, and that nobody shares one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from indexscope.measure import devices
from indexscope.measure.devices import Device

SCRIPTS = Path(devices.__file__).parents[2]
TWO = (
    "GPU 0: NVIDIA RTX 6000 Ada Generation (UUID: GPU-aaaa0000-1111)\n"
    "GPU 1: NVIDIA RTX 6000 Ada Generation (UUID: GPU-bbbb0000-2222)\n"
)
DIVIDED = (
    "GPU 0: NVIDIA H200 (UUID: GPU-cccc)\n"
    "  MIG 1g.18gb     Device  0: (UUID: MIG-1111)\n"
    "  MIG 1g.18gb     Device  1: (UUID: MIG-2222)\n"
    "GPU 1: NVIDIA H200 (UUID: GPU-dddd)\n"
)
# Holds what it gets until it is told to end.
HOLDER = """
import sys
from indexscope.measure import devices
with devices.reserved(int(sys.argv[1]), locks=sys.argv[2]) as value:
    print("has", value, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """nvidia-smi that lists two GPUs, and a folder for locks."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{TWO}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "locks"


def start(count: int, locks: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(count), str(locks)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), **environment},
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_divided_gpu_is_its_parts() -> None:
    assert devices.parse_listing(TWO) == [
        Device("0", "GPU-aaaa0000-1111"),
        Device("1", "GPU-bbbb0000-2222"),
    ]
    assert devices.parse_listing(DIVIDED) == [
        Device("MIG-1111", "MIG-1111"),
        Device("MIG-2222", "MIG-2222"),
        Device("1", "GPU-dddd"),
    ]
    assert devices.parse_listing("No devices were found\n") == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "0 1"),
        ({"CUDA_VISIBLE_DEVICES": "1"}, "1"),
        ({"CUDA_VISIBLE_DEVICES": "1, 0"}, "1 0"),
        ({"CUDA_VISIBLE_DEVICES": ""}, ""),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, "0"),  # CUDA stops there
        ({"CUDA_VISIBLE_DEVICES": "0,GPU-aaaa"}, "0"),  # the same twice
        ({"CUDA_VISIBLE_DEVICES": "GPU-bbbb"}, "GPU-bbbb"),
        ({"SLURM_JOB_GPUS": "1"}, "1"),
        ({"SLURM_JOB_GPUS": "7"}, "0 1"),  # of the whole node; this job sees its own only
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "1"}, "0"),
    ],
)
def test_what_the_environment_allows(environment: dict[str, str], expected: str) -> None:
    found = devices.allowed(environment, lambda: devices.parse_listing(TWO))
    assert " ".join(device.name for device in found) == expected


def test_an_index_and_a_uuid_are_one_device() -> None:
    (by_index,) = devices.allowed({"CUDA_VISIBLE_DEVICES": "1"}, lambda: devices.parse_listing(TWO))
    (by_uuid,) = devices.allowed({"CUDA_VISIBLE_DEVICES": "GPU-bbbb"}, lambda: devices.parse_listing(TWO))
    assert by_index.key == by_uuid.key
    assert by_index.name != by_uuid.name


def test_ranks_of_a_cell() -> None:
    assert devices.needed({"device": "cpu", "settings": {"nranks": 2}}) == 0
    assert devices.needed({"device": "cuda", "settings": {"nranks": None}}) == 1
    assert devices.needed({"device": "cuda", "settings": {"nranks": 3}}) == 3


def test_on_a_cpu_nothing_is_set(two_gpus: Path) -> None:
    with devices.reserved(0, locks=str(two_gpus)) as value:
        assert value is None
    assert not two_gpus.exists()


def test_where_nobody_tells_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with devices.reserved(1, {}, str(tmp_path / "locks")) as value:
        assert value is None
    with devices.reserved(1, {"CUDA_VISIBLE_DEVICES": ""}, str(tmp_path / "locks")) as value:
        assert value == ""
    with devices.reserved(1, {"CUDA_VISIBLE_DEVICES": "4,5"}, str(tmp_path / "locks")) as value:
        assert value == "4"
    with devices.reserved(3, {"CUDA_VISIBLE_DEVICES": "4,5"}, str(tmp_path / "locks")) as value:
        assert value == "4,5"  # fewer than the ranks: how that ends is the run's result


def test_two_processes_have_a_device_each_and_a_third_waits(two_gpus: Path) -> None:
    first = start(1, two_gpus)
    assert line(first) == "has 0"
    second = start(1, two_gpus)
    assert line(second) == "has 1"
    third = start(1, two_gpus)
    assert line(third).startswith("Waiting for 1 of the GPUs 0, 1: others use them")
    time.sleep(1)
    assert third.poll() is None
    first.send_signal(signal.SIGKILL)  # the kernel gives its lock back
    assert line(third) == "has 0"
    for process in (second, third):
        process.communicate("\n", timeout=10)
        assert process.returncode == 0
    first.communicate()


def test_who_waits_for_two_holds_none(two_gpus: Path) -> None:
    first = start(1, two_gpus)
    assert line(first) == "has 0"
    both = start(2, two_gpus)
    assert line(both).startswith("Waiting for 2")
    # Meanwhile the other one can be had, by its UUID too; it is taken between two tries.
    other = start(1, two_gpus, CUDA_VISIBLE_DEVICES="GPU-bbbb")
    answer = line(other)
    assert answer == "has GPU-bbbb" or line(other) == "has GPU-bbbb"
    for process in (first, other):
        process.communicate("\n", timeout=10)
    assert line(both) == "has 0,1"
    both.communicate("\n", timeout=10)


def test_a_child_of_the_holder_keeps_no_lock(two_gpus: Path) -> None:
    with devices.reserved(2, locks=str(two_gpus)) as value:
        assert value == "0,1"
        child = subprocess.Popen(["sleep", "30"])
    try:
        with devices.reserved(2, locks=str(two_gpus)) as value:
            assert value == "0,1"
    finally:
        child.kill()
        child.wait()
