"""Small tables of made-up trainings of document_access with known numbers, in the schemas of results/tables.

No number was measured: times are tenths of milliseconds that add up, memory is round, the processor does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from indexscope import schemas

Row = dict[str, Any]

NAMES = [*schemas.DOCUMENT_TABLES, *schemas.DOCUMENT_SCALE_TABLES]
LOADERS = ["in_memory", "offset_index", "ir_datasets", "arrow", "shared_memory"]
MACHINE: Row = {
    "cpu_model": "Made-up Processor 1",
    "cpu_count": 4,
    "memory_total_mib": 8192.0,
    "kernel": "6.0.0-made-up",
    "lock_digest": "0a1b2c3d",
    "git_commit": "0" * 40,
    "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
}
# Seconds to fetch a step's documents, MiB of a rank's own documents, MiB of the files that it reads, seconds to open.
COSTS = {
    "in_memory": (0.0002, 100.0, 0.0, 1.0),
    "offset_index": (0.0010, 4.0, 80.0, 0.01),
    "ir_datasets": (0.0040, 6.0, 60.0, 0.3),
    "arrow": (0.0012, 5.0, 82.0, 0.02),
    "shared_memory": (0.0004, 3.0, 0.0, 0.8),
}
BASE_MIB = 300.0  # of a rank without documents
LAUNCHER_MIB = 50.0
SHARED_MIB = 90.0  # one copy for all ranks
# Seconds of a step beside fetching; "all-reduce" is nothing in a world of one.
PARTS = {
    "tokenise_seconds": 0.0040,
    "host_to_device_seconds": 0.0005,
    "forward_seconds": 0.0200,
    "backward_seconds": 0.0400,
    "optimiser_seconds": 0.0050,
}
BETWEEN_SECONDS = 0.0010  # of a step, in none of its parts
BATCH, STEPS, WARM_UP = 8, 20, 5


def frame(name: str, rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """The rows as the table `name`, as a figure reads it."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schemas.TABLES[name]).to_pandas()


