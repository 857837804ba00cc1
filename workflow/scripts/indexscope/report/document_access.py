"""The report of document_access: how a trainer should read its documents, and what was measured to say so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from indexscope.figures import (
    common,
    document_common,
    document_fetches,
    document_memory,
    document_published,
    document_step,
    document_throughput,
)
from indexscope.run_record import COMPLETED

from . import facts, page
from .page import EmbeddedFigure, Finding, Link

# Of the published study (config/published/document_access_settings.csv): arXiv 2205.08343.
PUBLISHED_DOCUMENTS = 3_213_835
PUBLISHED = {
    "documents": f"{PUBLISHED_DOCUMENTS:,}",
    "corpus": "MS MARCO documents",
    "model": "distilbert-base-uncased: 6 layers × 768 wide",
    "batch": "8",
    "tokens": "up to 512",
    "steps": "1,000",
    "world sizes": "1, 2, 4, 8",
    "hardware": "GTX 1080 Ti",
    "timer": "from after the fetch",
}
_LARGE_WORLD = 4  # world size below which nothing is said of many devices
_OUT_OF_MEMORY = "out_of_memory"

Tables = Mapping[str, pd.DataFrame]


def render(tables: Tables, figures: Sequence[EmbeddedFigure], configuration: str) -> str:
    """The page.

    Args:
        tables: those of schemas.DOCUMENT_TABLES by name.
        figures: in the order in which to show them.
        configuration: the resolved configuration, YAML.
    """
    access = tables["document_access"]
    settings = _mapping(configuration)
    return page.render(
        page.DOCUMENT_ACCESS,
        access.assign(campaign=settings.get("campaign")),
        figures,
        configuration,
        summary=summary(access, settings),
        troubles=troubles(tables),
        findings=findings(tables, {figure.name for figure in figures}),
        loaders=loader_table(tables),
        machine=machine(access),
        conditions=conditions(access, settings),
        advice=advice_table(tables["document_advice"]),
        outcomes_table=outcome_table(tables),
        published=published_table(tables["document_published"]),
        trainings=training_table(access),
        fetches=fetch_table(tables["document_fetches"]),
        limits=[sentence for _, sentence in limits(tables, settings)],
        cannot_tell=common.listed([words for words, _ in limits(tables, settings) if words]),
    )


def _mapping(configuration: str) -> Mapping[str, Any]:
    """The configuration, where it is one; the page shows any text as it is."""
    try:
        value = yaml.safe_load(configuration)
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, Mapping) else {}


def _section(settings: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    value: Any = settings
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def corpus_of(settings: Mapping[str, Any]) -> str:
    """The name of the corpus; empty where the configuration does not tell."""
    name = _section(settings, "document_access").get("corpus") or _section(settings, "index_memory").get(
        "corpus"
    )
    return str(name or "")


def checkpoint_of(settings: Mapping[str, Any]) -> str:
    own = _section(settings, "document_access").get("checkpoint")
    return str(own or _section(settings, "index_memory").get("checkpoint") or "")


# First screen


def summary(access: pd.DataFrame, settings: Mapping[str, Any]) -> str:
    """One line: corpus, scale, device."""
    if access.empty:
        return "Nothing was run: the table of trainings is empty."
    loaders = access["loader"].nunique()
    sizes = common.listed([common.count(size) for size in sorted(common.unique(access["documents"]))])
    corpus = corpus_of(settings)
    worlds = common.listed([str(each) for each in sorted(common.unique(access["world_size"]))])
    parts = [
        f"{len(access)} training{'s' * (len(access) != 1)}, {loaders} loader{'s' * (loaders != 1)}",
        f"{sizes} documents" + (f" of the corpus {corpus}" if corpus else ""),
        f"world size {worlds}",
        common.device_words(access),
    ]
    return " · ".join(parts) + "."


def findings(tables: Tables, drawn: set[str]) -> list[Finding]:
    """The recommendation, then in the order of what matters; what the tables cannot answer is left out."""
    access = tables["document_access"]
    told = [
        ("Which loader", "", recommendation(tables["document_advice"]), Link("advice", "All situations")),
        ("Throughput", "document_throughput", _of_figure(document_throughput.draw(access)), None),
        (
            "Where a step’s time goes", "document_step",
            _of_figure(document_step.draw(access, tables["document_access_steps"])), None,
        ),
        ("Memory", "document_memory", memory(tables), None),
        (
            "Fetching alone", "document_fetches", _of_figure(document_fetches.draw(tables["document_fetches"])), None,
        ),
        ("The published timer", "document_published", the_flaw(tables), None),
    ]  # fmt: skip
    return [
        Finding(question, sentence, support, name * (name in drawn), more)
        for question, name, (sentence, support), more in told
        if sentence
    ]


def _of_figure(figure: common.Figure) -> tuple[str, str]:
    """What a figure says, where it found something."""
    return (figure.title, figure.support) if figure.is_finding else ("", "")


def recommendation(advice: pd.DataFrame) -> tuple[str, str]:
    """Which loader to take, with its numbers; whether other situations say otherwise.

    The sentence is of the situation with the most ranks, with a warm page cache if there is one.
    """
    first = advice[advice["rank"] == 1]
    if first.empty:
        return ("No loader can be recommended: none fits", "") if len(advice) else ("", "")
    chosen = first.iloc[max(range(len(first)), key=lambda place: _weight(first["situation"].iloc[place]))]
    sentence = f"Read with {loader_name(chosen['loader'])} ({chosen['situation']}): {numbers(chosen)}"
    others = first[first["situation"] != chosen["situation"]]
    agreeing = others[others["loader"] == chosen["loader"]]
    support = []
    if len(others):
        support.append(
            f"The same in {len(agreeing)} of {len(others)} other situation{'s' * (len(others) != 1)}."
        )
    for row in common.each_row(others[others["loader"] != chosen["loader"]].head(2)):
        support.append(
            f"{_capital(str(row.situation))}: {loader_name(row.loader)}, {numbers(row._asdict())}."
        )
    support.append(runner_up(advice, str(chosen["situation"]), str(chosen["loader"])))
    return sentence, " ".join(part for part in support if part)


def _weight(situation: str) -> tuple[bool, int, int]:
    """Of two situations, as analysis.document_advice words them, the weightier is told: warm, large world, plain."""
    world = re.search(r"world size (\d+)", situation)
    return "cold" not in situation, int(world[1]) if world else 0, -situation.count(",")


def numbers(row: Any) -> str:
    """Throughput with its spread, memory and time to open, as far as they are known."""
    parts = []
    if not pd.isna(row["samples_per_second"]):
        words = f"{document_throughput.rate(row['samples_per_second'])} samples per second"
        low, high = row["samples_per_second_low"], row["samples_per_second_high"]
        if not (pd.isna(low) or pd.isna(high)) and low < high:
            words += f" (runs {document_throughput.rate(low)} to {document_throughput.rate(high)})"
        parts.append(words)
    if not pd.isna(row["tree_pss_mib"]):
        parts.append(f"{common.mib(row['tree_pss_mib'])} in all")
    if not pd.isna(row["open_seconds"]):
        parts.append(f"opened in {document_common.duration(row['open_seconds'])}")
    return ", ".join(parts) or "nothing is known of it"


def runner_up(advice: pd.DataFrame, situation: str, chosen: str) -> str:
    """How the fastest loader stands to the recommended one, where that is another."""
    rows = advice[(advice["situation"] == situation) & advice["samples_per_second"].notna()]
    own = rows[rows["loader"] == chosen]
    if len(rows) < 2 or own.empty:
        return ""
    best = rows.sort_values("samples_per_second", kind="stable").iloc[-1]
    if best["loader"] == chosen:
        return "It is also the fastest."
    more = 100 * (best["samples_per_second"] / own["samples_per_second"].iloc[0] - 1)
    within = own["within_spread"].iloc[0]
    spread = "" if pd.isna(within) else f", which {common.spread_words(not within)}"
    return (
        f"The fastest is {loader_name(best['loader'])}, by {document_common.percent_range([more])}{spread}."
    )


def memory(tables: Tables) -> tuple[str, str]:
    """What the processes occupy, and how the runs under a limit ended."""
    access = tables["document_access"]
    sentence, support = _of_figure(document_memory.draw(access, tables["document_access_processes"]))
    at_limit = document_memory.at_the_limit(access)
    if at_limit.startswith(sentence):
        at_limit = ""
    return sentence, " ".join(part for part in (at_limit, support) if part)


def the_flaw(tables: Tables) -> tuple[str, str]:
    access = tables["document_access"]
    flaw = document_published.timed(access)
    sentence, _ = _of_figure(document_published.draw(tables["document_published"], access))
    return (sentence, document_published.hidden(flaw)) if len(flaw) else ("", "")


def loader_table(tables: Tables) -> list[dict[str, str]]:
    """A line for each loader: its colour, its runs and what its files and opening cost."""
    access = tables["document_access"]
    scale = document_common.loader_scale().to_dict()
    colours = dict(zip(scale["domain"], scale["range"], strict=True))
    found = []
    for series, runs in document_common.with_words(access).groupby("series", sort=False):
        done = runs[runs["outcome"] == COMPLETED]
        plain = done[document_common.is_plain(done)]
        files, opening = plain["source_mib"].median(), plain["open_seconds"].median()
        found.append(
            {
                "name": str(series),
                "colour": str(colours.get(str(series), common.NOTE)),
                "runs": common.outcome_counts(runs),
                "files": "–" if pd.isna(files) else f"{files:,.3g} MiB",
                "open": "–" if pd.isna(opening) else document_common.duration(opening),
            }
        )
    return found


def machine(access: pd.DataFrame) -> list[tuple[str, str]]:
    """Label and value of what the trainings ran on; unknown values are left out."""
    machines = []
    for row in common.each_row(
        access[["cpu_model", "cpu_count", "memory_total_mib", "kernel"]].drop_duplicates()
    ):
        parts = [
            "" if pd.isna(row.cpu_model) else str(row.cpu_model).replace("(R)", "").replace("(TM)", ""),
            "" if pd.isna(row.cpu_count) else f"{row.cpu_count:.0f} cores",
            "" if pd.isna(row.memory_total_mib) else f"{row.memory_total_mib / 1024:.1f} GiB of memory",
            "" if pd.isna(row.kernel) else f"Linux {row.kernel}",
        ]
        machines.append(", ".join(part for part in parts if part))
    several = access[access["world_size"] > 1]
    rows = [
        ("Machine", "; ".join(common.unique(each for each in machines if each))),
        ("Device", facts.values(access["device"])),
        ("Communication", facts.values(several["backend"])),
        ("Between ranks", facts.values(several["interconnect"])),
        ("PyTorch", facts.values(access["torch_version"])),
        ("IndexScope", facts.values(access["git_commit"])[:12]),
    ]
    return [(label, value) for label, value in rows if value]


def conditions(access: pd.DataFrame, settings: Mapping[str, Any]) -> facts.Table:
    """The trainings beside the published study."""
    model = _section(settings, "document_access", "model")
    geometry = (
        f"DistilBERT of {model['layers']} layers × {model['hidden_size']} wide, random weights"
        if {"layers", "hidden_size"} <= model.keys()
        else ""
    )
    here = {
        "documents": _numbers(access["documents"]),
        "corpus": corpus_of(settings),
        "model": geometry,
        "batch": _numbers(access["batch_size"]),
        "tokens": _prefixed("up to ", _numbers(access["max_length"])),
        "steps": _prefixed("", _numbers(access["steps"])),
        "world sizes": _numbers(access["world_size"]),
        "hardware": facts.values(access["device"]).replace("cpu", "CPU"),
        "timer": "whole steps, fetch included",
    }
    return facts.Table(
        ["", "here", "published"], [[name, here[name] or "–", PUBLISHED[name]] for name in PUBLISHED]
    )


def _numbers(column: pd.Series) -> str:
    return ", ".join(common.count(value) for value in sorted(common.unique(column)))


def _prefixed(before: str, value: str) -> str:
    return f"{before}{value}" if value else ""


# What did not go as planned


def troubles(tables: Tables) -> facts.Troubles:
    """Runs that ended as nobody asked for: neither unsupported hardware nor a limit that was set to be passed."""
    access, fetches = tables["document_access"], tables["document_fetches"]
    wrong = access[_unplanned(access)]
    lost = fetches[fetches["outcome"] != COMPLETED]
    sentences = []
    for frame, what in ((wrong, "trainings"), (lost, "fetching processes")):
        if len(frame):
            whole = len(access) if frame is wrong else len(fetches)
            named = common.listed(common.unique(_names(frame))[:3])
            sentences.append(
                f"{len(frame)} of {whole} {what} did not complete ({common.outcome_counts(frame)}): {named}."
            )
    rows = [*_outcome_rows(wrong), *_fetch_outcomes(lost)]
    return facts.Troubles(sentences, facts.Table(_OUTCOME_COLUMNS, rows))


def _unplanned(access: pd.DataFrame) -> pd.Series:
    limited = access["experiment"] == document_common.LIMITED
    out_of_memory = access["outcome"].str.startswith(_OUT_OF_MEMORY)
    expected = (access["outcome"] == document_common.UNSUPPORTED) | (limited & out_of_memory)
    return (access["outcome"] != COMPLETED) & ~expected


def _names(frame: pd.DataFrame) -> list[str]:
    words = [loader_name(loader) for loader in frame["loader"]]
    if "parallelism" in frame:
        return [
            f"{name}, {document_common.situation_words(row)}"
            for name, row in zip(words, common.each_row(frame), strict=True)
        ]
    return words


_OUTCOME_COLUMNS = ["what", "loader", "repeat", "outcome", "detail"]


def _outcome_rows(access: pd.DataFrame) -> list[list[str]]:
    usual = document_common.usual_documents(access)
    return [
        [
            document_common.situation_words(row, usual),
            loader_name(row.loader),
            str(row.repeat),
            common.outcome_words(row.outcome),
            "–" if pd.isna(row.outcome_detail) else str(row.outcome_detail),
        ]
        for row in common.each_row(access)
    ]


def _fetch_outcomes(fetches: pd.DataFrame) -> list[list[str]]:
    return [
        [
            f"fetching, {row.order}, {row.cache}",
            loader_name(row.loader),
            str(row.repeat),
            common.outcome_words(row.outcome),
            "–" if pd.isna(row.outcome_detail) else str(row.outcome_detail),
        ]
        for row in common.each_row(fetches)
    ]


# Tables


def advice_table(advice: pd.DataFrame) -> facts.Table:
    shown = advice.assign(
        loader=[loader_name(loader) for loader in advice["loader"]],
        fits=advice["fits"].map({True: "yes", False: "no"}),
        within_spread=advice["within_spread"].map(_yes_or_no),
    )
    return facts.table(
        shown,
        {
            "situation": ("situation", None),
            "rank": ("place", ".0f"),
            "loader": ("loader", None),
            "samples_per_second": ("samples/s", ",.4g"),
            "samples_per_second_low": ("least", ",.4g"),
            "samples_per_second_high": ("most", ",.4g"),
            "within_spread": ("within the spread of the fastest", None),
            "tree_pss_mib": ("PSS of all processes (MiB)", ",.0f"),
            "open_seconds": ("to open (s)", ",.3g"),
            "fits": ("fits this machine", None),
            "reason": ("why", None),
        },
    )


def outcome_table(tables: Tables) -> facts.Table:
    """Every training that did not complete, planned or not."""
    access = tables["document_access"]
    rows = _outcome_rows(access[access["outcome"] != COMPLETED])
    fetches = tables["document_fetches"]
    return facts.Table(_OUTCOME_COLUMNS, [*rows, *_fetch_outcomes(fetches[fetches["outcome"] != COMPLETED])])


_QUANTITIES = {
    document_published.THROUGHPUT: "samples per second",
    document_published.MEMORY: "memory of a process (MiB)",
    document_published.OUTCOME: "outcome",
}


def published_table(published: pd.DataFrame) -> facts.Table:
    """The published numbers and claims beside ours."""

    def side(value: Any, out_of_memory: Any) -> str:
        if not pd.isna(out_of_memory) and bool(out_of_memory):
            return "out of memory"
        return "–" if pd.isna(value) else f"{value:,.4g}" if value < 10_000 else common.count(value)

    rows = [
        [
            _QUANTITIES.get(row.quantity, row.quantity),
            loader_name(row.loader),
            "–" if pd.isna(row.world_size) else f"{row.world_size:.0f}",
            "–" if pd.isna(row.documents) else common.count(row.documents),
            side(row.published, row.published_out_of_memory),
            side(row.by_formula, None),
            side(row.ours, row.ours_out_of_memory),
            row.verdict,
            "–" if pd.isna(row.detail) else str(row.detail),
            row.source,
        ]
        for row in common.each_row(published)
    ]
    columns = ["what", "loader", "world size", "documents", "published", "by formula", "here", "verdict", "why",
               "source"]  # fmt: skip
    return facts.Table(columns, rows, frozenset({2, 3, 4, 5, 6}))


def training_table(access: pd.DataFrame) -> facts.Table:
    """Settings, outcome, time and memory of every training."""
    shown = document_common.with_words(access)
    shown = shown.assign(
        parallelism=[document_common.PARALLELISM.get(str(name), str(name)) for name in shown["parallelism"]],
        outcome=shown["outcome"].map(common.outcome_words),
        pin_memory=shown["pin_memory"].map(_yes_or_no),
    )
    milliseconds = {name: f"{name.removesuffix('_seconds').replace('_', ' ')} (s)" for name in _PART_COLUMNS}
    return facts.table(
        shown,
        {
            "series": ("loader", None),
            "parallelism": ("parallelism", None),
            "world_size": ("world size", ".0f"),
            "workers": ("workers", ".0f"),
            "pin_memory": ("pinned", None),
            "precision": ("precision", None),
            "cache": ("page cache", None),
            "documents": ("documents", ",.0f"),
            "repeat": ("repeat", ".0f"),
            "outcome": ("outcome", None),
            "samples_per_second": ("samples/s", ",.4g"),
            "samples_per_second_after_fetch": ("by the published timer", ",.4g"),
            **{name: (title, ",.4g") for name, title in milliseconds.items()},
            "open_seconds": ("to open (s)", ",.3g"),
            "time_to_first_batch_seconds": ("to the first batch (s)", ",.3g"),
            "tree_pss_mib": ("PSS of all (MiB)", ",.1f"),
            "largest_rank_pss_mib": ("of the largest rank", ",.1f"),
            "tree_peak_rss_mib": ("highest RSS (MiB)", ",.1f"),
            "page_cache_mib": ("page cache (MiB)", ",.2f"),
            "source_mib": ("files (MiB)", ",.2f"),
            "memory_limit_mib": ("limit (MiB)", ",.0f"),
            "predicted_mib": ("predicted (MiB)", ",.0f"),
            "outcome_detail": ("detail", None),
        },
    )


_PART_COLUMNS = [
    "step_seconds", "wait_seconds", "fetch_seconds", "tokenise_seconds", "host_to_device_seconds",
    "forward_seconds", "backward_seconds", "communication_seconds", "optimiser_seconds",
]  # fmt: skip


def fetch_table(fetches: pd.DataFrame) -> facts.Table:
    shown = document_common.with_words(fetches)
    shown = shown.assign(outcome=shown["outcome"].map(common.outcome_words))
    return facts.table(
        shown,
        {
            "series": ("loader", None),
            "order": ("order", None),
            "cache": ("page cache", None),
            "repeat": ("repeat", ".0f"),
            "outcome": ("outcome", None),
            "p50_us": ("p50 (µs)", ",.4g"),
            "p90_us": ("p90 (µs)", ",.4g"),
            "p99_us": ("p99 (µs)", ",.4g"),
            "documents_per_second": ("documents/s", ",.0f"),
            "mib_per_second": ("MiB/s", ",.4g"),
            "open_seconds": ("to open (s)", ",.3g"),
            "pss_mib": ("PSS gained (MiB)", ",.2f"),
            "cached_fraction_start": ("cached at the start", ".0%"),
        },
    )


# Limits


def limits(tables: Tables, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What these runs cannot tell, each for a reason found in the tables or the configuration.

    Returns:
        A few words for the first screen (empty where it has no room for it), and the sentence.
    """
    access = tables["document_access"]
    done = access[access["outcome"] == COMPLETED]
    if done.empty:
        return [("", "No training completed, so nothing can be said about any loader in training.")]
    found = [
        ("what a corpus larger than memory does", _scale(access)),
        ("lengths of real documents", _synthetic(settings)),
        ("GPUs", _device(done)),
        ("large models", _model(settings)),
        ("many ranks", _worlds(done)),
        ("", _repeats(done)),
        ("", _COLD if "cold" in set(access["cache"]) else ""),
        ("", _LIMIT if (access["experiment"] == document_common.LIMITED).any() else ""),
    ]
    return [(words, sentence) for words, sentence in found if sentence]


