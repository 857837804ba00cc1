"""What the benchmarks share: a program in a fresh process, its wall time and its peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = REPOSITORY / "workflow" / "scripts"


class Measured(NamedTuple):
    """Wall time in seconds and the peak RSS of the process itself in MiB."""

    seconds: float
    peak_mib: float


def run(command: Sequence[str | Path], cwd: Path = REPOSITORY) -> Measured:
    """Run `command` and wait for it; what it prints goes to this program's stderr.

    ru_maxrss is inherited over fork and exec, so it is no less than what this small process has: about 20 MiB.

    Raises:
        SystemExit: the command failed.
    """
    started = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], cwd=cwd, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)}: ended with {process.returncode}")
    return Measured(time.monotonic() - started, usage.ru_maxrss / 1024)


def program(name: str) -> list[str | Path]:
    """The beginning of a command that runs a program of workflow/scripts in this interpreter."""
    return [sys.executable, SCRIPTS / f"{name}.py"]
