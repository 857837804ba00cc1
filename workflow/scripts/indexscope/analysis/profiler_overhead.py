"""What measuring costs, from rounds in which one index was built under each way of measuring in turn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from indexscope import schemas
from indexscope.run_record import COMPLETED, InputError

TIMES = (
    "index_seconds",
    "planning_seconds",
    "training_seconds",
    "encoding_seconds",
    "finalizing_seconds",
)
PEAKS = ("tree_peak_rss_mib", "index_peak_rss_mib")
WITHOUT = "none"  # with the curve
WITH_SPANS = "spans"
COARSE = "bare"  # its tree is sampled once a second: a peak between two samples is not seen
LIMIT = 1.01  # a ratio up to it counts as no cost
CONFIDENCE = 0.95

AT_MOST, WITHIN, BEYOND = "at most 1.01", "within the spread of none", "beyond"
SPREAD, NOT_COMPARABLE, NO_ROUND = "spread of none", "not comparable", "no complete round"

Row = Mapping[str, Any]


def read_rounds(paths: Iterable[Path], labels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.PROFILER_ROUNDS from what benchmark_profilers.py wrote, a file for each system.

    Raises:
        InputError: a file is missing, or a line of it is not such a record.
    """
    names = set(schemas.PROFILER_ROUNDS.names) - {"label"}
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read ({error}): run benchmark_profilers.py") from error
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                started_at = datetime.fromisoformat(record["started_at"])
                if set(record) != names:
                    raise ValueError(f"its columns differ in {sorted(set(record) ^ names)}")
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"{path}:{number} is no record of a run ({error}): delete the file and run "
                    "benchmark_profilers.py again"
                ) from error
            yield record | {"started_at": started_at, "label": labels.get(record["system"])}


class Interval(NamedTuple):
    """Of a median, and how often an interval made so covers the median that was sampled from."""

    low: float
    high: float
    coverage: float


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The narrowest pair of order statistics that covers the median with `confidence`, whatever the distribution.

    The number of samples below the median is binomial with 1/2 (the sign test; W. J. Conover, "Practical
    Nonparametric Statistics", on quantiles). With too few samples their range, and how often that covers.
    """
    ordered = sorted(samples)
    size = len(ordered)
    rank = 1
    while 2 * (rank + 1) <= size and _coverage(size, rank + 1) >= confidence:
        rank += 1
    return Interval(ordered[rank - 1], ordered[-rank], _coverage(size, rank))


def _coverage(size: int, rank: int) -> float:
    """How often the `rank`-th smallest and largest of `size` samples have the median between them."""
    outside: float = 2 * sum(math.comb(size, below) for below in range(rank)) / 2**size
    return max(0.0, 1 - outside)


def overhead_rows(rounds: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.PROFILER_OVERHEAD from rows of schemas.PROFILER_ROUNDS.

    A round gives a ratio where the runs of the variant and of what it is divided by both completed. All variants
    are divided by `none`, which has the curve; what the curve costs, alone and with spans, is told by `bare`.
    """
    compared = [row for row in rounds if row["round"] > 0]
    compared.sort(
        key=lambda row: (row["system"], row["cell"], row["documents"])
    )  # stable: rounds stay in order
    for _, group in groupby(compared, key=lambda row: (row["system"], row["cell"], row["documents"])):
        runs = list(group)
        again = {row["round"]: row for row in runs if row["again"]}
        first: dict[str, dict[int, Row]] = {WITHOUT: {}}
        for row in runs:
            if not row["again"]:
                first.setdefault(row["variant"], {})[row["round"]] = row
        spreads = {
            quantity: _spread(_ratios(again, first[WITHOUT], quantity)) for quantity in (*TIMES, *PEAKS)
        }
        for variant, of_variant in first.items():
            compared_runs = again if variant == WITHOUT else of_variant
            for quantity, spread in spreads.items():
                yield _row(variant, WITHOUT, quantity, compared_runs, first[WITHOUT], spread)
        for variant in (WITHOUT, WITH_SPANS):
            if variant in first and COARSE in first:
                for quantity in TIMES:
                    yield _row(variant, COARSE, quantity, first[variant], first[COARSE], spreads[quantity])


def _ratios(of_variant: Mapping[int, Row], baseline: Mapping[int, Row], quantity: str) -> list[float]:
    return [
        of_variant[number][quantity] / without[quantity]
        for number, without in baseline.items()
        if number in of_variant and _value(of_variant[number], quantity) and _value(without, quantity)
    ]


def _value(run: Row, quantity: str) -> float | None:
    """None, or 0, where there is nothing to divide."""
    return run[quantity] if run["outcome"] == COMPLETED else None


def _spread(ratios: Sequence[float]) -> tuple[float, float] | None:
    """Of none against itself. Which of two equal runs divides the other is chance, so each ratio counts both ways."""
    if not ratios:
        return None
    farthest = max(max(ratio, 1 / ratio) for ratio in ratios)
    return 1 / farthest, farthest


def _row(
    variant: str,
    divided_by: str,
    quantity: str,
    of_variant: Mapping[int, Row],
    baseline: Mapping[int, Row],
    spread: tuple[float, float] | None,
) -> dict[str, Any]:
    any_run = next(iter([*of_variant.values(), *baseline.values()]))
    ratios = _ratios(of_variant, baseline, quantity)
    row: dict[str, Any] = {
        **{name: any_run[name] for name in ("system", "label", "framework", "documents")},
        "variant": variant,
        "baseline": divided_by,
        "quantity": quantity,
        "rounds": len(ratios),
        "rounds_lost": len(set(baseline) | set(of_variant)) - len(ratios),
        "verdict": _verdict(variant, divided_by, quantity, ratios, spread),
    }
    if spread is not None:
        row |= {"none_low": spread[0], "none_high": spread[1]}
    if row["verdict"] in (NO_ROUND, NOT_COMPARABLE):
        return row
    interval = median_interval(ratios)
    return row | {
        "median_value": _median(of_variant, quantity),
        "median_baseline": _median(baseline, quantity),
        "ratio": median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "interval_low": interval.low,
        "interval_high": interval.high,
        "interval_coverage": interval.coverage,
    }


def _median(runs: Mapping[int, Row], quantity: str) -> float:
    return median(value for run in runs.values() if (value := _value(run, quantity)))


def _verdict(
    variant: str, divided_by: str, quantity: str, ratios: Sequence[float], spread: tuple[float, float] | None
) -> str:
    if variant == COARSE and quantity in PEAKS:
        return NOT_COMPARABLE
    if not ratios:
        return NO_ROUND
    if variant == divided_by:
        return SPREAD
    ratio = median(ratios)
    # Less time is no cost; less memory is a disturbance as much as more.
    if ratio <= LIMIT and (quantity in TIMES or ratio >= 1 / LIMIT):
        return AT_MOST
    if spread is not None and spread[0] <= ratio <= spread[1]:
        return WITHIN
    return BEYOND
