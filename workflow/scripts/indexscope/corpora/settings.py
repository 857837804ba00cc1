"""Settings that arrive as JSON: a dataclass states type, default, range and meaning once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from indexscope.run_record import InputError

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Range:
    """Inclusive bounds of a number; None leaves a side open."""

    minimum: float | None = None
    maximum: float | None = None

    def __contains__(self, value: float) -> bool:
        return (self.minimum is None or value >= self.minimum) and (
            self.maximum is None or value <= self.maximum
        )

    def __str__(self) -> str:
        if self.maximum is None:
            return f"at least {self.minimum:g}"
        if self.minimum is None:
            return f"at most {self.maximum:g}"
        return f"between {self.minimum:g} and {self.maximum:g}"


def setting(
    default: Any, description: str, minimum: float | None = None, maximum: float | None = None
) -> Any:
    """A dataclass field with its meaning and valid range as metadata (`description`, `range`)."""
    return field(default=default, metadata={"description": description, "range": Range(minimum, maximum)})


def parse_settings(cls: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """An instance of the dataclass `cls` (fields made by `setting`) from JSON values.

    Raises:
        InputError: unknown key, wrong type or value out of range; `where` (file or option) comes first.
    """
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise InputError(f"{where}: unknown setting {unknown[0]!r}; known settings: {', '.join(known)}")
    checked: dict[str, Any] = {}
    for name, given in values.items():
        kind = type(known[name].default)
        value = float(given) if kind is float and type(given) is int else given
        if type(value) is not kind:
            raise InputError(f"{where}: {name}: {value!r} is not a value of type {kind.__name__}")
        bounds = known[name].metadata["range"]
        if kind in (int, float) and value not in bounds:
            raise InputError(f"{where}: {name}: {value!r} is out of range, it must be {bounds}")
        checked[name] = value
    return cls(**checked)


def read_json_settings(argument: str, option: str) -> tuple[dict[str, Any], str]:
    """The JSON object given inline or as the path of a file, and the name to use for it in messages.

    Raises:
        InputError: no such file, not JSON, or not a JSON object.
    """
    inline = argument.lstrip().startswith("{")
    where = option if inline else argument
    try:
        values = json.loads(argument if inline else Path(argument).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{where}: cannot be read ({error.strerror}); give a JSON file or an inline JSON object"
        ) from error
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a JSON object with a key 'source'")
    return values, where
