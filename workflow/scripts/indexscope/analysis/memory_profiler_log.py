"""Logs of memory_profiler, read row by row; memory does not grow with the log.

memory_profiler prints one table for each profiled call: `Filename: PATH`, a header, a rule, one row for each
source line of the function, and two empty lines. The header decides the columns: `Occurrences` came with 0.58
(`Occurences` in 0.58.0). Cells are right-aligned and wide numbers push the rest of the row to the right, so
rows are read by pattern. Values were labelled `MB` in 2012 and `MiB` since; both are 2**20 bytes. Precision
is free. Grammar: show_results in memory_profiler 0.20, 0.26, 0.33, 0.41, 0.55, 0.57, 0.58 and 0.61.

The frameworks print into the same file, between tables, inside them, and in front of `Filename:` on its line.
The logs of IndexScope have one more line before each table: `[indexscope] process PID ROLE DOTTED_NAME`. A
recording of `mprof`, or of `python -m memory_profiler --timestamp`, has no tables but one line for each call:
`FUNC NAME MIB SECONDS MIB SECONDS [LEVEL]`.

**Attempts** are numbered from 1. An attempt is one try at building one index: RAGatouille tries again, in the
same process, when its torch k-means fails, and a file may hold the logs of several runs. Tables are printed
when their function returns, so the next attempt begins at the first table of a function that runs once for
each index (`ONCE_PER_ATTEMPT`) and that the attempt already has from the same process; at RAGatouille's
message that it tries again; at a table of another parent process; or when, after a finished `run`, a new
process prints a table of a function that comes before `run`. Processes that work together (parent and worker,
several ranks) share an attempt.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pyarrow as pa

from indexscope import schemas
from indexscope.run_record import InputError

BEFORE_RUN = frozenset(
    {
        "_process_corpus",
        "_process_corpus_profiled",
        "_sample_pids",
        "_sample_pids_profiled",
        "_encode_passages_profiled",
        "_sample_embeddings",
        "_sample_embeddings_profiled",
        "setup",
    }
)
ONCE_PER_ATTEMPT = BEFORE_RUN | {"train", "finalize", "run", "index", "build"}
UNKNOWN_FILE = "<unknown>"  # a table whose `Filename:` line the log lacks

_BATCH_ROWS = 8192
LONGEST_LINE = 1 << 20  # characters; what follows is read as a line of its own

_HEADER = re.compile(r"Line #\s+Mem usage\s+Increment(\s+Occurr?ences)?\s+Line Contents\s*$")
_FILENAME = re.compile(r"Filename: (.+?)\s*$")
_ANNOUNCEMENT = re.compile(r"\[indexscope\] process (\d+) (\S+) (\S+)\s*$")
_CALL = re.compile(r"FUNC (\S+) (-?[\d.]+) ([\d.]+) (-?[\d.]+) ([\d.]+)(?: \d+)?$")
_SAMPLE = re.compile(r"(?:MEM [\d.]+|CHLD \d+ [\d.]+) [\d.]+$")
_TRIES_AGAIN = "PyTorch-based indexing did not succeed"  # ragatouille/models/index.py, PLAIDModelIndex.build
_DEFINITION = re.compile(r"\s*(?:async\s+)?def\s+(\w+)")
# An empty line whose trailing spaces were cut off.
_NUMBER_ALONE = re.compile(r"(?= {0,5}\d{1,6}$|\d{7,}$) *(\d+)$")


class _Columns(NamedTuple):
    """Patterns of a row, to be matched at its start or, with other output in front, searched for."""

    measured: re.Pattern[str]
    blank: re.Pattern[str]  # has the groups of `measured` for the number and the source


def _columns(occurrences: str, width: int) -> _Columns:
    number = r"(?<![\w.]) *(\d+)"
    cells = (
        rf"\s+(?P<memory>-?\d+(?:\.(?P<digits>\d+))?) Mi?B\s+(?P<increment>-?\d+(?:\.\d+)?) Mi?B{occurrences}"
    )
    return _Columns(
        measured=re.compile(rf"{number}{cells}(?: {{3}}(?P<source>.*)|\s*)$"),
        blank=re.compile(rf"{number} {{{width}}}(?P<source>.*)$"),
    )


# '{0:>6} {1:>12} {2:>12}  {3:>10}   {4:<}' since 0.58, '{0:>6} {1:>12} {2:>12}   {3:<}' before.
_FOUR_COLUMNS = _columns(occurrences=r"\s+(?P<occurrences>\d+)", width=41)
_THREE_COLUMNS = _columns(occurrences="", width=29)


@dataclass(frozen=True)
class Table:
    """One table of a log: the lines of one profiled function."""

    index: int  # 0 for the first table of the log
    attempt: int  # 1 for the first
    source_file: str
    function: str | None  # the name after `def`; null for a lambda
    process: int | None
    qualified_name: str | None  # as IndexScope wrote it; null in other logs


@dataclass(frozen=True, slots=True)
class Row:
    """One source line. Memory, increment and occurrences are null where the line was not measured."""

    line_number: int
    memory_mib: float | None
    increment_mib: float | None
    occurrences: int | None
    line_contents: str  # with its indentation
    decimals: int  # digits after the point, as printed


@dataclass(frozen=True, slots=True)
class Call:
    """One call in an mprof recording; times are seconds since 1970."""

    name: str  # module and name, without the class
    start_mib: float
    started: float
    end_mib: float
    ended: float


def _row(found: re.Match[str]) -> Row:
    groups = found.groupdict()
    memory, increment, occurrences = groups.get("memory"), groups.get("increment"), groups.get("occurrences")
    return Row(
        line_number=int(found[1]),
        memory_mib=float(memory) if memory else None,
        increment_mib=float(increment) if increment else None,
        occurrences=int(occurrences) if occurrences else None,
        line_contents=(groups.get("source") or "").rstrip(),
        decimals=len(groups.get("digits") or ""),
    )


def file_name(source_file: str) -> str:
    """The last part of a path of any system."""
    return source_file.replace("\\", "/").rsplit("/", 1)[-1]


class AttemptCounter:
    """Which attempt a table belongs to; tables are to be placed in the order of the log."""

    def __init__(self) -> None:
        self._attempt = 1
        self._forget()

    def _forget(self) -> None:
        self._seen: set[tuple[int | None, str, str]] = set()
        self._processes: set[int] = set()
        self._parent: int | None = None
        self._finished = False

    def next_attempt(self) -> None:
        self._attempt += 1
        self._forget()

    def place(self, source_file: str, function: str | None, process: int | None, role: str | None) -> int:
        """The attempt of a table, from 1."""
        # The file's name without its folder: the runs of a log may be of two installations.
        key = (process, file_name(source_file), function or "")
        another_parent = role == "parent" and self._parent not in (None, process)
        another_run = self._finished and process not in self._processes and function in BEFORE_RUN
        if key in self._seen or another_parent or (process is not None and another_run):
            self.next_attempt()
        if function in ONCE_PER_ATTEMPT:
            self._seen.add(key)
        if process is not None:
            self._processes.add(process)
        if role == "parent":
            self._parent = process
        self._finished = self._finished or function == "run"
        return self._attempt


@dataclass
class _OpenTable:
    """A table of which rows are being read."""

    index: int
    columns: _Columns
    source_file: str
    process: int | None
    role: str | None
    qualified_name: str | None
    resolved: Table | None = None  # once the function's name is known
    waiting: list[Row] = field(default_factory=list)  # decorators, read before the name
    last_number: int = 0  # of the last row; 0 before the first
    missing: int = 0
    ended: bool = False  # an empty line came after the rows

    def next_row(self, line: str) -> Row | None:
        """The row that `line` holds, if it can be one of this table: line numbers go up, mostly by one."""
        # Unmeasured before measured: the source may quote a table.
        if found := self.columns.blank.match(line):
            in_order = int(found[1]) > self.last_number and not self.ended
            return _row(found) if in_order or self._follows(found) else None
        if found := self.columns.measured.match(line):
            return _row(found) if int(found[1]) > self.last_number else None
        if self.last_number and not self.ended and (found := _NUMBER_ALONE.match(line)):
            return _row(found) if self._follows(found) else None
        # Other output is in front of the row; the first match is the row, a later one is in its source.
        glued = [found for pattern in self.columns if (found := pattern.search(line)) is not None]
        found = min(glued, key=lambda match: match.start(), default=None)
        return _row(found) if found is not None and self._follows(found) else None

    def _follows(self, found: re.Match[str]) -> bool:
        return int(found[1]) == self.last_number + 1 or not self.last_number

    def take(self, row: Row) -> None:
        if self.last_number:
            self.missing += row.line_number - self.last_number - 1
        self.last_number = row.line_number
        self.ended = False

    def __str__(self) -> str:
        function = f", {self.resolved.function}" if self.resolved and self.resolved.function else ""
        return f"table {self.index} ({self.source_file}{function})"


class LogReader:
    """Reads one log, once.

    `report` is given one sentence for each table that is incomplete; the rows that are there are kept. While
    rows() runs, `incomplete` has the indexes of the tables that broke off. After it, `calls` holds the calls
    that an mprof recording lists, and `samples` says whether it has a curve.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self.incomplete: set[int] = set()
        self.calls: list[Call] = []
        self.samples = False
        self._path = path
        self._report = report
        self._attempts = AttemptCounter()
        self._tables = 0
        self._table: _OpenTable | None = None
        self._filename: str | None = None  # of a table whose header is still to come
        self._columns = _FOUR_COLUMNS
        self._announced: re.Match[str] | None = None
        self._recognised = False

    def rows(self) -> Iterator[tuple[Table, Row]]:
        """Every row of every table, in order, with its table; none from an empty log.

        Raises:
            InputError: the file cannot be read, or holds text but nothing of memory_profiler.
        """
        empty = True
        with open_log(self._path) as stream:
            for line in iter(partial(stream.readline, LONGEST_LINE), ""):
                text = line.rstrip("\n")
                empty = empty and not text.strip()
                table = self._table
                row = table.next_row(text) if table is not None else None
                # A row that the end of the file cuts short is kept when its numbers are whole.
                if table is None or row is None or not (line.endswith("\n") or row.line_contents):
                    yield from self._other_line(text)
                elif table.resolved is None:
                    yield from self._take_first(table, row)
                else:
                    table.take(row)
                    yield table.resolved, row
        yield from self._close("the log ends in it")
        if self._filename is not None:
            self._report(f"{self._path}: the log ends before the table of {self._filename}")
        if not (self._recognised or self.calls or self.samples or empty):
            raise InputError(
                f"{self._path} is not a log of memory_profiler: it has no line `Filename: ...` and no header "
                "`Line #    Mem usage    Increment`; give what a profiled run printed"
            )

    def _other_line(self, text: str) -> Iterator[tuple[Table, Row]]:
        """A line that is no row of the open table."""
        if not text:
            if self._table is not None and self._table.last_number:
                self._table.ended = True
        elif header := _HEADER.search(text):
            self._columns = _FOUR_COLUMNS if header[1] else _THREE_COLUMNS
            yield from self._open()
        elif announcement := _ANNOUNCEMENT.search(text):
            self._announced, self._recognised = announcement, True
        elif filename := _FILENAME.search(text):
            yield from self._close("another table begins in it")
            self._filename, self._recognised = filename[1], True
        elif call := _CALL.match(text):
            self.calls.append(Call(call[1], *(float(value) for value in call.groups()[1:])))
        elif _SAMPLE.match(text):
            self.samples = True
        elif _TRIES_AGAIN in text:
            self._attempts.next_attempt()
        elif self._filename is not None and self._columns.measured.search(text):
            # The header was lost in other output.
            yield from self._open()
            if self._table is not None and (row := self._table.next_row(text)):
                yield from self._take_first(self._table, row)

    def _open(self) -> Iterator[tuple[Table, Row]]:
        yield from self._close("another table begins in it")
        said = self._announced
        self._table = _OpenTable(
            index=self._tables,
            columns=self._columns,
            source_file=self._filename or UNKNOWN_FILE,
            process=int(said[1]) if said else None,
            role=said[2] if said else None,
            qualified_name=said[3] if said else None,
        )
        self._tables += 1
        self._filename, self._announced, self._recognised = None, None, True

    def _take_first(self, table: _OpenTable, row: Row) -> Iterator[tuple[Table, Row]]:
        """Rows up to the `def` line, which wait for the function's name."""
        table.take(row)
        table.waiting.append(row)
        definition = _DEFINITION.match(row.line_contents)
        decorated = table.waiting[0].line_contents.lstrip().startswith("@")
        if definition or not decorated or len(table.waiting) > 1000:
            yield from self._resolve(table, definition[1] if definition else None)

    def _resolve(self, table: _OpenTable, function: str | None) -> Iterator[tuple[Table, Row]]:
        if function is None and table.qualified_name is not None:
            function = table.qualified_name.rsplit(".", 1)[-1]
        table.resolved = Table(
            index=table.index,
            attempt=self._attempts.place(table.source_file, function, table.process, table.role),
            source_file=table.source_file,
            function=function,
            process=table.process,
            qualified_name=table.qualified_name,
        )
        yield from ((table.resolved, row) for row in table.waiting)
        table.waiting = []

    def _close(self, why: str) -> Iterator[tuple[Table, Row]]:
        table, self._table = self._table, None
        if table is None:
            return
        if table.resolved is None:
            yield from self._resolve(table, None)
        if not table.ended:
            self.incomplete.add(table.index)
            place = f"after line {table.last_number}" if table.last_number else "before its first row"
            self._report(f"{self._path}: {table} is incomplete {place}: {why}; the rows read so far are kept")
        if table.missing:
            self._report(f"{self._path}: {table} lacks {table.missing} rows: other output runs through them")


