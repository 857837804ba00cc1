"""Build the offset index of a large made-up collection, and read it beside a bare pread and ir_datasets."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from indexscope.measure import command_line

command_line.require_linux()

from indexscope.document_access import scale  # noqa: E402 (needs Linux)
from indexscope.run_record import InputError  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="documents, words, fetches, rounds, seed, … (JSON)")
    parser.add_argument("--output", type=Path, required=True, help="JSON lines, one for each build and round")
    args = parser.parse_args()

    command_line.leave_by_exception()
    scratch = args.output.with_name(
        args.output.name + ".scratch"
    )  # of a fixed name: a killed start's is found
    partial = args.output.with_name(args.output.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with partial.open("w", encoding="utf-8") as records:
            for row in scale.measure(json.loads(args.settings), scratch):
                records.write(json.dumps(row) + "\n")
        partial.replace(args.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
