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
    "artifact_comparison": Entry(
        ["artifact_comparison", "runs"],
        INDEX,
        "Each final artifact of pairs of indexes: equal bit for bit, within tolerance, or different.",
    ),
}
