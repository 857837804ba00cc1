"""Tabulate the published memory of each function beside ours, and beside logs from elsewhere.

Ours are medians over the completed runs under memory_profiler of one system and size.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow.parquet as pq
from indexscope import schemas
from indexscope.analysis import external_logs, published
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path, required=True, metavar="FOLDER", help="config/published")
    parser.add_argument("--runs", type=Path, required=True, metavar="TABLE", help="runs.parquet")
    parser.add_argument(
        "--memory-by-function", type=Path, required=True, metavar="TABLE", help="memory_by_function.parquet"
    )
    parser.add_argument("--external", type=Path, metavar="TABLE", help="external_logs.parquet")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        cells = published.read_cells(arguments.published, published.read_recorded(arguments.published))
        rows = [
            *published.published_rows(cells, published.read_study(arguments.published)),
            *published.measured_rows(
                _rows(arguments.memory_by_function),
                _rows(arguments.runs),
                external_logs.read(arguments.external),
            ),
        ]
    except InputError as error:
        sys.exit(str(error))
    schemas.write_table(rows, schemas.PUBLISHED_MEMORY, arguments.output)


def _rows(table: Path) -> list[dict[str, object]]:
    try:
        rows: list[dict[str, object]] = pq.read_table(table).to_pylist()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{table} cannot be read ({str(error).splitlines()[0]}): make the table anew"
        ) from error
    return rows


if __name__ == "__main__":
    main()
