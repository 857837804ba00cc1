"""Compare every two systems phase by phase, at each size, without a profiler and under spans."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis.run_comparison import Thresholds, compare_all, read_rows
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="the table of runs (Parquet)")
    parser.add_argument("--spans", type=Path, required=True, help="the table of spans (Parquet)")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        runs = read_rows(arguments.runs, schemas.RUNS)
        spans = read_rows(arguments.spans, schemas.SPANS)
        schemas.write_table(compare_all(runs, spans, Thresholds()), schemas.RUN_COMPARISON, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
