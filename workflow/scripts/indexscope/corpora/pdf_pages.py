"""The text of a PDF, page by page, by pypdf: in a process of its own, for a damaged or hostile file may take any time,
all memory, or the process itself. Who asks for it is corpora/pdfs.py.
"""

from __future__ import annotations

import logging
import re
import resource
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader
    from pypdf.generic import ContentStream, PdfObject

TEXT, EMPTY, IMAGE_ONLY, ENCRYPTED = "text", "empty", "image_only", "encrypted"
DAMAGED, TOO_LARGE, TIMED_OUT, UNREADABLE = "damaged", "too_large", "timed_out", "unreadable"
LONGEST_TITLE = 500  # characters
# pypdf's own limits of a page tree; they follow most_pages where that is more.
PAGE_TREE_ENTRIES = 100_000
FORM_DEPTH = 5  # of forms within forms that are searched for images
HEADER_BYTES = (
    1024  # in which %PDF- is to stand, as Acrobat has it (PDF 1.7 reference, implementation note 13)
)

# Operators (ISO 32000-1, annex A).
_PAINTS = {b"f", b"F", b"f*", b"B", b"B*", b"b", b"b*", b"S", b"s", b"sh"}
_SHOWS_TEXT = {b"Tj", b"TJ", b"'", b'"'}
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_CONTROLS = dict.fromkeys([*range(9), 11, *range(14, 32), *range(127, 160), 0xFEFF, 0xFFFE, 0xFFFF])
_LINE_ENDS = re.compile(r"\r\n|[\r\f\x85\u2028\u2029]")
# A word that is parted at the end of a line. A compound that is parted at its own hyphen loses it.
_PARTED_WORD = re.compile(r"(?<=[^\W\d_])[-\u2010]\n([^\W\d_])")
_SOFT_HYPHEN = re.compile("\u00ad\n?")


class Opened(NamedTuple):
    """A file whose pages can be asked for."""

    pages: int
    said_pages: int | None  # what its page tree says; more than `pages` where some are missing
    title: str | None


class Failed(NamedTuple):
    """Why a file, or what is left of it, cannot be read."""

    outcome: str
    reason: str


class Page(NamedTuple):
    """What became of a page: its text, or the reason why there is none."""

    number: int  # from 1
    outcome: str
    reason: str | None
    text: str


class Asked(NamedTuple):
    """What the reading process is asked for: a file's pages from `first_page` on."""

    path: Path
    first_page: int
    most_pages: int


DONE = "done"  # follows the last page
Answer = Opened | Failed | Page | str


