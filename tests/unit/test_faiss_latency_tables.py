"""Searches with and without the table, and the RFC's alternatives: known times and memory, and what is said of them."""

from __future__ import annotations

import json
import math
import runpy
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from indexscope import schemas
from indexscope.analysis.faiss_alternatives import read_records, tabulate_alternatives
from indexscope.analysis.faiss_latency import (
    Point,
    break_even,
    tabulate_break_even,
    tabulate_latency,
    verdict,
)
from indexscope.faiss_tables.agreement import Found, compare
from indexscope.run_record import InputError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
ROUNDS = 6


def record(
    way: str, round_number: int, milliseconds: float, list_length: int = 4, nprobe: int = 1, **columns: Any
) -> dict[str, Any]:
    """A round of 101 queries whose median is `milliseconds`, p90 1.8 and p99 1.98 times that."""
    times = [round(milliseconds * 1e6 * step / 50) for step in range(101)]
    return {
        "index_type": "ivf_pq", "dim": 64, "nlist": 256, "pq_m": 16, "code_size": 8, "list_length": list_length,
        "vectors": 256 * list_length, "nprobe": nprobe, "way": way, "round": round_number, "queries": 101,
        "nanoseconds": times, "overhead_nanoseconds": 2000, "results_digest": "0" * 16,
        "agreement": "identical", "largest_difference": 0.0,
    } | columns  # fmt: skip


def rounds(with_ms: float, list_length: int = 4, nprobe: int = 1) -> list[dict[str, Any]]:
    """Without the table 1 ms, with it `with_ms`, shared 1 % more than that."""
    ways = {"with": with_ms, "without": 1.0, "shared": 1.01 * with_ms}
    return [
        record(way, number, value * (1 + number / 1000), list_length, nprobe)
        for number in range(ROUNDS)
        for way, value in ways.items()
    ]


def compared(rows: list[dict[str, Any]], **columns: Any) -> dict[str, Any]:
    wanted = {"compared": "with by without", "quantile": "p50"} | columns
    (found,) = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return found


def test_quantiles_of_a_round() -> None:
    (row,) = tabulate_latency([record("with", 0, 0.5)])
    assert row["p50_ms"] == pytest.approx(0.5)
    assert row["p90_ms"] == pytest.approx(0.9)
    assert row["p99_ms"] == pytest.approx(0.99)
    assert row["overhead_ms"] == pytest.approx(0.002)


def test_a_planted_ratio_is_found_in_every_quantile() -> None:
    rows = tabulate_break_even(list(tabulate_latency(rounds(0.25))))
    assert len(rows) == 2 * 3
    for quantile, scale in {"p50": 1, "p90": 1.8, "p99": 1.98}.items():
        row = compared(rows, quantile=quantile)
        assert row["ratio"] == pytest.approx(0.25, rel=1e-4)
        assert row["saved_ms"] == pytest.approx(0.75 * scale, rel=5e-3)
        assert (row["verdict"], row["rounds"]) == ("faster", ROUNDS)
        # 256 lists × 16 subquantizers × 256 centroids × 4 bytes.
        assert row["table_mib"] == 4
        assert compared(rows, quantile=quantile, compared="shared by with")["verdict"] == "no difference"


def test_rounds_are_compared_with_themselves() -> None:
    # The machine becomes ten times as slow; the ratio stays.
    records = [
        record(way, number, value * 10**number)
        for number in range(3)
        for way, value in {"with": 2.0, "without": 1.0}.items()
    ]
    row = compared(tabulate_break_even(list(tabulate_latency(records))))
    assert (row["ratio_low"], row["ratio_high"]) == (pytest.approx(2), pytest.approx(2))
    assert row["verdict"] == "slower"


def test_the_worst_agreement_of_the_rounds_is_told() -> None:
    records = rounds(0.5)
    records[4] |= {"agreement": "equal to rounding"}
    assert (records[4]["way"], records[4]["round"]) == ("without", 1)
    rows = tabulate_break_even(list(tabulate_latency(records)))
    assert compared(rows)["agreement"] == "equal to rounding"
    assert compared(rows, compared="shared by with")["agreement"] == "identical"


