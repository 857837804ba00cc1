"""Dry runs: every configuration plans, bad ones are refused in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checkout import Checkout

CONFIGURATIONS = sorted(
    path.name
    for path in (Path(__file__).parents[2] / "config").glob("*.yaml")
    if path.name not in ("functions.yaml",)
)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_configuration_plans(checkout: Checkout, name: str) -> None:
    jobs = checkout.planned("--configfile", f"config/{name}")
    assert jobs["index_collection"] >= 3
    assert jobs["report"] == 1


@pytest.mark.parametrize("target", ["all", "index_memory", "figures", "tables", "index_runs"])
def test_every_target_plans(checkout: Checkout, target: str) -> None:
    assert checkout.planned(target)["index_collection"] == 25


def test_what_measures_the_measuring_plans(checkout: Checkout) -> None:
    """Targets of their own, without an index run of the experiment."""
    accuracy = checkout.planned("accuracy")
    assert accuracy["tabulate_accuracy"] == accuracy["plot_measurement_accuracy"] == 1
    cost = checkout.planned("profiler_cost")
    assert cost["plot_profiler_disturbance"] == 1
    assert "index_collection" not in {*accuracy, *cost}


@pytest.mark.parametrize(
    ("configuration", "runs"),
    # Each version twice, and the injections of each pair.
    [("default", 2 * 2 + 3), ("torch_steps", 6 * 2 + 3 * 4), ("published", 19 * 2 + 18 * 3)],
)
def test_versions_plan(checkout: Checkout, configuration: str, runs: int) -> None:
    jobs = checkout.planned("torch_versions", "--configfile", f"config/{configuration}.yaml")
    assert jobs["index_with_version"] == jobs["dump_artifacts_of_version"] == runs
    assert jobs["report_torch_versions"] == 1
    assert "index_collection" not in jobs and "report" not in jobs


def test_a_version_without_a_lock_is_refused(checkout: Checkout) -> None:
    (checkout.path / "my.yaml").write_text("torch_versions: {versions: [2.0.1, 3.0.0]}\n")
    done = checkout.snakemake("--dry-run", "--configfile", "my.yaml", check=False)
    assert done.returncode != 0
    assert "torch_versions.versions[1]: '3.0.0' has no envs/torch-3.0.0.yaml: write" in done.stdout
    assert "lock_environments.py torch-3.0.0" in done.stdout


def test_workflow_catalog_entry_plans_the_same(checkout: Checkout) -> None:
    jobs = checkout.planned("--snakefile", "workflow/Snakefile")
    assert jobs.pop("everything") == 1
    assert {**jobs, "all": 1} == checkout.planned()


@pytest.mark.parametrize("page", ["README.md", "config/README.md"])
def test_examples_in_the_documentation_plan(checkout: Checkout, page: str) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (checkout.path / page).read_text(), re.DOTALL)
    assert examples
    for example in examples:
        (checkout.path / "example.yaml").write_text(example)
        assert checkout.planned("--configfile", "example.yaml")["index_collection"] > 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bogus: 1", "my.yaml: bogus: there is no such key"),
        (
            "index_memory: {grids: [{sizes: [10, 0], profilers: [none]}]}",
            "my.yaml: index_memory.grids[0].sizes[1]: 0 is not valid: input should be greater than 0",
        ),
        (
            "systems: {colbert: {settings: {nbits: 3}}}",
            "my.yaml: systems.colbert.settings.nbits: 3 is not valid: input should be 1, 2 or 4",
        ),
        (
            "index_memory: {corpus: genomics}",
            "index_memory.corpus: 'genomics' is not defined; known are synthetic",
        ),
    ],
)
def test_bad_configurations_are_refused(checkout: Checkout, text: str, sentence: str) -> None:
    (checkout.path / "my.yaml").write_text(text + "\n")
    done = checkout.snakemake("--dry-run", "--configfile", "my.yaml", check=False)
    assert done.returncode != 0
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout
