"""Starts the ranks of a training, each in a process of its own, and ends as the first that fails. No torch here."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from indexscope.measure import records

from .specification import Specification

_PR_SET_PDEATHSIG = 1


def launch(program: Path, told: Specification) -> int:
    """Run `program` once for each rank; returns the exit code.

    When a rank fails this process ends at once, with the rank's exit code or by its signal, and the other ranks end
    with it (end_with_parent): they would wait for the lost one for ever.
    """
    events = records.Appender(str(told.events))
    events.record(event="process", process_id=os.getpid(), role="launcher", rank=None)
    command = [sys.executable, str(program), "--specification", str(told.file), "--rank"]
    of_process = {
        subprocess.Popen([*command, str(rank)], stdin=subprocess.DEVNULL).pid: rank
        for rank in range(told.ranks)
    }
    while of_process:
        process, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        rank = of_process.pop(process, None)
        if rank is None or code == 0:
            continue
        events.record(event="rank_ended", rank=rank, exit_code=code)
        if code < 0:
            _end_by(-code)
        return code
    return 0


def _end_by(number: int) -> None:
    """End this process by a signal, as a rank ended."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def end_with_parent() -> None:
    """From now on the kernel ends this process when the one that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
