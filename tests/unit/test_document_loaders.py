"""All loaders give the same texts for the same identifiers, in every process; and what is prepared for them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import order_samples as samples_program
import prepare_documents as program
import pytest
from indexscope.document_access import docstore, id_table, loaders, page_cache, raw_files, samples
from indexscope.document_access.loaders import LOADERS, MANIFEST, PREPARED, Loader, Share, open_loader
from indexscope.measure import proc
from indexscope.run_record import InputError

SCRIPTS = Path(program.__file__).parent

DOCUMENTS = {
    "tab": "a\tb\t\tc\t",
    "empty": "",
    "crlf inside and at the end": "a\r\nb\r\n",
    "cr": "\r",
    "lf": "\n\n",
    "nul": "\0a\0",
    "widths": "a é € 😀 \x7f \x80 \u07ff \u0800 \uffff \U00010000 \U0010ffff",
    "separators": "\u2028\u2029\u0085\x0b\x0c\x1c",
    "quotes": '"\\"\\u0041\\',
    "not normalised": "cafe\u0301 café",
    "byte order mark": "\ufeffa",
    "spaces": "  a  ",
    "msmarco_doc_00_0/1": "slashes",
    unicodedata.normalize("NFC", "é"): "composed",
    unicodedata.normalize("NFD", "é"): "decomposed",
    "a": "short",
    "ab": "longer",
    "\u2028": "an identifier that some take for a line's end",
    "in\0side": "NUL within",
    "😀": "astral",
    "x" * 3000: "very long",
    "long text": "wörter " * 50_000,
    **{f"synthetic-{number:08d}": f"text of {number}" for number in range(400)},
}
# Those are not distinguished by a docstore of ir_datasets, or cannot be encoded, or nearly exist.
UNKNOWN = [
    "",
    "A",
    "abc",
    "é\u0301",
    "x" * 2999,
    "x" * 3001,
    "a\0",
    "synthetic-0000000",
    "\ud800",
    " a",
    "no",
]
TSV = {
    "D1": "https://example.org/\ttitle\tbody with \ttabs",
    "D2": "",
    "D3": "\t",
    "D4": "carriage return\r",
    "D 5/é": "\0\u2028 😀",
}


def write_jsonl(path: Path, documents: dict[str, str], *, ascii_only: bool = False) -> Path:
    lines = [
        json.dumps({"text": text, "url": "ignored", "document_id": name}, ensure_ascii=ascii_only)
        for name, text in documents.items()
    ]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


def write_tsv(path: Path, documents: dict[str, str]) -> Path:
    path.write_bytes("".join(f"{name}\t{text}\n" for name, text in documents.items()).encode())
    return path


def prepare(collection: Path, folder: Path) -> Path:
    """As prepare_documents.py does, in this process."""
    prepared = {name: program.prepare_one(name, collection, folder / name) for name in LOADERS}
    manifest = folder / MANIFEST
    content = {"format": 1, "collection": raw_files.state_of(collection), "loaders": prepared}
    manifest.write_text(json.dumps(content))
    return manifest


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("raw") / "documents.jsonl", DOCUMENTS)


@pytest.fixture(scope="module")
def sources(collection: Path) -> Path:
    return prepare(collection, collection.parent / "sources")


@pytest.fixture(params=LOADERS)
def loader(request: pytest.FixtureRequest, collection: Path, sources: Path) -> Iterator[Loader]:
    with open_loader(request.param, collection, sources) as opened:
        yield opened


def test_texts_are_equal(loader: Loader) -> None:
    names = list(DOCUMENTS)
    for name in [*names, *reversed(names)]:
        assert loader.get(name) == DOCUMENTS[name]
        assert loader.get(name).encode() == DOCUMENTS[name].encode()


@pytest.mark.parametrize("unknown", UNKNOWN, ids=ascii)
def test_an_unknown_identifier_is_a_key_error_with_it(loader: Loader, unknown: str) -> None:
    assert unknown not in DOCUMENTS
    with pytest.raises(KeyError) as raised:
        loader.get(unknown)
    assert raised.value.args == (unknown,)


@pytest.mark.parametrize("name", ["arrow", "shared_memory", "offset_index"])
def test_equal_hashes_are_told_apart(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_table, "hash_of", lambda document_id: 7)
    collection = write_tsv(tmp_path / "c.tsv", TSV)
    program.prepare_one(name, collection, tmp_path / name)
    facts = {"format": 1, "collection": raw_files.state_of(collection)}
    files = [f"{name}/{path.name}" for path in sorted(tmp_path.glob(f"{name}/*"))]
    (tmp_path / MANIFEST).write_text(json.dumps({**facts, "loaders": {name: {"files": files}}}))
    with open_loader(name, collection, tmp_path / MANIFEST) as opened:
        assert {each: opened.get(each) for each in TSV} == TSV
        for unknown in ("D", "D11", "d1", "unknown"):
            with pytest.raises(KeyError, match=unknown):
                opened.get(unknown)


@pytest.mark.parametrize("kind", ["tsv", "tsv without a last end", "escaped", "one", "blanks and crlf"])
def test_other_raw_files(kind: str, tmp_path: Path) -> None:
    documents = DOCUMENTS
    if kind.startswith("tsv"):
        documents = TSV
        collection = write_tsv(tmp_path / "c.tsv", documents)
        if kind != "tsv":
            collection.write_bytes(collection.read_bytes()[:-1])
    elif kind == "escaped":
        collection = write_jsonl(tmp_path / "c.ndjson", documents, ascii_only=True)
    elif kind == "one":
        documents = {"the only one": "one\t\r\n"}
        collection = write_jsonl(tmp_path / "c.jsonl", documents)
    else:
        collection = write_jsonl(tmp_path / "c.jsonl", documents)
        content = collection.read_bytes().replace(b"}\n{", b" } \r\n\t{ ").removesuffix(b"\n") + b" \r"
        collection.write_bytes(content)
    manifest = prepare(collection, tmp_path / "sources")
    for name in LOADERS:
        with open_loader(name, collection, manifest) as opened:
            assert {each: opened.get(each) for each in documents} == documents
            with pytest.raises(KeyError):
                opened.get("unknown")


def _read_often(loader: Loader, seed: int) -> None:
    names = list(DOCUMENTS)[:-1]
    for number in range(3000):
        name = names[(number * 7 + seed) % len(names)]
        if loader.get(name) != DOCUMENTS[name]:
            os._exit(1)
    os._exit(0)


def test_forked_processes_read_beside_each_other(loader: Loader) -> None:
    """As DataLoader workers do: a shared file's position would be moved by the others."""
    loader.get("tab")
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_read_often, args=(loader, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for number in range(3000):
        assert loader.get(f"synthetic-{number % 400:08d}") == f"text of {number % 400}"
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def python(code: str, *arguments: object, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        input=content, cwd=SCRIPTS, capture_output=True, check=False,
    )  # fmt: skip


def test_a_spawned_process_opens_it_again(loader: Loader, tmp_path: Path) -> None:
    code = (
        "import json, pickle, sys; loader = pickle.load(sys.stdin.buffer)\n"
        "for name, text in json.load(open(sys.argv[1])).items(): assert loader.get(name) == text\n"
        "try: loader.get('unknown')\n"
        "except KeyError: loader.close(); print('closed')"
    )
    expected = tmp_path / "expected.json"
    expected.write_text(json.dumps(DOCUMENTS))
    done = python(code, expected, content=pickle.dumps(loader))
    assert done.stdout == b"closed\n", done.stderr.decode()
    assert loader.get("a") == "short"


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_loads_no_more_than_it_needs(
    name: str, collection: Path, sources: Path, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("")  # here as elsewhere: an import of it is seen, not refused
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[4])\n"
        "from indexscope.document_access.loaders import open_loader\n"
        "opened = open_loader(sys.argv[1], *map(pathlib.Path, sys.argv[2:4])); opened.get('a')\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = python(code, name, collection, sources, tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    heavy = {"torch", "transformers", "numpy", "pandas", "pyarrow", "ir_datasets", "pydantic"}
    needed = {
        "arrow": {"pyarrow", "numpy"},
        "ir_datasets": {"ir_datasets", "numpy"},
        "shared_memory": {"numpy"},
    }
    assert heavy & set(done.stdout.decode().split()) <= needed.get(name, set())


@pytest.mark.parametrize("name", ["in_memory", "arrow", "ir_datasets", "shared_memory"])
def test_a_repeated_identifier_is_refused_by_all(name: str, tmp_path: Path) -> None:
    collection = tmp_path / "c.tsv"
    collection.write_text("a\t1\nb\t2\na\t3\na\t4\n")
    with pytest.raises(InputError, match=r"c\.tsv: lines 1 and 3 have the same document_id 'a'"):
        if name in PREPARED:
            program.prepare_one(name, collection, tmp_path / name)
        else:
            open_loader(name, collection, None)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [collection]


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "has no documents"), (b'{"document_id": "a", "text": "b"}\n[]\n', "line 2 is not a JSON object")],
)
def test_a_wrong_collection_is_refused_by_all(
    name: str, content: bytes, sentence: str, tmp_path: Path
) -> None:
    collection = tmp_path / "c.jsonl"
    collection.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        if name in PREPARED:
            program.prepare_one(name, collection, tmp_path / name)
        else:
            open_loader(name, collection, None)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [collection]


