"""The published start, increment and final of each function beside what was measured here."""

from __future__ import annotations

from collections.abc import Iterable

import altair as alt
import pandas as pd

from . import common
from .common import Figure
from .published_panels import FINAL, FUNCTIONS, START, heading, panel, width_of

TITLE = "Published beside ours"
_ENCODE = "encoder.encode_passages"
_PUBLISHED, _ELSEWHERE, _OURS = "published", "log", "ours"
_CAPTION = (
    "All values are memory_profiler's: a bar goes from the start (dot) to the final memory (diamond) of a function; a "
    "bar below its dot is memory that was given back. Columns of a group are systems, groups are numbers of documents. "
    "The axes of the left, the middle and the right differ, and only the published one begins at zero: hardware, "
    "corpus, checkpoint and scale are not the same, so compare directions and ratios, not MiB. Ours are medians over "
    "the runs under memory_profiler."
)
_ROW_HEIGHT = 96


def draw(memory: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Args: the tables published_memory and runs (for the systems' colours)."""
    if memory.empty:
        return common.nothing_to_draw(TITLE, "There is no published number and no run.", list(memory.columns))
    series = _series(memory, runs)
    columns = [
        _column(memory[memory["source"] == source], source, words, series)
        for source, words in [
            (_PUBLISHED, "published"),
            (_ELSEWHERE, "logs from elsewhere"),
            (_OURS, "measured here"),
        ]
        if (memory["source"] == source).any()
    ]
    # A group is as wide as its own column lets it be.
    rows = [
        alt.hconcat(*of_function, spacing=30).resolve_scale(xOffset="independent")
        for of_function in zip(*columns, strict=True)
    ]
    ours = memory[memory["source"] == _OURS]
    notes = [_agreement(memory), _corrected(memory)]
    if ours.empty:
        notes.append("No run with the profiler memory_profiler left a row here.")
    title, support = _finding(memory)
    return Figure(
        alt.vconcat(*rows, spacing=8).resolve_scale(xOffset="independent"),
        memory,
        title,
        " ".join(
            f"{words}: {_conditions(memory[memory['source'] == source])}."
            for source, words in [(_PUBLISHED, "Published"), (_ELSEWHERE, "Elsewhere"), (_OURS, "Here")]
            if (memory["source"] == source).any()
        ),
        support,
        notes,
        _CAPTION,
        width=900,
        is_finding=not ours.empty,
    )


def _series(memory: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The systems in the order of the other figures, for the same colours; those that were not run here follow."""
    series = common.label_systems(runs)[["series"]] if len(runs) else pd.DataFrame({"series": []})
    extra = memory.loc[~memory["system"].isin(series["series"]), ["system"]]
    return pd.concat([series, extra.rename(columns={"system": "series"})])


def _column(rows: pd.DataFrame, source: str, words: str, series: pd.DataFrame) -> list[common.Chart]:
    sizes = sorted(common.unique(rows["documents"]))
    systems = [name for name in common.unique(series["series"]) if (rows["system"] == name).any()]
    ends = rows[["start_mib", "final_mib"]]
    low, high = ends.min().min(), ends.max().max()
    span = max(high - low, 1.0)
    labels = len(sizes) * len(systems) <= 9
    domain = [0.0, 1.03 * high] if source == _PUBLISHED else [max(0.0, low - 0.1 * span), high + 0.3 * span]
    return [
        panel(
            rows[rows["function"] == function],
            sizes=sizes,
            systems=systems,
            colours=common.system_scale(series),
            domain=domain,
            marks=[START, FINAL],
            width=max(width_of(rows), len(sizes) * len(systems) * 46 if labels else 0),
            height=_ROW_HEIGHT,
            title=heading(function, words if function == FUNCTIONS[0] else None),
            y_title="RSS (MiB)",
            labels="above" if labels else "none",
        )
        for function in FUNCTIONS
    ]


def _conditions(rows: pd.DataFrame) -> str:
    sizes = sorted(common.unique(rows["documents"]))
    size = common.documents(sizes[0]) if len(sizes) == 1 else f"{sizes[0]:,} to {common.documents(sizes[-1])}"
    parts = [size]
    parts += [
        f"{name} {common.listed(common.unique(rows[name]))}"
        for name in ("corpus", "checkpoint")
        if rows[name].notna().any()
    ]
    parts += [common.listed(common.unique(rows["machine"]))]
    runs = sorted(common.unique(rows["runs"]))
    parts.append("one run each" if runs == [1] else f"{runs[0]} to {runs[-1]} runs each")
    return ", ".join(part for part in parts if part)


# Findings


def compared(memory: pd.DataFrame, source: str) -> pd.DataFrame:
    """The increments of ColBERT and RAGatouille, of systems that were published, at the same size.

    Returns: function, documents, system (RAGatouille's), colbert, ragatouille (MiB), colbert_runs, ragatouille_runs.
    """
    published = memory.loc[memory["source"] == _PUBLISHED, ["system", "framework"]].drop_duplicates("system")
    of_framework = dict(zip(published["system"], published["framework"], strict=True))
    rows = memory[(memory["source"] == source) & memory["system"].isin(of_framework)]
    rows = rows.assign(framework=rows["system"].map(of_framework))
    key = ["function", "documents"]
    wanted = [*key, "system", "increment_mib", "runs"]
    colbert = rows.loc[rows["framework"] == "colbert", wanted].drop(columns="system")
    ragatouille = rows.loc[rows["framework"] == "ragatouille", wanted]
    pairs = ragatouille.merge(colbert, on=key, suffixes=("_ragatouille", "_colbert"))
    return pairs.rename(
        columns={
            "increment_mib_colbert": "colbert",
            "increment_mib_ragatouille": "ragatouille",
            "runs_colbert": "colbert_runs",
            "runs_ragatouille": "ragatouille_runs",
        }
    ).dropna(subset=["colbert", "ragatouille"])


def _finding(memory: pd.DataFrame) -> tuple[str, str]:
    published = _pairs_of(compared(memory, _PUBLISHED), _ENCODE)
    if published.empty:
        return f"{TITLE}: no pair of systems was published", ""
    said = f"Published, encoding the sample takes RAGatouille {_ratio(published)} times ColBERT's memory"
    ours = _pairs_of(compared(memory, _OURS), _ENCODE)
    if ours.empty:
        return f"{said}; here it was not measured for both", ""
    sizes = sorted(common.unique(ours["documents"]))
    here = common.listed([common.count(size) for size in sizes]) + " documents"
    difference = ours["ragatouille"] - ours["colbert"]
    least = (published["ragatouille"] / published["colbert"]).min() - 1
    enough = ours["ragatouille"] - ours["colbert"] >= least / 2 * ours["colbert"].abs()
    support = (
        f"Here RAGatouille's increment is {_range(difference, '+.1f')} MiB against ColBERT's (medians of "
        f"{int(ours['ragatouille_runs'].min())} and {int(ours['colbert_runs'].min())} runs). It counts as holding from "
        f"half of the least published excess ({50 * least:.0f} %) on; identical runs differ by tens of MiB with the "
        "default allocator."
    )
    verdict = f"that RAGatouille takes more {_holds(enough)} at this scale"
    if (ours[["colbert", "ragatouille"]] <= 0).any(axis=None):
        return f"{said}; at {here} here not both grow: {verdict}", support
    return f"{said}; at {here} here {_ratio(ours)} times: {verdict}", support


def _pairs_of(pairs: pd.DataFrame, function: str) -> pd.DataFrame:
    return pairs[pairs["function"] == function]


def _ratio(pairs: pd.DataFrame) -> str:
    return _range(pairs["ragatouille"] / pairs["colbert"], ".2f")


def _range(values: Iterable[float], form: str) -> str:
    words = [format(value, form) for value in (min(values), max(values))]
    return words[0] if words[0] == words[1] else f"{words[0]} to {words[1]}"


def _holds(enough: pd.Series) -> str:
    if enough.all():
        return "holds"
    return (
        "does not show" if not enough.any() else f"holds in {int(enough.sum())} of {len(enough)} comparisons"
    )


def _agreement(memory: pd.DataFrame) -> str:
    """For which functions the system with the larger increment is the same, by the majority of comparisons."""
    published, ours = compared(memory, _PUBLISHED), compared(memory, _OURS)
    same: list[str] = []
    other: list[str] = []
    for function in FUNCTIONS:
        sides = [_pairs_of(pairs, function) for pairs in (published, ours)]
        if any(side.empty for side in sides):
            continue
        more = [(side["ragatouille"] > side["colbert"]).mean() for side in sides]
        (same if (more[0] > 0.5) == (more[1] > 0.5) else other).append(function)
    if not same and not other:
        return ""
    words = (
        f"Which of the two takes more is as published for {len(same)} of {len(same) + len(other)} functions"
    )
    return words + (f", not for {common.listed(other)}." if other else ".")


def _corrected(memory: pd.DataFrame) -> str:
    corrected = memory[memory["corrected"]]
    if corrected.empty:
        return ""
    functions = common.listed(common.unique(corrected["function"]))
    return (
        f"In {len(corrected)} published rows ({functions}) a number that the study's own log contradicts is drawn as "
        "the log has it."
    )
