"""What a reader needs to know of the process that measured: packages and GPUs."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from typing import Dict, List


def versions() -> Dict[str, str]:
    """Every installed package, and Python itself."""
    found = {
        distribution.metadata["Name"].lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return {"python": platform.python_version(), **dict(sorted(found.items()))}


def gpus(device: str) -> List[str]:
    """Name, memory and driver of each GPU; none on a CPU, or where nvidia-smi does not answer."""
    if device == "cpu":
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        printed = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return printed.splitlines()
