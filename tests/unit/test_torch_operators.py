"""The first operator that differs, from recordings and replays with known answers. No torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from indexscope import schemas
from indexscope.analysis.torch_operators import (
    ReplayedPair,
    divergence_rows,
    layer_rows,
    operator_rows,
    read_pairs,
)
from indexscope.artifacts.distances import Distance, distance
from indexscope.artifacts.operator_store import (
    UNAVAILABLE,
    Case,
    Header,
    Operator,
    Output,
    Reader,
    RecordedCase,
    Writer,
)
from indexscope.run_record import InputError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
TEXT = Case("text 'a', 1 × 4, float32", "text", "a", "float32", 1, 4)
INDEX = Case("index of 64 documents, float32", "index", "64 documents", "float32")
GPU = Case("cuda_autocast_float16", "any", "", "cuda_autocast_float16")
SEQUENCE = [
    ("bert", "aten.add.Tensor"),
    ("bert.layer", "aten.softmax.int"),
    ("linear", "aten.linear.default"),
]


def bits(values: list[float], dtype: str) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=dtype).view(np.uint8)


def recording(
    directory: Path, calls: list[tuple[str, str]], layer: list[float], cases: list[RecordedCase] | None = None
) -> Path:
    """One text with `calls`, whose module bert.layer and end result are `layer`."""
    with Writer(directory) as writer:
        for position, (module, name) in enumerate(calls):
            operator = Operator(0, position, module, name, "x.py:1", [], {}, [], None, None)
            writer.operator(operator)
        values = np.array(layer, dtype=np.float32)
        tensor = {
            "storage": writer.storage(values.view(np.uint8)),
            "slot": 0,
            "dtype": "float32",
            "shape": [len(layer)],
            "stride": [1],
            "offset": 0,
            "device": "cpu",
        }
        writer.output(Output(0, 0, "bert.layer", False, tensor))
        writer.output(Output(0, 1, "ColBERT.doc", True, tensor))
        unsupported = RecordedCase(GPU, "unsupported", "no GPU")
        writer.finish(Header("2.0.1", tuple(cases or [RecordedCase(TEXT, "recorded"), unsupported])), {})
    return directory


def replayed(
    path: Path, verdicts: list[str], unavailable: str | None = None, without_onednn: str = "   "
) -> Path:
    """`without_onednn` has a letter for each operator that stands for the hash of its output."""
    lines: list[dict[str, Any]] = [{"format": 1, "torch_version": "2.1.0", "unavailable": unavailable}]
    for position, verdict in enumerate(verdicts):
        compared = verdict in ("equal", "differs")
        lines.append(
            {
                "case": 0,
                "position": position,
                "verdict": verdict,
                "detail": None,
                "shape": "(2,)" if compared else None,
                "dtype": "float32" if compared else None,
                "elements": 2 if compared else None,
                "equal_fraction": {"equal": 1.0, "differs": 0.5}.get(verdict),
                "mean_absolute_difference": 0.25 * position if compared else None,
                "max_absolute_difference": 0.5 * position if compared else None,
                "max_ulp_distance": position if compared else None,
                "without_onednn": without_onednn[position : position + 1].strip() or None,
            }
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> ReplayedPair:
    left = recording(tmp_path / "left", SEQUENCE, [1.0, 2.0])
    right = recording(tmp_path / "right", SEQUENCE, [1.0, float(np.nextafter(np.float32(2), np.float32(3)))])
    replay = replayed(tmp_path / "replay.jsonl", ["equal", "differs", "differs"])
    return ReplayedPair("2.0.1", "2.1.0", replay, left, right)


@pytest.mark.parametrize(
    ("left", "right", "dtype", "expected"),
    [
        ([1, 2], [1, 2], "float32", Distance(2, 2, 0.0, 0.0, 0)),
        ([1, 0], [1 + 2**-23, 0], "float32", Distance(2, 1, 2**-23, 2**-23, 1)),
        ([0.0], [-0.0], "float32", Distance(1, 0, 0.0, 0.0, 0)),
        ([-(2**-149)], [2**-149], "float32", Distance(1, 0, 2**-148, 2**-148, 2)),
        ([np.nan], [np.nan], "float16", Distance(1, 1, 0.0, 0.0, 0)),
        ([np.nan], [1], "float16", Distance(1, 0, np.inf, np.inf, None)),
        ([-1e300], [1e300], "float64", Distance(1, 0, 2e300, 2e300, 2**63 - 1)),
        ([3, 5], [3, 7], "int64", Distance(2, 1, 2.0, 2.0, None)),
        ([True], [False], "bool", Distance(1, 0, 1.0, 1.0, None)),
        ([], [], "float32", Distance(0, 0, 0.0, 0.0, 0)),
    ],
)
def test_distance(left: list[float], right: list[float], dtype: str, expected: Distance) -> None:
    assert distance(bits(left, dtype), bits(right, dtype), dtype) == expected


def test_distance_of_bfloat16() -> None:
    """numpy has none: 0x3F80 is 1, and the next one is 1 + 2**-7."""
    one, next_one = (np.array([each], dtype=np.uint16).view(np.uint8) for each in (0x3F80, 0x3F81))
    assert distance(one, next_one, "bfloat16") == Distance(1, 0, 2**-7, 2**-7, 1)


def test_distances_are_added() -> None:
    both = Distance(2, 1, 0.5, 0.5, 3) + Distance(2, 2, 0.0, 0.0, None)
    assert both == Distance(4, 3, 0.5, 0.5, 3)
    assert (both.equal_fraction, both.mean_absolute_difference) == (0.75, 0.125)


def test_the_first_guilty_operator_is_named(pair: ReplayedPair) -> None:
    diverging, unsupported = divergence_rows(pair)
    assert diverging["case"] == TEXT.case
    assert (diverging["operators"], diverging["differing"], diverging["verdict"]) == (3, 2, "diverges")
    assert diverging["guilty"] == "aten.softmax.int, aten.linear.default"
    assert diverging["causes"] is None
    assert [
        diverging[f"first_{name}"] for name in ("position", "module", "operator", "max_ulp_distance")
    ] == [*(1, "bert.layer", "aten.softmax.int", 1)]
    assert (diverging["same_sequence"], diverging["final_equal"]) == (True, False)
    assert (unsupported["verdict"], unsupported["detail"]) == ("unsupported", "no GPU")


def test_why_an_operator_differs(pair: ReplayedPair, tmp_path: Path) -> None:
    """Softmax with other vector instructions; linear with other kernels of oneDNN, or whatever is held equal."""
    in_left = replayed(tmp_path / "in_left.jsonl", ["equal"] * 3, without_onednn="abc")
    for hashes, cause in [("abc", "oneDNN"), ("abx", "the operator itself"), ("ab ", "the operator itself")]:
        as_left = replayed(tmp_path / "as_left.jsonl", ["equal", "equal", "differs"], without_onednn=hashes)
        tried = replace(pair, replay_as_left=as_left, replay_in_left=in_left)
        assert [row["cause"] for row in operator_rows(tried)] == [None, "vector instructions", cause]
        row, _ = divergence_rows(tried)
        assert row["causes"] == f"aten.softmax.int: vector instructions; aten.linear.default: {cause}"
    assert [row["cause"] for row in operator_rows(pair)] == [None, None, None]


@pytest.mark.parametrize(
    ("verdicts", "operators", "verdict", "detail"),
    [
        (["equal", "equal", "equal"], 3, "equal", None),
        (["equal", "not replayed", "equal"], 2, "equal", None),
        (["equal", "missing", "equal"], 3, "failed", "missing or failed there: aten.softmax.int"),
        (["differs", "missing", "equal"], 3, "diverges", "missing or failed there: aten.softmax.int"),
        (["equal", "shape differs", "equal"], 3, "diverges", None),
    ],
)
def test_verdict_of_a_case(
    pair: ReplayedPair, verdicts: list[str], operators: int, verdict: str, detail: str | None
) -> None:
    lines = replayed(pair.replay, verdicts).read_text()
    if "shape differs" in verdicts:  # its differences are not known
        assert '"mean_absolute_difference": null' in lines
    row, _ = divergence_rows(pair)
    assert (row["operators"], row["verdict"], row["detail"]) == (operators, verdict, detail)


def test_other_sequences_are_told(pair: ReplayedPair, tmp_path: Path) -> None:
    fused = [SEQUENCE[0], ("bert.layer", "aten.sdpa.default"), SEQUENCE[2]]
    row, _ = divergence_rows(replace(pair, right_recording=recording(tmp_path / "fused", fused, [1.0, 2.0])))
    assert (row["same_sequence"], row["final_equal"]) == (False, True)
    assert row["detail"] == (
        "only 2.0.1 calls aten.softmax.int in bert.layer, only 2.1.0 calls aten.sdpa.default in bert.layer"
    )
    swapped = recording(tmp_path / "swapped", SEQUENCE[::-1], [1.0, 2.0])
    row, _ = divergence_rows(replace(pair, right_recording=swapped))
    assert (row["same_sequence"], row["detail"]) == (False, "the same operators in another order")


def test_a_case_that_only_one_version_ran(pair: ReplayedPair, tmp_path: Path) -> None:
    cases = [RecordedCase(TEXT, "failed", "ValueError: no")]
    row, _ = divergence_rows(
        replace(pair, right_recording=recording(tmp_path / "failed", [], [1.0, 2.0], cases))
    )
    assert (row["verdict"], row["same_sequence"], row["final_equal"]) == ("diverges", None, None)
    assert row["detail"] == "2.1.0 did not run it: ValueError: no"


def test_layers_of_each_version_on_its_own(pair: ReplayedPair) -> None:
    rows = list(layer_rows(pair))
    assert [row["module"] for row in rows] == ["bert.layer", "ColBERT.doc"]
    assert (rows[0]["equal_fraction"], rows[0]["max_ulp_distance"]) == (0.5, 1)
    assert rows[0]["mean_absolute_difference"] == 2**-23  # of 2**-22 and 0
    index = [RecordedCase(INDEX, "recorded")]
    for side in (pair.left_recording, pair.right_recording):
        recording(side, SEQUENCE, [1.0, 2.0], index)
    assert list(layer_rows(pair)) == []


def test_a_recording_says_nothing_about_itself(pair: ReplayedPair) -> None:
    floor = replace(pair, right_version="2.0.1", right_recording=pair.left_recording)
    assert list(layer_rows(floor)) == []
    row, _ = divergence_rows(floor)
    assert (row["same_sequence"], row["final_equal"]) == (None, None)


def test_a_replay_of_another_recording_is_refused(pair: ReplayedPair) -> None:
    for verdicts in (["equal"] * 2, ["equal"] * 4):
        replayed(pair.replay, verdicts)
        with pytest.raises(InputError, match=r"is not of .*: run replay_operators.py again"):
            list(divergence_rows(pair))


def test_damaged_storage_is_named(pair: ReplayedPair) -> None:
    for path in pair.right_recording.glob("storages/*/*"):
        path.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"right/storages/.* cannot be read .*record_operators.py again"):
        list(layer_rows(pair))


def test_an_interrupted_recording_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path / "recording") as writer:
        writer.storage(np.zeros(4, dtype=np.uint8))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "pairs",
    ["{}", "[1]", '[{"left_version": "1"}]', "[", '[{"left_version": 1, "replay_as_left": null}]'],
)
def test_bad_pairs_are_refused(pairs: str) -> None:
    with pytest.raises(InputError):
        read_pairs(pairs if pairs.startswith("[") else f"[{pairs}]")


def test_an_environment_that_cannot_be_built_is_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The programs run without torch, and say why there is none."""
    monkeypatch.setenv(UNAVAILABLE, "torch-9.9.9 cannot be built: no such version")
    directory, replay = tmp_path / "recording", tmp_path / "replay.jsonl"
    arguments = ["--threads", "1", "--device", "cpu"]
    inputs = ["--checkpoint", "x", "--collection", "x", "--operators", "{}", "--index-settings", "{}"]
    tables = {name: tmp_path / f"{name}.parquet" for name in ("operators", "divergence", "layers")}
    sides = {"left_version": "9.9.9", "right_version": "9.9.9", "replay": str(replay), "replay_as_left": None}
    pairs = [{**sides, "left_recording": str(directory), "right_recording": str(directory)}]
    for command in (
        ["record_operators.py", *inputs, *arguments, "--output", directory],
        ["replay_operators.py", directory, *arguments, "--output", replay],
        [
            *("tabulate_torch_operators.py", "--pairs", json.dumps(pairs)),
            *(word for name, path in tables.items() for word in (f"--{name}", path)),
        ],
    ):
        subprocess.run([sys.executable, SCRIPTS / str(command[0]), *map(str, command[1:])], check=True)
    assert Reader(directory).header.unavailable == "torch-9.9.9 cannot be built: no such version"
    (row,) = pq.read_table(tables["divergence"]).to_pylist()
    assert (row["verdict"], row["detail"]) == ("failed", "torch-9.9.9 cannot be built: no such version")
    assert pq.read_table(tables["operators"]).schema.equals(schemas.TORCH_OPERATORS)
    assert pq.read_table(tables["operators"]).num_rows == pq.read_table(tables["layers"]).num_rows == 0
