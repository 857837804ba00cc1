"""What Linux tells about the memory of a process, read from /proc.

Sizes are in KiB, as the kernel prints them, unless a name says otherwise.
"""

from __future__ import annotations

import os
from typing import Dict, List, NamedTuple, Optional, Union

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class Memory(NamedTuple):
    """Memory of a process at one moment, in KiB; `peak` is VmHWM, the largest RSS since the last reset."""

    rss: int
    peak: int
    anon: int
    file: int
    shmem: int


_FIELDS = (b"VmHWM:", b"VmRSS:", b"RssAnon:", b"RssFile:", b"RssShmem:")


class SelfMemory:
    """Reads and resets the exact peak RSS of the calling process; the files stay open.

    Writing `5` to /proc/self/clear_refs resets VmHWM to the current RSS (proc_pid_clear_refs(5)).
    Where that is refused, `exact` is False.
    """

    def __init__(self) -> None:
        self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        self._buffer = bytearray(8192)
        try:
            self._clear_refs = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
            self.exact = True
        except OSError:
            self._clear_refs = -1
            self.exact = False

    def read(self) -> Memory:
        length = os.preadv(self._status, [self._buffer], 0)
        text = self._buffer
        values = []
        position = 0
        for field in _FIELDS:
            position = text.index(field, position, length) + len(field)
            values.append(int(text[position : text.index(b"kB", position)]))
        peak, rss, anon, file, shmem = values
        return Memory(rss, peak, anon, file, shmem)

    def reset_peak(self) -> None:
        if self.exact:
            try:
                os.pwrite(self._clear_refs, b"5", 0)
            except OSError:
                self.exact = False

    def close(self) -> None:
        for file in (self._status, self._clear_refs):
            if file >= 0:
                os.close(file)


def pss_kib(pid: Union[int, str] = "self") -> Optional[int]:
    """Proportional set size of a process: a page that several share counts in part for each.

    None when it is gone or may not be read. Slow (milliseconds per GiB): not for sampling.
    """
    try:
        with open("/proc/%s/smaps_rollup" % pid, "rb") as rollup:
            for line in rollup:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def tree_pss_kib(root: int, own_kib: int) -> int:
    """Proportional set sizes of `root` and all processes below it, added up: no page counts twice.

    `own_kib` is the caller's, read already: reading it is slow. A process that is gone or may not be read adds
    nothing.
    """
    total = 0
    pending = [root]
    while pending:
        pid = pending.pop()
        total += own_kib if pid == os.getpid() else pss_kib(pid) or 0
        pending += children(pid)
    return total


class Resident(NamedTuple):
    """Resident set size of a process in KiB, and the part of it that is pages of files and shared memory."""

    rss: int
    shared: int


def resident(pid: int) -> Resident:
    """What is resident of a process; nothing when it is gone or a zombie."""
    try:
        with open("/proc/%d/statm" % pid, "rb", buffering=0) as statm:
            fields = statm.read(128).split()
        return Resident(int(fields[1]) * PAGE_KIB, int(fields[2]) * PAGE_KIB)
    except (OSError, IndexError):
        return Resident(0, 0)


class Stat(NamedTuple):
    """A process's entry in /proc/PID/stat."""

    state: str
    parent: int
    start_ticks: int  # with the process id, this names a process for good
    exit_status: int  # as waitpid reports it; meaningful in state Z


def stat(pid: int) -> Optional[Stat]:
    """The process's state, or None when it is gone. The command may hold spaces and parentheses."""
    try:
        with open("/proc/%d/stat" % pid, "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        return Stat(fields[0].decode(), int(fields[1]), int(fields[19]), int(fields[49]))
    except (OSError, IndexError, ValueError):
        return None


def command_line(pid: int) -> bytes:
    try:
        with open("/proc/%d/cmdline" % pid, "rb", buffering=0) as file:
            return file.read(4096)
    except OSError:
        return b""


def children(pid: int) -> List[int]:
    """Process ids of the direct children, whichever thread started them."""
    found: List[int] = []
    try:
        for thread in os.listdir("/proc/%d/task" % pid):
            try:
                with open("/proc/%d/task/%s/children" % (pid, thread), "rb", buffering=0) as file:
                    found.extend(int(child) for child in file.read(65536).split())
            except OSError:
                continue
    except OSError:
        pass
    return found


def hardware() -> Dict[str, object]:
    """CPU model and count, memory in MiB, kernel, GPUs: what a reader needs to place a measurement."""
    model = None
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo") as meminfo:
        total_kib = int(meminfo.readline().split()[1])
    return {
        "cpu_model": model,
        "cpu_count": len(os.sched_getaffinity(0)),
        "memory_total_mib": round(total_kib / 1024, 1),
        "kernel": os.uname().release,
    }
