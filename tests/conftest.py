"""The small real workflow, run once for all tests that look at it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from checkout import Checkout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which nothing has been run."""
    return Checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which the smoke configuration has been run for real."""
    _need_a_compiler()
    copy = Checkout(tmp_path_factory.mktemp("finished"))
    copy.snakemake("--configfile", "config/smoke.yaml")
    return copy


@pytest.fixture(scope="session")
def compared_versions(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which torch_versions has been run for real: the default pair, and a version that cannot be had."""
    _need_a_compiler()
    copy = Checkout(tmp_path_factory.mktemp("compared_versions"))
    lock = (copy.path / "envs/torch-2.1.0.yaml").read_text()
    (copy.path / "envs/torch-9.9.9.yaml").write_text(lock.replace("torch==2.1.0", "torch==9.9.9"))
    (copy.path / "my.yaml").write_text("torch_versions: {versions: [2.0.1, 2.1.0, 9.9.9]}\n")
    copy.snakemake("torch_versions", "--configfile", "my.yaml")
    return copy


@pytest.fixture(scope="session")
def torch_python(compared_versions: Checkout) -> Path:
    """Python of an environment of one PyTorch version."""
    (python,) = (compared_versions.path / "results/environments").glob("torch-2.1.0-*/prefix/bin/python")
    return python


def _need_a_compiler() -> None:
    if shutil.which("c++") is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs a C++ compiler: apt-get install g++")
