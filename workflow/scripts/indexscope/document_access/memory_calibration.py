"""What a training's processes take without documents, measured; from it, and from the documents, the memory limit.

Small trainings at world sizes 1 and 2 read a collection of only the documents that they need, so that what is left is
the processes' own. The documents' part of a prediction is computed from the collection (memory_model.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from indexscope.document_access import loaders, measured_training, memory_model, raw_files
from indexscope.document_access.memory_model import MIB, Calibration
from indexscope.run_record import COMPLETED, FORMAT, InputError

REPEATS = 2  # of each world size; their mean counts
STEPS, WARM_UP_STEPS = 20, 5  # at most: by then memory has reached its height
_PEAK, _PSS = "tree_peak_rss_mib", "tree_pss_mib"

Record = Mapping[str, Any]


def plan(training: Mapping[str, Any], paths: measured_training.Paths, folder: Path) -> dict[str, Any]:
    """What limit.json says: `limit_mib`, `predictions` by world size (MiB), and the `calibration` behind them.

    Both are of the tree's peak RSS, which the limit is on: a page that processes share counts for each of them.
    `predictions_pss_mib` counts it once.

    Args:
        training: content of a training under a limit (access_runs.Training.content).
        folder: an empty folder for what is written meanwhile.

    Raises:
        InputError: the training has no limit, an input is wrong, or a small training did not complete.
    """
    limit = training.get("limit")
    if not limit:
        raise InputError("--training: limit is missing; give the content of a training under a memory limit")
    documents = memory_model.collection_sizes(paths.collection)
    few = folder / "documents.jsonl"
    small = {
        **training,
        "loader": loaders.IN_MEMORY,
        "limit": None,
        "steps": min(training["steps"], STEPS),
        "warm_up_steps": min(training["warm_up_steps"], WARM_UP_STEPS),
    }
    _write_needed(paths, few, 2 * small["batch_size"] * (small["steps"] + small["warm_up_steps"]))
    few_mib = memory_model.collection_sizes(few).in_memory_bytes / MIB
    runs = list(_train(small, dataclasses.replace(paths, collection=few), folder))
    documents_mib = documents.in_memory_bytes / MIB
    of_rss, of_pss = (_calibrated(runs, name, few_mib) for name in (_PEAK, _PSS))
    rss = {size: of_rss.predicted_mib(size, documents_mib) for size in limit["world_sizes"]}
    pss = {size: of_pss.predicted_mib(size, documents_mib) for size in limit["world_sizes"]}
    return {
        "format": FORMAT,
        "limit_mib": memory_model.limit_between(rss, limit["fits"]),
        "predictions": {str(size): round(mib, 3) for size, mib in rss.items()},
        "predictions_pss_mib": {str(size): round(mib, 3) for size, mib in pss.items()},
        "calibration": {
            **of_rss._asdict(),
            "documents": documents.documents,
            "documents_mib": round(documents_mib, 3),
            "documents_mib_while_calibrating": round(few_mib, 3),
            "runs": [
                {
                    "world_size": run["training"]["world_size"],
                    "outcome": run["outcome"],
                    _PEAK: run["memory"][_PEAK],
                    _PSS: run["memory"][_PSS],
                }
                for run in runs
            ],
        },
    }


def _train(small: Mapping[str, Any], paths: measured_training.Paths, folder: Path) -> Iterator[Record]:
    """Trainings at world sizes 1 and 2; without a second device only the first.

    Raises:
        InputError: one did not complete.
    """
    for world_size in (1, 2):
        for repeat in range(1, REPEATS + 1):
            content = {**small, "world_size": world_size, "repeat": repeat}
            directory = folder / f"{world_size}-{repeat}"
            run = measured_training.measure(content, paths, directory)
            print(f"world size {world_size}, repeat {repeat}: {run['outcome']}, {run['memory']}", flush=True)
            if run["outcome"] == COMPLETED:
                yield run
            elif world_size == 2 and run["outcome"] == "unsupported":
                return
            else:
                raise InputError(
                    f"calibrating: the training at world size {world_size} ended as {run['outcome']} "
                    f"({run['outcome_detail']}); correct that and run it again"
                )


def _calibrated(runs: list[Record], name: str, documents_mib: float) -> Calibration:
    readings = {
        size: [run["memory"][name] for run in runs if run["training"]["world_size"] == size]
        for size in (1, 2)
    }
    if readings[2]:
        return memory_model.calibrated(readings[1], readings[2], documents_mib)
    # One device only: the rank as it was in the middle; what else there was, was there once.
    kind = "rss_mib" if name == _PEAK else "pss_mib"
    (rank,) = [each for each in runs[0]["memory"]["processes"] if each["role"] == "rank"]
    own = rank[kind] - documents_mib
    return Calibration(readings[1][0] - rank[kind], own)


def _write_needed(paths: measured_training.Paths, few: Path, samples: int) -> None:
    """The documents that the first `samples` samples name, as JSON lines.

    Raises:
        InputError: a file cannot be read, or a line of the samples is no sample.
    """
    needed: set[str] = set()
    try:
        with paths.samples.open(encoding="utf-8") as lines:
            for number, line in enumerate(islice(lines, samples), start=1):
                try:
                    sample = json.loads(line)
                    needed |= {sample["positive_id"], sample["negative_id"]}
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{paths.samples}: line {number}: is no sample ({error}); run order_samples.py again"
                    ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{paths.samples} cannot be read ({error}); run order_samples.py again") from None
    with few.open("w", encoding="utf-8") as written:
        for document in raw_files.documents(paths.collection):
            if document.document_id in needed:
                record = {"document_id": document.document_id, "text": document.text}
                written.write(json.dumps(record, ensure_ascii=False) + "\n")
