"""The run matrix of torch_versions, its settings, and the environments of its versions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from indexscope import config, environments, version_runs

CHECKOUT = Path(__file__).parents[2]
SCRIPTS = CHECKOUT / "workflow" / "scripts"
DIGESTS = {"2.0.1": "0" * 8, "2.1.0": "1" * 8, "2.2.0": "2" * 8}


def matrix(device: str = "cpu", **settings: object) -> version_runs.Matrix:
    return version_runs.Matrix(config.load({"torch_versions": settings}), DIGESTS, device)


def test_the_default_matrix() -> None:
    found = matrix()
    systems = [run.rpartition("-")[0] for run in found.runs()]
    assert systems == [
        *["torch_2_0_1"] * 2,
        *["torch_2_1_0"] * 2,
        "torch_2_1_0_given_local_sample_embs_of_2_0_1",
        "torch_2_1_0_given_local_sample_embs_embs_of_2_0_1",
        "torch_2_1_0_given_postnorm_centroids_of_2_0_1",
    ]
    assert len(set(found.runs())) == 7
    assert [comparison.pair for comparison in found.comparisons()] == [
        "2.0.1: repeated",
        "2.1.0: repeated",
        "2.0.1 | 2.1.0",
        "2.0.1 | 2.1.0, given local_sample_embs",
        "2.0.1 | 2.1.0, given local_sample_embs + embs",
        "2.0.1 | 2.1.0, given postnorm_centroids",
    ]
    runs = set(found.runs())
    for comparison in found.comparisons():
        assert {comparison.left, comparison.right} <= runs


def test_folders_are_named_as_the_rules_expect() -> None:
    rules = (CHECKOUT / "rules" / "torch_common.smk").read_text()
    pattern = re.search(r'TORCH_SYSTEM = "(.*)"', rules)
    assert pattern
    for name in matrix().cells:
        assert re.fullmatch(pattern[1], name)


def test_an_injection_is_another_run_when_its_donor_is() -> None:
    def names(**settings: object) -> list[str]:
        return list(matrix(**settings).cells)

    before = names()
    assert names() == before
    changed = names(settings={"nbits": 2})
    assert not set(before) & set(changed)
    # Only the donor's lock: the plain run of the other version stays, its injections do not.
    locks = {**DIGESTS, "2.0.1": "9" * 8}
    found = list(version_runs.Matrix(config.load({}), locks, "cpu").cells)
    assert [a == b for a, b in zip(before, found, strict=True)] == [False, True, False, False, False]


def test_configured_pairs_and_a_single_version() -> None:
    chain = matrix(versions=["2.0.1", "2.1.0", "2.2.0"], pairs=[{"left": "2.2.0", "right": "2.0.1"}])
    kinds = [(pair.kind, pair.left_version, pair.right_version) for pair in chain.comparisons()]
    assert ("versions", "2.2.0", "2.0.1") in kinds
    assert ("versions", "2.0.1", "2.1.0") not in kinds
    alone = matrix(versions=["2.0.1"])
    assert [pair.kind for pair in alone.comparisons()] == ["repeat"]
    assert not list(matrix(versions=["2.0.1"], repeats=1).comparisons())


def test_without_a_corpus_of_its_own_it_has_that_of_index_memory() -> None:
    mine = {"corpora": {"mine": {"source": "synthetic", "seed": 8}}, "index_memory": {"corpus": "mine"}}
    assert config.load(mine).corpus_of_versions == "mine"
    own = {"torch_versions": {"corpus": "synthetic"}}
    with pytest.raises(
        config.ConfigurationError, match=r"torch_versions\.corpus: 'synthetic' is not defined"
    ):
        config.load({**mine, **own})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"versions": ["2.0.1", "2.0.1"]}, "versions[1]: '2.0.1' is there twice"),
        ({"versions": ["2.0"]}, "torch_versions.versions[0]: '2.0' is not valid"),
        ({"pairs": [{"left": "2.0.1", "right": "2.2.0"}]}, "pairs[0].right: '2.2.0' is not in versions"),
        ({"pairs": [{"left": "2.0.1", "right": "2.0.1"}]}, "the repeats compare a version with itself"),
        ({"injections": [["embs"], ["embs"]]}, "injections[1]: ['embs'] repeats"),
        ({"injections": [["codebook"]]}, "torch_versions.injections[0][0]: 'codebook' is not valid"),
        ({"artifacts": ["sample"]}, "'local_sample_embs' is not in artifacts, so it is not dumped"),
        ({"corpus": "genomics"}, "torch_versions.corpus: 'genomics' is not defined"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(config.ConfigurationError) as raised:
        config.load({"torch_versions": settings})
    assert sentence in str(raised.value)


def test_environments_of_versions_differ_in_torch_alone() -> None:
    """Else a difference between two versions could be another package's."""
    locks = {path.stem: environments.pins(path) for path in (CHECKOUT / "envs").glob("torch-*.yaml")}
    assert len(locks) >= 19
    # What a torch wheel asks for itself: CUDA's libraries, triton, and what these were built with.
    of_torch = re.compile(r"torch|triton|nvidia-.*|cmake|lit|wheel|sympy|mpmath|networkx|jinja2|markupsafe")
    others = {
        name: {package: pin for package, pin in lock.items() if not of_torch.fullmatch(package)}
        for name, lock in locks.items()
    }
    reference = others["torch-2.0.1"]
    assert {"colbert-ai", "transformers", "tokenizers", "numpy", "faiss-cpu", "scipy"} <= set(reference)
    for name, lock in others.items():
        assert lock == reference, name
        assert locks[name]["torch"] == name.removeprefix("torch-")


