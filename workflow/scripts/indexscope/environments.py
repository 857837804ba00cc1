"""Locked environments: `NAME.in`, what is asked for, and `NAME.yaml`, the lock generated from it.

A lock is a conda specification with every pin and its hashes in the pip section: Snakemake copies the file
before conda reads it, so that it cannot refer to another one. It holds for Linux on x86_64 with glibc 2.28 or
later, and only the hashes of wheels for that are in it: what has no such wheel is never chosen, and nothing
is ever built from its source. (It also stays short: Snakemake keeps a copy beside each output.)

`NAME.in` has one requirement a line, and directives, which begin with `#:`

    #: conda: git, cxx-compiler     conda packages besides python and pip; their versions are conda's choice
    #: override: REQUIREMENT        stands in for whatever any package requires of that name
    #: pins-from: FILE              what FILE (another NAME.yaml, or a uv.lock) pins has the same version here
    #: like: FILE                   what FILE pins has the same version here wherever the requirements allow

Only uv knows an override. A real conda calls pip, which must not look for what packages require (the lock is
complete): the workflow sets PIP_NO_DEPS=1 for it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from indexscope.run_record import InputError

PYTHON = "3.11"
PLATFORM = "x86_64-manylinux_2_28"


class LockError(InputError):
    """One sentence that names the file, the line and the remedy."""


@dataclass
class Request:
    """What a `NAME.in` asks for; comments and the order of lines make no difference."""

    requirements: list[str] = field(default_factory=list)
    conda: list[str] = field(default_factory=list)
    override: list[str] = field(default_factory=list)
    pins_from: list[Path] = field(default_factory=list)
    like: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Pin:
    """One line of a lock's pip section: a version, and the hashes (`sha256:…`) of its wheels allowed."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={digest}" for digest in self.hashes)])

    @classmethod
    def parse(cls, line: str) -> Pin | None:
        match = re.fullmatch(r"([\w.-]+)==([\w.!+]+)((?: +--hash=sha256:[0-9a-f]{64})*)", line.strip())
        if match is None:
            return None
        return cls(canonical(match[1]), match[2], tuple(re.findall(r"sha256:\w+", match[3])))


