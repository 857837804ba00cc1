"""What the report says about the runs: what ran where, next to the published study, and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from indexscope.figures import common
from indexscope.run_record import COMPLETED

# V. Bakshi, "Memory Profiling raw ColBERT and RAGatouille", 2025-02-17, and the logs published with it.
PUBLISHED_SIZES = (100_000, 250_000, 500_000, 1_000_000, 2_000_000)
PUBLISHED_CORPUS = "UKPLab/dapr, Genomics"
PUBLISHED_CHECKPOINT = "answerdotai/answerai-colbert-small-v1"
PUBLISHED_DEVICE = "NVIDIA RTX 6000 Ada"
# What the study set for ColBERT; RAGatouille chose its own.
PUBLISHED_SETTINGS = {"doc_maxlen": "256", "nbits": "2", "kmeans_iterations": "4"}

_VERSIONS = ["python", "torch", "transformers", "faiss", "colbert", "ragatouille"]
# Resolved settings in which systems may differ without anyone having asked for it.
_SETTINGS = {
    "passages": "passages after splitting",
    "nbits": "bits per dimension",
    "doc_maxlen": "tokens kept of a passage",
    "index_bsize": "passages per encoder batch",
    "kmeans_iterations": "k-means iterations",
    "kmeans_backend": "k-means backend",
    "process_model": "process model",
}


@dataclass(frozen=True)
class Table:
    """Texts to print as they are; numeric columns are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()


def summary(runs: pd.DataFrame) -> str:
    """One sentence: what was run, and how it ended."""
    if runs.empty:
        return "Nothing was run: the table of runs is empty."
    systems = common.unique(runs["series"])
    builds = f"{len(runs)} index build" + ("" if len(runs) == 1 else "s")
    sizes = common.listed([common.count(size) for size in sorted(common.unique(runs["documents"]))])
    return f"{builds} with {common.listed(systems)} of {sizes} documents."


