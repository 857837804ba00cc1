"""What measuring a configuration will take: minutes, disk and memory, before it starts and while it runs.

A run's time is a start-up part plus a part by documents. Both come from finished runs of the same system under
`index_runs/` where there are any, else from coefficients measured elsewhere (below, with their sources). Sizes
come from shapes, memory from the memory model. All of it is an estimate: right for planning an afternoon, not for
a paper.
Standard library and the configuration's models only: the Snakefile imports it.
"""

from __future__ import annotations

import itertools
import math
import shutil
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from indexscope import config as configuration
from indexscope import memory_plan
from indexscope.cells import Cell
from indexscope.config import Configuration, RunName
from indexscope.environments import pins
from indexscope.memory_plan import Case
from indexscope.run_record import COMPLETED, InputError, read_run_record

MIB = 2**20
SHORT_SECONDS = 150.0  # work shorter than this is announced in one line
_RECORDS_READ = 2000  # at most: reading them must not delay the start
_SENTENCES = 6  # at most, of runs that cannot fit
_REMEDIES = 3  # at most, in each
_WATCHED = 16  # runs whose end is waited for; a workstation measures one at a time

# Start-up seconds and seconds a document, profiler `none`, beside encoding itself. CPU: this project's default
# configuration on 2 cores (AMD EPYC) at 120, 200 and 500 documents, small synthetic checkpoint. CUDA, with encoding:
# RTX 6000 Ada, 100,000 to 2,000,000 documents, answerai-colbert-small-v1 (V. Bakshi's study of 2025-02-12 and
# "Memory Profiling raw ColBERT and RAGatouille", 2025-02-14: rows of config/published, wall time of its logs).
_COEFFICIENTS = {
    ("colbert", "cpu"): (11.0, 0.010),
    ("ragatouille", "cpu"): (9.5, 0.035),
    ("colbert", "cuda"): (40.0, 0.0014),
    ("ragatouille", "cuda"): (40.0, 0.0014),
}
# What a profiler makes of the two parts; `spans` costs less than runs differ. memory_profiler: the same sources.
# ledger and memray: processor time of one run each against one without, 200 documents on the same 2 cores, of the
# whole run (a part by documents of its own is not known); on CUDA they have not been measured and count the same.
_PROFILER_TIMES = {
    "memory_profiler": {
        ("colbert", "cpu"): (1.25, 1.25),
        ("ragatouille", "cpu"): (1.3, 1.3),
        ("colbert", "cuda"): (1.5, 1.5),
        ("ragatouille", "cuda"): (1.5, 5.0),
    },
    "memray": dict.fromkeys([("colbert", "cpu"), ("colbert", "cuda")], (3.4, 3.4))
    | dict.fromkeys([("ragatouille", "cpu"), ("ragatouille", "cuda")], (2.0, 2.0)),
    "ledger": dict.fromkeys([("colbert", "cpu"), ("colbert", "cuda")], (4.2, 4.2))
    | dict.fromkeys([("ragatouille", "cpu"), ("ragatouille", "cuda")], (2.7, 2.7)),
}
# BERT encoding 80-token passages in float32 on the same 2 cores: 33 per thread at width 128, 74 at width 384.
_FLOPS_PER_THREAD = 50e9
_TOKENS = 130  # a document: 100 a passage, 1.3 passages
_TEXT_BYTES = 2000  # a document
# Built environments, from `du`: one with torch and its CUDA libraries, one that shares them with another
# through hard links (the stand-in for conda), one without torch.
_TORCH_MIB, _SHARED_TORCH_MIB, _SMALL_MIB = 7600, 600, 600
_TORCH_VERSION_MIB = 5100  # an environment of torch_versions: 4.7 to 5.0 GiB for 2.0.1 and 2.1.0


class Measured(NamedTuple):
    """What a finished run tells of the next ones."""

    system: str
    cell: str
    documents: int
    profiler: str
    seconds: float
    start_up_seconds: float | None  # what is not in its phases; None where those were not recorded
    embeddings: int | None
    passages: int | None = None


