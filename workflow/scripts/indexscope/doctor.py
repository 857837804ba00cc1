"""Whether this machine can measure, one finding for each thing that is looked at, with its remedy.

Standard library only, and nothing of Linux at import: it is what one runs where the rest does not. What needs an
environment's own Python (torch, faiss, ninja) is asked there by `probe_environment.py`; its answers are judged here.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

OK, WARN, FAIL = "ok", "warn", "FAIL"
SNAKEMAKE = "9.27"  # pinned in pyproject.toml
_COLOURS = {OK: "32", WARN: "33", FAIL: "31"}
_SUBJECT_WIDTH = 24
_BUSY_LOAD = 0.5  # processes that want a core, on average over a minute, beside nothing of ours
_NO_GPU = "no GPU is visible (nvidia-smi is missing)"


class Finding(NamedTuple):
    """One thing that was looked at: FAIL where measuring cannot go on, WARN where it suffers."""

    status: str
    subject: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Needs:
    """What a configuration asks of the machine; unknown where None. Sizes are in MiB."""

    device: str = "auto"  # auto, cpu, cuda
    threads: int = 2
    allocator: str = "default"
    hub: bool = False  # whether documents or checkpoints come from the Hugging Face hub
    deployed: bool = True  # whether Snakemake deploys environments with conda
    results: str = "results"
    disk_mib: float | None = None
    environments_folder: str = ".snakemake/conda"
    environments_mib: float | None = None
    missing_environments: tuple[str, ...] = ()
    memory_mib: float | None = None
    largest: str = ""
    work: str = ""  # how many runs, how long

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Needs:
        """Raises TypeError for an unknown name."""
        return cls(**{**values, "missing_environments": tuple(values.get("missing_environments", ()))})


@dataclass(frozen=True)
class Machine:
    """Where to look; tests look elsewhere."""

    proc: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    system: str = sys.platform
    python: tuple[int, ...] = sys.version_info[:3]
    architecture: str = platform.machine()
    cores: int = 0
    watched_seconds: float = 0.3  # for how long to see which processes are busy
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free

    def available_cores(self) -> int:
        if self.cores:
            return self.cores
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def which(self, command: str) -> str | None:
        return shutil.which(command, path=self.environ.get("PATH", ""))

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str] | None:
        """Run a program of this PATH; None where there is none, or where it does not answer in time."""
        program = self.which(command[0])
        if program is None:
            return None
        try:
            return subprocess.run(
                [program, *command[1:]],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                env={**self.environ, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired):
            return None

    def read(self, path: Path) -> str | None:
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError):
            return None


def operating_system(needs: Needs, machine: Machine) -> Iterator[Finding]:
    subject = "operating system"
    if machine.system != "linux":
        yield Finding(
            FAIL,
            subject,
            f"{machine.system}; measuring reads /proc, which only Linux has",
            "measure on Linux; parsing logs, figures and the report work here",
        )
        return
    library, version = platform.libc_ver()
    found = (
        f"Linux {platform.release()}, {machine.architecture}, {library or 'unknown libc'} {version}".rstrip()
    )
    if machine.architecture != "x86_64":
        yield Finding(FAIL, subject, found, "the environments are locked for x86_64: use such a machine")
    elif library == "glibc" and tuple(map(int, version.split(".")[:2])) < (2, 28):
        yield Finding(
            FAIL, subject, found, "the locked packages need glibc 2.28 or later: use a newer system"
        )
    else:
        yield Finding(OK, subject, found)


def python_and_snakemake(needs: Needs, machine: Machine) -> Iterator[Finding]:
    version = ".".join(map(str, machine.python))
    if machine.python >= (3, 11):
        yield Finding(OK, "Python", f"{version} ({sys.executable})")
    else:
        yield Finding(FAIL, "Python", version, "use Python 3.11, as `uv run` does")
    try:
        snakemake = importlib.metadata.version("snakemake")
    except importlib.metadata.PackageNotFoundError:
        yield Finding(WARN, "Snakemake", "not in this Python", "start with `uv run snakemake`")
        return
    if snakemake.startswith(f"{SNAKEMAKE}."):
        yield Finding(OK, "Snakemake", snakemake)
    else:
        yield Finding(WARN, "Snakemake", snakemake, f"tested with {SNAKEMAKE}: start with `uv run snakemake`")


def has_real_conda(machine: Machine) -> bool:
    """Whether conda itself is on the PATH, and not only this project's stand-in."""
    for folder in machine.environ.get("PATH", "").split(os.pathsep):
        command = Path(folder, "conda")
        try:
            if os.access(command, os.X_OK) and b"from uv_conda" not in command.read_bytes()[:1024]:
                return True
        except OSError:
            continue
    return False