def test_what_a_docstore_would_drop_is_refused(tmp_path: Path) -> None:
    collection = write_jsonl(tmp_path / "c.jsonl", {"a": "1", "a\0": "2"})
    with pytest.raises(InputError, match="line 2 has a document_id that ends with NUL"):
        docstore.build(collection, tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["c.jsonl"]


def test_a_docstore_of_the_first_documents(tmp_path: Path) -> None:
    collection = write_tsv(tmp_path / "c.tsv", TSV)
    assert docstore.build(collection, tmp_path / "store", documents=2) == 2
    with docstore.Docstore(tmp_path / "store") as opened:
        assert opened.get("D1") == TSV["D1"]
        with pytest.raises(KeyError):
            opened.get("D3")


@pytest.mark.parametrize("name", PREPARED)
def test_a_collection_changed_since_is_refused(name: str, tmp_path: Path) -> None:
    collection = write_tsv(tmp_path / "c.tsv", TSV)
    manifest = prepare(collection, tmp_path / "sources")
    open_loader(name, collection, manifest).close()
    collection.write_bytes(collection.read_bytes() + b"D9\tnew\n")
    with pytest.raises(InputError, match=r"c\.tsv: has changed .* run prepare_documents\.py .*c\.tsv"):
        open_loader(name, collection, manifest)


@pytest.mark.parametrize("name", PREPARED)
def test_missing_files_are_named_with_the_remedy(name: str, tmp_path: Path) -> None:
    collection = write_tsv(tmp_path / "c.tsv", TSV)
    with pytest.raises(InputError, match=f"the loader {name} needs files of its own; run prepare_doc"):
        open_loader(name, collection, None)
    with pytest.raises(InputError, match=rf"manifest\.json is missing: run prepare_documents.*{name}"):
        open_loader(name, collection, tmp_path / MANIFEST)
    manifest = prepare(collection, tmp_path / "sources")
    files = [path for path in loaders.loader_files(name, collection, manifest) if path != collection]
    for file in files:
        kept = file.read_bytes()
        file.unlink()
        with pytest.raises(InputError, match=f"{file.name} is missing; run prepare_documents"):
            open_loader(name, collection, manifest)
        file.write_bytes(kept)
    content = json.loads(manifest.read_text())
    del content["loaders"][name]
    manifest.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"loaders: {name} is missing; run prepare_documents"):
        open_loader(name, collection, manifest)


