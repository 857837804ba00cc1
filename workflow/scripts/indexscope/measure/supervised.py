"""A fresh process under limits: its whole tree is sampled from outside, and how it ends is a result.

What is recorded survives the process's death, and nothing of its tree is left alive.
"""

from __future__ import annotations

import ctypes
import datetime
import os
import re
import resource
import signal
import subprocess
import time
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence

from . import proc, process_tree

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_SECONDS = 1.0  # for the root to end by itself after a child died
_TAIL_BYTES = 64 * 1024

_CUDA_MEMORY = re.compile(
    r"CUDA out of memory|OutOfMemoryError|cudaErrorMemoryAllocation|CUDA error: out of memory"
)
_UNSUPPORTED = re.compile(
    r"no kernel image is available for execution on the device"
    r"|is not compatible with the current PyTorch installation"
)
_HOST_MEMORY = re.compile(
    r"MemoryError|DefaultCPUAllocator|can't allocate memory|[Cc]annot allocate memory|std::bad_alloc"
)


class Limits(NamedTuple):
    """What a process tree may take, and how often it is looked at."""

    sample_interval_seconds: float
    timeout_seconds: float
    memory_limit_mib: Optional[int] = None  # of the tree's RSS: ended as out_of_memory_host
    allocation_limit_mib: Optional[int] = None  # of each process's data (RLIMIT_DATA): allocations fail


class Ending(NamedTuple):
    """How the process ended, before it is given a name."""

    exit_code: int  # negative: the signal
    stopped_because: Optional[str]  # an outcome, where the supervisor ended it
    failed_process: Optional[process_tree.Failure]
    kernel_killed: bool  # the kernel ended a process of this cgroup for memory meanwhile


class Supervised(NamedTuple):
    """What is known of a process that was run, whatever became of it."""

    outcome: str
    outcome_detail: Optional[str]
    exit_code: int
    started_at: str  # ISO 8601, UTC
    wall_seconds: float
    tree_peak_rss_mib: float
    samples: int
    kernel_killed: bool  # for memory, a process of this cgroup, meanwhile


def run(
    command: Sequence[str],
    stdout: str,
    limits: Limits,
    environment: Optional[Mapping[str, str]] = None,
    curve: Optional[str] = None,
    on_sample: Optional[Callable[[process_tree.TreeSampler], None]] = None,
) -> Supervised:
    """Run a program to its end under `limits`.

    Args:
        command: the program and its arguments.
        stdout: file that what it prints, errors too, is written to.
        environment: its whole environment; default: this process's.
        curve: file for the tree's samples, as process_tree.TreeSampler writes them; default: none.
        on_sample: called after each sample of the tree; it should be quick.
    """
    started_at, start_ns = now(), time.monotonic_ns()
    with open(stdout, "wb") as printed, open(curve or os.devnull, "w", encoding="utf-8") as samples:
        watched = start(command, printed, limits, environment)
        sampler = process_tree.TreeSampler(watched.process.pid, samples, start_ns)
        ending = watched.watch(sampler, on_sample)
    outcome, detail = "completed", None
    if ending.exit_code != 0 or ending.stopped_because or ending.failed_process is not None:
        outcome, detail = name_of(ending, limits, tail(stdout))
    return Supervised(
        outcome,
        detail,
        ending.exit_code,
        started_at,
        round((time.monotonic_ns() - start_ns) / 1e9, 3),
        round(sampler.tree_peak_kib / 1024, 3),
        sampler.samples,
        ending.kernel_killed,
    )


class Watched:
    """A process that was started, and what it may take."""

    def __init__(self, process: "subprocess.Popen[bytes]", limits: Limits) -> None:
        self.process = process
        self._limits = limits
        self._out_of_memory_kills = _cgroup_out_of_memory_kills()

    def watch(
        self,
        sampler: process_tree.TreeSampler,
        on_sample: Optional[Callable[[process_tree.TreeSampler], None]] = None,
    ) -> Ending:
        """Sample until it ends or has to be ended; leaves no process of the tree alive."""
        limit_kib = (self._limits.memory_limit_mib or 0) * 1024
        deadline = time.monotonic() + self._limits.timeout_seconds
        reason = None
        failed: Optional[process_tree.Failure] = None
        failed_at = 0.0
        try:
            while self.process.poll() is None:
                sampler.sample()
                if on_sample is not None:
                    on_sample(sampler)
                moment = time.monotonic()
                if limit_kib and sampler.tree_kib > limit_kib:
                    reason = "out_of_memory_host"
                elif moment > deadline:
                    reason = "timed_out"
                elif failed is None:
                    failed, failed_at = sampler.failure(), moment
                elif moment - failed_at > _GRACE_SECONDS:
                    # A dead child leaves the framework's parent waiting for its answer for ever.
                    reason = "child_failed"
                if reason is not None:
                    break
                time.sleep(self._limits.sample_interval_seconds)
        finally:
            _end_all(self.process, sampler)
        killed = _cgroup_out_of_memory_kills() > self._out_of_memory_kills
        return Ending(self.process.wait(), reason, failed, killed)


