"""What a step trains on: which samples, their documents from a loader, tokens of query and document.

A sample is a query, a document that answers it and one that does not: two sequences, labelled 1 and 0. The order
is that of the samples' file and the same for all: step t of rank r of W takes the samples from (t·W + r)·B on.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from indexscope.run_record import InputError

_REMEDY = "draw the samples again with order_samples.py"


class Texts(Protocol):
    """The part of a loader that is needed here."""

    def get(self, document_id: str) -> str: ...


class Sample(NamedTuple):
    query: str
    positive_id: str
    negative_id: str


class Samples:
    """The samples' file (JSON lines), of which only where its lines begin is kept: 8 bytes a sample.

    Args:
        needed: samples that the training takes.

    Raises:
        InputError: the file is missing or has fewer lines.
    """

    def __init__(self, path: Path, needed: int) -> None:
        self._path = path
        self._starts = array("Q", [0])
        try:
            with path.open("rb") as lines:
                for line in lines:
                    if len(self._starts) > needed:
                        break
                    self._starts.append(self._starts[-1] + len(line))
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error}); {_REMEDY}") from None
        if len(self) < needed:
            raise InputError(f"{path} has {len(self)} samples, the training takes {needed}; {_REMEDY}")
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> Sample:
        # pread: processes forked from this one share the file's position.
        start = self._starts[number]
        line = os.pread(self._file, self._starts[number + 1] - start, start)
        try:
            fields = json.loads(line)
            return Sample(fields["query"], fields["positive_id"], fields["negative_id"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self._path}: line {number + 1} is no sample ({type(error).__name__}: {error}); {_REMEDY}"
            ) from None


class Portion(NamedTuple):
    """Which of a step's samples are this rank's."""

    rank: int
    world_size: int
    batch_size: int  # samples of each rank

    def numbers(self, step: int) -> range:
        first = (step * self.world_size + self.rank) * self.batch_size
        return range(first, first + self.batch_size)


class Batch(NamedTuple):
    """One step's input of a rank.

    Attributes:
        inputs: input_ids and attention_mask, 2·B × tokens, int64: positive and negative of each sample in turn.
        labels: 2·B, float32.
        ids: of the documents.
        texts: of the documents; from a DataLoader worker their digest alone, which saves sending them.
        fetch_seconds: of all `get` calls.
        tokenise_seconds: of the tokenizer, with the making of tensors.
    """

    inputs: dict[str, Any]
    labels: Any
    ids: list[str]
    texts: list[str] | str
    fetch_seconds: float
    tokenise_seconds: float


class Batches:
    """Batches by step, for a DataLoader whose workers make each a whole batch.

    Args:
        tokenise: queries and texts of equal number → tensors of at most the longest sequence's tokens.
        in_worker: whether the calling process is a DataLoader worker.
        failed: told of an error before it is raised: what a DataLoader worker raises arrives changed.
    """

    def __init__(
        self,
        samples: Samples,
        loader: Texts,
        portion: Portion,
        steps: int,
        tokenise: Callable[[list[str], list[str]], dict[str, Any]],
        in_worker: Callable[[], bool],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._samples = samples
        self._loader = loader
        self._portion = portion
        self._steps = steps
        self._tokenise = tokenise
        self._in_worker = in_worker
        self._failed = failed

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        try:
            return self._batch(step)
        except Exception as error:
            self._failed(error)
            raise

    def _batch(self, step: int) -> Batch:
        import torch

        samples = [self._samples[number] for number in self._portion.numbers(step)]
        queries = [sample.query for sample in samples for _ in range(2)]
        ids = [each for sample in samples for each in (sample.positive_id, sample.negative_id)]
        started = time.perf_counter_ns()
        try:
            texts = [self._loader.get(document_id) for document_id in ids]
        except KeyError as error:
            raise InputError(
                f"step {step} takes the document {error.args[0]!r}, which the collection does not have; {_REMEDY}"
            ) from error
        fetched = time.perf_counter_ns()
        inputs = self._tokenise(queries, texts)
        tokenised = time.perf_counter_ns()
        return Batch(
            inputs,
            torch.tensor([1.0, 0.0] * len(samples)),
            ids,
            digest(texts) if self._in_worker() else texts,
            (fetched - started) / 1e9,
            (tokenised - fetched) / 1e9,
        )


class Digests:
    """Of the documents that were trained on, in their order: equal for equal samples and equal bytes."""

    def __init__(self) -> None:
        self._samples = hashlib.sha256()
        self._texts = hashlib.sha256()

    def add(self, batch: Batch) -> None:
        self._samples.update(digest(batch.ids).encode())
        texts = batch.texts if isinstance(batch.texts, str) else digest(batch.texts)
        self._texts.update(texts.encode())

    @property
    def samples(self) -> str:
        return self._samples.hexdigest()[:16]

    @property
    def texts(self) -> str:
        return self._texts.hexdigest()[:16]


def digest(strings: Iterable[str]) -> str:
    """SHA-256 of strings with their lengths: of their bytes, and where each ends."""
    state = hashlib.sha256()
    for string in strings:
        content = string.encode("utf-8", "surrogatepass")
        state.update(len(content).to_bytes(8, "little"))
        state.update(content)
    return state.hexdigest()
