"""What was alive at the peaks of real runs: it adds up, and what the study could not see has a name."""

from __future__ import annotations

import json
import math
from itertools import groupby
from typing import Any

import pyarrow.parquet as pq
import pytest
from checkout import Checkout

pytestmark = pytest.mark.slow

SYSTEMS = ["colbert", "ragatouille_faiss_true", "ragatouille_faiss_false"]
Row = dict[str, Any]


def ledger(checkout: Checkout, system: str) -> list[Row]:
    rows = pq.read_table(checkout.path / "results/tables/ledger.parquet").to_pylist()
    return [row for row in rows if row["system"] == system]


def resolved(checkout: Checkout, system: str) -> Row:
    (path,) = checkout.path.glob(f"results/index_runs/{system}-*/120/ledger/1/run.json")
    record: Row = json.loads(path.read_text())
    assert record["outcome"] == "completed"
    return record["resolved"]


def tensors(rows: list[Row], function: str) -> list[Row]:
    return [
        row
        for row in rows
        if row["part"] == "tensors" and (row["function"] or "").rpartition(".")[2] == function
    ]


def elements(row: Row) -> int:
    return math.prod(json.loads(row["shape"]))


@pytest.mark.parametrize("system", SYSTEMS)
def test_parts_add_up_at_every_moment(finished: Checkout, system: str) -> None:
    rows = [row for row in ledger(finished, system) if row["device"] == "cpu"]
    moments = {moment: list(group) for moment, group in groupby(rows, key=lambda row: row["moment"])}
    assert {"tree peak", "planning", "training", "encoding", "finalizing"} <= set(moments)
    for parts in moments.values():
        (tree,) = {row["tree_rss_mib"] for row in parts}
        assert sum(row["mib"] for row in parts) == pytest.approx(tree, abs=0.1)


@pytest.mark.parametrize("system", SYSTEMS)
def test_nearly_all_of_the_trees_peak_is_attributed(finished: Checkout, system: str) -> None:
    rows = [row for row in ledger(finished, system) if row["moment"] == "tree peak"]
    unexplained = [row["mib"] for row in rows if row["part"] == "unexplained"]
    assert abs(sum(unexplained)) <= 0.05 * rows[0]["tree_rss_mib"]
    assert sum(abs(mib) for mib in unexplained) <= 0.05 * rows[0]["tree_rss_mib"]
    for row in rows:
        assert row["part"] == "unexplained" or row["mib"] > 0
        assert (row["evidence"] == "inferred") == (row["part"] == "retained by the allocator")
        assert row["basis"]
    named = {row["part"] for row in rows}
    assert named >= {"libraries and files", "imported modules", "model weights", "corpus", "other processes"}


def test_processes_of_colbert_are_told_apart(finished: Checkout) -> None:
    rows = [row for row in ledger(finished, "colbert") if row["moment"] == "tree peak"]
    assert {"parent", "worker", "manager"} <= {row["role"] for row in rows}
    weights = {row["role"] for row in rows if row["part"] == "model weights"}
    assert "worker" in weights


@pytest.mark.parametrize("system", ["colbert", "ragatouille_faiss_true"])
def test_the_ghost_is_named(finished: Checkout, system: str) -> None:
    """The study's ghost: faiss is given a float32 copy of the sample."""
    made = resolved(finished, system)
    copies = [
        row for row in tensors(ledger(finished, system), "compute_faiss_kmeans") if row["dtype"] == "float32"
    ]
    assert copies
    for row in copies:
        assert elements(row) == made["kmeans_points"] * made["dim"]
        assert row["mib"] == pytest.approx(elements(row) * 4 / 2**20, rel=1e-3)
        assert row["operator"].startswith("aten.")
        assert row["source"].startswith("colbert/indexing/collection_indexer.py:")


def test_the_distance_matrix_is_named(finished: Checkout) -> None:
    made = resolved(finished, "ragatouille_faiss_false")
    assert made["kmeans_backend"] == "torch"
    rows = [row for row in ledger(finished, "ragatouille_faiss_false") if row["moment"] == "training"]
    wanted = made["kmeans_points"] * made["partitions"]
    matrices = [row for row in rows if row["part"] == "tensors" and elements(row) == wanted]
    assert matrices
    assert {row["dtype"] for row in matrices} <= {"float32", "float16"}
    assert all(row["source"] and row["function"] and row["operator"] for row in matrices)
    assert max(row["mib"] for row in rows if row["part"] == "tensors") == max(row["mib"] for row in matrices)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_arrays_of_the_inverted_lists_are_named(finished: Checkout, system: str) -> None:
    made = resolved(finished, system)
    arrays = [
        row
        for row in tensors(ledger(finished, system), "_build_ivf")
        if row["dtype"] == "int64" and elements(row) == made["embeddings"]
    ]
    by_moment = [
        sum(row["blocks"] for row in group) for _, group in groupby(arrays, key=lambda row: row["moment"])
    ]
    assert max(by_moment, default=0) >= 3  # codes, sorted values, indices
    assert all(row["source"].startswith("colbert/indexing/collection_indexer.py:") for row in arrays)


def test_logs_are_gone_and_other_profilers_write_none(finished: Checkout) -> None:
    runs = [path.parent for path in finished.path.glob("results/index_runs/*/*/*/*/run.json")]
    assert runs
    for run in runs:
        assert not (run / "ledger").exists()
        assert ((run / "ledger.jsonl").stat().st_size > 0) == (run.parent.name == "ledger")
