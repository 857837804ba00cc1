"""The check of the memory model, on runs with planted levels and on the published peaks."""

import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from indexscope import schemas
from indexscope.analysis import memory_model_check as check
from indexscope.figures import memory_model as figure
from indexscope.memory_model import MANAGER_MIB, TRACKER_MIB, predict
from indexscope.run_record import InputError

ROOT = Path(__file__).parents[2]
PUBLISHED = [ROOT / "config" / "published" / f"memory_{name}.csv" for name in ("by_size", "of_kmeans_sample")]
GEOMETRY = {"layers": 2, "hidden_size": 128, "heads": 2, "intermediate_size": 256, "vocab_size": 4096}
SHAPES = {200: (277, 26_483), 500: (662, 60_672), 1000: (1308, 118_488)}


def run(documents: int = 500, repeat: int = 1, profiler: str = "none", **columns: Any) -> dict[str, Any]:
    passages, embeddings = SHAPES[documents]
    system = columns.pop("system", "ragatouille_faiss_true")
    return {
        **dict.fromkeys(schemas.RUNS.names),
        "run": f"{system}-0a1b2c3d/{documents}/{profiler}/{repeat}",
        "system": system,
        "cell": "0a1b2c3d",
        "label": "RAGatouille",
        "framework": "ragatouille",
        "environment": "ragatouille",
        "process_model": "in process",
        "documents": documents,
        "profiler": profiler,
        "repeat": repeat,
        "outcome": "completed",
        "device": "cpu",
        "passages": passages,
        "embeddings": embeddings,
        "dim": 96,
        "nbits": 4,
        "doc_maxlen": 256,
        "index_bsize": 32,
        "kmeans_iterations": 20,
        "kmeans_backend": "faiss",
        "kmeans_attempts": 1,
        "tree_peak_moment": "index call",
        "tree_peak_rss_mib": 2000.0,
        "index_peak_rss_mib": 2000.0,
        **columns,
    }


def child(**columns: Any) -> dict[str, Any]:
    return run(
        system="colbert",
        framework="colbert",
        environment="colbert",
        process_model="child process",
        manager_peak_rss_mib=MANAGER_MIB,
        **columns,
    )


def span(
    of: dict[str, Any], function: str, peak: float, role: str = "parent", call: int = 0
) -> dict[str, Any]:
    module = "colbert.indexing.collection_indexer."
    return {
        "run": of["run"],
        "role": role,
        "function": module + function,
        "call": call,
        "peak_rss_mib": peak,
        "gpu_peak_mib": None,
    }


def predicted_peak(of: dict[str, Any]) -> float:
    quantities = check.quantities_of_run(of, GEOMETRY)
    assert not isinstance(quantities, str)
    return predict(quantities).peak()[1]


def with_level(level: Callable[[float], float], *sizes: int, repeats: int = 1) -> list[dict[str, Any]]:
    """Runs that measured `level` of what is predicted."""
    found = []
    for size in sizes:
        for repeat in range(1, repeats + 1):
            of = run(size, repeat)
            found.append(of | {"index_peak_rss_mib": level(predicted_peak(of)) + repeat})
    return found


# A level


def test_a_planted_level_is_recovered() -> None:
    level = check.fit_level([100.0, 200.0, 300.0], [150.0, 250.0, 350.0])
    assert (level.offset, level.margin, level.runs) == (50.0, 0.0, 3)


def test_the_interval_is_students() -> None:
    """Two differences, 0 and 2: mean 1, deviation √2, and t(0.975, 1) = 12.7062 times √(1 + 1/2)."""
    level = check.fit_level([100.0, 100.0], [100.0, 102.0])
    assert level.offset == 1.0
    assert level.margin == pytest.approx(12.7062 * math.sqrt(2) * math.sqrt(1.5), rel=1e-4)
    assert level.relative_margin == pytest.approx(level.margin / 100)


def test_one_value_gives_a_level_and_no_interval() -> None:
    assert check.fit_level([100.0], [90.0]) == (-10.0, None, None, 1)
    with pytest.raises(ValueError, match="no values"):
        check.fit_level([], [])


