"""The whole tree's proportional set size: a page that processes share counts once, and reading it costs no span."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from indexscope.measure import proc, spans

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SHARED, OWN = 64, 32  # MiB

# A parent with a shared mapping; a child that touches all of it and has memory of its own, and records a phase.
TREE = f"""
import json, mmap, os, sys, threading
sys.path.insert(0, {str(SCRIPTS)!r})
from indexscope.measure import proc, spans

def touched(mib, flags):
    memory = mmap.mmap(-1, mib << 20, flags=flags | mmap.MAP_ANONYMOUS)
    for offset in range(0, mib << 20, mmap.PAGESIZE):
        memory[offset] = 1
    return memory

root = os.getpid()
recorder = spans.SpanRecorder(sys.argv[1], "worker", 0, root)
before = proc.tree_pss_kib(root, proc.pss_kib())
shared = touched({SHARED}, mmap.MAP_SHARED)
(told, tell), (wait, go) = os.pipe(), os.pipe()
child = os.fork()
if not child:
    os.close(go)
    for offset in range(0, {SHARED} << 20, mmap.PAGESIZE):
        shared[offset]
    own = touched({OWN}, mmap.MAP_PRIVATE)
    recorder.wrap(lambda: None, "no phase", phase=False)()
    recorder.wrap(lambda: None, "phase", phase=True)()
    for thread in set(threading.enumerate()) - {{threading.current_thread()}}:
        thread.join()
    os.write(tell, b".")
    os.read(wait, 1)
    os._exit(0)
os.read(told, 1)
found = {{
    "before": before,
    "pss": proc.tree_pss_kib(root, proc.pss_kib()),
    "alone": proc.pss_kib(root),
    "rss": proc.resident(root)[0] + proc.resident(child)[0],
}}
os.close(go)
os.waitpid(child, 0)
print(json.dumps(found))
"""


def test_the_trees_pss_is_its_unique_memory(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", TREE, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    found = {name: kib / 1024 for name, kib in json.loads(done.stdout).items()}
    assert found["pss"] - found["before"] == pytest.approx(SHARED + OWN, abs=4)
    # The parent's half of what is shared.
    assert found["alone"] - found["before"] == pytest.approx(SHARED / 2, abs=8)
    assert found["rss"] - found["before"] > 2 * SHARED + OWN  # the shared mapping twice
    no_phase, phase = map(json.loads, path.read_text().splitlines())
    assert phase["end_tree_pss_mib"] == pytest.approx(found["pss"], abs=2)
    assert phase["end_pss_mib"] == pytest.approx(found["pss"] - found["alone"], abs=2)
    assert no_phase["end_tree_pss_mib"] is None


def test_a_process_that_is_gone_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {1: 100, 2: None, 3: 20}
    monkeypatch.setattr(proc, "pss_kib", lambda pid="self": sizes[pid])
    monkeypatch.setattr(proc, "children", lambda pid: {1: [2, 3]}.get(pid, []))
    assert proc.tree_pss_kib(1, 0) == 120
    monkeypatch.undo()
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE, check=True
    )
    assert proc.pss_kib(int(ended.stdout)) is None


def recorded(path: Path) -> dict[str, Any]:
    for thread in threading.enumerate():
        if thread.name == "indexscope-pss":
            thread.join()
    record: dict[str, Any] = json.loads(path.read_text())
    return record


@pytest.mark.parametrize("own_kib", [10, None])
def test_reading_pss_holds_nobody_up_and_is_not_known_where_it_cannot_be_read(
    own_kib: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(root: int, own_kib: int) -> int:
        time.sleep(0.3)
        return 2048

    monkeypatch.setattr(proc, "pss_kib", lambda pid="self": own_kib)
    monkeypatch.setattr(proc, "tree_pss_kib", slowly)
    recorder = spans.SpanRecorder(str(tmp_path / "spans.jsonl"), "parent", 0)
    started = time.monotonic()
    recorder.wrap(lambda: None, "phase", phase=True)()
    assert time.monotonic() - started < 0.2
    span = recorded(tmp_path / "spans.jsonl")
    assert span["ended_seconds"] - span["started_seconds"] < 0.2
    if own_kib is None:
        assert span["end_tree_pss_mib"] is span["pss_read_seconds"] is None
    else:
        assert span["end_tree_pss_mib"] == 2.0
        assert 0.3 <= span["pss_read_seconds"] < 2


def test_where_no_thread_can_be_started_the_phase_is_recorded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    recorder = spans.SpanRecorder(str(tmp_path / "spans.jsonl"), "parent", 0)
    assert recorder.wrap(lambda: 3, "phase", phase=True)() == 3
    assert recorded(tmp_path / "spans.jsonl")["end_tree_pss_mib"] > 1


def test_a_phase_at_the_end_of_a_process_is_not_lost(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
from indexscope.measure import proc, spans
import multiprocessing, time
read = proc.tree_pss_kib
def slowly(*arguments):
    time.sleep(0.3)
    return read(*arguments)
proc.tree_pss_kib = slowly
def child():
    spans.SpanRecorder(sys.argv[1], "worker", 0).wrap(lambda: None, "phase", phase=True)()
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
sys.exit(process.exitcode)
"""
    path = tmp_path / "spans.jsonl"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    assert json.loads(path.read_text())["pss_read_seconds"] >= 0.3
