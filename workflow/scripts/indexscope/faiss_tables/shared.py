"""One copy of a precomputed table for all indexes that have the same codebooks.

    with SharedTables() as shared:
        index = shared.load(path)
        index.search(queries, 10)

What it does, what it cannot do and how to use it in another program: docs/faiss_sharing.md.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import mmap
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import faiss

from indexscope.run_record import InputError

from . import layout
from .reading import innermost, read_index

_DIGEST_LENGTH = 64
_BLOCK_ROWS = 4096  # centroids that are hashed at once


class SharingRefused(InputError):
    """An index that cannot share its table. The message says why, and how to load it."""


class Table(NamedTuple):
    """A table that indexes share."""

    digest: str  # of all that determines its values
    bytes: int
    users: int  # indexes that refer to it


class SharedTables:
    """Loads indexes so that those with equal codebooks refer to one table.

    Tables are found by content: IVFPQ's precomputed table by coarse centroids and product quantizer, HNSWPQ's SDC
    table by product quantizer. An IVF-Flat index, and an IVFPQ index for which faiss computes no table (inner
    product, or codes of the vectors themselves), is loaded and shares nothing.

    A table is freed with the last index that refers to it, not with this object: after `close`, or the end of the
    `with` block, nothing more is loaded, and what has been loaded goes on working. All methods may be called from
    several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: weakref.WeakValueDictionary[str, _Memory] = weakref.WeakValueDictionary()
        self._closed = False

    def __enter__(self) -> SharedTables:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def tables(self) -> list[Table]:
        """The tables in memory, by digest."""
        held = [(memory, memory.digest) for memory in self._tables.values()]
        return sorted(Table(digest, memory.bytes, len(memory.users)) for memory, digest in held)

    def close(self) -> None:
        """Load nothing more. Indexes that are loaded keep their tables, and tables go with their last index."""
        self._closed = True

    def load(self, path: str | os.PathLike[str]) -> Any:
        """Load an index without its table, and let it refer to the shared one before it is returned.

        Returns:
            the faiss index, which faiss's functions take as any other. `train` and `precompute_table` give it
            a table of its own first; a copy (faiss.clone_index, pickle) has a table of its own; written to a file
            it is as it was read.

        Raises:
            InputError: as reading.read_index.
            SharingRefused: its coarse quantizer is a MultiIndexQuantizer, its table is larger than
                faiss.cvar.precomputed_table_max_bytes, or this build of faiss cannot be shared with.
        """
        if self._closed:
            raise ValueError("SharedTables is closed: load before the end of the with block")
        index = read_index(path, "skip")
        place = _place(index, path)
        if place is None:
            return index
        try:
            layout.check()
        except layout.LayoutMismatch as error:
            raise SharingRefused(
                f"{path}: no table is shared, since {error}; load all segments together with load_all, or each "
                "with read_index(path, 'skip')"
            ) from None
        memory = self._memory(place)
        _Loan(index, place, memory)
        return index

    def load_all(self, paths: Sequence[str | os.PathLike[str]]) -> list[Any]:
        """Load many segments; where tables cannot be shared, IVFPQ segments of equal codebooks as one index.

        Search every index that is returned and merge the results: with the layout of tables known, there is one
        for each path, in their order; otherwise segments of equal codebooks are one index over HStackInvertedLists
        with one table, which cannot be added to, in the place of the first of them.

        Raises:
            InputError, SharingRefused: as load; nothing stays loaded.
        """
        try:
            layout.check()
        except layout.LayoutMismatch:
            if self._closed:
                raise ValueError("SharedTables is closed: load before the end of the with block") from None
            return stacked(paths)
        return [self.load(path) for path in paths]

    def _memory(self, place: _Place) -> _Memory:
        digest = place.digest()
        with self._lock:
            memory = self._tables.get(digest)
            if memory is None:
                memory = place.compute(digest)
                self._tables[digest] = memory
            return memory


def detach(index: Any) -> None:
    """Take the shared table from an index.

    An IVFPQ index then searches without one, with the same results to rounding; an HNSWPQ index gets one of its
    own, since without one faiss ends the process when vectors are added. Needed before the index is given to
    another C++ object that will free it (`index.this.disown()`).
    """
    for loan in list(_loans):
        if loan.index() is index:
            place = loan.place
            loan.end()
            if isinstance(place, _SdcPlace):
                place.quantizer.compute_sdc_table()


