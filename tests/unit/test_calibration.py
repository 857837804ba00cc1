"""The declared bound of a peak's error, the calibration with a known spike, and what is left without a reset."""

from __future__ import annotations

import io
import json
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from indexscope.analysis import run_directories
from indexscope.measure import calibration, proc, spans, supervisor
from indexscope.run_record import COMPLETED

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
CLEAR_REFS = "/proc/self/clear_refs"


@pytest.mark.parametrize(
    ("cpus", "release", "bound"),
    [
        (1, "6.2.0", 0.375),  # 3 counters × 32 pages × 4 KiB
        (2, "6.18.1-generic", 0.75),
        (16, "6.5.0", 6.0),
        (64, "7.0", 96.0),  # the batch grows with the number of CPUs
        (2, "5.15.0-91-generic", None),
        (2, "6.1.9", None),
    ],
)
def test_bound_follows_the_kernels_batch(
    monkeypatch: pytest.MonkeyPatch, cpus: int, release: str, bound: float | None
) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: cpus)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    monkeypatch.setattr(proc, "PAGE_KIB", 4)
    assert calibration.peak_error_bound_mib() == bound


def test_calibration_is_within_the_bound_and_leaves_nothing_behind() -> None:
    memory = proc.SelfMemory()
    if not memory.exact:
        pytest.skip(f"{CLEAR_REFS} cannot be written here")
    calibration.calibrate(memory)
    before = memory.read().rss
    started = time.perf_counter()
    error = calibration.calibrate(memory)
    seconds = time.perf_counter() - started
    after = memory.read()
    bound = calibration.peak_error_bound_mib()
    assert error is not None
    assert 0 <= error < calibration._SPIKE_MIB / 2  # the spike was seen
    assert bound is None or error <= bound
    assert seconds < 1  # milliseconds; the rest is room for a busy machine
    assert abs(after.rss - before) < 512
    assert after.peak - after.rss < 512  # the spike is no peak of what is measured next
    memory.close()


def test_calibration_notices_a_spike_that_is_not_seen() -> None:
    class Blind(proc.SelfMemory):
        """Reads a peak that is the current level, as if none had ever been higher."""

        def read(self) -> proc.Memory:
            memory = super().read()
            return memory._replace(peak=memory.rss)

    memory = Blind()
    memory.exact = True
    assert calibration.calibrate(memory) == pytest.approx(calibration._SPIKE_MIB, abs=0.5)


def test_without_memory_for_a_spike_there_is_no_observed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    assert calibration.calibrate(proc.SelfMemory()) is None


def refuse_clear_refs(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refusing(path: Any, *arguments: Any, **more: Any) -> int:
        if path == CLEAR_REFS:
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *arguments, **more)

    monkeypatch.setattr(os, "open", refusing)


def test_without_clear_refs_peaks_are_lower_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refuse_clear_refs(monkeypatch)
    memory = proc.SelfMemory()
    assert not memory.exact
    assert calibration.calibrate(memory) is None
    memory.close()
    recorder = spans.SpanRecorder(str(tmp_path / "spans.jsonl"), "parent", time.monotonic_ns())
    level = proc.SelfMemory().read()
    above = (level.peak - level.rss) // 1024  # an earlier peak hides every spike below it

    def spike(mib: int) -> None:
        with mmap.mmap(-1, mib * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
            pages[:: mmap.PAGESIZE] = b"\1" * (len(pages) // mmap.PAGESIZE)

    spanned = recorder.wrap(spike, "spike", phase=False)
    spanned(above + 32)
    spanned(4)
    large, small = map(json.loads, (tmp_path / "spans.jsonl").read_text().splitlines())
    assert large["peak_exact"] is small["peak_exact"] is False
    assert large["peak_rss_mib"] - large["start_rss_mib"] == pytest.approx(above + 32, abs=1.5)  # a new peak
    assert small["peak_rss_mib"] - small["start_rss_mib"] < 2  # a bound, and no one else's peak


def test_a_reset_that_fails_later_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = proc.SelfMemory()
    if not memory.exact:
        pytest.skip(f"{CLEAR_REFS} cannot be written here")

    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "pwrite", refuse)
    assert calibration.calibrate(memory) is None
    assert memory.exact is False


def test_events_of_all_processes_become_two_numbers_of_the_run() -> None:
    sampler = supervisor.process_tree.TreeSampler(os.getpid(), io.StringIO(), 0)

    def memory(*errors: float | None) -> tuple[Any, Any]:
        events = [
            {"event": "calibrated", "process_id": 1, "role": "parent", "error_mib": error, "bound_mib": 0.75}
            for error in errors
        ]
        found = supervisor._memory(sampler, {}, events)
        return found["peak_error_bound_mib"], found["peak_error_observed_mib"]

    assert memory(0.04, 0.11, None) == (0.75, 0.11)
    assert memory(None) == (0.75, None)
    assert memory() == (None, None)


def test_both_numbers_are_columns_of_the_table(tmp_path: Path) -> None:
    key = {"system": "toy", "cell": "00000000", "documents": 2, "profiler": "spans", "repeat": 1}
    record = {
        "format": 1,
        "run": {**key, "framework": "toy", "environment": "toy"},
        "outcome": COMPLETED,
        "memory": {"peak_error_bound_mib": 0.75, "peak_error_observed_mib": 0.039},
    }
    path = tmp_path / "run.json"
    path.write_text(json.dumps(record))
    (row,) = run_directories.run_rows([path], {})
    assert (row["peak_error_bound_mib"], row["peak_error_observed_mib"]) == (0.75, 0.039)


# A measured process that may not write clear_refs: Python imports sitecustomize before the program.
_REFUSING = f"""
import os
opened = os.open
def refusing(path, *arguments, **more):
    if path == {CLEAR_REFS!r}:
        raise PermissionError(13, "Permission denied", path)
    return opened(path, *arguments, **more)
os.open = refusing
"""


@pytest.mark.parametrize("refused", [False, True])
def test_each_measured_process_calibrates_itself(tmp_path: Path, refused: bool) -> None:
    events = tmp_path / "events.jsonl"
    (tmp_path / "sitecustomize.py").write_text(_REFUSING if refused else "")
    code = (
        "from indexscope.measure import records, worker; "
        f"worker._calibrate('worker', records.Appender({str(events)!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(SCRIPTS)])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    event = json.loads(events.read_text())
    assert (event["event"], event["role"]) == ("calibrated", "worker")
    assert event["bound_mib"] == calibration.peak_error_bound_mib()
    if refused:
        assert event["error_mib"] is None
    elif proc.SelfMemory().exact:
        assert 0 <= event["error_mib"] < calibration._SPIKE_MIB / 2
