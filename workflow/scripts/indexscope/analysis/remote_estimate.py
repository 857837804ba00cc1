"""What remote_indexing will need and cost, before it starts: rows of remote_gpus and remote_costs, and sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from indexscope import cost
from indexscope.cost import Machine, Offer, Tables, minutes_words
from indexscope.memory_plan import MARGIN, Case, encoder_of
from indexscope.run_record import FORMAT, InputError, read_json_object

Row = dict[str, Any]

HERE, RECIPE = "this configuration", "the published recipe"
ESTIMATED, ACTUAL = "estimated", "actual"
# What Modal gives where a recipe asks for "A100"; its price gives the recipe's 171 seconds.
RECIPE_GPU = "A100 40GB"
PROFILER = "spans"  # of the runs of remote_indexing


@dataclass(frozen=True)
class Rent:
    """The setting `rent`, and its tables."""

    gpu: str | None
    cores: float
    start_seconds: float
    tables: Tables

    @classmethod
    def of(cls, text: str) -> Rent:
        """From the setting as JSON.

        Raises:
            InputError: it is none, a table is wrong, or no table knows the GPU.
        """
        try:
            values = json.loads(text)
            files = [Path(values[name]) for name in ("prices", "gpus", "throughput")]
            gpu, cores, start = values["gpu"], float(values["cores"]), float(values["start_seconds"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"--rent: {error!r}; give remote_indexing.rent of the configuration as JSON"
            ) from None
        tables = Tables.read(*files)
        if gpu is not None:
            tables.priced_gpu(gpu, "remote_indexing.rent.gpu")
        return cls(gpu, cores, start, tables)


@dataclass(frozen=True)
class Planned:
    """A system of the configuration, or a variant of the recipe, and what each machine is for it."""

    case: str
    system: str
    label: str | None
    device: str  # that runs here
    passages: int
    on_gpus: Sequence[Offer]
    on_cpu: Offer
    chosen: Offer | None

    def gpu_rows(self, prices_as_of: str, tables: Tables) -> Iterator[Row]:
        """Rows of remote_gpus."""
        for offer in self.on_gpus:
            fix, seconds = offer.fix, offer.seconds
            yield {
                "case": self.case,
                "system": self.system,
                "label": self.label,
                "gpu": offer.name,
                "memory_mib": offer.machine.gpu.memory_mib if offer.machine.gpu else 0.0,
                "usd_per_hour": tables.prices.usd_per_second[offer.name] * 3600,
                "prices_as_of": prices_as_of,
                "phase": offer.phase,
                "needs_mib": offer.needs_mib,
                "fits": offer.fits,
                "first_phase_that_does_not_fit": offer.too_small_for,
                "setting_that_fixes": fix.change.setting if fix else None,
                "needs_with_it_mib": fix.mib * MARGIN if fix else None,
                "minutes": None if seconds is None else seconds / 60,
                "usd": offer.usd,
                "basis": offer.basis,
                "chosen": offer is self.chosen,
            }

    def cost_rows(self, prices_as_of: str) -> Iterator[Row]:
        """Rows of remote_costs: on the machine that these runs have, then on the GPU that is chosen."""
        offers = [self.on_cpu] if self.device == "cpu" else []
        for offer in [*offers, *([self.chosen] if self.chosen else [])]:
            bill = offer.bill
            yield {
                "system": self.system,
                "label": self.label,
                "run": None,
                "moment": ESTIMATED,
                "device": offer.machine.device,
                "machine": offer.name,
                "documents": offer.case.documents,
                "passages": self.passages,
                "start_seconds": offer.start_seconds,
                "work_seconds": offer.work.total.seconds if offer.work else None,
                "host_mib": float(offer.host_mib),
                "usd": offer.usd,
                "usd_of_gpu": bill.gpu if bill else None,
                "usd_of_cores": bill.cores if bill else None,
                "usd_of_memory": bill.memory if bill else None,
                "prices_as_of": prices_as_of,
                "basis": offer.basis,
                "actual_by_estimated": None,
            }


@dataclass(frozen=True)
class Estimate:
    """All of it."""

    rent: Rent
    planned: Sequence[Planned]
    today: date
    gpus: list[Row] = field(default_factory=list)
    costs: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        tables, day = self.rent.tables, self.rent.tables.prices.as_of.isoformat()
        for each in self.planned:
            self.gpus.extend(each.gpu_rows(day, tables))
            if each.case == HERE:
                self.costs.extend(each.cost_rows(day))

    def json(self) -> Row:
        return {
            "format": FORMAT,
            "prices": self.rent.tables.prices.path.name,
            "prices_as_of": self.rent.tables.prices.as_of.isoformat(),
            "warning": self.rent.tables.prices.stale(self.today),
            "said": list(self.lines()),
            "gpus": self.gpus,
            "costs": self.costs,
        }

    def lines(self) -> Iterator[str]:
        """What is announced before work starts."""
        prices = self.rent.tables.prices
        yield f"Prices of {prices.as_of} ({prices.path.name}); GPU memory as predicted, and {MARGIN - 1:.0%} more."
        if warning := prices.stale(self.today):
            yield f"Warning: {warning}."
        for each in self.planned:
            yield from _sentences(each, self.rent)


def _sentences(planned: Planned, rent: Rent) -> Iterator[str]:
    name = planned.label or planned.system
    if planned.case == RECIPE:
        name = f"The published recipe ({name})"
    first = planned.on_gpus[0]
    quantities = first.case.quantities()
    yield (
        f"{name}: about {quantities.passages:,} passages of {quantities.tokens_per_passage:.0f} tokens; needs "
        f"{first.needs_mib / 1024:.1f} GiB of a GPU, in {first.phase}."
    )
    smallest, cheapest = cost.smallest(planned.on_gpus), cost.cheapest(planned.on_gpus)
    if smallest is None:
        yield f"{name}: no GPU of the price table is large enough."
    else:
        yield f"{name}: the smallest GPU that fits is {_offered(smallest)}."
        if cheapest is not None and cheapest is not smallest:
            yield f"{name}: the cheapest that fits is {_offered(cheapest)}."
    small = [each for each in planned.on_gpus if not each.fits]
    if small:
        fixed = [each for each in small if each.fix]
        words = f"; {fixed[0].fix.change.setting} would make it fit" if fixed and fixed[0].fix else ""
        yield f"{name}: {small[0].too_small_for} does not fit into {', '.join(each.name for each in small)}{words}."
    if planned.case == HERE:
        if rent.gpu and planned.chosen and not planned.chosen.fits:
            yield f"{name}: {rent.gpu}, which remote_indexing.rent.gpu names, is too small."
        if planned.device == "cpu":
            yield f"{name}: these runs have no GPU: {_offered(planned.on_cpu)}."
        yield f"{name}: {(planned.chosen or planned.on_cpu).basis}"


def _offered(offer: Offer) -> str:
    if offer.seconds is None or offer.usd is None:
        return f"{offer.name} (how fast it is nobody measured)"
    return f"{offer.name}: about {minutes_words(offer.seconds / 60)} minutes, ${offer.usd:.3f}"


def estimate(
    cells: Sequence[Mapping[str, Any]],
    documents: Path,
    checkpoint: Mapping[str, Any],
    labels: Mapping[str, str],
    rent: Rent,
    today: date,
) -> Estimate:
    """From resolved cells and the documents' sizes; the file is read once for each system.

    Raises:
        InputError: the documents cannot be read, or there are none.
    """
    planned = [_here(cell, documents, checkpoint, labels, rent) for cell in cells]
    planned += [_recipe(tokens, rent) for tokens in cost.RECIPE_TOKENS_A_PAGE]
    return Estimate(rent, planned, today)


def _here(
    cell: Mapping[str, Any],
    documents: Path,
    checkpoint: Mapping[str, Any],
    labels: Mapping[str, str],
    rent: Rent,
) -> Planned:
    # doc_maxlen depends on framework, settings and checkpoint: the memory model knows how.
    doc_maxlen = Case(cell, encoder_of(checkpoint), 1).quantities().doc_maxlen
    texts = cost.texts_of(cost.text_lengths(documents), cost.split_length(cell), doc_maxlen)
    if not texts.documents:
        raise InputError(f"{documents}: has no document; make the file again with slice_dataset.py")
    case = texts.case(cell, encoder_of(checkpoint))
    system = str(cell["system"])
    on_gpus = cost.offers(
        case, rent.tables, cores=rent.cores, start_seconds=rent.start_seconds, profiler=PROFILER
    )
    chosen = cost.smallest(on_gpus)
    if rent.gpu is not None:
        chosen = next(each for each in on_gpus if each.name == rent.gpu)
    on_cpu = cost.offer(
        case, Machine(None, rent.cores), rent.tables, start_seconds=rent.start_seconds, profiler=PROFILER
    )
    device = "cuda" if cell.get("device") == "cuda" else "cpu"
    return Planned(HERE, system, labels.get(system), device, texts.passages, on_gpus, on_cpu, chosen)


def _recipe(tokens_a_page: int, rent: Rent) -> Planned:
    case = cost.recipe_case(tokens_a_page)
    on_gpus = cost.offers(case, rent.tables, cores=rent.cores, start_seconds=rent.start_seconds)
    on_cpu = cost.offer(case, Machine(None, rent.cores), rent.tables, start_seconds=rent.start_seconds)
    chosen = next((each for each in on_gpus if each.name == RECIPE_GPU), None)
    label = f"RAGatouille, {cost.RECIPE_PAGES} pages of {tokens_a_page} tokens"
    name = f"recipe_{tokens_a_page}"
    return Planned(RECIPE, name, label, "cuda", case.quantities().passages, on_gpus, on_cpu, chosen)


def read_estimate(path: Path) -> Row:
    """The file that estimate_cost.py wrote.

    Raises:
        InputError: it is none.
    """
    remedy = "run estimate_cost.py again"
    found = read_json_object(path, remedy=remedy)
    for name in ("gpus", "costs"):
        rows = found.get(name)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{path}: {name} is no list of rows: {remedy}")
    return found
