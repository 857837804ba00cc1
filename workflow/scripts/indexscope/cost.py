"""What building an index costs on a rented machine: which GPU is enough, minutes, dollars.

Memory is the memory model's (memory_plan.py); time is a measured throughput, scaled where nobody measured this device
or this encoder, and then it says so and has a wide interval; dollars are a dated price table. Standard library only.

Time, by the phases of CollectionIndexer.run (colbert-ai 0.2.22):

* start-up: a constant, for loading the encoder or starting ColBERT's child process;
* planning and encoding: passages by passages a second, the sampled ones a second time;
* training: the products of k-means, iterations × points × partitions × dim;
* encoding too: each embedding against each centroid, embeddings × partitions × dim;
* finalizing: embeddings, on the host.

Reading PDFs is left out, and splitting texts but for that of a few hundred documents. Importing the libraries and a
container's start are `start_seconds`.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from indexscope import memory_plan
from indexscope.memory_model import (
    PASSAGES_PER_DOCUMENT,
    PHASES,
    TEXT_BYTES_PER_DOCUMENT,
    TOKENS_PER_PASSAGE,
    Quantities,
)
from indexscope.memory_plan import MARGIN, Case, Saving
from indexscope.run_record import InputError

CONFIGURATION = Path(__file__).resolve().parents[3] / "config" / "prices"
PRICES = CONFIGURATION / "modal_2026-07-01.csv"
GPUS = CONFIGURATION / "gpus.csv"
THROUGHPUT = CONFIGURATION / "throughput.csv"
CPU, MEMORY = "CPU", "Memory"  # resources of a price table that are no GPU: a core, a GiB
STALE_DAYS = 365
START_SECONDS, CORES = 60.0, 2.0  # as settings/remote_indexing.py has them

# Bytes of text for an embedding, of the published study where nothing is cut (RAGatouille, UKPLab/dapr Genomics).
BYTES_PER_TOKEN = TEXT_BYTES_PER_DOCUMENT / (PASSAGES_PER_DOCUMENT * TOKENS_PER_PASSAGE)
SPLIT_OVERLAP = 64  # ragatouille.data.preprocessors.llama_index_sentence_splitter: tokens, a quarter at most

# Of the index call outside its four phases: loading the encoder and splitting; with a child process its imports too.
# Measured by this project at 200 and 500 documents (2 CPU cores, 2026-11-23): 0.9 to 1.0 s, and 5.0 to 5.2 s.
IN_PROCESS_SECONDS, CHILD_SECONDS = 1.0, 5.1
CUTTING = ("split_documents", "doc_maxlen")  # settings that save memory by leaving text out

# Of a datasheet's arithmetic and bandwidth, what k-means is taken to reach. Nobody measured it for these calls: the
# interval goes from all of it to a quarter.
OF_DATASHEET, OF_DATASHEET_LEAST = 0.5, 0.25
# Bytes that fast_pytorch_kmeans moves for each pair of a point and a centroid on a GPU: similarities in four steps
# (28), the mask as boolean and as numbers (1 + 1 + 4), its product and its sum (4 + 4). faiss writes and reads (8).
TORCH_BYTES, FAISS_BYTES = 42, 8
OTHER_HOST = 1.5  # the same GPU in another machine, with other texts: an assumption
OTHER_CPU = 2.0  # a rented core may be so much faster or slower than the measured one: an assumption


# Tables


class Gpu(NamedTuple):
    """A row of gpus.csv."""

    name: str  # as the price table has it
    nominal_gib: float  # as it is sold
    memory_mib: float  # as nvidia-smi prints it
    fp16_tflops: float  # dense, tensor cores
    fp32_tflops: float
    memory_gb_per_second: float
    reported_as: tuple[str, ...]  # names that nvidia-smi gives it


@dataclass(frozen=True)
class Prices:
    """A price table: dollars a second of each resource, of one day."""

    path: Path
    as_of: date
    usd_per_second: Mapping[str, float]

    @property
    def gpus(self) -> list[str]:
        return [name for name in self.usd_per_second if name not in (CPU, MEMORY)]

    def stale(self, today: date) -> str | None:
        """A sentence where the prices are older than a year."""
        days = (today - self.as_of).days
        if days <= STALE_DAYS:
            return None
        return f"{self.path}: the prices are of {self.as_of}, {days} days ago; make a table of today's, and name it"


class Throughput(NamedTuple):
    """A row of throughput.csv; None where a source does not say."""

    device: str  # CPU, or a GPU as gpus.csv names it, or the first words of several
    cores: float | None  # of a CPU
    framework: str
    encoder: str  # a name of memory_plan.ENCODERS
    tokens_per_passage: float
    passages_per_second: float
    kmeans_backend: str | None
    kmeans_gflop_per_second: float | None
    finalized_embeddings_per_second: float | None
    source: str


@dataclass(frozen=True)
class Tables:
    """All that costs are computed from beside the memory model."""

    prices: Prices
    gpus: Mapping[str, Gpu]
    throughput: Sequence[Throughput]

    @classmethod
    def read(cls, prices: Path = PRICES, gpus: Path = GPUS, throughput: Path = THROUGHPUT) -> Tables:
        """Read the three tables.

        Raises:
            InputError: a file cannot be read, lacks a column, or a value is wrong; or a GPU has a price and no memory.
        """
        priced, known = read_prices(prices), read_gpus(gpus)
        if strange := [name for name in priced.gpus if name not in known]:
            raise InputError(
                f"{prices}: resource {strange[0]!r} is no GPU of {gpus}; add a row with its memory and speed there"
            )
        return cls(priced, known, read_throughput(throughput, known))

    def priced_gpu(self, name: str, option: str) -> Gpu:
        """The GPU of that name.

        Raises:
            InputError: the price table has none.
        """
        if name not in self.prices.gpus:
            raise InputError(
                f"{option}: {name!r} is no GPU of {self.prices.path}; it has {', '.join(self.prices.gpus)}"
            )
        return self.gpus[name]

    def reported(self, name: str) -> Gpu | None:
        """The GPU that nvidia-smi calls so; None where gpus.csv does not know it."""
        return next((gpu for gpu in self.gpus.values() if name in (gpu.name, *gpu.reported_as)), None)


def read_prices(path: Path) -> Prices:
    """Read a price table: resource, usd_per_second, as_of.

    Raises:
        InputError: as `Tables.read`.
    """
    found: dict[str, float] = {}
    days: dict[str, int] = {}
    for line, row in _rows(path, ("resource", "usd_per_second", "as_of")):
        name = row["resource"]
        if name in found:
            raise InputError(f"{path}: line {line}: {name!r} is there twice; keep one price")
        found[name] = _number(row, "usd_per_second", path, line, least=0.0)
        days.setdefault(row["as_of"], line)
    for needed, what in ((CPU, "a core"), (MEMORY, "a GiB of memory")):
        if needed not in found:
            raise InputError(f"{path}: resource {needed} is missing; add the price of {what}")
    if len(days) > 1:
        first, second = list(days)[:2]
        raise InputError(
            f"{path}: line {days[second]}: as_of is {second!r}, above {first!r}; one table holds one day"
        )
    day = next(iter(days))
    try:
        as_of = date.fromisoformat(day)
    except ValueError:
        raise InputError(f"{path}: as_of: {day!r} is no date; write 2026-07-01") from None
    return Prices(path, as_of, found)


def read_gpus(path: Path) -> dict[str, Gpu]:
    """Read memory and speed of GPUs, by name.

    Raises:
        InputError: as `Tables.read`.
    """
    numbers = ("nominal_gib", "memory_mib", "fp16_tflops", "fp32_tflops", "memory_gb_per_second")
    found: dict[str, Gpu] = {}
    for line, row in _rows(path, ("gpu", *numbers, "reported_as", "source")):
        if row["gpu"] in found:
            raise InputError(f"{path}: line {line}: {row['gpu']!r} is there twice; keep one row")
        values = [_number(row, name, path, line) for name in numbers]
        names = tuple(name.strip() for name in row["reported_as"].split(";") if name.strip())
        nominal, memory, fp16, fp32, bandwidth = values
        found[row["gpu"]] = Gpu(row["gpu"], nominal, memory, fp16, fp32, bandwidth, names)
    return found


def read_throughput(path: Path, gpus: Mapping[str, Gpu]) -> list[Throughput]:
    """Read measured speeds.

    Raises:
        InputError: as `Tables.read`; also a device or an encoder that nobody knows.
    """
    found = []
    for line, row in _rows(path, Throughput._fields):
        known = Throughput(
            device=row["device"],
            cores=_number(row, "cores", path, line) if row["cores"] or row["device"] == CPU else None,
            framework=row["framework"],
            encoder=row["encoder"],
            tokens_per_passage=_number(row, "tokens_per_passage", path, line),
            passages_per_second=_number(row, "passages_per_second", path, line),
            kmeans_backend=row["kmeans_backend"] or None,
            kmeans_gflop_per_second=_maybe(row, "kmeans_gflop_per_second", path, line),
            finalized_embeddings_per_second=_maybe(row, "finalized_embeddings_per_second", path, line),
            source=row["source"],
        )
        if known.encoder not in memory_plan.ENCODERS:
            raise InputError(
                f"{path}: line {line}: encoder {known.encoder!r} is not known; known are "
                f"{', '.join(memory_plan.ENCODERS)}"
            )
        if known.device != CPU and not any(_is(known.device, name) for name in gpus):
            raise InputError(
                f"{path}: line {line}: device {known.device!r} is neither CPU nor a GPU of gpus.csv; add it there"
            )
        found.append(known)
    return found


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and row of a CSV that has these columns and a row at least."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            rows = [
                (reader.line_num, {name: (row.get(name) or "").strip() for name in columns}) for row in reader
            ]
            there = reader.fieldnames or []
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a CSV") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV ({error}); give one") from None
    if missing := [name for name in columns if name not in there]:
        raise InputError(f"{path}: column {missing[0]} is missing; config/prices/README.md lists the columns")
    if not rows:
        raise InputError(f"{path}: has no row; config/prices/README.md says what goes there")
    yield from rows


def _number(row: Mapping[str, str], column: str, path: Path, line: int, least: float | None = None) -> float:
    """A finite number above 0, or not below `least`."""
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (value <= 0 if least is None else value < least):
        what = "a positive number" if least is None else f"a number of {least:g} or more"
        raise InputError(f"{path}: line {line}: {column} is {row[column]!r}; write {what}")
    return value


def _maybe(row: Mapping[str, str], column: str, path: Path, line: int) -> float | None:
    return _number(row, column, path, line) if row[column] else None


def _is(device: str, gpu: str) -> bool:
    """Whether a source that says A100 may mean this GPU, whose name has its memory too."""
    return gpu == device or gpu.startswith(device + " ")


# Time


@dataclass(frozen=True)
class Machine:
    """What is rented: a GPU for each rank, or none, and cores."""

    gpu: Gpu | None
    cores: float

    @property
    def device(self) -> str:
        return "cuda" if self.gpu else "cpu"


class Estimate(NamedTuple):
    """Seconds, and between which they are expected."""

    seconds: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        return Estimate(*(value * factor for value in self))


@dataclass(frozen=True)
class Work:
    """How long the index call takes, by phase, and what that rests on."""

    phases: Mapping[str, Estimate]
    notes: Sequence[str]  # parts of a sentence
    scaled: bool  # from another GPU, or other cores

    @property
    def total(self) -> Estimate:
        return Estimate(*(math.fsum(values) for values in zip(*self.phases.values(), strict=True)))

    def basis(self, start_seconds: float = 0.0) -> str:
        """A sentence, with the interval in minutes."""
        low, high = (minutes_words((seconds + start_seconds) / 60) for seconds in self.total[1:])
        words = "; ".join(self.notes)
        return f"{words[:1].upper()}{words[1:]}; between {low} and {high} minutes if that scaling holds."


def minutes_words(minutes: float) -> str:
    return f"{minutes:,.0f}" if minutes >= 10 else f"{minutes:.1f}"


def work(case: Case, machine: Machine, tables: Tables) -> Work | None:
    """Seconds of each phase on that machine; None where no throughput is known for its kind of device."""
    quantities = on_device(case, machine.device).quantities()
    encoding, notes = _encoding(quantities, machine, tables)
    if encoding is None:
        return None
    training, of_training = _training(quantities, machine, tables)
    finalizing, of_finalizing = _finalizing(quantities, tables)
    assigning = _assigning(quantities, machine, tables)
    share = 1 / quantities.nranks
    chunks = encoding.times(quantities.passages * share)
    starting = IN_PROCESS_SECONDS if quantities.in_process else CHILD_SECONDS
    phases = {
        "start-up": Estimate(starting, starting / OTHER_CPU, starting * OTHER_CPU),
        "planning": encoding.times(quantities.sampled_passages * share),
        "training": training,
        "encoding": Estimate(*(a + b * share for a, b in zip(chunks, assigning, strict=True))),
        "finalizing": finalizing,
    }
    return Work(
        phases, [*notes, of_training, of_finalizing], any(note.startswith("scaled to") for note in notes)
    )


def on_device(case: Case, device: str) -> Case:
    return replace(case, content={**case.content, "device": device})


def _encoding(quantities: Quantities, machine: Machine, tables: Tables) -> tuple[Estimate | None, list[str]]:
    """Seconds of a passage, and what they are from."""
    rows = [row for row in tables.throughput if (row.device == CPU) == (machine.gpu is None)]
    if not rows:
        return None, []
    notes: list[str] = []

    def far(row: Throughput) -> tuple[float, bool, float]:
        """How far a row must be scaled: another GPU is the larger step, on a CPU another encoder."""
        device = abs(math.log(_faster(row, machine, tables)))
        encoder = abs(math.log(_arithmetic(quantities) / _arithmetic_of(row)))
        other = row.framework != quantities.framework
        return (device, other, encoder) if machine.gpu else (encoder, other, device)

    row = min(rows, key=far)
    what = f"encoding as {row.framework} took on {_device_words(row)} ({row.source})"
    notes.append(what)
    faster = _faster(row, machine, tables)
    seconds = 1 / row.passages_per_second / faster
    low, high = 1 / OTHER_HOST, OTHER_HOST
    if machine.gpu is None:
        low, high = 1 / OTHER_CPU, OTHER_CPU
        if faster != 1:
            notes.append(f"scaled to {machine.cores:g} cores by their number")
        else:
            notes.append("other processors differ")
    elif not _is(row.device, machine.gpu.name):
        spread = device_spread(tables)
        low, high = 1 / spread, spread
        notes.append(
            f"scaled to {machine.gpu.name} by fp16 TFLOPS (× {faster:.2g}), which misses measured GPUs by up to a "
            f"factor of {spread:.1f}"
        )
    by_tokens = quantities.tokens_per_passage / row.tokens_per_passage
    by_arithmetic = _arithmetic(quantities) / _arithmetic_of(row)
    if _same_encoder(quantities, row):
        notes.append(
            f"{quantities.tokens_per_passage:.0f} instead of {row.tokens_per_passage:.0f} tokens a passage"
        )
    else:
        notes.append(
            f"scaled from {row.encoder} of {row.tokens_per_passage:.0f} tokens a passage by the encoder's arithmetic "
            f"(× {by_arithmetic:.2g}) or by tokens alone (× {by_tokens:.2g}), whichever takes longer"
        )
    longer, shorter = max(by_tokens, by_arithmetic), min(by_tokens, by_arithmetic)
    return Estimate(seconds * longer, seconds * shorter * low, seconds * longer * high), notes


def _device_words(row: Throughput) -> str:
    return f"{row.cores:g} CPU cores" if row.device == CPU else row.device


def _faster(row: Throughput, machine: Machine, tables: Tables) -> float:
    """How many times as fast the machine is as the row's, by its cores or its datasheet."""
    if machine.gpu is None:
        return machine.cores / (row.cores or 1.0)
    if _is(row.device, machine.gpu.name):
        return 1.0
    return machine.gpu.fp16_tflops / _gpu_of(row.device, tables).fp16_tflops


