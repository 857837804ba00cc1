"""Compare the dumped artifacts of pairs of runs: one row for each artifact, missing ones included.

Where artifacts differ but for what the order of centroids or of lists decides, a second row says how far.

The pairs are a JSON list of {"pair": NAME, "left": RUN_DIR, "right": RUN_DIR}.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.artifacts.compare import Tolerance, Tolerances, compare_pair, read_pairs
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", required=True, metavar="JSON", help="the pairs, or a file that holds them")
    parser.add_argument("--rtol", type=float, default=Tolerance.rtol, help="relative (default: %(default)s)")
    parser.add_argument("--atol", type=float, default=Tolerance.atol, help="absolute (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        tolerances = Tolerances(Tolerance(arguments.rtol, arguments.atol))
        rows = [row for pair in read_pairs(arguments.pairs) for row in compare_pair(pair, tolerances)]
        schemas.write_table(rows, schemas.ARTIFACT_COMPARISON, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
