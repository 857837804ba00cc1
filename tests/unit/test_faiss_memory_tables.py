"""Tables of segments in memory: from lines with known numbers, and from workers that end in every way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import measure_faiss_memory
import numpy as np
import pyarrow.parquet as pq
import pytest
import tabulate_faiss_memory
import tabulate_faiss_published
from checkout import REPOSITORY
from indexscope import schemas
from indexscope.analysis import faiss_memory, faiss_published
from indexscope.faiss_tables import cell, formulas, segments
from indexscope.faiss_tables.agreement import Found
from indexscope.measure.supervised import Limits
from indexscope.run_record import InputError

Row = dict[str, Any]

GEOMETRY = {
    "dim": 64, "nlist": 256, "pq_m": 16, "code_size": 8, "hnsw_m": 16, "vectors_per_segment": 4000,
    "training_vectors": 10240, "seed": 7,
}  # fmt: skip
FILE = 229_300  # bytes of a segment
PUBLISHED = REPOSITORY / "config" / "published" / "faiss_tables.csv"


def memory(rss: int, anonymous: int, pss: int | None = None) -> Row:
    return {"pss": rss if pss is None else pss, "rss": rss, "anonymous": anonymous}


def line(
    load_mode: str = "default", segments: int = 20, repeat: int = 1, kib: int = 1024, **changes: Any
) -> Row:
    """A process that took `kib` of anonymous memory and 8 KiB of pages of files."""
    made = {
        "format": 1,
        "grid": "grid",
        "index_type": "ivf_pq",
        "metric": "l2",
        "geometry": GEOMETRY,
        "segments": segments,
        "load_mode": load_mode,
        "repeat": repeat,
        "outcome": "completed",
        "outcome_detail": None,
        "memory_limit_mib": None,
        "file_bytes": [FILE] * segments,
        "measured": {
            "baseline": memory(100_000, 60_000),
            "loaded": memory(100_008 + kib, 60_000 + kib, pss=99_000 + kib),
            "warm": memory(100_040 + kib, 60_032 + kib),
            "settled": True,
            "load_seconds": 0.25,
            "first_search_seconds": 0.5,
            "faiss_version": "1.14.1",
        },
        "results_digest": "00ff",
        "tree_peak_rss_mib": 120.5,
        "wall_seconds": 1.5,
        "started_at": "2026-01-02T03:04:05.678+00:00",
        "hardware": {"cpu_model": "a CPU", "cpu_count": 2, "memory_total_mib": 16_000.0, "kernel": "6.1"},
        "lock_digest": "0a1b2c3d",
        "git_commit": None,
    }
    return made | changes


def lost(outcome: str = "out_of_memory_host", **changes: Any) -> Row:
    return line(outcome=outcome, outcome_detail="why", measured=None, results_digest=None, **changes)


def write(path: Path, lines: list[Row]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def tabulated(
    tmp_path: Path, lines: list[Row], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Row], list[Row]]:
    """What tabulate_faiss_memory.py makes of `lines`."""
    names = tmp_path / "memory.parquet", tmp_path / "estimates.parquet"
    arguments = ["tabulate", str(write(tmp_path / "lines.jsonl", lines)), "--memory", str(names[0])]
    monkeypatch.setattr("sys.argv", [*arguments, "--estimates", str(names[1])])
    tabulate_faiss_memory.main()
    tables = [pq.read_table(name) for name in names]
    assert [table.schema.names for table in tables] == [
        schemas.FAISS_MEMORY.names,
        schemas.FAISS_ESTIMATES.names,
    ]
    first, second = (table.to_pylist() for table in tables)
    return first, second


# Tabulating


def test_measured_is_what_comes_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,), _ = tabulated(tmp_path, [line(kib=2048)], monkeypatch)
    assert row["measured_anon_mib"] == 2.0
    assert row["measured_file_pages_mib"] == 8 / 1024
    assert row["measured_mib"] == 2 + 8 / 1024
    assert row["measured_pss_mib"] == (2048 - 1000) / 1024  # another process maps the libraries too
    assert row["warm_measured_mib"] == 2 + 40 / 1024
    assert row["file_mib"] == pytest.approx(20 * FILE / 2**20)
    assert row["tables_mib"] == 80.0
    assert row["hnsw_m"] is None
    assert row["nlist"] == 256
    parts = [name for name in row if name.removesuffix("_mib") in formulas.Parts._fields]
    assert row["formula_mib"] == pytest.approx(sum(row[name] for name in parts))
    assert len(parts) == len(formulas.Parts._fields)


def test_a_cell_is_without_sizes_that_its_type_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line(index_type=kind) for kind in ("ivf_flat", "hnsw_pq")]
    rows, _ = tabulated(tmp_path, lines, monkeypatch)
    nulls = [[name for name in ("nlist", "pq_m", "code_size", "hnsw_m") if row[name] is None] for row in rows]
    assert nulls == [["pq_m", "code_size", "hnsw_m"], ["nlist"]]


def test_a_process_that_was_ended_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,), estimates = tabulated(tmp_path, [lost(memory_limit_mib=64)], monkeypatch)
    assert (row["outcome"], row["outcome_detail"], row["memory_limit_mib"]) == (
        "out_of_memory_host",
        "why",
        64,
    )
    assert row["measured_mib"] is None
    assert row["formula_mib"] > 80
    assert {estimate["runs"] for estimate in estimates} == {0}
    assert {estimate["error"] for estimate in estimates} == {None}


def test_errors_of_estimates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Median of completed repeats; the ended one does not count."""
    lines = [line(repeat=number, kib=kib) for number, kib in enumerate((1016, 2040, 4088), 1)]
    _, estimates = tabulated(tmp_path, [*lines, lost(repeat=4)], monkeypatch)
    of = {estimate["estimator"]: estimate for estimate in estimates}
    assert list(of) == [
        "formula", "file size", "accounting tool", "estimate 1", "estimate 2", "estimate 3", "estimate 4",
    ]  # fmt: skip
    for estimate in estimates:
        assert (estimate["runs"], estimate["measured_mib"]) == (3, 2.0)
        assert (estimate["measured_low_mib"], estimate["measured_high_mib"]) == (1.0, 4.0)
        assert estimate["error"] == pytest.approx(estimate["estimated_mib"] / 2 - 1)


