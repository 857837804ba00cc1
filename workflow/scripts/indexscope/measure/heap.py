"""memray in a measured run: what each process asked its allocators for, traced from before its framework.

Heap is not RSS: memray counts what was asked for, touched or not, with files that are mapped, and not what an
allocator keeps. It slows what it traces, so it has runs of its own. Standard library only until a run asks for it.
"""

from __future__ import annotations

import atexit
import importlib
import os
from typing import Any, Dict, Optional

FOLDER = "heap"  # below the run directory, while the run lasts
_SUFFIX = ".memray"


def start(folder: str, **options: Any) -> Any:
    """Trace this process into a file of `folder` until it exits; returns the tracker.

    Call it before anything that is to be traced is imported. What the process spawns starts its own; what it
    forks is not traced.

    Args:
        folder: made where it is missing.
        options: further arguments of `memray.Tracker`.

    Raises:
        ModuleNotFoundError: this environment has no memray.
    """
    memray = importlib.import_module("memray")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "%d%s" % (os.getpid(), _SUFFIX))
    destination = memray.FileDestination(path, overwrite=True, compress_on_exit=False)
    tracker = memray.Tracker(destination=destination, **options)
    tracker.__enter__()
    # Registered before the framework registers anything, so called after all of it.
    atexit.register(_stop, tracker, os.getpid())
    return tracker


def _stop(tracker: Any, process_id: int) -> None:
    if os.getpid() == process_id:
        tracker.__exit__(None, None, None)


def peaks_mib(folder: str) -> Dict[int, Optional[float]]:
    """Process → the most that was allocated at once in it, in MiB; None where its file cannot be read.

    A file that a killed process left is read as far as it goes. Takes as long as there are allocations.
    """
    if not os.path.isdir(folder):
        return {}
    found: Dict[int, Optional[float]] = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(_SUFFIX):
            found[int(name[: -len(_SUFFIX)])] = _peak_mib(os.path.join(folder, name))
    return found


def _peak_mib(path: str) -> Optional[float]:
    reader = importlib.import_module("memray").FileReader
    try:
        with reader(path) as file:
            peak: int = file.metadata.peak_memory
    except OSError:  # memray's word for a file that it does not understand
        return None
    return round(peak / 2**20, 3)
