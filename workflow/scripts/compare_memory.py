"""Compare peak memory and time: systems with each other, and each profiler with none."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from indexscope import schemas
from indexscope.analysis.memory_comparison import compare_memory
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="runs.parquet")
    parser.add_argument(
        "--baseline", metavar="SYSTEM", help="compare each system with this one (default: all pairs)"
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        rows = list(compare_memory(_read_runs(arguments.runs), arguments.baseline))
        schemas.write_table(rows, schemas.MEMORY_COMPARISON, arguments.output)
    except InputError as error:
        sys.exit(str(error))


def _read_runs(path: Path) -> list[dict[str, object]]:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}): run tabulate_runs.py") from error
    if missing := set(schemas.RUNS.names) - set(table.column_names):
        raise InputError(f"{path} has no column {sorted(missing)[0]}: run tabulate_runs.py again")
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


if __name__ == "__main__":
    main()
