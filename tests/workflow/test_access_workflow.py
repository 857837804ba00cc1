"""snakemake document_access, the smallest: from documents to a recommendation."""

from __future__ import annotations

import pytest
from checkout import Checkout
from indexscope import schemas
from indexscope.figures import catalog
from indexscope.settings.document_access import LOADERS

pytestmark = pytest.mark.slow


def test_every_training_has_a_row_with_its_outcome(finished_access: Checkout) -> None:
    trainings = finished_access.rows("document_access")
    outcomes = {
        (row["experiment"], row["loader"], row["parallelism"], row["world_size"]): row["outcome"]
        for row in trainings
    }
    assert outcomes == {
        **{("grid", loader, "single", 1): "completed" for loader in LOADERS},
        ("grid", "offset_index", "distributed", 2): "completed",
        ("grid", "in_memory", "distributed", 2): "completed",
        ("grid", "offset_index", "data_parallel", 2): "unsupported",
        ("limited", "in_memory", "distributed", 1): "completed",
        ("limited", "in_memory", "distributed", 2): "out_of_memory_host",
    }
    (unsupported,) = [row for row in trainings if row["outcome"] == "unsupported"]
    assert "CUDA" in unsupported["outcome_detail"] or "GPU" in unsupported["outcome_detail"]


def test_a_step_is_its_parts_and_every_loader_trains_alike(finished_access: Checkout) -> None:
    single = [row for row in finished_access.rows("document_access") if row["parallelism"] == "single"]
    assert len({row["texts_digest"] for row in single}) == len({row["samples_digest"] for row in single}) == 1
    assert len({row["final_loss"] for row in single}) == 1
    parts = ["wait", "host_to_device", "forward", "backward", "communication", "optimiser"]
    for row in single:
        total = sum(row[f"{part}_seconds"] for part in parts)
        assert 0 < total <= row["step_seconds"] * 1.001
        assert row["fetch_seconds"] + row["tokenise_seconds"] <= row["wait_seconds"] * 1.001
        assert row["samples_per_second"] < row["samples_per_second_after_fetch"]
        assert row["tree_pss_mib"] <= row["tree_peak_rss_mib"]


def test_the_memory_model_knows_who_fits(finished_access: Checkout) -> None:
    fits, passes = sorted(
        (row for row in finished_access.rows("document_access") if row["experiment"] == "limited"),
        key=lambda row: row["world_size"],
    )
    assert fits["predicted_mib"] < fits["memory_limit_mib"] < passes["predicted_mib"]
    assert fits["tree_peak_rss_mib"] == pytest.approx(fits["predicted_mib"], rel=0.10)


def test_every_table_and_figure_is_there(finished_access: Checkout) -> None:
    for name in schemas.DOCUMENT_TABLES:
        assert finished_access.rows(name), name
    figures = finished_access.path / "results/figures"
    for name in catalog.DOCUMENT_FIGURES:
        for suffix in ("svg", "html", "csv"):
            assert (figures / f"{name}.{suffix}").stat().st_size > 100
    page = (finished_access.path / "results/document_access.html").read_text()
    recommended = [row for row in finished_access.rows("document_advice") if row["rank"] == 1]
    assert recommended
    assert recommended[0]["loader"].replace("_", " ") in page or recommended[0]["loader"] in page


def test_a_rerun_finds_nothing_to_do(finished_access: Checkout) -> None:
    assert finished_access.planned("document_access", "--configfile", "config/smoke.yaml") == {}