def write(directory: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> Path:
    """Write all tables of document_access into `directory`, empty where `tables` has none; returns the directory."""
    for name in NAMES:
        schemas.write_table(tables.get(name, ()), schemas.TABLES[name], directory / f"{name}.parquet")
    return directory


def identity(
    loader: str = "offset_index",
    parallelism: str = "single",
    world_size: int = 1,
    repeat: int = 1,
    **changes: Any,
) -> Row:
    """What identifies a training: the columns that lead its tables."""
    row = {
        "experiment": "grid",
        "loader": loader,
        "parallelism": parallelism,
        "world_size": world_size,
        "workers": 0,
        "pin_memory": False,
        "precision": "fp32",
        "cache": "warm",
        "documents": 2000,
        "repeat": repeat,
    } | changes
    varied = "{workers}{pin_memory:d}{precision}{cache}{documents}{experiment}".format(**row)
    digest = f"{sum(ord(letter) * place for place, letter in enumerate(varied, 1)):08x}"
    return {"run": f"{loader}-{parallelism}-{world_size}-{digest}/{repeat}", **row}


def training(
    loader: str = "offset_index",
    parallelism: str = "single",
    world_size: int = 1,
    repeat: int = 1,
    outcome: str = "completed",
    slower: float = 1.0,
    **columns: Any,
) -> Row:
    """A row of document_access; its step takes `slower` times what it does by COSTS and PARTS.

    A training that did not complete has neither seconds nor digests; one that is unsupported has no memory either.
    """
    key = {name: columns.pop(name) for name in list(columns) if name in _KEY}
    row = identity(loader, parallelism, world_size, repeat, **key)
    row |= {
        "outcome": outcome,
        "outcome_detail": None if outcome == "completed" else f"made-up reason of {outcome}",
        "device": "cpu",
        "backend": "gloo" if world_size > 1 else "none",
        "interconnect": "memory of one machine (gloo)" if world_size > 1 else None,
        "batch_size": BATCH,
        "max_length": 128,
        "steps": STEPS,
        "warm_up_steps": WARM_UP,
        "torch_version": "2.10.0",
        **MACHINE,
    }
    if outcome == "completed":
        row |= _seconds(row, slower)
    if outcome not in ("unsupported", "failed"):
        row |= _memory(row)
    return dict.fromkeys(schemas.DOCUMENT_ACCESS.names) | row | columns


_KEY = ("experiment", "workers", "pin_memory", "precision", "cache", "documents")


def _seconds(row: Row, slower: float) -> Row:
    part = step_of(row, slower)
    samples = BATCH * row["world_size"]
    open_seconds = COSTS[row["loader"]][3]
    return {
        **{name: part[name] for name in part if name.endswith("_seconds")},
        "step_seconds_median": part["step_seconds"],
        "samples_per_second": samples / part["step_seconds"],
        "samples_per_second_after_fetch": samples / (part["step_seconds"] - part["wait_seconds"]),
        "open_seconds": open_seconds,
        "time_to_first_batch_seconds": 2.0 + open_seconds + part["wait_seconds"],
        "final_loss": 0.7,
        "samples_digest": f"{row['documents']}-{row['world_size']}".rjust(16, "0"),
        "texts_digest": f"{row['documents']}-{row['world_size']}".rjust(16, "f"),
    }


def step_of(row: Mapping[str, Any], slower: float = 1.0) -> Row:
    """Seconds of one step of a training: its parts, and all of it."""
    fetch = COSTS[row["loader"]][0] * (10 if row["cache"] == "cold" else 1) * slower
    parts = {name: seconds * slower for name, seconds in PARTS.items()}
    communication = (0.008 * slower) if row["world_size"] > 1 else 0.0
    # With workers the next batch is ready when it is asked for.
    wait = fetch + parts["tokenise_seconds"] if row["workers"] == 0 else 0.0002
    inside = sum(seconds for name, seconds in parts.items() if name != "tokenise_seconds")
    step = wait + inside + communication + BETWEEN_SECONDS * slower
    return {
        "step_seconds": step,
        "processor_seconds": step - communication,
        "wait_seconds": wait,
        "fetch_seconds": fetch,
        **parts,
        "communication_seconds": communication,
    }


def _memory(row: Row) -> Row:
    _, own, files, _ = COSTS[row["loader"]]
    scale = row["documents"] / 2000
    ranks = row["world_size"] * (BASE_MIB + own * scale)
    workers = row["world_size"] * row["workers"] * 40.0
    shared = SHARED_MIB * scale if row["loader"] == "shared_memory" else 0.0
    launcher = LAUNCHER_MIB if row["parallelism"] in ("distributed", "accelerate") else 0.0
    tree = launcher + ranks + workers + shared
    return {
        "processes": (launcher > 0) + row["world_size"] * (1 + row["workers"]),
        "tree_pss_mib": tree,
        "largest_rank_pss_mib": BASE_MIB + own * scale + shared / row["world_size"],
        "tree_peak_rss_mib": tree + 20.0 * row["world_size"] + shared * (row["world_size"] - 1),
        "page_cache_mib": files * scale * 0.5,
        "page_cache_start_mib": files * scale if row["cache"] == "warm" else 0.0,
        "source_mib": files * scale,
    }


def steps(row: Mapping[str, Any], slower: float = 1.0) -> list[Row]:
    """Rows of document_access_steps of a completed training; the first WARM_UP take twice as long."""
    key = {name: row[name] for name in ("run", "loader", "parallelism", "world_size", "repeat", *_KEY)}
    rows = []
    for rank in range(1 if row["parallelism"] == "data_parallel" else row["world_size"]):
        started = 2.0 + COSTS[row["loader"]][3]
        for step in range(WARM_UP + STEPS):
            part = step_of(row, slower * (1 if step >= WARM_UP else 2))
            rows.append(
                {
                    **key,
                    "rank": rank,
                    "step": step,
                    "measured": step >= WARM_UP,
                    "started_seconds": started,
                    **part,
                    "loss": 0.7,
                }
            )
            started += part["step_seconds"]
    return rows


def processes(row: Mapping[str, Any]) -> list[Row]:
    """Rows of document_access_processes of a training whose memory is known; PSS adds up to `tree_pss_mib`."""
    key = {name: row[name] for name in ("run", "loader", "parallelism", "world_size", "repeat", *_KEY)}
    rows = []

    def add(role: str, rank: int | None, anon: float, file: float = 0.0, shmem: float = 0.0) -> None:
        pss = anon + file + shmem
        memory = {
            "pss_mib": pss,
            "rss_mib": pss + 20.0,
            "anon_mib": anon,
            "file_mib": file,
            "shmem_mib": shmem,
        }
        rows.append({**key, "process_id": 1000 + len(rows), "role": role, "rank": rank, **memory})

    if row["parallelism"] in ("distributed", "accelerate"):
        add("launcher", None, LAUNCHER_MIB)
    for rank in range(row["world_size"]):
        add(
            "rank",
            rank,
            row["largest_rank_pss_mib"] - 80.0 - _shmem(row),
            file=80.0,
            shmem=_shmem(row),
        )
        for _ in range(row["workers"]):
            add("worker", rank, 40.0)
    return rows


def _shmem(row: Mapping[str, Any]) -> float:
    shared = SHARED_MIB * row["documents"] / 2000 / row["world_size"]
    return shared if row["loader"] == "shared_memory" else 0.0


def limited(world_sizes: Iterable[int] = (1, 2, 3, 4), fits: int = 2, documents: int = 20_000) -> list[Row]:
    """The in-memory loader under a limit between what `fits` needs and the next: later ones run out of memory."""

    def needed(world_size: int) -> float:
        row: Row = training("in_memory", "distributed", world_size, documents=documents, experiment="limited")
        peak: float = row["tree_peak_rss_mib"]
        return peak

    limit = int((needed(fits) + needed(fits + 1)) / 2)
    rows = []
    for world_size in world_sizes:
        fitting = needed(world_size) <= limit
        row = training(
            "in_memory",
            "distributed",
            world_size,
            documents=documents,
            experiment="limited",
            outcome="completed" if fitting else "out_of_memory_host",
            memory_limit_mib=limit,
            predicted_mib=needed(world_size) * 1.02,
        )
        if not fitting:
            row["outcome_detail"] = f"the process tree passed memory_limit_mib: {limit}"
            row["tree_peak_rss_mib"] = limit + 5.0
            for name in ("processes", "tree_pss_mib", "largest_rank_pss_mib", "page_cache_mib"):
                row[name] = None
        rows.append(row)
    return rows


def fetch(
    loader: str = "offset_index",
    order: str = "random",
    cache: str = "warm",
    repeat: int = 1,
    outcome: str = "completed",
    **columns: Any,
) -> Row:
    """A row of document_fetches: a fetch takes a tenth of COSTS, in order half of it, cold ten times as long."""
    row = {
        "loader": loader,
        "order": order,
        "cache": cache,
        "documents": 2000,
        "repeat": repeat,
        "outcome": outcome,
        "outcome_detail": None if outcome == "completed" else f"made-up reason of {outcome}",
        "fetches": 2000,
        **MACHINE,
    }
    if outcome == "completed":
        seconds, own, files, open_seconds = COSTS[loader]
        each = seconds / 10 * (0.5 if order == "sequential" else 1) * (10 if cache == "cold" and files else 1)
        each *= 1 + 0.05 * (repeat - 1)
        row |= {
            "open_seconds": open_seconds,
            "documents_per_second": 1 / each,
            "mib_per_second": 600 / 2**20 / each,
            "p50_us": each * 1e6 * 0.9,
            "p90_us": each * 1e6 * 1.2,
            "p99_us": each * 1e6 * 3,
            "pss_mib": own,
            "cached_fraction_start": 1.0 if cache == "warm" else 0.0,
            "texts_digest": order.rjust(16, "e"),
        }
    return row | columns


def scale(documents: int = 10_000_000, rounds: int = 5) -> list[Row]:
    """Rows of document_scale: what builds, then rounds of fetches."""
    common = {"documents": documents, "collection_mib": documents * 200 / 2**20, **MACHINE}
    rows: list[Row] = [
        {
            "way": way,
            "step": "build",
            "seconds": documents / per_second,
            "peak_rss_mib": peak,
            "index_bytes_per_document": size,
            **common,
        }
        for way, per_second, peak, size in [
            ("offset_index", 5e5, 150.0, 14.0),
            ("ir_datasets", 2e4, 300.0, 20.0),
        ]
    ]
    for number in range(1, rounds + 1):
        for way, microseconds in [("pread", 2.0), ("offset_index", 5.0), ("ir_datasets", 60.0)]:
            each = microseconds * (1 + 0.02 * number)
            rows.append(
                {
                    "way": way,
                    "step": "fetch",
                    "round": number,
                    "seconds": each * 20_000 / 1e6,
                    "fetches": 20_000,
                    "p50_us": each,
                    "p90_us": each * 1.5,
                    "p99_us": each * 4,
                    "texts_digest": "d" * 16,
                    **common,
                }
            )
    return rows


def published(**columns: Any) -> Row:
    """A row of document_published."""
    row = {
        "source": "made-up study",
        "quantity": "samples_per_second",
        "loader": "offset_index",
        "world_size": 1,
        "documents": 3_213_835,
        "published": 40.0,
        "published_out_of_memory": False,
        "ours": 100.0,
        "ours_out_of_memory": False,
        "by_formula": None,
        "verdict": "not testable here",
        "detail": "made-up detail",
    }
    return row | columns


def advice(rank: int = 1, loader: str = "offset_index", **columns: Any) -> Row:
    """A row of document_advice."""
    row = {
        "situation": "single, world size 1, warm page cache, 2,000 documents",
        "rank": rank,
        "loader": loader,
        "fits": True,
        "samples_per_second": 110.0 - rank,
        "samples_per_second_low": 108.0 - rank,
        "samples_per_second_high": 112.0 - rank,
        "tree_pss_mib": 300.0 + rank,
        "open_seconds": 0.01 * rank,
        "within_spread": True,
        "reason": f"Made-up reason of place {rank}: {110 - rank} samples/s, {300 + rank} MiB.",
    }
    return row | columns


def trainings() -> list[Row]:
    """The default grids: all loaders single (warm, cold) and distributed, the rest with the offset index."""
    rows = [
        training(loader, "single", repeat=repeat, cache=cache, slower=1 + 0.01 * (repeat - 1))
        for loader in LOADERS
        for cache in ("warm", "cold")
        for repeat in (1, 2)
    ]
    rows += [
        training(loader, "distributed", world_size, repeat, slower=1 + 0.01 * (repeat - 1))
        for loader in LOADERS
        for world_size in (1, 2)
        for repeat in (1, 2)
    ]
    rows += [training("offset_index", "accelerate", 2, repeat) for repeat in (1, 2)]
    rows.append(training("offset_index", "data_parallel", 2, outcome="unsupported"))
    rows += [
        training("offset_index", workers=workers, repeat=repeat) for workers in (1, 2) for repeat in (1, 2)
    ]
    rows.append(training("offset_index", precision="bf16", slower=1.1))
    rows.append(training("offset_index", precision="fp16", outcome="unsupported"))
    return rows + limited()


def everything() -> dict[str, list[Row]]:
    """Every table, from the same trainings."""
    rows = trainings()
    done = [row for row in rows if row["outcome"] == "completed"]
    return {
        "document_access": rows,
        "document_access_steps": [step for row in done for step in steps(row)],
        "document_access_processes": [each for row in done for each in processes(row)],
        "document_fetches": [
            fetch(loader, order, cache, repeat)
            for loader in LOADERS
            for order in ("random", "sequential")
            for cache in ("warm", "cold")
            for repeat in (1, 2, 3)
        ],
        "document_scale": scale(),
        "document_published": _published(),
        "document_advice": [advice(rank, loader) for rank, loader in enumerate(LOADERS, 1)],
    }


def _published() -> list[Row]:
    rows = [
        published(loader=loader, world_size=world_size, published=40.0 * world_size, ours=100.0 * world_size)
        for loader in ("in_memory", "offset_index", "ir_datasets")
        for world_size in (1, 2)
    ]
    rows += [
        published(loader=loader, world_size=world_size, published=40.0 * world_size, ours=None)
        for loader in ("offset_index", "ir_datasets")
        for world_size in (4, 8)
    ]
    rows += [
        published(
            quantity="outcome",
            loader="in_memory",
            world_size=world_size,
            published=None,
            published_out_of_memory=True,
            ours=None,
            ours_out_of_memory=None,
            by_formula=25_000.0 * world_size,
            verdict="differs",
        )
        for world_size in (4, 8)
    ]
    rows += [
        published(
            quantity="memory_mib_per_process",
            loader=loader,
            world_size=None,
            documents=documents,
            published=value,
            ours=None,
            ours_out_of_memory=None,
            by_formula=formula,
            verdict=verdict,
        )
        for loader, documents, value, formula, verdict in [
            ("in_memory", 3_213_835, 20_000.0, 22_000.0, "reproduced"),
            ("in_memory", 11_959_635, 100_000.0, 110_000.0, "reproduced"),
            ("offset_index", 3_213_835, 4_000.0, 500.0, "not testable here"),
        ]
    ]
    return rows
