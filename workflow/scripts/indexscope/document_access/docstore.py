"""The docstore of ir_datasets, as it makes it for a collection of files: PickleLz4FullStore.

Records are pickled, compressed with LZ4 and written one after the other; identifiers and positions are two
memory-mapped arrays, sorted by identifier. Nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from indexscope.document_access import raw_files
from indexscope.document_access.base import BaseLoader
from indexscope.run_record import InputError


def build(collection: Path, folder: Path, documents: int | None = None) -> int:
    """Make the docstore of a collection, or of its first `documents`, in `folder`; return how many it holds.

    ir_datasets keeps all identifiers and positions in memory until it sorts them.

    Raises:
        InputError: the collection is empty, has a wrong line or twice the same identifier, or an identifier that
            a docstore cannot hold. No folder is left.
    """
    partial = folder.with_name(folder.name + ".partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        store = _store(partial, islice(_records(collection), documents))
        store.build()
        held, written = len(store.lookup.idx()), len(store.lookup.pos())
        store.lookup.close()
        if held != written:  # the last of a repeated identifier has replaced the others
            raise _repeated(collection)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return int(held)


def _records(collection: Path) -> Iterator[Any]:
    from ir_datasets.formats import GenericDoc

    for number, document in enumerate(raw_files.documents(collection), start=1):
        if document.document_id.endswith("\0"):
            raise InputError(
                f"{collection}: line {number} has a document_id that ends with NUL, which a docstore of ir_datasets "
                "drops; correct it, or leave this loader out"
            )
        yield GenericDoc(document.document_id, document.text)


def _repeated(collection: Path) -> InputError:
    seen: set[str] = set()
    for document in raw_files.documents(collection):
        if document.document_id in seen:
            return raw_files.repeated(collection, document.document_id)
        seen.add(document.document_id)
    return InputError(f"{collection}: has changed while it was read; make the docstore again")


def _store(folder: Path, records: Iterator[Any] | None = None) -> Any:
    import logging

    from ir_datasets import log
    from ir_datasets.formats import GenericDoc
    from ir_datasets.indices import PickleLz4FullStore

    if records is None:
        # A line for each file that is opened, from each process, says nothing here.
        log.easy().logger().setLevel(logging.WARNING)
    return PickleLz4FullStore(str(folder), lambda: records, GenericDoc, "doc_id", ["doc_id"])


class Docstore(BaseLoader):
    """Documents of a docstore by their identifiers."""

    def __init__(self, folder: Path) -> None:
        """Open the docstore in `folder`.

        Raises:
            InputError: it is not there, or not complete.
        """
        self.files = sorted(folder.iterdir()) if folder.is_dir() else []
        self._folder = folder
        self._opened_with = (folder,)
        self._open()
        if not self._store.built():
            raise InputError(
                f"{folder}: is no docstore; run prepare_documents.py --loaders ir_datasets once more"
            )

    def _open(self) -> None:
        self._store = _store(self._folder)
        self._process = os.getpid()

    def get(self, document_id: str) -> str:
        """The text of a document; KeyError with an unknown identifier."""
        if os.getpid() != self._process:  # forked: a shared file has one position for both processes
            self._open()
        try:
            # Not its own get, whose error is another one when an identifier begins the unknown one, which it cuts.
            found = self._store.get_many([document_id]).get(document_id)
        except UnicodeEncodeError:  # half of a surrogate pair, which is in no file
            found = None
        if found is None:
            raise KeyError(document_id)
        text: str = found.text
        return text

    def close(self) -> None:
        self._store.lookup.close()
