"""What to do about the table that faiss computes when it loads an index: keep it, skip it, or share it.

Bytes are by formula, the cost of doing without the table is measured on the index at hand, with its own nprobe.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from indexscope.run_record import InputError

from . import latency
from .reading import innermost

KEEP, SKIP, SHARE = "keep", "skip", "share"

_ROUNDS = 6
_MOST_QUERIES, _FEWEST_QUERIES = 200, 20
# Of timed searches: what advising may take, beside computing one table.
_SECONDS = 3.0

Vectors = npt.NDArray[np.float32]


class Table(NamedTuple):
    """The table of an index that faiss computes at load, by formula."""

    name: str  # precomputed table, SDC table; "" where there is none
    bytes: int
    formula: str


class Cost(NamedTuple):
    """Single queries with and without the table, in turn; milliseconds are medians of the rounds' p50."""

    nprobe: int
    queries: int
    rounds: int
    with_ms: float
    without_ms: float
    with_by_without: float  # median over rounds, then the lowest and the highest of them
    with_by_without_low: float
    with_by_without_high: float

    @property
    def faster(self) -> bool:
        """The table makes searches faster in every round."""
        return self.with_by_without_high < 1


@dataclass(frozen=True)
class Advice:
    """What to do, what it needs, and why."""

    advice: str  # KEEP, SKIP, SHARE
    reason: str  # one sentence
    table: Table
    segments: int
    # Of the tables of all segments in memory, by what is done.
    keep_bytes: int
    skip_bytes: int
    share_bytes: int
    cost: Cost | None  # null where the table plays no part in a search, or nothing was stored

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "table": self.table._asdict(),
            "cost": self.cost._asdict() if self.cost else None,
        }


def advise(
    index: Any,
    segments: int = 1,
    nprobe: int | None = None,
    queries: Vectors | None = None,
    k: int = 10,
    adding: bool = False,
) -> Advice:
    """Advise on the table of `index`. The index is left as it was.

    Args:
        index: an index of faiss, loaded with its table or without it; wrappers (IndexIDMap, IndexPreTransform) are
            looked into.
        segments: how many such indexes, with the same codebooks, one process is to hold.
        nprobe: lists searched for each query; default: the index's own.
        queries: (any, dim of the index within its wrappers), float32; default: stored vectors as faiss
            reconstructs them.
        adding: vectors will be added after loading.

    Raises:
        InputError: the index is of a type whose tables are not known, or `segments`, `nprobe` or `queries` do not fit.
    """
    if segments < 1:
        raise InputError(f"segments: {segments} is no number of indexes: give 1 or more")
    inner = innermost(index)
    table = table_of(inner)
    if not table.bytes:
        return _advice(KEEP, f"Nothing to decide: {table.formula}.", table, segments)
    if table.name == "SDC table":
        return _of_sdc_table(table, segments, adding)
    most = int(faiss.cvar.precomputed_table_max_bytes)
    if table.bytes > most:
        reason = (
            f"faiss builds no table of more than precomputed_table_max_bytes ({_mib(most)}), and this one would have "
            f"{_mib(table.bytes)}: searches go without it already, and setting use_precomputed_table all the same "
            "makes them read past its end (opensearch-project/k-NN#3078)."
        )
        return Advice(SKIP, reason, table, segments, 0, 0, 0, None)
    cost = _cost(inner, nprobe, queries, k)
    return _of_precomputed_table(table, segments, cost, isinstance_of(inner.quantizer, "MultiIndexQuantizer"))


