"""What the reports say about runs: what ran where, how it ended; and of index_memory its scale and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from indexscope.figures import common
from indexscope.figures.resolved_settings import PUBLISHED_PASSAGES
from indexscope.run_record import COMPLETED

from .interruptions import interruptions, named

# V. Bakshi, "Memory Profiling raw ColBERT and RAGatouille", 2025-02-17, and the logs published with it.
PUBLISHED_SIZES = (100_000, 250_000, 500_000, 1_000_000, 2_000_000)
PUBLISHED_CORPUS = "UKPLab/dapr, Genomics"
PUBLISHED_CHECKPOINT = "answerdotai/answerai-colbert-small-v1"
PUBLISHED_DEVICE = "NVIDIA RTX 6000 Ada"
# Of the checkpoint's config.json and its projection.
PUBLISHED_ENCODER = "12 layers × 384 wide, 96 values a token"
# What the study set for ColBERT; RAGatouille chose its own.
PUBLISHED_SETTINGS = {"doc_maxlen": "256", "nbits": "2", "kmeans_iterations": "4"}

_VERSIONS = ["python", "torch", "transformers", "faiss", "colbert", "ragatouille"]
_PACKAGES = {"python": "Python", "faiss": "FAISS", "colbert": "colbert-ai"}  # where the name is another
_MOST_SYSTEMS = 7  # that the first screen names; the tables have all
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
_QUANTITIES = {
    "tree_peak_rss_mib": "peak of the process tree (MiB)",
    "index_peak_rss_mib": "peak in the index call (MiB)",
    "wall_seconds": "whole run (s)",
    "index_seconds": "index call (s)",
    "seconds_per_25k_passages": "encoding 25,000 passages (s)",
}
_SHORT = {"doc_maxlen": "tokens", "nbits": "bits", "kmeans_iterations": "k-means iterations"}


@dataclass(frozen=True)
class Table:
    """Texts to print as they are; numeric columns are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class System:
    """A system as the first screen lists it; `colour` is its colour in every figure."""

    name: str
    colour: str
    framework: str
    process_model: str
    environment: str
    runs: str


def summary(runs: pd.DataFrame) -> str:
    """One line: what was run."""
    if runs.empty:
        return "Nothing was run: the table of runs is empty."
    systems = common.unique(runs["series"])
    builds = f"{len(runs)} index build" + ("" if len(runs) == 1 else "s")
    sizes = common.listed([common.count(size) for size in sorted(common.unique(runs["documents"]))])
    profilers = [name for name in common.PROFILERS if name in set(runs["profiler"])]
    how = f"profiler{'s' * (len(profilers) > 1)} {common.listed(profilers)}"
    who = systems[0] if len(systems) == 1 else f"{len(systems)} systems"
    return f"{builds}: {who}, {sizes} documents; {how}, {repeats_words(runs)}."


def repeats_words(runs: pd.DataFrame) -> str:
    """How often one combination of system, size and profiler was run."""
    repeats = runs.groupby(["series", "documents", "profiler"])["run"].nunique()
    low, high = repeats.min(), repeats.max()
    if high == 1:
        return "each once"
    return f"each {high} times" if low == high else f"each {low} to {high} times"


def systems(runs: pd.DataFrame) -> tuple[list[System], int]:
    """The systems that the first screen lists, and how many it leaves out."""
    scale = common.system_scale(runs).to_dict() if len(runs) else {"domain": [], "range": []}
    colours = dict(zip(scale["domain"], scale["range"], strict=True))
    found = []
    for series, of_series in runs.groupby("series", sort=False):
        framework = str(of_series["framework"].iloc[0])
        column = f"{framework}_version"
        version = values(of_series[column]) if column in of_series else ""
        package = _PACKAGES.get(framework, framework)
        found.append(
            System(
                name=str(series),
                colour=str(colours[series]),
                framework=f"{package} {version}".strip(),
                process_model=values(of_series["process_model"]) or "unknown",
                environment=values(of_series["environment"]),
                runs=_runs_words(of_series),
            )
        )
    return found[:_MOST_SYSTEMS], max(0, len(found) - _MOST_SYSTEMS)


