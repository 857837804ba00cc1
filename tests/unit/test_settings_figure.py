"""The figure of resolved settings: what differs between systems, whether the fair pair is fair, how runs ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tables
from indexscope.figures import common, files, resolved_settings

FAISS = "ragatouille_faiss_true"
# What tables.run gives RAGatouille.
LIKE_RAGATOUILLE: dict[str, Any] = {
    "passages": 393,
    "nbits": 4,
    "index_bsize": 32,
    "kmeans_iterations": 20,
    "environment": "ragatouille",
    "process_model": "in process",
    "label": "ColBERT, fair",
}


def draw(*runs: tables.Row) -> common.Figure:
    return resolved_settings.draw(tables.frame("runs", runs))


def cell(figure: common.Figure, setting: str, series: str, size: int = 300) -> Any:
    rows = figure.rows
    chosen = rows[(rows["setting"] == setting) & (rows["series"] == series) & (rows["documents"] == size)]
    (row,) = chosen.to_dict("records")
    return row


def test_the_title_counts_and_names_the_settings_that_differ() -> None:
    figure = draw(tables.run("colbert", 300), tables.run(FAISS, 300))
    assert figure.title == (
        "The systems differ in 6 of 15 settings: passages after splitting, bits per dimension, passages per encoder "
        "batch, k-means iterations, process model and environment"
    )
    name = "bits per dimension (nbits)"
    assert cell(figure, name, "ColBERT")["differs"] is False
    assert cell(figure, name, "RAGatouille, use_faiss=True")["differs"] is True
    assert cell(figure, name, "RAGatouille, use_faiss=True")["reference"] == "2"
    assert figure.notes == [
        "",
        "",
        "Published: RAGatouille split 250,000 documents into 327,523 passages (1.31 a document), ColBERT did not "
        "split. Here RAGatouille, use_faiss=True made 1.31 passages a document and ColBERT 1.00: that they were given "
        "unequal work holds at this scale.",
    ]


def test_results_are_shown_and_not_counted_among_the_settings() -> None:
    failed = {"kmeans_attempts": 2, "kmeans_failures": "torch: OutOfMemoryError", "index_size_mib": 9.0}
    figure = draw(tables.run("a", 300), tables.run("b", 300, **failed))
    assert figure.title == "All 2 systems ran with equal settings, all 15 of them"
    assert cell(figure, "failed k-means attempts", "a")["value"] == "none"
    assert cell(figure, "failed k-means attempts", "b")["value"] == "torch: OutOfMemoryError"
    assert cell(figure, "index size (MiB)", "b")["differs"] is True


def test_a_fair_pair_is_fair_only_with_equal_settings() -> None:
    fair = tables.run("colbert_fair", 300, **LIKE_RAGATOUILLE)
    figure = draw(tables.run("colbert", 300), tables.run(FAISS, 300), fair)
    assert figure.notes[0] == (
        "The fair pair, RAGatouille, use_faiss=True and ColBERT, fair, ran with equal settings, all 15 of them."
    )
    unfair = tables.run("colbert_fair", 300, **{**LIKE_RAGATOUILLE, "nbits": 2, "passages": 300})
    figure = draw(tables.run("colbert", 300), tables.run(FAISS, 300), unfair)
    assert figure.notes[0] == (
        "The fair pair, RAGatouille, use_faiss=True and ColBERT, fair, is not fair: it differs in passages after "
        "splitting (393 and 300) and bits per dimension (4 and 2)."
    )


def test_a_fair_pair_that_differs_at_one_size_is_not_fair() -> None:
    at_1000 = {**LIKE_RAGATOUILLE, "passages": 1310}
    figure = draw(
        tables.run(FAISS, 300),
        tables.run(FAISS, 1000),
        tables.run("colbert_fair", 300, **LIKE_RAGATOUILLE),
        tables.run("colbert_fair", 1000, **{**at_1000, "kmeans_backend": "torch"}),
    )
    assert "is not fair: it differs in k-means backend (faiss and torch)." in figure.notes[0]


def test_what_is_not_known_is_neither_equal_nor_different() -> None:
    unknown = {**LIKE_RAGATOUILLE, "partitions": None, "kmeans_points": None}
    figure = draw(tables.run(FAISS, 300), tables.run("colbert_fair", 300, **unknown))
    assert cell(figure, "partitions", "ColBERT, fair")["value"] == "–"
    assert cell(figure, "partitions", "ColBERT, fair")["differs"] is False
    assert figure.notes[0].endswith("all 13 of them but not known for partitions and k-means points.")


def test_a_size_has_a_line_only_where_it_changes_a_value(tmp_path: Path) -> None:
    figure = draw(
        *(tables.run(system, size) for size in (300, 1000) for system in ("colbert", FAISS)),
        tables.run(FAISS, 1000, "spans", outcome="out_of_memory_host", peak=None),
    )
    files.save(figure, tmp_path / "figure")
    texts = (tmp_path / "figure.svg").read_text()
    assert "passages after splitting, 1,000 documents" in texts
    assert "bits per dimension (nbits)," not in texts
    assert ">OOM (host)<" in texts
    assert texts.count(">completed<") == 4
    assert "Outcomes, 1,000 documents" in texts
    assert figure.support == "1 of 5 runs did not complete (1 out of memory (host)), shaded."


def test_completed_runs_say_what_ran_and_others_only_where_none_did() -> None:
    failed = tables.run("colbert", 300, "spans", outcome="killed", partitions=7)
    figure = draw(tables.run("colbert", 300, partitions=512), failed)
    assert cell(figure, "partitions", "ColBERT")["value"] == "512"
    assert cell(draw(failed), "partitions", "ColBERT")["value"] == "7"
    repeats = [tables.run("colbert", 300, repeat=each, embeddings=1000 * each) for each in (1, 2)]
    assert cell(draw(*repeats), "embeddings", "ColBERT")["value"] == "1,000 to 2,000"


@pytest.mark.parametrize(("passages", "words"), [(300, "does not hold"), (301, "holds")])
def test_unequal_work_is_told_from_the_runs(passages: int, words: str) -> None:
    figure = draw(tables.run("colbert", 300), tables.run(FAISS, 300, passages=passages))
    assert figure.notes[2].endswith(f"that they were given unequal work {words} at this scale.")