class Need(NamedTuple):
    """The memory that a system's runs of one size need, in MiB; the largest of their profilers."""

    system: str
    documents: int
    runs: int
    case: Case
    host_mib: float
    host_phase: str
    gpu_mib: float  # 0 on a CPU
    gpu_phase: str


class Available(NamedTuple):
    """The memory that runs may have, in MiB; None where nothing says."""

    machine: float | None = None  # its memory, or its control group's limit
    limit: int | None = None  # measurement.memory_limit_mib
    gpu: float | None = None


class Line(NamedTuple):
    """seconds(documents) = start_up + per_document × documents."""

    start_up: float
    per_document: float

    def seconds(self, documents: int) -> float:
        return self.start_up + self.per_document * documents


@dataclass(frozen=True)
class Estimate:
    """What the runs that are to be made will take."""

    runs: int
    all_runs: int
    seconds: float
    disk_mib: dict[str, float]  # by what it is for, at the moment when most is there
    disk_mib_keeping_none: float
    needs: list[Need]  # of each system and size, the largest first
    sources: str  # one sentence: where the times come from

    @property
    def total_disk_mib(self) -> float:
        return sum(self.disk_mib.values())

    @property
    def memory_mib(self) -> int:
        """Of the run that needs most."""
        return math.ceil(self.needs[0].host_mib) if self.needs else 0


def read_measured(paths: Iterable[Path], cells: Mapping[str, Cell]) -> Iterator[Measured]:
    """Completed runs of systems of this configuration, on its device, corpus and checkpoint.

    A record that is damaged, or of something else, is passed over.
    """
    for path in paths:
        try:
            record = read_run_record(path)
            run, resolved = record["run"], record["resolved"]
            content = cells[run["system"]].content
            same = resolved["device"] == content["device"] and all(
                run[key] == content[key] for key in ("corpus", "checkpoint")
            )
            seconds = float(record["wall_seconds"])
            if record["outcome"] != COMPLETED or not same or not 0 < seconds < math.inf:
                continue
            phases = sum(
                resolved.get(f"{phase}_seconds") or 0
                for phase in ("planning", "training", "encoding", "finalizing")
            )
            yield Measured(
                run["system"],
                run["cell"],
                int(run["documents"]),
                run["profiler"],
                seconds,
                max(seconds - phases, 0.0) if phases else None,
                resolved.get("embeddings"),
                resolved.get("passages"),
            )
        except (InputError, KeyError, TypeError, ValueError, AttributeError):
            continue


def fit(measured: Sequence[Measured], start_up: float) -> Line | None:
    """The line through runs that differ in size only; None when there are none.

    Two sizes or more: least squares through the medians of the sizes. One size: what was not in the phases is
    the start-up; where phases are unknown, it is `start_up`, at most nine tenths of the time.
    """
    by_size: dict[int, list[float]] = {}
    for run in measured:
        by_size.setdefault(run.documents, []).append(run.seconds)
    points = [(size, statistics.median(seconds)) for size, seconds in sorted(by_size.items())]
    if not points:
        return None
    if len(points) > 1:
        sizes, seconds = zip(*points, strict=True)
        slope, intercept = statistics.linear_regression(sizes, seconds)
        if slope > 0 and intercept < 0:
            return Line(0.0, statistics.linear_regression(sizes, seconds, proportional=True).slope)
        if slope > 0:
            return Line(intercept, slope)
    documents, took = points[-1]
    known = [
        run.start_up_seconds
        for run in measured
        if run.documents == documents and run.start_up_seconds is not None
    ]
    start = min(statistics.median(known) if known else start_up, 0.9 * took)
    return Line(start, (took - start) / documents)


