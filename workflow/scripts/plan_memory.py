"""Predict the memory that building an index will take, from its settings and the size of its collection.

Prints the highest point of each phase on the host and on the GPU, with each part's formula and numbers, the phase
that decides, and the settings that would lower it, each predicted again. Nothing is built, and nothing but Python
is needed, unless settings come from a configuration (--system, --configfile).

  plan_memory.py --documents 12.6M --framework ragatouille --tokens-per-passage 77
  plan_memory.py --documents 500k --system colbert_in_process --memory 64G
  plan_memory.py --configfile my.yaml --memory machine      every run of a configuration

The exit status is 0; with --memory or --gpu-memory it is 1 when something does not fit. 2: a wrong argument.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from indexscope import doctor, memory_model, plan_arguments
from indexscope.memory_plan import (
    MARGIN,
    Case,
    Saving,
    most_documents,
    needed_mib,
    reserve_mib,
    savings,
)
from indexscope.run_record import InputError

WIDTH = 100
_MEMORY = {"host": "Host", "gpu": "GPU"}
_LARGEST = 10**9  # documents, of what is tried


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    try:
        available = Available(
            plan_arguments.there(arguments.memory, "--memory", doctor.machine_memory_mib),
            plan_arguments.there(arguments.gpu_memory, "--gpu-memory", doctor.gpu_memory_mib),
        )
        if arguments.framework is None and arguments.system is None:
            everything = _whole_configuration(arguments)
            print(
                json.dumps([run.json() for run in everything], indent=1)
                if arguments.json
                else "\n".join(_table(everything, available))
            )
            sys.exit(any(available.lacks(run.needed()) for run in everything))
        case = plan_arguments.case_of(arguments)
        plan = Plan.of(case, available)
        print(json.dumps(plan.json(), indent=1) if arguments.json else "\n".join(plan.lines()))
        sys.exit(bool(available.lacks(_peaks(plan.prediction))))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = plan_arguments.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    plan_arguments.add_options(parser, device=True)
    fits = parser.add_argument_group("whether it fits")
    fits.add_argument(
        "--memory", metavar="MIB", help="of the host: 65536, 64G, or machine (what this one has)"
    )
    fits.add_argument("--gpu-memory", metavar="MIB", help="of the GPU: 24576, 24G, machine")
    parser.add_argument("--json", action="store_true", help="all of it, as JSON")
    return parser


@dataclass(frozen=True)
class Available:
    """What there is, in MiB; None where it was not said."""

    host: float | None
    gpu: float | None

    def of(self, memory: str) -> float | None:
        return self.host if memory == "host" else self.gpu

    def lacks(self, needed: Mapping[str, float]) -> list[str]:
        """The memories, host or gpu, of which more is needed than there is."""
        sizes = ((memory, self.of(memory)) for memory in needed)
        return [memory for memory, size in sizes if size is not None and needed[memory] > size]


def _peaks(prediction: memory_model.Prediction) -> dict[str, float]:
    return {memory: prediction.peak(memory)[1] for memory in _MEMORY}


@dataclass(frozen=True)
class Run:
    """A system and size of a configuration, under the profiler that needs most."""

    system: str
    case: Case
    profilers: tuple[str, ...]

    def needed(self) -> dict[str, float]:
        return {
            memory: max(needed_mib(self.case, memory, profiler) for profiler in self.profilers)
            for memory in _MEMORY
        }

    def json(self) -> dict[str, Any]:
        prediction, needed = self.case.prediction(), self.needed()
        return {
            "system": self.system,
            "documents": self.case.documents,
            "profilers": self.profilers,
            **{f"{memory}_mib": size for memory, size in needed.items()},
            **{f"{memory}_deciding_phase": prediction.peak(memory)[0] for memory in needed if needed[memory]},
        }


def _whole_configuration(arguments: argparse.Namespace) -> list[Run]:
    """Each system and size that a configuration runs."""
    if arguments.configfile is None:
        raise InputError(
            "--framework, --system or --configfile: give one; a configuration alone plans all of its runs"
        )
    for option in ("documents", "text_bytes"):
        if getattr(arguments, option):
            raise InputError(
                f"--{option.replace('_', '-')}: a configuration has its own sizes; add --system to plan another one"
            )
    from indexscope import config

    settings = plan_arguments.configuration(arguments)
    profilers: dict[tuple[str, int], dict[str, None]] = {}
    for system, documents, profiler, _ in config.experiment_runs(settings.index_memory):
        profilers.setdefault((system, documents), {})[profiler] = None
    runs = []
    for (system, documents), names in profilers.items():
        case = Case(*plan_arguments.configured(arguments, settings, system), documents)
        runs.append(Run(system, plan_arguments.with_options(case, arguments), tuple(names)))
    return runs


@dataclass(frozen=True)
class Plan:
    """A prediction, and what follows from it."""

    case: Case
    prediction: memory_model.Prediction
    available: Available
    savings: Mapping[str, Sequence[Saving]]  # by memory
    fitting: int | None  # documents that would fit, where these do not

    @classmethod
    def of(cls, case: Case, available: Available) -> Plan:
        prediction = case.prediction()
        memories = [memory for memory in _MEMORY if prediction.peak(memory)[1] > 0]

        def fits(documents: int) -> bool:
            return not available.lacks(_peaks(replace(case, documents=documents).prediction()))

        asked = available.host is not None or available.gpu is not None
        return cls(
            case,
            prediction,
            available,
            {memory: savings(case, memory) for memory in memories},
            most_documents(fits, case.documents if not fits(case.documents) else _LARGEST) if asked else None,
        )

    def json(self) -> dict[str, Any]:
        prediction = self.prediction
        return {
            "quantities": asdict(prediction.quantities),
            "estimated": plan_arguments.estimated(self.case),
            "phases": {
                memory: {phase: prediction.mib(phase, memory) for phase in memory_model.PHASES}
                for memory in self.savings
            },
            "peaks": {
                memory: {
                    "phase": prediction.peak(memory)[0],
                    "mib": prediction.peak(memory)[1],
                    "to_reserve_mib": reserve_mib(self.case, memory),
                    "available_mib": self.available.of(memory),
                    "fits": memory not in self.available.lacks(_peaks(prediction)),
                }
                for memory in self.savings
            },
            "terms": [asdict(term) for term in prediction.terms],
            "lower_with": {
                memory: [
                    {
                        "setting": saving.change.setting,
                        "costs": saving.change.costs,
                        "peak_mib": saving.mib,
                        "deciding_phase": saving.phase,
                        "saves_mib": saving.saves_mib,
                    }
                    for saving in found
                ]
                for memory, found in self.savings.items()
            },
            "most_documents": self.fitting,
        }

    def lines(self) -> Iterator[str]:
        yield from _wrapped(self._headline())
        for memory, found in self.savings.items():
            yield ""
            yield from self._phases(memory)
            yield ""
            yield from self._lower(memory, found)
        yield ""
        yield from self._formulas()
        yield ""
        yield from self._rests_on()
        if self.fitting is not None:
            yield ""
            yield from self._verdict()

    def _headline(self) -> str:
        quantities = self.prediction.quantities
        where = "a GPU" if quantities.device == "cuda" else "the CPU"
        parts = [
            f"{_size(self.prediction.peak(memory)[1])} of {_MEMORY[memory].replace('Host', 'host')} memory, reached in "
            f"{self.prediction.peak(memory)[0]}"
            for memory in self.savings
        ]
        return (
            f"{quantities.framework} on {where}, {quantities.documents:,} documents: "
            + "; ".join(parts)
            + "."
        )

    def _phases(self, memory: str) -> Iterator[str]:
        """A row for each part, a column for each phase that there is."""
        prediction = self.prediction
        rows: dict[str, dict[str, dict[str, float]]] = {}  # by process and part: phase → MiB
        for term in prediction.terms:
            if term.memory == memory:
                cells = rows.setdefault(term.process, {}).setdefault(term.name, {})
                cells[term.phase] = cells.get(term.phase, 0.0) + term.mib
        alive = {phase for parts in rows.values() for cells in parts.values() for phase in cells}
        phases = [phase for phase in memory_model.PHASES if phase in alive]
        yield from _row(f"{_MEMORY[memory]} memory, MiB", phases)
        for process, parts in rows.items():
            if len(rows) > 1:
                yield f"  {process}"
            for name, cells in parts.items():
                yield from _row(
                    name, [_mib_cell(cells.get(phase)) for phase in phases], 2 + 2 * (len(rows) > 1)
                )
        yield from _row("highest point", [_mib_cell(prediction.mib(phase, memory)) for phase in phases], 2)
        deciding = prediction.peak(memory)[0]
        yield from _row("", ["decides" if phase == deciding else "" for phase in phases])

    def _lower(self, memory: str, found: Sequence[Saving]) -> Iterator[str]:
        what = f"the {_MEMORY[memory].replace('Host', 'host')} peak"
        if not found:
            yield f"No single setting lowers {what} by 1 % or more."
            return
        yield f"What lowers {what}, each setting alone, predicted again:"
        width = max(len(saving.change.setting) for saving in found)
        for saving in found:
            less = f"{_size(saving.mib):>9} (−{_size(saving.saves_mib)}), reached in {saving.phase}"
            if not saving.mib:
                less = f"{'none':>9}"
            text = f"{saving.change.setting:<{width}}  {less}; {saving.change.costs}"
            yield from textwrap.wrap(
                text, WIDTH, initial_indent="  ", subsequent_indent=" " * (width + 6), drop_whitespace=True
            )

    def _formulas(self) -> Iterator[str]:
        """Each formula once, with the phases that have it where the part has another one elsewhere."""
        parts: dict[str, dict[str, list[str]]] = {}
        builds = "parent" if self.prediction.quantities.in_process else "worker"
        for term in self.prediction.terms:
            label = f"{term.name} ({term.process})" if term.process != builds else term.name
            label += " on the GPU" if term.memory == "gpu" else ""
            parts.setdefault(label, {}).setdefault(term.formula, []).append(term.phase)
        yield "How each part is computed (bytes, where a formula says bytes):"
        for label, formulas in parts.items():
            for formula, phases in formulas.items():
                if " = " in formula:
                    within = f", {' and '.join(dict.fromkeys(phases))}" if len(formulas) > 1 else ""
                    yield from _wrapped(f"{label}{within}: {formula}", "  ", "      ")
        constants = [
            label for label, formulas in parts.items() if not any(" = " in each for each in formulas)
        ]
        if constants:
            yield from _wrapped(f"measured, not computed: {', '.join(constants)}", "  ", "      ")

    def _rests_on(self) -> Iterator[str]:
        quantities = self.prediction.quantities
        estimated = plan_arguments.estimated(self.case)
        mark = {name: " (estimated)" if name in estimated else "" for name in plan_arguments.FACTS}
        yield from _wrapped(
            f"Rests on: {quantities.passages:,} passages{mark['passages']} of "
            f"{quantities.tokens_per_passage:g} tokens{mark['tokens_per_passage']}, "
            f"{_size(quantities.text_bytes / 2**20)} of text{mark['text_bytes']}; so {quantities.embeddings:,} "
            f"embeddings of {quantities.dim} values in {quantities.partitions:,} partitions, "
            f"{quantities.sampled_passages:,} passages sampled, {quantities.chunks:,} "
            f"{'chunk' if quantities.chunks == 1 else 'chunks'}. Settings: nbits {quantities.nbits}, batches of "
            f"{quantities.index_bsize}, doc_maxlen {quantities.doc_maxlen}, k-means by {quantities.kmeans_backend}, "
            f"{quantities.nranks} {'process' if quantities.nranks == 1 else 'processes'} encoding; encoder of "
            f"{quantities.layers} layers, width {quantities.hidden_size}."
        )
        asked = ", ".join(
            f"{option}={reserve_mib(self.case, memory):,}"
            for memory, option in (("host", "mem_mb"), ("gpu", "gpu_mem_mb"))
            if memory in self.savings
        )
        yield from _wrapped(
            f"The workflow asks a scheduler for {asked.replace(',', '')} (the peak and {MARGIN - 1:.0%} more)."
        )
        if "gpu" in self.savings:
            yield "The numbers of the GPU come from shapes; no run of this project on a GPU has checked them."

    def _verdict(self) -> Iterator[str]:
        lacking = self.available.lacks(_peaks(self.prediction))
        for memory in self.savings:
            size = self.available.of(memory)
            if size is None:
                continue
            name = _MEMORY[memory].replace("Host", "host")
            if memory not in lacking:
                yield f"Fits into {_size(size)} of {name} memory."
                continue
            over = [phase for phase in memory_model.PHASES if self.prediction.mib(phase, memory) > size]
            sentence = f"Does not fit into {_size(size)} of {name} memory: {', '.join(over)} "
            sentence += f"{'needs' if len(over) == 1 else 'need'} more"
            enough = [saving.change.setting for saving in self.savings[memory] if saving.mib <= size]
            if enough:
                sentence += f"; {' or '.join(enough)} would make it fit"
            yield from _wrapped(sentence + ".")
        if self.fitting:
            yield f"With these settings about {self.fitting:,} documents fit."
        elif self.fitting == 0:
            yield "With these settings no number of documents fits."


_LABEL, _CELL = 34, 11  # columns of a row's name, and of each number


def _row(label: str, cells: Sequence[str], indent: int = 0) -> Iterator[str]:
    """One line of a table; a long name takes several, the numbers are on the last."""
    *above, last = textwrap.wrap(
        label, _LABEL, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2)
    ) or [""]
    yield from above
    yield f"{last:<{_LABEL}}{''.join(f'{cell:>{_CELL}}' for cell in cells)}".rstrip()


def _mib_cell(size: float | None) -> str:
    if not size:
        return "·"
    return f"{size:,.0f}" if size >= 10 else f"{size:.1f}"


def _size(mib: float) -> str:
    if mib >= 1024:
        return f"{mib / 1024:,.1f} GiB"
    return f"{mib:,.0f} MiB" if mib >= 10 else f"{mib:.1f} MiB"


def _wrapped(text: str, first: str = "", later: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _table(runs: Sequence[Run], available: Available) -> Iterator[str]:
    """One line a system and size of a configuration."""
    width = max(len(run.system) for run in runs) + 2
    yield f"{'system':<{width}}{'documents':>12}{'host':>12}  {'reached in':<12}{'GPU':>12}  fits"
    for run in runs:
        needed = run.needed()
        phase = run.case.prediction().peak("host")[0]
        lacking = available.lacks(needed)
        fits = (
            f"no: {' and '.join(lacking)}"
            if lacking
            else "yes"
            if available != Available(None, None)
            else "–"
        )
        yield (
            f"{run.system:<{width}}{run.case.documents:>12,}{_size(needed['host']):>12}  {phase:<12}"
            f"{_size(needed['gpu']) if needed['gpu'] else '–':>12}  {fits}"
        )


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where a terminal has no × and −
    main()