def canonical(name: str) -> str:
    """A package's name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_request(path: Path) -> Request:
    """Read a `NAME.in`.

    Raises:
        LockError: the file is missing, asks for nothing, or has an unknown directive.
    """
    request = Request()
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if line.startswith("#:"):
            key, _, value = (part.strip() for part in line.removeprefix("#:").partition(":"))
            match key:
                case "conda":
                    request.conda += re.split(r"[\s,]+", value)
                case "override":
                    request.override.append(value)
                case "pins-from":
                    request.pins_from.append(path.parent / value)
                case "like":
                    request.like.append(path.parent / value)
                case _:
                    raise LockError(f"{path}:{number}: {key!r} is none of conda, override, pins-from, like")
        elif requirement := re.sub(r"(^|\s)#.*", "", line).strip():
            request.requirements.append(requirement)
    if not request.requirements:
        raise LockError(f"{path}: asks for no package: write one requirement a line")
    request.requirements.sort()
    return request


def lock_text(name: str, request: Request, pins: Sequence[Pin]) -> str:
    """The text of `NAME.yaml`.

    Its header says what `NAME.in` asks for, and nothing of the comments there: where even a comment of a
    specification changes, Snakemake builds the environment again and reruns every rule that uses it.
    """
    asked = [*request.requirements, *(f"override: {line}" for line in request.override)]
    return "\n".join(
        [
            f"# Generated from {name}.in by: python workflow/scripts/lock_environments.py {name}",
            f"# To build it by hand: PIP_NO_DEPS=1 conda env create --name {name} --file {name}.yaml",
            f"# For Linux on x86_64 (glibc 2.28 or later) and Python {PYTHON}. Asked for:",
            *(f"#   {line}" for line in asked),
            "channels:",
            "  - conda-forge",
            "dependencies:",
            *(f"  - {package}" for package in (f"python={PYTHON}", "pip", *request.conda)),
            "  - pip:",
            *(f'      - "{pin}"' for pin in pins),
            "",
        ]
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LockError(f"{path}: cannot be read ({error.strerror})") from None


def _dependencies(path: Path) -> tuple[list[str], list[str]]:
    """The conda packages and the lines of the pip section of a conda specification."""
    try:
        content: Any = yaml.safe_load(_read_text(path))
    except yaml.YAMLError as error:
        raise LockError(f"{path}: is no YAML ({' '.join(str(error).split())})") from None
    dependencies = content.get("dependencies") if isinstance(content, dict) else None
    if not isinstance(dependencies, list):
        raise LockError(f"{path}: has no list `dependencies`: it must be a conda specification")
    conda = [line for line in dependencies if isinstance(line, str)]
    pip = [line for part in dependencies if isinstance(part, dict) for line in part.get("pip") or []]
    return conda, pip


def lock_digest(path: Path) -> str:
    """Eight hexadecimal digits that change when, and only when, a dependency line of a lock does.

    Neither comments nor the order of lines matter.

    Raises:
        LockError: the file is no conda specification.
    """
    conda, pip = _dependencies(path)
    lines = [*(f"conda {line}" for line in sorted(conda)), *(f"pip {line}" for line in sorted(pip))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def built(lock: Path, folder: Path) -> Path | None:
    """The prefix of the environment that Snakemake has built of a lock, as the lock is now; None where it has not.

    Args:
        lock: an envs/NAME.yaml.
        folder: of Snakemake's environments (.snakemake/conda, or --conda-prefix), each with a copy of its lock beside.

    Raises:
        LockError: the lock cannot be read.
    """
    specification = _read_text(lock)
    for copy in sorted(folder.glob("*.yaml")):
        done = copy.with_suffix(".env_setup_done")
        if done.exists() and copy.read_text(encoding="utf-8") == specification:
            return copy.with_suffix("")
    return None


def read_lock(path: Path) -> list[Pin]:
    """The pins of a lock's pip section, in the order of the file.

    Raises:
        LockError: the file is no conda specification, or a line of its pip section is no pin.
    """
    read = []
    for line in _dependencies(path)[1]:
        pin = Pin.parse(str(line))
        if pin is None:
            raise LockError(f"{path}: pip: {line!r} is not pinned: write NAME==VERSION, or generate the file")
        read.append(pin)
    return read


def pins(path: Path) -> dict[str, str]:
    """The version of each package in the pip section of a lock, or in a uv.lock, by its normalised name.

    Raises:
        LockError: the file is neither, or a package is not pinned.
    """
    if path.suffix == ".lock":
        packages = tomllib.loads(_read_text(path))["package"]
        return {package["name"]: package["version"] for package in packages if "version" in package}
    return {pin.name: pin.version for pin in read_lock(path)}


def generate(path: Path, upgrade: bool = False) -> str:
    """The text of the lock that `NAME.in` at `path` generates; needs uv, and PyPI for what uv has not cached.

    The pins and hashes of the present `NAME.yaml` stay as they are wherever `NAME.in` allows, so that a new
    release of a package changes nothing; with `upgrade`, each is taken at its newest possible version.

    Raises:
        LockError: `NAME.in` is not valid, uv is missing, or uv finds no set of versions.
    """
    request = read_request(path)
    lock = path.with_suffix(".yaml")
    present = read_lock(lock) if lock.exists() and not upgrade else []
    same = {name: version for source in request.pins_from for name, version in pins(source).items()}
    known = {(pin.name, pin.version): pin for pin in present}
    own = {pin.name for pin in present}
    alike = [pin for source in request.like for pin in read_lock(source) if pin.name not in own]
    found = _resolve(path, request, same, [*present, *alike])
    resolved = [known.get((pin.name, pin.version), pin) for pin in found]
    return lock_text(path.stem, request, resolved)


def _resolve(path: Path, request: Request, same: Mapping[str, str], preferred: Sequence[Pin]) -> list[Pin]:
    """Let uv choose the versions: `same` are demanded, `preferred` are taken where possible."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise LockError(f"{path}: uv resolves it and is not on PATH: install it with `pip install uv`")
    with tempfile.TemporaryDirectory() as folder:
        # uv takes the versions in the file that it is about to write as its preferences.
        output = Path(folder, "pylock.environment.toml")
        if preferred:
            output.write_text(_pylock(preferred))
        files = {
            "requirements.txt": request.requirements,
            "override.txt": request.override,
            "constraints.txt": [f"{name}=={version}" for name, version in same.items()],
        }
        for name, lines in files.items():
            Path(folder, name).write_text("\n".join(lines) + "\n")
        command = [uv, "pip", "compile", "--quiet", "--no-header", "--only-binary", ":all:"]
        # Without it, uv takes a development release where no final one fits the versions that it chose first.
        command += ["--prerelease", "explicit"]
        command += ["--python-version", PYTHON, "--python-platform", PLATFORM]
        command += ["--override", "override.txt", "--constraint", "constraints.txt"]
        command += ["--output-file", output.name, "requirements.txt"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LockError(f"{path}: uv finds no versions that fit; its reason:\n{done.stderr.rstrip()}")
        packages = tomllib.loads(output.read_text())["packages"]
    return [_pin(package) for package in packages]


def _pylock(preferred: Sequence[Pin]) -> str:
    """The least of a pylock.toml (PEP 751) that tells uv which versions to prefer."""
    tables = [f'[[packages]]\nname = "{pin.name}"\nversion = "{pin.version}"\n' for pin in preferred]
    return "\n".join(['lock-version = "1.0"\ncreated-by = "indexscope"\n', *tables])


def _pin(package: Mapping[str, Any]) -> Pin:
    """One package of a pylock.toml; uv lists the wheels that fit the platform."""
    hashes = sorted(f"sha256:{wheel['hashes']['sha256']}" for wheel in package["wheels"])
    return Pin(package["name"], package["version"], tuple(hashes))
