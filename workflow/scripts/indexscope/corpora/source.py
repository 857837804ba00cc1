"""What every corpus provides, whatever it is read from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple, Protocol

from indexscope.run_record import InputError


class Document(NamedTuple):
    """One document: its identifier, unique in the corpus and not empty, and its text."""

    document_id: str
    text: str


class CorpusSource(Protocol):
    """An ordered corpus; the first `count` documents are the same whenever they are asked for."""

    def documents(self, count: int | None) -> Iterator[Document]:
        """The first `count` documents in order, fewer when the corpus ends before; None is all of them.

        Raises:
            InputError: all are asked for, and the corpus has no end.
        """
        ...

    def where(self, position: int) -> str:
        """Where the document at `position` (from 0) comes from, such as `FILE: line 3`, for messages.

        It may read the corpus up to there.
        """
        ...

    def describe(self) -> str:
        """One line for the report: what the corpus is and by which settings."""
        ...


class Row(NamedTuple):
    """A document as it was read: of which file, and where in it (`unit` and `number`, such as line 3)."""

    file: str
    unit: str
    number: int
    document_id: str
    text: str


def kept(rows: Iterator[Row], on_empty_text: Literal["keep", "drop", "error"]) -> Iterator[Row]:
    """The rows that are documents; text of white space alone is empty.

    Raises:
        InputError: a text is empty and `on_empty_text` is error.
    """
    for row in rows:
        if on_empty_text == "keep" or row.text.strip():
            yield row
        elif on_empty_text == "error":
            raise InputError(
                f"{row.file}: {row.unit} {row.number}: document {row.document_id!r} has no text; correct it, "
                "or set on_empty_text to keep or drop"
            )


def documents(rows: Iterator[Row], count: int | None) -> Iterator[Document]:
    """The first `count` rows as documents; None is all of them."""
    return (Document(row.document_id, row.text) for row in islice(rows, count))


def where(rows: Iterator[Row], position: int) -> str:
    """File, unit and number of the row at `position`."""
    row = next(islice(rows, position, None))
    return f"{row.file}: {row.unit} {row.number}"
