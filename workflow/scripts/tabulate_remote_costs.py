"""Tabulate what the runs of remote_indexing took and cost: each phase, each GPU, and actual beside estimated cost."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
from indexscope import schemas
from indexscope.analysis.remote_costs import cost_rows, phase_rows, read_runs
from indexscope.analysis.remote_estimate import Rent, read_estimate
from indexscope.analysis.run_directories import listed_paths, read_labels
from indexscope.memory_plan import encoder_of
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="RUN_JSON", help="run.json of a run directory")
    parser.add_argument(
        "--estimate", type=Path, required=True, help="what estimate_cost.py wrote before the runs"
    )
    parser.add_argument("--labels", metavar="JSON", default="{}", help="names of systems, as {SYSTEM: LABEL}")
    parser.add_argument("--checkpoint", required=True, metavar="JSON", help="settings of the checkpoint")
    parser.add_argument(
        "--rent", required=True, metavar="JSON", help="remote_indexing.rent of the configuration"
    )
    for name in ("phases", "gpus", "costs"):
        parser.add_argument(
            f"--{name}", type=Path, required=True, help=f"the table remote_{name} to write (Parquet)"
        )
    arguments = parser.parse_args()
    try:
        runs = list(read_runs(listed_paths(arguments.files, None), read_labels(arguments.labels)))
        estimate = read_estimate(arguments.estimate)
        checkpoint = encoder_of(_settings(arguments.checkpoint))
        phases = [row for run in runs for row in phase_rows(run, checkpoint)]
        costs = list(cost_rows(runs, estimate["costs"], Rent.of(arguments.rent).tables))
        for rows, schema, path, source in (
            (phases, schemas.REMOTE_PHASES, arguments.phases, "a run.json"),
            (estimate["gpus"], schemas.REMOTE_GPUS, arguments.gpus, arguments.estimate),
            (costs, schemas.REMOTE_COSTS, arguments.costs, arguments.estimate),
        ):
            _write(rows, schema, path, str(source))
    except InputError as error:
        sys.exit(str(error))


def _write(rows: list[dict[str, Any]], schema: pa.Schema, path: Path, source: str) -> None:
    try:
        schemas.write_table(rows, schema, path)
    except (pa.ArrowException, KeyError) as error:
        raise InputError(
            f"{source}: a row does not fit {path.stem} ({' '.join(str(error).split())}); make the file again"
        ) from error


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
