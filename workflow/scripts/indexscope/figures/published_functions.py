"""The seven published tables as one figure, with the cells that the study's logs contradict."""

from __future__ import annotations

import altair as alt
import pandas as pd

from . import common
from .common import Figure
from .published_panels import CONTRADICTED, FINAL, FUNCTIONS, START, heading, panel, width_of

_KEY = ["function", "system", "documents"]
_DIFFERS, _AGREES = "differs", "agrees"  # verdicts of indexscope.analysis.published
_CAPTION = (
    "Each bar is a published row: from its start (dot) to its final memory (diamond); a bar below its dot is memory "
    "that was given back. A cell that the log of its run contradicts is drawn where the log has it, and the "
    "published number as a cross. The number above a bar is the increment. MiB; the study says MB."
)
_COLUMNS = 4


def draw(cells: pd.DataFrame, conditions: str) -> Figure:
    """Args: cells.csv of check_published.py; what was measured, on what, as a sentence."""
    if cells.empty:
        return common.nothing_to_draw(
            "The published tables", "There is no published cell.", list(cells.columns)
        )
    best = cells["published_mib"].where(cells["verdict"] != _DIFFERS, cells["in_log_mib"])
    rows = cells.assign(best=best).pivot_table(index=_KEY, columns="column", values="best", sort=False)
    rows = rows.rename(columns=lambda name: f"{name}_mib").reset_index()
    wrong = cells[cells["verdict"] == _DIFFERS].set_index(_KEY)["published_mib"].rename("contradicted_mib")
    rows = rows.join(wrong, on=_KEY)
    sizes, systems = sorted(common.unique(rows["documents"])), common.unique(rows["system"])
    highest = rows[["start_mib", "final_mib", "contradicted_mib"]].max().max()
    colours = common.system_scale(rows.rename(columns={"system": "series"}))
    panels = [
        panel(
            rows[rows["function"] == function],
            sizes=sizes,
            systems=systems,
            colours=colours,
            domain=[0, 1.25 * highest],
            marks=[START, FINAL, CONTRADICTED],
            width=min(262, width_of(rows)),
            height=190,
            title=heading(function),
            y_title="RSS of the process (MiB)" if position % _COLUMNS == 0 else None,
            labels="upright",
        )
        for position, function in enumerate(FUNCTIONS)
        if (rows["function"] == function).any()
    ]
    differing = cells[cells["verdict"] == _DIFFERS]
    return Figure(
        alt.concat(*panels, columns=_COLUMNS),
        rows,
        _finding(cells),
        conditions,
        "",
        [
            f"Each contradicted number {words}."
            for words in common.unique(differing["explanation"])
            if len(common.unique(differing["explanation"])) == 1
        ],
        _CAPTION,
        width=1140,
    )


def _finding(cells: pd.DataFrame) -> str:
    verdicts = cells["verdict"].value_counts()
    differing = cells[cells["verdict"] == _DIFFERS]
    agreeing = int(verdicts.get(_AGREES, 0))
    unchecked = len(cells) - agreeing - len(differing)
    rest = f"{agreeing} others agree" + (f" and {unchecked} cannot be checked" if unchecked else "")
    if differing.empty:
        return f"No published cell contradicts the study's logs: {agreeing} agree and {unchecked} cannot be checked"
    kinds = common.unique(differing["column"] + " of " + differing["function"])
    where = f", all the {kinds[0]}" if len(kinds) == 1 else ""
    return f"{len(differing)} of the study's {len(cells)} cells contradict its own logs{where}; {rest}"
