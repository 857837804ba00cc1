"""The offset index of a large collection: built in one pass, then read beside a bare pread and ir_datasets.

The collection is made for this, seeded; it and all that is built of it goes when the measuring is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.measure import supervised
from indexscope.run_record import InputError

from . import page_cache
from .fetching import machine, quantiles
from .loaders import IR_DATASETS, OFFSET_INDEX, Loader, open_loader

PREAD = "pread"
_SAMPLE_INTERVAL_SECONDS = 0.02
_TIMEOUT_SECONDS = 4 * 3600.0
_POOL_WORDS = 200_000
_LETTERS = "etaoinshrdlucmfwypvbgkjqxzé"


class Place(NamedTuple):
    """Where a document's line is in the collection."""

    document_id: str
    offset: int
    length: int  # bytes, the line's end not among them


class Collection(NamedTuple):
    """A collection that was made, and where some of its documents are."""

    path: Path
    documents: int
    places: list[Place]


def identifier(number: int) -> str:
    """An arbitrary string: of several lengths, beyond ASCII, in no order."""
    mixed = number * 0x9E3779B97F4A7C15 % 2**64
    return f"{'D' if number % 3 else 'passage/é'}{mixed:x}-{number}"


def make_collection(path: Path, documents: int, words: int, seed: int, wanted: Sequence[int]) -> Collection:
    """Write `documents` JSON lines of about `words` words each, in constant memory.

    Args:
        wanted: numbers of documents whose places are returned, in this order.
    """
    generator = random.Random(seed)
    text, starts = _pool(generator)
    lengths = [max(1, round(generator.lognormvariate(0, 0.6) * words / 1.2)) for _ in range(4096)]
    places: dict[int, Place] = {}
    asked_for = set(wanted)
    offset = 0
    longest = max(lengths)
    with path.open("wb", buffering=1 << 20) as lines:
        for number in range(documents):
            first = number * 7919 % (_POOL_WORDS - longest)
            last = first + lengths[number * 31 % 4096]
            name = identifier(number)
            # No character of either needs an escape.
            line = (
                f'{{"document_id": "{name}", "text": "{text[starts[first] : starts[last] - 1]}"}}\n'.encode()
            )
            if number in asked_for:
                places[number] = Place(name, offset, len(line) - 1)
            lines.write(line)
            offset += len(line)
    return Collection(path, documents, [places[number] for number in wanted])


def _pool(generator: random.Random) -> tuple[str, list[int]]:
    """Words with a space between them, and where each starts."""
    parts, starts, position = [], [], 0
    for _ in range(_POOL_WORDS):
        word = "".join(generator.choices(_LETTERS, k=generator.randint(2, 9)))
        parts.append(word)
        starts.append(position)
        position += len(word) + 1
    return " ".join(parts), starts


