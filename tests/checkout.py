"""A copy of this checkout in which tests run the workflow as a user would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from indexscope import schemas

REPOSITORY = Path(__file__).parents[1]
# Built environments are kept in the checkout, as `snakemake` itself keeps them.
ENVIRONMENTS = REPOSITORY / ".snakemake" / "conda"
# Those of PyTorch versions are results (one that cannot be built is one); the copies share them too.
VERSION_ENVIRONMENTS = REPOSITORY / ".snakemake" / "environments_of_tests"


class Checkout:
    """A copy of the checkout in which Snakemake runs as a user would run it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        listed = subprocess.run(
            ["git", "-C", str(REPOSITORY), "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            capture_output=True,
            check=True,
        ).stdout
        for name in filter(None, listed.decode().split("\0")):
            if (REPOSITORY / name).is_file():
                target = path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, target)

        VERSION_ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        (path / "results" / "environments").symlink_to(VERSION_ENVIRONMENTS)

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end; what it printed is in stdout."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", "--cores", "all", "--nocolor"),
                *("--conda-prefix", str(ENVIRONMENTS)),
                *arguments,
            ],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # The stand-in for conda is a program of this virtual environment.
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"snakemake {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
            )
        return done

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table that was made, whose schema is the declared one."""
        read = pq.read_table(self.path / f"results/tables/{name}.parquet")
        assert read.schema.equals(schemas.TABLES[name])
        found: list[dict[str, Any]] = read.to_pylist()
        return found

    def planned(self, *arguments: str) -> dict[str, int]:
        """Rule → number of jobs that a dry run would start; empty when there is nothing to do."""
        printed = self.snakemake("--dry-run", *arguments).stdout
        return parse_job_statistics(printed)


def parse_job_statistics(printed: str) -> dict[str, int]:
    """The table that Snakemake prints after `Job stats:`."""
    jobs: dict[str, int] = {}
    _, found, rest = printed.partition("Job stats:")
    for line in rest.splitlines()[3:] if found else []:
        words = line.split()
        if len(words) != 2 or not words[1].isdigit():
            break
        jobs[words[0]] = int(words[1])
    jobs.pop("total", None)
    return jobs
