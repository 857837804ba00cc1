"""Locks of compiled extensions: those that a killed process has left, and those that are held."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from indexscope.measure import extension_locks


def locked(folder: Path, age: float = 0.0) -> Path:
    lock = folder / "segmented_maxsim_cpp" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (time.time() - age,) * 2)
    return lock


def test_an_old_lock_is_removed(tmp_path: Path) -> None:
    lock = locked(tmp_path, age=3600)
    assert extension_locks.clear(str(tmp_path)) == [str(lock)]
    assert not lock.exists()


def test_a_lock_that_is_held_is_waited_for(tmp_path: Path) -> None:
    lock = locked(tmp_path)
    holder = "import os, sys, time\ntime.sleep(1)\nos.remove(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", holder, str(lock)]) as process:
        began = time.monotonic()
        assert extension_locks.clear(str(tmp_path)) == []
        assert time.monotonic() - began > 0.5
        assert not lock.exists()
    assert process.returncode == 0


def test_a_new_lock_of_a_killed_process_is_removed_in_time(tmp_path: Path) -> None:
    lock = locked(tmp_path)
    assert extension_locks.clear(str(tmp_path), stale_seconds=1.0) == [str(lock)]


def test_nothing_compiled_is_nothing_to_do(tmp_path: Path) -> None:
    assert extension_locks.clear(str(tmp_path / "none")) == []
    (tmp_path / "segmented_maxsim_cpp").mkdir()
    assert extension_locks.clear(str(tmp_path)) == []
