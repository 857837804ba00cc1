"""Questions of this project, about what the study noticed and did not ask."""

from __future__ import annotations

import math
from itertools import pairwise

from .measured import (
    COLBERT,
    ENCODE_PASSAGES,
    FINALIZE,
    NONE,
    RAGATOUILLE,
    SAMPLE_EMBEDDINGS,
    TRAIN,
    Group,
    Level,
    Measured,
    at,
    count,
    mib,
    signed,
    span_words,
)
from .question import EXPLAINED, OURS, Found, Question, not_testable, tested
from .study import sample_of

_MOST_OF_A_CHUNK = 25_000  # passages; colbert/data/collection.py, get_chunksize
_HALF = 0.5
_GREW_MIB = 5.0  # what train needs must grow by this between sizes to say anything of growth
# In _build_ivf: codes, their sorted values and the indices of the sort, 8 bytes each.
_BYTES_OF_IVF = 3 * 8
_PHASES = ("planning", "training", "encoding", "finalizing")


def _memory_reuse(measured: Measured) -> Found:
    gave: dict[str, list[bool]] = {COLBERT: [], RAGATOUILLE: []}
    evidence, told = [], []
    small: list[float] = []
    for group in measured.groups:
        encoded, sampled = group.level(ENCODE_PASSAGES), group.level(SAMPLE_EMBEDDINGS)
        block = sample_of(group)
        if not encoded or not sampled or block is None or group.framework not in gave:
            continue
        back = encoded.end - sampled.end
        evidence += [
            span_words(group, ENCODE_PASSAGES, encoded),
            span_words(group, SAMPLE_EMBEDDINGS, sampled) + f"; its sample is {mib(block)}",
        ]
        if group.is_mapped(block):
            gave[group.framework].append(back >= _HALF * block)
            told.append(f"{group}: {mib(max(back, 0.0))} of {mib(block)}")
        else:
            small.append(block)
    quoted = measured.quoted("memory_reuse")
    if not all(gave.values()):
        reason = "No size has spans of both frameworks."
        if small:
            reason = (
                f"The samples of embeddings are {mib(min(small))} to {mib(max(small))} here. malloc may keep blocks "
                "of up to 32 MiB for later use as they are freed, so whether they were freed cannot be told from the "
                "RSS."
            )
        return not_testable(
            reason,
            "`measurement: {allocator: pinned}`, under which a block above 1 MiB is given back as it is freed; or "
            "1,500 documents and more, under the profiler spans.",
            [*evidence, *quoted],
        )
    answer = (
        f"{at(measured.groups).capitalize()} what the return of `_sample_embeddings` gives back of its sample: "
        f"{'; '.join(told)}. What encode_passages returns is freed when its last name goes, with that return."
    )
    holds = all(gave[COLBERT]) and not any(gave[RAGATOUILLE])
    if not holds and all(gave[COLBERT]) and all(gave[RAGATOUILLE]):
        answer += (
            " Both frameworks run the same code there, and here both give it back: what kept it in the study's "
            "RAGatouille was not this code."
        )
    return tested(holds, answer, [*evidence, *quoted])


def _train_not_monotonic(measured: Measured) -> Found:
    systems: dict[tuple[str, str], list[tuple[Group, Level]]] = {}
    for group in measured.groups:
        if level := group.level(TRAIN):
            systems.setdefault((group.name, group.fact("kmeans_backend") or ""), []).append((group, level))
    holds, evidence, told = [], [], []
    for (name, _), of_system in systems.items():
        evidence += [span_words(group, TRAIN, level) for group, level in of_system]
        for (_, smaller), (group, larger) in pairwise(of_system):
            grew, keeps = larger.needed - smaller.needed, larger.kept - smaller.kept
            if grew <= _GREW_MIB:
                continue
            holds.append(keeps <= _HALF * grew)
            told.append(
                f"{name}, up to {count(group.documents)} documents: needs {signed(grew)} at its peak, "
                f"keeps {signed(keeps)}"
            )
    if not holds:
        return not_testable(
            "No system has spans at two sizes between which what train() needs at its peak grows.",
            f"Two sizes under the profiler spans, such as in {EXPLAINED}.",
            evidence + measured.quoted("train_not_monotonic"),
        )
    answer = (
        f"{'; '.join(told)}. The published number is the second: what is left when train() ends, centroids of a few "
        "MiB, libraries loaded on the way, and what malloc happens to give back. The first, which grows with points "
        "x dim (faiss) or points x partitions (PyTorch), is gone by then."
    )
    return tested(all(holds), answer, evidence + measured.quoted("train_not_monotonic"))


