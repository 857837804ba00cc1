"""Fetching alone, without a model: each loader × order × page cache in a fresh process, in changing order."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.measure import proc, supervised
from indexscope.run_record import InputError

from . import page_cache
from .loaders import loader_files, open_loader

SEQUENTIAL = "sequential"
_SAMPLE_INTERVAL_SECONDS = 0.05


class Fetching(NamedTuple):
    """One process: what it fetches, and how."""

    loader: str
    order: str  # random, sequential
    cache: str  # of the page cache at the start: warm, cold
    repeat: int


def schedule(settings: dict[str, Any]) -> list[Fetching]:
    """All processes; in each repeat every combination once, in an order that starts one further each time."""
    combinations = list(itertools.product(settings["loaders"], settings["orders"], settings["caches"]))
    slots = []
    for repeat in range(1, settings["repeats"] + 1):
        shift = (repeat - 1) % len(combinations)
        slots += [Fetching(*each, repeat) for each in combinations[shift:] + combinations[:shift]]
    return slots


def chosen_ids(collection: Path, fetches: int, order: str, seed: int) -> list[str]:
    """Identifiers to fetch: a seeded sample, shuffled, or as many in the order of the file from a seeded place.

    Reads the collection (JSON lines) twice, in constant memory. Where it has fewer documents, all of them.

    Raises:
        InputError: it has no documents.
    """
    documents = sum(1 for _ in _ids(collection))
    if not documents:
        raise InputError(f"{collection}: has no documents; slice a corpus with at least one")
    count = min(fetches, documents)
    generator = random.Random(f"{seed} {order}")
    if order == SEQUENTIAL:
        first = generator.randrange(documents - count + 1)
        return list(itertools.islice(_ids(collection), first, first + count))
    wanted = set(generator.sample(range(documents), count))
    found = [name for place, name in enumerate(_ids(collection)) if place in wanted]
    generator.shuffle(found)
    return found


def _ids(collection: Path) -> Iterator[str]:
    with collection.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield json.loads(line)["document_id"]


def measure(
    settings: dict[str, Any], collection: Path, sources: Path, scratch: Path, worker_program: str
) -> Iterator[dict[str, Any]]:
    """Run every process; yields its row (schemas.DOCUMENT_FETCHES), also of one that did not complete."""
    slots = schedule(settings)
    limits = supervised.Limits(_SAMPLE_INTERVAL_SECONDS, settings["timeout_seconds"])
    orders = {}
    for order in settings["orders"]:
        orders[order] = scratch / f"{order}.json"
        ids = chosen_ids(collection, settings["fetches"], order, settings["seed"])
        orders[order].write_text(json.dumps(ids))
    for number, slot in enumerate(slots, 1):
        result = scratch / "result.json"
        result.unlink(missing_ok=True)
        request = {
            **slot._asdict(),
            "ids": str(orders[slot.order]),
            "collection": str(collection),
            "sources": str(sources),
            "result": str(result),
        }
        command = [sys.executable, worker_program, json.dumps(request)]
        ran = supervised.run(command, str(scratch / "stdout.log"), limits)
        print(f"{number} of {len(slots)}: {' '.join(map(str, slot))}: {ran.outcome}", flush=True)
        yield {
            **slot._asdict(),
            "documents": settings["documents"],
            "outcome": ran.outcome,
            "outcome_detail": ran.outcome_detail,
            "fetches": len(json.loads(orders[slot.order].read_text())),
            **(json.loads(result.read_text()) if ran.outcome == "completed" else {}),
            **machine(settings["lock_digest"]),
            "started_at": ran.started_at,
        }


def machine(lock_digest: str) -> dict[str, Any]:
    """What a reader needs to place a row, but for when it was made."""
    hardware = proc.hardware()
    return {
        **{name: hardware[name] for name in ("cpu_model", "cpu_count", "memory_total_mib", "kernel")},
        "lock_digest": lock_digest,
        "git_commit": os.environ.get("INDEXSCOPE_COMMIT") or None,
    }


def fetch(request: dict[str, Any]) -> dict[str, Any]:
    """In the fresh process: open the loader, fetch each document once, and say how long it took.

    A time is of one `get`, by time.perf_counter_ns; the digest of its text is taken outside of it.
    """
    collection, sources = Path(request["collection"]), Path(request["sources"])
    ids = json.loads(Path(request["ids"]).read_text())
    files = loader_files(request["loader"], collection, sources)
    (page_cache.warm if request["cache"] == "warm" else page_cache.drop)(files)
    cached = page_cache.resident_fraction(files)
    before = proc.pss_kib()
    started = time.perf_counter()
    nanoseconds, size, digest = [], 0, hashlib.sha256()
    with open_loader(request["loader"], collection, sources) as loader:
        opened = time.perf_counter()
        for name in ids:
            begun = time.perf_counter_ns()
            text = loader.get(name)
            nanoseconds.append(time.perf_counter_ns() - begun)
            encoded = text.encode("utf-8", "surrogatepass")
            size += len(encoded)
            digest.update(b"%d " % len(encoded) + encoded)
        after = proc.pss_kib()
    seconds = sum(nanoseconds) / 1e9
    return {
        "open_seconds": round(opened - started, 6),
        "documents_per_second": len(ids) / seconds,
        "mib_per_second": size / 2**20 / seconds,
        **quantiles(nanoseconds),
        "pss_mib": None if before is None or after is None else round((after - before) / 1024, 3),
        "cached_fraction_start": cached,
        "texts_digest": digest.hexdigest(),
    }


def quantiles(nanoseconds: list[int]) -> dict[str, float]:
    """p50, p90 and p99 in microseconds: the smallest time that so many per cent of them do not pass."""
    ordered = sorted(nanoseconds)
    return {
        f"p{percent}_us": ordered[max(0, -(-len(ordered) * percent // 100) - 1)] / 1000
        for percent in (50, 90, 99)
    }
