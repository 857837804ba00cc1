"""Which jobs run side by side: the real workflow with the toy framework, on a machine that is said to have two GPUs."""

from __future__ import annotations

import csv
import json
import os
import time
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from toy_workflow import ToyWorkflow

pytestmark = pytest.mark.slow

SYSTEMS = ("first", "second", "third")
HOLD_SECONDS = 3.0
ONE_THREAD_EACH = ("--cores", "4")


class Job(NamedTuple):
    name: str
    started: float
    ended: float

    def overlaps(self, other: Job) -> bool:
        return self.started < other.ended and other.started < self.ended


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi that lists two GPUs, whose locks no other test knows, and answers nothing else."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    of_this_test = f"{os.getpid()}-{time.time_ns()}"
    program.write_text(
        '#!/bin/sh\n[ "$1" = "-L" ] || exit 9\n'
        f'echo "GPU 0: Toy (UUID: GPU-0000-{of_this_test})"\necho "GPU 1: Toy (UUID: GPU-1111-{of_this_test})"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def toy(tmp_path: Path, two_gpus: None) -> ToyWorkflow:
    workflow = ToyWorkflow(tmp_path / "checkout")
    workflow.configure(
        {name: ["hold", 1, HOLD_SECONDS + number / 100] for number, name in enumerate(SYSTEMS)},
        measurement={"device": "cuda", "threads": 1},
    )
    return workflow


def measured(toy: ToyWorkflow) -> dict[str, tuple[Job, dict[str, Any]]]:
    """System → its run's interval, by its own clock, and its record."""
    found = {}
    for system in SYSTEMS:
        record = toy.record(system)
        assert record["outcome"] == "completed", record["outcome_detail"]
        times = [datetime.fromisoformat(record[name]).timestamp() for name in ("started_at", "ended_at")]
        found[system] = (Job(system, *times), record)
    return found


def others(toy: ToyWorkflow) -> list[Job]:
    """Jobs of other rules that ran as processes; Snakemake writes a benchmark when its job has ended."""
    jobs = []
    for path in (toy.path / "results/benchmarks").rglob("*.tsv"):
        rule = path.relative_to(toy.path / "results/benchmarks").parts[0].removesuffix(".tsv")
        if rule == "index_collection":
            continue
        (row,) = csv.DictReader(path.open(), delimiter="\t")
        ended = path.stat().st_mtime
        jobs.append(Job(rule, ended - float(row["s"]), ended))
    return jobs


def overlapping(jobs: list[Job]) -> list[tuple[str, str]]:
    return [(one.name, other.name) for one, other in combinations(jobs, 2) if one.overlaps(other)]


def test_on_a_workstation_a_measured_run_is_alone(toy: ToyWorkflow) -> None:
    toy.run("index_runs", *ONE_THREAD_EACH)
    found = measured(toy)
    runs = [job for job, _ in found.values()]
    assert overlapping(runs) == []
    beside = others(toy)
    assert {"resolve_cell", "slice_dataset"} <= {job.name for job in beside}  # they did run, at other times
    assert [(run.name, job.name) for run in runs for job in beside if run.overlaps(job)] == []
    assert {record["place"]["devices"] for _, record in found.values()} <= {"0", "1"}


def test_two_jobs_never_overlap_under_a_limit_of_one_gpu(toy: ToyWorkflow) -> None:
    """Whatever else would let them."""
    toy.run("index_runs", *ONE_THREAD_EACH, "--resources", "gpu=1", "machine=300", "measured_run=3")
    assert overlapping([job for job, _ in measured(toy).values()]) == []


def test_with_more_gpus_each_run_has_its_own(toy: ToyWorkflow) -> None:
    toy.run("index_runs", *ONE_THREAD_EACH, "--workflow-profile", "profiles/gpus")
    found = measured(toy)
    pairs = overlapping([job for job, _ in found.values()])
    assert pairs  # two of three were side by side
    for one, other in pairs:
        devices = [found[name][1]["place"]["devices"] for name in (one, other)]
        assert sorted(devices) == ["0", "1"]
    # Never all three.
    ends = sorted((job.started, job.ended) for job, _ in found.values())
    assert ends[2][0] >= min(end for _, end in ends[:2])
    for name in pairs[0]:
        assert "index_collection" in found[name][1]["place"]["beside"], json.dumps(found[name][1]["place"])


def test_a_lock_holds_where_no_limit_does(toy: ToyWorkflow) -> None:
    """Three GPUs are promised to Snakemake, two are there: the third run waits for one."""
    toy.run("index_runs", *ONE_THREAD_EACH, "--resources", "gpu=3", "machine=300", "measured_run=3")
    found = measured(toy)
    for one, other in overlapping([job for job, _ in found.values()]):
        assert found[one][1]["place"]["devices"] != found[other][1]["place"]["devices"]
    logs = [path.read_text() for path in toy.path.glob("results/logs/index_collection/**/*.log")]
    assert any("Waiting for 1 of the GPUs 0, 1" in log for log in logs)


@pytest.mark.parametrize(
    ("target", "configured"),
    [
        ("index_runs", {"measurement": {"device": "cpu", "threads": 2}}),
        ("faiss_tables", {"faiss_tables": {"threads": 2}}),
        ("document_access", {"document_access": {"threads": 2}}),
        ("torch_versions", {"torch_versions": {"threads": 2}}),
    ],
)
def test_fewer_cores_than_the_configurations_threads_are_an_error(
    tmp_path: Path, target: str, configured: dict[str, Any]
) -> None:
    """Before anything has run, whichever program would be measured with fewer."""
    toy = ToyWorkflow(tmp_path)
    toy.configure({"first": ["hold", 1, 0.1]}, **configured)
    done = toy.checkout.snakemake(target, "--cores", "1", "--configfile", "toy.yaml", check=False)
    assert done.returncode != 0
    assert "takes 2 threads, as configured, but this start gives it 1; start with --cores 2" in done.stdout
    assert not list(toy.path.glob("results/benchmarks/**/*.tsv"))
