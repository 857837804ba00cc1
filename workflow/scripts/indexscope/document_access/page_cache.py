"""Which pages of files are in the page cache of Linux, and how they get in and out. Standard library only."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

_BLOCK = 1 << 20
_WINDOW = 1 << 30  # of a file, mapped at once


def drop(files: Iterable[Path]) -> None:
    """Let the page cache forget these files.

    What was not yet written is written first, as dirty pages stay. The kernel takes this as advice: pages that a
    process has mapped stay, and so do those of a tmpfs, which has no other place; ask `resident_fraction`.
    """
    for path in files:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def warm(files: Iterable[Path]) -> None:
    """Read these files, so that they are in the page cache as far as memory lasts."""
    block = bytearray(_BLOCK)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass


def resident_bytes(files: Iterable[Path]) -> int:
    """Bytes of these files that are in the page cache, whole pages but for a file's last.

    By mincore(2), on mappings through which nothing is read. Since Linux 5.2 the kernel tells the truth only to
    the owner of a file and to those who may write it; to others all pages are resident.

    Raises:
        OSError: a file cannot be read.
    """
    return sum(_resident(path) for path in files)


def resident_fraction(files: Iterable[Path]) -> float:
    """The part of these files, of all their bytes together, that is in the page cache; 1 when they have none."""
    files = list(files)
    size = sum(path.stat().st_size for path in files)
    return resident_bytes(files) / size if size else 1.0


def _resident(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for start in range(0, size, _WINDOW):
            length = min(_WINDOW, size - start)
            # A private writable mapping, as only of such ctypes gives the address; nothing is written.
            with mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=start) as mapped:
                pages = _resident_pages(mapped, length)
            total += pages.count(1) * mmap.PAGESIZE
            if pages[-1]:
                total -= len(pages) * mmap.PAGESIZE - length
    return total


def _resident_pages(mapped: mmap.mmap, length: int) -> bytes:
    """A byte for each page: 1 for a resident one."""
    vector = (ctypes.c_ubyte * -(-length // mmap.PAGESIZE))()
    first = ctypes.c_char.from_buffer(mapped)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(length), vector):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
    finally:
        del first  # the mapping cannot be closed before
    return bytes(byte & 1 for byte in vector)
