"""Export a run for other viewers: PREFIX.trace.json (Perfetto) and PREFIX.speedscope.json (speedscope)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope.analysis import ledger, trace_export
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Open the first at https://ui.perfetto.dev, the second at https://www.speedscope.app; neither sends "
        "the file anywhere.",
    )
    parser.add_argument("directory", type=Path, metavar="RUN_DIR", help="a run directory (with run.json)")
    parser.add_argument("--output", type=Path, required=True, metavar="PREFIX", help="path without suffix")
    arguments = parser.parse_args()
    try:
        run = trace_export.read(arguments.directory)
        observed = arguments.directory / "ledger.jsonl"  # empty but under the profiler ledger
        parts = ledger.rows([observed]) if observed.exists() else ()
        for path in trace_export.write(run, arguments.output, parts):
            print(path)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
