"""On a CUDA machine: trainings on its devices, what they say to one another, and what it lacks.

Skipped where PyTorch of the environment sees no GPU; what needs several is skipped where there is one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from checkout import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.gpu]

SCRIPTS = REPOSITORY / "workflow" / "scripts"
TRAINING: dict[str, Any] = {
    "experiment": "grid",
    "loader": "in_memory",
    "parallelism": "single",
    "world_size": 1,
    "workers": 0,
    "pin_memory": False,
    "precision": "fp32",
    "cache": "warm",
    "documents": 100,
    "limit": None,
    "batch_size": 4,
    "max_length": 64,
    "steps": 6,
    "warm_up_steps": 3,
    "threads": 1,
    "seed": 7,
    "model": {"layers": 2, "hidden_size": 256, "heads": 4, "intermediate_size": 512, "dropout": 0.1},
    "timeout_seconds": 300,
    "sample_interval_seconds": 0.02,
    "device": "cuda",
    "corpus": "toy",
    "tokenizer": "toy",
    "lock_digest": "0" * 8,
    "repeat": 1,
}


class Prepared:
    def __init__(self, directory: Path, python: Path, devices: int) -> None:
        self.directory = directory
        self.python = python
        self.devices = devices
        self.collection = directory / "100.jsonl"
        with self.collection.open("w") as lines:
            for number in range(100):
                lines.write(
                    json.dumps({"document_id": f"d{number}", "text": "a b c " * (number % 20)}) + "\n"
                )
        self.samples = directory / "samples.jsonl"
        with self.samples.open("w") as lines:
            for number in range(9 * 4 * max(devices, 2)):
                sample = {
                    "query": "a b",
                    "positive_id": f"d{number % 100}",
                    "negative_id": f"d{number * 7 % 100}",
                }
                lines.write(json.dumps(sample) + "\n")
        (directory / "tokenizer").mkdir()
        (directory / "tokenizer/vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n")
        (directory / "tokenizer/tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
        (directory / "tokenizer/config.json").write_text('{"model_type": "bert"}')
        (directory / "manifest.json").write_text('{"format": 1, "loaders": {}}')

    def train(self, **training: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        output = self.directory / "run"
        done = subprocess.run(
            [
                str(self.python), str(SCRIPTS / "measure_training.py"),
                "--training", json.dumps({**TRAINING, **training}),
                "--collection", str(self.collection),
                "--sources", str(self.directory / "manifest.json"),
                "--samples", str(self.samples),
                "--tokenizer", str(self.directory / "tokenizer"),
                "--output", str(output),
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        steps = [json.loads(line) for line in (output / "steps.jsonl").open()]
        return json.loads((output / "run.json").read_text()), steps

    def needs(self, devices: int) -> None:
        if self.devices < devices:
            pytest.skip(f"needs {devices} GPUs, there are {self.devices}")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Prepared:
    listing = shutil.which("nvidia-smi") and subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, check=False
    )
    if not listing or not listing.stdout.strip():
        pytest.skip("no CUDA machine: nvidia-smi lists no GPU")
    python: Path = request.getfixturevalue("training_python")
    count = subprocess.run(
        [str(python), "-c", "import torch; print(torch.cuda.device_count())"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if count.returncode != 0 or int(count.stdout) == 0:
        pytest.skip(f"PyTorch of the environment cannot use the GPU: {count.stderr[-300:]}")
    return Prepared(tmp_path_factory.mktemp("trainings"), python, int(count.stdout))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("pin_memory", [False, True])
def test_a_device_trains_in_every_precision(prepared: Prepared, precision: str, pin_memory: bool) -> None:
    record, steps = prepared.train(precision=precision, pin_memory=pin_memory)
    if precision == "bf16" and record["outcome"] == "unsupported":
        assert "bfloat16" in record["outcome_detail"]
        return
    assert record["outcome"] == "completed", record["outcome_detail"]
    assert record["hardware"]["gpus"]
    # At least weights, gradients and AdamW's two moments, in fp32.
    assert record["ranks"][0]["gpu_peak_mib"] > 4 * 4 * 2 * (4 * 256**2 + 2 * 256 * 512) / 2**20
    for row in steps:
        assert (
            min(row[f"{part}_seconds"] for part in ("host_to_device", "forward", "backward", "optimiser")) > 0
        )


@pytest.mark.parametrize("parallelism", ["data_parallel", "distributed", "accelerate"])
def test_one_device_is_trained_by_every_parallelism(prepared: Prepared, parallelism: str) -> None:
    alone, _ = prepared.train()
    record, _ = prepared.train(parallelism=parallelism)
    assert record["outcome"] == "completed", record["outcome_detail"]
    assert record["backend"] == ("none" if parallelism == "data_parallel" else "nccl")
    assert record["interconnect"] is None
    for digest in ("samples_digest", "texts_digest"):
        assert record["ranks"][0][digest] == alone["ranks"][0][digest]
    assert record["ranks"][0]["final_loss"] == pytest.approx(alone["ranks"][0]["final_loss"], abs=0.01)


@pytest.mark.parametrize("parallelism", ["data_parallel", "distributed", "accelerate"])
def test_several_devices_say_something_and_are_connected(prepared: Prepared, parallelism: str) -> None:
    prepared.needs(2)
    record, steps = prepared.train(parallelism=parallelism, world_size=2)
    assert record["outcome"] == "completed", record["outcome_detail"]
    assert "GPU0-GPU1" in record["interconnect"]
    assert all(row["communication_seconds"] > 0 for row in steps)
    assert len(record["ranks"]) == (1 if parallelism == "data_parallel" else 2)


def test_more_devices_than_there_are_is_unsupported(prepared: Prepared) -> None:
    record, _ = prepared.train(parallelism="distributed", world_size=prepared.devices + 1)
    assert record["outcome"] == "unsupported"
    assert f"{prepared.devices} CUDA devices" in record["outcome_detail"]
