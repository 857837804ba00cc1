"""Fetching alone: every loader must have fetched the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from indexscope import schemas
from indexscope.run_record import COMPLETED, InputError

from .measured_rows import measured_rows


def fetch_rows(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.DOCUMENT_FETCHES from what measure_fetches.py wrote.

    Raises:
        InputError: a file or line is damaged, or two loaders fetched other bytes for the same documents.
    """
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in measured_rows(paths, schemas.DOCUMENT_FETCHES, "measure_fetches.py"):
        if row["outcome"] == COMPLETED:
            asked_for = tuple(row[name] for name in ("order", "documents", "fetches"))
            reference = first.setdefault(asked_for, row)
            if row["texts_digest"] != reference["texts_digest"]:
                raise InputError(
                    f"{_words(row)} and {_words(reference)} fetched different bytes for the same documents: one "
                    "loader is wrong; delete results/document_sources and run snakemake document_access again"
                )
        yield row


def _words(row: dict[str, Any]) -> str:
    return f"{row['loader']} ({row['order']}, {row['cache']}, repeat {row['repeat']})"
