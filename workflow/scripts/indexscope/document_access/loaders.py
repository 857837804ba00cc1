"""The ways in which a trainer can read its documents, behind one interface: identifier → text.

    in_memory      a dict of all documents, in each process
    offset_index   the raw file, memory-mapped, and a sorted table of identifiers and byte offsets
    ir_datasets    the docstore of ir_datasets: pickled, LZ4-compressed records in a file
    arrow          an Arrow IPC file, memory-mapped, and a sorted table of identifiers and rows
    shared_memory  one copy in memory for all processes of a machine

All return the same text for the same identifier: that of raw_files. A loader works in the process that opened
it, in those forked from it, and, pickled, in those that are spawned: what it reads is opened again there
(in_memory reads the collection again; shared_memory attaches to the copy of the process that pickled it).
No torch here; each loader's module is imported when it is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from indexscope.document_access import raw_files
from indexscope.run_record import InputError, read_json_object

IN_MEMORY, OFFSET_INDEX, IR_DATASETS, ARROW, SHARED_MEMORY = (
    "in_memory",
    "offset_index",
    "ir_datasets",
    "arrow",
    "shared_memory",
)
# Those that read files which prepare_documents.py makes; the others read the collection only.
PREPARED = (OFFSET_INDEX, IR_DATASETS, ARROW)
LOADERS = (IN_MEMORY, OFFSET_INDEX, IR_DATASETS, ARROW, SHARED_MEMORY)
MANIFEST = "manifest.json"


class Loader(Protocol):
    """Texts of documents by their identifiers; also a context manager that closes it.

    Attributes:
        files: what is read, at opening or later; whose pages are in the page cache.
    """

    files: list[Path]

    def get(self, document_id: str) -> str:
        """The text of a document.

        Raises:
            KeyError: no document has this identifier; the error's argument is the identifier.
        """

    def close(self) -> None:
        """Give back files and memory; the loader cannot be used afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Share(NamedTuple):
    """What the processes that share one copy must agree on (shared_memory only).

    Attributes:
        rendezvous: a file that does not exist before the first of them starts and that all of them see, such as
            one in the folder of the run. Rank 0 writes a few bytes into it, and removes it when it closes.
        rank: of this process. Rank 0 makes the copy, the others wait for it.
        timeout_seconds: how long the others wait.
    """

    rendezvous: Path
    rank: int
    timeout_seconds: float = 600.0


def open_loader(name: str, collection: Path, sources: Path | None, share: Share | None = None) -> Loader:
    """Open the loader called `name`.

    Args:
        collection: the raw file, JSON lines or TSV as raw_files describes them.
        sources: the manifest.json of prepare_documents.py; those that are not in PREPARED do not read it.
        share: for shared_memory; without it the copy is for this process and those that it starts.

    Raises:
        InputError: `name` is no loader, a file is missing, damaged or older than the collection, or the
            collection cannot be read.
    """
    files = loader_files(name, collection, sources)
    if name == IN_MEMORY:
        from indexscope.document_access.in_memory import InMemory

        return InMemory(collection)
    if name == SHARED_MEMORY:
        from indexscope.document_access.shared_documents import open_shared

        return open_shared(collection, share)
    if name == OFFSET_INDEX:
        from indexscope.document_access.offset_index import OffsetIndex

        return OffsetIndex(collection, files[1])
    if name == ARROW:
        from indexscope.document_access.arrow_documents import ArrowDocuments

        return ArrowDocuments(*files)
    from indexscope.document_access.docstore import Docstore

    return Docstore(files[0].parent)


def loader_files(name: str, collection: Path, sources: Path | None) -> list[Path]:
    """What the loader called `name` reads, at opening or later; opens nothing.

    Raises:
        InputError: as open_loader.
    """
    if name not in LOADERS:
        raise InputError(f"{name!r} is no loader; take one of {', '.join(LOADERS)}")
    if name not in PREPARED:
        return [collection]
    again = f"run prepare_documents.py {collection} --loaders {name}"
    if sources is None:
        raise InputError(f"the loader {name} needs files of its own; {again} and name its {MANIFEST}")
    manifest = read_json_object(sources, remedy=again)
    prepared = manifest["loaders"].get(name)
    if prepared is None:
        raise InputError(f"{sources}: loaders: {name} is missing; {again}")
    raw_files.refuse_changed(collection, manifest["collection"], f"{again} once more")
    files = [sources.parent / file for file in prepared["files"]]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is missing; {again} once more")
    return [collection, *files] if name == OFFSET_INDEX else files


def prepare(name: str, collection: Path, folder: Path) -> dict[str, Any]:
    """Make the files of the loader called `name` in `folder`, which is made; nothing for those not PREPARED.

    Returns:
        `files` (names of what was made, in `folder`), `documents`, and `index_bytes_per_document` where
        there is a table of identifiers.

    Raises:
        InputError: the collection is empty or has a wrong line or a repeated identifier; no file is left.
    """
    builders: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
        OFFSET_INDEX: _prepare_offset_index,
        ARROW: _prepare_arrow,
        IR_DATASETS: _prepare_docstore,
    }
    if name not in LOADERS:
        raise InputError(f"{name!r} is no loader; take one of {', '.join(LOADERS)}")
    return builders[name](collection, folder) if name in builders else {"files": []}


def _prepare_offset_index(collection: Path, folder: Path) -> dict[str, Any]:
    from indexscope.document_access import offset_index

    built = offset_index.build(collection, folder / "offsets.index")
    return {
        "files": ["offsets.index"],
        "documents": built.documents,
        "index_bytes_per_document": built.index_bytes_per_document,
    }


def _prepare_arrow(collection: Path, folder: Path) -> dict[str, Any]:
    from indexscope.document_access import arrow_documents

    built = arrow_documents.build(collection, folder / "documents.arrow")
    return {
        "files": [built.documents_file.name, built.index_file.name],
        "documents": built.documents,
        "index_bytes_per_document": built.index_bytes_per_document,
    }


def _prepare_docstore(collection: Path, folder: Path) -> dict[str, Any]:
    from indexscope.document_access import docstore

    documents = docstore.build(collection, folder)
    return {"files": sorted(file.name for file in folder.iterdir()), "documents": documents}
