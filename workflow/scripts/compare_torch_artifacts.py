"""Compare the dumped artifacts of PyTorch versions: one row for each artifact, missing ones and failed runs included.

The comparisons are a JSON list of {"left_version": V, "right_version": V, "kind": "versions", "repeat" or "injection",
"injected": [NAME, ...], "pair": NAME, "left": RUN_DIR, "right": RUN_DIR}.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from indexscope import schemas
from indexscope.artifacts.compare import (
    Tolerance,
    Tolerances,
    VersionComparison,
    compare_pair,
    read_comparisons,
)
from indexscope.config import settings_from_json
from indexscope.run_record import InputError
from indexscope.settings import experiments
from indexscope.settings.torch_versions import BitsandbytesTolerances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--comparisons", required=True, metavar="JSON", help="the comparisons, or a file that holds them"
    )
    parser.add_argument(
        "--tolerance", default="{}", metavar="JSON", help="of every floating-point dtype: rtol and atol"
    )
    parser.add_argument(
        "--bitsandbytes-tolerance", default="{}", metavar="JSON", help="the looser ones, by dtype"
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        tolerances = _tolerances(arguments.tolerance, arguments.bitsandbytes_tolerance)
        batches = _batches(read_comparisons(arguments.comparisons), tolerances)
        schemas.write_batches(batches, schemas.TORCH_ARTIFACTS, arguments.output)
    except InputError as error:
        sys.exit(str(error))


def _tolerances(default: str, bitsandbytes: str) -> Tolerances:
    of_all = settings_from_json(experiments.Tolerance, default, "--tolerance")
    by_dtype = settings_from_json(BitsandbytesTolerances, bitsandbytes, "--bitsandbytes-tolerance")
    return Tolerances(
        Tolerance(of_all.rtol, of_all.atol),
        {dtype: Tolerance(looser.rtol, looser.atol) for dtype, looser in by_dtype},
    )


def _batches(comparisons: list[VersionComparison], tolerances: Tolerances) -> Iterator[pa.RecordBatch]:
    for number, comparison in enumerate(comparisons, start=1):
        print(f"{number} of {len(comparisons)}: {comparison.pair.pair}", flush=True)
        rows = [{**comparison.columns(), **row} for row in compare_pair(comparison.pair, tolerances)]
        yield pa.RecordBatch.from_pylist(rows, schema=schemas.TORCH_ARTIFACTS)


if __name__ == "__main__":
    main()
