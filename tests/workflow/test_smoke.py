"""The smallest real run of every rule: real ColBERT and RAGatouille indexes, from corpus to report."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from checkout import Checkout
from indexscope import config, schemas

pytestmark = pytest.mark.slow

SYSTEMS = ["colbert", "ragatouille_faiss_false", "ragatouille_faiss_true"]
FAIR_PAIRS = [("colbert_fair", "ragatouille_faiss_true"), ("colbert_whole", "ragatouille_whole")]


def table(checkout: Checkout, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(checkout.path / f"results/tables/{name}.parquet").to_pylist()
    return rows


def run_records(checkout: Checkout, system: str, profiler: str) -> list[tuple[Path, dict[str, Any]]]:
    paths = sorted(checkout.path.glob(f"results/index_runs/{system}-*/*/{profiler}/*/run.json"))
    return [(path.parent, json.loads(path.read_text())) for path in paths]


@pytest.mark.parametrize("name", schemas.INDEX_MEMORY_TABLES)
def test_every_table_has_rows_of_its_schema(finished: Checkout, name: str) -> None:
    read = pq.read_table(finished.path / f"results/tables/{name}.parquet")
    assert read.schema.equals(schemas.TABLES[name])
    assert read.num_rows > 0 or name == "external_logs"  # the configuration has none


def test_every_run_completed(finished: Checkout) -> None:
    rows = table(finished, "runs")
    assert len(rows) == 21
    assert {row["outcome"] for row in rows} == {"completed"}
    assert {row["documents"] for row in rows} == {120}
    for row in rows:
        # What the framework needs alone, once: far from what a sampler that missed it would say.
        assert 500 < row["tree_peak_rss_mib"] < 6000
        assert row["index_peak_rss_mib"] <= row["tree_peak_rss_mib"]
        assert row["sample_interval_seconds"] < 0.1
        assert 0 < row["index_seconds"] < row["wall_seconds"]


def test_measured_runs_never_overlap(finished: Checkout) -> None:
    records = [record for _, record in run_records(finished, "*", "*")]
    times = sorted((record["started_at"], record["ended_at"]) for record in records)
    assert len(times) == 21
    assert all(ended <= started for (_, ended), (started, _) in itertools.pairwise(times))


def test_resolved_settings_are_what_really_ran(finished: Checkout) -> None:
    by_system = {row["system"]: row for row in table(finished, "runs")}
    colbert = by_system["colbert"]
    assert (colbert["process_model"], colbert["kmeans_backend"]) == ("child process", "faiss")
    assert (colbert["passages"], colbert["nbits"], colbert["index_bsize"]) == (120, 2, 64)
    for name, backend in [("ragatouille_faiss_true", "faiss"), ("ragatouille_faiss_false", "torch")]:
        row = by_system[name]
        assert (row["process_model"], row["kmeans_backend"]) == ("in process", backend)
        assert (row["nbits"], row["index_bsize"], row["kmeans_iterations"]) == (4, 32, 20)  # its own choices
        assert row["passages"] > 120  # it splits


@pytest.mark.parametrize(("left", "right"), FAIR_PAIRS)
def test_a_fair_pair_does_equal_work_and_makes_equal_indexes(
    finished: Checkout, left: str, right: str
) -> None:
    by_system = {row["system"]: row for row in table(finished, "runs") if row["repeat"] == 1}
    must_be_equal = [
        *(
            "environment",
            "process_model",
            "passages",
            "embeddings",
            "partitions",
            "dim",
            "nbits",
            "doc_maxlen",
        ),
        *("index_bsize", "kmeans_iterations", "kmeans_backend", "kmeans_points", "kmeans_attempts", "device"),
        *("python_version", "torch_version", "transformers_version", "faiss_version", "colbert_version"),
    ]
    sides = [{name: by_system[system][name] for name in must_be_equal} for system in (left, right)]
    assert sides[0] == sides[1]
    assert None not in sides[0].values()
    pairs = {
        (row["left_run"].split("-")[0], row["right_run"].split("-")[0]): []
        for row in table(finished, "artifact_comparison")
    }
    for row in table(finished, "artifact_comparison"):
        pairs[row["left_run"].split("-")[0], row["right_run"].split("-")[0]].append(row["verdict"])
    verdicts = pairs.get((left, right)) or pairs[right, left]
    assert verdicts == ["equal"] * 9


def test_phases_are_timed_in_every_run(finished: Checkout) -> None:
    phases = ["planning_seconds", "training_seconds", "encoding_seconds", "finalizing_seconds"]
    for row in table(finished, "runs"):
        seconds = [row[phase] for phase in phases]
        assert min(seconds) > 0
        assert sum(seconds) < row["index_seconds"]
        assert row["seconds_per_25k_passages"] == pytest.approx(
            25_000 * row["encoding_seconds"] / row["passages"], abs=0.001
        )


def test_published_functions_have_spans_in_the_process_that_runs_them(finished: Checkout) -> None:
    rows = table(finished, "spans")
    functions = config.load_functions(finished.path / "config/functions.yaml")
    profiled = {f"{each.module}.{each.qualname}" for each in functions if each.memory_profiler}
    roles: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        roles.setdefault((row["system"], row["function"]), set()).add(row["role"])
        assert row["peak_exact"]
        assert row["peak_rss_mib"] >= max(row["start_rss_mib"], row["end_rss_mib"])
        assert row["raised"] is None
    seen = {function for _, function in roles}
    assert profiled <= seen
    indexer = "colbert.indexing.collection_indexer.CollectionIndexer"
    assert roles["colbert", "colbert.indexer.Indexer.index"] == {"parent"}
    for phase in ("setup", "train", "index", "finalize"):
        assert roles["colbert", f"{indexer}.{phase}"] == {"worker"}
        assert roles["ragatouille_faiss_true", f"{indexer}.{phase}"] == {"parent"}


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_name_is_instrumented_in_every_process(finished: Checkout, system: str) -> None:
    for _, record in run_records(finished, system, "spans"):
        entries = record["instrumented"]
        assert entries
        assert all(entry["patched"] for entry in entries)
        if system == "colbert":
            assert {entry["role"] for entry in entries} == {"parent", "worker"}
            names = {
                role: {(e["module"], e["qualname"]) for e in entries if e["role"] == role}
                for role in ("parent", "worker")
            }
            assert names["parent"] == names["worker"]


def test_nothing_is_compiled_inside_a_run(finished: Checkout) -> None:
    for system in SYSTEMS:
        records = run_records(finished, system, "*")
        assert len(records) >= 4
        for _, record in records:
            # A compiler would be a process of the tree that announced no role and was large.
            assert record["memory"]["by_role"].get("other", 0) < 100


def test_memory_profiler_and_curve_tell_of_the_same_process(finished: Checkout) -> None:
    for system in SYSTEMS:
        ((directory, record),) = run_records(finished, system, "memory_profiler")
        log = (directory / "memory_profiler.log").read_text()
        highest = max(float(value) for value in re.findall(r"^ *\d+ +([\d.]+) MiB", log, re.MULTILINE))
        peaks = record["memory"]["by_role"]
        assert highest <= max(peaks.values()) + 1
    rows = table(finished, "memory_by_function")
    functions = {
        "indexer.index",
        "encoder.encode_passages",
        "_sample_embeddings",
        "setup",
        "train",
        "index",
        "finalize",
    }
    for system in SYSTEMS:
        assert functions <= {row["function"] for row in rows if f"/{system}-" in row["log"]}


def test_a_repeat_gives_the_same_artifacts(finished: Checkout) -> None:
    rows = [row for row in table(finished, "artifact_comparison") if row["pair"] == "ColBERT: repeated"]
    assert {row["name"] for row in rows} == {
        *("codes", "residuals", "ivf", "ivf_lengths", "avg_residual"),
        *("bucket_cutoffs", "bucket_weights", "centroids", "doclens"),
    }
    assert {row["verdict"] for row in rows} == {"equal"}
    assert all(row["left_sha256"] == row["right_sha256"] for row in rows)


def test_the_resolved_configuration_is_written(finished: Checkout) -> None:
    written = yaml.safe_load((finished.path / "results/configuration.yaml").read_text())
    assert written["index_memory"]["grids"][0]["sizes"] == [120]
    assert written["measurement"]["threads"] == 2  # a default that the smoke configuration does not name
    assert config.load(written).model_dump(mode="json") == written


def test_rerun_finds_nothing_to_do(finished: Checkout) -> None:
    printed = finished.snakemake("--configfile", "config/smoke.yaml").stdout
    assert "Nothing to be done" in printed


def planned_after(finished: Checkout, name: str, addition: str) -> dict[str, int]:
    """What a dry run would start after `addition` is put at the end of a file; the file is put back."""
    path = finished.path / name
    before, status = path.read_text(), path.stat()
    path.write_text(before + addition)
    try:
        return finished.planned("--configfile", "config/smoke.yaml")
    finally:
        path.write_text(before)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


LIBRARY = "workflow/scripts/indexscope"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("config/smoke.yaml", {}),
        (
            "config/functions.yaml",  # the tables of functions are made with it
            {
                **{"tabulate_memory_by_function": 1, "tabulate_published_memory": 1, "report": 1, "all": 1},
                **{"plot_ghost": 1, "plot_memory_by_function": 1, "plot_published_beside_ours": 1},
                "answer_questions": 1,
            },
        ),
        ("envs/colbert.in", {}),
        ("README.md", {}),
        # What is named by the digest of its settings stays, whatever the code that made it.
        (f"{LIBRARY}/config.py", {}),
        (f"{LIBRARY}/checkpoints.py", {}),
        (f"{LIBRARY}/corpora/synthetic.py", {}),
        ("workflow/scripts/slice_dataset.py", {}),
        ("workflow/scripts/write_cell.py", {}),
        ("workflow/scripts/compile_extensions.py", {}),
        (f"{LIBRARY}/figures/peak_memory.py", {"plot_peak_memory": 1, "report": 1, "all": 1}),
        (f"{LIBRARY}/report/page.py", {"report": 1, "all": 1}),
    ],
)
def test_a_comment_starts_no_more_than_it_must(
    finished: Checkout, name: str, expected: dict[str, int]
) -> None:
    assert planned_after(finished, name, "\n# A comment.\n") == expected


@pytest.mark.parametrize(
    "name",
    [
        f"{LIBRARY}/analysis/run_directories.py",
        f"{LIBRARY}/analysis/memory_comparison.py",
        f"{LIBRARY}/artifacts/compare.py",
        f"{LIBRARY}/schemas.py",
        "envs/analysis.yaml",
    ],
)
def test_an_edit_of_the_analysis_schedules_no_index_run(finished: Checkout, name: str) -> None:
    jobs = planned_after(finished, name, "\n# A comment.\n")
    assert jobs["report"] == 1
    assert "index_collection" not in jobs


def test_a_changed_lock_of_the_corpora_schedules_no_index_run(finished: Checkout) -> None:
    """Nor a slice: what is named by the digest of its settings is made once."""
    assert planned_after(finished, "envs/corpora.yaml", "\n# A comment.\n") == {}


def test_what_is_missing_is_made_though_its_sources_were_made_by_an_older_lock(finished: Checkout) -> None:
    """Snakemake passes over missing runs downstream of a product that it makes anew and they take as ancient."""
    (finished.path / "more.yaml").write_text(
        "index_memory: {systems: [colbert], grids: [{sizes: [120], profilers: [none], repeats: 3}]}\n"
    )
    path = finished.path / "envs/corpora.yaml"
    before, status = path.read_text(), path.stat()
    path.write_text(before + "\n# A comment.\n")
    try:
        jobs = finished.planned("index_runs", "--configfile", "more.yaml")
    finally:
        path.write_text(before)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert jobs == {"index_collection": 1, "index_runs": 1}


def test_an_edit_of_measuring_schedules_the_runs_that_it_concerns(finished: Checkout) -> None:
    jobs = planned_after(finished, f"{LIBRARY}/measure/spans.py", "\n# A comment.\n")
    assert jobs["index_collection"] == 21
    assert "slice_dataset" not in jobs
    jobs = planned_after(finished, f"{LIBRARY}/frameworks/ragatouille.py", "\n# A comment.\n")
    assert jobs["index_collection"] == 11


def test_a_changed_lock_rebuilds_and_reruns(finished: Checkout) -> None:
    path = finished.path / "envs/colbert.yaml"
    before = path.read_text()
    path.write_text(re.sub(r'"tqdm==[\d.]+', '"tqdm==4.0.0', before))
    assert path.read_text() != before
    try:
        jobs = finished.planned("--configfile", "config/smoke.yaml")
    finally:
        path.write_text(before)
    assert jobs["index_collection"] == 7
    assert jobs["compile_extensions"] == 1


def test_changed_settings_make_a_new_cell_and_the_old_one_stays(finished: Checkout) -> None:
    """Also: a run over its memory limit is a result; the workflow goes on and the report says so."""
    before = {
        path: path.stat().st_mtime_ns for path in finished.path.glob("results/index_runs/*/*/*/*/run.json")
    }
    (finished.path / "limited.yaml").write_text(
        "measurement: {memory_limit_mib: 300}\n"
        "index_memory:\n"
        "  systems: [colbert]\n"
        "  grids: [{sizes: [120], profilers: [none], repeats: 2}]\n"
        "  artifact_pairs: [{name: repeated, left: colbert, right: colbert, right_repeat: 2}]\n"
    )
    finished.snakemake("--configfile", "limited.yaml")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    rows = table(finished, "runs")
    assert [row["outcome"] for row in rows] == ["out_of_memory_host"] * 2
    assert all(300 < row["tree_peak_rss_mib"] < 500 for row in rows)
    assert {row["verdict"] for row in table(finished, "artifact_comparison")} == {"run failed"}
    report = (finished.path / "results/report.html").read_text()
    assert "out of memory" in report.lower()
    # Back to the smoke configuration: the old runs are found, only tables, figures and the report are remade.
    jobs = finished.planned("--configfile", "config/smoke.yaml")
    assert jobs
    assert not {"index_collection", "compile_extensions", "dump_artifacts", "slice_dataset"} & jobs.keys()
    finished.snakemake("--configfile", "config/smoke.yaml")