def stacked(paths: Sequence[str | os.PathLike[str]]) -> list[Any]:
    """One index over the lists of all IVFPQ segments with equal codebooks, with one table of faiss's own.

    Returns:
        an index for each codebook, in the order of the first segment of each; a segment that has no table, and
        an HNSWPQ segment (without its SDC table), stands for itself.
    """
    groups: dict[str, list[tuple[Any, Any]]] = {}
    for number, path in enumerate(paths):
        index = read_index(path, "skip")
        place = _place(index, path)
        alone = place is None or not isinstance(index, faiss.IndexIVFPQ)
        groups.setdefault(f"{number}" if alone or place is None else place.digest(), []).append((path, index))
    return [
        _stack(group[0][0], [index for _, index in group]) if len(digest) == _DIGEST_LENGTH else group[0][1]
        for digest, group in groups.items()
    ]


def _stack(path: Any, segments: list[Any]) -> Any:
    pointers = faiss.InvertedListsPtrVector()
    for segment in segments:
        pointers.push_back(segment.invlists)
    lists = faiss.HStackInvertedLists(pointers.size(), pointers.data())
    lists.referenced_objects = segments  # which own the lists
    index = read_index(path, "skip")
    index.replace_invlists(lists, False)
    index.referenced_objects = [lists]
    index.ntotal = sum(segment.ntotal for segment in segments)
    index.precompute_table()
    return index


class _Memory:
    """The values of a table, which nobody may write any more."""

    def __init__(self, digest: str, count: int) -> None:
        self.digest = digest
        self.count = count
        self.bytes = 4 * count
        self.users: set[int] = set()  # ids of loans
        # Of its own pages: they can be protected, and go back to the system when the last user goes.
        self.pages = mmap.mmap(-1, self.bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))

    def fill(self, source: int) -> None:
        ctypes.memmove(self.address, source, self.bytes)
        # A write into it would change the results of every user: it shall fail where it is made.
        if _libc.mprotect(ctypes.c_void_p(self.address), ctypes.c_size_t(self.bytes), mmap.PROT_READ):
            raise OSError(ctypes.get_errno(), "mprotect")


_libc = ctypes.CDLL(None, use_errno=True)