def test_a_cut_off_arrow_file_is_refused(tmp_path: Path) -> None:
    collection = write_tsv(tmp_path / "c.tsv", TSV)
    manifest = prepare(collection, tmp_path / "sources")
    file = tmp_path / "sources" / "arrow" / "documents.arrow"
    content = file.read_bytes()
    for damaged in (content[:-1], b"\0" * len(content)):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"documents\.arrow: .*run prepare_documents"):
            open_loader("arrow", collection, manifest)


def test_arrow_documents_lie_in_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from indexscope.document_access import arrow_documents

    monkeypatch.setattr(arrow_documents, "BATCH_DOCUMENTS", 7)
    collection = write_jsonl(tmp_path / "c.jsonl", DOCUMENTS)
    built = arrow_documents.build(collection, tmp_path / "a.arrow")
    with arrow_documents.ArrowDocuments(built.documents_file, built.index_file) as opened:
        assert {name: opened.get(name) for name in DOCUMENTS} == DOCUMENTS


def test_an_unknown_loader_is_refused(collection: Path) -> None:
    with pytest.raises(InputError, match="'dict' is no loader; take one of in_memory, offset_index"):
        open_loader("dict", collection, None)


def test_files_are_those_that_are_read(collection: Path, sources: Path) -> None:
    for name in LOADERS:
        with open_loader(name, collection, sources) as opened:
            assert sorted(opened.files) == sorted(loaders.loader_files(name, collection, sources))
            assert (collection in opened.files) == (name not in {"arrow", "ir_datasets"})
            assert all(path.is_file() for path in opened.files)


