"""Raw ColBERT over several processes, measured as one tree: on a CPU they meet by gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from checkout import Checkout
from conftest import environment_python
from indexscope import memory_model
from indexscope.memory_plan import encoder_of
from toy_workflow import wait_for

pytestmark = pytest.mark.slow

RANKS = 2
DOCUMENTS = 120
SYSTEM = "colbert_ranks"
# In the environment of the run: what an index holds, whichever chunks it is in.
CONTENT = """
import glob, hashlib, json, os, sys, torch
folder = sys.argv[1]
metadata = json.load(open(os.path.join(folder, "metadata.json")))
chunks = range(metadata["num_chunks"])
lengths = [n for chunk in chunks for n in json.load(open(os.path.join(folder, "doclens.%d.json" % chunk)))]
load = lambda name: torch.load(os.path.join(folder, name), map_location="cpu")
codes = torch.cat([load("%d.codes.pt" % chunk) for chunk in chunks])
centroids = load("centroids.pt").float()
ivf, ivf_lengths = load("ivf.pid.pt")
print(json.dumps({
    "chunks": metadata["num_chunks"], "partitions": metadata["num_partitions"], "lengths": lengths,
    "embeddings": len(codes), "codes": codes.tolist(), "centroids": list(centroids.shape),
    "ivf_passages": sorted(set(ivf[: int(ivf_lengths.sum())].tolist())),
}))
"""


class Built(NamedTuple):
    copy: Checkout
    python: Path

    def run(self, ranks: int | None, output: Path, profiler: str = "spans") -> subprocess.Popen[bytes]:
        """Start a measured run of the cell with so many ranks, in the way of the rule."""
        (path,) = (self.copy.path / "results/cells").glob(f"{SYSTEM}-*.json")
        cell = json.loads(path.read_text())
        cell["settings"]["nranks"] = ranks
        changed = output.with_suffix(".json")
        changed.write_text(json.dumps(cell))
        results = self.copy.path / "results"
        (checkpoint,) = (each for each in (results / "checkpoints").iterdir() if each.is_dir())
        (extensions,) = (results / "extensions").glob("plaid-*-cpu")
        (collection,) = (results / "slices").glob(f"*/{DOCUMENTS}.jsonl")
        return subprocess.Popen(
            [
                *(str(self.python), str(self.copy.path / "workflow/scripts/index_collection.py")),
                *("--cell", str(changed), "--collection", str(collection), "--checkpoint", str(checkpoint)),
                *("--extensions", str(extensions), "--documents", str(DOCUMENTS), "--profiler", profiler),
                *("--repeat", "1", "--output", str(output)),
            ],
            env={**os.environ, "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"},
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A copy in which the run with ranks has been made, and what other runs of it need."""
    python = environment_python(tmp_path_factory.mktemp("environment"), "ragatouille")
    copy = Checkout(tmp_path_factory.mktemp("ranks"))
    system = {
        "framework": "colbert",
        "environment": "ragatouille",
        "label": "ColBERT, two ranks",
        "settings": {"nranks": RANKS},
    }
    experiment = {
        "systems": [SYSTEM],
        "grids": [{"sizes": [DOCUMENTS], "profilers": ["spans"]}],
        "artifact_pairs": [],
    }
    (copy.path / "ranks.yaml").write_text(
        yaml.safe_dump({"systems": {SYSTEM: system}, "index_memory": experiment})
    )
    copy.snakemake("index_runs", "--configfile", "ranks.yaml")
    return Built(copy, python)


@pytest.fixture(scope="module")
def directory(built: Built) -> Path:
    (found,) = built.copy.path.glob(f"results/index_runs/{SYSTEM}-*/{DOCUMENTS}/spans/1")
    return found


@pytest.fixture(scope="module")
def record(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "run.json").read_text())
    assert found["outcome"] == "completed", found["outcome_detail"]
    return found


def test_the_ranks_are_one_tree(record: dict[str, Any], directory: Path) -> None:
    assert record["resolved"]["ranks"] == RANKS
    assert record["resolved"]["chunks"] == RANKS  # fewer passages than a chunk holds: one a rank
    roles = sorted(process["role"] for process in record["processes"] if process["role"] != "other")
    assert roles == ["manager", "parent", *["worker"] * RANKS]
    peaks = [process["peak_rss_mib"] for process in record["processes"] if process["role"] == "worker"]
    parent = record["memory"]["by_role"]["parent"]
    # Each loads PyTorch by itself, and the tree holds them all at once.
    assert min(peaks) > 500
    assert sum(peaks) < record["memory"]["tree_peak_rss_mib"] <= sum(peaks) + parent + 50


