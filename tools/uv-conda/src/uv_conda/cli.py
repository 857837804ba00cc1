"""The command `conda` of machines that have no conda.

usage: conda --version
       conda info --json
       conda config --get channel_priority --json
       conda env create --file SPECIFICATION.yaml --prefix FOLDER
       conda clean

It is a stand-in, not conda: it answers the calls that Snakemake makes for `--sdm conda`, and builds an
environment with uv, as a virtual environment that holds exactly the pins in the pip section of the
specification, each checked against its hashes. Of conda packages it knows python, pip (not installed: uv does
its work), and git and cxx-compiler, for which the system's own commands must be there.
If a real conda is anywhere on PATH, that one is run instead, with the same arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

HOME = Path(__file__).with_name("home")
"""What Snakemake takes for conda's installation: the folder of bin/activate."""

MINIMAL_CONDA = "24.7.1"
"""The oldest conda that Snakemake 9.27.1 accepts (`MIN_CONDA_VER` in snakemake/deployment/conda.py)."""

SYSTEM_COMMANDS = {"git": ("git", "git"), "cxx-compiler": ("c++", "g++")}
"""Conda package: the command that stands for it, and the Debian package that brings the command."""

ERROR_LINES = 20


@dataclass(frozen=True)
class Specification:
    """What can be built of a conda specification: the Python version and the lines of the pip section."""

    python: str
    pip: tuple[str, ...]


def fail(message: str) -> NoReturn:
    sys.exit(f"conda (stand-in, builds with uv): {message}")


def is_stand_in(command: Path) -> bool:
    """Whether `command` is this program, of this or another project, also through a symbolic link."""
    with command.open("rb") as file:
        return b"from uv_conda" in file.read(1024)


def real_conda() -> Path | None:
    """The first command `conda` on PATH that is not a stand-in."""
    for folder in os.get_exec_path():
        command = Path(folder, "conda")
        if command.is_file() and os.access(command, os.R_OK | os.X_OK) and not is_stand_in(command):
            return command
    return None


def introduction() -> str:
    """One sentence that says what answers here instead of conda."""
    mamba = next(filter(shutil.which, ("mamba", "micromamba")), None)
    # Neither reports the `conda_prefix` with the `bin/activate` that Snakemake needs.
    other = f" ({mamba} is there, but Snakemake works through conda only)" if mamba else ""
    return f"conda: no conda on PATH{other}, so a stand-in builds the same locked environments with uv."


def is_first_use() -> bool:
    """Whether the workflow in the working directory has no complete environment yet."""
    environments = Path(os.environ.get("SNAKEMAKE_CONDA_PREFIX") or ".snakemake/conda")
    return not any(environments.glob("*.env_setup_done"))


def info() -> dict[str, str]:
    system = platform.system().lower().replace("darwin", "osx")
    machine = platform.machine().replace("x86_64", "64")
    # Snakemake puts the prefix into a shell command as it is.
    return {"conda_prefix": shlex.quote(str(HOME)), "platform": f"{system}-{machine}"}


def find_uv() -> str:
    for command in (os.environ.get("UV"), shutil.which("uv")):
        if command and os.access(command, os.X_OK):
            return command
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        fail("neither conda nor uv is on PATH: install one, for example with `pip install uv`")


def read_specification(path: Path) -> Specification:
    """Read a conda specification; refuse, in one sentence, one that cannot be built without conda."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        fail(f"cannot read {path}: {' '.join(str(error).split())}")
    if not isinstance(content, dict) or not isinstance(content.get("dependencies"), list):
        fail(f"{path} has no list `dependencies`")
    if unknown := set(content) - {"name", "channels", "dependencies"}:
        fail(f"cannot provide `{', '.join(sorted(unknown))}` of {path}: install conda for it")
    python = None
    pip: list[str] = []
    for dependency in content["dependencies"]:
        if isinstance(dependency, dict) and set(dependency) == {"pip"}:
            pip += map(str, dependency["pip"] or [])
            continue
        package = str(dependency).rpartition("::")[2].strip()
        name = re.split(r"[^\w.-]", package, maxsplit=1)[0]
        version = package.removeprefix(name)
        if name == "python" and version:
            python = re.sub(r"^[\s=]*|\.\*$", "", version)
        elif name in SYSTEM_COMMANDS and not version:
            command, debian_package = SYSTEM_COMMANDS[name]
            if not shutil.which(command):
                fail(
                    f"{path} asks for {name}, for which the system's own command {command} must be on PATH: "
                    f"install it, for example with `apt-get install {debian_package}`, or install conda"
                )
        elif name != "pip" or version:
            fail(f"cannot provide the conda package {dependency!r} of {path}: install conda for it")
    if python is None:
        fail(f"{path} names no Python version: add `python=X.Y` to its dependencies")
    return Specification(python, tuple(pip))


def run_uv(arguments: list[str], specification: Path, stdin: str | None = None) -> None:
    done = subprocess.run([find_uv(), *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join(done.stderr.rstrip().splitlines()[-ERROR_LINES:])
        fail(f"uv could not build the environment of {specification}; the end of its error:\n{last}")


def create_environment(path: Path, prefix: Path) -> None:
    """Build the environment of specification `path` in the folder `prefix`, or leave nothing there."""
    specification = read_specification(path)
    if prefix.exists():
        fail(f"{prefix} exists already: delete it first")
    # A stopped build leaves no half environment; what a SIGKILL leaves, Snakemake's next start removes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: fail(f"the build of {path} was stopped"))
    python = str(prefix / "bin" / "python")
    try:
        run_uv(["venv", "--quiet", "--no-project", "--python", specification.python, str(prefix)], path)
        if specification.pip:
            options = ["--quiet", "--require-hashes", "--compile-bytecode", "--python", python]
            run_uv(["pip", "sync", *options, "-"], path, stdin="\n".join(specification.pip))
    except BaseException:
        shutil.rmtree(prefix, ignore_errors=True)
        raise


def answer(arguments: list[str]) -> None:
    match arguments:
        case ["--help" | "-h"] | []:
            print(__doc__)
        case ["--version"]:
            print(f"conda {MINIMAL_CONDA} (a stand-in that builds with uv)")
        case ["info", "--json"]:
            # The one call of which Snakemake lets the standard error through.
            if is_first_use():
                print(introduction(), file=sys.stderr)
            print(json.dumps(info()))
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *options]:
            parser = argparse.ArgumentParser(prog="conda env create")
            parser.add_argument("--file", type=Path, required=True, help="the conda specification")
            parser.add_argument("--prefix", type=Path, required=True, help="the folder to build in")
            parser.add_argument("--quiet", action="store_true", help="ignored: it always is")
            parser.add_argument("--no-default-packages", action="store_true", help="ignored: there are none")
            given = parser.parse_args(options)
            create_environment(given.file, given.prefix)
        case ["clean", *_]:
            pass  # uv's cache serves other projects too: `uv cache prune` is the user's to call.
        case _:
            fail(f"cannot do `conda {shlex.join(arguments)}`: install conda for it")


def main() -> None:
    if command := real_conda():
        os.execv(command, [str(command), *sys.argv[1:]])
    answer(sys.argv[1:])
