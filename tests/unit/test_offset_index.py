"""The offset index and its table of identifiers: planted collisions, repeated identifiers and damage."""

from __future__ import annotations

import json
import os
import random
import tempfile
import tracemalloc
import unicodedata
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from indexscope.document_access import id_table, raw_files, table_file
from indexscope.document_access.id_table import IdTable, IdTableBuilder, Layout
from indexscope.document_access.offset_index import OffsetIndex, build
from indexscope.run_record import InputError


def write_jsonl(path: Path, documents: dict[str, str]) -> Path:
    lines = (
        json.dumps({"document_id": document_id, "text": text}, ensure_ascii=False)
        for document_id, text in documents.items()
    )
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


def many(count: int) -> dict[str, str]:
    return {f"id {number * 7919 % count}/é{number}": f"text {number}" for number in range(count)}


def table_of(entries: dict[str, int]) -> tuple[bytes, Layout]:
    """The bytes of a table, as the builder writes it."""
    ids = {value: document_id for document_id, value in entries.items()}
    with tempfile.TemporaryFile() as spill, tempfile.TemporaryFile() as output:
        builder = IdTableBuilder(spill.fileno(), ids.__getitem__)
        for document_id, value in entries.items():
            builder.add(document_id, value)
        layout = builder.finish()
        builder.write(output.fileno(), 0, layout)
        return os.pread(output.fileno(), 1 << 24, 0), layout


def found(table: bytes, layout: Layout, document_id: str) -> list[int]:
    return list(IdTable(memoryview(table), layout).candidates(document_id))


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 129, 5000])
def test_every_identifier_has_its_value(count: int) -> None:
    entries = {document_id: number * 1000 for number, document_id in enumerate(many(count))}
    table, layout = table_of(entries)
    assert len(table) == layout.size
    for document_id, value in entries.items():
        assert found(table, layout, document_id) == [value]
    assert not any(found(table, layout, f"unknown {number}") for number in range(1000))


