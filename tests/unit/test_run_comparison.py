"""Two sets of runs, phase by phase: planted changes are found, what is not one is kept with its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tables
from indexscope import schemas
from indexscope.analysis import run_comparison
from indexscope.analysis.run_comparison import Side, Thresholds

PROGRAM = Path(__file__).parents[2] / "workflow" / "scripts" / "compare_runs.py"
PHASES = {
    "planning": "colbert.indexing.collection_indexer.CollectionIndexer.setup",
    "training": "colbert.indexing.collection_indexer.CollectionIndexer.train",
    "encoding": "colbert.indexing.collection_indexer.CollectionIndexer.index",
    "finalizing": "colbert.indexing.collection_indexer.CollectionIndexer.finalize",
}
COMPRESS = "colbert.indexing.codecs.residual.ResidualCodec.compress"


def runs(peaks: Sequence[float], system: str = "colbert", **columns: Any) -> list[tables.Row]:
    return [
        tables.run(system, 200, "spans", repeat, peak=peak, **columns) for repeat, peak in enumerate(peaks, 1)
    ]


def side(
    peaks: Sequence[float], training: Sequence[float] | None = None, name: str = "colbert", **columns: Any
) -> Side:
    """Repeats with these tree peaks; the phases' own peaks are 500 MiB, that of training as given."""
    measured = runs(peaks, **columns)
    spans = []
    for run, high in zip(measured, training or [500.0] * len(peaks), strict=True):
        for number, (phase, function) in enumerate(PHASES.items()):
            peak = high if phase == "training" else 500.0
            spans.append(tables.span(run, function, (number, number + 1), (400, 450, peak), "worker"))
        spans.append(tables.span(run, COMPRESS, (2.1, 2.9), (400, 450, 500), "worker"))
    return Side(name, measured, spans)


def verdicts(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {(row["part"], row["quantity"]): row["verdict"] for row in rows}


def reason(rows: Sequence[dict[str, Any]], part: str, quantity: str) -> str:
    return next(row["reason"] for row in rows if (row["part"], row["quantity"]) == (part, quantity))


def test_a_planted_change_of_one_phase_is_found_and_no_other() -> None:
    rows = run_comparison.compare(
        side([1000, 1010, 1005], training=[500, 510, 505]),
        side([1002, 1008, 1004], training=[700, 690, 705]),
        Thresholds(),
    )
    changed = {part: verdict for part, verdict in verdicts(rows).items() if verdict != "not changed"}
    assert changed == {("training", "peak_rss_mib"): "increased"}


def test_the_order_of_the_sides_decides_the_direction() -> None:
    low, high = side([1000, 1010]), side([2000, 2010])
    assert (
        verdicts(run_comparison.compare(low, high, Thresholds()))["whole run", "tree_peak_rss_mib"]
        == "increased"
    )
    assert (
        verdicts(run_comparison.compare(high, low, Thresholds()))["whole run", "tree_peak_rss_mib"]
        == "decreased"
    )


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1000, 1400], [1200, 1500], "the repeats overlap"),
        ([1000, 1001], [1050, 1051], "within the factor of 1.1 (× 1.05)"),
        ([20, 21], [26, 27], "below the floor of 10 MiB"),
        ([1000], [2000], "one run on a side: nothing tells it from noise"),
        ([1000, 1000], [1000, 1000], "equal"),
    ],
)
def test_what_is_suppressed_is_kept_with_its_reason(
    left: list[float], right: list[float], expected: str
) -> None:
    rows = run_comparison.compare(side(left), side(right), Thresholds())
    assert verdicts(rows)["whole run", "tree_peak_rss_mib"] == "not changed"
    assert reason(rows, "whole run", "tree_peak_rss_mib") == expected


def test_the_thresholds_are_the_callers() -> None:
    left, right = side([1000, 1001]), side([1050, 1051])
    rows = run_comparison.compare(left, right, Thresholds(factor=1.04))
    assert verdicts(rows)["whole run", "tree_peak_rss_mib"] == "increased"
    rows = run_comparison.compare(left, right, Thresholds(factor=1.04, mib=60))
    assert verdicts(rows)["whole run", "tree_peak_rss_mib"] == "not changed"


def test_a_run_out_of_memory_is_a_worse_outcome_and_has_no_quantities() -> None:
    left, right = side([1000, 1010]), side([1000, 3000])
    killed = {**right.runs[1], "outcome": "out_of_memory_host"}
    rows = run_comparison.compare(left, Side("b", [right.runs[0], killed], right.spans), Thresholds())
    assert rows[0]["verdict"] == "worse"
    assert rows[0]["reason"] == "completed × 2 → completed, out_of_memory_host"
    peaks = next(row for row in rows if row["quantity"] == "tree_peak_rss_mib")
    assert (peaks["right_runs"], peaks["right_max"]) == (1, 1000)
    back = run_comparison.compare(Side("b", [right.runs[0], killed], right.spans), left, Thresholds())
    assert back[0]["verdict"] == "better"


