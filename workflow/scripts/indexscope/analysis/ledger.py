"""What was alive at the highest points of a run, as parts that add up to the memory of its process tree.

`indexscope.ledger` observed; here each byte is given to one part. A process's RSS is its file pages, and the
anonymous pages of: private pages of mapped files, blocks that malloc has handed out, arenas of Python's allocator of
small objects, and what malloc keeps free. Blocks are named once: a tensor's block is taken from the line that
allocated it, weights and the corpus from the lines that hold most. What is left of the RSS is `unexplained`, which
is negative where blocks were counted that were not resident.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from indexscope.run_record import InputError, RunIdentity, read_run_record

FILES = "libraries and files"
IMPORTED = "imported modules"
WEIGHTS = "model weights"
CORPUS = "corpus"
TENSORS = "tensors"
BUFFERS = "native buffers"
OBJECTS = "Python objects"
RETAINED = "retained by the allocator"
CUDA = "CUDA context"
OTHERS = "other processes"
UNEXPLAINED = "unexplained"
PARTS = (
    FILES,
    IMPORTED,
    WEIGHTS,
    CORPUS,
    TENSORS,
    BUFFERS,
    OBJECTS,
    RETAINED,
    CUDA,
    OTHERS,
    UNEXPLAINED,
)
SMALLEST_MIB = 1.0  # what is smaller is added up by part, but for tensors
SMALLEST_TENSOR_MIB = 1 / 16
OBSERVED, INFERRED = "observed", "inferred"
_REMEDY = "the file is damaged; run index_collection.py again"
_MIB = 2**20


@dataclass(frozen=True)
class Part:
    """A named part of a process's memory."""

    part: str
    name: str
    mib: float
    basis: str
    evidence: str = OBSERVED
    function: str | None = None
    source: str | None = None
    operator: str | None = None
    shape: str | None = None
    dtype: str | None = None
    device: str = "cpu"
    blocks: int | None = None


