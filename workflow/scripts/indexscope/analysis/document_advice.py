"""Which loader to take, computed from the trainings that were measured: for each situation, loaders by rank.

A situation is all that a training has beside its loader. A loader is slower than the fastest when repeats of the two
do not overlap and reading explains it: with it reading takes more than 1 % of a step more than with the loader that
reads fastest. (The model's own time differs from run to run; that is no loader's.) Of the loaders that fit the
machine's memory and are not slower, the one that takes the least memory is best; of those that take equally much,
the one that opens soonest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from indexscope.run_record import COMPLETED

Row = dict[str, Any]

# Columns of schemas.DOCUMENT_ACCESS and of DOCUMENT_FETCHES that are read.
COLUMNS = [
    "experiment", "loader", "parallelism", "world_size", "workers", "pin_memory", "precision", "cache", "documents",
    "outcome", "outcome_detail", "samples_per_second", "step_seconds", "wait_seconds", "fetch_seconds", "tree_pss_mib",
    "open_seconds", "memory_total_mib",
]  # fmt: skip
FETCH_COLUMNS = ["loader", "order", "cache", "documents", "outcome", "p50_us"]
_SITUATION = ("parallelism", "world_size", "workers", "pin_memory", "precision", "cache", "documents")
_EQUAL_READING = 0.01  # of a step: what reading may take more before a loader counts as slower
_EQUAL_MEMORY = 0.01  # memory that differs by less is equal: a process's own varies by as much


@dataclass(frozen=True)
class Candidate:
    """A loader in one situation: its runs, none of them empty of outcome."""

    loader: str
    runs: Sequence[Mapping[str, Any]]
    fetch_us: float | None  # median of a random fetch under the same page cache

    @property
    def completed(self) -> list[Mapping[str, Any]]:
        return [run for run in self.runs if run["outcome"] == COMPLETED]

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be recommended; None where it can."""
        for run in self.runs:
            if run["outcome"] != COMPLETED:
                detail = f" ({run['outcome_detail']})" if run["outcome_detail"] else ""
                return f"{self.loader} ended as {run['outcome'].replace('_', ' ')}{detail}."
        memory, machine = self.memory_mib, self.runs[0]["memory_total_mib"]
        if memory is not None and machine is not None and memory > machine:
            return f"{self.loader} takes {memory:,.0f} MiB, more than the machine's {machine:,.0f} MiB."
        return None

    @property
    def speeds(self) -> list[float]:
        return [run["samples_per_second"] for run in self.completed]

    @property
    def speed(self) -> float:
        return fmean(self.speeds)

    @property
    def memory_mib(self) -> float | None:
        """Of the whole tree, a shared page once."""
        found = [run["tree_pss_mib"] for run in self.completed if run["tree_pss_mib"] is not None]
        return fmean(found) if found else None

    @property
    def open_seconds(self) -> float | None:
        found = [run["open_seconds"] for run in self.completed if run["open_seconds"] is not None]
        return fmean(found) if found else None

    @property
    def reading_seconds(self) -> float | None:
        """Of a step: fetching where the trainer does it itself, waiting where workers do."""
        name = "wait_seconds" if self.runs[0]["workers"] else "fetch_seconds"
        found = [run[name] for run in self.completed if run[name] is not None]
        return median(found) if found else None

    def reading_share(self, others: Sequence[Candidate]) -> float | None:
        """What reading takes more than with the loader that reads fastest, as a part of the shortest step."""
        reading = [each.reading_seconds for each in others if each.reading_seconds is not None]
        steps = [run["step_seconds"] for each in others for run in each.completed if run["step_seconds"]]
        if self.reading_seconds is None or not steps:
            return None
        return float((self.reading_seconds - min(reading)) / min(steps))

    def explained_by_reading(self, others: Sequence[Candidate]) -> bool:
        """Whether it may be slower for being this loader; also where that is not known."""
        share = self.reading_share(others)
        return share is None or share > _EQUAL_READING

    def within_spread(self, fastest: Candidate) -> bool | None:
        """Whether it is no slower than `fastest` by more than repeats differ; None: there are no repeats."""
        if self is fastest:
            return True
        if len(self.speeds) < 2 or len(fastest.speeds) < 2:
            return None
        return max(self.speeds) >= min(fastest.speeds)


