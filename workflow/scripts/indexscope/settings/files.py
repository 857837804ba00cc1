"""Files that settings name: looked at when the workflow is planned, so that what is made of them is named by them."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

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
    """What changes whenever one of the files does, without reading them."""
    return [(path.as_posix(), (state := path.stat()).st_size, state.st_mtime_ns) for path in paths]