# One copy for all ranks.

RANK = """
import pathlib, sys, time
from indexscope.document_access.loaders import Share, open_loader
from indexscope.run_record import InputError
collection, rendezvous, rank, timeout = sys.argv[1:]
try:
    loader = open_loader("shared_memory", pathlib.Path(collection), None,
                         Share(pathlib.Path(rendezvous), int(rank), float(timeout)))
except InputError as error:
    sys.exit(str(error))
maps = [line.split() for line in open("/proc/self/maps") if "memfd:documents" in line]
print(loader.get("tab") == "a\\tb\\t\\tc\\t", *(line[4] for line in maps), flush=True)
sys.stdin.readline()
print(loader.get("a"), flush=True)
loader.close()
"""


def rank_process(collection: Path, rendezvous: Path, rank: int, timeout: float = 60) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RANK, str(collection), str(rendezvous), str(rank), str(timeout)],
        cwd=SCRIPTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def descriptors() -> list[int]:
    """Of the shared copies that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the folder itself
            if "memfd:documents" in str(link.readlink()):
                found.append(int(link.name))
    return found


def copies() -> list[str]:
    """Inodes of the shared copies that this process has mapped or open."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line.split()[4] for line in lines if "memfd:documents" in line]
    return [*mapped, *(str(os.fstat(descriptor).st_ino) for descriptor in descriptors())]


def test_ranks_share_one_copy_which_goes_with_the_last(collection: Path, tmp_path: Path) -> None:
    rendezvous = tmp_path / "share"
    others = [rank_process(collection, rendezvous, rank) for rank in (1, 2)]
    with open_loader("shared_memory", collection, None, Share(rendezvous, 0)) as loader:
        inodes = set(copies())
        said = [other.stdout.readline().split() for other in others if other.stdout]
        assert said == [["True", *inodes]] * 2
        for other in others:
            out, error = other.communicate("\n")
            assert (out, other.returncode) == ("short\n", 0), error
        assert loader.get("empty") == ""
    assert not copies()
    assert not rendezvous.exists()


def test_a_killed_first_rank_leaves_no_memory_and_harms_no_other(collection: Path, tmp_path: Path) -> None:
    first = rank_process(collection, tmp_path / "share", 0)
    assert first.stdout
    assert first.stdout.readline().startswith("True")
    before = set(Path("/dev/shm").iterdir())
    with open_loader("shared_memory", collection, None, Share(tmp_path / "share", 1)) as loader:
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert {name: loader.get(name) for name in DOCUMENTS} == DOCUMENTS
        # It is now where its last user has it, and only there.
        again = pickle.loads(pickle.dumps(loader))
        assert again.get("a") == "short"
        again.close()
    assert not copies()
    assert not [path for path in set(Path("/dev/shm").iterdir()) - before if "documents" in path.name]
    with pytest.raises(InputError, match="which shares the documents, has ended or has closed them"):
        open_loader("shared_memory", collection, None, Share(tmp_path / "share", 1))