class Times:
    """Expected seconds of runs."""

    def __init__(
        self, settings: Configuration, cells: Mapping[str, Cell], measured: Iterable[Measured]
    ) -> None:
        self._cells = cells
        checkpoint = settings.checkpoints[settings.index_memory.checkpoint]
        self._encoder_flops = _encoder_flops(checkpoint)
        self.measured: dict[str, list[Measured]] = {name: [] for name in cells}
        for run in measured:
            self.measured[run.system].append(run)
        self._lines: dict[tuple[str, str], Line] = {}

    def add(self, run: Measured) -> None:
        """A run that has just finished counts for those to come."""
        self.measured[run.system].append(run)
        self._lines.clear()

    def seconds(self, run: RunName) -> float:
        system, documents, profiler, _ = run
        if (system, profiler) not in self._lines:
            self._lines[system, profiler] = self._line(system, profiler)
        return self._lines[system, profiler].seconds(documents)

    def _line(self, system: str, profiler: str) -> Line:
        """From runs under this profiler, else from those under another and a factor, else coefficients."""
        expected = self._coefficients(system, profiler)
        runs = self.measured[system]
        runs = [run for run in runs if run.cell == self._cells[system].digest] or runs
        for other in (profiler, "none", "spans", *_PROFILER_TIMES):
            line = fit([run for run in runs if run.profiler == other], expected.start_up)
            if line is not None:
                measured_with = self._coefficients(system, other)
                return Line(
                    line.start_up * expected.start_up / measured_with.start_up,
                    line.per_document * expected.per_document / measured_with.per_document,
                )
        return expected

    def _coefficients(self, system: str, profiler: str) -> Line:
        content = self._cells[system].content
        key = (content["framework"], content["device"])
        if key not in _COEFFICIENTS:  # a framework that was added
            key = ("ragatouille", content["device"])
        start_up, per_document = _COEFFICIENTS[key]
        if content["device"] == "cpu":
            per_document += _TOKENS * self._encoder_flops / (_FLOPS_PER_THREAD * content["threads"])
        factors = _PROFILER_TIMES.get(profiler, {}).get(key, (1.0, 1.0))
        return Line(start_up * factors[0], per_document * factors[1])

    def sources(self, runs: Collection[RunName]) -> str:
        """One sentence that says what the times rest on."""
        systems = list(dict.fromkeys(run[0] for run in runs))
        known = [run for system in systems for run in self.measured[system]]
        without = [system for system in systems if not self.measured[system]]
        parts = []
        if known:
            sizes = sorted({run.documents for run in known})
            span = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
            parts.append(
                f"{len(known)} finished {_plural(len(known), 'run')} of these systems ({span} documents), "
                "as a start-up part and a part by documents"
            )
        if without:
            device = self._cells[without[0]].content["device"]
            where = "two CPU cores" if device == "cpu" else "an RTX 6000 Ada"
            parts.append(f"coefficients of {where} for {', '.join(without)} (no finished run here yet)")
        return "Times are from " + "; and from ".join(parts) + "."


def _encoder_flops(checkpoint: Any) -> float:
    """Floating-point operations a token takes in the encoder's matrices: two for each weight.

    A checkpoint whose geometry is not in the configuration counts as 12 layers of width 384
    (answerai-colbert-small-v1).
    """
    layers = getattr(checkpoint, "layers", 12)
    width = getattr(checkpoint, "hidden_size", 384)
    inner = getattr(checkpoint, "intermediate_size", 4 * width)
    return float(2 * layers * (4 * width * width + 2 * width * inner))


def index_mib(content: Mapping[str, Any], dim: int, documents: int, tokens: float = _TOKENS) -> float:
    """An index's size, in MiB: residuals, codes and inverted lists (int32 each), centroids (float16), texts.

    Args:
        content: of the system's cell.
        dim: values of an embedding.
        documents: that are indexed.
        tokens: embeddings a document.

    The layout is that of colbert-ai 0.2.22; RAGatouille keeps the texts beside it, and takes 4 bits below
    10,000 passages (ragatouille 0.0.9, PLAIDModelIndex.build).
    """
    settings = content["settings"]
    nbits = settings.get("nbits")
    like_ragatouille = content["framework"] == "ragatouille" or settings.get("like_ragatouille")
    if nbits is None:
        nbits = 4 if like_ragatouille and 1.3 * documents < 10_000 else 2
    embeddings = tokens * documents
    partitions = 2 ** int(math.log2(16 * math.sqrt(max(embeddings, 1))))
    size: float = embeddings * (dim * nbits / 8 + 4 + 4) + partitions * dim * 2
    if content["framework"] == "ragatouille":
        size += documents * _TEXT_BYTES
    return size / MIB


