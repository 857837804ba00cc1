"""Questions that the author of the published study left open."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .measured import (
    COLBERT,
    ENCODE_PASSAGES,
    FAISS_KMEANS,
    FINALIZE,
    INDEX,
    INDEXER_INDEX,
    MEMORY_PROFILER,
    MIB,
    NONE,
    PROCESS_CORPUS,
    RAGATOUILLE,
    SAMPLE_EMBEDDINGS,
    SPANS,
    TORCH_KMEANS,
    TRAIN,
    WORK,
    Group,
    Measured,
    Row,
    at,
    count,
    listed,
    mib,
    short,
    signed,
    span_words,
)
from .question import AUTHOR, EXPLAINED, Found, Question, not_testable, tested

_MOST_OF_TIME = 1.1  # a profiler that costs more than a tenth of the time disturbs what it measures
_MOST_PARTITIONS = 15_000  # up to these RAGatouille's PyTorch k-means takes all points at once
_WITHIN = 0.05  # of a size that a formula gives
_BACKENDS = ("faiss", "torch")


def _right_profiler(measured: Measured) -> Found:
    missed: list[tuple[float, Group, str]] = []
    evidence = []
    groups = []
    for group in measured.groups:
        functions = [
            function for function in (ENCODE_PASSAGES, SAMPLE_EMBEDDINGS, TRAIN, INDEX, FINALIZE)
            if group.level(function) and group.reading(function)
        ]  # fmt: skip
        if not functions:
            continue
        groups.append(group)
        gaps = []
        for function in functions:
            level, reading = group.level(function), group.reading(function)
            assert level and reading
            gaps.append((level.needed - max(reading.increment, 0.0), function))
        gap, function = max(gaps)
        level, reading = group.level(function), group.reading(function)
        assert level and reading
        missed.append((gap, group, function))
        evidence.append(span_words(group, function, level))
        evidence.append(
            f"memory_by_function: {group}, {short(function)}: start {mib(reading.start)}, increment "
            f"{signed(reading.increment)}, final {mib(reading.final)}"
        )
    ratios = [
        row
        for row in measured.rows("memory_comparison")
        if row["comparison"] == "profilers"
        and row["right"].endswith(f"/{MEMORY_PROFILER}")
        and row["quantity"] == "index_seconds"
        and row["ratio"] is not None
    ]
    if not missed or not ratios:
        return not_testable(
            "No system was run under none, spans and memory_profiler at one size.",
            "The profilers none, spans and memory_profiler for one system at one size (config/default.yaml has them).",
        )
    evidence += [
        f"memory_comparison: {count(row['documents'])} documents, {row['left']} → {row['right']}, index_seconds x "
        f"{row['ratio']:.2f} ({row['left_runs']} and {row['right_runs']} runs)"
        for row in ratios
    ]
    gap, group, function = max(missed, key=lambda each: each[0])
    slowest = max(row["ratio"] for row in ratios)
    blind, slow = gap > measured.noise.mib, slowest > _MOST_OF_TIME
    level, reading = group.level(function), group.reading(function)
    assert level and reading
    answer = (
        f"{at(groups).capitalize()} the index call takes up to {slowest:.1f} times as long under memory_profiler. "
        f"It reads memory between lines, and shows {signed(reading.increment)} for {short(function)} of {group.name} "
        f"({count(group.documents)} documents), which needs {mib(level.needed)} more than it starts with: "
        f"{mib(max(gap, 0.0))} within a line are not shown, "
        + ("more" if blind else "not more")
        + f" than chance makes ({measured.noise.words})."
    )
    if blind or slow:
        answer += " It tells which lines keep memory; for peaks and for time it is the wrong tool."
    return tested(not blind and not slow, answer, evidence)


def _logs_read_rightly(measured: Measured) -> Found:
    rows = [row for row in measured.rows("published_memory") if row["source"] == "published"]
    if not rows:
        return not_testable(
            "The table published_memory has no published row.",
            "config/published/memory_by_function.csv from the repository",
        )
    wrong = [row for row in rows if row["corrected"]]
    evidence = [
        f"published_memory: {row['system']}, {count(row['documents'])} documents, {row['function']}: the log "
        f"contradicts a published cell; start {mib(row['start_mib'])} in the log"
        for row in wrong
    ] + measured.quoted("logs_read_rightly")
    answer = (
        f"{len(wrong)} of {len(rows)} published rows have a cell that the log contradicts"
        if wrong
        else f"No cell of {len(rows)} published rows is contradicted by what is known of the logs"
    )
    if wrong:
        functions = sorted({row["function"] for row in wrong})
        systems = sorted({row["system"] for row in wrong})
        answer += f", all of {listed(functions)} and of {listed(systems)}"
    answer += ". "
    ends = _with_rows(measured.rows("memory_profiler_lines"))
    if ends:
        evidence += [words for _, words in ends]
        at_end = sum(is_end for is_end, _ in ends)
        answer += (
            f"In {at_end} of {len(ends)} logs made here the row of `with` above `self.setup()` has the memory at the "
            "end of the block, not the start of setup; in the study's logs of RAGatouille too, and it is the "
            "number that was published as the start. Start, increment and final of the other cells are read as "
            "memory_profiler means them."
            if wrong
            else f"In {at_end} of {len(ends)} logs made here the row of `with` has the memory at the end of its block."
        )
    return tested(not wrong, answer.strip(), evidence)


def _with_rows(lines: Sequence[Row]) -> list[tuple[bool, str]]:
    """Of each log's table of `run`: whether the row of its `with` shows the end of the block, and in words."""
    tables: dict[tuple[str, int], list[Row]] = {}
    for line in lines:
        if line["function"] == "run" and line["memory_mib"] is not None and "index_runs/" in line["log"]:
            tables.setdefault((line["log"], line["table"]), []).append(line)
    found = []
    for (log, _), of_table in tables.items():
        of_table.sort(key=lambda line: line["line_number"])
        opened = next((line for line in of_table if line["line_contents"].strip().startswith("with ")), None)
        if opened is None or of_table[0] is opened:
            continue
        start, last, shown = of_table[0]["memory_mib"], of_table[-1]["memory_mib"], opened["memory_mib"]
        found.append(
            (
                abs(shown - last) < abs(shown - start),
                f"memory_profiler_lines: {log.rpartition('index_runs/')[2]}, `{opened['line_contents'].strip()}`: "
                f"{mib(shown)}; run starts at {mib(start)}, its block ends at {mib(last)}",
            )
        )
    return found


