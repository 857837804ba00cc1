"""Fetching alone and at scale, for real: every loader in fresh processes, and a collection made for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from indexscope import schemas
from indexscope.analysis.document_fetches import fetch_rows
from indexscope.analysis.measured_rows import measured_rows
from indexscope.settings.document_access import LOADERS

pytestmark = pytest.mark.slow
SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def run(program: str, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A collection and the manifest of what is prepared of it."""
    folder = tmp_path_factory.mktemp("fetching")
    collection = folder / "documents.jsonl"
    rows = [
        {"document_id": f"d/{number} é", "text": "\t\r\n".join(["wörd"] * number)} for number in range(60)
    ]
    collection.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), newline="")
    run("prepare_documents.py", collection, "--loaders", *LOADERS, "--output", folder / "sources")
    return collection, folder / "sources" / "manifest.json"


def settings(**changes: Any) -> str:
    return json.dumps(
        {
            "loaders": LOADERS, "orders": ["random", "sequential"], "caches": ["warm"], "repeats": 1, "fetches": 40,
            "documents": 60, "seed": 7, "timeout_seconds": 120, "lock_digest": "00000000", **changes,
        }
    )  # fmt: skip


def test_every_loader_fetches_the_same_bytes(prepared: tuple[Path, Path], tmp_path: Path) -> None:
    collection, manifest = prepared
    output = tmp_path / "fetches.jsonl"
    done = run(
        "measure_fetches.py", "--settings", settings(), "--collection", collection, "--sources", manifest,
        "--output", output,
    )  # fmt: skip
    assert "10 of 10" in done.stdout
    rows = list(fetch_rows([output]))
    assert {row["outcome"] for row in rows} == {"completed"}
    assert {(row["loader"], row["order"]) for row in rows} == {
        (loader, order) for loader in LOADERS for order in ("random", "sequential")
    }
    assert len({row["texts_digest"] for row in rows}) == 2  # one for each order
    assert all(row["fetches"] == 40 and row["cached_fraction_start"] == 1.0 for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["fetches.jsonl"]


def test_a_loader_that_fails_is_a_row(prepared: tuple[Path, Path], tmp_path: Path) -> None:
    collection, manifest = prepared
    lacking = json.loads(manifest.read_text())
    del lacking["loaders"]["arrow"]
    other = tmp_path / "sources" / "manifest.json"
    other.parent.mkdir()
    other.write_text(json.dumps(lacking))
    output = tmp_path / "fetches.jsonl"
    run(
        "measure_fetches.py", "--settings", settings(loaders=["arrow", "in_memory"], orders=["random"]),
        "--collection", collection, "--sources", other, "--output", output,
    )  # fmt: skip
    failed, completed = sorted(fetch_rows([output]), key=lambda row: row["loader"])
    assert (failed["outcome"], completed["outcome"]) == ("failed", "completed")
    assert "loaders: arrow is missing" in failed["outcome_detail"]
    assert failed.get("p50_us") is None


def test_the_offset_index_of_a_larger_collection(tmp_path: Path) -> None:
    output = tmp_path / "scale.jsonl"
    asked_for = {
        "documents": 5000, "words": 10, "fetches": 300, "rounds": 2, "ir_datasets_documents": 500, "seed": 7,
        "lock_digest": "00000000",
    }  # fmt: skip
    run("measure_document_scale.py", "--settings", json.dumps(asked_for), "--output", output)
    rows = list(measured_rows([output], schemas.DOCUMENT_SCALE, "measure_document_scale.py"))
    built = {(row["way"], row["documents"]): row for row in rows if row["step"] == "build"}
    assert set(built) == {("offset_index", 500), ("offset_index", 5000), ("ir_datasets", 500)}
    assert 8 <= built["offset_index", 5000]["index_bytes_per_document"] < 32
    fetched = [row for row in rows if row["step"] == "fetch"]
    assert {(row["way"], row["documents"]) for row in fetched} == {
        ("pread", 5000), ("offset_index", 5000), ("pread", 500), ("offset_index", 500), ("ir_datasets", 500),
    }  # fmt: skip
    assert {row["round"] for row in fetched} == {1, 2}
    for documents in (500, 5000):  # the same texts, whichever way
        assert len({row["texts_digest"] for row in fetched if row["documents"] == documents}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["scale.jsonl"]
