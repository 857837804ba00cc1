"""Which system needs most memory, and how much of a difference between frameworks is the framework itself.

Two systems of different frameworks were given equal work when everything else that the table of runs knows of
them is equal: the fair pair. What then still differs is the framework's own. What each thing that is unequal
makes is in the table confounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from indexscope.analysis import confounds
from indexscope.analysis.memory_comparison import WITHOUT_PROFILER
from indexscope.figures import common
from indexscope.figures.resolved_settings import FAIR_PAIRS
from indexscope.run_record import COMPLETED

from .facts import Table

_PEAK, _CALL = "tree_peak_rss_mib", "index_peak_rss_mib"
# What of a function's name, the last part, is called in a table.
_PHASES = {"setup": "planning", "train": "training", "index": "encoding", "finalize": "finalizing"}


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
        sides = [
            confounds.System(name, common.plain_rows(completed[completed["name"] == name]))
            for name in (left, right)
        ]
        return [column for column in confounds.unequal(*sides) if column != "framework"]

    def fair_pairs(self, documents: int) -> list[Pair]:
        """Those that the configuration defines come first, as it lists them."""
        there = list(self.medians(documents))
        found = []
        for number, left in enumerate(there):
            for right in there[number + 1 :]:
                if self.framework[left] == self.framework[right] or self.unequal(left, right, documents):
                    continue
                base_first = self.framework[left] == confounds.BASE_FRAMEWORK
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
            support.append(
                f"During the index call alone, given the same work: {confounds.signed(call.mib)} MiB."
            )
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
            words = common.listed([confounds.words(column) for column in columns])
            both = " and ".join(measured.series[name] for name in names)
            return f"{both} are meant to be equal but are not, or not known to be, in {words}"
    if len({measured.framework[name] for name in there}) < 2:
        return "one framework only was measured"
    fair = " and ".join(FAIR_PAIRS[0])
    return f"no two frameworks were given the same work (systems {fair} would be)"


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


def confound_table(rows: Sequence[confounds.Row], names: Mapping[str, str]) -> Table:
    """Step by step from one process of ColBERT to RAGatouille's tree, at each size, and the ends compared.

    Args:
        rows: of the table confounds.
        names: what to call a system.
    """
    table = []
    for row in sorted(rows, key=lambda row: (row["documents"], row["step"])):
        # By how much chance does so is in the note below the table.
        words = common.spread_words(row["beyond_spread"]).removeprefix("is ")
        spread = _of_the_same_runs(row) or f"{words} ({row['from_runs']} and {row['to_runs']} runs)"
        total = row["confound"] in confounds.TOTALS
        table.append(
            [
                common.count(row["documents"]),
                row["confound"],
                confounds.signed(row["share_mib"]),
                f"{confounds.signed(row['share_low_mib'])} to {confounds.signed(row['share_high_mib'])}",
                *(_measured(row, side, names) for side in ("from", "to")),
                "both ends, directly" if total else row["changes"],
                spread,
            ]
        )
    return Table(
        [
            "documents", "confound", "share (MiB)", "of any two runs (MiB)", "from (MiB)", "to (MiB)",
            "what changes", "the share is",
        ],
        table,
        frozenset({0, 2, 3}),
    )  # fmt: skip


def _measured(row: confounds.Row, side: str, names: Mapping[str, str]) -> str:
    """A system and its median; that it is the process tree's goes without saying."""
    system, measure = row[f"{side}_system"], row[f"{side}_measure"]
    of = "" if measure == confounds.TREE else f", {measure}"
    return f"{names.get(system, system)}{of}: {common.count(row[f'{side}_mib'])}"


def _of_the_same_runs(row: confounds.Row) -> str:
    """What is compared within a run does not depend on repeats; empty where two systems are compared."""
    if row["from_system"] != row["to_system"]:
        return ""
    return f"within each of the same {row['from_runs']} runs" if row["from_runs"] > 1 else "within one run"


def parent_and_child(runs: pd.DataFrame, spans: pd.DataFrame) -> Table:
    """Of each system that works in a child process: parent and child apart and added, at peaks and phase ends.

    Peaks are RSS of runs without a profiler; at the end of a phase it is PSS, of runs under the profiler spans.
    What is in the tree beside the child is the parent, which waits, and the manager.

    Args:
        runs: the table runs, with `series`.
        spans: the table spans.
    """
    own = common.own_runs(runs)
    chosen = own[(own["outcome"] == COMPLETED) & (own["process_model"] == confounds.CHILD_PROCESS)]
    ends = spans[spans["run"].isin(chosen["run"]) & (spans["role"] == "worker")]
    ends = ends.dropna(subset=["end_pss_mib", "end_tree_pss_mib"])
    ends = ends.assign(phase=ends["function"].str.split(".").str[-1].map(_PHASES))
    rows = []
    groups = chosen[["documents", "series"]].drop_duplicates().sort_values("documents", kind="stable")
    for group in common.each_row(groups):
        of = chosen[(chosen["documents"] == group.documents) & (chosen["series"] == group.series)]
        identity = [common.count(group.documents), group.series]
        without = of[of["profiler"] == WITHOUT_PROFILER]
        peaks = _medians(without, ["parent_peak_rss_mib", "worker_peak_rss_mib", "tree_peak_rss_mib"])
        if not any(map(math.isnan, peaks)):
            rows.append([*identity, "peak of each (RSS)", *map(common.count, peaks)])
        for phase in _PHASES.values():
            at_end = ends[ends["run"].isin(of["run"]) & (ends["phase"] == phase)]
            if len(at_end):
                child, tree = _medians(at_end, ["end_pss_mib", "end_tree_pss_mib"])
                sizes = (tree - child, child, tree)
                rows.append([*identity, f"end of {phase} (PSS)", *map(common.count, sizes)])
    return Table(
        ["documents", "system", "when", "parent (MiB)", "child (MiB)", "whole tree (MiB)"],
        rows,
        frozenset({0, 3, 4, 5}),
    )


def _medians(frame: pd.DataFrame, columns: Sequence[str]) -> list[float]:
    return [float(frame[column].median()) for column in columns]