def test_the_break_even_of_a_planted_change_of_sign() -> None:
    # log(1.5) to log(1 / 1.5) from 4 to 64: passes 0 halfway, at sqrt(4 × 64) = 16.
    records = rounds(1.5, 4) + rounds(1 / 1.5, 64) + rounds(0.5, 1024)
    rows = tabulate_break_even(list(tabulate_latency(records)))
    for length in (4, 64, 1024):
        row = compared(rows, list_length=length)
        assert row["break_even_list_length"] == pytest.approx(16, rel=1e-3)
        assert row["break_even_nprobe"] is None
    # log(4) at 1, log(1 / 2) at 8: passes 0 at two thirds, 8 ** (2 / 3) = 4.
    records = rounds(4, nprobe=1) + rounds(0.5, nprobe=8)
    rows = tabulate_break_even(list(tabulate_latency(records)))
    assert compared(rows, nprobe=8)["break_even_nprobe"] == pytest.approx(4, rel=1e-3)
    assert compared(rows, nprobe=8)["break_even_list_length"] is None


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([Point(1, 0.5, "faster"), Point(4, 0.5, "faster")], None),
        ([Point(1, 2, "slower"), Point(4, 2, "slower")], None),
        # The other way round: faster up to a length is no length from which on it is faster.
        ([Point(1, 0.5, "faster"), Point(4, 2, "slower")], None),
        # Rounds that disagree do not make a break-even, but lie on its line.
        ([Point(1, 1.1, "no difference"), Point(4, 0.9, "no difference")], None),
        ([Point(1, 4, "slower"), Point(4, 2, "no difference"), Point(16, 0.5, "faster")], 8),
        ([Point(1, 4, "slower"), Point(4, 0.5, "no difference"), Point(16, 0.5, "faster")], 2 ** (4 / 3)),
        # Slower again in between: from the last passing on.
        (
            [
                Point(1, 4, "slower"),
                Point(4, 0.5, "faster"),
                Point(16, 2, "slower"),
                Point(64, 0.5, "faster"),
            ],
            32,
        ),
        ([Point(16, 1, "slower"), Point(64, 0.5, "faster")], 16),
        # Given in any order.
        ([Point(64, 0.5, "faster"), Point(16, 2, "slower")], 32),
    ],
)
def test_break_even(points: list[Point], expected: float | None) -> None:
    found = break_even(points)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([0.5, 0.9, 0.99], "faster"),
        ([1.5, 1.1, 1.01], "slower"),
        ([0.5, 0.9, 1.01], "no difference"),
        ([0.99, 0.985, 0.99], "no difference"),
        ([1.01, 1.015, 1.001], "no difference"),
    ],
)
def test_verdict(ratios: list[float], expected: str) -> None:
    assert verdict(ratios) == expected


def test_an_index_without_lists_has_no_break_even() -> None:
    columns = {"index_type": "hnsw_pq", "nlist": None, "list_length": None, "nprobe": None, "vectors": 4000}
    records = [one | columns for one in rounds(1.5)]
    row = compared(tabulate_break_even(list(tabulate_latency(records))))
    # 16 subquantizers × 256 × 256 centroids × 4 bytes.
    assert (row["table_mib"], row["verdict"]) == (4, "slower")
    assert (row["break_even_list_length"], row["break_even_nprobe"]) == (None, None)


