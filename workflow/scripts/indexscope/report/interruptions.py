"""What became of runs before they ended, what a scheduler gave them, and what ran beside: from the table of runs."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from indexscope.figures import common

# Mean processor cores that others used beside a run, from which on the first screen says so.
NOTABLE_CORES = 0.5
_MOST_NAMED = 2  # systems of a sentence; the tables have all


class Interruptions(NamedTuple):
    """Sentences, and a row for each run that they are about: what, and its detail in words."""

    sentences: list[str]
    rows: list[tuple[pd.Series, str, str]]


def interruptions(runs: pd.DataFrame) -> Interruptions:
    """Runs that were ended and begun again, gone on with, limited by a scheduler, or not alone.

    Args:
        runs: the table runs, with `series`.
    """
    retried = started_again(runs)
    limited = runs[
        (runs["outcome"] == "out_of_memory_host") & runs["scheduler"].notna() & runs["granted_mib"].notna()
    ]
    beside = runs[runs["jobs_beside"].notna()]
    disturbed = runs[(runs["cores_beside"].fillna(0) >= NOTABLE_CORES) & runs["jobs_beside"].isna()]
    sentences = []
    total = len(runs)
    if len(retried):
        again, resumed = (
            retried[has] for has in (retried["resumed_from"].isna(), retried["resumed_from"].notna())
        )
        how = [
            f"{len(resumed)} went on from what was there" if len(resumed) else "",
            f"{len(again)} began anew" if len(again) else "",
        ]
        sentences.append(
            f"{_of(retried, total)} ended before a result and started again "
            f"({common.listed([words for words in how if words])}): {named(retried)}."
        )
    if len(limited):
        schedulers = common.listed(common.unique(limited["scheduler"]))
        granted = common.range_words(
            limited["granted_mib"].min(), limited["granted_mib"].max(), ",.0f", " MiB"
        )
        sentences.append(
            f"{_of(limited, total)} limited by what {schedulers} granted ({granted}): {named(limited)}."
        )
    if len(beside):
        jobs = common.unique(name for names in beside["jobs_beside"] for name in str(names).split(", "))
        sentences.append(
            f"{_of(beside, total)} not alone, IndexScope’s own {common.listed(jobs)} ran beside: {named(beside)}."
        )
    if len(disturbed):
        most = disturbed["cores_beside"].max()
        sentences.append(
            f"{_of(disturbed, total)} disturbed, other programs used up to {most:.2g} cores meanwhile: "
            f"{named(disturbed)}."
        )
    return Interruptions(
        sentences, [*_attempt_rows(retried), *_limit_rows(limited), *_beside_rows(beside, disturbed)]
    )


def started_again(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that have earlier attempts, whether they began anew or went on."""
    return runs[
        (runs["attempt"].fillna(1) > 1) | runs["earlier_attempts"].notna() | runs["resumed_from"].notna()
    ]


def attempts_words(row: pd.Series) -> str:
    """How a run came to its result: how earlier attempts ended, and from what it was gone on with."""
    parts = [str(row["earlier_attempts"])] if not pd.isna(row["earlier_attempts"]) else []
    if not pd.isna(row["resumed_from"]):
        parts.append(f"Gone on from {row['resumed_from']}; times and memory are of the last attempt.")
    if not pd.isna(row["granted_mib"]):
        parts.append(f"The last attempt had {common.mib(row['granted_mib'])}.")
    return " ".join(parts) or "Nothing is known of earlier attempts."


def _attempt_rows(retried: pd.DataFrame) -> list[tuple[pd.Series, str, str]]:
    return [
        (
            row,
            "started again" if pd.isna(row["attempt"]) else f"attempt {row['attempt']:.0f}",
            attempts_words(row),
        )
        for _, row in retried.iterrows()
    ]


def _limit_rows(limited: pd.DataFrame) -> list[tuple[pd.Series, str, str]]:
    return [
        (row, f"limited by {row['scheduler']}", f"{common.mib(row['granted_mib'])} granted")
        for _, row in limited.iterrows()
    ]


def _beside_rows(beside: pd.DataFrame, disturbed: pd.DataFrame) -> list[tuple[pd.Series, str, str]]:
    rows = []
    for _, row in pd.concat([beside, disturbed]).iterrows():
        parts = [] if pd.isna(row["jobs_beside"]) else [str(row["jobs_beside"])]
        if not pd.isna(row["cores_beside"]):
            parts.append(f"{row['cores_beside']:.2g} cores used by all else")
        rows.append((row, "not alone", ", ".join(parts)))
    return rows


def _of(some: pd.DataFrame, total: int) -> str:
    return f"{len(some)} of {total} runs {'was' if len(some) == 1 else 'were'}"


def named(runs: pd.DataFrame) -> str:
    """The first systems and sizes of `runs`."""
    names = common.unique(
        f"{row.series} at {common.documents(row.documents)}" for row in common.each_row(runs)
    )
    more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return common.listed([*names[:_MOST_NAMED], *more])
