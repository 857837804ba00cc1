"""What ran beside a measured run: real processes, and processor time that is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from indexscope.measure import beside

SCRIPTS = Path(beside.__file__).parents[2]
# As a supervisor: starts a child that burns so many seconds, watches for so long, and says what it saw.
SUPERVISOR = """
import json, subprocess, sys, time
from indexscope.measure import beside
beside.LOOK_SECONDS = 0.05
burn, watch = map(float, sys.argv[1:3])
code = "import time\\nwhile time.process_time() < %f: pass" % burn
child = subprocess.Popen([sys.executable, "-c", code])
busy = beside.busy_seconds()
watcher = beside.Watch(child.pid)
end = time.monotonic() + watch
while time.monotonic() < end or child.poll() is None:
    watcher.look()
    time.sleep(0.05)
print(json.dumps({**watcher.summary(), "busy": beside.busy_seconds() - busy, "wall": time.monotonic() - end + watch}))
"""
BURNER = (
    "import sys, time\nwhile time.process_time() < float(sys.argv[1]): pass\ntime.sleep(float(sys.argv[2]))\n"
)


def program(folder: Path, name: str) -> Path:
    path = folder / "workflow" / "scripts" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(BURNER)
    return path


def supervise(burn: float, watch: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(burn), str(watch)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(process.communicate(timeout=60)[0])
    return found


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["python", "workflow/scripts/slice_dataset.py", "--output", "x"], "slice_dataset"),
        (["/a/bin/python3.11", "-u", "/a/workflow/scripts/plot.py"], "plot"),
        (["python", "-X", "utf8", "/a/workflow/scripts/plot.py"], "plot"),
        (
            [
                *("python", "workflow/scripts/run_in_environment.py", "e.json"),
                *("workflow/scripts/index_collection.py", "--cell", "workflow/scripts/plot.py"),
            ],
            "index_collection",
        ),
        (["/bin/bash", "-c", "python workflow/scripts/plot.py"], None),
        (["vim", "workflow/scripts/plot.py"], None),
        (["python", "-m", "pytest", "workflow/scripts/plot.py"], None),
        (["python", "other.py", "workflow/scripts/plot.py"], None),
        (["python", "workflow/scripts/indexscope/config.py"], None),
        (["python"], None),
        ([""], None),
    ],
)
def test_which_program_a_process_runs(arguments: list[str], expected: str | None) -> None:
    assert beside.program_of("\0".join([*arguments, ""]).encode()) == expected


def test_programs_of_others_are_seen_once_and_own_ones_not(tmp_path: Path) -> None:
    others = [
        subprocess.Popen([sys.executable, str(program(tmp_path / str(number), name)), "0", "20"])
        for number, name in enumerate(["slice_dataset", "plot", "plot"])
    ]
    own = program(tmp_path, "measure_spikes")
    code = SUPERVISOR.replace('[sys.executable, "-c", code]', f'[sys.executable, {str(own)!r}, "0", "0.5"]')
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, "0", "1"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        )
    finally:
        for process in others:
            process.kill()
            process.wait()
    seen = json.loads(done.stdout)["beside"]
    assert seen == sorted(set(seen))
    assert {"slice_dataset", "plot"} <= set(seen)  # other programs may run on this machine too
    assert "measure_spikes" not in seen


def test_a_look_is_rate_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = beside.Watch(os.getpid())
    looked = []
    monkeypatch.setattr(beside.os, "listdir", lambda path: looked.append(path) or [])
    for _ in range(5):
        watch.look()
    assert looked == ["/proc"]


# In a process of its own: what another test has running below this one would count as the run's.
BUSY_FOR_THREE_SECONDS = """
import json, os, subprocess, sys, time
from indexscope.measure import beside
beside.busy_seconds = lambda: 1000.0
child = subprocess.Popen(
    [sys.executable, "-c", "import time\\nwhile time.process_time() < 0.5: pass\\ntime.sleep(60)"]
)
begun = time.monotonic()
watch = beside.Watch(child.pid)
own = os.times()
while beside._seconds_of(child.pid) < 0.45:
    time.sleep(0.02)
beside.busy_seconds = lambda: 1003.0
alive = watch.summary()["cores_beside"] * (time.monotonic() - begun)
child.kill()
child.wait()  # now its time is among what this process has reaped
reaped = watch.summary()["cores_beside"] * (time.monotonic() - begun)
later = os.times()
here = later.user + later.system - own.user - own.system
print(json.dumps([alive, reaped, here]))
"""


def test_cores_beside_are_the_machines_less_the_runs_own() -> None:
    """A child of ours burns half a second; the machine is said to have been busy for 3 seconds."""
    done = subprocess.run(
        [sys.executable, "-c", BUSY_FOR_THREE_SECONDS],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    alive, reaped, here = json.loads(done.stdout)
    for seconds in (alive, reaped):
        assert seconds == pytest.approx(3.0 - 0.5 - here, abs=0.15)


def test_what_burns_a_core_outside_counts_and_what_burns_inside_does_not(tmp_path: Path) -> None:
    """Against the kernel's own count, which holds whatever else runs on this machine."""
    burner = program(tmp_path, "slice_dataset")
    outside = subprocess.Popen([sys.executable, str(burner), "1.0", "0"])
    found = answer(supervise(burn=1.0, watch=2.0))
    outside.wait()
    others = found["cores_beside"] * found["wall"]
    assert others >= 0.8  # a second of the other program
    assert others == pytest.approx(found["busy"] - 1.0, abs=0.4)  # own: a second, and Python's start


def test_unknown_where_the_kernel_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "busy_seconds", lambda: None)
    assert beside.Watch(os.getpid()).summary()["cores_beside"] is None
    # A /proc/stat that stands still, while this process works.
    monkeypatch.setattr(beside, "busy_seconds", lambda: 7.0)
    watch = beside.Watch(os.getpid())
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
    assert watch.summary()["cores_beside"] is None
