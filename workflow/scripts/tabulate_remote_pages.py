"""Tabulate what became of the pages of PDFs; of a corpus that is not of PDFs, a table without rows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from indexscope import schemas
from indexscope.analysis.measured_rows import measured_rows
from indexscope.run_record import InputError

ROWS_PER_BATCH = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGES", help="pages.jsonl of extract_pdfs.py")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        schemas.write_batches(_batches(arguments.pages), schemas.REMOTE_PAGES, arguments.output)
    except InputError as error:
        sys.exit(str(error))


def _batches(paths: list[Path]) -> Iterator[pa.RecordBatch]:
    rows = []
    for row in measured_rows(paths, schemas.REMOTE_PAGES, "extract_pdfs.py"):
        rows.append(row)
        if len(rows) == ROWS_PER_BATCH:
            yield pa.RecordBatch.from_pylist(rows, schemas.REMOTE_PAGES)
            rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schemas.REMOTE_PAGES)


if __name__ == "__main__":
    main()