_COLD = (
    "Cold means that the loader’s files were dropped from the page cache of this machine. A disk, a hypervisor or a "
    "file server below it may still have them, so a cold read can be too fast; a network file system is another "
    "matter."
)
_LIMIT = (
    "The memory limit acts on the RSS of the process tree, as read from outside. A limit of the kernel (cgroup) "
    "counts page cache too, but takes it back first."
)


def _worlds(done: pd.DataFrame) -> str:
    largest = int(done["world_size"].max())
    if largest >= _LARGE_WORLD:
        return ""
    return (
        f"The largest world that completed has {largest} rank{'s' * (largest != 1)}: how loaders share disk, page "
        "cache "
        "and memory bandwidth among many ranks is not shown."
    )


def _scale(access: pd.DataFrame) -> str:
    grid = access[access["experiment"] == document_common.GRID]
    largest = (grid if len(grid) else access)["documents"].max()
    if largest >= PUBLISHED_DOCUMENTS:
        return ""
    return (
        f"{common.documents(int(largest))}, not the published {common.count(PUBLISHED_DOCUMENTS)}: all files fit "
        "into the page "
        "cache, and the in-memory loader is small. What memory it needs at another scale is the memory model’s to "
        "say; "
        "random reads from a collection larger than memory are slower than here."
    )