def table_of(index: Any) -> Table:
    """The table that faiss computes for an index (IndexIVFPQ.cpp, ProductQuantizer.cpp), whether loaded or not.

    Raises:
        InputError: the type of index is not known.
    """
    if isinstance_of(index, "IndexIVFPQ"):
        return _precomputed_table(index)
    if isinstance_of(index, "IndexHNSWPQ"):
        pq = faiss.downcast_index(index.storage).pq
        formula = f"4 bytes × pq_m × 2^code_size × 2^code_size = 4 × {pq.M} × {pq.ksub} × {pq.ksub}"
        return Table("SDC table", 4 * pq.M * pq.ksub * pq.ksub, formula)
    if isinstance_of(index, "IndexIVFFlat", "IndexFlat", "IndexHNSWFlat", "IndexIVFScalarQuantizer"):
        return Table(
            "", 0, f"{type(index).__name__} stores vectors without a product quantizer and has no table"
        )
    raise InputError(
        f"{type(index).__name__} is no type of index whose tables are known here: give an IndexIVFPQ, IndexHNSWPQ or "
        "IndexIVFFlat, alone or in an IndexIDMap or IndexPreTransform"
    )


def isinstance_of(index: Any, *names: str) -> bool:
    """Whether an index is of one of the classes of faiss, where this faiss has them."""
    kinds = tuple(getattr(faiss, name) for name in names if hasattr(faiss, name))
    return isinstance(faiss.downcast_index(index), kinds)


def _precomputed_table(index: Any) -> Table:
    if not index.by_residual:
        return Table("", 0, "it encodes vectors and not their residuals, for which faiss uses no table")
    # The condition of initialize_IVFPQ_precomputed_table: the metric of the coarse quantizer counts.
    if faiss.downcast_index(index.quantizer).metric_type != faiss.METRIC_L2:
        return Table("", 0, "with the inner product, distances need no table of the lists")
    pq = index.pq
    if isinstance_of(index.quantizer, "MultiIndexQuantizer"):
        coarse = faiss.downcast_index(index.quantizer).pq
        formula = f"4 bytes × coarse centroids × pq_m × 2^code_size = 4 × {coarse.ksub} × {pq.M} × {pq.ksub}"
        return Table("precomputed table", 4 * coarse.ksub * pq.M * pq.ksub, formula)
    formula = f"4 bytes × nlist × pq_m × 2^code_size = 4 × {index.nlist} × {pq.M} × {pq.ksub}"
    return Table("precomputed table", 4 * index.nlist * pq.M * pq.ksub, formula)


def _of_sdc_table(table: Table, segments: int, adding: bool) -> Advice:
    if not adding:
        reason = (
            f"The SDC table ({_mib(table.bytes)}) serves adding vectors alone: searches compute distances from the "
            "query to codes and never read it."
        )
        return _advice(SKIP, reason, table, segments)
    if segments == 1:
        return _advice(KEEP, "Adding vectors reads the SDC table, and there is one index.", table, segments)
    reason = (
        f"Adding vectors reads the SDC table, and all {segments} indexes of one quantizer can read the same."
    )
    return _advice(SHARE, reason, table, segments)


def _of_precomputed_table(table: Table, segments: int, cost: Cost | None, multi_index: bool) -> Advice:
    saved = _mib(table.bytes * (segments - 1))
    if cost is None:
        if segments == 1:
            return _advice(
                KEEP, "The index stores nothing that could be searched to measure.", table, segments
            )
        reason = f"The index stores nothing to measure; one table for all {segments} loses no time and saves {saved}."
        return _advice(SHARE, reason, table, segments)
    said = (
        f"{cost.with_ms:.3g} ms with it and {cost.without_ms:.3g} ms without it "
        f"({cost.with_by_without:.2f} of the time, in {cost.rounds} rounds {cost.with_by_without_low:.2f} to "
        f"{cost.with_by_without_high:.2f}) at nprobe {cost.nprobe}"
    )
    if not cost.faster:
        return _advice(SKIP, f"Searches are not faster with the table: {said}.", table, segments, cost)
    if segments == 1:
        return _advice(
            KEEP,
            f"Searches are faster with the table, and there is one index: {said}.",
            table,
            segments,
            cost,
        )
    if multi_index:
        reason = f"Searches are faster with the table, which a multi-index quantizer cannot share: {said}."
        given = _advice(KEEP, reason, table, segments, cost)
        return replace(given, share_bytes=given.keep_bytes)
    reason = f"Searches are faster with the table, and one for all {segments} indexes saves {saved}: {said}."
    return _advice(SHARE, reason, table, segments, cost)