def _finalize_varies(measured: Measured) -> Found:
    kept: list[float] = []
    needs: list[float] = []
    evidence = []
    groups = []
    for group in measured.groups:
        embeddings = group.fact("embeddings")
        level, reading = group.level(FINALIZE), group.reading(FINALIZE)
        if embeddings is None or not (level or reading):
            continue
        groups.append(group)
        needs.append(embeddings * _BYTES_OF_IVF / (1 << 20))
        if level:
            kept.append(level.kept)
            evidence.append(
                span_words(group, FINALIZE, level)
                + f"; {count(embeddings)} embeddings x 24 bytes = {mib(needs[-1])}"
            )
        if reading:
            kept.append(reading.increment)
            evidence.append(f"memory_by_function: {group}, finalize: increment {signed(reading.increment)}")
    if len(kept) < 2:
        return not_testable(
            "finalize() was not measured twice.",
            "Two systems or sizes under the profiler spans (config/default.yaml).",
            evidence,
        )
    varies = max(kept) - min(kept)
    holds = varies > 2 * max(needs)
    answer = (
        f"{at(groups).capitalize()} memory changes over finalize() by {signed(min(kept))} to {signed(max(kept))} "
        f"({len(kept)} measurements), while what _build_ivf holds (codes, sorted values, indices: embeddings x 24 "
        f"bytes) is at most {mib(max(needs))}. "
        + (
            "The change is thus not of finalize(): it is whether malloc still had free memory from encoding to fill, "
            "or gave it back meanwhile."
            if holds
            else "The change is within what finalize() builds."
        )
    )
    return tested(holds, answer, evidence + measured.quoted("finalize_varies"))


def _fourteen_iterations(measured: Measured) -> Found:
    holds, evidence, told = [], [], []
    several = False
    for group, other in measured.pairs():
        chunks = []
        for each in (group, other):
            calls = [call for function, call in each.levels if function == ENCODE_PASSAGES]
            passages = each.fact("passages")
            if passages is None or not calls:
                break
            expected = math.ceil(passages / min(_MOST_OF_A_CHUNK, 1 + passages))
            chunks.append((max(calls), expected, passages))
            evidence.append(
                f"runs, spans: {each}: {count(passages)} passages, {max(calls)} calls of encode_passages after "
                f"sampling; passages / 25,000, rounded up: {expected}"
            )
        if len(chunks) < 2:
            continue
        (ours, expected, passages), (base, base_expected, _) = chunks
        several |= max(ours, base) > 1
        holds.append(ours == expected and base == base_expected and (ours > base or ours == expected == 1))
        told.append(
            f"{count(passages)} passages of {count(group.documents)} documents ({group.name}): {ours}"
        )
    quoted = measured.quoted("fourteen_iterations")
    if not holds or not several:
        reason = (
            "These are the chunks of 25,000 passages that index() encodes. Fewer passages are one chunk in either "
            f"framework, so no difference can show here: {'; '.join(told)}. RAGatouille splits, so it has more "
            "passages of the same documents, and more chunks: by the study's logs 327,523 passages, 14 chunks."
            if told
            else "No size has spans of both frameworks."
        )
        return not_testable(
            reason, "A corpus of more than 25,000 documents under the profiler spans.", [*evidence, *quoted]
        )
    answer = (
        "These are the chunks of 25,000 passages that index() encodes, not iterations of k-means; RAGatouille has "
        f"split the documents into more passages. Chunks: {'; '.join(told)}."
    )
    return tested(all(holds), answer, [*evidence, *quoted])


