"""A run that is ended at any stage is gone on with, and gives the index that it would have given at once.

Each framework builds an index of four chunks or more in its own environment. Where a run is to be ended, a patch in a
copy of the programs ends it: the supervisor first, as when the machine goes away.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ENVIRONMENTS, REPOSITORY, Checkout
from toy_workflow import end_group, wait_for

pytestmark = pytest.mark.slow

# What ends a run, appended to frameworks/plaid.py: INDEXSCOPE_TEST_END is MODULE:FUNCTION:before or after:CALL:HOW.
ENDING = """

_ordinary_patches = patches


def patches(run, ranks=1):
    found = _ordinary_patches(run, ranks)
    if os.environ.get("INDEXSCOPE_TEST_END"):
        module, name, when, call, how = os.environ["INDEXSCOPE_TEST_END"].split(":")
        found[module, name] = functools.partial(_end, run["supervisor"], when, int(call), how)
    return found


def _end(supervisor, when, call, how, function):
    calls = []

    def ending(*args, **kwargs):
        import signal
        import time

        calls.append(None)
        if len(calls) != call:
            return function(*args, **kwargs)
        if when == "after":
            function(*args, **kwargs)
        if how == "hold":
            open(os.environ["INDEXSCOPE_TEST_HELD"], "w").close()
        else:
            os.kill(supervisor, getattr(signal, how))
        if how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
        raise AssertionError("this process should have been ended")

    return ending
