"""Time single queries with the precomputed table of faiss, without it, and with a shared one.

Over nprobe and list length; and in HNSWPQ, whose table no search should need. Writes one JSON line for each round, way
and point, with the time of every query.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="faiss_tables.latency and threads, as JSON"
    )
    parser.add_argument("--output", type=Path, required=True, help="the rounds to write (JSON lines)")
    arguments = parser.parse_args()
    from indexscope.faiss_tables import latency_grid

    output = arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    try:
        with (
            tempfile.TemporaryDirectory(dir=output.parent) as folder,
            partial.open("w", encoding="utf-8") as lines,
        ):
            for record in latency_grid.measure(arguments.settings, Path(folder), say=print):
                lines.write(json.dumps(record) + "\n")
        partial.replace(output)
    except InputError as error:
        sys.exit(str(error))
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
