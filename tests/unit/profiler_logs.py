"""Text as memory_profiler prints it, for tests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Grammar:
    """The show_results of a range of memory_profiler versions."""

    occurrences: str = "Occurrences"  # empty: no such column
    unit: str = "MiB"
    precision: int = 1

    def row(self, number: object, memory: str, increment: str, occurrences: object, source: str) -> str:
        if self.occurrences:
            return f"{number:>6} {memory:>12} {increment:>12}  {occurrences:>10}   {source}"
        return f"{number:>6} {memory:>12} {increment:>12}   {source}"

    def cell(self, mib: float) -> str:
        return f"{mib:{self.precision + 4}.{self.precision}f} {self.unit}"


SINCE_0_60 = Grammar()
GRAMMARS = {
    "0.61 decorator": SINCE_0_60,
    "0.61 command line": Grammar(precision=3),
    "0.61 whole numbers": Grammar(precision=0),
    "0.58.0": Grammar(occurrences="Occurences"),
    "0.57": Grammar(occurrences=""),
    "0.20": Grammar(occurrences="", unit="MB", precision=2),
}

Cells = tuple[float, float, int]  # memory, increment, occurrences


def table(
    file: str,
    source: str,
    measured: Mapping[int, Cells],
    *,
    first: int = 1,
    grammar: Grammar = SINCE_0_60,
    announced: str | None = None,
) -> str:
    """One table. `measured` has the cells of source lines, counted from 1; `first` is the first's number."""
    header = grammar.row("Line #", "Mem usage", "Increment", grammar.occurrences, "Line Contents")
    text = f"[indexscope] process {announced}\n" if announced else ""
    text += f"Filename: {file}\n\n{header}\n{'=' * len(header)}\n"
    for index, line in enumerate(source.strip("\n").split("\n"), start=1):
        number = first + index - 1
        if index in measured:
            memory, increment, occurrences = measured[index]
            text += (
                grammar.row(number, grammar.cell(memory), grammar.cell(increment), occurrences, line) + "\n"
            )
        else:
            text += grammar.row(number, "", "", "", line) + "\n"
    return text + "\n\n"


INDEXER = "/site-packages/colbert/indexer.py"
COLLECTION_INDEXER = "/site-packages/colbert/indexing/collection_indexer.py"
COLLECTION_ENCODER = "/site-packages/colbert/indexing/collection_encoder.py"
RAGATOUILLE_INDEX = "/site-packages/ragatouille/models/index.py"

RUN = """\
    def run(self, shared_lists):
        with torch.inference_mode():
            self.setup() # Computes and saves plan
            if not self.config.resume:
                self.train(shared_lists)
            self.index() # Encodes and saves all tokens
            self.finalize()
"""


def run_table(entry: float, announced: str | None = None) -> str:
    """CollectionIndexer.run as Python 3.10 traces it: setup +100, train +20, index -30, finalize +5."""
    end = entry + 95
    measured = {
        1: (entry, entry, 1),
        2: (end, 0.0, 2),  # once more when the block is left
        3: (entry + 100, 100.0, 1),
        4: (entry + 100, 0.0, 1),
        5: (entry + 120, 20.0, 1),
        6: (entry + 90, -30.0, 1),
        7: (end, 5.0, 1),
    }
    return table(COLLECTION_INDEXER, RUN, measured, first=61, announced=announced)


def one_line_table(
    file: str, name: str, entry: float, increment: float, *, body: str = "pass", announced: str | None = None
) -> str:
    """A function of one line that adds `increment` MiB."""
    cells = {1: (entry, entry, 1), 2: (entry + increment, increment, 1)}
    return table(file, f"    def {name}(self):\n        {body}", cells, first=10, announced=announced)


def reference_logs() -> list[Path]:
    """The study's own logs, which are not ours to commit: a folder `reference/logs` beside the checkout, or
    the one that INDEXSCOPE_REFERENCE_LOGS names. Without them the test is skipped."""
    named = os.environ.get("INDEXSCOPE_REFERENCE_LOGS")
    beside = sorted(Path(__file__).parents[3].glob("*/reference/logs"))
    folder = Path(named) if named else next(iter(beside), None)
    logs = sorted(folder.glob("*.txt")) if folder is not None else []
    if not logs:
        pytest.skip("no logs of the 2025-02-17 study: set INDEXSCOPE_REFERENCE_LOGS to their folder")
    return logs