"""

INDEXER = "colbert.indexing.collection_indexer:CollectionIndexer"
EMBEDDINGS = "colbert.indexing.codecs.residual_embeddings:ResidualEmbeddings"
BEFORE_THE_PLAN = f"{INDEXER}._save_plan:before:1"
AFTER_THE_PLAN = f"{INDEXER}.train:before:1"
AFTER_THE_CODEC = f"{INDEXER}.index:before:1"
IN_CHUNK_1 = f"{EMBEDDINGS}.save:after:2"  # its tensors are there, its doclens and metadata are not
IN_CHUNK_2 = f"{EMBEDDINGS}.save:before:3"
BEFORE_THE_IVF = f"{INDEXER}._build_ivf:before:1"
BESIDE_THE_INDEX = "ragatouille.models.colbert:ColBERT._write_collection_files_to_disk:before:1"

SETTINGS: dict[str, dict[str, Any]] = {
    # As it starts by default: a child process encodes.
    "colbert": {"in_process": False, "like_ragatouille": False, "kmeans_niters": 4, "chunk_passages": 20},
    "ragatouille": {"chunk_passages": 25},
}
FOLDER = {"colbert": "index", "ragatouille": "colbert/indexes/index"}


class Runs:
    """Runs of a framework over 80 documents, in an environment that has both frameworks."""

    def __init__(self, directory: Path, finished: Checkout, framework: str) -> None:
        self.framework = framework
        self.directory = directory
        self.scripts = directory / "scripts"
        self.python = environment_with_both()
        shutil.copytree(
            REPOSITORY / "workflow" / "scripts", self.scripts, ignore=shutil.ignore_patterns("__pycache__")
        )
        with (self.scripts / "indexscope/frameworks/plaid.py").open("a") as file:
            file.write(ENDING)
        results = finished.path / "results"
        (lines, *_) = sorted(results.glob("slices/*/120.jsonl"))
        self.collection = directory / "collection.jsonl"
        self.collection.write_text("".join(lines.read_text().splitlines(keepends=True)[:80]))
        self.checkpoint = next(results.glob("checkpoints/*/config.json")).parent
        *_, self.extensions = sorted(results.glob("extensions/plaid-ragatouille-*-cpu"))
        self.cell = directory / "cell.json"
        self.write_cell()

    def write_cell(self, **more: Any) -> None:
        names = ("system", "cell", "corpus", "checkpoint", "environment", "lock_digest")
        content = {
            **dict.fromkeys(names, "test"),
            **{"framework": self.framework, "settings": SETTINGS[self.framework], "split_to": None},
            **{"functions": [], "device": "cpu", "threads": 1, "allocator": "default", "resume": True},
            **{"sample_interval_seconds": 0.02, "timeout_seconds": 300},
            **more,
        }
        self.cell.write_text(json.dumps(content))

    def output(self, name: str) -> Path:
        return self.directory / name

    def unfinished(self, name: str) -> Path:
        """The folder of the index that an attempt was building."""
        return self.directory / f"{name}.partial" / "root" / FOLDER[self.framework]

    def command(self, name: str, *more: str) -> list[str]:
        return [
            *(str(self.python), str(self.scripts / "index_collection.py"), "--cell", str(self.cell)),
            *("--collection", str(self.collection), "--checkpoint", str(self.checkpoint)),
            *("--extensions", str(self.extensions), "--documents", "all", "--profiler", "none"),
            *("--repeat", "1", "--output", str(self.output(name)), *more),
        ]

    def environment(self, end: str = "") -> dict[str, str]:
        held = str(self.directory / "held")
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        return {
            **os.environ,
            **{"PATH": path, "INDEXSCOPE_TEST_END": end, "INDEXSCOPE_TEST_HELD": held},
        }

    def attempt(self, name: str, end: str = "", *more: str) -> int:
        """Run until it ends, or is ended there; the exit code."""
        return subprocess.run(
            self.command(name, *more),
            env=self.environment(end),
            cwd=self.directory,
            capture_output=True,
            timeout=300,
            check=False,
        ).returncode

    def record(self, name: str, *more: str) -> dict[str, Any]:
        """Run to the end, which must be a good one."""
        assert self.attempt(name, "", *more) == 0
        record: dict[str, Any] = json.loads((self.output(name) / "run.json").read_text())
        assert record["outcome"] == "completed", record["outcome_detail"]
        assert not self.output(f"{name}.partial").exists()
        return record


def environment_with_both() -> Path:
    lock = (REPOSITORY / "envs/ragatouille.yaml").read_bytes()
    (built,) = [path for path in ENVIRONMENTS.glob("*.yaml") if path.read_bytes() == lock]
    return built.with_suffix("") / "bin" / "python"


def contents(index: Path) -> dict[str, Any]:
    """File, and tensor in it, → hash of its content; JSON but for when and where it was made."""
    found: dict[str, Any] = {}
    for path in sorted(index.iterdir()):
        if path.suffix == ".pt":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if re.search(r"/data/\d+$|data\.pkl$", name):
                        found[f"{path.name} {name}"] = hashlib.sha256(archive.read(name)).hexdigest()
        else:
            value = json.loads(path.read_text())
            for name in ("name", "root", "index_root"):
                if isinstance(value, dict) and "config" in value:
                    del value["config"][name]
            found[path.name] = value
    return found


def identities(folder: Path, names: list[str]) -> dict[str, tuple[int, int]]:
    """What changes when a file is written again."""
    return {name: ((folder / name).stat().st_ino, (folder / name).stat().st_mtime_ns) for name in names}


@pytest.fixture(scope="module", params=["colbert", "ragatouille"])
def runs(
    request: pytest.FixtureRequest, finished: Checkout, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    return Runs(tmp_path_factory.mktemp(f"resumed_{request.param}"), finished, request.param)


@pytest.fixture(scope="module")
def uninterrupted(runs: Runs) -> dict[str, Any]:
    record = runs.record("uninterrupted")
    assert record["resumed"] is None
    assert record["run"]["documents"] == 80
    assert record["resolved"]["chunks"] >= 4
    return contents(runs.output("uninterrupted") / "index")


def test_a_run_that_is_ended_at_every_stage_gives_the_same_index(
    runs: Runs, uninterrupted: dict[str, Any], tmp_path: Path
) -> None:
    folder = runs.unfinished("killed")

    assert runs.attempt("killed", f"{BEFORE_THE_PLAN}:SIGKILL") == -signal.SIGKILL
    assert sorted(path.name for path in folder.iterdir()) == ["sample.0.pt"]

    assert runs.attempt("killed", f"{AFTER_THE_PLAN}:SIGKILL") == -signal.SIGKILL
    assert sorted(path.name for path in folder.iterdir()) == ["plan.json", "sample.0.pt"]
    if runs.framework == "colbert":
        assert_colbert_alone_cannot_go_on(runs, shutil.copytree(folder.parent, tmp_path / "of_colbert"))

    # What a scheduler sends first: the supervisor ends the worker, and leaves the index.
    assert runs.attempt("killed", f"{AFTER_THE_CODEC}:SIGTERM") == 128 + signal.SIGTERM
    codec = ["plan.json", "centroids.pt", "buckets.pt", "avg_residual.pt"]
    assert {path.name for path in folder.iterdir()} == set(codec)
    first = identities(folder, codec)

    assert runs.attempt("killed", f"{IN_CHUNK_1}:SIGKILL") == -signal.SIGKILL
    chunk_0 = ["0.codes.pt", "0.residuals.pt", "doclens.0.json", "0.metadata.json"]
    assert {path.name for path in folder.iterdir()} == {*codec, *chunk_0, "1.codes.pt", "1.residuals.pt"}
    first |= identities(folder, chunk_0[:3])  # finalize adds to the metadata

    last = BESIDE_THE_INDEX if runs.framework == "ragatouille" else BEFORE_THE_IVF
    assert runs.attempt("killed", f"{last}:SIGKILL") == -signal.SIGKILL
    assert (folder / "ivf.pid.pt").exists() is (runs.framework == "ragatouille")
    residuals = folder / "2.residuals.pt"
    os.truncate(residuals, residuals.stat().st_size // 2)

    record = runs.record("killed")
    chunks = range(record["resolved"]["chunks"])
    assert record["resumed"]["from"] == "chunk 2"
    assert record["resumed"]["kept"] == [
        "plan",
        "codec",
        *(f"chunk {chunk}" for chunk in chunks if chunk != 2),
    ]
    assert record["resumed"]["redone"][0] == "chunk 2 (damaged: 2.residuals.pt)"
    assert record["place"]["attempt"] == 6
    assert len(record["place"]["earlier_attempts"]) == 5
    index = runs.output("killed") / "index"
    assert contents(index) == uninterrupted
    assert identities(index, list(first)) == first


def assert_colbert_alone_cannot_go_on(runs: Runs, root: Path) -> None:
    """colbert-ai issue 398, as it is: what is redone here is not redone without us."""
    program = (
        "from colbert import Indexer\nfrom colbert.infra import ColBERTConfig, Run, RunConfig\n"
        f"with Run().context(RunConfig(nranks=1, index_root={str(root)!r}, avoid_fork_if_possible=True)):\n"
        f"    indexer = Indexer({str(runs.checkpoint)!r}, config=ColBERTConfig(kmeans_niters=4))\n"
        f"    indexer.index('index', ['one', 'two'], overwrite='resume')\n"
    )
    done = subprocess.run(
        [str(runs.python), "-c", program],
        env={
            **runs.environment(),
            **{
                "TORCH_EXTENSIONS_DIR": str(runs.extensions),
                "CUDA_VISIBLE_DEVICES": "",
                "HF_HUB_OFFLINE": "1",
            },
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "AttributeError: 'CollectionIndexer' object has no attribute 'num_sample_embs'" in done.stderr


@pytest.fixture
def colbert(finished: Checkout, tmp_path: Path) -> Runs:
    return Runs(tmp_path, finished, "colbert")


@pytest.fixture
def started(colbert: Runs) -> Iterator[subprocess.Popen[bytes]]:
    """A workflow of one run, which holds in the middle of it."""
    (colbert.directory / "Snakefile").write_text(
        "rule index:\n    output:\n        run='run/run.json',\n        index=directory('run/index'),\n"
        f"    shell:\n        '{' '.join(colbert.command('run'))} > run.log 2>&1'\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--directory", str(colbert.directory)],
        cwd=colbert.directory,
        env=colbert.environment(f"{IN_CHUNK_2}:hold"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield process
    end_group(process)


def test_a_workflow_that_was_killed_goes_on_when_it_is_started_again(
    colbert: Runs, started: subprocess.Popen[bytes]
) -> None:
    wait_for((colbert.directory / "held").exists, seconds=120)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    wait_for((colbert.unfinished("run") / "1.metadata.json").exists, seconds=10)

    again = subprocess.run(
        [*(sys.executable, "-m", "snakemake", "--cores", "1", "--rerun-incomplete", "--nolock")],
        cwd=colbert.directory,
        env=colbert.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    record = json.loads((colbert.output("run") / "run.json").read_text())
    assert record["resumed"] == {
        "from": "chunk 2",
        "kept": ["plan", "codec", "chunk 0", "chunk 1"],
        "redone": [],
    }
