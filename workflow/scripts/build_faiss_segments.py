"""Build segments of one model: indexes with the same trained codebooks, each with its own vectors.

Runs in the environment of faiss. Writes a folder: segment-000.faiss …, queries.npy, primer.faiss and manifest.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from indexscope.faiss_tables import segments
from indexscope.measure import command_line
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--segments", required=True, metavar="JSON", help="index_type, metric, segments (how many), geometry"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the folder to write")
    arguments = parser.parse_args()
    command_line.leave_by_exception()
    try:
        section = json.loads(arguments.segments)
        if not isinstance(section, dict):
            raise InputError("--segments: this is no JSON object; see the rule build_faiss_segments")
        segments.build(segments.Content.of(section, "--segments"), arguments.output)
    except json.JSONDecodeError as error:
        sys.exit(f"--segments: this is no JSON ({error}); see the rule build_faiss_segments")
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
