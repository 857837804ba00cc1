"""Compare campaigns: each with the one before it and with the first, by system, size, profiler and quantity."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from indexscope import schemas
from indexscope.analysis.campaigns import FACTOR, MEASURED, compare_campaigns
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trends", type=Path, help="trends.parquet")
    parser.add_argument(
        "--factor",
        type=float,
        default=FACTOR,
        help="medians that differ by less are no change, whatever their spread (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        rows = list(compare_campaigns(_read(arguments.trends), arguments.factor))
        schemas.write_table(rows, schemas.CAMPAIGN_COMPARISON, arguments.output)
    except InputError as error:
        sys.exit(str(error))
    changed = sum(row["changed"] for row in rows)
    print(f"{len(rows)} comparisons of {len(MEASURED)} quantities; {changed} are called a change.")


def _read(path: Path) -> list[dict[str, object]]:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}): run tabulate_trends.py") from error
    if missing := set(schemas.TRENDS.names) - set(table.column_names):
        raise InputError(f"{path} has no column {sorted(missing)[0]}: run tabulate_trends.py again")
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


if __name__ == "__main__":
    main()