def _sampled_share(passages: int) -> float:
    """The part of the passages that planning encodes (colbert/indexing/collection_indexer.py, _sample_pids)."""
    return min(1 + int(16 * math.sqrt(120 * passages)), passages) / passages


def _before_encoding(measured: Measured) -> Found:
    holds, evidence, told = [], [], []
    sampled: list[float] = []
    last: dict[str, Group] = {}
    for group in measured.groups:
        if all(group.samples(f"{phase}_seconds") for phase in _PHASES) and group.samples("index_seconds"):
            last[group.name] = group  # the groups come by size
    largest = max((group.documents for group in last.values()), default=0)
    for group in last.values():
        if group.documents != largest:
            continue
        planning, training, encoding, finalizing = (
            group.median(f"{phase}_seconds") or 0.0 for phase in _PHASES
        )
        call = group.median("index_seconds") or 0.0
        outside = call - planning - training - encoding - finalizing
        before = planning + training
        holds.append(before > encoding)
        if passages := group.fact("passages"):
            sampled.append(_sampled_share(passages))
        told.append(
            f"{group.name}: planning {planning:.1f} s and training {training:.1f} s ({100 * before / call:.0f} % of "
            f"the index call) before {encoding:.1f} s of encoding"
        )
        evidence.append(
            f"runs: {group}, {len(group.samples('index_seconds'))} without a profiler: index call {call:.1f} s: "
            f"planning {planning:.2f}, training {training:.2f}, encoding {encoding:.2f}, finalizing {finalizing:.2f}, "
            f"outside the phases {outside:.2f} s"
        )
    if not holds:
        return not_testable(
            "No completed run without a profiler has times of phases.",
            "Any system under the profiler none (config/default.yaml).",
        )
    shares = ", ".join(dict.fromkeys(f"{100 * share:.0f} %" for share in sampled)) + " of them here"
    answer = (
        f"At {count(largest)} documents: {'; '.join(told)}. Planning encodes a sample, 1 + 16 x √(120 x passages) "
        f"passages and at most all of them ({shares}); training is the k-means. Extensions, which ColBERT compiles in "
        "its first run, are compiled before the runs here."
    )
    return tested(all(holds), answer, evidence + measured.quoted("before_encoding"))


QUESTIONS = (
    Question(
        "memory_reuse", OURS,
        "Why does `_sample_embeddings` net less than encode_passages in ColBERT, but not in RAGatouille: is memory "
        "used again?",
        "as `_sample_embeddings` returns, ColBERT gives back its sample of embeddings, and RAGatouille does not",
        "end of encode_passages less end of `_sample_embeddings`, against the size of the sample", _memory_reuse,
    ),
    Question(
        "train_not_monotonic", OURS, "Why does train() not grow with the collection?",
        "what train() keeps does not follow what it needs at its peak, which grows with the collection",
        "end less start, and exact peak less start, of CollectionIndexer.train at two sizes", _train_not_monotonic,
    ),
    Question(
        "finalize_varies", OURS, "Why does finalize() vary so much?",
        "the change of memory over finalize() varies by more than what it builds",
        "end less start of CollectionIndexer.finalize, all systems and sizes, against embeddings x 24 bytes",
        _finalize_varies,
    ),
    Question(
        "fourteen_iterations", OURS, "Why 14 iterations instead of 10 at 250,000 documents?",
        "they are chunks of 25,000 passages, of which splitting gives RAGatouille more",
        "calls of encode_passages after sampling against passages / 25,000", _fourteen_iterations,
    ),
    Question(
        "before_encoding", OURS, "What runs so long before the final encoding?",
        "planning and training together take longer than the encoding of the collection",
        f"seconds of the phases under {NONE}, at the largest size", _before_encoding,
    ),
)  # fmt: skip
