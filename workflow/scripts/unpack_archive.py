"""Unpack tables and configuration of an archive, so that figures and report can be drawn from them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import archive
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path, help="made by make_archive.py")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where its files go")
    arguments = parser.parse_args()
    try:
        manifest = archive.read_manifest(arguments.archive)
        names = [f"tables/{table}.parquet" for table in manifest.tables]
        archive.unpack(arguments.archive, [*names, archive.CONFIGURATION, archive.MANIFEST], arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
