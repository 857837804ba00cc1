"""What every corpus provides, whatever it is read from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Document(NamedTuple):
    """One document: its identifier, unique in the corpus and not empty, and its text."""

    document_id: str
    text: str


class CorpusSource(Protocol):
    """An ordered corpus; the first `count` documents are the same whenever they are asked for."""

    def documents(self, count: int) -> Iterator[Document]:
        """The first `count` documents in order, fewer when the corpus ends before."""
        ...

    def describe(self) -> str:
        """One line for the report: what the corpus is and by which settings."""
        ...