def run(script: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    path = SCRIPTS / script
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    runpy.run_path(str(path), run_name="__main__")


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def test_what_the_program_writes_has_the_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = write_lines(tmp_path / "latency.jsonl", rounds(1.5, 4) + rounds(0.5, 64))
    outputs = [tmp_path / "latency.parquet", tmp_path / "break_even.parquet"]
    run(
        "tabulate_faiss_latency.py", monkeypatch, records, "--latency", outputs[0], "--break-even", outputs[1]
    )
    latency, even = (pq.read_table(path) for path in outputs)
    assert (latency.schema.names, even.schema.names) == (
        schemas.FAISS_LATENCY.names,
        schemas.FAISS_BREAK_EVEN.names,
    )
    assert (latency.num_rows, even.num_rows) == (2 * 3 * ROUNDS, 2 * 2 * 3)
    # log(1.5) at 4, -log(2) at 64.
    share = math.log(1.5) / math.log(3)
    lengths = [
        row["break_even_list_length"] for row in even.to_pylist() if row["compared"] == "with by without"
    ]
    assert lengths == [pytest.approx(4 * 16**share, rel=1e-3)] * 6


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no line"),
        ("{\n", "line 1 is no JSON"),
        ('{"way": "with"}\n', "line 1 has no index_type"),
        (json.dumps(record("with", 0, 1) | {"queries": 7}) + "\n", "has 101 times of 7 queries"),
    ],
)
def test_a_damaged_record_is_a_sentence(
    text: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = tmp_path / "latency.jsonl"
    records.write_text(text)
    with pytest.raises(SystemExit, match=sentence):
        outputs = ["--latency", tmp_path / "l", "--break-even", tmp_path / "b"]
        run("tabulate_faiss_latency.py", monkeypatch, records, *outputs)
    assert list(tmp_path.iterdir()) == [records]


# Whether two searches found the same


def found(ids: list[list[int]], distances: list[list[float]]) -> Found:
    return Found(np.array(ids, dtype=np.int64), np.array(distances, dtype=np.float32))


@pytest.mark.parametrize(
    ("ids", "distances", "expected"),
    [
        ([[1, 2, 3]], [[1, 2, 4]], "identical"),
        ([[1, 2, 3]], [[1, 2, 4.00001]], "equal to rounding"),
        ([[1, 2, 3]], [[1, 2, 4.001]], "different"),
        # 2 and 3 are as far off as each other, 1 is not.
        ([[1, 3, 2]], [[1, 2, 4]], "different"),
        ([[2, 1, 3]], [[1, 2, 4]], "different"),
        # Beyond the last rank another vector may be as near.
        ([[1, 2, 9]], [[1, 2, 4]], "equal to rounding"),
        ([[1, 9, 3]], [[1, 2, 4]], "different"),
        ([[1, 2, -1]], [[1, 2, 3.4e38]], "different"),
        ([[1, 2]], [[1, 2]], "different"),
    ],
)
def test_agreement(ids: list[list[int]], distances: list[list[float]], expected: str) -> None:
    assert compare(found([[1, 2, 3]], [[1, 2, 4]]), found(ids, distances)).verdict == expected


def test_what_is_equally_far_may_change_places() -> None:
    left = found([[1, 2, 3, 4]], [[1, 2, 2, 4]])
    assert compare(left, found([[1, 3, 2, 4]], [[1, 2, 2, 4]])).verdict == "equal to rounding"
    assert compare(left, found([[1, 3, 2, 4]], [[1, 2, 2.1, 4]])).verdict == "different"
    nothing = found([[1, -1]], [[1, 3.4e38]])
    assert compare(nothing, found([[1, -1]], [[1, 3.3e38]])).largest_difference == 0


# The RFC's alternatives

GEOMETRY = {"dim": 64, "nlist": 256, "pq_m": 16, "code_size": 8, "hnsw_m": 16, "vectors_per_segment": 4000}


def alternative(name: str, loaded_mib: list[float], p50: list[int], **columns: Any) -> dict[str, Any]:
    processes = [
        {
            "outcome": "completed", "outcome_detail": None, "baseline_kib": {"rss": 1024}, "load_seconds": 1.0,
            "loaded_kib": {"rss": 1024 + round(1024 * mib)},
        }
        for mib in loaded_mib
    ]  # fmt: skip
    return {
        "index_type": "ivf_pq", "metric": "l2", "geometry": GEOMETRY, "segments": 20, "alternative": name,
        "possible": True, "reason": None, "processes": processes, "p50_nanoseconds": p50, "extra_file_bytes": 0,
        "agreement": "identical", "largest_difference": 0.0, "can_add": True,
    } | columns  # fmt: skip


def test_alternatives_are_set_beside_keeping() -> None:
    records = [
        alternative("keep", [90, 80, 100], [1000, 2000, 4000]),
        alternative(
            "disable", [10], [3000, 6000, 8000], agreement="equal to rounding", largest_difference=1e-7
        ),
        alternative("serialise with the model", [90], [1000, 2000, 4000], extra_file_bytes=4 * 2**20),
        alternative("initialise from the model index", [94], [1000, 2000, 4000]),
        alternative("share", [14], [1000, 2000, 4000], agreement="different"),
    ]
    keep, disable, serialise, initialise, share = tabulate_alternatives(records)
    assert (keep["measured_low_mib"], keep["measured_mib"], keep["measured_high_mib"]) == (80, 90, 100)
    assert (keep["runs"], keep["search_by_keep"], keep["search_p50_ms"]) == (3, 1, 0.002)
    # 3, 3 and 2 times, each within its round.
    assert [disable[f"search_by_keep{end}"] for end in ("_low", "", "_high")] == [2, 3, 3]
    assert (disable["results_equal"], share["results_equal"]) == (True, False)
    # Tables of 4 MiB: one a segment, and one of the model.
    assert [row["tables_mib"] for row in (keep, disable, serialise, initialise, share)] == [80, 0, 80, 84, 4]
    assert serialise["extra_file_mib"] == 4
    assert (keep["nlist"], keep["pq_m"], keep["hnsw_m"]) == (256, 16, None)


def test_an_alternative_that_failed_or_is_impossible_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = alternative("keep", [1], [])
    failed["processes"][0] |= {
        "outcome": "out_of_memory_host", "outcome_detail": "it grew", "loaded_kib": None, "baseline_kib": None,
    }  # fmt: skip
    nothing = {"possible": False, "reason": "it has no table", "extra_file_bytes": None, "can_add": None}
    lacking = alternative("share", [], [], index_type="ivf_flat", agreement=None, **nothing)
    path = write_lines(tmp_path / "alternatives.jsonl", [failed, lacking])
    run("tabulate_faiss_alternatives.py", monkeypatch, path, "--output", tmp_path / "alternatives.parquet")
    first, second = pq.read_table(tmp_path / "alternatives.parquet").to_pylist()
    assert (first["runs"], first["measured_mib"], first["reason"]) == (0, None, "out_of_memory_host: it grew")
    assert (second["possible"], second["reason"], second["tables_mib"]) == (False, "it has no table", None)
    assert (second["nlist"], second["pq_m"], second["results_equal"]) == (256, None, None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no line"),
        ("[]\n", "line 1 has no index_type"),
        (json.dumps(alternative("guess", [], [])), "'guess' is not known"),
    ],
)
def test_damaged_alternatives_are_a_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "alternatives.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_records(path)
