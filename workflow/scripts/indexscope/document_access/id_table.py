"""A compact sorted table from identifiers, which are any texts, to numbers such as byte offsets or rows.

An identifier is hashed to 64 bits (BLAKE2b of its UTF-8 bytes, with a fixed key). The table is sorted by hash and
has three sections:

    starts        uint64 × (2^prefix_bits + 1)   first entry of each prefix, the hash's upper bits; 32 to 64 entries
                                                 of a large table share one
    fingerprints  uint32 × documents             the hash's next 32 bits, ascending within a prefix
    values        value_bytes × documents        little-endian, of as few bytes as the largest value needs

The table answers with candidates: equal hashes give several, and an unknown identifier gives one once in 2^26
look-ups or more. Who asks compares the identifier at the place itself, so that no answer is ever wrong.
A look-up reads a few neighbouring pages, and needs no numpy.
"""

from __future__ import annotations

import hashlib
import os
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from typing import Any, NamedTuple

HASH = "blake2b-64"
BYTE_ORDER = sys.byteorder  # of starts and fingerprints: a table is read on a machine like that which made it
KEY = b"IndexScope identifiers"
_FINGERPRINT_BITS = 32
_ENTRIES_OF_PREFIX = 64
_RUN = 1 << 17  # identifiers that are sorted at once: 2 MiB of hashes and values
_RECORDED_BITS = 10  # of a hash: where each of their prefixes ends in a run is kept


def hash_of(document_id: str) -> int:
    """The hash of an identifier, from 0 to 2^64 - 1."""
    # Half of a surrogate pair is in no file; to ask for it is no error.
    encoded = document_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8, key=KEY).digest(), "big")