def test_the_error_is_positive_where_too_much_was_predicted() -> None:
    assert check.error_percent(110.0, 100.0) == pytest.approx(10.0)
    assert check.error_percent(90.0, 100.0) == pytest.approx(-10.0)
    assert check.error_percent(90.0, None) is None


# Runs


def test_a_run_has_a_row_for_its_peak_and_terms_that_add_up() -> None:
    of = run()
    checked = check.check_runs([of], [], GEOMETRY)
    (row,) = checked.model
    assert (row["phase"], row["memory"], row["source"], row["measured_mib"]) == (
        "peak",
        "host",
        "run",
        2000.0,
    )
    assert row["predicted_mib"] == pytest.approx(predicted_peak(of))
    assert row["error_percent"] == pytest.approx(100 * (row["predicted_mib"] - 2000) / 2000)
    deciding = [term["mib"] for term in checked.terms if term["phase"] == row["deciding_phase"]]
    assert sum(deciding) == pytest.approx(row["predicted_mib"])
    assert not checked.left_out


def test_phases_are_measured_in_process() -> None:
    of = run(profiler="spans")
    spans = [
        span(of, f"CollectionIndexer.{name}", 1000.0) for name in ("__init__", "setup", "train", "index")
    ]
    # A first attempt at k-means that failed is not what made the index.
    spans.append(span(of, "CollectionIndexer.train", 1500.0, call=1))
    measured = check.measured_phases(of, spans)
    assert measured == {
        "start-up": 1000.0 + TRACKER_MIB,
        "planning": 1000.0 + TRACKER_MIB,
        "training": 1500.0 + TRACKER_MIB,
        "encoding": 1000.0 + TRACKER_MIB,
    }
    phases = [row["phase"] for row in check.check_runs([of], spans, GEOMETRY).model]
    assert phases == ["start-up", "planning", "training", "encoding", "peak"]


def test_phases_of_a_child_have_the_idle_processes_beside_them() -> None:
    of = child(profiler="spans", tree_peak_moment="child exit", index_peak_rss_mib=1750.0)
    spans = [
        span(of, "CollectionIndexer.setup", 900.0, "worker"),
        span(of, "Indexer.index", 716.0),
    ]
    measured = check.measured_phases(of, spans)
    assert measured["planning"] == pytest.approx(900 + 716 + MANAGER_MIB + TRACKER_MIB)
    assert measured["child exit"] == 1750.0
    assert check.measured_phases(of, spans[:1]) == {}  # nothing is known of its parent


def test_an_older_run_is_measured_by_its_tree() -> None:
    of = run(index_peak_rss_mib=None, tree_peak_rss_mib=1900.0, tree_peak_moment="exit")
    (row,) = check.check_runs([of], [], GEOMETRY).model
    assert row["measured_mib"] == 1900.0
    assert "of the index call: the tree's own peak was in exit" in row["basis"]


@pytest.mark.parametrize("column", ["passages", "kmeans_backend", "process_model", "nbits"])
def test_a_run_without_its_settings_is_left_out_with_the_reason(column: str) -> None:
    checked = check.check_runs([run(**{column: None})], [], GEOMETRY)
    assert checked.model == []
    assert checked.terms == []
    assert checked.left_out == [f"ragatouille_faiss_true-0a1b2c3d/500/none/1: {column} is not known"]


def test_what_did_not_complete_or_was_disturbed_is_not_checked() -> None:
    runs = [run(outcome="failed"), run(profiler="ledger"), run(profiler="memray")]
    checked = check.check_runs(runs, [], GEOMETRY)
    assert (checked.model, checked.left_out) == ([], [])


def test_a_later_attempt_is_named() -> None:
    (row,) = check.check_runs([run(kmeans_attempts=2)], [], GEOMETRY).model
    assert "of the last of 2 attempts at k-means" in row["basis"]


