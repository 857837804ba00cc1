"""Equality up to order: permuted copies of an index, alone and with one planted difference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tables
from indexscope import schemas
from indexscope.artifacts import order
from indexscope.artifacts.compare import Pair, Tolerances, compare_pair
from indexscope.artifacts.dump import dump_artifacts
from indexscope.artifacts.order import Match, compare_lists, first_uses, match_centroids
from indexscope.figures import artifact_comparison
from test_artifacts import read_arrays, with_dumps, write_run

CENTROIDS, DIM = 40, 8
DOCLENS = [[1, 2, 3], [4, 1]]  # of the index that write_run writes: 6 and 5 embeddings
Tensors = dict[str, list[np.ndarray]]


class Entries:
    """An array as order.Values."""

    def __init__(self, values: list[int]) -> None:
        self._values, self.size = np.array(values), len(values)

    def flat(self, start: int, stop: int) -> np.ndarray:
        return self._values[start:stop]


def index(seed: int = 0, duplicates: bool = False) -> Tensors:
    """An index of 11 embeddings of 5 passages, its IVF as ColBERT builds it: sorted passages without repeats."""
    random = np.random.default_rng(seed)
    centroids = random.normal(size=(CENTROIDS, DIM)).astype(np.float16)
    if duplicates:
        centroids[20:30] = centroids[5]
    codes = random.integers(0, CENTROIDS, 11, dtype=np.int32)
    if duplicates:
        codes[:6] = [25, 5, 22, 25, 5, 29]  # equal among themselves, used apart
    residuals = random.integers(0, 256, (11, 2), dtype=np.uint8)
    return with_lists(centroids, codes, residuals)


def with_lists(centroids: np.ndarray, codes: np.ndarray, residuals: np.ndarray) -> Tensors:
    passages = np.repeat(np.arange(5), [*DOCLENS[0], *DOCLENS[1]])
    lists = [np.unique(passages[codes == code]) for code in range(len(centroids))]
    return {
        "centroids.pt": [centroids],
        "avg_residual.pt": [np.array(0.25, np.float32)],
        "buckets.pt": [np.array([-1, 0, 1], np.float32), np.array([-2, -0.5, 0.5, 2], np.float32)],
        "ivf.pid.pt": [np.concatenate(lists).astype(np.int32), np.array([len(each) for each in lists])],
        "0.codes.pt": [codes[:6]],
        "0.residuals.pt": [residuals[:6]],
        "1.codes.pt": [codes[6:]],
        "1.residuals.pt": [residuals[6:]],
    }


def permuted(tensors: Tensors, seed: int = 1) -> Tensors:
    """The same index with its centroids numbered in another order, consistently."""
    place = np.random.default_rng(seed).permutation(CENTROIDS)  # old number → new
    centroids = np.empty_like(tensors["centroids.pt"][0])
    centroids[place] = tensors["centroids.pt"][0]
    codes = np.concatenate([tensors["0.codes.pt"][0], tensors["1.codes.pt"][0]])
    residuals = np.concatenate([tensors["0.residuals.pt"][0], tensors["1.residuals.pt"][0]])
    return with_lists(centroids, place[codes].astype(np.int32), residuals)


def dumped(directory: Path, tensors: Tensors, dumps: Mapping[str, np.ndarray] | None = None) -> Path:
    write_run(directory, tensors)
    dump_artifacts(directory, directory / "artifacts" / "manifest.json", read_arrays)
    return with_dumps(directory, dumps) if dumps else directory


def compared(left: Path, right: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows by artifact, without `final/`, and how they were compared."""
    return {
        (row["artifact"].removeprefix("final/"), row["compared_as"]): row
        for row in compare_pair(Pair("pair", left, right), Tolerances())
    }


def verdicts(rows: Mapping[tuple[str, str], Mapping[str, Any]], compared_as: str) -> dict[str, str]:
    """Those that are not equal as stored."""
    return {
        artifact: row["verdict"]
        for (artifact, how), row in rows.items()
        if how == compared_as and row["verdict"] != "equal"
    }


