"""The workflow with the toy framework (tests/unit/toy_*.py): real runs that end, wait or fail as they are told."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import yaml
from checkout import ENVIRONMENTS, REPOSITORY, Checkout

SCRIPTS = "workflow/scripts"
CONFIGURATION = "toy.yaml"
Found = TypeVar("Found")


class ToyWorkflow:
    """A checkout with the toy framework as one more adapter."""

    def __init__(self, path: Path) -> None:
        self.checkout = Checkout(path)
        self.path = path
        toy = REPOSITORY / "tests" / "unit"
        shutil.copy(toy / "toy_adapter.py", path / SCRIPTS / "indexscope" / "frameworks" / "toy.py")
        shutil.copy(toy / "toy_framework.py", path / SCRIPTS / "toy_framework.py")

    def configure(self, systems: dict[str, list[Any]], **more: Any) -> None:
        """Systems by name, each the toy function that it calls and its arguments; other keys as they are."""
        experiment = {
            "systems": list(systems),
            "grids": [{"sizes": [10], "profilers": ["none"]}],
            "artifact_pairs": [],
            **more.pop("index_memory", {}),
        }
        values = {
            "systems": {
                name: {
                    "framework": "toy",
                    "environment": "corpora",
                    "label": name.replace("_", " "),
                    "settings": {"call": call, "arguments": arguments},
                }
                for name, (call, *arguments) in systems.items()
            },
            "index_memory": experiment,
            **more,
        }
        (self.path / CONFIGURATION).write_text(yaml.safe_dump(values))

    def run(self, *arguments: str) -> str:
        """Run Snakemake to its end, which must be a good one; what it printed."""
        return self.checkout.snakemake(*arguments, "--configfile", CONFIGURATION).stdout

    def planned(self, *arguments: str) -> dict[str, int]:
        return self.checkout.planned(*arguments, "--configfile", CONFIGURATION)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Snakemake as the leader of a process group, as a shell starts it in a terminal."""
        command = [sys.executable, "-m", "snakemake", "--cores", "all", "--conda-prefix", str(ENVIRONMENTS)]
        return subprocess.Popen(
            [*command, *arguments, "--configfile", CONFIGURATION],
            cwd=self.path,
            stdout=(self.path / "printed.log").open("wb"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            start_new_session=True,
        )

    def directory(self, system: str) -> Path:
        """The run directory of the one run of a system; before it has finished, that of its partial files."""
        (found,) = self.path.glob(f"results/index_runs/{system}-*/10/none")
        return found / "1"

    def record(self, system: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.directory(system) / "run.json").read_text())
        return record

    def outcomes(self) -> dict[str, str]:
        """System → outcome, from the run directories."""
        records = [
            json.loads(path.read_text()) for path in self.path.glob("results/index_runs/*/*/*/*/run.json")
        ]
        return {record["run"]["system"]: record["outcome"] for record in records}

    def table(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.path / f"results/tables/{name}.parquet").to_pylist()
        return rows

    def processes(self) -> dict[int, str]:
        """Process id → command line of each process that works somewhere in the checkout."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and str((entry / "cwd").readlink()).startswith(str(self.path)):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode().replace("\0", " ")
            except OSError:  # it has ended
                continue
        return found

    def marked(self) -> list[int]:
        """Processes of a measured run, which have its specification in their environment."""
        found = []
        for pid in self.processes():
            try:
                if f"INDEXSCOPE_RUN={self.path}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(pid)
            except OSError:
                continue
        return sorted(found)

    def supervisor(self) -> int:
        """The one process that is the parent of a worker; a shell that started it names it too."""
        worker = self.worker()
        return int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])

    def worker(self) -> int:
        """The process that leads the session of a measured run."""
        (leader,) = [pid for pid in self.marked() if os.getsid(pid) == pid]
        return leader


def wait_for(condition: Callable[[], Found], seconds: float = 60) -> Found:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return found


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what a failed test has left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
