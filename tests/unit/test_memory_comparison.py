"""Comparisons of peak memory and time, from runs with known numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compare_memory as program
import pyarrow.parquet as pq
import pytest
from indexscope import schemas
from indexscope.analysis.memory_comparison import QUANTITIES, compare_memory, compare_samples
from indexscope.run_record import InputError

Row = dict[str, Any]


def run(system: str, peak: float | None = 100.0, **changes: Any) -> Row:
    row: Row = {
        "system": system,
        "cell": "0a1b2c3d",
        "documents": 300,
        "profiler": "none",
        "outcome": "completed",
        "tree_peak_rss_mib": peak,
        "index_peak_rss_mib": peak,
        "wall_seconds": 10.0,
        "index_seconds": 5.0,
        "seconds_per_25k_passages": 60.0,
    }
    return row | changes


def peaks(rows: list[Row], comparison: str) -> dict[tuple[str, str, int], Row]:
    return {
        (row["left"], row["right"], row["documents"]): row
        for row in rows
        if row["comparison"] == comparison and row["quantity"] == "tree_peak_rss_mib"
    }


def test_samples_are_summarised() -> None:
    assert compare_samples([10.0, 12.0, 20.0], [30.0, 40.0]) == {
        "left_runs": 3,
        "left_median": 12.0,
        "left_min": 10.0,
        "left_max": 20.0,
        "right_runs": 2,
        "right_median": 35.0,
        "right_min": 30.0,
        "right_max": 40.0,
        "difference": 23.0,
        "ratio": 35.0 / 12.0,
        "separated": True,
    }


@pytest.mark.parametrize(
    ("left", "right", "separated"),
    [
        ([3.0, 4.0], [1.0, 2.0], True),
        ([1.0, 3.0], [2.0, 4.0], False),
        ([1.0, 2.0], [2.0, 3.0], False),  # ranges that touch
        ([1.0, 2.0], [9.0], None),  # one sample has no range
        ([], [1.0, 2.0], None),
    ],
)
def test_separated_means_that_ranges_do_not_overlap(
    left: list[float], right: list[float], separated: bool | None
) -> None:
    assert compare_samples(left, right).get("separated") is separated
    assert compare_samples(right, left).get("separated") is separated


def test_a_ratio_to_nothing_is_null() -> None:
    assert compare_samples([0.0], [3.0])["ratio"] is None


def test_each_pair_of_systems_is_compared_at_common_sizes() -> None:
    runs = [
        run("colbert", 100.0),
        run("colbert", 110.0),
        run("faiss", 200.0),
        run("torch", 50.0),
        run("colbert", 300.0, documents=1000),
        run("faiss", 450.0, documents=1000),
        run("faiss", 999.0, profiler="spans"),
    ]
    rows = list(compare_memory(runs))
    found = peaks(rows, "systems")
    assert {key: row["difference"] for key, row in found.items()} == {
        ("colbert", "faiss", 300): 95.0,
        ("colbert", "faiss", 1000): 150.0,
        ("colbert", "torch", 300): -55.0,
        ("faiss", "torch", 300): -150.0,
    }
    assert {row["quantity"] for row in rows} == set(QUANTITIES)
    with_baseline = peaks(list(compare_memory(runs, "faiss")), "systems")
    assert set(with_baseline) == {
        ("faiss", "colbert", 300),
        ("faiss", "colbert", 1000),
        ("faiss", "torch", 300),
    }


def test_each_profiler_is_compared_with_none() -> None:
    runs = [
        run("colbert", 100.0),
        run("colbert", 103.0, profiler="spans"),
        run("colbert", 140.0, profiler="memory_profiler"),
        run("colbert", 300.0, profiler="spans", documents=1000),
    ]
    found = peaks(list(compare_memory(runs)), "profilers")
    assert found["colbert/none", "colbert/spans", 300]["difference"] == 3.0
    assert found["colbert/none", "colbert/memory_profiler", 300]["ratio"] == 1.4
    alone = found["colbert/none", "colbert/spans", 1000]
    assert (alone["left_runs"], alone["right_runs"]) == (0, 1)
    assert "difference" not in alone


def test_only_completed_runs_count_and_a_side_without_any_is_a_row() -> None:
    runs = [
        run("colbert", 100.0),
        run("colbert", 700.0, outcome="killed"),
        run("torch", 900.0, outcome="out_of_memory_host"),
    ]
    row = peaks(list(compare_memory(runs)), "systems")["colbert", "torch", 300]
    assert (row["left_runs"], row["left_max"], row["right_runs"]) == (1, 100.0, 0)
    assert "right_median" not in row and "difference" not in row


def test_cells_of_one_system_are_not_mixed() -> None:
    runs = [run("colbert", 100.0), run("colbert", 150.0, cell="ffff0000"), run("torch", 50.0)]
    found = peaks(list(compare_memory(runs)), "systems")
    assert found["colbert-0a1b2c3d", "colbert-ffff0000", 300]["difference"] == 50.0
    assert ("colbert-0a1b2c3d", "torch", 300) in found


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(InputError, match="baseline 'pylate' is no system of the table: name one of colbert"):
        list(compare_memory([run("colbert")], "pylate"))


def full(row: Row, number: int) -> Row:
    key = {"run": str(number), "repeat": number, "framework": "colbert", "environment": "late_interaction"}
    return row | key


def test_the_program_writes_the_table_or_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, output = tmp_path / "runs.parquet", tmp_path / "memory_comparison.parquet"
    rows = [full(run("colbert", 100.0), 0), full(run("torch", None, outcome="killed"), 1)]
    schemas.write_table(rows, schemas.RUNS, runs)
    monkeypatch.setattr("sys.argv", ["compare_memory.py", str(runs), "--output", str(output)])
    program.main()
    table = pq.read_table(output)
    assert table.schema.equals(schemas.MEMORY_COMPARISON)
    assert table.num_rows == len(QUANTITIES)
    runs.write_text("not Parquet")
    output.unlink()
    with pytest.raises(SystemExit, match=r"runs.parquet cannot be read .*: run tabulate_runs.py"):
        program.main()
    schemas.write_table([], schemas.MEMORY_CURVE, runs)
    with pytest.raises(SystemExit, match=r"has no column .*: run tabulate_runs.py again"):
        program.main()
    assert not output.exists()
