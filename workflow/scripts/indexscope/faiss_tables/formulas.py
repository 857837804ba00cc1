"""Bytes of segments in memory, by part, from the geometry alone. Standard library only.

Sizes of C++ objects are those of faiss 1.14.1 for x86_64 Linux (malloc_usable_size of each object); how an allocation
is rounded is glibc's rule (malloc/malloc.c of 2.28 and later). Nothing is fitted to a measurement.

Sources of the parts (faiss 1.14): coarse centroids: IndexFlat.h; codes and ids: invlists/InvertedLists.h
(ArrayInvertedLists); product quantizer and SDC table: impl/ProductQuantizer.h; precomputed table: IndexIVFPQ.cpp
(initialize_IVFPQ_precomputed_table); graph: impl/HNSW.h; which of them a file's reader makes: impl/index_read.cpp.
"""

from __future__ import annotations

import functools
import math
import random
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

IVF_FLAT, HNSW_PQ, IVF_PQ = "ivf_flat", "hnsw_pq", "ivf_pq"
L2, INNER_PRODUCT = "l2", "inner_product"
DEFAULT, SKIP, SHARED = "default", "skip", "shared"
MIB = 1 << 20

# IndexIVFPQ.cpp: a larger table is not built, without a word (precomputed_table_max_bytes).
TABLE_MAX_BYTES = 1 << 31

_FLOAT = 4
_ID = 8
_LINK = 4  # storage_idx_t
_LEVEL = 4
_OFFSET = 8
# impl/maybe_owned_vector.h: an inverted list is one of codes and one of ids, of so many bytes each.
_LIST_HEADER = 80
# Chunks of the C++ objects of an index, its quantizer or storage, and its inverted lists.
_OBJECTS = {IVF_FLAT: (288, 160, 96), HNSW_PQ: (5280, 448), IVF_PQ: (560, 160, 96)}
_HNSW_SEED = 12345  # impl/HNSW.cpp: each graph draws its levels from a generator of its own
_LEAST_PROBABILITY = 1e-9  # impl/HNSW.cpp, set_default_probas

# glibc: the header of a chunk, its alignment, the smallest chunk, and from which size a chunk is mapped on its own.
# The last grows as mapped chunks are freed unless it is set, as it is for measured processes (cell.py).
_CHUNK_HEADER, _CHUNK_ALIGNMENT, _LEAST_CHUNK = 8, 16, 32
MMAP_THRESHOLD = 128 * 1024
_PAGE = 4096


class Geometry(NamedTuple):
    """Sizes of one segment. What an index type does not have is not looked at."""

    dim: int
    nlist: int
    pq_m: int
    code_size: int  # bits of a code of one subquantizer
    hnsw_m: int
    vectors_per_segment: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Geometry:
        """From the settings of a geometry, which may hold more.

        Raises:
            KeyError: one is missing.
        """
        return cls(*(int(settings[name]) for name in cls._fields))


class Parts(NamedTuple):
    """Bytes by part."""

    centroids: int  # of the coarse quantizer: nlist x dim floats
    pq_centroids: int  # of the product quantizer: 2^code_size x dim floats
    codes: int  # pq_m * code_size bits a vector; of ivf_flat: the vectors
    ids: int  # of the vectors in inverted lists
    graph: int  # links, levels and offsets of HNSW
    tables: int  # computed at load
    containers: int  # what holds these: objects, headers of lists, and what malloc adds

    @property
    def total(self) -> int:
        return sum(self)


def table_bytes(index_type: str, metric: str, geometry: Geometry) -> int:
    """The table that one segment computes at load; 0 where it has none, or where faiss does not build it.

    IVFPQ with L2: nlist x pq_m x 2^code_size floats; HNSWPQ, any metric: SDC table, pq_m x 2^code_size x 2^code_size.
    """
    centroids = 1 << geometry.code_size
    if index_type == HNSW_PQ:
        return _FLOAT * geometry.pq_m * centroids**2
    if index_type == IVF_PQ and metric == L2:
        table = _FLOAT * geometry.nlist * geometry.pq_m * centroids
        return table if table <= TABLE_MAX_BYTES else 0
    return 0


def tables_held(index_type: str, metric: str, segments: int, load_mode: str) -> int:
    """How many tables `segments` segments of one model hold in a load mode."""
    if index_type == IVF_FLAT or (index_type == IVF_PQ and metric != L2):
        return 0
    return {DEFAULT: segments, SKIP: 0, SHARED: 1}[load_mode]


def memory(index_type: str, metric: str, geometry: Geometry, segments: int, load_mode: str) -> Parts:
    """All segments together, loaded in one process."""
    payload, overhead = _segment(index_type, geometry)
    table = table_bytes(index_type, metric, geometry)
    held = tables_held(index_type, metric, segments, load_mode)
    # A shared table lies on pages of its own (shared.py), others where malloc puts them.
    around_tables = -table % _PAGE if load_mode == SHARED else held * _around(table)
    each = payload._replace(containers=overhead)
    parts = Parts(*(segments * size for size in each))
    return parts._replace(tables=held * table, containers=parts.containers + around_tables)


def redundant_bytes(index_type: str, metric: str, geometry: Geometry, segments: int, load_mode: str) -> int:
    """What equals another segment's: coarse and PQ centroids and tables, but for one of each."""
    parts = memory(index_type, metric, geometry, segments, load_mode)
    held = tables_held(index_type, metric, segments, load_mode)
    trained = parts.centroids + parts.pq_centroids
    tables = parts.tables * (held - 1) // held if held else 0
    return trained * (segments - 1) // segments + tables


