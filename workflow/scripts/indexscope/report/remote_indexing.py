"""The report of remote_indexing: from PDFs to a searchable index, on what, and what it cost."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from indexscope.figures import (
    common,
    remote_common,
    remote_costs,
    remote_gpu_memory,
    remote_pages,
    remote_searches,
)
from indexscope.run_record import COMPLETED

from . import facts, interruptions, page
from .page import EmbeddedFigure, Finding, Link

# "How to Use Modal to run ColBERTv2" (blog, 2024-12-31): what its author ran and left open.
_PUBLISHED = "Its author ran out of memory on GPUs smaller than an A100, cause not found."
_EXAMPLES = 3  # that the first screen shows
_QUERY, _PASSAGE, _WHOLE_PASSAGE = 44, 62, 400  # characters

Tables = Mapping[str, pd.DataFrame]


def render(tables: Tables, figures: Sequence[EmbeddedFigure], configuration: str) -> str:
    """The page.

    Args:
        tables: those of schemas.REMOTE_TABLES by name.
        figures: in the order in which to show them.
        configuration: the resolved configuration, YAML.
    """
    runs = common.label_systems(tables["remote_runs"])
    told_limits = limits(tables, _mapping(configuration))
    return page.render(
        page.REMOTE_INDEXING,
        runs,
        figures,
        configuration,
        summary=summary(runs),
        troubles=troubles(tables),
        findings=findings(tables, {figure.name for figure in figures}),
        examples=examples(tables["remote_results"]),
        found_by=found_by(tables["remote_results"]),
        machine=machine(tables),
        pages=page_table(tables["remote_pages"]),
        gpus=gpu_table(tables["remote_gpus"]),
        costs=cost_table(tables["remote_costs"]),
        phases=phase_table(tables["remote_phases"]),
        loads=load_table(tables["remote_loads"]),
        searches=search_table(tables["remote_searches"]),
        results=result_table(tables["remote_results"]),
        runs=facts.run_table(runs),
        limits=[sentence for _, sentence in told_limits],
        cannot_tell=common.listed([words for words, _ in told_limits if words]),
    )


def _mapping(configuration: str) -> Mapping[str, Any]:
    """The configuration, where it is one; the page shows any text as it is."""
    try:
        value = yaml.safe_load(configuration)
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, Mapping) else {}


# First screen


def summary(runs: pd.DataFrame) -> str:
    """One line: what was indexed, by what, where."""
    if runs.empty:
        return "Nothing was indexed: the table of runs is empty."
    systems = common.unique(runs["series"])
    sizes = common.listed([common.count(size) for size in sorted(common.unique(runs["documents"]))])
    corpora = common.listed(common.unique(runs["corpus"]))
    parts = [
        f"{remote_common.plural(len(runs), 'index', 'indexes')} built by {common.listed(systems)}",
        f"{sizes} documents" + (f" of the corpus {corpora}" if corpora else ""),
        common.device_words(runs),
        facts.scheduler_words(runs),
    ]
    return " · ".join(part for part in parts if part) + "."


def findings(tables: Tables, drawn: set[str]) -> list[Finding]:
    """In the order in which one asks; what the tables cannot answer is left out."""
    told = [
        ("What was indexed", "remote_pages", indexed(tables), Link("unread", "Pages without text")),
        ("The index, and how long it took", "", built(tables), Link("runs", "All runs")),
        ("What it cost", "remote_costs", cost(tables), None),
        ("Which GPU is enough", "remote_gpu_memory", which_gpu(tables), None),
        ("The recipe’s out-of-memory", "remote_gpu_memory", recipe(tables["remote_gpus"]), None),
        ("Search", "remote_searches", search(tables["remote_searches"]), None),
    ]
    return [
        Finding(question, sentence, support, name * (name in drawn), more)
        for question, name, (sentence, support), more in told
        if sentence
    ]


def indexed(tables: Tables) -> tuple[str, str]:
    """How much was read, and how much was not and why."""
    pages, runs = tables["remote_pages"], tables["remote_runs"]
    if len(pages):
        title, notes = remote_pages.told(pages)
        return title, " ".join(notes[:1])
    if runs.empty:
        return "", ""
    sizes = common.listed([common.documents(int(size)) for size in sorted(common.unique(runs["documents"]))])
    corpora = common.listed(common.unique(runs["corpus"]))
    return f"{sizes}" + (f" of the corpus {corpora}, which is not of PDFs" if corpora else ""), ""


def built(tables: Tables) -> tuple[str, str]:
    """Size and time of each system's index (medians of its runs), and whether a run was interrupted."""
    runs = common.label_systems(tables["remote_runs"])
    done = runs[runs["outcome"] == COMPLETED]
    parts = []
    for series, rows in done.groupby("series", sort=False):
        passages, size, seconds = (
            rows[name].median() for name in ("passages", "index_size_mib", "wall_seconds")
        )
        words = [
            "" if pd.isna(passages) else remote_common.plural(passages, "passage"),
            "" if pd.isna(size) else f"{size:,.3g} MiB",
            "" if pd.isna(seconds) else f"in {remote_common.duration(seconds)}",
        ]
        parts.append(f"{series}: {', '.join(word for word in words if word)}")
    if not parts:
        return ("No index was built", common.outcome_counts(runs)) if len(runs) else ("", "")
    peaks = done["tree_peak_rss_mib"].dropna()
    support = [
        f"On {common.device_words(done)}.",
        f"Highest memory: {common.range_words(peaks.min(), peaks.max(), ',.0f', ' MiB')}."
        if len(peaks)
        else "",
    ]
    return "; ".join(parts), " ".join(part for part in support if part)


