"""Where runs are measured elsewhere: the device has to be said, and the network is used only where it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from checkout import REPOSITORY, Checkout

GENERIC = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", "false", "--jobs", "2"]
PROFILES = ["profiles/slurm", "profiles/generic"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("arguments", [GENERIC, ["--workflow-profile", "profiles/generic"]])
def test_device_auto_is_refused_where_a_job_goes_elsewhere(site: Checkout, arguments: list[str]) -> None:
    for more in (["--dry-run"], []):
        done = site.snakemake("index_runs", *arguments, *more, check=False)
        assert done.returncode != 0
        assert "measurement.device is auto, but under --executor cluster-generic" in done.stdout
        assert "--config 'measurement={device: cpu}'" in done.stdout
        assert "Traceback" not in done.stdout


def test_a_device_that_is_said_is_not_refused(site: Checkout) -> None:
    jobs = site.planned("index_runs", *GENERIC, "--config", "measurement={device: cuda}")
    assert jobs["index_collection"] == 25


def test_device_auto_is_for_this_machine(site: Checkout) -> None:
    assert site.planned("index_runs")["index_collection"] == 25


@pytest.mark.parametrize("profile", PROFILES)
def test_a_workstation_s_limits_do_not_make_a_cluster_wait(site: Checkout, profile: str) -> None:
    """Snakemake counts resources of local scope for the jobs of a group only."""
    limits = yaml.safe_load((REPOSITORY / "profiles/default/config.yaml").read_text())["resources"]
    scopes = yaml.safe_load((REPOSITORY / profile / "config.yaml").read_text())["set-resource-scopes"]
    assert set(limits) == set(scopes)
    assert set(scopes.values()) == {"local"}


def test_rules_that_need_the_network_run_where_it_is(site: Checkout) -> None:
    """Jobs of a cluster have none: what downloads or builds an environment is a local rule."""
    rules = {}
    for file in [*Path(REPOSITORY / "rules").glob("*.smk")]:
        for text in file.read_text().split("\nrule ")[1:]:
            rules[text.partition(":")[0]] = text.partition("\nrule ")[0].partition("\nuse rule ")[0]
    networked = [name for name in rules if name.startswith("fetch_") or name == "make_environment"]
    assert len(networked) >= 5
    for name in networked:
        assert "    localrule: True\n" in rules[name], name
