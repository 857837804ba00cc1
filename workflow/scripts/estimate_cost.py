"""Estimate what remote_indexing will need and cost, before it starts: from settings and the documents' sizes alone."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indexscope.analysis.remote_estimate import Rent, estimate
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", type=Path, required=True, metavar="CELL", help="resolved cells")
    parser.add_argument(
        "--documents", type=Path, required=True, help="documents as JSON lines: document_id, text"
    )
    parser.add_argument("--labels", metavar="JSON", default="{}", help="names of systems, as {SYSTEM: LABEL}")
    parser.add_argument("--checkpoint", required=True, metavar="JSON", help="settings of the checkpoint")
    parser.add_argument(
        "--rent", required=True, metavar="JSON", help="remote_indexing.rent of the configuration"
    )
    parser.add_argument("--output", type=Path, required=True, help="the estimate to write (JSON)")
    arguments = parser.parse_args()
    try:
        found = estimate(
            [json_object(path.read_text(encoding="utf-8"), str(path)) for path in arguments.cells],
            arguments.documents,
            json_object(arguments.checkpoint, "--checkpoint"),
            json_object(arguments.labels, "--labels"),
            Rent.of(arguments.rent),
            datetime.now(UTC).date(),
        )
    except (InputError, OSError) as error:
        sys.exit(str(error))
    for line in found.lines():
        print(line)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    partial.write_text(json.dumps(found.json(), indent=1) + "\n", encoding="utf-8")
    partial.replace(arguments.output)


def json_object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: is no JSON ({error}); give an object") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: is no JSON object; give one")
    return value


if __name__ == "__main__":
    main()
