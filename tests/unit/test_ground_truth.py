"""Peaks are right: compiled spikes of known size, each in a fresh process, against what the spans say."""

from __future__ import annotations

import json
import mmap
import os
import runpy
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from indexscope import schemas
from indexscope.ground_truth import cases, process, spikes
from indexscope.ground_truth.cases import CURVE, Case
from indexscope.ground_truth.spikes import HELD, HUGE, SMALL, Spike
from indexscope.measure import calibration, proc

BOUND_MIB = calibration.peak_error_bound_mib()
INTERVAL_SECONDS = 0.02
SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("spikes") / "spikes.so"
    missing = pytest.fail if os.environ.get("CI") else pytest.skip
    try:
        spikes.compile_library(str(path))
    except spikes.NoCompiler as error:
        missing(str(error))
    if BOUND_MIB is None:
        pytest.skip(f"no bound is declared for Linux {os.uname().release}: it has one from 6.2 on")
    if not proc.SelfMemory().exact:
        pytest.skip("/proc/self/clear_refs cannot be written here: peaks are lower bounds")
    return str(path)


def rows_of(case: Case, library: str, instrument: str = process.SPANS) -> list[cases.Row]:
    rows = cases.observe(instrument, case, 1, library, INTERVAL_SECONDS)
    for row in rows:
        if (row["detail"] or "").startswith("not made"):
            pytest.skip(row["detail"])
    return rows


def assert_right(row: cases.Row, true_mib: float) -> None:
    assert row["true_mib"] == true_mib
    assert row["seen_mib"] == pytest.approx(true_mib, abs=BOUND_MIB), row
    assert row["within_bound"] is True


def measurable() -> list[Spike]:
    every = [case.spike for case in cases.sizes_and_pages()]
    assert len(set(every)) == 4 * 2 * 2
    # The other three of 2048 MiB are in the target `accuracy`: huge pages of that size can take ten seconds.
    return [spike for spike in every if spike.size_mib < 2048 or spike[2:4] == (HELD, SMALL)]


@pytest.mark.parametrize(
    "spike", measurable(), ids=lambda spike: f"{spike.size_mib}-{spike.gil}-{spike.pages.replace(' ', '')}"
)
def test_a_spike_of_five_milliseconds_is_seen_whole(library: str, spike: Spike) -> None:
    assert spike.hold_seconds == 0.005
    (row,) = rows_of(Case(spike), library)
    assert_right(row, spike.size_mib)
    told = "no huge pages" in (row["detail"] or "")
    assert told == (spike.pages == HUGE and spikes.huge_pages_given() is False)


@pytest.mark.parametrize(
    ("case", "true_mib"),
    [
        ("nested", {"nested, outer": 96, "nested, inner": 32}),
        ("small after large", {"small after large": 4}),
        ("threads", {"threads, together": 512, "threads, each": 512}),
        ("forked child", {"forked child": 64}),
        ("spawned child", {"spawned child": 64}),
        ("exception", {"exception": 64}),
    ],
)
def test_calls_threads_and_children(library: str, case: str, true_mib: dict[str, int]) -> None:
    (made,) = [each for each in cases.of_spans() if each.name == case]
    rows = rows_of(made, library)
    assert [row["case"] for row in rows] == list(true_mib)
    for row in rows:
        assert_right(row, true_mib[row["case"]])
    if case == "exception":
        assert rows[0]["detail"] == "raised ValueError"


