"""The workflow on a real Slurm of one node: memory, GPUs, cancelled jobs, and what the records say of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import one_node
import pyarrow.parquet as pq
import pytest
import yaml
from checkout import Checkout
from indexscope import memory_plan
from toy_workflow import ToyWorkflow, end_group, wait_for

pytestmark = pytest.mark.slow

# This Slurm has no accounting, and its jobs are short; all else is the profile's.
PROFILE = [
    *("--workflow-profile", "profiles/slurm"),
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"),
    "--slurm-no-account",
]


@pytest.fixture(scope="module")
def slurm() -> Iterator[one_node.OneNode]:
    why = one_node.obstacle()
    if why is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    before = dict(os.environ)
    with one_node.OneNode() as node:
        os.environ.update(node.environment)
        try:
            yield node
        finally:
            os.environ.clear()
            os.environ.update(before)


def records(path: Path) -> list[dict[str, Any]]:
    found = sorted(path.glob("results/index_runs/*/*/*/*/run.json"))
    return [json.loads(file.read_text()) for file in found]


def interval(record: dict[str, Any]) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(record["started_at"]), datetime.fromisoformat(record["ended_at"])


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    (begun, ended), (other_begun, other_ended) = interval(one), interval(other)
    return begun < other_ended and other_begun < ended


def test_a_real_run_goes_through_it(
    slurm: one_node.OneNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The smoke configuration, narrowed to one run: its slice, checkpoint, extensions, index and table are jobs."""
    copy = Checkout(tmp_path_factory.mktemp("on_slurm"))
    scratch = copy.path / "scratch"
    scratch.mkdir()
    (copy.path / "one.yaml").write_text(
        "measurement: {device: cpu, threads: 2}\n"
        "index_memory: {systems: [colbert], artifact_pairs: [], grids: [{sizes: [120], profilers: [none]}]}\n"
    )
    arguments = [
        *("results/tables/runs.parquet", "--configfile", "config/smoke.yaml", "one.yaml"),
        *("--set-resources", f"index_collection:scratch='{scratch}'"),
    ]
    copy.snakemake(*PROFILE, *arguments)

    (record,) = records(copy.path)
    assert record["outcome"] == "completed"
    place = record["place"]
    job = slurm.jobs()[int(place["scheduler_job"])]
    assert place["scheduler"] == "slurm"
    assert job["MinMemoryNode"] == f"{place['granted_mib']}M"
    assert (place["attempt"], place["earlier_attempts"]) == (1, [])
    assert place["scratch"] is True
    assert not list(scratch.iterdir())
    # It is the memory model that asked: as much, and what it needed was less.
    assert record["memory"]["tree_peak_rss_mib"] < place["granted_mib"]
    assert place["granted_mib"] == predicted_mib(copy, 120)

    (row,) = pq.read_table(copy.path / "results/tables/runs.parquet").to_pylist()
    assert (row["scheduler"], row["scheduler_job"]) == ("slurm", place["scheduler_job"])
    assert row["granted_mib"] == place["granted_mib"]
    assert "Nothing to be done" in copy.snakemake(*PROFILE, *arguments).stdout


def predicted_mib(copy: Checkout, documents: int) -> int:
    """What the memory model says that the one run should be given."""
    (cell,) = copy.path.glob("results/cells/*.json")
    resolved = yaml.safe_load((copy.path / "results/configuration.yaml").read_text())
    checkpoint = resolved["checkpoints"][resolved["index_memory"]["checkpoint"]]
    return memory_plan.reserve_mib(memory_plan.Case(json.loads(cell.read_text()), checkpoint, documents))


