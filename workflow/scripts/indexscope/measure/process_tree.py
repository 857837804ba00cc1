"""The memory of a whole process tree, sampled from outside at a fixed interval.

The sampler needs nothing of the processes it watches: it sees them while they hold the GIL, and what it has
seen survives their death. It counts a process from its exec on: between fork and exec a child shows its
parent's pages a second time.
"""

from __future__ import annotations

import os
import time
from typing import Dict, List, NamedTuple, Optional, TextIO

from . import proc

# A forked child that keeps its parent's command line for longer than this is a worker, not a fork before exec.
_FORK_BEFORE_EXEC_SECONDS = 0.5
# New processes are looked for less often than memory is read: listing threads costs more.
_DISCOVERY_SECONDS = 0.1
# A sample is written when it differs by more than this from the last one written, or after a second.
_WRITE_STEP_KIB = 256
_WRITE_AT_LEAST_SECONDS = 1.0


class Process:
    """A process of the tree, and the largest RSS sampled in it."""

    def __init__(self, pid: int, stat: proc.Stat, now: float) -> None:
        self.pid = pid
        self.parent = stat.parent
        self.start_ticks = stat.start_ticks
        self.seen_at = now
        self.peak_kib = 0
        self.alive = True
        self.counted = False
        self.exit_status: Optional[int] = None
        self.ended_at: Optional[float] = None  # seconds; to within one sample
        self._written_kib = 0
        self._written_at = 0.0

    def update_counted(self, now: float) -> None:
        if not self.counted:
            forked = proc.command_line(self.pid) == proc.command_line(self.parent)
            self.counted = not forked or now - self.seen_at > _FORK_BEFORE_EXEC_SECONDS

    def worth_writing(self, rss_kib: int, now: float) -> bool:
        step = abs(rss_kib - self._written_kib)
        started_or_ended = step and not (rss_kib and self._written_kib)
        overdue = step and now - self._written_at >= _WRITE_AT_LEAST_SECONDS
        if started_or_ended or overdue or step > _WRITE_STEP_KIB:
            self._written_kib, self._written_at = rss_kib, now
            return True
        return False


class Failure(NamedTuple):
    """A process below the root that ended abnormally."""

    pid: int
    exit_status: int  # as waitpid reports it


class TreeSampler:
    """Samples every process below `root` (itself included) and writes the curve.

    Args:
        root: process id.
        curve: open text file; lines `seconds,process_id,parent_process_id,rss_mib,shared_mib` are written to it.
        start_ns: the run's start on the monotonic clock.
    """

    def __init__(self, root: int, curve: TextIO, start_ns: int) -> None:
        self.root = root
        self._curve = curve
        self._start_ns = start_ns
        self._next_discovery = 0.0
        self._intervals: Dict[float, int] = {}
        self._last_sample: Optional[float] = None
        self.processes: Dict[int, Process] = {}
        self.finished: List[Process] = []
        self.samples = 0
        self.tree_kib = 0
        self.tree_peak_kib = 0
        self.tree_peak_at = 0.0
        self.last_seconds = 0.0  # of the last sample, since the run's start

    def sample(self) -> None:
        """Read every process once."""
        now = (time.monotonic_ns() - self._start_ns) / 1e9
        if now >= self._next_discovery:
            self._discover(now)
            self._next_discovery = now + _DISCOVERY_SECONDS
        self.last_seconds = now
        total = 0
        for process in self.processes.values():
            if not process.counted:
                continue
            memory = proc.resident(process.pid)  # 0 once it has ended, which closes its curve
            rss = memory.rss
            if not rss and process.ended_at is None:
                process.ended_at = now
            total += rss
            process.peak_kib = max(process.peak_kib, rss)
            self._write(process, memory, now)
        self.tree_kib = total
        if total > self.tree_peak_kib:
            self.tree_peak_kib, self.tree_peak_at = total, now
        self.samples += 1
        if self._last_sample is not None:
            interval = round(now - self._last_sample, 3)
            self._intervals[interval] = self._intervals.get(interval, 0) + 1
        self._last_sample = now

    def _write(self, process: Process, memory: proc.Resident, now: float) -> None:
        if process.worth_writing(memory.rss, now):
            self._curve.write(
                "%.4f,%d,%d,%.3f,%.3f\n"
                % (now, process.pid, process.parent, memory.rss / 1024, memory.shared / 1024)
            )

    def median_interval(self) -> Optional[float]:
        """Median of the intervals that were really kept, in seconds (to the millisecond)."""
        remaining = sum(self._intervals.values()) / 2
        for interval in sorted(self._intervals):
            remaining -= self._intervals[interval]
            if remaining <= 0:
                return interval
        return None

    def failure(self) -> Optional[Failure]:
        """A process below the root that ended with a signal, else one with a non-zero code, and nobody reaped.

        Where ranks work together, what is killed makes the others fail: the signal is the cause.
        """
        failed = [
            Failure(process.pid, process.exit_status)
            for process in self.processes.values()
            if process.pid != self.root and process.exit_status
        ]
        return min(failed, key=lambda each: not os.WTERMSIG(each.exit_status), default=None)

    def live(self) -> List[int]:
        """Processes that still run, the root last."""
        self._discover((time.monotonic_ns() - self._start_ns) / 1e9)
        alive = [pid for pid, process in self.processes.items() if process.alive]
        return sorted(alive, key=lambda pid: pid == self.root)

    def _discover(self, now: float) -> None:
        pending = [self.root]
        # A process whose parent has died is no longer below the root, but still belongs to the run.
        pending += [pid for pid in self.processes if pid != self.root]
        visited = set()
        while pending:
            pid = pending.pop()
            if pid in visited:
                continue
            visited.add(pid)
            stat = proc.stat(pid)
            process = self.processes.get(pid)
            if process is not None and (stat is None or stat.start_ticks != process.start_ticks):
                process.alive = False
                process.ended_at = process.ended_at or now
                if process.counted:
                    self._write(process, proc.Resident(0, 0), now)
                self.finished.append(self.processes.pop(pid))
                process = None
                if pid != self.root and stat is not None and stat.parent not in self.processes:
                    continue  # the number was given to a stranger
            if stat is None:
                continue
            if process is None:
                process = self.processes[pid] = Process(pid, stat, now)
            if stat.state == "Z":
                process.alive = False
                process.exit_status = stat.exit_status
                continue
            process.update_counted(now)
            pending.extend(proc.children(pid))

    def all_processes(self) -> List[Process]:
        return self.finished + list(self.processes.values())
