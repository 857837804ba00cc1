"""Latency of single queries with the precomputed table, without it, and with a shared one.

All ways are measured in one process, in turn: ten queries by each way, then the next ten, in an order that changes, so
that whatever slows the machine down slows all of them. Each round loads the index anew for every way: where its
pages lie is part of the spread over rounds. Warm-up queries, others than those measured, touch what is touched first.

The time of a query is that of one call of faiss's compiled search with prepared arrays of one query, between two
reads of time.perf_counter_ns. `overhead` is the same around an index of no vectors: clock and binding. It is in every
time, and moves ratios towards 1.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from .agreement import Agreement, Found, compare

WITH, WITHOUT, SHARED = "with", "without", "shared"
WAYS = (WITH, WITHOUT, SHARED)
_CHUNK = 10  # queries by one way before it is the next one's turn

Vectors = npt.NDArray[np.float32]
# Opens an index file as a way does; the second closes it again.
Opened = contextlib.AbstractContextManager[Any]
Open = Callable[[Path], Opened]


class Timed(NamedTuple):
    """One way of one round: a time for each query, and what was found."""

    way: str
    nanoseconds: list[int]
    found: Found


def measure_round(
    path: Path,
    ways: dict[str, Open],
    settings: Sequence[int | None],
    queries: Vectors,
    warm_up: Vectors,
    k: int,
    round_number: int,
) -> Iterator[tuple[int | None, list[Timed]]]:
    """Load the index at `path` in every way and search it.

    Yields each nprobe with a Timed for each way, in the order of `ways`.

    Args:
        settings: values of nprobe; None: the index has none.
        queries: (queries, dim), each searched once by every way at every nprobe.
        warm_up: (any, dim), searched before, untimed.
        round_number: the order of loading and of turns changes with it.
    """
    orders = _orders(ways)
    with contextlib.ExitStack() as stack:
        loaded = {way: stack.enter_context(ways[way](path)) for way in orders[round_number % len(orders)]}
        indexes = {way: loaded[way] for way in ways}
        for nprobe in settings:
            for index in indexes.values():
                if nprobe is not None:
                    index.nprobe = nprobe
            yield nprobe, time_in_turn(indexes, queries, warm_up, k, round_number)


def time_in_turn(
    indexes: dict[str, Any], queries: Vectors, warm_up: Vectors, k: int, first_order: int = 0
) -> list[Timed]:
    """Time each query in each index: a few queries by one, then by the next, in an order that changes.

    Args:
        indexes: way → an index of the same vectors.
        queries: (queries, dim), float32.
        warm_up: (any, dim); searched untimed by every way before the first turn.
    """
    watches = {way: _Watch(index, queries, k) for way, index in indexes.items()}
    for index in indexes.values():
        for query in warm_up:
            index.search(query[None], k)
    orders = _orders(watches)
    with _no_collection():
        for turn, start in enumerate(range(0, len(queries), _CHUNK)):
            chunk = range(start, min(start + _CHUNK, len(queries)))
            for way in orders[(first_order + turn) % len(orders)]:
                watches[way].search(chunk)
    return [Timed(way, watch.nanoseconds, watch.found) for way, watch in watches.items()]


def _orders(ways: Iterable[str]) -> list[list[str]]:
    """Orders in which each way has every place equally often, and goes before each other as often as after it."""
    names = list(ways)
    forward = [names[start:] + names[:start] for start in range(len(names))]
    return [order for one in forward for order in (one, one[::-1])]


def overhead_nanoseconds(dim: int, k: int, searches: int = 200) -> int:
    """Median time of a search in an index of no vectors: the clock and the binding."""
    watch = _Watch(faiss.IndexFlatL2(dim), np.zeros((searches, dim), dtype=np.float32), k)
    with _no_collection():
        watch.search(range(searches))
    return int(np.median(watch.nanoseconds))


def agreements(timed: Sequence[Timed]) -> dict[str, Agreement]:
    """Way → how its results agree with those of the first one."""
    return {one.way: compare(timed[0].found, one.found) for one in timed}


class _Watch:
    """Times one index: results go to arrays that are ready before the clock starts."""

    def __init__(self, index: Any, queries: Vectors, k: int) -> None:
        self._index, self._k = index, k
        self._queries = np.ascontiguousarray(queries, dtype=np.float32)
        self.found = Found(
            np.full((len(queries), k), -1, dtype=np.int64), np.zeros((len(queries), k), dtype=np.float32)
        )
        self._pointers = [
            (faiss.swig_ptr(query), faiss.swig_ptr(distances), faiss.swig_ptr(ids))
            for query, distances, ids in zip(self._queries, self.found.distances, self.found.ids, strict=True)
        ]
        self.nanoseconds: list[int] = []

    def search(self, rows: range) -> None:
        # The compiled method, past the wrapper that allocates and checks arrays.
        search, k, clock = self._index.search_c, self._k, time.perf_counter_ns
        for row in rows:
            query, distances, ids = self._pointers[row]
            start = clock()
            search(1, query, k, distances, ids)
            self.nanoseconds.append(clock() - start)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
