"""The report of faiss_tables: what is redundant, what sharing saves, what a table is worth, which estimate holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from indexscope.figures import common, faiss_common, faiss_estimators, faiss_latency, faiss_memory
from indexscope.run_record import COMPLETED

from . import facts, page
from .page import EmbeddedFigure, Finding

_MOST_NAMED = 3
# Published: vectors of a segment are not; nlist, subquantizers and bits are (k-NN#1507).
_RFC_TABLE_MIB = 128

Tables = Mapping[str, pd.DataFrame]


def render(tables: Tables, figures: Sequence[EmbeddedFigure], configuration: str) -> str:
    """The page.

    Args:
        tables: those of schemas.FAISS_TABLES by name.
        figures: in the order in which to show them.
        configuration: the resolved configuration, YAML.
    """
    memory = tables["faiss_memory"]
    return page.render(
        page.FAISS_TABLES,
        memory.assign(campaign=None),
        figures,
        configuration,
        summary=summary(memory),
        troubles=troubles(memory),
        findings=findings(tables, {figure.name for figure in figures}),
        kinds=kind_table(memory),
        machine=machine(memory),
        memory=memory_table(memory),
        alternatives=alternative_table(tables["faiss_alternatives"]),
        break_even=break_even_table(tables["faiss_break_even"]),
        published=published_table(tables["faiss_published"]),
        limits=limits(tables),
    )


def summary(memory: pd.DataFrame) -> str:
    """One line: what was loaded how."""
    if memory.empty:
        return "Nothing was loaded: the table of processes is empty."
    kinds = len(faiss_common.kinds_of(memory))
    numbers = common.listed([common.count(number) for number in sorted(common.unique(memory["segments"]))])
    modes = faiss_common.modes_of(memory)
    return (
        f"{common.count(len(memory))} process{'es' * (len(memory) != 1)} · {kinds} kind{'s' * (kinds != 1)} of index · "
        f"{numbers} segments · load mode{'s' * (len(modes) > 1)} {common.listed(modes)}."
    )


def kind_table(memory: pd.DataFrame) -> facts.Table:
    """What each kind of index is made of, and the table that it computes at load."""
    metrics: dict[tuple[str, str, str], list[str]] = {}
    for kind in faiss_common.kinds_of(memory):
        of_kind = faiss_common.of_kind(memory, kind)
        default = of_kind[of_kind["load_mode"] == "default"]
        each = (default["tables_mib"] / default["segments"]).max() if len(default) else float("nan")
        table = (
            "not loaded in default mode" if pd.isna(each) else faiss_common.size(each) if each > 0 else "none"
        )
        words = (faiss_common.index_words(kind[0]), faiss_common.geometry_words(of_kind), table)
        metrics.setdefault(words, []).append(faiss_common.METRIC_WORDS.get(kind[1], kind[1]))
    return facts.Table(
        ["", "metric", "a segment", "table computed at load"],
        [
            [name, common.listed(names), geometry.replace(" a segment", ""), table]
            for (name, geometry, table), names in metrics.items()
        ],
    )


def machine(memory: pd.DataFrame) -> list[tuple[str, str]]:
    """Label and value of what the processes ran on and with; unknown values are left out."""
    totals = [f"{total / 1024:.1f} GiB of memory" for total in common.unique(memory["memory_total_mib"])]
    kernels = [f"Linux {kernel}" for kernel in common.unique(memory["kernel"])]
    started = memory["started_at"].dropna()
    when = "" if started.empty else f"{started.min():%Y-%m-%d %H:%M} to {started.max():%Y-%m-%d %H:%M} UTC"
    repeats = memory.groupby(faiss_common.CELL, dropna=False)["repeat"].nunique()
    each = common.range_words(int(repeats.min()), int(repeats.max()), "d") if len(repeats) else ""
    baseline = memory["baseline_pss_mib"].median()
    process = [
        f"{each} for each cell, nothing else loaded" if each else "",
        "" if pd.isna(baseline) else f"{faiss_common.size(float(baseline))} before it loads a segment",
    ]
    commits = facts.values(memory["git_commit"])
    rows = [
        ("Machine", ", ".join([*faiss_common.machines(memory), *totals, *kernels])),
        ("Process", "; ".join(words for words in process if words)),
        ("faiss", facts.values(memory["faiss_version"])),
        ("Run", " · ".join(words for words in (when, f"IndexScope {commits}" if commits else "") if words)),
    ]
    return [(label, value) for label, value in rows if value]


# Troubles


def troubles(memory: pd.DataFrame) -> facts.Troubles:
    """Processes that did not complete, and modes that do not find the same."""
    sentences, rows = [], []
    lost = memory[memory["outcome"] != COMPLETED]
    for outcome, ended in lost.groupby("outcome", sort=False):
        names = common.unique(_cell_words(row) for row in common.each_row(ended))
        more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
        sentences.append(
            f"{len(ended)} of {len(memory)} processes did not complete ({common.outcome_words(str(outcome))}): "
            f"{common.listed([*names[:_MOST_NAMED], *more])}."
        )
    for row in common.each_row(lost):
        detail = "–" if pd.isna(row.outcome_detail) else str(row.outcome_detail)
        rows.append([_cell_words(row), f"{row.repeat:.0f}", common.outcome_words(row.outcome), detail])
    wrong, _ = faiss_common.unequal_results(memory)
    if wrong:
        more = [f"{len(wrong) - _MOST_NAMED} more"] if len(wrong) > _MOST_NAMED else []
        sentences.append(
            "Searches find other ids or distances in one process than in another: "
            f"{common.listed([*wrong[:_MOST_NAMED], *more])}."
        )
        rows += [
            [words, "–", "unequal results", "between repeats, or with an own and a shared table"]
            for words in wrong
        ]
    return facts.Troubles(sentences, facts.Table(["cell", "repeat", "what", "detail"], rows, frozenset({1})))


def _cell_words(row: Any) -> str:
    kind = faiss_common.kind_words(str(row.index_type), str(row.metric))
    return f"{kind}, {faiss_common.segments(int(row.segments))}, {row.load_mode}"


# Findings


def findings(tables: Tables, drawn: set[str]) -> list[Finding]:
    """In the order of what matters; a question that the tables cannot answer is left out."""
    memory = tables["faiss_memory"]
    told = [
        ("How much is redundant", "faiss_memory", redundant(memory)),
        ("What sharing saves", "faiss_memory", sharing(memory, tables["faiss_alternatives"])),
        ("Whether the table is worth it", "faiss_latency", worth(tables["faiss_break_even"])),
        ("Which estimate is right", "faiss_estimators", right_estimate(tables["faiss_estimates"])),
    ]
    return [
        Finding(question, sentence, support, name * (name in drawn))
        for question, name, (sentence, support) in told
        if sentence
    ]


def redundant(memory: pd.DataFrame) -> tuple[str, str]:
    """At the most segments in default mode: how much of each kind of index equals another segment's, by formula."""
    default = memory[memory["load_mode"] == "default"]
    if default.empty:
        return "", ""
    last = faiss_common.most_segments(faiss_common.cells(default))
    last = last[last["formula_mib"] > 0].assign(
        share=lambda rows: rows["redundant_mib"] / rows["formula_mib"]
    )
    if last.empty:
        return "", ""
    ranked = last.sort_values("share", ascending=False, kind="stable")
    first = ranked.iloc[0]
    number = faiss_common.segments(int(first["segments"]))
    if first["redundant_mib"] <= 0:
        return f"Nothing is redundant: {number} hold nothing that equals another’s", ""
    measured = (
        f"; a process holds {faiss_common.size(float(first['measured_mib']))}"
        if pd.notna(first["measured_mib"])
        else ""
    )
    sentence = (
        f"Of {faiss_common.size(float(first['formula_mib']))} that {number} of "
        f"{faiss_common.kind_words(first['index_type'], first['metric'])} need by formula, "
        f"{faiss_common.size(float(first['redundant_mib']))} ({100 * first['share']:.0f} %) equal another "
        f"segment’s{measured}"
    )
    others = [
        f"{faiss_common.kind_words(row.index_type, row.metric)} {100 * row.share:.0f} %"
        for row in common.each_row(ranked.iloc[1:])
    ]
    support = f"The others: {common.listed(others)}." if others else ""
    errors = faiss_common.formula_errors(faiss_common.cells(memory))
    return sentence, " ".join(words for words in (support, errors) if words)


