"""Real indexes of both frameworks: searched from the driver's environment, measured, and loaded by plain libraries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import ENVIRONMENTS, Checkout

pytestmark = pytest.mark.slow

# Both index the same passages, with the same settings.
SYSTEMS = {"ragatouille": "ragatouille_faiss_true", "colbert": "colbert_fair"}


class Searched:
    """Copies of two runs' indexes, one of each framework, in a folder of their own: taken elsewhere."""

    def __init__(self, checkout: Checkout, folder: Path) -> None:
        self.checkout = checkout
        self.folder = folder
        for framework, system in SYSTEMS.items():
            (source, *_) = sorted(checkout.path.glob(f"results/index_runs/{system}-*/*/none/1"))
            shutil.copytree(source, folder / framework)
        self.documents = json.loads((folder / "colbert/run.json").read_text())["run"]["documents"]
        (self.passages,) = checkout.path.glob(f"results/passages/*/{self.documents}-256.jsonl")
        (self.slice,) = checkout.path.glob(f"results/slices/*/{self.documents}.jsonl")

    def program(self, name: str, *arguments: object, python: Path = Path(sys.executable)) -> Any:
        command = [python, self.checkout.path / "workflow" / "scripts" / name, *map(str, arguments)]
        environment = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def search(self, index: Path, *arguments: object) -> list[dict[str, Any]]:
        options = ("--device", "cpu", "--conda-prefix", ENVIRONMENTS)
        done = self.program("search_index.py", index, *arguments, "--json", *options)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def seal(self, framework: str) -> None:
        run = self.folder / framework
        written = ("--collection", self.passages, "--output", run / "index.sha256.json")
        done = self.program("seal_index.py", "write", run / "index", *written)
        assert done.returncode == 0, done.stderr

    def measure(self, framework: str, python: Path, extensions: Path) -> list[dict[str, Any]]:
        queries = self.folder / "queries"
        if not queries.exists():
            settings = '{"source": "known_item", "queries": 6}'
            made = ("--queries", settings, "--collection", self.slice, "--output", queries)
            assert self.program("make_queries.py", *made).returncode == 0
        output = self.folder / f"{framework}.jsonl"
        measurement = {"sample_interval_seconds": 0.05, "timeout_seconds": 600, "memory_limit_mib": None}
        done = self.program(
            "measure_search.py",
            *(self.folder / framework, "--collection", self.passages, "--extensions", extensions),
            *("--queries", queries / "queries.jsonl", "--qrels", queries / "qrels.jsonl"),
            *("--search", json.dumps({"k": 5, "batch_size": 4, "repeats": 1})),
            *("--measurement", json.dumps(measurement), "--threads", 1, "--device", "cpu"),
            *("--output", output),
            python=python,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in output.read_text().splitlines()]


def kinds(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["kind"] == kind]


def test_indexes_are_searched_wherever_they_are(finished: Checkout, tmp_path: Path) -> None:
    searched = Searched(finished, tmp_path)
    # As colbert-ai leaves it, only who has the collection can search it.
    options = ("--conda-prefix", ENVIRONMENTS, "--device", "cpu")
    refused = searched.program("search_index.py", tmp_path / "colbert", "words", *options)
    assert "has no passages beside it; give what was indexed with --collection" in refused.stderr
    (answer,) = searched.search(tmp_path / "colbert", "words", "-k", 1, "--collection", searched.passages)
    assert answer["results"][0]["passage"]
    (extensions,) = finished.path.glob(
        "results/extensions/plaid_search-ragatouille-*-cpu"
    )  # compiled by that

    plain = searched.measure("colbert", _python("ragatouille"), extensions)
    (of_colbert, of_ragatouille) = kinds(plain, "load")
    assert (of_colbert["loads"], of_colbert["same_results"]) == (True, True), of_colbert["detail"]
    assert not of_ragatouille["loads"]
    assert "collection.json" in of_ragatouille["detail"]

    for framework in SYSTEMS:
        searched.seal(framework)
    documents = [json.loads(line) for line in searched.passages.read_text().splitlines()]
    query = " ".join(documents[7]["text"].split()[:12])
    answers = {}
    for framework in SYSTEMS:
        (answer,) = searched.search(tmp_path / framework, query, "-k", 3, "--verify")
        assert answer["results"][0]["passage_id"] == 7
        assert answer["results"][0]["document_id"] == documents[7]["document_id"]
        answers[framework] = [result["passage_id"] for result in answer["results"]]
    assert answers["colbert"] == answers["ragatouille"]

    # Under another name, with the encoder elsewhere.
    shutil.move(tmp_path / "ragatouille" / "index", tmp_path / "moved")
    (checkpoint,) = finished.path.glob("results/checkpoints/*/config.json")
    shutil.copytree(checkpoint.parent, tmp_path / "encoder")
    named = ("--checkpoint", tmp_path / "encoder", "--environment", "ragatouille")
    (moved,) = searched.search(tmp_path / "moved", query, "-k", 3, *named)
    assert [result["passage_id"] for result in moved["results"]] == answers["ragatouille"]
    shutil.move(tmp_path / "moved", tmp_path / "ragatouille" / "index")

    digests = set()
    for framework in SYSTEMS:
        records = searched.measure(framework, _python("ragatouille"), extensions)
        rows = kinds(records, "search")
        assert [row["outcome"] for row in rows] == ["completed", "completed"], rows[0]["outcome_detail"]
        digests |= {row["results_digest"] for row in rows}
        for row in rows:
            assert 0 < row["before_loading_mib"] < row["loaded_mib"] < row["peak_rss_mib"] * 1.01
            assert min(row["load_seconds"], *row["latencies_ms"]) > 0
        for load in kinds(records, "load"):
            assert (load["loads"], load["same_results"]) == (True, True), load["detail"]
    assert len(digests) == 1


def _python(environment: str) -> Path:
    lock = (ENVIRONMENTS.parents[1] / "envs" / f"{environment}.yaml").read_bytes()
    (built,) = [path for path in ENVIRONMENTS.glob("*.yaml") if path.read_bytes() == lock]
    return built.with_suffix("") / "bin" / "python"