@pytest.mark.parametrize("run", [1, 7, 100, 4999, 5000])
def test_runs_on_disk_make_the_same_table(run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 300 if run == 1 else 5000
    entries = {document_id: number for number, document_id in enumerate(many(count))}
    in_one_run = table_of(entries)
    monkeypatch.setattr(id_table, "_RUN", run)
    assert table_of(entries) == in_one_run


def test_a_table_is_as_large_as_it_says() -> None:
    assert Layout.of(1, 0) == (1, 1, 1)
    # 2^18 prefixes of 8 bytes, and 4 bytes of fingerprint and 5 of offset a document.
    layout = Layout.of(10_000_000, 2**40 - 1)
    assert (layout.prefix_bits, layout.value_bytes) == (18, 5)
    assert layout.size == 8 * (2**18 + 1) + 9 * 10_000_000
    assert Layout.of(10_000_000, 2**40).value_bytes == 6
    assert Layout.of(64, 255) == (64, 1, 1)
    assert Layout.of(129, 256) == (129, 2, 2)


def test_the_hash_is_that_of_the_files_that_exist() -> None:
    # A changed hash would make every index that was built unreadable, without a word.
    assert id_table.hash_of("synthetic-00000000") == 0x788FE3D56553952A


def test_fingerprints_ascend_within_each_prefix() -> None:
    table, layout = table_of({document_id: number for number, document_id in enumerate(many(3000))})
    view = memoryview(table)
    starts = view[: layout.fingerprints].cast("Q").tolist()
    fingerprints = view[layout.fingerprints : layout.values].cast("I").tolist()
    assert starts[0] == 0
    assert starts[-1] == 3000
    for first, end in pairwise(starts):
        assert fingerprints[first:end] == sorted(fingerprints[first:end])


WEAK: dict[str, Callable[[str], int]] = {
    "all equal": lambda document_id: 0x123456789ABCDEF0,
    "all ones": lambda document_id: 2**64 - 1,
    "two values": lambda document_id: [0, 2**64 - 1][len(document_id) % 2],
    "equal but for the lowest bits": len,
    "by the first character": lambda document_id: ord(document_id[0]) << 50,
}


@pytest.mark.parametrize("weak", WEAK)
def test_equal_hashes_never_give_a_wrong_text(
    weak: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_table, "hash_of", WEAK[weak])
    monkeypatch.setattr(id_table, "_RUN", 64)
    documents = many(300)
    collection = write_jsonl(tmp_path / "c.jsonl", documents)
    build(collection, tmp_path / "i")
    with OffsetIndex(collection, tmp_path / "i") as loader:
        assert {document_id: loader.get(document_id) for document_id in documents} == documents
        for unknown in ("id", "unknown", "id 0/é", next(iter(documents)) + "0"):
            with pytest.raises(KeyError) as raised:
                loader.get(unknown)
            assert raised.value.args == (unknown,)


@pytest.mark.parametrize("weak", [None, "all equal"])
def test_a_repeated_identifier_is_refused_with_both_lines(
    weak: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if weak:
        monkeypatch.setattr(id_table, "hash_of", WEAK[weak])
    monkeypatch.setattr(id_table, "_RUN", 16)
    collection = write_jsonl(tmp_path / "c.jsonl", many(100))
    with collection.open("ab") as lines:
        lines.write(b'{"text": "another", "document_id": "again"}\n' * 2)
    with pytest.raises(InputError, match=r"c\.jsonl: lines 101 and 102 have the same document_id 'again'"):
        build(collection, tmp_path / "made" / "i")
    assert not list((tmp_path / "made").iterdir())


def test_identifiers_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    documents = {
        composed: "composed", decomposed: "decomposed",
        "a": "short", "ab": "longer", "abc": "longest", "A": "capital", "a ": "with a space", "a\0": "with NUL",
        "clueweb/en 00\t1": "with a tab", "x" * 5000: "long", "x" * 5001: "longer by one", "\u2028": "separator",
        "0": "zero", "00": "two zeros", "😀": "astral",
    }  # fmt: skip
    collection = write_jsonl(tmp_path / "c.jsonl", documents)
    build(collection, tmp_path / "i")
    with OffsetIndex(collection, tmp_path / "i") as loader:
        assert {document_id: loader.get(document_id) for document_id in documents} == documents


def test_the_collection_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = write_jsonl(tmp_path / "c.jsonl", many(500))
    read = raw_files.documents
    offsets: list[int] = []

    def counted(path: Path) -> Iterator[raw_files.RawDocument]:
        for document in read(path):
            offsets.append(document.offset)
            yield document

    monkeypatch.setattr(raw_files, "documents", counted)
    built = build(collection, tmp_path / "i")
    assert len(offsets) == len(set(offsets)) == built.documents == 500
    size = (tmp_path / "i").stat().st_size
    # Offsets of two bytes; a header of a page; 2^3 prefixes.
    assert size == 4096 + 8 * 9 + 500 * (4 + 2)
    assert built.index_bytes_per_document == size / 500


def test_memory_does_not_grow_with_the_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_table, "_RUN", 512)

    def peak(count: int) -> int:
        collection = write_jsonl(tmp_path / f"{count}.jsonl", many(count))
        tracemalloc.start()
        build(collection, tmp_path / f"{count}.index")
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    build(write_jsonl(tmp_path / "first.jsonl", many(10)), tmp_path / "first")  # imports
    few, lots = peak(2_000), peak(16_000)
    # 28 runs more, of which each leaves 4 KiB; the entries alone would be 224 KiB more.
    assert lots - few < 28 * 4200 + 40_000


BAD_JSON = {
    b"[1]": "is not a JSON object",
    b'{"document_id": "a"': "is not JSON",
    b"": "is not JSON",
    b'{"document_id": "a"}': "has no text",
    b'{"text": "a"}': "has no document_id",
    b'{"document_id": 7, "text": "a"}': "has a document_id that is no text but 7",
    b'{"document_id": "a", "text": null}': "has a text that is no text but None",
    b'{"document_id": "", "text": "a"}': "has an empty document_id",
    b'{"document_id": "a", "text": "\xff"}': "is not valid UTF-8",
    b'{"document_id": "a", "text": "\\ud800"}': "has a text that is not valid Unicode",
    b'{"document_id": "\\udfff", "text": "a"}': "has a document_id that is not valid Unicode",
    b"[" * 100_000: "is not JSON",
}


@pytest.mark.parametrize("bad", BAD_JSON, ids=BAD_JSON.values())
def test_a_wrong_line_is_named_and_nothing_is_left(bad: bytes, tmp_path: Path) -> None:
    collection = write_jsonl(tmp_path / "c.jsonl", many(3))
    collection.write_bytes(collection.read_bytes() + bad + b"\n" + collection.read_bytes())
    with pytest.raises(InputError) as raised:
        build(collection, tmp_path / "made" / "i")
    assert str(raised.value).startswith(f"{collection}: line 4 {BAD_JSON[bad]}")
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "made").iterdir())


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("c.tsv", b"a\tb\nno tab\n", "line 2 has no tab"),
        ("c.tsv", b"a\tb\n\tno identifier\n", "line 2 has an empty identifier"),
        ("c.tsv", b"\xef\xbb\xbfa\tb\n", "line 1 begins with a byte-order mark"),
        ("c.tsv", b"", "has no documents"),
        ("c.csv", b"a,b\n", "'.csv' is none of .jsonl, .ndjson, .tsv"),
        ("c.jsonl.gz", b"", "'.gz' is none of"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        build(tmp_path / name, tmp_path / "i")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_line_of_another_kind_of_file_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_files, "MAX_LINE_BYTES", 1000)
    collection = write_jsonl(tmp_path / "c.jsonl", {"a": "b", "c": "d" * 1000})
    with pytest.raises(InputError, match="line 2 is longer than 1000 bytes"):
        build(collection, tmp_path / "i")


