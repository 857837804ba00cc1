"""The locked environments: what is in envs/, how it is generated, and how the driver reads it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from indexscope import environments
from indexscope.environments import LockError, Pin
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
REQUESTS = sorted((ROOT / "envs").glob("*.in"))
CONDA_PACKAGE = re.compile(r"[a-z0-9][a-z0-9._-]*(=\d+(\.\d+)*)?")
A, B, C = ("sha256:" + letter * 64 for letter in "abc")

every_environment = pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)


def write_lock(path: Path, *pins: Pin, conda: tuple[str, ...] = ()) -> Path:
    request = environments.Request(requirements=["tiny"], conda=list(conda))
    path.write_text(environments.lock_text(path.stem, request, pins))
    return path


def test_the_environments_of_the_default_configuration_are_there() -> None:
    assert {"analysis", "colbert", "ragatouille"} <= {path.stem for path in REQUESTS}


@every_environment
def test_a_lock_is_what_its_request_and_its_pins_generate(path: Path) -> None:
    """Finds, without a network, a lock that was edited by hand or not generated again."""
    lock = path.with_suffix(".yaml")
    pins = environments.read_lock(lock)
    assert environments.lock_text(path.stem, environments.read_request(path), pins) == lock.read_text()


@every_environment
def test_a_lock_pins_what_is_asked_for(path: Path) -> None:
    pins = environments.pins(path.with_suffix(".yaml"))
    for line in environments.read_request(path).requirements:
        requirement = Requirement(line)
        version = pins[environments.canonical(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), line


@every_environment
def test_a_lock_is_a_conda_specification_whose_pins_all_have_hashes(path: Path) -> None:
    lines = [line for line in path.with_suffix(".yaml").read_text().splitlines() if not line.startswith("#")]
    assert lines[:5] == ["channels:", "  - conda-forge", "dependencies:", "  - python=3.11", "  - pip"]
    conda = lines[5 : lines.index("  - pip:")]
    assert all(CONDA_PACKAGE.fullmatch(line.removeprefix("  - ")) for line in conda)
    pins = environments.read_lock(path.with_suffix(".yaml"))
    assert all(pin.hashes for pin in pins)
    names = [pin.name for pin in pins]
    assert names == sorted(set(names))


@every_environment
def test_pins_are_shared_with_the_files_that_they_come_from(path: Path) -> None:
    pins = environments.pins(path.with_suffix(".yaml"))
    for source in environments.read_request(path).pins_from:
        theirs = environments.pins(source)
        shared = pins.keys() & theirs.keys()
        assert shared
        assert {name: pins[name] for name in shared} == {name: theirs[name] for name in shared}


def test_colbert_and_ragatouille_share_every_version() -> None:
    colbert, ragatouille = (
        environments.pins(ROOT / "envs" / f"{name}.yaml") for name in ("colbert", "ragatouille")
    )
    assert colbert.items() <= ragatouille.items()
    assert "ragatouille" not in colbert
    assert "faiss-cpu" not in ragatouille


def test_a_request_is_read_without_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "x.in"
    path.write_text(
        "# why\n#: conda: git, cxx-compiler\n#: override: a ; b\n#: pins-from: y.yaml\nz<2 # why\n\na==1\n"
    )
    request = environments.read_request(path)
    assert request == environments.Request(
        ["a==1", "z<2"], ["git", "cxx-compiler"], ["a ; b"], [tmp_path / "y.yaml"]
    )
    before = environments.lock_text("x", request, [])
    path.write_text(
        "#: override: a ; b\na==1\n#: conda: git, cxx-compiler\n#: pins-from: y.yaml\nz<2\n# other\n"
    )
    assert environments.lock_text("x", environments.read_request(path), []) == before


def test_the_header_names_what_was_asked_for() -> None:
    text = environments.lock_text(
        "x", environments.Request(["a<2"], override=["b ; c"]), [Pin("a", "1", (A, B))]
    )
    assert text.splitlines()[:5] == [
        "# Generated from x.in by: python workflow/scripts/lock_environments.py x",
        "# To build it by hand: PIP_NO_DEPS=1 conda env create --name x --file x.yaml",
        "# For Linux on x86_64 (glibc 2.28 or later) and Python 3.11. Asked for:",
        "#   a<2",
        "#   override: b ; c",
    ]
    assert text.endswith(f'  - pip:\n      - "a==1 --hash={A} --hash={B}"\n')


def test_the_digest_is_that_of_the_dependencies(tmp_path: Path) -> None:
    one, two = Pin("one", "1.0", (A,)), Pin("two", "2.0", (B,))
    lock = write_lock(tmp_path / "x.yaml", one, two, conda=("git",))
    digest = environments.lock_digest(lock)
    assert re.fullmatch("[0-9a-f]{8}", digest)
    text = lock.read_text()
    lock.write_text("# a comment\n" + text)
    assert environments.lock_digest(lock) == digest
    assert environments.lock_digest(write_lock(lock, two, one, conda=("git",))) == digest
    others = [
        write_lock(tmp_path / "version.yaml", one, Pin("two", "2.1", (B,)), conda=("git",)),
        write_lock(tmp_path / "hash.yaml", one, Pin("two", "2.0", (C,)), conda=("git",)),
        write_lock(tmp_path / "conda.yaml", one, two),
    ]
    assert len({digest, *map(environments.lock_digest, others)}) == 4


def test_pins_are_known_by_their_normalised_names(tmp_path: Path) -> None:
    lock = write_lock(tmp_path / "x.yaml", Pin("Some_Name", "1.0.post1", (A,)), Pin("b", "2!1+cu12", ()))
    assert environments.pins(lock) == {"some-name": "1.0.post1", "b": "2!1+cu12"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dependencies:\n  - pip:\n      - tiny>=1\n", "x.yaml: pip: 'tiny>=1' is not pinned"),
        ("dependencies: {}\n", "x.yaml: has no list `dependencies`"),
        ("a: [\n", "x.yaml: is no YAML"),
        (None, "x.yaml: cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_is_no_lock_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(LockError, match=re.escape(message)):
        environments.pins(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [("#: overide: a\nb\n", "x.in:1: 'overide' is none of"), ("# a\n", "x.in: asks for no package")],
)
def test_a_request_that_is_not_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.in").write_text(text)
    with pytest.raises(LockError, match=re.escape(message)):
        environments.read_request(tmp_path / "x.in")


def fake_uv(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    uv = folder / "uv"
    uv.write_text(f"#!{sys.executable}\nimport pathlib, sys\n{body}\n")
    uv.chmod(0o755)
    monkeypatch.setenv("UV", str(uv))


def test_present_pins_are_preferred_and_keep_their_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake uv keeps `same`, although it knows another wheel of it now, and moves `new` to version 2."""
    package = '[[packages]]\nname = "{}"\nversion = "{}"\nwheels = [{{ hashes = {{ sha256 = "{}" }} }}]\n'
    answer = package.format("new", "2", "c" * 64) + package.format("same", "1", "c" * 64)
    fake_uv(
        monkeypatch,
        tmp_path,
        "output = pathlib.Path('pylock.environment.toml')\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "preferred = output.read_text() if output.exists() else ''\n"
        "log.write_text(preferred + pathlib.Path('constraints.txt').read_text())\n"
        f"output.write_text({answer!r})",
    )
    write_lock(tmp_path / "base.yaml", Pin("shared", "3", (A,)))
    request = tmp_path / "x.in"
    request.write_text("#: pins-from: base.yaml\nnew\nsame\n")
    write_lock(tmp_path / "x.yaml", Pin("new", "1", (A,)), Pin("same", "1", (B,)))

    text = environments.generate(request)
    assert f'- "same==1 --hash={B}"' in text
    assert f'- "new==2 --hash={C}"' in text
    asked = (tmp_path / "log").read_text()
    assert 'name = "same"\nversion = "1"' in asked
    assert asked.endswith("shared==3\n")

    assert f'- "same==1 --hash={C}"' in environments.generate(request, upgrade=True)
    assert (tmp_path / "log").read_text() == "shared==3\n"


