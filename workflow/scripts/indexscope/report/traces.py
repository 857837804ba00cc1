"""Links from a report to the files of runs that other viewers open (analysis/trace_export.py)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from indexscope.figures import common

TRACE, SPEEDSCOPE = ".trace.json", ".speedscope.json"


@dataclass(frozen=True)
class RunFiles:
    """A run's two files; links are relative to the page."""

    series: str
    documents: str
    outcome: str
    trace: str
    speedscope: str


def links(traces: Iterable[Path], page: Path, runs: pd.DataFrame) -> list[RunFiles]:
    """One entry for each `{system}-{cell}/{documents}/{repeat}.trace.json` that is there and whose run is known.

    Args:
        traces: such files; the speedscope file is looked for beside each.
        page: where the report is written to.
        runs: the table runs, with `series`.
    """
    known = {row.run: row for row in common.each_row(runs[runs["profiler"] == "spans"])}
    found = []
    for trace in traces:
        speedscope = trace.with_name(trace.name.removesuffix(TRACE) + SPEEDSCOPE)
        system, documents = trace.parts[-3:-1]
        row = known.get(f"{system}/{documents}/spans/{trace.name.removesuffix(TRACE)}")
        if row is None or not (trace.exists() and speedscope.exists()):
            continue
        href, other = (quote(os.path.relpath(path, page.parent)) for path in (trace, speedscope))
        size, outcome = common.count(row.documents), common.outcome_words(row.outcome)
        found.append(RunFiles(str(row.series), size, outcome, href, other))
    return found