def environment_builder(needs: Needs, machine: Machine) -> Iterator[Finding]:
    subject = "conda"
    if not needs.deployed:
        yield Finding(
            FAIL,
            subject,
            "Snakemake was told to deploy no environments",
            "pass `--sdm conda`, or keep to profiles/default",
        )
    elif has_real_conda(machine):
        yield Finding(OK, subject, "builds the locked environments")
    elif machine.which("conda") and (machine.which("uv") or machine.environ.get("UV")):
        yield Finding(OK, subject, "none; the stand-in of `uv run` builds the locked environments with uv")
    elif machine.which("uv"):
        yield Finding(WARN, subject, "not on this PATH", "start with `uv run`, which brings a stand-in")
    else:
        yield Finding(
            FAIL, subject, "neither conda nor uv is on the PATH", "pip install uv, and start with `uv run`"
        )


def git_and_compiler(needs: Needs, machine: Machine) -> Iterator[Finding]:
    if has_real_conda(machine):
        yield Finding(OK, "git, C++ compiler", "come with the environments that conda builds")
        return
    done = machine.run("git", "--version")
    if done is None or done.returncode:
        yield Finding(FAIL, "git", "not found; colbert-ai does not import without it", "apt-get install git")
    else:
        yield Finding(OK, "git", done.stdout.strip().removeprefix("git version "))
    yield _compiler(machine)


def _compiler(machine: Machine) -> Finding:
    subject = "C++ compiler"
    compiler = machine.environ.get("CXX", "c++")
    remedy = "apt-get install g++, or use conda, whose environments bring a compiler"
    if machine.which(compiler) is None:
        return Finding(FAIL, subject, f"{compiler} is not on the PATH", remedy)
    tried = machine.run(
        compiler, "-std=c++17", "-fsyntax-only", "-x", "c++", "-", stdin="#include <vector>\nint main() {}\n"
    )
    if tried is None or tried.returncode:
        reason = _last_line(tried.stderr) if tried else "it does not answer"
        return Finding(FAIL, subject, f"{compiler} cannot compile C++17: {reason}", remedy)
    version = machine.run(compiler, "--version")
    return Finding(OK, subject, (version.stdout.splitlines() or [compiler])[0] if version else compiler)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


class Driver(NamedTuple):
    """What nvidia-smi tells."""

    gpus: tuple[str, ...]  # "name, memory"
    version: str
    cuda: tuple[int, int] | None  # the newest CUDA that it runs


def nvidia_driver(machine: Machine) -> Driver | str:
    """The driver, or one sentence why there is none."""
    if machine.which("nvidia-smi") is None:
        return _NO_GPU
    listed = machine.run(
        "nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"
    )
    if listed is None:
        return "nvidia-smi does not answer"
    rows = [line.rsplit(", ", 1) for line in listed.stdout.splitlines() if line.count(", ") >= 2]
    if listed.returncode or not rows:
        return f"nvidia-smi finds no GPU: {_last_line(listed.stdout + listed.stderr)}"
    shown = machine.run("nvidia-smi")
    match = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", shown.stdout if shown else "")
    cuda = (int(match[1]), int(match[2])) if match else None
    return Driver(tuple(name for name, _ in rows), rows[0][1], cuda)


