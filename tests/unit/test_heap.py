"""Profiler memray, and the benchmark of ways of measuring, with a toy framework and a stand-in for memray.

The stand-in has memray's names and traces with tracemalloc; the real one runs in tests/workflow/test_memray_run.py.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_measured_run import Toy, calling

STAND_IN = """
import collections, json, sys, tracemalloc
loaded_before = [name for name in sys.modules if name.startswith("toy_framework")]

class FileDestination:
    def __init__(self, path, overwrite, compress_on_exit):
        self.path = path

class Tracker:
    def __init__(self, destination):
        self.path = destination.path

    def __enter__(self):
        assert not loaded_before, "traced too late"
        tracemalloc.start()

    def __exit__(self, *error):
        with open(self.path, "w") as file:
            json.dump(tracemalloc.get_traced_memory()[1], file)

class FileReader:
    def __init__(self, path):
        with open(path) as file:
            peak = json.load(file)
        self.metadata = collections.namedtuple("Metadata", "peak_memory")(peak)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass
"""


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    made = Toy(tmp_path)
    (made.scripts / "memray.py").write_text(STAND_IN)
    return made


def test_memray_traces_every_process_and_leaves_its_peak_only(toy: Toy) -> None:
    record = toy.run("memray", **calling("large_child_exits", 64))
    assert record["outcome"] == "completed"
    # Of the child, in which it was allocated; the parent has next to nothing.
    assert 64 <= record["memory"]["memray_heap_peak_mib"] < 70
    assert not list(toy.directory.rglob("*.memray"))
    assert not (toy.output / "heap").exists()
    assert (toy.output / "spans.jsonl").read_text() == ""


def test_bare_and_memray_record_different_things(toy: Toy) -> None:
    sampled = {}
    for name, profiler, interval in [
        ("bare", "none", 1.0),
        ("none", "none", 0.01),
        ("memray", "memray", 0.01),
    ]:
        record = toy.run(profiler, sample_interval_seconds=interval, **calling("hold", 16, 0.5))
        assert ("memray_heap_peak_mib" in record["memory"]) == (name == "memray")
        sampled[name] = record["memory"]["samples"]
        assert 0 < record["sampling_processor_seconds"] < record["wall_seconds"]
    assert sampled["bare"] <= 5
    assert sampled["none"] > 20


def test_without_memray_no_run_is_published(toy: Toy) -> None:
    (toy.scripts / "memray.py").write_text("raise ModuleNotFoundError(\"No module named 'memray'\")\n")
    done = subprocess.run(
        toy.command("memray", **calling("hold", 1, 0.0)),
        capture_output=True,
        text=True,
        cwd=toy.directory,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "No module named 'memray'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not toy.output.exists()


def benchmark(toy: Toy, rounds: int, **cell: Any) -> list[str]:
    toy.command(**cell)  # writes the cell
    return [
        *(sys.executable, str(toy.scripts / "benchmark_profilers.py")),
        *("--cell", str(toy.directory / "cell.json"), "--collection", str(toy.collection)),
        *("--checkpoint", "none", "--documents", "2", "--rounds", str(rounds)),
        *("--variants", "bare", "none", "memray", "--output", str(toy.directory / "rounds.jsonl")),
    ]


def test_benchmark_writes_a_record_for_each_run_and_nothing_else(toy: Toy) -> None:
    command = benchmark(toy, 1, **calling("hold", 32, 0.2))
    done = subprocess.run(command, capture_output=True, text=True, cwd=toy.directory, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (toy.directory / "rounds.jsonl").read_text().splitlines()]
    assert [(row["round"], row["variant"], row["again"]) for row in rows] == [
        (0, "none", False),
        (1, "bare", False),
        (1, "none", False),
        (1, "none", True),
        (1, "memray", False),
    ]
    assert {row["outcome"] for row in rows} == {"completed"}
    assert all(row["index_seconds"] >= 0.2 and row["encoding_seconds"] >= 0.2 for row in rows)
    assert [row["memray_heap_peak_mib"] is None for row in rows] == [True] * 4 + [False]
    left = {path.name for path in toy.directory.glob("rounds*")}
    assert left == {"rounds.jsonl"}
    assert "5 of 5: round 1, memray: completed" in done.stdout


def test_interrupted_benchmark_leaves_nothing(toy: Toy) -> None:
    command = benchmark(toy, 2, **calling("hold", 1, 30))
    process = subprocess.Popen(
        command, cwd=toy.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while not list(toy.directory.glob("rounds.jsonl.runs/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(toy.directory.glob("rounds.jsonl.runs/*"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 128 + signal.SIGTERM
    assert not list(toy.directory.glob("rounds*"))