def _gpu_of(device: str, tables: Tables) -> Gpu:
    return next(gpu for name, gpu in tables.gpus.items() if _is(device, name))


def device_spread(tables: Tables) -> float:
    """The largest factor by which scaling by fp16 TFLOPS misses, from each measured GPU to each other one."""
    rows = [row for row in tables.throughput if row.device != CPU]
    worst = 2.0  # where there is nothing to compare
    for known in rows:
        for other in rows:
            if (known.framework, known.encoder) == (other.framework, other.encoder):
                speed = _gpu_of(other.device, tables).fp16_tflops / _gpu_of(known.device, tables).fp16_tflops
                measured = other.passages_per_second / known.passages_per_second
                worst = max(worst, speed / measured, measured / speed)
    return worst


def _same_encoder(quantities: Quantities, row: Throughput) -> bool:
    encoder = memory_plan.ENCODERS[row.encoder]
    return all(
        getattr(quantities, name) == encoder[name]
        for name in ("layers", "hidden_size", "intermediate_size", "dim")
    )


def _arithmetic(quantities: Quantities) -> float:
    """Operations of the encoder for a passage."""
    return operations(
        quantities.layers,
        quantities.hidden_size,
        quantities.intermediate_size,
        quantities.dim,
        quantities.tokens_per_passage,
    )


