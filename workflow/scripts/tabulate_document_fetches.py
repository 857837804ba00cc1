"""Tabulate what measure_fetches.py measured; unequal bytes of two loaders are an error."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis.document_fetches import fetch_rows
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="RECORDS", help="of measure_fetches.py")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        schemas.write_table(fetch_rows(arguments.files), schemas.DOCUMENT_FETCHES, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