def open_log(path: Path) -> TextIO:
    """Text of a log, UTF-8 or marked UTF-16; a carriage return, as progress bars print it, ends a line.

    Raises:
        InputError: the file cannot be read, or is binary.
    """
    try:
        stream = path.open("rb")
        head = stream.peek(4096)[:4096]
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): give a log of memory_profiler"
        ) from error
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in head and not wide:
        stream.close()
        raise InputError(
            f"{path} is not a log of memory_profiler but binary: give what a profiled run printed"
        )
    return io.TextIOWrapper(stream, encoding="utf-16" if wide else "utf-8-sig", errors="replace")


def line_batches(paths: Iterable[Path], report: Callable[[str], None]) -> Iterator[pa.RecordBatch]:
    """Rows of schemas.MEMORY_PROFILER_LINES; the column `log` is the path as given.

    Raises:
        InputError: as LogReader.rows; or a file is an mprof recording, which has no lines.
    """
    rows: list[dict[str, Any]] = []
    for row in (row for path in paths for row in _line_rows(path, report)):
        rows.append(row)
        if len(rows) == _BATCH_ROWS:
            yield pa.RecordBatch.from_pylist(rows, schemas.MEMORY_PROFILER_LINES)
            rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schemas.MEMORY_PROFILER_LINES)


def _line_rows(path: Path, report: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    reader = LogReader(path, report)
    table = None
    for table, row in reader.rows():
        yield {
            "log": str(path),
            "table": table.index,
            "attempt": table.attempt,
            "source_file": table.source_file,
            "function": table.function,
            "line_number": row.line_number,
            "memory_mib": row.memory_mib,
            "increment_mib": row.increment_mib,
            "occurrences": row.occurrences,
            "line_contents": row.line_contents,
            "process": table.process,
        }
    if table is None and (reader.calls or reader.samples):
        raise InputError(
            f"{path} is a recording of calls (mprof), which has no lines: "
            "give it to tabulate_memory_by_function.py, or profile line by line"
        )
