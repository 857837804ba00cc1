"""The stand-in for conda, tools/uv-conda: what it builds, what it refuses, that a real conda comes first."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from uv_conda import cli

CONDA = Path(sys.executable).with_name("conda")
SPECIFICATION = "dependencies:\n  - python=3.11\n  - pip\n{}  - pip:\n      - tiny==1.0\n"


def write_command(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def conda(
    folder: Path, *arguments: str, path: tuple[Path, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the installed stand-in in `folder`, with nothing on PATH but it and the folders of `path`."""
    environment = {"PATH": os.pathsep.join(map(str, (CONDA.parent, *path))), **variables}
    return subprocess.run(
        [CONDA, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def create(folder: Path, packages: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Ask for an environment as Snakemake 9.27.1 does; uv is the fake one in `folder`, where there is one."""
    (folder / "x.yaml").write_text(SPECIFICATION.format(packages))
    if (folder / "uv").exists():
        variables["UV"] = str(folder / "uv")
    call = ["env", "create", "--quiet", "--no-default-packages", "--file", "x.yaml", "--prefix", "prefix"]
    return conda(folder, *call, path=(folder / "bin",), **variables)


# A fake uv: `uv venv … PREFIX` makes the folder, `uv pip sync …` keeps what it was given.
FAKE_UV = """echo "$@" >> calls
[ "$1" = pip ] && /bin/cat > stdin && exit 0
for last; do :; done
/bin/mkdir "$last"
"""


def test_it_answers_what_snakemake_asks_before_it_builds(tmp_path: Path) -> None:
    assert conda(tmp_path, "--version").stdout.startswith("conda 24.7.1 ")
    priority = conda(tmp_path, "config", "--get", "channel_priority", "--json")
    assert json.loads(priority.stdout) == {"get": {"channel_priority": "strict"}}
    home = Path(json.loads(conda(tmp_path, "info", "--json").stdout)["conda_prefix"])
    assert (home / "bin" / "activate").is_file()
    assert home != Path(sys.prefix)
    assert conda(tmp_path, "clean", "-y", "--tarballs").returncode == 0


def test_it_says_what_it_is_until_there_is_an_environment(tmp_path: Path) -> None:
    said = conda(tmp_path, "info", "--json").stderr
    assert said == "conda: no conda on PATH, so a stand-in builds the same locked environments with uv.\n"
    (tmp_path / ".snakemake" / "conda").mkdir(parents=True)
    (tmp_path / ".snakemake" / "conda" / "0_.env_setup_done").touch()
    assert conda(tmp_path, "info", "--json").stderr == ""
    assert "It is a stand-in, not conda" in conda(tmp_path, "--help").stdout


def test_it_builds_exactly_the_pins(tmp_path: Path) -> None:
    write_command(tmp_path / "uv", FAKE_UV)
    done = create(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "calls").read_text().splitlines() == [
        "venv --quiet --no-project --python 3.11 prefix",
        "pip sync --quiet --require-hashes --compile-bytecode --python prefix/bin/python -",
    ]
    assert (tmp_path / "stdin").read_text() == "tiny==1.0"
    assert (tmp_path / "prefix").is_dir()


def test_a_real_conda_further_down_the_path_is_run_instead(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "conda").symlink_to(CONDA)
    other = tmp_path / "other" / "conda"
    other.parent.mkdir()
    shutil.copy(CONDA, other)
    write_command(tmp_path / "real" / "conda", 'echo "real: $@"; exit 7')
    path = (tmp_path / "missing", tmp_path / "links", other.parent, tmp_path / "real")
    done = conda(tmp_path, "env", "create", "--file", "a b.yaml", path=path)
    assert (done.stdout, done.stderr, done.returncode) == ("real: env create --file a b.yaml\n", "", 7)
    # Neither a link to the stand-in nor another project's stand-in is a real conda.
    assert conda(tmp_path, "--version", path=path[:-1]).stdout.startswith("conda 24.7.1 (a stand-in")


def test_mamba_alone_is_named_and_not_used(tmp_path: Path) -> None:
    write_command(tmp_path / "bin" / "micromamba", "exit 7")
    done = conda(tmp_path, "info", "--json", path=(tmp_path / "bin",))
    assert "micromamba is there, but Snakemake works through conda only" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("packages", "sentence"),
    [
        (
            "  - samtools=1.21\n",
            "cannot provide the conda package 'samtools=1.21' of x.yaml: install conda for it",
        ),
        ("  - conda-forge::r-base\n", "cannot provide the conda package 'conda-forge::r-base' of x.yaml"),
        ("  - git=2.40\n", "cannot provide the conda package 'git=2.40' of x.yaml"),
        (
            "  - git\n",
            "asks for git, for which the system's own command git must be on PATH: install it, for ",
        ),
        ("  - cxx-compiler\n", "for example with `apt-get install g++`, or install conda"),
    ],
)
def test_what_it_cannot_provide_is_refused_in_one_sentence(
    tmp_path: Path, packages: str, sentence: str
) -> None:
    write_command(tmp_path / "uv", FAKE_UV)
    done = create(tmp_path, packages)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "prefix").exists()


def test_commands_of_the_system_stand_for_conda_packages(tmp_path: Path) -> None:
    write_command(tmp_path / "uv", FAKE_UV)
    write_command(tmp_path / "bin" / "git", "")
    write_command(tmp_path / "bin" / "c++", "")
    assert create(tmp_path, "  - git\n  - conda-forge::cxx-compiler\n").returncode == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dependencies:\n  - pip\n", "x.yaml names no Python version: add `python=X.Y`"),
        ("dependencies: []\nvariables: {A: b}\n", "cannot provide `variables` of x.yaml"),
        ("a\n", "x.yaml has no list `dependencies`"),
        ("a: [\n", "cannot read x.yaml: "),
    ],
)
def test_a_specification_that_it_cannot_build_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    done = conda(tmp_path, "env", "create", "--file", "x.yaml", "--prefix", "prefix")
    assert sentence in done.stderr
    assert (done.stderr.count("\n"), done.returncode) == (1, 1)


@pytest.mark.parametrize(
    ("version", "python"),
    [("=3.11", "3.11"), ("==3.11.4", "3.11.4"), (" =3.11.*", "3.11"), (">=3.11,<3.12", ">=3.11,<3.12")],
)
def test_the_python_version_is_read_as_conda_writes_it(tmp_path: Path, version: str, python: str) -> None:
    (tmp_path / "x.yaml").write_text(f'dependencies: ["python{version}"]\n')
    assert cli.read_specification(tmp_path / "x.yaml") == cli.Specification(python, ())


def test_other_commands_are_refused(tmp_path: Path) -> None:
    for call in (
        "create --file x.pin.txt --prefix p --yes",
        "list --explicit --prefix p",
        "env export --name n",
    ):
        done = conda(tmp_path, *call.split())
        assert done.returncode == 1
        assert (
            done.stderr
            == f"conda (stand-in, builds with uv): cannot do `conda {call}`: install conda for it\n"
        )


def test_without_uv_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UV", str(tmp_path / "gone"))
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(SystemExit, match=r"neither conda nor uv is on PATH: install one, .*`pip install uv`"):
        cli.find_uv()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    lines = "; ".join(f"echo line {number} >&2" for number in range(30))
    write_command(tmp_path / "uv", f'if [ "$1" = pip ]; then {lines}; exit 2; fi; {FAKE_UV}')
    done = create(tmp_path)
    assert done.returncode == 1
    first, *rest = done.stderr.splitlines()
    assert first.endswith("uv could not build the environment of x.yaml; the end of its error:")
    assert rest == [f"line {number}" for number in range(10, 30)]
    assert not (tmp_path / "prefix").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_build_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    write_command(tmp_path / "uv", f'if [ "$1" = pip ]; then exec /bin/sleep 60; fi; {FAKE_UV}')
    (tmp_path / "x.yaml").write_text(SPECIFICATION.format(""))
    call = [CONDA, "env", "create", "--file", "x.yaml", "--prefix", "prefix"]
    environment = {"PATH": str(CONDA.parent), "UV": str(tmp_path / "uv")}
    build = subprocess.Popen(call, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "prefix").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    build.send_signal(number)
    _, error = build.communicate(timeout=30)
    assert build.returncode == 1
    assert error == "conda (stand-in, builds with uv): the build of x.yaml was stopped\n"
    assert not (tmp_path / "prefix").exists()


def test_a_prefix_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "prefix").mkdir()
    assert "prefix exists already" in create(tmp_path).stderr
    assert (tmp_path / "prefix").is_dir()


def activate(home: Path, prefix: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a job's command as Snakemake 9.27.1 does: activation, its own shell settings, the command."""
    command = f"source {home}/bin/activate '{prefix}'; set -euo pipefail; cd /; python"
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)


def test_activation_puts_the_environment_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are spaces in the paths of the stand-in and of the environment."""
    home = tmp_path / "stand in"
    shutil.copytree(cli.HOME, home)
    monkeypatch.setattr(cli, "HOME", home)
    write_command(tmp_path / "some where" / "prefix" / "bin" / "python", 'echo "$0 $VIRTUAL_ENV"')
    for prefix in ("some where/prefix", f"{tmp_path}/some where/prefix"):
        done = activate(Path(cli.info()["conda_prefix"]), prefix, tmp_path)
        absolute = tmp_path / "some where" / "prefix"
        assert (done.stdout, done.stderr) == (f"{absolute}/bin/python {absolute}\n", "")
    strict = f"set -euo pipefail; source '{home}/bin/activate' 'some where/prefix'; python"
    assert subprocess.run(["bash", "-c", strict], cwd=tmp_path, check=True, capture_output=True).stdout


def test_activation_of_a_missing_environment_ends_the_job(tmp_path: Path) -> None:
    done = activate(cli.HOME, "gone", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "conda: gone holds no environment: delete it, then Snakemake builds it again\n"
