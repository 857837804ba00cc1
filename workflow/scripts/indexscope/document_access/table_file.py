"""A table of identifiers in a file: a first line of JSON that says what it is, then the table.

The line is filled with spaces up to byte 4096, so that the table begins with a page of its own.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.document_access.id_table import BYTE_ORDER, HASH, IdTable, IdTableBuilder, Layout
from indexscope.run_record import FORMAT, InputError

HEADER_BYTES = 4096


class BuiltTable(NamedTuple):
    """A table that was written: its documents, and the size of its file in bytes."""

    documents: int
    bytes: int

    @property
    def index_bytes_per_document(self) -> float:
        return self.bytes / self.documents


def write_table(
    path: Path,
    entries: Iterable[tuple[str, int]],
    identify: Callable[[int], str],
    facts: Callable[[], dict[str, Any]],
) -> BuiltTable:
    """Write the table of `entries` (identifier, value) to `path`, which gets its name when it is complete.

    Memory is constant, as IdTableBuilder says; the disk holds 16 bytes a document more for as long as it takes.

    Args:
        identify: the identifier at a value.
        facts: what the header says besides, asked for once all entries were read.

    Raises:
        RepeatedIdError: an identifier is there twice. Whatever is raised, no file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as output, tempfile.TemporaryFile(dir=path.parent) as spill:
            builder = IdTableBuilder(spill.fileno(), identify)
            for document_id, value in entries:
                builder.add(document_id, value)
            layout = builder.finish()
            header = {
                "format": FORMAT,
                "hash": HASH,
                "byte_order": BYTE_ORDER,
                **layout._asdict(),
                **facts(),
            }
            output.write(json.dumps(header).encode().ljust(HEADER_BYTES - 1) + b"\n")
            output.flush()
            builder.write(output.fileno(), HEADER_BYTES, layout)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return BuiltTable(layout.documents, path.stat().st_size)


class TableFile:
    """A table file, memory-mapped.

    Attributes:
        header: its first line.
    """

    def __init__(self, path: Path, remedy: str) -> None:
        """Open it.

        Raises:
            InputError: the file is missing, none of ours, cut off, or of another kind of machine; the sentence
                ends with `remedy`.
        """
        try:
            with path.open("rb") as file:
                self.header: dict[str, Any] = json.loads(file.read(HEADER_BYTES))
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
        except ValueError:
            raise InputError(f"{path}: is no table of identifiers; {remedy}") from None
        if not isinstance(self.header, dict):
            self._mapped.close()
            raise InputError(f"{path}: is no table of identifiers; {remedy}")
        expected = {"format": FORMAT, "hash": HASH, "byte_order": BYTE_ORDER}
        for key, value in expected.items():
            if self.header.get(key) != value:
                self._mapped.close()
                raise InputError(f"{path}: {key}: {self.header.get(key)!r} is not {value!r}; {remedy}")
        layout = Layout(*(self.header[name] for name in Layout._fields))
        if len(self._mapped) != HEADER_BYTES + layout.size:
            size = len(self._mapped)
            self._mapped.close()
            raise InputError(f"{path}: has {size} bytes, not {HEADER_BYTES + layout.size}; {remedy}")
        self._view = memoryview(self._mapped)
        self.table = IdTable(self._view[HEADER_BYTES:], layout)
        self.candidates = self.table.candidates

    def close(self) -> None:
        self.table.close()
        self._view.release()
        with contextlib.suppress(BufferError):  # a look-up that another thread has begun
            self._mapped.close()