def _advice(advice: str, reason: str, table: Table, segments: int, cost: Cost | None = None) -> Advice:
    return Advice(advice, reason, table, segments, table.bytes * segments, 0, table.bytes, cost)


def _cost(index: Any, nprobe: int | None, queries: Vectors | None, k: int) -> Cost | None:
    """Measure, in rounds, with and without the table, on views of the index's own lists."""
    nprobe = int(index.nprobe) if nprobe is None else nprobe
    if not 1 <= nprobe <= index.nlist:
        raise InputError(f"nprobe: {nprobe} is not from 1 to {index.nlist}, the number of lists")
    if queries is None:
        queries = _stored(index, 2 * _MOST_QUERIES)
    elif queries.ndim != 2 or queries.shape[1] != index.d:
        raise InputError(f"queries: their shape is {queries.shape}; give (any, {index.d})")
    if not len(queries):
        return None
    views = {
        latency.WITH: _view(index, nprobe, table=True),
        latency.WITHOUT: _view(index, nprobe, table=False),
    }
    # Half of the queries warm up, where there are two.
    half = max(1, len(queries) // 2)
    warm_up, timed = queries[:half], queries[half:] if len(queries) > 1 else queries
    timed = timed[: _affordable(views, warm_up, k)]
    ratios, milliseconds = [], {way: [] for way in views}  # type: ignore[var-annotated]
    for round_number in range(_ROUNDS):
        p50 = {
            one.way: float(np.median(one.nanoseconds)) / 1e6
            for one in latency.time_in_turn(views, timed, warm_up[:_FEWEST_QUERIES], k, round_number)
        }
        ratios.append(p50[latency.WITH] / p50[latency.WITHOUT])
        for way, value in p50.items():
            milliseconds[way].append(value)
    return Cost(
        nprobe,
        len(timed),
        _ROUNDS,
        median(milliseconds[latency.WITH]),
        median(milliseconds[latency.WITHOUT]),
        median(ratios),
        min(ratios),
        max(ratios),
    )


def _affordable(views: dict[str, Any], warm_up: Vectors, k: int) -> int:
    """How many queries fit in the time, by a first look at how long they take."""
    few = warm_up[:_FEWEST_QUERIES]
    first = latency.time_in_turn(views, few, few, k)
    seconds = sum(float(np.median(one.nanoseconds)) for one in first) / 1e9
    return int(min(_MOST_QUERIES, max(_FEWEST_QUERIES, _SECONDS / _ROUNDS / max(seconds, 1e-9))))


def _view(index: Any, nprobe: int, table: bool) -> Any:
    """An index of its own over the lists of `index`, with a table of its own or none."""
    view = faiss.IndexIVFPQ(
        index.quantizer, index.d, index.nlist, index.pq.M, index.pq.nbits, index.metric_type
    )
    view.replace_invlists(index.invlists, False)
    view.pq = index.pq
    view.by_residual = index.by_residual
    view.is_trained, view.ntotal, view.nprobe = True, index.ntotal, nprobe
    view.referenced_objects = (index,)  # its lists and quantizer live as long as the view
    if table:
        view.precompute_table()
    else:
        view.use_precomputed_table = 0
    return view


def _stored(index: Any, wanted: int) -> Vectors:
    """Up to `wanted` stored vectors as faiss reconstructs them, from all over the lists; the same at every call."""
    sizes = np.array([index.invlists.list_size(number) for number in range(index.nlist)])
    random = np.random.default_rng(0)
    places = random.choice(int(sizes.sum()), min(wanted, int(sizes.sum())), replace=False)
    ends = np.cumsum(sizes)
    vectors = np.empty((len(places), index.d), dtype=np.float32)
    for row, place in enumerate(places):
        number = int(np.searchsorted(ends, place, side="right"))
        offset = int(place - (ends[number] - sizes[number]))
        index.reconstruct_from_offset(number, offset, faiss.swig_ptr(vectors[row]))
    return vectors


def _mib(size: float) -> str:
    return f"{size / 2**20:,.4g} MiB"
