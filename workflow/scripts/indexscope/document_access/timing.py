"""Clocks of a rank: since its process started, and of one step cut into parts. Standard library only."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from indexscope.measure import proc

# One after the other they are the step; communication is taken out of the part in which it happens.
PARTS = ("wait", "host_to_device", "forward", "backward", "communication", "optimiser")


class ProcessClock:
    """Seconds since this process was started by the kernel (to 10 ms), without pauses."""

    def __init__(self) -> None:
        stat = proc.stat(os.getpid())
        assert stat is not None  # it is this process's own
        self._started = stat.start_ticks / os.sysconf("SC_CLK_TCK")  # since boot: proc_pid_stat(5)
        self._paused = 0.0

    def seconds(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self._started - self._paused

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What happens meanwhile takes no time on this clock."""
        before = self.seconds()
        try:
            yield
        finally:
            self._paused += self.seconds() - before


class StepTimer:
    """Cuts a step into parts that follow one another without a gap.

    Args:
        synchronise: waits until the device has done what it was given, so that a part ends when its work does.
        clock: nanoseconds.
    """

    def __init__(
        self, synchronise: Callable[[], None], clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._synchronise = synchronise
        self._clock = clock
        self._nanoseconds = dict.fromkeys(PARTS, 0)
        self._began = self._last = 0
        self._processor_began = 0

    def start(self) -> None:
        self._synchronise()
        self._nanoseconds = dict.fromkeys(PARTS, 0)
        self._processor_began = time.process_time_ns()
        self._began = self._last = self._clock()

    def end(self, part: str, communication_seconds: float = 0.0) -> None:
        """All since the last end (or the start) is `part`, but for what communication took of it."""
        self._synchronise()
        now = self._clock()
        communication = min(round(communication_seconds * 1e9), now - self._last)
        self._nanoseconds[part] += now - self._last - communication
        self._nanoseconds["communication"] += communication
        self._last = now

    def seconds(self) -> dict[str, float]:
        """`step_seconds`, `PART_seconds`, and `processor_seconds` (all threads of this process)."""
        processor = time.process_time_ns() - self._processor_began
        return {
            "step_seconds": (self._last - self._began) / 1e9,
            **{f"{part}_seconds": nanoseconds / 1e9 for part, nanoseconds in self._nanoseconds.items()},
            "processor_seconds": processor / 1e9,
        }
