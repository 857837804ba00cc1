"""Measured runs of a toy framework with known spikes: what is recorded, and how each ending is named."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from indexscope.measure import calibration, supervisor

HERE = Path(__file__).parent
SCRIPTS = HERE.parents[1] / "workflow" / "scripts"
FUNCTIONS = [
    "outer",
    "inner",
    "small_again",
    "in_child",
    "child_work",
    "fail",
    "Static.method",
    "Static._Static__private",
    "no_such_function",
]
BOUND_MIB = calibration.peak_error_bound_mib() or 1.0  # none is declared before Linux 6.2


class Toy:
    """A copy of the programs with the toy framework as one more adapter, and a collection of two documents."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scripts = directory / "scripts"
        shutil.copytree(SCRIPTS, self.scripts, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "toy_adapter.py", self.scripts / "indexscope" / "frameworks" / "toy.py")
        shutil.copy(HERE / "toy_framework.py", self.scripts / "toy_framework.py")
        documents = [{"document_id": f"d{number}", "text": f"text {number}"} for number in range(2)]
        self.collection = directory / "collection.jsonl"
        self.collection.write_text("".join(json.dumps(document) + "\n" for document in documents))
        self.output = directory / "run"

    def command(self, profiler: str = "none", **cell: Any) -> list[str]:
        functions = [
            {
                "module": "toy_framework",
                "qualname": name,
                "phase": name in ("outer", "child_work"),
                "memory_profiler": True,
            }
            for name in FUNCTIONS
        ]
        content = {
            "system": "toy",
            "cell": "00000000",
            "corpus": "two",
            "checkpoint": "none",
            "framework": "toy",
            "environment": "toy",
            "lock_digest": "00000000",
            "functions": functions,
            "device": "cpu",
            "threads": 1,
            "allocator": "default",
            "sample_interval_seconds": 0.01,
            "timeout_seconds": 60,
            **cell,
        }
        path = self.directory / "cell.json"
        path.write_text(json.dumps(content))
        return [
            sys.executable,
            str(self.scripts / "index_collection.py"),
            *("--cell", str(path), "--collection", str(self.collection), "--checkpoint", "none"),
            *("--extensions", "none", "--documents", "2", "--profiler", profiler, "--repeat", "1"),
            *("--output", str(self.output)),
        ]

    def run(self, profiler: str = "none", **cell: Any) -> dict[str, Any]:
        """Run to the end and return run.json."""
        done = subprocess.run(
            self.command(profiler, **cell),
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.directory,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        record: dict[str, Any] = json.loads((self.output / "run.json").read_text())
        return record

    def spans(self) -> dict[str, dict[str, Any]]:
        lines = (self.output / "spans.jsonl").read_text().splitlines()
        return {span["function"].removeprefix("toy_framework."): span for span in map(json.loads, lines)}


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


def calling(name: str, *arguments: Any, **more: Any) -> dict[str, Any]:
    return {"settings": {"call": name, "arguments": list(arguments), **more}}


def risen(span: dict[str, Any]) -> float:
    return float(span["peak_rss_mib"] - span["start_rss_mib"])


def test_completed_run_has_every_file(toy: Toy) -> None:
    record = toy.run("none", **calling("outer", 4, 32))
    assert record["outcome"] == "completed"
    assert record["exit_code"] == 0
    assert record["resolved"]["passages"] == 2
    assert record["resolved"]["index_size_mib"] == pytest.approx(1, abs=0.001)
    assert record["resolved"]["process_model"] == "in process"
    assert record["attempts"] == [
        {
            "process_id": record["processes"][0]["process_id"],
            "fact": "kmeans",
            "backend": "toy",
            "points": 32,
            "partitions": 1,
            "iterations": 2,
        }
    ]
    assert sorted(path.name for path in toy.output.iterdir()) == [
        "index",
        "ledger.jsonl",
        "memory_curve.csv",
        "memory_profiler.log",
        "run.json",
        "spans.jsonl",
        "stdout.log",
    ]
    assert (toy.output / "spans.jsonl").read_text() == ""
    assert not toy.output.with_name("run.partial").exists()


def test_spans_of_nested_spikes_are_exact(toy: Toy) -> None:
    record = toy.run("spans", **calling("outer", 4, 64))
    spans = toy.spans()
    assert record["memory"]["peaks_exact"] is True
    assert record["memory"]["peak_error_bound_mib"] == calibration.peak_error_bound_mib()
    assert 0 <= record["memory"]["peak_error_observed_mib"] <= BOUND_MIB
    assert risen(spans["outer"]) == pytest.approx(64, abs=BOUND_MIB)
    assert risen(spans["inner"]) == pytest.approx(64, abs=BOUND_MIB)
    assert risen(spans["small_again"]) == pytest.approx(4, abs=BOUND_MIB)  # not the larger one before it
    assert spans["inner"]["depth"] == spans["outer"]["depth"] + 1
    assert spans["outer"]["end_pss_mib"] > 0  # a phase
    assert spans["outer"]["end_tree_pss_mib"] >= spans["outer"]["end_pss_mib"] - 0.5
    assert spans["inner"]["end_pss_mib"] is None
    assert spans["outer"]["started_seconds"] < spans["inner"]["started_seconds"]
    assert spans["inner"]["ended_seconds"] < spans["outer"]["ended_seconds"]


def test_spawned_child_is_instrumented_and_told_apart(toy: Toy) -> None:
    record = toy.run("spans", **calling("in_child", 64))
    spans = toy.spans()
    assert {process["role"] for process in record["processes"]} >= {"parent", "worker"}
    assert record["resolved"]["process_model"] == "child process"
    assert spans["inner"]["role"] == "worker"
    assert spans["in_child"]["role"] == "parent"
    assert risen(spans["inner"]) == pytest.approx(64, abs=BOUND_MIB)
    assert risen(spans["in_child"]) < 32  # the child's memory is not the parent's
    # The whole tree is found from the child: itself, and the parent that waits.
    assert spans["child_work"]["end_tree_pss_mib"] > spans["child_work"]["end_pss_mib"] + 1
    patched = {(entry["role"], entry["qualname"]): entry["patched"] for entry in record["instrumented"]}
    for role in ("parent", "worker"):
        assert all(patched[role, name] for name in FUNCTIONS[:-1])
        assert patched[role, "no_such_function"] is False


def test_private_and_static_methods(toy: Toy) -> None:
    toy.run("spans", **calling("Static.method", 8))
    assert risen(toy.spans()["Static.method"]) == pytest.approx(8, abs=BOUND_MIB)
    toy.run("spans", **calling("Static.call", 16, instance=True))
    assert risen(toy.spans()["Static._Static__private"]) == pytest.approx(16, abs=BOUND_MIB)


def test_swallowed_exception_is_on_the_span(toy: Toy) -> None:
    record = toy.run("spans", **calling("swallow"))
    assert record["outcome"] == "completed"
    assert toy.spans()["fail"]["raised"] == "ValueError"


def test_memory_profiler_log_has_a_table_for_each_call(toy: Toy) -> None:
    toy.run("memory_profiler", **calling("in_child", 8))
    log = (toy.output / "memory_profiler.log").read_text()
    heads = [line.split()[3:] for line in log.splitlines() if line.startswith("[indexscope] process")]
    assert heads == [
        ["worker", "toy_framework.inner"],
        ["worker", "toy_framework.child_work"],
        ["parent", "toy_framework.in_child"],
    ]
    assert log.count("Filename: ") == 3
    assert "    inner(mib)" in log


def test_curve_and_tree_peak(toy: Toy) -> None:
    record = toy.run("none", **calling("hold", 128, 0.3))
    with (toy.output / "memory_curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["role"] for row in rows} <= {"parent", "other"}
    highest = max(float(row["rss_mib"]) for row in rows)
    assert highest > 128
    assert record["memory"]["tree_peak_rss_mib"] == pytest.approx(highest, abs=1)
    assert record["memory"]["by_role"]["parent"] == record["memory"]["tree_peak_rss_mib"]
    assert all(0 <= float(row["shared_mib"]) <= float(row["rss_mib"]) for row in rows)
    (largest,) = {row["shared_mib"] for row in rows if float(row["rss_mib"]) == highest}
    assert 0 < float(largest) < 100  # of files; what was allocated is not
    times = [float(row["seconds"]) for row in rows]
    assert times == sorted(times)


def test_moment_of_the_peak(toy: Toy) -> None:
    memory = toy.run("none", **calling("hold", 128, 1.0))["memory"]
    assert memory["tree_peak_moment"] == "index call"
    assert memory["index_peak_rss_mib"] == pytest.approx(memory["tree_peak_rss_mib"], abs=0.5)
    # Shortly before the worker's own end, which is no child's.
    assert toy.run("none", **calling("hold", 128, 0.3))["memory"]["tree_peak_moment"] == "index call"
    memory = toy.run("none", **calling("large_child_exits", 128))["memory"]
    assert memory["tree_peak_moment"] == "child exit"
    memory = toy.run("none", **calling("large_at_exit", 128))["memory"]
    assert memory["tree_peak_moment"] == "exit"
    assert memory["index_peak_rss_mib"] < memory["tree_peak_rss_mib"] - 100


@pytest.mark.parametrize(
    ("started", "ended", "peak"),
    [
        (0.0, 9.0, 100),
        (1.5, 1.9, 40),  # no row: what was written before it holds
        (1.5, 2.0, 100),
        (2.5, 9.0, 100),
        (3.0, 3.5, 70),  # one process grew as the other shrank: never 30 + 60
        (4.0, 9.0, 0),
    ],
)
def test_peak_between_two_moments_of_a_curve(
    tmp_path: Path, started: float, ended: float, peak: float
) -> None:
    rows = ["1,40,40", "2,40,40", "2,41,60", "3,40,60", "3,41,10", "4,40,0", "4,41,0"]
    lines = ["{},{},1,parent,{}".format(*row.split(",")) for row in rows]
    curve = tmp_path / "memory_curve.csv"
    curve.write_text("\n".join(["seconds,process_id,parent_process_id,role,rss_mib", *lines]) + "\n")
    assert supervisor._tree_peak_between(str(curve), started, ended) == peak


def test_a_run_is_measured_once_at_a_time(toy: Toy) -> None:
    command = toy.command(**calling("hold", 1, 30))
    first = subprocess.Popen(command, cwd=toy.directory)
    try:
        curve = toy.output.with_name("run.partial") / "memory_curve.csv"
        wait_for(curve.exists)
        second = subprocess.run(command, cwd=toy.directory, capture_output=True, text=True, check=False)
    finally:
        first.terminate()
        first.wait()
    assert second.returncode == 1
    assert "another process is measuring this run" in second.stderr


def test_memory_limit_ends_the_run(toy: Toy) -> None:
    record = toy.run("none", memory_limit_mib=150, **calling("hold", 300, 5))
    assert record["outcome"] == "out_of_memory_host"
    assert "memory_limit_mib: 150" in record["outcome_detail"]
    assert record["wall_seconds"] < 5
    assert (toy.output / "memory_curve.csv").read_text().count("\n") > 2
    assert list((toy.output / "index").iterdir()) == []


def test_allocation_limit_makes_allocations_fail(toy: Toy) -> None:
    record = toy.run("none", allocation_limit_mib=150, **calling("hold", 300, 0))
    assert record["outcome"] == "out_of_memory_host"
    assert "Cannot allocate memory" in record["outcome_detail"]


def test_timeout(toy: Toy) -> None:
    record = toy.run("none", timeout_seconds=1, **calling("hold", 1, 30))
    assert record["outcome"] == "timed_out"
    assert record["wall_seconds"] < 10


def test_dead_child_does_not_hang_the_run(toy: Toy) -> None:
    record = toy.run("none", **calling("child_dies"))
    assert record["outcome"] == "killed"
    assert record["outcome_detail"] == "a child process ended by SIGKILL"
    assert record["wall_seconds"] < 10


@pytest.mark.parametrize(
    ("call", "outcome", "detail"),
    [
        ("fail", "failed", "ValueError: the framework does not like this"),
        ("run_out_of_cuda_memory", "out_of_memory_cuda", "RuntimeError: CUDA out of memory. Tried"),
        ("abort", "failed", "exiting early"),
    ],
)
def test_failures_are_outcomes(toy: Toy, call: str, outcome: str, detail: str) -> None:
    record = toy.run("none", **calling(call))
    assert record["outcome"] == outcome
    assert record["outcome_detail"].startswith(detail)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("RuntimeError: CUDA out of memory. Tried to allocate 27.55 GiB", "out_of_memory_cuda"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", "out_of_memory_host"),
        ("MemoryError: Unable to allocate 27.5 GiB", "out_of_memory_host"),
        ("ValueError: too few points", "failed"),
    ],
)
def test_a_swallowed_failure_and_what_was_tried_after_it_are_both_visible(
    toy: Toy, error: str, outcome: str
) -> None:
    record = toy.run("none", **calling("fall_back", error))
    assert record["outcome"] == "completed"
    first, second = record["attempts"]
    assert (first["backend"], first["failure"], first["outcome"]) == ("first", error, outcome)
    assert second["backend"] == "second"
    assert not {"failure", "outcome"} & second.keys()
    resolved = record["resolved"]
    assert resolved["kmeans_failures"] == f"first: {error}"
    assert (resolved["kmeans_backend"], resolved["kmeans_attempts"]) == ("second", 2)
    phases = [(phase["phase"], phase["completed"], phase["failure"]) for phase in record["phases"]]
    assert phases == [("training", False, error), ("training", True, None)]
    last = record["phases"][-1]
    assert resolved["training_seconds"] == pytest.approx(
        last["ended_seconds"] - last["started_seconds"], abs=0.001
    )


def test_phases_are_timed_under_every_profiler(toy: Toy) -> None:
    for profiler in ("none", "spans", "memory_profiler"):
        record = toy.run(profiler, **calling("hold", 1, 0.2))
        assert 0.2 <= record["resolved"]["encoding_seconds"] < record["resolved"]["index_seconds"]
        # Two documents.
        per_25k = record["resolved"]["encoding_seconds"] * 12_500
        assert record["resolved"]["seconds_per_25k_passages"] == pytest.approx(per_25k, rel=0.01)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"own_fault": True}, "IndexScope's own code: KeyError"),
        # The framework goes on, as if it had not been observed; but nothing comes of the run.
        ({"call": "observed_wrongly", "arguments": [1]}, "IndexScope's own code: KeyError: 'an argument"),
    ],
)
def test_own_defect_is_an_error_and_leaves_nothing(toy: Toy, changed: dict[str, Any], sentence: str) -> None:
    done = failing(toy, **calling("outer", 1, 1, **changed))
    assert sentence in done.stderr
    assert not toy.output.exists()
    assert not toy.output.with_name("run.partial").exists()


