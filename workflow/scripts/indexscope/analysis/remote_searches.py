"""How indexes are searched, what was found, and in which libraries they load: the records of measure_search.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from indexscope import schemas
from indexscope.run_record import COMPLETED, InputError
from indexscope.searching.passages import source_of

from .measured_rows import Record, json_lines

PROGRAM = "measure_search.py"
QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}
_MEASURED = ("latencies_ms", "queries")  # that a completed search has

Row = dict[str, Any]


class Tables(NamedTuple):
    """Rows of REMOTE_SEARCHES, REMOTE_RESULTS and REMOTE_LOADS, in the order of the files."""

    searches: list[Row]
    results: list[Row]
    loads: list[Row]


class Page(NamedTuple):
    """Where a document is from."""

    file: str | None
    page: int | None
    title: str | None


def tabulate(files: Iterable[Path], labels: Mapping[str, str], pages: Path | None = None) -> Tables:
    """The rows of what measure_search.py wrote.

    Args:
        labels: system → its name in figures and tables.
        pages: what became of the pages of PDFs (JSON lines); None where the corpus is of something else.

    Raises:
        InputError: a file is missing or empty, or a line is no record.
    """
    known = read_pages(pages) if pages is not None else {}
    tables = Tables([], [], [])
    kinds = {
        "search": (tables.searches, schemas.REMOTE_SEARCHES, search_row),
        "result": (tables.results, schemas.REMOTE_RESULTS, lambda values: _result_row(values, known)),
        "load": (tables.loads, schemas.REMOTE_LOADS, lambda values: values),
    }
    for record in _records(files):
        values = dict(record.values)
        kind = values.pop("kind")
        if kind not in kinds:
            raise InputError(f"{record.where}: {kind!r} is no kind of record; run {PROGRAM} again")
        rows, schema, row_of = kinds[kind]
        try:
            row = row_of({**values, "label": labels.get(values["system"])})
            _check(row, schema)
        except (KeyError, ValueError, TypeError, pa.ArrowException) as error:
            raise InputError(
                f"{record.where} is no record of a {kind} ({error}); run {PROGRAM} again"
            ) from error
        rows.append(row)
    return tables


def search_row(record: Mapping[str, Any]) -> Row:
    """A row of REMOTE_SEARCHES: the record, with quantiles in place of the time of each query or batch."""
    row = {name: value for name, value in record.items() if name != "latencies_ms"}
    if row.get("started_at"):
        row["started_at"] = datetime.fromisoformat(row["started_at"])
    if row["outcome"] != COMPLETED:
        return row
    latencies, queries = (record[name] for name in _MEASURED)
    if not latencies:
        raise ValueError("it has no latency")
    values = np.asarray(latencies, dtype=np.float64)
    for name, quantile in QUANTILES.items():
        row[name] = float(np.quantile(values, quantile))
    row["queries_per_second"] = float(1000 * queries / values.sum())
    return row


def read_pages(path: Path) -> dict[str, Page]:
    """Document → where it is from.

    Raises:
        InputError: a line says nothing of a page.
    """
    pages = {}
    for _, values in json_lines(path, "the rule that reads the PDFs", ("file", "page", "document_id")):
        if values["document_id"] is not None:
            pages[values["document_id"]] = Page(values["file"], values["page"], values.get("title"))
    return pages


def _result_row(record: Row, pages: Mapping[str, Page]) -> Row:
    document_id = record["document_id"]
    of_id = source_of(document_id)
    page = pages.get(document_id) or Page(
        record.get("file") or of_id.file, record.get("page") or of_id.page, record.get("title")
    )
    return {**record, **page._asdict()}


def _records(files: Iterable[Path]) -> Iterator[Record]:
    for path in files:
        yield from json_lines(path, PROGRAM, ("kind", "system"))


def _check(row: Row, schema: pa.Schema) -> None:
    if unknown := set(row) - set(schema.names):
        raise ValueError(f"unknown columns {sorted(unknown)}")
    if missing := [field.name for field in schema if not field.nullable and row.get(field.name) is None]:
        raise ValueError(f"no {missing[0]}")
    pa.Table.from_pylist([row], schema).validate(full=True)