def test_all_ranks_say_why_the_first_cannot_share(tmp_path: Path) -> None:
    collection = tmp_path / "c.jsonl"
    collection.write_text('{"document_id": "a"}\n')
    other = rank_process(collection, tmp_path / "share", 1)
    with pytest.raises(InputError, match="line 1 has no text"):
        open_loader("shared_memory", collection, None, Share(tmp_path / "share", 0))
    _, error = other.communicate()
    assert other.returncode == 1
    assert error.startswith("rank 0 could not share the documents: ")
    assert "line 1 has no text" in error
    assert not copies()


def test_a_first_rank_that_ended_while_it_copied_is_noticed(tmp_path: Path, collection: Path) -> None:
    ended = subprocess.Popen(["sleep", "60"])
    found = proc.stat(ended.pid)
    assert found
    content = {"format": 1, "process_id": ended.pid, "start_ticks": found.start_ticks}
    (tmp_path / "share").write_text(json.dumps(content))
    waiting = rank_process(collection, tmp_path / "share", 1)
    time.sleep(0.3)
    assert waiting.poll() is None
    ended.kill()
    ended.wait()
    _, error = waiting.communicate(timeout=20)
    assert "rank 0 has ended before the documents were there" in error


def test_a_first_rank_that_does_not_come_is_not_awaited_for_ever(tmp_path: Path, collection: Path) -> None:
    with pytest.raises(InputError, match=r"has not shared the documents within 0\.1 seconds"):
        open_loader("shared_memory", collection, None, Share(tmp_path / "share", 1, 0.1))


def test_a_rendezvous_of_an_earlier_run_is_refused(tmp_path: Path, collection: Path) -> None:
    (tmp_path / "share").write_text("{}")
    with pytest.raises(InputError, match="share: exists; remove it"):
        open_loader("shared_memory", collection, None, Share(tmp_path / "share", 0))


def test_nobody_can_write_into_the_copy(collection: Path) -> None:
    with open_loader("shared_memory", collection, None):
        descriptor = descriptors()[0]
        with pytest.raises(PermissionError):
            os.write(os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR), b"x")


# The programs.


def test_prepare_documents_writes_a_folder_for_each_loader(tmp_path: Path, collection: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "prepare_documents.py", collection, "--loaders", "offset_index", "in_memory",
         "--output", tmp_path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "offset_index: " in done.stdout
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    index = tmp_path / "offset_index" / "offsets.index"
    prepared = manifest["loaders"]["offset_index"]
    assert prepared["files"] == ["offset_index/offsets.index"]
    assert prepared["bytes"] == index.stat().st_size
    assert prepared["documents"] == len(DOCUMENTS)
    assert prepared["index_bytes_per_document"] == prepared["bytes"] / len(DOCUMENTS)
    assert prepared["seconds"] > 0
    assert 5 < prepared["peak_rss_mib"] < 500
    assert manifest["loaders"]["in_memory"]["files"] == []
    assert str(tmp_path) not in (tmp_path / MANIFEST).read_text()
    with open_loader("offset_index", collection, tmp_path / MANIFEST) as opened:
        assert opened.get("a") == "short"


def test_prepare_documents_leaves_no_manifest_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = tmp_path / "c.jsonl"
    collection.write_text("[]\n")
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / MANIFEST).write_text("of an earlier collection")
    monkeypatch.setattr(
        sys, "argv",
        ["prepare_documents.py", str(collection), "--loaders", "arrow", "--output", str(tmp_path / "sources")],
    )  # fmt: skip
    with pytest.raises(SystemExit, match=r"c\.jsonl: line 1 is not a JSON object"):
        program.main()
    assert not [path for path in (tmp_path / "sources").rglob("*") if path.is_file()]


# Samples.