def sharing(memory: pd.DataFrame, alternatives: pd.DataFrame) -> tuple[str, str]:
    """What one shared table takes beside a table each, and that nothing else changes."""
    cells = faiss_common.cells(memory)
    saved = faiss_memory.largest_saving(cells)
    if saved.empty:
        return "", ""
    row = saved.iloc[0]
    name = faiss_common.kind_words(row["index_type"], row["metric"])
    separated = None if pd.isna(row["separated"]) else bool(row["separated"])
    sentence = (
        f"{faiss_common.segments(int(row['segments']))} of {name} with one shared table hold "
        f"{faiss_common.size(float(row['other_mib']))} where a table each takes "
        f"{faiss_common.size(float(row['default_mib']))}: {_change(float(row['default_mib']), float(row['other_mib']))}"
    )
    support = [f"The difference {common.spread_words(separated)}."]
    others = [
        f"{faiss_common.kind_words(other.index_type, other.metric)} {_change(other.default_mib, other.other_mib)}"
        for other in common.each_row(saved.iloc[1:])
    ]
    if others:
        support.append(f"{common.listed(others)}.")
    support += faiss_memory.results_notes(memory)
    support += _share_words(alternatives, str(row["index_type"]), str(row["metric"]))
    return sentence, " ".join(support)