def _segment(index_type: str, geometry: Geometry) -> tuple[Parts, int]:
    """Bytes of one segment without its table, and those of its containers."""
    vectors = geometry.vectors_per_segment
    pq_centroids = 0 if index_type == IVF_FLAT else _FLOAT * (1 << geometry.code_size) * geometry.dim
    code = code_bytes(index_type, geometry)
    around = sum(_OBJECTS[index_type]) + _around(pq_centroids)
    if index_type == HNSW_PQ:
        arrays = graph_arrays(geometry.hnsw_m, vectors)
        around += _around(vectors * code) + sum(map(_around, arrays.values()))
        # Probabilities (double) and cumulated numbers of neighbours (int) by level.
        levels = len(level_probabilities(geometry.hnsw_m))
        around += _allocated(8 * levels) + _allocated(4 * (levels + 1))
        return Parts(0, pq_centroids, vectors * code, 0, sum(arrays.values()), 0, 0), around
    centroids = _FLOAT * geometry.nlist * geometry.dim
    around += _around(centroids) + 2 * _allocated(geometry.nlist * _LIST_HEADER)
    filled = min(geometry.nlist, vectors)
    length = vectors / filled
    around += round(filled * (_mean_around(code, length) + _mean_around(_ID, length)))
    return Parts(centroids, pq_centroids, vectors * code, vectors * _ID, 0, 0, 0), around


def code_bytes(index_type: str, geometry: Geometry) -> int:
    """Of one vector: its code in whole bytes, or its floats."""
    if index_type == IVF_FLAT:
        return _FLOAT * geometry.dim
    return (geometry.pq_m * geometry.code_size + 7) // 8


# HNSW


def level_probabilities(hnsw_m: int) -> Sequence[float]:
    """Probability of each level of a node, in single precision (HNSW.cpp, set_default_probas; levelMult: 1 / ln M)."""
    scale = _float32(1 / math.log(hnsw_m))
    probabilities: list[float] = []
    while True:
        level = len(probabilities)
        probability = _float32(math.exp(-level / scale) * (1 - math.exp(-1 / scale)))
        if probability < _LEAST_PROBABILITY:
            return probabilities
        probabilities.append(probability)


def expected_links(hnsw_m: int, vectors: int) -> float:
    """Expected number of places for links: 2 M at the lowest level, M at each above."""
    probabilities = level_probabilities(hnsw_m)
    levels = sum(level * probability for level, probability in enumerate(probabilities))
    return vectors * hnsw_m * (2 + levels)


@functools.lru_cache(maxsize=64)
def links(hnsw_m: int, vectors: int) -> int:
    """Number of places for links of a graph of `vectors` nodes: exact, since faiss draws levels from a fixed seed.

    It holds for vectors added to an empty index; with a million or more, the expected value is taken, which is then
    right to a hundredth of a per cent.
    """
    if vectors >= 1_000_000:
        return round(expected_links(hnsw_m, vectors))
    probabilities = level_probabilities(hnsw_m)
    draw = _mersenne_twister(_HNSW_SEED)
    total = 0
    for _ in range(vectors):
        # utils/random.cpp: rand_float() is mt() / float(mt.max()), both in single precision.
        drawn = _float32(_float32(draw.getrandbits(32)) / 4294967296.0)
        level = 0
        while level < len(probabilities) - 1 and drawn >= probabilities[level]:
            drawn -= probabilities[level]
            level += 1
        total += hnsw_m * (2 + level)
    return total


def graph_arrays(hnsw_m: int, vectors: int) -> Mapping[str, int]:
    """Bytes of the arrays of a graph."""
    return {
        "neighbors": _LINK * links(hnsw_m, vectors),
        "levels": _LEVEL * vectors,
        "offsets": _OFFSET * (vectors + 1),
    }


def _mersenne_twister(seed: int) -> random.Random:
    """std::mt19937(seed): Python's generator, with the state that C++ seeds (Matsumoto and Nishimura, 1998)."""
    state = [seed & 0xFFFFFFFF]
    for index in range(1, 624):
        last = state[-1]
        state.append((1812433253 * (last ^ (last >> 30)) + index) & 0xFFFFFFFF)
    generator = random.Random()
    generator.setstate((3, (*state, 624), None))
    return generator


def _float32(value: float) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


# malloc


def _allocated(size: int) -> int:
    """What malloc takes for `size` bytes: a chunk of the heap, or pages of its own; 0 for nothing."""
    if size == 0:
        return 0
    if size >= MMAP_THRESHOLD:
        return -(-(size + 2 * _CHUNK_HEADER) // _PAGE) * _PAGE
    chunk = -(-(size + _CHUNK_HEADER) // _CHUNK_ALIGNMENT) * _CHUNK_ALIGNMENT
    return max(_LEAST_CHUNK, chunk)


def _around(size: int) -> int:
    return _allocated(size) - size


def _mean_around(item: int, length: float) -> float:
    """What malloc adds to a list of `item` bytes for each entry, mean over the lengths nearest to `length`.

    How many entries each list has is not known from the geometry; malloc's rounding repeats after 16 at most.
    """
    first = max(1, round(length) - _CHUNK_ALIGNMENT // 2)
    lengths = range(first, first + _CHUNK_ALIGNMENT)
    return sum(_around(item * entries) for entries in lengths) / len(lengths)
