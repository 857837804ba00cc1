"""Start, increment and final memory of each function of index building, as the study of 2025-02-17 has them.

A function is measured where it is called, because what it allocated for itself is freed by then: at the row
of the calling line, in the table of the caller or of a wrapper. Increment and final are that row's cells.
Start is the memory of the line that ran before it: the nearest measured row above whose memory plus the
increment gives the final one within the last printed digit. That is the row just above, unless that line runs
again later and shows its later maximum, as a `with` line does since Python 3.10 (it runs once more when the
block is left). When no row above agrees, the start is the row just above, and the function's own table is
preferred: memory_profiler's increments are wrong where one profiler nests (its command line), and in loops.

`setup`, `train`, `index` and `finalize` are lines of CollectionIndexer.run; `encoder.encode_passages` is the
call in `_sample_embeddings`, not those that encode chunks later. Where the caller's table is not in the log
(the decorator loses it when an exception leaves the function), the function's own first whole table is taken:
start is its first measured row, final its last one, increment their difference. An mprof recording has start
and final of each call.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from indexscope import schemas
from indexscope.analysis.memory_profiler_log import (
    AttemptCounter,
    Call,
    LogReader,
    Row,
    Table,
    file_name,
)

_COLLECTION_INDEXER = "colbert.indexing.collection_indexer.CollectionIndexer"
QUALIFIED_NAMES = {
    "indexer.index": "colbert.indexer.Indexer.index",
    "encoder.encode_passages": "colbert.indexing.collection_encoder.CollectionEncoder.encode_passages",
    **{
        name: f"{_COLLECTION_INDEXER}.{name}"
        for name in ("_sample_embeddings", "setup", "train", "index", "finalize")
    },
}
FUNCTIONS = list(QUALIFIED_NAMES)

# Dotted module and `def` → function.
_DEFINED_AS = {
    (qualified.rsplit(".", 2)[0], qualified.rsplit(".", 1)[1]): name
    for name, qualified in QUALIFIED_NAMES.items()
}
_CALL = re.compile(
    r"\bindexer\.(?P<indexer>index)\(|\.(?P<encoder>encode_passages)\("
    r"|\bself\.(?P<self>_sample_embeddings|setup|train|index|finalize)\("
)
# Function → tables whose line counts as its call; None: any. Names in _..._profiled are the study's wrappers.
_CALLERS: dict[str, set[str] | None] = {
    "indexer.index": None,
    "encoder.encode_passages": {"_encode_passages_profiled", "_sample_embeddings"},
    "_sample_embeddings": {"_sample_embeddings_profiled", "setup"},
    **{name: {"run"} for name in ("setup", "train", "index", "finalize")},
}
_ROWS_ABOVE = 1000  # measured rows that are searched for the start

# How far a source is trusted; the first of the best in an attempt counts.
_CALL_ROW, _OWN_TABLE, _DOUBTFUL_CALL_ROW = range(3)


@dataclass(frozen=True)
class Measured:
    """One function in one attempt."""

    start_mib: float | None
    increment_mib: float
    final_mib: float
    trust: int
    qualified_name: str | None


class _TableSummary:
    """What one table says about the functions, read row by row."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.function = _function_of(table)
        self.calls: list[tuple[str, Measured]] = []
        self._above: deque[float] = deque(maxlen=_ROWS_ABOVE)
        self._first: float | None = None
        self._last: float | None = None
        self._decimals = 0

    def add(self, row: Row) -> None:
        if row.memory_mib is None or row.increment_mib is None:
            return
        if name := self._called(row):
            self.calls.append((name, self._at_call(name, row, row.memory_mib, row.increment_mib)))
        self._first = row.memory_mib if self._first is None else self._first
        self._last, self._decimals = row.memory_mib, row.decimals
        self._above.append(row.memory_mib)

    def own(self) -> Measured | None:
        """The table's own function, from its first to its last measured row."""
        if self.function is None or self._first is None or self._last is None:
            return None
        name = self.table.qualified_name or _derived_name(self.table, self.function)
        increment = round(self._last - self._first, self._decimals)
        return Measured(self._first, increment, self._last, _OWN_TABLE, name)

    def _called(self, row: Row) -> str | None:
        call = _CALL.search(row.line_contents.split("#", 1)[0])
        if call is None:
            return None
        name = call["self"] or ("indexer.index" if call["indexer"] else "encoder.encode_passages")
        callers = _CALLERS[name]
        return name if callers is None or self.table.function in callers else None

    def _at_call(self, name: str, row: Row, memory: float, increment: float) -> Measured:
        # Three cells, each rounded by half a digit.
        tolerance = 1.51 * 10.0**-row.decimals
        agreeing = (above for above in reversed(self._above) if abs(above + increment - memory) <= tolerance)
        start = next(agreeing, None)
        trust = _CALL_ROW if start is not None else _DOUBTFUL_CALL_ROW
        if start is None and self._above:
            start = self._above[-1]
        return Measured(start, increment, memory, trust, _derived_name(self.table, name))