def _change(before: float, after: float) -> str:
    change = after / before - 1
    return f"{100 * abs(change):.0f} % {'less' if change < 0 else 'more'}"


def _share_words(alternatives: pd.DataFrame, index_type: str, metric: str) -> list[str]:
    """What sharing costs in searches."""
    rows = faiss_common.of_kind(alternatives, (index_type, metric))
    rows = rows[(rows["alternative"] == "share") & rows["search_by_keep"].notna()]
    return [
        f"A search takes {row.search_by_keep:.2f} times as long as with an own table ({row.search_by_keep_low:.2f} to "
        f"{row.search_by_keep_high:.2f})."
        for row in common.each_row(rows.head(1))
    ]


def worth(break_even: pd.DataFrame) -> tuple[str, str]:
    """From which list length and nprobe on a table makes search faster."""
    rows = faiss_latency.table_rows(break_even)
    if rows.empty:
        return "", ""
    faster, slower = (rows[rows["verdict"] == verdict] for verdict in ("faster", "slower"))
    words = faiss_latency.break_even_words(break_even[break_even["list_length"].notna()])
    if len(faster) == len(rows):
        sentence = (
            f"With its table IVFPQ searches faster in all {len(rows)} combinations of list length and nprobe"
        )
    elif faster.empty:
        sentence = f"With its table IVFPQ searches faster in none of {len(rows)} combinations of list length and nprobe"
    else:
        sentence = f"With its table IVFPQ searches faster {words[0]}"
    best = rows.iloc[int(rows["ratio"].to_numpy().argmin())]
    worst = rows.iloc[int(rows["ratio"].to_numpy().argmax())]
    support = [
        f"Faster in {len(faster)}, slower in {len(slower)} of {len(rows)} combinations: {best['ratio']:.2f} times as "
        "long at "
        f"best ({faiss_latency.point_words(best)}), {worst['ratio']:.2f} at worst ({faiss_latency.point_words(worst)})."
    ]
    support += faiss_latency.graph_notes(break_even[break_even["list_length"].isna()])
    return sentence, " ".join(support)


def right_estimate(estimates: pd.DataFrame) -> tuple[str, str]:
    """The estimator with the smallest largest error."""
    ratios = faiss_estimators.with_ratios(estimates)
    known = ratios[ratios["ratio"].notna()]
    if known.empty:
        return "", ""
    return faiss_estimators.finding(faiss_estimators.ranking(estimates), known)


# Tables


def memory_table(memory: pd.DataFrame) -> facts.Table:
    """One row for each cell: formulas and what was measured."""
    if memory.empty:
        return facts.Table(["cell"], [])
    cells = faiss_common.cells(memory)
    shown = cells.assign(
        kind=[faiss_common.kind_heading(row.index_type, row.metric) for row in common.each_row(cells)],
        outcome=[
            common.outcome_words(COMPLETED if pd.isna(outcome) else str(outcome))
            for outcome in cells["measured_outcome"]
        ],
        error=100 * cells["error"],
    )
    order = [*faiss_common.kinds_of(cells)]
    rank = [order.index((row.index_type, row.metric)) for row in common.each_row(cells)]
    shown = shown.assign(rank=rank).sort_values(["rank", "segments"], kind="stable")
    mib = ",.2f"
    return facts.table(
        shown,
        {
            "kind": ("index", None),
            "segments": ("segments", ",.0f"),
            "load_mode": ("load mode", None),
            "formula_mib": ("formula (MiB)", mib),
            "tables_mib": ("of it tables", mib),
            "redundant_mib": ("redundant", mib),
            "file_mib": ("files", mib),
            "measured_mib": ("measured", mib),
            "low_mib": ("least", mib),
            "high_mib": ("most", mib),
            "runs": ("processes", ".0f"),
            "error": ("formula’s error (%)", "+.1f"),
            "load_seconds": ("to load (s)", ".3f"),
            "outcome": ("outcome", None),
        },
    )


def alternative_table(alternatives: pd.DataFrame) -> facts.Table:
    words = {True: "yes", False: "no"}
    shown = alternatives.assign(
        kind=[faiss_common.kind_heading(row.index_type, row.metric) for row in common.each_row(alternatives)],
        possible=alternatives["possible"].map(words),
        results_equal=alternatives["results_equal"].map(words),
        can_add=alternatives["can_add"].map(words),
    )
    return facts.table(
        shown,
        {
            "kind": ("index", None),
            "segments": ("segments", ",.0f"),
            "alternative": ("alternative", None),
            "possible": ("possible", None),
            "measured_mib": ("measured (MiB)", ",.2f"),
            "measured_low_mib": ("least", ",.2f"),
            "measured_high_mib": ("most", ",.2f"),
            "runs": ("processes", ".0f"),
            "extra_file_mib": ("more on disk (MiB)", ",.2f"),
            "load_seconds": ("to load (s)", ".3f"),
            "search_p50_ms": ("search, p50 (ms)", ".4f"),
            "search_by_keep": ("by keep", ".3f"),
            "results_equal": ("same results", None),
            "can_add": ("can add", None),
            "reason": ("reason", None),
        },
    )