def _starts_higher(measured: Measured) -> Found:
    evidence, told, holds = [], [], []
    for group, other in measured.pairs():
        ours, base = group.level(INDEXER_INDEX), other.level(INDEXER_INDEX)
        split = group.level(PROCESS_CORPUS)
        if not ours or not base or not split:
            continue
        gap, loaded = ours.start - base.start, split.start - base.start
        holds.append(gap > measured.noise.mib and loaded > gap / 2)
        told.append((group, other, gap, loaded, split.kept))
        evidence += [
            span_words(group, PROCESS_CORPUS, split),
            span_words(group, INDEXER_INDEX, ours),
            span_words(other, INDEXER_INDEX, base),
        ]
        evidence += _parts_at_start(measured, group) + _parts_at_start(measured, other)
    if not holds:
        return not_testable(
            "No size has spans of both frameworks.",
            "RAGatouille and ColBERT under the profiler spans at one size (config/default.yaml).",
        )
    group, other, gap, loaded, split_mib = told[-1]
    answer = (
        f"At {count(group.documents)} documents `indexer.index` of {group.name} starts {mib(gap)} "
        f"{'above' if gap >= 0 else 'below'} that of {other.name}. Before the corpus is split, with the libraries "
        f"imported and the checkpoint loaded, the difference is {mib(loaded)}; splitting adds {mib(split_mib)}."
    )
    for fair, same in measured.fair_pairs():
        ours, base = fair.level(INDEXER_INDEX), same.level(INDEXER_INDEX)
        if ours and base:
            answer += (
                f" Beside {same.name}, in the same environment and process model, it is "
                f"{mib(ours.start - base.start)} at {count(fair.documents)} documents."
            )
            evidence.append(span_words(same, INDEXER_INDEX, base))
            break
    answer += (
        " ColBERT's work runs in a child, which loads the checkpoint after this start; with more documents the "
        "corpus, which both hold as Python objects, and RAGatouille's passages of it, decide instead."
    )
    return tested(all(holds), answer, evidence + measured.quoted("ragatouille_starts_higher"))


