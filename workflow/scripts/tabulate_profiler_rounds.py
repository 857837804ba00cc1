"""Tabulate the benchmark profiler_cost: each run, and what each way of measuring costs against none."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis.profiler_overhead import overhead_rows, read_rounds
from indexscope.analysis.run_directories import read_labels
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="ROUNDS", help="of benchmark_profilers.py")
    parser.add_argument(
        "--labels", metavar="JSON", default="{}", help="names of systems for figures, as {SYSTEM: LABEL}"
    )
    parser.add_argument("--rounds", type=Path, required=True, help="the table of runs to write (Parquet)")
    parser.add_argument("--output", type=Path, required=True, help="the table of costs to write (Parquet)")
    arguments = parser.parse_args()
    try:
        rows = list(read_rounds(arguments.files, read_labels(arguments.labels)))
        schemas.write_table(rows, schemas.PROFILER_ROUNDS, arguments.rounds)
        schemas.write_table(overhead_rows(rows), schemas.PROFILER_OVERHEAD, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
