"""Runs that are ended from outside and begun again, of a toy framework: what is gone on with, and what is recorded."""

from __future__ import annotations

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
from indexscope.analysis.run_directories import run_rows
from indexscope.measure import place, scratch

HERE = Path(__file__).parent
SCRIPTS = HERE.parents[1] / "workflow" / "scripts"
# The toy adapter, which begins an index before it calls the framework, and can go on with what it began.
RESUMING = """

_prepare = prepare


def prepare(run):
    os.makedirs(run["index_root"], exist_ok=True)
    build = _prepare(run)

    def begin_and_build(document_ids, texts):
        with open(os.path.join(run["index_root"], "begun"), "a") as file:
            file.write("x")
        with open(os.environ["TOY_WHERE"], "w") as file:
            file.write(run["index_root"])
        return build(document_ids, texts)

    return begin_and_build


def resume(index_root):
    kept = sorted(os.listdir(index_root)) if os.path.isdir(index_root) else []
    return {"from": "codes", "kept": kept, "redone": []} if kept else None


def stage(index_root):
    return "codes"
"""


class Toy:
    """A copy of the programs with the toy framework, and a collection of three rows of two documents."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scripts = directory / "scripts"
        shutil.copytree(SCRIPTS, self.scripts, ignore=shutil.ignore_patterns("__pycache__"))
        adapter = (HERE / "toy_adapter.py").read_text() + RESUMING
        (self.scripts / "indexscope" / "frameworks" / "toy.py").write_text(adapter)
        shutil.copy(HERE / "toy_framework.py", self.scripts / "toy_framework.py")
        self.collection = directory / "collection.jsonl"
        self.write_collection("d1", "d1", "d2")
        self.checkpoint = directory / "checkpoint"
        self.checkpoint.mkdir()
        (self.checkpoint / "weights").write_text("1")
        self.output = directory / "run"
        self.partial = directory / "run.partial"
        self.where = directory / "where"
        self.environment: dict[str, str] = {}

    def write_collection(self, *document_ids: str) -> None:
        rows = [{"document_id": name, "text": f"row {number}"} for number, name in enumerate(document_ids)]
        self.collection.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def start(self, call: list[Any], *arguments: str, **cell: Any) -> subprocess.Popen[str]:
        names = ("cell", "corpus", "checkpoint", "environment", "lock_digest")
        content = {
            **dict.fromkeys(names, "00000000"),
            **{"system": "toy", "framework": "toy", "functions": [], "device": "cpu", "threads": 1},
            **{"allocator": "default", "sample_interval_seconds": 0.01, "timeout_seconds": 60},
            "settings": {"call": call[0], "arguments": call[1:]},
            **cell,
        }
        path = self.directory / "cell.json"
        path.write_text(json.dumps(content))
        return subprocess.Popen(
            [
                *(sys.executable, str(self.scripts / "index_collection.py"), "--cell", str(path)),
                *("--collection", str(self.collection), "--checkpoint", str(self.checkpoint)),
                *("--documents", "all", "--profiler", "none", "--repeat", "1"),
                *("--output", str(self.output), *arguments),
            ],
            cwd=self.directory,
            env={**os.environ, "TOY_WHERE": str(self.where), **self.environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    def record(self, call: list[Any], *arguments: str, **cell: Any) -> dict[str, Any]:
        """Run to the end and return run.json."""
        process = self.start(call, *arguments, **cell)
        _, printed = process.communicate(timeout=60)
        assert process.returncode == 0, printed
        record: dict[str, Any] = json.loads((self.output / "run.json").read_text())
        return record

    def interrupt(self, number: int, **cell: Any) -> None:
        """Start the run, and end it from outside in its middle."""
        process = self.start(gated(self), **cell)
        begun = self.partial / "root" / "begun"
        deadline = time.monotonic() + 30
        while not (begun.exists() and begun.stat().st_size):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)


def gated(toy: Toy) -> list[Any]:
    """A call that ends at once where its gate is open, and else waits."""
    return ["wait_for_file", str(toy.directory / "gate"), 60]


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_begun_is_gone_on_with(toy: Toy, number: int) -> None:
    toy.interrupt(number, resume=True)
    (toy.directory / "gate").touch()
    record = toy.record(gated(toy), resume=True)
    assert record["outcome"] == "completed"
    assert record["resumed"] == {"from": "codes", "kept": ["begun"], "redone": []}
    assert record["place"]["attempt"] == 2
    (earlier,) = record["place"]["earlier_attempts"]
    assert earlier["how"] == "ended from outside"
    assert earlier["started_at"] < record["started_at"]
    assert not toy.partial.exists()

    (row,) = run_rows([toy.output / "run.json"], {})
    assert (row["attempt"], row["resumed_from"]) == (2, "codes")
    assert row["earlier_attempts"].startswith("Attempt 1: ended from outside")
    assert (row["scheduler"], row["granted_mib"], row["visible_devices"]) == (None, None, None)


def test_a_measured_run_begins_anew(toy: Toy) -> None:
    toy.interrupt(signal.SIGKILL)
    (toy.directory / "gate").touch()
    record = toy.record(gated(toy))
    assert record["outcome"] == "completed"
    assert record["resumed"] is None
    assert record["place"]["attempt"] == 2
    assert not toy.partial.exists()


@pytest.mark.parametrize("change", ["collection", "checkpoint", "settings", "lock"])
def test_of_other_documents_or_settings_nothing_is_gone_on_with(toy: Toy, change: str) -> None:
    toy.interrupt(signal.SIGKILL, resume=True)
    (toy.directory / "gate").touch()
    cell: dict[str, Any] = {}
    if change == "collection":
        toy.write_collection("d1", "d2", "d2")
    elif change == "checkpoint":
        (toy.checkpoint / "weights").write_text("2")
    elif change == "settings":
        cell["threads"] = 2
    else:
        cell["lock_digest"] = "11111111"
    record = toy.record(gated(toy), resume=True, **cell)
    assert record["outcome"] == "completed"
    assert record["resumed"] is None


def test_a_run_that_ended_as_out_of_memory_is_gone_on_with_when_it_is_started_again(toy: Toy) -> None:
    record = toy.record(["outer", 1, 300], resume=True, memory_limit_mib=100)
    assert record["outcome"] == "out_of_memory_host"
    assert sorted(path.name for path in toy.partial.iterdir()) == [place.ATTEMPTS, "identity.json", "root"]
    again = toy.record(["outer", 1, 300], resume=True, memory_limit_mib=100)
    assert again["resumed"]["kept"] == ["begun"]
    assert again["place"]["earlier_attempts"][0]["how"].startswith(
        "out_of_memory_host: the process tree passed"
    )


def test_a_run_that_failed_leaves_nothing(toy: Toy) -> None:
    record = toy.record(["fail"], resume=True)
    assert record["outcome"] == "failed"
    assert not toy.partial.exists()


def test_a_collection_that_cannot_be_read_for_a_while_loses_nothing(toy: Toy) -> None:
    toy.interrupt(signal.SIGKILL, resume=True)
    (toy.directory / "gate").touch()
    aside = toy.collection.rename(toy.directory / "aside")
    process = toy.start(gated(toy), "--documents", "2", resume=True)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "what the index is made of cannot be read" in printed
    aside.rename(toy.collection)
    record = toy.record(gated(toy), resume=True)
    assert record["resumed"]["kept"] == ["begun"]
    assert record["place"]["attempt"] == 3


def on_slurm(attempt: int, granted_mib: int) -> dict[str, str]:
    return {
        **{"SLURM_JOB_ID": "77", "SLURM_MEM_PER_NODE": str(granted_mib)},
        **{place.ATTEMPT_VARIABLE: str(attempt), place.ATTEMPTS_VARIABLE: "2", "PATH": os.environ["PATH"]},
    }


def test_the_last_attempt_ends_a_little_below_what_was_granted(toy: Toy) -> None:
    """What the scheduler would kill is a result; test_place.py has the attempts before."""
    toy.environment = on_slurm(2, 400)
    record = toy.record(["outer", 1, 600])
    assert record["outcome"] == "out_of_memory_host"
    assert "almost all that the scheduler granted" in record["outcome_detail"]
    where = record["place"]
    assert (where["scheduler"], where["scheduler_job"], where["granted_mib"]) == ("slurm", "77", 400)


def test_an_index_is_built_on_scratch_and_brought_back(toy: Toy) -> None:
    folder = toy.directory / "scratch"
    folder.mkdir()
    record = toy.record(["outer", 1, 1], "--scratch", str(folder))
    assert record["outcome"] == "completed"
    assert record["place"]["scratch"] is True
    assert Path(toy.where.read_text()).parent == folder
    assert list(folder.iterdir()) == []
    assert sorted(path.name for path in (toy.output / "index").iterdir()) == ["codes", "texts"]

    record = toy.record(["outer", 1, 1], "--scratch", "")
    assert record["place"]["scratch"] is False
    record = toy.record(["outer", 1, 1], "--scratch", str(folder), resume=True)
    assert record["place"]["scratch"] is False
    assert Path(toy.where.read_text()).parent == toy.partial


def test_scratch_that_is_not_there_is_said(toy: Toy) -> None:
    process = toy.start(["outer", 1, 1], "--scratch", str(toy.directory / "none"))
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "none: No such file or directory" in printed
    assert not toy.partial.exists()


def test_what_a_killed_attempt_left_on_scratch_goes(tmp_path: Path) -> None:
    with scratch.folder(str(tmp_path), "a") as left:
        kept = shutil.copytree(left, tmp_path / "copy")
    shutil.move(kept, left)
    (Path(left) / "file").touch()
    with scratch.folder(str(tmp_path), "a") as again:
        assert again == left
        assert list(Path(again).iterdir()) == []
        with scratch.folder(str(tmp_path), "b") as other:
            assert other != again


def test_an_index_is_brought_from_another_disk(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs /dev/shm on a file system of its own")
    with scratch.folder(str(memory), str(tmp_path / "run")) as folder:
        built = Path(folder) / "index"
        built.mkdir()
        (built / "codes").write_text("1")
        scratch.bring(str(built), str(tmp_path / "index"))
    assert (tmp_path / "index" / "codes").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_documents_are_counted_and_not_their_rows(toy: Toy) -> None:
    record = toy.record(["outer", 1, 1])
    assert record["run"]["documents"] == 2
    assert record["resolved"]["passages"] == 3


def test_another_number_of_documents_than_there_are_is_an_error(toy: Toy) -> None:
    process = toy.start(["outer", 1, 1], "--documents", "3")
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "2 documents instead of 3" in printed


def test_a_line_without_a_document_is_named(toy: Toy) -> None:
    toy.collection.write_text(toy.collection.read_text() + "{}\n")
    process = toy.start(["outer", 1, 1])
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{toy.collection}:4 is no JSON object with a document_id" in printed