def cost(tables: Tables) -> tuple[str, str]:
    """What indexing cost beside its estimate; the estimate alone where nothing ran."""
    costs, gpus = tables["remote_costs"], tables["remote_gpus"]
    actual, cheapest = remote_costs.actual_words(costs), remote_costs.cheapest_words(gpus)
    if not actual:
        return (cheapest, "Estimated only: no run with a known price.") if cheapest else ("", "")
    parts = [remote_costs.ratio_words(costs), f"{cheapest}." if cheapest else "", _as_of(costs)]
    return actual, " ".join(part for part in parts if part)


def _as_of(costs: pd.DataFrame) -> str:
    dates = sorted(common.unique(costs["prices_as_of"]))
    return f"Prices as of {common.listed([str(date) for date in dates])}." if dates else ""


def which_gpu(tables: Tables) -> tuple[str, str]:
    gpus, phases = tables["remote_gpus"], tables["remote_phases"]
    sentence = remote_gpu_memory.smallest_words(gpus)
    if not sentence:
        return "", ""
    short = [
        remote_common.too_small(rows)
        for rows in remote_common.of_case(gpus, remote_common.HERE)
        if remote_common.too_small(rows)
    ]
    support = [
        remote_gpu_memory.measured_words(phases),
        f"{remote_common.capital(short[0])}." if short else "",
    ]
    return sentence, " ".join(part for part in support if part)


def recipe(gpus: pd.DataFrame) -> tuple[str, str]:
    """The published recipe's open point, as the memory model answers it."""
    sentence = remote_gpu_memory.recipe_words(gpus)
    return (sentence, f"Predicted; the recipe was not run here. {_PUBLISHED}") if sentence else ("", "")


def search(searches: pd.DataFrame) -> tuple[str, str]:
    known = remote_common.completed(remote_common.with_series(searches), "p50_ms")
    if known.empty:
        counts = f" ({common.outcome_counts(searches)})" if len(searches) else ""
        return (f"No search completed{counts}", "") if len(searches) else ("", "")
    sentence, support = remote_searches.finding(known)
    parts = [support, remote_searches.found_words(known)]
    return sentence, " ".join(part for part in parts if part)


def examples(results: pd.DataFrame) -> facts.Table:
    """The best passage of the first queries: query, where it was found, the passage."""
    best = results[results["rank"] == 1].drop_duplicates("query_id").head(_EXAMPLES)
    rows = [
        [_short(row.query, _QUERY), where(row), _short(row.passage, _PASSAGE)]
        for row in common.each_row(best)
    ]
    return facts.Table(["query", "found in", "passage"], rows)


def found_by(results: pd.DataFrame) -> str:
    """The system that found the examples."""
    best = results[results["rank"] == 1].drop_duplicates("query_id").head(_EXAMPLES)
    label = best["label"].where(best["label"].notna(), best["system"])
    return common.listed(common.unique(label))


def where(row: Any) -> str:
    """Such as `handbook.pdf, page 3`; the document's identifier where it is not of a PDF."""
    if pd.isna(row.file):
        return str(row.document_id)
    return str(row.file) + ("" if pd.isna(row.page) else f", page {row.page:.0f}")


