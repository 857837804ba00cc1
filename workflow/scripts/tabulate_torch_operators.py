"""Tables of replayed operators: each operator, the first that differs in each case, and what layers make.

The pairs are a JSON list of {"left_version", "right_version", "replay": FILE.jsonl, "left_recording": DIR,
"right_recording": DIR}; both versions and recordings are the same for a version's noise floor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from indexscope import schemas
from indexscope.analysis.torch_operators import divergence_rows, layer_rows, operator_rows, read_pairs
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", required=True, metavar="JSON", help="the pairs, or a file that holds them")
    parser.add_argument("--operators", type=Path, required=True, help="the table of operators (Parquet)")
    parser.add_argument("--divergence", type=Path, required=True, help="the table of cases (Parquet)")
    parser.add_argument("--layers", type=Path, required=True, help="the table of modules' outputs (Parquet)")
    arguments = parser.parse_args()
    try:
        pairs = read_pairs(arguments.pairs)

        def batches() -> Iterator[pa.RecordBatch]:
            for pair in pairs:
                yield pa.RecordBatch.from_pylist(list(operator_rows(pair)), schemas.TORCH_OPERATORS)

        divergence = [row for pair in pairs for row in divergence_rows(pair)]
        layers = [row for pair in pairs for row in layer_rows(pair)]
        schemas.write_batches(batches(), schemas.TORCH_OPERATORS, arguments.operators)
        schemas.write_table(divergence, schemas.TORCH_DIVERGENCE, arguments.divergence)
        schemas.write_table(layers, schemas.TORCH_LAYERS, arguments.layers)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