def test_gpu_jobs_do_not_overlap_and_have_a_device_of_their_own(
    slurm: one_node.OneNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    toy = ToyWorkflow(tmp_path_factory.mktemp("gpus"))
    toy.configure(
        {"on_a_gpu": ["hold", 20, 4.0]},
        measurement={"device": "cuda", "threads": 1},
        index_memory={"grids": [{"sizes": [10], "profilers": ["none"], "repeats": 4}]},
    )
    # Memory for all four at once.
    more = ["--slurm-partition-config", "profiles/slurm/partitions.yaml"]
    toy.run("index_runs", *PROFILE, *more, "--set-resources", "index_collection:mem_mb=1000")

    runs = records(toy.path)
    devices = [run["place"]["devices"] for run in runs]
    assert len(runs) == 4
    # Slurm says which, and it reaches the worker.
    assert set(devices) == {"0", "1"}
    for number, one in enumerate(runs):
        for other in runs[number + 1 :]:
            assert one["place"]["devices"] != other["place"]["devices"] or not overlap(one, other)
    # It could have failed: with two devices some did run side by side.
    assert any(overlap(one, other) for one in runs for other in runs if one is not other)
    for run in runs:
        job = slurm.jobs()[int(run["place"]["scheduler_job"])]
        assert (job["TresPerJob"].endswith("gpu:1"), job["Partition"]) == (True, "gpu")


def test_a_job_over_its_memory_is_killed_and_gets_more(
    slurm: one_node.OneNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    toy = ToyWorkflow(tmp_path_factory.mktemp("memory"))
    toy.configure(
        # With the two Snakemakes of a job: more than 600 MiB, less than 1,200; and more than 1,800.
        {"fits_then": ["hold", 500, 8.0], "fits_never": ["hold", 2500, 8.0]},
        measurement={"device": "cpu", "threads": 1},
    )
    more = ["--set-resources", "index_collection:mem_mb=600 * attempt"]
    toy.run("results/tables/runs.parquet", *PROFILE, *more)

    fits, never = toy.record("fits_then"), toy.record("fits_never")
    assert fits["outcome"] == "completed"
    assert (fits["place"]["attempt"], fits["place"]["granted_mib"]) == (2, 1200)
    (killed,) = fits["place"]["earlier_attempts"]
    assert killed["how"].startswith("killed by Slurm for memory")
    assert killed["granted_mib"] == 600
    assert killed["scheduler_job"] != fits["place"]["scheduler_job"]

    # The last attempt has a result: the run was ended before Slurm would have killed its job.
    assert never["outcome"] == "out_of_memory_host"
    assert (never["place"]["attempt"], never["place"]["granted_mib"]) == (3, 1800)
    assert [attempt["granted_mib"] for attempt in never["place"]["earlier_attempts"]] == [600, 1200]
    assert never["memory"]["tree_peak_rss_mib"] < 1800
    assert slurm.jobs()[int(never["place"]["scheduler_job"])]["JobState"] == "COMPLETED"

    rows = {row["system"]: row for row in toy.table("runs")}
    assert rows["fits_never"]["outcome"] == "out_of_memory_host"
    assert rows["fits_then"]["attempt"] == 2
    assert "killed by Slurm for memory" in rows["fits_then"]["earlier_attempts"]


def test_a_cancelled_job_stops_the_workflow_and_the_next_start_finishes(
    slurm: one_node.OneNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    toy = ToyWorkflow(tmp_path_factory.mktemp("cancelled"))
    go_on = toy.path / "go_on"
    toy.configure(
        {"waits": ["wait_for_file", str(go_on), 300.0]}, measurement={"device": "cpu", "threads": 1}
    )
    started = toy.start(*PROFILE, "--retries", "0", "index_runs")
    try:
        wait_for(toy.marked, 200)  # the worker is there
        (job,) = slurm.running()
        slurm.command("scancel", str(job))
        assert started.wait(120) != 0
    finally:
        end_group(started)
    wait_for(lambda: not toy.marked(), 30)  # nothing is left of it
    assert "CANCELLED" in (toy.path / "printed.log").read_text()
    assert not toy.outcomes()

    go_on.touch()
    toy.run(*PROFILE, "index_runs")
    record = toy.record("waits")
    assert record["outcome"] == "completed"
    assert record["place"]["attempt"] == 2
    (cancelled,) = record["place"]["earlier_attempts"]
    assert cancelled["scheduler_job"] == str(job)
    assert cancelled["how"] == "cancelled in Slurm (CANCELLED)"


def test_place_knows_its_job(slurm: one_node.OneNode) -> None:
    """In a batch script by its variables; in a step, where the jobstep plugin has removed them, by asking Slurm."""
    program = "import json; from indexscope.measure import place; print(json.dumps(place.facts()))"
    scripts = Path(__file__).parents[2] / "workflow" / "scripts"
    stripped = ["env", "-u", "SLURM_MEM_PER_NODE", "-u", "SLURM_CPUS_ON_NODE", sys.executable, "-c", program]
    for command in ([sys.executable, "-c", program], stripped):
        done = subprocess.run(
            ["srun", "--mem=321", *command],
            capture_output=True,
            text=True,
            check=True,
            cwd=scripts,
            timeout=60,
        )
        facts = json.loads(done.stdout)
        assert facts["scheduler"] == "slurm"
        assert facts["granted_mib"] == 321
        assert int(facts["scheduler_job"]) in slurm.jobs()
