"""The measured process that measure_search.py starts: load one index, ask queries, write what that took (JSON)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope.measure import command_line
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specification", type=Path, help="what measure_search.py asks for (JSON)")
    arguments = parser.parse_args()
    command_line.require_linux()
    from indexscope.searching import worker

    try:
        worker.run(arguments.specification)
    except InputError as error:
        sys.exit(f"InputError: {error}")


if __name__ == "__main__":
    main()