def _short(text: str, most: int) -> str:
    return textwrap.shorten(str(text), most, placeholder="…")


def machine(tables: Tables) -> list[tuple[str, str]]:
    """Label and value: where the indexes load, what became of runs, what they ran on; unknown values are left out."""
    runs = common.label_systems(tables["remote_runs"])
    told = [row for row in facts.machine(runs) if row[0] in ("Machine", "Scheduler", "Versions", "Run")]
    own = [("Loads in", loads_words(tables["remote_loads"])), ("Interrupted", interrupted_words(runs))]
    return [(label, value) for label, value in [*own, *told] if value]


def loads_words(loads: pd.DataFrame) -> str:
    """In which plain libraries the indexes load, and whether they find the same there."""
    if loads.empty:
        return ""
    shown = remote_common.with_series(loads)
    parts = []
    for library, rows in shown.groupby("library", sort=True):
        version = common.listed([str(each) for each in common.unique(rows["version"])])
        works = rows[rows["loads"].astype(bool)]
        fails = rows[~rows["loads"].astype(bool)]
        unlike = works[works["same_results"].astype("boolean").fillna(True) == False]  # noqa: E712
        known = works[works["same_results"].notna()]
        words = [f"{common.listed(list(works['series']))}" if len(works) else ""]
        if len(known) and unlike.empty:
            words.append("same results")
        if len(unlike):
            words.append(f"other results for {common.listed(list(unlike['series']))}")
        if len(fails):
            words.append(f"not {common.listed(list(fails['series']))}")
        parts.append(f"{library} {version}".strip() + ": " + ", ".join(word for word in words if word))
    return "; ".join(parts)


def interrupted_words(runs: pd.DataFrame) -> str:
    """Which runs were ended and started again, and from where; empty where nothing is known of any attempt."""
    again = interruptions.started_again(runs)
    if again.empty:
        return "no run" if runs["attempt"].notna().any() else ""
    return "; ".join(
        f"{row['series']}"
        + ("" if pd.isna(row["attempt"]) else f", attempt {row['attempt']:.0f}")
        + (" began anew" if pd.isna(row["resumed_from"]) else f" went on from {row['resumed_from']}")
        for _, row in again.iterrows()
    )


# What did not go as planned


def troubles(tables: Tables) -> facts.Troubles:
    """Runs and searches that did not complete, and libraries that do not load an index."""
    runs, searches = common.label_systems(tables["remote_runs"]), tables["remote_searches"]
    found = facts.troubles(runs)
    sentences, rows = list(found.sentences), [list(row) for row in found.table.rows]
    shown = remote_common.with_series(searches)
    lost = shown[shown["outcome"] != COMPLETED]
    if len(lost):
        sentences.append(
            f"{len(lost)} of {remote_common.plural(len(searches), 'search', 'searches')} did not complete "
            f"({common.outcome_counts(lost)})."
        )
    for row in common.each_row(lost):
        what = f"{remote_searches.mode_words(row.mode, row.batch_size)}: {common.outcome_words(row.outcome)}"
        rows.append([row.series, "–", "–", str(row.repeat), what, _or_dash(row.outcome_detail)])
    loads = remote_common.with_series(tables["remote_loads"])
    refused = loads[~loads["loads"].astype(bool)]
    if len(refused):
        named = [f"{row.series} in {row.library}" for row in common.each_row(refused)]
        sentences.append(f"Not every plain library loads every index: not {common.listed(named)}.")
    for row in common.each_row(refused):
        rows.append([row.series, "–", "–", "–", f"does not load in {row.library}", _or_dash(row.detail)])
    return facts.Troubles(sentences, facts.Table(found.table.columns, rows, found.table.numeric))


def _or_dash(value: Any) -> str:
    return "–" if pd.isna(value) else str(value)


# Tables


def page_table(pages: pd.DataFrame) -> facts.Table:
    """The pages and files without text, with the reason."""
    lost = pages[pages["outcome"] != remote_common.TEXT]
    shown = lost.assign(outcome=lost["outcome"].map(remote_common.outcome_words))
    return facts.table(
        shown,
        {
            "file": ("file", None),
            "page": ("page", ".0f"),
            "pages": ("of", ".0f"),
            "outcome": ("outcome", None),
            "reason": ("reason", None),
            "file_mib": ("file (MiB)", ",.3g"),
        },
    )