def _arithmetic_of(row: Throughput) -> float:
    encoder = memory_plan.ENCODERS[row.encoder]
    return operations(
        encoder["layers"],
        encoder["hidden_size"],
        encoder["intermediate_size"],
        encoder["dim"],
        row.tokens_per_passage,
    )


def operations(layers: int, hidden: int, intermediate: int, dim: int, tokens: float) -> float:
    """Of a transformer encoder and ColBERT's projection: two for each weight and token, and attention's products."""
    layer = 2 * (4 * hidden**2 + 2 * hidden * intermediate) * tokens + 4 * hidden * tokens**2
    return layers * layer + 2 * hidden * dim * tokens


def _training(quantities: Quantities, machine: Machine, tables: Tables) -> tuple[Estimate, str]:
    """k-means. PyTorch's makes two products an iteration, similarities and sums; faiss one."""
    q, torch = quantities, quantities.kmeans_backend == "torch"
    points = (q.minibatch or q.trained_points) if torch else q.trained_points
    pairs = float(q.kmeans_iterations * points * q.partitions)
    products = (4 if torch else 2) * pairs * q.dim
    if machine.gpu is None:
        rates = _kmeans_rates(tables, q.kmeans_backend) or _kmeans_rates(tables)
        if not rates:
            return Estimate(0.0, 0.0, 0.0), "k-means left out, whose speed no table has"
        middle = statistics.median(rates)
        speeds = (middle, max(rates) * OTHER_CPU, min(rates) / OTHER_CPU)
        seconds = Estimate(*(products / (speed * 1e9 * machine.cores) for speed in speeds))
        return seconds, f"k-means by {q.kmeans_backend} at {middle:.0f} measured GFLOP/s a core"
    moved = pairs * (TORCH_BYTES if torch else FAISS_BYTES)
    best = products / (machine.gpu.fp32_tflops * 1e12) + moved / (machine.gpu.memory_gb_per_second * 1e9)
    return (
        Estimate(best / OF_DATASHEET, best, best / OF_DATASHEET_LEAST),
        f"k-means by {q.kmeans_backend} at half of the datasheet's arithmetic and bandwidth, not measured",
    )