def run_program(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = ROOT / "workflow" / "scripts" / "lock_environments.py"
    return subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, check=False)


def test_what_uv_cannot_resolve_is_one_error_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(monkeypatch, tmp_path, "sys.exit('error: no version of tiny')")
    (tmp_path / "x.in").write_text("tiny\n")
    before = write_lock(tmp_path / "x.yaml", Pin("tiny", "1", (A,))).read_text()
    done = run_program("--folder", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"{tmp_path}/x.in: uv finds no versions that fit; its reason:\nerror: no version"
    )
    assert (tmp_path / "x.yaml").read_text() == before


def test_check_prints_the_difference_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(monkeypatch, tmp_path, "pathlib.Path('pylock.environment.toml').write_text('packages = []')")
    (tmp_path / "x.in").write_text("tiny\n")
    before = write_lock(tmp_path / "x.yaml", Pin("tiny", "1", (A,))).read_text()
    done = run_program("--check", "--folder", tmp_path, "x")
    assert done.returncode == 1
    assert f'-      - "tiny==1 --hash={A}"' in done.stdout
    assert "Locks are not what their .in files generate" in done.stderr
    assert (tmp_path / "x.yaml").read_text() == before


def test_a_request_is_locked_after_those_whose_pins_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(monkeypatch, tmp_path, "pathlib.Path('pylock.environment.toml').write_text('packages = []')")
    (tmp_path / "a.in").write_text("#: pins-from: b.yaml\ntiny\n")
    (tmp_path / "b.in").write_text("#: pins-from: c.yaml\ntiny\n")
    (tmp_path / "c.in").write_text("tiny\n")
    done = run_program("--folder", tmp_path)
    assert [line.rpartition("/")[2] for line in done.stdout.splitlines()] == [
        f"{name}.yaml: written" for name in "cba"
    ]


@pytest.mark.slow
def test_every_lock_is_what_its_request_generates() -> None:
    """With the real uv and PyPI; a newer release there makes no difference."""
    done = run_program("--check")
    assert done.returncode == 0, done.stdout + done.stderr