PERMUTED = ["-/0/centroids", "-/0/ivf", "-/0/ivf_lengths", "0/0/codes", "1/0/codes"]


@pytest.mark.parametrize("duplicates", [False, True])
def test_a_permuted_index_is_equal_up_to_order(tmp_path: Path, duplicates: bool) -> None:
    tensors = index(duplicates=duplicates)
    rows = compared(dumped(tmp_path / "left", tensors), dumped(tmp_path / "right", permuted(tensors)))
    assert sorted(verdicts(rows, "as stored")) == PERMUTED
    assert verdicts(rows, "up to order") == dict.fromkeys(PERMUTED, "equal up to order")
    centroids = rows["-/0/centroids", "up to order"]
    assert (centroids["exact"], centroids["equal_fraction"], centroids["max_ulp_distance"]) == (True, 1.0, 0)
    assert centroids["detail"].startswith("all 40 centroids have an equal partner")
    assert rows["-/0/ivf", "up to order"]["detail"] == "40 of 40 lists hold the same passages"
    assert rows["-/0/ivf_lengths", "up to order"]["detail"] == (
        "40 of 40 lists are as long, by the partners of the final centroids"
    )
    assert rows["0/0/codes", "up to order"]["equal_fraction"] == 1.0
    # What has no order of its own has no second row.
    assert ("0/0/residuals", "up to order") not in rows


def test_one_centroid_changed_in_one_value_is_told(tmp_path: Path) -> None:
    tensors = index()
    other = permuted(tensors)
    other["centroids.pt"][0][17, 3] += np.float16(0.25)
    rows = compared(dumped(tmp_path / "left", tensors), dumped(tmp_path / "right", other))
    # Its partner is still the nearest, so codes and lists are equal but for their numbers.
    assert verdicts(rows, "up to order") == dict.fromkeys(PERMUTED, "equal up to order") | {
        "-/0/centroids": "differs"
    }
    row = rows["-/0/centroids", "up to order"]
    assert row["detail"] == (
        "39 of 40 centroids have an equal partner; optimal assignment of 1 other: median distance 0.25, "
        "largest 0.25"
    )
    assert row["equal_fraction"] == 319 / 320
    assert (row["max_absolute_difference"], row["exact"]) == (0.25, False)
    assert row["mean_absolute_difference"] == 0.25 / 320


def test_one_wrong_passage_in_a_list_is_told(tmp_path: Path) -> None:
    tensors = index()
    other = permuted(tensors)
    ivf = other["ivf.pid.pt"][0]
    ivf[0] = 4 if ivf[0] != 4 else 3
    rows = compared(dumped(tmp_path / "left", tensors), dumped(tmp_path / "right", other))
    assert verdicts(rows, "up to order")["-/0/ivf"] == "differs"
    row = rows["-/0/ivf", "up to order"]
    assert row["detail"] == "39 of 40 lists hold the same passages"
    assert row["equal_fraction"] == (len(ivf) - 1) / len(ivf)
    assert "max_absolute_difference" not in row  # passages are names, not sizes


def test_another_order_within_a_list_is_equal_up_to_order(tmp_path: Path) -> None:
    tensors = index(duplicates=True)
    left = dumped(tmp_path / "left", tensors)
    ivf, lengths = (values.copy() for values in tensors["ivf.pid.pt"])
    start = int(lengths[: lengths.argmax()].sum())
    assert lengths.max() > 1
    ivf[start : start + 2] = ivf[start : start + 2][::-1]
    rows = compared(left, dumped(tmp_path / "right", tensors | {"ivf.pid.pt": [ivf, lengths]}))
    assert verdicts(rows, "as stored") == {"-/0/ivf": "differs"}
    assert verdicts(rows, "up to order") == {"-/0/ivf": "equal up to order"}


