"""Which system needs most memory, and how much of a difference between frameworks is the framework itself.

Two systems of different frameworks were given equal work when everything else that the table of runs knows of
them is equal: the fair pair. What then still differs is the framework's own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from indexscope.figures import common
from indexscope.figures.resolved_settings import FAIR_PAIRS
from indexscope.run_record import COMPLETED

# What must be known and equal, and how a sentence calls it.
_WORK = {
    "passages": "passages after splitting",
    "embeddings": "embeddings",
    "nbits": "bits per dimension",
    "dim": "values of an embedding",
    "doc_maxlen": "tokens kept of a passage",
    "index_bsize": "passages per encoder batch",
    "partitions": "partitions",
    "kmeans_backend": "k-means backend",
    "kmeans_iterations": "k-means iterations",
    "process_model": "process model",
    "environment": "environment",
    "device": "device",
    "threads": "threads",
    "allocator": "allocator",
    "corpus": "corpus",
    "checkpoint": "checkpoint",
}
_PEAK, _CALL = "tree_peak_rss_mib", "index_peak_rss_mib"
_BASE_FRAMEWORK = "colbert"  # RAGatouille calls it


@dataclass(frozen=True)
class Difference:
    """`of` less `than`, of the medians without a profiler, at one size; both are names of memory_comparison."""

    of: str
    than: str
    of_mib: float
    than_mib: float
    of_runs: int
    than_runs: int
    separated: bool | None

    @property
    def mib(self) -> float:
        return self.of_mib - self.than_mib


@dataclass(frozen=True)
class Pair:
    """Two systems that were given equal work at one size; `base` is ColBERT where one of them is."""

    framework: str
    base: str


@dataclass(frozen=True)
class Answer:
    """One sentence, and whether repeats support it."""

    sentence: str
    support: str


@dataclass(frozen=True)
class Step:
    """From one system to the next: what changes, and what that adds (MiB; missing where not measured)."""

    documents: int
    left: str
    right: str
    changes: str
    peak: Difference | None
    call: Difference | None


class Measured:
    """The tables runs (with `series`) and memory_comparison, by the names that the latter gives to systems."""

    def __init__(self, runs: pd.DataFrame, comparison: pd.DataFrame) -> None:
        several = runs.groupby("system")["cell"].transform("nunique") > 1
        names = runs["system"].where(~several, runs["system"] + "-" + runs["cell"])
        self.runs = common.own_runs(runs.assign(name=names))
        self._comparison = comparison[comparison["comparison"] == "systems"]
        identity = self.runs.drop_duplicates("name")
        self.series: dict[str, str] = dict(zip(identity["name"], identity["series"], strict=True))
        self.framework: dict[str, str] = dict(zip(identity["name"], identity["framework"], strict=True))
        self.system: dict[str, str] = dict(zip(identity["name"], identity["system"], strict=True))

    def sizes(self) -> list[int]:
        """At which two systems completed without a profiler."""
        rows = self._comparison[self._comparison["quantity"] == _PEAK]
        return sorted(common.unique(rows.dropna(subset=["difference"])["documents"]))

    def difference(self, documents: int, of: str, than: str, quantity: str = _PEAK) -> Difference | None:
        for left, right in ((than, of), (of, than)):
            rows = self._comparison[
                (self._comparison["documents"] == documents)
                & (self._comparison["quantity"] == quantity)
                & (self._comparison["left"] == left)
                & (self._comparison["right"] == right)
            ].dropna(subset=["difference"])
            if rows.empty:
                continue
            row = rows.iloc[0]
            sides = {
                name: (float(row[f"{side}_median"]), int(row[f"{side}_runs"]))
                for side, name in (("left", left), ("right", right))
            }
            separated = None if pd.isna(row["separated"]) else bool(row["separated"])
            return Difference(of, than, sides[of][0], sides[than][0], sides[of][1], sides[than][1], separated)
        return None

    def medians(self, documents: int) -> dict[str, float]:
        """Median peak of the tree (MiB) of each system that completed without a profiler."""
        rows = self._comparison[
            (self._comparison["documents"] == documents) & (self._comparison["quantity"] == _PEAK)
        ]
        found: dict[str, float] = {}
        for row in common.each_row(rows):
            for name, median in ((row.left, row.left_median), (row.right, row.right_median)):
                if pd.notna(median):
                    found[name] = float(median)
        return {name: found[name] for name in self.series if name in found}

    def unequal(self, left: str, right: str, documents: int) -> list[str]:
        """Columns of runs in which the work of two systems differs, or is not known."""
        completed = self.runs[(self.runs["documents"] == documents) & (self.runs["outcome"] == COMPLETED)]
        sides = [completed[completed["name"] == name] for name in (left, right)]
        columns = []
        for column in _WORK:
            values = [set(common.unique(side[column])) for side in sides]
            if len(values[0]) != 1 or values[0] != values[1]:
                columns.append(column)
        return columns

    def changes(self, left: str, right: str, documents: int) -> str:
        """What differs in the work of two systems, from left to right, in words."""
        of_size = self.runs[self.runs["documents"] == documents]
        parts = []
        for column in self.unequal(left, right, documents):
            values = [
                " or ".join(
                    _value(each) for each in common.unique(of_size.loc[of_size["name"] == name, column])
                )
                for name in (left, right)
            ]
            if any(values):
                parts.append(f"{_WORK[column]} ({values[0] or 'unknown'} → {values[1] or 'unknown'})")
        return ", ".join(parts)

    def fair_pairs(self, documents: int) -> list[Pair]:
        """Those that the configuration defines come first, as it lists them."""
        there = list(self.medians(documents))
        found = []
        for number, left in enumerate(there):
            for right in there[number + 1 :]:
                if self.framework[left] == self.framework[right] or self.unequal(left, right, documents):
                    continue
                base_first = self.framework[left] == _BASE_FRAMEWORK
                found.append(Pair(right, left) if base_first else Pair(left, right))
        return sorted(found, key=self._rank)

    def _rank(self, pair: Pair) -> int:
        systems = (self.system[pair.framework], self.system[pair.base])
        return FAIR_PAIRS.index(systems) if systems in FAIR_PAIRS else len(FAIR_PAIRS)


def answer(measured: Measured) -> Answer | None:
    """Which system needs most at the largest size, and what of a difference is the framework; None: no two.

    The latter is of the largest size at which two frameworks were given equal work.
    """
    sizes = measured.sizes()
    if not sizes:
        return None
    size = sizes[-1]
    medians = measured.medians(size)
    most = max(medians, key=lambda name: medians[name])
    # The largest size may be measured without the fair pair.
    fair_size = next((each for each in reversed(sizes) if measured.fair_pairs(each)), size)
    pair = next(iter(measured.fair_pairs(fair_size)), None)
    other = _compared_with(most, medians, measured, pair if fair_size == size else None)
    difference = measured.difference(size, most, other)
    if difference is None:  # only a baseline was compared with each
        return None
    percent = 100 * difference.mib / difference.than_mib if difference.than_mib else math.inf
    first = (
        f"At {common.documents(size)} {measured.series[most]} needs most memory, {common.mib(difference.of_mib)} "
        f"at its peak, {common.mib(difference.mib)} ({percent:.0f} %) more than {measured.series[other]}"
    )
    told = [difference]
    support = []
    own = pair and measured.difference(fair_size, pair.framework, pair.base)
    if pair and own:
        framework, base = (
            common.framework_words(measured.framework[name]) for name in (pair.framework, pair.base)
        )
        direction = "more" if own.mib >= 0 else "less"
        at = "" if fair_size == size else f"at {common.documents(fair_size)}, "
        second = (
            f"{at}given the same work, {framework} takes {common.mib(abs(own.mib))} {direction} than {base} "
            f"({common.count(own.of_mib)} and {common.mib(own.than_mib)}): {_meaning(own)}"
        )
        if fair_size != size or {pair.framework, pair.base} != {most, other}:
            told.append(own)
        call = measured.difference(fair_size, pair.framework, pair.base, _CALL)
        if call:
            support.append(f"During the index call alone, given the same work: {_signed(call.mib)} MiB.")
    else:
        second = f"how much of it is the framework itself cannot be told: {no_fair_pair(measured, size)}"
    unknown = sorted(
        {
            f"{row.series} ({common.outcome_words(row.outcome)})"
            for row in common.each_row(measured.runs)
            if row.documents == size and row.profiler == "none" and row.name not in medians
        }
    )
    if unknown:
        support.append(f"Not known of {common.listed(unknown)}.")
    return Answer(f"{first}; {second}", " ".join([_support(told), *support]))


def _meaning(own: Difference) -> str:
    """What a difference on equal work says of the framework."""
    if own.separated is False:
        return "no difference beyond the spread of repeats"
    meaning = "so much is the framework itself" if own.mib > 0 else "the framework itself adds nothing"
    return meaning + (", if repeats confirm it" if own.separated is None else "")


def _compared_with(most: str, medians: dict[str, float], measured: Measured, pair: Pair | None) -> str:
    """Whom to compare the highest with: the fair pair's framework, else the highest of another framework."""
    if pair and measured.framework[most] != measured.framework[pair.framework]:
        return pair.framework
    others = [name for name in medians if name != most]
    foreign = [name for name in others if measured.framework[name] != measured.framework[most]]
    equalised = {pair.base} if pair else set()
    candidates = [name for name in foreign if name not in equalised] or foreign or others
    return max(candidates, key=lambda name: medians[name])