@pytest.mark.parametrize(
    ("kind", "true_mib", "counted"),
    [
        (spikes.ANONYMOUS, 64, "anon"),
        (spikes.UNTOUCHED, 0, None),
        (spikes.SHARED, 64, "shmem"),
        (spikes.OF_FILE, 64, "file"),
    ],
)
def test_kinds_of_memory(library: str, tmp_path: Path, kind: str, true_mib: int, counted: str | None) -> None:
    (row,) = rows_of(Case(Spike(64, kind=kind)), library)
    assert_right(row, true_mib)
    # What a span's end has of it while it is held: the kernel counts each kind apart.
    memory = proc.SelfMemory()
    flags = {
        spikes.SHARED: mmap.MAP_SHARED | mmap.MAP_ANONYMOUS,
        spikes.OF_FILE: mmap.MAP_SHARED,
    }.get(kind, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    file = -1
    if kind == spikes.OF_FILE:
        path = tmp_path / "pages"
        path.write_bytes(b"\1" * (64 * spikes.MIB))
        file = os.open(path, os.O_RDWR)
    before = memory.read()
    with mmap.mmap(file, 64 * spikes.MIB, flags=flags) as held:
        if kind != spikes.UNTOUCHED:
            spikes.touch(held)
        after = memory.read()
    risen = {
        name: (getattr(after, name) - getattr(before, name)) / 1024 for name in ("anon", "file", "shmem")
    }
    if kind == spikes.OF_FILE and risen["shmem"] > 32:
        counted = "shmem"  # the folder for temporary files is in memory
    for name, mib in risen.items():
        assert mib == pytest.approx(64 if name == counted else 0, abs=1.5)


def test_killed_in_mid_span_leaves_the_curve(library: str) -> None:
    spans, curve = cases.observe_killed(Spike(512), library, INTERVAL_SECONDS)
    if (spans["detail"] or "").startswith("not made"):
        pytest.skip(spans["detail"])
    assert spans["seen_mib"] is None
    assert spans["detail"] == "ended by SIGKILL; the span was not written"
    assert curve["instrument"] == CURVE
    assert curve["detail"] == "ended by SIGKILL"
    # A curve is written in steps of 256 KiB.
    assert curve["seen_mib"] == pytest.approx(512, abs=BOUND_MIB + 0.25)


def test_other_instruments_see_what_they_can(library: str) -> None:
    long, short = Spike(64, 0.3), Spike(64)
    (curve,) = rows_of(Case(long), library, CURVE)
    assert curve["within_bound"], curve
    (thread,) = rows_of(Case(long), library, process.THREAD)
    assert thread["within_bound"], thread
    (thread,) = rows_of(Case(long._replace(gil=HELD)), library, process.THREAD)
    assert thread["seen_mib"] < 1  # it cannot run
    (lines,) = rows_of(Case(short), library, process.MEMORY_PROFILER)
    assert lines["seen_mib"] < 4  # the line has ended


def test_too_little_free_memory_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spikes, "available_mib", lambda: 1000)
    (row,) = cases.observe(process.SPANS, Case(Spike(2048)), 1, "none.so", INTERVAL_SECONDS)
    assert row["seen_mib"] is row["within_bound"] is None
    assert row["detail"] == "not made: needs 2560 MiB of free memory, 1000 are available"
    for row in cases.observe_killed(Spike(2048), "none.so", INTERVAL_SECONDS):
        assert row["detail"].startswith("not made")


def test_without_a_compiler_the_message_says_how_to_install_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(spikes.NoCompiler, match="apt-get install gcc"):
        spikes.compile_library(str(tmp_path / "spikes.so"))


def test_a_benchmark_counts_from_the_level_before_the_spike() -> None:
    row = cases.benchmark_row(Spike(512, 1.0), 2, 30.5, 542.3)
    assert (row["instrument"], row["repeat"], row["true_mib"]) == ("Snakemake benchmark", 2, 512)
    assert (row["seen_mib"], row["error_mib"]) == (511.8, -0.2)
    assert cases.benchmark_row(Spike(512), 1, 30.5, 8.0)["seen_mib"] == 0  # before Python had even started
    unseen = cases.benchmark_row(Spike(512), 1, 30.5, None)
    assert (unseen["seen_mib"], unseen["error_mib"]) == (0, -512)
    assert unseen["detail"] == "no sample, 30.5 MiB before the spike"


def test_table_of_measured_and_benchmarked_spikes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = [
        cases._row(process.SPANS, Case(Spike(64)), 1, {"seen_mib": 63.9, "true_mib": 64, "detail": ""}),
        cases._row(process.SPANS, Case(Spike(64), "killed"), 1, {"true_mib": 64, "detail": "gone"}),
    ]
    (tmp_path / "spikes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in measured))
    levels, benchmark = tmp_path / "512-100.jsonl", tmp_path / "512-100.tsv"
    levels.write_text('{"base_mib": 30.0}\n[]\n{"base_mib": 31.0}\n[]\n')
    benchmark.write_text("s\th:m:s\tmax_rss\n0.7\t0:00:00\t542.00\n0.3\t0:00:00\tNA\n")
    program = str(SCRIPTS / "tabulate_accuracy.py")
    arguments = ["--levels", levels, "--benchmarks", benchmark, "--output", tmp_path / "table.parquet"]
    monkeypatch.setattr(sys, "argv", [program, str(tmp_path / "spikes.jsonl"), *map(str, arguments)])
    runpy.run_path(program, run_name="__main__")
    table = pyarrow.parquet.read_table(tmp_path / "table.parquet")
    assert table.schema.equals(schemas.MEASUREMENT_ACCURACY)
    rows = table.to_pylist()
    assert [(row["instrument"], row["seen_mib"]) for row in rows] == [
        ("spans", 63.9),
        ("spans", None),
        ("Snakemake benchmark", 512.0),
        ("Snakemake benchmark", 0.0),
    ]
    assert {row["hold_seconds"] for row in rows[2:]} == {0.1}
    benchmark.write_text("s\th:m:s\tmax_rss\n0.7\t0:00:00\t542.00\n")
    with pytest.raises(SystemExit, match=r"512-100\.tsv has 1 rows"):
        runpy.run_path(program, run_name="__main__")
