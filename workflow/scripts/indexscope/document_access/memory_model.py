"""How much memory documents take in each way of reading them, and a training's processes with them.

Sizes of a collection at hand are summed from its own texts, in one pass and constant memory; those of a collection of
which only totals are known are estimated. Objects are those of CPython 3.11 or later (Objects/unicodeobject.c,
Objects/dictobject.c), allocated by pymalloc and glibc. Texts that were handed to a tokenizer may hold a UTF-8 copy of
themselves besides, where they are not ASCII; it is not counted. Standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from indexscope.document_access import raw_files
from indexscope.document_access.id_table import Layout
from indexscope.run_record import InputError

MIB = 2**20
_PAGE = 4096
_SMALL = 512  # pymalloc's largest block (Objects/obmalloc.c: SMALL_REQUEST_THRESHOLD)
_MAPPED = 128 * 1024  # glibc's M_MMAP_THRESHOLD, where it starts
_INTEGER = 32  # an int below 2^60 as pymalloc allocates it


class CollectionSizes(NamedTuple):
    """What a collection takes, summed over its documents; all but `documents` are bytes."""

    documents: int
    file_bytes: int  # of the raw file up to its last document's beginning: the largest offset
    text_bytes: int  # of the texts in UTF-8
    identifier_bytes: int  # of the identifiers in UTF-8
    object_bytes: int  # of identifiers and texts as CPython's str, as they are allocated

    @property
    def in_memory_bytes(self) -> int:
        """Of a dict, identifier → text, in one process."""
        return self.object_bytes + dictionary_bytes(self.documents)

    @property
    def offset_index_bytes(self) -> int:
        """Of the offset index's file."""
        return Layout.of(self.documents, self.file_bytes).size


def collection_sizes(collection: Path) -> CollectionSizes:
    """Read the raw file once; memory does not depend on its size.

    Raises:
        InputError: as raw_files.documents.
    """
    documents = offset = text_bytes = identifier_bytes = object_bytes = 0
    for document in raw_files.documents(collection):
        documents += 1
        offset = document.offset
        text_bytes += len(document.text.encode())
        identifier_bytes += len(document.document_id.encode())
        object_bytes += text_object_bytes(document.document_id) + text_object_bytes(document.text)
    return CollectionSizes(documents, offset, text_bytes, identifier_bytes, object_bytes)


def text_object_bytes(text: str) -> int:
    """A str as it is allocated: a character takes 1, 2 or 4 bytes, as the widest of the text needs."""
    # A str that was encoded may hold its UTF-8 copy, which sys.getsizeof counts; one that is ASCII has none.
    return allocated_bytes(sys.getsizeof(text))


def allocated_bytes(size: int) -> int:
    """What a request for `size` bytes takes: pymalloc up to 512 bytes, glibc's malloc above."""
    if size <= _SMALL:
        return -(-size // 16) * 16
    if size >= _MAPPED:
        return -(-(size + 16) // _PAGE) * _PAGE
    return -(-(size + 8) // 16) * 16


def dictionary_bytes(entries: int) -> int:
    """A dict that `entries` texts were put into one after the other, without keys and values (sys.getsizeof).

    Its slots are a power of two and double when two thirds of them are taken; each entry has 16 bytes, each slot an
    index of 1, 2, 4 or 8 bytes.
    """
    if entries == 0:
        return sys.getsizeof({})
    slots = 8
    while slots * 2 // 3 < entries:
        slots *= 2
    index = 1 if slots < 2**8 else 2 if slots < 2**16 else 4 if slots < 2**32 else 8
    return sys.getsizeof({}) + 32 + slots * index + (slots * 2 // 3) * 16


def estimated_in_memory_bytes(
    documents: int, text_bytes: float, identifier_characters: int, character_bytes: int = 1
) -> float:
    """A dict, identifier → text, of which only totals are known.

    Args:
        text_bytes: of all texts in UTF-8, taken as their number of characters.
        character_bytes: 1 where no text has a character beyond Latin-1, 2 where every text has one (such as a
            typographic quotation mark): all characters of a str are as wide as its widest.
    """
    # Rounded up to 16 bytes: 8 more on average, and 8 of glibc's own.
    text_objects = documents * (sys.getsizeof("") + 16) + text_bytes * character_bytes
    return text_objects + _identifier_objects(documents, identifier_characters) + dictionary_bytes(documents)


def estimated_offsets_bytes(documents: int, identifier_characters: int) -> int:
    """A dict, identifier → offset in the raw file, as TREC Deep Learning's reader of documents holds it."""
    objects = _identifier_objects(documents, identifier_characters) + documents * _INTEGER
    return objects + dictionary_bytes(documents)


def estimated_offset_index_bytes(documents: int, file_bytes: float) -> int:
    """The offset index of this project, a file that all processes share."""
    return Layout.of(documents, int(file_bytes)).size


def _identifier_objects(documents: int, characters: int) -> int:
    return documents * allocated_bytes(sys.getsizeof("") + characters)


class Calibration(NamedTuple):
    """What the processes of a training take without documents, in MiB."""

    launcher_mib: float  # of what there is once, whatever the world size
    rank_mib: float  # of each rank

    def predicted_mib(self, world_size: int, documents_mib: float) -> float:
        """Of the whole tree, when each rank holds the documents."""
        return self.launcher_mib + world_size * (self.rank_mib + documents_mib)


def calibrated(of_one: Sequence[float], of_two: Sequence[float], documents_mib: float) -> Calibration:
    """From trainings at world sizes 1 and 2, repeated, whose ranks each held documents of `documents_mib`.

    Raises:
        InputError: the second rank took no more than its documents, so nothing can be predicted from them.
    """
    one, two = _mean(of_one), _mean(of_two)
    rank = two - one - documents_mib
    if rank <= 0:
        raise InputError(
            f"a training took {one:.0f} MiB at world size 1 and {two:.0f} MiB at 2: a rank cannot be told from them; "
            "calibrate again on a quiet machine"
        )
    return Calibration(one - rank - documents_mib, rank)


def limit_between(predictions: Mapping[int, float], fits: int) -> int:
    """The limit, in MiB, halfway between what world size `fits` needs and what the next one does.

    Raises:
        InputError: there is no next world size, or it needs no more.
    """
    larger = sorted(world_size for world_size in predictions if world_size > fits)
    if fits not in predictions or not larger:
        raise InputError(f"limited.fits: {fits} must be one of world_sizes, and not the last")
    low, high = predictions[fits], predictions[larger[0]]
    if int((low + high) / 2) <= low:
        raise InputError(
            f"world size {larger[0]} needs {high:.0f} MiB, no more than {fits} with {low:.0f} MiB; take more documents"
        )
    return int((low + high) / 2)


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
