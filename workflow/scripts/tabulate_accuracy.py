"""Tabulate what each instrument saw of spikes of known size."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexscope import schemas
from indexscope.ground_truth import cases
from indexscope.ground_truth.spikes import Spike
from indexscope.run_record import InputError

_REMEDY = "delete it and make the target accuracy again"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spikes", type=Path, help="what measure_spikes.py all wrote (JSON lines)")
    parser.add_argument(
        "--levels",
        type=Path,
        nargs="+",
        required=True,
        help="what measure_spikes.py one printed, one file for each spike: MIB-MILLISECONDS.jsonl",
    )
    parser.add_argument(
        "--benchmarks",
        type=Path,
        nargs="+",
        required=True,
        help="Snakemake's benchmark of each, in that order",
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    if len(arguments.levels) != len(arguments.benchmarks):
        parser.error("give as many --benchmarks as --levels")
    try:
        rows = list(_objects(arguments.spikes))
        for levels, benchmark in zip(arguments.levels, arguments.benchmarks, strict=True):
            rows += _benchmarked(levels, benchmark)
        schemas.write_table(rows, schemas.MEASUREMENT_ACCURACY, arguments.output)
    except InputError as error:
        sys.exit(str(error))


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON ({error}): {_REMEDY}") from error
        if isinstance(value, dict):
            yield value


def _benchmarked(levels_path: Path, benchmark_path: Path) -> Iterator[dict[str, Any]]:
    mib, _, milliseconds = levels_path.stem.partition("-")
    spike = Spike(int(mib), int(milliseconds) / 1000)
    levels = [level["base_mib"] for level in _objects(levels_path)]
    with benchmark_path.open(encoding="utf-8") as file:
        benchmarks = list(csv.DictReader(file, delimiter="\t"))
    if len(levels) != len(benchmarks):
        raise InputError(
            f"{benchmark_path} has {len(benchmarks)} rows, {levels_path} has {len(levels)}: {_REMEDY}"
        )
    for repeat, (level, benchmark) in enumerate(zip(levels, benchmarks, strict=True), 1):
        sampled = benchmark["max_rss"] not in ("", "-", "NA")
        yield cases.benchmark_row(spike, repeat, level, float(benchmark["max_rss"]) if sampled else None)


if __name__ == "__main__":
    main()