def test_larger_sizes_are_predicted_from_smaller_ones_alone() -> None:
    """Every run measures 70 MiB more than predicted, and 1 or 2 for its repeat."""
    runs = with_level(lambda peak: peak + 70, 200, 500, 1000, repeats=2)
    rows = [
        row for row in check.check_runs(runs, [], GEOMETRY).model if row["source"] == check.RUN_EXTRAPOLATED
    ]
    assert [row["documents"] for row in rows] == [500, 1000]
    for row in rows:
        assert row["run"] is None
        assert row["predicted_mib"] == pytest.approx(row["measured_mib"])
        assert row["low_mib"] < row["measured_mib"] < row["high_mib"]
    assert rows[1]["high_mib"] - rows[1]["low_mib"] < rows[0]["high_mib"] - rows[0]["low_mib"]
    # What the larger size measured is not looked at.
    moved = [of | {"index_peak_rss_mib": 9000.0} if of["documents"] == 1000 else of for of in runs]
    again = check.check_runs(moved, [], GEOMETRY).model[-1]
    assert again["predicted_mib"] == pytest.approx(rows[1]["predicted_mib"])
    assert again["high_mib"] < 9000.0


def test_a_gpu_is_compared_with_what_torch_allocated() -> None:
    of = run(profiler="spans", device="cuda")
    spans = [span(of, "CollectionIndexer.setup", 1000.0) | {"gpu_peak_mib": 300.0}]
    rows = [row for row in check.check_runs([of], spans, GEOMETRY).model if row["memory"] == "gpu"]
    assert [(row["phase"], row["measured_mib"]) for row in rows] == [("planning", 300.0), ("peak", 300.0)]
    assert rows[0]["predicted_mib"] < 500  # no CUDA context
    without = check.check_runs([of], [], GEOMETRY).model
    assert [row["measured_mib"] for row in without if row["memory"] == "gpu"] == [None]


# Published


def rows_of_files() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    return check.read_published(PUBLISHED[0], ["peak_gb"]), check.read_published(PUBLISHED[1], ["passages"])


def test_quantities_that_no_log_gave_are_worked_out() -> None:
    """Where a log is at hand, what is worked out from points and embeddings is what it says."""
    rows = [row for row in rows_of_files()[1] if row["passages"]]
    for row in rows:
        if int(row["passages"]) < 50_000:
            continue  # all passages were sampled
        known = check.published_quantities(row)
        worked_out = check.published_quantities(row | {"passages": "", "tokens_per_passage": ""})
        assert worked_out.passages == pytest.approx(known.passages, rel=0.006)
        assert worked_out.tokens_per_passage == pytest.approx(known.tokens_per_passage, rel=0.006)


def test_published_peaks_are_predicted_from_smaller_ones_alone() -> None:
    peaks, samples = rows_of_files()
    model, terms = check.check_published(peaks, samples)
    found = {(row["source"], row["system"], row["documents"]): row for row in model if row["measured_mib"]}
    ahead = [key for key in found if key[0] == check.PUBLISHED_EXTRAPOLATED]
    assert sorted({key[2] for key in ahead}) == [1_000_000, 2_000_000]
    for size in (1_000_000, 2_000_000):
        row = found[check.PUBLISHED_EXTRAPOLATED, "ragatouille, RTX 6000 Ada", size]
        assert abs(row["error_percent"]) < 10
        assert row["low_mib"] < row["measured_mib"] < row["high_mib"]
    # Other peaks above 500,000 documents change nothing of what is predicted for these.
    moved = [
        peak | {"peak_gb": "99"} if int(peak["documents"]) > check.FITTED_UP_TO else peak for peak in peaks
    ]
    again = {
        (row["source"], row["system"], row["documents"]): row
        for row in check.check_published(moved, samples)[0]
    }
    for key in ahead:
        assert again[key]["predicted_mib"] == found[key]["predicted_mib"]
    assert {row["documents"] for row in terms} == {100_000, 250_000, 500_000, 1_000_000, 2_000_000}


