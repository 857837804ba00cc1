"""Tabulate how indexes are searched, what was found in them, and in which plain libraries they load."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import remote_searches
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="+", type=Path, help="what measure_search.py wrote (JSON lines)")
    parser.add_argument("--pages", type=Path, help="what became of the pages of PDFs (JSON lines)")
    parser.add_argument(
        "--labels", type=json.loads, required=True, metavar="JSON", help="system → its name for readers"
    )
    parser.add_argument("--searches", type=Path, required=True, help="the table to write (Parquet)")
    parser.add_argument("--results", type=Path, required=True, help="the table to write (Parquet)")
    parser.add_argument("--loads", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        tables = remote_searches.tabulate(arguments.records, arguments.labels, arguments.pages)
    except InputError as error:
        sys.exit(str(error))
    schemas.write_table(tables.searches, schemas.REMOTE_SEARCHES, arguments.searches)
    schemas.write_table(tables.results, schemas.REMOTE_RESULTS, arguments.results)
    schemas.write_table(tables.loads, schemas.REMOTE_LOADS, arguments.loads)


if __name__ == "__main__":
    main()
