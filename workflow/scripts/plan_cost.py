"""Estimate what building an index costs on rented machines, from its settings and the size of its collection.

Prints for each GPU of a price table whether the index fits, by the memory model; if not, which phase does not and the
setting that would make it fit; minutes; dollars, of the GPU, of cores and of memory. The smallest GPU that fits and
the cheapest are named; a dearer one may cost less, because it is faster. Times are measured throughputs, scaled where
nobody measured that GPU or that encoder: how wide they are is printed with them. Nothing but Python is needed, unless
settings come from a configuration (--system, --configfile).

  plan_cost.py --documents 12.6M --framework ragatouille --tokens-per-passage 77
  plan_cost.py --documents 400 --system ragatouille_pdfs --encoder colbertv2.0 --gpu L4

The exit status is 0; 1 when no GPU (or not the one of --gpu) is large enough. 2: a wrong argument.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indexscope import cost, plan_arguments
from indexscope.cost import Machine, Offer, Tables, minutes_words
from indexscope.memory_plan import MARGIN, Case
from indexscope.run_record import InputError

WIDTH = 100


def main() -> None:
    arguments = _parser().parse_args()
    try:
        tables = Tables.read(arguments.prices, arguments.gpus, arguments.throughput)
        if not arguments.framework and not arguments.system:
            raise InputError("--framework or --system: give one, which says what is built")
        plan = Plan.of(plan_arguments.case_of(arguments), tables, arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(json.dumps(plan.json(), indent=1) if arguments.json else "\n".join(plan.lines()))
    sys.exit(cost.smallest(plan.on_gpus) is None)


def _parser() -> argparse.ArgumentParser:
    parser = plan_arguments.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    plan_arguments.add_options(parser, device=False)
    rent = parser.add_argument_group("what is rented")
    rent.add_argument("--gpu", metavar="NAME", help="this one only, as the price table names it")
    rent.add_argument("--cores", metavar="N", default=f"{cost.CORES:g}", help="default: %(default)s")
    rent.add_argument(
        "--start-seconds",
        metavar="N",
        default=f"{cost.START_SECONDS:g}",
        help="billed before work starts: a container's start, imports, loading of the model (default: %(default)s)",
    )
    for name, path, what in (
        ("prices", cost.PRICES, "price table"),
        ("gpus", cost.GPUS, "memory and speed of GPUs"),
        ("throughput", cost.THROUGHPUT, "measured speeds"),
    ):
        rent.add_argument(
            f"--{name}", type=Path, metavar="FILE", default=path, help=f"{what}: a CSV; default: {path.name}"
        )
    parser.add_argument("--json", action="store_true", help="all of it, as JSON")
    return parser


@dataclass(frozen=True)
class Plan:
    """What each machine is for an index."""

    case: Case
    tables: Tables
    on_gpus: Sequence[Offer]
    on_cpu: Offer

    @classmethod
    def of(cls, case: Case, tables: Tables, arguments: argparse.Namespace) -> Plan:
        cores = plan_arguments.number(arguments.cores, "--cores")
        start = 0.0
        if arguments.start_seconds != "0":
            start = plan_arguments.number(arguments.start_seconds, "--start-seconds")
        on_gpus = cost.offers(case, tables, cores=cores, start_seconds=start)
        if arguments.gpu is not None:
            name = tables.priced_gpu(arguments.gpu, "--gpu").name
            on_gpus = [each for each in on_gpus if each.name == name]
        return cls(case, tables, on_gpus, cost.offer(case, Machine(None, cores), tables, start_seconds=start))

    def json(self) -> dict[str, Any]:
        smallest, cheapest = cost.smallest(self.on_gpus), cost.cheapest(self.on_gpus)
        return {
            "prices_as_of": self.tables.prices.as_of.isoformat(),
            "stale": self._stale(),
            "estimated": plan_arguments.estimated(self.case),
            "machines": [_machine(each) for each in [*self.on_gpus, self.on_cpu]],
            "smallest": smallest.name if smallest else None,
            "cheapest": cheapest.name if cheapest else None,
        }

    def lines(self) -> Iterator[str]:
        yield from _wrapped(self._headline())
        yield ""
        yield from self._table()
        yield ""
        for sentence in self._verdict():
            yield from _wrapped(sentence)
        yield ""
        yield "What the times rest on:"
        for names, words in self._bases():
            yield from _wrapped(f"{names}: {words}", "  ", "      ")
        yield from _wrapped(
            "The numbers of the GPU's memory come from shapes; no run of this project on a GPU has checked them."
        )
        if stale := self._stale():
            yield from _wrapped(f"Warning: {stale}.")

    def _headline(self) -> str:
        of_gpu = self.on_gpus[0].case.quantities()
        estimated = plan_arguments.estimated(self.case)
        mark = {name: " (estimated)" if name in estimated else "" for name in plan_arguments.FACTS}
        return (
            f"{of_gpu.framework}, {of_gpu.documents:,} documents: {of_gpu.passages:,} passages{mark['passages']} of "
            f"{of_gpu.tokens_per_passage:g} tokens{mark['tokens_per_passage']}, {of_gpu.partitions:,} partitions, "
            f"k-means by {of_gpu.kmeans_backend}, encoder of {of_gpu.layers} layers, width {of_gpu.hidden_size}. "
            f"Prices of {self.tables.prices.as_of} ({self.tables.prices.path.name}), with "
            f"{self.on_cpu.machine.cores:g} cores and {self.on_gpus[0].start_seconds:g} s of start."
        )

    def _table(self) -> Iterator[str]:
        yield (
            f"{'machine':<14}{'has GiB':>9}{'needs':>8}  {'fits':<14}{'minutes':>9}{'between':>15}{'dollars':>11}"
            f"  {'per hour':>8}"
        )
        for each in [*self.on_gpus, self.on_cpu]:
            gpu = each.machine.gpu
            memory = f"{gpu.memory_mib / 1024:.1f}" if gpu else "–"
            needs = f"{each.needs_mib / 1024:.1f}" if gpu else "–"
            fits = "yes" if each.fits else f"no: {each.too_small_for}"
            minutes = between = "–"
            if each.work is not None:
                low, high = ((value + each.start_seconds) / 60 for value in each.work.total[1:])
                minutes = minutes_words((each.seconds or 0.0) / 60)
                between = f"{minutes_words(low)}–{minutes_words(high)}"
            dollars = "–" if each.usd is None else dollars_words(each.usd)
            hour = f"{self.tables.prices.usd_per_second[gpu.name] * 3600:.2f}" if gpu else "–"
            yield (
                f"{each.name:<14}{memory:>9}{needs:>8}  {fits:<14}{minutes:>9}{between:>15}{dollars:>11}  {hour:>8}"
            )

    def _verdict(self) -> Iterator[str]:
        yield f"Needs are the predicted peak and {MARGIN - 1:.0%} more; dollars are of GPU, cores and memory."
        smallest, cheapest = cost.smallest(self.on_gpus), cost.cheapest(self.on_gpus)
        if smallest is None:
            yield f"No GPU of {self.tables.prices.path.name} is large enough with these settings."
        elif len(self.on_gpus) > 1:
            yield f"Smallest GPU that fits: {smallest.name}{_for(smallest)}."
            if cheapest is not None and cheapest is not smallest:
                yield f"Cheapest that fits: {cheapest.name}{_for(cheapest)}."
            measured = cost.cheapest(self.on_gpus, measured=True)
            if cheapest is not None and cheapest is not measured:
                yield (
                    f"Nobody measured {cheapest.name}; "
                    + (
                        f"of the GPUs whose speed was measured {measured.name} costs least{_for(measured)}."
                        if measured
                        else "nor any other of those that fit."
                    )
                )
        fixes = {each.name: each.fix for each in self.on_gpus if each.fix}
        if fixes:
            first = next(iter(fixes.values()))
            names = [name for name, fix in fixes.items() if fix.change.setting == first.change.setting]
            yield (
                f"{first.change.setting} would make it fit into {_listed(names)}: {first.mib * MARGIN / 1024:.1f} GiB "
                f"with the margin ({first.change.costs})."
            )
        if without := [each.name for each in self.on_gpus if not each.fits and not each.fix]:
            yield f"No single setting makes it fit into {_listed(without)}."

    def _bases(self) -> Iterator[tuple[str, str]]:
        """Machines, and what their times rest on: what all GPUs have in common is said once."""
        notes = {each.name: each.work.notes for each in self.on_gpus if each.work}
        shared = [
            note for note in next(iter(notes.values()), ()) if all(note in each for each in notes.values())
        ]
        if len(notes) < 2:
            shared = []
        found: dict[str, list[str]] = {}
        for name, words in notes.items():
            own = "; ".join(note for note in words if note not in shared)
            found.setdefault(own, []).append(name)
        yield from ((_listed(names), words) for words, names in found.items() if words)
        if shared:
            yield "all GPUs", "; ".join(shared)
        for each in [*self.on_gpus, self.on_cpu]:
            if each.work is None:
                yield each.name, "no throughput of such a device is known"
        if self.on_cpu.work:
            yield self.on_cpu.name, "; ".join(self.on_cpu.work.notes)

    def _stale(self) -> str | None:
        return self.tables.prices.stale(datetime.now(UTC).date())


def _for(offer: Offer) -> str:
    if offer.usd is None or offer.seconds is None:
        return ""
    return f", about {minutes_words(offer.seconds / 60)} minutes and ${dollars_words(offer.usd)}"


def _machine(offer: Offer) -> dict[str, Any]:
    gpu, time = offer.machine.gpu, offer.work
    return {
        "machine": offer.name,
        "device": offer.machine.device,
        "memory_mib": gpu.memory_mib if gpu else None,
        "needs_mib": offer.needs_mib if gpu else None,
        "deciding_phase": offer.phase,
        "fits": offer.fits,
        "first_phase_that_does_not_fit": offer.too_small_for,
        "setting_that_fixes": offer.fix.change.setting if offer.fix else None,
        "needs_with_it_mib": offer.fix.mib * MARGIN if offer.fix else None,
        "host_mib": offer.host_mib,
        "start_seconds": offer.start_seconds,
        "work_seconds": time.total._asdict() if time else None,
        "phases": {phase: seconds._asdict() for phase, seconds in time.phases.items()} if time else None,
        "usd": offer.usd,
        "usd_of": offer.bill._asdict() if offer.bill else None,
        "basis": offer.basis,
    }


def dollars_words(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= 1 else f"{usd:.3f}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _wrapped(text: str, first: str = "", later: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_on_hyphens=False,
        break_long_words=False,
    )


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where a terminal has no – and ×
    main()
