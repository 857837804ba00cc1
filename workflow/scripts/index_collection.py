"""Build one index under measurement in a fresh process, and write its run directory."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from typing import Any

from indexscope.measure import command_line

command_line.require_linux()

from indexscope.measure import supervisor  # noqa: E402 (needs Linux)

UNAVAILABLE = "INDEXSCOPE_UNAVAILABLE"  # environment variable: why the run's environment could not be built


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    command_line.add_run(parser, may_be_all=True)
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
    parser.add_argument(
        "--scratch",
        default="",
        metavar="DIR",
        help="folder of a fast local disk: the index is built there, then copied; not where the cell has resume: "
        "true, whose unfinished index must outlive the machine; default: built beside the output",
    )
    parser.add_argument("--output", required=True, help="run directory to write")
    args = parser.parse_args()

    command_line.leave_by_exception()
    paths = supervisor.Paths(
        args.collection, args.checkpoint, args.extensions, args.output, args.donor, args.scratch or None
    )
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
            cell, command_line.documents(args), args.profiler, args.repeat, paths, worker_program, obstacle
        )
    except supervisor.Defect as defect:
        sys.exit(f"{args.output}: {defect}")
    except supervisor.Repeated as repeated:
        sys.exit(f"{args.output}: {repeated}; the next attempt gets more")
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
