"""Documents from the rows of files: JSON lines, TSV, CSV, Parquet; plain or gzip, one after the other.

Everything streams: one line, or 1 MiB of a Parquet column, is in memory at a time.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from indexscope.corpora import source
from indexscope.corpora.source import Document, Row
from indexscope.run_record import InputError
from indexscope.settings.corpora import TableCorpusSettings

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".tsv": "tsv", ".csv": "csv", ".parquet": "parquet"}
# A longer line is another kind of file, and must not be read into memory.
MAX_LINE_BYTES = 64 * 2**20
PARQUET_BATCH_ROWS = 1024

Values = list[Any]  # of the columns asked for, in their order
NumberedValues = Iterator[tuple[int, Values]]  # with the number of the line or row, from 1


@dataclass(frozen=True)
class TableCorpus:
    """The rows of `files`, in their order, as documents."""

    files: Sequence[Path]
    settings: TableCorpusSettings
    name: str

    def documents(self, count: int | None) -> Iterator[Document]:
        """The first `count` documents, or all.

        Raises:
            InputError: a file is empty, cut off, damaged or no UTF-8, lacks a column, or has a value that is
                no text. The sentence names the file and the line or row.
        """
        return source.documents(self._kept(), count)

    def where(self, position: int) -> str:
        """File and line or row of a document; reads up to there once more."""
        return source.where(self._kept(), position)

    def describe(self) -> str:
        """One line for the report."""
        return f"{self.name}, text from {' and '.join(self.settings.text_columns)}"

    def _kept(self) -> Iterator[Row]:
        return source.kept(self._rows(), self.settings.on_empty_text)

    def _rows(self) -> Iterator[Row]:
        settings = self.settings
        wanted = list(dict.fromkeys([*filter(None, [settings.id_column]), *settings.text_columns]))
        text_positions = [(wanted.index(name), name) for name in settings.text_columns]
        total = 0
        for file in self.files:
            name, before = str(file), total
            read, unit = _reader(file, settings)
            for number, values in read(file, wanted, settings.columns):
                try:
                    identifier = str(total) if settings.id_column is None else _identifier(values[0])
                    texts = [_text(values[index], column) for index, column in text_positions]
                except ValueError as error:
                    raise InputError(f"{name}: {unit} {number}: {error}") from None
                yield Row(name, unit, number, identifier, settings.text_separator.join(filter(None, texts)))
                total += 1
            if total == before:
                raise InputError(f"{name}: is empty, it has no rows; remove it, or get it again")


def _identifier(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"the identifier {value!r:.80} is neither text nor a whole number; correct id_column")


def _text(value: Any, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise ValueError(f"{column!r} is no text but {value!r:.80}; correct text_columns")


def _reader(
    file: Path, settings: TableCorpusSettings
) -> tuple[Callable[[Path, list[str], list[str] | None], NumberedValues], str]:
    """How a file is read, and what its rows are called."""
    suffix = Path(file.name.removesuffix(".gz")).suffix.lower()
    kind = settings.format or FORMATS.get(suffix)
    if kind is None:
        raise InputError(f"{file}: {suffix!r} is none of {', '.join(FORMATS)}; name its format")
    if settings.columns and kind in ("jsonl", "parquet"):
        raise InputError(f"{file}: has names of its own for its columns; remove columns")
    if kind == "parquet" and file.suffix == ".gz":
        raise InputError(f"{file}: Parquet has a compression of its own; unpack the file")
    readers = {"jsonl": _json_rows, "tsv": _tsv_rows, "csv": _csv_rows, "parquet": _parquet_rows}
    return readers[kind], "row" if kind == "parquet" else "line"


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines with their ends, numbered from 1.

    Raises:
        InputError: a line is too long or no UTF-8, or the compressed file is cut off or damaged.
    """
    number = 0
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            while line := lines.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES:
                    raise InputError(
                        f"{file}: line {number} is longer than {MAX_LINE_BYTES} bytes; is it the right format?"
                    )
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{file}: line {number} is not valid UTF-8 (byte {error.start + 1} of the line is "
                        f"0x{line[error.start]:02x}); convert the file to UTF-8"
                    ) from None
                yield number, text
    except EOFError:
        raise InputError(
            f"{file}: is cut off after line {number} (the compressed data has no end); get the file again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{file}: is damaged after line {number} ({error}); get the file again") from None


