"""Memory of trainings: each rank and all processes by loader and world size, page cache apart, and under a limit."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from indexscope.run_record import COMPLETED

from . import common, document_common
from .common import Figure

TITLE = "Memory of trainings"
KINDS = {
    "anonymous": ("anon_mib", "#6C8EBF"),
    "files": ("file_mib", "#C8B560"),
    "shared memory": ("shmem_mib", "#A884B5"),
    "not told apart": ("", "#C9C9C9"),
}
_CAPTION = (
    "Left: PSS of all processes of a training in the middle of its measured steps (a page that n processes share "
    "counts 1/n in each, so the sum is what they occupy together), by what the pages are of; mean of repeats, points "
    "are runs. The open diamond is the largest rank alone. Right: pages of the loader’s files that are in the page "
    "cache at that time, whoever read them (the outline is the size of the files). The kernel takes them back when "
    "memory is short; those that a process has mapped are in its PSS, too. Under a limit: the highest RSS of the "
    "process tree, in which shared pages count in every process, is what the limit acts on; a run that passes it is "
    "ended."
)
_COLUMNS = [
    "run", "experiment", "situation", "loader", "parallelism", "world_size", "workers", "pin_memory", "precision",
    "cache", "documents", "repeat", "outcome", "outcome_detail", "processes", "tree_pss_mib",
    "largest_rank_pss_mib", "anon_mib", "file_mib", "shmem_mib", "tree_peak_rss_mib", "page_cache_mib",
    "page_cache_start_mib", "source_mib", "gpu_peak_mib", "memory_limit_mib", "predicted_mib",
]  # fmt: skip
_PSS_WIDTH, _CACHE_WIDTH, _LIMIT_WIDTH, _LIMIT_HEIGHT = 560, 200, 420, 240
# Of the marks of a run under a limit.
_MARKS = {"predicted": "diamond", "measured, completed": "circle", "out of memory": "cross"}


def draw(access: pd.DataFrame, processes: pd.DataFrame) -> Figure:
    """Args: the tables document_access and document_access_processes."""
    if access.empty:
        return common.nothing_to_draw(TITLE, "The table of trainings is empty: nothing was run.", _COLUMNS)
    told = access.merge(_kinds(processes), on="run", how="left")
    grid = told[told["experiment"] != document_common.LIMITED]
    rows = document_common.rows_of(told)
    panels: list[common.Chart] = []
    if len(document_common.completed(grid, "tree_pss_mib")):
        panels.append(_beside(grid))
    limited = told[told["experiment"] == document_common.LIMITED]
    if len(limited):
        panels.append(_limits(limited))
    if not panels:
        reason = f"Of no training the memory is known ({common.outcome_counts(access)})."
        return common.nothing_to_draw(TITLE, reason, _COLUMNS)
    title, support, notes = _findings(access)
    # Colours are of kinds above and of marks below: each has its own legend.
    chart = alt.vconcat(*panels, spacing=30).resolve_scale(color="independent", shape="independent")
    return Figure(
        chart, document_common.on_rows(told, rows)[_COLUMNS], title, document_common.conditions(access), support,
        notes, _CAPTION, width=_PSS_WIDTH + _CACHE_WIDTH + 160,
    )  # fmt: skip


def _kinds(processes: pd.DataFrame) -> pd.DataFrame:
    """PSS of all processes of each run by kind of page; missing where a process did not tell."""
    columns = [column for column, _ in KINDS.values() if column]
    return processes.groupby("run", sort=False)[columns].agg(_known_sum).reset_index()


def _known_sum(column: pd.Series) -> float:
    return float(column.sum(skipna=False))


def _beside(grid: pd.DataFrame) -> common.Chart:
    """PSS and page cache of the trainings of the grid, on the same lines."""
    rows = document_common.rows_of(grid)
    on_lines = document_common.on_rows(grid, rows)
    known = document_common.completed(on_lines, "tree_pss_mib")
    chart = alt.hconcat(_pss(known, on_lines, rows), _cache(known, rows), spacing=14)
    both: common.Chart = chart.resolve_scale(color="independent")
    return both


def _pss(known: pd.DataFrame, on_lines: pd.DataFrame, rows: document_common.Rows) -> common.Chart:
    y = rows.y()
    scale = alt.Scale(domain=[0, 1.16 * max(1.0, known["tree_pss_mib"].max())], nice=False)
    x = alt.X(
        "mib:Q", title="PSS of all processes (MiB), ◇ of the largest rank", stack="zero", scale=scale,
        axis=alt.Axis(orient="top", tickCount=7),
    )  # fmt: skip
    stacked = pd.DataFrame(_stack(known))
    used = [kind for kind in KINDS if (stacked.loc[stacked["kind"] == kind, "mib"] > 0).any()]
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=used, range=[KINDS[kind][1] for kind in used]),
        legend=alt.Legend(orient="top", symbolType="square", columns=len(used), columnPadding=14),
    )
    bars = (
        alt.Chart(stacked[stacked["kind"].isin(used)])
        .mark_bar(height=12)
        .encode(
            x=x, y=y, color=colour, order="place:Q",
            tooltip=["series:N", "situation:N", "kind:N", alt.Tooltip("mib:Q", title="PSS (MiB)", format=",.1f")],
        )
    )  # fmt: skip
    tooltip: list[Any] = [
        "series:N", "situation:N", "repeat:Q", "processes:Q",
        alt.Tooltip("tree_pss_mib:Q", title="PSS of all (MiB)", format=",.1f"),
        alt.Tooltip("largest_rank_pss_mib:Q", title="PSS of the largest rank (MiB)", format=",.1f"),
        alt.Tooltip("tree_peak_rss_mib:Q", title="highest RSS of the tree (MiB)", format=",.1f"),
    ]  # fmt: skip
    base = alt.Chart(known).encode(y=y, tooltip=tooltip)
    points = base.mark_point(filled=True, size=16, color=common.INK).encode(
        x=alt.X("tree_pss_mib:Q", scale=scale)
    )
    largest = base.mark_point(
        shape="diamond", size=34, color=common.INK, fill="white", strokeWidth=1.2
    ).encode(x=alt.X("largest_rank_pss_mib:Q", scale=scale))
    ends = known.groupby("row", sort=False)["tree_pss_mib"].agg(["median", "max"]).reset_index()
    ends["words"] = [common.count(value) for value in ends["median"]]
    labels = (
        alt.Chart(ends)
        .mark_text(align="left", dx=7, fontSize=10, color=common.INK)
        .encode(x=alt.X("max:Q", scale=scale), y=y, text="words:N")
    )
    ended = document_common.ending_marks(document_common.endings(on_lines), y)
    chart: common.Chart = alt.layer(*rows.headings(y), bars, points, largest, labels, *ended).properties(
        width=_PSS_WIDTH, height=rows.height
    )
    return chart


def _stack(known: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean MiB of each line by kind; they add up to the mean PSS."""
    found = []
    for row, runs in known.groupby("row", sort=False):
        whole = float(runs["tree_pss_mib"].mean())
        means = {kind: float(runs[column].mean()) for kind, (column, _) in KINDS.items() if column}
        parts = {kind: 0.0 if pd.isna(value) else value for kind, value in means.items()}
        parts["not told apart"] = max(0.0, whole - sum(parts.values()))
        shared = {name: runs[name].iloc[0] for name in ("series", "situation")}
        for place, kind in enumerate(KINDS):
            # What is read twice, of the tree and of its processes, is never exactly the same.
            mib = 0.0 if kind == "not told apart" and parts[kind] < 0.01 * whole else parts[kind]
            found.append({**shared, "row": row, "kind": kind, "place": place, "mib": mib})
    return found


