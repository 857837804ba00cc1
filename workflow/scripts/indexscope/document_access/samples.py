"""Training samples of a collection: a query, a document it was made from, and another document. Seeded."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from indexscope.document_access import raw_files
from indexscope.run_record import InputError

QUERY_WORDS = 5


class Drawn(NamedTuple):
    """Positions of the two documents of a sample."""

    positive: int
    negative: int


def write_samples(collection: Path, count: int, seed: int, output: Path) -> int:
    """Write `count` samples as JSON lines (query, positive_id, negative_id); return how many documents there are.

    Every document is a positive one before any is so for the second time; the negative one is any other. The
    query is up to five different words of the positive document, in the order of the text, and empty where it
    has none. Two passes over the collection; what is in memory are the samples.

    Raises:
        InputError: fewer than two documents, no positive number of samples, or a wrong line. No file is left.
    """
    if count < 1:
        raise InputError(f"--samples: {count} is not a positive number of samples")
    documents = sum(1 for _ in raw_files.documents(collection))
    if documents < 2:
        raise InputError(f"{collection}: has one document, a sample needs two; take a larger collection")
    drawn = list(islice(_draw(documents, seed), count))
    wanted = {position for pair in drawn for position in pair}
    positives = {pair.positive for pair in drawn}
    ids: dict[int, str] = {}
    queries: dict[int, str] = {}
    for position, document in enumerate(raw_files.documents(collection)):
        if position in wanted:
            ids[position] = document.document_id
        if position in positives:
            queries[position] = _query(document.text, random.Random(f"{seed}:{document.document_id}"))
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    with partial.open("w", encoding="utf-8") as lines:
        for positive, negative in drawn:
            sample = {
                "query": queries[positive],
                "positive_id": ids[positive],
                "negative_id": ids[negative],
            }
            lines.write(json.dumps(sample, ensure_ascii=False) + "\n")
    partial.replace(output)
    return documents


def _draw(documents: int, seed: int) -> Iterator[Drawn]:
    """Samples without end; the first ones do not depend on how many are taken."""
    chance = random.Random(seed)
    while True:
        for positive in _shuffled(documents, chance.getrandbits(64)):
            other = chance.randrange(documents - 1)
            yield Drawn(positive, other + (other >= positive))


def _shuffled(documents: int, seed: int) -> Iterator[int]:
    """Every position once, in random order, in the memory of those that were taken (Fisher-Yates, sparse)."""
    chance = random.Random(seed)
    moved: dict[int, int] = {}
    for left in range(documents, 0, -1):
        place = chance.randrange(left)
        yield moved.get(place, place)
        moved[place] = moved.pop(left - 1, left - 1)


def _query(text: str, chance: random.Random) -> str:
    words = list(dict.fromkeys(text.split()))
    chosen = sorted(chance.sample(range(len(words)), min(QUERY_WORDS, len(words))))
    return " ".join(words[position] for position in chosen)