_Attempt = dict[int | None, dict[str, Measured]]  # process → function → measured


def _keep(attempt: _Attempt, process: int | None, name: str, measured: Measured) -> None:
    known = attempt.setdefault(process, {})
    if name not in known or measured.trust < known[name].trust:
        known[name] = measured


def function_rows(path: Path, report: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.MEMORY_BY_FUNCTION of one log, by attempt, function and process.

    The column `log` is the path as given, values are MiB as printed. A function that was not measured in an
    attempt has no row there.

    Raises:
        InputError: as LogReader.rows.
    """
    reader = LogReader(path, report)
    attempts: dict[int, _Attempt] = {}
    named: dict[str, str] = {}  # function → qualified name, once a table of the log has shown it
    for table, rows in groupby(reader.rows(), key=lambda pair: pair[0]):
        summary = _TableSummary(table)
        for _, row in rows:
            summary.add(row)
        for finished in sorted(number for number in attempts if number < table.attempt - 1):
            yield from _rows_of(path, finished, attempts.pop(finished), named)
        _keep_table(attempts, summary, named, whole=table.index not in reader.incomplete)
    _keep_calls(attempts, reader.calls)
    for number in sorted(attempts):
        yield from _rows_of(path, number, attempts[number], named)


def _keep_table(
    attempts: dict[int, _Attempt], summary: _TableSummary, named: dict[str, str], whole: bool
) -> None:
    table = summary.table
    attempt = attempts.setdefault(table.attempt, {})
    own = summary.own()
    if own is not None and summary.function is not None:
        if whole:
            _keep(attempt, table.process, summary.function, own)
        if own.qualified_name is not None:
            named[summary.function] = own.qualified_name
    attempt_of_call = table.attempt
    for name, measured in reversed(summary.calls):
        if name != "indexer.index":
            _keep(attempt, table.process, name, measured)
            continue
        # RAGatouille's `build` returns after the last attempt and calls indexer.index once in each.
        if attempt_of_call in attempts:
            _keep(attempts[attempt_of_call], table.process, name, measured)
        attempt_of_call -= 1


def _keep_calls(attempts: dict[int, _Attempt], calls: Iterable[Call]) -> None:
    counter = AttemptCounter()
    for call in sorted(calls, key=lambda call: call.ended):
        module, _, defined = call.name.rpartition(".")
        number = counter.place(module, defined, process=None, role=None)
        if name := _DEFINED_AS.get((module, defined)):
            increment = round(call.end_mib - call.start_mib, 4)
            measured = Measured(call.start_mib, increment, call.end_mib, _OWN_TABLE, QUALIFIED_NAMES[name])
            _keep(attempts.setdefault(number, {}), None, name, measured)


def _rows_of(path: Path, number: int, attempt: _Attempt, named: dict[str, str]) -> Iterator[dict[str, Any]]:
    for name in FUNCTIONS:
        for process, known in attempt.items():
            if measured := known.get(name):
                yield {
                    "log": str(path),
                    "attempt": number,
                    "function": name,
                    "start_mib": measured.start_mib,
                    "increment_mib": measured.increment_mib,
                    "final_mib": measured.final_mib,
                    "process": process,
                    "qualified_name": measured.qualified_name or named.get(name),
                }


def _function_of(table: Table) -> str | None:
    """The function that the table is of, by its qualified name, or by its file and `def`."""
    if table.qualified_name is not None:
        return next((name for name, known in QUALIFIED_NAMES.items() if known == table.qualified_name), None)
    file = file_name(table.source_file)
    for (module, defined), name in _DEFINED_AS.items():
        if defined == table.function and file == module.rsplit(".", 1)[-1] + ".py":
            return name
    return None


def _derived_name(table: Table, name: str) -> str | None:
    """The qualified name of a function that ColBERT's or RAGatouille's own code defines or calls."""
    packages = {"colbert", "ragatouille"} & set(
        PurePosixPath(table.source_file.replace("\\", "/")).parent.parts
    )
    announced = (table.qualified_name or "").split(".", 1)[0] in ("colbert", "ragatouille")
    return QUALIFIED_NAMES[name] if packages or announced else None


def function_batches(paths: Iterable[Path], report: Callable[[str], None]) -> Iterator[pa.RecordBatch]:
    """Rows of schemas.MEMORY_BY_FUNCTION, one batch for each log.

    Raises:
        InputError: as LogReader.rows.
    """
    for path in paths:
        yield pa.RecordBatch.from_pylist(list(function_rows(path, report)), schemas.MEMORY_BY_FUNCTION)
