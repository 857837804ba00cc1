"""`snakemake published_figures` needs no run, and takes the study's logs from where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkout import Checkout
from profiler_logs import reference_logs

FRAMEWORKS = {"index_collection", "compile_extensions", "make_checkpoint", "slice_dataset", "split_documents"}


def test_the_plan_has_no_run(checkout: Checkout) -> None:
    jobs = checkout.planned("published_figures")
    assert jobs == {
        "check_published": 1,
        "plot_published": 2,
        "published_figures": 1,
        "tabulate_external_logs": 1,
    }


def test_the_logs_of_the_study_are_downloaded_and_drawn(checkout: Checkout) -> None:
    jobs = checkout.planned("published_figures", "--configfile", "config/published_logs.yaml")
    assert jobs["fetch_external_log"] == 9
    assert jobs["plot_published"] == 3
    assert not FRAMEWORKS & jobs.keys()


def test_external_logs_are_tabulated_with_our_runs(checkout: Checkout) -> None:
    (checkout.path / "a log.txt").write_text("Filename: x\n")
    example = "external_logs: [{log: 'a ?og.txt', system: x, documents: 1, machine: y}]\n"
    (checkout.path / "my.yaml").write_text(example)
    printed = checkout.snakemake("--dry-run", "--printshellcmds", "tables", "--configfile", "my.yaml").stdout
    assert "external_logs.parquet" in printed
    assert '"path": "a log.txt"' in printed
    (checkout.path / "my.yaml").write_text(example.replace("?og", "missing"))
    done = checkout.snakemake("--dry-run", "--configfile", "my.yaml", check=False)
    assert done.returncode != 0
    assert "external_logs[0].log: no file matches 'a missing.txt'" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_a_run_from_a_local_folder(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the analysis environment is built, and no network is asked."""
    monkeypatch.setenv("INDEXSCOPE_EXTERNAL_LOGS", str(reference_logs()[0].parent))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    arguments = ["published_figures", "--configfile", "config/published_logs.yaml"]
    checkout.snakemake(*arguments)
    made: Path = checkout.path / "results/published"
    assert "the log is at hand for 8" in (made / "study.md").read_text()
    assert len(list(made.glob("*.svg"))) == 3
    assert checkout.planned(*arguments) == {}