def _synthetic(settings: Mapping[str, Any]) -> str:
    names = {"corpus": corpus_of(settings), "checkpoint": checkpoint_of(settings)}
    synthetic = [what for what, name in names.items() if name.startswith("synthetic")]
    if not synthetic:
        return ""
    return (
        f"Synthetic here: {common.listed(synthetic)}. Its documents have other lengths than real ones, "
        "and fetching and tokenising follow the length."
    )


def _device(done: pd.DataFrame) -> str:
    if "cuda" in set(done["device"]):
        return ""
    return (
        "Nothing ran on a GPU. On a CPU the model takes far longer than on a GPU and ranks share its cores, so a "
        "loader weighs less in a step than it would there; DataParallel, pinned memory and NCCL were not measured."
    )


def _model(settings: Mapping[str, Any]) -> str:
    model = _section(settings, "document_access", "model")
    if not {"layers", "hidden_size"} <= model.keys():
        return "The model has random weights: nothing is said of what it learns."
    small = (
        "; the published one has 6 layers × 768, next to which fetching weighs less"
        if model["layers"] < 6 or model["hidden_size"] < 768
        else ""
    )
    return (
        f"The model has {model['layers']} layers × {model['hidden_size']} and random weights: nothing is said of "
        "what it "
        f"learns{small}."
    )


def _repeats(done: pd.DataFrame) -> str:
    counts = done.groupby([*document_common.SITUATION, "loader"])["repeat"].nunique()
    single = int((counts == 1).sum())
    if not single:
        return (
            f"Each training was run {common.range_words(int(counts.min()), int(counts.max()), 'd')} times on one "
            "machine: "
            "the spread is of repeats, not of machines."
        )
    return (
        f"{single} of {len(counts)} completed combinations of settings were run once: their differences are not "
        "backed by "
        "repeats."
    )


# Words


def loader_name(loader: Any) -> str:
    """Such as `the offset index`, as it stands in a sentence."""
    return {
        "in_memory": "the in-memory loader",
        "offset_index": "the offset index",
        "ir_datasets": "ir_datasets",
        "arrow": "the Arrow file",
        "shared_memory": "one copy in shared memory",
    }.get(str(loader), str(loader))


def _yes_or_no(value: Any) -> str:
    return "–" if pd.isna(value) else "yes" if value else "no"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