def _parts_at_start(measured: Measured, group: Group) -> list[str]:
    """What the ledger knows of what a process holds before it works: libraries, modules, weights, corpus."""
    parts = ("libraries and files", "imported modules", "model weights", "corpus")
    runs = {run["run"] for run in group.runs}
    sums: dict[str, float] = {}
    for row in measured.rows("ledger"):
        of_start = row["run"] in runs and row["moment"] == "planning" and row["part"] in parts
        if of_start and row["role"] in ("parent", "worker"):
            words = f"{row['part']} of the {row['role']}"
            sums[words] = sums.get(words, 0.0) + row["mib"]
    if not sums:
        return []
    return [
        f"ledger: {group}, planning: " + ", ".join(f"{name} {mib(value)}" for name, value in sums.items())
    ]


def _retains_more(measured: Measured) -> Found:
    evidence, holds, told = [], [], []
    for group, other in measured.fair_pairs():
        ours, base = group.level(INDEXER_INDEX), other.level(INDEXER_INDEX)
        if not ours or not base:
            continue
        holds.append(ours.kept - base.kept > measured.noise.mib)
        told.append((group, other, ours.kept, base.kept))
        evidence += [span_words(group, INDEXER_INDEX, ours), span_words(other, INDEXER_INDEX, base)]
    shipped = []
    for group, other in measured.pairs():
        ours, parent, child = group.level(INDEXER_INDEX), other.level(INDEXER_INDEX), other.level(WORK)
        if ours and parent and child and child.role == "worker":
            shipped.append((group, other, ours.kept, parent.kept, child.kept))
            evidence += [span_words(other, INDEXER_INDEX, parent), span_words(other, WORK, child)]
    if not holds:
        return not_testable(
            "No RAGatouille and ColBERT were given the same work in one process, with spans.",
            "systems [ragatouille_faiss_true, colbert_fair] under the profiler spans at one size "
            "(config/default.yaml).",
            evidence,
        )
    group, other, kept, base_kept = told[-1]
    answer = (
        f"At {count(group.documents)} documents `indexer.index` keeps {mib(kept)} in {group.name} and "
        f"{mib(base_kept)} in {other.name}, with the same passages, settings, environment and one process each; "
        f"chance: {measured.noise.words}."
    )
    if shipped:
        group, other, kept, parent_kept, child_kept = shipped[-1]
        answer += (
            f" As shipped the comparison is of unequal things: {mib(kept)} against {mib(parent_kept)} at "
            f"{count(group.documents)} documents, because in {other.name} that line is the waiting parent; its child "
            f"gains {mib(child_kept)}, and takes them along as it exits."
        )
    return tested(all(holds), answer, evidence + measured.quoted("ragatouille_retains_more"))


def _falls_in_index(measured: Measured) -> Found:
    levels = [
        (group, level) for group in measured.of(RAGATOUILLE) if (level := group.level(INDEX)) is not None
    ]
    if not levels:
        return not_testable(
            "No completed run of RAGatouille has spans.",
            "RAGatouille under the profiler spans (config/default.yaml).",
        )
    falls = [level.kept < 0 for _, level in levels]
    evidence = [span_words(group, INDEX, level) for group, level in levels]
    for group in measured.of(COLBERT):
        if level := group.level(INDEX):
            evidence.append(span_words(group, INDEX, level))
    changes = [f"{signed(level.kept)} ({group.name}, {count(group.documents)})" for group, level in levels]
    blocks = [block for group, _ in levels if (block := sample_of(group)) is not None]
    answer = (
        f"{at([group for group, _ in levels]).capitalize()} memory falls over index() in {sum(falls)} of {len(falls)} "
        f"systems and sizes of RAGatouille: {', '.join(changes)}."
    )
    if blocks and not any(group.is_mapped(sample_of(group) or 0.0) for group, _ in levels):
        answer += (
            f" The sample of embeddings that setup leaves, {mib(min(blocks))} to {mib(max(blocks))}, is too small here "
            "for malloc to give it back at once, so these changes are the allocator's."
        )
    answer += (
        " In the study's logs the fall is the sample of embeddings (sampled tokens x dim x 2 bytes) less what "
        "index() adds: RAGatouille's process held the sample until then."
    )
    return tested(all(falls), answer, evidence + measured.quoted("memory_falls_in_index"))