def _kmeans_rates(tables: Tables, backend: str | None = None) -> list[float]:
    """Measured GFLOP/s of a core, of one implementation or of all."""
    return [
        row.kmeans_gflop_per_second / (row.cores or 1.0)
        for row in tables.throughput
        if row.device == CPU and row.kmeans_gflop_per_second and backend in (None, row.kmeans_backend)
    ]


def _assigning(quantities: Quantities, machine: Machine, tables: Tables) -> Estimate:
    """`ResidualCodec.compress_into_codes`: every embedding with every centroid, a product and a maximum."""
    pairs = float(quantities.embeddings) * quantities.partitions
    products = 2 * pairs * quantities.dim
    if machine.gpu is None:
        rates = _kmeans_rates(tables)
        if not rates:
            return Estimate(0.0, 0.0, 0.0)
        middle = products / (statistics.median(rates) * 1e9 * machine.cores)
        return Estimate(middle, middle / OTHER_CPU, middle * OTHER_CPU)
    best = products / (machine.gpu.fp16_tflops * 1e12) + 4 * pairs / (machine.gpu.memory_gb_per_second * 1e9)
    return Estimate(best / OF_DATASHEET, best, best / OF_DATASHEET_LEAST)


def _finalizing(quantities: Quantities, tables: Tables) -> tuple[Estimate, str]:
    rates = [
        row.finalized_embeddings_per_second
        for row in tables.throughput
        if row.finalized_embeddings_per_second
    ]
    if not rates:
        return Estimate(0.0, 0.0, 0.0), "finalizing left out, whose speed no table has"
    # Of a small index most of it is not for embeddings: the fastest is nearest to what a large one has.
    middle = quantities.embeddings / max(rates)
    return (
        Estimate(middle, middle / OTHER_CPU, middle * OTHER_CPU),
        f"finalizing at {max(rates) / 1e6:.1f} million measured embeddings a second",
    )


