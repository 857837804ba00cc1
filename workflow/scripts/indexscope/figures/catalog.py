"""The figures there are. Standard library only: the workflow reads it to plan.

A figure is a module here, with `draw(*tables) -> common.Figure`, and an entry below (docs/extending.md).
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Of which tables a figure is drawn, in the order that its `draw` takes them; where it is listed."""

    tables: list[str]
    category: str
    caption: str


MEMORY, FUNCTIONS, TIME, INDEX = "Memory", "Functions", "Time", "Index"

# In the order in which the report shows them.
FIGURES = {
    "peak_memory": Entry(
        ["runs", "memory_comparison"],
        MEMORY,
        "Peak of each run's process tree against the number of documents; each point is a run.",
    ),
    "memory_over_time": Entry(
        ["runs", "memory_curve", "spans", "memory_comparison"],
        MEMORY,
        "RSS of every process of a run against time, phases as bands, systems side by side on equal scales.",
    ),
    "memory_by_function": Entry(
        ["runs", "spans", "memory_by_function"],
        FUNCTIONS,
        "memory_profiler's start, increment and final of each function beside the function's exact peak.",
    ),
    "ghost": Entry(
        ["runs", "spans", "memory_by_function", "memory_profiler_lines"],
        FUNCTIONS,
        "memory_profiler's highest reading in each function against the exact peak: what no line shows.",
    ),
    "phase_time": Entry(
        ["runs", "memory_comparison", "published_encode_seconds"],
        TIME,
        "Time of each phase of a run, and of encoding 25,000 passages beside published times.",
    ),
    "profiler_cost": Entry(
        ["runs", "memory_comparison", "published_encode_seconds"],
        TIME,
        "Time and peak memory under each profiler relative to runs without one.",
    ),
    "resolved_settings": Entry(
        ["runs"],
        INDEX,
        "What really ran: resolved settings of the systems side by side, and how every run ended.",
    ),
    "published_beside_ours": Entry(
        ["published_memory", "runs"],
        FUNCTIONS,
        "The published start, increment and final of each function beside what was measured here.",
    ),
    "artifact_comparison": Entry(
        ["artifact_comparison", "runs"],
        INDEX,
        "Each final artifact of pairs of indexes: equal bit for bit, within tolerance, or different.",
    ),
}

# Drawn by `snakemake published_figures` from files that need no run; each is a module here too.
PUBLISHED_FIGURES = ["published_functions", "published_sentences", "external_logs"]
