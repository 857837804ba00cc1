"""A program under limits: how it ended, and that nothing of it is left."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from indexscope.measure import proc, supervised

LIMITS = supervised.Limits(sample_interval_seconds=0.01, timeout_seconds=30)


def run(tmp_path: Path, code: str, **limits: int) -> supervised.Supervised:
    command = [sys.executable, "-c", code]
    return supervised.run(command, str(tmp_path / "printed"), LIMITS._replace(**limits))


@pytest.mark.parametrize(
    ("code", "outcome", "detail"),
    [
        ("pass", "completed", None),
        ("raise ValueError('so it is')", "failed", "ValueError: so it is"),
        ("raise MemoryError", "out_of_memory_host", "MemoryError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "killed", "the worker ended by SIGTERM"),
    ],
)
def test_an_ending_has_a_name(tmp_path: Path, code: str, outcome: str, detail: str | None) -> None:
    done = run(tmp_path, code)
    assert (done.outcome, done.outcome_detail) == (outcome, detail)


def test_limits_end_it(tmp_path: Path) -> None:
    slow = run(tmp_path, "import time; time.sleep(60)", timeout_seconds=1)
    assert (slow.outcome, slow.wall_seconds < 10) == ("timed_out", True)
    large = run(tmp_path, "import time; kept = bytearray(300 << 20); time.sleep(60)", memory_limit_mib=200)
    assert large.outcome == "out_of_memory_host"
    assert large.tree_peak_rss_mib > 200


def test_a_child_that_nobody_saw_before_its_parent_died_is_ended_too(tmp_path: Path) -> None:
    # Discovery looks for new processes ten times a second; this parent is gone within a few milliseconds.
    parent = (
        "import subprocess, sys, os; child = subprocess.Popen(['sleep', '600']); "
        "open(sys.argv[1], 'w').write(str(child.pid)); os._exit(0)"
    )
    for attempt in range(3):
        told = tmp_path / f"child{attempt}"
        supervised.run([sys.executable, "-S", "-c", parent, str(told)], str(tmp_path / "printed"), LIMITS)
        deadline = time.monotonic() + 1
        child = int(told.read_text())
        while (stat := proc.stat(child)) is not None and stat.state != "Z" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stat is None or stat.state == "Z"
