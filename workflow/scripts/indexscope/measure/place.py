"""Where a run takes place: what a scheduler (Slurm) gave it, and what became of the run's earlier attempts.

An attempt that is ended from outside can write nothing more. So each writes a line as it begins, in a file that
outlives it, and says every few seconds that it is still there; the next attempt reads them and asks Slurm how they
ended. Without Slurm all of this is quiet: nothing was granted, and an earlier attempt was `ended from outside`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from . import proc, supervised

ATTEMPTS = "attempts.jsonl"  # in the folder of an unfinished run: a line an attempt, from the first
# Environment variables that the workflow sets: which attempt of the job this is, from 1, and how many there may be.
ATTEMPT_VARIABLE = "INDEXSCOPE_ATTEMPT"
ATTEMPTS_VARIABLE = "INDEXSCOPE_ATTEMPTS"

_HEARTBEAT_SECONDS = 10.0
_ANSWER_SECONDS = 5.0
_SHARE_OF_GRANTED = 0.95
_FROM_OUTSIDE = "ended from outside"
_HOW = {
    "OUT_OF_MEMORY": "killed by Slurm for memory",
    "CANCELLED": "cancelled in Slurm",
    "TIMEOUT": "ended by Slurm at its time limit",
    "DEADLINE": "ended by Slurm at its deadline",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "preempted by Slurm",
}
# What slurmstepd writes to a job's log: by accounting (OverMemoryKill), and by cgroup.
_MEMORY_KILL = re.compile(r"[Ee]xceeded (?:job |step )?memory limit|oom[-_]kill|OOM Killed", re.IGNORECASE)
_UNITS = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
_TAIL_BYTES = 64 * 1024


def facts(environment: Optional[Mapping[str, str]] = None) -> Dict[str, Any]:
    """`scheduler` (slurm), `scheduler_job` and `granted_mib` of this process's allocation; None where there is none."""
    environment = os.environ if environment is None else environment
    job = environment.get("SLURM_JOB_ID")
    if not job:
        return {"scheduler": None, "scheduler_job": None, "granted_mib": None}
    granted = _granted_by_environment(environment)
    if granted is None:  # inside a job step that Snakemake's jobstep plugin started, the variables are gone
        granted = _granted_by_record(_ask("scontrol", "show", "job", "-o", job))
    return {"scheduler": "slurm", "scheduler_job": job, "granted_mib": granted}


def limit_mib(environment: Optional[Mapping[str, str]] = None) -> Optional[int]:
    """What a run's process tree may take on the job's last attempt; None before that, and where nothing was granted.

    Slurm kills a job that has more than it was granted, which leaves no result. Earlier attempts are repeated with
    more; the last one is ended by the supervisor before Slurm does, so that running out of memory is its result:
    at 95 % of what was granted, less what the job's other processes (Snakemake, its shell, this one) hold now.
    """
    environment = os.environ if environment is None else environment
    if not _is_last(environment):
        return None
    granted = facts(environment)["granted_mib"]
    if granted is None:
        return None
    return max(1, int(granted * _SHARE_OF_GRANTED - _job_mib(environment["SLURM_JOB_ID"])))


class Earlier(NamedTuple):
    """An attempt at the same run that has ended without a result."""

    started_at: str  # ISO 8601, UTC, as the next
    last_seen_at: str
    scheduler_job: Optional[str]
    granted_mib: Optional[int]
    how: str
    stage: Optional[str]  # of the index, where it was last seen


class Attempt:
    """This attempt at a run, and those before it."""

    def __init__(self, folder: str, earlier: List[Dict[str, Any]], this: Dict[str, Any]) -> None:
        self._path = os.path.join(folder, ATTEMPTS)
        self._this = this
        self._written = 0.0
        self.earlier = earlier  # dictionaries with the fields of Earlier
        self.number = len(earlier) + 1  # from 1

    def seen(self, stage: Optional[str] = None) -> None:
        """Say that it is still there, and at which stage; writes every ten seconds at most, and when that changes."""
        moment = time.monotonic()
        if moment - self._written < _HEARTBEAT_SECONDS and stage in (None, self._this["stage"]):
            return
        self._this["last_seen_at"] = supervised.now()
        if stage is not None:
            self._this["stage"] = stage
        self.write()

    def ended(self, how: str) -> None:
        """What is known of its end, by itself: the next attempt does not ask Slurm then."""
        self._this.update(how=how, last_seen_at=supervised.now())
        self.write()

    def lines(self) -> str:
        """The file's content, to be written again where its folder is emptied."""
        return "".join(json.dumps(each) + "\n" for each in [*self.earlier, self._this])

    def write(self) -> None:
        """Write the file anew, whole: a reader never finds half a line."""
        with open(self._path + ".new", "w", encoding="utf-8") as file:
            file.write(self.lines())
        os.replace(self._path + ".new", self._path)
        self._written = time.monotonic()