def sample_of(group: Group) -> float | None:
    """What encode_passages returns to `_sample_embeddings` (MiB): float32 on a CPU, float16 on CUDA.

    k-means gets 95 % of it, the rest (at most 50,000 embeddings) is held out.
    """
    points, dim = group.fact("kmeans_points"), group.fact("dim")
    if points is None or dim is None:
        return None
    sampled = points + min(points * 0.05 / 0.95, 50_000)
    return float(sampled * dim * (2 if str(group.fact("device")).startswith("cuda") else 4) / MIB)


def _cuda_exhausted(measured: Measured) -> Found:
    holds, evidence, told = [], [], []
    for group in measured.groups:
        matrix, level = group.matrix_mib(), group.level(TORCH_KMEANS)
        if group.fact("kmeans_backend") != "torch" or not matrix or not level:
            continue
        if group.fact("partitions") > _MOST_PARTITIONS or str(group.fact("device")).startswith("cuda"):
            continue
        holds.append(level.needed >= (1 - _WITHIN) * matrix)
        told.append((group, matrix, level.needed))
        evidence.append(span_words(group, TORCH_KMEANS, level))
        evidence.append(
            f"runs: {group}: {count(group.fact('kmeans_points'))} points x {count(group.fact('partitions'))} "
            f"partitions x 4 bytes = {mib(matrix)}"
        )
        evidence += _tensors(
            measured, group, "kmeans", (group.fact("kmeans_points"), group.fact("partitions"))
        )
    if not holds:
        return not_testable(
            f"No run clustered with PyTorch, on a CPU, into at most {count(_MOST_PARTITIONS)} partitions under spans.",
            "system ragatouille_faiss_false under the profiler spans (config/default.yaml).",
            measured.quoted("cuda_memory_exhausted"),
        )
    group, matrix, needed = told[-1]
    answer = (
        f"At {count(group.documents)} documents points x partitions x 4 bytes is {mib(matrix)}; the k-means of "
        f"{group.name} needs {mib(needed)} above its start, {needed / matrix:.1f} times that: two steps of the "
        "distances, and the assignment of points to partitions (as numbers, of the iteration before) are held at "
        "once. By the library's source the distances are cut to the memory that is free on CUDA, the assignment "
        "is not: the 27.55 GiB that could not be had at 10,000 documents fit the size of either."
    )
    return tested(all(holds), answer, evidence + measured.quoted("cuda_memory_exhausted"))


def _tensors(measured: Measured, group: Group, function: str, sizes: tuple[int, int]) -> list[str]:
    """What the ledger lists of that function, of 4 bytes a number, whose shape has these two sizes."""
    runs = {run["run"] for run in group.runs}
    found = []
    for row in measured.rows("ledger"):
        numbers = {int(number) for number in re.findall(r"\d+", row["shape"] or "")}
        where = f"{row['function']} {row['source']}"
        if row["run"] in runs and row["dtype"] == "float32" and set(sizes) <= numbers and function in where:
            words = (
                f"ledger: {group}, at the {row['moment']}: {row['name']} {row['shape']} {row['dtype']} of "
                f"{row['function']}, {mib(row['mib'])} ({row['evidence']})"
            )
            if words not in found:
                found.append(words)
    return found


def _falls_back(measured: Measured) -> Found:
    failed = [run for run in measured.rows("runs") if run["kmeans_failures"]]
    if not failed:
        return not_testable(
            "No k-means failed in any run.",
            f"{EXPLAINED}: its system ragatouille_limited is given too little memory for PyTorch's k-means.",
            measured.quoted("fallback_to_faiss"),
        )
    spans = measured.rows("spans")
    holds, evidence, told = [], [], []
    for run in failed:
        trains = sorted(
            (span for span in spans if span["run"] == run["run"] and span["function"] == TRAIN),
            key=lambda span: span["started_seconds"],
        )
        same = len({span["process_id"] for span in trains}) <= 1
        holds.append(run["outcome"] == "completed" and run["kmeans_backend"] == "faiss" and same)
        told.append((run, trains))
        evidence.append(
            f"runs: {run['run']}: {run['kmeans_attempts']} attempts; failed: {run['kmeans_failures']}; then "
            f"{run['kmeans_backend']}; outcome {run['outcome']}"
        )
        evidence += [
            f"spans: {run['run']}, train, attempt {number}: {span['started_seconds']:.1f} to "
            f"{span['ended_seconds']:.1f} s, start {mib(span['start_rss_mib'])}, end {mib(span['end_rss_mib'])}, exact "
            f"peak {mib(span['peak_rss_mib'])}" + (f", {span['raised']}" if span["raised"] else "")
            for number, span in enumerate(trains, start=1)
        ]
    run, trains = told[-1]
    backend, _, error = run["kmeans_failures"].partition(":")
    answer = (
        f"At {count(run['documents'])} documents the {backend} k-means of {run['label'] or run['system']} "
        f"{_asked_for(run, error)}; "
        + (
            f"{run['kmeans_backend']} was tried after it, and the run ended as {run['outcome']}."
            if run["kmeans_attempts"] > 1
            else f"nothing was tried after it, and the run ended as {run['outcome']}."
        )
    )
    if len(trains) > 1:
        answer += (
            " The second attempt begins with all of indexing anew, in the same process: "
            f"{trains[1]['started_seconds'] - trains[0]['ended_seconds']:.1f} s between the two train(), in which the "
            "sample is encoded again."
        )
    return tested(all(holds), answer, evidence + measured.quoted("fallback_to_faiss"))


