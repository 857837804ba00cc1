"""The small real workflow, run once for all tests that look at it."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from checkout import ENVIRONMENTS, Checkout


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
def finished_faiss(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which faiss_tables has been run for real, small."""
    copy = Checkout(tmp_path_factory.mktemp("finished_faiss"))
    copy.snakemake("faiss_tables", "--configfile", "config/smoke.yaml")
    return copy


@pytest.fixture(scope="session")
def finished_access(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which document_access has been run for real, small."""
    copy = Checkout(tmp_path_factory.mktemp("finished_access"))
    copy.snakemake("document_access", "--configfile", "config/smoke.yaml")
    return copy


@pytest.fixture(scope="session")
def finished_remote(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which remote_indexing has been run for real, small."""
    _need_a_compiler()
    copy = Checkout(tmp_path_factory.mktemp("finished_remote"))
    copy.snakemake("remote_indexing", "--configfile", "config/smoke.yaml")
    return copy


@pytest.fixture(scope="session")
def compared_versions(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which torch_versions has been run for real: the default pair, and a version that cannot be had."""
    _need_a_compiler()
    return _compare_versions(tmp_path_factory).result()


@pytest.fixture(scope="session")
def torch_python(compared_versions: Checkout) -> Path:
    """Python of an environment of one PyTorch version."""
    (python,) = (compared_versions.path / "results/environments").glob("torch-2.1.0-*/prefix/bin/python")
    return python


@pytest.fixture(scope="session")
def faiss_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of the environment in which faiss_tables measures."""
    return environment_python(tmp_path_factory.mktemp("faiss"), "faiss")


@pytest.fixture(scope="session")
def training_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of the environment in which document_access trains."""
    return environment_python(tmp_path_factory.mktemp("training"), "training")


def environment_python(directory: Path, name: str) -> Path:
    """Python of the environment envs/NAME.yaml, which is built where it is not there yet."""
    copy = Checkout(directory)
    # Of the workflow's own targets each needs other environments too.
    (copy.path / "one.smk").write_text(
        f"rule one:\n    output:\n        'none',\n    conda:\n        'envs/{name}.yaml'\n"
        "    shell:\n        'false'\n"
    )
    copy.snakemake("--snakefile", "one.smk", "--conda-create-envs-only")
    lock = (copy.path / f"envs/{name}.yaml").read_bytes()
    (built,) = [path for path in ENVIRONMENTS.glob("*.yaml") if path.read_bytes() == lock]
    return built.with_suffix("") / "bin" / "python"


_comparisons: list[Future[Checkout]] = []


def _compare_versions(tmp_path_factory: pytest.TempPathFactory) -> Future[Checkout]:
    """Start it, once: it takes minutes, and tests that do not need it run beside it."""

    if not _comparisons:
        copy = Checkout(tmp_path_factory.mktemp("compared_versions"))
        lock = (copy.path / "envs/torch-2.1.0.yaml").read_text()
        (copy.path / "envs/torch-9.9.9.yaml").write_text(lock.replace("torch==2.1.0", "torch==9.9.9"))
        (copy.path / "my.yaml").write_text("torch_versions: {versions: [2.0.1, 2.1.0, 9.9.9]}\n")
        arguments = ["torch_versions", "--configfile", "my.yaml"]
        # Not beside another start of Snakemake, which would take what is being built for what was left behind.
        copy.snakemake(*arguments, "--conda-create-envs-only")

        def compare() -> Checkout:
            copy.snakemake(*arguments)
            return copy

        _comparisons.append(ThreadPoolExecutor(1).submit(compare))
    return _comparisons[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that need real runs come last, those of PyTorch versions at the very end."""

    def place(item: pytest.Item) -> int:
        names = set(getattr(item, "fixturenames", ()))
        return 2 * bool({"compared_versions", "torch_python"} & names) + ("finished" in names)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _start_early(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    needed = any("compared_versions" in getattr(item, "fixturenames", ()) for item in request.session.items)
    if needed and shutil.which("c++"):
        _compare_versions(tmp_path_factory)


def _need_a_compiler() -> None:
    if shutil.which("c++") is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs a C++ compiler: apt-get install g++")