def break_even_table(break_even: pd.DataFrame) -> facts.Table:
    """The medians; other quantiles are in the figure's CSV."""
    shown = break_even[break_even["quantile"] == "p50"]
    shown = shown.assign(index=[faiss_common.index_words(name) for name in shown["index_type"]])
    return facts.table(
        shown,
        {
            "index": ("index", None),
            "nprobe": ("nprobe", ",.0f"),
            "list_length": ("vectors in a list", ",.0f"),
            "compared": ("compared", None),
            "ratio": ("ratio", ".3f"),
            "ratio_low": ("least", ".3f"),
            "ratio_high": ("most", ".3f"),
            "rounds": ("rounds", ".0f"),
            "saved_ms": ("saved (ms)", "+.4f"),
            "table_mib": ("table (MiB)", ",.1f"),
            "verdict": ("verdict", None),
            "break_even_list_length": ("faster from (vectors in a list)", ",.0f"),
            "agreement": ("results", None),
        },
    )


def published_table(published: pd.DataFrame) -> facts.Table:
    mib = ",.6g"
    return facts.table(
        published,
        {
            "source": ("source", None),
            "quantity": ("what", None),
            "nlist": ("nlist", ",.0f"),
            "pq_m": ("subquantizers", ",.0f"),
            "code_size": ("bits", ".0f"),
            "segments": ("segments", ",.0f"),
            "published_mib": ("published (MiB)", mib),
            "formula_mib": ("formula (MiB)", mib),
            "measured_mib": ("measured here (MiB)", mib),
            "verdict": ("verdict", None),
        },
    )


# Limits


def limits(tables: Tables) -> list[str]:
    """Sentences on what these processes cannot tell, each for a reason found in the tables."""
    memory = tables["faiss_memory"]
    completed = memory[memory["outcome"] == COMPLETED]
    if completed.empty:
        return ["No process completed: what is said of memory is by formula alone."]
    found = []
    default = completed[completed["load_mode"] == "default"]
    each = (default["tables_mib"] / default["segments"]).max() if len(default) else float("nan")
    if pd.notna(each) and each < _RFC_TABLE_MIB:
        found.append(
            f"A table is at most {faiss_common.size(float(each))} here, in the RFC {_RFC_TABLE_MIB} MiB: shares of "
            "memory depend on the geometry, so read them as an example and take the formula for yours. "
            "The target faiss_tables_rfc loads the RFC’s segments."
        )
    found.append(
        "Segments hold random vectors and share their codebooks, as segments of one trained model do. Segments that "
        "are trained one by one have unequal codebooks: of them nothing is redundant, and nothing can be shared."
    )
    rows = faiss_latency.table_rows(tables["faiss_break_even"])
    if len(rows):
        lengths = common.range_words(rows["list_length"].min(), rows["list_length"].max(), ",.0f")
        nprobes = common.range_words(rows["nprobe"].min(), rows["nprobe"].max(), ",.0f")
        found.append(
            f"The break-even is of one machine, {faiss_common.geometry_words(rows)}, lists of {lengths} vectors and "
            "nprobe "
            f"{nprobes}, single queries one at a time: other caches, dimensions and batches move it. "
            "advise_faiss_index.py measures it on an index of yours."
        )
    repeats = completed.groupby(faiss_common.CELL, dropna=False)["repeat"].nunique()
    single = int((repeats == 1).sum())
    if single:
        found.append(
            f"{single} of {len(repeats)} cells have one process only: their differences are not backed by repeats."
        )
    ranges = completed.groupby(faiss_common.CELL, dropna=False)["measured_mib"].agg(["min", "max"])
    spread = float((ranges["max"] - ranges["min"]).max())
    if (repeats > 1).any():
        found.append(
            f"Repeats of a cell differ by up to {faiss_common.size(spread)}; smaller differences are no finding."
        )
    found.append(
        "Memory is that of a process that has loaded its segments and settled. A peak while loading, the memory of "
        "searches, and page cache are not in it; nothing ran on a GPU."
    )
    versions = common.unique(completed["faiss_version"])
    if versions:
        found.append(
            f"One build of faiss ({common.listed([str(version) for version in versions])}): sharing relies on the "
            "binary layout of its index objects, which is checked at start."
        )
    return found
