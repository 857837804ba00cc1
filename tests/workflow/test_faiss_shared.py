"""Tables shared by real indexes: what is equal, what is freed, what is refused, and that nothing ends the process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkout import REPOSITORY

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("faiss_sharing.py")
TABLE_KIB = 4096  # of these segments: 4 bytes x 256 lists x 16 subquantizers x 256 codes, and 4 x 16 x 256^2
# Bookkeeping of the allocator, and pages that are touched for the first time.
SLACK_KIB = 512

Check = Callable[..., dict[str, Any]]


def run(python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), "-X", "faulthandler", str(PROGRAM), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow" / "scripts")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def segments(faiss_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segments")
    done = run(faiss_python, "build", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def check(faiss_python: Path, segments: Path) -> Check:
    """Runs a check of faiss_sharing.py in a process of its own; what it found."""

    def checked(name: str, *arguments: object) -> dict[str, Any]:
        done = run(faiss_python, name, segments, *arguments)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    return checked


def test_every_mode_finds_the_same(check: Check) -> None:
    rows = check("equal")
    assert len(rows) == 3 * 2 + 2 * 2
    for name, row in rows.items():
        assert row["shared"], name
        assert row["skip_ids"] == 1.0, name
        # Without its table IVFPQ with L2 adds the same terms in another order.
        reordered = "ivf_pq-l2" in name
        assert row["skip"] is not reordered, name
        assert row["skip_distance"] <= (1e-6 if reordered else 0), name
        has_table = "hnsw_pq" in name or "ivf_pq-l2" in name
        assert row["tables"] == ([[TABLE_KIB * 1024, 1]] if has_table else []), name
        # Code that looks at the name of the class sees no difference.
        kinds = {"ivf_flat": "IndexIVFFlat", "ivf_pq": "IndexIVFPQ", "hnsw_pq": "IndexHNSWPQ"}
        assert row["class"] == ("IndexIDMap" if "mapped" in name else kinds[name.partition("-")[0]])


@pytest.mark.parametrize("kind", ["ivf_pq", "hnsw_pq"])
def test_many_indexes_take_one_table_until_the_last_goes(check: Check, kind: str) -> None:
    found = check("one_table", kind)
    assert found["shared_kib"] - found["skip_kib"] == pytest.approx(TABLE_KIB, abs=SLACK_KIB)
    assert found["users"] == [20, 1]
    assert found["freed_before_kib"] < found["skip_kib"] + SLACK_KIB
    # Its own codes and ids besides.
    assert (
        TABLE_KIB - SLACK_KIB < found["freed_with_last_kib"] < TABLE_KIB + SLACK_KIB + found["skip_kib"] // 10
    )
    assert found["tables_at_the_end"] == 0


def test_only_equal_codebooks_share(check: Check) -> None:
    found = check("keys")
    assert found["together"]
    assert found["apart"] == 3
    assert found["users"] == [1, 1, 2]
    assert found["no_residuals"] == 0
    assert all(found["equal"].values()), found["equal"]


def test_what_cannot_be_shared_is_refused_with_a_sentence(check: Check) -> None:
    found = check("refused")
    assert found["multi_index"].startswith("SharingRefused: ")
    assert "MultiIndexQuantizer" in found["multi_index"]
    assert found["too_large"].startswith("SharingRefused: ")
    assert "more than precomputed_table_max_bytes (4194303)" in found["too_large"]
    assert found["just_fits"] == "nothing was raised"
    assert "load before the end of the with block" in found["closed"]
    assert found["closed_all"] == found["closed"]
    assert found["tables"] == 0


def test_copies_have_tables_of_their_own(check: Check) -> None:
    assert check("copied") == {
        "borrows": True,
        "written": True,
        "own_tables": True,
        "equal": True,
        "users": [1],
    }


def test_an_index_that_shares_can_be_changed(check: Check) -> None:
    assert check("changed") == {
        "added": True,
        "trained": True,
        "trained_table": TABLE_KIB * 1024,
        "recomputed": True,
        "disabled": 0,
        "replaced": 0,
        "users": [1],
        "other": True,
    }


def test_an_index_that_shares_can_be_given_away(check: Check) -> None:
    assert check("given_away") == {"ids": True, "shares": False, "users": [1], "other": True}


def test_vectors_can_be_added_to_graphs_that_share(check: Check) -> None:
    assert check("changed_graph") == {
        "added": True,
        "tables": [[TABLE_KIB * 1024, 2]],
        "trained": True,
        "detached": 1300,
        "users": [1],
        "other": True,
    }


def test_nobody_can_write_into_a_shared_table(faiss_python: Path, segments: Path) -> None:
    done = run(faiss_python, "write", segments)
    assert done.returncode == -signal.SIGSEGV
    assert "precompute_table" in done.stderr  # where it was made, says the fault handler


def test_with_another_layout_segments_are_stacked(check: Check) -> None:
    found = check("mismatch")
    assert "SharingRefused" in found["refusal"]
    assert "load all segments together with load_all" in found["refusal"]
    assert found["indexes"] == ["IndexIVFPQ", "IndexHNSWPQ", "IndexIVFPQ"]
    assert found["vectors"] == [4000, 1000, 1000]
    assert found["merged"]
    assert found["others"] == [True, True]
    assert found["table_bytes"] == TABLE_KIB * 1024
    assert found["flat"] == "nothing was raised"


def test_bad_files_get_a_sentence_and_leave_nothing(check: Check) -> None:
    found = check("bad_files")
    contains = {
        "empty": "is truncated, at 0 bytes",
        "text": "is no index file of faiss: it starts with b'no i'",
        "newer": "'IwZZ' is a kind of index that faiss ",
        "flat": "holds an index of another kind (IxF2)",
        "binary": "holds an index of binary vectors (IBxF)",
        "newer_lists": "holds a part that faiss ",
        "truncated": "is truncated (",
        "mapped_flat": "holds an IndexFlatL2",
        "missing": "is missing",
        "folder": "cannot be read (Is a directory)",
    }
    assert set(found["sentences"]) == set(contains)
    for name, words in contains.items():
        assert found["sentences"][name].startswith("InputError: "), name
        assert words in found["sentences"][name]
    # 200 loads failed, of files that are 300 KiB on average.
    assert found["grown_kib"] < 256
    assert found["grown_objects"] < 50
    assert found["tables"] == 0


def test_sharing_costs_no_search_time(check: Check) -> None:
    assert check("latency")["ratio"] < 1.25


@pytest.mark.parametrize("seed", range(3))
def test_threads_that_load_and_let_go(check: Check, seed: int) -> None:
    found = check("threads", seed)
    assert found["wrong"] == []
    assert found["operations"] > 20
    assert 1 <= found["most_tables"] <= 4
    assert found["left"] == 0


@pytest.mark.parametrize("seed", range(24))
def test_any_order_of_operations_and_any_end(faiss_python: Path, segments: Path, seed: int) -> None:
    done = run(faiss_python, "stress", segments, seed)
    assert done.stdout, done.stderr
    end = json.loads(done.stdout.splitlines()[0])["end"]
    assert done.returncode == {"exit": 3, "raise": 1}.get(end, 0), done.stderr
    last = (done.stderr.strip().splitlines() or [""])[-1]
    assert last == ("RuntimeError: planned" if end == "raise" else ""), done.stderr