def gpu(needs: Needs, machine: Machine) -> Iterator[Finding]:
    driver = nvidia_driver(machine)
    if isinstance(driver, str):
        if needs.device == "cuda":
            yield Finding(FAIL, "GPU", driver, "install the NVIDIA driver, or set measurement: {device: cpu}")
        elif driver != _NO_GPU:
            yield Finding(WARN, "GPU", f"{driver}; runs use the CPU", "repair the driver, if a GPU is there")
        else:
            yield Finding(OK, "GPU", f"{driver}; runs use the CPU")
        return
    cuda = f", CUDA up to {driver.cuda[0]}.{driver.cuda[1]}" if driver.cuda else ""
    yield Finding(OK, "GPU", f"{'; '.join(driver.gpus)}; driver {driver.version}{cuda}")
    if needs.device == "cpu":
        return
    yield from _other_gpu_processes(machine)
    compiler = machine.run("nvcc", "--version")
    if compiler is None or compiler.returncode:
        yield Finding(
            FAIL,
            "nvcc",
            "not on the PATH; ColBERT's CUDA extensions are compiled with it",
            "install the CUDA toolkit of torch's CUDA version, or set measurement: {device: cpu}",
        )
    else:
        match = re.search(r"release ([\d.]+)", compiler.stdout)
        yield Finding(OK, "nvcc", f"release {match[1]}" if match else _last_line(compiler.stdout))


def _other_gpu_processes(machine: Machine) -> Iterator[Finding]:
    listed = machine.run(
        "nvidia-smi", "--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader"
    )
    others = [line.strip() for line in listed.stdout.splitlines() if line.count(",") >= 2] if listed else []
    if others:
        yield Finding(
            WARN,
            "processes on the GPU",
            "; ".join(others[:4]) + (f" and {len(others) - 4} more" if others[4:] else ""),
            "end them or wait: they take memory and time from what is measured",
        )
    else:
        yield Finding(OK, "processes on the GPU", "none")


def proc_rights(needs: Needs, machine: Machine) -> Iterator[Finding]:
    """What the supervisor and the worker read of /proc (indexscope.measure.proc)."""
    own = machine.proc / "self"
    unreadable = [
        name
        for name in ("statm", "stat", "cmdline", "status", f"task/{_thread_id(own)}/children")
        if machine.read(own / name) is None
    ]
    if unreadable:
        yield Finding(
            FAIL,
            "/proc",
            f"{', '.join(str(own / name) for name in unreadable)} cannot be read",
            "mount /proc as usual in the container; the kernel needs CONFIG_PROC_CHILDREN",
        )
    else:
        yield Finding(OK, "/proc", "the process tree and its memory can be read")
    try:
        with (own / "clear_refs").open("w") as clear_refs:
            clear_refs.write("5")
        yield Finding(OK, "exact peaks", "the kernel's peak of a process can be reset (clear_refs)")
    except OSError as error:
        yield Finding(
            WARN,
            "exact peaks",
            f"{own / 'clear_refs'} cannot be written ({error.strerror}); peaks will be sampled, a lower bound",
            "measure outside the sandbox, or on a kernel with CONFIG_PROC_PAGE_MONITOR",
        )
    if machine.read(own / "smaps_rollup") is None:
        yield Finding(
            WARN,
            "shared memory",
            f"{own / 'smaps_rollup'} cannot be read; the PSS at phase ends will be missing",
            "use Linux 4.14 or later, outside the sandbox",
        )
    else:
        yield Finding(OK, "shared memory", "PSS can be read (smaps_rollup)")


def _thread_id(own: Path) -> str:
    try:
        return min((path.name for path in (own / "task").iterdir()), key=int)
    except (OSError, ValueError):
        return "1"


def meminfo_mib(machine: Machine) -> dict[str, float]:
    """/proc/meminfo, in MiB."""
    lines = (machine.read(machine.proc / "meminfo") or "").splitlines()
    return {
        line.split(":")[0]: int(line.split()[1]) / 1024
        for line in lines
        if re.fullmatch(r"\w[\w()]*:\s+\d+ kB", line)
    }


