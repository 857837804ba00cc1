"""The first N documents of a corpus as Parquet, and as JSON lines for readers without pyarrow."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexscope.corpora.source import CorpusSource, Document
from indexscope.run_record import InputError

SLICE_SCHEMA = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
# A row group is what a reader must hold: bounded in documents and, for long ones, in characters of text.
ROW_GROUP_DOCUMENTS = 16_384
ROW_GROUP_CHARACTERS = 16 * 2**20


@dataclass(frozen=True)
class Slice:
    """A written slice: its two files, its number of documents and the files' sizes in bytes."""

    parquet: Path
    jsonl: Path
    documents: int
    parquet_bytes: int
    jsonl_bytes: int


def write_slice(corpus: CorpusSource, count: int | None, output: Path) -> Slice:
    """Write the first `count` documents, or all, to `output` (.parquet) and to the .jsonl beside it, in one pass.

    Memory is one row group and 8 bytes a document. Both files get their names only when both are complete.

    Raises:
        InputError: `count` or `output` unusable, too few documents, an empty or repeated document_id, or text
            that is not valid Unicode. No file is left.
    """
    if count is not None and count < 1:
        raise InputError(f"--documents: {count} is not a positive number of documents")
    if output.suffix != ".parquet":
        raise InputError(f"{output}: the name of a slice must end in .parquet")
    jsonl = output.with_suffix(".jsonl")
    parquet_partial, jsonl_partial = (path.with_name(path.name + ".partial") for path in (output, jsonl))
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = _write(corpus, count, parquet_partial, jsonl_partial)
        if count is None and not written:
            raise InputError(f"{corpus.describe()}: it has no documents; name another corpus")
        if count is not None and written < count:
            raise InputError(
                f"{corpus.describe()}: {count} documents were asked for, it has only {written}; ask for fewer"
            )
        jsonl_partial.replace(jsonl)
        parquet_partial.replace(output)
    finally:
        parquet_partial.unlink(missing_ok=True)
        jsonl_partial.unlink(missing_ok=True)
    return Slice(output, jsonl, written, output.stat().st_size, jsonl.stat().st_size)


def _write(corpus: CorpusSource, count: int | None, parquet_path: Path, jsonl_path: Path) -> int:
    """Write both files and return the number of documents; raise InputError on an unusable document_id."""
    hashes = array("q")
    with (
        jsonl_path.open("wb") as jsonl,
        pq.ParquetWriter(parquet_path, SLICE_SCHEMA, compression="zstd") as parquet,
    ):
        for group in _row_groups(corpus.documents(count)):
            for document in group:
                if not document.document_id:
                    raise InputError(f"{corpus.where(len(hashes))}: the document_id is empty; correct it")
                try:
                    jsonl.write(_json_line(document))
                except UnicodeEncodeError as error:
                    raise InputError(
                        f"{corpus.where(len(hashes))}: document {document.document_id!a} is not valid Unicode "
                        f"({error.reason}); correct it"
                    ) from None
                hashes.append(hash(document.document_id))
            parquet.write_table(pa.Table.from_pylist([item._asdict() for item in group], SLICE_SCHEMA))
    _refuse_repeated_ids(corpus, hashes, parquet_path)
    return len(hashes)


def _row_groups(documents: Iterable[Document]) -> Iterator[list[Document]]:
    group: list[Document] = []
    characters = 0
    for document in documents:
        group.append(document)
        characters += len(document.text)
        if len(group) == ROW_GROUP_DOCUMENTS or characters >= ROW_GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _json_line(document: Document) -> bytes:
    return (json.dumps(document._asdict(), ensure_ascii=False) + "\n").encode()


def _refuse_repeated_ids(corpus: CorpusSource, hashes: array[int], parquet_path: Path) -> None:
    """Raise InputError for the first document_id that occurs twice.

    Equal hashes only point at candidates; the identifiers themselves are read back and compared.
    """
    ordered = np.sort(np.frombuffer(hashes, dtype=np.int64))
    candidates = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not candidates:
        return
    first_seen: dict[str, int] = {}
    position = 0
    with pq.ParquetFile(parquet_path) as file:
        for batch in file.iter_batches(columns=["document_id"]):
            for document_id in batch.column(0).to_pylist():
                if (
                    hash(document_id) in candidates
                    and first_seen.setdefault(document_id, position) != position
                ):
                    raise InputError(
                        f"{corpus.where(position)}: document_id {document_id!r} is not unique, "
                        f"{corpus.where(first_seen[document_id])} has it too; correct one, or id_column"
                    )
                position += 1
