"""Separate what is unequal between ColBERT and RAGatouille: the share of each confound in their peak memory."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from indexscope import schemas
from indexscope.analysis import confounds
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="runs.parquet")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        rows = list(confounds.confound_rows(_read_runs(arguments.runs)))
    except InputError as error:
        sys.exit(str(error))
    schemas.write_table(rows, schemas.CONFOUNDS, arguments.output)
    print(confounds.sentence(rows) or "No size has completed runs of ColBERT and of another framework.")


def _read_runs(path: Path) -> list[dict[str, object]]:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}): run tabulate_runs.py") from error
    if missing := [name for name in confounds.COLUMNS if name not in table.column_names]:
        raise InputError(f"{path} has no column {missing[0]}: run tabulate_runs.py again")
    rows: list[dict[str, object]] = table.select(list(confounds.COLUMNS)).to_pylist()
    return rows


if __name__ == "__main__":
    main()