def advice_rows(
    trainings: Iterable[Mapping[str, Any]], fetches: Iterable[Mapping[str, Any]]
) -> Iterator[Row]:
    """Rows of schemas.DOCUMENT_ADVICE, situations in the order of the trainings.

    Situations in which one loader only was run have nothing to choose from; they are left out where others have.

    Args:
        trainings: rows of schemas.DOCUMENT_ACCESS with at least COLUMNS.
        fetches: rows of schemas.DOCUMENT_FETCHES with at least FETCH_COLUMNS.
    """
    microseconds = _fetch_times(fetches)
    situations: defaultdict[tuple[Any, ...], defaultdict[str, list[Mapping[str, Any]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in trainings:
        if row["experiment"] == "grid":
            situations[tuple(row[name] for name in _SITUATION)][row["loader"]].append(row)
    found = []
    for key, by_loader in situations.items():
        values = dict(zip(_SITUATION, key, strict=True))
        candidates = [
            Candidate(loader, runs, microseconds.get((loader, values["cache"], values["documents"])))
            for loader, runs in by_loader.items()
        ]
        if any(candidate.completed for candidate in candidates):
            found.append((_words(values), candidates))
    if any(len(candidates) > 1 for _, candidates in found):
        found = [(situation, candidates) for situation, candidates in found if len(candidates) > 1]
    for situation, candidates in found:
        yield from _ranked(situation, candidates)


def _fetch_times(fetches: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, int], float]:
    """Median microseconds of a random fetch, by loader, page cache and documents."""
    found: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in fetches:
        if row["outcome"] == COMPLETED and row["order"] == "random" and row["p50_us"] is not None:
            found[row["loader"], row["cache"], row["documents"]].append(row["p50_us"])
    return {key: median(values) for key, values in found.items()}


def _words(values: Mapping[str, Any]) -> str:
    """A situation in words; what is as by default is not told."""
    parts = [values["parallelism"].replace("_", " "), f"world size {values['world_size']}"]
    if values["workers"]:
        parts.append(f"{values['workers']} workers a rank")
    if values["pin_memory"]:
        parts.append("pinned memory")
    if values["precision"] != "fp32":
        parts.append(values["precision"])
    return ", ".join([*parts, f"{values['cache']} page cache", f"{values['documents']:,} documents"])


def _ranked(situation: str, candidates: Sequence[Candidate]) -> Iterator[Row]:
    able = sorted(
        (candidate for candidate in candidates if candidate.obstacle is None), key=lambda each: -each.speed
    )
    fastest = able[0] if able else None
    near = [
        each
        for each in able
        if fastest is not None
        and (
            each.within_spread(fastest)
            or (each.within_spread(fastest) is False and not each.explained_by_reading(able))
        )
    ]
    order = [*_by_memory(near), *(each for each in able if each not in near)]
    order += [candidate for candidate in candidates if candidate.obstacle is not None]
    for rank, candidate in enumerate(order, start=1):
        speeds = candidate.speeds
        fits = candidate.obstacle is None
        yield {
            "situation": situation,
            "rank": rank,
            "loader": candidate.loader,
            "fits": fits,
            "samples_per_second": candidate.speed if speeds else None,
            "samples_per_second_low": min(speeds, default=None),
            "samples_per_second_high": max(speeds, default=None),
            "tree_pss_mib": candidate.memory_mib,
            "open_seconds": candidate.open_seconds,
            "within_spread": candidate.within_spread(fastest) if fits and fastest else None,
            "reading_share": candidate.reading_share(able) if fits else None,
            "reason": candidate.obstacle or _reason(candidate, order[0], able, near),
        }


def _by_memory(near: Sequence[Candidate]) -> list[Candidate]:
    """By memory, and those that take equally much as the least of what is left by the time to open."""
    remaining, order = list(near), []
    while remaining:
        order.append(min(_lightest(remaining), key=lambda each: _or_last(each.open_seconds)))
        remaining.remove(order[-1])
    return order


def _lightest(candidates: Sequence[Candidate]) -> list[Candidate]:
    least = min(_or_last(each.memory_mib) for each in candidates)
    return [each for each in candidates if _or_last(each.memory_mib) <= least * (1 + _EQUAL_MEMORY)]


def _or_last(value: float | None) -> float:
    return float("inf") if value is None else value


def _reason(
    candidate: Candidate, best: Candidate, able: Sequence[Candidate], near: Sequence[Candidate]
) -> str:
    """A sentence with the numbers that decide.

    Args:
        best: the recommended one.
        able: all that can be recommended, the fastest first.
        near: those of them that are not slower than the fastest.
    """
    parts = [f"{candidate.loader}: {_speed(candidate)}, {_place(candidate, best, able, near)}"]
    if candidate.memory_mib is not None:
        parts.append(f"{candidate.memory_mib:,.0f} MiB in all processes")
    if candidate.open_seconds is not None:
        parts.append(f"opens in {candidate.open_seconds:.2g} s")
    if candidate.fetch_us is not None:
        microseconds = (
            f"{candidate.fetch_us:,.0f}" if candidate.fetch_us >= 10 else f"{candidate.fetch_us:.2g}"
        )
        parts.append(f"fetches a document in {microseconds} µs (median, at random, alone)")
    return "; ".join(parts) + "."


def _place(
    candidate: Candidate, best: Candidate, able: Sequence[Candidate], near: Sequence[Candidate]
) -> str:
    """Why it stands where it stands."""
    fastest = able[0]
    if len(able) == 1:
        alone = len(candidate.speeds) == 1
        return "the only one that can be had here" + (" (one run: there are no repeats)" if alone else "")
    if candidate.within_spread(fastest) is None or (candidate is fastest and not _repeated(able)):
        unknown = "there are no repeats that would tell by how much runs differ"
        if candidate is fastest:
            return f"the fastest, but {unknown}"
        return f"{1 - candidate.speed / fastest.speed:.1%} slower than {fastest.loader}, but {unknown}"
    if candidate not in near:
        return f"{1 - candidate.speed / fastest.speed:.1%} slower than {fastest.loader}, more than repeats differ"
    if len(near) == 1:
        return "the fastest by more than repeats differ"
    if all(each.within_spread(fastest) for each in near):
        equal = f"one of {len(near)} loaders between which repeats tell no difference in speed"
    else:
        shares = [share for each in near if (share := each.reading_share(able)) is not None]
        equal = (
            f"one of {len(near)} loaders that are equally fast, or slower by more than reading explains (which takes "
            f"at most {max(shares):.1%} of a step more with one than with another)"
        )
    if candidate is not best:
        return f"{equal}, but {_drawback(candidate, best)}"
    if candidate.memory_mib is None:
        return equal
    if len(_lightest(near)) == 1:
        return f"{equal}, and of them the one with the least memory"
    return f"{equal}, and of those with the least memory the one that opens soonest"


def _drawback(candidate: Candidate, best: Candidate) -> str:
    memory, least = _or_last(candidate.memory_mib), _or_last(best.memory_mib)
    if memory > least * (1 + _EQUAL_MEMORY):
        return f"takes {memory - least:,.0f} MiB more than {best.loader}"
    return f"with as much memory opens no sooner than {best.loader}"


def _repeated(candidates: Iterable[Candidate]) -> bool:
    """Whether the first has repeats, and another has, with which to compare."""
    first, *others = candidates
    return len(first.speeds) > 1 and any(len(each.speeds) > 1 for each in others)


def _speed(candidate: Candidate) -> str:
    speeds = candidate.speeds
    mean = f"{candidate.speed:,.1f} samples/s"
    if len(speeds) == 1:
        return f"{mean} (one run)"
    return f"{mean} ({min(speeds):,.1f} to {max(speeds):,.1f} in {len(speeds)} runs)"
