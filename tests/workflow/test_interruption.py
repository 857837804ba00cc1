"""Whatever ends a run midway leaves no process and no half-written file, and the next start completes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from toy_workflow import ToyWorkflow, end_group, wait_for

pytestmark = pytest.mark.slow

NEIGHBOURS = {"neighbour_before": ["outer", 1, 1], "neighbour_after": ["outer", 1, 2]}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyWorkflow:
    """A checkout where all but the runs has been made."""
    workflow = ToyWorkflow(tmp_path_factory.mktemp("interrupted"))
    workflow.configure({"first": ["outer", 1, 1]})
    workflow.run("index_runs")
    return workflow


@pytest.fixture
def waiting(toy: ToyWorkflow, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """The workflow in the middle of the run of a system `waiting_…`, which waits for the file `gate_…`."""
    name = request.node.callspec.id if hasattr(request.node, "callspec") else "worker"
    gate = toy.path / f"gate_{name}"
    toy.configure({**NEIGHBOURS, f"waiting_{name}": ["wait_for_file", str(gate), 120]})
    started = toy.start("index_runs")
    try:
        # Snakemake, a shell, the supervisor; then the worker, its child and multiprocessing's tracker.
        wait_for(lambda: len(toy.marked()) >= 2 and "child" in printed(toy, f"waiting_{name}"))
        yield started
    finally:
        end_group(started)


def printed(toy: ToyWorkflow, system: str) -> str:
    paths = list(toy.path.glob(f"results/index_runs/{system}-*/10/none/1.partial/stdout.log"))
    return paths[0].read_text() if paths else ""


def half_written(toy: ToyWorkflow) -> list[str]:
    """Files that look like a result and are none."""
    found = []
    for directory in toy.path.glob("results/index_runs/*/10/none/*"):
        names = {path.name for path in directory.iterdir()}
        if directory.suffix == ".partial":
            found.append(str(directory))
        elif "run.json" not in names:
            found += [str(directory / name) for name in names]
        else:
            json.loads((directory / "run.json").read_text())
            complete = {"spans.jsonl", "memory_curve.csv", "memory_profiler.log", "stdout.log", "index"}
            assert complete <= names
    return found


@pytest.mark.parametrize("who", ["ctrl_c", "sigterm", "supervisor"])
def test_an_interrupted_run_leaves_nothing_and_is_completed_by_the_next_start(
    toy: ToyWorkflow, waiting: subprocess.Popen[bytes], who: str
) -> None:
    system = f"waiting_{who}"
    assert len(toy.marked()) >= 2
    if who == "ctrl_c":
        os.killpg(waiting.pid, signal.SIGINT)
    elif who == "sigterm":
        os.killpg(waiting.pid, signal.SIGTERM)
    else:
        os.kill(toy.supervisor(), signal.SIGKILL)
    assert waiting.wait(timeout=60) != 0
    wait_for(lambda: not toy.processes(), seconds=10)
    assert system not in toy.outcomes()
    left = half_written(toy)
    if who == "supervisor":  # it cannot clean up; what it leaves bears a name that no rule reads
        assert all(path.endswith("/1.partial") for path in left)
    else:
        assert left == []

    (toy.path / f"gate_{who}").touch()
    toy.run("index_runs")
    outcomes = toy.outcomes()
    assert {outcomes[name] for name in (system, *NEIGHBOURS)} == {"completed"}
    assert half_written(toy) == []
    assert "Nothing to be done" in toy.run("index_runs")


def test_a_killed_worker_is_an_outcome_and_the_workflow_goes_on(
    toy: ToyWorkflow, waiting: subprocess.Popen[bytes]
) -> None:
    os.kill(toy.worker(), signal.SIGKILL)
    assert waiting.wait(timeout=120) == 0
    assert toy.processes() == {}
    record = toy.record("waiting_worker")
    assert (record["outcome"], record["outcome_detail"]) == ("killed", "the worker ended by SIGKILL")
    outcomes = toy.outcomes()
    assert {outcomes[name] for name in NEIGHBOURS} == {"completed"}
    assert half_written(toy) == []
    # It is a result: nothing is run again because of it.
    assert "Nothing to be done" in toy.run("index_runs")
