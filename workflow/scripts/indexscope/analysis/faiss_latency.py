"""What searches cost with the precomputed table, without it, and with a shared one, and where they break even."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from indexscope.faiss_tables.formulas import L2, MIB, Geometry, table_bytes
from indexscope.run_record import InputError

from .measured_rows import json_lines

PROGRAM = "measure_faiss_latency.py"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# What is divided by what.
COMPARED = (("with", "without"), ("shared", "with"))
# A smaller difference is not called one: where the same bytes lie in memory makes as much.
MARGIN = 0.02
FASTER, SLOWER, NO_DIFFERENCE = "faster", "slower", "no difference"

_POINT = ("index_type", "dim", "nlist", "pq_m", "code_size", "list_length", "vectors", "nprobe", "queries")
_RECORD = (
    *_POINT, "way", "round", "nanoseconds", "overhead_nanoseconds", "results_digest", "agreement", "largest_difference",
)  # fmt: skip
_AGREEMENTS = ("identical", "equal to rounding", "different")  # from best to worst

Row = Mapping[str, Any]


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """What measure_faiss_latency.py wrote, one line at a time.

    Raises:
        InputError: the file is missing or empty, or a line is no record of it.
    """
    for where, record in json_lines(path, PROGRAM, _RECORD):
        if not record["nanoseconds"] or len(record["nanoseconds"]) != record["queries"]:
            raise InputError(
                f"{where} has {len(record['nanoseconds'])} times of {record['queries']} queries: "
                f"run {PROGRAM} again"
            )
        yield record


def tabulate_latency(records: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.FAISS_LATENCY, in the order of the records."""
    for record in records:
        values = (
            np.quantile(np.asarray(record["nanoseconds"], dtype=np.float64), list(QUANTILES.values())) / 1e6
        )
        yield {
            **{name: record[name] for name in (*_POINT, "way", "round")},
            **{f"{name}_ms": float(value) for name, value in zip(QUANTILES, values, strict=True)},
            "overhead_ms": record["overhead_nanoseconds"] / 1e6,
            "results_digest": record["results_digest"],
            "agreement": record["agreement"],
            "largest_difference": record["largest_difference"],
        }


def tabulate_break_even(latency: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of schemas.FAISS_BREAK_EVEN from rows of schemas.FAISS_LATENCY.

    A way that was not measured at a point is not compared there; of a round that lacks either way nothing is used.
    """
    points: dict[tuple[Any, ...], dict[str, dict[int, Row]]] = {}
    for row in latency:
        point = points.setdefault(tuple(row[name] for name in _POINT), {})
        point.setdefault(row["way"], {})[row["round"]] = row
    rows = [
        _compare(dict(zip(_POINT, point, strict=True)), ways[first], ways[second], (first, second), quantile)
        for point, ways in points.items()
        for first, second in COMPARED
        if first in ways and second in ways and ways[first].keys() & ways[second].keys()
        for quantile in QUANTILES
    ]
    lengths = _break_evens(rows, along="list_length", at="nprobe")
    nprobes = _break_evens(rows, along="nprobe", at="list_length")
    for row, length, nprobe in zip(rows, lengths, nprobes, strict=True):
        row["break_even_list_length"], row["break_even_nprobe"] = length, nprobe
    return rows


def _compare(
    point: dict[str, Any],
    first: Mapping[int, Row],
    second: Mapping[int, Row],
    names: tuple[str, str],
    quantile: str,
) -> dict[str, Any]:
    rounds = sorted(first.keys() & second.keys())
    pairs = [(first[number][f"{quantile}_ms"], second[number][f"{quantile}_ms"]) for number in rounds]
    ratios = [mine / other for mine, other in pairs]
    agreements = [side[number]["agreement"] for number in rounds for side in (first, second)]
    return {
        **point,
        "compared": f"{names[0]} by {names[1]}",
        "quantile": quantile,
        "rounds": len(rounds),
        "ratio": median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "saved_ms": median(other - mine for mine, other in pairs),
        "table_mib": _table_mib(point),
        "verdict": verdict(ratios),
        "agreement": max(agreements, key=_AGREEMENTS.index),
    }


def verdict(ratios: Sequence[float]) -> str:
    """faster: below 1 in every round; slower: above 1 in every round; either by more than MARGIN in the median."""
    if max(ratios) < 1 and median(ratios) < 1 - MARGIN:
        return FASTER
    return SLOWER if min(ratios) > 1 and median(ratios) > 1 + MARGIN else NO_DIFFERENCE


def _table_mib(point: Mapping[str, Any]) -> float:
    sizes = {name: point[name] or 0 for name in ("dim", "nlist", "pq_m", "code_size")}
    # Neither the graph nor the vectors have a part in it.
    geometry = Geometry(**sizes, hnsw_m=0, vectors_per_segment=0)
    return table_bytes(point["index_type"], L2, geometry) / MIB


class Point(NamedTuple):
    """What was compared at a list length, or at an nprobe."""

    place: float
    ratio: float
    verdict: str


def break_even(points: Iterable[Point]) -> float | None:
    """The place from which on the first way is faster; None where no point says slower and a later one faster.

    It lies where log(ratio) passes 0 on the line between two measured neighbours, over log(place). Points whose rounds
    disagree (no difference) count by their ratio between those that are decided, and do not make a break-even
    by themselves: that would be noise.
    """
    ordered = sorted(points)
    slower = [index for index, point in enumerate(ordered) if point.verdict == SLOWER]
    if not slower:
        return None
    rest = ordered[slower[-1] :]
    faster = [index for index, point in enumerate(rest) if point.verdict == FASTER]
    if not faster:
        return None
    between = rest[: faster[0] + 1]
    # The last passing: from there on no measured neighbour is slower again.
    below, above = next(
        (left, right)
        for left, right in zip(reversed(between[:-1]), reversed(between[1:]), strict=True)
        if left.ratio >= 1 > right.ratio
    )
    share = math.log(below.ratio) / (math.log(below.ratio) - math.log(above.ratio))
    return math.exp(math.log(below.place) + share * (math.log(above.place) - math.log(below.place)))


def _break_evens(rows: Sequence[Row], along: str, at: str) -> list[float | None]:
    """For each row the break-even over `along` among the rows that differ from it in `along` alone."""

    def key(row: Row) -> tuple[Any, ...]:
        # With the list length the number of vectors changes.
        return tuple(
            row[name]
            for name in (*_POINT, "compared", "quantile")
            if name not in (along, "vectors") or name == at
        )

    series: dict[tuple[Any, ...], list[Point]] = {}
    for row in rows:
        if row[along] is not None:
            series.setdefault(key(row), []).append(Point(row[along], row["ratio"], row["verdict"]))
    found = {of: break_even(points) for of, points in series.items()}
    return [found.get(key(row)) if row[along] is not None else None for row in rows]