def _cache(known: pd.DataFrame, rows: document_common.Rows) -> common.Chart:
    y = rows.y(labels=False)
    means = (
        known.groupby(["row", "series"], sort=False)[["page_cache_mib", "source_mib"]].mean().reset_index()
    )
    means = means.dropna(subset=["page_cache_mib"])
    largest = max(1e-3, *means[["page_cache_mib", "source_mib"]].max().fillna(0.0)) if len(means) else 1.0
    scale = alt.Scale(domain=[0, 1.3 * largest], nice=False)
    x = alt.X(
        "page_cache_mib:Q", title="page cache of the loader’s files (MiB)", scale=scale,
        axis=alt.Axis(orient="top", tickCount=4),
    )  # fmt: skip
    means["words"] = [f"{value:,.3g}" if value else "0" for value in means["page_cache_mib"]]
    means["end"] = means[["page_cache_mib", "source_mib"]].max(axis=1)
    base = alt.Chart(means).encode(y=y)
    tooltip = [alt.Tooltip(f"{name}:Q", format=",.3g") for name in ("page_cache_mib", "source_mib")]
    bars = base.mark_bar(height=10).encode(
        x=x, color=document_common.loader_colour(), tooltip=["series:N", *tooltip]
    )
    files = alt.Chart(means[means["source_mib"] > 0]).encode(y=y)
    outline = files.mark_bar(height=10, filled=False, stroke=common.NOTE, strokeWidth=0.8).encode(
        x=alt.X("source_mib:Q", scale=scale)
    )
    labels = base.mark_text(align="left", dx=5, fontSize=10, color=common.INK).encode(
        x=alt.X("end:Q", scale=scale), text="words:N"
    )
    chart: common.Chart = alt.layer(*rows.headings(y, words=False), bars, outline, labels).properties(
        width=_CACHE_WIDTH, height=rows.height
    )
    return chart


