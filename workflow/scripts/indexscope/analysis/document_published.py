"""What was published of loaders and memory, beside what formulas say and what was measured here.

The facts lie in config/published (`document_access_*.csv`; its README says where they are from). Samples per second of
another model on another device are not compared; how loaders compare with each other is, timed as published: from when
the batch is there. Memory that no machine of ours has is computed (document_access/memory_model.py).
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from indexscope.document_access import memory_model
from indexscope.document_access.memory_model import MIB, CollectionSizes
from indexscope.run_record import COMPLETED, InputError

Row = dict[str, Any]
Training = Mapping[str, Any]

REPRODUCED, DIFFERS, NOT_TESTABLE = "reproduced", "differs", "not testable here"
THROUGHPUT, PROCESS, OUTCOME = "samples_per_second", "memory_mib_per_process", "outcome"
OURS = "this project"
# Columns of schemas.DOCUMENT_ACCESS that are read.
COLUMNS = [
    "experiment", "loader", "parallelism", "world_size", "workers", "pin_memory", "precision", "cache", "documents",
    "outcome", "outcome_detail", "device", "samples_per_second", "samples_per_second_after_fetch",
    "largest_rank_pss_mib", "tree_peak_rss_mib", "memory_limit_mib", "predicted_mib",
]  # fmt: skip
_FILES = {
    "document_access_throughput.csv": "loader published_loader gpus samples_per_second out_of_memory",
    "document_access_memory.csv": "item loader collection documents identifier_characters value_gb source",
    "document_access_settings.csv": "setting value",
}
_GB = 10**9  # of what was published
_RATIO_TOLERANCE = 0.05  # of a loader's speed relative to another's, besides what repeats differ by
_CLAIM_TOLERANCE = 0.25  # of memory that was published with one digit
_PREDICTION_TOLERANCE = 0.10
_OUT_OF_MEMORY = "out_of_memory_host"
_IN_MEMORY, _OFFSETS = "in_memory", "offset_index"
# Which trainings stand beside published ones, where several ways of parallelism know the loaders equally well.
_PREFERENCE = ["distributed", "data_parallel", "accelerate", "single"]


@dataclass(frozen=True)
class Collection:
    """A published collection."""

    name: str
    documents: int
    identifier_characters: int
    size_bytes: float

    def in_memory_mib(self, character_bytes: int = 1) -> float:
        """Of one process that holds all texts in a dict."""
        return (
            memory_model.estimated_in_memory_bytes(
                self.documents, self.size_bytes, self.identifier_characters, character_bytes
            )
            / MIB
        )

    @property
    def offsets_mib(self) -> float:
        """Of one process that holds a dict of offsets."""
        return memory_model.estimated_offsets_bytes(self.documents, self.identifier_characters) / MIB

    @property
    def offset_index_mib(self) -> float:
        """Of this project's offset index, which processes share."""
        return memory_model.estimated_offset_index_bytes(self.documents, self.size_bytes) / MIB


@dataclass(frozen=True)
class Published:
    """The rows of config/published/document_access_*.csv."""

    throughput: list[dict[str, str]]
    claims: list[dict[str, str]]
    collections: dict[str, Collection]
    machine_mib: float
    source: str
    gpu: str
    documents: int

    @classmethod
    def read(cls, folder: Path) -> Published:
        """From config/published.

        Raises:
            InputError: a file cannot be read, lacks a column, or a value is not what its column holds.
        """
        facts = {name: _read(folder / name, columns) for name, columns in _FILES.items()}
        memory = facts["document_access_memory.csv"]
        settings = {row["setting"]: row["value"] for row in facts["document_access_settings.csv"]}
        try:
            collections = {
                row["collection"]: Collection(
                    row["collection"],
                    int(row["documents"]),
                    int(row["identifier_characters"]),
                    float(row["value_gb"]) * _GB,
                )
                for row in memory
                if row["item"] == "size of the collection"
            }
            (machine,) = (float(row["value_gb"]) for row in memory if row["item"] == "memory of the machine")
            claims = [row for row in memory if row["item"] == "memory of a process"]
            for row in facts["document_access_throughput.csv"]:
                int(row["gpus"]), float(row["samples_per_second"] or 0)
            for claim in claims:
                float(claim["value_gb"]), collections[claim["collection"]]
            return cls(
                facts["document_access_throughput.csv"],
                claims,
                collections,
                machine * _GB / MIB,
                settings["paper"],
                settings["gpu"],
                int(settings["documents"]),
            )
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{folder / 'document_access_*.csv'}: a value is missing or wrong ({error}); see README.md beside it"
            ) from None

    @property
    def collection(self) -> Collection:
        """That of the study's trainings."""
        return next(each for each in self.collections.values() if each.documents == self.documents)

    @property
    def larger(self) -> Collection:
        return max(self.collections.values(), key=lambda each: each.size_bytes)