@pytest.mark.parametrize(
    ("find", "replacement", "sentence"),
    [
        (
            "import os\n",
            "import os\nimport toy_framework\n",
            "before it could be instrumented: toy_framework",
        ),
        ('"passages"', 'texts["passages"]', "frameworks/toy.py: the index that build returned cannot be"),
        ("return path", 'return path + "x"', "frameworks/toy.py: the index that build returned cannot be"),
    ],
)
def test_a_defect_of_an_adapter_is_an_error(toy: Toy, find: str, replacement: str, sentence: str) -> None:
    adapter = toy.scripts / "indexscope" / "frameworks" / "toy.py"
    text = adapter.read_text()
    assert find in text
    adapter.write_text(text.replace(find, replacement, 1))
    assert sentence in failing(toy, **calling("outer", 1, 1)).stderr
    assert not toy.output.exists()


def failing(toy: Toy, **cell: Any) -> subprocess.CompletedProcess[str]:
    """A run that ends with an error of IndexScope's own, in a sentence."""
    done = subprocess.run(toy.command(**cell), capture_output=True, text=True, cwd=toy.directory, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done


def test_a_checkout_named_indexscope_does_not_take_the_blame(tmp_path: Path) -> None:
    """A framework that is installed below such a folder fails by itself."""
    folder = tmp_path / "indexscope"
    folder.mkdir()
    record = Toy(folder).run("none", **calling("fail"))
    assert record["outcome"] == "failed"


def test_fewer_threads_than_the_cell_asks_for_is_an_error(toy: Toy) -> None:
    command = [*toy.command(**calling("fail"), threads=2), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=toy.directory, check=False)
    assert done.returncode == 1
    assert "--cores 2" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ending_the_supervisor_leaves_no_process(toy: Toy, number: signal.Signals) -> None:
    measuring = subprocess.Popen(
        toy.command(**calling("wait_with_child", 60)),
        cwd=toy.directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    printed = toy.output.with_name("run.partial") / "stdout.log"
    child = wait_for(lambda: child_of(printed))
    os.kill(measuring.pid, number)
    measuring.wait(timeout=20)
    wait_for(lambda: not running(child))
    assert not toy.output.exists()
    if number != signal.SIGKILL:
        assert not toy.output.with_name("run.partial").exists()
    record = toy.run("none", **calling("outer", 1, 1))  # the next attempt completes
    assert record["outcome"] == "completed"


def child_of(printed: Path) -> int | None:
    words = printed.read_text().split() if printed.exists() else []
    return int(words[1]) if len(words) == 2 else None


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Any, seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("waited too long")