def machine(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Label and value of what the runs were made on and with; unknown values are left out."""
    memory = [f"{value / 1024:.1f} GiB" for value in common.unique(runs["memory_total_mib"])]
    started = runs["started_at"].dropna()
    when = "" if started.empty else f"{started.min():%Y-%m-%d %H:%M} to {started.max():%Y-%m-%d %H:%M} UTC"
    rows = [
        ("Corpus", _values(runs["corpus"])),
        ("Checkpoint", _values(runs["checkpoint"])),
        ("Device", common.device_words(runs) if len(runs) else ""),
        ("Memory", ", ".join(memory)),
        ("Kernel", _values(runs["kernel"])),
        ("Threads per process", _values(runs["threads"])),
        ("Allocator", _values(runs["allocator"])),
        ("Profilers, each in runs of its own", _values(runs["profiler"])),
        ("Runs started", when),
        ("IndexScope commit", _values(runs["git_commit"])),
    ]
    return [(label, value) for label, value in rows if value]


def versions(runs: pd.DataFrame) -> Table:
    """One row for each environment, one column for each package."""
    rows = [
        [str(environment), *[_values(group[f"{package}_version"]) or "–" for package in _VERSIONS]]
        for environment, group in runs.groupby("environment", sort=False)
    ]
    return Table(["environment", *_VERSIONS], rows)


def scale(runs: pd.DataFrame) -> Table:
    """The runs beside the published study."""
    sizes = [common.count(size) for size in sorted(common.unique(runs["documents"]))]
    return Table(
        ["", "here", "published study"],
        [
            ["documents", ", ".join(sizes) or "–", ", ".join(common.count(size) for size in PUBLISHED_SIZES)],
            ["corpus", _values(runs["corpus"]) or "–", PUBLISHED_CORPUS],
            ["checkpoint", _values(runs["checkpoint"]) or "–", PUBLISHED_CHECKPOINT],
            ["device", _values(runs["device"]) or "–", PUBLISHED_DEVICE],
            *[
                [_SETTINGS[name], _values(runs[name]) or "–", f"{value} (ColBERT)"]
                for name, value in PUBLISHED_SETTINGS.items()
            ],
        ],
    )


def limits(runs: pd.DataFrame) -> list[str]:
    """Sentences on what these runs cannot tell, each for a reason found in the table."""
    completed = runs[runs["outcome"] == COMPLETED]
    if completed.empty:
        return ["No run completed, so nothing can be said about the memory of a finished index build."]
    largest = completed["documents"].max()
    found = []
    if largest < PUBLISHED_SIZES[-1]:
        share = _share(largest / PUBLISHED_SIZES[-1])
        found.append(
            f"The largest index built here has {common.documents(largest)}, {share} of the published "
            f"{common.count(PUBLISHED_SIZES[-1])}. At small sizes imports and the checkpoint weigh more than "
            "the collection: do not extrapolate from these runs."
        )
    synthetic = [name for name in ("corpus", "checkpoint") if _all_synthetic(runs[name])]
    if synthetic:
        found.append(
            f"Synthetic here: {common.listed(synthetic)}. Memory and time depend on shapes, not on words and "
            "weights; nothing here is about search quality."
        )
    if "cuda" not in set(runs["device"]):
        found.append("Nothing ran on a GPU: GPU memory, and what moves between GPU and host, is not shown.")
    found += _differences_between_systems(completed)
    found += _noise(completed)
    moments = completed["tree_peak_moment"].dropna()
    outside = moments[moments != "index call"]
    if len(outside):
        counts = [f"{number} at {moment}" for moment, number in outside.value_counts().items()]
        found.append(
            f"In {len(outside)} of {len(completed)} runs the tree is largest while no index is being built "
            f"({common.listed(counts)}): that peak is what a machine must hold, not what indexing needs."
        )
    interval = completed["sample_interval_seconds"].median()
    if pd.notna(interval):
        found.append(
            f"The peak of a process tree is the largest of samples about {1000 * interval:.0f} ms apart; a "
            "shorter spike can be lost from it. The peaks of functions (spans) are each process's own and "
            "come from the kernel's counter. RSS counts pages that processes share in each of them."
        )
    inexact = (~completed["peaks_exact"].astype("boolean")).sum()
    if inexact:
        found.append(
            f"In {inexact} of {len(completed)} runs the kernel's peak counter could not be reset: the peaks "
            "of their functions are lower bounds."
        )
    return found


def run_table(runs: pd.DataFrame) -> Table:
    """Resolved settings, outcome and cost of every run."""
    columns: dict[str, tuple[str, str | None]] = {
        "series": ("system", None),
        "documents": ("documents", ",.0f"),
        "profiler": ("profiler", None),
        "repeat": ("repeat", ".0f"),
        "outcome": ("outcome", None),
        "tree_peak_rss_mib": ("tree peak (MiB)", ",.1f"),
        "tree_peak_moment": ("reached in", None),
        "index_peak_rss_mib": ("peak in the index call (MiB)", ",.1f"),
        "parent_peak_rss_mib": ("parent peak (MiB)", ",.1f"),
        "worker_peak_rss_mib": ("worker peak (MiB)", ",.1f"),
        "manager_peak_rss_mib": ("manager peak (MiB)", ",.1f"),
        "wall_seconds": ("wall (s)", ",.1f"),
        "index_seconds": ("index call (s)", ",.1f"),
        "index_size_mib": ("index size (MiB)", ",.2f"),
        "passages": ("passages", ",.0f"),
        "embeddings": ("embeddings", ",.0f"),
        "partitions": ("partitions", ",.0f"),
        "dim": ("dim", ".0f"),
        "nbits": ("nbits", ".0f"),
        "doc_maxlen": ("doc_maxlen", ".0f"),
        "index_bsize": ("index_bsize", ".0f"),
        "kmeans_iterations": ("k-means iterations", ".0f"),
        "kmeans_backend": ("k-means backend", None),
        "kmeans_attempts": ("k-means attempts", ".0f"),
        "process_model": ("process model", None),
        "environment": ("environment", None),
        "outcome_detail": ("detail of the outcome", None),
    }
    shown = runs.assign(outcome=runs["outcome"].map(common.outcome_words))
    return _table(shown, columns)


def comparison_table(comparison: pd.DataFrame, runs: pd.DataFrame) -> Table:
    """The rows of memory_comparison."""
    names = common.comparison_names(runs)
    shown = comparison.assign(
        left=comparison["left"].map(lambda name: names.get(name, name)),
        right=comparison["right"].map(lambda name: names.get(name, name)),
        separated=[
            common.spread_words(None if pd.isna(value) else bool(value)).removeprefix("is ")
            for value in comparison["separated"]
        ],
    )
    number = ",.2f"
    return _table(
        shown,
        {
            "left": ("left", None),
            "right": ("right", None),
            "documents": ("documents", ",.0f"),
            "quantity": ("quantity", None),
            "left_median": ("left median", number),
            "left_min": ("least", number),
            "left_max": ("most", number),
            "left_runs": ("runs", ".0f"),
            "right_median": ("right median", number),
            "right_min": ("least", number),
            "right_max": ("most", number),
            "right_runs": ("runs", ".0f"),
            "difference": ("right − left", "+,.2f"),
            "ratio": ("right / left", ".3f"),
            "separated": ("the difference is", None),
        },
    )


def _table(frame: pd.DataFrame, columns: dict[str, tuple[str, str | None]]) -> Table:
    def text(value: Any, form: str | None) -> str:
        if pd.isna(value):
            return "–"
        return str(value) if form is None else format(value, form)

    rows = [
        [text(value, form) for value, (_, form) in zip(row, columns.values(), strict=True)]
        for row in common.each_row(frame[list(columns)])
    ]
    numeric = frozenset(place for place, (_, form) in enumerate(columns.values()) if form)
    return Table([title for title, _ in columns.values()], rows, numeric)


def _differences_between_systems(completed: pd.DataFrame) -> list[str]:
    """What else differs between systems at one size, so that the code alone cannot be the reason."""
    largest = completed[completed["documents"] == completed["documents"].max()]
    differing = [
        f"{words} ({_values(largest[name], ' or ')})"
        for name, words in _SETTINGS.items()
        if largest.groupby("series")[name].first().nunique() > 1
    ]
    packages = [
        f"{package} ({_values(completed[f'{package}_version'], ' or ')})"
        for package in _VERSIONS
        if completed[f"{package}_version"].nunique() > 1
    ]
    sentences = []
    if differing:
        sentences.append(
            f"The systems differ in more than their code: {common.listed(differing)}. A difference between "
            "them is one of system and settings together."
        )
    if packages:
        sentences.append(f"Their environments differ too: {common.listed(packages)}.")
    return sentences


def _noise(completed: pd.DataFrame) -> list[str]:
    groups = completed.groupby(["series", "documents", "profiler"])["tree_peak_rss_mib"].agg(
        ["size", "min", "max"]
    )
    single = (groups["size"] == 1).sum()
    repeated = groups[groups["size"] > 1]
    sentences = []
    if single:
        sentences.append(
            f"{single} of {len(groups)} combinations of system, size and profiler were run once: their "
            "differences are not backed by repeats."
        )
    if len(repeated):
        spread = (repeated["max"] - repeated["min"]).max()
        sentences.append(
            f"Repeats, which differ in nothing, differ by up to {common.mib(spread)} at their peak "
            f"(allocator: {_values(completed['allocator'])}); smaller differences are no finding."
        )
    return sentences


def _all_synthetic(column: pd.Series) -> bool:
    names = common.unique(column)
    return bool(names) and all(name.startswith("synthetic") for name in names)


def _values(column: pd.Series, separator: str = ", ") -> str:
    """The distinct values of a column; numbers without a needless decimal point."""
    return separator.join(
        common.count(value) if isinstance(value, int | float) else str(value)
        for value in common.unique(column.tolist())
    )


def _share(fraction: float) -> str:
    return f"{100 * fraction:.2g} %"