def rows(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.LEDGER from ledger.jsonl files; each lies beside its run.json.

    Raises:
        InputError: a run.json is missing, or a line is damaged (named by its number).
    """
    for path in paths:
        record_path = path.with_name("run.json")
        key = RunIdentity.of(read_run_record(record_path)["run"], record_path).columns()
        for line in _lines(path):
            moment = {
                name: line[name] for name in ("moment", "seconds", "tree_rss_mib", "process_id", "role")
            }
            for part in compose(line):
                yield {**key, **moment, **vars(part)}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                try:
                    line = json.loads(text)
                    line["moment"], line["seconds"], line["tree_rss_mib"], line["rss_mib"], line["recorded"]
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{path}:{number}: no line of a ledger ({error!r}): {_REMEDY}"
                    ) from error
                yield line
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}): {_REMEDY}") from error


def compose(line: Mapping[str, Any]) -> list[Part]:
    """The parts of one process at one moment; those on the CPU add up to its RSS."""
    facts = line["recorded"]
    if facts is None:
        name = line["name"] or "helper of multiprocessing"
        return [Part(OTHERS, name, line["rss_mib"], "RSS, read from outside")]
    heap = _Heap(facts.get("heap") or [])
    parts = [
        *_files(facts, line["shared_mib"]),
        *_tensors(facts, heap),
        *_corpus(facts, heap),
        *_imported(facts, heap),
        *heap.rest(),
        *_retained(facts),
    ]
    parts = _without_small(parts)
    known = sum(part.mib for part in parts)
    parts.append(
        Part(
            UNEXPLAINED,
            UNEXPLAINED,
            line["rss_mib"] - known,
            "RSS less all other parts; negative where blocks were counted whose pages had not been touched",
        )
    )
    return parts + _gpu(facts)


# Files


def _files(facts: Mapping[str, Any], shared_mib: float) -> Iterator[Part]:
    """Pages of files, by package; their sum is read from outside, their shares from the nearest smaps."""
    found = facts.get("mappings")
    if not found:
        yield Part(
            FILES, "all files", shared_mib, "file and shared pages, read from outside; no smaps was read"
        )
        return
    total = sum(found["files"].values()) / 1024
    scale = shared_mib / total if total else 0.0
    basis = f"/proc/self/smaps, {_apart(facts, 'mappings')}, scaled by {scale:.3f} to the file pages of the moment"
    for owner, kib in found["files"].items():
        yield Part(FILES, owner, kib / 1024 * scale, basis)
    smaps = f"/proc/self/smaps, {_apart(facts, 'mappings')}"
    basis = f"private pages where a file is mapped: relocated and zero-filled data; {smaps}"
    for owner, kib in found["private"].items():
        yield Part(FILES, f"{owner}, private pages", kib / 1024, basis)
    yield Part(FILES, "stack of the main thread", found["stack"] / 1024, smaps)


def _apart(facts: Mapping[str, Any], name: str) -> str:
    seconds = facts[name]["at"] - facts["at"] if "at" in facts else 0.0
    return f"{abs(seconds):.2f} s {'before' if seconds < 0 else 'after'}"


# The heap


class _Heap:
    """Lines of the heap, of which named blocks are taken away; bytes."""

    def __init__(self, lines: Sequence[Mapping[str, Any]]) -> None:
        self.lines = [dict(line) for line in lines]

    def take(self, wanted: float, lines: Iterable[dict[str, Any]]) -> float:
        """Take up to `wanted` bytes from these lines, in order; returns what there was."""
        taken = 0.0
        for line in lines:
            share = min(wanted - taken, line["bytes"])
            if share <= 0:
                continue
            line["bytes"] -= share
            taken += share
        return taken

    def of_source(self, source: str | None) -> list[dict[str, Any]]:
        """Lines where a tensor of `source` may have been allocated, aligned blocks first."""
        here = [line for line in self.lines if line["source"] == source and _is_block(line)]
        return sorted(here, key=lambda line: line["kind"] != "aligned")

    def later(self, *kinds: str) -> list[dict[str, Any]]:
        """Lines of a kind that no import made, largest first."""
        found = [
            line
            for line in self.lines
            if line["kind"] in kinds and not line["importing"] and not line["instrument"]
        ]
        return sorted(found, key=lambda line: -line["bytes"])

    def rest(self) -> Iterator[Part]:
        """What has no other name, by line."""
        for line in self.lines:
            if line["importing"] or line["bytes"] <= 0:
                continue
            mib = line["bytes"] / _MIB
            where = line["source"] or (
                f"lines of {line['package']}" if line["package"] else "no line of Python"
            )
            if line["instrument"]:
                yield Part(BUFFERS, "the ledger's own records", mib, _BLOCKS, blocks=line["blocks"])
            elif line["kind"] == "arena":
                basis = "arenas of Python's allocator of small objects, by the line that needed a new one"
                yield _placed(OBJECTS, f"small objects, {where}", mib, basis, line)
            elif _is_block(line):
                yield _placed(BUFFERS, f"{_library(line)}{where}", mib, _BLOCKS, line)


_BLOCKS = "live blocks of malloc, recorded by memray"


def _is_block(line: Mapping[str, Any]) -> bool:
    # Of a mapping nothing says that it is resident.
    return line["kind"] in ("aligned", "malloc")


def _library(line: Mapping[str, Any]) -> str:
    return "buffers aligned as tensors are, " if line["kind"] == "aligned" else ""


def _placed(part: str, name: str, mib: float, basis: str, line: Mapping[str, Any]) -> Part:
    return Part(
        part, name, mib, basis, function=line["function"], source=line["source"], blocks=line["blocks"]
    )


def _tensors(facts: Mapping[str, Any], heap: _Heap) -> Iterator[Part]:
    """Storages of tensors and weights, as far as blocks of the heap are theirs."""
    alive = [each for each in facts.get("tensors") or [] if each["device"] == "cpu"]
    weights = [each for each in alive if each.get("weights") or each.get("model")]
    for tensor in (each for each in alive if not (each.get("weights") or each.get("model"))):
        # One that no operator made has a block that its own line shows.
        if tensor["operator"] is None:
            continue
        taken = heap.take(tensor["bytes"], heap.of_source(tensor["source"]))
        if not taken:
            taken = heap.take(
                tensor["bytes"], [line for line in heap.later("aligned") if line["source"] is None]
            )
        # While its operator still runs, there is as much of it as the heap shows.
        made = tensor["made"] <= facts["at"]
        if made or taken:
            yield _tensor(tensor, (tensor["bytes"] if made else taken) / _MIB)
    yield from _weights(weights, heap)


def _tensor(tensor: Mapping[str, Any], mib: float) -> Part:
    return Part(
        TENSORS,
        f"{tensor['operator']} {tensor['shape']} {tensor['dtype']}",
        mib,
        "storage of an operator's output, alive; its block recorded by memray",
        function=tensor["function"],
        source=tensor["source"],
        operator=tensor["operator"],
        shape=tensor["shape"],
        dtype=tensor["dtype"],
        blocks=1,
    )


def _weights(weights: Sequence[Mapping[str, Any]], heap: _Heap) -> Iterator[Part]:
    on_heap = [each for each in weights if not each.get("mapped")]
    taken = 0.0
    for each in on_heap:
        lines = heap.of_source(each["source"]) if each["source"] else []
        mine = heap.take(each["bytes"], lines)
        taken += mine + heap.take(each["bytes"] - mine, heap.later("aligned"))
    left = sum(each["bytes"] for each in on_heap) - taken
    taken += heap.take(left, heap.later("malloc"))
    if on_heap:
        yield Part(
            WEIGHTS,
            "parameters and buffers of modules",
            taken / _MIB,
            "storages of torch.nn.Module parameters and buffers, found in the process; their blocks recorded by memray",
            dtype=", ".join(sorted({each["dtype"] for each in on_heap})),
            blocks=len(on_heap),
        )


def _corpus(facts: Mapping[str, Any], heap: _Heap) -> Iterator[Part]:
    corpus = facts.get("corpus")
    if not corpus:
        return
    large = heap.take(corpus["large"], heap.later("malloc"))
    small = heap.take(corpus["small"], heap.later("arena"))
    yield Part(
        CORPUS,
        "texts",
        (large + small) / _MIB,
        "lists of texts found in the process, sizes by sys.getsizeof; taken from the lines that hold most",
        blocks=corpus["strings"],
    )


def _imported(facts: Mapping[str, Any], heap: _Heap) -> Iterator[Part]:
    """What modules allocated as they were imported, in Python's arenas and in blocks, by package."""
    sizes: dict[str, float] = defaultdict(float)
    for line in heap.lines:
        if line["importing"] and line["kind"] != "mapping":
            sizes[line["package"] or "python"] += line["bytes"]
    for package, size in sizes.items():
        yield Part(
            IMPORTED,
            package,
            size / _MIB,
            f"{_BLOCKS}, and arenas of Python's allocator; made during an import",
        )
    overhead = facts.get("malloc_overhead_bytes")
    if overhead is not None:
        yield Part(
            IMPORTED,
            "what libraries allocate as they are loaded, and malloc's headers",
            overhead / _MIB,
            "handed out by malloc (mallinfo2) but not seen by memray: initialisers of shared libraries, blocks older "
            "than the recording, the recording's own, headers and padding; at the nearest calm moment",
        )


def _retained(facts: Mapping[str, Any]) -> Iterator[Part]:
    sample = facts.get("sample") or {}
    trim = facts.get("trim")
    given_back = (trim["before"]["anon"] - trim["after"]["anon"]) / 1024 if trim else None
    if "free" in sample:
        free = sample["free"] / _MIB
        basis = f"mallinfo2, {_apart(facts, 'sample')}; taken as resident{_checked(trim)}"
        if trim and given_back is not None and trim["at"] <= sample["at"]:
            free = max(0.0, free - given_back)  # free still, but no longer resident
            basis = f"mallinfo2, {_apart(facts, 'sample')}, less what a malloc_trim before it gave back"
        yield Part(RETAINED, "free blocks of malloc", free, basis, INFERRED)
    elif given_back is not None:  # no mallinfo2: what it kept at the end stands for the moment
        basis = "what one malloc_trim at the end of the process gave back"
        yield Part(RETAINED, "free blocks of malloc", given_back, basis, INFERRED)


def _checked(trim: Mapping[str, Any] | None) -> str:
    if trim is None or "free" not in trim["before"]:
        return ""
    gave = (trim["before"]["anon"] - trim["after"]["anon"]) / 1024
    return f"; at the end it was {trim['before']['free'] / _MIB:.0f} MiB and one malloc_trim gave {gave:.0f} back"


def _gpu(facts: Mapping[str, Any]) -> list[Part]:
    """Parts of a GPU's memory; no part of the RSS. Source: torch.cuda's counters."""
    gpu = facts.get("gpu")
    if not gpu:
        return []
    device = gpu["device"]
    parts = [
        replace(
            _tensor(tensor, tensor["bytes"] / _MIB),
            part=WEIGHTS if tensor.get("weights") or tensor.get("model") else TENSORS,
            device=device,
            basis="storage of an operator's output, alive",
        )
        for tensor in facts.get("tensors") or []
        if tensor["device"] == device
    ]
    held = sum(part.mib for part in parts)
    counters = f"torch.cuda, {_apart(facts, 'gpu')}"
    parts.append(Part(BUFFERS, "other allocations", gpu["allocated"] / _MIB - held, counters, device=device))
    free = (gpu["reserved"] - gpu["allocated"]) / _MIB
    parts.append(Part(RETAINED, "PyTorch's cache", free, counters, device=device))
    context = (gpu["used"] - gpu["reserved"]) / _MIB
    parts.append(Part(CUDA, "CUDA context, and what others hold", context, counters, device=device))
    return parts


def _without_small(parts: Iterable[Part]) -> list[Part]:
    """Small parts added up, by part and kind of evidence; parts of the same name are one."""
    same: dict[Any, Part] = {}
    for part in parts:
        smallest = SMALLEST_TENSOR_MIB if part.part == TENSORS else SMALLEST_MIB
        if part.mib < smallest and part.part in (FILES, IMPORTED, TENSORS, BUFFERS, OBJECTS):
            named = Part(part.part, "smaller ones", part.mib, part.basis, part.evidence, blocks=part.blocks)
            key: Any = (named.part, named.name)
        else:
            named = part
            key = replace(part, mib=0.0, blocks=None)
        known = same.get(key)
        if known is None:
            same[key] = named
        else:
            blocks = None if known.blocks is None or part.blocks is None else known.blocks + part.blocks
            same[key] = replace(known, mib=known.mib + part.mib, blocks=blocks)
    found = [part for part in same.values() if part.mib]
    return sorted(found, key=lambda part: (PARTS.index(part.part), -part.mib))
