"""A folder on a fast local disk that an index is built in, and the way back from it to the results' disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from typing import Iterator


@contextlib.contextmanager
def folder(scratch: str, output: str) -> Iterator[str]:
    """A fresh folder below `scratch` for the run directory `output`; it is removed in any case.

    The run names it: what a killed attempt has left on this machine goes when the next one begins.

    Raises:
        OSError: it cannot be made.
    """
    name = hashlib.sha256(os.path.abspath(output).encode()).hexdigest()[:16]
    path = os.path.join(os.path.abspath(scratch), "indexscope-%d-%s" % (os.getuid(), name))
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path, 0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def bring(built: str, index: str) -> None:
    """Move a finished index to its place, which may be on another disk: a copy has its name only when it is whole."""
    if os.stat(built).st_dev == os.stat(os.path.dirname(index)).st_dev:
        os.rename(built, index)
        return
    copy = index + ".copying"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(built, copy)
    os.rename(copy, index)
