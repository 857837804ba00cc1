"""From where an unfinished PLAID index is gone on with, on made-up files: what is kept, what goes, and why."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from indexscope.frameworks import plaid_resume

CHUNKS, PARTITIONS, DIM, NBITS = 3, 8, 16, 2
PASSAGES, EMBEDDINGS = 4, 10  # of a chunk
DOCLENS = [1, 2, 3, 4]
CODEC = ["plan", "codec"]
ALL = [*CODEC, "chunk 0", "chunk 1", "chunk 2"]


def save(path: Path, *tensors: bytes) -> None:
    """As torch.save writes it: uncompressed members, a pickle and each tensor's values."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", b"\x80\x02.")
        for number, values in enumerate(tensors):
            archive.writestr(f"{path.stem}/data/{number}", values)
        archive.writestr(f"{path.stem}/version", "3\n")


def write_chunk(folder: Path, chunk: int, **metadata: Any) -> None:
    save(folder / f"{chunk}.codes.pt", bytes(range(4 * EMBEDDINGS)))
    save(folder / f"{chunk}.residuals.pt", bytes(range(EMBEDDINGS * DIM * NBITS // 8)))
    (folder / f"doclens.{chunk}.json").write_text(json.dumps(DOCLENS))
    counts = {"passage_offset": PASSAGES * chunk, "num_passages": PASSAGES, "num_embeddings": EMBEDDINGS}
    (folder / f"{chunk}.metadata.json").write_text(json.dumps({**counts, **metadata}))


def write_plan(folder: Path) -> None:
    estimates = {"num_embeddings_est": 30.0, "avg_doclen_est": 2.5}
    counts = {"num_chunks": CHUNKS, "num_partitions": PARTITIONS}
    (folder / "plan.json").write_text(
        json.dumps({"config": {"dim": DIM, "nbits": NBITS}, **counts, **estimates})
    )


def write_codec(folder: Path) -> None:
    save(folder / "centroids.pt", bytes(PARTITIONS * DIM * 2))
    save(folder / "buckets.pt", bytes(12), bytes(16))
    save(folder / "avg_residual.pt", bytes(4))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """An index that was ended before its IVF."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_plan(folder)
    write_codec(folder)
    for chunk in range(CHUNKS):
        write_chunk(folder, chunk)
    return folder


def tidied(folder: Path) -> tuple[str, list[str], list[str]]:
    resumed = plaid_resume.tidy(str(folder))
    assert resumed is not None
    return resumed["from"], resumed["kept"], resumed["redone"]


def test_where_nothing_is_there_is_nothing_to_resume(tmp_path: Path) -> None:
    assert plaid_resume.tidy(str(tmp_path)) is None
    assert plaid_resume.tidy(str(tmp_path / "none")) is None


def test_what_is_whole_is_kept_untouched(whole: Path) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    assert tidied(whole) == ("IVF", ALL, [])
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before


def test_the_ivf_and_what_is_beside_the_index_is_always_made_again(whole: Path) -> None:
    kept = {path.name for path in whole.iterdir()}
    for name in ("ivf.pid.pt", "metadata.json", "collection.json", "pid_docid_map.json"):
        (whole / name).write_text("{}")
    assert tidied(whole) == ("IVF", ALL, ["IVF"])
    assert {path.name for path in whole.iterdir()} == kept


def test_a_plan_without_a_codec_is_made_again_with_its_sample(tmp_path: Path) -> None:
    """colbert-ai issue 398."""
    write_plan(tmp_path)
    (tmp_path / "sample.0.pt").write_bytes(b"x")
    assert tidied(tmp_path) == ("plan", [], ["plan (without a codec)"])
    assert list(tmp_path.iterdir()) == []


def test_a_sample_without_a_plan_goes(tmp_path: Path) -> None:
    (tmp_path / "sample.0.pt").write_bytes(b"x")
    assert tidied(tmp_path) == ("plan", [], ["plan (incomplete)"])
    assert list(tmp_path.iterdir()) == []


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Change one byte of the values; the archive can still be read."""
    content = path.read_bytes()
    place = content.index(b"/data/0") + len(b"/data/0")
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("damage", [cut_off, empty, flip])
@pytest.mark.parametrize("name", ["centroids.pt", "buckets.pt", "avg_residual.pt"])
def test_a_damaged_codec_is_made_again_and_all_that_was_made_with_it(
    whole: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(whole / name)
    assert tidied(whole) == ("plan", [], ["plan (without a codec)", f"codec (damaged: {name})"])
    assert list(whole.iterdir()) == []


def test_a_codec_of_another_plan_is_made_again(whole: Path) -> None:
    save(whole / "centroids.pt", bytes(PARTITIONS * DIM * 4))
    assert tidied(whole)[0] == "plan"


def test_a_codec_that_was_being_written_is_made_again(whole: Path) -> None:
    (whole / "avg_residual.pt").unlink()
    assert tidied(whole) == ("plan", [], ["plan (without a codec)", "codec (incomplete)"])


@pytest.mark.parametrize("damage", [cut_off, empty])
def test_a_damaged_plan_is_made_again(whole: Path, damage: Callable[[Path], None]) -> None:
    damage(whole / "plan.json")
    assert tidied(whole) == ("plan", [], ["plan (incomplete)"])
    assert list(whole.iterdir()) == []


def test_chunks_that_were_not_begun_are_no_redone_work(whole: Path) -> None:
    for name in plaid_resume.chunk_files(2):
        (whole / name).unlink()
    assert tidied(whole) == ("chunk 2", ALL[:-1], [])


@pytest.mark.parametrize("written", [1, 2, 3])
def test_a_chunk_that_was_being_written_is_made_again(whole: Path, written: int) -> None:
    for name in plaid_resume.chunk_files(2)[written:]:
        (whole / name).unlink()
    assert tidied(whole) == ("chunk 2", ALL[:-1], ["chunk 2 (incomplete)"])
    assert not any((whole / name).exists() for name in plaid_resume.chunk_files(2))


@pytest.mark.parametrize("damage", [cut_off, empty])
@pytest.mark.parametrize("number", range(4))
def test_a_damaged_chunk_is_made_again_and_no_other(
    whole: Path, number: int, damage: Callable[[Path], None]
) -> None:
    name = plaid_resume.chunk_files(1)[number]
    damage(whole / name)
    assert tidied(whole) == (
        "chunk 1",
        [stage for stage in ALL if stage != "chunk 1"],
        [f"chunk 1 (damaged: {name})"],
    )
    assert not any((whole / each).exists() for each in plaid_resume.chunk_files(1))
    assert all((whole / each).exists() for each in plaid_resume.chunk_files(2))


def test_a_changed_byte_is_found(whole: Path) -> None:
    flip(whole / "1.residuals.pt")
    assert tidied(whole)[2] == ["chunk 1 (damaged: 1.residuals.pt)"]


@pytest.mark.parametrize(
    ("metadata", "damaged"),
    [
        ({"num_embeddings": EMBEDDINGS + 1}, "doclens.1.json"),
        ({"num_passages": PASSAGES - 1}, "doclens.1.json"),
        ({"passage_offset": 0}, "1.metadata.json"),
        ({"num_passages": None}, "1.metadata.json"),
        ({"num_passages": True}, "1.metadata.json"),
    ],
)
def test_files_of_a_chunk_that_contradict_each_other_are_made_again(
    whole: Path, metadata: dict[str, Any], damaged: str
) -> None:
    write_chunk(whole, 1, **metadata)
    assert tidied(whole)[2] == [f"chunk 1 (damaged: {damaged})"]


@pytest.mark.parametrize(("name", "size"), [("codes", 4 * EMBEDDINGS - 4), ("residuals", EMBEDDINGS * DIM)])
def test_tensors_of_another_size_than_the_metadata_say_are_made_again(
    whole: Path, name: str, size: int
) -> None:
    save(whole / f"0.{name}.pt", bytes(size))
    assert tidied(whole) == ("chunk 0", [*CODEC, "chunk 1", "chunk 2"], [f"chunk 0 (damaged: 0.{name}.pt)"])


def test_the_stage_that_is_being_made(tmp_path: Path) -> None:
    def stage() -> str | None:
        return plaid_resume.stage(str(tmp_path / "index"))

    assert stage() is None
    folder = tmp_path / "index"
    folder.mkdir()
    assert stage() == "plan"
    write_plan(folder)
    assert stage() == "codec"
    write_codec(folder)
    assert stage() == "chunk 0"
    write_chunk(folder, 0)
    assert stage() == "chunk 1"
    save(folder / "1.codes.pt", b"x")
    assert stage() == "chunk 1"
    (folder / "ivf.pid.pt").touch()
    assert stage() == "IVF"


def test_whether_there_is_a_codec(whole: Path) -> None:
    assert plaid_resume.has_codec(str(whole))
    cut_off(whole / "buckets.pt")
    assert not plaid_resume.has_codec(str(whole))
    assert not plaid_resume.has_codec(str(whole / "none"))
