"""Tables from run directories: known numbers, and one sentence for each kind of damage."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tabulate_memory_curve
import tabulate_runs
import tabulate_spans
from indexscope import schemas
from indexscope.analysis.run_directories import (
    listed_paths,
    memory_curve_batches,
    read_labels,
    run_rows,
    span_batches,
)
from indexscope.run_record import InputError

SPAN = {
    "process_id": 41,
    "role": "worker",
    "thread": "MainThread",
    "function": "colbert.indexer.Indexer.index",
    "call": 0,
    "depth": 0,
    "started_seconds": 1.5,
    "ended_seconds": 4,
    "start_rss_mib": 300.25,
    "end_rss_mib": 800,
    "peak_rss_mib": 950.5,
    "peak_exact": True,
    "end_anon_mib": 500.0,
    "end_file_mib": None,
    "raised": None,
}
CURVE = "seconds,process_id,parent_process_id,role,rss_mib\n0.01,40,1,parent,20\n0.02,41,40,worker,12.5\n"


def run_record(outcome: str = "completed", repeat: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "run": {
            "system": "colbert",
            "cell": "0a1b2c3d",
            "documents": 300,
            "profiler": "none",
            "repeat": repeat,
            "framework": "colbert",
            "environment": "late_interaction",
            "corpus": "synthetic",
            "checkpoint": "small",
        },
        "requested": {"nbits": 2},
        "resolved": {
            "device": "cpu",
            "process_model": "child process",
            "passages": 300,
            "embeddings": 21_000,
            "partitions": 1024,
            "dim": 96,
            "nbits": 2,
            "doc_maxlen": 256,
            "index_bsize": 64,
            "kmeans_iterations": 4,
            "kmeans_backend": "faiss",
            "kmeans_points": 20_000,
            "kmeans_attempts": 2,
            "kmeans_failures": "torch: RuntimeError: CUDA out of memory. Tried to allocate 27.55 GiB",
            "index_size_mib": 0.75,
            "index_seconds": 9.25,
            "planning_seconds": 2.5,
            "training_seconds": 1.25,
            "encoding_seconds": 4.5,
            "finalizing_seconds": 0.5,
            "seconds_per_25k_passages": 375,
            "chunks": 1,
            "ranks": 2,
        },
        "place": {
            "scheduler": "slurm",
            "scheduler_job": "78",
            "granted_mib": 4000,
            "attempt": 3,
            "earlier_attempts": [
                {
                    "started_at": "2026-01-02T02:00:00.000+00:00",
                    "last_seen_at": "2026-01-02T02:30:00.000+00:00",
                    "scheduler_job": "77",
                    "granted_mib": 2000,
                    "how": "killed by Slurm for memory (OUT_OF_MEMORY)",
                    "stage": "chunk 1",
                },
                {
                    "started_at": "2026-01-02T02:40:00.000+00:00",
                    "last_seen_at": "2026-01-02T02:41:00.000+00:00",
                    "scheduler_job": None,
                    "granted_mib": None,
                    "how": "ended from outside",
                    "stage": None,
                },
            ],
            "devices": "0,1",
            "beside": ["index_collection", "slice_dataset"],
            "cores_beside": 0.25,
            "scratch": False,
        },
        "resumed": {"from": "chunk 1", "kept": ["plan", "codec", "chunk 0"], "redone": []},
        "outcome": outcome,
        "outcome_detail": None,
        "exit_code": 0,
        "started_at": "2026-01-02T03:04:05.678+00:00",
        "ended_at": "2026-01-02T03:04:17+00:00",
        "wall_seconds": 12,
        "memory": {
            "tree_peak_rss_mib": 1500.5,
            "tree_peak_moment": "index call",
            "index_peak_rss_mib": 1500.25,
            "gpu_used_peak_mib": 900.0,
            "gpu_reserved_peak_mib": 400.0,
            "gpu_allocated_peak_mib": 350.5,
            "gpu_others_peak_mib": 450.0,
            "memray_heap_peak_mib": 700.5,
            "by_role": {"parent": 600.0, "worker": 900.0, "manager": 40.0},
            "processes": 3,
            "samples": 600,
            "sample_interval_seconds": 0.02,
            "peaks_exact": True,
            "peak_error_bound_mib": 0.75,
            "peak_error_observed_mib": 0.1,
        },
        "processes": [],
        "versions": {
            "python": "3.11.7",
            "torch": "2.10.0",
            "transformers": "4.57.6",
            "faiss-gpu-cu12": "1.14.1.post1",
            "colbert-ai": "0.2.22",
        },
        "hardware": {
            "cpu_model": "a CPU",
            "cpu_count": 2,
            "memory_total_mib": 16384.0,
            "kernel": "6.1",
            "gpus": ["NVIDIA RTX 6000 Ada Generation, 49140 MiB, 550.54", "another, 1 MiB, 550.54"],
        },
        "threads": 2,
        "allocator": "default",
        "lock_digest": "1234abcd",
        "git_commit": None,
        **changes,
    }


def run_directory(directory: Path, record: dict[str, Any] | None = None, **texts: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(run_record() if record is None else record))
    for name, text in texts.items():
        suffix = {"spans": "jsonl", "memory_curve": "csv"}[name]
        (directory / f"{name}.{suffix}").write_text(text)
    return directory


def lines(*spans: dict[str, Any]) -> str:
    return "".join(json.dumps(span) + "\n" for span in spans)


# Runs


def test_a_run_becomes_a_row_with_every_column(tmp_path: Path) -> None:
    record = run_directory(tmp_path / "run") / "run.json"
    (row,) = run_rows([record], {"colbert": "ColBERT", "other": "x"}, campaign="before_upgrade")
    assert list(row) and set(row) == set(schemas.RUNS.names)
    nulls = {name for name, value in row.items() if value is None}
    assert nulls == {"outcome_detail", "ragatouille_version", "git_commit"}
    assert row["campaign"] == "before_upgrade"
    phases = [row[f"{phase}_seconds"] for phase in ("planning", "training", "encoding", "finalizing")]
    assert [*phases, row["seconds_per_25k_passages"]] == [2.5, 1.25, 4.5, 0.5, 375]
    assert row["kmeans_attempts"] == 2
    assert row["kmeans_failures"].startswith("torch: RuntimeError: CUDA out of memory")
    assert row["gpu_model"] == "NVIDIA RTX 6000 Ada Generation"
    assert (row["run"], row["label"]) == ("colbert-0a1b2c3d/300/none/0", "ColBERT")
    assert (row["tree_peak_rss_mib"], row["worker_peak_rss_mib"], row["wall_seconds"]) == (1500.5, 900.0, 12)
    assert (row["index_seconds"], row["embeddings"], row["kmeans_backend"]) == (9.25, 21_000, "faiss")
    assert (row["faiss_version"], row["colbert_version"]) == ("1.14.1.post1", "0.2.22")
    assert row["started_at"] == datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    assert (row["scheduler"], row["scheduler_job"], row["granted_mib"]) == ("slurm", "78", 4000)
    assert (row["attempt"], row["resumed_from"], row["ranks"]) == (3, "chunk 1", 2)
    assert row["earlier_attempts"] == (
        "Attempt 1 as job 77 with 2,000 MiB: killed by Slurm for memory (OUT_OF_MEMORY), in stage chunk 1, "
        "last seen 2026-01-02T02:30:00.000+00:00. "
        "Attempt 2: ended from outside, last seen 2026-01-02T02:41:00.000+00:00."
    )
    assert (row["visible_devices"], row["jobs_beside"]) == ("0,1", "index_collection, slice_dataset")
    assert row["cores_beside"] == 0.25


@pytest.mark.parametrize("resumed", [None, {"from": "plan", "kept": [], "redone": ["plan (incomplete)"]}])
def test_a_run_that_kept_nothing_was_resumed_from_nowhere(
    tmp_path: Path, resumed: dict[str, Any] | None
) -> None:
    record = run_record(resumed=resumed)
    (row,) = run_rows([run_directory(tmp_path / "run", record) / "run.json"], {})
    assert row["resumed_from"] is None


def test_a_run_of_an_earlier_format_has_no_place(tmp_path: Path) -> None:
    record = {name: value for name, value in run_record().items() if name not in ("place", "resumed")}
    (row,) = run_rows([run_directory(tmp_path / "run", record) / "run.json"], {})
    names = ("scheduler", "attempt", "earlier_attempts", "resumed_from", "jobs_beside", "cores_beside")
    assert [row[name] for name in names] == [None] * len(names)


def test_attempts_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    record = run_record(place={"earlier_attempts": [{"how": "ended from outside"}]})
    path = run_directory(tmp_path / "run", record) / "run.json"
    with pytest.raises(InputError, match=r"place.earlier_attempts: .* cannot be read"):
        list(run_rows([path], {}))


def test_a_failed_run_is_a_row_with_nulls(tmp_path: Path) -> None:
    record = run_record(
        "out_of_memory_host",
        exit_code=-9,
        outcome_detail="the kernel killed the worker",
        resolved=dict.fromkeys(run_record()["resolved"]),
        memory=run_record()["memory"] | {"by_role": {"parent": 600.0}},
        versions=None,
        started_at=None,
    )
    (row,) = run_rows([run_directory(tmp_path / "run", record) / "run.json"], {})
    assert (row["outcome"], row["exit_code"]) == ("out_of_memory_host", -9)
    for name in (
        *("passages", "index_seconds", "worker_peak_rss_mib", "faiss_version", "started_at"),
        *("encoding_seconds", "seconds_per_25k_passages", "kmeans_failures", "campaign"),
    ):
        assert row[name] is None


def test_a_run_without_a_gpu_has_no_gpu_model(tmp_path: Path) -> None:
    for gpus in ([], None):
        record = run_record(hardware=run_record()["hardware"] | {"gpus": gpus})
        (row,) = run_rows([run_directory(tmp_path / str(gpus), record) / "run.json"], {})
        assert row["gpu_model"] is None
        assert row["cpu_count"] == 2


@pytest.mark.parametrize("text", ["{", "[]", '{"colbert": 3}'])
def test_bad_labels_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"labels: .*give an object of system and label"):
        read_labels(text)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 2}, "format: 2 is not 1"),
        ({"run": None}, "run: the identity of the run is missing"),
        ({"run": {"system": "colbert"}}, "run.cell: None is not of type str"),
        ({"run": run_record()["run"] | {"documents": "300"}}, "run.documents: '300' is not of type int"),
        ({"run": run_record()["run"] | {"framework": None}}, "run.framework is missing"),
        ({"outcome": None}, "outcome: None is no outcome"),
        ({"wall_seconds": "12"}, "wall_seconds: '12' is not of type double"),
        ({"wall_seconds": True}, "wall_seconds: True is not of type double"),
        ({"threads": 1.5}, "threads: 1.5 is not of type int64"),
        ({"memory": {"by_role": {"worker": "x"}}}, "memory.by_role.worker: 'x' is not of type double"),
        ({"started_at": "yesterday"}, "started_at: 'yesterday' is no ISO 8601 time"),
        ({"started_at": "2026-01-02T03:04:05"}, "started_at: .* has no time zone"),
    ],
)
def test_a_bad_record_is_refused_by_key(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    path = run_directory(tmp_path / "run", run_record(**changes)) / "run.json"
    with pytest.raises(InputError, match=f"^{path}: {problem}.*again$"):
        list(run_rows([path], {}))


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1', "\udc80"])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"run.json .*run index_collection.py again"):
        list(run_rows([path], {}))


# Spans and memory curves


def test_spans_of_two_runs_keep_their_order_and_their_key(tmp_path: Path) -> None:
    first = run_directory(tmp_path / "0", spans=lines(SPAN, SPAN | {"call": 1, "raised": "MemoryError"}))
    second = run_directory(tmp_path / "1", run_record(repeat=1), spans=lines(SPAN | {"gpu_peak_mib": 7}))
    empty = run_directory(tmp_path / "2", run_record(repeat=2), spans="")
    output = tmp_path / "spans.parquet"
    paths = [directory / "spans.jsonl" for directory in (first, empty, second)]
    schemas.write_batches(span_batches(paths), schemas.SPANS, output)
    table = pq.read_table(output)
    assert table.schema.equals(schemas.SPANS)
    rows = table.to_pylist()
    assert [(row["repeat"], row["call"], row["raised"]) for row in rows] == [
        (0, 0, None),
        (0, 1, "MemoryError"),
        (1, 0, None),
    ]
    assert rows[2]["run"] == "colbert-0a1b2c3d/300/none/1"
    assert (rows[0]["ended_seconds"], rows[0]["peak_rss_mib"], rows[2]["gpu_peak_mib"]) == (4.0, 950.5, 7.0)
    assert rows[0]["end_pss_mib"] is None


def test_pss_of_the_tree_is_null_in_spans_that_do_not_know_it(tmp_path: Path) -> None:
    known = {**SPAN, "end_pss_mib": 512.5, "end_tree_pss_mib": 1024.25}
    found = [
        row["end_tree_pss_mib"]
        for name, span in (("older", SPAN), ("newer", known))
        for batch in span_batches([run_directory(tmp_path / name, spans=lines(span)) / "spans.jsonl"])
        for row in batch.to_pylist()
    ]
    assert found == [None, 1024.25]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "JSON parse error"),
        ("7", "JSON parse error"),
        (json.dumps(SPAN | {"call": 1.5}), "int64"),
        (json.dumps(SPAN | {"role": 3}), "role"),
        (json.dumps(SPAN | {"role": None}), "role"),
        (json.dumps(SPAN | {"rss": 3}), "unexpected columns .'rss'."),
        (json.dumps({"role": "worker"}), "process_id is missing"),
    ],
)
def test_a_malformed_span_is_refused_by_line(tmp_path: Path, line: str, problem: str) -> None:
    run = run_directory(tmp_path / "run", spans=lines(SPAN) + line + "\n" + lines(SPAN))
    with pytest.raises(InputError, match=rf"spans.jsonl:2: .*{problem}.*run index_collection.py again"):
        list(span_batches([run / "spans.jsonl"]))


def test_a_curve_becomes_rows(tmp_path: Path) -> None:
    text = (
        CURVE.replace("rss_mib\n", "rss_mib,shared_mib\n")
        .replace("20\n", "20,8\n")
        .replace("12.5\n", "12.5,0.5\n")
    )
    parent = {"seconds": 0.01, "process_id": 40, "parent_process_id": 1, "role": "parent", "rss_mib": 20.0}
    worker = {"seconds": 0.02, "process_id": 41, "parent_process_id": 40, "role": "worker", "rss_mib": 12.5}
    for curve, shared in ((text, (8.0, 0.5)), (CURVE, (None, None))):  # an older one lacks the column
        run = run_directory(tmp_path / str(shared[0]), memory_curve=curve)
        table = pa.Table.from_batches(memory_curve_batches([run / "memory_curve.csv"]), schemas.MEMORY_CURVE)
        assert table.select(table.column_names[6:]).to_pylist() == [
            parent | {"shared_mib": shared[0]},
            worker | {"shared_mib": shared[1]},
        ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CURVE + "0.03,x,1,parent,20\n", ":4: .*'x'"),
        (CURVE + "0.03,40,1,parent\n", ":4: .*Expected 5 columns, got 4"),
        (CURVE + "0.03,40.5,1,parent,1\n0.04,x,1,parent,1\n", ":4: .*'40.5'"),
        (CURVE + "0.03,40,1,parent,\n", ":4: rss_mib is missing"),
        ("seconds,process_id\n1,2\n", ":2: parent_process_id is missing"),
        (CURVE.replace("rss_mib", "rss"), ":2: unexpected columns .'rss'."),
        ("", ": .*Empty CSV"),
    ],
)
def test_a_malformed_curve_is_refused_by_line(tmp_path: Path, text: str, problem: str) -> None:
    run = run_directory(tmp_path / "run", memory_curve=text)
    with pytest.raises(InputError, match=rf"memory_curve.csv{problem}.*run index_collection.py again"):
        list(memory_curve_batches([run / "memory_curve.csv"]))


def test_a_line_that_a_killed_process_left_incomplete_is_passed_over(tmp_path: Path) -> None:
    cut = lines(SPAN)[:-20]
    run = run_directory(tmp_path / "run", spans=lines(SPAN) + cut, memory_curve=CURVE + "0.03,40,1,parent,1")
    assert sum(batch.num_rows for batch in span_batches([run / "spans.jsonl"])) == 1
    assert sum(batch.num_rows for batch in memory_curve_batches([run / "memory_curve.csv"])) == 2
    (run / "spans.jsonl").write_text(cut)
    assert list(span_batches([run / "spans.jsonl"])) == []


def test_a_file_away_from_its_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spans.jsonl").write_text(lines(SPAN))
    with pytest.raises(InputError, match=r"run\.json is missing"):
        list(span_batches([tmp_path / "spans.jsonl"]))
    run = run_directory(tmp_path / "run")
    with pytest.raises(InputError, match=r"spans\.jsonl cannot be read"):
        list(span_batches([run / "spans.jsonl"]))


def test_batches_are_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "ROWS_PER_GROUP", 4)
    paths = [
        run_directory(tmp_path / str(repeat), run_record(repeat=repeat), memory_curve=CURVE)
        / "memory_curve.csv"
        for repeat in range(5)
    ]
    output = tmp_path / "memory_curve.parquet"
    schemas.write_batches(memory_curve_batches(paths), schemas.MEMORY_CURVE, output)
    written = pq.ParquetFile(output)
    assert [written.metadata.row_group(group).num_rows for group in range(3)] == [4, 4, 2]
    assert written.read().column("repeat").to_pylist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


# Programs


def test_paths_come_from_arguments_and_from_a_list(tmp_path: Path) -> None:
    listing = tmp_path / "files.txt"
    listing.write_text("b/run.json\n\nc d/run.json\n")
    assert listed_paths([Path("a")], listing) == [Path("a"), Path("b/run.json"), Path("c d/run.json")]
    assert listed_paths([], None) == []
    with pytest.raises(InputError, match=r"b/run\.json is given twice"):
        listed_paths([Path("b/run.json")], listing)
    with pytest.raises(InputError, match=r"missing\.txt cannot be read"):
        listed_paths([], tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("program", "file", "rows"),
    [
        (tabulate_runs, "run.json", 1),
        (tabulate_spans, "spans.jsonl", 1),
        (tabulate_memory_curve, "memory_curve.csv", 2),
    ],
)
def test_programs_write_a_table_or_one_sentence_and_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Any, file: str, rows: int
) -> None:
    run = run_directory(tmp_path / "run", spans=lines(SPAN), memory_curve=CURVE)
    listing = tmp_path / "files.txt"
    listing.write_text(f"{run / file}\n")
    output = tmp_path / "tables" / "table.parquet"
    monkeypatch.setattr("sys.argv", [program.__name__, "--runs-from", str(listing), "--output", str(output)])
    program.main()
    assert pq.read_table(output).num_rows == rows
    output.unlink()
    with (run / file).open("a") as damaged:
        damaged.write("nonsense\n")
    with pytest.raises(SystemExit, match=rf"{file}.*again"):
        program.main()
    assert list(output.parent.iterdir()) == []
