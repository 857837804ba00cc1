"""Dry runs: campaigns stay side by side, trends and archives start no index run."""

from __future__ import annotations

from pathlib import Path

import pytest
import tables
from checkout import Checkout
from indexscope import archive, schemas

MEASURING = {"index_collection", "slice_dataset", "make_checkpoint", "compile_extensions", "dump_artifacts"}


def outputs(checkout: Checkout, *arguments: str) -> dict[str, set[str]]:
    """Rule → the files that it makes of all that a target needs."""
    found: dict[str, set[str]] = {}
    for line in checkout.snakemake("--summary", *arguments).stdout.splitlines():
        words = line.split("\t")
        if len(words) > 5 and words[0] != "output_file":
            found.setdefault(words[2], set()).add(words[0])
    return found


def test_two_campaigns_measure_each_and_share_what_is_content_addressed(checkout: Checkout) -> None:
    before = outputs(checkout, "all", "--config", "campaign=before")
    after = outputs(checkout, "all", "--config", "campaign=after")
    assert before.keys() == after.keys()
    for rule in ("slice_dataset", "make_checkpoint", "compile_extensions", "resolve_cell"):
        assert before[rule] == after[rule]
        assert not any("campaigns" in path for path in before[rule])
    for rule in ("index_collection", "tabulate_runs", "plot_peak_memory", "report"):
        assert before[rule]
        assert all(path.startswith("results/campaigns/before/") for path in before[rule])
        assert {path.replace("/before/", "/after/") for path in before[rule]} == after[rule]


def test_a_commit_makes_nothing_run_again(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is in the environment of jobs and in no parameter that Snakemake compares."""
    monkeypatch.setenv("INDEXSCOPE_COMMIT", "fedcba987654")
    printed = checkout.snakemake("--dry-run", "--printshellcmds").stdout
    assert "index_collection" in printed
    assert "fedcba987654" not in printed


@pytest.fixture
def measured(tmp_path: Path) -> Checkout:
    """A checkout with tables of two campaigns and of none, as if they had been measured."""
    copy = Checkout(tmp_path)
    for folder in ("results/campaigns/before", "results/campaigns/after", "results"):
        tables.write(tmp_path / folder / "tables", runs=[tables.run("colbert", 300)])
    return copy


def test_trends_plan_no_run_and_follow_their_tables(measured: Checkout) -> None:
    expected = {"tabulate_trends": 1, "compare_campaigns": 1, "plot_trends": 1, "trends": 1}
    assert measured.planned("trends") == expected
    assert measured.planned("trends", "--config", "campaign=third") == expected

    def command() -> str:
        printed = measured.snakemake("--dry-run", "--printshellcmds", "trends").stdout
        return next(
            line for line in printed.splitlines() if "tabulate_trends.py" in line and "python" in line
        )

    for table in (
        "after=results/campaigns/after/tables/runs.parquet",
        "before=results/campaigns/before/tables/runs.parquet",
        " results/tables/runs.parquet",
    ):
        assert table in command()


def test_trends_plan_without_any_campaign(checkout: Checkout) -> None:
    assert "index_collection" not in checkout.planned("trends")


@pytest.fixture
def archived(measured: Checkout) -> str:
    """An archive, in the checkout, of the tables that are there."""
    folder = measured.path / "results" / "tables"
    sources = {f"tables/{path.name}": path for path in folder.glob("*.parquet")}
    configuration = measured.path / "configuration.yaml"
    configuration.write_text("campaign: null\n")
    archive.write(measured.path / "laptop.zip", sources | {"configuration.yaml": configuration}, {})
    return "laptop.zip"


def test_an_archive_is_unpacked_and_drawn_and_nothing_else(measured: Checkout, archived: str) -> None:
    jobs = measured.planned("all", "--config", f"archive={archived}")
    assert jobs.pop("unpack_archive") == jobs.pop("report") == jobs.pop("all") == 1
    assert "plot_peak_memory" in jobs
    assert all(rule.startswith("plot_") for rule in jobs)
    jobs = measured.planned("figures", "--config", f"archive={archived}")
    assert "report" not in jobs
    assert jobs["unpack_archive"] == 1


def test_figures_without_their_table_are_left_out(measured: Checkout) -> None:
    """An archive of an earlier version, which did not have every table."""
    source = measured.path / "results" / "tables" / "artifact_comparison.parquet"
    schemas.write_table([], schemas.ARTIFACT_COMPARISON, source)
    runs = measured.path / "results" / "tables" / "runs.parquet"
    archive.write(
        measured.path / "old.zip",
        {
            "tables/runs.parquet": runs,
            "tables/artifact_comparison.parquet": source,
            "configuration.yaml": source,
        },
        {},
    )
    jobs = measured.planned("figures", "--config", "archive=old.zip")
    assert "plot_artifact_comparison" in jobs
    assert "plot_memory_over_time" not in jobs


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.zip", None, "none.zip: no such archive; make it with snakemake archive"),
        ("text.zip", b"no zip", "text.zip: is no zip file, or is cut off; make it with snakemake archive"),
    ],
)
def test_a_bad_archive_is_a_sentence(
    checkout: Checkout, name: str, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (checkout.path / name).write_bytes(content)
    done = checkout.snakemake("--dry-run", "--config", f"archive={name}", check=False)
    assert done.returncode != 0
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout
    assert not (checkout.path / "results" / "archives").exists()


def test_making_an_archive_is_planned_behind_the_report(checkout: Checkout) -> None:
    jobs = checkout.planned("archive", "--configfile", "config/smoke.yaml")
    assert jobs["archive"] == jobs["report"] == 1
    assert jobs.keys() >= MEASURING
