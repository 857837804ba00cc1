"""Search measures, the paired test and what is said of them, against values worked out by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from indexscope import schemas
from indexscope.analysis.search_comparison import (
    Compared,
    SearchPair,
    compare_pair,
    compare_values,
    query_values,
    read_search,
    read_search_pairs,
    search_sentences,
    search_verdict,
    sign_flip_test,
)
from indexscope.corpora.queries import Judgement
from indexscope.run_record import InputError
from indexscope.settings.torch_versions import Search

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
Rankings = Mapping[str, Sequence[str]]


def relevant(*pairs: str) -> list[Judgement]:
    """Judgements of `QUERY DOCUMENT` or `QUERY DOCUMENT RELEVANCE`."""
    judgements = []
    for pair in pairs:
        query, document, *relevance = pair.split()
        judgements.append(Judgement(query, document, int(relevance[0]) if relevance else 1))
    return judgements


def search_file(
    path: Path, rankings: Rankings | None, detail: str | None = None, scores: str = "falling"
) -> Path:
    header = {"format": 1, "outcome": "failed" if rankings is None else "completed", "detail": detail}
    rows = [
        {
            "query_id": query,
            "rank": rank,
            "document_id": document,
            "score": -rank if scores == "falling" else 1.0,
        }
        for query, ranking in (rankings or {}).items()
        for rank, document in enumerate(ranking, start=1)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in [header, *rows]))
    return path


def pair_of(folder: Path, left: Rankings | None, right: Rankings | None, **changes: str) -> SearchPair:
    files = [search_file(folder / f"{name}.jsonl", side) for name, side in (("left", left), ("right", right))]
    return SearchPair(
        *{"left": "2.0.1", "right": "2.1.0", "comparison": "own index", **changes}.values(), *files
    )


def by_measure(compared: Compared) -> dict[str, dict[str, Any]]:
    return {row["measure"]: row for row in compared.measures}


# Measures.


def test_measures_by_hand() -> None:
    qrels = relevant("q1 a", "q1 b", "q2 a", "q3 a 3", "q3 b 1", "q4 a", "q4 z 0")
    rankings = {"q1": ["a", "x", "b"], "q2": ["x", "y", "z", "a"], "q3": ["b", "a"], "q4": ["z", "y"]}
    values = query_values(qrels, rankings, 3)
    third = 1 / math.log2(3)  # the discount at rank 2
    assert values["Recall@3"] == {"q1": 1, "q2": 0, "q3": 1, "q4": 0}
    assert values["MRR@3"] == {"q1": 1, "q2": 0, "q3": 1, "q4": 0}
    assert values["nDCG@3"] == pytest.approx(
        {"q1": (1 + 1 / 2) / (1 + third), "q2": 0, "q3": (1 + 3 * third) / (3 + third), "q4": 0}
    )
    deeper = query_values(qrels, rankings, 4)
    assert deeper["MRR@4"]["q2"] == 1 / 4
    assert deeper["nDCG@4"]["q2"] == pytest.approx(1 / math.log2(5))
    assert query_values(relevant("q a", "q b", "q c", "q d"), {"q": ["a", "b"]}, 2)["Recall@2"] == {
        "q": 1 / 2
    }


def test_a_query_without_a_ranking_counts_0() -> None:
    values = query_values(relevant("q1 a", "q2 a"), {"q1": ["a"], "q2": []}, 10)
    assert all(of == {"q1": 1, "q2": 0} for of in values.values())
    nothing = query_values(relevant("q1 a", "q2 a"), {}, 10)
    assert all(of == {"q1": 0, "q2": 0} for of in nothing.values())


@pytest.mark.parametrize("ranking", [["a", "m", "z"], ["z", "m", "a"]])
def test_equal_scores_stay_as_colbert_ranked_them(tmp_path: Path, ranking: list[str]) -> None:
    """Ordered by the score alone, one of these two rankings would be turned round."""
    path = search_file(tmp_path / "tied.jsonl", {"q": ranking}, scores="equal")
    read = read_search(path)
    assert read.rankings == {"q": ranking}
    values = query_values(relevant(f"q {ranking[0]}"), read.rankings, 10)
    assert {name: of["q"] for name, of in values.items()} == {"Recall@10": 1, "MRR@10": 1, "nDCG@10": 1}


# The paired test.


@pytest.mark.parametrize(
    ("differences", "p_value", "assignments"),
    [
        ([], 1, 1),
        ([0, 0], 1, 1),
        ([0, 0.5], 1, 2),
        # Of the sums ±3 ±1, two are as far from 0 as 4, and all as far as 2.
        ([3, 1], 2 / 4, 4),
        ([3, -1], 1, 4),
        # Sums of four signs: 4, 2, 0, -2, -4 come 1, 4, 6, 4, 1 times.
        ([1, 1, 1, -1], 10 / 16, 16),
        ([0, 1, 0, 1, 1, 0, -1], 10 / 16, 16),
        ([0.1] * 5, 2 / 32, 32),
        ([-0.1] * 6, 2 / 64, 64),
        ([0.1] * 6 + [-0.1], 16 / 128, 128),
    ],
)
def test_exact_p_values(differences: list[float], p_value: float, assignments: int) -> None:
    test = sign_flip_test(np.array(differences, dtype=float), 9999)
    assert test.p_value == pytest.approx(p_value, abs=1e-12)
    assert (test.permutations, test.exact) == (assignments, True)


def test_random_assignments_where_there_are_too_many() -> None:
    """With 7 differences, all 128 assignments; allowed 99, that many of them."""
    sampled = sign_flip_test(np.array([1.0] * 7), 99)
    assert (sampled.permutations, sampled.exact) == (99, False)
    same_sign = sign_flip_test(np.array([1.0] * 40), 9999)
    assert same_sign.p_value == 2 * (0 + 1) / (9999 + 1)
    mixed = np.array([1.0, -1.0] * 20 + [1.0] * 8)
    # |sum of 48 signs| >= 8, exactly, from the binomial distribution.
    exact = 2 * sum(math.comb(48, ups) for ups in range(28, 49)) / 2**48
    drawn = sign_flip_test(mixed, 9999)
    assert drawn.p_value == pytest.approx(exact, abs=0.02)
    assert drawn == sign_flip_test(mixed, 9999)


def test_values_are_counted_and_judged() -> None:
    row = compare_values([0.0] * 6 + [0.5, 1.0], [0.5] * 6 + [0.5, 1.0], 9999)
    assert (row["increased"], row["equal"], row["decreased"]) == (6, 2, 0)
    assert (row["left_mean"], row["right_mean"]) == (1.5 / 8, 4.5 / 8)
    assert row["change"] == pytest.approx(3 / 8)
    assert row["p_value"] == pytest.approx(2 / 64)
    assert row["verdict"] == "beyond chance"
    assert row["detail"] == (
        "p of a two-sided paired sign-flip test, all 64 assignments of signs, not corrected for several tests"
    )
    within = compare_values([0.0] * 5 + [1.0], [0.5] * 5 + [1.0], 9999)
    assert (within["verdict"], within["p_value"]) == ("within chance", pytest.approx(2 / 32))
    assert within["detail"].endswith("; with 5 queries that changed it cannot be below 0.062")
    assert compare_values([0.5], [0.25], 9999)["detail"].endswith(
        "with 1 query that changed it cannot be below 1"
    )
    # Not a change, but a sum in another order.
    equal = compare_values([0.1 + 0.2, 1], [0.3, 1], 9999)
    assert (equal["verdict"], equal["change"], equal["p_value"]) == ("no difference", 0, 1)
    assert equal["detail"] is None


# Pairs.


def test_a_pair_is_compared_query_by_query(tmp_path: Path) -> None:
    left = {"q1": ["a", "b"], "q2": ["x", "a"], "q3": ["a"]}
    right = {"q1": ["a", "c"], "q2": ["a", "x"]}  # nothing is found for q3
    compared = compare_pair(
        pair_of(tmp_path, left, right), relevant("q1 a", "q2 a", "q3 a", "q4 a"), Search(k=10)
    )
    rows = by_measure(compared)
    assert list(rows) == ["Recall@10", "MRR@10", "nDCG@10"]
    recall, mrr = rows["Recall@10"], rows["MRR@10"]
    assert (recall["left_mean"], recall["right_mean"], recall["change"]) == (3 / 4, 2 / 4, -1 / 4)
    assert (recall["increased"], recall["equal"], recall["decreased"]) == (0, 3, 1)
    assert (mrr["left_mean"], mrr["right_mean"]) == ((1 + 1 / 2 + 1) / 4, 2 / 4)
    assert (mrr["increased"], mrr["equal"], mrr["decreased"]) == (1, 2, 1)
    # q1: b and c; q2: the same in another order; q3: a; q4: nothing on both sides.
    assert {row["differing_passages"] for row in compared.measures} == {(2 + 0 + 1 + 0) / 4}
    assert {row["same_ranking"] for row in compared.measures} == {1 / 4}
    of_mrr = [row for row in compared.queries if row["measure"] == "MRR@10"]
    assert [tuple(row.values())[3:] for row in of_mrr] == [
        ("q1", "MRR@10", 1, 1, 2),
        ("q2", "MRR@10", 0.5, 1, 0),
        ("q3", "MRR@10", 1, 0, 1),
        ("q4", "MRR@10", 0, 0, 0),
    ]


def test_only_the_first_k_count(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, {"q": ["b", "a", "c"]}, {"q": ["b", "a", "d"]})
    compared = compare_pair(pair, relevant("q c"), Search(k=2))
    assert [row["verdict"] for row in compared.measures] == ["no difference"] * 3
    assert {row["same_ranking"] for row in compared.measures} == {1}
    deeper = compare_pair(pair, relevant("q c"), Search(k=3)).measures[0]
    assert (deeper["measure"], deeper["change"], deeper["differing_passages"]) == ("Recall@3", -1, 2)


def test_a_failed_search_is_a_row(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, {"q": ["a"]}, None)
    search_file(pair.right, None, detail="RuntimeError: no kernel image")
    compared = compare_pair(pair, relevant("q a"), Search())
    assert compared.queries == []
    assert len(compared.measures) == 3
    assert compared.measures[0] == {
        "left_version": "2.0.1",
        "right_version": "2.1.0",
        "comparison": "own index",
        "left_outcome": "completed",
        "right_outcome": "failed",
        "measure": "Recall@10",
        "verdict": "search failed",
        "detail": "2.1.0: RuntimeError: no kernel image",
    }
    search_file(pair.left, None)
    assert compare_pair(pair, relevant("q a"), Search()).measures[0]["detail"] == (
        "2.0.1: failed; 2.1.0: RuntimeError: no kernel image"
    )


def test_wrong_files_are_named(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, {"q": ["a"]}, {"other": ["a"]})
    with pytest.raises(InputError, match=r"right\.jsonl: query 'other' has no judgement"):
        compare_pair(pair, relevant("q a"), Search())
    path = search_file(tmp_path / "x.jsonl", {"q": ["a", "a"]})
    with pytest.raises(
        InputError, match="line 3: rank 2, document 'a' does not go on the ranking of query 'q'"
    ):
        read_search(path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[::2]))
    with pytest.raises(InputError, match="line 2: rank 2"):
        read_search(path)
    path.write_text("")
    with pytest.raises(InputError, match="line 1 does not say how the search went"):
        read_search(path)
    with pytest.raises(InputError, match="cannot be read as JSON lines"):
        read_search(tmp_path / "none.jsonl")
    entry = (
        '{"left_version": "a", "right_version": "b", "comparison": "own index", "left": "l", "right": "r"}'
    )
    with pytest.raises(InputError, match=r"--pairs\[1\]: a \| b \| own index is there twice"):
        read_search_pairs(f"[{entry}, {entry}]")
    with pytest.raises(InputError, match=r"--pairs\[0\]: give the texts left_version"):
        read_search_pairs(f"[{entry}]".replace("own index", "an index"))


def test_the_program_writes_both_tables(tmp_path: Path) -> None:
    (tmp_path / "qrels.jsonl").write_text('{"query_id": "q", "document_id": "a", "relevance": 1}\n')
    own = pair_of(tmp_path, {"q": ["b", "a"]}, {"q": ["a", "b"]})
    failed = search_file(tmp_path / "failed.jsonl", None, "no torch")
    pairs = [
        {**own.columns(), "left": str(own.left), "right": str(own.right)},
        {**own.columns(), "comparison": "index of left", "left": str(own.left), "right": str(failed)},
    ]
    tables = [tmp_path / "search.parquet", tmp_path / "queries.parquet"]
    command = [
        sys.executable,
        SCRIPTS / "compare_searches.py",
        "--pairs",
        json.dumps(pairs),
        "--search",
        "{}",
    ]
    command += [
        "--qrels",
        tmp_path / "qrels.jsonl",
        "--output-search",
        tables[0],
        "--output-queries",
        tables[1],
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "2.0.1 | 2.1.0, own index: 1 of 1 query has another top 10; MRR@10 changes by +0.5 (p = 1): within chance; "
        "nDCG@10 changes by +0.37 (p = 1): within chance; Recall@10 does not change.",
        "2.0.1 | 2.1.0, index of 2.0.1: search failed (2.1.0: no torch).",
        "Measures of some queries change, but no change is beyond chance in the one comparison. "
        "1 comparison could not be made.",
    ]
    search, queries = (pq.read_table(path) for path in tables)
    assert search.schema.equals(schemas.TORCH_SEARCH)
    assert queries.schema.equals(schemas.TORCH_SEARCH_QUERIES)
    assert (search.num_rows, queries.num_rows) == (6, 3)
    assert search["p_value"].to_pylist() == [1, 1, 1, None, None, None]


# Sentences.


def row(measure: str = "Recall@10", **changes: Any) -> dict[str, Any]:
    values = {
        "left_version": "2.0.1",
        "right_version": "2.1.0",
        "comparison": "own index",
        "measure": measure,
        "queries": 200,
        "same_ranking": 197 / 200,
        "change": 0.0,
        "p_value": 1.0,
        "verdict": "no difference",
        "detail": None,
    }
    return {**values, **changes}


WITHIN = {"change": 0.005, "verdict": "within chance"}
BEYOND = {"change": -0.0123, "p_value": 0.0002, "verdict": "beyond chance"}
SAME = {"same_ranking": 1.0}


def test_sentences_name_what_changes() -> None:
    rows = [
        row(**WITHIN),
        row("MRR@10", **BEYOND),
        row("nDCG@10"),
        *(row(name, comparison="index of left", **SAME) for name in ("Recall@10", "MRR@10")),
        *(
            row(name, comparison="index of right", same_ranking=199 / 200, queries=200.0)
            for name in ("Recall@10", "MRR@10")
        ),
    ]
    assert search_sentences(rows) == [
        "2.0.1 | 2.1.0, own index: 3 of 200 queries have another top 10; Recall@10 changes by +0.005 (p = 1): "
        "within chance; MRR@10 changes by -0.012 (p < 0.001): beyond chance; nDCG@10 does not change.",
        "2.0.1 | 2.1.0, index of 2.0.1: all 200 queries have the same top 10; no measure changes.",
        "2.0.1 | 2.1.0, index of 2.1.0: 1 of 200 queries has another top 10; no measure changes.",
    ]
    two = [row(**WITHIN), row("MRR@10"), row("nDCG@10")]
    assert search_sentences(two)[0].endswith("within chance; MRR@10 and nDCG@10 do not change.")


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([], "Nothing was searched."),
        (
            [row(**SAME), row(comparison="index of left", **SAME)],
            "Search does not notice: every query has the same ranking in all 2 comparisons.",
        ),
        ([row(**SAME)], "Search does not notice: every query has the same ranking in the one comparison."),
        (
            [row(), row(comparison="index of left", **SAME)],
            "Some rankings differ, but no query's measures change in any of 2 comparisons.",
        ),
        (
            [row(**WITHIN), row(comparison="index of left", verdict="search failed", same_ranking=None)],
            "Measures of some queries change, but no change is beyond chance in the one comparison. "
            "1 comparison could not be made.",
        ),
        (
            [row(**WITHIN), row("MRR@10", **BEYOND)],
            "Search notices: 1 of 2 tests in 1 comparison is beyond chance (MRR@10 of 2.0.1 | 2.1.0, own index, "
            "-0.012 (p < 0.001)). By chance alone about 0.1 would be.",
        ),
        (
            [row(verdict="search failed", same_ranking=None)],
            "It is not known whether search notices: the one comparison could not be made.",
        ),
        (
            [row(verdict="search failed", comparison=name) for name in ("own index", "index of left")],
            "It is not known whether search notices: none of 2 comparisons could be made.",
        ),
    ],
)
def test_the_verdict_is_one_for_all(rows: list[dict[str, Any]], verdict: str) -> None:
    assert search_verdict(rows) == verdict
