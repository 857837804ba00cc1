"""A real Slurm of one node: munge, a control daemon and a node daemon in a folder of their own.

Nothing outside the folder is written, /etc/slurm neither, so that a cluster's own node can run the tests too. As root.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
INSTALL = "apt-get install slurmctld slurmd slurm-client munge"
# Files that exist everywhere stand for the devices; Slurm numbers them as it numbers GPUs.
DEVICES = ("/dev/null", "/dev/zero")
PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # where daemons are


def obstacle() -> str | None:
    """Why it cannot be started here, with the remedy."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"needs Slurm ({', '.join(missing)} missing): {INSTALL}"
    if os.geteuid() != 0:
        return "needs root: Slurm's node daemon starts jobs as the users that own them"
    return None


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *PATH]))


class OneNode:
    """Started by `with`; `environment` leads Slurm's commands, and Snakemake's plugin, to it."""

    def __init__(self) -> None:
        # A socket's path may have 108 bytes: pytest's folders are too deep.
        self.folder = Path(tempfile.mkdtemp(prefix="one-node-slurm-"))
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"], *PATH]),
        }

    def __enter__(self) -> OneNode:
        try:
            self._configure()
            munge = ["--force", "--foreground", f"--socket={self.folder}/munge.socket"]
            files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
            self._start("munged", *munge, *files)
            self._wait("munge does not answer", "munge.socket")
            self._start("slurmctld", "-D")
            self._start("slurmd", "-D")
            self._wait("the node does not become idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if len(self._daemons) == 3:
            self.command("scancel", "--user=root", check=False)
            self._wait_until_empty()
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *arguments: str, check: bool = True) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(
            arguments, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def jobs(self) -> dict[int, dict[str, str]]:
        """All jobs that the control daemon remembers, as scontrol shows them."""
        shown = self.command("scontrol", "show", "job", "-o").splitlines()
        jobs = [dict(word.partition("=")[::2] for word in line.split()) for line in shown if "JobId=" in line]
        return {int(job["JobId"]): job for job in jobs}

    def running(self) -> list[int]:
        return [number for number, job in self.jobs().items() if job["JobState"] == "RUNNING"]

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        values = {
            "HOST": host,
            "FOLDER": str(self.folder),
            "CONTROL_PORT": str(_free_port()),
            "NODE_PORT": str(_free_port()),
            "CPUS": "8",
            "MEMORY": str(int(memory * 0.9)),
            "GPUS": str(len(DEVICES)),
            "CGROUP": "cgroup/v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "cgroup/v1",
        }
        for name in ("slurm.conf", "cgroup.conf"):
            text = (HERE / f"{name}.in").read_text()
            for key, value in values.items():
                text = text.replace(f"@{key}@", value)
            (self.folder / name).write_text(text)
        gpus = [f"Name=gpu File={device}" for device in DEVICES]
        (self.folder / "gres.conf").write_text("\n".join(gpus) + "\n")
        (self.folder / "plugstack.conf").touch()
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "munge.key").chmod(0o400)
        # The jobstep plugin drops SLURM_CONF before it calls srun, which would then look in /etc/slurm.
        wrapper = self.folder / "bin" / "srun"
        conf = self.environment["SLURM_CONF"]
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {_program("srun")} "$@"\n')
        wrapper.chmod(0o755)

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.printed").open("wb") as printed:
            self._daemons.append(
                subprocess.Popen(
                    [_program(name) or name, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    cwd=self.folder,
                    start_new_session=True,
                )
            )

    def _wait(self, failure: str, file: str | None = None, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if file is not None and (self.folder / file).exists():
                return
            if file is None and self.command("sinfo", "-h", "-o", "%T", check=False).startswith("idle"):
                return
            time.sleep(0.1)
        logs = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.printed")])
        said = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in logs)
        raise AssertionError(f"one-node Slurm: {failure} after {seconds:.0f} s\n{said}")

    def _wait_until_empty(self) -> None:
        end = time.monotonic() + 20
        while self.command("squeue", "-h", check=False) and time.monotonic() < end:
            time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
