"""The report's section of every two systems: what changed and what was suppressed, told apart."""

from __future__ import annotations

from typing import Any

import tables
from indexscope.analysis.run_comparison import Thresholds, compare_all
from indexscope.report import compared_runs


def rows(peaks: dict[str, list[float]], **columns: Any) -> list[dict[str, Any]]:
    runs = [
        tables.run(system, 200, "none", repeat, peak=peak, **columns)
        for system, values in peaks.items()
        for repeat, peak in enumerate(values, 1)
    ]
    return list(compare_all(runs, [], Thresholds()))


def test_a_pair_says_what_changed_and_why_the_rest_did_not() -> None:
    compared = rows({"colbert": [1000, 1010], "ragatouille_faiss_true": [1500, 1520]}, index_seconds=8.0)
    (pair,) = compared_runs.pairs(compared, {"colbert": "ColBERT"})
    assert pair.title == "ColBERT → ragatouille_faiss_true, 200 documents, none"
    assert pair.summary == "completed × 2 → completed × 2; 2 changed, 6 suppressed"
    assert pair.changed.rows[0] == [
        "peak of the process tree", "index call", "1,005 MiB (1,000–1,010)", "1,510 MiB (1,500–1,520)", "× 1.50",
    ]  # fmt: skip
    assert ["time", "index call", "8.00 s", "8.00 s", "× 1.00", "equal"] in pair.suppressed.rows


def test_single_runs_claim_nothing_but_a_failure_is_shown() -> None:
    assert compared_runs.pairs(rows({"colbert": [1000], "ragatouille_faiss_true": [1500]}), {}) == []
    left = tables.run("colbert", 200)
    right = tables.run("ragatouille_faiss_true", 200, outcome="out_of_memory_host")
    (pair,) = compared_runs.pairs(list(compare_all([left, right], [], Thresholds())), {})
    assert pair.summary.startswith("completed → out_of_memory_host")
