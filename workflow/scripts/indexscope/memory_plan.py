"""What follows from a prediction of the memory model: what to reserve, what fits, which setting would lower the peak.

A setting is judged by predicting again with it changed. Standard library only: the Snakefile uses it, and
plan_memory.py where nothing is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from indexscope import memory_model
from indexscope.memory_model import Prediction, Quantities

FRAMEWORKS = ("colbert", "ragatouille")  # that the memory model knows
# Asked for beyond a prediction: identical runs differ, and the lengths of texts are not known before.
MARGIN = 1.25
# What a profiler adds to the process tree's peak: a share of it, and MiB. Measured at 200 synthetic documents, both
# frameworks, as their shipped settings have it: ledger 2 to 66 MiB, memray 11 to 34 (at 500: less than repeats
# differ). Both keep a note of every living allocation or tensor, of which a larger index has more: the share is for
# that, and is not measured. memory_profiler and spans keep nothing; the former's own imports are the MiB. dumps: the
# artifact at hand is copied as it is written.
PROFILER_MEMORY = {
    "memory_profiler": (0.0, 50.0),
    "ledger": (0.1, 100.0),
    "memray": (0.1, 100.0),
    "dumps": (0.1, 100.0),
}

# Encoders that people plan for, as a checkpoint's settings: this project's synthetic one, answerai-colbert-small-v1
# (docs/corpora.md), and colbertv2.0, which is BERT base with 128 values. How long their passages may be a run says, or
# else ColBERTConfig's default.
ENCODERS: dict[str, dict[str, Any]] = {
    "synthetic_small": {
        **{"layers": 2, "hidden_size": 128, "heads": 2, "intermediate_size": 256},
        **{"vocab_size": 4096, "dim": 96, "doc_maxlen": 256},
    },
    "answerai-colbert-small-v1": {
        **{"layers": 12, "hidden_size": 384, "heads": 12, "intermediate_size": 1536},
        **{"vocab_size": 30522, "dim": 96},
    },
    "colbertv2.0": {
        **{"layers": 12, "hidden_size": 768, "heads": 12, "intermediate_size": 3072},
        **{"vocab_size": 30522, "dim": 128},
    },
}


def encoder_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a checkpoint with a geometry: its own, that of its name, else answerai-colbert-small-v1's."""
    if "layers" in checkpoint:
        return dict(checkpoint)
    named = str(checkpoint.get("repository") or checkpoint.get("path") or "").rstrip("/")
    known = ENCODERS.get(named.rpartition("/")[2], ENCODERS["answerai-colbert-small-v1"])
    return {**known, **checkpoint}


@dataclass(frozen=True)
class Case:
    """An index to be built: a system's settings, an encoder, a size, and what is known of the documents."""

    content: Mapping[str, Any]  # of a cell: framework, device, settings, split_to
    checkpoint: Mapping[str, Any]
    documents: int
    passages_per_document: float | None = None
    tokens_per_passage: float | None = None
    bytes_per_document: float | None = None
    known: Mapping[str, Any] = field(default_factory=dict)  # quantities that no setting of the framework says

    def quantities(self) -> Quantities:
        known = dict(self.known)
        if self.passages_per_document is not None:
            known["passages"] = max(round(self.passages_per_document * self.documents), 1)
        if self.tokens_per_passage is not None:
            known["tokens_per_passage"] = self.tokens_per_passage
        if self.bytes_per_document is not None:
            known["text_bytes"] = round(self.bytes_per_document * self.documents)
        content = self.content
        if content["framework"] not in FRAMEWORKS:  # an adapter that was added: what the larger one needs
            content = {**content, "framework": "ragatouille", "settings": {}}
        return memory_model.quantities_of(content, encoder_of(self.checkpoint), self.documents, **known)

    def prediction(self) -> Prediction:
        return memory_model.predict(self.quantities())

    def with_settings(self, **settings: Any) -> Case:
        return replace(self, content={**self.content, "settings": {**self.content["settings"], **settings}})


def needed_mib(case: Case, memory: str = "host", profiler: str = "none") -> float:
    """The predicted peak, and on the host what the profiler adds to it."""
    peak = case.prediction().peak(memory)[1]
    share, more = PROFILER_MEMORY.get(profiler, (0.0, 0.0)) if memory == "host" else (0.0, 0.0)
    return peak * (1 + share) + more


