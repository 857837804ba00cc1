"""snakemake remote_indexing, the smallest: from two PDFs to indexes that are searched, and what they cost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from checkout import ENVIRONMENTS, Checkout

pytestmark = pytest.mark.slow

SYSTEMS = {"ragatouille_pdfs", "colbert_pdfs"}


def test_every_page_of_the_sample_is_a_document(finished_remote: Checkout) -> None:
    pages = finished_remote.rows("remote_pages")
    assert len(pages) == 12
    assert {page["outcome"] for page in pages} == {"text"}
    assert {page["document_id"] for page in pages} == {
        f"{page['file']}#page={page['page']}" for page in pages
    }


def test_both_systems_index_the_same_passages(finished_remote: Checkout) -> None:
    runs = finished_remote.rows("remote_runs")
    assert {run["system"] for run in runs} == SYSTEMS
    assert {run["outcome"] for run in runs} == {"completed"}
    assert {run["documents"] for run in runs} == {12}
    assert len({run["passages"] for run in runs}) == 1
    assert {run["attempt"] for run in runs} == {1}


def test_what_is_found_leads_to_file_and_page(finished_remote: Checkout) -> None:
    results = finished_remote.rows("remote_results")
    assert {result["system"] for result in results} == SYSTEMS
    for result in results:
        assert result["document_id"] == f"{result['file']}#page={result['page']}"
        assert result["passage"].strip()
    searches = finished_remote.rows("remote_searches")
    assert {search["outcome"] for search in searches} == {"completed"}
    # A query of a page's own words finds that page more often than chance does (k of the passages).
    assert all(search["found_in_k"] > 0.3 for search in searches)
    # One at a time or together, once or again: the same is found.
    for system in SYSTEMS:
        assert len({search["results_digest"] for search in searches if search["system"] == system}) == 1


def test_the_indexes_load_in_both_libraries(finished_remote: Checkout) -> None:
    loads = finished_remote.rows("remote_loads")
    assert {(load["system"], load["library"]) for load in loads} == {
        (system, library) for system in SYSTEMS for library in ("colbert-ai", "ragatouille")
    }
    assert all(load["loads"] and load["same_results"] for load in loads), loads


def test_the_cost_was_said_before_and_is_said_after(finished_remote: Checkout) -> None:
    costs = finished_remote.rows("remote_costs")
    for system in SYSTEMS:
        of_system = [cost for cost in costs if cost["system"] == system and cost["device"] == "cpu"]
        assert sorted(cost["moment"] for cost in of_system) == ["actual", "estimated"]
    estimate = finished_remote.path / "results/remote_indexing/estimate.json"
    runs = (finished_remote.path / "results/remote_indexing/runs").glob("*/all/spans/1/run.json")
    assert all(estimate.stat().st_mtime < run.stat().st_mtime for run in runs)
    gpus = finished_remote.rows("remote_gpus")
    assert {row["case"] for row in gpus} == {"this configuration", "the published recipe"}


def test_a_rerun_finds_nothing_to_do(finished_remote: Checkout) -> None:
    done = finished_remote.snakemake("remote_indexing", "--configfile", "config/smoke.yaml")
    assert "Nothing to be done" in done.stdout


def test_an_index_is_searched_by_hand(finished_remote: Checkout) -> None:
    (run,) = finished_remote.path.glob("results/remote_indexing/runs/ragatouille_pdfs-*/all/spans/1")
    document = json.loads(
        next(finished_remote.path.glob("results/slices/pdfs-*/all.jsonl")).read_text().splitlines()[3]
    )
    query = " ".join(document["text"].split()[:12])
    program = finished_remote.path / "workflow/scripts/search_index.py"
    command = [sys.executable, str(program), str(run), query, "-k", "3", "--json", "--verify"]
    done = subprocess.run(
        [*command, "--conda-prefix", str(ENVIRONMENTS)],
        cwd=finished_remote.path,
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert document["document_id"] in {result["document_id"] for result in found["results"]}