# Dollars


class Bill(NamedTuple):
    """Dollars; None where the machine's GPU has no price."""

    gpu: float | None
    cores: float
    memory: float

    @property
    def total(self) -> float | None:
        return None if self.gpu is None else self.gpu + self.cores + self.memory


def bill(
    prices: Prices, seconds: float, gpu: str | None, cores: float, host_mib: float, *, gpus: int = 1
) -> Bill:
    """What a machine costs for so many seconds; `gpu` as the price table names it, None for none."""
    of_gpu: float | None = 0.0
    if gpu is not None:
        price = prices.usd_per_second.get(gpu)
        of_gpu = None if price is None else seconds * gpus * price
    return Bill(
        of_gpu,
        seconds * cores * prices.usd_per_second[CPU],
        seconds * host_mib / 1024 * prices.usd_per_second[MEMORY],
    )


@dataclass(frozen=True)
class Offer:
    """An index on a machine: whether it fits, how long it takes, what it costs."""

    case: Case  # on the machine's device
    machine: Machine
    phase: str  # that needs most of the GPU; of the host where there is none
    needs_mib: float  # of the GPU, with the margin; 0 without one
    too_small_for: str | None  # the first phase that does not fit
    fix: Saving | None  # the setting that makes it fit and leaves most room
    host_mib: float  # that is billed
    work: Work | None
    start_seconds: float
    bill: Bill | None

    @property
    def fits(self) -> bool:
        return self.too_small_for is None

    @property
    def name(self) -> str:
        return self.machine.gpu.name if self.machine.gpu else f"{self.machine.cores:g} CPU cores"

    @property
    def seconds(self) -> float | None:
        """Billed: start and work."""
        return None if self.work is None else self.start_seconds + self.work.total.seconds

    @property
    def usd(self) -> float | None:
        return None if self.bill is None else self.bill.total

    @property
    def basis(self) -> str:
        if self.work is None:
            return "No throughput of such a device is known."
        return self.work.basis(self.start_seconds)


