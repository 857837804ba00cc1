"""What a run that was ended from outside leaves for its next attempt, and whether that may be gone on with.

Only cells with `resume: true` leave their unfinished index: what is measured of a run that went on with one is its
last attempt, which is no measurement of the whole. The index stays in the run's partial directory, beside a file that
says what it is of.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import shutil
from typing import Any, Collection, Dict, List, Optional

ROOT = "root"  # folder below which the framework builds its index
IDENTITY = "identity.json"
KEPT = (ROOT, IDENTITY)
# Outcomes that say that something from outside ended the run, or that it may end otherwise with more memory or time.
_GOES_ON = ("killed", "timed_out", "out_of_memory_host", "out_of_memory_cuda")
_BLOCK = 1 << 20


def may_go_on(outcome: str) -> bool:
    """Whether a later run may go on with what one of this outcome has left."""
    return outcome in _GOES_ON


def identity(
    cell: Dict[str, Any], documents: int, profiler: str, collection: str, checkpoint: str
) -> Dict[str, Any]:
    """What an unfinished index is of: settings and lock (the cell), and the contents that it is given."""
    return {
        "cell": cell,
        "documents": documents,
        "profiler": profiler,
        "collection": _digest([collection]),
        "checkpoint": _digest(_files(checkpoint)),
    }


def belongs(partial: str, expected: Dict[str, Any]) -> bool:
    """Whether what `partial` holds is of exactly this run."""
    try:
        with open(os.path.join(partial, IDENTITY), encoding="utf-8") as file:
            # As JSON has it: what was written, was written from the same.
            return bool(json.load(file) == json.loads(json.dumps(expected)))
    except (OSError, ValueError):
        return False


def claim(partial: str, this: Dict[str, Any]) -> None:
    """Say what the index that is begun in `partial` is of, before there is anything of it."""
    path = os.path.join(partial, IDENTITY)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(this, file)
    os.replace(path + ".new", path)


def go_on(partial: str, framework: str) -> Optional[Dict[str, Any]]:
    """Make what is left of an index fit for `resume`; None where there is nothing, or the framework cannot.

    Returns:
        What a run's record calls `resumed`: from, kept, redone.
    """
    adapter = importlib.import_module("indexscope.frameworks." + framework)
    if not hasattr(adapter, "resume"):
        empty(partial, keep=[name for name in os.listdir(partial) if name != ROOT])
        return None
    resumed: Optional[Dict[str, Any]] = adapter.resume(os.path.join(partial, ROOT))
    return resumed


def empty(partial: str, keep: Collection[str] = ()) -> None:
    """Remove all of a partial directory but the names to keep."""
    with os.scandir(partial) as entries:
        for entry in entries:
            if entry.name in keep:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.remove(entry.path)


def leave(partial: str, keep: Collection[str]) -> None:
    """Remove all of a partial directory but the names to keep, and itself where nothing is left; never fails."""
    for name in os.listdir(partial):
        path = os.path.join(partial, name)
        if name in keep:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.remove(path)
    with contextlib.suppress(OSError):  # not empty
        os.rmdir(partial)


def _files(folder: str) -> List[str]:
    return sorted(os.path.join(below, name) for below, _, names in os.walk(folder) for name in names)


def _digest(paths: List[str]) -> str:
    """SHA-256 of files' names and contents, in constant memory."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(("%s %d\n" % (os.path.basename(path), os.path.getsize(path))).encode())
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(_BLOCK), b""):
                digest.update(block)
    return digest.hexdigest()