def no_fair_pair(measured: Measured, documents: int) -> str:
    """Why no two systems can be compared on equal work at a size."""
    by_system = {system: name for name, system in measured.system.items()}
    there = measured.medians(documents)
    for systems in FAIR_PAIRS:
        names = [by_system.get(system, "") for system in systems]
        if all(name in there for name in names):
            columns = measured.unequal(names[0], names[1], documents)
            words = common.listed([_WORK[column] for column in columns])
            both = " and ".join(measured.series[name] for name in names)
            return f"{both} are meant to be equal but are not, or not known to be, in {words}"
    if len({measured.framework[name] for name in there}) < 2:
        return "one framework only was measured"
    fair = " and ".join(FAIR_PAIRS[0])
    return f"no two frameworks were given the same work (systems {fair} would be)"


def steps(measured: Measured) -> list[Step]:
    """At each size with a fair pair: from the base framework as shipped, by what changes, to the other framework.

    The systems of the base framework follow each other by the number of settings in which they differ from the
    one that was given equal work. The differences of the medians add up.
    """
    found = []
    for size in measured.sizes():
        pair = next(iter(measured.fair_pairs(size)), None)
        if pair is None:
            continue
        chain = [
            name
            for name in measured.medians(size)
            if measured.framework[name] == measured.framework[pair.base] and name != pair.base
        ]
        distance = {name: len(measured.unequal(name, pair.base, size)) for name in chain}
        chain.sort(key=lambda name: distance[name], reverse=True)
        chain += [pair.base, pair.framework]
        hops = list(itertools.pairwise(chain))
        if len(hops) > 1:
            hops.append((chain[0], chain[-1]))
        for left, right in hops:
            last = (left, right) == (pair.base, pair.framework)
            found.append(
                Step(
                    size,
                    left,
                    right,
                    "the framework itself"
                    if last
                    else "all of this"
                    if (left, right) == (chain[0], chain[-1])
                    else measured.changes(left, right, size),
                    measured.difference(size, right, left),
                    measured.difference(size, right, left, _CALL),
                )
            )
    return found


