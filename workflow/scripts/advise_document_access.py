"""Recommend a loader for each situation that document_access measured: loaders by rank, with the reasons."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import document_access, document_advice
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--access", type=Path, required=True, help="document_access.parquet")
    parser.add_argument("--fetches", type=Path, required=True, help="document_fetches.parquet")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        trainings = document_access.read_table(
            arguments.access, document_advice.COLUMNS, "tabulate_document_access.py"
        )
        fetches = document_access.read_table(
            arguments.fetches, document_advice.FETCH_COLUMNS, "tabulate_document_fetches.py"
        )
    except InputError as error:
        sys.exit(str(error))
    rows = document_advice.advice_rows(trainings, fetches)
    schemas.write_table(rows, schemas.DOCUMENT_ADVICE, arguments.output)


if __name__ == "__main__":
    main()
