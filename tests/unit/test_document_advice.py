"""The recommendation: planted winners, ties, loaders that do not fit, and runs without repeats."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import advise_document_access
import document_rows
import pyarrow.parquet as pq
import pytest
from indexscope import schemas
from indexscope.analysis.document_advice import advice_rows

Row = dict[str, Any]


def runs(loader: str, *speeds: float, pss: float = 300.0, opens: float = 0.1, **columns: Any) -> list[Row]:
    """Runs of one loader, one for each speed."""
    return [
        document_rows.training(
            loader, repeat=repeat, samples_per_second=speed, tree_pss_mib=pss, open_seconds=opens, **columns
        )
        for repeat, speed in enumerate(speeds, start=1)
    ]


def advised(*groups: list[Row], fetches: list[Row] | None = None) -> list[Row]:
    return list(advice_rows([row for rows in groups for row in rows], fetches or []))


def order(rows: list[Row]) -> list[str]:
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loader"] for row in rows]


def test_the_fastest_by_more_than_repeats_differ_wins_whatever_it_takes() -> None:
    rows = advised(runs("arrow", 90.0, 91.0, pss=100.0), runs("in_memory", 99.0, 101.0, pss=500.0))
    assert order(rows) == ["in_memory", "arrow"]
    assert [row["within_spread"] for row in rows] == [True, False]
    assert (
        "100.0 samples/s (99.0 to 101.0 in 2 runs), the fastest by more than repeats differ"
        in rows[0]["reason"]
    )
    assert "9.5% slower than in_memory, more than repeats differ" in rows[1]["reason"]
    assert (rows[0]["samples_per_second_low"], rows[0]["samples_per_second_high"]) == (99.0, 101.0)


def test_what_reading_does_not_explain_makes_no_loader_slower() -> None:
    def with_reading(rows: list[Row], fetch: float) -> list[Row]:
        return [row | {"step_seconds": 0.1, "fetch_seconds": fetch} for row in rows]

    fast, slow = runs("in_memory", 99.0, 101.0, pss=500.0), runs("arrow", 80.0, 81.0, pss=100.0)
    rows = advised(with_reading(fast, 0.0001), with_reading(slow, 0.0009))
    assert order(rows) == ["arrow", "in_memory"]  # the lighter one: reading takes 0.8 % of a step more
    assert [row["within_spread"] for row in rows] == [False, True]
    assert [row["reading_share"] for row in rows] == pytest.approx([0.008, 0.0])
    assert (
        "slower by more than reading explains (which takes at most 0.8% of a step more" in rows[0]["reason"]
    )
    rows = advised(with_reading(fast, 0.0001), with_reading(slow, 0.0121))
    assert order(rows) == ["in_memory", "arrow"]  # 12 % more
    # Workers read beside the step: what is waited for counts.
    waiting = [row | {"workers": 1, "wait_seconds": 0.0001} for row in with_reading(slow, 0.0121)]
    idle = [row | {"workers": 1, "wait_seconds": 0.0001} for row in with_reading(fast, 0.0001)]
    assert order(advised(idle, waiting)) == ["arrow", "in_memory"]


def test_of_equally_fast_loaders_the_one_with_least_memory_wins() -> None:
    rows = advised(
        runs("in_memory", 99.0, 101.0, pss=500.0, opens=0.01),
        runs("offset_index", 98.0, 99.5, pss=300.0, opens=5.0),
        runs("ir_datasets", 97.0, 99.0, pss=400.0),
        runs("arrow", 80.0, 98.9, pss=10.0),
    )
    # ir_datasets reaches the slowest run of the fastest; arrow does not.
    assert order(rows) == ["offset_index", "ir_datasets", "in_memory", "arrow"]
    assert [row["within_spread"] for row in rows] == [True, True, True, False]
    assert "one of 3 loaders between which repeats tell no difference in speed" in rows[0]["reason"]
    assert "the one with the least memory" in rows[0]["reason"]
    assert "takes 200 MiB more than offset_index" in rows[2]["reason"]


def test_of_those_that_take_equally_much_the_one_that_opens_soonest_wins() -> None:
    rows = advised(
        runs("in_memory", 99.0, 101.0, pss=300.0, opens=2.0),
        runs("arrow", 98.0, 102.0, pss=302.0, opens=0.02),
        runs("offset_index", 99.0, 100.0, pss=304.0, opens=0.01),
    )
    # Within one per cent memory is equal; the third is beyond, and comes after those that are not.
    assert order(rows) == ["arrow", "in_memory", "offset_index"]
    assert "the one that opens soonest" in rows[0]["reason"]
    assert "with as much memory opens no sooner than arrow" in rows[1]["reason"]


def test_the_order_of_the_rows_decides_nothing() -> None:
    groups = [
        runs(loader, 99.0, 101.0, pss=300.0, opens=0.1 * number)
        for number, loader in enumerate(document_rows.LOADERS)
    ]
    assert order(advised(*reversed(groups))) == order(advised(*groups)) == document_rows.LOADERS


@pytest.mark.parametrize("outcome", ["out_of_memory_host", "failed", "timed_out"])
def test_what_did_not_complete_is_last_and_says_why(outcome: str) -> None:
    rows = advised(
        runs("in_memory", 500.0, 500.0, outcome="completed"),
        [document_rows.training("in_memory", repeat=3, outcome=outcome)],
        runs("arrow", 90.0, 91.0),
        [document_rows.training("offset_index", outcome=outcome)],
    )
    assert order(rows) == ["arrow", "in_memory", "offset_index"]
    assert [row["fits"] for row in rows] == [True, False, False]
    assert f"ended as {outcome.replace('_', ' ')} (made-up reason of {outcome})" in rows[1]["reason"]
    assert rows[2]["samples_per_second"] is None
    assert rows[1]["within_spread"] is None


def test_what_takes_more_than_the_machine_has_does_not_fit() -> None:
    rows = advised(runs("in_memory", 99.0, 101.0, pss=9000.0), runs("arrow", 50.0, 51.0))
    assert order(rows) == ["arrow", "in_memory"]
    assert rows[1]["fits"] is False
    assert rows[1]["reason"] == "in_memory takes 9,000 MiB, more than the machine's 8,192 MiB."


def test_without_repeats_nothing_is_equally_fast() -> None:
    rows = advised(runs("in_memory", 100.0, pss=500.0), runs("arrow", 99.9, pss=100.0))
    assert order(rows) == ["in_memory", "arrow"]
    assert [row["within_spread"] for row in rows] == [True, None]
    for row in rows:
        assert "there are no repeats" in row["reason"]
    assert "0.1% slower than in_memory, but" in rows[1]["reason"]


def test_one_run_alone_says_that_there_are_no_repeats() -> None:
    (row,) = advised(runs("arrow", 90.0))
    assert "the only one that can be had here (one run: there are no repeats)" in row["reason"]


def test_situations_are_apart_and_those_without_a_choice_are_left_out() -> None:
    rows = advised(
        runs("in_memory", 90.0, 91.0),
        runs("arrow", 80.0, 81.0),
        runs("in_memory", 20.0, 21.0, cache="cold"),
        runs("arrow", 30.0, 31.0, cache="cold"),
        runs("arrow", 70.0, workers=2),
        [document_rows.training("arrow", "data_parallel", 2, outcome="unsupported")],
    )
    best = {row["situation"]: row["loader"] for row in rows if row["rank"] == 1}
    assert best == {
        "single, world size 1, warm page cache, 2,000 documents": "in_memory",
        "single, world size 1, cold page cache, 2,000 documents": "arrow",
    }


def test_trainings_under_a_limit_are_no_situation() -> None:
    assert advised(document_rows.limited()) == []


def test_fetches_of_the_same_page_cache_are_told() -> None:
    fetches = [
        document_rows.fetch("arrow", cache=cache, repeat=repeat, p50_us=value)
        for cache, values in (("warm", (3.0, 4.0, 50.0)), ("cold", (900.0, 900.0, 900.0)))
        for repeat, value in enumerate(values, start=1)
    ]
    rows = advised(runs("arrow", 90.0, 91.0), runs("in_memory", 80.0, 81.0), fetches=fetches)
    assert "fetches a document in 4 µs" in rows[0]["reason"]
    assert "fetches" not in rows[1]["reason"]


def test_the_program_writes_the_table(tmp_path: Path) -> None:
    document_rows.write(tmp_path, document_rows.everything())
    arguments = [
        "--access", tmp_path / "document_access.parquet", "--fetches", tmp_path / "document_fetches.parquet",
        "--output", tmp_path / "advice.parquet",
    ]  # fmt: skip
    with patch.object(sys, "argv", ["advise", *map(str, arguments)]):
        advise_document_access.main()
    table = pq.read_table(tmp_path / "advice.parquet")
    assert table.schema.names == schemas.DOCUMENT_ADVICE.names
    assert all(row["reason"].endswith(".") for row in table.to_pylist())
    (tmp_path / "document_fetches.parquet").unlink()
    with (
        patch.object(sys, "argv", ["advise", *map(str, arguments)]),
        pytest.raises(SystemExit, match=r"tabulate_document_fetches\.py"),
    ):
        advise_document_access.main()
