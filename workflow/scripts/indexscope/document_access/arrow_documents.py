"""Documents in an Arrow IPC file, memory-mapped, and a table of identifiers and rows beside it (id_table.py)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from indexscope.document_access import raw_files
from indexscope.document_access.base import BaseLoader
from indexscope.document_access.id_table import RepeatedIdError
from indexscope.document_access.table_file import TableFile, write_table
from indexscope.run_record import InputError

if TYPE_CHECKING:
    import pyarrow as pa

# What is in memory while the file is written: bounded in documents and, for long ones, in characters of text.
BATCH_DOCUMENTS = 16_384
BATCH_CHARACTERS = 16 * 2**20
_AGAIN = "run prepare_documents.py --loaders arrow once more"


class BuiltArrow(NamedTuple):
    """What was written: two files, their documents, and the bytes of `index_file` a document."""

    documents_file: Path
    index_file: Path
    documents: int
    index_bytes_per_document: float


def build(collection: Path, output: Path) -> BuiltArrow:
    """Write the documents of `collection` to `output`, uncompressed, and their table to a file beside it.

    Memory is a record batch and what IdTableBuilder needs.

    Raises:
        InputError: the collection is empty, or has a wrong line or twice the same identifier. No file is left.
    """
    index = output.with_suffix(".index")
    partial = output.with_name(output.name + ".partial")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write(collection, partial)
        rows = _Rows(partial)
        try:
            # The file was just written, and is in the page cache: a second reading of the collection is not needed.
            built = write_table(
                index, rows.ids(), rows.document_id, lambda: {"documents_bytes": _size(partial)}
            )
        except RepeatedIdError as error:
            raise raw_files.repeated(collection, error.args[0]) from None
        finally:
            rows.close()
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return BuiltArrow(output, index, built.documents, built.index_bytes_per_document)


def _write(collection: Path, path: Path) -> None:
    import pyarrow as pa

    schema = pa.schema([("document_id", pa.string()), ("text", pa.string())])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for ids, texts in _batches(collection):
            writer.write_batch(
                pa.record_batch([pa.array(ids, pa.string()), pa.array(texts, pa.string())], schema=schema)
            )


def _batches(collection: Path) -> Iterator[tuple[list[str], list[str]]]:
    ids: list[str] = []
    texts: list[str] = []
    characters = 0
    for _, document_id, text in raw_files.documents(collection):
        ids.append(document_id)
        texts.append(text)
        characters += len(text)
        if len(ids) == BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield ids, texts
            ids, texts, characters = [], [], 0
    if ids:
        yield ids, texts


def _size(path: Path) -> int:
    return path.stat().st_size


class _Rows:
    """The rows of an Arrow IPC file, memory-mapped; a value is copied when it is asked for."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        try:
            self._mapped = pa.memory_map(str(path))
            with pa.ipc.open_file(self._mapped) as reader:
                # All now: only their positions are read, and a forked process must not ask the reader, whose
                # threads it does not have.
                batches: list[pa.RecordBatch] = [
                    reader.get_batch(number) for number in range(reader.num_record_batches)
                ]
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())}); {_AGAIN}") from None
        self._columns = [(batch.column(0), batch.column(1)) for batch in batches]
        self._ends = list(accumulate(batch.num_rows for batch in batches))

    def value(self, row: int, column: int) -> str:
        number = bisect_right(self._ends, row)
        first = self._ends[number - 1] if number else 0
        found: str = self._columns[number][column][row - first].as_py()
        return found

    def document_id(self, row: int) -> str:
        return self.value(row, 0)

    def ids(self) -> Iterator[tuple[str, int]]:
        """Each identifier and its row."""
        row = 0
        for ids, _ in self._columns:
            for document_id in ids.to_pylist():
                yield document_id, row
                row += 1

    def close(self) -> None:
        # The mapping goes with the last array of it.
        self._columns = []
        self._mapped.close()


class ArrowDocuments(BaseLoader):
    """Documents of an Arrow file by their identifiers."""

    def __init__(self, documents: Path, index: Path) -> None:
        """Open both files.

        Raises:
            InputError: a file is missing or damaged, or they do not belong together.
        """
        self.files = [documents, index]
        self._opened_with = (documents, index)
        self._table = TableFile(index, _AGAIN)
        try:
            if not documents.is_file() or _size(documents) != self._table.header["documents_bytes"]:
                raise InputError(f"{documents}: is missing, cut off or not that of {index.name}; {_AGAIN}")
            self._rows = _Rows(documents)
        except BaseException:
            self._table.close()
            raise

    def get(self, document_id: str) -> str:
        """The text of a document; KeyError with an unknown identifier."""
        for row in self._table.candidates(document_id):
            if self._rows.value(row, 0) == document_id:
                return self._rows.value(row, 1)
        raise KeyError(document_id)

    def close(self) -> None:
        self._table.close()
        self._rows.close()
