"""The resident memory of a process by what is mapped: files, their private pages, heap, stack, the rest.

Sizes are in KiB, as /proc/PID/smaps prints them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_HEADER = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) (....) [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ (\d+) *(.*)$")
_PROGRAM_HEADER_LOAD = 1
_PAGE = 4096


def read(path: str = "/proc/self/smaps") -> dict[str, Any]:
    """What is resident now, by owner; see `classify`."""
    # Line by line: what the ledger itself allocates would stay in the process as memory of Python.
    with Path(path).open("rb") as smaps:
        return classify((line.rstrip(b"\n") for line in smaps), zero_filled)


def classify(lines: Iterable[bytes], zero_filled_of: Any) -> dict[str, Any]:
    """Add up the lines of a smaps file.

    Args:
        lines: of /proc/PID/smaps.
        zero_filled_of: path of a library → bytes that it maps beyond its file (.bss).

    Returns:
        `files`: {owner: KiB} of pages of files and shared memory; `private`: {owner: KiB} of pages that belong to
        the process alone although a file is mapped there (relocated data), and of the zero-filled pages right
        behind them; `heap`, `stack`, `anonymous`: KiB. An owner is a package, or a file; see `owner_of`.
    """
    files: dict[str, int] = {}
    private: dict[str, int] = {}
    totals = {"heap": 0, "stack": 0, "anonymous": 0}
    behind: tuple[int, str, int] = (0, "", 0)  # the last file mapping's end, owner, and bytes of .bss left
    end, path, kind = 0, "", "anonymous"
    begun = 0
    rss = 0
    for line in lines:
        # Fields begin with a capital letter, addresses with a digit or a small one.
        header = _HEADER.match(line) if line[:1] > b"Z" or line[:1] <= b"9" else None
        if header is not None:
            begun, end = int(header.group(1), 16), int(header.group(2), 16)
            path = header.group(5).decode("utf-8", "replace").replace(" (deleted)", "")
            kind = (
                "file"
                if path.startswith("/")
                else {"[heap]": "heap", "[stack]": "stack"}.get(path, "anonymous")
            )
        elif line.startswith(b"Rss:"):
            rss = int(line.split()[1])
        elif line.startswith(b"Anonymous:"):
            own = int(line.split()[1])
            if kind == "file":
                owner = owner_of(path)
                files[owner] = files.get(owner, 0) + rss - own
                private[owner] = private.get(owner, 0) + own
                behind = (end, owner, zero_filled_of(path))
            elif kind == "anonymous" and begun == behind[0] and behind[2] > 0:
                # Pages that a library maps for its zero-filled data; what the kernel merged with them is not its.
                zeros = min(own, -(-behind[2] // 1024))
                private[behind[1]] = private.get(behind[1], 0) + zeros
                totals[kind] += own - zeros
                behind = (0, "", 0)
            else:
                totals[kind] += own
    return {
        "files": {owner: kib for owner, kib in files.items() if kib},
        "private": {owner: kib for owner, kib in private.items() if kib},
        **totals,
    }


def owner_of(path: str) -> str:
    """The package that a mapped file belongs to; `python`, `system libraries`, or the file's own name."""
    parts = path.split("/")
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            below = parts[parts.index(folder) + 1]
            name = below.split(".")[0]
            # NAME.libs and NAME_VERSION: shared libraries that wheels bring.
            return re.split(r"[-_]\d|-", name)[0].lower() if below.endswith(".libs") else name
    name = parts[-1]
    if name.startswith(("python", "libpython")) or "lib-dynload" in parts:
        return "python"
    if path.startswith(("/dev/shm/", "/memfd:", "/dev/zero")):
        return "shared memory"
    if "torch_extensions" in path or "extensions" in parts:
        return "compiled extensions"
    if ".so" in name and path.startswith(("/lib", "/usr/")):
        return "system libraries"
    if re.search(r"\.so(\.|$)", name):
        return "python"
    return name


_zero_filled: dict[str, int] = {}


def zero_filled(path: str) -> int:
    """Bytes that a 64-bit ELF file maps beyond its own content (.bss); 0 for anything else."""
    if path not in _zero_filled:
        try:
            with Path(path).open("rb") as file:
                _zero_filled[path] = _beyond_file(file.read(_PAGE))
        except OSError:
            _zero_filled[path] = 0
    return _zero_filled[path]


def _beyond_file(head: bytes) -> int:
    """Source: elf(5), Elf64_Ehdr and Elf64_Phdr."""
    if head[:5] != b"\x7fELF\x02":
        return 0
    (offset,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    beyond = 0
    for number in range(count):
        at = offset + number * size
        if at + 56 > len(head):
            break
        (kind,) = struct.unpack_from("<I", head, at)
        in_file, in_memory = struct.unpack_from("<QQ", head, at + 32)
        if kind == _PROGRAM_HEADER_LOAD:
            beyond = max(beyond, in_memory - in_file)
    return beyond


def file_ranges(path: str = "/proc/self/maps") -> list[tuple[int, int]]:
    """Address ranges in which files are mapped."""
    ranges = []
    with Path(path).open("rb") as maps:
        for line in maps:
            header: Any | None = _HEADER.match(line.rstrip(b"\n"))
            if header is not None and header.group(5).startswith(b"/"):
                ranges.append((int(header.group(1), 16), int(header.group(2), 16)))
    return ranges
