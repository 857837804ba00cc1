"""Rows as programs that measure write them: JSON lines with the columns of a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexscope.run_record import InputError


def measured_rows(paths: Iterable[Path], schema: pa.Schema, program: str) -> Iterator[dict[str, Any]]:
    """The rows of `schema` in files of JSON lines; a column that a row lacks is null.

    Args:
        program: what writes such files, for the remedy.

    Raises:
        InputError: a file is missing, or a line is no row of the table; the sentence names both.
    """
    required = {field.name for field in schema if not field.nullable}
    for path in paths:
        try:
            lines = path.open(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): run {program}") from error
        with lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                    if unknown := set(row) - set(schema.names):
                        raise ValueError(f"unknown columns {sorted(unknown)}")
                    if missing := {name for name in required if row.get(name) is None}:
                        raise ValueError(f"no {sorted(missing)[0]}")
                    if "started_at" in row:
                        row["started_at"] = datetime.fromisoformat(row["started_at"])
                    pa.Table.from_pylist([row], schema)
                except (ValueError, TypeError, AttributeError, pa.ArrowException) as error:
                    raise InputError(
                        f"{path}:{number} is no row of this table ({error}): delete the file and run {program} again"
                    ) from error
                yield row
