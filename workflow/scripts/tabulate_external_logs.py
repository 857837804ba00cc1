"""Tabulate what the logs of `external_logs` are: one row for each file, its hash checked.

A file that is no log of memory_profiler or mprof, or not the one whose hash was given, is refused.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import external_logs
from indexscope.run_record import InputError
from indexscope.settings.external_logs import ExternalFile
from pydantic import TypeAdapter, ValidationError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "files", metavar="JSON", help="a list of files, as indexscope.settings.external_logs has them"
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        files = TypeAdapter(list[ExternalFile]).validate_json(arguments.files)
        rows = external_logs.rows(files, report=lambda said: print(said, file=sys.stderr))
        schemas.write_table(rows, schemas.EXTERNAL_LOGS, arguments.output)
    except ValidationError as error:
        sys.exit(f"files: {error.errors()[0]['msg']}: give a JSON list of files")
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
