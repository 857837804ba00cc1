"""Published times of encoding, from the CSV under config/published to rows of a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexscope import schemas
from indexscope.run_record import InputError

_COLUMNS = schemas.PUBLISHED_ENCODE_SECONDS.names
_SECONDS = "seconds_per_25k_passages"


def published_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of schemas.PUBLISHED_ENCODE_SECONDS from the CSV at `path`.

    Raises:
        InputError: the file cannot be read, lacks a column, or a row has no positive number of seconds.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise InputError(f"{path}: lacks the column {missing[0]}; see README.md beside it")
            for row in reader:
                yield {name: row[name] for name in _COLUMNS} | {
                    _SECONDS: _seconds(row[_SECONDS], path, reader.line_num)
                }
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); it is part of the repository") from None


def _seconds(text: str, path: Path, line: int) -> float:
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"{path}: line {line}: {_SECONDS} is {text!r}; write a positive number")
    return seconds
