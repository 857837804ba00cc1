"""PDFs as a corpus: each page with text is a document, and what became of every page is a row.

`extract` reads the files, once; `PdfCorpus` gives what it wrote. Memory does not grow with the files: pages come one at
a time from a process of its own (corpora/pdf_pages.py), which is replaced when a page takes too long or kills it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

from indexscope.corpora import pdf_pages, source
from indexscope.corpora.manifests import MANIFEST, sha256_of, write_json
from indexscope.corpora.pdf_pages import Asked, Failed, Opened, Page
from indexscope.corpora.source import Document, Row
from indexscope.run_record import FORMAT, InputError, read_json_object
from indexscope.settings.corpora import PdfCorpusSettings
from indexscope.settings.files import NamedFile

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

DOCUMENTS, PAGES = "documents.jsonl", "pages.jsonl"
SAMPLE = "pdfs"  # folder of the sample, beside the manifest
START_SECONDS = 120  # for the reading process to begin
OPENING = 10  # a file may take so many times page_seconds until its pages are known
MOST_STOPPED = (
    3  # pages in succession that take too long, or end the process; the rest of the file is then not tried
)
_REMEDY = "run extract_pdfs.py"
# Of schemas.REMOTE_PAGES.
_COLUMNS = ("file", "page", "pages", "title", "outcome", "reason", "document_id", "characters", "file_mib")


@dataclass(frozen=True)
class PdfCorpus:
    """The pages with text that `extract` has written to `folder`, in the order of files and pages."""

    folder: Path
    name: str

    def documents(self, count: int | None) -> Iterator[Document]:
        """The first `count` pages with text, or all."""
        return source.documents(self._rows(), count)

    def where(self, position: int) -> str:
        """File and page of a document; reads up to there once more."""
        return source.where(self._rows(), position)

    def describe(self) -> str:
        """One line for the report."""
        return f"pages of {self.name}"

    def _rows(self) -> Iterator[Row]:
        with (self.folder / DOCUMENTS).open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield Row(row["file"], "page", row["page"], row["document_id"], row["text"])


def open_extracted(settings: PdfCorpusSettings, folder: Path) -> PdfCorpus:
    """The corpus that `extract` has written to `folder`.

    Raises:
        InputError: it has not, or its documents are not as they were written.
    """
    made = read_json_object(folder / MANIFEST, _REMEDY).get("made", {}).get(DOCUMENTS, {})
    path = folder / DOCUMENTS
    if not path.is_file() or path.stat().st_size != made.get("bytes"):
        problem = "has changed since it was written" if path.is_file() else "is missing"
        raise InputError(f"{path}: {problem}; remove {folder} and {_REMEDY}")
    return PdfCorpus(folder, settings.path or "the sample of two PDFs")


def extract(
    settings: PdfCorpusSettings, folder: Path, report: Callable[[str], None] = print
) -> dict[str, Any]:
    """Write documents.jsonl, pages.jsonl and, last, manifest.json to `folder`; return the manifest.

    documents.jsonl: document_id (FILE#page=N, FILE below the folder of the PDFs), text, file, page, title of each page
    with text. pages.jsonl: a row of schemas.REMOTE_PAGES for each page, and for each file that cannot be read.

    Raises:
        InputError: there are no PDFs, or no page has text. None of the three files is then there.
    """
    files = _sample(settings, folder) if settings.path is None else settings.files()
    folder.mkdir(parents=True, exist_ok=True)
    for name in (MANIFEST, DOCUMENTS, PAGES):
        (folder / name).unlink(missing_ok=True)
    partial = {name: folder / f"{name}.partial" for name in (DOCUMENTS, PAGES)}
    try:
        with (
            partial[DOCUMENTS].open("w", encoding="utf-8") as documents,
            partial[PAGES].open("w", encoding="utf-8") as pages,
            _Reader(settings) as reader,
        ):
            told = _Told(documents, pages)
            listed = [told.file(file, reader) for file in _announced(files, told, report)]
        if not told.outcomes[pdf_pages.TEXT]:
            raise InputError(f"{settings.path}: no page has text: {told.why_not()}; name other PDFs")
        for name, path in partial.items():
            path.replace(folder / name)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    manifest = {
        "format": FORMAT,
        "requested": settings.fetched().model_dump(mode="json"),
        "pypdf": version("pypdf"),
        **({"fpdf2": version("fpdf2")} if settings.path is None else {}),
        "documents": told.outcomes[pdf_pages.TEXT],
        "outcomes": dict(sorted(told.outcomes.items())),
        "made": {name: _state(folder / name) for name in (DOCUMENTS, PAGES)},
        "bytes": sum(file["bytes"] or 0 for file in listed),
        "files": listed,
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _sample(settings: PdfCorpusSettings, folder: Path) -> list[NamedFile]:
    from indexscope.corpora.sample_pdfs import write_sample

    return write_sample(folder / SAMPLE, settings.sample_pages, settings.sample_seed)


def _announced(files: list[NamedFile], told: _Told, report: Callable[[str], None]) -> Iterator[NamedFile]:
    """The files one after the other; each is reported when it has been read."""
    for number, file in enumerate(files, start=1):
        before = told.outcomes.copy()
        yield file
        report(f"{number} of {len(files)} files: {file.name}: {_counts(told.outcomes - before)}")


def _counts(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(outcomes.items()))


def _state(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


@dataclass
class _Told:
    """What is written of the files, and a count of it."""

    documents: IO[str]
    pages: IO[str]
    outcomes: Counter[str] = field(default_factory=Counter)  # of pages, and of files that cannot be read
    first: dict[str, str] = field(default_factory=dict)  # outcome → its first reason

    def file(self, file: NamedFile, reader: _Reader) -> dict[str, Any]:
        """Write what a file has; return its entry in the manifest (sha256 is null where it was not read)."""
        try:
            state = file.path.stat()
            refused = _refused(state, reader.settings)
            digest = None if refused else sha256_of(file.path)
        except OSError as error:
            problem = "it is a link that leads nowhere" if file.path.is_symlink() else f"{error.strerror}"
            refused = Failed(pdf_pages.UNREADABLE, f"{problem}: correct that, or take it away")
            state, digest = None, None
        size = state.st_size if state and stat.S_ISREG(state.st_mode) else None
        common = {"file": file.name, "file_mib": None if size is None else size / 2**20}
        if refused:
            self._row(common, page=None, outcome=refused.outcome, reason=refused.reason)
        else:
            self._read(file, common, reader)
        return {"path": file.name, "bytes": size, "sha256": digest}

    def why_not(self) -> str:
        """Outcomes with their counts, each with its first reason."""
        return "; ".join(
            f"{count} {outcome.replace('_', ' ')} ({self.first[outcome]})"
            for outcome, count in sorted(self.outcomes.items())
        )

    def _read(self, file: NamedFile, common: dict[str, Any], reader: _Reader) -> None:
        for answer in reader.answers(file.path):
            match answer:
                case Opened():
                    common |= {"pages": answer.pages, "title": answer.title}
                    if answer.said_pages is not None and answer.said_pages > answer.pages:
                        said = answer.said_pages
                        reason = f"it is to have {said} pages, {answer.pages} are in it: get the file again"
                        self._row(common, page=None, outcome=pdf_pages.DAMAGED, reason=reason)
                case Failed():
                    self._row(common, page=None, outcome=answer.outcome, reason=answer.reason)
                case Page():
                    self._page(file, common, answer)

    def _page(self, file: NamedFile, common: dict[str, Any], page: Page) -> None:
        row = {"page": page.number, "outcome": page.outcome, "reason": page.reason}
        if page.outcome == pdf_pages.TEXT:
            document_id = f"{file.name}#page={page.number}"
            _write(
                self.documents,
                {
                    "document_id": document_id,
                    "text": page.text,
                    "file": file.name,
                    "page": page.number,
                    "title": common["title"],
                },
            )
            row |= {"document_id": document_id, "characters": len(page.text)}
        self._row(common, **row)

    def _row(self, common: dict[str, Any], **values: Any) -> None:
        row: dict[str, Any] = dict.fromkeys(_COLUMNS)
        row |= common | values
        if row["reason"]:
            row["reason"] = row["reason"][0].upper() + row["reason"][1:] + "."
        _write(self.pages, row)
        self.outcomes[row["outcome"]] += 1
        where = row["file"] if row["page"] is None else f"{row['file']}, page {row['page']}"
        self.first.setdefault(row["outcome"], f"{where}: {values['reason']}")


def _refused(state: os.stat_result, settings: PdfCorpusSettings) -> Failed | None:
    if not stat.S_ISREG(state.st_mode):
        return Failed(pdf_pages.UNREADABLE, "it is no file but a device, a pipe or the like: take it away")
    mib = state.st_size / 2**20
    if mib > settings.largest_mib:
        remedy = "split it, or raise largest_mib"
        return Failed(
            pdf_pages.TOO_LARGE, f"it has {mib:.1f} MiB, more than {settings.largest_mib:g}: {remedy}"
        )
    return None


def _write(output: IO[str], value: dict[str, Any]) -> None:
    output.write(json.dumps(value, ensure_ascii=False) + "\n")


class _Stopped(Exception):
    """The reading process took too long, or ended."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome, self.reason = outcome, reason


class _Process(NamedTuple):
    process: multiprocessing.process.BaseProcess
    connection: Connection


class _Reader:
    """Asks a process for the pages of files, and replaces it when it has to."""

    def __init__(self, settings: PdfCorpusSettings) -> None:
        self.settings = settings
        self._running: _Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def answers(self, path: Path) -> Iterator[Opened | Failed | Page]:
        """Opened and every page, or Failed."""
        opened: Opened | None = None
        following, stopped_in_succession = 1, 0
        while True:
            try:
                for answer in self._ask(path, following):
                    if isinstance(answer, Page):
                        yield answer
                        following, stopped_in_succession = answer.number + 1, 0
                    elif opened is None:
                        assert isinstance(answer, Opened | Failed)
                        yield answer
                        opened = answer if isinstance(answer, Opened) else None
                    elif isinstance(answer, Failed):  # it could be opened before
                        yield from _all(following, opened, answer)
                        return
                return
            except _Stopped as stopped:
                if opened is None:
                    yield Failed(stopped.outcome, stopped.reason)
                    return
                yield Page(following, stopped.outcome, stopped.reason, "")
                following, stopped_in_succession = following + 1, stopped_in_succession + 1
                if stopped_in_succession == MOST_STOPPED:
                    reason = f"not tried, for the {MOST_STOPPED} pages before it ended so as well"
                    yield from _all(following, opened, Failed(stopped.outcome, reason))
                    return
            if following > opened.pages:
                return

    def _ask(self, path: Path, first_page: int) -> Iterator[Opened | Failed | Page]:
        connection = self._connection()
        connection.send(Asked(path, first_page, self.settings.most_pages))
        answer = self._next(connection, OPENING * self.settings.page_seconds, "opening it")
        while not isinstance(answer, str):
            yield answer
            if isinstance(answer, Failed):
                return
            answer = self._next(connection, self.settings.page_seconds, "its text")

    def _next(self, connection: Connection, seconds: float, what: str) -> Opened | Failed | Page | str:
        """The next answer; a process that gives none is ended.

        Raises:
            _Stopped: there is none.
        """
        try:
            if connection.poll(seconds):
                answer: Opened | Failed | Page | str = connection.recv()
                return answer
        except (EOFError, OSError):
            raise _Stopped(
                pdf_pages.DAMAGED, f"{what} {self._end()}: get the file again, or repair it"
            ) from None
        self._end()
        raise _Stopped(
            pdf_pages.TIMED_OUT,
            f"{what} takes longer than {seconds:g} seconds: raise page_seconds, or take it out",
        )

    def _connection(self) -> Connection:
        if self._running is None:
            context = multiprocessing.get_context(
                "spawn"
            )  # a fresh one: nothing of this process counts as its memory
            here, there = context.Pipe()
            process = context.Process(
                target=pdf_pages.serve, args=(there, self.settings.memory_mib), daemon=True
            )
            process.start()
            there.close()
            self._running = _Process(process, here)
            self._next(here, START_SECONDS, "starting pypdf")
        return self._running.connection

    def _end(self) -> str:
        """End the process; say how it had ended before."""
        if self._running is None:
            return "did not begin"
        process, connection = self._running
        self._running = None
        with suppress(OSError):
            connection.close()
        process.join(1)  # it ends by itself when nobody asks, unless it works
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        return (
            f"ended the reading process (signal {-code})"
            if code and code < 0
            else "ended the reading process"
        )


def _all(first: int, opened: Opened, failed: Failed) -> Iterator[Page]:
    """The pages from `first` on, all for one reason."""
    for number in range(first, opened.pages + 1):
        yield Page(number, failed.outcome, failed.reason, "")
