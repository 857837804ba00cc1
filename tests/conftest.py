"""The small real workflow, run once for all tests that look at it."""

from __future__ import annotations

import os
import shutil

import pytest
from checkout import Checkout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which nothing has been run."""
    return Checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which the smoke configuration has been run for real."""
    if shutil.which("c++") is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs a C++ compiler: apt-get install g++")
    copy = Checkout(tmp_path_factory.mktemp("finished"))
    copy.snakemake("--configfile", "config/smoke.yaml")
    return copy
