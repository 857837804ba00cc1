"""The app of Modal by `.local()`, for real: two processes on this machine, a folder in the place of the volume."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ENVIRONMENTS, Checkout

pytestmark = pytest.mark.slow

CONFIGURATION = """
remote_indexing:
  systems: [ragatouille_pdfs]
"""


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volume")


def start_app(checkout: Checkout, volume: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The app without an account: its home is empty, its configuration has weights that are made on the spot."""
    configuration = volume / "modal.yaml"
    configuration.write_text(CONFIGURATION)
    (volume / "home").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
    return subprocess.run(
        [sys.executable, "profiles/modal/app.py", *arguments],
        cwd=checkout.path,
        env={
            **kept,
            "HOME": str(volume / "home"),
            "INDEXSCOPE_MODAL_CONFIGURATION": str(configuration),
            "INDEXSCOPE_MODAL_FOLDER": str(volume / "mounted"),
            "SNAKEMAKE_CONDA_PREFIX": str(ENVIRONMENTS),
        },
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
