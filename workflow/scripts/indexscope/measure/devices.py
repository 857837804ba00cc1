"""GPUs that a run has for itself: each is guarded by a lock of this machine, which ends with the process that holds it.

Snakemake's `gpu` resource says how many runs may have GPUs at once, not which; a second start, or another checkout,
knows nothing of the first. The locks do: they belong to the machine and its user.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import subprocess
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

_LISTING_SECONDS = 60.0  # that nvidia-smi may take: it wakes the driver where nothing else keeps it awake
_TRY_AGAIN_SECONDS = 0.5
# What Slurm gave to a step and to a job, where CUDA_VISIBLE_DEVICES is not set: indices of the whole machine.
_SLURM_VARIABLES = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
_GPU = re.compile(r"GPU (\d+): .*\(UUID: (GPU-[0-9a-fA-F-]+)\)")
_PART = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)\s]+)\)")


class Device(NamedTuple):
    """A GPU, or a part of one (MIG)."""

    name: str  # as CUDA_VISIBLE_DEVICES holds it
    key: str  # one for each device, whichever name it is given: its UUID, where that is known


def needed(cell: Mapping[str, Any]) -> int:
    """How many GPUs a run of a cell uses: one a rank; none on a CPU."""
    if cell["device"] != "cuda":
        return 0
    return int((cell.get("settings") or {}).get("nranks") or 1)


def folder() -> str:
    """Where the locks of this machine are. Not TMPDIR, which differs by job; a home may be shared by machines."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "indexscope", "devices", platform.node() or "unnamed")


@contextlib.contextmanager
def reserved(
    count: int, environment: Optional[Mapping[str, str]] = None, locks: Optional[str] = None
) -> Iterator[Optional[str]]:
    """CUDA_VISIBLE_DEVICES for a process that gets `count` GPUs for itself while this context lasts.

    Of those that the environment allows (CUDA_VISIBLE_DEVICES, or what Slurm gave), else of those that nvidia-smi
    lists. Where fewer are free it waits, as long as that takes, and says so: GPUs are never shared. Where there are
    fewer than `count` in all, or nobody tells which there are, it gives what there is.

    Args:
        count: 0 gives None: no GPU is used.
        environment: default: this process's.
        locks: folder of the locks; default: `folder()`.

    Yields:
        names, separated by commas; None where nothing is to be set.
    """
    environment = os.environ if environment is None else environment
    there = allowed(environment, listed) if count else []
    if not there:
        yield environment.get("CUDA_VISIBLE_DEVICES") if count else None
        return
    held = _wait_for(there, min(count, len(there)), locks or folder())
    try:
        yield ",".join(device.name for device in there if device in held)
    finally:
        for lock in held.values():
            os.close(lock)


def allowed(environment: Mapping[str, str], listing: Callable[[], Sequence[Device]]) -> List[Device]:
    """The devices that a process with this environment may use, in its order; empty where nobody tells.

    CUDA reads CUDA_VISIBLE_DEVICES up to the first name that is none, and takes a UUID's beginning for the UUID.
    """
    known = list(listing())
    value = environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        given = next((environment[name] for name in _SLURM_VARIABLES if environment.get(name)), "")
        of_slurm = [device for device in known if device.name in given.split(",")]
        return of_slurm or known
    devices: Dict[str, Device] = {}
    for name in (part.strip() for part in value.split(",")):
        if not name or name == "-1":
            break
        matching = [
            device
            for device in known
            if device.name == name or (not name.isdigit() and device.key.startswith(name))
        ]
        key = matching[0].key if len(matching) == 1 else name
        devices.setdefault(key, Device(name, key))
    return list(devices.values())


def listed() -> List[Device]:
    """The devices that nvidia-smi lists: of a GPU that is divided, its parts; empty where it is not there."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=_LISTING_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_listing(done.stdout)


def parse_listing(printed: str) -> List[Device]:
    """What `nvidia-smi -L` prints, as devices.

    A GPU's name is its index, a part's is its UUID: no index of CUDA's leads to it.
    """
    found: List[List[Device]] = []
    divided = False
    for line in printed.splitlines():
        gpu, part = _GPU.match(line), _PART.match(line)
        if gpu:
            divided = False
            found.append([Device(gpu.group(1), gpu.group(2))])
        elif part and found:
            if not divided:
                found[-1], divided = [], True
            found[-1].append(Device(part.group(1), part.group(1)))
    return [device for devices in found for device in devices]


def _wait_for(devices: Sequence[Device], count: int, locks: str) -> Dict[Device, int]:
    """Lock `count` of the devices; all or none at a time, so that two who wait never hold what the other needs."""
    os.makedirs(locks, exist_ok=True)
    said = False
    while True:
        held: Dict[Device, int] = {}
        for device in devices:
            lock = _try(os.path.join(locks, re.sub(r"[^\w.-]", "_", device.key) + ".lock"))
            if lock is not None:
                held[device] = lock
                if len(held) == count:
                    return held
        for lock in held.values():
            os.close(lock)
        if not said:
            print(
                "Waiting for %d of the GPUs %s: others use them (locks in %s)."
                % (count, ", ".join(device.name for device in devices), locks),
                flush=True,
            )
            said = True
        time.sleep(_TRY_AGAIN_SECONDS)


def _try(path: str) -> Optional[int]:
    """An open, locked file, or None where another process holds it. No child inherits it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