def cgroup_limit_mib(machine: Machine) -> float | None:
    """The smallest memory limit of this process's control groups (v2, or v1's own); None without one."""
    text = machine.read(machine.proc / "self" / "cgroup") or ""
    limits = []
    for line in text.splitlines():
        _, controllers, group = line.split(":", 2)
        version_1 = "memory" in controllers.split(",")
        if controllers and not version_1:
            continue
        root = machine.sysfs / "fs/cgroup" / ("memory" if version_1 else "")
        name = "memory.limit_in_bytes" if version_1 else "memory.max"
        folder = root / group.lstrip("/")
        for place in (folder, *folder.parents):
            value = (machine.read(place / name) or "").strip()
            if value.isdigit() and int(value) < 2**60:
                limits.append(int(value) / 2**20)
            if place == root:
                break
    return min(limits, default=None)


def machine_memory_mib(machine: Machine | None = None) -> float | None:
    """What processes here can have together: the machine's memory, or its control group's limit."""
    machine = machine or Machine()
    total = meminfo_mib(machine).get("MemTotal")
    limit = cgroup_limit_mib(machine)
    return min((size for size in (total, limit) if size is not None), default=None)


def gpu_memory_mib(machine: Machine | None = None) -> float | None:
    """Memory of the smallest GPU here, all of it; None without a GPU that says."""
    driver = nvidia_driver(machine or Machine())
    if isinstance(driver, str):
        return None
    sizes = [re.fullmatch(r".*, (\d+) MiB", gpu) for gpu in driver.gpus]
    return min((float(size[1]) for size in sizes if size), default=None)


def memory(needs: Needs, machine: Machine) -> Iterator[Finding]:
    sizes = meminfo_mib(machine)
    limit = cgroup_limit_mib(machine)
    usable = machine_memory_mib(machine)
    if usable is None:
        yield Finding(WARN, "memory", "the machine does not say how much it has")
        return
    found = f"{_size(usable)}, of which {_size(min(sizes.get('MemAvailable', usable), usable))} are available"
    if limit is not None and limit < sizes.get("MemTotal", 0):
        found += f" (limit of the control group; the machine has {_size(sizes['MemTotal'])})"
    available = min(sizes.get("MemAvailable", usable), usable)
    if needs.memory_mib is not None and needs.memory_mib > available:
        yield Finding(
            WARN,
            "memory",
            f"{found}; the largest run{needs.largest and f' ({needs.largest})'} may need {_size(needs.memory_mib)}",
            "use smaller sizes or a larger machine; running out of memory is recorded as the run's outcome",
        )
    else:
        needed = "" if needs.memory_mib is None else f"; the largest run may need {_size(needs.memory_mib)}"
        yield Finding(OK, "memory", found + needed)
    swapped = sizes.get("SwapTotal", 0.0) - sizes.get("SwapFree", 0.0)
    if swapped >= 1:
        yield Finding(
            WARN,
            "swap",
            f"{_size(swapped)} are swapped out; swapped pages are missing from RSS",
            "free memory, then: swapoff -a && swapon -a",
        )
    else:
        yield Finding(OK, "swap", "not in use")


def _size(mib: float) -> str:
    return f"{mib / 1024:,.1f} GiB" if mib >= 1024 else f"{mib:,.0f} MiB"


