"""How segments are loaded. Each way of LOADERS is one load mode, and may be given others beside these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import copied, reading, shared


class Loaded(NamedTuple):
    """Segments in memory."""

    indexes: Sequence[Any]  # faiss indexes, in the order of the files
    # What else has to live as long as they do.
    kept: object = None


def default(paths: Sequence[Path]) -> Loaded:
    """As faiss.read_index does: a table for each segment."""
    return Loaded([reading.read_index(path, "default") for path in paths])


def skip(paths: Sequence[Path]) -> Loaded:
    """Without tables."""
    return Loaded([reading.read_index(path, "skip") for path in paths])


def share(paths: Sequence[Path]) -> Loaded:
    """One table for all segments of equal codebooks."""
    tables = shared.SharedTables()
    return Loaded([tables.load(path) for path in paths], tables)


def serialised(paths: Sequence[Path]) -> Loaded:
    """The table read into each segment from a file beside them (copied.prepare)."""
    return Loaded([copied.from_file(path) for path in paths])


def from_model(paths: Sequence[Path]) -> Loaded:
    """The table copied into each segment from that of the loaded model (copied.prepare)."""
    model = copied.model(paths[0])
    return Loaded([copied.from_model(path, model) for path in paths], model)


LOADERS: dict[str, Callable[[Sequence[Path]], Loaded]] = {
    "default": default,
    "skip": skip,
    "shared": share,
    "serialised": serialised,
    "from_model": from_model,
}
