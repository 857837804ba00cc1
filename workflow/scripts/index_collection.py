"""Build one index under measurement in a fresh process, and write its run directory."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import sys
from typing import Any

if not sys.platform.startswith("linux"):
    sys.exit("Measuring needs Linux (/proc); parsing logs, figures and the report work everywhere.")

from indexscope.measure import supervisor

UNAVAILABLE = "INDEXSCOPE_UNAVAILABLE"  # environment variable: why the run's environment could not be built


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", type=pathlib.Path, required=True, help="resolved cell (JSON)")
    parser.add_argument("--collection", required=True, help="documents as JSON lines: document_id, text")
    parser.add_argument("--checkpoint", required=True, help="folder of a ColBERT checkpoint")
    parser.add_argument(
        "--extensions", help="folder of compiled torch extensions, where the framework has any"
    )
    parser.add_argument("--documents", type=int, required=True, help="number of documents in the collection")
    parser.add_argument(
        "--profiler",
        choices=["none", "spans", "memory_profiler", "ledger", "memray", "dumps"],
        required=True,
    )
    parser.add_argument("--repeat", type=int, required=True, help="number of this repeat, from 1")
    parser.add_argument(
        "--threads", type=int, help="threads that this job was given; fewer than the cell's is an error"
    )
    parser.add_argument(
        "--donor", help="run directory, made under the profiler dumps, that injected artifacts come from"
    )
    parser.add_argument("--output", required=True, help="run directory to write")
    args = parser.parse_args()

    # Leave by an exception, so that the worker's processes are ended and nothing half-written stays.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    paths = supervisor.Paths(args.collection, args.checkpoint, args.extensions, args.output, args.donor)
    cell = json.loads(args.cell.read_text())
    if args.threads is not None and args.threads < cell["threads"]:
        sys.exit(
            f"{args.output}: measurement.threads is {cell['threads']}, but this job was given {args.threads}; "
            f"start with --cores {cell['threads']} or more, or lower measurement.threads"
        )
    worker_program = str(pathlib.Path(__file__).resolve().with_name("index_worker.py"))
    obstacle = os.environ.get(UNAVAILABLE) or _obstacle(cell, args.profiler, args.donor, args.output)
    try:
        outcome = supervisor.run(
            cell, args.documents, args.profiler, args.repeat, paths, worker_program, obstacle
        )
    except supervisor.Defect as defect:
        sys.exit(f"{args.output}: {defect}")
    print(f"{args.output}: {outcome}")


def _obstacle(cell: dict[str, Any], profiler: str, donor: str | None, output: str) -> str | None:
    """Why a run under the profiler dumps cannot have a result; ends the program where the request is wrong."""
    if profiler != "dumps":
        if cell.get("injected"):
            sys.exit(f"{output}: the cell injects {', '.join(cell['injected'])}; that needs --profiler dumps")
        return None
    from indexscope.artifacts import hooks
    from indexscope.run_record import InputError

    try:
        return hooks.obstacle(cell, pathlib.Path(donor) if donor else None)
    except InputError as error:
        sys.exit(f"{output}: {error}")


if __name__ == "__main__":
    main()
