"""Tabulate logs of memory_profiler line by line: one row for each source line of each table.

Reads what memory_profiler prints, all versions, with other output in between. A table that breaks off keeps
its rows and is named on stderr. Attempts are numbered from 1: see indexscope/analysis/memory_profiler_log.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import external_logs
from indexscope.analysis.memory_profiler_log import line_batches
from indexscope.analysis.run_directories import listed_paths
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", nargs="*", type=Path, metavar="LOG", help="a log of memory_profiler")
    parser.add_argument("--runs-from", type=Path, metavar="FILE", help="more such paths, one on each line")
    parser.add_argument(
        "--external",
        type=Path,
        metavar="TABLE",
        help="external_logs.parquet: its memory_profiler logs follow",
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        external = external_logs.paths(arguments.external, external_logs.MEMORY_PROFILER)
        rows = line_batches(
            [*listed_paths(arguments.logs, arguments.runs_from), *external],
            report=lambda said: print(said, file=sys.stderr),
        )
        schemas.write_batches(rows, schemas.MEMORY_PROFILER_LINES, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
