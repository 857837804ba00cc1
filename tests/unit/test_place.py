"""What a run knows of its place: memory that Slurm gave, earlier attempts, and when too little memory is a result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from indexscope.measure import place
from test_measured_run import Toy, calling

SCONTROL = """#!/bin/sh
for job; do :; done
case $job in
    7) echo "JobId=7 JobState=OUT_OF_MEMORY Reason=OutOfMemory TRES=cpu=2,mem=1536M,node=1 StdOut=none" ;;
    8) echo "JobId=8 JobState=CANCELLED Reason=None AllocTRES=cpu=2,mem=2G,node=1 StdOut=none" ;;
    9) echo "JobId=9 JobState=FAILED Reason=JobLaunchFailure StdErr=x StdOut=@LOG@ Power=" ;;
    10) echo "JobId=10 JobState=FAILED Reason=NonZeroExitCode StdOut=none" ;;
    *) exit 1 ;;
esac
"""
SACCT = """#!/bin/sh
case "$*" in *" 11") echo "CANCELLED by 1000" ;; *) exit 1 ;; esac
"""
NOTHING = {"scheduler": None, "scheduler_job": None, "granted_mib": None}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that answer as Slurm's do; returns the log of job 9."""
    programs, log = tmp_path / "programs", tmp_path / "slurm of 9.log"
    programs.mkdir()
    log.write_text("slurmstepd-n1: error: Exceeded job memory limit\n")
    for name, text in (("scontrol", SCONTROL), ("sacct", SACCT)):
        (programs / name).write_text(text.replace("@LOG@", str(log)))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return log


def test_nothing_is_granted_where_there_is_no_scheduler() -> None:
    assert place.facts({}) == NOTHING
    last = {place.ATTEMPT_VARIABLE: "1", place.ATTEMPTS_VARIABLE: "1"}
    assert place.limit_mib(last) is None
    assert not place.is_repeated("out_of_memory_host", False, {**last, place.ATTEMPTS_VARIABLE: "3"})


@pytest.mark.parametrize(
    ("environment", "granted"),
    [
        ({"SLURM_MEM_PER_NODE": "3000"}, 3000),
        ({"SLURM_MEM_PER_CPU": "500", "SLURM_CPUS_ON_NODE": "4"}, 2000),
        ({}, 1536),  # asked: a job step has not been told
        ({"SLURM_MEM_PER_CPU": "500"}, 1536),
    ],
)
def test_what_slurm_gave(slurm: Path, environment: dict[str, str], granted: int) -> None:
    facts = place.facts({"SLURM_JOB_ID": "7", **environment})
    assert facts == {"scheduler": "slurm", "scheduler_job": "7", "granted_mib": granted}


def test_units_of_memory_and_newer_names(slurm: Path) -> None:
    assert place.facts({"SLURM_JOB_ID": "8"})["granted_mib"] == 2048
    assert place.facts({"SLURM_JOB_ID": "12"})["granted_mib"] is None  # nobody answers


@pytest.mark.parametrize(
    ("job", "how"),
    [
        ("7", "killed by Slurm for memory (OUT_OF_MEMORY)"),
        ("8", "cancelled in Slurm (CANCELLED)"),
        ("9", "killed by Slurm for memory (FAILED)"),
        ("10", "ended from outside (FAILED)"),
        ("11", "cancelled in Slurm (CANCELLED)"),  # forgotten by the controller, not by the accounting
        ("12", "ended from outside"),
    ],
)
def test_how_a_job_ended(slurm: Path, job: str, how: str) -> None:
    assert place.how_it_ended(job) == how


def test_a_failed_job_whose_log_says_nothing_of_memory_was_not_killed_for_it(slurm: Path) -> None:
    slurm.write_text("Traceback: the memory of elephants\n")
    assert place.how_it_ended("9") == "ended from outside (FAILED)"


def test_attempts_are_counted_and_say_how_they_ended(slurm: Path, tmp_path: Path) -> None:
    folder = str(tmp_path)
    first = place.begin(folder, {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "1536"})
    assert (first.number, first.earlier) == (1, [])
    first.seen("encoding")
    second = place.begin(folder, {"SLURM_JOB_ID": "8", "SLURM_MEM_PER_NODE": "3072"})
    assert second.number == 2
    earlier = dict(second.earlier[0])
    assert len(second.earlier) == 1
    assert earlier.pop("started_at") <= earlier.pop("last_seen_at")
    assert earlier == {
        "scheduler_job": "7",
        "granted_mib": 1536,
        "how": "killed by Slurm for memory (OUT_OF_MEMORY)",
        "stage": "encoding",
    }
    second.ended("ended by SIGTERM")
    third = place.begin(folder, {})
    # How the first ended is not asked again: Slurm will have forgotten it.
    assert [attempt["how"] for attempt in third.earlier] == [earlier["how"], "ended by SIGTERM"]
    fourth = place.begin(folder, {})
    assert fourth.earlier[2]["how"] == "ended from outside"


