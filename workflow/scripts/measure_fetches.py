"""Measure fetching alone: each loader, order and page cache in fresh processes; one JSON line each."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from indexscope.measure import command_line

command_line.require_linux()

from indexscope.document_access import fetching  # noqa: E402 (needs Linux)
from indexscope.run_record import InputError  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", required=True, help="loaders, orders, caches, fetches, repeats, seed, … (JSON)"
    )
    parser.add_argument("--collection", type=Path, required=True, help="documents as JSON lines")
    parser.add_argument(
        "--sources", type=Path, required=True, help="manifest.json that prepare_documents.py wrote"
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON lines, one for each process")
    args = parser.parse_args()

    command_line.leave_by_exception()
    scratch = args.output.with_name(args.output.name + ".runs")  # of a fixed name: a killed start's is found
    partial = args.output.with_name(args.output.name + ".partial")
    worker = str(Path(__file__).resolve().with_name("fetching_worker.py"))
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with partial.open("w", encoding="utf-8") as records:
            for row in fetching.measure(
                json.loads(args.settings), args.collection, args.sources, scratch, worker
            ):
                records.write(json.dumps(row) + "\n")
        partial.replace(args.output)
    except InputError as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
