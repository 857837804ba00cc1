"""Corpora and checkpoints that are read or downloaded, as the workflow plans and makes them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checkout import Checkout
from fake_hub import FakeHub, FakeRepository
from indexscope.checkpoints import write_checkpoint
from indexscope.settings.checkpoints import SyntheticCheckpointSettings

FILES = """
corpora: {mine: {source: files, path: documents.jsonl, id_column: id}}
checkpoints: {own: {source: local, path: own}}
index_memory:
  {corpus: mine, checkpoint: own, systems: [colbert], grids: [{sizes: [2], profilers: [none]}]}
"""
HUB = """
corpora: {far: {source: hub, repository: o/d, revision: main, files: [data/*], id_column: _id}}
checkpoints: {far: {source: hub, repository: o/m, revision: main}}
index_memory:
  {corpus: far, checkpoint: far, systems: [colbert], grids: [{sizes: [3], profilers: [none]}]}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy for each test: they write beside the Snakefile."""
    return Checkout(tmp_path / "checkout")


def planned_paths(checkout: Checkout) -> dict[str, str]:
    """What a run would be made from: slice, checkpoint and the run itself."""
    printed = checkout.snakemake("--dry-run", "--configfile", "my.yaml").stdout
    kinds = {"slices": r"[^/\s]+/2", "checkpoints": r"[\w-]+", "index_runs": r"[\w-]+"}
    found = {kind: re.search(rf"results/{kind}/({path})", printed) for kind, path in kinds.items()}
    return {kind: match[1] for kind, match in found.items() if match}


def test_changed_files_make_new_slices_checkpoints_and_runs(checkout: Checkout) -> None:
    (checkout.path / "my.yaml").write_text(FILES)
    documents = checkout.path / "documents.jsonl"
    documents.write_text('{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n')
    write_checkpoint(SyntheticCheckpointSettings(layers=1), checkout.path / "own")
    first = planned_paths(checkout)
    assert set(first) == {"slices", "checkpoints", "index_runs"}
    assert planned_paths(checkout) == first
    documents.write_text('{"id": 1, "text": "a"}\n{"id": 2, "text": "other"}\n')
    second = planned_paths(checkout)
    assert second["checkpoints"] == first["checkpoints"]
    assert second["slices"] != first["slices"]
    assert second["index_runs"] != first["index_runs"]
    (checkout.path / "own" / "artifact.metadata").write_text("{}")
    third = planned_paths(checkout)
    assert third["slices"] == second["slices"]
    assert third["checkpoints"] != second["checkpoints"]
    assert third["index_runs"] != second["index_runs"]


def test_a_missing_file_is_refused_when_planning(checkout: Checkout) -> None:
    (checkout.path / "my.yaml").write_text(FILES)
    done = checkout.snakemake("--dry-run", "--configfile", "my.yaml", check=False)
    assert done.returncode != 0
    assert "corpora.mine.path: 'documents.jsonl' does not exist; correct it (a relative path" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_downloads_are_rules_that_go_on_after_a_failure(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(SyntheticCheckpointSettings(layers=1), tmp_path / "model")
    parquet = io.BytesIO()
    pq.write_table(pa.table({"_id": ["a", "b", "c"], "text": ["one", "two", "three"]}), parquet)
    model = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    hub = FakeHub(
        {
            ("dataset", "o/d"): FakeRepository({"data/train.parquet": parquet.getvalue()}),
            ("model", "o/m"): FakeRepository(model),
        }
    )
    (checkout.path / "my.yaml").write_text(HUB)
    targets = ("--configfile", "my.yaml", "--until", "slice_dataset", "fetch_checkpoint")
    with hub.serving():
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        hub.repositories["model", "o/m"].gated = True
        done = checkout.snakemake(*targets, check=False)
        assert done.returncode != 0
        assert "model o/m of the hub: is gated: accept its terms at" in done.stdout  # from the log
        hub.repositories["model", "o/m"].gated = False
        checkout.snakemake(*targets)
        assert checkout.planned(*targets) == {}
    results = checkout.path / "results"
    (manifest,) = results.glob("datasets/far-*/manifest.json")
    assert json.loads(manifest.read_text())["commit"] == "a" * 40
    (made,) = results.glob("slices/far-*/3.jsonl")
    assert [json.loads(line)["text"] for line in made.read_text().splitlines()] == ["one", "two", "three"]
    (checkpoint,) = results.glob("checkpoints/far-*")
    assert (checkpoint / "model.safetensors").read_bytes() == model["model.safetensors"]