def test_published_estimates() -> None:
    """By hand, for 20 segments of 4,000 vectors: codes of 16 bytes, PQ centroids 65,536 bytes, coarse ones as many."""

    def estimated(name: str, **changes: Any) -> float | None:
        record = faiss_memory._record(line(**changes), "line 1")
        (estimator,) = [each for each in faiss_memory.ESTIMATORS if each.name == name]
        return estimator.bytes_of(record)

    vectors = 40 * 80_000
    assert estimated("estimate 1") == pytest.approx(1.1 * (vectors + 2 * 65_536))
    assert estimated("estimate 2") == pytest.approx(1.1 * (vectors + 20 * 2 * 65_536))
    assert estimated("estimate 3") == pytest.approx(1.1 * (vectors + 20 * 2 * 65_536 + (4 << 20)))
    assert estimated("estimate 4") == pytest.approx(1.1 * (vectors + 20 * 2 * 65_536 + 20 * (4 << 20)))
    # HNSWPQ: 16 + 24 + 8 * 16 bytes a vector, PQ centroids, and before the fix an SDC table, for each segment.
    graph = 168 * 80_000 + 20 * 65_536
    assert estimated("estimate 3", index_type="hnsw_pq") == pytest.approx(1.1 * graph)
    assert estimated("estimate 4", index_type="hnsw_pq") == pytest.approx(1.1 * (graph + 20 * (4 << 20)))
    assert estimated("estimate 1", index_type="ivf_flat") == pytest.approx(1.1 * (256 * 80_000 + 65_536))
    for name in ("estimate 3", "estimate 4"):
        assert estimated(name, index_type="ivf_pq", metric="inner_product") is None
        assert estimated(name, index_type="ivf_flat") is None
    # 229,300 bytes are 223 KB and a rest; k-NN adds one.
    assert estimated("accounting tool") == 20 * 224 * 1024
    assert estimated("file size") == 20 * FILE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no line"),
        ("{", "line 1 is no JSON"),
        (json.dumps({"format": 2}), "format: 2 is not 1"),
        (json.dumps(line() | {"measured": None}), "does not go with what is measured"),
        (
            json.dumps({key: value for key, value in line().items() if key != "geometry"}),
            "'geometry' is missing",
        ),
        (json.dumps(line(index_type="lsh")), "'lsh' is missing or damaged"),
    ],
)
def test_damaged_lines_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(text and text + "\n")
    with pytest.raises(InputError, match=r"lines\.jsonl") as error:
        faiss_memory.read([path])
    assert said in str(error.value)


def test_a_missing_measurement_is_refused(tmp_path: Path) -> None:
    broken = line()
    del broken["measured"]["warm"]
    records = faiss_memory.read([write(tmp_path / "lines.jsonl", [broken])])
    with pytest.raises(InputError, match="line 1: measured: 'warm' is missing"):
        list(faiss_memory.memory_rows(records))


# Published


