"""The points at which searches are timed: IVFPQ over list lengths and nprobe, and HNSWPQ."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from indexscope.run_record import InputError

from . import formulas, latency, segments
from .reading import read_index
from .shared import SharedTables

_WARM_UP_QUERIES = 100
_BLOCK = 65_536  # vectors that are made and added at once
# Streams of vectors, besides those of blocks, which are counted from 0.
_TRAINING, _WARM_UP, _QUERIES = (1 << 29) + 1, (1 << 29) + 2, (1 << 29) + 3

Vectors = npt.NDArray[np.float32]


class Case(NamedTuple):
    """An index that is searched, at each of `nprobes`."""

    index_type: str  # ivf_pq, hnsw_pq
    list_length: int | None  # None: no lists
    vectors: int
    nprobes: Sequence[int | None]


def cases(settings: Mapping[str, Any]) -> list[Case]:
    """What settings of faiss_tables.latency ask for."""
    nlist = settings["geometry"]["nlist"]
    inverted = [
        Case(formulas.IVF_PQ, length, length * nlist, settings["nprobes"])
        for length in settings["list_lengths"]
    ]
    return [*inverted, Case(formulas.HNSW_PQ, None, settings["geometry"]["vectors_per_segment"], [None])]


def measure(
    settings: Mapping[str, Any], folder: Path, say: Callable[[str], None] = print
) -> Iterator[dict[str, Any]]:
    """Build each index in `folder` and time it in rounds; a record for each round, way and nprobe.

    Args:
        settings: faiss_tables.latency with `threads`.
        say: told what is being measured.

    Raises:
        InputError: an nprobe is larger than the number of lists.
    """
    geometry, rounds = settings["geometry"], settings["rounds"]
    if max(settings["nprobes"]) > geometry["nlist"]:
        raise InputError(
            f"latency.nprobes: {max(settings['nprobes'])} is more than the lists of the index ({geometry['nlist']}): "
            "give fewer, or a larger nlist"
        )
    faiss.omp_set_num_threads(settings["threads"])
    overhead = latency.overhead_nanoseconds(geometry["dim"], settings["k"])
    any_content = segments.Content(formulas.IVF_PQ, formulas.L2, 1, geometry)
    warm_up = _vectors(any_content, _WARM_UP, _WARM_UP_QUERIES)
    queries = _vectors(any_content, _QUERIES, settings["queries"])
    trained: dict[str, Any] = {}
    for number, case in enumerate(wanted := cases(settings), 1):
        say(f"{number} of {len(wanted)}: {case.index_type}, {case.vectors:,} vectors, {rounds} rounds")
        content = segments.Content(case.index_type, formulas.L2, 1, geometry)
        if case.index_type not in trained:
            training = _vectors(content, _TRAINING, geometry["training_vectors"])
            trained[case.index_type] = segments.train(content, training)
        path = folder / "index.faiss"
        build(trained[case.index_type], content, case.vectors, path)
        for round_number in range(rounds):
            for nprobe, timed in latency.measure_round(
                path, WAYS, case.nprobes, queries, warm_up, settings["k"], round_number
            ):
                agreements = latency.agreements(timed)
                for one in timed:
                    yield {
                        "index_type": case.index_type,
                        **{name: geometry[name] for name in ("dim", "pq_m", "code_size")},
                        "nlist": None if nprobe is None else geometry["nlist"],
                        "list_length": case.list_length,
                        "vectors": case.vectors,
                        "nprobe": nprobe,
                        "way": one.way,
                        "round": round_number,
                        "queries": len(queries),
                        "nanoseconds": one.nanoseconds,
                        "overhead_nanoseconds": overhead,
                        "results_digest": one.found.digest(),
                        "agreement": agreements[one.way].verdict,
                        "largest_difference": agreements[one.way].largest_difference,
                    }


@contextlib.contextmanager
def _with(path: Path) -> Iterator[Any]:
    yield read_index(path, "default")


@contextlib.contextmanager
def _without(path: Path) -> Iterator[Any]:
    yield read_index(path, "skip")


@contextlib.contextmanager
def _shared(path: Path) -> Iterator[Any]:
    with SharedTables() as shared:
        # Two users: what is searched refers to a table that is not its own alone.
        index, other = shared.load(path), shared.load(path)
        if [table.users for table in shared.tables] != [2]:
            raise RuntimeError(f"{path}: two indexes with the same codebooks do not share one table")
        yield index
        del other


# Way → how an index file is opened in it; comparisons are with the first one.
WAYS: dict[str, latency.Open] = {latency.WITH: _with, latency.WITHOUT: _without, latency.SHARED: _shared}


def build(trained: Any, content: segments.Content, count: int, path: Path) -> None:
    """Write an index with `count` vectors and the codebooks of `trained`."""
    index = faiss.clone_index(trained)
    for block, start in enumerate(range(0, count, _BLOCK)):
        index.add(_vectors(content, block, min(_BLOCK, count - start)))
    faiss.write_index(index, str(path))


def _vectors(content: segments.Content, stream: int, count: int) -> Vectors:
    vectors: Vectors = segments.vectors(int(content.geometry["seed"]), stream, count, content.sizes)
    return vectors