class Layout(NamedTuple):
    """Sizes of a table, from which follows where its sections are."""

    documents: int
    prefix_bits: int
    value_bytes: int

    @classmethod
    def of(cls, documents: int, largest: int) -> Layout:
        """For a number of documents and a largest value."""
        prefix_bits = max(1, ((documents - 1) // _ENTRIES_OF_PREFIX).bit_length())
        return cls(documents, prefix_bits, max(1, (largest.bit_length() + 7) // 8))

    @property
    def fingerprints(self) -> int:
        """Byte at which the fingerprints begin; the starts begin at 0."""
        return 8 * ((1 << self.prefix_bits) + 1)

    @property
    def values(self) -> int:
        return self.fingerprints + 4 * self.documents

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.values + self.value_bytes * self.documents


class IdTable:
    """A table in memory, or in a file that is mapped to it."""

    def __init__(self, table: memoryview, layout: Layout) -> None:
        """Take the `Layout.size` bytes of `table`."""
        self._views = [
            table[: layout.fingerprints].cast("Q"),
            table[layout.fingerprints : layout.values].cast("I"),
            table[layout.values : layout.size],
        ]
        self._starts, self._fingerprints, self._values = self._views
        self._value_bytes = layout.value_bytes
        self._prefix_shift = 64 - layout.prefix_bits
        self._fingerprint_shift = self._prefix_shift - _FINGERPRINT_BITS
        self.documents = layout.documents

    def candidates(self, document_id: str) -> Iterator[int]:
        """Values of all identifiers that may be this one: mostly one, or none."""
        hashed = hash_of(document_id)
        prefix = hashed >> self._prefix_shift
        fingerprint = (hashed >> self._fingerprint_shift) & 0xFFFFFFFF
        end = self._starts[prefix + 1]
        entry = bisect_left(self._fingerprints, fingerprint, self._starts[prefix], end)
        size = self._value_bytes
        while entry < end and self._fingerprints[entry] == fingerprint:
            yield int.from_bytes(self._values[entry * size : (entry + 1) * size], "little")
            entry += 1

    def close(self) -> None:
        """Let go of the memory, so that it can be unmapped."""
        for view in self._views:
            view.release()


class RepeatedIdError(ValueError):
    """Two documents have the identifier that is the error's argument."""


class IdTableBuilder:
    """Makes a table from identifiers in any order, in constant memory.

    Every 131,072 identifiers, their sorted hashes and values go as a run of 2 MiB to `spill`. Then slices of
    the hashes' range, of about as many, are read from all runs, sorted and written. What grows with the
    collection is 4 KiB a run: 0.03 bytes a document.
    """

    def __init__(self, spill: int, identify: Callable[[int], str]) -> None:
        """Set up.

        Args:
            spill: descriptor of an empty file for 16 bytes a document; the caller closes it.
            identify: the identifier at a value, to compare those of equal hashes.
        """
        self._spill = spill
        self._identify = identify
        self._hashes, self._values = array("Q"), array("Q")
        self._ends: list[Any] = []  # of each run: uint32 × (2^recorded bits + 1)
        self.documents = 0
        self._largest = 0

    def add(self, document_id: str, value: int) -> None:
        """Take the next identifier; its value is not negative and below 2^64."""
        self._hashes.append(hash_of(document_id))
        self._values.append(value)
        if len(self._hashes) == _RUN:
            self._end_run()

    def finish(self) -> Layout:
        """How large the table becomes; afterwards `write` writes it."""
        if self._hashes:
            self._end_run()
        return Layout.of(self.documents, self._largest)

    def write(self, output: int, position: int, layout: Layout) -> None:
        """Write the table to the file `output` from byte `position` on.

        Raises:
            RepeatedIdError: an identifier was added twice.
        """
        import numpy as np

        entry = prefix = 0
        for first, last in self._slices():
            hashes, values = self._read_slice(first, last)
            self._refuse_repeated(hashes, values)
            # Prefixes that begin in this slice, and how many entries are before them.
            end_prefix = -(-(last << layout.prefix_bits) >> _RECORDED_BITS)
            lower = np.arange(prefix, end_prefix, dtype=np.uint64) << np.uint64(64 - layout.prefix_bits)
            before = (entry + np.searchsorted(hashes, lower)).astype(np.uint64)
            _write(output, before, position + 8 * prefix)
            prefix = end_prefix
            fingerprints = hashes >> np.uint64(64 - layout.prefix_bits - _FINGERPRINT_BITS)
            _write(output, fingerprints.astype(np.uint32), position + layout.fingerprints + 4 * entry)
            packed = values.view(np.uint8).reshape(-1, 8)[:, : layout.value_bytes]
            _write(
                output,
                np.ascontiguousarray(packed),
                position + layout.values + layout.value_bytes * entry,
            )
            entry += len(hashes)
        _write(output, np.array([entry], np.uint64), position + layout.fingerprints - 8)

    def _end_run(self) -> None:
        import numpy as np

        hashes, values = np.frombuffer(self._hashes, np.uint64), np.frombuffer(self._values, np.uint64)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        entries = np.stack([ordered, values[order]], axis=1)
        _write(self._spill, entries, 16 * self.documents)
        bounds = np.arange(1, 1 << _RECORDED_BITS, dtype=np.uint64) << np.uint64(64 - _RECORDED_BITS)
        ends = np.searchsorted(ordered, bounds).astype(np.uint32)
        self._ends.append(np.concatenate([[np.uint32(0)], ends, [np.uint32(len(ordered))]]))
        self.documents += len(ordered)
        self._largest = max(self._largest, int(values.max()))
        self._hashes, self._values = array("Q"), array("Q")

    def _slices(self) -> Iterator[tuple[int, int]]:
        """Ranges of recorded prefixes, `first` to `last` without it, of about _RUN entries each."""
        import numpy as np

        entries = np.zeros(1 << _RECORDED_BITS, np.int64)
        for ends in self._ends:
            entries += np.diff(ends.astype(np.int64))
        groups = (np.cumsum(entries) - entries) // _RUN
        bounds = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(entries)]
        return pairwise(bounds)

    def _read_slice(self, first: int, last: int) -> tuple[Any, Any]:
        """Hashes and values of all runs in this range, sorted by hash, then in the order of adding."""
        import numpy as np

        parts = []
        for run, ends in enumerate(self._ends):
            begin, end = int(ends[first]), int(ends[last])
            content = _read(self._spill, 16 * (end - begin), 16 * (run * _RUN + begin))
            parts.append(np.frombuffer(content, np.uint64).reshape(-1, 2))
        entries = np.concatenate(parts)
        order = np.argsort(entries[:, 0], kind="stable")
        return np.ascontiguousarray(entries[order, 0]), np.ascontiguousarray(entries[order, 1])

    def _refuse_repeated(self, hashes: Any, values: Any) -> None:
        import numpy as np

        equal = np.flatnonzero(hashes[1:] == hashes[:-1])
        pairs = [entry for first in equal.tolist() for entry in (first, first + 1)]
        for _, entries in groupby(dict.fromkeys(pairs), key=lambda entry: int(hashes[entry])):
            seen: set[str] = set()
            for entry in entries:
                document_id = self._identify(int(values[entry]))
                if document_id in seen:
                    raise RepeatedIdError(document_id)
                seen.add(document_id)


def _write(file: int, content: Any, position: int) -> None:
    """Write all bytes of an array; a call of the system may write fewer than it was given."""
    rest = memoryview(content).cast("B") if content.size else memoryview(b"")
    while rest:
        written = os.pwrite(file, rest, position)
        rest, position = rest[written:], position + written


def _read(file: int, size: int, position: int) -> bytes:
    parts = []
    while size and (part := os.pread(file, size, position)):
        parts.append(part)
        size, position = size - len(part), position + len(part)
    return b"".join(parts)
