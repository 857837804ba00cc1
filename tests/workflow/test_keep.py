"""`keep`: what stays of a run, and that changing it later runs nothing again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from toy_workflow import ToyWorkflow

pytestmark = pytest.mark.slow

SYSTEMS = {"one": ["outer", 1, 1], "two": ["outer", 1, 2], "in_no_pair": ["outer", 1, 3]}
PAIRS = {"artifact_pairs": [{"name": "one and two", "left": "one", "right": "two"}]}
MEASURING = {"index_collection", "slice_dataset", "make_checkpoint", "resolve_cell"}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyWorkflow:
    return ToyWorkflow(tmp_path_factory.mktemp("kept"))


def configure(toy: ToyWorkflow, keep: str, campaign: str | None) -> None:
    toy.configure(SYSTEMS, keep=keep, campaign=campaign, index_memory=PAIRS)


def left(toy: ToyWorkflow, results: str) -> dict[str, set[str]]:
    """System → what its run directory has beside the record."""
    runs = (toy.path / results / "index_runs").glob("*/10/none/1")
    return {
        run.parts[-4].rpartition("-")[0]: {"index", "artifacts"} & {path.name for path in run.iterdir()}
        for run in runs
    }


@pytest.mark.parametrize(
    ("keep", "of_a_pair", "of_none"),
    [
        ("indexes", {"index", "artifacts"}, {"index"}),
        ("dumps", {"artifacts"}, {"artifacts"}),
        ("none", set(), set()),
    ],
)
def test_what_is_kept_and_what_changing_it_starts(
    toy: ToyWorkflow, keep: str, of_a_pair: set[str], of_none: set[str]
) -> None:
    campaign = f"keeps_{keep}"
    results = f"results/campaigns/{campaign}"
    configure(toy, keep, campaign)
    target = "all" if keep == "dumps" else "tables"  # figures and the report need nothing else of a run
    toy.run(target)
    expected = {"one": of_a_pair, "two": of_a_pair, "in_no_pair": of_none}
    assert left(toy, results) == expected
    if "artifacts" in of_none:
        assert len(list((toy.path / results).glob("index_runs/*/10/none/1/artifacts/manifest.json"))) == 3
    for table in ("runs", "memory_curve", "artifact_comparison"):
        assert (toy.path / results / f"tables/{table}.parquet").exists()
    assert "Nothing to be done" in toy.run(target)
    assert left(toy, results) == expected

    for other in {"indexes", "dumps", "none"} - {keep}:
        configure(toy, other, campaign)
        assert not MEASURING & toy.planned().keys(), f"{keep} → {other}"
    if keep != "indexes":  # what is gone cannot be dumped anew without measuring anew
        configure(toy, keep, campaign)
        for edited in ("dump_artifacts.py", "indexscope/artifacts/dump.py", "compare_artifacts.py"):
            assert not MEASURING & planned_after_edit(toy, f"workflow/scripts/{edited}").keys(), edited


def planned_after_edit(toy: ToyWorkflow, name: str) -> dict[str, int]:
    path = Path(toy.path, name)
    before, status = path.read_text(), path.stat()
    path.write_text(before + "\n# A comment.\n")
    try:
        return toy.planned()
    finally:
        path.write_text(before)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
