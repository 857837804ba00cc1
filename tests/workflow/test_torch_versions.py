"""torch_versions for real: two versions of PyTorch, on the CPU, and a third that cannot be installed."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as pq
import pytest
from checkout import Checkout
from indexscope import schemas
from indexscope.figures.catalog import TORCH_FIGURES

pytestmark = pytest.mark.slow

LEFT, RIGHT, MISSING = "2.0.1", "2.1.0", "9.9.9"
FINAL = {
    *("codes", "residuals", "doclens", "centroids", "avg_residual", "bucket_cutoffs", "bucket_weights"),
    *("ivf", "ivf_lengths"),
}


def rows(checkout: Checkout, name: str, **where: Any) -> list[dict[str, Any]]:
    read = pq.read_table(checkout.path / f"results/tables/{name}.parquet").to_pylist()
    return [row for row in read if all(row[column] == value for column, value in where.items())]


@pytest.mark.parametrize("name", schemas.TORCH_TABLES)
def test_every_table_has_rows_of_its_schema(compared_versions: Checkout, name: str) -> None:
    read = pq.read_table(compared_versions.path / f"results/tables/{name}.parquet")
    assert read.schema.equals(schemas.TABLES[name])
    assert read.num_rows > 0


def test_a_second_start_has_nothing_to_do(compared_versions: Checkout) -> None:
    assert compared_versions.planned("torch_versions", "--configfile", "my.yaml") == {}


def test_a_version_repeated_makes_equal_artifacts(compared_versions: Checkout) -> None:
    for version in (LEFT, RIGHT):
        floor = rows(compared_versions, "torch_artifacts", kind="repeat", left_version=version)
        assert {row["stage"] for row in floor} == {"planning", "training", "encoding", "finalizing", "final"}
        assert {row["verdict"] for row in floor} == {"equal"}


def test_the_versions_make_different_artifacts(compared_versions: Checkout) -> None:
    pair = rows(
        compared_versions,
        "torch_artifacts",
        kind="versions",
        left_version=LEFT,
        right_version=RIGHT,
        compared_as="as stored",
    )
    differing = {row["name"] for row in pair if not row["exact"]}
    assert {"local_sample_embs", "embs", "prenorm_centroids", "centroids", "residuals"} <= differing
    # Made before anything is encoded, or of lengths alone.
    assert not differing & {"sample_pids", "num_passages", "tensorize_output", "doclens", "kmeans_arguments"}
    embeddings = [row for row in pair if row["name"] == "embs"]
    assert all(0 < row["max_absolute_difference"] < 1e-5 for row in embeddings)


def test_the_first_operator_is_found_whatever_the_tokens(compared_versions: Checkout) -> None:
    cases = rows(
        compared_versions, "torch_divergence", left_version=LEFT, right_version=RIGHT, precision="float32"
    )
    encoded = [case for case in cases if case["input"] != "index"]
    assert len(encoded) > 10
    assert {case["verdict"] for case in encoded} == {"diverges"}
    guilty = {name for case in encoded for name in case["guilty"].split(", ")}
    # Known from elsewhere (hashes of single operators on another machine): softmax and gelu, and no other.
    assert guilty == {"aten.softmax.int", "aten.gelu.default"}
    for version in (LEFT, RIGHT):
        floor = rows(
            compared_versions,
            "torch_divergence",
            left_version=version,
            right_version=version,
            verdict="diverges",
        )
        assert floor == []


def test_what_each_injection_makes_equal(compared_versions: Checkout) -> None:
    injections = {
        row["injected"]: row
        for row in rows(compared_versions, "torch_injections", left_version=LEFT, right_version=RIGHT)
    }
    assert injections[""]["verdict"] == "some differ"
    assert injections["local_sample_embs + embs"]["verdict"] == "all equal"
    assert injections["local_sample_embs + embs"]["equal"] == len(FINAL)
    smallest = [name for name, row in injections.items() if row["smallest"]]
    assert smallest and "" not in smallest


def test_search_is_compared_on_three_indexes(compared_versions: Checkout) -> None:
    found = rows(compared_versions, "torch_search", left_version=LEFT, right_version=RIGHT)
    assert {row["comparison"] for row in found} == {"own index", "index of left", "index of right"}
    assert {row["measure"] for row in found} == {"Recall@10", "MRR@10", "nDCG@10"}
    for row in found:
        assert row["queries"] == 200
        # Known items, by their own words: far better than chance (10 of 1,000 passages).
        assert row["left_mean"] > 0.2
        assert row["increased"] + row["equal"] + row["decreased"] == 200


def test_a_version_that_cannot_be_had_is_a_row_and_the_others_go_on(compared_versions: Checkout) -> None:
    (row,) = rows(compared_versions, "torch_environments", version=MISSING)
    assert row["outcome"] == "failed"
    assert "torch-9.9.9.yaml could not be built: " in row["detail"]
    runs = rows(compared_versions, "torch_runs", environment="torch-9.9.9")
    assert {run["outcome"] for run in runs} == {"failed"}
    assert {run["outcome_detail"] for run in runs} == {row["detail"]}
    others = [run for run in rows(compared_versions, "torch_runs") if run["environment"] != "torch-9.9.9"]
    assert {run["outcome"] for run in others} == {"completed"}
    artifacts = rows(compared_versions, "torch_artifacts", right_version=MISSING)
    assert {artifact["verdict"] for artifact in artifacts} == {"run failed"}
    assert {
        case["verdict"] for case in rows(compared_versions, "torch_divergence", right_version=MISSING)
    } == {"failed"}
    searches = rows(compared_versions, "torch_search", right_version=MISSING)
    assert {search["verdict"] for search in searches} == {"search failed"}


def test_what_decides_the_arithmetic_is_recorded(compared_versions: Checkout) -> None:
    for version in (LEFT, RIGHT):
        (row,) = rows(compared_versions, "torch_environments", version=version)
        assert row["torch_build"].startswith(version)
        assert row["threads"] == 1
        assert row["cpu_capability"] and row["mkl"] and row["onednn"].startswith("v")
        assert "sse2" in row["cpu_flags"].split()


def test_figures_and_page_are_there(compared_versions: Checkout) -> None:
    page = (compared_versions.path / "results/torch_versions.html").read_text()
    for name in TORCH_FIGURES:
        for suffix in ("svg", "html", "csv"):
            assert (compared_versions.path / f"results/figures/{name}.{suffix}").stat().st_size > 0
        assert name in page
    assert "9.9.9" in page


def test_a_second_experiment_gives_the_same(compared_versions: Checkout) -> None:
    """Recorded, replayed, indexed and searched anew, what tables are made of is the same byte for byte."""
    files = [f"replays/{LEFT}-in-{RIGHT}.jsonl", f"searches/{RIGHT}-by-{RIGHT}.jsonl"]
    again = "results/campaigns/again/torch_versions"
    targets = [f"{again}/{name}" for name in files]
    compared_versions.snakemake(*targets, "--configfile", "my.yaml", "--config", "campaign=again")
    for name in files:
        first = compared_versions.path / "results/torch_versions" / name
        assert first.read_bytes() == (compared_versions.path / again / name).read_bytes(), name


def test_dumps_have_unique_keys_and_hashes(compared_versions: Checkout) -> None:
    (run,) = (compared_versions.path / "results/index_runs").glob("torch_2_0_1-*/1000/dumps/1")
    lines = [json.loads(line) for line in (run / "dumps/dumps.jsonl").read_text().splitlines()]
    keys = [(line["stage"], line["chunk"], line["call"], line["name"]) for line in lines]
    assert len(set(keys)) == len(keys) > 30
    assert all((run / "dumps" / line["tensor_file"]).exists() for line in lines)