def _limits(limited: pd.DataFrame) -> common.Chart:
    """Predicted and measured memory of the runs under a limit against the world size."""
    marks = []
    for row in common.each_row(limited):
        shared = {"world": str(row.world_size), "outcome": common.outcome_words(row.outcome)}
        if not pd.isna(row.predicted_mib):
            marks.append({**shared, "mark": "predicted", "mib": row.predicted_mib, "words": ""})
        if not pd.isna(row.tree_peak_rss_mib):
            done = row.outcome == COMPLETED
            ended = "measured, completed" if done else "out of memory"
            if not done and not _out_of_memory(row.outcome):
                continue
            words = "" if done else common.outcome_words(row.outcome)
            marks.append({**shared, "mark": ended, "mib": row.tree_peak_rss_mib, "words": words})
    found = pd.DataFrame(marks, columns=["world", "outcome", "mark", "mib", "words"])
    limits = limited.dropna(subset=["memory_limit_mib"])
    tops = [*found["mib"], *limits["memory_limit_mib"]]
    scale = alt.Scale(domain=[0, 1.15 * max(1.0, *tops)] if tops else [0, 1], nice=False)
    worlds = [str(world) for world in sorted(common.unique(limited["world_size"]))]
    x = alt.X(
        "world:N", sort=worlds, scale=alt.Scale(domain=worlds), title="ranks",
        axis=alt.Axis(labelAngle=0, grid=False),
    )  # fmt: skip
    y = alt.Y("mib:Q", title="highest RSS of the process tree (MiB)", scale=scale)
    used = [mark for mark in _MARKS if (found["mark"] == mark).any()]
    colours = {"predicted": common.NOTE, "measured, completed": "#0072B2", "out of memory": common.ALARM}
    points = (
        alt.Chart(found)
        .mark_point(size=75, strokeWidth=2)
        .encode(
            x=x, y=y,
            shape=alt.Shape(
                "mark:N", title=None, legend=alt.Legend(orient="right"),
                scale=alt.Scale(domain=used, range=[_MARKS[mark] for mark in used]),
            ),
            color=alt.Color(
                "mark:N", title=None, legend=alt.Legend(orient="right"),
                scale=alt.Scale(domain=used, range=[colours[mark] for mark in used]),
            ),
            tooltip=["world:N", "mark:N", "outcome:N", alt.Tooltip("mib:Q", format=",.0f")],
        )
    )  # fmt: skip
    words = (
        alt.Chart(found[found["words"] != ""])
        .mark_text(dy=15, fontSize=10, color=common.ALARM)
        .encode(x=x, y=y, text="words:N")
    )
    layers = [points, words]
    if len(limits):
        lines = limits.drop_duplicates("memory_limit_mib").rename(columns={"memory_limit_mib": "mib"})
        lines = lines.assign(words=[f"limit {common.mib(value)}" for value in lines["mib"]])[["mib", "words"]]
        base = alt.Chart(lines).encode(y=y)
        layers = [
            base.mark_rule(color=common.ALARM, strokeDash=[5, 3]),
            base.mark_text(align="left", dy=-7, color=common.ALARM, fontSize=10.5).encode(
                x=alt.value(4), text="words:N"
            ),
            *layers,
        ]
    heading = (
        f"The in-memory loader under a memory limit, {common.documents(int(limited['documents'].iloc[0]))}"
    )
    chart: common.Chart = alt.layer(*layers).properties(
        width=_LIMIT_WIDTH, height=_LIMIT_HEIGHT, title=alt.TitleParams(heading, fontSize=13, offset=8)
    )
    return chart