def _runs_words(runs: pd.DataFrame) -> str:
    """Such as `200, 500: none ×3, spans`: sizes that were run alike stand together."""
    alike: dict[str, list[int]] = {}
    for size in sorted(common.unique(runs["documents"])):
        repeats = runs[runs["documents"] == size].groupby("profiler")["repeat"].nunique()
        parts = [
            name + (f" ×{repeats[name]}" if repeats[name] > 1 else "")
            for name in [*common.PROFILERS, *repeats.index.difference(common.PROFILERS)]
            if name in repeats
        ]
        alike.setdefault(", ".join(parts), []).append(size)
    return "; ".join(
        f"{', '.join(common.count(size) for size in sizes)}: {words}" for words, sizes in alike.items()
    )


def machine(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Label and value of what the runs were made on and with; unknown values are left out."""
    columns = ["cpu_model", "cpu_count", "memory_total_mib", "kernel"]
    machines = []
    for row in common.each_row(runs[columns].drop_duplicates()):
        parts = [
            "" if pd.isna(row.cpu_model) else str(row.cpu_model).replace("(R)", "").replace("(TM)", ""),
            "" if pd.isna(row.cpu_count) else f"{row.cpu_count:.0f} cores",
            "" if pd.isna(row.memory_total_mib) else f"{row.memory_total_mib / 1024:.1f} GiB of memory",
            "" if pd.isna(row.kernel) else f"Linux {row.kernel}",
        ]
        machines.append(", ".join(part for part in parts if part))
    gpus = values(runs["gpu_model"])
    threads, allocator = values(runs["threads"]), values(runs["allocator"])
    each = [
        f"{threads} thread{'s' * (threads != '1')}" if threads else "",
        f"allocator {allocator}" if allocator else "",
    ]
    interval = runs["sample_interval_seconds"].median()
    if pd.notna(interval):
        each.append(f"memory read every {1000 * interval:.0f} ms")
    started = runs["started_at"].dropna()
    when = (
        ""
        if started.empty
        else _from_to(f"{started.min():%Y-%m-%d %H:%M}", f"{started.max():%Y-%m-%d %H:%M}")
    )
    commit = values(runs["git_commit"])
    rows = [
        ("Machine", "; ".join(common.unique(each for each in machines if each))),
        ("Device", values(runs["device"]) + (f" ({gpus})" if gpus else "")),
        ("Each process", ", ".join(part for part in each if part)),
        ("Scheduler", scheduler_words(runs)),
        ("Versions", versions_words(runs)),
        ("Run", " · ".join(part for part in [when, f"IndexScope {commit}" if commit else ""] if part)),
    ]
    return [(label, value) for label, value in rows if value]


def scheduler_words(runs: pd.DataFrame) -> str:
    """Such as `slurm, 2,000 to 4,000 MiB granted`; empty where no scheduler started the runs."""
    scheduled = runs[runs["scheduler"].notna()]
    granted = scheduled["granted_mib"].dropna()
    parts = [values(scheduled["scheduler"])]
    if len(granted):
        parts.append(f"{common.range_words(granted.min(), granted.max(), ',.0f', ' MiB')} granted")
    return ", ".join(part for part in parts if part)


def _from_to(first: str, last: str) -> str:
    return (
        f"{first} UTC"
        if first == last
        else f"{first} to {last[11:] if last[:10] == first[:10] else last} UTC"
    )


def versions_words(runs: pd.DataFrame) -> str:
    """Versions that all environments share, and those that differ with their environments."""
    parts = []
    for package in _VERSIONS:
        known = runs.dropna(subset=[f"{package}_version"])
        where = known.groupby(f"{package}_version", sort=False)["environment"].unique()
        texts = [str(version) for version in where.index]
        if len(texts) > 1:
            texts = [f"{version} ({', '.join(names)})" for version, names in where.items()]
        if texts:
            parts.append(f"{_PACKAGES.get(package, package)} {' or '.join(texts)}")
    return ", ".join(parts)


def versions(runs: pd.DataFrame) -> Table:
    """One row for each environment, one column for each package."""
    rows = [
        [str(environment), *[values(group[f"{package}_version"]) or "–" for package in _VERSIONS]]
        for environment, group in runs.groupby("environment", sort=False)
    ]
    return Table(["environment", *_VERSIONS], rows)


def scale(runs: pd.DataFrame, configuration: Mapping[str, Any]) -> Table:
    """The runs beside the published study."""
    sizes = [common.count(size) for size in sorted(common.unique(runs["documents"]))]
    given, split = PUBLISHED_PASSAGES
    settings = [
        (name, values(runs[name]) or "–", published) for name, published in PUBLISHED_SETTINGS.items()
    ]
    return Table(
        ["", "here", "published"],
        [
            ["documents", ", ".join(sizes) or "–", _published_sizes()],
            [
                "passages",
                _passages(runs),
                f"{common.count(split)} of {common.count(given)} documents (RAGatouille)",
            ],
            ["corpus", values(runs["corpus"]) or "–", PUBLISHED_CORPUS],
            [
                "encoder",
                _encoders(runs, configuration) or "–",
                f"{PUBLISHED_CHECKPOINT}: {PUBLISHED_ENCODER}",
            ],
            ["hardware", _hardware(runs) or "–", PUBLISHED_DEVICE],
            [
                "settings",
                " · ".join(f"{_SHORT[name]} {here}" for name, here, _ in settings),
                " · ".join(f"{_SHORT[name]} {published}" for name, _, published in settings) + " (ColBERT)",
            ],
        ],
    )


def _published_sizes() -> str:
    least, most = (common.count(size) for size in (PUBLISHED_SIZES[0], PUBLISHED_SIZES[-1]))
    return f"{least} to {most}, {len(PUBLISHED_SIZES)} sizes"


def _passages(runs: pd.DataFrame) -> str:
    """Least and most passages of the largest size that was indexed."""
    known = runs.dropna(subset=["passages"])
    if known.empty:
        return "–"
    size = known["documents"].max()
    passages = known.loc[known["documents"] == size, "passages"]
    return f"{common.range_words(passages.min(), passages.max(), ',.0f')} of {common.documents(size)}"


def _encoders(runs: pd.DataFrame, configuration: Mapping[str, Any]) -> str:
    """The checkpoints by name; the geometry of those that the configuration describes, and what runs know of it."""
    parts = []
    for name in common.unique(runs["checkpoint"]):
        settings = _section(_section(configuration, "checkpoints"), name)
        words = [
            f"{settings['layers']} layers × {settings['hidden_size']} wide"
            if {"layers", "hidden_size"} <= settings.keys()
            else str(settings.get("repository", "")),
            _joined(values(runs.loc[runs["checkpoint"] == name, "dim"]), "values a token"),
        ]
        known = ", ".join(word for word in words if word)
        parts.append(f"{name}: {known}" if known else str(name))
    return "; ".join(parts)


def _section(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = mapping.get(key)
    return value if isinstance(value, Mapping) else {}


def _joined(value: str, words: str) -> str:
    return f"{value} {words}" if value else ""


def _hardware(runs: pd.DataFrame) -> str:
    on_gpu = values(runs.loc[runs["device"] == "cuda", "gpu_model"])
    return on_gpu or _joined(values(runs["device"]), f"({values(runs['cpu_count'])} cores)")


@dataclass(frozen=True)
class Troubles:
    """Runs that did not complete, were started again or were not alone, and k-means attempts that failed.

    In a few sentences, and one by one.
    """

    sentences: Sequence[str]
    table: Table


def troubles(runs: pd.DataFrame) -> Troubles:
    """What did not go as planned."""
    sentences, rows = [], []
    incomplete = runs[runs["outcome"] != COMPLETED]
    for outcome, ended in incomplete.groupby("outcome", sort=False):
        sentences.append(f"{len(ended)} of {len(runs)} runs ended {_ended(str(outcome))}: {named(ended)}.")
    failed = runs[runs["kmeans_failures"].fillna("") != ""]
    if len(failed):
        reasons = common.unique(failed["kmeans_failures"])
        more = f" and {len(reasons) - 1} more reasons" if len(reasons) > 1 else ""
        sentences.append(
            f"A k-means attempt failed in {len(failed)} of {len(runs)} runs ({_shortened(reasons[0])}{more}): "
            f"{named(failed)}."
        )
    for frame, what, column in [
        (incomplete, None, "outcome_detail"),
        (failed, "failed k-means attempt", "kmeans_failures"),
    ]:
        for row in common.each_row(frame):
            detail = getattr(row, column)
            rows.append(
                [
                    row.series,
                    common.count(row.documents),
                    row.profiler,
                    f"{row.repeat:.0f}",
                    what or common.outcome_words(row.outcome),
                    "–" if pd.isna(detail) else str(detail),
                ]
            )
    found = interruptions(runs)
    rows += [
        [row["series"], common.count(row["documents"]), row["profiler"], f"{row['repeat']:.0f}", what, detail]
        for row, what, detail in found.rows
    ]
    columns = ["system", "documents", "profiler", "repeat", "what", "detail"]
    return Troubles([*sentences, *found.sentences], Table(columns, rows, frozenset({1, 3})))


def _ended(outcome: str) -> str:
    words = common.outcome_words(outcome)
    return f"as {words}" if words in ("failed", "unsupported", "killed", "timed out") else words


def _shortened(text: str, most: int = 70) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def external_logs(logs: pd.DataFrame) -> Table:
    """The rows of the table external_logs."""
    shown = logs.assign(
        file=logs["log"].map(lambda path: PurePosixPath(str(path).replace("\\", "/")).name),
        sha256=logs["sha256"].str[:12],
        published=logs["published"].map({True: "yes", False: "no"}),
    )
    return table(
        shown,
        {
            "system": ("system", None),
            "documents": ("documents", ",.0f"),
            "machine": ("machine", None),
            "kind": ("kind", None),
            "file": ("file", None),
            "published": ("published", None),
            "attempts": ("attempts", ",.0f"),
            "tables": ("tables", ",.0f"),
            "incomplete_tables": ("incomplete", ",.0f"),
            "samples": ("samples", ",.0f"),
            "sha256": ("SHA-256", None),
        },
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
        "kmeans_failures": ("failed k-means attempts", None),
        "process_model": ("process model", None),
        "environment": ("environment", None),
        **{name: title for name, title in _OF_THE_PLACE.items() if runs[name].notna().any()},
        "outcome_detail": ("detail of the outcome", None),
    }
    shown = runs.assign(outcome=runs["outcome"].map(common.outcome_words))
    return table(shown, columns)


# Shown where any run has them: most are not scheduled, started again or disturbed.
_OF_THE_PLACE: dict[str, tuple[str, str | None]] = {
    "scheduler_job": ("job", None),
    "granted_mib": ("granted (MiB)", ",.0f"),
    "attempt": ("attempt", ".0f"),
    "earlier_attempts": ("earlier attempts", None),
    "resumed_from": ("gone on from", None),
    "visible_devices": ("devices", None),
    "jobs_beside": ("ran beside", None),
    "cores_beside": ("cores used by all else", ".2f"),
}


def comparison_table(comparison: pd.DataFrame, runs: pd.DataFrame) -> Table:
    """The rows of memory_comparison."""
    names = common.comparison_names(runs)
    shown = comparison.assign(
        left=comparison["left"].map(lambda name: names.get(name, name)),
        right=comparison["right"].map(lambda name: names.get(name, name)),
        quantity=comparison["quantity"].map(lambda name: _QUANTITIES.get(name, name)),
        separated=[
            common.spread_words(None if pd.isna(value) else bool(value)).removeprefix("is ")
            for value in comparison["separated"]
        ],
    )
    number = ",.2f"
    return table(
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


def table(frame: pd.DataFrame, columns: Mapping[str, tuple[str, str | None]]) -> Table:
    """The columns of `frame` by their titles; a column with a format holds numbers."""

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
        f"{words} ({values(largest[name], ' or ')})"
        for name, words in _SETTINGS.items()
        if largest.groupby("series")[name].first().nunique() > 1
    ]
    packages = [
        f"{package} ({values(completed[f'{package}_version'], ' or ')})"
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
            f"(allocator: {values(completed['allocator'])}); smaller differences are no finding."
        )
    return sentences


def _all_synthetic(column: pd.Series) -> bool:
    names = common.unique(column)
    return bool(names) and all(name.startswith("synthetic") for name in names)


def values(column: pd.Series, separator: str = ", ") -> str:
    """The distinct values of a column; numbers without a needless decimal point."""
    return separator.join(
        common.count(value) if isinstance(value, int | float) else str(value)
        for value in common.unique(column.tolist())
    )


def _share(fraction: float) -> str:
    return f"{100 * fraction:.2g} %"
