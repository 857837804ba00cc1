"""Compare the memory model with what was measured, of our runs and of published ones."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from indexscope import schemas
from indexscope.analysis.memory_model_check import check_published, check_runs, read_published
from indexscope.memory_plan import encoder_of
from indexscope.run_record import InputError

_PEAKS = ["machine", "framework", "documents", "peak_gb"]
_SAMPLES = [
    "framework", "documents", "passages", "tokens_per_passage", "dim", "kmeans_points", "build_ivf_int64_gib",
]  # fmt: skip
_SPANS = ["run", "role", "function", "call", "peak_rss_mib", "gpu_peak_mib"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="runs.parquet")
    parser.add_argument("--spans", type=Path, required=True, help="spans.parquet")
    parser.add_argument(
        "--published",
        type=Path,
        nargs=2,
        required=True,
        metavar=("PEAKS", "SAMPLES"),
        help="memory_by_size.csv and memory_of_kmeans_sample.csv of config/published",
    )
    parser.add_argument(
        "--checkpoint", required=True, metavar="JSON", help="settings of the checkpoint; its geometry"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="the table memory_model to write (Parquet)"
    )
    parser.add_argument("--terms", type=Path, required=True, help="the table memory_model_terms to write")
    arguments = parser.parse_args()
    try:
        checked = check_runs(
            _read(arguments.runs, [name for name in schemas.RUNS.names if not name.startswith("gpu")]),
            _read(arguments.spans, _SPANS),
            encoder_of(_settings(arguments.checkpoint)),
        )
        peaks, samples = arguments.published
        model, terms = check_published(read_published(peaks, _PEAKS), read_published(samples, _SAMPLES))
        schemas.write_table([*checked.model, *model], schemas.MEMORY_MODEL, arguments.output)
        schemas.write_table([*checked.terms, *terms], schemas.MEMORY_MODEL_TERMS, arguments.terms)
    except InputError as error:
        sys.exit(str(error))
    for sentence in checked.left_out:
        print(f"left out: {sentence}")


def _read(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    try:
        there = pq.read_schema(path).names
        known = [name for name in columns if name in there]
        rows: list[dict[str, Any]] = pq.read_table(path, columns=known).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}): make it with the workflow") from error
    needed = {"run", "outcome", "profiler", "function", "peak_rss_mib"} & set(columns)
    if missing := sorted(needed - set(there)):
        raise InputError(f"{path} has no column {missing[0]}: make it again with the workflow")
    return rows


def _settings(text: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise InputError(f"--checkpoint: {error}; give its settings as JSON") from None
    if not isinstance(settings, dict):
        raise InputError("--checkpoint: give its settings as a JSON object")
    return settings


if __name__ == "__main__":
    main()
