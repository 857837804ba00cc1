"""All documents in a dictionary of the process, as the published trainers hold them."""

from __future__ import annotations

from pathlib import Path

from indexscope.document_access import raw_files
from indexscope.document_access.base import BaseLoader


class InMemory(BaseLoader):
    """A dictionary identifier → text, filled by reading the collection."""

    def __init__(self, collection: Path) -> None:
        """Read the collection.

        Raises:
            InputError: as raw_files.documents, or an identifier is there twice.
        """
        self.files = [collection]
        self._opened_with = (collection,)
        self._texts: dict[str, str] = {}
        for _, document_id, text in raw_files.documents(collection):
            if document_id in self._texts:
                raise raw_files.repeated(collection, document_id)
            self._texts[document_id] = text

    def get(self, document_id: str) -> str:
        """The text of a document; KeyError with an unknown identifier."""
        return self._texts[document_id]

    def close(self) -> None:
        self._texts = {}