def rows_of_rfc(default: float, shared: float) -> list[Row]:
    sizes = {
        "index_type": "ivf_pq",
        "metric": "l2",
        "nlist": 2048,
        "pq_m": 64,
        "code_size": 8,
        "segments": 100,
    }
    return [
        {**sizes, "load_mode": mode, "outcome": "completed", "measured_mib": value}
        for mode, value in (("default", default), ("shared", shared), ("skip", 200.0))
    ]


def test_published_tables_beside_formula() -> None:
    facts = faiss_published.read_facts(PUBLISHED)
    rows = list(faiss_published.published_rows(facts, []))
    assert {
        (row["source"].partition(",")[0], row["verdict"]) for row in rows if row["verdict"] == "differs"
    } == {("prototype", "differs")}
    assert all(row["measured_mib"] is None for row in rows)
    rfc = [row["formula_mib"] for row in rows if row["source"].startswith("RFC")]
    assert rfc == [12.5 * 1024, 0.125 * 1024]


def test_what_was_measured_here_decides() -> None:
    facts = [fact for fact in faiss_published.read_facts(PUBLISHED) if fact["source"].startswith("RFC")]
    before, after = faiss_published.published_rows(facts, rows_of_rfc(13_010.0, 400.0))
    assert (before["measured_mib"], before["verdict"]) == (12_810.0, "reproduced")
    assert (after["measured_mib"], after["verdict"]) == (200.0, "differs")
    ended = [row | {"outcome": "out_of_memory_host"} for row in rows_of_rfc(13_010.0, 400.0)]
    assert {row["verdict"] for row in faiss_published.published_rows(facts, ended)} == {"not run here"}


def test_the_prototype_by_formula() -> None:
    """Measured before this project: 20 indexes of 200,000 vectors took 305.3 MiB without a table, 433.9 with one."""
    geometry = formulas.Geometry(128, 2048, 64, 8, 0, 200_000)
    for mode, measured in (("skip", 305.3), ("shared", 433.9)):
        total = formulas.memory("ivf_pq", "l2", geometry, 20, mode).total / 2**20
        assert total == pytest.approx(measured, rel=0.005)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("quantity,", "quantities,"), "lacks the column quantity"),
        (("tables after", "tables later"), "line 3: quantity: 'tables later' is not known"),
        (("12800", "much"), "line 2: could not convert"),
    ],
)
def test_damaged_facts_are_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(PUBLISHED.read_text().replace(*change, 1))
    with pytest.raises(InputError, match=r"facts\.csv") as error:
        faiss_published.read_facts(path)
    assert said in str(error.value)


def test_published_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tabulated(tmp_path, [line()], monkeypatch)
    arguments = ["tabulate", "--published", str(PUBLISHED), "--memory", str(tmp_path / "memory.parquet")]
    monkeypatch.setattr("sys.argv", [*arguments, "--output", str(tmp_path / "published.parquet")])
    tabulate_faiss_published.main()
    assert pq.read_table(tmp_path / "published.parquet").num_rows == len(
        faiss_published.read_facts(PUBLISHED)
    )
    other = tmp_path / "estimates.parquet"
    monkeypatch.setattr(
        "sys.argv", [*arguments, "--rfc", str(other), "--output", str(tmp_path / "x.parquet")]
    )
    with pytest.raises(SystemExit, match=r"has no column load_mode|has no column outcome"):
        tabulate_faiss_published.main()
    assert not (tmp_path / "x.parquet").exists()


# Processes

_RESULT = {"format": 1, **line()["measured"]}
_FOUND = """
import json, sys, numpy
from pathlib import Path
output = Path(sys.argv[sys.argv.index("--output") + 1])
numpy.savez(output.with_name("results.npz"), ids=numpy.zeros((1, 1), dtype="int64"),
            distances=numpy.zeros((1, 1), dtype="float32"))
"""


def ended_by(tmp_path: Path, program: str, limit: int | None = None) -> cell.Ended:
    """How a worker that runs `program` ends."""
    worker = tmp_path / "worker.py"
    worker.write_text(program)
    limits = Limits(0.01, 30, memory_limit_mib=limit)
    return cell.run_worker(worker, tmp_path, 1, "default", limits, 1, tmp_path)


def test_a_worker_that_completes(tmp_path: Path) -> None:
    ended = ended_by(tmp_path, f"{_FOUND}\noutput.write_text({json.dumps(_RESULT)!r})")
    assert ended.outcome == "completed"
    assert ended.measured is not None
    assert ended.found is not None
    assert ended.measured.loaded.rss - ended.measured.baseline.rss == 1032
    assert ended.measured.loaded.file_pages - ended.measured.baseline.file_pages == 8
    assert ended.found.ids.shape == (1, 1)


