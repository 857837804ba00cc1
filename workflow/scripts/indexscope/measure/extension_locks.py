"""Locks of PyTorch's compiled extensions that a killed process has left: whoever loads one next waits for ever."""

from __future__ import annotations

import glob
import os
import time
from typing import List

# A run holds a lock while it looks whether there is anything to compile: a second or two, and nothing is.
STALE_SECONDS = 60.0


def clear(extensions: str, stale_seconds: float = STALE_SECONDS) -> List[str]:
    """Wait until no extension below the folder `extensions` is locked; returns the locks that had to be removed.

    A lock is removed once it is `stale_seconds` old: what made it is gone, here or on another machine.
    Source of the lock: torch.utils.file_baton.
    """
    removed = []
    for lock in sorted(glob.glob(os.path.join(glob.escape(extensions), "*", "lock"))):
        while True:
            try:
                age = time.time() - os.stat(lock).st_mtime
                if age >= stale_seconds:
                    os.remove(lock)
                    removed.append(lock)
                    print("%s: removed, a killed process had left it" % lock, flush=True)
                    break
            except FileNotFoundError:  # released
                break
            time.sleep(0.1)
    return removed