def cores(needs: Needs, machine: Machine) -> Iterator[Finding]:
    there = machine.available_cores()
    quota = (machine.read(machine.sysfs / "fs/cgroup/cpu.max") or "").split()
    if len(quota) == 2 and quota[0].isdigit():
        there = min(there, max(1, int(quota[0]) // int(quota[1])))
    found = f"{there} for {needs.threads} threads of a run"
    if there < needs.threads:
        yield Finding(WARN, "cores", found, f"set measurement: {{threads: {there}}}, or use more cores")
    else:
        yield Finding(OK, "cores", found)


def load(needs: Needs, machine: Machine) -> Iterator[Finding]:
    text = machine.read(machine.proc / "loadavg")
    if text is None:
        return
    average = float(text.split()[0])
    busy = _busy_now(machine)
    if average >= _BUSY_LOAD and busy:
        yield Finding(
            WARN,
            "other work",
            f"load {average:.2f} in the last minute; busy now: {', '.join(busy)}",
            "wait or end it: what runs beside a measured run disturbs its times",
        )
    elif average >= _BUSY_LOAD:
        yield Finding(OK, "other work", f"none now; load {average:.2f} in the last minute")
    else:
        yield Finding(OK, "other work", f"none; load {average:.2f} in the last minute")


class Work(NamedTuple):
    """A process of /proc: its processor time so far, in clock ticks."""

    ticks: int
    name: str
    parent: int


def processes(machine: Machine) -> dict[int, Work]:
    """Every process by its id, from /proc/PID/stat; a name may hold spaces and parentheses."""
    found = {}
    for path in machine.proc.glob("[0-9]*/stat"):
        head, _, rest = (machine.read(path) or "").rpartition(")")
        fields = rest.split()
        if len(fields) > 12:
            name = head.partition("(")[2]
            found[int(path.parent.name)] = Work(int(fields[11]) + int(fields[12]), name, int(fields[1]))
    return found


def busiest(
    before: Mapping[int, Work], after: Mapping[int, Work], ticks: float, own: int
) -> list[tuple[int, float]]:
    """Processes that took a fifth of a core or more of `ticks`, most first; `own` and its parents left out."""
    ours = set()
    while own in after and own not in ours:
        ours.add(own)
        own = after[own].parent
    shares = {
        pid: (work.ticks - before[pid].ticks) / ticks
        for pid, work in after.items()
        if pid in before and pid not in ours
    }
    return sorted(((pid, share) for pid, share in shares.items() if share >= 0.2), key=lambda pair: -pair[1])


def _busy_now(machine: Machine) -> list[str]:
    """Up to three busy processes, as people read them."""
    before, started = processes(machine), time.monotonic()
    time.sleep(machine.watched_seconds)
    after = processes(machine)
    ticks = (time.monotonic() - started) * os.sysconf("SC_CLK_TCK")
    top = busiest(before, after, ticks, os.getpid())[:3]
    return [f"{after[pid].name} (process {pid}, {100 * share:.0f} %)" for pid, share in top]


def huge_pages(needs: Needs, machine: Machine) -> Iterator[Finding]:
    text = machine.read(machine.sysfs / "kernel/mm/transparent_hugepage/enabled")
    match = re.search(r"\[(\w+)\]", text or "")
    if match is None:
        return
    if match[1] == "always":
        yield Finding(
            WARN,
            "huge pages",
            "always: memory may grow in steps of 2 MiB, more than where they are asked for only",
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled, to compare with other machines",
        )
    else:
        yield Finding(OK, "huge pages", match[1])


def allocator(needs: Needs, machine: Machine) -> Iterator[Finding]:
    changed = [
        name
        for name in sorted(machine.environ)
        if name in ("LD_PRELOAD", "GLIBC_TUNABLES", "PYTHONMALLOC") or name.startswith("MALLOC_")
    ]
    if changed:
        yield Finding(
            WARN,
            "allocator",
            f"{', '.join(changed)} {'is' if len(changed) == 1 else 'are'} set, which changes what is measured",
            f"unset {' '.join(changed)}; measurement: {{allocator: pinned}} fixes glibc's thresholds on purpose",
        )
    else:
        yield Finding(OK, "allocator", f"glibc malloc, {needs.allocator}")


def network(needs: Needs, machine: Machine) -> Iterator[Finding]:
    proxies = {
        name: _host(value)
        for name, value in sorted(machine.environ.items())
        if name.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") and value
    }
    if proxies:
        yield Finding(OK, "proxy", ", ".join(f"{name}={host}" for name, host in proxies.items()))
    if not needs.hub:
        yield Finding(OK, "hub", "not needed: documents and checkpoint do not come from it")
        return
    endpoint = machine.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if machine.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        yield Finding(
            WARN,
            "hub",
            "HF_HUB_OFFLINE is set: only what is downloaded already can be used",
            "unset HF_HUB_OFFLINE for the first start",
        )
    elif reason := _unreachable(endpoint):
        yield Finding(
            FAIL,
            "hub",
            f"{_host(endpoint)} cannot be reached: {reason}",
            "set HTTPS_PROXY or HF_ENDPOINT, or use a synthetic corpus and checkpoint",
        )
    else:
        yield Finding(OK, "hub", f"{_host(endpoint)} answers")


def _host(url: str) -> str:
    """Host and port: a proxy's URL may hold a password."""
    parts = urllib.parse.urlsplit(url if "//" in url else f"//{url}")
    return parts.netloc.rpartition("@")[2] or "?"


def _unreachable(url: str) -> str | None:
    """Why a server does not answer; None when it does, whatever it answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5):
            return None
    except urllib.error.HTTPError as error:
        return "the proxy asks for a password" if error.code == 407 else None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return f"its certificate is not trusted ({error.reason.reason or error.reason})"
        return str(getattr(error.reason, "strerror", None) or error.reason)
    except (OSError, ValueError) as error:
        return str(error)


def disk(needs: Needs, machine: Machine) -> Iterator[Finding]:
    places = (
        ("disk, results", needs.results, needs.disk_mib, "use `keep: none`, fewer sizes, or --directory"),
        (
            "disk, environments",
            needs.environments_folder,
            needs.environments_mib,
            "free some, or build elsewhere with --conda-prefix",
        ),
    )
    for subject, name, needed, remedy in places:
        folder = Path(name).absolute()
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = machine.free_bytes(existing) / 2**20
        found = f"{_size(free)} free in {name}"
        if needed:
            found += f"; about {_size(needed)} needed"
        if needed is not None and needed > free:
            yield Finding(FAIL, subject, found, remedy)
        elif not os.access(existing, os.W_OK):
            yield Finding(FAIL, subject, f"{existing} cannot be written", f"chown or chmod {existing}")
        else:
            yield Finding(OK, subject, found)


def work(needs: Needs, machine: Machine) -> Iterator[Finding]:
    if needs.work:
        yield Finding(OK, "runs", needs.work)
    if needs.missing_environments:
        yield Finding(
            OK,
            "environments",
            f"not built yet: {', '.join(needs.missing_environments)}; the first start builds them. What is in them "
            "(torch, faiss, ninja) is checked once they are: snakemake --conda-create-envs-only --cores 1",
        )


CHECKS: list[Callable[[Needs, Machine], Iterator[Finding]]] = [
    operating_system,
    python_and_snakemake,
    environment_builder,
    git_and_compiler,
    gpu,
    proc_rights,
    memory,
    cores,
    load,
    huge_pages,
    allocator,
    network,
    disk,
    work,
]
# What makes sense on a system that cannot measure.
_EVERYWHERE = [operating_system, python_and_snakemake]


def examine(needs: Needs, machine: Machine, probes: Iterable[Mapping[str, Any]] = ()) -> Iterator[Finding]:
    """Every finding, in the order of the checks; a check that fails itself is a finding."""
    for check in CHECKS if machine.system == "linux" else _EVERYWHERE:
        try:
            yield from check(needs, machine)
        except (OSError, ValueError, KeyError, IndexError) as error:
            name = check.__name__.replace("_", " ")
            found = f"could not be checked ({type(error).__name__}: {error})"
            yield Finding(
                WARN, name, found, "look at it by hand; measuring itself does not depend on this check"
            )
    driver = nvidia_driver(machine)
    for probe in probes:
        yield from judge(needs, driver, probe)


def judge(needs: Needs, driver: Driver | str, probe: Mapping[str, Any]) -> Iterator[Finding]:
    """What the probe of an environment means for measuring in it."""
    subject = f"environment {probe['environment']}"
    rebuild = f"delete the environment's folder ({probe['prefix']}) and start again: it is built anew"
    broken = [name for name in ("torch", "faiss") if probe[name].get("error")]
    for name in broken:
        yield Finding(FAIL, subject, f"{name} does not import: {probe[name]['error']}", rebuild)
    if broken:
        return
    torch, faiss = probe["torch"], probe["faiss"]
    versions = ", ".join(f"{name} {version}" for name, version in probe["packages"].items())
    yield Finding(OK, subject, f"Python {probe['python']}, {versions}")
    if probe["ninja"] is None:
        yield Finding(FAIL, subject, "ninja is not on its PATH", rebuild)
    if problem := probe["compiler"]:
        headers = "crypt.h: apt-get install libcrypt-dev; Python.h: apt-get install python3.11-dev"
        yield Finding(FAIL, subject, f"an extension of Python cannot be compiled: {problem}", headers)
    if isinstance(driver, Driver) and needs.device != "cpu":
        yield from _cuda(subject, driver, torch, faiss, probe.get("nvcc"))


def _cuda(
    subject: str, driver: Driver, torch: Mapping[str, Any], faiss: Mapping[str, Any], nvcc: str | None
) -> Iterator[Finding]:
    built_for = torch["cuda"]
    cpu = "or set measurement: {device: cpu}"
    if built_for is None:
        yield Finding(FAIL, subject, "torch was built without CUDA", f"lock a CUDA build of torch, {cpu}")
        return
    major = int(built_for.split(".")[0])
    if driver.cuda is not None and driver.cuda[0] < major:
        yield Finding(
            FAIL,
            subject,
            f"torch is built for CUDA {built_for}, but driver {driver.version} runs CUDA {driver.cuda[0]} at most",
            f"install a driver for CUDA {major} or later, {cpu}",
        )
    elif not torch["available"]:
        yield Finding(
            FAIL,
            subject,
            f"torch.cuda.is_available() is false with driver {driver.version}",
            f"check CUDA_VISIBLE_DEVICES and the rights on /dev/nvidia*, {cpu}",
        )
    else:
        yield Finding(OK, subject, f"torch (CUDA {built_for}) uses {', '.join(torch['devices'])}")
    if nvcc is not None and int(nvcc.split(".")[0]) != major:
        yield Finding(
            FAIL,
            subject,
            f"nvcc is of CUDA {nvcc}, torch of {built_for}: torch refuses to compile extensions",
            f"put nvcc of CUDA {major} first on the PATH",
        )
    if not faiss["gpu_build"]:
        yield Finding(WARN, subject, "faiss has no GPU part; k-means runs on the CPU", "lock faiss-gpu-cu12")
    elif not faiss["gpus"]:
        yield Finding(
            WARN, subject, "faiss.get_num_gpus() is 0; k-means runs on the CPU", "check CUDA_VISIBLE_DEVICES"
        )
    else:
        yield Finding(OK, subject, f"faiss uses {faiss['gpus']} GPU{'s' * (faiss['gpus'] != 1)}")


def lines(findings: Sequence[Finding], colour: bool = False) -> Iterator[str]:
    """A line for each finding, its remedy on the next."""
    for finding in findings:
        status = f"{finding.status:<5}"
        if colour:
            status = f"\x1b[{_COLOURS[finding.status]}m{status}\x1b[0m"
        yield f"{status} {finding.subject:<{_SUBJECT_WIDTH}} {finding.found}"
        if finding.remedy:
            yield f"{'':<{_SUBJECT_WIDTH + 7}}→ {finding.remedy}"


def verdict(findings: Sequence[Finding]) -> str:
    """The last line: whether measuring can go on."""
    missing = list(dict.fromkeys(finding.subject for finding in findings if finding.status == FAIL))
    warned = list(dict.fromkeys(finding.subject for finding in findings if finding.status == WARN))
    if missing:
        return f"Measuring cannot go on before this is mended: {', '.join(missing)}."
    if warned:
        return f"Measuring can go on; what it suffers from: {', '.join(warned)}."
    return "Measuring can go on."
