"""Tabulate what segments took in memory beside the formulas, and how far each estimate is from it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import faiss_memory
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "records", type=Path, nargs="+", help="what measure_faiss_memory.py wrote (JSON lines)"
    )
    parser.add_argument(
        "--memory", type=Path, required=True, help="the table of processes to write (Parquet)"
    )
    parser.add_argument(
        "--estimates", type=Path, required=True, help="the table of estimates to write (Parquet)"
    )
    arguments = parser.parse_args()
    try:
        records = faiss_memory.read(arguments.records)
        rows = list(faiss_memory.memory_rows(records))
        estimates = list(faiss_memory.estimate_rows(records))
    except InputError as error:
        sys.exit(str(error))
    schemas.write_table(rows, schemas.FAISS_MEMORY, arguments.memory)
    schemas.write_table(estimates, schemas.FAISS_ESTIMATES, arguments.estimates)


if __name__ == "__main__":
    main()