def offer(
    case: Case,
    machine: Machine,
    tables: Tables,
    *,
    start_seconds: float = START_SECONDS,
    profiler: str = "none",
) -> Offer:
    """What a machine is for an index."""
    case = on_device(case, machine.device)
    prediction = case.prediction()
    lacking, fix, needs = None, None, 0.0
    phase = prediction.peak("host")[0]
    if machine.gpu:
        phase = prediction.peak("gpu")[0]
        needs = prediction.peak("gpu")[1] * MARGIN
        memory = machine.gpu.memory_mib
        lacking = next((each for each in PHASES if prediction.mib(each, "gpu") * MARGIN > memory), None)
        fix = what_fits(case, memory) if lacking else None
    host = memory_plan.reserve_mib(case, "host", profiler)
    time = work(case, machine, tables)
    dollars = None
    if time is not None:
        seconds, gpu = start_seconds + time.total.seconds, machine.gpu
        ranks = case.quantities().nranks
        dollars = bill(tables.prices, seconds, gpu.name if gpu else None, machine.cores, host, gpus=ranks)
    return Offer(case, machine, phase, needs, lacking, fix, host, time, start_seconds, dollars)


def what_fits(case: Case, memory_mib: float) -> Saving | None:
    """The setting that makes it fit: one that keeps all of the text, of these the one that saves most.

    To leave the GPU is no answer here.
    """
    found = [
        saving
        for saving in memory_plan.savings(case, "gpu")
        if not saving.change.setting.startswith("device") and saving.mib * MARGIN <= memory_mib
    ]
    return min(found, key=lambda saving: saving.change.setting.partition(":")[0] in CUTTING, default=None)


def offers(
    case: Case,
    tables: Tables,
    *,
    cores: float = CORES,
    start_seconds: float = START_SECONDS,
    profiler: str = "none",
) -> list[Offer]:
    """One for each GPU of the price table, the smallest first, of equal ones the one with the lower price."""
    gpus = sorted(
        (tables.gpus[name] for name in tables.prices.gpus),
        key=lambda gpu: (gpu.nominal_gib, tables.prices.usd_per_second[gpu.name]),
    )
    return [
        offer(case, Machine(gpu, cores), tables, start_seconds=start_seconds, profiler=profiler)
        for gpu in gpus
    ]


