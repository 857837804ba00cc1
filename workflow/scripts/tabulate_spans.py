"""Tabulate spans: one row for each call of an instrumented function.

Each file lies beside its run.json, which names the run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis.run_directories import listed_paths, span_batches
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="SPANS_JSONL", help="spans.jsonl of a run directory"
    )
    parser.add_argument("--runs-from", type=Path, metavar="FILE", help="more such paths, one on each line")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        rows = span_batches(listed_paths(arguments.files, arguments.runs_from))
        schemas.write_batches(rows, schemas.SPANS, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
