"""Tabulate what each function of index building did to memory: start, increment and final, from logs.

Reads what memory_profiler or mprof prints. A function is measured at the line that calls it; where that line
is not in the log, in its own table: see indexscope/analysis/memory_by_function.py. Without --functions, the rows
are those of the seven functions of the study of 2025-02-17.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import config, schemas
from indexscope.analysis import external_logs
from indexscope.analysis.memory_by_function import Names, function_batches
from indexscope.analysis.run_directories import listed_paths
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", nargs="*", type=Path, metavar="LOG", help="a log of memory_profiler or mprof")
    parser.add_argument("--runs-from", type=Path, metavar="FILE", help="more such paths, one on each line")
    parser.add_argument(
        "--external", type=Path, metavar="TABLE", help="external_logs.parquet: its logs follow"
    )
    parser.add_argument(
        "--functions", type=Path, metavar="YAML", help="config/functions.yaml: rows for all of its functions"
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        external = [each.log for each in external_logs.read(arguments.external)]
        functions = config.load_functions(arguments.functions) if arguments.functions else []
        rows = function_batches(
            [*listed_paths(arguments.logs, arguments.runs_from), *external],
            report=lambda said: print(said, file=sys.stderr),
            names=Names((function.module, function.qualname) for function in functions),
        )
        schemas.write_batches(rows, schemas.MEMORY_BY_FUNCTION, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
