"""The pinned Snakemake with the stand-in for conda: builds an environment, runs a job in it, sees changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CONDA = Path(sys.executable).with_name("conda")
UV = os.environ.get("UV") or shutil.which("uv")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(UV is None, reason="uv is not on PATH: pip install uv"),
]

SNAKEFILE = """
rule all:
    input:
        "out.txt",

rule job:
    output:
        "out.txt",
    conda:
        "environment.yaml"
    shell:
        "python -c 'import sys, tiny; print(tiny.VERSION, sys.prefix)' > {output}"
"""


def make_wheel(folder: Path, version: str) -> str:
    """Write the wheel of a package `tiny` and return its hash."""
    wheel = folder / f"tiny-{version}-py3-none-any.whl"
    information = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", f"VERSION = {version!r}\n")
        archive.writestr(
            f"{information}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n"
        )
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    return f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


class Workflow:
    """A workflow of one job; its folder has a space in its name, and its wheels need no network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a workflow"
        self.folder.mkdir()
        (self.folder / "Snakefile").write_text(SNAKEFILE)

    def lock(self, version: str, comment: str = "", conda: str = "pip") -> None:
        wheels = self.folder.parent
        lines = [
            "--no-index",
            f"--find-links {wheels}",
            f"tiny=={version} --hash={make_wheel(wheels, version)}",
        ]
        text = [f"# {comment}", "dependencies:", "  - python=3.11", f"  - {conda}", "  - pip:"]
        text += [f'      - "{line}"' for line in lines]
        (self.folder / "environment.yaml").write_text("\n".join(text) + "\n")

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--sdm", "conda", *options]
        environment = {**os.environ, "PATH": f"{CONDA.parent}:/usr/bin:/bin", "UV": str(UV)}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def result(self) -> list[str]:
        """The version of the package that the job saw, and the environment in which it ran."""
        return (self.folder / "out.txt").read_text().split(maxsplit=1)

    def environments(self) -> list[Path]:
        return sorted(path for path in (self.folder / ".snakemake" / "conda").glob("*_") if path.is_dir())


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    return Workflow(tmp_path)


def test_a_changed_lock_builds_an_environment_and_reruns_the_job(workflow: Workflow) -> None:
    workflow.lock("1.0")
    first = workflow.run()
    assert first.returncode == 0, first.stderr
    assert "a stand-in builds the same locked environments with uv" in first.stderr
    version, prefix = workflow.result()
    assert version == "1.0"
    assert [str(path) for path in workflow.environments()] == [prefix.strip()]

    again = workflow.run()
    assert "Nothing to be done" in again.stderr
    assert "a stand-in" not in again.stderr

    workflow.lock("2.0")
    changed = workflow.run()
    assert "Software environment definition has changed" in changed.stderr
    assert workflow.result()[0] == "2.0"
    assert len(workflow.environments()) == 2


def test_a_changed_comment_does_so_too(workflow: Workflow) -> None:
    """Which is why the generated locks have a header that does not follow the comments of their .in files."""
    workflow.lock("1.0", comment="one")
    workflow.run()
    workflow.lock("1.0", comment="two")
    changed = workflow.run()
    assert "Software environment definition has changed" in changed.stderr
    assert len(workflow.environments()) == 2


def test_an_interrupted_build_is_made_again(workflow: Workflow) -> None:
    """A build that was killed leaves a folder without Snakemake's mark that it is complete."""
    workflow.lock("1.0")
    workflow.run()
    environment = workflow.environments()[0]
    environment.with_name(environment.name + ".env_setup_done").unlink()
    (environment / "bin" / "python").unlink()
    done = workflow.run("--forceall")
    assert done.returncode == 0, done.stderr
    assert workflow.environments() == [environment]


def test_what_cannot_be_built_ends_with_one_sentence_and_no_environment(workflow: Workflow) -> None:
    workflow.lock("1.0", conda="samtools=1.21")
    done = workflow.run()
    assert done.returncode == 1
    assert "cannot provide the conda package 'samtools=1.21'" in done.stderr
    assert "Traceback" not in done.stderr
    assert workflow.environments() == []