def gpu_table(gpus: pd.DataFrame) -> facts.Table:
    """Every GPU by case and system."""
    shown = remote_common.with_series(gpus)
    shown = shown.sort_values(["case", "system", "memory_mib"], ascending=[False, True, True], kind="stable")
    shown = shown.assign(fits=_yes_or_no(shown["fits"]), chosen=_yes_or_no(shown["chosen"]))
    return facts.table(
        shown,
        {
            "case": ("case", None),
            "series": ("system", None),
            "gpu": ("GPU", None),
            "memory_mib": ("its memory (MiB)", ",.0f"),
            "needs_mib": ("needed, with the margin (MiB)", ",.0f"),
            "phase": ("phase that needs most", None),
            "fits": ("fits", None),
            "first_phase_that_does_not_fit": ("runs out first in", None),
            "setting_that_fixes": ("setting that fixes it", None),
            "needs_with_it_mib": ("then needed (MiB)", ",.0f"),
            "usd_per_hour": ("$ an hour", ",.4g"),
            "minutes": ("minutes, estimated", ",.3g"),
            "usd": ("$, estimated", ",.3g"),
            "chosen": ("chosen", None),
            "basis": ("minutes are from", None),
        },
    )


def _yes_or_no(column: pd.Series) -> list[str]:
    return ["–" if pd.isna(value) else "yes" if value else "no" for value in column]


def cost_table(costs: pd.DataFrame) -> facts.Table:
    return facts.table(
        remote_common.with_series(costs),
        {
            "series": ("system", None),
            "moment": ("moment", None),
            "machine": ("machine", None),
            "documents": ("documents", ",.0f"),
            "passages": ("passages", ",.0f"),
            "start_seconds": ("start (s)", ",.3g"),
            "work_seconds": ("work (s)", ",.4g"),
            "actual_by_estimated": ("by the estimate", ".2f"),
            "host_mib": ("memory (MiB)", ",.0f"),
            "usd": ("$", ",.3g"),
            "usd_of_gpu": ("of it GPU", ",.3g"),
            "usd_of_cores": ("cores", ",.3g"),
            "usd_of_memory": ("memory", ",.3g"),
            "prices_as_of": ("prices as of", None),
            "basis": ("seconds are from", None),
        },
    )


def phase_table(phases: pd.DataFrame) -> facts.Table:
    return facts.table(
        remote_common.with_series(phases),
        {
            "series": ("system", None),
            "documents": ("documents", ",.0f"),
            "repeat": ("repeat", ".0f"),
            "device": ("device", None),
            "phase": ("phase", None),
            "seconds": ("seconds", ",.3g"),
            "host_peak_mib": ("host: highest (MiB)", ",.0f"),
            "host_predicted_mib": ("predicted", ",.0f"),
            "gpu_allocated_peak_mib": ("GPU: tensors (MiB)", ",.0f"),
            "gpu_reserved_peak_mib": ("reserved", ",.0f"),
            "gpu_predicted_mib": ("predicted", ",.0f"),
        },
    )


def load_table(loads: pd.DataFrame) -> facts.Table:
    shown = remote_common.with_series(loads)
    shown = shown.assign(loads=_yes_or_no(shown["loads"]), same_results=_yes_or_no(shown["same_results"]))
    return facts.table(
        shown,
        {
            "series": ("index of", None),
            "library": ("library", None),
            "version": ("version", None),
            "loads": ("loads", None),
            "same_results": ("finds the same", None),
            "detail": ("the call, or why not", None),
        },
    )


def search_table(searches: pd.DataFrame) -> facts.Table:
    shown = remote_common.with_series(searches)
    shown = shown.assign(
        outcome=shown["outcome"].map(common.outcome_words),
        what=[remote_searches.mode_words(row.mode, row.batch_size) for row in common.each_row(shown)],
    )
    return facts.table(
        shown,
        {
            "series": ("system", None),
            "what": ("searched", None),
            "repeat": ("repeat", ".0f"),
            "outcome": ("outcome", None),
            "import_seconds": ("import (s)", ",.3g"),
            "load_seconds": ("load (s)", ",.3g"),
            "first_seconds": ("first (s)", ",.3g"),
            "p50_ms": ("p50 (ms)", ",.4g"),
            "p90_ms": ("p90 (ms)", ",.4g"),
            "p99_ms": ("p99 (ms)", ",.4g"),
            "queries_per_second": ("queries/s", ",.4g"),
            "before_loading_mib": ("RSS before loading (MiB)", ",.0f"),
            "loaded_mib": ("loaded (MiB)", ",.0f"),
            "peak_rss_mib": ("highest (MiB)", ",.0f"),
            "gpu_peak_mib": ("GPU (MiB)", ",.0f"),
            "index_size_mib": ("index (MiB)", ",.3g"),
            "found_in_k": ("judged page found", ".0%"),
            "results_digest": ("digest of results", None),
            "outcome_detail": ("detail", None),
        },
    )


