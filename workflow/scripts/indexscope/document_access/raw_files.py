"""The raw file of a collection, as it is: documents one a line, JSON lines (.jsonl, .ndjson) or TSV (.tsv).

JSON lines: an object with the texts `document_id` and `text`. TSV, as MS MARCO's msmarco-docs.tsv: the
identifier, a tab, and the text, which is the rest of the line with its tabs. Lines end with LF; a CR before it
is white space to JSON and, in TSV, part of the text, of which nothing is ever changed.
Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from indexscope.run_record import InputError

# A longer line is another kind of file, and must not be read into memory.
MAX_LINE_BYTES = 64 * 2**20
_END_BYTES = 4096
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Parse = Callable[[bytes], tuple[str, str]]


class RawDocument(NamedTuple):
    """A document and where its line begins, in bytes from the start of the file."""

    offset: int
    document_id: str
    text: str


def parser_of(collection: Path) -> Parse:
    """The function that takes a line, with or without its LF, and gives identifier and text.

    It raises ValueError with the end of a sentence that begins with the line's place.

    Raises:
        InputError: the file's name has another ending.
    """
    parsers = {".jsonl": parse_json, ".ndjson": parse_json, ".tsv": parse_tsv}
    if collection.suffix not in parsers:
        raise InputError(
            f"{collection}: {collection.suffix!r} is none of {', '.join(parsers)}; unpack or convert the file"
        )
    return parsers[collection.suffix]


def parse_json(line: bytes) -> tuple[str, str]:
    """Identifier and text of a line of JSON lines; ValueError says what is wrong with it."""
    decoded = _decode(line)
    try:
        record = json.loads(decoded)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({error}); correct it") from None
    if not isinstance(record, dict):
        raise ValueError("is not a JSON object; correct it")
    try:
        document_id, text = record["document_id"], record["text"]
    except KeyError as error:
        raise ValueError(f"has no {error.args[0]}; correct it") from None
    if not isinstance(document_id, str) or not isinstance(text, str):
        name, value = ("text", text) if isinstance(document_id, str) else ("document_id", document_id)
        raise ValueError(f"has a {name} that is no text but {value!r:.80}; correct it")
    if not document_id:
        raise ValueError("has an empty document_id; correct it")
    if "\\u" in decoded:  # only an escape can hold half of a pair
        for name, value in (("document_id", document_id), ("text", text)):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"has a {name} that is not valid Unicode ({error.reason}); correct it"
                ) from None
    return document_id, text


def parse_tsv(line: bytes) -> tuple[str, str]:
    """Identifier and text of a line of TSV; ValueError says what is wrong with it."""
    document_id, tab, text = _decode(line).removesuffix("\n").partition("\t")
    if not tab:
        raise ValueError("has no tab between identifier and text; correct it")
    if not document_id:
        raise ValueError("has an empty identifier; correct it")
    return document_id, text


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise ValueError("is not valid UTF-8; convert the file to UTF-8") from None


def documents(collection: Path) -> Iterator[RawDocument]:
    """The documents in the order of the file; one line is in memory at a time.

    Raises:
        InputError: the file is missing, has no document, or a wrong line, whose number the sentence tells.
    """
    parse = parser_of(collection)
    offset = number = 0
    try:
        with collection.open("rb", buffering=2**20) as lines:
            while line := lines.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES:
                    raise ValueError(f"is longer than {MAX_LINE_BYTES} bytes; is it the right format?")
                if number == 1 and line.startswith(_BYTE_ORDER_MARK):
                    raise ValueError("begins with a byte-order mark; remove it")
                document_id, text = parse(line)
                yield RawDocument(offset, document_id, text)
                offset += len(line)
    except OSError as error:
        raise InputError(f"{collection}: cannot be read ({error.strerror}); make or name it again") from None
    except ValueError as error:
        raise InputError(f"{collection}: line {number} {error}") from None
    if not number:
        raise InputError(f"{collection}: has no documents; name a collection that has")


def repeated(collection: Path, document_id: str) -> InputError:
    """The error of a document_id that several lines have; reads the file once more to name the first two."""
    lines = [
        number
        for number, document in enumerate(documents(collection), start=1)
        if document.document_id == document_id
    ]
    return InputError(
        f"{collection}: lines {lines[0]} and {lines[1]} have the same document_id {document_id!r:.200}; "
        "remove one, or correct it"
    )


def state_of(collection: Path) -> dict[str, Any]:
    """What tells the file from a changed one: `bytes`, `modified_ns`, and the SHA-256 of its two `ends`.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with collection.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            digest = hashlib.sha256(file.read(_END_BYTES))
            file.seek(max(0, size - _END_BYTES))
            digest.update(file.read(_END_BYTES))
            return {
                "bytes": size,
                "modified_ns": collection.stat().st_mtime_ns,
                "ends_sha256": digest.hexdigest(),
            }
    except OSError as error:
        raise InputError(f"{collection}: cannot be read ({error.strerror}); make or name it again") from None


def refuse_changed(collection: Path, known: dict[str, Any], remedy: str) -> None:
    """Raise InputError when `collection` is not as `state_of` once said."""
    now = state_of(collection)
    changed = {"bytes": "size", "modified_ns": "time of change", "ends_sha256": "first or last bytes"}
    for key, name in changed.items():
        if now[key] != known[key]:
            raise InputError(f"{collection}: has changed since it was indexed ({name}); {remedy}")
