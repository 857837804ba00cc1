"""Tabulate searches with the precomputed table, without it and with a shared one, and where they break even."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import faiss_latency
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, help="what measure_faiss_latency.py wrote (JSON lines)")
    parser.add_argument("--latency", type=Path, required=True, help="the table of rounds to write (Parquet)")
    parser.add_argument(
        "--break-even", type=Path, required=True, help="the table of ratios to write (Parquet)"
    )
    arguments = parser.parse_args()
    try:
        rows = list(faiss_latency.tabulate_latency(faiss_latency.read_records(arguments.records)))
        break_even = faiss_latency.tabulate_break_even(rows)
    except InputError as error:
        sys.exit(str(error))
    schemas.write_table(rows, schemas.FAISS_LATENCY, arguments.latency)
    schemas.write_table(break_even, schemas.FAISS_BREAK_EVEN, arguments.break_even)


if __name__ == "__main__":
    main()