def test_a_function_that_only_one_side_has_is_named() -> None:
    left, right = side([1000, 1010]), side([1000, 1010])
    without = Side("b", right.runs, [span for span in right.spans if span["function"] != COMPRESS])
    rows = run_comparison.compare(left, without, Thresholds())
    assert verdicts(rows)[COMPRESS, "peak_rss_mib"] == "only left"


def test_a_phase_that_was_begun_twice_counts_with_its_last_attempt() -> None:
    plain = side([1000, 1010])
    failed = [
        tables.span(run, PHASES["training"], (0.5, 0.9), (400, 450, 9000), "worker") for run in plain.runs
    ]
    rows = run_comparison.compare(plain, Side("b", plain.runs, [*plain.spans, *failed]), Thresholds())
    assert verdicts(rows)["training", "peak_rss_mib"] == "not changed"


def test_unequal_work_is_told() -> None:
    found = run_comparison.unequal_work(side([1000]), side([1000], nbits=4, torch_version="2.11.0"))
    assert found == ["nbits: 2 → 4", "torch_version: 2.10.0 → 2.11.0"]


def test_the_gate_counts_what_it_is_asked_to() -> None:
    slower = side([1000, 1010], index_seconds=20.0)
    rows = run_comparison.compare(side([1000, 1010]), slower, Thresholds())
    assert not run_comparison.regressions(rows, ["memory"])
    assert [row["quantity"] for row in run_comparison.regressions(rows, ["time"])] == ["index_seconds"]


def test_every_two_systems_are_compared_at_each_size_and_profiler() -> None:
    measured = [*runs([1000, 1010]), *runs([1500, 1510], "ragatouille_faiss_true")]
    measured.append(tables.run("colbert", 500, "spans"))  # the other was not run at this size
    measured.append(tables.run("colbert", 200, "ledger"))
    rows = list(run_comparison.compare_all(measured, [], Thresholds()))
    assert {(row["left"], row["right"], row["documents"], row["profiler"]) for row in rows} == {
        ("colbert", "ragatouille_faiss_true", 200, "spans")
    }
    assert set(rows[0]) <= set(schemas.RUN_COMPARISON.names)


# The program.


def write(folder: Path, side_: Side) -> Path:
    folder.mkdir(parents=True)
    for name, rows in (("runs", side_.runs), ("spans", side_.spans)):
        pq.write_table(pa.Table.from_pylist(list(rows), schemas.TABLES[name]), folder / f"{name}.parquet")
    return folder


def program(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_program_gates_and_prints_what_was_suppressed(tmp_path: Path) -> None:
    before = write(tmp_path / "before", side([1000, 1010, 1005]))
    after = write(tmp_path / "after", side([1300, 1310, 1305], training=[520, 521, 522]))
    result = program(before, after, "--output", tmp_path / "rows.parquet")
    assert result.returncode == 1, result.stderr
    assert (
        "increased    whole run, peak of the process tree: 1,005.0 MiB (1,000.0–1,010.0) → 1,305.0"
        in result.stdout
    )
    assert (
        "training (worker), peak: 500.0 MiB → 521.0 MiB (520.0–522.0), × 1.04: within the factor"
        in result.stdout
    )
    assert "Gate memory: 2 regressed:" in result.stdout  # the whole run, and the index call within it
    assert pq.read_table(tmp_path / "rows.parquet").schema.names == schemas.RUN_COMPARISON.names
    assert program(after, before).returncode == 0  # less memory is no regression
    assert program(before, after, "--gate", "none").returncode == 0
    assert program(before, after, "--factor", "1.5").returncode == 0


def test_the_program_reads_run_directories(tmp_path: Path) -> None:
    for system, peak in (("before", 1000.0), ("after", 1600.0)):
        for repeat in (1, 2):
            directory = tmp_path / system / str(repeat)
            directory.mkdir(parents=True)
            (directory / "spans.jsonl").write_text("")
            record = {
                "format": 1,
                "run": {"system": system, "cell": "0a1b2c3d", "documents": 200, "profiler": "none", "repeat": repeat,
                        "framework": "colbert", "environment": "colbert"},
                "outcome": "completed",
                "memory": {"tree_peak_rss_mib": peak + repeat},
            }  # fmt: skip
            (directory / "run.json").write_text(json.dumps(record))
    result = program(tmp_path / "before", tmp_path / "after")
    assert result.returncode == 1, result.stderr
    assert "before → after, 200 documents, profiler none" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["nowhere", "nowhere"],
            "nowhere: there is no run.json in or below it, and no runs.parquet: name a run",
        ),
        (["a", "a", "--system", "pylate"], "--system: a has no runs of pylate: it has colbert"),
        (["a", "a", "--factor", "0.9"], "--factor: 0.9 is below 1: give 1.1 for ten percent"),
        (["a", "b"], "a and b have no system, size and profiler in common: measure both alike"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a"), side([1000, 1010]))
    other = side([1000, 1010])
    write(Path("b"), Side("b", [{**run, "documents": 500} for run in other.runs], []))
    result = program(*arguments)
    assert (result.returncode, result.stderr.strip()) == (2, sentence)
