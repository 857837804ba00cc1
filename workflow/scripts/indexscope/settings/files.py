"""Files that settings name: looked at when the workflow is planned, so that what is made of them is named by them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from indexscope.run_record import InputError

FileState = tuple[str, int, int]  # path, bytes, modification time in nanoseconds


def matching_files(pattern: str, key: str) -> list[Path]:
    """The file that `pattern` names, or those that it matches as a glob, in the order of their names.

    Raises:
        InputError: there is none. `key` is the configuration key that has the pattern.
    """
    named = Path(pattern).expanduser()
    if named.is_file():
        return [named]
    if named.is_dir():
        raise InputError(
            f"{key}: {pattern!r} is a folder; name its files, such as {pattern.rstrip('/')}/*.jsonl"
        )
    # Path.glob takes no absolute pattern.
    matched = map(Path, glob.glob(str(named), recursive=True))  # noqa: PTH207
    found = sorted(path for path in matched if path.is_file())
    if not found:
        problem = "matches no file" if glob.has_magic(pattern) else "does not exist"
        raise InputError(
            f"{key}: {pattern!r} {problem}; correct it (a relative path starts where Snakemake is run)"
        )
    return found


def file_states(paths: Iterable[Path]) -> list[FileState]:
    """What changes whenever one of the files does, without reading them.

    Of a link that leads nowhere it is the link's own state.
    """
    return [(path.as_posix(), (state := _state(path)).st_size, state.st_mtime_ns) for path in paths]


def _state(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError:
        return path.lstat()


class NamedFile(NamedTuple):
    """A file, and its path below the folder that was named: how documents call it, wherever the folder is."""

    name: str
    path: Path


def files_of_folder(pattern: str, suffix: str, key: str) -> list[NamedFile]:
    """The files that end in `suffix` below the folder `pattern`, else those that it names or matches as a glob.

    In the order of their names; hidden ones are left out, as globs leave them out. Links are followed, each folder
    once. A link that leads nowhere is among them: who reads the files says so.

    Raises:
        InputError: there is none. `key` is the configuration key that has the pattern.
    """
    named = Path(pattern).expanduser()
    if named.is_dir():
        found = [path for path in _walk(named) if path.suffix.lower() == suffix]
        if not found:
            raise InputError(
                f"{key}: {pattern!r} has no file that ends in {suffix}, nor has a folder in it; name another folder"
            )
        base = named
    elif glob.has_magic(pattern) and not os.path.lexists(named):
        matched = glob.glob(str(named), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
        found = [path for path in map(Path, matched) if not path.is_dir()]
        if not found:
            raise InputError(
                f"{key}: {pattern!r} matches no file; correct it (a relative path starts where Snakemake is run)"
            )
        base = _folder_of_glob(named)
    else:
        found = matching_files(pattern, key)
        base = named.parent
    return sorted(NamedFile(_printable(path.relative_to(base)), path) for path in found)


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder that are not hidden; a folder that links lead to twice is entered once."""
    entered = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        state = Path(parent).stat()
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _folder_of_glob(pattern: Path) -> Path:
    """The part of a glob before its first wildcard."""
    parts = pattern.parts[:-1]
    fixed = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:fixed])


def _printable(path: Path) -> str:
    """A path as text that is valid Unicode: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")
