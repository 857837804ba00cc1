"""snakemake faiss_tables, the smallest: from vectors to the page."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from checkout import Checkout
from indexscope import schemas
from indexscope.figures import catalog

pytestmark = pytest.mark.slow


def test_every_cell_has_a_row_and_the_formula_holds(finished_faiss: Checkout) -> None:
    measured = finished_faiss.rows("faiss_memory")
    assert len(measured) == 3 * 2 * 2 * 3  # index types, metrics, numbers of segments, load modes
    assert {row["outcome"] for row in measured} == {"completed"}
    for row in measured:
        if row["segments"] == 20 and row["load_mode"] != "shared":
            # Segments are a tenth of the default's: the process's own noise weighs more.
            assert row["measured_mib"] == pytest.approx(row["formula_mib"], rel=0.05, abs=0.2), row
    ivf_pq = {
        row["load_mode"]: row["measured_mib"]
        for row in measured
        if (row["index_type"], row["metric"], row["segments"]) == ("ivf_pq", "l2", 20)
    }
    table = 4 * 64 * 8 * 2**8 / 2**20
    assert ivf_pq["default"] - ivf_pq["skip"] == pytest.approx(20 * table, rel=0.05)
    assert ivf_pq["shared"] - ivf_pq["skip"] == pytest.approx(table, abs=0.3)


def test_every_table_and_figure_is_there(finished_faiss: Checkout) -> None:
    for name in schemas.FAISS_TABLES:
        assert finished_faiss.rows(name), name
    figures = finished_faiss.path / "results/figures"
    for name in catalog.FAISS_FIGURES:
        for suffix in ("svg", "html", "csv"):
            assert (figures / f"{name}.{suffix}").stat().st_size > 200
    page = (finished_faiss.path / "results/faiss_tables.html").read_text()
    assert all(name in page for name in catalog.FAISS_FIGURES)


def test_results_are_equal_in_all_modes(finished_faiss: Checkout) -> None:
    digests: dict[tuple[Any, ...], set[str]] = {}
    for row in finished_faiss.rows("faiss_memory"):
        key = (row["index_type"], row["metric"], row["segments"])
        digests.setdefault(key, set()).add(row["results_digest"])
    assert len(digests) == 12
    assert all(len(found) == 1 for found in digests.values())


def test_a_rerun_finds_nothing_to_do(finished_faiss: Checkout) -> None:
    assert finished_faiss.planned("faiss_tables", "--configfile", "config/smoke.yaml") == {}


def test_a_truncated_segment_is_a_sentence_and_nothing_is_written(
    finished_faiss: Checkout, faiss_python: Path
) -> None:
    path = finished_faiss.path
    (folder,) = path.glob("results/faiss_segments/ivf_pq-l2-20-*")
    segment = folder / "segment-000.faiss"
    content = segment.read_bytes()
    output = path / "truncated.jsonl"
    asked_for = {"segments": [1], "load_modes": ["default"], "repeats": 1, "memory_limit_mib": None, "threads": 1,
                 "timeout_seconds": 60, "lock_digest": "00000000"}  # fmt: skip
    try:
        segment.write_bytes(content[: len(content) // 2])
        done = subprocess.run(
            [faiss_python, path / "workflow/scripts/measure_faiss_memory.py", "--segments", folder, "--grid", "grid",
             "--settings", json.dumps(asked_for), "--output", output],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        segment.write_bytes(content)
    assert done.returncode == 1
    assert "segment-000.faiss is missing or has not the" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(path.glob("truncated*"))
