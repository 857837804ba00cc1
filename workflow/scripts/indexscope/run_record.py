"""The run record (`run.json`) of a run directory, for all who read one. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
COMPLETED = "completed"


class InputError(ValueError):
    """Bad input. The message is one sentence that names the file, the key or row, and the remedy."""


@dataclass(frozen=True)
class RunIdentity:
    """What tells one run from another; the fields are the run key of every table."""

    system: str
    cell: str
    documents: int
    profiler: str
    repeat: int

    @property
    def run(self) -> str:
        """The run directory's path below results/index_runs."""
        return f"{self.system}-{self.cell}/{self.documents}/{self.profiler}/{self.repeat}"

    def columns(self) -> dict[str, Any]:
        return {"run": self.run, **asdict(self)}

    @classmethod
    def of(cls, section: Mapping[str, Any], path: Path) -> RunIdentity:
        """Take the identity from the "run" section of the JSON file at `path`.

        Raises:
            InputError: a field is missing or has another type.
        """
        types = {"system": str, "cell": str, "documents": int, "profiler": str, "repeat": int}
        for name, kind in types.items():
            if type(section.get(name)) is not kind:
                raise InputError(
                    f"{path}: run.{name}: {section.get(name)!r} is not of type {kind.__name__}; run it again"
                )
        return cls(**{name: section[name] for name in types})


def read_json_object(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON file whose top level is an object and whose "format" is ours.

    Raises:
        InputError: the file is missing, unreadable, no JSON object, or of another format. `remedy` says, in
            the message, what to do when the file is missing or damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: {remedy}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): {remedy}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} does not hold a JSON object: {remedy}")
    if value.get("format") != FORMAT:
        raise InputError(f"{path}: format: {value.get('format')!r} is not {FORMAT}: {remedy}")
    return value


def read_run_record(path: Path) -> dict[str, Any]:
    """Read a run.json.

    Raises:
        InputError: it is missing, not JSON, of another format, or lacks its identity or outcome.
    """
    record = read_json_object(path, remedy="the run did not finish; run index_collection.py again")
    if not isinstance(record.get("run"), dict):
        raise InputError(f"{path}: run: the identity of the run is missing; run index_collection.py again")
    if not isinstance(record.get("outcome"), str):
        raise InputError(
            f"{path}: outcome: {record.get('outcome')!r} is no outcome; run index_collection.py again"
        )
    return record
