"""What programs that measure write, line by line: JSON objects, or the rows of a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from indexscope.run_record import InputError


class Record(NamedTuple):
    """A JSON object, and where it stands: `FILE: line NUMBER`."""

    where: str
    values: dict[str, Any]


def json_lines(path: Path, program: str, required: Sequence[str] = ()) -> Iterator[Record]:
    """The lines of a file, one at a time.

    Args:
        program: what writes such files, for the remedy.
        required: keys that each object has.

    Raises:
        InputError: the file is missing or empty, or a line is no such object; the sentence names both.
    """
    remedy = f"run {program} again"
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                where = f"{path}: line {number}"
                try:
                    values = json.loads(line)
                except json.JSONDecodeError as error:
                    raise InputError(f"{where} is no JSON ({error}): {remedy}") from error
                known = values if isinstance(values, dict) else {}
                if missing := [name for name in required if name not in known]:
                    raise InputError(f"{where} has no {missing[0]}: {remedy}")
                yield Record(where, known)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): {remedy}") from error
    if not number:
        raise InputError(f"{path} has no line: {remedy}")


def measured_rows(paths: Iterable[Path], schema: pa.Schema, program: str) -> Iterator[dict[str, Any]]:
    """The rows of `schema` in files of JSON lines; a column that a row lacks is null.

    Raises:
        InputError: as `json_lines`; or a line is no row of the table.
    """
    required = [field.name for field in schema if not field.nullable]
    for path in paths:
        for where, row in json_lines(path, program, required):
            try:
                if unknown := set(row) - set(schema.names):
                    raise ValueError(f"unknown columns {sorted(unknown)}")
                if "started_at" in row:
                    row["started_at"] = datetime.fromisoformat(row["started_at"])
                pa.Table.from_pylist([row], schema).validate(full=True)
                if missing := [name for name in required if row[name] is None]:
                    raise ValueError(f"no {missing[0]}")
            except (ValueError, TypeError, pa.ArrowException) as error:
                raise InputError(
                    f"{where} is no row of this table ({error}): delete the file and run {program} again"
                ) from error
            yield row
