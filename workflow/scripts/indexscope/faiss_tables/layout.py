"""How faiss holds a table in memory, and a table of ours put in its place.

faiss keeps both tables by value in the index: IVFPQ's precomputed table as an AlignedTable
(faiss/utils/AlignedTable.h), the SDC table of a product quantizer as a std::vector. No function of faiss lets two
indexes refer to one table, so the three words of the structure are written, here and nowhere else. `check` compares
what is believed of them with what faiss itself says, on tables whose values are known, before anything is written.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import faiss
import numpy as np


class LayoutMismatch(RuntimeError):
    """This build of faiss holds its tables in another way than is known here."""


class AlignedTable(ctypes.Structure):
    """faiss::AlignedTable<float>."""

    _fields_ = (("pointer", ctypes.c_size_t), ("capacity", ctypes.c_size_t), ("size", ctypes.c_size_t))

    def refer_to(self, address: int, count: int) -> None:
        # Not the capacity that faiss would round up to: a copy of the index copies as much.
        self.pointer, self.capacity, self.size = address, count, count

    def forget(self) -> None:
        self.pointer = self.capacity = self.size = 0

    def held(self) -> tuple[int, int]:
        """Address and number of values."""
        return self.pointer, self.size


class FloatVector(ctypes.Structure):
    """std::vector<float>, of libstdc++ and libc++ alike."""

    _fields_ = (("begin", ctypes.c_size_t), ("end", ctypes.c_size_t), ("capacity_end", ctypes.c_size_t))

    def refer_to(self, address: int, count: int) -> None:
        self.begin, self.end = address, address + 4 * count
        self.capacity_end = self.end

    def forget(self) -> None:
        self.begin = self.end = self.capacity_end = 0

    def held(self) -> tuple[int, int]:
        """Address and number of values."""
        return self.begin, (self.end - self.begin) // 4


_lock = threading.Lock()
_found: list[str] = []  # once it has been looked at: why it does not match, or an empty sentence


def check() -> None:
    """Compare the layouts with what faiss says of known tables; the first call in a process does it.

    Raises:
        LayoutMismatch: they differ.
    """
    with _lock:
        if not _found:
            _found.append(_mismatch())
    if _found[0]:
        raise LayoutMismatch(_found[0])


def precomputed_table(index: Any) -> AlignedTable:
    """Where an IndexIVFPQ holds its precomputed table; valid as long as the index is."""
    return AlignedTable.from_address(int(index.precomputed_table.this))


def sdc_table(quantizer: Any) -> FloatVector:
    """Where a ProductQuantizer holds its SDC table; valid as long as the quantizer is."""
    return FloatVector.from_address(int(quantizer.sdc_table.this))


# A codebook of small whole numbers, so that all sums are exact.
_DIM, _LISTS, _PQ_M, _BITS = 4, 3, 2, 4
_CENTROIDS = np.arange(_LISTS * _DIM, dtype="float32").reshape(_LISTS, _DIM) - 5
_CODES = (np.arange(2**_BITS * _DIM, dtype="float32") * 7 % 11).reshape(_PQ_M, 2**_BITS, _DIM // _PQ_M)


def _mismatch() -> str:
    for name, differs in (
        ("the precomputed table of IndexIVFPQ", _precomputed_differs),
        ("the SDC table of ProductQuantizer", _sdc_differs),
    ):
        if differs():
            return f"faiss {faiss.__version__} holds {name} in another way than is known here"
    return ""


def _precomputed_differs() -> bool:
    index = _known_index()
    index.precompute_table()
    table, own = precomputed_table(index), index.precomputed_table
    # || y_R ||^2 + 2 (y_C | y_R), of every list, subquantizer and code (faiss/IndexIVFPQ.cpp)
    parts = _CENTROIDS.reshape(_LISTS, _PQ_M, 1, -1)
    expected = (_CODES**2).sum(-1) + 2 * (parts * _CODES).sum(-1)
    if table.held() != (int(own.data()), expected.size) or own.size() != expected.size:
        return True
    if table.capacity != own.round_capacity(expected.size) or not _equal(table.pointer, expected):
        return True
    # What is put in its place is what is read: one more in each table entry is pq_m more in each distance.
    borrower, values = _known_index(), np.ascontiguousarray(expected + 1, dtype="float32")
    precomputed_table(borrower).refer_to(values.ctypes.data, values.size)
    borrower.use_precomputed_table = 1
    try:
        query = np.ones((1, _DIM), dtype="float32")
        distances, ids = index.search(query, 8)
        with_ours, same_ids = borrower.search(query, 8)
        reads = borrower.precomputed_table.size() == expected.size and np.array_equal(ids, same_ids)
        return not (reads and np.array_equal(distances + _PQ_M, with_ours))
    finally:
        precomputed_table(borrower).forget()


def _sdc_differs() -> bool:
    quantizer, borrower = _known_quantizer(), _known_quantizer()
    quantizer.compute_sdc_table()
    table, own = sdc_table(quantizer), quantizer.sdc_table
    expected = ((_CODES[:, :, None] - _CODES[:, None]) ** 2).sum(-1)
    if table.held() != (int(own.data()), expected.size) or own.size() != expected.size:
        return True
    if table.capacity_end < table.end or not _equal(table.begin, expected):
        return True
    values = np.ascontiguousarray(expected + 1, dtype="float32")
    sdc_table(borrower).refer_to(values.ctypes.data, values.size)
    try:
        return not np.array_equal(faiss.vector_to_array(borrower.sdc_table), values.ravel())
    finally:
        sdc_table(borrower).forget()


def _known_index() -> Any:
    quantizer = faiss.IndexFlatL2(_DIM)
    quantizer.add(_CENTROIDS)
    index = faiss.IndexIVFPQ(quantizer, _DIM, _LISTS, _PQ_M, _BITS)
    faiss.copy_array_to_vector(_CODES.ravel(), index.pq.centroids)
    index.is_trained = True
    index.nprobe = _LISTS
    index.add(np.arange(8 * _DIM, dtype="float32").reshape(8, _DIM) * 3 % 13)
    return index


def _known_quantizer() -> Any:
    quantizer = faiss.ProductQuantizer(_DIM, _PQ_M, _BITS)
    faiss.copy_array_to_vector(_CODES.ravel(), quantizer.centroids)
    return quantizer


def _equal(address: int, expected: np.ndarray[Any, Any]) -> bool:
    values = (ctypes.c_float * expected.size).from_address(address)
    return np.array_equal(np.ctypeslib.as_array(values), expected.ravel())