def test_lists_of_other_lengths_are_compared_but_of_another_shape(tmp_path: Path) -> None:
    tensors = index()
    ivf, lengths = (values.copy() for values in tensors["ivf.pid.pt"])
    at = int(lengths.argmax())
    ivf, lengths[at] = np.delete(ivf, lengths[:at].sum()), lengths[at] - 1
    rows = compared(
        dumped(tmp_path / "left", tensors),
        dumped(tmp_path / "right", tensors | {"ivf.pid.pt": [ivf, lengths]}),
    )
    row = rows["-/0/ivf", "up to order"]
    assert (row["verdict"], row["detail"]) == ("shape differs", "39 of 40 lists hold the same passages")
    assert row["equal_fraction"] == 2 * len(ivf) / (2 * len(ivf) + 1)


def test_residuals_are_compared_where_codes_match(tmp_path: Path) -> None:
    tensors = index()
    other = permuted(tensors)
    codes, residuals = other["0.codes.pt"][0].copy(), other["0.residuals.pt"][0].copy()
    codes[2] = (codes[2] + 1) % CENTROIDS
    residuals[2] ^= 255  # of an embedding with another centroid: not compared
    residuals[4, 1] ^= 1
    other |= {"0.codes.pt": [codes], "0.residuals.pt": [residuals]}
    rows = compared(dumped(tmp_path / "left", tensors), dumped(tmp_path / "right", other))
    row = rows["0/0/residuals", "up to order"]
    assert row["verdict"] == "differs"
    assert row["detail"] == (
        "5 of 6 embeddings have the same centroid or its partner; 4 of these have equal residuals; the "
        "differences are of these"
    )
    assert (row["equal_fraction"], row["max_absolute_difference"]) == (0.9, 1.0)
    assert rows["0/0/codes", "up to order"]["equal_fraction"] == 5 / 6
    assert rows["1/0/codes", "up to order"]["verdict"] == "equal up to order"


def test_residuals_before_packing_go_by_the_codes_of_their_call(tmp_path: Path) -> None:
    key, codes = "encoding/0/1/residuals_before_packing", np.array([3, 1, 2], np.int32)
    before = {"encoding/0/1/compress_codes": codes, key: np.zeros((3, DIM), np.float32)}
    after = {"encoding/0/1/compress_codes": codes + np.int32([0, 0, 1]), key: before[key].copy()}
    after[key][1, 0], after[key][2] = 2**-10, 9.0
    rows = compared(dumped(tmp_path / "left", index(), before), dumped(tmp_path / "right", index(), after))
    row = rows[key, "up to order"]
    assert row["detail"].startswith("2 of 3 embeddings have the same centroid or its partner; 1 of these")
    assert (row["max_absolute_difference"], row["equal_fraction"]) == (2**-10, 15 / 16)
    assert rows[key, "as stored"]["max_absolute_difference"] == 9.0


def finalizing(codes: np.ndarray, indices: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "finalizing/-/0/presort_codes": codes,
        "finalizing/-/0/sorted_codes": codes[indices],
        "finalizing/-/0/sort_indices": indices,
    }


def test_an_unstable_sort_is_another_order_with_an_equal_ivf(tmp_path: Path) -> None:
    tensors = index(duplicates=True)
    codes = np.concatenate([tensors["0.codes.pt"][0], tensors["1.codes.pt"][0]])
    stable = np.argsort(codes, kind="stable")
    unstable = np.lexsort((-np.arange(len(codes)), codes))
    assert not np.array_equal(stable, unstable)
    rows = compared(
        dumped(tmp_path / "left", tensors, finalizing(codes, stable)),
        dumped(tmp_path / "right", tensors, finalizing(codes, unstable)),
    )
    key = "finalizing/-/0/sort_indices"
    assert verdicts(rows, "as stored") == {key: "differs"}
    assert verdicts(rows, "up to order") == {key: "equal up to order"}
    detail = rows[key, "up to order"]["detail"]
    assert detail == "different order, equal IVF: 40 of 40 codes have the same embeddings"
    assert rows[key, "up to order"]["stage"] == "finalizing"
    # One embedding sorted under a code that is not its own.
    wrong = unstable.copy()
    run = np.flatnonzero(np.diff(codes[unstable]))[0]
    wrong[[run, run + 1]] = wrong[[run + 1, run]]
    dumps = finalizing(codes, unstable) | {key: wrong}
    rows = compared(tmp_path / "left", dumped(tmp_path / "wrong", tensors, dumps))
    assert verdicts(rows, "up to order") == {key: "differs"}
    assert rows[key, "up to order"]["detail"] == "38 of 40 codes have the same embeddings"


