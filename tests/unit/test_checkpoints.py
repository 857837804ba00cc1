"""Synthetic checkpoints: the layout that ColBERT loads, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_hub import FakeHub, FakeRepository
from indexscope.checkpoints import (
    CHECKPOINT_FILES,
    copy_checkpoint,
    fetch_checkpoint,
    needed_files,
    vocabulary,
    weights,
    write_checkpoint,
)
from indexscope.config import settings_from_json
from indexscope.run_record import InputError
from indexscope.settings.checkpoints import (
    Checkpoint,
    HubCheckpointSettings,
    LocalCheckpointSettings,
    SyntheticCheckpointSettings,
)
from safetensors import safe_open
from safetensors.numpy import load_file

PROGRAM = Path(__file__).parents[2] / "workflow" / "scripts" / "make_checkpoint.py"
SMALL = SyntheticCheckpointSettings(layers=1, hidden_size=32, intermediate_size=64, dim=32, vocab_size=2048)
# When this changes, raise SyntheticCheckpointSettings.generation: old checkpoints are then not taken for new ones.
# SHA-256 of the tensors' file under these settings.
SMALL_WEIGHTS = "a8d8472d6224bc009f21996534570113d795f357489b16a07a579a3505e6ca7e"

# What HF_ColBERT.save_pretrained of colbert-ai 0.2.22 (transformers 4.57.6) writes for one layer.
LAYER_SHAPES = {
    "attention.self.query.weight": (32, 32),
    "attention.self.query.bias": (32,),
    "attention.self.key.weight": (32, 32),
    "attention.self.key.bias": (32,),
    "attention.self.value.weight": (32, 32),
    "attention.self.value.bias": (32,),
    "attention.output.dense.weight": (32, 32),
    "attention.output.dense.bias": (32,),
    "attention.output.LayerNorm.weight": (32,),
    "attention.output.LayerNorm.bias": (32,),
    "intermediate.dense.weight": (64, 32),
    "intermediate.dense.bias": (64,),
    "output.dense.weight": (32, 64),
    "output.dense.bias": (32,),
    "output.LayerNorm.weight": (32,),
    "output.LayerNorm.bias": (32,),
}
SHAPES = {
    "bert.embeddings.word_embeddings.weight": (2048, 32),
    "bert.embeddings.position_embeddings.weight": (512, 32),
    "bert.embeddings.token_type_embeddings.weight": (2, 32),
    "bert.embeddings.LayerNorm.weight": (32,),
    "bert.embeddings.LayerNorm.bias": (32,),
    "bert.pooler.dense.weight": (32, 32),
    "bert.pooler.dense.bias": (32,),
    "linear.weight": (32, 32),
    **{f"bert.encoder.layer.0.{name}": shape for name, shape in LAYER_SHAPES.items()},
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "checkpoint"
    write_checkpoint(SMALL, directory)
    return directory


def test_files_and_tensors(checkpoint: Path) -> None:
    assert {path.name for path in checkpoint.iterdir()} == CHECKPOINT_FILES
    tensors = load_file(checkpoint / "model.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == SHAPES
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float32)}
    with safe_open(checkpoint / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_weights_are_initialised_like_bert() -> None:
    tensors = weights(SMALL)
    for name, tensor in tensors.items():
        if name.endswith("LayerNorm.weight"):
            assert (tensor == 1).all()
        elif name.endswith("bias"):
            assert (tensor == 0).all()
        elif not name.endswith("word_embeddings.weight"):
            assert tensor.std() == pytest.approx(0.02, rel=0.2), name


def test_tokens_have_their_own_vectors() -> None:
    words = weights(SMALL)["bert.embeddings.word_embeddings.weight"][:500]
    words = words / np.linalg.norm(words, axis=1, keepdims=True)
    cosines = words @ words.T
    assert abs(cosines[~np.eye(500, dtype=bool)]).mean() < 0.2


def test_special_tokens_have_the_identifiers_of_bert() -> None:
    pieces = vocabulary(4096)
    assert len(pieces) == len(set(pieces)) == 4096
    expected = {
        "[PAD]": 0,
        "[unused0]": 1,
        "[unused1]": 2,
        "[UNK]": 100,
        "[CLS]": 101,
        "[SEP]": 102,
        "[MASK]": 103,
    }
    assert {token: pieces.index(token) for token in expected} == expected


def test_vocabulary_grows_by_unused_pieces_only() -> None:
    small, large = vocabulary(2048), vocabulary(30522)
    assert large[:2048] == small
    assert all(piece.startswith("[unused") for piece in large[2048:])
    with pytest.raises(
        InputError, match=r"vocab_size: 500 is too small, the synthetic corpus needs \d+ word pieces"
    ):
        vocabulary(500)


def test_configurations_agree_with_the_weights(checkpoint: Path) -> None:
    bert = json.loads((checkpoint / "config.json").read_text())
    colbert = json.loads((checkpoint / "artifact.metadata").read_text())
    assert (bert["hidden_size"], bert["num_hidden_layers"], bert["vocab_size"]) == (32, 1, 2048)
    assert (colbert["dim"], colbert["doc_maxlen"], colbert["query_maxlen"]) == (32, 256, 32)
    # Fields that RAGatouille sets and that have no effect unless the checkpoint names them.
    assert {"kmeans_niters", "root", "experiment", "avoid_fork_if_possible"} <= colbert.keys()
    pieces = (checkpoint / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert pieces == vocabulary(2048)
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer["model"]["vocab"] == {piece: index for index, piece in enumerate(pieces)}
    assert colbert["doc_token_id"] in pieces
    assert colbert["query_token_id"] in pieces


def test_equal_settings_give_equal_bytes_in_every_process(checkpoint: Path, tmp_path: Path) -> None:
    settings = SMALL.model_dump_json()
    again = tmp_path / "again"
    done = subprocess.run(
        [sys.executable, PROGRAM, "--checkpoint", settings, "--output", again],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in CHECKPOINT_FILES:
        assert (again / name).read_bytes() == (checkpoint / name).read_bytes(), name
    digest = hashlib.sha256((again / "model.safetensors").read_bytes()).hexdigest()
    assert digest == SMALL_WEIGHTS
    write_checkpoint(SMALL.model_copy(update={"seed": 8}), again)  # replaces an earlier checkpoint
    assert (again / "model.safetensors").read_bytes() != (checkpoint / "model.safetensors").read_bytes()


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(
        InputError, match=r"holds 'thesis\.tex', which no checkpoint has; choose another directory"
    ):
        write_checkpoint(SMALL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("indexscope.checkpoints.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(SMALL, tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 100, "heads": 3}, "here: hidden_size 100 is not a multiple of heads (3)"),
        ({"dim": 48}, "here: dim: 48 is not valid: input should be a multiple of 32"),
        ({"vocab_size": 1000}, "here: vocab_size: 1000 is not valid: input should be greater than"),
        ({"layers": 2.5}, "here: layers: 2.5 is not valid: input should be a valid integer"),
        ({"width": 3}, "here: width: there is no such key"),
        (
            {"source": "web"},
            "here: source: 'web' is not valid: input should be 'synthetic' or 'hub' or 'local'",
        ),
    ],
)
def test_wrong_settings_are_one_sentence(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as raised:
        settings_from_json(Checkpoint, json.dumps({"source": "synthetic", **changes}), "here")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def settings_of(folder: Path) -> LocalCheckpointSettings:
    return LocalCheckpointSettings(source="local", path=str(folder))


def test_local_checkpoint_is_copied_without_its_other_files(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "optimizer.pt").write_text("large")
    (checkpoint / "logs").mkdir()
    copy_checkpoint(settings_of(checkpoint), tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {*CHECKPOINT_FILES, "manifest.json"}
    for name in CHECKPOINT_FILES:
        assert (tmp_path / "copy" / name).read_bytes() == (checkpoint / name).read_bytes(), name
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    weights_entry = next(file for file in manifest["files"] if file["path"] == "model.safetensors")
    assert weights_entry["sha256"] == SMALL_WEIGHTS
    # What was copied stays what it was when the folder is trained on.
    (checkpoint / "config.json").write_text("{}")
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["num_hidden_layers"] == 1


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (["artifact.metadata"], "has no artifact.metadata, so it is an encoder that ColBERT has not trained"),
        (["config.json"], "has no config.json"),
        (["model.safetensors"], "has no weights (model.safetensors or pytorch_model.bin)"),
        (["tokenizer.json", "vocab.txt"], "has no tokenizer (tokenizer.json or vocab.txt)"),
    ],
)
def test_a_folder_that_lacks_a_file_is_no_checkpoint(
    checkpoint: Path, tmp_path: Path, removed: list[str], message: str
) -> None:
    for name in removed:
        (checkpoint / name).unlink()
    with pytest.raises(InputError) as raised:
        copy_checkpoint(settings_of(checkpoint), tmp_path / "copy")
    assert str(raised.value).startswith(f"{checkpoint}: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("name", ["model.safetensors", "artifact.metadata", "config.json"])
def test_a_file_that_is_cut_off_is_named(checkpoint: Path, tmp_path: Path, name: str) -> None:
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"checkpoint: {name} is cut off or damaged"):
        copy_checkpoint(settings_of(checkpoint), tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_one_set_of_weights_is_needed() -> None:
    both = ["config.json", "model.safetensors", "pytorch_model.bin", "model.onnx", "README.md"]
    assert needed_files(both) == ["config.json", "model.safetensors"]
    assert needed_files(["pytorch_model.bin", "onnx/config.json"]) == ["pytorch_model.bin"]


HUB_SETTINGS = HubCheckpointSettings(source="hub", repository="colbert-ir/colbertv2.0", revision="main")


def repository_of(checkpoint: Path) -> FakeRepository:
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    return FakeRepository({**files, "pytorch_model.bin": b"pickle", "onnx/config.json": b"{}"})


def test_hub_checkpoint_is_fetched_with_its_commit(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("model", "colbert-ir/colbertv2.0")
    with FakeHub({key: repository_of(checkpoint)}).serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        manifest = fetch_checkpoint(HUB_SETTINGS, tmp_path / "fetched", report=lambda _: None)
        assert manifest["commit"] == "a" * 40
        assert {path.name for path in (tmp_path / "fetched").iterdir()} == {
            *CHECKPOINT_FILES,
            "manifest.json",
        }
        for name in CHECKPOINT_FILES:
            assert (tmp_path / "fetched" / name).read_bytes() == (checkpoint / name).read_bytes(), name
        # A plain encoder is refused before anything is downloaded.
        del hub.repositories[key].files["artifact.metadata"]
        hub.downloads.clear()
        with pytest.raises(InputError, match=r"colbertv2\.0 of the hub: has no artifact\.metadata"):
            fetch_checkpoint(HUB_SETTINGS, tmp_path / "other", report=lambda _: None)
        assert hub.downloads == []
    assert not (tmp_path / "other").exists()
