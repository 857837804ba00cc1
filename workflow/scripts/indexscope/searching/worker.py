"""The measured process of a search: import the library, load the index, ask the queries, write what that took."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from indexscope.measure import proc

from . import index_folder, libraries, passages

Value = TypeVar("Value")


def run(specification: Path) -> None:
    """Do what the specification (JSON, of measuring.py) says, and write its `output`."""
    given = json.loads(specification.read_text(encoding="utf-8"))
    index = index_folder.locate(Path(given["index"]))
    made: dict[str, Any] = {}
    _, made["import_seconds"] = _timed(lambda: libraries.import_library(index.framework))
    _set_threads(given["threads"])
    made["before_loading_mib"] = _rss_mib()

    def load() -> libraries.Searcher:
        collection = Path(given["collection"]) if given["collection"] else None
        colbert = index.framework == index_folder.COLBERT
        texts = passages.read(index, collection).texts if colbert else []
        return libraries.load(index, given["checkpoint"], texts)

    searcher, made["load_seconds"] = _timed(load)
    made["loaded_mib"] = _rss_mib()
    made.update(ask(searcher, given["queries"], given["k"], given["batch_size"]))
    made["gpu_peak_mib"] = _gpu_peak_mib()
    Path(given["output"]).write_text(json.dumps(made), encoding="utf-8")


def ask(
    searcher: libraries.Searcher, queries: Sequence[str], k: int, batch_size: int | None
) -> dict[str, Any]:
    """Ask all queries, one by one or in batches, after the first of them once before: that one finds all cold.

    Returns:
        first_seconds; latencies_ms, a value a query or batch; found, of each query [[passage, score], ...].
    """
    size = batch_size or 1
    batches = [queries[start : start + size] for start in range(0, len(queries), size)]

    def once(batch: Sequence[str]) -> list[list[libraries.Found]]:
        return searcher.many(batch, k) if batch_size else [searcher.one(batch[0], k)]

    _, first = _timed(lambda: once(batches[0]))
    found, latencies = [], []
    for batch in batches:
        results, seconds = _timed(lambda batch=batch: once(batch))  # type: ignore[misc]
        found += results
        latencies.append(1000 * seconds)
    return {"first_seconds": first, "latencies_ms": latencies, "found": found}


def _timed(work: Callable[[], Value]) -> tuple[Value, float]:
    started = time.perf_counter()
    value = work()
    return value, time.perf_counter() - started


def _rss_mib() -> float:
    return proc.resident(os.getpid()).rss / 1024


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _gpu_peak_mib() -> float | None:
    """What PyTorch had reserved at most; None on a CPU."""
    torch = sys.modules["torch"]
    if not torch.cuda.is_available():
        return None
    return float(torch.cuda.max_memory_reserved() / 2**20)