def published_rows(
    published: Published, trainings: Sequence[Training], sizes: CollectionSizes
) -> Iterator[Row]:
    """Rows of schemas.DOCUMENT_PUBLISHED.

    Args:
        trainings: rows of schemas.DOCUMENT_ACCESS with at least COLUMNS.
        sizes: of the collection of the trainings of the grids.
    """
    comparable = _Comparable(trainings)
    for row in published.throughput:
        if row["out_of_memory"] == "true":
            yield _out_of_memory(row, published, trainings)
        else:
            yield _throughput(row, published, comparable)
    for claim in published.claims:
        yield _claim(claim, published, trainings)
    yield from _documents_in_memory(trainings, sizes)
    yield from _limited(trainings)


def _row(**columns: Any) -> Row:
    empty = dict.fromkeys(
        ["world_size", "documents", "published", "ours", "ours_out_of_memory", "by_formula", "detail"]
    )
    return {**empty, "published_out_of_memory": False, **columns}


# Throughput


class _Comparable:
    """Trainings that differ in nothing but loader and repeat, at each world size."""

    def __init__(self, trainings: Iterable[Training]) -> None:
        self._by_world: defaultdict[int, defaultdict[str, defaultdict[str, list[Training]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        for row in trainings:
            plain = (row["experiment"], row["workers"], row["pin_memory"], row["precision"], row["cache"])
            if plain == ("grid", 0, False, "fp32", "warm") and row["outcome"] == COMPLETED:
                self._by_world[row["world_size"]][row["parallelism"]][row["loader"]].append(row)

    def at(self, world_size: int, loaders: Iterable[str]) -> tuple[str, Mapping[str, list[Training]]]:
        """The way of parallelism that knows most of `loaders`, and its trainings by loader."""
        ways: Mapping[str, Mapping[str, list[Training]]] = self._by_world.get(world_size, {})
        wanted = set(loaders)
        best = max(
            _PREFERENCE,
            key=lambda way: (len(wanted & set(ways.get(way, ()))), -_PREFERENCE.index(way)),
        )
        return best, ways.get(best, {})


def _throughput(row: Mapping[str, str], published: Published, comparable: _Comparable) -> Row:
    world_size, loader = int(row["gpus"]), row["loader"]
    same_size = [
        other
        for other in published.throughput
        if other["gpus"] == row["gpus"] and other["out_of_memory"] == "false"
    ]
    reference = same_size[0]
    way, by_loader = comparable.at(world_size, [other["loader"] for other in same_size])
    ours = by_loader.get(loader, [])
    result = _row(
        source=published.source,
        quantity=THROUGHPUT,
        loader=loader,
        world_size=world_size,
        documents=published.documents,
        published=float(row["samples_per_second"]),
        ours=fmean(each["samples_per_second"] for each in ours) if ours else None,
        ours_out_of_memory=False if ours else None,
        verdict=NOT_TESTABLE,
    )
    theirs = by_loader.get(reference["loader"], [])
    if not ours:
        result["detail"] = f"no training with {loader} at world size {world_size} completed here"
    elif reference is row:
        result["detail"] = (
            f"the samples/s of another model on another device ({published.gpu} there, {ours[0]['device']} here) are "
            "not compared; the other loaders of this world size are compared with this one"
        )
    elif not theirs:
        result["detail"] = (
            f"no training with {reference['loader']} at world size {world_size} completed here, with which to compare"
        )
    else:
        ratio = float(row["samples_per_second"]) / float(reference["samples_per_second"])
        low, mean, high = _ratio(ours, theirs, "samples_per_second_after_fetch")
        within = low * (1 - _RATIO_TOLERANCE) <= ratio <= high * (1 + _RATIO_TOLERANCE)
        # From when the batch is there no loader has a part in it: what differs more is the machine.
        result["verdict"] = REPRODUCED if within else NOT_TESTABLE
        _, whole, _ = _ratio(ours, theirs, "samples_per_second")
        noise = "" if within else "; runs of the same work differ by more than the published loaders"
        result["detail"] = (
            f"relative to {reference['loader']}, timed as published from when the batch is there: {ratio:.3f} "
            f"published, {mean:.3f} here ({_range(low, high, ours, theirs)}{way}); with fetching {whole:.3f}{noise}"
        )
    return result


def _ratio(ours: Sequence[Training], theirs: Sequence[Training], name: str) -> tuple[float, float, float]:
    above, below = [row[name] for row in ours], [row[name] for row in theirs]
    return min(above) / max(below), fmean(above) / fmean(below), max(above) / min(below)


def _range(low: float, high: float, *groups: Sequence[Training]) -> str:
    repeated = any(len(group) > 1 for group in groups)
    return f"{low:.3f} to {high:.3f} over repeats; " if repeated else "one run each; "


# Memory


def _out_of_memory(row: Mapping[str, str], published: Published, trainings: Sequence[Training]) -> Row:
    """Whether as many copies as there were processes fill the machine."""
    world_size = int(row["gpus"])
    collection, larger, machine = published.collection, published.larger, published.machine_mib
    narrow, wide = (world_size * collection.in_memory_mib(width) for width in (1, 2))
    verdict = REPRODUCED if narrow > machine else DIFFERS if wide <= machine else NOT_TESTABLE
    words = {
        REPRODUCED: "more than",
        DIFFERS: "less than",
        NOT_TESTABLE: "less or more, as texts have characters beyond Latin-1, than",
    }[verdict]
    of_larger = world_size * larger.in_memory_mib()
    ours = [
        each
        for each in trainings
        if each["loader"] == row["loader"]
        and each["world_size"] == world_size
        and each["outcome"] in (COMPLETED, _OUT_OF_MEMORY)
    ]
    under_limit = [each for each in ours if each["experiment"] == "limited"]
    detail = (
        f"by formula {world_size} copies of {collection.name} take {_gb(narrow)} to {_gb(wide)}, {words} the "
        f"{_gb(machine)} of the machine; as many of {larger.name} would take {_gb(of_larger)} or more"
    )
    if under_limit and len(under_limit) == len(ours):
        detail += f"; ours ran under a limit that was set for it, {under_limit[0]['memory_limit_mib']:,} MiB"
    return _row(
        source=published.source,
        quantity=OUTCOME,
        loader=row["loader"],
        world_size=world_size,
        documents=published.documents,
        published_out_of_memory=True,
        ours_out_of_memory=any(each["outcome"] == _OUT_OF_MEMORY for each in ours) if ours else None,
        by_formula=narrow,
        verdict=verdict,
        detail=detail,
    )


def _claim(claim: Mapping[str, str], published: Published, trainings: Sequence[Training]) -> Row:
    """One published figure of a process's memory."""
    collection = published.collections[claim["collection"]]
    mib = float(claim["value_gb"]) * _GB / MIB
    if claim["loader"] == _IN_MEMORY:
        formula = collection.in_memory_mib()
        verdict = _within(mib, formula, _CLAIM_TOLERANCE)
        detail = (
            f"a dict of {collection.documents:,} texts of {collection.size_bytes / collection.documents:,.0f} bytes "
            f"on average ({collection.name}) takes {_gb(formula)}, {_gb(collection.in_memory_mib(2))} where every text "
            f"has a character beyond Latin-1; {_gb(mib)} published, for the whole process"
        )
    else:
        formula, verdict, detail = _offsets_claim(collection, mib, trainings)
    return _row(
        source=f"{published.source}; {claim['source']}",
        quantity=PROCESS,
        loader=claim["loader"],
        documents=collection.documents,
        published=mib,
        by_formula=formula,
        verdict=verdict,
        detail=detail,
    )


def _offsets_claim(
    collection: Collection, mib: float, trainings: Sequence[Training]
) -> tuple[float, str, str]:
    formula = collection.offsets_mib
    ranks = [
        row["largest_rank_pss_mib"]
        for row in trainings
        if (row["loader"], row["world_size"], row["workers"], row["outcome"]) == (_OFFSETS, 1, 0, COMPLETED)
        and row["device"] == "cuda"
        and row["largest_rank_pss_mib"] is not None
    ]
    words = (
        f"a dict of {collection.documents:,} offsets takes {_gb(formula)}; the offset index of this project, a file "
        f"that processes share, would be {_gb(collection.offset_index_mib)}"
    )
    if not ranks:
        reason = f"the other part of {_gb(mib)} is of the process itself on a GPU, and none was measured here on one"
        return formula, NOT_TESTABLE, f"{words}; {reason}"
    whole = formula + fmean(ranks)
    return (
        whole,
        _within(mib, whole, _CLAIM_TOLERANCE),
        f"{words}; a rank without it took {_gb(whole - formula)} here",
    )


def _documents_in_memory(trainings: Sequence[Training], sizes: CollectionSizes) -> Iterator[Row]:
    """What more documents add to a rank that holds them: by the formula, and as measured."""
    of_grid: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    of_limited: defaultdict[int, defaultdict[tuple[str, int], list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in trainings:
        if row["loader"] != _IN_MEMORY or row["workers"] or row["largest_rank_pss_mib"] is None:
            continue
        place = (row["parallelism"], row["world_size"])
        if row["experiment"] == "limited":
            of_limited[row["documents"]][place].append(row["largest_rank_pss_mib"])
        elif row["documents"] == sizes.documents and row["precision"] == "fp32":
            of_grid[place].append(row["largest_rank_pss_mib"])
    for documents, large in sorted(of_limited.items()):
        places = [place for place in large if place in of_grid]
        if places and documents != sizes.documents:
            added = [fmean(large[place]) - fmean(of_grid[place]) for place in places]
            noise = max(max(of_grid[place]) - min(of_grid[place]) for place in places)
            yield _added(documents, sizes, added, noise)


def _added(documents: int, sizes: CollectionSizes, added: Sequence[float], noise: float) -> Row:
    """What `documents` take more than those of `sizes`, in ranks at each world size (MiB)."""
    # Slices of a corpus begin alike, and their documents are as long on average.
    formula = sizes.in_memory_bytes / MIB * (documents / sizes.documents - 1)
    verdict = _within(fmean(added), formula, _CLAIM_TOLERANCE)
    several = f"{min(added):.1f} to {max(added):.1f} at {len(added)} world sizes; " if len(added) > 1 else ""
    detail = (
        f"a rank with {documents:,} documents took {fmean(added):.1f} MiB ({several}PSS) more than one with "
        f"{sizes.documents:,}; the formula says {formula:.1f} MiB"
    )
    if formula < 4 * noise:
        verdict = NOT_TESTABLE
        detail += f", too little beside the {noise:.1f} MiB by which repeats differ"
    return _row(
        source=OURS,
        quantity=PROCESS,
        loader=_IN_MEMORY,
        documents=documents,
        ours=fmean(added),
        ours_out_of_memory=False,
        by_formula=formula,
        verdict=verdict,
        detail=detail,
    )


def _limited(trainings: Sequence[Training]) -> Iterator[Row]:
    """Trainings under a memory limit: did each end as predicted, and take what was predicted."""
    for row in trainings:
        predicted, limit = row["predicted_mib"], row["memory_limit_mib"]
        if row["experiment"] != "limited" or predicted is None or limit is None:
            continue
        out_of_memory, peak = row["outcome"] == _OUT_OF_MEMORY, row["tree_peak_rss_mib"]
        detail = f"predicted {predicted:,.0f} MiB under a limit of {limit:,} MiB; "
        if row["outcome"] not in (COMPLETED, _OUT_OF_MEMORY):
            verdict = NOT_TESTABLE
            detail += f"it ended as {row['outcome']} ({row['outcome_detail']})"
        elif out_of_memory or predicted > limit:
            verdict = REPRODUCED if out_of_memory and predicted > limit else DIFFERS
            detail += "it ran out of memory" if out_of_memory else f"it completed with {peak:,.0f} MiB"
        else:
            verdict = _within(peak, predicted, _PREDICTION_TOLERANCE)
            detail += f"it completed with {peak:,.0f} MiB, {predicted / peak - 1:+.1%} from the prediction"
        yield _row(
            source=OURS,
            quantity=OUTCOME,
            loader=row["loader"],
            world_size=row["world_size"],
            documents=row["documents"],
            ours=peak,
            ours_out_of_memory=out_of_memory,
            by_formula=predicted,
            verdict=verdict,
            detail=detail,
        )


def _within(reference: float, value: float, tolerance: float) -> str:
    return REPRODUCED if abs(value - reference) <= tolerance * abs(reference) else DIFFERS


def _gb(mib: float) -> str:
    gigabytes = mib * MIB / _GB
    return f"{gigabytes:,.0f} GB" if gigabytes >= 10 else f"{gigabytes:.2g} GB"


def _read(path: Path, columns: str) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns.split() if column not in (reader.fieldnames or [])]
            if missing:
                raise InputError(f"{path}: lacks the column {missing[0]}; see README.md beside it")
            return list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); it is part of the repository") from None
