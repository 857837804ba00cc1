"""The in-memory loader under the limit that the memory model sets: it ends where the model says, for real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import REPOSITORY
from indexscope import access_runs, config
from indexscope.analysis import document_access, document_published
from indexscope.document_access import memory_model

pytestmark = pytest.mark.slow

SCRIPTS = REPOSITORY / "workflow" / "scripts"
DOCUMENTS = 40_000
WORLD_SIZES, FITS = [1, 2], 1


class Trainings:
    """A made-up collection, a tokenizer, and the programs that train with them."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.python = folder, python
        self.collection = folder / "documents.jsonl"
        with self.collection.open("w", encoding="utf-8") as file:
            for number in range(DOCUMENTS):
                # Every second text has a character that makes all of its characters two bytes wide.
                text = ("’ " if number % 2 else "") + f"common {number % 997} words " * 70
                file.write(json.dumps({"document_id": f"document-{number}", "text": text}) + "\n")
        self.program(
            "make_checkpoint.py",
            *("--checkpoint", '{"source": "synthetic"}', "--output", folder / "tokenizer"),
            python=Path(sys.executable),
        )
        self.program(
            "order_samples.py",
            *(self.collection, "--samples", 400, "--seed", 7, "--output", folder / "samples.jsonl"),
        )
        (folder / "manifest.json").write_text("{}")  # the in-memory loader has no files of its own
        configuration = config.Configuration.model_validate(
            {
                "document_access": {
                    "steps": 6,
                    "warm_up_steps": 2,
                    "grids": [{"loaders": ["in_memory"], "world_sizes": WORLD_SIZES}],
                    "limited": {"documents": DOCUMENTS, "world_sizes": WORLD_SIZES, "fits": FITS},
                }
            }
        )
        self.contents = {
            training.content["world_size"]: training.content
            for training in access_runs.trainings(
                configuration, "cpu", "made-up", "made-up", "0a1b2c3d"
            ).values()
            if training.content["limit"]
        }

    def program(
        self, name: str, *arguments: Any, python: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python or self.python, SCRIPTS / name, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=check,
        )

    def inputs(self, world_size: int) -> list[Any]:
        return [
            *("--training", json.dumps(self.contents[world_size]), "--collection", self.collection),
            *("--sources", self.folder / "manifest.json", "--samples", self.folder / "samples.jsonl"),
            *("--tokenizer", self.folder / "tokenizer"),
        ]

    def train(self, world_size: int, *options: Any) -> Path:
        directory = self.folder / f"in_memory-{world_size}-{len(options)}" / "1"
        self.program("measure_training.py", *self.inputs(world_size), *options, "--output", directory)
        return directory / "run.json"


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, training_python: Path) -> Trainings:
    return Trainings(tmp_path_factory.mktemp("limited"), training_python)


def test_the_next_world_size_runs_out_of_memory_as_predicted(trainings: Trainings) -> None:
    limit = trainings.folder / "plan" / "limit.json"
    trainings.program("calibrate_training_memory.py", *trainings.inputs(2), "--output", limit)
    assert [path.name for path in limit.parent.iterdir()] == ["limit.json"]
    plan = json.loads(limit.read_text())
    one, two = plan["predictions"]["1"], plan["predictions"]["2"]
    assert plan["limit_mib"] == int((one + two) / 2)
    documents_mib = plan["calibration"]["documents_mib"]
    # By hand: 20,000 texts of 1,182 characters in one byte each and 20,000 in two; 3 MiB of identifiers and slots.
    assert documents_mib == pytest.approx(74, abs=3)

    rows = []
    for options in ((), ("--limit", limit)):
        for world_size in WORLD_SIZES:
            run = document_access.read_run(trainings.train(world_size, *options))
            rows.append(document_access.access_row(run))
    free, limited = rows[:2], rows[2:]
    assert [row["outcome"] for row in free] == ["completed", "completed"]
    # Without a limit both take what was predicted, documents included.
    assert [row["tree_peak_rss_mib"] for row in free] == pytest.approx([one, two], rel=0.1)
    # And the documents are there: without them the prediction would be off by more than it is.
    calibrated = [run for run in plan["calibration"]["runs"] if run["world_size"] == 1]
    without = min(run["tree_peak_rss_mib"] for run in calibrated)
    assert free[0]["tree_peak_rss_mib"] - without == pytest.approx(documents_mib, rel=0.25)

    assert [row["outcome"] for row in limited] == ["completed", "out_of_memory_host"]
    assert f"memory_limit_mib: {plan['limit_mib']}" in limited[1]["outcome_detail"]
    assert limited[1]["samples_per_second"] is None
    sizes = memory_model.collection_sizes(trainings.collection)
    published = document_published.Published.read(REPOSITORY / "config" / "published")
    verdicts = [
        row["verdict"]
        for row in document_published.published_rows(published, limited, sizes)
        if row["source"] == document_published.OURS
    ]
    assert verdicts == ["reproduced", "reproduced"]


def test_a_calibration_that_cannot_train_says_why_and_leaves_nothing(trainings: Trainings) -> None:
    limit = trainings.folder / "none" / "limit.json"
    arguments = trainings.inputs(2)
    arguments[arguments.index("--tokenizer") + 1] = trainings.folder  # no tokenizer there
    done = trainings.program("calibrate_training_memory.py", *arguments, "--output", limit, check=False)
    assert done.returncode == 1
    assert "calibrating: the training at world size 1 ended as failed" in done.stderr
    assert list(limit.parent.iterdir()) == []
    content = json.dumps({**trainings.contents[1], "limit": None})
    arguments[arguments.index("--training") + 1] = content
    done = trainings.program("calibrate_training_memory.py", *arguments, "--output", limit, check=False)
    assert "limit is missing" in done.stderr