def test_a_truncated_result_is_no_result(tmp_path: Path) -> None:
    ended = ended_by(tmp_path, f"{_FOUND}\noutput.write_text({json.dumps(_RESULT)[:-40]!r})")
    assert (ended.outcome, ended.measured) == ("failed", None)
    assert "result.json cannot be read as JSON" in str(ended.outcome_detail)
    lacking = {key: value for key, value in _RESULT.items() if key != "loaded"}
    ended = ended_by(tmp_path, f"{_FOUND}\noutput.write_text({json.dumps(lacking)!r})")
    assert ended.outcome == "failed"
    assert "'loaded' is missing" in str(ended.outcome_detail)


def test_missing_results_are_no_completion(tmp_path: Path) -> None:
    """Not even where an earlier process left some."""
    ended_by(tmp_path, f"{_FOUND}\noutput.write_text({json.dumps(_RESULT)!r})")
    ended = ended_by(
        tmp_path, f"{_FOUND.partition('numpy.savez')[0]}\noutput.write_text({json.dumps(_RESULT)!r})"
    )
    assert ended.outcome == "failed"
    assert "results.npz cannot be read" in str(ended.outcome_detail)


def test_a_worker_that_passes_the_limit(tmp_path: Path) -> None:
    ended = ended_by(tmp_path, "import time\nheld = b'x' * (256 << 20)\ntime.sleep(60)", limit=128)
    assert (ended.outcome, ended.measured) == ("out_of_memory_host", None)
    assert ended.run.tree_peak_rss_mib > 128


def test_a_worker_that_says_why(tmp_path: Path) -> None:
    ended = ended_by(tmp_path, "import sys\nsys.exit('InputError: a file is truncated')")
    assert (ended.outcome, ended.outcome_detail) == ("failed", "InputError: a file is truncated")


def test_order_of_processes() -> None:
    """Every cell in every repeat; what is first in one turn is not first in the next."""
    settings = measure_faiss_memory.Settings([1, 2, 5], ["default", "skip", "shared"], 3, None, 1, 60, None)
    planned = list(measure_faiss_memory.processes(settings))
    assert len(planned) == len(set(planned)) == 27
    assert [process.repeat for process in planned] == sorted(process.repeat for process in planned)
    first = [process.load_mode for process in planned[::3]]
    assert first == ["default", "skip", "shared"] * 3


def test_results_have_one_name_where_they_differ_by_rounding() -> None:
    ids = np.arange(20).reshape(2, 10)
    distances = np.linspace(1, 2, 20, dtype=np.float32).reshape(2, 10)
    results = measure_faiss_memory.Results()
    name = results.name(5, Found(ids, distances))
    assert results.name(5, Found(ids, distances * np.float32(1 + 1e-6))) == name
    assert results.name(5, Found(ids[:, ::-1], distances)) != name
    assert results.name(5, Found(ids, distances * np.float32(1.01))) != name


@pytest.mark.parametrize("text", ["[", "[]", '{"segments": [1]}'])
def test_damaged_settings_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--settings"):
        measure_faiss_memory.Settings.read(text)


# Folders of segments


def folder(path: Path, **content: Any) -> Path:
    """A folder whose files hold a byte for each letter of their names."""
    path.mkdir()
    names = ["segment-000.faiss", "segment-001.faiss", segments.QUERIES, segments.PRIMER]
    for name in names:
        (path / name).write_text(name)
    described = {"index_type": "ivf_pq", "metric": "l2", "segments": 2, "geometry": GEOMETRY, **content}
    record = {
        "format": 1,
        "content": described,
        "faiss_version": "1.14.1",
        "bytes": {name: len(name) for name in names},
    }
    (path / segments.MANIFEST).write_text(json.dumps(record))
    return path


def test_a_folder_of_segments(tmp_path: Path) -> None:
    read = segments.read(folder(tmp_path / "made"))
    assert [path.name for path in read.files(2)] == ["segment-000.faiss", "segment-001.faiss"]
    assert read.sizes(1) == [17]
    assert read.content.sizes.nlist == 256
    with pytest.raises(InputError, match="holds 2 segments, not 3"):
        read.files(3)


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest.json is missing: run build_faiss_segments.py again"):
        segments.read(tmp_path)
    with pytest.raises(InputError, match="index_type: 'lsh' is none of"):
        segments.read(folder(tmp_path / "kind", index_type="lsh"))
    with pytest.raises(InputError, match="'seed' is missing"):
        segments.read(folder(tmp_path / "seed", geometry={k: v for k, v in GEOMETRY.items() if k != "seed"}))
    truncated = folder(tmp_path / "truncated")
    (truncated / "segment-001.faiss").write_text("short")
    with pytest.raises(InputError, match=r"segment-001\.faiss is missing or has not the 17 bytes"):
        segments.read(truncated)
