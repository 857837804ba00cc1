"""Tabulate what could be done instead of a table for each segment: memory, load time and search time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import faiss_alternatives
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, help="what measure_faiss_alternatives.py wrote (JSON lines)")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        records = faiss_alternatives.read_records(arguments.records)
    except InputError as error:
        sys.exit(str(error))
    rows = faiss_alternatives.tabulate_alternatives(records)
    schemas.write_table(rows, schemas.FAISS_ALTERNATIVES, arguments.output)


if __name__ == "__main__":
    main()
