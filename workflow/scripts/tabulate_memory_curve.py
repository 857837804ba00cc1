"""Tabulate memory curves: one row for each sample of a process.

Each file lies beside its run.json, which names the run. Recordings of mprof, from elsewhere, follow: see
indexscope/analysis/mprof_log.py.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import external_logs, mprof_log
from indexscope.analysis.run_directories import listed_paths, memory_curve_batches
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="MEMORY_CURVE_CSV", help="memory_curve.csv of a run directory"
    )
    parser.add_argument("--runs-from", type=Path, metavar="FILE", help="more such paths, one on each line")
    parser.add_argument(
        "--external", type=Path, metavar="TABLE", help="external_logs.parquet: its mprof recordings follow"
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        rows = memory_curve_batches(listed_paths(arguments.files, arguments.runs_from))
        recorded = itertools.chain.from_iterable(
            mprof_log.curve_batches(
                each.log, each.system, each.documents, lambda said: print(said, file=sys.stderr)
            )
            for each in external_logs.read(arguments.external)
            if each.kind == external_logs.MPROF
        )
        rows = itertools.chain(rows, recorded)
        schemas.write_batches(rows, schemas.MEMORY_CURVE, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