def fake_conda(folder: Path, text: str) -> dict[str, str]:
    """A `conda` that does what a shell text says; its prefix is $5, as make_environment.py calls it."""
    folder.mkdir(exist_ok=True)
    program = folder / "conda"
    program.write_text(f'#!/bin/sh\nprefix="$7"\n{text}\n')
    program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "CONDA_EXE"}
    return {**environment, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def make(tmp_path: Path, environment: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], Path]:
    specification = tmp_path / "torch-9.9.9.yaml"
    specification.write_text("dependencies: [python=3.11]\n")
    output = tmp_path / "built" / "environment.json"
    command = [
        sys.executable,
        str(SCRIPTS / "make_environment.py"),
        str(specification),
        "--output",
        str(output),
    ]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False), output


BUILDS = f'mkdir -p "$prefix/bin" && ln -s {sys.executable} "$prefix/bin/python"'


def test_an_environment_is_built_beside_its_manifest(tmp_path: Path) -> None:
    done, output = make(tmp_path, fake_conda(tmp_path / "bin", BUILDS))
    assert done.returncode == 0, done.stderr
    assert json.loads(output.read_text())["outcome"] == "built"
    assert (output.parent / "prefix" / "bin" / "python").exists()


def test_a_build_that_fails_is_a_result(tmp_path: Path) -> None:
    text = 'mkdir -p "$prefix/half"; echo solving; echo "error: nothing fits" >&2; echo "  cause: no wheel" >&2; exit 1'
    done, output = make(tmp_path, fake_conda(tmp_path / "bin", text))
    assert done.returncode == 0
    manifest = json.loads(output.read_text())
    assert manifest["outcome"] == "failed"
    assert manifest["detail"].startswith(
        "torch-9.9.9.yaml could not be built: error: nothing fits cause: no wheel ("
    )
    assert "to try again, delete" in manifest["detail"]
    assert not (output.parent / "prefix").exists()


def test_a_build_that_is_stopped_is_none(tmp_path: Path) -> None:
    done, output = make(tmp_path, fake_conda(tmp_path / "bin", "kill -TERM $$"))
    assert done.returncode != 0
    assert not output.exists()


SHOW = """import os, sys
print(os.environ.get("INDEXSCOPE_UNAVAILABLE"), os.environ["PATH"].split(os.pathsep)[0], *sys.argv[1:])
"""


def inside(environment: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "show.py"
    program.write_text(SHOW)
    command = [sys.executable, str(SCRIPTS / "run_in_environment.py"), str(environment), str(program)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def test_a_program_runs_in_the_environment(tmp_path: Path) -> None:
    _, output = make(tmp_path, fake_conda(tmp_path / "bin", BUILDS))
    done = inside(output, tmp_path, "--flag", "a b")
    assert done.stdout == f"None {output.parent / 'prefix' / 'bin'} --flag a b\n"


def test_without_an_environment_a_program_is_told_why(tmp_path: Path) -> None:
    _, output = make(tmp_path, fake_conda(tmp_path / "bin", 'echo "error: disk is full"; exit 3'))
    done = inside(output, tmp_path, "x")
    assert done.returncode == 0
    assert done.stdout.startswith("torch-9.9.9.yaml could not be built: error: disk is full")


def test_an_environment_that_is_gone_is_said(tmp_path: Path) -> None:
    _, output = make(tmp_path, fake_conda(tmp_path / "bin", BUILDS))
    (output.parent / "prefix" / "bin" / "python").unlink()
    done = inside(output, tmp_path)
    assert done.returncode != 0
    assert "the environment is gone; delete" in done.stderr
