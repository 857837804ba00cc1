"""The doctor in the workflow: it looks, and starts nothing else; too small a disk stops the workflow at once."""

from __future__ import annotations

from checkout import Checkout


def test_the_doctor_plans_no_run(checkout: Checkout) -> None:
    jobs = checkout.planned("doctor")
    # It asks those environments that are built; it must not wait for one to be.
    assert jobs.pop("doctor_environment", 0) <= 2
    assert jobs == {"doctor": 1}


def test_the_doctor_builds_no_environment(checkout: Checkout) -> None:
    printed = checkout.snakemake("--dry-run", "--conda-prefix", "nothing-built", "doctor").stdout
    assert "will be created" not in printed
    assert "doctor_environment" not in printed


def test_a_plan_says_which_run_it_is_and_how_many_are_left(checkout: Checkout) -> None:
    printed = checkout.snakemake("--dry-run", "index_runs").stdout
    assert "Run 1 of 25: " in printed
    assert "; 24 more, about " in printed
    assert "Run 25 of 25: " in printed
    assert "; the last" in printed


def test_more_than_the_disk_can_hold_is_refused_before_any_job(checkout: Checkout) -> None:
    (checkout.path / "big.yaml").write_text(
        "index_memory: {grids: [{sizes: [2000000000], profilers: [none], repeats: 9}]}\n"
    )
    done = checkout.snakemake(
        "index_runs", "--workflow-profile", "none", "--configfile", "big.yaml", check=False
    )
    assert done.returncode != 0
    assert "results: the disk has" in done.stdout
    assert "fewer or smaller sizes" in done.stdout
    assert "Traceback" not in done.stdout
    assert "Slicing" not in done.stdout
    assert not (checkout.path / "results" / "slices").exists()
