"""Searches, alternatives and advice with faiss itself, on small indexes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import REPOSITORY
from indexscope.analysis import faiss_alternatives, faiss_latency
from indexscope.faiss_tables.formulas import Geometry, table_bytes

pytestmark = pytest.mark.slow

SCRIPTS = REPOSITORY / "workflow" / "scripts"
GEOMETRY = {
    "dim": 32, "nlist": 64, "pq_m": 16, "code_size": 8, "hnsw_m": 16, "vectors_per_segment": 2000,
    "training_vectors": 2560, "seed": 7,
}  # fmt: skip
KINDS = [("ivf_flat", "l2"), ("hnsw_pq", "l2"), ("ivf_pq", "l2"), ("ivf_pq", "inner_product")]
SEGMENTS = 6
TABLE_MIB = {"ivf_pq": 1, "hnsw_pq": 4}  # 4 bytes × 64 lists × 16 × 256; 4 bytes × 16 × 256 × 256


def run(python: Path, program: str, *arguments: object) -> str:
    done = subprocess.run(
        [str(python), str(SCRIPTS / program), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def python_says(python: Path, code: str, *arguments: object) -> Any:
    """What `code` prints, as JSON; it runs where faiss is."""
    done = subprocess.run(
        [str(python), "-c", code, *map(str, arguments)],
        cwd=SCRIPTS, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folders(faiss_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Segments of each index type and metric."""
    root = tmp_path_factory.mktemp("segments")
    built = {}
    for index_type, metric in KINDS:
        content = {"index_type": index_type, "metric": metric, "segments": SEGMENTS, "geometry": GEOMETRY}
        built[index_type, metric] = root / f"{index_type}-{metric}"
        run(
            faiss_python, "build_faiss_segments.py", "--segments", json.dumps(content),
            "--output", built[index_type, metric],
        )  # fmt: skip
    return built


def test_all_ways_find_the_same_and_every_search_is_timed(faiss_python: Path, tmp_path: Path) -> None:
    settings = {
        "geometry": GEOMETRY, "list_lengths": [4, 64], "nprobes": [1, 16], "queries": 40, "rounds": 2, "k": 5,
        "threads": 1,
    }  # fmt: skip
    output = tmp_path / "latency.jsonl"
    run(faiss_python, "measure_faiss_latency.py", "--settings", json.dumps(settings), "--output", output)
    assert list(tmp_path.iterdir()) == [output]
    records = list(faiss_latency.read_records(output))
    assert len(records) == (2 * 2 + 1) * 3 * 2
    for record in records:
        assert len(record["nanoseconds"]) == 40
        # Less than a search in an index of nothing is no search.
        assert min(record["nanoseconds"]) > record["overhead_nanoseconds"] / 2 > 0
        rounded = record["way"] == "without" and record["index_type"] == "ivf_pq"
        assert record["agreement"] in (("identical", "equal to rounding") if rounded else ("identical",))
    rows = faiss_latency.tabulate_break_even(list(faiss_latency.tabulate_latency(records)))
    assert {row["table_mib"] for row in rows if row["index_type"] == "ivf_pq"} == {TABLE_MIB["ivf_pq"]}
    assert {row["agreement"] for row in rows} <= {"identical", "equal to rounding"}