def begin(folder: str, environment: Optional[Mapping[str, str]] = None) -> Attempt:
    """Begin an attempt at the run whose unfinished files are in `folder`, which exists and is this process's own."""
    environment = os.environ if environment is None else environment
    given = facts(environment)
    earlier = [_earlier(line, environment) for line in _read(os.path.join(folder, ATTEMPTS))]
    now = supervised.now()
    this = Earlier(now, now, given["scheduler_job"], given["granted_mib"], "", None)._asdict()
    attempt = Attempt(folder, earlier, dict(this))
    attempt.write()
    return attempt


def is_repeated(
    outcome: str, passed_own_limit: bool = False, environment: Optional[Mapping[str, str]] = None
) -> bool:
    """Whether this job is not to have a result yet: what it was granted was too little, and it will be given more.

    Where Slurm limits memory by cgroup, the kernel kills the worker, not this process, which could write a result of
    an attempt that was only the first.

    Args:
        passed_own_limit: the run's configuration allowed no more: that is its result, whatever is granted.
    """
    environment = os.environ if environment is None else environment
    return (
        outcome == "out_of_memory_host"
        and not passed_own_limit
        and facts(environment)["granted_mib"] is not None
        and _numbers(environment) is not None
        and not _is_last(environment)
    )


def _numbers(environment: Mapping[str, str]) -> Any:
    """(attempt, attempts) of the job; None where the workflow did not say."""
    try:
        return int(environment[ATTEMPT_VARIABLE]), int(environment[ATTEMPTS_VARIABLE])
    except (KeyError, ValueError):
        return None


def _is_last(environment: Mapping[str, str]) -> bool:
    numbers = _numbers(environment)
    return numbers is not None and numbers[0] >= numbers[1]


def _granted_by_environment(environment: Mapping[str, str]) -> Optional[int]:
    """What sbatch's variables say, which are in MiB (sbatch(1), output environment variables)."""
    try:
        if "SLURM_MEM_PER_NODE" in environment:
            return int(environment["SLURM_MEM_PER_NODE"]) or None
        return int(environment["SLURM_MEM_PER_CPU"]) * int(environment["SLURM_CPUS_ON_NODE"]) or None
    except (KeyError, ValueError):
        return None


def _granted_by_record(record: str) -> Optional[int]:
    """`mem=` of a job's TRES as scontrol prints it (AllocTRES since Slurm 23.11)."""
    found = re.search(r"\b(?:Alloc)?TRES=\S*?\bmem=([0-9.]+)([KMGT]?)", record)
    if found is None:
        return None
    return int(float(found.group(1)) * _UNITS[found.group(2) or "M"]) or None


def _read(path: str) -> List[Dict[str, Any]]:
    """The attempts that were written; a line that is no such thing is left out."""
    attempts = []
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                try:
                    attempt = json.loads(line)
                except ValueError:
                    continue
                if isinstance(attempt, dict) and set(Earlier._fields) <= set(attempt):
                    attempts.append({name: attempt[name] for name in Earlier._fields})
    except OSError:
        pass
    return attempts


def _earlier(attempt: Dict[str, Any], environment: Mapping[str, str]) -> Dict[str, Any]:
    if attempt["how"]:
        return attempt
    job = attempt["scheduler_job"]
    if job is None:
        return {**attempt, "how": _FROM_OUTSIDE}
    if job == environment.get("SLURM_JOB_ID"):  # several starts in one allocation, or Slurm's own requeue
        requeued = environment.get("SLURM_RESTART_COUNT", "0") != "0"
        return {**attempt, "how": "requeued by Slurm" if requeued else _FROM_OUTSIDE}
    return {**attempt, "how": how_it_ended(job)}


def how_it_ended(job: str) -> str:
    """How a job of Slurm ended, in words; its log says why where the state does not."""
    record = _ask("scontrol", "show", "job", "-o", job)
    found = re.search(r"\bJobState=(\w+)", record)
    # Slurm forgets a job minutes after its end (MinJobAge); its accounting, where there is one, does not.
    state = found.group(1) if found else _ask("sacct", "-n", "-X", "-P", "-o", "State", "-j", job).strip()
    state = state.split()[0] if state else ""  # `CANCELLED by 1000`
    if not state:
        return _FROM_OUTSIDE
    log = re.search(r"\bStdOut=(.+?)(?: \w+=|$)", record)
    if state not in _HOW and log and _MEMORY_KILL.search(_tail(log.group(1))):
        return "killed by Slurm for memory (%s)" % state
    return "%s (%s)" % (_HOW.get(state, _FROM_OUTSIDE), state)


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _ask(*command: str) -> str:
    """What one of Slurm's commands prints; nothing where it is missing, fails, or does not answer."""
    try:
        answered = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answered.stdout.decode("utf-8", "replace") if answered.returncode == 0 else ""


def _job_mib(job: str) -> float:
    """RSS of all processes of a job on this node, as far as they may be looked at."""
    mark = b"SLURM_JOB_ID=" + job.encode()
    kib = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/environ" % name, "rb") as file:
                if mark not in file.read().split(b"\0"):
                    continue
            with open("/proc/%s/statm" % name) as file:
                kib += int(file.read().split()[1]) * proc.PAGE_KIB
        except (OSError, IndexError, ValueError):  # it has ended, or belongs to another user
            continue
    return kib / 1024
