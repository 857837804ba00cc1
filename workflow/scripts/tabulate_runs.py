"""Tabulate runs: one row for each run.json."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis.run_directories import listed_paths, read_labels, run_rows
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="RUN_JSON", help="run.json of a run directory")
    parser.add_argument("--runs-from", type=Path, metavar="FILE", help="more such paths, one on each line")
    parser.add_argument(
        "--labels", metavar="JSON", default="{}", help="names of systems for figures, as {SYSTEM: LABEL}"
    )
    parser.add_argument("--campaign", metavar="NAME", help="the result set that these runs belong to")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        paths = listed_paths(arguments.files, arguments.runs_from)
        rows = run_rows(paths, read_labels(arguments.labels), arguments.campaign)
        schemas.write_table(rows, schemas.RUNS, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