def test_more_lists_than_there_are_is_a_sentence(faiss_python: Path, tmp_path: Path) -> None:
    settings = {
        "geometry": GEOMETRY,
        "list_lengths": [4],
        "nprobes": [65],
        "queries": 1,
        "rounds": 1,
        "k": 1,
        "threads": 1,
    }
    done = subprocess.run(
        [str(faiss_python), str(SCRIPTS / "measure_faiss_latency.py"), "--settings", json.dumps(settings),
         "--output", str(tmp_path / "latency.jsonl")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert done.stderr.startswith("latency.nprobes: 65 is more than the lists of the index (64)")


def test_alternatives_hold_the_tables_that_they_should(
    faiss_python: Path, folders: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    settings = {
        "segments": [1, SEGMENTS, 50], "repeats": 1, "memory_limit_mib": None, "threads": 1, "timeout_seconds": 120,
    }  # fmt: skip
    output = tmp_path / "alternatives.jsonl"
    run(
        faiss_python, "measure_faiss_alternatives.py", "--segments", *folders.values(),
        "--settings", json.dumps(settings), "--output", output,
    )  # fmt: skip
    rows = list(faiss_alternatives.tabulate_alternatives(faiss_alternatives.read_records(output)))
    assert len(rows) == 5 * len(KINDS)
    for kind in KINDS:
        given = {row["alternative"]: row for row in rows if (row["index_type"], row["metric"]) == kind}
        table = TABLE_MIB[kind[0]] if kind in (("hnsw_pq", "l2"), ("ivf_pq", "l2")) else 0
        assert [row["possible"] for row in given.values()] == [True] + 4 * [table > 0]
        if not table:
            assert all(row["reason"] for row in given.values() if not row["possible"])
            continue
        without = given["disable"]["measured_mib"]
        for name, tables in {
            "keep": SEGMENTS, "serialise with the model": SEGMENTS, "initialise from the model index": SEGMENTS + 1,
            "share": 1,
        }.items():  # fmt: skip
            row = given[name]
            assert row["tables_mib"] == tables * table
            # The model has its codebooks too, and no vectors.
            assert row["measured_mib"] - without == pytest.approx(tables * table, abs=0.1 * table + 0.2)
            assert (row["results_equal"], row["largest_difference"], row["can_add"]) == (True, 0, True)
            assert row["search_by_keep"] > 0
        assert given["disable"]["results_equal"] is True
        # faiss ends a process that adds to an HNSWPQ index without its SDC table.
        assert given["disable"]["can_add"] is (kind[0] == "ivf_pq")
        assert given["serialise with the model"]["extra_file_mib"] == table


def advise(python: Path, index: Path, *arguments: object) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(run(python, "advise_faiss_index.py", index, "--json", *arguments))
    return given


def test_advice_of_each_type(faiss_python: Path, folders: dict[tuple[str, str], Path]) -> None:
    segment = {kind: folder / "segment-000.faiss" for kind, folder in folders.items()}
    hnsw = advise(faiss_python, segment["hnsw_pq", "l2"], "--segments", 20)
    assert (hnsw["advice"], hnsw["keep_bytes"], hnsw["cost"]) == ("skip", 20 * 4 * 2**20, None)
    assert advise(faiss_python, segment["hnsw_pq", "l2"], "--adding", "--segments", 20)["advice"] == "share"
    assert advise(faiss_python, segment["hnsw_pq", "l2"], "--adding")["advice"] == "keep"
    for kind in (("ivf_flat", "l2"), ("ivf_pq", "inner_product")):
        nothing = advise(faiss_python, segment[kind], "--segments", 20)
        assert (nothing["advice"], nothing["keep_bytes"]) == ("keep", 0)
        assert nothing["reason"].startswith("Nothing to decide")
    many = advise(faiss_python, segment["ivf_pq", "l2"], "--segments", 20, "--nprobe", 32)
    assert (many["keep_bytes"], many["skip_bytes"], many["share_bytes"]) == (20 * 2**20, 0, 2**20)
    assert many["cost"]["nprobe"] == 32
    # What was measured decides, and one index shares with none.
    faster = many["cost"]["with_by_without_high"] < 1
    assert many["advice"] == ("share" if faster else "skip")
    alone = advise(faiss_python, segment["ivf_pq", "l2"], "--nprobe", 32)
    assert alone["advice"] == ("keep" if alone["cost"]["with_by_without_high"] < 1 else "skip")
    for (index_type, metric), formula in {
        kind: advise(faiss_python, path) for kind, path in segment.items()
    }.items():
        assert formula["table"]["bytes"] == table_bytes(index_type, metric, Geometry.of(GEOMETRY))


def test_bad_input_is_a_sentence(
    faiss_python: Path, folders: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    whole = folders["ivf_pq", "l2"] / "segment-000.faiss"
    cut = tmp_path / "cut.faiss"
    cut.write_bytes(whole.read_bytes()[:9000])
    (tmp_path / "text.npy").write_text("no array")
    for arguments, sentence in list(_bad(whole, cut, tmp_path)):
        done = subprocess.run(
            [str(faiss_python), str(SCRIPTS / "advise_faiss_index.py"), *map(str, arguments)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (1, "")
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr


def _bad(whole: Path, cut: Path, folder: Path) -> Iterator[tuple[list[object], str]]:
    yield [cut], "cut.faiss is truncated"
    yield [folder / "none.faiss"], "is missing"
    yield [whole, "--nprobe", 65], "nprobe: 65 is not from 1 to 64"
    yield [whole, "--segments", 0], "segments: 0 is no number"
    yield [whole, "--queries", folder / "text.npy"], "text.npy cannot be read"
    yield [whole, "--queries", folders_queries(folder)], "queries: their shape is (3, 5)"


def folders_queries(folder: Path) -> Path:
    import numpy as np

    np.save(folder / "five.npy", np.zeros((3, 5), dtype=np.float32))
    return folder / "five.npy"


_UNTOUCHED = """
import gc, json, sys
import faiss, numpy as np
from indexscope.faiss_tables import advice
index = faiss.read_index(sys.argv[1])
before = faiss.serialize_index(index).tobytes()
queries = np.load(sys.argv[2])
found = index.search(queries, 5)
inner = faiss.clone_index(index)
inner.reset()
mapped = faiss.IndexIDMap(inner)
mapped.add_with_ids(queries, np.arange(len(queries)) + 1000)
given = [advice.advise(index, 3, nprobe=8), advice.advise(mapped, 3, nprobe=8, queries=queries)]
gc.collect()
again = index.search(queries, 5)
after = faiss.serialize_index(index).tobytes()
most = faiss.cvar.precomputed_table_max_bytes
faiss.cvar.precomputed_table_max_bytes = 2**20 - 1
beyond = advice.advise(index, 3)
faiss.cvar.precomputed_table_max_bytes = most
index.reset()
print(json.dumps({
    "same": before == after,
    "found": all(np.array_equal(*pair) for pair in zip(found, again)),
    "table": [one.table.bytes for one in given],
    "measured": [one.cost is not None for one in given],
    "beyond": [beyond.advice, beyond.reason, beyond.keep_bytes],
    "empty": advice.advise(index, 3).as_json(),
}))
"""


def test_the_index_that_is_advised_on_is_left_as_it_was(
    faiss_python: Path, folders: dict[tuple[str, str], Path]
) -> None:
    folder = folders["ivf_pq", "l2"]
    said = python_says(faiss_python, _UNTOUCHED, folder / "segment-000.faiss", folder / "queries.npy")
    assert (said["same"], said["found"]) == (True, True)
    assert (said["table"], said["measured"]) == ([2**20, 2**20], [True, True])
    verdict, reason, size = said["beyond"]
    assert (verdict, size) == ("skip", 0)
    assert "precomputed_table_max_bytes" in reason
    assert "k-NN#3078" in reason
    assert (said["empty"]["advice"], said["empty"]["cost"]) == ("share", None)
