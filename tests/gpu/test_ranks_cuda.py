"""On a machine with two GPUs: ranks of raw ColBERT that meet by nccl, each on a GPU of its own. Skipped elsewhere."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess

import pytest
import yaml
from checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.gpu]

SYSTEM = "colbert_ranks"


@pytest.fixture(scope="module")
def two_gpus() -> None:
    listing = shutil.which("nvidia-smi") and subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, text=True, check=False
    )
    if not listing or len(listing.stdout.splitlines()) < 2:
        pytest.skip("needs two GPUs: nvidia-smi lists fewer")


def test_two_ranks_use_two_gpus(two_gpus: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = Checkout(tmp_path_factory.mktemp("ranks_cuda"))
    system = {
        "framework": "colbert",
        "environment": "colbert",
        "label": "ColBERT, two ranks",
        "settings": {"nranks": 2},
    }
    experiment = {
        "systems": [SYSTEM],
        "grids": [{"sizes": [500], "profilers": ["spans"]}],
        "artifact_pairs": [],
    }
    (copy.path / "ranks.yaml").write_text(
        yaml.safe_dump(
            {"systems": {SYSTEM: system}, "index_memory": experiment, "measurement": {"device": "cuda"}}
        )
    )
    copy.snakemake("index_runs", "--configfile", "ranks.yaml", "--workflow-profile", "profiles/gpus")
    (path,) = copy.path.glob(f"results/index_runs/{SYSTEM}-*/500/spans/1/run.json")
    record = json.loads(path.read_text())
    assert record["outcome"] == "completed", record["outcome_detail"]
    assert record["resolved"]["ranks"] == 2
    assert len(record["place"]["devices"].split(",")) == 2
    workers = {each["process_id"] for each in record["processes"] if each["role"] == "worker"}
    spans = [json.loads(line) for line in (path.parent / "spans.jsonl").read_text().splitlines()]
    encoded = {
        span["process_id"]: span["gpu_peak_mib"]
        for span in spans
        if span["function"].endswith("CollectionIndexer.index")
    }
    assert set(encoded) == workers
    assert all(mib and mib > 0 for mib in encoded.values())
    # Memory rose on both.
    with (path.parent / "gpu_curve.csv").open() as file:
        rows = [(row["gpu"], float(row["used_mib"])) for row in csv.DictReader(file)]
    for gpu in ("0", "1"):
        used = [mib for name, mib in rows if name == gpu]
        assert max(used) > used[0] + 100
