"""The real memray on a real framework: one of the smoke configuration's runs."""

from __future__ import annotations

import json

import pytest
from checkout import Checkout

pytestmark = pytest.mark.slow


def test_memray_runs_complete_and_keep_the_high_water_mark_only(finished: Checkout) -> None:
    records = sorted(finished.path.glob("results/index_runs/*/*/memray/*/run.json"))
    assert records, "config/smoke.yaml has no run under memray"
    for path in records:
        record = json.loads(path.read_text())
        assert record["outcome"] == "completed", record["outcome_detail"]
        # Libraries, weights and tensors of the smallest index; heap counts what is asked for, of one process.
        assert 50 < record["memory"]["memray_heap_peak_mib"] < 4000
        assert (path.parent / "spans.jsonl").read_text() == ""
        # The trace itself is hundreds of MiB; nothing of it stays.
        assert not list(path.parent.rglob("*.memray"))
        others = [
            each for each in path.parent.rglob("*") if "index" not in each.relative_to(path.parent).parts
        ]
        assert sum(each.stat().st_size for each in others if each.is_file()) < 5 * 2**20


def test_child_process_is_instrumented_and_ends_well_under_memray(finished: Checkout) -> None:
    """ColBERT's spawned child starts a tracker of its own; it must not keep it from ending."""
    for path in finished.path.glob("results/index_runs/colbert-*/*/memray/*/run.json"):
        record = json.loads(path.read_text())
        roles = {process["role"] for process in record["processes"]}
        assert {"parent", "worker"} <= roles
        assert record["exit_code"] == 0
        assert {entry["role"] for entry in record["instrumented"]} == {"parent", "worker"}
