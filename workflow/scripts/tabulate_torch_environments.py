"""Tabulate the environments of torch_versions: one row for each version, also where there is none."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexscope import schemas
from indexscope.run_record import InputError, read_json_object


def rows(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.TORCH_ENVIRONMENTS; an entry has version, environment, lock_digest and facts, a file."""
    columns = set(schemas.TORCH_ENVIRONMENTS.names)
    for entry in entries:
        facts = read_json_object(Path(entry["facts"]), remedy="run describe_torch.py")
        known = {name: value for name, value in facts.items() if name in columns}
        yield {name: entry[name] for name in ("version", "environment", "lock_digest")} | known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--environments",
        required=True,
        metavar="JSON",
        help="a list of {version, environment, lock_digest, facts: file of describe_torch.py}",
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        entries = json.loads(arguments.environments)
        schemas.write_table(rows(entries), schemas.TORCH_ENVIRONMENTS, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