def test_every_rank_has_spans(record: dict[str, Any], directory: Path) -> None:
    workers = {process["process_id"] for process in record["processes"] if process["role"] == "worker"}
    spans = [json.loads(line) for line in (directory / "spans.jsonl").read_text().splitlines()]
    for function in ("CollectionIndexer.setup", "CollectionIndexer.index"):
        found = {span["process_id"] for span in spans if span["function"].endswith(function)}
        assert found == workers, function
    patched = [entry for entry in record["instrumented"] if entry["module"] == "colbert.utils.distributed"]
    assert {entry["qualname"] for entry in patched} == {"init", "barrier"}
    assert all(entry["patched"] for entry in patched)
    assert len([entry for entry in patched if entry["role"] == "worker"]) == 2 * RANKS


def test_the_memory_model_knows_what_ranks_add(record: dict[str, Any], built: Built, tmp_path: Path) -> None:
    """Within 10 %: the whole tree, and the same without the second rank."""
    (collection,) = (built.copy.path / "results/slices").glob(f"*/{DOCUMENTS}.jsonl")
    texts = [json.loads(line)["text"] for line in collection.read_text().splitlines()]
    alone_at = tmp_path / "alone"
    assert built.run(1, alone_at).wait() == 0
    alone = json.loads((alone_at / "run.json").read_text())
    for ranks, measured in ((RANKS, record), (1, alone)):
        assert measured["resolved"]["ranks"] == ranks
        content = {
            "framework": "colbert",
            "environment": "ragatouille",
            "device": "cpu",
            "settings": {**measured["requested"], "nranks": ranks},
        }
        quantities = memory_model.quantities_of(
            content,
            encoder_of({"repository": "synthetic_small"}),
            DOCUMENTS,
            tokens_per_passage=measured["resolved"]["embeddings"] / DOCUMENTS,
            text_bytes=sum(len(text.encode()) for text in texts),
        )
        assert quantities.nranks == ranks
        peak = memory_model.predict(quantities).peak()[1]
        assert peak == pytest.approx(measured["memory"]["tree_peak_rss_mib"], rel=0.1)


def test_the_index_holds_the_same_passages(
    record: dict[str, Any], directory: Path, built: Built, tmp_path: Path
) -> None:
    """What differs is which chunk a passage is in; on another processor perhaps last bits, and a code by them."""
    assert built.run(1, tmp_path / "alone", "none").wait() == 0
    contents = []
    for index in (directory / "index", tmp_path / "alone" / "index"):
        done = subprocess.run(
            [str(built.python), "-c", CONTENT, str(index)], capture_output=True, text=True, check=True
        )
        contents.append(json.loads(done.stdout))
    shared, alone = contents
    assert (shared["chunks"], alone["chunks"]) == (RANKS, 1)
    for name in ("partitions", "lengths", "embeddings", "centroids", "ivf_passages"):
        assert shared[name] == alone[name], name
    equal = sum(one == other for one, other in zip(shared["codes"], alone["codes"], strict=True))
    assert equal >= 0.99 * len(alone["codes"])


def test_a_killed_rank_ends_the_run_within_seconds(built: Built, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    process = built.run(RANKS, output, "none")
    marker = f"INDEXSCOPE_RUN={output}.partial".encode()

    def ranks() -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if (
                    entry.name.isdigit()
                    and marker in (entry / "environ").read_bytes()
                    and b"spawn_main" in (entry / "cmdline").read_bytes()
                    and int((entry / "statm").read_text().split()[1]) * 4 > 400 * 1024
                ):  # past its imports
                    found.append(int(entry.name))
            except OSError:
                continue
        return sorted(found)

    try:
        both = wait_for(lambda: found if len(found := ranks()) == RANKS else [], 120)
        os.kill(both[-1], signal.SIGKILL)
        killed_at = time.monotonic()
        assert process.wait(timeout=60) == 0
        assert time.monotonic() - killed_at < 10
    finally:
        process.kill()
        process.wait()
    assert ranks() == []
    killed = json.loads((output / "run.json").read_text())
    assert killed["outcome"] == "killed", killed["outcome_detail"]
    assert killed["outcome_detail"] == "a child process ended by SIGKILL"