def environments_mib(specifications: Sequence[Path], hard_links: bool) -> float:
    """What environments that are not built yet will take on disk.

    Args:
        specifications: envs/NAME.yaml of each.
        hard_links: whether environments share files, as the stand-in for conda lets them.
    """
    with_torch = sum("torch" in pins(path) for path in specifications)
    small = (len(specifications) - with_torch) * _SMALL_MIB
    if not with_torch:
        return small
    return small + _TORCH_MIB + (with_torch - 1) * (_SHARED_TORCH_MIB if hard_links else _TORCH_MIB)


def environments_announcement(specifications: Sequence[Path], free: float) -> list[str]:
    """What to say of environments of PyTorch versions that are built as jobs; nothing where none is.

    Raises:
        InputError: the disk cannot hold them.
    """
    if not specifications:
        return []
    needed = _TORCH_VERSION_MIB * len(specifications)
    names = ", ".join(path.stem for path in specifications)
    if needed > free:
        raise InputError(
            f"The environments {names} need about {mib(needed)} of disk, {mib(free)} are free: make room, or take "
            "versions out of torch_versions.versions"
        )
    built = f"{len(specifications)} {_plural(len(specifications), 'environment')} to build ({names})"
    return [f"{built}: about {mib(needed)} of disk ({mib(free)} free)."]


def estimate(
    settings: Configuration,
    cells: Mapping[str, Cell],
    all_runs: Collection[RunName],
    to_do: Collection[RunName],
    times: Times,
    have: Callable[[int], bool] = lambda documents: False,
) -> Estimate:
    """What the runs `to_do` of `all_runs` will take; `have` tells which slices are there already."""
    checkpoint = settings.checkpoints[settings.index_memory.checkpoint]
    dim = getattr(checkpoint, "dim", 128)
    tokens = {name: _tokens(times.measured[name]) for name in cells}
    index = {run: index_mib(cells[run[0]].content, dim, run[1], tokens[run[0]]) for run in to_do}
    compared = {
        run
        for pair in configuration.artifact_pairs(settings)
        for runs in configuration.pair_runs(pair, set(all_runs))
        for run in runs
    } & set(to_do)
    # Dumps are made once all runs are: until then every index that is dumped stays, and a dump is as large.
    largest_index = max(index.values(), default=0.0)
    dumped = sum(index[run] for run in compared)
    keeping_none = dumped + largest_index
    indexes = {
        "indexes": sum(index.values()) + dumped,
        "dumps": sum(index.values()) + largest_index,
        "none": keeping_none,
    }[settings.keep]
    sizes = {run[1] for run in to_do if not have(run[1])}
    slices = sum(1.4 * _TEXT_BYTES * size for size in sizes) / MIB  # JSON lines, and Parquet at two fifths
    split = {run[1] for run in to_do if cells[run[0]].content["split_to"] is not None}
    slices += sum(1.3 * _TEXT_BYTES * size for size in split) / MIB
    records = 0.2 * len(to_do)
    return Estimate(
        runs=len(to_do),
        all_runs=len(all_runs),
        seconds=sum(times.seconds(run) for run in to_do),
        disk_mib={"indexes and dumps": indexes, "documents": slices, "logs and records": records},
        disk_mib_keeping_none=keeping_none + slices + records,
        needs=memory_needs(cells, checkpoint.model_dump(mode="json"), to_do, times.measured),
        sources=times.sources(to_do) if to_do else "",
    )


def memory_needs(
    cells: Mapping[str, Cell],
    checkpoint: Mapping[str, Any],
    to_do: Collection[RunName],
    measured: Mapping[str, Sequence[Measured]],
) -> list[Need]:
    """What the runs `to_do` need by the memory model, a system and size at a time; the largest first.

    How long passages are, and how many a document gives, is what finished runs of the system had.
    """
    profilers: dict[tuple[str, int], list[str]] = {}
    for system, documents, profiler, _ in to_do:
        profilers.setdefault((system, documents), []).append(profiler)
    found = []
    for (system, documents), names in profilers.items():
        passages, tokens = _passages(measured[system])
        case = Case(cells[system].content, checkpoint, documents, passages, tokens)
        prediction = case.prediction()
        gpu_phase, gpu_mib = prediction.peak("gpu")
        found.append(
            Need(
                system,
                documents,
                len(names),
                case,
                max(memory_plan.needed_mib(case, profiler=name) for name in set(names)),
                prediction.peak("host")[0],
                gpu_mib,
                gpu_phase,
            )
        )
    return sorted(found, key=lambda need: need.host_mib, reverse=True)