def serve(connection: Connection, memory_mib: int) -> None:
    """Answer requests until there are no more; each with Failed, or with Opened, the pages, and DONE."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory_mib * 2**20
    resource.setrlimit(
        resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )
    logging.getLogger("pypdf").setLevel(
        logging.CRITICAL
    )  # what it repairs silently is not our reader's concern
    import pypdf  # noqa: F401 (its import is not to count as time of the first page)

    try:
        connection.send(DONE)
        while True:
            for answer in read(connection.recv()):
                connection.send(answer)
    except (EOFError, BrokenPipeError):  # nobody asks any more
        return


def read(asked: Asked) -> Iterator[Answer]:
    """The answers to a request. Whatever a file makes pypdf raise is an answer."""
    import pypdf

    limit = max(PAGE_TREE_ENTRIES, 2 * asked.most_pages)
    try:
        with (
            asked.path.open("rb") as content,
            pypdf.apply_configuration(page_tree_maximum_entries=limit, array_maximum_element_count=limit),
        ):
            yield from _answers(content, asked)
    except OSError as error:
        yield Failed(
            UNREADABLE, f"it cannot be read ({error.strerror or error}): correct that, or take it away"
        )


def _answers(content: Any, asked: Asked) -> Iterator[Answer]:
    try:
        opened = _open(content, asked.most_pages)
    except MemoryError:
        yield Failed(TOO_LARGE, _too_much_memory("opening it"))
        return
    except Exception as error:  # pypdf: "broken PDF files might cause other Exceptions"
        yield Failed(
            DAMAGED, f"pypdf cannot open it ({short(error)}): get it again, or repair it with mutool clean"
        )
        return
    if isinstance(opened, Failed):
        yield opened
        return
    reader, facts = opened
    yield facts
    for number in range(asked.first_page, facts.pages + 1):
        yield _read_page(reader, number)
        # pypdf keeps whatever it has read of the file: memory would grow with its length.
        reader.resolved_objects.clear()
    yield DONE


def _open(content: Any, most_pages: int) -> tuple[PdfReader, Opened] | Failed:
    import pypdf

    head = content.read(HEADER_BYTES)
    if not head:
        return Failed(EMPTY, "the file has no bytes: get it again")
    if b"%PDF-" not in head:
        return Failed(
            DAMAGED, "it is no PDF, for %PDF- does not stand at its beginning: take it away, or get it again"
        )
    content.seek(0)
    try:
        reader = pypdf.PdfReader(content)
        if reader.is_encrypted and reader.decrypt("") == pypdf.PasswordType.NOT_DECRYPTED:
            remedy = "take its password off, as with qpdf --decrypt --password=PASSWORD IN OUT"
            return Failed(ENCRYPTED, f"it is encrypted and opens with a password only: {remedy}")
    except NotImplementedError as error:
        return Failed(
            ENCRYPTED, f"it is encrypted in a way that pypdf does not know ({short(error)}): decrypt it"
        )
    try:
        pages = len(reader.pages)
    except pypdf.errors.LimitReachedError as error:
        return Failed(
            TOO_LARGE, f"its page tree is too large ({short(error)}): split it, or raise most_pages"
        )
    if pages > most_pages:
        return Failed(
            TOO_LARGE, f"it has {pages} pages, more than {most_pages}: split it, or raise most_pages"
        )
    opened = Opened(pages, _said_pages(reader), _title(reader))
    reader.resolved_objects.clear()
    if not pages and not opened.said_pages:
        return Failed(EMPTY, "it has no pages")
    return reader, opened


def _said_pages(reader: PdfReader) -> int | None:
    try:
        said = _entry(_entry(reader.root_object, "/Pages"), "/Count")
    except Exception:
        return None
    return int(said) if isinstance(said, int) else None


def _title(reader: PdfReader) -> str | None:
    """Title of the document information, else of the XMP metadata, which alone PDF 2.0 has."""
    for found in (_title_of_information, _title_of_xmp):
        try:
            title = " ".join(clean(found(reader) or "").split())
        except Exception:  # a damaged title is no reason to lose the text
            continue
        if title:
            return title[:LONGEST_TITLE]
    return None


def _title_of_information(reader: PdfReader) -> str | None:
    return None if reader.metadata is None else reader.metadata.title


def _title_of_xmp(reader: PdfReader) -> str | None:
    titles = {} if reader.xmp_metadata is None else reader.xmp_metadata.dc_title or {}
    return titles.get("x-default") or next(iter(titles.values()), None)


def _read_page(reader: PdfReader, number: int) -> Page:
    import pypdf

    try:
        page = reader.pages[number - 1]
        text = clean(page.extract_text())
        if any(map(str.isalnum, text)):
            return Page(number, TEXT, None, text)
        return Page(number, *_why_no_text(page, bool(text)), text="")
    except MemoryError:
        return Page(number, TOO_LARGE, _too_much_memory("its text"), "")
    except pypdf.errors.LimitReachedError as error:
        return Page(number, TOO_LARGE, f"its text is more than pypdf reads ({short(error)}): take it out", "")
    except Exception as error:
        return Page(
            number, DAMAGED, f"pypdf cannot read it ({short(error)}): get the file again, or repair it", ""
        )


def _why_no_text(page: PageObject, has_signs: bool) -> tuple[str, str]:
    """Outcome and reason of a page whose text has no letter or digit."""
    if _content_is_missing(page):
        return DAMAGED, "its content is not in the file, which seems to be cut off: get the file again"
    content = page.get_contents()
    drawn = set() if content is None else _drawn(content, page.get("/Resources"), FORM_DEPTH)
    if "image" in drawn:
        return IMAGE_ONLY, "it has images and no text, as a scan has: it needs OCR, as with ocrmypdf IN OUT"
    if "text" in drawn and not has_signs:
        return EMPTY, "its text is blank, or in fonts that do not say which characters they show: try OCR"
    if has_signs:
        return EMPTY, "its text has no letter or digit"
    if "path" in drawn:
        return (
            IMAGE_ONLY,
            "it has drawings and no text: where they are letters it needs OCR, as with ocrmypdf IN OUT",
        )
    return EMPTY, "nothing is on it"


def _content_is_missing(page: PageObject) -> bool:
    from pypdf.generic import ArrayObject, NullObject

    if "/Contents" not in page:
        return False
    content = page["/Contents"]
    streams = content if isinstance(content, ArrayObject) else [content]
    return bool(streams) and all(isinstance(each.get_object(), NullObject | None) for each in streams)


def _drawn(content: ContentStream, resources: PdfObject | None, depth: int) -> set[str]:
    """What of image, path and text the content of a page, or of a form on it, draws."""
    from pypdf.generic import ContentStream, DictionaryObject, StreamObject

    drawn, used = set(), set()
    for operands, operator in content.operations:
        if operator == b"INLINE IMAGE":
            drawn.add("image")
        elif operator == b"Do" and operands:
            used.add(str(operands[0]))
        elif operator in _PAINTS:
            drawn.add("path")
        elif operator in _SHOWS_TEXT:
            drawn.add("text")
    objects = _entry(resources, "/XObject")
    for name in sorted(used) if isinstance(objects, DictionaryObject) else []:
        each = _entry(objects, name)
        if str(_entry(each, "/Subtype")) == "/Image":
            drawn.add("image")
        elif isinstance(each, StreamObject) and depth:
            drawn |= _drawn(
                ContentStream(each, content.pdf), _entry(each, "/Resources") or resources, depth - 1
            )
    return drawn


def _entry(dictionary: PdfObject | None, name: str) -> PdfObject | None:
    """An entry of what may be a dictionary, or a reference to one, or nothing."""
    from pypdf.generic import DictionaryObject

    found = None if dictionary is None else dictionary.get_object()
    if not isinstance(found, DictionaryObject) or name not in found:
        return None
    entry: PdfObject | None = found[name].get_object()
    return entry


def clean(text: str) -> str:
    """Text as JSON and Parquet can hold it and a tokenizer knows it.

    Ligatures are letters, words parted at line ends are whole, halves of surrogate pairs are joined or U+FFFD, and
    control characters are gone.
    """
    text = _LINE_ENDS.sub("\n", text).translate(_CONTROLS).translate(_LIGATURES)
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = "\n".join(line.strip() for line in text.split("\n"))
    text = _PARTED_WORD.sub(_rejoined, _SOFT_HYPHEN.sub("", text))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _rejoined(parted: re.Match[str]) -> str:
    return parted[1] if parted[1].islower() else parted[0]


def short(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return clean(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _too_much_memory(what: str) -> str:
    return f"{what} needs more memory than memory_mib: raise that, or split the file"
