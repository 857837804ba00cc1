"""One copy of all documents in memory, for all processes of a machine.

Rank 0 writes the documents and a table of identifiers and positions (id_table.py) into an anonymous file in memory
(memfd_create(2)), seals it, and says in the rendezvous file which descriptor of which process it is. The others open
/proc/PID/fd/FD and map it. The memory has no name: the kernel frees it when the last process that has it open or
mapped has ended, however it ends, also by SIGKILL; nothing stays in /dev/shm, whose size is no limit either. What can
be left behind by a killed rank 0 is the rendezvous file, a few bytes in the folder of the run.

A record is the lengths of identifier and text in UTF-8 (uint32 each), the identifier, the text.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from indexscope.document_access import raw_files
from indexscope.document_access.base import BaseLoader
from indexscope.document_access.id_table import IdTable, IdTableBuilder, Layout, RepeatedIdError
from indexscope.measure import proc
from indexscope.run_record import FORMAT, InputError, read_json_object

if TYPE_CHECKING:
    from indexscope.document_access.loaders import Share

_LENGTHS = struct.Struct("<II")
_POLL_SECONDS = 0.02
_PAGE = mmap.PAGESIZE


class Place(NamedTuple):
    """Where the copy is.

    Attributes:
        process_id, start_ticks: a process that has it open; together they name it for good.
        descriptor: of that process.
        records_bytes: before the table begins, whole pages.
        layout: of the table.
        read_from: the collection, for `files`.
    """

    process_id: int
    start_ticks: int
    descriptor: int
    records_bytes: int
    layout: Layout
    read_from: str


def open_shared(collection: Path, share: Share | None) -> SharedDocuments:
    """Make the copy, or take that of rank 0.

    Without `share` the copy is for this process, and those it forks or sends the loader to.

    Raises:
        InputError: the collection cannot be read (said by every rank), the rendezvous file exists already, or
            rank 0 has ended or does not come.
    """
    if share is None:
        return _make(collection)
    if share.rank:
        return SharedDocuments(_wait(share))
    if share.rendezvous.exists():
        raise InputError(
            f"{share.rendezvous}: exists; remove it, or name one that an earlier run has not used"
        )
    own = {"process_id": os.getpid(), "start_ticks": _start_ticks(os.getpid())}
    _announce(share.rendezvous, own)
    try:
        made = _make(collection, share.rendezvous)
    except BaseException as error:
        _announce(share.rendezvous, {**own, "error": str(error) or type(error).__name__})
        raise
    place = made.place()
    _announce(share.rendezvous, {**own, "place": {**place._asdict(), "layout": list(place.layout)}})
    return made


def _announce(rendezvous: Path, content: dict[str, Any]) -> None:
    partial = rendezvous.with_name(rendezvous.name + ".partial")
    partial.write_text(json.dumps({"format": FORMAT, **content}), encoding="utf-8")
    partial.replace(rendezvous)


def _wait(share: Share) -> Place:
    """Where the copy of rank 0 is, once it is complete."""
    deadline = time.monotonic() + share.timeout_seconds
    while True:
        if share.rendezvous.exists():
            said = read_json_object(share.rendezvous, remedy="start all ranks again")
            if "error" in said:
                raise InputError(f"rank 0 could not share the documents: {said['error']}")
            if "place" in said:
                place = said["place"]
                return Place(**{**place, "layout": Layout(*place["layout"])})
            if _start_ticks(said["process_id"]) != said["start_ticks"]:
                raise InputError(
                    f"{share.rendezvous}: rank 0 has ended before the documents were there; start all ranks again"
                )
        if time.monotonic() > deadline:
            raise InputError(
                f"{share.rendezvous}: rank 0 has not shared the documents within {share.timeout_seconds:g} seconds; "
                "wait longer, or look for why it is slow"
            )
        time.sleep(_POLL_SECONDS)


def _start_ticks(process_id: int) -> int | None:
    """What names a process beside its number; None when it has ended."""
    found = proc.stat(process_id)
    return None if found is None or found.state in "ZX" else found.start_ticks


def _make(collection: Path, rendezvous: Path | None = None) -> SharedDocuments:
    """Copy the documents into memory that has no name."""
    copy = os.memfd_create("documents", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        spill = os.memfd_create("identifiers", os.MFD_CLOEXEC)
        try:
            records_bytes, layout = _fill(copy, spill, collection)
        finally:
            os.close(spill)
        fcntl.fcntl(
            copy,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL,
        )
        ticks = _start_ticks(os.getpid())
        place = Place(os.getpid(), ticks or 0, copy, records_bytes, layout, str(collection))
        return SharedDocuments(place, rendezvous)
    finally:
        os.close(copy)


def _fill(copy: int, spill: int, collection: Path) -> tuple[int, Layout]:
    """Write records, then, on a page of its own, their table; return where that begins, and its layout."""

    def identify(position: int) -> str:
        length, _ = _LENGTHS.unpack(os.pread(copy, _LENGTHS.size, position))
        return os.pread(copy, length, position + _LENGTHS.size).decode()

    builder = IdTableBuilder(spill, identify)
    position = 0
    with open(copy, "wb", buffering=1 << 20, closefd=False) as records:
        for _, document_id, text in raw_files.documents(collection):
            identifier, content = document_id.encode(), text.encode()
            builder.add(document_id, position)
            position += records.write(_LENGTHS.pack(len(identifier), len(content)))
            position += records.write(identifier) + records.write(content)
    layout = builder.finish()
    records_bytes = -(-position // _PAGE) * _PAGE
    try:
        builder.write(copy, records_bytes, layout)
    except RepeatedIdError as error:
        raise raw_files.repeated(collection, error.args[0]) from None
    return records_bytes, layout


class SharedDocuments(BaseLoader):
    """Documents of the shared copy by their identifiers."""

    def __init__(self, place: Place, rendezvous: Path | None = None) -> None:
        """Map the copy; `rendezvous` is removed when the loader is closed.

        Raises:
            InputError: the process that has it open has ended, or has closed it.
        """
        self.files = [Path(place.read_from)]
        self._place = place
        self._rendezvous = rendezvous
        self._owner = os.getpid()
        size = place.records_bytes + place.layout.size
        gone = InputError(
            f"process {place.process_id}, which shares the documents, has ended or has closed them; start all ranks "
            "again, and close them together"
        )
        try:
            # For reading only: a sealed file is not mapped through a descriptor that could write.
            self._file = os.open(
                f"/proc/{place.process_id}/fd/{place.descriptor}", os.O_RDONLY | os.O_CLOEXEC
            )
        except OSError:
            raise gone from None
        try:
            if _start_ticks(place.process_id) != place.start_ticks or os.fstat(self._file).st_size != size:
                raise gone
            self._mapped = mmap.mmap(self._file, size, access=mmap.ACCESS_READ)
        except BaseException:
            os.close(self._file)
            raise
        self._view = memoryview(self._mapped)
        self._table = IdTable(self._view[place.records_bytes :], place.layout)

    def get(self, document_id: str) -> str:
        """The text of a document; KeyError with an unknown identifier."""
        asked = document_id.encode("utf-8", "surrogatepass")
        mapped = self._mapped
        for position in self._table.candidates(document_id):
            length, text_length = _LENGTHS.unpack_from(mapped, position)
            start = position + _LENGTHS.size
            end = start + length
            if mapped[start:end] == asked:
                return mapped[end : end + text_length].decode()
        raise KeyError(document_id)

    def place(self) -> Place:
        """Where another process finds the copy, for as long as this loader is open in this process."""
        own = os.getpid()
        return self._place._replace(process_id=own, start_ticks=_start_ticks(own) or 0, descriptor=self._file)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return SharedDocuments, (self.place(),)

    def close(self) -> None:
        self._table.close()
        self._view.release()
        self._mapped.close()
        with contextlib.suppress(OSError):
            os.close(self._file)
        if self._rendezvous is not None and os.getpid() == self._owner:
            self._rendezvous.unlink(missing_ok=True)
