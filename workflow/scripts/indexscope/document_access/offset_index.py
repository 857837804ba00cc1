"""The raw file as it is, memory-mapped, and an index of where each document's line begins.

As the organisers of TREC Deep Learning did for the MS MARCO documents (byte offsets by identifier, and a seek),
but the index is a sorted table in a file (id_table.py), memory-mapped too, where theirs is a dictionary that
each process holds. Two processes share the pages of both files; neither copies anything but the line it asked for.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from indexscope.document_access import raw_files
from indexscope.document_access.base import BaseLoader
from indexscope.document_access.id_table import RepeatedIdError
from indexscope.document_access.table_file import BuiltTable, TableFile, write_table

_PROBE_BYTES = 1 << 16


def build(collection: Path, index: Path) -> BuiltTable:
    """Index the documents of `collection` in one pass over it, in constant memory (IdTableBuilder).

    Raises:
        InputError: the collection is empty, has a wrong line or twice the same identifier, or was written to
            meanwhile. No file is left.
    """
    parse = raw_files.parser_of(collection)
    state = raw_files.state_of(collection)

    def entries() -> Iterator[tuple[str, int]]:
        for document in raw_files.documents(collection):
            yield document.document_id, document.offset
        raw_files.refuse_changed(collection, state, "index it again once it is complete")

    file = os.open(collection, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return write_table(
            index, entries(), lambda offset: parse(_line_at(file, offset))[0], lambda: {"collection": state}
        )
    except RepeatedIdError as error:
        raise raw_files.repeated(collection, error.args[0]) from None
    finally:
        os.close(file)


def _line_at(file: int, offset: int) -> bytes:
    """The line that begins at `offset`."""
    line = b""
    while part := os.pread(file, _PROBE_BYTES, offset + len(line)):
        end = part.find(b"\n")
        line += part if end < 0 else part[: end + 1]
        if end >= 0:
            break
    return line


class OffsetIndex(BaseLoader):
    """Documents of the raw file by their identifiers."""

    def __init__(self, collection: Path, index: Path) -> None:
        """Open both files; nothing is read but the index's first page and the collection's ends.

        Raises:
            InputError: a file is missing or damaged, or the collection has changed since it was indexed.
        """
        remedy = f"run prepare_documents.py {collection} once more"
        self.files = [collection, index]
        self._opened_with = (collection, index)
        self._parse = raw_files.parser_of(collection)
        self._table = TableFile(index, remedy)
        try:
            raw_files.refuse_changed(collection, self._table.header["collection"], remedy)
            with collection.open("rb") as file:
                self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except BaseException:
            self._table.close()
            raise

    def get(self, document_id: str) -> str:
        """The text of a document; KeyError with an unknown identifier."""
        lines = self._lines
        for offset in self._table.candidates(document_id):
            end = lines.find(b"\n", offset)
            found, text = self._parse(lines[offset : end + 1 or None])
            if found == document_id:
                return text
        raise KeyError(document_id)

    def close(self) -> None:
        self._table.close()
        self._lines.close()