def test_dumps_of_a_permuted_index_are_equal_up_to_order(tmp_path: Path) -> None:
    tensors = index()
    other = permuted(tensors)

    def dumps(of: Tensors) -> dict[str, np.ndarray]:
        codes = np.concatenate([of["0.codes.pt"][0], of["1.codes.pt"][0]])
        exact = of["centroids.pt"][0].astype(np.float32) * 3
        return {
            "training/-/0/prenorm_centroids": exact,
            "encoding/0/0/compress_codes": of["0.codes.pt"][0],
            **finalizing(codes, np.argsort(codes, kind="stable")),
        }

    rows = compared(
        dumped(tmp_path / "left", tensors, dumps(tensors)), dumped(tmp_path / "right", other, dumps(other))
    )
    found = verdicts(rows, "up to order")
    assert {name for name in found if not name.startswith(("-", "0", "1"))} == {
        *("training/-/0/prenorm_centroids", "encoding/0/0/compress_codes"),
        *("finalizing/-/0/presort_codes", "finalizing/-/0/sorted_codes", "finalizing/-/0/sort_indices"),
    }
    assert set(found.values()) == {"equal up to order"}
    assert rows["training/-/0/prenorm_centroids", "up to order"]["detail"] == (
        "40 of 40 rows are equal, by the partners of the final centroids"
    )


def test_another_number_of_centroids_is_compared_as_stored_only(tmp_path: Path) -> None:
    tensors = index()
    fewer = tensors | {"centroids.pt": [tensors["centroids.pt"][0][:-1]]}
    fewer["0.codes.pt"] = [(tensors["0.codes.pt"][0] + 1) % CENTROIDS]
    rows = compared(dumped(tmp_path / "left", tensors), dumped(tmp_path / "right", fewer))
    assert verdicts(rows, "as stored") == {"-/0/centroids": "shape differs", "0/0/codes": "differs"}
    assert verdicts(rows, "up to order") == {}


def test_the_figure_tells_another_order_from_another_index(tmp_path: Path) -> None:
    tensors = index()
    changed = permuted(tensors)
    changed["0.residuals.pt"][0][0, 0] ^= 1
    left = dumped(tmp_path / "left", tensors)
    rows = [
        row
        for name, other in [("A: permuted", permuted(tensors)), ("A | changed", changed)]
        for row in compare_pair(Pair(name, left, dumped(tmp_path / name[-5:], other)), Tolerances())
    ]
    table = pa.Table.from_pylist(rows, schema=schemas.ARTIFACT_COMPARISON).to_pandas()
    figure = artifact_comparison.draw(table, tables.frame("runs"))
    told = figure.rows.set_index(["pair", "artifact"])
    assert len(told) == 24  # a cell an artifact, not one for each way to compare it
    assert told.loc[("A: permuted", "final/0/0/codes"), "verdict"] == "equal up to order"
    assert told.loc[("A | changed", "final/0/0/residuals"), "verdict"] == "differs"
    assert told.loc[("A | changed", "final/0/0/residuals"), "up_to_order"].startswith("differs: 6 of 6 emb")
    assert figure.notes[:2] == [
        "Equal in every artifact but for the order of centroids and lists: A: permuted.",
        "Artifacts that differ beyond tolerance: A | changed (6 of 12).",
    ]


# Matching


def matched(left: np.ndarray, right: np.ndarray) -> Match:
    never = np.zeros(len(left)), np.zeros(len(right))
    return match_centroids(left, right, lambda rows: rows.astype(np.float64), lambda: never)


