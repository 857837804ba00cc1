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

Other functions than these seven have rows when they are named (`Names`, from config/functions.yaml): from the
first whole table of their own, or the first call in an mprof recording.
"""

from __future__ import annotations

import re
from collections import Counter, deque
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

# Tables of the study's own wrappers, and a `def` that two classes of a module have: file, `def` → function.
_STUDY_TABLES = {
    ("RAGPretrainedModel.py", "_process_corpus_profiled"): "RAGPretrainedModel._process_corpus",
    ("RAGPretrainedModel.py", "_model_index_profiled"): "ColBERT.index",
    ("colbert.py", "_construct_model_index"): "ModelIndexFactory.construct",
    ("index.py", "construct"): "PLAIDModelIndex.construct",
    ("collection_indexer.py", "_sample_pids_profiled"): "CollectionIndexer._sample_pids",
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


class Names:
    """What the functions are called: the seven of the study, and others.

    Args:
        others: dotted module and name within it, as in config/functions.yaml. Their label is the name within
            the module, such as `CollectionIndexer.run`.
    """

    def __init__(self, others: Iterable[tuple[str, str]] = ()) -> None:
        self.qualified = dict(QUALIFIED_NAMES)  # label → dotted name
        self._modules = {name: qualified.rsplit(".", 2)[0] for name, qualified in QUALIFIED_NAMES.items()}
        for module, qualname in others:
            if f"{module}.{qualname}" not in QUALIFIED_NAMES.values():
                self.qualified[qualname] = f"{module}.{qualname}"
                self._modules[qualname] = module
        self._labels = {qualified: name for name, qualified in self.qualified.items()}
        defined = [(module, _defined_name(self.qualified[name])) for name, module in self._modules.items()]
        several = {key for key, number in Counter(defined).items() if number > 1}
        self._by_definition = {
            key: name for key, name in zip(defined, self._modules, strict=True) if key not in several
        }

    def of_definition(self, module: str, defined: str) -> str | None:
        """The function that `def NAME` in a dotted module is; none when it is another, or one of two."""
        return self._by_definition.get((module, defined))

    def of_table(self, table: Table) -> str | None:
        """The function that a table is of, by its qualified name, or by its file and `def`."""
        if table.qualified_name is not None:
            return self._labels.get(table.qualified_name)
        path = table.source_file.replace("\\", "/")
        for (module, defined), name in self._by_definition.items():
            file = module.replace(".", "/") + ".py"
            # The seven are known by the file's name alone, the others by their folder too.
            known = file.rsplit("/", 1)[-1] if name in QUALIFIED_NAMES else "/".join(file.rsplit("/", 2)[-2:])
            if defined == table.function and f"/{path}".endswith(f"/{known}"):
                return name
        studied = _STUDY_TABLES.get((file_name(path), table.function or ""))
        return studied if studied in self.qualified else None


def _defined_name(qualified: str) -> str:
    """What stands after `def`: Python puts the class's name before a private one."""
    *_, owner, name = qualified.split(".")
    return name.removeprefix(f"_{owner}") if name.startswith(f"_{owner}__") else name


_SEVEN = Names()

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

    def __init__(self, table: Table, names: Names) -> None:
        self.table = table
        self.names = names
        self.function = names.of_table(table)
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
        name = self.table.qualified_name or _derived_name(self.table, self.names.qualified[self.function])
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
        return Measured(start, increment, memory, trust, _derived_name(self.table, QUALIFIED_NAMES[name]))


_Attempt = dict[int | None, dict[str, Measured]]  # process → function → measured


def _keep(attempt: _Attempt, process: int | None, name: str, measured: Measured) -> None:
    known = attempt.setdefault(process, {})
    if name not in known or measured.trust < known[name].trust:
        known[name] = measured


def function_rows(
    path: Path, report: Callable[[str], None], names: Names = _SEVEN
) -> Iterator[dict[str, Any]]:
    """Rows of schemas.MEMORY_BY_FUNCTION of one log, by attempt, function and process.

    The column `log` is the path as given, values are MiB as printed. A function that was not measured in an
    attempt, or that `names` does not have, has no row there.

    Raises:
        InputError: as LogReader.rows.
    """
    reader = LogReader(path, report)
    attempts: dict[int, _Attempt] = {}
    named: dict[str, str] = {}  # function → qualified name, once a table of the log has shown it
    for table, rows in groupby(reader.rows(), key=lambda pair: pair[0]):
        summary = _TableSummary(table, names)
        for _, row in rows:
            summary.add(row)
        for finished in sorted(number for number in attempts if number < table.attempt - 1):
            yield from _rows_of(path, finished, attempts.pop(finished), named, names)
        _keep_table(attempts, summary, named, whole=table.index not in reader.incomplete)
    _keep_calls(attempts, reader.calls, names)
    for number in sorted(attempts):
        yield from _rows_of(path, number, attempts[number], named, names)


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


def _keep_calls(attempts: dict[int, _Attempt], calls: Iterable[Call], names: Names) -> None:
    counter = AttemptCounter()
    for call in sorted(calls, key=lambda call: call.ended):
        module, _, defined = call.name.rpartition(".")
        number = counter.place(module, defined, process=None, role=None)
        if name := names.of_definition(module, defined):
            increment = round(call.end_mib - call.start_mib, 4)
            measured = Measured(call.start_mib, increment, call.end_mib, _OWN_TABLE, names.qualified[name])
            _keep(attempts.setdefault(number, {}), None, name, measured)


def _rows_of(
    path: Path, number: int, attempt: _Attempt, named: dict[str, str], names: Names
) -> Iterator[dict[str, Any]]:
    for name in names.qualified:
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


def _derived_name(table: Table, qualified: str) -> str | None:
    """`qualified`, where ColBERT's or RAGatouille's own code defines or calls the function."""
    packages = {"colbert", "ragatouille"} & set(
        PurePosixPath(table.source_file.replace("\\", "/")).parent.parts
    )
    announced = (table.qualified_name or "").split(".", 1)[0] in ("colbert", "ragatouille")
    return qualified if packages or announced else None


def function_batches(
    paths: Iterable[Path], report: Callable[[str], None], names: Names = _SEVEN
) -> Iterator[pa.RecordBatch]:
    """Rows of schemas.MEMORY_BY_FUNCTION, one batch for each log.

    Raises:
        InputError: as LogReader.rows.
    """
    for path in paths:
        yield pa.RecordBatch.from_pylist(list(function_rows(path, report, names)), schemas.MEMORY_BY_FUNCTION)
