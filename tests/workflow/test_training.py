"""Real trainings of a small cross-encoder in its environment: order, bytes, parts of a step, and every ending."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from checkout import REPOSITORY
from indexscope.schemas import DOCUMENT_ACCESS_STEPS

pytestmark = pytest.mark.slow

SCRIPTS = REPOSITORY / "workflow" / "scripts"
LOADERS = ["in_memory", "offset_index", "ir_datasets", "arrow", "shared_memory"]
DOCUMENTS = 200
TRAINING: dict[str, Any] = {
    "experiment": "grid",
    "loader": "offset_index",
    "parallelism": "single",
    "world_size": 1,
    "workers": 0,
    "pin_memory": False,
    "precision": "fp32",
    "cache": "warm",
    "documents": DOCUMENTS,
    "limit": None,
    "batch_size": 4,
    "max_length": 32,
    "steps": 4,
    "warm_up_steps": 2,
    "threads": 1,
    "seed": 7,
    "model": {"layers": 1, "hidden_size": 32, "heads": 2, "intermediate_size": 64, "dropout": 0.1},
    "timeout_seconds": 300,
    "sample_interval_seconds": 0.02,
    "device": "cpu",
    "corpus": "toy",
    "tokenizer": "toy",
    "lock_digest": "0" * 8,
    "repeat": 1,
}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "gene", "cell"]

# Two ranks over gloo; the second is slow in its own backward pass. Each prints what was communication of it.
SLOW_RANK = """
import sys, time
import torch
from indexscope.document_access import communication, timing

rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
torch.manual_seed(0)

class Slow(torch.autograd.Function):
    @staticmethod
    def forward(context, values):
        return values.clone()

    @staticmethod
    def backward(context, gradients):
        time.sleep(0.4 if rank == 1 else 0.0)
        return gradients

model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 1))
said = communication.AllReduce(model, cuda=False)
timer = timing.StepTimer(lambda: None)
for step in range(3):
    inputs = torch.full((4, 8), float(rank + 1))
    torch.distributed.barrier()
    timer.start()
    loss = Slow.apply(model(inputs)).sum()
    timer.end("forward", said.forward_seconds())
    loss.backward()
    timer.end("backward", said.backward_seconds())