def _passages(measured: Sequence[Measured]) -> tuple[float | None, float | None]:
    """Passages a document, and embeddings a passage, in the largest finished run that counted them."""
    counted = [run for run in measured if run.embeddings and run.passages]
    if not counted:
        return None, None
    largest = max(counted, key=lambda run: run.documents)
    passages = largest.passages or 0
    return passages / largest.documents, (largest.embeddings or 0) / passages


def _tokens(measured: Sequence[Measured]) -> float:
    """Embeddings a document in the largest finished run that counted them."""
    counted = [run for run in measured if run.embeddings]
    if not counted:
        return _TOKENS
    largest = max(counted, key=lambda run: run.documents)
    return (largest.embeddings or 0) / largest.documents


def free_mib(folder: Path) -> float:
    """Free space on the disk that holds, or will hold, `folder`."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free / MIB


def refusal(expected: Estimate, free: float, folder: Path) -> str | None:
    """One sentence when the disk cannot hold the runs; None when it can."""
    if expected.total_disk_mib <= free:
        return None
    parts = ", ".join(f"{what} {mib(size)}" for what, size in expected.disk_mib.items() if size >= 1)
    remedies = "fewer or smaller sizes, or a folder on another disk with --directory"
    if expected.disk_mib_keeping_none <= free:
        remedies = f"`keep: none` (about {mib(expected.disk_mib_keeping_none)}), {remedies}"
    return (
        f"{folder}: the disk has {mib(free)} free, but {expected.runs} {_plural(expected.runs, 'run')} will need "
        f"about {mib(expected.total_disk_mib)} ({parts}); use {remedies}"
    )


def announcement(
    expected: Estimate, folder: Path, free: float, available: Available | None = None
) -> list[str]:
    """The lines to print when work starts; none when no run is to be made.

    Raises:
        InputError: the disk cannot hold the runs.
    """
    if not expected.needs:
        return []
    if sentence := refusal(expected, free, folder):
        raise InputError(sentence)
    available = available or Available()
    of_all = "" if expected.runs == expected.all_runs else f" of {expected.all_runs}"
    work = f"{expected.runs}{of_all} {_plural(expected.all_runs, 'run')} to measure, one after another: "
    work += about(expected.seconds)
    disk = f"up to {mib(expected.total_disk_mib)} of disk ({mib(free)} free in {folder})"
    memory = f"up to {mib(expected.memory_mib)} of memory"
    if available.machine is not None:
        memory += f" (this machine: {mib(available.machine)})"
    if gpu := max(need.gpu_mib for need in expected.needs):
        there = f" (there: {mib(available.gpu)})" if available.gpu is not None else ""
        memory += f" and {mib(gpu)} of the GPU's{there}"
    lines = [f"{work}, {disk}, {memory}."]
    if expected.seconds >= SHORT_SECONDS:
        largest = expected.needs[0]
        lines = [
            f"{work}.",
            f"They take {disk} and {memory}; most memory: {largest.system}, {largest.documents:,} documents, "
            f"in {largest.host_phase}.",
            expected.sources,
            "Environments, slices and figures come on top. To check the machine first: snakemake doctor --cores 1",
        ]
    return lines + too_large(expected.needs, available)


def too_large(needs: Sequence[Need], available: Available) -> list[str]:
    """The runs that cannot fit, a sentence for each system and kind of memory; none where all do.

    They are announced, not refused: running out of memory is a result too.
    """
    host = min((size for size in available[:2] if size is not None), default=math.inf)
    limited = available.limit is not None and host == available.limit
    has = "measurement.memory_limit_mib allows" if limited else "this machine has"
    gpu = math.inf if available.gpu is None else available.gpu
    sentences = _unfit(needs, "host", host, has) + _unfit(needs, "gpu", gpu, "the GPU has")
    if not sentences:
        return []
    more = len(sentences) - _SENTENCES
    shown = (
        sentences
        if more <= 0
        else [*sentences[:_SENTENCES], f"{more} more {_plural(more, 'kind')} of runs cannot fit."]
    )
    ends = "" if available.limit is not None else ", and measurement.memory_limit_mib ends such a run earlier"
    return [
        *(f"Warning: {sentence}" for sentence in shown),
        f"These runs are started all the same: running out of memory is recorded as a run's outcome{ends}. "
        "plan_memory.py says more, and its exit status can refuse them before anything starts: docs/planning.md",
    ]


def _unfit(needs: Sequence[Need], memory: str, size: float, has: str) -> list[str]:
    """A sentence for the runs of each system that need more than `size` and have the same remedies."""
    alike: dict[tuple[str, tuple[str, ...]], list[Need]] = {}
    for need in sorted(needs, key=lambda each: _needed(each, memory), reverse=True):
        if _needed(need, memory) > size:
            alike.setdefault((need.system, _settings_that_fit(need, memory, size)), []).append(need)
    return [_unfit_sentence(found, memory, size, has, settings) for (_, settings), found in alike.items()]


def _needed(need: Need, memory: str) -> float:
    return need.host_mib if memory == "host" else need.gpu_mib


def _beside(need: Need, memory: str) -> float:
    """What the profiler adds, whatever the setting."""
    return max(_needed(need, memory) - need.case.prediction().peak(memory)[1], 0.0)


def _settings_that_fit(need: Need, memory: str, size: float) -> tuple[str, ...]:
    """One value of each setting that makes the run fit: the one that changes least."""
    enough = {
        saving.change.setting.partition(":")[0]: saving.change.setting
        for saving in memory_plan.savings(need.case, memory)  # the one that saves most first
        if saving.mib + _beside(need, memory) <= size
    }
    enough.pop("device" if memory == "host" else "", None)  # no GPU is at hand, or none is wanted
    return tuple(enough.values())[:_REMEDIES]


def _unfit_sentence(
    found: Sequence[Need], memory: str, size: float, has: str, settings: Sequence[str]
) -> str:
    largest, smallest = found[0], found[-1]
    runs = sum(need.runs for need in found)
    sizes = [f"{documents:,}" for documents in sorted(need.documents for need in found)]
    named = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 4 else _listed(sizes)
    needed = _needed(largest, memory)
    up_to = "" if len(sizes) == 1 else "up to "
    phase = largest.host_phase if memory == "host" else largest.gpu_phase
    sentence = (
        f"{largest.system}, {named} documents ({runs} {_plural(runs, 'run')}), will need {up_to}"
        f"about {mib(needed)} of {'memory' if memory == 'host' else 'GPU memory'} in {phase}, "
        f"{mib(needed - size)} more than {has} ({mib(size)})"
    )

    def fits(documents: int) -> bool:
        prediction = replace(smallest.case, documents=documents).prediction()
        return prediction.peak(memory)[1] + _beside(smallest, memory) <= size

    remedies = list(settings)
    if most := memory_plan.most_documents(fits, smallest.documents):
        remedies.append(f"about {most:,} documents")
    if not remedies:
        return f"{sentence}; no single setting makes it fit"
    return f"{sentence}; {_listed(remedies, 'or')} would fit"


def _listed(names: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def needs(expected: Estimate) -> dict[str, Any]:
    """The part of `doctor.Needs` that comes from the runs to be made."""
    if not expected.needs:
        return {"work": f"all {expected.all_runs} are made", "disk_mib": 0.0}
    largest = expected.needs[0]
    return {
        "disk_mib": round(expected.total_disk_mib),
        "memory_mib": expected.memory_mib,
        "largest": f"{largest.system}, {largest.documents:,} documents",
        "work": f"{expected.runs} of {expected.all_runs} to make, {about(expected.seconds)}. {expected.sources}",
    }


class Progress:
    """Formats `{PROGRESS:system-cell/documents/profiler/repeat}` as "7 of 24: …; 17 more, about 6 minutes".

    Snakemake formats a rule's message when it announces the job, with the Snakefile's globals; so what this
    says is no parameter, and changes nothing of what is to be run.
    """

    def __init__(
        self,
        settings: Configuration,
        cells: Mapping[str, Cell],
        runs: Mapping[RunName, str],
        results: Path,
        planned: Callable[[], Collection[str] | None],
    ) -> None:
        """
        Args:
            runs: every run and its directory.
            results: the folder that holds index_runs/.
            planned: directories of the runs that this start of the workflow makes; None where only one of
                them is known (a job on a cluster).
        """
        self._settings, self._cells, self._runs, self._results = settings, cells, runs, results
        self._planned = planned
        self._names = {directory: run for run, directory in runs.items()}
        self._times: Times | None = None
        self._to_do: dict[RunName, None] | None = None
        self._numbers: dict[RunName, int] = {}  # of the runs that were announced
        self._left: Counter[RunName] = Counter()  # the others, repeats put together
        self._running: deque[RunName] = deque(maxlen=_WATCHED)
        self._since = time.time()

    def times(self) -> Times:
        if self._times is None:
            paths = (self._results / "index_runs").glob("*/*/*/*/run.json")
            found = read_measured(itertools.islice(paths, _RECORDS_READ), self._cells)
            self._times = Times(self._settings, self._cells, found)
        return self._times

    def to_do(self) -> dict[RunName, None] | None:
        if self._to_do is None:
            planned = self._planned()
            if planned is None:
                return None
            chosen = {self._names[directory] for directory in planned if directory in self._names}
            self._to_do = {run: None for run in self._runs if run in chosen}
            self._left.update(_any_repeat(run) for run in self._to_do)
        return self._to_do

    def expected(
        self, to_do: Collection[RunName] | None = None, have: Callable[[int], bool] = lambda documents: False
    ) -> Estimate:
        """What the runs `to_do` will take; those of this start of the workflow where it is not given."""
        chosen = self.to_do() or {} if to_do is None else to_do
        return estimate(self._settings, self._cells, list(self._runs), chosen, self.times(), have)

    def __format__(self, specification: str) -> str:
        run = self._names.get(str(self._results / "index_runs" / specification))
        if run is None:
            return specification
        system, documents, profiler, repeat = run
        name = f"{system}, {documents:,} documents, profiler {profiler}, repeat {repeat}"
        try:
            return self._place(run, name)
        except Exception:  # whatever it is, a message must not end the workflow
            return name

    def _place(self, run: RunName, name: str) -> str:
        to_do = self.to_do()
        if to_do is None or run not in to_do:
            return name
        if run not in self._numbers:  # Snakemake may format a message more than once
            self._learn()
            self._numbers[run] = len(self._runs) - len(to_do) + len(self._numbers) + 1
            self._running.append(run)
            self._left[_any_repeat(run)] -= 1
        place = f"{self._numbers[run]} of {len(self._runs)}: {name}; "
        left = self._left.total()
        if not left:
            return f"{place}the last"
        times = self.times()
        seconds = sum(times.seconds(other) * number for other, number in self._left.items())
        return f"{place}{left} more, {about(seconds)}"

    def _learn(self) -> None:
        """Runs that have finished since the start make the estimate better."""
        for run in list(self._running):
            path = Path(self._runs[run]) / "run.json"
            if path.exists() and path.stat().st_mtime >= self._since:
                self._running.remove(run)
                for measured in read_measured([path], self._cells):
                    self.times().add(measured)


def _any_repeat(run: RunName) -> RunName:
    return (*run[:3], 0)


def about(seconds: float) -> str:
    """A duration as people say it: "about 6 minutes"."""
    minutes = seconds / 60
    if minutes < 1.5:
        return "about 1 minute" if minutes >= 0.75 else "less than a minute"
    if minutes < 100:
        return f"about {round(minutes)} minutes"
    hours = minutes / 60
    return f"about {round(hours)} hours" if hours < 72 else f"about {round(hours / 24)} days"


def mib(size: float) -> str:
    """A size as people read it."""
    return f"{size / 1024:,.1f} GiB" if size >= 1024 else f"{math.ceil(size)} MiB"


def _plural(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"