class _PrecomputedPlace:
    """The precomputed table of an IVFPQ index."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner  # does not own the C++ index: the index around it, or the one loaded, does
        self.count = inner.nlist * inner.pq.M * inner.pq.ksub
        self.table = layout.precomputed_table(inner)

    def digest(self) -> str:
        inner = self.inner
        header = f"precomputed {inner.d} {inner.nlist} {inner.pq.M} {inner.pq.nbits} {inner.by_residual}"
        content = hashlib.sha256(header.encode())
        for start in range(0, inner.nlist, _BLOCK_ROWS):
            rows = inner.quantizer.reconstruct_n(start, min(_BLOCK_ROWS, inner.nlist - start))
            content.update(rows.tobytes())
        content.update(faiss.vector_to_array(inner.pq.centroids).tobytes())
        return content.hexdigest()

    def compute(self, digest: str) -> _Memory:
        self.inner.precompute_table()
        try:
            address, count = self.table.held()
            if self.inner.use_precomputed_table != 1 or count != self.count:
                raise RuntimeError(
                    f"faiss computed a table of {count} values where {self.count} were expected"
                )
            memory = _Memory(digest, count)
            memory.fill(address)
        finally:
            self.inner.use_precomputed_table = 0
            self.inner.precomputed_table.resize(0)
        return memory

    def attach(self, memory: _Memory) -> None:
        self.table.refer_to(memory.address, memory.count)
        self.inner.use_precomputed_table = 1

    def forget(self) -> None:
        if self.inner.use_precomputed_table == 1:
            self.inner.use_precomputed_table = 0
        self.table.forget()


class _SdcPlace:
    """The SDC table of an HNSWPQ index, which adding vectors needs."""

    def __init__(self, inner: Any) -> None:
        self.storage = faiss.downcast_index(inner.storage)
        self.quantizer = self.storage.pq
        self.count = self.quantizer.M * self.quantizer.ksub**2
        self.table = layout.sdc_table(self.quantizer)

    def digest(self) -> str:
        content = hashlib.sha256(f"sdc {self.quantizer.d} {self.quantizer.M} {self.quantizer.nbits}".encode())
        content.update(faiss.vector_to_array(self.quantizer.centroids).tobytes())
        return content.hexdigest()

    def compute(self, digest: str) -> _Memory:
        self.quantizer.compute_sdc_table()
        own = faiss.Float32Vector()
        own.swap(self.quantizer.sdc_table)  # freed with `own`; resizing would keep the memory
        memory = _Memory(digest, own.size())
        memory.fill(int(own.data()))
        return memory

    def attach(self, memory: _Memory) -> None:
        self.table.refer_to(memory.address, memory.count)

    def forget(self) -> None:
        self.table.forget()


_Place = _PrecomputedPlace | _SdcPlace


def _place(index: Any, path: object) -> _Place | None:
    """Where the index holds the table that faiss would compute at load; None where it would compute none."""
    inner = innermost(index)
    if isinstance(inner, faiss.IndexHNSWPQ):
        return _SdcPlace(inner)
    if not isinstance(inner, faiss.IndexIVFPQ) or not inner.is_trained or not inner.by_residual:
        return None
    quantizer = faiss.downcast_index(inner.quantizer)
    if quantizer.metric_type != faiss.METRIC_L2:
        return None
    skip = "load it with read_index(path, 'skip')"
    if isinstance(quantizer, faiss.MultiIndexQuantizer):
        raise SharingRefused(
            f"{path}: its coarse quantizer is a MultiIndexQuantizer, whose table is small and not shared; {skip}"
        )
    size, limit = 4 * inner.nlist * inner.pq.M * inner.pq.ksub, faiss.cvar.precomputed_table_max_bytes
    if size > limit:
        raise SharingRefused(
            f"{path}: its table would take {size} bytes, more than precomputed_table_max_bytes ({limit}), and faiss "
            f"does not compute such a table; {skip}"
        )
    return _PrecomputedPlace(inner)


class _Loan:
    """An index refers to a table: until it is freed, trained or detached, or the process ends.

    The index must never free a pointer that it only borrowed, so that is taken from it first: by the callback of
    a weak reference, which Python calls before it frees the object, in whichever thread and for whichever reason.
    No lock is taken there: the collector may run it anywhere.
    """

    def __init__(self, index: Any, place: _Place, memory: _Memory) -> None:
        self.place: _Place | None = place
        self.memory: _Memory | None = memory
        self.index = weakref.ref(index, self.end)
        memory.users.add(id(self))
        _loans.add(self)
        place.attach(memory)
        kind: Any = type(index)
        index.__class__ = _borrower(kind)
        if _exiting.is_set():
            self.abandon()

    def end(self, _: object = None) -> None:
        place, self.place = self.place, None
        memory, self.memory = self.memory, None
        if place is not None and memory is not None:
            place.forget()
            memory.users.discard(id(self))
        _loans.discard(self)

    def abandon(self) -> None:
        """At exit: neither the index nor the table is freed any more; a daemon thread may still be searching."""
        index, memory = self.index(), self.memory
        if index is not None and memory is not None:
            index.this.disown()
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
            self.place = self.memory = None


_loans: set[_Loan] = set()
_exiting = threading.Event()


@atexit.register
def _at_exit() -> None:
    _exiting.set()
    for loan in list(_loans):
        loan.abandon()


@functools.cache
def _borrower(kind: Any) -> Any:
    """The class with whatever would write into a table, or free it, after giving it back."""

    def giving_back(name: str) -> Any:
        method = getattr(kind, name)

        @functools.wraps(method)
        def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
            detach(self)
            return method(self, *arguments, **named)

        return wrapped

    def setting(name: str) -> property:
        own = getattr(kind, name)

        def setter(self: Any, value: Any) -> None:
            detach(self)
            own.fset(self, value)

        return property(own.fget, setter, doc=own.__doc__)

    # Not Index.train: that calls train_c.
    methods = ("train_c", "train_ex", "train_encoder", "precompute_table")
    settings = ("precomputed_table", "thisown")
    members: dict[str, Any] = {name: giving_back(name) for name in methods if hasattr(kind, name)}
    members |= {name: setting(name) for name in settings if hasattr(kind, name)}
    # A pickled index is one of faiss's own.
    members["__reduce__"] = lambda self: (faiss.deserialize_index, (faiss.serialize_index(self),))
    return type(kind.__name__, (kind,), members)
