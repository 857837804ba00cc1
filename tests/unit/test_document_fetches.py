"""Fetching alone and at scale: what is asked for, in which order, and that unequal bytes are an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from indexscope import schemas
from indexscope.analysis.document_fetches import fetch_rows
from indexscope.analysis.measured_rows import measured_rows
from indexscope.document_access import fetching, scale
from indexscope.run_record import InputError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SETTINGS = {
    "loaders": ["in_memory", "arrow"],
    "orders": ["random", "sequential"],
    "caches": ["warm", "cold"],
    "repeats": 3,
}


def collection(path: Path, documents: int) -> Path:
    rows = ({"document_id": f"d{number}", "text": f"text {number}"} for number in range(documents))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(**changes: Any) -> dict[str, Any]:
    return {
        "loader": "arrow", "order": "random", "cache": "warm", "documents": 5, "repeat": 1, "outcome": "completed",
        "fetches": 3, "texts_digest": "aa", "started_at": "2026-01-01T00:00:00.000+00:00", **changes,
    }  # fmt: skip


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_each_combination_is_measured_in_each_repeat_and_starts_one_of_them() -> None:
    slots = fetching.schedule(SETTINGS)
    assert len(slots) == len(set(slots)) == 2 * 2 * 2 * 3
    assert Counter(slot.repeat for slot in slots) == {1: 8, 2: 8, 3: 8}
    first = [next(slot for slot in slots if slot.repeat == repeat)[:3] for repeat in (1, 2, 3)]
    assert len(set(first)) == 3


def test_random_identifiers_are_a_shuffled_sample_and_sequential_ones_a_stretch(tmp_path: Path) -> None:
    path = collection(tmp_path / "c.jsonl", 100)
    random_ids = fetching.chosen_ids(path, 40, "random", 7)
    assert len(set(random_ids)) == 40
    places = [int(name[1:]) for name in random_ids]
    assert places != sorted(places)
    assert random_ids == fetching.chosen_ids(path, 40, "random", 7)
    assert random_ids != fetching.chosen_ids(path, 40, "random", 8)
    stretch = [int(name[1:]) for name in fetching.chosen_ids(path, 40, "sequential", 7)]
    assert stretch == list(range(stretch[0], stretch[0] + 40))
    assert sorted(fetching.chosen_ids(path, 1000, "random", 7)) == sorted(f"d{n}" for n in range(100))
    with pytest.raises(InputError, match=r"none.jsonl: has no documents; slice"):
        fetching.chosen_ids(collection(tmp_path / "none.jsonl", 0), 4, "random", 7)


def test_quantiles_are_times_that_were_measured() -> None:
    assert fetching.quantiles([*range(1000, 101_000, 1000)]) == {
        "p50_us": 50.0,
        "p90_us": 90.0,
        "p99_us": 99.0,
    }
    assert fetching.quantiles([5000]) == {"p50_us": 5.0, "p90_us": 5.0, "p99_us": 5.0}


def test_a_fetch_says_what_it_read(tmp_path: Path) -> None:
    path = collection(tmp_path / "c.jsonl", 20)
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps(["d3", "d1"]))
    paths = {"ids": str(ids), "collection": str(path), "sources": str(tmp_path / "none.json")}
    request = {"loader": "in_memory", "cache": "warm", **paths}
    found, again = fetching.fetch(request), fetching.fetch(request)
    assert found["texts_digest"] == again["texts_digest"]
    assert found["cached_fraction_start"] == 1.0
    assert 0 < found["p50_us"] <= found["p90_us"] <= found["p99_us"]
    ids.write_text(json.dumps(["d1", "d3"]))
    assert fetching.fetch(request)["texts_digest"] != found["texts_digest"]


def test_unequal_bytes_of_two_loaders_are_an_error_that_names_both(tmp_path: Path) -> None:
    equal = [row(), row(loader="in_memory"), row(order="sequential", texts_digest="bb")]
    assert len(list(fetch_rows([written(tmp_path / "a", *equal)]))) == 3
    failed = row(loader="ir_datasets", outcome="failed", texts_digest=None)
    assert len(list(fetch_rows([written(tmp_path / "b", *equal, failed)]))) == 4
    wrong = row(loader="offset_index", texts_digest="cc", repeat=2)
    with pytest.raises(
        InputError, match=r"offset_index \(random, warm, repeat 2\) and arrow \(random, warm, repeat 1\)"
    ):
        list(fetch_rows([written(tmp_path / "c", *equal, wrong)]))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "Expecting property name"),
        (json.dumps(row(colour=1)), r"is no row .*unknown columns \['colour'\]"),
        (json.dumps({key: value for key, value in row().items() if key != "loader"}), "has no loader"),
        (json.dumps(row(loader=None)), "is no row .*no loader|is no row .*loader"),
        (json.dumps(row(fetches="many")), "is no row .*many"),
        (json.dumps(row(started_at="yesterday")), "is no row .*yesterday"),
        ("[]", "has no loader"),
    ],
)
def test_a_damaged_line_is_named(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row()) + "\n" + text + "\n")
    with pytest.raises(InputError, match=rf"rows.jsonl: line 2 .*({problem}).*run measure_fetches.py again"):
        list(measured_rows([path], schemas.DOCUMENT_FETCHES, "measure_fetches.py"))


def test_the_tabulating_program_writes_the_table_or_nothing(tmp_path: Path) -> None:
    def tabulate(*rows: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        files = [str(written(tmp_path / "rows.jsonl", *rows)), "--output", str(tmp_path / "t.parquet")]
        command = [sys.executable, str(SCRIPTS / "tabulate_document_fetches.py"), *files]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert tabulate(row(), row(texts_digest="zz", repeat=2)).returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    done = tabulate(row(), row(loader="in_memory", pss_mib=1.5))
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "t.parquet")["pss_mib"].to_pylist() == [None, 1.5]


def test_the_large_collection_is_what_its_places_say(tmp_path: Path) -> None:
    wanted = [7, 0, 299, 7]
    made = scale.make_collection(tmp_path / "c.jsonl", 300, 12, 3, wanted)
    lines = made.path.read_bytes().split(b"\n")
    assert len(lines) == 301
    documents = [json.loads(line) for line in lines[:-1]]
    assert len({document["document_id"] for document in documents}) == 300
    assert 8 < sum(len(document["text"].split()) for document in documents) / 300 < 16
    content = made.path.read_bytes()
    for number, place in zip(wanted, made.places, strict=True):
        assert json.loads(content[place.offset : place.offset + place.length]) == documents[number]
        assert place.document_id == documents[number]["document_id"]
    again = scale.make_collection(tmp_path / "d.jsonl", 300, 12, 3, wanted)
    assert again.path.read_bytes() == content
