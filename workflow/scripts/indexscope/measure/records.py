"""JSON lines that several processes append to one file.

Each record is one write to a file opened with O_APPEND, so that lines of parent and child do not mix.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Iterator


class Appender:
    """Appends to a file shared by several processes."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def text(self, text: str) -> None:
        os.write(self._file, text.encode("utf-8", "replace"))

    def record(self, **fields: Any) -> None:
        self.text(json.dumps(fields) + "\n")


def read(path: str) -> Iterator[Dict[str, Any]]:
    """The records of a file; a last line that a killed process left incomplete is passed over."""
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)
    except FileNotFoundError:
        return
