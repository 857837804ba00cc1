"""Seals: known hashes, and each way in which an index can differ from its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from indexscope import sealing
from indexscope.run_record import InputError
from searched_index import write_collection, write_index

PROGRAM = Path(__file__).parents[2] / "workflow" / "scripts" / "seal_index.py"
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
EMPTY = hashlib.sha256().hexdigest()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    (folder / "below").mkdir(parents=True)
    (folder / "b.pt").write_bytes(b"abc")
    (folder / "below" / "a.json").write_bytes(b"")
    (folder / ".snakemake_timestamp").write_bytes(b"")
    return folder


def test_a_seal_has_the_hash_of_each_file(index: Path) -> None:
    seal = sealing.seal(index)
    assert seal["files"] == [
        {"path": "b.pt", "bytes": 3, "sha256": ABC},
        {"path": "below/a.json", "bytes": 0, "sha256": EMPTY},
    ]
    assert (seal["count"], seal["bytes"]) == (2, 3)
    assert seal["sha256"] == hashlib.sha256(f"{ABC}  b.pt\n{EMPTY}  below/a.json\n".encode()).hexdigest()


def test_a_file_of_several_blocks(tmp_path: Path) -> None:
    (tmp_path / "large.pt").write_bytes(b"0123456789abcdef" * 200_000)
    (file,) = sealing.seal(tmp_path)["files"]
    assert file["sha256"] == hashlib.sha256(b"0123456789abcdef" * 200_000).hexdigest()
    assert file["bytes"] == 3_200_000


CHANGES: list[tuple[Callable[[Path], object], str, bool]] = [
    (lambda index: (index / "b.pt").write_bytes(b"abd"), "b.pt holds something else", True),
    (lambda index: (index / "b.pt").write_bytes(b"ab"), "b.pt has 2 bytes, .* says 3", False),
    (lambda index: (index / "b.pt").unlink(), "b.pt is missing", False),
    (lambda index: (index / "new.pt").write_bytes(b""), "new.pt is not in .*: it came later", False),
]


@pytest.mark.parametrize(("change", "sentence", "content_only"), CHANGES)
def test_the_first_difference_is_named(
    index: Path, change: Callable[[Path], object], sentence: str, content_only: bool
) -> None:
    sealed = sealing.beside(index)
    sealing.write(index, sealed)
    assert sealing.check(index, sealed)["count"] == 2
    change(index)
    with pytest.raises(InputError, match=sentence):
        sealing.check(index, sealed)
    if content_only:  # sizes cannot tell
        sealing.check(index, sealed, contents=False)
    else:
        with pytest.raises(InputError, match=sentence):
            sealing.check(index, sealed, contents=False)


def test_what_is_no_seal(index: Path, tmp_path: Path) -> None:
    sealed = sealing.beside(index)
    with pytest.raises(InputError, match=r"is missing: write it with seal_index\.py"):
        sealing.check(index, sealed)
    content = sealing.write(index, sealed)
    content["files"][0]["sha256"] = EMPTY
    sealed.write_text(json.dumps(content))
    with pytest.raises(InputError, match="was changed: its files do not give its own sha256"):
        sealing.check(index, sealed)
    with pytest.raises(InputError, match="is in the index that it seals"):
        sealing.write(index, index / "seal.json")
    (tmp_path / "none").mkdir()
    sealing.write(tmp_path / "none", sealed)  # of a run that has another outcome
    with pytest.raises(InputError, match="an index without files"):
        sealing.check(tmp_path / "none", sealed)


def program(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_program_completes_seals_and_checks(tmp_path: Path) -> None:
    run = write_index(tmp_path / "run", tmp_path / "encoder")
    collection = write_collection(tmp_path / "collection.jsonl")
    sealed = run / "index.sha256.json"
    written = program("write", run / "index", "--collection", collection, "--output", sealed)
    assert (written.returncode, written.stderr) == (0, "")
    assert {"collection.json", "pid_docid_map.json", "docid_metadata_map.json"} <= {
        file["path"] for file in json.loads(sealed.read_text())["files"]
    }
    again = program("write", run / "index", "--collection", collection, "--output", sealed)
    assert again.stdout == written.stdout
    assert program("check", run / "index", sealed).stdout == written.stdout
    (run / "index" / "centroids.pt").write_bytes(b"CENTROIDS.PT"[:12])
    differs = program("check", run / "index", sealed)
    assert differs.returncode == 1
    assert differs.stderr.startswith(f"{run / 'index' / 'centroids.pt'} holds something else")
    assert differs.stderr.count("\n") == 1