def read_samples(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def words_of(count: int) -> dict[str, str]:
    return {f"d{number}": f"w{number}a w{number}b w{number}a w{number}c" for number in range(count)}


def test_samples_are_seeded_and_of_the_collection(tmp_path: Path) -> None:
    collection = write_jsonl(tmp_path / "c.jsonl", words_of(50) | {"empty": ""})
    made = {}
    for name, count, seed in (("one", 120, 1), ("again", 120, 1), ("fewer", 30, 1), ("other", 120, 2)):
        samples.write_samples(collection, count, seed, tmp_path / name)
        made[name] = read_samples(tmp_path / name)
    assert made["one"] == made["again"] != made["other"]
    assert made["fewer"] == made["one"][:30]
    names = set(words_of(50)) | {"empty"}
    for epoch in (made["one"][:51], made["one"][51:102]):
        assert {sample["positive_id"] for sample in epoch} == names
    assert [sample["positive_id"] for sample in made["one"][:51]] != [
        sample["positive_id"] for sample in made["one"][51:102]
    ]
    for sample in made["one"]:
        assert set(sample) == {"query", "positive_id", "negative_id"}
        assert sample["negative_id"] in names - {sample["positive_id"]}
        number = sample["positive_id"][1:]
        expected = "" if number == "mpty" else f"w{number}a w{number}b w{number}c"
        assert sample["query"] == expected
    assert len({sample["negative_id"] for sample in made["one"]}) > 30


def test_a_query_has_few_words(tmp_path: Path) -> None:
    text = " ".join(f"w{number:03d}" for number in range(200))
    collection = write_jsonl(tmp_path / "c.jsonl", {"a": text, "b": text})
    samples.write_samples(collection, 4, 0, tmp_path / "s")
    queries = [sample["query"].split() for sample in read_samples(tmp_path / "s")]
    assert all(len(set(query)) == samples.QUERY_WORDS and query == sorted(query) for query in queries)
    assert queries[0] != queries[1]


def test_the_negative_document_is_any_other() -> None:
    drawn = list(islice(samples._draw(3, 1), 600))
    assert {tuple(pair) for pair in drawn} == {(a, b) for a in range(3) for b in range(3) if a != b}
    assert all(60 < drawn.count(samples.Drawn(0, other)) < 140 for other in (1, 2))


def test_every_order_of_few_documents_comes() -> None:
    orders = [tuple(islice(samples._shuffled(3, seed), 3)) for seed in range(600)]
    assert len(set(orders)) == 6
    assert all(60 < orders.count(order) < 140 for order in set(orders))


@pytest.mark.parametrize(
    ("documents", "count", "sentence"),
    [(1, 5, "has one document, a sample needs two"), (5, 0, "--samples: 0 is not a positive number")],
)
def test_impossible_samples_are_refused(
    documents: int, count: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = write_jsonl(tmp_path / "c.jsonl", words_of(documents))
    arguments = [str(collection), "--samples", str(count), "--seed", "1", "--output", str(tmp_path / "s")]
    monkeypatch.setattr(sys, "argv", ["order_samples.py", *arguments])
    with pytest.raises(SystemExit, match=sentence):
        samples_program.main()
    assert not (tmp_path / "s").exists()


# The page cache.


def test_pages_come_into_the_cache_and_go(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    page = os.sysconf("SC_PAGE_SIZE")
    whole.write_bytes(os.urandom(64 * page))
    part.write_bytes(os.urandom(64 * page + 10))
    page_cache.warm([whole, part])
    assert page_cache.resident_bytes([whole]) == 64 * page
    assert page_cache.resident_bytes([part]) == 64 * page + 10
    assert page_cache.resident_fraction([whole, part]) == 1.0
    page_cache.drop([whole])
    if page_cache.resident_bytes([whole]):
        pytest.skip("temporary files are in memory here, or another process has them")
    assert page_cache.resident_fraction([whole]) == 0.0
    assert page_cache.resident_fraction([whole, part]) == pytest.approx(0.5, abs=0.01)
    with whole.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # no page ahead
        os.pread(file.fileno(), 1, 5 * page)
    assert page_cache.resident_bytes([whole]) == page


def test_the_cache_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert page_cache.resident_bytes([tmp_path / "empty"]) == 0
    assert page_cache.resident_fraction([tmp_path / "empty"]) == 1.0
    assert page_cache.resident_fraction([]) == 1.0
    with pytest.raises(FileNotFoundError):
        page_cache.resident_bytes([tmp_path / "missing"])
