"""An archive of real results is made, and drawn again in another checkout."""

from __future__ import annotations

import getpass
import re
import socket
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from checkout import Checkout
from indexscope import archive
from indexscope.redaction import COMMON_NAMES

pytestmark = pytest.mark.slow

SMOKE = ("--configfile", "config/smoke.yaml")


@pytest.fixture(scope="module")
def made(finished: Checkout) -> Path:
    finished.snakemake("archive", *SMOKE)
    return finished.path / "results" / "archive.zip"


@pytest.fixture(scope="module")
def elsewhere(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    copy = Checkout(tmp_path_factory.mktemp("elsewhere"))
    (copy.path / "mine.zip").write_bytes(made.read_bytes())
    copy.snakemake("all", "--config", "archive=mine.zip")
    return copy


def drawn(elsewhere: Checkout) -> Path:
    (folder,) = (elsewhere.path / "results" / "archives").iterdir()
    return folder


def test_everything_is_in_it(finished: Checkout, made: Path) -> None:
    members = archive.read_manifest(made).members
    results = finished.path / "results"
    for pattern in ("tables/*.parquet", "figures/*.*"):
        paths = {path.relative_to(results).as_posix() for path in results.glob(pattern)}
        assert paths
        assert paths <= members.keys()
    runs = pq.read_table(results / "tables/runs.parquet")["run"].to_pylist()
    records = {name for name in members if name.endswith("/run.json")}
    assert records == {f"index_runs/{run}/run.json" for run in runs}  # and none of another configuration
    assert {"report.html", "configuration.yaml"} <= members.keys()
    assert sum(name.endswith("artifacts/manifest.json") for name in members) >= 6
    assert sum(name.startswith("cells/") for name in members) >= 3


def test_nothing_in_it_tells_where_it_was_made(finished: Checkout, made: Path, tmp_path: Path) -> None:
    names = {str(finished.path), str(Path.home()), socket.gethostname(), getpass.getuser()} - COMMON_NAMES
    planted = pq.read_table(finished.path / "results/tables/memory_profiler_lines.parquet")["source_file"]
    assert any(name.startswith("/") for name in planted.to_pylist())  # there was something to remove
    with zipfile.ZipFile(made) as zipped:
        zipped.extractall(tmp_path)
        for name in zipped.namelist():
            path = tmp_path / name
            if name.endswith(".parquet"):
                text = str(pq.read_table(path).to_pydict())
            elif not name.endswith(".html"):  # whose code is a library's; the program itself looks further
                text = path.read_text()
            for each in names:
                if len(each) > 3:
                    assert each not in text, name


def test_made_again_it_has_the_same_bytes(finished: Checkout, made: Path) -> None:
    before = made.read_bytes()
    finished.snakemake("archive", "--force", *SMOKE)
    assert made.read_bytes() == before


def test_another_commit_makes_nothing_again(
    finished: Checkout, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although every table says which commit made it."""
    assert made.exists()
    monkeypatch.setenv("INDEXSCOPE_COMMIT", "fedcba987654")
    assert finished.planned("archive", *SMOKE) == {}


def test_every_table_says_what_made_it(finished: Checkout) -> None:
    paths = sorted((finished.path / "results/tables").glob("*.parquet"))
    assert paths
    for path in paths:
        metadata = pq.read_schema(path).metadata
        assert re.fullmatch(rb"[0-9a-f]{8}", metadata[b"indexscope.analysis_lock"]), path.name


def test_redrawn_elsewhere_the_rows_are_the_same(finished: Checkout, elsewhere: Checkout) -> None:
    figures = sorted((finished.path / "results/figures").glob("*.csv"))
    assert figures
    for path in figures:
        assert (drawn(elsewhere) / "figures" / path.name).read_bytes() == path.read_bytes(), path.name
    assert "index_runs" not in {path.name for path in (elsewhere.path / "results").iterdir()}


def test_the_report_is_made_with_the_configuration_of_the_runs(elsewhere: Checkout) -> None:
    report = (drawn(elsewhere) / "report.html").read_text()
    assert "sizes:\n    - 120" in report or "- 120" in report
    assert "Nothing to be done" in elsewhere.snakemake("all", "--config", "archive=mine.zip").stdout


def test_a_damaged_archive_leaves_no_table(elsewhere: Checkout, made: Path) -> None:
    """The manifest is whole, so that only unpacking can notice."""
    content = bytearray(made.read_bytes())
    with zipfile.ZipFile(made) as zipped:
        content[zipped.getinfo("tables/runs.parquet").header_offset + 200] ^= 1
    (elsewhere.path / "damaged.zip").write_bytes(content)
    done = elsewhere.snakemake("figures", "--config", "archive=damaged.zip", check=False)
    assert done.returncode != 0
    (folder,) = (elsewhere.path / "results/archives").glob("damaged-*")
    assert "damaged.zip: " in (folder / "logs/unpack_archive.log").read_text()
    assert not list(folder.rglob("*.parquet*"))
    assert not (folder / "configuration.yaml").exists()


def test_trends_of_one_result_set_say_what_to_do(finished: Checkout) -> None:
    finished.snakemake("trends", *SMOKE)
    assert "A trend needs two campaigns" in (finished.path / "results/trends/trends.svg").read_text()