def start(
    command: Sequence[str],
    stdout: Any,
    limits: Limits,
    environment: Optional[Mapping[str, str]] = None,
    directory: Optional[str] = None,
) -> Watched:
    """Start a program in a session of its own; it ends with this process."""
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env=None if environment is None else dict(environment),
        start_new_session=True,
        preexec_fn=_child_set_up(limits.allocation_limit_mib),
    )
    return Watched(process, limits)


def name_of(ending: Ending, limits: Limits, printed: str, text: Optional[str] = None) -> Any:
    """The name of an ending that is no completion, and one line of detail.

    Args:
        printed: what the program printed.
        text: the error itself, where it is known; default: `printed`.
    """
    if ending.stopped_because == "out_of_memory_host":
        return "out_of_memory_host", "the process tree passed memory_limit_mib: %s" % limits.memory_limit_mib
    if ending.stopped_because == "timed_out":
        return "timed_out", "longer than timeout_seconds: %s" % limits.timeout_seconds
    signals = [-ending.exit_code] if ending.exit_code < 0 and not ending.stopped_because else []
    if ending.failed_process is not None:
        signals.append(os.WTERMSIG(ending.failed_process.exit_status))
    text = printed if text is None else text
    detail = last_error_line(text)
    if any(signals):
        name = signal.Signals(next(number for number in signals if number)).name
        which = "a child process" if ending.failed_process is not None else "the worker"
        if ending.kernel_killed:
            return "out_of_memory_host", "the kernel's out-of-memory killer ended %s" % which
        if name == "SIGABRT" and _HOST_MEMORY.search(printed):
            return "out_of_memory_host", detail
        return "killed", "%s ended by %s" % (which, name)
    return failure_outcome(text), detail


def failure_outcome(text: str) -> str:
    """The outcome that an error's words stand for."""
    if _CUDA_MEMORY.search(text):
        return "out_of_memory_cuda"
    if _UNSUPPORTED.search(text):
        return "unsupported"
    return "out_of_memory_host" if _HOST_MEMORY.search(text) else "failed"


def last_error_line(text: str) -> Optional[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Killed)\b.*", line)]
    chosen = (errors or lines or [""])[-1]
    return chosen[:500] or None


def tail(path: str) -> str:
    """The end of what a program printed."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace")


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def _child_set_up(allocation_limit_mib: Optional[int]) -> Any:
    libc = ctypes.CDLL(None)
    # Orphans of the run come to the supervisor, which can then see and end them.
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def set_up() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if allocation_limit_mib is not None:
            limit = allocation_limit_mib * 2**20
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    return set_up


def _end_all(process: "subprocess.Popen[bytes]", sampler: process_tree.TreeSampler) -> None:
    if process.poll() is not None:
        time.sleep(0.05)  # helpers of multiprocessing end with their parent's pipe
    for _ in range(50):
        alive = sampler.live()
        if process.poll() is not None:
            alive = [pid for pid in alive if pid != process.pid]
        alive += [pid for pid in _orphans(process.pid) if pid not in alive]
        if not alive:
            break
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)
    process.wait()
    while True:  # reap orphans that came to us as subreaper
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                break
        except ChildProcessError:
            break


def _orphans(session: int) -> List[int]:
    """Processes of the tree that came to us before the sampler had seen them: their parent lived too short for that."""
    found = []
    for pid in proc.children(os.getpid()):
        stat = proc.stat(pid)
        try:
            ours = pid != session and os.getsid(pid) == session
        except ProcessLookupError:
            continue
        if ours and stat is not None and stat.state != "Z":
            found.append(pid)
    return found


def _cgroup_out_of_memory_kills() -> int:
    """How often the kernel has killed a process of this cgroup for memory (cgroup v2; 0 where unknown)."""
    try:
        with open("/proc/self/cgroup") as file:
            group = file.read().strip().rpartition("::")[2]
        with open("/sys/fs/cgroup%s/memory.events" % group) as file:
            return int(dict(line.split() for line in file)["oom_kill"])
    except (OSError, KeyError, ValueError):
        return 0
