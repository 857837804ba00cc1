"""Try what could be done instead of a table for each segment: memory, load time and search time (JSON lines).

Runs in the environment of faiss. Memory is measured in fresh processes, searches in turn in this one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from indexscope.faiss_tables import alternatives, segments
from indexscope.measure import command_line
from indexscope.run_record import InputError

WORKER = Path(__file__).with_name("faiss_worker.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--segments",
        type=Path,
        required=True,
        nargs="+",
        metavar="FOLDER",
        help="what build_faiss_segments.py wrote, one folder for each index type and metric",
    )
    parser.add_argument(
        "--settings",
        type=json.loads,
        required=True,
        metavar="JSON",
        help="segments, repeats, memory_limit_mib, threads, timeout_seconds",
    )
    parser.add_argument("--output", type=Path, required=True, help="the file to write (JSON lines)")
    arguments = parser.parse_args()
    command_line.require_linux()
    command_line.leave_by_exception()
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    try:
        settings = alternatives.Settings.of(arguments.settings)
        folders = [segments.read(path) for path in arguments.segments]
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as lines:
            for folder in folders:
                for record in alternatives.measure(folder, settings, WORKER):
                    lines.write(json.dumps(record) + "\n")
        partial.replace(arguments.output)
    except InputError as error:
        sys.exit(str(error))
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
