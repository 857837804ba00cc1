"""Queries and judgements of a slice: known items, a hub on 127.0.0.1, files; and the program that searches them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_hub import FakeHub, FakeRepository
from indexscope.corpora.queries import (
    Judgement,
    Query,
    distinct_words,
    fetch_queries,
    make_queries,
    read_qrels,
    write_queries,
)
from indexscope.run_record import InputError
from indexscope.settings.torch_versions import FileQueries, HubQueries, KnownItemQueries

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
DAPR = ("dataset", "UKPLab/dapr")
# As the card of UKPLab/dapr lists them.
CARD = b"""---
configs:
- config_name: ConditionalQA-corpus
  data_files: [{split: test, path: ConditionalQA/corpus/*}]
- config_name: ConditionalQA-qrels
  data_files:
  - {split: dev, path: ConditionalQA/qrels/dev.parquet}
  - {split: test, path: ConditionalQA/qrels/test.parquet}
- config_name: ConditionalQA-queries
  data_files:
  - {split: dev, path: ConditionalQA/queries/dev.parquet}
  - {split: test, path: ConditionalQA/queries/test.parquet}
---
"""


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def slice_of(folder: Path, **texts: str) -> Path:
    """A slice of these documents."""
    return lines(
        folder / "slice.jsonl", *({"document_id": name, "text": text} for name, text in texts.items())
    )


def many(folder: Path) -> Path:
    texts = {f"d{n:03}": " ".join(f"w{n * 7 + word}" for word in range(n % 10)) for n in range(200)}
    return slice_of(folder, **texts)


def parquet(**columns: list[Any]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return content.getvalue()


def refused(settings: KnownItemQueries | HubQueries | FileQueries, *arguments: Path | None) -> str:
    with pytest.raises(InputError) as raised:
        make_queries(settings, *arguments)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Known items.


def test_words_are_without_markup_and_each_once() -> None:
    text = "<p class='lead'>The <b>state-of-the-art</b> the &amp; x &lt; 3 <!-- a\nnote --> Straße STRASSE it's</p>"
    text += " 1 < 2"
    assert distinct_words(text) == ["The", "state-of-the-art", "x", "3", "Straße", "it's", "1", "2"]


def test_known_items_ask_with_words_of_their_document(tmp_path: Path) -> None:
    collection = many(tmp_path)
    made = make_queries(KnownItemQueries(queries=20, words=4), collection)
    texts = {record["document_id"]: record["text"] for record in map(json.loads, collection.open())}
    assert len(made.queries) == 20
    for query, judgement in zip(made.queries, made.judgements, strict=True):
        words = query.text.split()
        assert len(set(words)) == 4
        assert set(words) <= set(texts[judgement.document_id].split())
        assert judgement == Judgement(query.query_id, judgement.document_id, 1)
    assert made.counts == {"documents": 200, "documents_with_too_few_words": 80}  # those of 0 to 3 words
    positions = [judgement.document_id for judgement in made.judgements]
    assert positions == sorted(set(positions))
    # Drawn from the whole slice, not from its beginning.
    assert positions[0] < "d050" and positions[-1] >= "d150"


def test_all_documents_where_there_are_fewer(tmp_path: Path) -> None:
    made = make_queries(KnownItemQueries(queries=500, words=4), many(tmp_path))
    assert len(made.queries) == 120
    shorter = slice_of(tmp_path, a="one two", b="")
    sentence = f"{shorter}: no document has 3 different words; lower queries.words"
    assert refused(KnownItemQueries(words=3), shorter) == sentence


def test_the_choice_depends_on_the_seed_and_the_documents_alone(tmp_path: Path) -> None:
    """A choice among more documents is the choice among each part, as far as it is chosen there."""
    collection = many(tmp_path)
    settings = KnownItemQueries(queries=10, words=2)
    made = make_queries(settings, collection)
    assert made.queries != make_queries(KnownItemQueries(queries=10, words=2, seed=8), collection).queries
    part = tmp_path / "part.jsonl"
    part.write_text("".join(collection.open().readlines()[:100]))
    of_part = {query for query in made.queries if query.query_id < "known-d100"}
    assert 0 < len(of_part) < 10
    assert of_part < set(make_queries(settings, part).queries)


def test_every_process_makes_the_same_files(tmp_path: Path) -> None:
    collection = many(tmp_path)
    written = []
    for hash_seed in ("1", "2"):
        output = tmp_path / hash_seed
        program = [sys.executable, SCRIPTS / "make_queries.py", "--queries", '{"source": "known_item"}']
        done = subprocess.run(
            [*program, "--collection", collection, "--output", output],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == (
            "queries: 80, judgements: 80, documents: 200, documents with too few words: 120\n"
        )
        written.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert written[0] == written[1]
    assert sorted(written[0]) == ["manifest.json", "qrels.jsonl", "queries.jsonl"]


def test_a_slice_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "slice.jsonl", {"document_id": "a", "text": "one"})
    assert refused(KnownItemQueries(), tmp_path / "none.jsonl").startswith(
        f"{tmp_path / 'none.jsonl'}: cannot be"
    )
    path.write_text(path.read_text() + '{"document_id": "b"}\n')
    assert refused(KnownItemQueries(), path) == f"{path}: line 2 has no text; run slice_dataset.py again"
    path.write_text('{"document_id": ')
    assert refused(KnownItemQueries(), path).startswith(f"{path}: line 1 is not JSON (")


# Files.


def files(folder: Path, queries: bytes | str, qrels: bytes | str) -> FileQueries:
    for name, content in (("queries.tsv", queries), ("qrels.txt", qrels)):
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return FileQueries(source="files", queries=str(folder / "queries.tsv"), qrels=str(folder / "qrels.txt"))


def test_what_the_slice_lacks_is_dropped_and_counted(tmp_path: Path) -> None:
    collection = slice_of(tmp_path, d1="text", d2="text", d3="text")
    settings = files(
        tmp_path,
        "\ufeffq1\tfirst query\r\nq2\tsecond\n\nq3\tthird\nq4\tnever judged\n",
        # q1: d1 and d9, which the slice lacks; q2: d9 alone; q3: d2 is judged, not relevant; q5 is no query.
        "q1 0 d1 2\nq1\t0\td9\t1\nq2 0 d9 1\nq3 0 d2 0\nq1 0 d3 0\nq1 0 d1 2\nq5 0 d1 1\n",
    )
    made = make_queries(settings, collection)
    assert made.queries == [Query("q1", "first query")]
    assert made.judgements == [Judgement("q1", "d1", 2), Judgement("q1", "d3", 0)]
    assert made.counts == {
        "documents": 3,
        "queries_read": 4,
        "judgements_read": 6,
        "judgements_without_their_query": 1,
        "judgements_of_documents_not_in_slice": 2,
        "queries_without_relevant_document_in_slice": 3,
    }
    manifest = write_queries(made, settings.model_dump(), tmp_path / "out")
    assert manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["queries"], manifest["judgements"]) == (1, 2)
    assert read_qrels(tmp_path / "out" / "qrels.jsonl") == made.judgements


@pytest.mark.parametrize(
    ("queries", "qrels", "problem"),
    [
        (
            "q1 text\n",
            "q1 0 d1 1\n",
            "queries.tsv: line 1 has 1 fields between tabs, not query identifier and text",
        ),
        ("q1\ta\nq2\ta\tb\n", "q1 0 d1 1\n", "queries.tsv: line 2 has 3 fields between tabs"),
        ("q1\t \n", "q1 0 d1 1\n", "queries.tsv: line 1: query 'q1' has no text; correct it"),
        ("\ttext\n", "q1 0 d1 1\n", "queries.tsv: line 1: '' is no query identifier; correct it"),
        ("q1\ta\nq1\tb\n", "q1 0 d1 1\n", "queries.tsv: line 2: query 'q1' is there twice"),
        (b"q1\ta\nq2\t\xff\n", "q1 0 d1 1\n", "queries.tsv: line 2 is not valid UTF-8"),
        ("q1\ta\n", "q1 0 d1\n", "qrels.txt: line 1 has 3 fields, not query identifier, iteration"),
        ("q1\ta\n", "q1 0 d1 1\nq1 0 d2 high\n", "qrels.txt: line 2: relevance 'high' is no whole number"),
        (
            "q1\ta\n",
            "q1 0 d1 1\nq1 0 d1 2\n",
            "qrels.txt: line 2: document 'd1' has relevance 2 for query 'q1', and 1",
        ),
        ("q1\ta\n", "q1 0 d2 1\n", "none of 1 queries has a relevant document in it; index more documents"),
        ("", "", "none of 0 queries has a relevant document"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, queries: bytes | str, qrels: str, problem: str) -> None:
    assert problem in refused(files(tmp_path, queries, qrels), slice_of(tmp_path, d1="text"))


def test_the_program_leaves_nothing_half_written(tmp_path: Path) -> None:
    settings = files(tmp_path, "q1\ta\n", "q1 0 d1 high\n")
    program = [sys.executable, SCRIPTS / "make_queries.py", "--queries", settings.model_dump_json()]
    done = subprocess.run(
        [*program, "--collection", slice_of(tmp_path, d1="text"), "--output", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (
        done.stderr == f"{tmp_path / 'qrels.txt'}: line 1: relevance 'high' is no whole number; correct it\n"
    )
    assert not (tmp_path / "out").exists()


# The hub.


def hub_settings(**changes: Any) -> HubQueries:
    values = {
        "queries_config": "ConditionalQA-queries",
        "qrels_config": "ConditionalQA-qrels",
        "revision": "main",
    }
    return HubQueries(source="hub", repository="UKPLab/dapr", **{**values, **changes})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    repository = {
        "README.md": CARD,
        "ConditionalQA/corpus/0000.parquet": b"not asked for",
        "ConditionalQA/queries/dev.parquet": b"not asked for",
        "ConditionalQA/qrels/dev.parquet": b"not asked for",
        "ConditionalQA/queries/test.parquet": parquet(_id=["q1", "q2"], text=["Can I?", "May I?"]),
        "ConditionalQA/qrels/test.parquet": parquet(
            query_id=["q1", "q1", "q2"], corpus_id=["0-1", "0-9", "0-9"], score=[1, 1, 1]
        ),
    }
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", "/nonexistent")
    with FakeHub({DAPR: FakeRepository(repository)}).serving() as serving:
        monkeypatch.setenv("HF_ENDPOINT", serving.address)
        yield serving


def test_both_configurations_are_fetched_and_read(hub: FakeHub, tmp_path: Path) -> None:
    said: list[str] = []
    manifest = fetch_queries(hub_settings(), tmp_path / "got", said.append)
    assert manifest == json.loads((tmp_path / "got" / "manifest.json").read_text())
    assert manifest["commit"] == "a" * 40
    assert manifest["queries"] == ["ConditionalQA/queries/test.parquet"]
    assert manifest["qrels"] == ["ConditionalQA/qrels/test.parquet"]
    assert said == ["1 of 2 files: " + manifest["queries"][0], "2 of 2 files: " + manifest["qrels"][0]]
    made = make_queries(
        hub_settings(), slice_of(tmp_path, **{"0-1": "text", "0-2": "text"}), tmp_path / "got"
    )
    assert made.queries == [Query("q1", "Can I?")]
    assert made.judgements == [Judgement("q1", "0-1", 1)]
    assert made.counts["queries_without_relevant_document_in_slice"] == 1
    hub.downloads.clear()
    fetch_queries(hub_settings(), tmp_path / "got", said.append)
    assert hub.downloads == ["README.md"]  # what is there and intact is not fetched again


def test_a_download_that_fails_can_be_started_again(hub: FakeHub, tmp_path: Path) -> None:
    files = hub.repositories[DAPR].files
    qrels, name = files.pop("ConditionalQA/qrels/test.parquet"), "ConditionalQA/queries/test.parquet"
    with pytest.raises(InputError, match=r"no file matches .*; correct qrels_config"):
        fetch_queries(hub_settings(), tmp_path, lambda _: None)
    files["ConditionalQA/qrels/test.parquet"] = qrels
    hub.cut_after[name] = 20
    fetch_queries(hub_settings(), tmp_path, lambda _: None)
    assert (tmp_path / "content" / name).read_bytes() == files[name]
    assert (tmp_path / "manifest.json").exists()


def test_wrong_names_are_said(hub: FakeHub, tmp_path: Path) -> None:
    for changes, problem in (
        (
            {"qrels_config": "Genomics-qrels"},
            r"no config 'Genomics-qrels', only .*; correct qrels_config or split",
        ),
        ({"split": "all"}, r"has no split 'all', only dev, test; correct queries_config or split"),
    ):
        with pytest.raises(InputError, match=problem):
            fetch_queries(hub_settings(**changes), tmp_path, lambda _: None)
    fetch_queries(hub_settings(), tmp_path / "got", lambda _: None)
    collection = slice_of(tmp_path, **{"0-1": "text"})
    assert refused(hub_settings(qrels_score_column="label"), collection, tmp_path / "got").endswith(
        "test.parquet: has no column 'label', only 'query_id', 'corpus_id', 'score'; correct qrels_score_column"
    )
    assert "run fetch_queries.py and name its --output" in refused(hub_settings(), collection)
    got = tmp_path / "got/content/ConditionalQA/qrels/test.parquet"
    got.write_bytes(got.read_bytes()[:-1])
    assert refused(hub_settings(), collection, tmp_path / "got").startswith(
        f"{got}: has changed since it was fetched"
    )


def test_the_program_fetches_for_the_hub_alone(hub: FakeHub, tmp_path: Path) -> None:
    def fetched(settings: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, SCRIPTS / "fetch_queries.py", "--queries", settings, "--output", tmp_path]
        return subprocess.run(program, capture_output=True, text=True, check=False)

    done = fetched(hub_settings().model_dump_json())
    assert done.stdout.splitlines()[-1].endswith(f"commit {'a' * 40}"), done.stderr
    refusal = "--queries: source: known_item needs no download; use make_queries.py\n"
    assert fetched('{"source": "known_item"}').stderr == refusal


# The program that searches, with a ColBERT that finds documents by the length of a query.

FAKE_TORCH = """
import os
__version__ = "9.8.7+cpu"
seen = {name: os.environ.get(name) for name in (
    "TORCH_EXTENSIONS_DIR", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
def set_num_threads(number):
    seen["threads"] = number
"""
FAKE_COLBERT = """
import json, os, signal, sys
from types import SimpleNamespace
import torch
class Searcher:
    def __init__(self, index, index_root, checkpoint, collection, config, verbose):
        json.dump([torch.seen, index_root + "/" + index, checkpoint, vars(config)], open(os.environ["SEEN"], "w"))
        behave = os.environ.get("BEHAVE")
        if behave == "raise":
            raise RuntimeError("no kernel image\\nis available")
        if behave == "exit":
            sys.exit("gone")
        if behave == "die":
            print("out of luck", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        self.ranker = SimpleNamespace(doclens=[1, 1, 1])
    def search_all(self, queries, k):
        found = {name: [(len(text) % 3, 1, 2.5), ((len(text) + 1) % 3, 2, 2.5)][:k] for name, text in queries.items()}
        return SimpleNamespace(data=found)
"""


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    """A command line whose run, slice and queries are there."""
    fakes = tmp_path / "fakes"
    (fakes / "colbert").mkdir(parents=True)
    (fakes / "torch.py").write_text(FAKE_TORCH)
    (fakes / "colbert/__init__.py").write_text(FAKE_COLBERT)
    (fakes / "colbert/infra.py").write_text("from types import SimpleNamespace as ColBERTConfig\n")
    monkeypatch.setenv("PYTHONPATH", str(fakes))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen.json"))
    (tmp_path / "run/index").mkdir(parents=True)
    (tmp_path / "run/index/metadata.json").write_text("{}")
    record_run(tmp_path, outcome="completed")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "queries").mkdir()
    lines(
        tmp_path / "queries/queries.jsonl",
        {"query_id": "q1", "text": "ab"},
        {"query_id": "q2", "text": "abc"},
    )
    slice_of(tmp_path, a="", b="", c="")
    settings = '{"k": 10, "ncells": 4, "centroid_score_threshold": 0.45, "ndocs": 1024, "permutations": 99}'
    options = {"run": "run", "collection": "slice.jsonl", "output": "found.jsonl"}
    options |= {name: name for name in ("checkpoint", "extensions", "queries")}
    command: list[str | Path] = [sys.executable, SCRIPTS / "search_queries.py"]
    for option, name in options.items():
        command += [f"--{option}", tmp_path / name]
    return [*command, "--search", settings, "--threads", "3", "--device", "cpu"]


def record_run(folder: Path, **facts: Any) -> None:
    run = {"system": "s", "cell": "c", "documents": 3, "profiler": "none", "repeat": 1}
    (folder / "run/run.json").write_text(json.dumps({"format": 1, "run": run, **facts}))


def searched(command: list[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def found(folder: Path) -> list[dict[str, Any]]:
    assert not (folder / "found.jsonl.partial").exists()
    return [json.loads(line) for line in (folder / "found.jsonl").open()]


def test_a_search_writes_what_colbert_ranks(search: list[str | Path], tmp_path: Path) -> None:
    assert searched(search).returncode == 0
    header, *rows = found(tmp_path)
    assert header == {
        "format": 1,
        "outcome": "completed",
        "detail": None,
        "index_run": "s-c/3/none/1",
        "version": "9.8.7",
        "torch_build": "9.8.7+cpu",
    }
    assert [tuple(row.values()) for row in rows] == [
        ("q1", 1, "c", 2.5),
        ("q1", 2, "a", 2.5),
        ("q2", 1, "a", 2.5),
        ("q2", 2, "b", 2.5),
    ]
    environment, index, checkpoint, config = json.loads((tmp_path / "seen.json").read_text())
    assert environment == {
        "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "3",
        "threads": 3,
    }
    assert (index, checkpoint) == (str(tmp_path / "run/index"), str(tmp_path / "checkpoint"))
    assert config == {"ncells": 4, "centroid_score_threshold": 0.45, "ndocs": 1024}


@pytest.mark.parametrize(
    ("behaviour", "detail"),
    [
        ("raise", "RuntimeError: no kernel image"),
        ("exit", "SystemExit: gone"),
        ("die", "the process ended by SIGSEGV; it last said: out of luck"),
    ],
)
def test_a_colbert_that_fails_is_a_result(
    search: list[str | Path], tmp_path: Path, behaviour: str, detail: str
) -> None:
    done = searched(search, BEHAVE=behaviour)
    assert done.returncode == 0, done.stderr
    (header,) = found(tmp_path)
    assert (header["outcome"], header["detail"], header["index_run"]) == ("failed", detail, "s-c/3/none/1")


def test_nothing_to_search_is_a_result(search: list[str | Path], tmp_path: Path) -> None:
    record_run(tmp_path, outcome="killed", outcome_detail="ended by SIGKILL")
    assert searched(search).returncode == 0
    (header,) = found(tmp_path)
    assert header["outcome"] == "killed"
    assert header["detail"] == "its index was not made: ended by SIGKILL"
    assert searched(search, INDEXSCOPE_UNAVAILABLE="no wheel").returncode == 0
    (header,) = found(tmp_path)
    assert (header["outcome"], header["detail"]) == ("unavailable", "no wheel")
    assert not (tmp_path / "seen.json").exists()


def test_what_is_wrong_with_the_input_is_said(search: list[str | Path], tmp_path: Path) -> None:
    slice_of(tmp_path, a="", b="")
    done = searched(search)
    assert done.returncode == 1
    assert "/run/index has 3 passages, " in done.stderr.splitlines()[-1]
    assert done.stderr.endswith("slice.jsonl 2 documents; give the slice that was indexed\n")
    slice_of(tmp_path, a="", b="", c="")
    (tmp_path / "run/index/metadata.json").unlink()
    assert searched(search).stderr.endswith("/run/index is missing; set keep to indexes and run it again\n")
    (tmp_path / "run/index/metadata.json").write_text("{}")
    search[search.index("--search") + 1] = '{"k": 10}'
    missing = "--search: ncells is missing; give k, ncells, centroid_score_threshold, ndocs\n"
    assert searched(search).stderr == missing
    assert not list(tmp_path.glob("found*"))
