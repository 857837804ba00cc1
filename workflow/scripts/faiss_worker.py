"""Load segments in this process, search them, and write what memory and time that took (JSON).

Runs in the environment of faiss; measure_faiss_memory.py starts it, a fresh process for each measurement.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope.faiss_tables import cell, segments
from indexscope.measure import command_line
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--segments", type=Path, required=True, metavar="FOLDER", help="what build_faiss_segments.py wrote"
    )
    parser.add_argument("--count", type=int, required=True, help="segments to load, the first ones")
    parser.add_argument(
        "--load-mode", required=True, help="how: default, skip, shared, or another of loading.py"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="the file to write (JSON); results.npz beside it"
    )
    arguments = parser.parse_args()
    command_line.require_linux()
    try:
        folder = segments.read(arguments.segments)
        cell.write(arguments.output, *cell.measure(folder, arguments.count, arguments.load_mode))
    except InputError as error:
        sys.exit(f"InputError: {error}")


if __name__ == "__main__":
    main()