def _asked_for(run: Row, error: str) -> str:
    """What a k-means could not have, beside a number of 4 bytes for each point and partition."""
    wanted = re.search(r"[Tt]ried to allocate ([\d.]+) (bytes|MiB|GiB)", error)
    if not wanted:
        return f"failed ({error.strip()})"
    unit = {"bytes": 1 / MIB, "MiB": 1.0, "GiB": 1024.0}[wanted[2]]
    words = f"asked for {mib(float(wanted[1]) * unit)} and did not get them"
    if run["kmeans_points"] and run["partitions"]:
        matrix = run["kmeans_points"] * run["partitions"] * 4 / MIB
        words += (
            f" ({count(run['kmeans_points'])} points x {count(run['partitions'])} partitions x 4 bytes are "
            f"{mib(matrix)})"
        )
    return words


def _encodes_alike(measured: Measured) -> Found:
    holds, evidence, told = [], [], []
    by_backend = {
        backend: {
            group.documents: group
            for group in measured.of(RAGATOUILLE)
            if group.fact("kmeans_backend") == backend and group.level(ENCODE_PASSAGES)
        }
        for backend in _BACKENDS
    }
    faiss, torch = (by_backend[backend] for backend in _BACKENDS)
    for documents in sorted(faiss.keys() & torch.keys()):
        left, right = faiss[documents], torch[documents]
        if left.fact("passages") != right.fact("passages"):
            continue
        for call, when in ((0, "the sample"), (1, "the collection")):
            one, other = left.level(ENCODE_PASSAGES, call), right.level(ENCODE_PASSAGES, call)
            if one and other:
                holds.append(abs(one.needed - other.needed) <= measured.noise.mib)
                told.append(
                    f"{mib(one.needed)} and {mib(other.needed)} for {when} of {count(documents)} documents"
                )
                evidence += [
                    span_words(left, ENCODE_PASSAGES, one),
                    span_words(right, ENCODE_PASSAGES, other),
                ]
    if not holds:
        return not_testable(
            "No size was run with both backends of k-means on the same passages, with spans. (From 75,000 passages on "
            "RAGatouille runs faiss with either value of use_faiss, so nothing could differ.)",
            "systems [ragatouille_faiss_true, ragatouille_faiss_false] under the profiler spans (config/default.yaml).",
        )
    answer = (
        f"{sum(holds)} of {len(holds)} calls of encode_passages need as much above their start with faiss as with "
        f"PyTorch, within {measured.noise.words}: {'; '.join(told)}. use_faiss chooses the k-means, which runs after "
        "the sample and before the collection is encoded, by the same code; from 75,000 passages on it chooses nothing."
    )
    return tested(all(holds), answer, evidence + measured.quoted("encoding_alike"))