seconds = timer.seconds()
gradient = model.module.weight.grad[0, 0].item() / 3  # of three steps
print(seconds["backward_seconds"], seconds["communication_seconds"], gradient)
"""


class Prepared:
    """Documents, samples and a tokenizer, and the programs in their environment."""

    def __init__(self, directory: Path, python: Path) -> None:
        self.directory = directory
        self.python = python
        self.collection = directory / f"{DOCUMENTS}.jsonl"
        with self.collection.open("w") as lines:
            for number in range(DOCUMENTS):
                text = f"{'gene cell a b c d e'[: 6 + 2 * (number % 7)]} {'xyz' * (number % 9)}"
                lines.write(json.dumps({"document_id": f"d/{number}", "text": text}) + "\n")
        self.tokenizer = directory / "tokenizer"
        self.tokenizer.mkdir()
        (self.tokenizer / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
        (self.tokenizer / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
        (self.tokenizer / "config.json").write_text('{"model_type": "bert"}')
        self.samples = directory / "samples.jsonl"
        drawn = ["--samples", "48", "--seed", "7", "--output", self.samples]
        self.run("order_samples.py", self.collection, *drawn)
        self.sources = directory / "sources"
        self.run("prepare_documents.py", self.collection, "--loaders", *LOADERS, "--output", self.sources)

    def run(self, program: str, *arguments: Any) -> None:
        done = subprocess.run(
            [self.python, SCRIPTS / program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    def command(self, name: str, samples: Path | None = None, **training: Any) -> list[str]:
        return [
            str(self.python), str(SCRIPTS / "measure_training.py"),
            "--training", json.dumps({**TRAINING, **training}),
            "--collection", str(self.collection),
            "--sources", str(self.sources / "manifest.json"),
            "--samples", str(samples or self.samples),
            "--tokenizer", str(self.tokenizer),
            "--output", str(self.directory / name),
        ]  # fmt: skip

    def train(self, name: str, samples: Path | None = None, **training: Any) -> dict[str, Any]:
        done = subprocess.run(
            self.command(name, samples, **training),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return self.record(name)

    def record(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.directory / name / "run.json").read_text())
        return record

    def steps(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / name / "steps.jsonl").open()]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, training_python: Path) -> Prepared:
    return Prepared(tmp_path_factory.mktemp("trainings"), training_python)


@pytest.fixture(scope="module")
def single(prepared: Prepared) -> dict[str, Any]:
    return prepared.train("single")


@pytest.fixture(scope="module")
def distributed(prepared: Prepared) -> dict[str, dict[str, Any]]:
    return {
        loader: prepared.train(
            f"distributed-{loader}", loader=loader, parallelism="distributed", world_size=2
        )
        for loader in LOADERS
    }


def completed(record: dict[str, Any]) -> dict[str, Any]:
    assert record["outcome"] == "completed", record["outcome_detail"]
    return record


def learned(record: dict[str, Any]) -> list[tuple[str, str, float]]:
    return [(rank["samples_digest"], rank["texts_digest"], rank["final_loss"]) for rank in record["ranks"]]


def test_every_loader_gives_the_same_samples_bytes_and_loss(distributed: dict[str, dict[str, Any]]) -> None:
    found = {loader: learned(completed(record)) for loader, record in distributed.items()}
    assert set(map(str, found.values())) == {str(found["in_memory"])}
    first, second = found["in_memory"]
    assert first[0] != second[0]  # ranks share no sample


def test_a_step_is_its_parts(prepared: Prepared, single: dict[str, Any]) -> None:
    completed(single)
    rows = prepared.steps("single")
    columns = set(DOCUMENT_ACCESS_STEPS.names[DOCUMENT_ACCESS_STEPS.names.index("rank") :])
    assert [set(row) for row in rows] == [columns] * 6
    assert [row["measured"] for row in rows] == [False] * 2 + [True] * 4
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        parts = sum(
            row[f"{part}_seconds"]
            for part in ("wait", "host_to_device", "forward", "backward", "communication", "optimiser")
        )
        assert row["step_seconds"] == pytest.approx(parts, abs=1e-6)
        assert row["fetch_seconds"] + row["tokenise_seconds"] <= row["wait_seconds"]
        assert row["communication_seconds"] == 0
        if following:
            assert row["started_seconds"] + row["step_seconds"] <= following["started_seconds"] + 1e-3
    rank = single["ranks"][0]
    assert 0 < rank["open_seconds"] < rank["time_to_first_batch_seconds"] < single["wall_seconds"]
    assert rank["final_loss"] == rows[-1]["loss"]


def test_dataloader_workers_change_nothing_that_is_learned(
    prepared: Prepared, single: dict[str, Any]
) -> None:
    record = completed(prepared.train("workers", workers=2))
    assert learned(record) == learned(single)
    roles = sorted(process["role"] for process in record["memory"]["processes"])
    assert roles == ["launcher", "rank", "worker", "worker"]


def test_accelerate_learns_what_distributed_data_parallel_does(
    prepared: Prepared, distributed: dict[str, dict[str, Any]]
) -> None:
    record = completed(prepared.train("accelerate", parallelism="accelerate", world_size=2))
    assert learned(record) == learned(distributed["offset_index"])
    assert (record["backend"], record["interconnect"]) == ("gloo", "memory of one machine (gloo)")
    assert all(row["communication_seconds"] > 0 for row in prepared.steps("accelerate"))


def test_memory_is_of_all_processes(distributed: dict[str, dict[str, Any]], single: dict[str, Any]) -> None:
    one, two = single["memory"], distributed["offset_index"]["memory"]
    assert sorted(process["role"] for process in two["processes"]) == ["launcher", "rank", "rank"]
    # Not of PSS: other programs of this machine may map the same libraries.
    own = [sum(process["anon_mib"] for process in memory["processes"]) for memory in (one, two)]
    assert 1.7 * own[0] < own[1] < 2.3 * own[0]
    for memory in (one, two):
        assert own[0] < memory["tree_pss_mib"] <= sum(process["rss_mib"] for process in memory["processes"])
    # The reading is in the middle, the peak may be at any moment.
    assert two["tree_pss_mib"] < two["tree_peak_rss_mib"]
    assert two["page_cache_start_mib"] == pytest.approx(two["source_mib"], abs=0.01)


def test_a_cold_start_finds_nothing_in_the_page_cache(prepared: Prepared) -> None:
    memory = completed(prepared.train("cold", cache="cold"))["memory"]
    assert memory["page_cache_start_mib"] < 0.5 * memory["source_mib"]
    assert memory["page_cache_start_mib"] < memory["page_cache_mib"] <= memory["source_mib"]


def test_exposed_communication_is_what_is_waited_for(tmp_path: Path, training_python: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [training_python, "-c", SLOW_RANK, str(rank), tmp_path / "store"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [rank.communicate(timeout=120)[0].splitlines()[-1] for rank in ranks]  # Gloo prints too
    fast, slow = ([float(word) for word in line.split()] for line in printed)
    backward, exposed, gradient = fast
    assert exposed > 0.35 and backward < exposed / 2  # nothing of its own to do, it waits for the other
    backward, exposed, gradient_of_slow = slow
    assert backward > 0.35 and exposed < backward / 2
    assert gradient == gradient_of_slow == pytest.approx((4 * 1 + 4 * 2) / 2)  # the ranks' mean


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"parallelism": "data_parallel", "world_size": 2}, "DataParallel"),
        ({"pin_memory": True}, "pin_memory"),
        ({"parallelism": "accelerate", "precision": "fp16"}, "Accelerate"),
        ({"device": "cuda"}, "CUDA"),
    ],
    ids=["data_parallel", "pin_memory", "accelerate_fp16", "cuda"],
)
def test_what_a_cpu_cannot_do_is_unsupported(
    prepared: Prepared, training: dict[str, Any], reason: str
) -> None:
    if training.get("device") == "cuda" and Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has a GPU")
    record = prepared.train("unsupported", **training)
    assert record["outcome"] == "unsupported"
    assert reason in record["outcome_detail"]
    assert record["memory"]["tree_pss_mib"] is None


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_is_used_or_unsupported(
    prepared: Prepared, single: dict[str, Any], precision: str
) -> None:
    record = prepared.train(precision, precision=precision)
    if record["outcome"] == "unsupported":  # then PyTorch has said why
        assert precision in record["outcome_detail"]
        return
    completed(record)
    assert learned(record)[0][:2] == learned(single)[0][:2]
    assert record["ranks"][0]["final_loss"] != single["ranks"][0]["final_loss"]
    assert record["ranks"][0]["final_loss"] == pytest.approx(single["ranks"][0]["final_loss"], abs=0.02)


def test_a_killed_rank_ends_the_training(prepared: Prepared) -> None:
    steps = 6
    command = prepared.command(
        "killed", parallelism="distributed", world_size=2, batch_size=1, steps=steps, warm_up_steps=1
    )
    training = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    partial = prepared.directory / "killed.partial"
    ranks: dict[int, int] = {}
    deadline = time.monotonic() + 120
    while len(ranks) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
        if (partial / "events.jsonl").exists():
            events = [json.loads(line) for line in (partial / "events.jsonl").open() if line.endswith("\n")]
            ranks = {event["rank"]: event["process_id"] for event in events if event.get("role") == "rank"}
    os.kill(ranks[1], signal.SIGKILL)
    assert training.wait(timeout=60) == 0
    record = prepared.record("killed")
    assert (record["outcome"], record["outcome_detail"]) == ("killed", "rank 1 ended by SIGKILL")
    for process in ranks.values():
        assert not Path(f"/proc/{process}").exists()
    assert not partial.exists()


def test_an_unknown_document_fails_with_its_sentence(prepared: Prepared) -> None:
    wrong = prepared.directory / "wrong.jsonl"
    lines = prepared.samples.read_text().splitlines()
    lines[5] = json.dumps({"query": "gene", "positive_id": "d/1", "negative_id": "no such"})
    wrong.write_text("\n".join(lines) + "\n")
    sentence = (
        "step 0 takes the document 'no such', which the collection does not have; "
        "draw the samples again with order_samples.py"
    )
    for workers in (0, 1):  # of rank 1, while rank 0 waits for it
        record = prepared.train(
            "unknown", samples=wrong, parallelism="distributed", world_size=2, workers=workers
        )
        assert (record["outcome"], record["outcome_detail"]) == ("failed", sentence)


def test_a_rank_loads_torch_and_the_launcher_does_not(training_python: Path) -> None:
    code = (
        "import sys; from indexscope.document_access import launcher, measured_training; "
        "print('torch' in sys.modules, 'transformers' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [training_python, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"] * 3
    assert sys.executable != str(training_python)
