"""Draw a figure from tables: NAME.svg, NAME.html (self-contained, interactive) and NAME.csv (the rows drawn)."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.figures import files
from indexscope.figures.catalog import ALL_FIGURES
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="figures:\n" + "\n".join(f"  {name}: {entry.caption}" for name, entry in ALL_FIGURES.items()),
    )
    parser.add_argument("figure", choices=list(ALL_FIGURES), metavar="FIGURE", help="one of those below")
    parser.add_argument("--tables", type=Path, required=True, help="folder with the tables (Parquet)")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="NAME", help="path without suffix of the three files"
    )
    arguments = parser.parse_args()
    try:
        frames = [
            files.read_table(arguments.tables / f"{name}.parquet", schemas.TABLES[name])
            for name in ALL_FIGURES[arguments.figure].tables
        ]
    except InputError as error:
        sys.exit(str(error))
    draw = importlib.import_module(f"indexscope.figures.{arguments.figure}").draw
    files.save(draw(*frames), arguments.output)


if __name__ == "__main__":
    main()
