"""A run over its memory limit is a result of its own, and no other run notices."""

from __future__ import annotations

import pytest
from toy_workflow import ToyWorkflow

pytestmark = pytest.mark.slow

LIMIT_MIB = 150


def test_a_run_over_its_limit_ends_alone_and_is_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    toy = ToyWorkflow(tmp_path_factory.mktemp("limited"))
    toy.configure(
        {"small": ["hold", 20, 0.3], "large": ["hold", 400, 5], "also_small": ["hold", 30, 0.3]},
        measurement={"memory_limit_mib": LIMIT_MIB},
        index_memory={"grids": [{"sizes": [10], "profilers": ["none", "spans"], "repeats": 2}]},
    )
    toy.run()
    rows = toy.table("runs")
    assert len(rows) == 12
    for row in rows:
        if row["system"] == "large":
            assert row["outcome"] == "out_of_memory_host"
            assert f"memory_limit_mib: {LIMIT_MIB}" in row["outcome_detail"]
            # Passed, and noticed before much more was taken.
            assert LIMIT_MIB < row["tree_peak_rss_mib"] < 400
            assert row["index_size_mib"] is None
        else:
            assert row["outcome"] == "completed"
            assert row["tree_peak_rss_mib"] < LIMIT_MIB
            assert row["index_size_mib"] > 0
    curve = [row["rss_mib"] for row in toy.table("memory_curve") if row["system"] == "large"]
    assert max(curve) > LIMIT_MIB

    figure = (toy.path / "results/figures/peak_memory.svg").read_text()
    assert "out of memory (host)" in figure
    assert "4 of 12 runs did not complete" in figure
    assert "out of memory" in (toy.path / "results/report.html").read_text()
    assert "Nothing to be done" in toy.run()
