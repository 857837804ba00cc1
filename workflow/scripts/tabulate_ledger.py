"""Tabulate what was alive at the highest points of runs under the profiler `ledger`: one row for each part.

Each file lies beside its run.json, which names the run. The file of a run under another profiler is empty.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import ledger
from indexscope.analysis.run_directories import listed_paths
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="LEDGER_JSONL", help="ledger.jsonl of a run directory"
    )
    parser.add_argument("--runs-from", type=Path, metavar="FILE", help="more such paths, one on each line")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        paths = listed_paths(arguments.files, arguments.runs_from)
        schemas.write_table(ledger.rows(paths), schemas.LEDGER, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
