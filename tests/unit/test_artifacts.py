"""Dumping and comparing artifacts: an index of known tensors, with planted damage and planted differences."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import compare_artifacts as program
import compare_torch_artifacts as torch_program
import numpy as np
import pyarrow.parquet as pq
import pytest
from indexscope.artifacts import dump
from indexscope.artifacts.compare import (
    Pair,
    Tolerance,
    Tolerances,
    compare_pair,
    difference,
    read_comparisons,
    read_pairs,
)
from indexscope.artifacts.dump import content_hash, dump_artifacts, read_manifest, strip_ivf_padding
from indexscope.run_record import InputError
from safetensors import safe_open

DIM, NBITS, PARTITIONS = 8, 2, 4
# Powers of two, so that a difference can lie exactly at them.
TOLERANCES = Tolerances(
    bitsandbytes={
        "float16": Tolerance(rtol=2**-8, atol=2**-12),
        "float32": Tolerance(rtol=2**-16, atol=2**-20),
        "bfloat16": Tolerance(rtol=2**-6, atol=2**-10),
    }
)


def index_tensors() -> dict[str, list[np.ndarray]]:
    """File → tensors of an index with two chunks: 3 passages of 6 embeddings, 2 passages of 5."""
    random = np.random.default_rng(0)

    def chunk(embeddings: int) -> list[np.ndarray]:
        codes = random.integers(0, PARTITIONS, embeddings, dtype=np.int32)
        return [codes, random.integers(0, 256, (embeddings, DIM // 8 * NBITS), dtype=np.uint8)]

    first, second = chunk(6), chunk(5)
    return {
        "centroids.pt": [random.normal(size=(PARTITIONS, DIM)).astype(np.float16)],
        "avg_residual.pt": [np.array(0.25, dtype=np.float32)],
        "buckets.pt": [np.array([-1, 0, 1], np.float32), np.array([-2, -0.5, 0.5, 2], np.float32)],
        "ivf.pid.pt": [np.array([0, 2, 1, 3, 4, 0, 0, 0], np.int32), np.array([2, 1, 0, 2], np.int64)],
        "0.codes.pt": [first[0]],
        "0.residuals.pt": [first[1]],
        "1.codes.pt": [second[0]],
        "1.residuals.pt": [second[1]],
    }


def read_arrays(path: Path) -> Sequence[np.ndarray]:
    """What read_tensors does, for index files that hold numpy arrays."""
    try:
        with np.load(path) as arrays:
            return [arrays[name] for name in arrays.files]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error


def write_run(
    directory: Path, tensors: Mapping[str, Sequence[np.ndarray]], outcome: str = "completed", **identity: Any
) -> Path:
    key = {
        "framework": "colbert",
        "system": "colbert",
        "cell": "0a1b2c3d",
        "documents": 5,
        "profiler": "none",
        "repeat": 0,
        **identity,
    }
    index = directory / "index"
    index.mkdir(parents=True)
    record = {"format": 1, "run": key, "outcome": outcome, "outcome_detail": None}
    (directory / "run.json").write_text(json.dumps(record))
    for name, arrays in tensors.items():
        with (index / name).open("wb") as file:
            np.savez(file, *arrays)
    for chunk, doclens in enumerate([[1, 2, 3], [4, 1]]):
        (index / f"doclens.{chunk}.json").write_text(json.dumps(doclens))
        (index / f"{chunk}.metadata.json").write_text(json.dumps({"num_embeddings": sum(doclens)}))
    (index / "metadata.json").write_text(json.dumps({"num_chunks": 2, "num_partitions": PARTITIONS}))
    return directory


def dumped(
    directory: Path,
    tensors: Mapping[str, Sequence[np.ndarray]] | None = None,
    outcome: str = "completed",
    **identity: Any,
) -> Path:
    write_run(directory, index_tensors() if tensors is None else tensors, outcome, **identity)
    dump_artifacts(directory, directory / "artifacts" / "manifest.json", read_arrays)
    return directory


def compared(left: Path, right: Path) -> dict[str, dict[str, Any]]:
    """The rows "as stored" by artifact; those up to order are in test_artifact_order.py."""
    rows = compare_pair(Pair("pair", left, right), TOLERANCES)
    return {row["artifact"]: row for row in rows if row["compared_as"] == "as stored"}


# Hashes


def test_the_hash_is_of_dtype_shape_and_little_endian_bytes() -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.int32)
    expected = hashlib.sha256(b"int32 2,3\n" + struct.pack("<6i", 1, 2, 3, 4, 5, 6)).hexdigest()
    assert content_hash(array) == expected


@pytest.mark.parametrize(
    ("array", "digest"),
    [
        (np.array(0.25, np.float32), b"float32 \n" + struct.pack("<f", 0.25)),
        (np.zeros((0, 4), np.uint8), b"uint8 0,4\n"),
        (np.array([True, False]), b"bool 2\n\x01\x00"),
        (np.array([1.0, -2.0], np.float16), b"float16 2\n" + struct.pack("<2e", 1.0, -2.0)),
    ],
)
def test_hashes_of_scalars_empty_arrays_and_other_dtypes(array: np.ndarray, digest: bytes) -> None:
    assert content_hash(array) == hashlib.sha256(digest).hexdigest()


def test_byte_order_and_memory_layout_do_not_change_the_hash() -> None:
    array = np.arange(24, dtype=np.int64).reshape(4, 6)
    wide = np.zeros((8, 12), np.int64)
    wide[::2, ::2] = array
    for same in (array.astype(">i8"), np.asfortranarray(array), wide[::2, ::2], array[::-1][::-1]):
        assert content_hash(same) == content_hash(array)


def test_value_shape_and_dtype_change_the_hash() -> None:
    array = np.arange(24, dtype=np.int64)
    changed = array.copy()
    changed[7] += 1
    variants = [array, changed, array.reshape(4, 6), array.reshape(6, 4), array.astype(np.uint64)]
    assert len({content_hash(variant) for variant in variants}) == len(variants)


# Dumping


def test_dump_has_every_tensor_under_its_key(tmp_path: Path) -> None:
    run = dumped(tmp_path / "run")
    manifest = read_manifest(run / "artifacts" / "manifest.json")
    assert manifest.run.run == "colbert-0a1b2c3d/5/none/0"
    shapes = {artifact.key: (artifact.shape, artifact.dtype) for artifact in manifest.artifacts}
    assert shapes == {
        "final/-/0/centroids": ((4, 8), "float16"),
        "final/-/0/avg_residual": ((), "float32"),
        "final/-/0/bucket_cutoffs": ((3,), "float32"),
        "final/-/0/bucket_weights": ((4,), "float32"),
        "final/-/0/ivf": ((5,), "int32"),  # 8 less 3 of padding
        "final/-/0/ivf_lengths": ((4,), "int64"),
        "final/0/0/codes": ((6,), "int32"),
        "final/0/0/residuals": ((6, 2), "uint8"),
        "final/0/0/doclens": ((3,), "int64"),
        "final/1/0/codes": ((5,), "int32"),
        "final/1/0/residuals": ((5, 2), "uint8"),
        "final/1/0/doclens": ((2,), "int64"),
    }
    for artifact in manifest.artifacts:
        assert (run / artifact.source_file).is_file()
        with safe_open(run / "artifacts" / artifact.tensor_file, framework="numpy") as tensors:
            assert content_hash(tensors.get_tensor(artifact.key)) == artifact.sha256
    assert not list((run / "artifacts").glob(".partial*"))


def test_padding_of_any_length_leaves_the_same_ivf() -> None:
    lengths = np.array([2, 0, 1])
    entries = np.array([0, 7, 0], np.int32)
    for padding in (0, 1, 5):
        padded = np.concatenate([entries, np.zeros(padding, np.int32)])
        np.testing.assert_array_equal(strip_ivf_padding(padded, lengths, Path("ivf.pid.pt")), entries)


@pytest.mark.parametrize(
    ("ivf", "problem"), [([0, 7], "has 2 of the 3 entries"), ([0, 7, 0, 4], "not zero padding")]
)
def test_an_ivf_that_does_not_fit_its_lengths_is_refused(ivf: list[int], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        strip_ivf_padding(np.array(ivf), np.array([2, 0, 1]), Path("ivf.pid.pt"))


def test_a_failed_run_has_a_manifest_without_artifacts(tmp_path: Path) -> None:
    run = dumped(tmp_path / "run", tensors={}, outcome="out_of_memory_host")
    manifest = read_manifest(run / "artifacts" / "manifest.json")
    assert (manifest.outcome, manifest.artifacts) == ("out_of_memory_host", ())
    assert [path.name for path in (run / "artifacts").iterdir()] == ["manifest.json"]


def test_a_dump_replaces_an_earlier_one(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", index_tensors())
    (run / "artifacts").mkdir()
    (run / "artifacts" / "tensors-2.safetensors").write_bytes(b"of an index with three chunks")
    dump_artifacts(run, run / "artifacts" / "manifest.json", read_arrays)
    names = sorted(path.name for path in (run / "artifacts").iterdir())
    assert names == [
        "manifest.json",
        "tensors-0.safetensors",
        "tensors-1.safetensors",
        "tensors.safetensors",
    ]


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("1.codes.pt", None, "1.codes.pt is missing"),
        ("doclens.1.json", None, "doclens.1.json is missing"),
        ("doclens.1.json", "[4, 1", "doclens.1.json cannot be read as JSON"),
        ("doclens.1.json", "[4, 2]", "doclens.1.json holds 6 embeddings where 1.metadata.json says 5"),
        ("doclens.1.json", "[4.5]", "doclens.1.json is not a list of lengths"),
        ("1.metadata.json", '{"num_embeddings": 9}', "1.codes.pt holds 5 embeddings where .* says 9"),
        ("metadata.json", "{}", "num_chunks: None is not a number"),
        ("metadata.json", '{"num_chunks": 3}', "2.codes.pt is missing"),
    ],
)
def test_an_incomplete_index_is_refused_and_nothing_is_written(
    tmp_path: Path, file: str, content: str | None, problem: str
) -> None:
    run = write_run(tmp_path / "run", index_tensors())
    if content is None:
        (run / "index" / file).unlink()
    else:
        (run / "index" / file).write_text(content)
    with pytest.raises(InputError, match=problem):
        dump_artifacts(run, run / "artifacts" / "manifest.json", read_arrays)
    assert list((run / "artifacts").iterdir()) == []


def test_a_file_with_too_few_tensors_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", index_tensors() | {"buckets.pt": [np.zeros(3)]})
    with pytest.raises(InputError, match=r"buckets.pt holds 1 tensors, not 2"):
        dump_artifacts(run, run / "artifacts" / "manifest.json", read_arrays)


def test_a_run_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run.json is missing: .* run index_collection.py again"):
        dump_artifacts(tmp_path, tmp_path / "artifacts" / "manifest.json", read_arrays)


def test_tensors_are_read_with_torch_and_its_errors_become_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[dict[str, Any]] = []

    def load(path: Path, **options: Any) -> Any:
        loaded.append(options)
        if path.name == "truncated.pt":
            raise RuntimeError("failed finding central directory\nsecond line")
        return (SimpleNamespace(numpy=lambda: np.ones(2)),)

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(load=load))
    assert [array.shape for array in dump.read_tensors(tmp_path / "codes.pt")] == [(2,)]
    assert loaded == [{"map_location": "cpu", "weights_only": True}]
    with pytest.raises(InputError, match=r"truncated.pt cannot be read as tensors \(RuntimeError\)"):
        dump.read_tensors(tmp_path / "truncated.pt")


# Differences


def test_planted_differences_are_measured() -> None:
    left = np.zeros(1000, np.float32)
    right = left.copy()
    right[[3, 900]] = [0.5, -1.5]
    found = difference(left, right, Tolerances())
    assert found.equal_fraction == 0.998
    assert found.mean_absolute_difference == 0.002
    assert found.max_absolute_difference == 1.5
    assert found.within_tolerance is False


def test_differences_are_the_same_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    left, right = random.integers(0, 9, (2, 1001))
    whole = difference(left, right, Tolerances())
    monkeypatch.setattr("indexscope.artifacts.compare.BLOCK", 10)
    assert difference(left, right, Tolerances()) == whole
    assert whole.within_tolerance is None
    assert whole.mean_absolute_difference == pytest.approx(np.abs(left - right).mean())


def test_the_tolerance_is_numpys() -> None:
    left, right = np.array([1.0, 1e-9]), np.array([1.0 + 9e-6, 0.0])
    assert difference(left, right, Tolerances()).within_tolerance
    assert not difference(left, right, Tolerances(Tolerance(rtol=1e-6))).within_tolerance
    assert not difference(left, right, Tolerances(Tolerance(atol=1e-10))).within_tolerance
    with pytest.raises(InputError, match=r"rtol: -1\.0 is no tolerance"):
        Tolerance(rtol=-1.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_difference_exactly_at_the_tolerance_is_within_it(dtype: str) -> None:
    rtol = atol = 2**-8
    for near, right, tolerance in [
        (1 + 2**-8, 1.0, Tolerance(rtol=rtol, atol=0)),
        (-1 - 2**-8, -1.0, Tolerance(rtol=rtol, atol=0)),
        (2**-8, 0.0, Tolerance(rtol=0, atol=atol)),
        (1 + 2**-7, 1.0, Tolerance(rtol=rtol, atol=atol)),
    ]:
        at = np.array([near], dtype)
        beyond = np.nextafter(at, at * 2)
        reference = np.array([right], dtype)
        for tolerances, field in [
            (Tolerances(tolerance), "within_tolerance"),
            (Tolerances(bitsandbytes={dtype: tolerance}), "within_bitsandbytes_tolerance"),
        ]:
            assert getattr(difference(at, reference, tolerances), field) is True
            assert getattr(difference(beyond, reference, tolerances), field) is False


def test_the_bitsandbytes_tolerance_is_that_of_the_dtype() -> None:
    tolerances = Tolerances(bitsandbytes={"float16": Tolerance(rtol=0, atol=0.5)})
    for dtype, expected in [("float16", True), ("float32", None), ("float64", None), ("int32", None)]:
        left, right = np.array([4], dtype), np.array([4.5 if "float" in dtype else 5], dtype)
        assert difference(left, right, tolerances).within_bitsandbytes_tolerance is expected
    mixed = difference(np.zeros(1, np.float16), np.zeros(1, np.float32), tolerances)
    assert (mixed.within_tolerance, mixed.within_bitsandbytes_tolerance) == (True, None)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_distance_in_ulp_counts_representable_numbers(dtype: str) -> None:
    tiny = np.nextafter(np.array(0, dtype), np.array(1, dtype))
    top = np.finfo(dtype).max
    for left, right, ulps in [
        (1.0, np.nextafter(np.array(1, dtype), np.array(2, dtype)), 1),
        (1.0, np.nextafter(np.array(1, dtype), np.array(0, dtype)), 1),
        (-2.0, np.nextafter(np.array(-2, dtype), np.array(-4, dtype)), 1),
        (0.0, -0.0, 0),
        (0.0, tiny, 1),
        (-tiny, tiny, 2),  # zero lies between
        (top, np.inf, 1),
        (np.nan, np.nan, 0),
        (np.nan, 1.0, None),
    ]:
        x, y = np.zeros((2, 50), dtype)
        x[7], y[7] = left, right
        assert difference(x, y, TOLERANCES).max_ulp_distance == ulps
        assert difference(y, x, TOLERANCES).max_ulp_distance == ulps
    assert difference(np.zeros(3, dtype), np.zeros(3), TOLERANCES).max_ulp_distance == (
        0 if dtype == "float64" else None  # other dtypes
    )
    assert difference(np.zeros(3, int), np.ones(3, int), TOLERANCES).max_ulp_distance is None


def test_the_largest_distance_in_ulp_fits_its_column() -> None:
    large = np.array([np.finfo(np.float64).max / 2])
    assert difference(-large, large, TOLERANCES).max_ulp_distance == 2**63 - 1


def test_an_infinity_is_near_itself_only() -> None:
    inf = np.array([np.inf], np.float32)
    wide = Tolerances(Tolerance(rtol=0.5, atol=9.0))
    assert difference(inf, inf.copy(), wide).within_tolerance is True
    for left, right in [(inf, -inf), (inf, np.ones(1, np.float32)), (np.ones(1, np.float32), inf)]:
        assert difference(left, right, wide).within_tolerance is False


def test_integers_that_float64_cannot_tell_apart_are_not_equal() -> None:
    left = np.array([2**60, 5])
    assert difference(left, left + np.array([1, 0]), TOLERANCES).equal_fraction == 0.5


def test_nan_equals_nan_and_is_infinitely_far_from_a_number() -> None:
    nan, inf = np.nan, np.inf
    left = np.array([nan, inf, 1.0], np.float32)
    assert difference(left, left.astype(np.float64), Tolerances()).equal_fraction == 1.0
    found = difference(left, np.array([2.0, inf, 1.0], np.float32), Tolerances())
    assert found.equal_fraction == pytest.approx(2 / 3)
    assert (found.mean_absolute_difference, found.max_absolute_difference) == (inf, inf)
    assert found.within_tolerance is False
    assert difference(left, np.array([nan, -inf, 1.0]), Tolerances()).max_absolute_difference == inf


def test_empty_arrays_do_not_differ() -> None:
    found = difference(np.zeros(0, np.float32), np.zeros(0, np.float64), Tolerances())
    assert (found.equal_fraction, found.max_absolute_difference) == (1.0, 0.0)


# Comparing runs


def test_equal_runs_are_equal_without_reading_tensors(tmp_path: Path) -> None:
    left, right = dumped(tmp_path / "left"), dumped(tmp_path / "right", repeat=1)
    for path in (left / "artifacts").glob("*.safetensors"):
        path.unlink()
    rows = compared(left, right)
    assert len(rows) == 12
    assert {(row["verdict"], row["exact"], row["presence"]) for row in rows.values()} == {
        ("equal", True, "both")
    }
    assert rows["final/-/0/centroids"]["within_tolerance"] is True
    assert rows["final/0/0/codes"]["within_tolerance"] is None
    assert "rtol" not in rows["final/0/0/codes"]
    assert rows["final/0/0/codes"]["right_run"] == "colbert-0a1b2c3d/5/none/1"
    assert len(list(compare_pair(Pair("pair", left, right), TOLERANCES))) == 12  # and none up to order


def test_planted_differences_get_their_verdicts(tmp_path: Path) -> None:
    tensors = index_tensors()
    tensors["1.codes.pt"][0][2] += 1
    tensors["centroids.pt"][0][0, 0] = np.nan
    cutoffs, weights = tensors["buckets.pt"]
    tensors["buckets.pt"] = [cutoffs.astype(np.float64), weights * np.float32(1 + 1e-6)]
    tensors["avg_residual.pt"] = [np.array([0.25], np.float32)]
    rows = compared(dumped(tmp_path / "left"), dumped(tmp_path / "right", tensors))
    verdicts = {key: row["verdict"] for key, row in rows.items() if row["verdict"] != "equal"}
    assert verdicts == {
        "final/1/0/codes": "differs",
        "final/-/0/centroids": "differs",
        "final/-/0/bucket_cutoffs": "dtype differs",
        "final/-/0/bucket_weights": "within tolerance",
        "final/-/0/avg_residual": "shape differs",
    }
    codes = rows["final/1/0/codes"]
    assert (codes["equal_fraction"], codes["mean_absolute_difference"]) == (0.8, 0.2)
    assert rows["final/-/0/centroids"]["max_absolute_difference"] == np.inf
    assert rows["final/-/0/bucket_cutoffs"]["max_absolute_difference"] == 0.0
    shape = rows["final/-/0/avg_residual"]
    assert (shape["left_shape"], shape["right_shape"]) == ("()", "(1,)")
    assert "equal_fraction" not in shape


def test_missing_artifacts_are_rows(tmp_path: Path) -> None:
    left, right = dumped(tmp_path / "left"), dumped(tmp_path / "right")
    path = right / "artifacts" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["artifacts"] = [row for row in manifest["artifacts"] if row["chunk"] != "1"]
    path.write_text(json.dumps(manifest))
    row = compared(left, right)["final/1/0/codes"]
    assert (row["presence"], row["verdict"]) == ("left only", "missing")
    assert "right_shape" not in row


def test_failed_runs_are_rows(tmp_path: Path) -> None:
    completed = dumped(tmp_path / "completed")
    killed = dumped(tmp_path / "killed", {}, "killed")
    rows = compared(killed, completed)
    assert len(rows) == 12
    assert {(row["presence"], row["verdict"]) for row in rows.values()} == {("right only", "run failed")}
    rows = compared(killed, killed)
    assert {row["name"] for row in rows.values()} == {
        *("codes", "residuals", "doclens", "centroids", "avg_residual"),
        *("bucket_cutoffs", "bucket_weights", "ivf", "ivf_lengths"),
    }
    assert {(row["presence"], row["verdict"]) for row in rows.values()} == {("neither", "run failed")}


def test_runs_of_different_sizes_are_refused(tmp_path: Path) -> None:
    left, right = dumped(tmp_path / "left"), dumped(tmp_path / "right", documents=6)
    with pytest.raises(InputError, match="pair runs of the same size"):
        compared(left, right)


def test_a_damaged_dump_is_refused(tmp_path: Path) -> None:
    tensors = index_tensors()
    tensors["0.codes.pt"][0][0] += 1
    left, right = dumped(tmp_path / "left"), dumped(tmp_path / "right", tensors)
    chunk = right / "artifacts" / "tensors-0.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"tensors-0.safetensors: final/0/0/codes cannot be read"):
        compared(left, right)
    (right / "artifacts" / "manifest.json").write_text('{"format": 1, "artifacts": [{}]}')
    with pytest.raises(InputError, match=r"manifest.json is not a manifest .*: run dump_artifacts.py"):
        compared(left, right)


def with_dumps(run: Path, tensors: Mapping[str, np.ndarray], dtype: str | None = None) -> Path:
    """Add what was dumped while the index was made, as a manifest lists it: key → tensor.

    Args:
        dtype: in place of the tensors' own, bfloat16 for tensors of its bits.
    """
    dumps = run / "dumps"
    dumps.mkdir()
    path = run / "artifacts" / "manifest.json"
    manifest = json.loads(path.read_text())
    for number, (key, tensor) in enumerate(tensors.items()):
        name = f"{number}.safetensors"
        kinds = {"float16": "F16", "float32": "F32", "int32": "I32", "int64": "I64"}
        header = json.dumps(
            {
                key: {
                    "dtype": "BF16" if dtype == "bfloat16" else kinds[tensor.dtype.name],
                    "shape": tensor.shape,
                    "data_offsets": [0, tensor.nbytes],
                }
            }
        ).encode()
        (dumps / name).write_bytes(struct.pack("<Q", len(header)) + header + tensor.tobytes())
        stage, chunk, call, artifact = key.split("/")
        manifest["artifacts"].append(
            {
                "stage": stage,
                "chunk": chunk,
                "call": int(call),
                "name": artifact,
                "shape": tensor.shape,
                "dtype": dtype or tensor.dtype.name,
                "sha256": content_hash(tensor),
                "source_file": "dumps",
                "tensor_file": f"../dumps/{name}",
            }
        )
    path.write_text(json.dumps(manifest))
    return run


def test_dumps_of_a_run_are_compared_beside_the_final_artifacts(tmp_path: Path) -> None:
    embs = np.linspace(-1, 1, 96, dtype=np.float16).reshape(12, 8)
    near = embs.copy()
    near[3, 4] = np.nextafter(near[3, 4], np.float16(2))
    key = "encoding/0/1/embs"
    left = with_dumps(dumped(tmp_path / "left"), {"encoding/0/0/embs": embs, key: embs})
    right = with_dumps(dumped(tmp_path / "right"), {"encoding/0/0/embs": embs, key: near})
    rows = compared(left, right)
    assert [row["stage"] for row in rows.values()] == ["final"] * 12 + ["encoding"] * 2
    assert rows["encoding/0/0/embs"]["verdict"] == "equal"
    row = rows[key]
    assert (row["verdict"], row["max_ulp_distance"]) == ("within bitsandbytes tolerance", 1)
    assert (row["within_tolerance"], row["within_bitsandbytes_tolerance"]) == (False, True)
    assert (row["bitsandbytes_rtol"], row["bitsandbytes_atol"]) == (2**-8, 2**-12)
    assert row["equal_fraction"] == 95 / 96


def test_bfloat16_is_compared_by_its_values(tmp_path: Path) -> None:
    bits = np.array([0x3F80, 0x4000, 0x8000, 0x7FC0], np.uint16)  # 1, 2, -0, NaN
    key = "encoding/0/0/embs"
    left = with_dumps(dumped(tmp_path / "left"), {key: bits}, "bfloat16")
    for name, changed, expected in [
        ("ulp", [0x3F81, 0x4000, 0x8000, 0x7FC0], (2**-7, 1, "within bitsandbytes tolerance", None)),
        ("zero", [0x3F80, 0x4000, 0x0000, 0x7FC0], (0.0, 0, "within tolerance", "equal values, other bits")),
        (
            "nan",
            [0x3F80, 0x4000, 0x8000, 0x3F80],
            (np.inf, None, "differs", "a NaN against a number in 1 el"),
        ),
    ]:
        right = with_dumps(dumped(tmp_path / name), {key: np.array(changed, np.uint16)}, "bfloat16")
        row = compared(left, right)[key]
        found = (row["max_absolute_difference"], row["max_ulp_distance"], row["verdict"])
        assert found == expected[:3]
        assert (row["detail"] or "").startswith(expected[3] or "")
        assert bool(row["detail"]) == bool(expected[3])


def test_memory_does_not_grow_with_the_tensor(tmp_path: Path) -> None:
    size = 24 * 2**20  # elements: 96 MiB a side
    tensor = np.zeros(size, np.float32)
    left = with_dumps(dumped(tmp_path / "left"), {"encoding/0/0/embs": tensor})
    tensor[5 :: 2**20] = 1e-6  # some in each block
    right = with_dumps(dumped(tmp_path / "right"), {"encoding/0/0/embs": tensor})
    del tensor
    tracemalloc.start()
    row = compared(left, right)["encoding/0/0/embs"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert row["equal_fraction"] == 1 - 24 / size
    assert peak < 40 * 2**20


def test_an_artifact_that_was_given_says_so(tmp_path: Path) -> None:
    embs = {"encoding/0/0/embs": np.zeros((2, 8), np.float16)}
    left, right = with_dumps(dumped(tmp_path / "left"), embs), with_dumps(dumped(tmp_path / "right"), embs)
    path = right / "artifacts" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["artifacts"][-1]["injected"] = True
    path.write_text(json.dumps(manifest))
    row = compared(left, right)["encoding/0/0/embs"]
    assert (row["verdict"], row["detail"]) == ("equal", "given to the right run, which did not compute it")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{}", "is not a list"),
        ("[", "cannot be read as JSON"),
        ('[{"pair": "a", "left": "b"}]', r"pairs.json\[0\]: give the texts pair, left and right"),
        ('[{"pair": "a", "left": "b", "right": 4}]', r"\[0\]: give the texts"),
        ("[3]", r"\[0\]: give the texts"),
        (json.dumps([{"pair": "a", "left": "b", "right": "c"}] * 2), r"pairs.json\[1\]: .* is there twice"),
    ],
)
def test_bad_pairs_are_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(content)
    with pytest.raises(InputError, match=problem):
        read_pairs(str(path))


def test_pairs_may_be_given_in_place_and_share_a_name() -> None:
    entries = [{"pair": "none vs spans", "left": "a/1", "right": f"b/{repeat}"} for repeat in (1, 2)]
    assert read_pairs(json.dumps(entries)) == [
        Pair("none vs spans", Path("a/1"), Path("b/1")),
        Pair("none vs spans", Path("a/1"), Path("b/2")),
    ]
    with pytest.raises(InputError, match="pairs cannot be read as JSON"):
        read_pairs("[{")
    with pytest.raises(InputError, match=r"missing.json cannot be read as JSON"):
        read_pairs("missing.json")


def test_the_program_writes_the_table_or_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = index_tensors()
    tensors["0.codes.pt"][0][0] += 1
    left, right = dumped(tmp_path / "left"), dumped(tmp_path / "right", tensors)
    pairs, output = tmp_path / "pairs.json", tmp_path / "tables" / "artifact_comparison.parquet"
    pairs.write_text(json.dumps([{"pair": "planted", "left": str(left), "right": str(right)}]))
    monkeypatch.setattr("sys.argv", ["compare_artifacts.py", "--pairs", str(pairs), "--output", str(output)])
    program.main()
    rows = pq.read_table(output).to_pylist()
    assert [(row["artifact"], row["compared_as"]) for row in rows if row["verdict"] == "differs"] == [
        ("final/0/0/codes", "as stored"),
        ("final/0/0/codes", "up to order"),
    ]
    output.unlink()
    (right / "artifacts" / "manifest.json").unlink()
    with pytest.raises(SystemExit, match=r"manifest.json is missing: run dump_artifacts.py"):
        program.main()
    assert not output.exists()


COMPARISON = {
    "left_version": "2.0.1",
    "right_version": "2.1.0",
    "kind": "versions",
    "injected": [],
    "pair": "2.0.1 | 2.1.0",
    "left": "a",
    "right": "b",
}


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([{**COMPARISON, "left": None}], r"comparisons\[0\]: give the texts left_version"),
        ([{**COMPARISON, "injected": "embs"}], r"comparisons\[0\]: give the texts left_version"),
        ([{**COMPARISON, "kind": "versio"}], r"\[0\].kind: 'versio' is not versions, repeat or injection"),
        ([{**COMPARISON, "injected": ["embs"]}], r"\[0\].injected: give names for the kind injection"),
        ([{**COMPARISON, "kind": "injection"}], r"\[0\].injected: give names for the kind injection"),
        ([COMPARISON, COMPARISON], r"\[1\]: .* is there twice"),
        ([3], r"\[0\]: give the texts"),
    ],
)
def test_bad_comparisons_are_refused(entries: list[Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_comparisons(json.dumps(entries))


def test_the_program_for_versions_writes_missing_and_failed_runs_as_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = index_tensors()
    tensors["avg_residual.pt"] = [np.array(0.25 + 2**-22, np.float32)]
    left, right = dumped(tmp_path / "left"), dumped(tmp_path / "right", tensors)
    failed = dumped(tmp_path / "failed", {}, "failed")
    comparisons, output = tmp_path / "comparisons.json", tmp_path / "torch_artifacts.parquet"
    sides = {"left": str(left), "right": str(right)}
    given = {"kind": "injection", "injected": ["local_sample_embs", "embs"], "pair": "given"}
    comparisons.write_text(
        json.dumps([COMPARISON | sides, COMPARISON | sides | given | {"right": str(failed)}])
    )
    argv = ["compare_torch_artifacts.py", "--comparisons", str(comparisons), "--output", str(output)]
    monkeypatch.setattr(
        "sys.argv",
        [*argv, "--tolerance", '{"rtol": 0}', "--bitsandbytes-tolerance", '{"float32": {"atol": 1}}'],
    )
    torch_program.main()
    rows = pq.read_table(output).to_pylist()
    changed = [row for row in rows if row["verdict"] not in ("equal", "run failed")]
    assert [(row["name"], row["verdict"], row["max_ulp_distance"]) for row in changed] == [
        ("avg_residual", "within bitsandbytes tolerance", 8)
    ]
    assert [changed[0][name] for name in ("rtol", "atol", "bitsandbytes_rtol", "bitsandbytes_atol")] == [
        *(0.0, 1e-8),
        *(1e-5, 1.0),
    ]
    assert {
        (row["kind"], row["injected"], row["verdict"]) for row in rows if row["verdict"] == "run failed"
    } == {("injection", "local_sample_embs + embs", "run failed")}
    assert len(rows) == 24
    monkeypatch.setattr("sys.argv", [*argv, "--tolerance", '{"rtol": -1}'])
    with pytest.raises(SystemExit, match=r"--tolerance"):
        torch_program.main()
