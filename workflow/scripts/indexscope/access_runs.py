"""The run matrix of document_access: which trainings there are, and what determines each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from indexscope import config
from indexscope.settings.document_access import DocumentAccess, TrainingGrid

GRID, LIMITED = "grid", "limited"


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        path_name: `LOADER-PARALLELISM-WORLDSIZE-DIGEST/REPEAT`, its folder below document_access/runs.
        content: all that determines it, as measure_training.py takes it (JSON).
    """

    path_name: str
    content: dict[str, Any]


def trainings(
    configuration: config.Configuration, device: str, corpus: str, tokenizer: str, lock_digest: str
) -> dict[str, Training]:
    """Each training once, by its path name, in the order of the grids; then those under a memory limit.

    Args:
        device: cpu or cuda.
        corpus, tokenizer: names on disk of the corpus and of the checkpoint.
    """
    access = configuration.document_access
    shared = {
        **access.model_dump(
            include={
                "batch_size", "max_length", "steps", "warm_up_steps", "threads", "seed", "model", "timeout_seconds",
                "sample_interval_seconds",
            }
        ),
        "device": device,
        "corpus": corpus,
        "tokenizer": tokenizer,
        "lock_digest": lock_digest,
    }  # fmt: skip
    found: dict[str, Training] = {}
    for varied in itertools.chain(*map(_combinations, access.grids), _limited(access)):
        repeats = varied.pop("repeats")
        content = {"documents": access.documents, "limit": None, **varied, **shared}
        name = "{loader}-{parallelism}-{world_size}".format(**content)
        for repeat in range(1, repeats + 1):
            path_name = f"{name}-{config.digest(content)}/{repeat}"
            found[path_name] = Training(path_name, {**content, "repeat": repeat})
    return found


def _combinations(grid: TrainingGrid) -> Iterator[dict[str, Any]]:
    for loader, parallelism, world_size, workers, pin_memory, precision, cache in itertools.product(
        grid.loaders, grid.parallelism, grid.world_sizes, grid.workers, grid.pin_memory, grid.precisions,
        grid.caches,
    ):  # fmt: skip
        if parallelism == "single" and world_size > 1:
            continue
        yield {
            "experiment": GRID,
            "loader": loader,
            "parallelism": parallelism,
            "world_size": world_size,
            "workers": workers,
            "pin_memory": pin_memory,
            "precision": precision,
            "cache": cache,
            "repeats": grid.repeats,
        }


def _limited(access: DocumentAccess) -> Iterator[dict[str, Any]]:
    """The in-memory loader at growing world sizes; their memory limit is known once memory was calibrated."""
    if access.limited is None:
        return
    for world_size in access.limited.world_sizes:
        yield {
            "experiment": LIMITED,
            "loader": "in_memory",
            "parallelism": "distributed",
            "world_size": world_size,
            "workers": 0,
            "pin_memory": False,
            "precision": "fp32",
            "cache": "warm",
            "documents": access.limited.documents,
            "limit": access.limited.model_dump(),
            "repeats": 1,
        }