def test_attempts_of_one_allocation(slurm: Path, tmp_path: Path) -> None:
    place.begin(str(tmp_path), {"SLURM_JOB_ID": "7"})
    again = place.begin(str(tmp_path), {"SLURM_JOB_ID": "7"})
    assert again.earlier[0]["how"] == "ended from outside"
    requeued = place.begin(str(tmp_path), {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"})
    assert requeued.earlier[1]["how"] == "requeued by Slurm"


def test_lines_survive_the_emptying_of_the_folder(tmp_path: Path) -> None:
    place.begin(str(tmp_path), {})
    attempt = place.begin(str(tmp_path), {})
    (tmp_path / place.ATTEMPTS).unlink()
    (tmp_path / place.ATTEMPTS).write_text(attempt.lines() + '{"half a li')
    assert place.begin(str(tmp_path), {}).number == 3


def test_a_heartbeat_is_cheap_and_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = place.begin(str(tmp_path), {})
    written = []
    monkeypatch.setattr(attempt, "write", lambda: written.append(time.monotonic()))
    for _ in range(1000):
        attempt.seen()
    assert not written
    attempt.seen("training")  # a new stage is worth it
    assert len(written) == 1
    monkeypatch.setattr(place, "_HEARTBEAT_SECONDS", 0.0)
    attempt.seen("training")
    assert len(written) == 2


def test_the_last_attempt_is_limited_below_what_was_granted() -> None:
    granted = {"SLURM_JOB_ID": f"none-{os.getpid()}", "SLURM_MEM_PER_NODE": "1000"}
    attempts = {place.ATTEMPTS_VARIABLE: "3"}
    assert place.limit_mib({**granted, **attempts, place.ATTEMPT_VARIABLE: "2"}) is None
    assert (
        place.limit_mib({**granted, place.ATTEMPT_VARIABLE: "3"}) is None
    )  # nobody said how many there may be
    assert place.limit_mib({**granted, **attempts, place.ATTEMPT_VARIABLE: "3"}) == 950
    # Too little before the last attempt is no result yet.
    second = {**granted, **attempts, place.ATTEMPT_VARIABLE: "2"}
    assert place.is_repeated("out_of_memory_host", False, second)
    assert not place.is_repeated("out_of_memory_host", True, second)
    assert not place.is_repeated("out_of_memory_cuda", False, second)
    assert not place.is_repeated("out_of_memory_host", False, {**second, place.ATTEMPT_VARIABLE: "3"})


def test_what_else_a_job_holds_is_taken_off_the_limit() -> None:
    job = f"none-{os.getpid()}"
    program = "memory = b'x' * (200 * 2**20); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "SLURM_JOB_ID": job},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        environment = {
            "SLURM_JOB_ID": job,
            "SLURM_MEM_PER_NODE": "1000",
            place.ATTEMPT_VARIABLE: "1",
            place.ATTEMPTS_VARIABLE: "1",
        }
        limit = place.limit_mib(environment)
        other.kill()
    # 200 MiB and an interpreter.
    assert limit is not None
    assert 950 - 240 < limit < 950 - 200


def test_the_file_is_json_lines(tmp_path: Path) -> None:
    place.begin(str(tmp_path), {})
    (line,) = (tmp_path / place.ATTEMPTS).read_text().splitlines()
    assert set(json.loads(line)) == set(place.Earlier._fields)


def test_too_little_memory_is_a_result_only_at_the_last_attempt(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under a limit by cgroup, which ends the worker and leaves its supervisor alive."""
    (tmp_path / "toy").mkdir()
    toy = Toy(tmp_path / "toy")
    cell = calling("try_to_train", "toy", "MemoryError: std::bad_alloc")
    for name, value in {
        "SLURM_JOB_ID": "7",
        "SLURM_MEM_PER_NODE": "1000",
        place.ATTEMPT_VARIABLE: "1",
        place.ATTEMPTS_VARIABLE: "2",
    }.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(toy.command(**cell), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the next attempt gets more" in done.stderr
    assert not toy.output.exists()

    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "2000")
    monkeypatch.setenv(place.ATTEMPT_VARIABLE, "2")
    record = toy.run(**cell)
    assert record["outcome"] == "out_of_memory_host"
    where = record["place"]
    assert (where["scheduler_job"], where["granted_mib"], where["attempt"]) == ("8", 2000, 2)
    (earlier,) = where["earlier_attempts"]
    assert (earlier["scheduler_job"], earlier["granted_mib"]) == ("7", 1000)
    assert earlier["how"].startswith("out_of_memory_host: ")
    assert "bad_alloc" in earlier["how"]


def test_a_limit_of_the_configuration_is_a_result_at_any_attempt(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy").mkdir()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(place.ATTEMPT_VARIABLE, "1")
    monkeypatch.setenv(place.ATTEMPTS_VARIABLE, "2")
    record = Toy(tmp_path / "toy").run(**calling("hold", 300, 5.0), memory_limit_mib=150)
    assert record["outcome"] == "out_of_memory_host"
    assert (record["place"]["granted_mib"], record["place"]["attempt"]) == (1536, 1)