def _json_rows(file: Path, wanted: list[str], columns: list[str] | None) -> NumberedValues:
    for number, line in _lines(file):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            problem = f"is not JSON ({error.msg} at character {error.pos + 1}); correct it"
            if not line.endswith("\n"):
                problem = "is cut off, the file ends in the middle of it; get the file again"
            raise InputError(f"{file}: line {number} {problem}") from None
        if not isinstance(record, dict):
            raise InputError(f"{file}: line {number} is not a JSON object; correct it")
        try:
            yield number, [record[name] for name in wanted]
        except KeyError as error:
            raise _no_column(f"{file}: line {number}", str(error.args[0]), list(record)) from None


def _tsv_rows(file: Path, wanted: list[str], columns: list[str] | None) -> NumberedValues:
    """Fields between tabs as they are: quotes mean nothing, as in TREC and MS MARCO files."""
    positions: list[int] = []
    for number, line in _lines(file):
        fields = line.rstrip("\r\n").split("\t")
        if not positions:
            positions = _positions(f"{file}: line {number}", wanted, columns or fields)
            names = columns or fields
            if columns is None:
                continue
        if fields == [""] and len(names) > 1:  # an empty line
            continue
        _refuse_other_width(f"{file}: line {number}", fields, names, cut=not line.endswith("\n"))
        yield number, [fields[position] for position in positions]


def _csv_rows(file: Path, wanted: list[str], columns: list[str] | None) -> NumberedValues:
    """Fields as RFC 4180 has them: quoted ones may hold commas and line ends."""
    csv.field_size_limit(MAX_LINE_BYTES)
    rows = csv.reader((line for _, line in _lines(file)), strict=True)
    positions: list[int] = []
    number = 1
    try:
        for fields in rows:
            if not positions and fields:
                positions = _positions(f"{file}: line {number}", wanted, columns or fields)
                names = columns or fields
                if columns is None:
                    number = rows.line_num + 1
                    continue
            if fields:  # else an empty line
                _refuse_other_width(f"{file}: line {number}", fields, names, cut=False)
                yield number, [fields[position] for position in positions]
            number = rows.line_num + 1
    except csv.Error as error:
        problem = f"is not CSV ({error}); correct it"
        if "unexpected end of data" in str(error):
            problem = "is cut off, the file ends within its quotes; get the file again"
        raise InputError(f"{file}: line {number} {problem}") from None


def _parquet_rows(file: Path, wanted: list[str], columns: list[str] | None) -> NumberedValues:
    number = 0
    if file.stat().st_size == 0:
        return
    try:
        # Without these settings pyarrow reads whole row groups ahead.
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
            for name in wanted:
                if name not in parquet.schema_arrow.names:
                    raise _no_column(str(file), name, parquet.schema_arrow.names)
            for batch in parquet.iter_batches(PARQUET_BATCH_ROWS, columns=wanted, use_threads=False):
                try:
                    rows = zip(*(batch.column(name).to_pylist() for name in wanted), strict=True)
                except UnicodeDecodeError:
                    raise _not_unicode(file, number, batch, wanted) from None
                for values in rows:
                    number += 1
                    yield number, list(values)
    except (pa.ArrowException, OSError) as error:
        problem = "is no Parquet file, or cut off" if number == 0 else f"is damaged after row {number}"
        raise InputError(f"{file}: {problem} ({' '.join(str(error).split())}); get the file again") from None


def _not_unicode(file: Path, before: int, batch: pa.RecordBatch, wanted: list[str]) -> InputError:
    """The sentence for the first row of a batch that is not valid UTF-8."""
    for offset in range(batch.num_rows):
        for name in wanted:
            try:
                batch.column(name)[offset].as_py()
            except UnicodeDecodeError as error:
                return InputError(
                    f"{file}: row {before + offset + 1}: {name!r} is not valid UTF-8 (byte {error.start + 1}); "
                    "correct the file"
                )
    raise AssertionError("the batch was refused as not valid UTF-8")


def _positions(where: str, wanted: list[str], names: Sequence[str]) -> list[int]:
    for name in wanted:
        if name not in names:
            raise _no_column(where, name, names)
    return [list(names).index(name) for name in wanted]


def _no_column(where: str, name: str, names: Sequence[str]) -> InputError:
    shown = ", ".join(map(repr, list(names)[:20]))
    return InputError(
        f"{where}: has no column {name!r}, only {shown}; correct id_column, text_columns or columns"
    )


def _refuse_other_width(where: str, fields: Sequence[str], names: Sequence[str], cut: bool) -> None:
    if len(fields) != len(names):
        remedy = "is the file cut off here? get it again" if cut else "correct it"
        raise InputError(f"{where}: has {len(fields)} fields, {len(names)} are expected; {remedy}")
