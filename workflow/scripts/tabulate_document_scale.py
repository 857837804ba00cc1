"""Tabulate what measure_document_scale.py measured."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis.measured_rows import measured_rows
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="RECORDS", help="of measure_document_scale.py")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    rows = measured_rows(arguments.files, schemas.DOCUMENT_SCALE, "measure_document_scale.py")
    try:
        schemas.write_table(rows, schemas.DOCUMENT_SCALE, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