def smallest(found: Iterable[Offer]) -> Offer | None:
    """The first of the smallest memory that fits."""
    return next((each for each in found if each.fits), None)


def cheapest(found: Iterable[Offer], *, measured: bool = False) -> Offer | None:
    """Of those that fit, the one that costs least; `measured`: of those whose own speed somebody measured."""
    priced = [each for each in found if each.fits and each.usd is not None]
    if measured:
        priced = [each for each in priced if each.work and not each.work.scaled]
    return min(priced, key=lambda each: each.usd or 0.0, default=None)


# What is known of texts before they are tokenized


class Texts(NamedTuple):
    """Documents, and what splitting and tokenizing are expected to make of them."""

    documents: int
    text_bytes: int
    passages: int
    embeddings: float

    def case(self, content: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> Case:
        return Case(
            content,
            checkpoint,
            self.documents,
            passages_per_document=self.passages / self.documents,
            tokens_per_passage=self.embeddings / self.passages,
            bytes_per_document=self.text_bytes / self.documents,
        )


def split_length(content: Mapping[str, Any]) -> int | None:
    """Tokens of a passage that documents are split to; None where they stay whole."""
    if content.get("split_to"):
        return int(content["split_to"])
    settings = content.get("settings") or {}
    if content["framework"] == "ragatouille" and settings.get("split_documents") is not False:
        return int(settings.get("max_document_length") or 256)
    return None


def passages_of(tokens: float, length: int | None) -> tuple[int, float]:
    """How many passages a text becomes, and tokens of each, by RAGatouille's splitter with its overlap."""
    if length is None or tokens <= length:
        return 1, tokens
    overlap = min(length / 4, SPLIT_OVERLAP)
    passages = 1 + math.ceil((tokens - length) / (length - overlap))
    return passages, (tokens + overlap * (passages - 1)) / passages


def texts_of(lengths: Iterable[int], length: int | None, doc_maxlen: int) -> Texts:
    """Args: `lengths`: bytes of each text."""
    documents = text_bytes = passages = 0
    embeddings = 0.0
    for size in lengths:
        count, tokens = passages_of(max(size / BYTES_PER_TOKEN, 1.0), length)
        documents += 1
        text_bytes += size
        passages += count
        embeddings += count * min(tokens, doc_maxlen)
    return Texts(documents, text_bytes, passages, embeddings)


def text_lengths(path: Path) -> Iterator[int]:
    """Bytes of each document's text, in the order of the file, in constant memory.

    Raises:
        InputError: the file cannot be read, or a line is no document.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield len(json.loads(line)["text"].encode("utf-8", "surrogatepass"))
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise InputError(
                        f"{path}: line {number} is no document; make the file again with slice_dataset.py"
                    ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); make it with slice_dataset.py") from None


# The recipe "How to Use Modal to run ColBERTv2" (blog, 2024-12-31): two PDFs of about 400 pages, RAGatouille with
# colbertv2.0, documents split to 512 tokens, use_faiss commented out. It ran on an A100 for about $0.10; smaller GPUs
# ran out of memory, for a reason that its author did not find. How much text its pages had is not published.
RECIPE_PAGES, RECIPE_PDFS, RECIPE_USD = 400, 2, 0.10
RECIPE_TOKENS_A_PAGE = (500, 800)  # a page of a report with figures, and a full page
RECIPE_CONTENT: Mapping[str, Any] = {
    "framework": "ragatouille",
    "environment": "ragatouille",
    "device": "cuda",
    "split_to": None,
    "settings": {"split_documents": True, "max_document_length": 512},
}


def recipe_case(tokens_a_page: float) -> Case:
    """The published recipe, with so much text on each page."""
    lengths = [round(RECIPE_PAGES / RECIPE_PDFS * tokens_a_page * BYTES_PER_TOKEN)] * RECIPE_PDFS
    length = split_length(RECIPE_CONTENT)
    return texts_of(lengths, length, length or 512).case(RECIPE_CONTENT, memory_plan.ENCODERS["colbertv2.0"])