def by_chance(left_runs: int, right_runs: int) -> float:
    """How often two samples of one distribution do not overlap: 2 of all orders of their runs."""
    return 2 / math.comb(left_runs + right_runs, left_runs)


def _spread(difference: Difference) -> str:
    words = common.spread_words(difference.separated)
    runs = f"{difference.of_runs} and {difference.than_runs} runs"
    if difference.separated:
        chance = 100 * by_chance(difference.of_runs, difference.than_runs)
        runs += f"; chance alone does that in {chance:.2g} % of cases"
    return f"{words} ({runs})"


def _support(told: Sequence[Difference]) -> str:
    """How differences stand to the spread of repeats."""
    if len(told) > 1 and len({_spread(each) for each in told}) == 1:
        return f"Each difference {_spread(told[0])}."
    return " ".join(f"The difference of {common.mib(abs(each.mib))} {_spread(each)}." for each in told)


def _signed(mib: float) -> str:
    return f"{mib:+,.0f}".replace("-", "−")


def _value(value: object) -> str:
    return common.count(value) if isinstance(value, int | float) else str(value)


def step_rows(measured: Measured, found: Sequence[Step]) -> list[list[str]]:
    """Texts: documents, from, to, what changes, peak, during the index call, support."""
    return [
        [
            common.count(step.documents),
            measured.series[step.left],
            measured.series[step.right],
            step.changes or "nothing that is recorded",
            _signed(step.peak.mib) if step.peak else "–",
            _signed(step.call.mib) if step.call else "–",
            _spread(step.peak).removeprefix("is ") if step.peak else "–",
        ]
        for step in found
    ]