def result_table(results: pd.DataFrame) -> facts.Table:
    """What was found for every query, best first."""
    shown = remote_common.with_series(results)
    shown = shown.assign(
        where=[where(row) for row in common.each_row(shown)],
        passage=[_short(text, _WHOLE_PASSAGE) for text in shown["passage"]],
        relevant=_yes_or_no(shown["relevant"]),
    )
    shown = shown.sort_values(["query_id", "system", "rank"], kind="stable")
    return facts.table(
        shown,
        {
            "query": ("query", None),
            "series": ("system", None),
            "rank": ("rank", ".0f"),
            "score": ("score", ",.3f"),
            "where": ("found in", None),
            "relevant": ("judged relevant", None),
            "passage": ("passage", None),
        },
    )


# Limits


def limits(tables: Tables, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What these runs cannot tell, each for a reason found in the tables or the configuration.

    Returns:
        A few words for the first screen (empty where it has no room for it), and the sentence.
    """
    runs, searches = tables["remote_runs"], tables["remote_searches"]
    done = runs[runs["outcome"] == COMPLETED]
    if done.empty:
        return [("", "No index was completed: times, memory and search are not known, only estimates.")]
    found = [
        ("GPU memory and time, which are predicted", _device(done)),
        ("search quality", _synthetic(done)),
        ("", _prices(tables["remote_costs"])),
        ("", _repeats(done)),
        ("", _size(done)),
        ("", _resumed(runs)),
        ("", _judged(searches)),
    ]
    return [(words, sentence) for words, sentence in found if sentence]


def _device(done: pd.DataFrame) -> str:
    if "cuda" in set(done["device"]):
        return ""
    return (
        "Nothing ran on a GPU here. GPU memory is what the memory model predicts, and time and price on a GPU "
        "are estimates: the CUDA context, fragmentation and other programs are in the margin at best."
    )


def _synthetic(done: pd.DataFrame) -> str:
    if not any(str(name).startswith("synthetic") for name in common.unique(done["checkpoint"])):
        return ""
    return (
        "The checkpoint has random weights: that a judged page is found shows that the path from page to result "
        "works, and says nothing of how well a trained model finds."
    )


def _prices(costs: pd.DataFrame) -> str:
    if costs.empty:
        return ""
    dates = common.listed([str(date) for date in sorted(common.unique(costs["prices_as_of"]))])
    return (
        f"Dollars are seconds times list prices as of {dates}; nobody was billed. Building an image, storage, "
        "transfer, taxes and free credits are not in them."
    )


def _repeats(done: pd.DataFrame) -> str:
    counts = done.groupby("system")["run"].nunique()
    single = int((counts == 1).sum())
    if not single:
        return ""
    return (
        f"{single} of {remote_common.plural(len(counts), 'system')} built the index once: its time has no spread, and "
        "another machine of the same price may be faster or slower."
    )


def _size(done: pd.DataFrame) -> str:
    passages = done["passages"].dropna()
    if passages.empty or passages.max() >= 25_000:
        return ""
    return (
        f"The largest index has {remote_common.plural(passages.max(), 'passage')}, less than a chunk (25,000) of the "
        "libraries: imports and the checkpoint weigh more than they do for a large collection, and start-up more in "
        "the price."
    )


def _resumed(runs: pd.DataFrame) -> str:
    number = int(runs["resumed_from"].notna().sum())
    if not number:
        return ""
    return (
        f"{remote_common.plural(number, 'run')} went on from an earlier attempt: time and memory of such a run are of "
        "its last attempt only."
    )


def _judged(searches: pd.DataFrame) -> str:
    if searches.empty or searches["found_in_k"].notna().any():
        return ""
    return "No query has a judged document: whether what was found is right is not known."
