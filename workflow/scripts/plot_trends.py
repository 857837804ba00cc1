"""Draw the trends: NAME.svg, NAME.html (self-contained, interactive) and NAME.csv (the rows drawn)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.figures import files, trends
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trends", type=Path, help="trends.parquet")
    parser.add_argument("comparison", type=Path, help="campaign_comparison.parquet")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="NAME", help="path without suffix of the three files"
    )
    arguments = parser.parse_args()
    try:
        runs = files.read_table(arguments.trends, schemas.TRENDS)
        comparison = files.read_table(arguments.comparison, schemas.CAMPAIGN_COMPARISON)
    except InputError as error:
        sys.exit(str(error))
    files.save(trends.draw(runs, comparison), arguments.output)


if __name__ == "__main__":
    main()
