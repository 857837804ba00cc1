"""The whole tree's proportional set size: a page that processes share counts once, and reading it costs no span."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from indexscope.measure import proc, spans

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SHARED, OWN = 64, 32  # MiB

# A parent with a shared mapping; a child that touches all of it and has memory of its own, and records a phase.
TREE = f"""
import json, mmap, os, sys
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
    recorder.wrap(lambda: None, "phase", phase=True)()
    recorder.wrap(lambda: None, "no phase", phase=False)()
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
    phase, no_phase = map(json.loads, path.read_text().splitlines())
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


@pytest.mark.parametrize("own_kib", [10, None])
def test_reading_pss_is_not_in_the_span_and_not_known_where_it_cannot_be_read(
    own_kib: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(root: int, own_kib: int) -> int:
        time.sleep(0.3)
        return 2048

    monkeypatch.setattr(proc, "pss_kib", lambda pid="self": own_kib)
    monkeypatch.setattr(proc, "tree_pss_kib", slowly)
    recorder = spans.SpanRecorder(str(tmp_path / "spans.jsonl"), "parent", 0)
    recorder.wrap(lambda: None, "phase", phase=True)()
    span = json.loads((tmp_path / "spans.jsonl").read_text())
    assert span["ended_seconds"] - span["started_seconds"] < 0.2
    assert span["end_tree_pss_mib"] == (None if own_kib is None else 2.0)
