"""Tabulate published times of encoding: a CSV of config/published to Parquet, for figures to draw beside ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis.published_encode_seconds import published_rows
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("published", type=Path, help="config/published/encode_seconds_per_25k_passages.csv")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        rows = published_rows(arguments.published)
        schemas.write_table(rows, schemas.PUBLISHED_ENCODE_SECONDS, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