def test_the_authors_extrapolation_stands_beside_ours() -> None:
    rows = [row for row in check.check_published(*rows_of_files())[0] if row["measured_mib"] is None]
    assert [row["documents"] for row in rows] == [12_600_000] * 4
    author = [row["predicted_mib"] / 1024 for row in rows if "author" in row["basis"]]
    assert author == pytest.approx([70, 84], abs=0.5)  # as published
    assert all(row.get("low_mib") is None for row in rows if "author" in row["basis"])
    assert all(row["low_mib"] < row["predicted_mib"] for row in rows if "author" not in row["basis"])


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv cannot be read .*restore it"):
        check.read_published(tmp_path / "gone.csv", [])
    (tmp_path / "few.csv").write_text("machine\nT4\n")
    with pytest.raises(InputError, match="column peak_gb is missing"):
        check.read_published(tmp_path / "few.csv", ["peak_gb"])


# The program and the figure


def test_the_program_writes_both_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = with_level(lambda peak: peak + 70, 200, 500, repeats=2)
    schemas.write_table([*runs, run(1000, nbits=None)], schemas.RUNS, tmp_path / "runs.parquet")
    schemas.write_table([], schemas.SPANS, tmp_path / "spans.parquet")
    arguments = ["--runs", tmp_path / "runs.parquet", "--spans", tmp_path / "spans.parquet"]
    arguments += ["--published", *PUBLISHED, "--checkpoint", '{"layers": 2, "hidden_size": 128}']
    arguments += ["--output", tmp_path / "model.parquet", "--terms", tmp_path / "terms.parquet"]
    monkeypatch.setattr(sys, "argv", ["check_memory_model.py", *map(str, arguments)])
    script = ROOT / "workflow" / "scripts" / "check_memory_model.py"
    runpy.run_path(str(script), run_name="__main__")
    assert (
        "left out: ragatouille_faiss_true-0a1b2c3d/1000/none/1: nbits is not known" in capsys.readouterr().out
    )
    model = pq.read_table(tmp_path / "model.parquet")
    assert set(model["source"].to_pylist()) == {
        "run",
        "run extrapolated",
        "published",
        "published extrapolated",
    }
    assert pq.read_table(tmp_path / "terms.parquet").num_rows > 100
    monkeypatch.setattr(sys, "argv", [*sys.argv[: sys.argv.index("--checkpoint") + 1], "{", *sys.argv[-4:]])
    with pytest.raises(SystemExit, match="--checkpoint: "):
        runpy.run_path(str(script), run_name="__main__")


def frames(checked: check.Checked) -> tuple[pd.DataFrame, pd.DataFrame]:
    return (
        pd.DataFrame(checked.model, columns=schemas.MEMORY_MODEL.names),
        pd.DataFrame(checked.terms, columns=schemas.MEMORY_MODEL_TERMS.names),
    )


def test_the_title_counts_what_is_within_ten_percent() -> None:
    near, far = run(200), run(500, profiler="spans")
    near["index_peak_rss_mib"] = predicted_peak(near) / 1.05
    far["index_peak_rss_mib"] = predicted_peak(far) / 1.25
    spans = [span(far, "CollectionIndexer.setup", 1250.0)]
    drawn = figure.draw(*frames(check.check_runs([near, far], spans, GEOMETRY)))
    assert drawn.title == (
        "1 of 2 runs are predicted within 10 %; the largest error is +25.0 % (RAGatouille, 500 documents)"
    )
    assert any(note.startswith("Phases: 1 of 1 within 10 %") for note in drawn.notes)
    assert {"run", None} >= set(drawn.rows["source"].where(drawn.rows["source"].notna(), None))
    assert drawn.rows["formula"].notna().any()
    drawn.specification()


def test_without_runs_the_published_peaks_are_drawn() -> None:
    model, terms = check.check_published(*rows_of_files())
    drawn = figure.draw(*frames(check.Checked(model, terms, [])))
    assert "of 10 published peaks" in drawn.title
    drawn.specification()


def test_nothing_to_draw() -> None:
    drawn = figure.draw(*frames(check.Checked([], [], [])))
    assert not drawn.is_finding
    assert "No completed run" in drawn.caption