def _out_of_memory(outcome: str) -> bool:
    return str(outcome).startswith("out_of_memory")


def _findings(access: pd.DataFrame) -> tuple[str, str, list[str]]:
    grid = access[access["experiment"] != document_common.LIMITED]
    notes = [copies(access), at_the_limit(access), common.incomplete_words(grid, ", told in words")]
    widest = document_common.widest(access, "tree_pss_mib")
    if widest is None:
        known = document_common.medians(grid, "tree_pss_mib")
        if known.empty:
            return at_the_limit(access).rstrip(".") or TITLE, "", [copies(access)]
        row = max(common.each_row(known), key=lambda each: each.world_size)
        words = document_common.situation_words(row)
        return (
            f"{words[:1].upper()}{words[1:]}: all processes together occupy {common.mib(row.median)} "
            f"({document_common.loader_words(row.loader)})",
            "",
            notes,
        )
    where = document_common.situation_words(widest.situation)
    title = (
        f"{where[:1].upper()}{where[1:]}: all processes occupy {common.mib(widest.low.median)} with "
        f"{document_common.loader_words(widest.low.loader)} and {common.mib(widest.high.median)} with "
        f"{document_common.loader_words(widest.high.loader)}"
    )
    support = f"The difference of these two {common.spread_words(widest.separated)}."
    return title, support, notes


def copies(access: pd.DataFrame) -> str:
    """What one more rank adds with each loader, in plain DistributedDataParallel."""
    plain = access[document_common.is_plain(access) & (access["parallelism"] == "distributed")]
    found = document_common.medians(plain, "tree_pss_mib")
    words = []
    for loader in document_common.LOADERS:
        ordered = found[found["loader"] == loader].sort_values("world_size")
        if len(ordered) < 2:
            continue
        first, last = ordered.iloc[0], ordered.iloc[-1]
        slope = (last["median"] - first["median"]) / (last["world_size"] - first["world_size"])
        words.append(f"{document_common.loader_words(loader)} {common.mib(slope)}")
    return f"One more rank of DistributedDataParallel adds: {', '.join(words)}." if words else ""


def at_the_limit(access: pd.DataFrame) -> str:
    """Whether the runs under a limit ended as predicted, and how far predictions are off; empty without any."""
    limited = access[access["experiment"] == document_common.LIMITED]
    limited = limited.dropna(subset=["memory_limit_mib", "predicted_mib"]).sort_values("world_size")
    told = (limited["outcome"] == COMPLETED) | limited["outcome"].str.startswith("out_of_memory")
    limited = limited[told]
    if limited.empty:
        return ""
    predicted = limited["predicted_mib"] > limited["memory_limit_mib"]
    ended = limited["outcome"] != COMPLETED
    limit = common.mib(float(limited["memory_limit_mib"].iloc[0]))
    worlds = limited.loc[ended, "world_size"]
    what = (
        f"runs out of memory from {worlds.min()} rank{'s' * int(worlds.min() != 1)} on"
        if len(worlds)
        else "runs out of memory nowhere"
    )
    wrong = limited.loc[predicted != ended, "world_size"].tolist()
    verdict = (
        "as predicted"
        if not wrong
        else f"not as predicted at {common.listed([str(each) for each in wrong])} ranks"
    )
    done = limited[~ended].dropna(subset=["tree_peak_rss_mib"])
    off = (100 * (done["predicted_mib"] / done["tree_peak_rss_mib"] - 1)).abs()
    error = (
        f"; of those that completed the prediction is off by {_percent(off.max())} at most"
        if len(off)
        else ""
    )
    return f"Under {limit} the in-memory loader {what}, {verdict}{error}."


def _percent(value: float) -> str:
    return f"{value:.0f} %" if value >= 9.5 else f"{value:.1f} %"
