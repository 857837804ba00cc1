"""Corpora read from files: each format, plain and gzip; what is refused and how; names that follow the files."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from indexscope import config
from indexscope.corpora import tables
from indexscope.corpora.catalog import open_corpus
from indexscope.corpora.slicing import write_slice
from indexscope.corpora.source import Document
from indexscope.run_record import InputError
from indexscope.settings.corpora import FilesCorpusSettings

ROWS = [("d1", "Title", "first text"), ("d2", "", "κB “quoted”, with comma"), ("d3", "Third", "")]
DOCUMENTS = [
    Document("d1", "Title first text"),
    Document("d2", "κB “quoted”, with comma"),
    Document("d3", "Third"),
]


def jsonl(rows: list[Any]) -> bytes:
    lines = [
        json.dumps(dict(zip(("id", "title", "text"), row, strict=True)), ensure_ascii=False) for row in rows
    ]
    return ("\n".join(lines) + "\n").encode()


def delimited(rows: list[Any], separator: str, header: bool = True) -> bytes:
    named = [("id", "title", "text"), *rows] if header else rows

    def quoted(value: str) -> str:
        return f'"{value}"' if "," in value and separator == "," else value

    return "".join(separator.join(map(quoted, row)) + "\n" for row in named).encode()


def parquet(path: Path, rows: list[Any], **types: pa.DataType) -> None:
    columns = dict(zip(("id", "title", "text"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(
        pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()}), path
    )


def write(path: Path, rows: list[Any]) -> Path:
    """The rows in the format that the name says."""
    plain = path.name.removesuffix(".gz")
    if plain.endswith(".parquet"):
        parquet(path, rows)
        return path
    content = (
        jsonl(rows) if plain.endswith(".jsonl") else delimited(rows, "\t" if plain.endswith("tsv") else ",")
    )
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path | str, count: int = 10, **settings: Any) -> list[Document]:
    values = {"id_column": "id", "text_columns": ["title", "text"], **settings}
    corpus = open_corpus(FilesCorpusSettings(source="files", path=str(path), **values))
    return list(corpus.documents(count))


NAMES = ["a.jsonl", "a.jsonl.gz", "a.tsv", "a.tsv.gz", "a.csv", "a.csv.gz", "a.parquet"]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROWS)
    assert read(path) == DOCUMENTS
    assert read(path, 2) == DOCUMENTS[:2]


def test_files_of_a_glob_follow_each_other_by_name(tmp_path: Path) -> None:
    write(tmp_path / "part-1.jsonl", ROWS[1:])
    write(tmp_path / "part-0.parquet", ROWS[:1])
    assert read(tmp_path / "part-*") == DOCUMENTS
    assert [each.document_id for each in read(tmp_path / "part-*", id_column=None)] == ["0", "1", "2"]


def test_named_format_columns_and_separator(tmp_path: Path) -> None:
    path = tmp_path / "collection.txt"
    path.write_bytes(delimited([("7", "T", 'say "x'), ("8", "", "b")], "\t", header=False))
    columns = ["id", "title", "text"]
    assert read(path, format="tsv", columns=columns, text_separator=" | ") == [
        ("7", 'T | say "x'),
        ("8", "b"),
    ]
    with pytest.raises(InputError, match=r"'\.txt' is none of \.jsonl, .*; name its format"):
        read(path)


def test_csv_fields_hold_line_ends_and_long_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    long = "x" * 200_000  # csv refuses fields beyond 131,072 characters unless told otherwise
    path.write_bytes(f'\ufeffid,title,text\r\n1,a,"two\nlines"\r\n\r\n2,b,{long}\r\n'.encode())
    assert read(path) == [("1", "a two\nlines"), ("2", f"b {long}")]
    corpus = open_corpus(FilesCorpusSettings(source="files", path=str(path), id_column="id"))
    assert corpus.where(1) == f"{path}: line 5"


def test_whole_numbers_are_identifiers_and_null_is_no_text(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [(7, None, "x"), (8, "t", None)], id=pa.int64())
    assert read(tmp_path / "a.parquet") == [("7", "x"), ("8", "t")]
    (tmp_path / "a.jsonl").write_text('{"id": 7, "title": null, "text": "x"}\n\n')
    assert read(tmp_path / "a.jsonl") == [("7", "x")]


@pytest.mark.parametrize("name", NAMES)
def test_on_empty_text(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [("a", "", "x"), ("b", "", " "), ("c", "", "z")])
    assert [each.document_id for each in read(path)] == ["a", "b", "c"]
    assert [each.document_id for each in read(path, on_empty_text="drop")] == ["a", "c"]
    line = {"parquet": "row 2", "jsonl": "line 2"}.get(path.name.removesuffix(".gz").split(".")[1], "line 3")
    with pytest.raises(
        InputError, match=rf"{name}: {line}: document 'b' has no text; correct it, or set on_empty"
    ):
        read(path, on_empty_text="error")


def refused(path: Path, output: Path, count: int = 3, **settings: Any) -> str:
    """The sentence with which a slice is refused; nothing is left of it."""
    values = {"id_column": "id", **settings}
    with pytest.raises(InputError) as raised:
        corpus = open_corpus(FilesCorpusSettings(source="files", path=str(path), **values))
        write_slice(corpus, count, output / "slice.parquet")
    assert list(output.iterdir()) == []
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


@pytest.mark.parametrize("name", NAMES)
class TestRefusals:
    """Each thing that can be wrong, in each format: file and line or row, and what to do."""

    def place(self, name: str, row: int) -> str:
        if name.endswith("parquet"):
            return f"row {row}"
        return f"line {row + (0 if 'jsonl' in name else 1)}"

    def test_too_few_documents(self, tmp_path: Path, output: Path, name: str) -> None:
        said = refused(write(tmp_path / name, ROWS), output, count=4)
        assert said.startswith(
            f"{tmp_path / name}, text from text: 4 documents were asked for, it has only 3;"
        )

    def test_repeated_identifier(self, tmp_path: Path, output: Path, name: str) -> None:
        path = write(tmp_path / name, [*ROWS, ("d2", "", "again")])
        assert refused(path, output, count=4).startswith(
            f"{path}: {self.place(name, 4)}: document_id 'd2' is not unique, {path}: {self.place(name, 2)} has it too"
        )

    def test_repeated_identifier_after_dropped_ones(self, tmp_path: Path, output: Path, name: str) -> None:
        path = write(tmp_path / name, [*ROWS, ("d2", "", "again")])
        said = refused(path, output, on_empty_text="drop")
        assert said.startswith(f"{path}: {self.place(name, 4)}: document_id 'd2'")

    def test_empty_identifier(self, tmp_path: Path, output: Path, name: str) -> None:
        path = write(tmp_path / name, [ROWS[0], ("", "", "x"), ROWS[1]])
        assert refused(path, output).startswith(f"{path}: {self.place(name, 2)}: the document_id is empty")

    def test_missing_column(self, tmp_path: Path, output: Path, name: str) -> None:
        path = write(tmp_path / name, ROWS)
        said = refused(path, output, text_columns=["body"])
        where = f"{path}" if name.endswith("parquet") else f"{path}: line 1"
        assert said.startswith(
            f"{where}: has no column 'body', only 'id', 'title', 'text'; correct id_column"
        )

    def test_empty_file(self, tmp_path: Path, output: Path, name: str) -> None:
        path = tmp_path / name
        path.write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
        assert refused(path, output).startswith(f"{path}: is empty, it has no rows")

    def test_no_rows(self, tmp_path: Path, output: Path, name: str) -> None:
        if "jsonl" in name:
            return
        path = write(tmp_path / name, ROWS)
        if name.endswith("parquet"):
            pq.write_table(pq.read_table(path).slice(0, 0), path)
        else:
            content = delimited([], "\t" if "tsv" in name else ",")
            path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        assert refused(path, output).startswith(f"{path}: is empty, it has no rows")

    def test_invalid_utf8(self, tmp_path: Path, output: Path, name: str) -> None:
        path = write(tmp_path / name, [ROWS[0], ("d2", "", "MARK"), ROWS[2]])
        if name.endswith("parquet"):
            bad = pa.array([b"one", b"\xff\xfe", b"three"]).view(pa.string())
            pq.write_table(pa.table({"id": ["d1", "d2", "d3"], "text": bad}), path)
            assert refused(path, output).startswith(f"{path}: row 2: 'text' is not valid UTF-8 (byte 1)")
            return
        content = path.read_bytes()
        packed = name.endswith(".gz")
        content = (gzip.decompress(content) if packed else content).replace(b"MARK", b"\xff\xfe")
        path.write_bytes(gzip.compress(content) if packed else content)
        said = refused(path, output)
        assert said.startswith(f"{path}: {self.place(name, 2)} is not valid UTF-8 (byte ")
        assert "is 0xff); convert" in said

    def test_truncated_file(self, tmp_path: Path, output: Path, name: str) -> None:
        rows = [(f"d{number}", "", f'text, "{number}"' * 50) for number in range(500)]
        if "csv" in name:
            rows = [(key, "", text.replace('"', "")) for key, _, text in rows]
        path = write(tmp_path / name, rows)
        content = path.read_bytes()
        path.write_bytes(
            content[: len(content) * 2 // 3] if name != "a.tsv" else content.rpartition(b"\t")[0]
        )
        said = refused(path, output, count=500)
        assert said.startswith(f"{path}: ")
        assert ("cut off" in said) and ("get the file again" in said or "get it again" in said), said
        assert ("line" in said) or name == "a.parquet"


def test_damaged_parts(tmp_path: Path, output: Path) -> None:
    path = tmp_path / "a.jsonl"
    for content, message in (
        (b'{"id": "1", "text": "x"}\n{"id": }\n', "line 2 is not JSON (Expecting value at character 8)"),
        (b"[1, 2]\n", "line 1 is not a JSON object"),
        (b'{"id": 1.5, "text": "x"}\n', "line 1: the identifier 1.5 is neither text nor a whole number"),
        (b'{"id": "1", "text": ["x"]}\n', "line 1: 'text' is no text but ['x']; correct text_columns"),
        (b'{"id": "1", "text": "\\ud800"}\n', "line 1: document '1' is not valid Unicode"),
    ):
        path.write_bytes(content)
        assert refused(path, output).startswith(f"{path}: {message}")
    path = tmp_path / "a.tsv"
    path.write_bytes(b"id\ttext\n1\ta\tb\n2\tc\n")
    assert refused(path, output).startswith(f"{path}: line 2: has 3 fields, 2 are expected; correct it")
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,text\n1,"a"b\n')
    assert refused(path, output).startswith(f"{path}: line 2 is not CSV (")
    path = tmp_path / "b.jsonl.gz"
    path.write_bytes(b"plain")
    assert refused(path, output).startswith(f"{path}: is damaged after line 0 (Not a gzipped file")
    path = tmp_path / "a.parquet.gz"
    path.write_bytes(gzip.compress(b"x"))
    assert refused(path, output).startswith(f"{path}: Parquet has a compression of its own")


def test_a_line_without_end_is_not_read_into_memory(
    tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"[" * 5000)
    assert refused(path, output).startswith(
        f"{path}: line 1 is longer than 1000 bytes; is it the right format?"
    )


def test_a_parquet_row_group_is_not_read_whole(tmp_path: Path) -> None:
    """One row group of 120 MiB: its peak memory is a fraction, in a process of its own."""
    path = tmp_path / "large.parquet"
    texts = pa.array([os.urandom(512).hex() for _ in range(120_000)])
    pq.write_table(
        pa.table({"text": texts}), path, row_group_size=10**6, compression="none", use_dictionary=False
    )
    code = (
        "import sys, resource; from indexscope.corpora.catalog import open_corpus;"
        "from indexscope.settings.corpora import FilesCorpusSettings;"
        "import indexscope.corpora.tables;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "corpus = open_corpus(FilesCorpusSettings(source='files', path=sys.argv[1]));"
        "print(sum(1 for _ in corpus.documents(10**6)),"
        " resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    scripts = Path(tables.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=scripts, capture_output=True, text=True, check=True
    )
    documents, grown_kib = map(int, done.stdout.split())
    assert documents == 120_000
    assert grown_kib < 60 * 1024 < path.stat().st_size / 1024


def configured(path: Path | str, checkpoint: Path | None = None) -> config.Configuration:
    values: dict[str, Any] = {"corpora": {"mine": {"source": "files", "path": str(path)}}}
    values["index_memory"] = {"corpus": "mine"}
    if checkpoint:
        values["checkpoints"] = {"own": {"source": "local", "path": str(checkpoint)}}
        values["index_memory"]["checkpoint"] = "own"
    return config.load(values)


def test_names_follow_the_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROWS)
    os.utime(path, ns=(1, 1))
    first = config.addressed(configured(path), "corpora", "mine")
    assert first == config.addressed(configured(path), "corpora", "mine")
    assert first.startswith("mine-")
    os.utime(path, ns=(1, 2))
    touched = config.addressed(configured(path), "corpora", "mine")
    write(path, ROWS[:2])
    os.utime(path, ns=(1, 2))
    shorter = config.addressed(configured(path), "corpora", "mine")
    globbed = config.addressed(configured(tmp_path / "*.jsonl"), "corpora", "mine")
    write(tmp_path / "b.jsonl", ROWS)
    more = config.addressed(configured(tmp_path / "*.jsonl"), "corpora", "mine")
    assert len({first, touched, shorter, globbed, more}) == 5


def test_names_follow_a_local_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.json").write_text("{}")
    settings = configured("x", tmp_path / "own")
    first = config.addressed(settings, "checkpoints", "own")
    assert first == config.addressed(settings, "checkpoints", "own")
    (tmp_path / "own" / "config.json").write_text("{ }")
    assert config.addressed(settings, "checkpoints", "own") != first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none*.jsonl", "matches no file; correct it (a relative path starts where Snakemake is run)"),
        ("missing.jsonl", "does not exist; correct it"),
        ("", "is a folder; name its files, such as "),
    ],
)
def test_missing_files_are_named_with_their_key(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(config.ConfigurationError) as raised:
        config.addressed(configured(tmp_path / name), "corpora", "mine")
    assert str(raised.value).startswith(f"corpora.mine.path: {str(tmp_path / name)!r} {message}")
    with pytest.raises(
        config.ConfigurationError, match=r"^checkpoints\.own\.path: .* is no folder; correct it"
    ):
        config.addressed(configured("x", tmp_path / "absent"), "checkpoints", "own")


def test_the_digests_that_runs_are_filed_under_stay() -> None:
    """Of the default configuration: results of earlier versions are found again."""
    defaults = config.Configuration()
    assert config.addressed(defaults, "corpora", "synthetic") == "synthetic-758a9926"
    assert config.addressed(defaults, "checkpoints", "synthetic_small") == "synthetic_small-df39908c"


DOCUMENTED = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", DOCUMENTED, re.DOTALL))
def test_examples_in_the_documentation_are_valid(example: str) -> None:
    values = yaml.safe_load(example)
    defaults = config.Configuration().model_dump(mode="json")
    for section, entries in values.items():
        defaults[section] |= entries
    loaded = config.load(defaults)
    for section in ("corpora", "checkpoints"):
        for name, entry in values.get(section, {}).items():
            shown = getattr(loaded, section)[name].model_dump(mode="json", exclude_unset=True)
            assert shown == entry
