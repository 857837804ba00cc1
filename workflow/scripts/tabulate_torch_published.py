"""Tabulate what was published of PyTorch versions beside what torch_versions measured here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import torch_published
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path, required=True, metavar="FOLDER", help="config/published")
    parser.add_argument(
        "--tables",
        type=Path,
        required=True,
        metavar="FOLDER",
        help=f"folder with {', '.join(torch_published.TABLES)} (Parquet)",
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        measured = torch_published.Measured.read(arguments.tables)
        rows = list(torch_published.published_rows(arguments.published, measured))
    except InputError as error:
        sys.exit(str(error))
    schemas.write_table(rows, schemas.TORCH_PUBLISHED, arguments.output)


if __name__ == "__main__":
    main()
