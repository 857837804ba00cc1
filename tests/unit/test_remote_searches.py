"""Searching: what an index has to have, what is found by a toy colbert-ai, and the tables of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from indexscope.analysis import remote_searches
from indexscope.run_record import InputError
from indexscope.searching import index_folder, libraries, measuring, passages, plain, printing, worker
from searched_index import DOCUMENT_IDS, TEXTS, write_collection, write_index, write_toy_libraries

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
QUERIES = {"q1": "red apple", "q2": "green sea", "q3": "blue"}
# q3 has no judgement; of q2 the judged page is not found first.
QRELS = [("q1", DOCUMENT_IDS[0], 1), ("q2", "sea.pdf#page=7", 2), ("q2", DOCUMENT_IDS[1], 0)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_index(tmp_path / "run", tmp_path / "encoder")


@pytest.fixture
def whole(run: Path, tmp_path: Path) -> Path:
    """The run directory of an index with its passages."""
    passages.complete(run / "index", write_collection(tmp_path / "collection.jsonl"))
    return run


def test_a_passage_is_traced_to_file_and_page() -> None:
    assert passages.source_of("a/b#page=2 of #1.pdf#page=12") == ("a/b#page=2 of #1.pdf", 12, None)
    assert passages.source_of("MED-10") == (None, None, None)


def test_an_index_gets_what_ragatouille_reads(run: Path, tmp_path: Path) -> None:
    pages = tmp_path / "pages.jsonl"
    rows = [{"file": "sea.pdf", "title": "The sea"}, {"file": "damaged.pdf", "title": None}]
    pages.write_text("".join(json.dumps(row) + "\n" for row in rows))
    collection = write_collection(tmp_path / "collection.jsonl")
    assert passages.complete(run / "index", collection, pages) == [
        "collection.json",
        "pid_docid_map.json",
        "docid_metadata_map.json",
    ]
    assert json.loads((run / "index/collection.json").read_text()) == TEXTS
    assert json.loads((run / "index/pid_docid_map.json").read_text()) == {
        str(number): name for number, name in enumerate(DOCUMENT_IDS)
    }
    assert json.loads((run / "index/docid_metadata_map.json").read_text())["sea.pdf#page=7"] == {
        "file": "sea.pdf",
        "page": 7,
        "title": "The sea",
    }
    known = passages.read(index_folder.locate(run))
    assert known.source(3) == ("sea.pdf", 7, "The sea")
    assert known.source(0) == ("fruits/Äpfel #1.pdf", 1, None)
    assert passages.complete(run / "index", collection, pages) == []


def test_another_collection_is_refused_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in (run / "index").iterdir())
    other = write_collection(tmp_path / "other.jsonl", TEXTS[:3], DOCUMENT_IDS[:3])
    with pytest.raises(InputError, match=r"has 3 passages, .* 4; give the collection that was indexed"):
        passages.complete(run / "index", other)
    with pytest.raises(InputError, match="has 3 passages"):
        passages.read(index_folder.locate(run), other)
    assert sorted(path.name for path in (run / "index").iterdir()) == before


def test_plain_texts_as_colbert_is_given_them(run: Path, tmp_path: Path) -> None:
    tsv = tmp_path / "collection.tsv"
    tsv.write_text("".join(f"{number}\t{text}\n" for number, text in enumerate(TEXTS)))
    metadata = run / "index/metadata.json"
    content = json.loads(metadata.read_text())
    content["config"]["collection"] = str(tsv)
    metadata.write_text(json.dumps(content))
    found = passages.read(index_folder.locate(run / "index"))
    assert (list(found.texts), list(found.document_ids)) == (TEXTS, ["0", "1", "2", "3"])


def test_a_moved_encoder_is_found_or_asked_for(whole: Path, tmp_path: Path) -> None:
    index = index_folder.locate(whole)
    assert index_folder.encoder(index) == str(tmp_path / "encoder")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "encoder").rename(tmp_path / "checkpoints" / "encoder")
    assert index_folder.encoder(index) == str(tmp_path / "checkpoints" / "encoder")
    (tmp_path / "checkpoints" / "encoder").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="which is gone; give the encoder with --checkpoint"):
        index_folder.encoder(index)
    assert index_folder.encoder(index, tmp_path / "elsewhere") == str(tmp_path / "elsewhere")


def test_ragatouille_is_given_a_view_where_names_have_changed(whole: Path, tmp_path: Path) -> None:
    index = index_folder.locate(whole)
    with libraries.as_ragatouille_wants(index, index.checkpoint) as folder:
        assert folder == whole / "index"
    (whole / "index").rename(whole / "renamed")
    moved = index_folder.locate(whole / "renamed")
    with libraries.as_ragatouille_wants(moved, "/new/encoder") as folder:
        config = json.loads((folder / "metadata.json").read_text())["config"]
        assert (folder.name, config["index_name"], config["checkpoint"]) == ("index", "index", "/new/encoder")
        assert (folder / "centroids.pt").read_bytes() == b"centroids.pt"
    assert not folder.exists()
    assert (
        json.loads((whole / "renamed/metadata.json").read_text())["config"]["checkpoint"] == index.checkpoint
    )


def test_queries_are_timed_after_a_first_one() -> None:
    class Toy:
        def __init__(self) -> None:
            self.asked: list[Any] = []

        def one(self, query: str, k: int) -> list[libraries.Found]:
            self.asked.append(query)
            return [libraries.Found(len(query), 1.0)]

        def many(self, queries: Any, k: int) -> list[list[libraries.Found]]:
            self.asked.append(list(queries))
            return [[libraries.Found(len(query), 1.0)] for query in queries]

    single, batch = Toy(), Toy()
    alone = worker.ask(single, ["a", "bb", "ccc"], 5, None)
    together = worker.ask(batch, ["a", "bb", "ccc"], 5, 2)
    assert single.asked == ["a", "a", "bb", "ccc"]
    assert batch.asked == [["a", "bb"], ["a", "bb"], ["ccc"]]
    assert [len(made["latencies_ms"]) for made in (alone, together)] == [3, 2]
    assert alone["found"] == together["found"] == [[(1, 1.0)], [(2, 1.0)], [(3, 1.0)]]


def test_effort_is_that_of_ragatouille() -> None:
    # ragatouille/models/index.py, _load_searcher.
    expected = {"ncells": 8, "ndocs": 1024, "centroid_score_threshold": 0.4}
    assert plain.ragatouille_effort(9_999, 5) == expected
    assert plain.ragatouille_effort(10_000, 300) == {
        **{"ncells": 4, "ndocs": 1200},
        "centroid_score_threshold": 0.45,
    }
    assert plain.ragatouille_effort(100_000, 5) == {"ncells": 16, "ndocs": 1024}
    assert "force_fast=True" in plain.plain("ragatouille", "colbert", 10, 5).call


def test_found_in_k_counts_judged_queries_only() -> None:
    queries = measuring.Queries({"a": "x", "b": "y", "c": "z"}, {"a": {"1"}, "b": {"2", "3"}})
    assert measuring.found_in_k(queries, [["9", "1"], ["1"], ["2"]]) == 0.5
    assert measuring.found_in_k(measuring.Queries({"a": "x"}), [["1"]]) is None


def measure(run: Path, tmp_path: Path, how: str = "") -> list[dict[str, Any]]:
    """What measure_search.py writes of an index with the toy colbert-ai; ragatouille is not there."""
    toy = tmp_path / "libraries"
    if not toy.exists():
        write_toy_libraries(toy)
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.jsonl"
    queries.write_text("".join(json.dumps({"query_id": i, "text": t}) + "\n" for i, t in QUERIES.items()))
    names = ("query_id", "document_id", "relevance")
    qrels.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in QRELS))
    measurement = {"sample_interval_seconds": 0.01, "timeout_seconds": 60, "memory_limit_mib": None}
    command = [
        *(sys.executable, SCRIPTS / "measure_search.py", run, "--queries", queries, "--qrels", qrels),
        *("--search", json.dumps({"k": 2, "batch_size": 2, "repeats": 1})),
        *("--measurement", json.dumps(measurement), "--threads", "1", "--device", "cpu"),
        *("--output", run / "searches.jsonl"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(toy), "TOY_COLBERT": how}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(run.glob("*.partial")) and not list(run.glob("search-*"))
    return [json.loads(line) for line in (run / "searches.jsonl").read_text().splitlines()]


def of_kind(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["kind"] == kind]


def test_a_search_is_measured_and_tabulated(whole: Path, tmp_path: Path) -> None:
    records = measure(whole, tmp_path)
    single, batch = of_kind(records, "search")
    assert (single["mode"], batch["mode"], batch["batch_size"]) == ("single", "batch", 2)
    assert single["outcome"] == batch["outcome"] == "completed", single["outcome_detail"]
    assert single["results_digest"] == batch["results_digest"]
    assert batch["outcome_detail"] is None
    # q1 finds passages 0 and 1, q2 passage 3 and then 1; q3 has no judgement.
    assert single["found_in_k"] == 1.0
    found = of_kind(records, "result")
    assert [(row["query_id"], row["rank"], row["passage_id"]) for row in found] == [
        ("q1", 1, 0), ("q1", 2, 1), ("q2", 1, 3), ("q2", 2, 1), ("q3", 1, 2), ("q3", 2, 0),
    ]  # fmt: skip
    assert [row["relevant"] for row in found] == [True, False, True, False, None, None]
    colbert, ragatouille = of_kind(records, "load")
    assert (colbert["loads"], colbert["same_results"]) == (True, True), colbert["detail"]
    assert (ragatouille["loads"], ragatouille["same_results"]) == (False, None)
    assert "No module named 'ragatouille'" in ragatouille["detail"]

    tables = [tmp_path / f"{name}.parquet" for name in ("searches", "results", "loads")]
    command = [sys.executable, SCRIPTS / "tabulate_remote_searches.py", whole / "searches.jsonl"]
    options = ["--labels", '{"toy": "Toy"}']
    for option, table in zip(("--searches", "--results", "--loads"), tables, strict=True):
        options += [option, str(table)]
    subprocess.run([*command, *options], check=True)
    searches, results, loads = (pq.read_table(table).to_pylist() for table in tables)
    assert [row["label"] for row in searches] == ["Toy", "Toy"]
    assert (results[2]["file"], results[2]["page"]) == ("sea.pdf", 7)
    assert [row["loads"] for row in loads] == [True, False]


def test_a_batch_that_finds_something_else_says_so(whole: Path, tmp_path: Path) -> None:
    single, batch = of_kind(measure(whole, tmp_path, "batch differs"), "search")
    assert single["results_digest"] != batch["results_digest"]
    # Each batch's first query is turned round: q1 and q3.
    assert batch["outcome_detail"].startswith(
        "2 of 3 queries are ranked otherwise than when asked singly, 0 of"
    )


@pytest.mark.parametrize(
    ("how", "outcome", "detail"),
    [("abort", "killed", "SIGABRT"), ("raise", "failed", "RuntimeError: no such kernel")],
)
def test_a_process_that_dies_is_a_row(
    whole: Path, tmp_path: Path, how: str, outcome: str, detail: str
) -> None:
    records = measure(whole, tmp_path, how)
    assert [record["kind"] for record in records] == ["search", "search", "load", "load"]
    for record in records[:2]:
        assert record["outcome"] == outcome
        assert detail in record["outcome_detail"]
    assert not records[2]["loads"]
    tables = remote_searches.tabulate([whole / "searches.jsonl"], {})
    assert [row["outcome"] for row in tables.searches] == [outcome, outcome]


def test_a_run_without_an_index_is_rows(tmp_path: Path) -> None:
    run = write_index(
        tmp_path / "run", tmp_path / "encoder", outcome="out_of_memory_host", outcome_detail="too much"
    )
    records = measure(run, tmp_path)
    assert [record.get("outcome") for record in records] == [
        "out_of_memory_host",
        "out_of_memory_host",
        None,
        None,
    ]
    assert records[0]["outcome_detail"] == "its index was not made: too much"
    assert len(remote_searches.tabulate([run / "searches.jsonl"], {}).loads) == 2


def test_quantiles_and_rate() -> None:
    latencies = [float(value) for value in range(101)]
    row = remote_searches.search_row({"outcome": "completed", "queries": 202, "latencies_ms": latencies})
    assert (row["p50_ms"], row["p90_ms"], row["p99_ms"]) == (50.0, 90.0, 99.0)
    assert row["queries_per_second"] == pytest.approx(202 / 5.050)
    assert "latencies_ms" not in row


def test_titles_come_from_the_pages(tmp_path: Path) -> None:
    pages = tmp_path / "pages.jsonl"
    rows = [
        {
            "file": "sea.pdf",
            "page": 7,
            "title": "The sea",
            "outcome": "text",
            "document_id": "sea.pdf#page=7",
        },
        {"file": "sea.pdf", "page": 8, "title": "The sea", "outcome": "empty", "document_id": None},
    ]
    pages.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = {
        **{"kind": "result", "system": "toy", "query_id": "q", "query": "x", "rank": 1, "score": 1.0},
        **{"document_id": "sea.pdf#page=7", "passage_id": 2, "passage": "blue sea", "relevant": None},
    }
    (tmp_path / "searches.jsonl").write_text(json.dumps(result) + "\n")
    (row,) = remote_searches.tabulate([tmp_path / "searches.jsonl"], {"toy": "Toy"}, pages).results
    assert (row["file"], row["page"], row["title"], row["label"]) == ("sea.pdf", 7, "The sea", "Toy")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"kind": "picture", "system": "toy"}', "line 1: 'picture' is no kind of record"),
        ('{"kind": "load", "system": "toy", "library": "x"}', "is no record of a load .no loads"),
        ('{"kind": "search", "system": "toy", "outcome": "completed"}', "is no record of a search"),
        ("no", "is no JSON"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "searches.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=sentence):
        remote_searches.tabulate([path], {})


def search_index(tmp_path: Path, *arguments: object, inside: bool = True) -> str:
    """What search_index.py prints in an environment with the toy colbert-ai, or its sentence."""
    toy = tmp_path / "libraries"
    if not toy.exists():
        write_toy_libraries(toy)
    environment = {**os.environ, "PYTHONPATH": str(toy)}
    if inside:
        environment["INDEXSCOPE_SEARCHES"] = "1"
    command = [sys.executable, SCRIPTS / "search_index.py", *map(str, arguments)]
    done = subprocess.run(
        command, env=environment, input="green sea\n\nblue\n", capture_output=True, text=True, check=False
    )
    if done.returncode:
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr
    assert done.stderr == ""
    return done.stdout


def test_search_index_prints_where_a_passage_is_from(whole: Path, tmp_path: Path) -> None:
    printed = search_index(tmp_path, whole, "red apple", "-k", 1)
    assert printed == (
        "Query: red apple\n\n"
        "1. score 2.000, file fruits/Äpfel #1.pdf, page 1, document fruits/Äpfel #1.pdf#page=1\n   red apple\n\n"
    )
    lines = search_index(tmp_path, whole / "index", "-", "-k", 2, "--json").splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["query"] for answer in answers] == ["green sea", "blue"]
    assert [result["passage_id"] for result in answers[0]["results"]] == [3, 1]
    assert answers[1]["results"][0] == {
        **{"rank": 1, "score": 1.0, "document_id": "sea.pdf#page=7", "file": "sea.pdf", "page": 7},
        **{"title": None, "passage_id": 2, "passage": "blue sea"},
    }


SENTENCES: list[tuple[list[Any], str]] = [
    (["NOTHING", "x"], "is no folder; give a run directory"),
    (["EMPTY", "x"], "has no PLAID index (no metadata.json)"),
    (["RUN", " "], "QUERY: an empty query finds nothing"),
    (["RUN", "x", "-k", "0"], "-k: 0 is not a positive number"),
    (["RUN", "x", "-k", "5"], "-k: 5 is more than the 4 passages"),
    (["RUN", "x", "--checkpoint", "EMPTY"], "is no checkpoint (no config.json)"),
    (["RUN", "x", "--verify"], "index.sha256.json is missing; seal the index first"),
]


@pytest.mark.parametrize(("arguments", "sentence"), SENTENCES, ids=lambda value: str(value)[:40])
def test_search_index_says_what_is_wrong(
    arguments: list[str], sentence: str, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "EMPTY").mkdir()
    paths = {"RUN": str(whole), "EMPTY": str(tmp_path / "EMPTY"), "NOTHING": str(tmp_path / "NOTHING")}
    named = [paths.get(argument, argument) for argument in arguments]
    assert sentence in search_index(tmp_path, *named, "-k1" if "-k" not in named else "--json")


def test_a_half_index_is_told(whole: Path) -> None:
    (whole / "index" / "1.residuals.pt").unlink()
    with pytest.raises(InputError, match=r"half an index: 1\.residuals\.pt is missing"):
        index_folder.locate(whole)
    (whole / "index" / "metadata.json").rename(whole / "index" / "plan.json")
    with pytest.raises(InputError, match="an unfinished index"):
        index_folder.locate(whole / "index")


def test_no_passages_and_no_environment(run: Path, tmp_path: Path) -> None:
    said = search_index(tmp_path, run, "x", "-k1")
    assert "has no passages beside it; give what was indexed with --collection" in said
    (tmp_path / "no").mkdir()
    collection = write_collection(tmp_path / "collection.jsonl")
    elsewhere = [
        "--collection",
        collection,
        "--conda-prefix",
        tmp_path / "no",
        "--environment",
        "ragatouille",
    ]
    said = search_index(tmp_path, run, "x", "-k1", *elsewhere, inside=False)
    assert "which is not built here; build it: uv run snakemake --conda-create-envs-only" in said
    said = search_index(tmp_path, run, "x", "-k1", *elsewhere[:4], "--environment", "nothing", inside=False)
    assert "nothing: there is no environment of that name" in said


def test_a_passage_cannot_steer_the_terminal() -> None:
    result = {"rank": 1, "score": 1.0, "document_id": "d", "file": None, "page": None, "title": None}
    text = printing.readable(
        {"query": "q", "results": [{**result, "passage": "red\x1b[31m " + "word " * 30}]}, width=60
    )
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 60


def test_what_a_library_prints_is_shown_when_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with libraries.quiet():
        os.write(1, b"noise\n")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(RuntimeError), libraries.quiet():
        os.write(1, b"the reason\n")
        raise RuntimeError
    assert capfd.readouterr() == ("", "the reason\n")
