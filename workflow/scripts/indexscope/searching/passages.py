"""The passages of an index and where each is from, in the files that RAGatouille keeps beside one.

RAGatouille 0.0.9 (ragatouille/models/colbert.py, _get_collection_files_from_disk) reads `collection.json`, a list of
texts, `pid_docid_map.json`, position → document, and, if it is there, `docid_metadata_map.json`, document → metadata.
colbert-ai writes none of them: it expects its caller to have the collection. With them, either searches the folder
wherever it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.run_record import InputError

from .index_folder import IndexFolder, locate

COLLECTION, DOCUMENT_IDS, METADATA = "collection.json", "pid_docid_map.json", "docid_metadata_map.json"
_PAGE = re.compile(r"(?P<file>.+)#page=(?P<page>\d+)")


class Source(NamedTuple):
    """Where a passage is from; nothing where the corpus is not of PDFs."""

    file: str | None = None
    page: int | None = None  # from 1
    title: str | None = None


@dataclass(frozen=True)
class Passages:
    """Texts and documents by position in the index, and metadata by document."""

    texts: Sequence[str]
    document_ids: Sequence[str]
    metadata: dict[str, dict[str, Any]]

    def source(self, passage: int) -> Source:
        document_id = self.document_ids[passage]
        known = self.metadata.get(document_id) or {}
        of_id = source_of(document_id)
        return Source(
            known.get("file", of_id.file), known.get("page", of_id.page), known.get("title", of_id.title)
        )


def source_of(document_id: str) -> Source:
    """The file and page that a document identifier names: FILE#page=NUMBER."""
    match = _PAGE.fullmatch(document_id)
    return Source(match["file"], int(match["page"])) if match else Source()


def read(index: IndexFolder, collection: Path | None = None) -> Passages:
    """The passages of an index: its own, else those of `collection`, else of the file that colbert-ai was given.

    Raises:
        InputError: there are none, they cannot be read, or they are not as many as the index has.
    """
    if index.has_passages:
        where: Path = index.path / COLLECTION
        texts, ids = _own(index.path)
        metadata = _value(index.path / METADATA, dict) if (index.path / METADATA).is_file() else {}
    else:
        where = where_else(index, collection)
        rows = list(_rows(where))
        texts, ids, metadata = [text for _, text in rows], [document_id for document_id, _ in rows], {}
    if not len(texts) == len(ids) == index.passages:
        raise InputError(
            f"{where} has {len(texts)} passages, {index.path} {index.passages}; give the collection that was indexed, "
            "split as it was"
        )
    return Passages(texts, ids, metadata)


def where_else(index: IndexFolder, collection: Path | None) -> Path:
    """The file with the passages of an index that has none beside it: `collection`, or what colbert-ai was given.

    Raises:
        InputError: nobody names one.
    """
    if collection is not None:
        return collection
    if not isinstance(index.collection, str):  # of a list, colbert-ai notes the first three
        raise InputError(f"{index.path} has no passages beside it; give what was indexed with --collection")
    return Path(index.collection)


def complete(path: Path, collection: Path, pages: Path | None = None) -> list[str]:
    """Put passages beside an index that has none, and of PDFs each document's file, page and title; the files written.

    An index that a run did not make stays as it is. Passages are written as they are read: memory does not grow with
    the collection.

    Args:
        path: folder of an index.
        collection: document_id and text as JSON lines; a passage a row, or a document where the index has its passages.
        pages: what became of the pages of the PDFs (JSON lines), for their titles.

    Raises:
        InputError: the index is not whole, or the collection has not as many passages.
    """
    if path.is_dir() and not any(path.glob("*.json")):
        return []  # of a run that has another outcome
    index = locate(path)
    written = []
    try:
        if not index.has_passages:
            _write_passages(index, collection)
            written += [COLLECTION, DOCUMENT_IDS]
        if not (path / METADATA).exists() and _write_metadata(path, collection, _titles(pages)):
            written.append(METADATA)
        for name in written:  # all of them, or none
            _partial(path / name).replace(path / name)
    finally:
        for name in (COLLECTION, DOCUMENT_IDS, METADATA):
            _partial(path / name).unlink(missing_ok=True)
    return written


def _write_passages(index: IndexFolder, collection: Path) -> None:
    count = 0
    with ExitStack() as stack:
        texts, ids = (
            stack.enter_context(_partial(index.path / name).open("w", encoding="utf-8"))
            for name in (COLLECTION, DOCUMENT_IDS)
        )
        texts.write("[")
        ids.write("{")
        for count, (document_id, text) in enumerate(_rows(collection), 1):
            before = "\n" if count == 1 else ",\n"
            texts.write(before + json.dumps(text, ensure_ascii=False))
            ids.write(f"{before}{json.dumps(str(count - 1))}: {json.dumps(document_id, ensure_ascii=False)}")
        texts.write("\n]\n")
        ids.write("\n}\n")
    if count != index.passages:
        raise InputError(
            f"{collection} has {count} passages, {index.path} {index.passages}; give the collection that was indexed, "
            "split as it was"
        )


def _write_metadata(path: Path, collection: Path, titles: dict[str, str]) -> bool:
    """Write file, page and title of each document; false where none is a page of a PDF."""
    last, count = None, 0
    with _partial(path / METADATA).open("w", encoding="utf-8") as output:
        output.write("{")
        for document_id, _ in _rows(collection):
            source = source_of(document_id)
            if source.file is None or document_id == last:  # split, a document is several rows
                continue
            title = titles.get(source.file)
            values = {"file": source.file, "page": source.page, **({"title": title} if title else {})}
            output.write("\n" if count == 0 else ",\n")
            output.write(
                f"{json.dumps(document_id, ensure_ascii=False)}: {json.dumps(values, ensure_ascii=False)}"
            )
            last, count = document_id, count + 1
        output.write("\n}\n")
    return count > 0


def _titles(pages: Path | None) -> dict[str, str]:
    """File → title."""
    if pages is None:
        return {}
    try:
        with pages.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return {row["file"]: row["title"] for row in rows if row.get("title")}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{pages} cannot be read as pages of PDFs ({error}); make it again") from None


def _own(folder: Path) -> tuple[list[str], list[str]]:
    texts = _value(folder / COLLECTION, list)
    ids = _value(folder / DOCUMENT_IDS, dict)
    try:
        return texts, [ids[str(position)] for position in range(len(ids))]
    except KeyError as error:
        raise InputError(
            f"{folder / DOCUMENT_IDS} lacks passage {error.args[0]}; build the index again"
        ) from None


def _value(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); build the index again") from None
    if not isinstance(value, kind):
        raise InputError(f"{path} holds no {kind.__name__}; build the index again")
    return value


def _rows(collection: Path) -> Iterator[tuple[str, str]]:
    """Document and text of each row: JSON lines, or identifier, tab and text where the name ends in .tsv."""
    number = 0
    try:
        with collection.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                if collection.suffix == ".tsv":
                    document_id, text = line.rstrip("\n").split("\t")[:2]
                else:
                    row = json.loads(line)
                    document_id, text = row["document_id"], row["text"]
                yield document_id, text
    except OSError as error:
        raise InputError(f"{collection} cannot be read ({error.strerror}); give what was indexed") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{collection}: line {number} has no document_id and text; give what was indexed"
        ) from None


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")
