"""What measuring costs: the order of the runs, known answers for made-up rounds, and the figure."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import benchmark_profilers
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from indexscope import schemas
from indexscope.analysis import profiler_overhead
from indexscope.figures import profiler_disturbance
from indexscope.run_record import InputError

VARIANTS = list(benchmark_profilers.VARIANTS)
Row = dict[str, Any]


def run(number: int, variant: str, seconds: float, peak: float = 1000.0, **columns: Any) -> Row:
    return {
        "system": "colbert",
        "cell": "0a1b2c3d",
        "label": "ColBERT",
        "framework": "colbert",
        "documents": 200,
        "round": number,
        "position": 1,
        "variant": variant,
        "again": False,
        "outcome": "completed",
        "outcome_detail": None,
        "started_at": "2026-01-01T00:00:00+00:00",
        "wall_seconds": 2 * seconds,
        **dict.fromkeys(profiler_overhead.TIMES, seconds),
        **dict.fromkeys(profiler_overhead.PEAKS, peak),
        "memray_heap_peak_mib": None,
        "samples": 100,
        "sampling_processor_seconds": 0.04 * seconds,
        "cpu_model": "CPU",
        "cpu_count": 2,
        **columns,
    }


def rounds(number: int, ratios: dict[str, float], noise: float = 0.02) -> list[Row]:
    """`none` takes 10 seconds in the first round and a second more in each; the other variants a ratio of that."""
    rows = [run(0, "none", 99.0)]  # the first one: absurd, because it must not count
    for index in range(number):
        none = 10.0 + index
        other = 1 + noise * (-1) ** index * index / max(1, number - 1)
        rows.append(run(index + 1, "none", none))
        rows.append(run(index + 1, "none", none * other, again=True))
        for variant, ratio in ratios.items():
            rows.append(run(index + 1, variant, none * ratio, 1000.0 * ratio))
    return rows


def costs(rows: list[Row], quantity: str = "index_seconds", baseline: str = "none") -> dict[str, Row]:
    found = profiler_overhead.overhead_rows(rows)
    return {
        row["variant"]: row for row in found if row["quantity"] == quantity and row["baseline"] == baseline
    }


# The order of the runs


@pytest.mark.parametrize("variants", [VARIANTS, ["none", "spans", "memray"]])
def test_each_variant_is_once_in_each_place_and_after_each_other(variants: list[str]) -> None:
    size = len(variants) + 1
    slots = [slot for slot in benchmark_profilers.schedule(variants, size) if slot.round]
    names = {slot: f"{slot.variant}{slot.again}" for slot in slots}
    places = Counter((names[slot], slot.position) for slot in slots)
    assert len(places) == size * size and set(places.values()) == {1}
    by_round = [list(group) for _, group in itertools.groupby(slots, key=lambda slot: slot.round)]
    assert all([slot.position for slot in group] == list(range(1, size + 1)) for group in by_round)
    if size % 2 == 0:
        after = Counter(
            (names[first], names[second]) for group in by_round for first, second in itertools.pairwise(group)
        )
        assert len(after) == size * (size - 1) and set(after.values()) == {1}


def test_every_round_has_none_twice_and_one_run_comes_first() -> None:
    slots = benchmark_profilers.schedule(VARIANTS, 3)
    assert len(slots) == 1 + 3 * 6
    assert (slots[0].round, slots[0].variant) == (0, "none")
    for number in (1, 2, 3):
        of_round = [(slot.variant, slot.again) for slot in slots if slot.round == number]
        assert sorted(of_round) == sorted([*((variant, False) for variant in VARIANTS), ("none", True)])


@pytest.mark.parametrize(
    ("variants", "number", "sentence"),
    [
        (["spans"], 2, "none is missing"),
        (["none", "spans", "spans"], 2, "there twice"),
        (["none", "spans"], 0, "give 1 or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(variants: list[str], number: int, sentence: str) -> None:
    with pytest.raises(benchmark_profilers.NotComparable, match=sentence):
        benchmark_profilers.schedule(variants, number)


# The table


def test_planted_cost_is_found_and_equal_runs_are_not() -> None:
    found = costs(rounds(6, {"memray": 1.5, "spans": 1.004, "bare": 0.9}))
    assert found["memray"]["ratio"] == pytest.approx(1.5)
    assert found["memray"]["verdict"] == "beyond"
    assert found["spans"]["ratio"] == pytest.approx(1.004)
    assert found["spans"]["verdict"] == "at most 1.01"
    assert found["bare"]["verdict"] == "at most 1.01"  # less time is no cost
    assert found["none"]["verdict"] == "spread of none"
    # The machine grew slower from round to round; ratios within a round do not see it.
    assert found["memray"]["ratio_max"] - found["memray"]["ratio_min"] < 1e-9
    assert found["memray"]["median_baseline"] == pytest.approx(12.5)


def test_curve_and_spans_are_compared_with_neither() -> None:
    found = costs(rounds(6, {"spans": 1.03, "bare": 0.95}, noise=0.0), baseline="bare")
    assert {variant: row["verdict"] for variant, row in found.items()} == {
        "none": "beyond",
        "spans": "beyond",
    }
    assert found["none"]["ratio"] == pytest.approx(1 / 0.95)
    assert found["spans"]["ratio"] == pytest.approx(1.03 / 0.95)
    assert not costs(rounds(6, {"spans": 1.03}), baseline="bare")


def test_spread_of_none_decides_what_is_above_the_limit() -> None:
    calm = costs(rounds(6, {"spans": 1.03}, noise=0.02))["spans"]
    noisy = costs(rounds(6, {"spans": 1.03}, noise=0.05))["spans"]
    # The largest deviation is 0.98 and 0.95 of the first run, each widened to its inverse.
    assert (calm["none_low"], calm["none_high"]) == pytest.approx((0.98, 1 / 0.98))
    assert (calm["verdict"], noisy["verdict"]) == ("beyond", "within the spread of none")
    assert (noisy["none_low"], noisy["none_high"]) == pytest.approx((0.95, 1 / 0.95))


def test_less_memory_is_a_disturbance_too() -> None:
    rows = rounds(6, {"spans": 0.9, "memory_profiler": 1.009}, noise=0.0)
    found = costs(rows, "tree_peak_rss_mib")
    assert found["spans"]["verdict"] == "beyond"
    assert found["memory_profiler"]["verdict"] == "at most 1.01"


def test_peaks_of_a_coarse_sampling_are_not_compared() -> None:
    found = costs(rounds(2, {"bare": 1.0}), "tree_peak_rss_mib")["bare"]
    assert found["verdict"] == "not comparable"
    assert found.get("ratio") is None


def test_a_run_that_did_not_complete_loses_its_round() -> None:
    rows = rounds(3, {"memray": 2.0})
    failed = next(row for row in rows if row["variant"] == "memray" and row["round"] == 2)
    failed.update(outcome="out_of_memory_host", index_seconds=None)
    found = costs(rows)["memray"]
    assert (found["rounds"], found["rounds_lost"], found["ratio"]) == (2, 1, 2.0)
    for row in rows:
        if row["variant"] == "memray":
            row.update(outcome="failed", index_seconds=None)
    assert costs(rows)["memray"]["verdict"] == "no complete round"


@pytest.mark.parametrize(
    ("size", "ranks", "coverage"),
    # Tables of the sign test: the range of 5 covers 93.75 %, of 6 96.9 %; 2nd and 8th of 9, 96.1 %.
    [(1, (1, 1), 0.0), (5, (1, 5), 0.9375), (6, (1, 6), 0.96875), (9, (2, 8), 0.9609), (20, (6, 15), 0.9586)],
)
def test_interval_of_the_median(size: int, ranks: tuple[int, int], coverage: float) -> None:
    interval = profiler_overhead.median_interval([float(rank) for rank in range(size, 0, -1)])
    assert (interval.low, interval.high) == ranks
    assert interval.coverage == pytest.approx(coverage, abs=1e-4)


def test_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    intervals = [profiler_overhead.median_interval(list(random.exponential(size=9))) for _ in range(4000)]
    covered = np.mean([interval.low <= np.log(2) <= interval.high for interval in intervals])
    assert covered == pytest.approx(intervals[0].coverage, abs=0.015)


def test_rounds_are_read_and_both_tables_fit_their_schemas(tmp_path: Path) -> None:
    path = tmp_path / "colbert.jsonl"
    rows = rounds(2, {"spans": 1.0, "bare": 1.0})
    path.write_text(
        "".join(json.dumps({name: row[name] for name in row if name != "label"}) + "\n" for row in rows)
    )
    read = list(profiler_overhead.read_rounds([path], {"colbert": "ColBERT"}))
    assert [row["index_seconds"] for row in read] == [row["index_seconds"] for row in rows]
    assert {row["label"] for row in read} == {"ColBERT"}
    schemas.write_table(read, schemas.PROFILER_ROUNDS, tmp_path / "rounds.parquet")
    schemas.write_table(
        profiler_overhead.overhead_rows(read), schemas.PROFILER_OVERHEAD, tmp_path / "overhead.parquet"
    )


@pytest.mark.parametrize("line", ["{", "[]", '{"system": "colbert"}', '{"started_at": 5}'])
def test_damaged_rounds_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "colbert.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=r"colbert\.jsonl:1 is no record"):
        list(profiler_overhead.read_rounds([path], {}))


# The figure


def draw(rows: list[Row]) -> Any:
    overhead = list(profiler_overhead.overhead_rows(rows))
    frames = [
        pa.Table.from_pylist(content, schema=schema).to_pandas()
        for content, schema in [
            (
                [{**row, "started_at": pd.Timestamp(row["started_at"])} for row in rows],
                schemas.PROFILER_ROUNDS,
            ),
            (overhead, schemas.PROFILER_OVERHEAD),
        ]
    ]
    return profiler_disturbance.draw(*frames)


def test_figure_says_that_spans_cost_nothing_only_where_it_is_so() -> None:
    ratios = {"bare": 1.0, "memory_profiler": 1.3, "memray": 2.0}
    calm = draw(rounds(6, {**ratios, "spans": 1.002}))
    assert calm.title.startswith("Measuring is not seen to disturb: spans and curve take 1.002 times as long")
    assert "(97 % interval)" in calm.support
    costly = draw(rounds(6, {**ratios, "spans": 1.2}))
    assert costly.title.startswith("Measuring disturbs: spans and curve take 1.200 times as long (beyond)")
    assert "in 2 rounds only" in draw(rounds(2, {**ratios, "spans": 1.0})).title
    assert "memray: time 2.000 and peak 2.000" in costly.notes[0]
    assert "2 % of one core" in costly.notes[1]
    # Each round is a point, of each variant and quantity, and of spans by bare; not of peaks of bare.
    assert len(costly.rows) == 6 * (2 * 5 - 1 + 1)
    assert costly.rows["ratio"].max() == pytest.approx(2.0)
    costly.specification()


def test_figure_of_nothing_says_so() -> None:
    assert "No round was measured" in draw([]).caption
    assert not draw([run(1, "none", 1.0, outcome="failed")]).is_finding
