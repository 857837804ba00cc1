"""The app of Modal by `.local()`, for real: two processes on this machine, a folder in the place of the volume."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import ENVIRONMENTS, Checkout

pytestmark = pytest.mark.slow

CONFIGURATION = """
remote_indexing:
  systems: [ragatouille_pdfs]
"""
# More than one chunk of the sample.
CHUNKS = (
    CONFIGURATION
    + """
systems:
  ragatouille_pdfs:
    framework: ragatouille
    environment: ragatouille
    label: RAGatouille
    settings: {split_documents: true, max_document_length: 512, chunk_passages: 15}
"""
)
# A container's own code, but for where things are.
IN_CONTAINER = """
import dataclasses, os, sys
sys.path.insert(0, "profiles/modal")
import app
place = dataclasses.replace(app.here(), in_container=True)
name = app.start(place, None, {"measurement": {"device": "cpu"}}, app.INDEXING_RULES)
print(app.json.dumps(app.sealed_indexes(place, name)))
"""


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volume")


def environment_of(volume: Path, configuration: str = CONFIGURATION) -> dict[str, str]:
    """No account: the home is empty; the configuration has weights that are made on the spot."""
    path = volume / "modal.yaml"
    path.write_text(configuration)
    (volume / "home").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
    return {
        **kept,
        "HOME": str(volume / "home"),
        "INDEXSCOPE_MODAL_CONFIGURATION": str(path),
        "INDEXSCOPE_MODAL_FOLDER": str(volume / "mounted"),
        "SNAKEMAKE_CONDA_PREFIX": str(ENVIRONMENTS),
    }


def start_app(checkout: Checkout, volume: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The app, as it is started without Modal."""
    return subprocess.run(
        [sys.executable, "profiles/modal/app.py", *arguments],
        cwd=checkout.path,
        env=environment_of(volume),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def indexed(finished_remote: Checkout, volume: Path) -> subprocess.CompletedProcess[str]:
    """What the app printed: the sample PDFs uploaded, indexed, and searched by a second process."""
    (sample,) = finished_remote.path.glob("results/datasets/pdfs-*/pdfs")
    shutil.copytree(sample, volume / "my pdfs")
    (slice_,) = finished_remote.path.glob("results/slices/pdfs-*/all.jsonl")
    document = json.loads(slice_.read_text().splitlines()[3])
    query = " ".join(document["text"].split()[:12])
    done = start_app(finished_remote, volume, "--pdfs", str(volume / "my pdfs"), "--query", query, "-k", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"document {document['document_id']}" in " ".join(done.stdout.split())
    return done


def test_pdfs_are_indexed_searched_and_billed(indexed: subprocess.CompletedProcess[str]) -> None:
    assert "Indexing on processor cores." in indexed.stdout
    assert "ragatouille_pdfs: work/results/campaigns/pdfs_my_pdfs_" in indexed.stdout
    assert all(f"\n{function}: " in indexed.stdout for function in ("prepare", "index", "search"))
    assert "without start-up: $0.0" in indexed.stdout


def test_the_second_process_searches_only_what_was_sealed(
    finished_remote: Checkout, volume: Path, indexed: subprocess.CompletedProcess[str]
) -> None:
    (run,) = (volume / "mounted/work/results/campaigns").glob("*/remote_indexing/runs/*/all/spans/1")
    (sealed,) = [line for line in indexed.stdout.splitlines() if line.startswith("ragatouille_pdfs: ")]
    seal = hashlib.sha256((run / "index.sha256.json").read_bytes()).hexdigest()
    assert f"seal {seal[:12]}" in sealed
    damaged = run / "index/ivf.pid.pt"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    index = {"system": "ragatouille_pdfs", "run": str(run.relative_to(volume / "mounted")), "seal": seal}
    try:
        done = start_app(finished_remote, volume, "--search", json.dumps([[index], ["anything"], 1]))
    finally:
        damaged.write_bytes(content)
    assert done.returncode == 0, done.stderr
    assert "ivf.pid.pt" in json.loads(done.stdout)["failed"]


def test_a_second_call_finds_all_of_it_done(
    finished_remote: Checkout, volume: Path, indexed: subprocess.CompletedProcess[str]
) -> None:
    (run,) = (volume / "mounted/work/results/campaigns").glob("*/remote_indexing/runs/*/all/spans/1/run.json")
    before = run.stat().st_mtime_ns
    done = start_app(finished_remote, volume, "--pdfs", str(volume / "my pdfs"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert run.stat().st_mtime_ns == before


def tensors(volume: Path) -> dict[str, str]:
    """The hashes of what an index holds, from its seal; the two files with times in them are left out."""
    (seal,) = (volume / "mounted/work/results/campaigns").glob(
        "*/remote_indexing/runs/*/all/spans/1/index.sha256.json"
    )
    files = json.loads(seal.read_text())["files"]
    return {
        file["path"]: file["sha256"] for file in files if file["path"] not in ("plan.json", "metadata.json")
    }


def test_the_next_container_goes_on_where_one_was_taken_away(
    finished_remote: Checkout, indexed: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    taken, whole = tmp_path / "taken", tmp_path / "whole"
    command = [sys.executable, "-c", IN_CONTAINER]
    for volume in (taken, whole):
        volume.mkdir()
    first = subprocess.Popen(
        command,
        cwd=finished_remote.path,
        env=environment_of(taken, CHUNKS),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    runs = taken / "mounted/work/results/campaigns"
    deadline = time.monotonic() + 300
    while not list(runs.glob("*/remote_indexing/runs/*/all/spans/1.partial/**/doclens.0.json")):
        assert first.poll() is None and time.monotonic() < deadline, "no chunk was written"
        time.sleep(0.02)
    # All at once, and nobody has a moment to tidy up.
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert list((taken / "mounted/work/.snakemake/locks").iterdir())

    answers = {}
    for volume in (taken, whole):
        done = subprocess.run(
            command,
            cwd=finished_remote.path,
            env=environment_of(volume, CHUNKS),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (answers[volume],) = json.loads(done.stdout.splitlines()[-1])

    assert answers[whole]["resumed"] is None
    assert "chunk 0" in answers[taken]["resumed"]["kept"]
    assert len(tensors(taken)) > 10 and tensors(taken) == tensors(whole)