def reserve_mib(case: Case, memory: str = "host", profiler: str = "none") -> int:
    """What to ask a scheduler for: what is needed, and the margin; 0 of the GPU on a CPU."""
    return math.ceil(needed_mib(case, memory, profiler) * MARGIN)


class Change(NamedTuple):
    """A setting that is changed, as one writes it in a configuration, and what it costs beside memory."""

    setting: str
    costs: str
    case: Case


class Saving(NamedTuple):
    """A change, and the peak that is predicted with it."""

    change: Change
    phase: str
    mib: float  # the peak
    saves_mib: float


def changes(case: Case) -> Iterator[Change]:
    """The settings of this case's framework that can be changed to need less, each alone."""
    framework, now = case.content["framework"], case.quantities()
    if framework == "colbert":
        yield from _colbert_changes(case, now)
    elif framework == "ragatouille":
        yield from _ragatouille_changes(case, now)
    other = {"cpu": "cuda", "cuda": "cpu"}.get(now.device)
    if other:
        cost = "encoding and k-means take much longer" if other == "cpu" else "needs a GPU"
        yield Change(f"device: {other}", cost, replace(case, content={**case.content, "device": other}))


def _colbert_changes(case: Case, now: Quantities) -> Iterator[Change]:
    if not now.in_process:
        yield Change("in_process: true", "nothing: one process less", case.with_settings(in_process=True))
    for nbits in (bits for bits in (2, 1) if bits < now.nbits):
        yield Change(f"nbits: {nbits}", "coarser residuals, other results", case.with_settings(nbits=nbits))
    for batch in _smaller(now.index_bsize):
        yield Change(f"index_bsize: {batch}", "smaller batches", case.with_settings(index_bsize=batch))
    if now.doc_maxlen >= 64:
        shorter = now.doc_maxlen // 2
        yield Change(
            f"doc_maxlen: {shorter}",
            f"passages are cut at {shorter} tokens",
            replace(
                case.with_settings(doc_maxlen=shorter),
                tokens_per_passage=min(now.tokens_per_passage, shorter),
            ),
        )


def _ragatouille_changes(case: Case, now: Quantities) -> Iterator[Change]:
    if now.kmeans_backend == "torch":
        yield Change("use_faiss: true", "other centroids", case.with_settings(use_faiss=True))
    for batch in _smaller(now.index_bsize):
        yield Change(f"bsize: {batch}", "smaller batches", case.with_settings(bsize=batch))
    if now.passages > now.documents:
        tokens = min(now.tokens_per_passage * now.passages / now.documents, now.doc_maxlen)
        yield Change(
            "split_documents: false",
            f"documents are cut at {now.doc_maxlen} tokens",
            replace(
                case.with_settings(split_documents=False),
                passages_per_document=1.0,
                tokens_per_passage=tokens,
            ),
        )


def _smaller(batch: int) -> Iterator[int]:
    """A half and an eighth of a batch."""
    yield from dict.fromkeys(size for size in (batch // 2, batch // 8) if size)


def savings(case: Case, memory: str = "host", least_percent: float = 1.0) -> list[Saving]:
    """The changes that lower the peak by `least_percent` or more, the one that saves most first.

    Of a setting's values those that save more than the ones that change less.
    """
    before = case.prediction().peak(memory)[1]
    found: list[Saving] = []
    best: dict[str, float] = {}  # by setting
    for change in changes(case):
        phase, after = change.case.prediction().peak(memory)
        saves, name = before - after, change.setting.partition(":")[0]
        if saves >= before * least_percent / 100 and saves > best.get(name, 0.0):
            best[name] = saves
            found.append(Saving(change, phase, after, saves))
    return sorted(found, key=lambda saving: saving.mib)


def most_documents(fits: Callable[[int], bool], up_to: int) -> int:
    """About the most documents, below `up_to`, that fit: two digits, and checked; 0 where none do."""
    low, high = 0, up_to
    while high - low > max(low // 200, 1):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    rounded = _two_digits(low)
    return rounded if not rounded or fits(rounded) else low


def _two_digits(number: int) -> int:
    """Rounded down to two digits."""
    unit: int = 10 ** max(len(str(number)) - 2, 0)
    return unit * (number // unit)
