"""A real recording, replayed by the same PyTorch with operators changed on purpose: the finder names exactly these."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import REPOSITORY
from indexscope.analysis.torch_operators import ReplayedPair, divergence_rows, operator_rows
from indexscope.artifacts.operator_store import INDEX, Operator, Reader

pytestmark = pytest.mark.slow

SCRIPTS = REPOSITORY / "workflow" / "scripts"
CHECKPOINT = {
    "source": "synthetic",
    "layers": 2,
    "hidden_size": 64,
    "heads": 2,
    "intermediate_size": 128,
    "dim": 96,
}
OPERATORS = {
    "texts": ["test input"],
    "corpus_batches": 0,
    "batch_sizes": [2],
    "sequence_lengths": [9],
    "token_seeds": [1],
    "precisions": ["float32", "cpu_autocast_bfloat16", "cuda_autocast_float16"],
    "index_documents": 64,
}
INDEX_SETTINGS = {"doc_maxlen": 64, "nbits": 2, "index_bsize": 32, "kmeans_niters": 2}

# Runs where torch is: replays the first case with the operator at each position changed, alone, and then the
# operators at two positions, into a file. Prints, for each position, the positions that were found.
PLANT = """
import json, sys
from pathlib import Path
import torch
from indexscope.artifacts import operator_replay
from indexscope.artifacts.operator_store import Reader

torch.set_num_threads(1)
recording, output, two = Path(sys.argv[1]), Path(sys.argv[2]), set(json.loads(sys.argv[3]))
reader, find = Reader(recording), operator_replay.find
case = [operator for operator in reader.operators() if operator.case == 0]
replay_operator = operator_replay.replay_operator

def off_by_one(result):
    tensor = (result if isinstance(result, torch.Tensor) else result[0]).contiguous().clone()
    element = tensor.view(-1)[-1:]
    if tensor.dtype == torch.bool:
        element.logical_not_()
    elif tensor.is_floating_point():
        element.copy_(torch.nextafter(element, torch.full_like(element, torch.inf)))
    else:
        element.add_(1)
    return tensor

def planted(positions):
    def replay(operator, reader):
        wrong = operator.case == 0 and operator.position in positions
        change = lambda function: lambda *args, **kwargs: off_by_one(function(*args, **kwargs))
        operator_replay.find = (lambda name: change(find(name))) if wrong else find
        return replay_operator(operator, reader)
    return replay

found = {}
with torch.inference_mode():
    for target in case:
        replay = planted({target.position})
        rows = [replay(operator, reader) for operator in case]
        found[target.position] = [row.position for row in rows if row.verdict != "equal"]
operator_replay.replay_operator = planted(two)
operator_replay.write(reader, output)
print(json.dumps(found))
"""


def run(python: Path | str, *arguments: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [str(python), *map(str, arguments)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recording(torch_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operators")
    checkpoint = folder / "checkpoint"
    run(
        sys.executable,
        SCRIPTS / "make_checkpoint.py",
        "--checkpoint",
        json.dumps(CHECKPOINT),
        "--output",
        checkpoint,
    )
    words = [word for word in (checkpoint / "vocab.txt").read_text().split() if word.isalpha()]
    documents = (" ".join(words[start : start + 30]) for start in range(0, 64 * 20, 20))
    lines = [json.dumps({"document_id": str(number), "text": text}) for number, text in enumerate(documents)]
    (folder / "collection.jsonl").write_text("\n".join(lines) + "\n")
    run(
        *(torch_python, SCRIPTS / "record_operators.py", "--checkpoint", checkpoint),
        *("--collection", folder / "collection.jsonl", "--operators", json.dumps(OPERATORS)),
        *("--index-settings", json.dumps(INDEX_SETTINGS), "--threads", 1, "--device", "cpu"),
        *("--output", folder / "recording"),
    )
    return folder / "recording"


def operators(recording: Path, case: int) -> list[Operator]:
    return [operator for operator in Reader(recording).operators() if operator.case == case]


def pair(recording: Path, replay: Path) -> ReplayedPair:
    return ReplayedPair("2.1.0", "2.1.0", replay, recording, recording)


def test_every_step_is_recorded(recording: Path) -> None:
    cases = Reader(recording).header.cases
    statuses = [(each.case.input, each.case.precision, each.status) for each in cases]
    inputs = [("text", "recorded"), ("random tokens", "recorded")]
    assert statuses == [
        *((name, precision, status) for precision in OPERATORS["precisions"][:2] for name, status in inputs),
        ("any", "cuda_autocast_float16", "unsupported"),
        (INDEX, "float32", "recorded"),
    ]
    encoding = {operator.operator for operator in operators(recording, 0)}
    assert {
        *("aten.embedding.default", "aten.linear.default", "aten.matmul.default", "aten.softmax.int"),
        *("aten.gelu.default", "aten.layer_norm.default", "aten.linalg_vector_norm.default"),
    } <= encoding
    layer = next(each for each in operators(recording, 0) if each.operator == "aten.softmax.int")
    assert layer.module == "bert.encoder.layer.0.attention.self"
    assert layer.source and layer.source.startswith("transformers/models/bert/modeling_bert.py:")
    indexing = {operator.operator for operator in operators(recording, len(cases) - 1)}
    assert {
        *("aten.randperm.default", "compute_faiss_kmeans", "aten.max.dim", "aten.quantile.default"),
        *("aten.bucketize.Tensor", "numpy.packbits", "aten.sort.default", "aten.bincount.default"),
        "aten._unique2.default",
    } <= indexing


def test_nothing_planted_nothing_found(recording: Path, torch_python: Path, tmp_path: Path) -> None:
    replay = tmp_path / "replay.jsonl"
    program = SCRIPTS / "replay_operators.py"
    run(torch_python, program, recording, "--threads", 1, "--device", "cpu", "--output", replay)
    rows = list(operator_rows(pair(recording, replay)))
    assert {row["verdict"] for row in rows} == {"equal", "not replayed"}
    unknown = {(row["operator"], row["detail"]) for row in rows if row["verdict"] == "not replayed"}
    assert unknown == {("aten.empty.memory_format", "its result is memory that is not initialized")}
    verdicts = [row["verdict"] for row in divergence_rows(pair(recording, replay))]
    assert verdicts == ["equal"] * 4 + ["unsupported", "equal"]


def test_what_is_planted_is_found(recording: Path, torch_python: Path, tmp_path: Path) -> None:
    case = operators(recording, 0)
    softmax, gelu = (
        [each for each in case if each.operator == name][which]
        for name, which in (("aten.softmax.int", 0), ("aten.gelu.default", 1))
    )
    replay = tmp_path / "two.jsonl"
    two = json.dumps([softmax.position, gelu.position])
    found = json.loads(run(torch_python, "-c", PLANT, recording, replay, two).splitlines()[-1])
    assert len(case) > 90
    # Each operator alone: it, and nothing but it.
    assert found == {str(each.position): [each.position] for each in case}
    # Two at once: both, and the first is named first.
    first, *others = divergence_rows(pair(recording, replay))
    assert (first["differing"], first["guilty"]) == (2, "aten.softmax.int, aten.gelu.default")
    assert (first["first_position"], first["first_module"]) == (softmax.position, softmax.module)
    assert first["first_max_ulp_distance"] == 1
    assert not any(row["differing"] for row in others)
