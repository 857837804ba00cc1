"""Index files of the kinds that this experiment knows, read with a sentence for those that cannot be."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from indexscope.run_record import InputError

Mode = Literal["default", "skip"]

# First four bytes of a file → the class that it holds (faiss/impl/index_read.cpp).
KINDS = {b"IwFl": "IndexIVFFlat", b"IwPQ": "IndexIVFPQ", b"IHNp": "IndexHNSWPQ"}
# The same for an index around one of these; IndexIDMap is what OpenSearch writes.
WRAPPERS = {b"IxMp": "IndexIDMap", b"IxM2": "IndexIDMap2", b"IxPT": "IndexPreTransform"}

_SKIP = faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE | faiss.IO_FLAG_PQ_SKIP_SDC_TABLE
_FLAGS = {"default": 0, "skip": _SKIP}


def read_index(path: str | os.PathLike[str], mode: Mode) -> Any:
    """Load one index.

    Args:
        path: a file of faiss.write_index.
        mode: default: as faiss.read_index does, which computes IVFPQ's precomputed table (L2, residuals) and
            HNSWPQ's SDC table; skip: without them. Searches find the same: bit by bit, but for IVFPQ with L2,
            which adds the same terms in another order without its table. Adding vectors to an HNSWPQ index
            without its SDC table ends the process (faiss throws within a parallel region): do not.

    Raises:
        InputError: there is no such file, it is truncated or damaged, it holds a part that this faiss does not
            know, or an index of another kind. Nothing of it stays loaded.
        MemoryError: it does not fit; nothing of it stays loaded.
    """
    path = Path(path)
    _check_kind(path)
    try:
        index = faiss.read_index(str(path), _FLAGS[mode])
    except RuntimeError as error:
        raise InputError(_sentence(path, error)) from None
    except MemoryError:
        raise MemoryError(
            f"{path}: the index does not fit into memory, or a size in the file is damaged"
        ) from None
    held = type(innermost(index)).__name__
    if held not in KINDS.values():
        raise InputError(f"{path}: holds an {held}{_REMEDY}")
    return index


def innermost(index: Any) -> Any:
    """The index that holds the vectors, below any that only map ids or transform vectors.

    Returns:
        a view, which keeps nothing alive: valid as long as `index` is.
    """
    index = faiss.downcast_index(index)
    while isinstance(index, faiss.IndexIDMap | faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    return index


_REMEDY = (
    f"; give a file of one of {', '.join(KINDS.values())}, bare or within {', '.join(WRAPPERS.values())}"
)
# What faiss says of a four-letter code that it does not know: of an index, and of inverted lists.
_UNKNOWN = ("not recognized", "could not load ArrayInvertedLists as")


def _check_kind(path: Path) -> None:
    """Look at the first four bytes, before anything is loaded."""
    try:
        with path.open("rb") as file:
            kind = file.read(4)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: write the index again") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give the file of an index") from None
    if len(kind) < 4:
        raise InputError(f"{path} is truncated, at {len(kind)} bytes: write the index again")
    if kind in KINDS or kind in WRAPPERS:
        return
    if not (kind.isascii() and kind.isalnum()) or not kind.startswith(b"I"):
        raise InputError(f"{path} is no index file of faiss: it starts with {kind!r}{_REMEDY}")
    name = kind.decode()
    if kind.startswith(b"IB"):
        raise InputError(f"{path}: holds an index of binary vectors ({name}){_REMEDY}")
    try:
        faiss.deserialize_index(np.frombuffer(kind, dtype="uint8"))
    except RuntimeError as error:
        if not any(words in str(error) for words in _UNKNOWN):
            raise InputError(f"{path}: holds an index of another kind ({name}){_REMEDY}") from None
    raise InputError(
        f"{path}: {name!r} is a kind of index that faiss {faiss.__version__} does not know: write the index again "
        "with this version, or read it with a newer one"
    )


def _sentence(path: Path, error: RuntimeError) -> str:
    # Without the function and the line of faiss's source that it begins with.
    reason = re.sub(r"^Error in .*?\.(cpp|h):\d+: (Error: )?", "", " ".join(str(error).split()))
    reason = reason.replace(f" in {path}", "")
    if any(words in reason for words in _UNKNOWN):
        return (
            f"{path}: holds a part that faiss {faiss.__version__} does not know ({reason}): write the index again "
            "with this version, or read it with a newer one"
        )
    damage = "truncated" if "read error" in reason else "damaged"
    return f"{path} is {damage} ({reason}): write the index again"