def measure(settings: dict[str, Any], scratch: Path) -> Iterator[dict[str, Any]]:
    """Make the collection, build, fetch; yields rows of schemas.DOCUMENT_SCALE.

    Identifiers are drawn twice: from all documents, and from the first `ir_datasets_documents`, of which alone
    the docstore is built, since that takes long; column `documents` says of how many.
    """
    documents, fetches, seed = settings["documents"], settings["fetches"], settings["seed"]
    few = min(settings["ir_datasets_documents"], documents)
    generator = random.Random(f"{seed} places")
    of_all = generator.sample(range(documents), min(fetches, documents))
    of_few = generator.sample(range(few), min(fetches, few))
    collection = make_collection(
        scratch / "documents.jsonl", documents, settings["words"], seed, [*of_all, *of_few]
    )
    print(f"{documents} documents: {_mib(collection.path):.0f} MiB", flush=True)
    facts = machine(settings["lock_digest"])
    # A tenth too: were memory not constant, it would need a tenth.
    tenth = _first(collection, scratch / "tenth.jsonl", max(1, documents // 10))
    for path, size in ((tenth, max(1, documents // 10)), (collection.path, documents)):
        yield facts | _build(OFFSET_INDEX, path, size, scratch)
        print(f"offset index of {size} documents built", flush=True)
    tenth.unlink()
    first = _first(collection, scratch / "few.jsonl", few)
    yield facts | _build(IR_DATASETS, first, few, scratch)
    print(f"docstore of ir_datasets, {few} documents, built", flush=True)

    places = collection.places
    page_cache.warm([collection.path, *(path for path in scratch.rglob("*") if path.is_file())])
    with (
        open_loader(OFFSET_INDEX, collection.path, _manifest(collection.path)) as index,
        open_loader(IR_DATASETS, first, _manifest(first)) as docstore,
        _Bare(collection.path) as bare,
    ):
        groups: list[tuple[int, list[Place], dict[str, Callable[[Place], bytes | str]]]] = [
            (documents, places[: len(of_all)], {PREAD: bare.read, OFFSET_INDEX: _getting(index)}),
            (
                few,
                places[len(of_all) :],
                {PREAD: bare.read, OFFSET_INDEX: _getting(index), IR_DATASETS: _getting(docstore)},
            ),
        ]
        for number in range(settings["rounds"] + 1):  # the first is not recorded
            for size, asked_for, ways in groups:
                shift = number % len(ways)
                for way in [*ways][shift:] + [*ways][:shift]:
                    row = _fetch(ways[way], asked_for)
                    if number:
                        yield facts | {
                            "way": way, "step": "fetch", "documents": size, "round": number,
                            "collection_mib": _mib(collection.path), "started_at": supervised.now(), **row,
                        }  # fmt: skip
            print(f"round {number} of {settings['rounds']}", flush=True)


class _Bare:
    """The same bytes without any index: their places are known."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, place: Place) -> bytes | str:
        return os.pread(self._file, place.length, place.offset)

    def __enter__(self) -> _Bare:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def _getting(loader: Loader) -> Callable[[Place], bytes | str]:
    return lambda place: loader.get(place.document_id)


def _fetch(get: Callable[[Place], bytes | str], places: Sequence[Place]) -> dict[str, Any]:
    nanoseconds, digest = [], hashlib.sha256()
    for place in places:
        begun = time.perf_counter_ns()
        found = get(place)
        nanoseconds.append(time.perf_counter_ns() - begun)
        # A bare read has the whole line; the text in it is what the others return.
        text = json.loads(found)["text"] if isinstance(found, bytes) else found
        digest.update(text.encode("utf-8"))
    return {
        "seconds": sum(nanoseconds) / 1e9,
        "fetches": len(places),
        **quantiles(nanoseconds),
        "texts_digest": digest.hexdigest(),
    }


def _first(collection: Collection, path: Path, documents: int) -> Path:
    """A copy of the first `documents` lines."""
    with collection.path.open("rb") as lines, path.open("wb") as copy:
        for _ in range(documents):
            copy.write(lines.readline())
    return path


def _build(loader: str, collection: Path, documents: int, scratch: Path) -> dict[str, Any]:
    """Prepare a loader's files as a user does, in a fresh process; its peak is the kernel's own (ru_maxrss)."""
    manifest = _manifest(collection)
    program = Path(__file__).resolve().parents[2] / "prepare_documents.py"
    command = [sys.executable, program, collection, "--loaders", loader, "--output", manifest.parent]
    ran = supervised.run(
        list(map(str, command)),
        str(scratch / "stdout.log"),
        supervised.Limits(_SAMPLE_INTERVAL_SECONDS, _TIMEOUT_SECONDS),
    )
    if ran.outcome != "completed":
        raise InputError(
            f"{collection}: preparing {documents} documents for {loader} ended as {ran.outcome}: "
            f"{ran.outcome_detail}; make room or lower document_access.scale.documents"
        )
    made = json.loads(manifest.read_text())["loaders"][loader]
    return {
        "way": loader,
        "step": "build",
        "documents": documents,
        "collection_mib": _mib(collection),
        "started_at": ran.started_at,
        "seconds": made["seconds"],
        "peak_rss_mib": made["peak_rss_mib"],
        "index_bytes_per_document": made.get("index_bytes_per_document"),
    }


def _manifest(collection: Path) -> Path:
    return collection.with_suffix("") / "manifest.json"


def _mib(path: Path) -> float:
    return path.stat().st_size / 2**20
