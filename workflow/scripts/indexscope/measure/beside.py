"""What ran on this machine beside a measured run: programs of IndexScope by name, everything else by its cores.

The processor time of everything is the kernel's count (/proc/stat), also in a container, where it is the whole
host's: that is what disturbs. The run's own share is taken off: this process, and all that runs or ran below it.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Dict, List, Optional, Set

from . import proc

LOOK_SECONDS = 2.0  # between two looks at the processes
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PROGRAM = re.compile(rb"(?:.*/)?workflow/scripts/([A-Za-z_0-9]+)\.py")
_WRAPPERS = ("run_in_environment",)  # the program that it starts has a name of its own
# user, nice, system, irq, softirq of /proc/stat (proc_stat(5)); user has guests in it already.
_BUSY = (0, 1, 2, 5, 6)
# Kernels count a tick (10 ms) for whoever runs as it ends: short times of two sources differ by some.
_SHARE_UNCERTAIN = 0.1
_SECONDS_UNCERTAIN = 0.25
# A process may become another program after it was first seen (fork, then exec): one is read this often.
_READINGS = 2


class Watch:
    """Looks, from the process that supervises a run, at what else happens on the machine.

    Args:
        root_pid: the run's first process.
    """

    def __init__(self, root_pid: int) -> None:
        self._root = root_pid
        self._ancestors = _ancestors(os.getpid())
        self._programs: Set[str] = set()
        self._read: Dict[str, int] = {}  # process → how often its command line was read
        self._next = 0.0
        self._started = time.monotonic()
        self._busy = busy_seconds()
        self._own = self._own_seconds()

    def look(self) -> None:
        """Note which programs run now; does nothing when called again within two seconds."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_SECONDS
        seen: Dict[str, int] = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            seen[entry] = readings = self._read.get(entry, 0)
            if readings >= _READINGS:
                continue
            seen[entry] += 1
            name = program_of(proc.command_line(int(entry)))
            if name is not None:
                seen[entry] = 0  # few, and looked at again
                if name not in self._programs and not self._is_ours(int(entry)):
                    self._programs.add(name)
        self._read = seen

    def summary(self) -> Dict[str, Any]:
        """`beside`: programs seen, sorted; `cores_beside`: mean cores that everything else used since the start.

        None where /proc/stat does not count what this run itself used.
        """
        return {"beside": sorted(self._programs), "cores_beside": self._cores()}

    def _cores(self) -> Optional[float]:
        wall, busy = time.monotonic() - self._started, busy_seconds()
        if busy is None or self._busy is None or wall <= 0:
            return None
        own = self._own_seconds() - self._own
        others = busy - self._busy - own
        if others < -max(_SECONDS_UNCERTAIN, _SHARE_UNCERTAIN * own):
            return None
        return round(max(others, 0.0) / wall, 3)

    def _own_seconds(self) -> float:
        """Processor time of this process, of what it has reaped, and of what lives below it and below the root."""
        times = os.times()
        total = times.user + times.system + times.children_user + times.children_system
        pending, visited = [self._root, *proc.children(os.getpid())], {os.getpid()}
        while pending:
            pid = pending.pop()
            if pid in visited:
                continue
            visited.add(pid)
            total += _seconds_of(pid)
            pending += proc.children(pid)
        return total

    def _is_ours(self, pid: int) -> bool:
        """Below this process or the root, or above this process."""
        if pid in self._ancestors:
            return True
        above = [pid, *_ancestors(pid)]
        return os.getpid() in above or self._root in above


def program_of(command_line: bytes) -> Optional[str]:
    """The name of the program of IndexScope that a Python process runs; None for any other process.

    Args:
        command_line: arguments, each ended by a zero byte, as in /proc/PID/cmdline.
    """
    python, *arguments = command_line.split(b"\0")
    if not os.path.basename(python).startswith(b"python"):
        return None
    while arguments and arguments[0].startswith(b"-"):
        if arguments[0] in (b"-m", b"-c"):
            return None
        del arguments[: 2 if arguments[0] in (b"-X", b"-W") else 1]
    name = _name(arguments[0]) if arguments else None
    if name in _WRAPPERS:
        return next((found for found in map(_name, arguments[1:]) if found is not None), name)
    return name


def _name(argument: bytes) -> Optional[str]:
    found = _PROGRAM.fullmatch(argument)
    return found.group(1).decode() if found else None


def busy_seconds() -> Optional[float]:
    """Processor time of all cores, of every process and the kernel, since the machine started."""
    try:
        with open("/proc/stat", "rb", buffering=0) as file:
            fields = file.read(512).split(b"\n", 1)[0].split()
        return sum(int(fields[1 + place]) for place in _BUSY) / _CLOCK_TICKS
    except (OSError, IndexError, ValueError):
        return None


def _seconds_of(pid: int) -> float:
    """Processor time of a process and of the children that it has reaped; 0 when it is gone."""
    try:
        with open("/proc/%d/stat" % pid, "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        return sum(int(fields[place]) for place in range(11, 15)) / _CLOCK_TICKS
    except (OSError, IndexError, ValueError):
        return 0.0


def _ancestors(pid: int) -> List[int]:
    """Parents of a process, the nearest first."""
    found: List[int] = []
    while True:
        stat = proc.stat(pid)
        if stat is None or stat.parent <= 0 or stat.parent in found:
            return found
        pid = stat.parent
        found.append(pid)