@pytest.mark.parametrize("most_assigned", [4096, 10])
def test_near_centroids_are_matched_by_either_method(
    monkeypatch: pytest.MonkeyPatch, most_assigned: int
) -> None:
    monkeypatch.setattr(order, "_ASSIGNED", most_assigned)
    monkeypatch.setattr(order, "_TILE", 7)
    random = np.random.default_rng(2)
    left = random.normal(size=(50, 16)).astype(np.float32)
    place = random.permutation(50)
    right = left[place].copy()
    right[:30] += np.float32(1e-3)
    found = matched(left, right)
    assert np.array_equal(place[found.partner], np.arange(50))
    assert (found.equal, len(found.distances)) == (20, 30)
    assert found.distances == pytest.approx(np.full(30, 4e-3), rel=1e-3)
    assert ("mutual nearest neighbours of 30 others" in found.sentence()) is (most_assigned == 10)


def test_without_a_mutual_neighbour_there_is_no_partner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_ASSIGNED", 1)
    left = np.array([[0.0], [1.0], [5.0]])
    right = np.array([[0.1], [0.2], [5.0]])
    found = matched(left, right)
    assert list(found.partner) == [0, -1, 2]  # 1 is nearest to 0.2, which is nearer to 0
    assert found.sentence() == (
        "1 of 3 centroids have an equal partner; mutual nearest neighbours of 1 other: median distance 0.1, "
        "largest 0.1; 1 has no partner"
    )
    assert list(found.same_list(np.array([0, 1, 2, 9]), np.array([0, -1, 2, -1]))) == [
        True,
        False,
        True,
        False,
    ]
    monkeypatch.setattr(order, "_ASSIGNED", 3)
    assert list(matched(left, right).partner) == [0, 1, 2]


def test_no_partner_makes_centroids_unequal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_ASSIGNED", 0)
    tensors = index()
    centroids = tensors["centroids.pt"][0].copy()
    centroids[4, 0] = np.nan  # near nothing
    rows = compared(
        dumped(tmp_path / "left", tensors),
        dumped(tmp_path / "right", tensors | {"centroids.pt": [centroids]}),
    )
    row = rows["-/0/centroids", "up to order"]
    assert row["detail"] == "39 of 40 centroids have an equal partner; 1 has no partner"
    assert (row["verdict"], row["exact"], row["equal_fraction"]) == ("differs", False, 39 / 40)
    assert row["within_tolerance"] is False


def test_the_sign_of_zero_is_not_an_equal_partner_and_a_nan_may_be() -> None:
    left = np.array([[0.0, 1.0], [np.nan, 1.0]], np.float16)
    assert list(matched(left, left[::-1].copy()).partner) == [1, 0]
    found = matched(left, np.array([[np.nan, 1.0], [-0.0, 1.0]], np.float16))
    assert (list(found.partner), found.equal, list(found.distances)) == ([1, 0], 1, [0.0])


def test_lists_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "BLOCK", 3)
    lengths = np.array([2, 0, 1, 4])
    left = Entries([7, 3, 5, 9, 8, 1, 2])
    place = Match(np.array([3, 2, 0, 1]), 4, np.zeros(0))
    right = Entries([5, 1, 2, 8, 9, 3, 7])
    found = compare_lists(left, lengths, right, np.array([1, 4, 0, 2]), place)
    assert (found.equal, found.lists, found.common, found.equal_fraction) == (4, 4, 7, 1.0)
    right = Entries([5, 1, 2, 8, 6, 3, 7])
    found = compare_lists(left, lengths, right, np.array([1, 4, 0, 2]), place)
    assert (found.equal, found.common, found.entries) == (3, 6, 14)
    alone = Match(np.array([3, 2, 0, -1]), 4, np.zeros(0))
    found = compare_lists(left, lengths, right, np.array([1, 4, 0, 2]), alone)
    assert (found.equal, found.common, found.entries) == (3, 3, 14)


def test_first_uses_are_counted_through_all_chunks() -> None:
    places = first_uses([Entries([2, 2, 0]), Entries([1, 0])], 4)
    assert list(places) == [2, 3, 0, 5]