def _append(collection: Path) -> None:
    with collection.open("ab") as lines:
        lines.write(b'{"document_id": "new", "text": "new"}\n')


def _touch(collection: Path) -> None:
    os.utime(collection, ns=(0, collection.stat().st_mtime_ns + 1))


def _edit(position: int) -> Callable[[Path], None]:
    def edit(collection: Path) -> None:
        """Neither size nor time change."""
        modified = collection.stat().st_mtime_ns
        content = bytearray(collection.read_bytes())
        content[position] ^= 1
        collection.write_bytes(content)
        os.utime(collection, ns=(modified, modified))

    return edit


@pytest.mark.parametrize(
    ("change", "what"),
    [(_append, "size"), (_touch, "time of change"), (_edit(1), "bytes"), (_edit(-4), "bytes")],
)
def test_a_changed_collection_is_refused(change: Callable[[Path], None], what: str, tmp_path: Path) -> None:
    collection = write_jsonl(tmp_path / "c.jsonl", many(1000))
    build(collection, tmp_path / "i")
    change(collection)
    with pytest.raises(InputError, match=rf"has changed since it was indexed \(.*{what}\); run prepare_docu"):
        OffsetIndex(collection, tmp_path / "i")


def test_a_collection_that_is_written_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = write_jsonl(tmp_path / "c.jsonl", many(10))
    read = raw_files.documents

    def disturbed(path: Path) -> Iterator[raw_files.RawDocument]:
        yield from read(path)
        _append(path)

    monkeypatch.setattr(raw_files, "documents", disturbed)
    with pytest.raises(InputError, match="has changed since it was indexed"):
        build(collection, tmp_path / "i")
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content[:-1], "bytes, not"),
        (lambda content: content + b"\0", "bytes, not"),
        (lambda content: b"", "is no table"),
        (lambda content: b"\xff" + content, "is no table"),
        (lambda content: b"[1]".ljust(4096), "is no table"),
        (lambda content: content.replace(b'"format": 1', b'"format": 9'), "format: 9 is not 1"),
        (lambda content: content.replace(b"blake2b", b"another"), "hash: 'another-64' is not"),
        (lambda content: content.replace(b'"little"', b'"middle"'), "byte_order: 'middle'"),
    ],
)
def test_a_damaged_index_is_refused(damage: Callable[[bytes], bytes], sentence: str, tmp_path: Path) -> None:
    collection, index = write_jsonl(tmp_path / "c.jsonl", many(10)), tmp_path / "i"
    build(collection, index)
    index.write_bytes(damage(index.read_bytes()))
    with pytest.raises(InputError, match=sentence) as raised:
        OffsetIndex(collection, index)
    assert "run prepare_documents.py" in str(raised.value)


def test_a_missing_index_is_refused(tmp_path: Path) -> None:
    collection = write_jsonl(tmp_path / "c.jsonl", many(10))
    with pytest.raises(InputError, match="cannot be read"):
        OffsetIndex(collection, tmp_path / "missing")


def test_an_index_is_complete_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection, index = write_jsonl(tmp_path / "c.jsonl", many(10)), tmp_path / "i"
    build(collection, index)
    before = index.read_bytes()

    def fail(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(IdTableBuilder, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        build(collection, index)
    assert index.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"c.jsonl", "i"}


def test_an_index_of_a_random_collection_answers_like_a_dictionary(tmp_path: Path) -> None:
    chance = random.Random(5)
    alphabet = 'ab\t \0é€😀\u2028\\"/\r'
    documents = {
        "".join(chance.choices(alphabet, k=chance.randrange(1, 6))): "".join(chance.choices(alphabet, k=20))
        for _ in range(3000)
    }
    collection = write_jsonl(tmp_path / "c.jsonl", documents)
    build(collection, tmp_path / "i")
    with OffsetIndex(collection, tmp_path / "i") as loader:
        for _ in range(5000):
            asked = "".join(chance.choices(alphabet, k=chance.randrange(1, 6)))
            try:
                answer: str | None = loader.get(asked)
            except KeyError:
                answer = None
            assert answer == documents.get(asked)


def test_the_header_tells_where_the_table_begins(tmp_path: Path) -> None:
    collection = write_jsonl(tmp_path / "c.jsonl", many(10))
    build(collection, tmp_path / "i")
    content = (tmp_path / "i").read_bytes()
    header = json.loads(content[: table_file.HEADER_BYTES])
    assert header["collection"]["bytes"] == collection.stat().st_size
    assert (header["documents"], header["prefix_bits"], header["value_bytes"]) == (10, 1, 2)
