"""Tabulate what each injection of torch_versions makes equal: one row for each pair of versions and injection."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from indexscope import schemas
from indexscope.analysis.torch_injections import COLUMNS, tabulate_injections
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=Path, required=True, help="torch_artifacts.parquet")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        rows = tabulate_injections(_read_artifacts(arguments.artifacts))
        schemas.write_table(rows, schemas.TORCH_INJECTIONS, arguments.output)
    except InputError as error:
        sys.exit(str(error))


def _read_artifacts(path: Path) -> list[dict[str, object]]:
    try:
        names = pq.read_schema(path).names
        if missing := set(COLUMNS) - set(names):
            raise InputError(
                f"{path} has no column {sorted(missing)[0]}: run compare_torch_artifacts.py again"
            )
        rows: list[dict[str, object]] = pq.read_table(path, columns=COLUMNS).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}): run compare_torch_artifacts.py") from error
    return rows


if __name__ == "__main__":
    main()
