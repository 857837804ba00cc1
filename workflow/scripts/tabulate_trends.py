"""Tabulate trends: the runs of all campaigns in one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis.campaigns import Source, campaign_batches
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="[CAMPAIGN=]RUNS",
        help="runs.parquet of a campaign; without a name it is called by the day of its first run",
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    sources = []
    for argument in arguments.sources:
        label, equals, path = argument.partition("=")
        sources.append(Source(Path(path), label) if equals else Source(Path(argument)))
    if not sources:
        print("No campaign has a table of runs yet: the table is empty.", file=sys.stderr)
    try:
        schemas.write_batches(campaign_batches(sources), schemas.TRENDS, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