def _ghost(measured: Measured) -> Found:
    verdicts: list[bool] = []
    evidence, told, hidden = [], [], []
    for group in measured.groups:
        copy, level = group.sample_mib(4), group.level(FAISS_KMEANS)
        if group.fact("kmeans_backend") != "faiss" or copy is None:
            continue
        sizes = (group.fact("kmeans_points"), group.fact("dim"))
        alive = _tensors(measured, group, "compute_faiss_kmeans", sizes)
        if level:
            evidence.append(span_words(group, FAISS_KMEANS, level))
        if alive:
            verdicts.append(True)
            evidence += alive
            told.append(f"{group}: {mib(copy)} predicted, and the ledger lists it")
        elif level and group.is_mapped(copy):
            verdicts.append(level.needed >= (1 - _WITHIN) * copy)
            told.append(f"{group}: {mib(copy)} predicted, compute_faiss_kmeans needs {mib(level.needed)}")
        elif level:
            hidden.append((group, copy, level.needed))
    if not verdicts:
        reason = "No run clustered with faiss under the profiler spans or ledger."
        if hidden:
            group, copy, needed = hidden[-1]
            reason = (
                f"At {count(group.documents)} documents the copy would be {mib(copy)} ({group.name}); blocks so small "
                f"come from memory that malloc holds already, so the RSS cannot show it ({mib(needed)} more in "
                "compute_faiss_kmeans)."
            )
        return not_testable(
            reason,
            f"{EXPLAINED}: the profiler ledger lists what is alive.",
            evidence + measured.quoted("ghost"),
        )
    lines = sum(
        "compute_faiss_kmeans" in (row["function"] or "") for row in measured.rows("memory_profiler_lines")
    )
    answer = (
        f"In `sample.float().numpy()` of compute_faiss_kmeans: a float32 copy of the sample, points x dim x 4 bytes. "
        f"{'; '.join(told)}. "
        + (
            "memory_profiler has no line of that function, which the study did not decorate: it is within one line "
            "(`self.train`), and gone when the line ends."
            if not lines
            else f"memory_profiler has {lines} lines of that function."
        )
    )
    return tested(all(verdicts), answer, evidence + measured.quoted("ghost"))


QUESTIONS = (
    Question(
        "right_profiler", AUTHOR, "Is memory_profiler the right way to profile an index build?",
        "memory_profiler shows what each function needs at its peak, and costs at most a tenth of the time",
        f"each system under {NONE}, {SPANS} and {MEMORY_PROFILER}: increment of a function against its exact peak, "
        "time against none", _right_profiler,
    ),
    Question(
        "logs_read_rightly", AUTHOR, "Did the study read its logs rightly?",
        "no published cell is contradicted by the log of its run",
        "published cells against the logs; the row of `with` in logs made here", _logs_read_rightly,
    ),
    Question(
        "ragatouille_starts_higher", AUTHOR, "Why does RAGatouille start higher?",
        "its process starts higher for what it loads before it indexes, more than for the corpus that it splits",
        "RSS as `indexer.index` begins, and before the corpus is split, against ColBERT as shipped", _starts_higher,
    ),
    Question(
        "ragatouille_retains_more", AUTHOR, "Why does RAGatouille retain more?",
        "given the same work in one process, RAGatouille's `indexer.index` keeps more memory than ColBERT's",
        "end less start of `indexer.index` in the fair pair; beside it ColBERT's parent and child as shipped",
        _retains_more,
    ),
    Question(
        "memory_falls_in_index", AUTHOR, "Why does memory fall in index()?",
        "in RAGatouille memory is lower at the end of index() than at its start",
        "end less start of CollectionIndexer.index, systems of RAGatouille", _falls_in_index,
    ),
    Question(
        "cuda_memory_exhausted", AUTHOR, "Why do 10,000 documents exhaust CUDA memory?",
        "PyTorch's k-means holds a number of 4 bytes for each point and partition at once",
        "points x partitions x 4 bytes against what compute_pytorch_kmeans needs above its start", _cuda_exhausted,
    ),
    Question(
        "fallback_to_faiss", AUTHOR, "What happens when PyTorch's k-means gets no memory?",
        "RAGatouille falls back to faiss in the same process, and the index is built",
        "RAGatouille with use_faiss=False under a limit of memory", _falls_back,
    ),
    Question(
        "encoding_alike", AUTHOR, "Why does memory of encoding not depend on use_faiss?",
        "encode_passages needs as much above its start with faiss as with PyTorch, within what chance makes",
        "exact peak less start of encode_passages, both backends, same passages", _encodes_alike,
    ),
    Question(
        "ghost", AUTHOR, "Where is the ghost of 3 GB that no line shows?",
        "compute_faiss_kmeans holds a float32 copy of the sample, points x dim x 4 bytes",
        "the copy by its formula against the ledger's tensor, or the exact peak of compute_faiss_kmeans", _ghost,
    ),
)  # fmt: skip
