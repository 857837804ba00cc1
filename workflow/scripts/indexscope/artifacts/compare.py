"""Compare the dumped artifacts of two runs: one row for each artifact, missing ones and failed runs included.

Differences are of values in float64. A NaN equals a NaN at the same place; a NaN against a number is an
infinite difference. `exact` means bit for bit: it is false for 0.0 against -0.0, whose values are equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexscope.artifacts.dump import Array, Artifact, every_index_has, read_manifest
from indexscope.run_record import COMPLETED, InputError, RunIdentity

MANIFEST = Path("artifacts") / "manifest.json"  # below a run directory
_PRESENCE = {
    (True, True): "both",
    (True, False): "left only",
    (False, True): "right only",
    (False, False): "neither",
}
_BLOCK = 1 << 20  # elements compared at a time, so that float64 copies stay small


@dataclass(frozen=True)
class Pair:
    """Two run directories to compare, under a name for tables and figures."""

    pair: str
    left: Path
    right: Path


@dataclass(frozen=True)
class Tolerance:
    """numpy.allclose's rule, |left - right| <= atol + rtol * |right|, with numpy's and torch's defaults."""

    rtol: float = 1e-5
    atol: float = 1e-8

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value < np.inf:
                raise InputError(f"{name}: {value} is no tolerance: give a number that is not negative")


@dataclass(frozen=True)
class Difference:
    """How the values of two arrays of the same shape differ."""

    within_tolerance: bool | None  # None unless both are floating point
    equal_fraction: float
    mean_absolute_difference: float
    max_absolute_difference: float


def read_pairs(argument: str) -> list[Pair]:
    """Read a JSON list of {"pair": name, "left": run directory, "right": run directory}.

    Several pairs may share a name, as sizes and repeats of one comparison do.

    Args:
        argument: the JSON itself, if it starts with `[`, else the path of a file that holds it.

    Raises:
        InputError: the file is missing, an entry is not of that form, or an entry is there twice.
    """
    inline = argument.lstrip().startswith("[")
    source = "pairs" if inline else argument
    try:
        entries = json.loads(argument if inline else Path(argument).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read as JSON ({error}): give a list of pairs") from error
    if not isinstance(entries, list):
        raise InputError(f"{source} is not a list: give a list of pairs")
    pairs: list[Pair] = []
    for number, entry in enumerate(entries):
        texts = isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())
        if not texts or set(entry) != {"pair", "left", "right"}:
            raise InputError(f"{source}[{number}]: give the texts pair, left and right, not {entry!r}")
        pair = Pair(entry["pair"], Path(entry["left"]), Path(entry["right"]))
        if pair in pairs:
            raise InputError(f"{source}[{number}]: {entry!r} is there twice; give each pair once")
        pairs.append(pair)
    return pairs


def compare_pair(pair: Pair, tolerance: Tolerance) -> Iterator[dict[str, Any]]:
    """Rows of schemas.ARTIFACT_COMPARISON for one pair. Tensors are read only where hashes differ.

    Indexes of which neither has a layout that can be dumped have nothing to compare: no rows.

    Raises:
        InputError: a manifest is missing or damaged, or the runs are of different sizes.
    """
    left, right = _Side.of(pair.left), _Side.of(pair.right)
    if left.run.documents != right.run.documents:
        raise InputError(
            f"pair {pair.pair!r}: {pair.left} has {left.run.documents} documents and {pair.right} has "
            f"{right.run.documents}: pair runs of the same size"
        )
    expected = [] if left.layout is right.layout is None else every_index_has()
    for key in dict.fromkeys([*expected, *left.artifacts, *right.artifacts]):
        yield {
            "pair": pair.pair,
            "left_run": left.run.run,
            "right_run": right.run.run,
            "left_outcome": left.outcome,
            "right_outcome": right.outcome,
            "documents": left.run.documents,
            "artifact": key,
            "name": key.rsplit("/", 1)[1],
            "presence": _PRESENCE[key in left.artifacts, key in right.artifacts],
            **left.columns("left", key),
            **right.columns("right", key),
            **_compared(left, right, key, tolerance),
        }


def difference(left: Array, right: Array, tolerance: Tolerance) -> Difference:
    """How `left` and `right`, of the same shape, differ in value; dtypes may differ.

    Integers are subtracted as float64: exact below 2**53.
    """
    equal, total, largest, within = 0, 0.0, 0.0, True
    left, right = left.reshape(-1), right.reshape(-1)
    for start in range(0, left.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        x, y = left[block].astype(np.float64), right[block].astype(np.float64)
        same = (left[block] == right[block]) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore"):  # inf - inf, where both are equal
            distance = np.where(same, 0.0, np.abs(x - y))
        distance[np.isnan(distance)] = np.inf
        equal += int(same.sum())
        total += float(distance.sum())
        largest = max(largest, float(distance.max()))
        within &= bool(np.allclose(x, y, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True))
    size = max(left.size, 1)
    return Difference(
        within_tolerance=within if left.dtype.kind == right.dtype.kind == "f" else None,
        equal_fraction=equal / size if left.size else 1.0,
        mean_absolute_difference=total / size,
        max_absolute_difference=largest,
    )


@dataclass(frozen=True)
class _Side:
    """One run of a pair, with its artifacts by key."""

    directory: Path
    run: RunIdentity
    outcome: str
    layout: str | None
    artifacts: Mapping[str, Artifact]

    @classmethod
    def of(cls, directory: Path) -> _Side:
        manifest = read_manifest(directory / MANIFEST)
        artifacts = {artifact.key: artifact for artifact in manifest.artifacts}
        return cls(directory, manifest.run, manifest.outcome, manifest.layout, artifacts)

    def columns(self, side: str, key: str) -> dict[str, str]:
        artifact = self.artifacts.get(key)
        if artifact is None:
            return {}
        return {
            f"{side}_shape": str(artifact.shape),
            f"{side}_dtype": artifact.dtype,
            f"{side}_sha256": artifact.sha256,
        }


def _compared(left: _Side, right: _Side, key: str, tolerance: Tolerance) -> dict[str, Any]:
    if {left.outcome, right.outcome} != {COMPLETED}:
        return {"verdict": "run failed"}
    of_left, of_right = left.artifacts.get(key), right.artifacts.get(key)
    if of_left is None or of_right is None:
        return {"verdict": "missing"}
    exact = of_left.sha256 == of_right.sha256
    if of_left.shape != of_right.shape:
        return {"exact": exact, "verdict": "shape differs"}
    if exact:
        found = Difference(True if of_left.dtype.startswith("float") else None, 1.0, 0.0, 0.0)
    else:
        found = difference(_tensor(left.directory, of_left), _tensor(right.directory, of_right), tolerance)
    return {
        "exact": exact,
        "verdict": _verdict(of_left, of_right, exact, found),
        **asdict(found),
        **({} if found.within_tolerance is None else asdict(tolerance)),
    }


def _verdict(left: Artifact, right: Artifact, exact: bool, found: Difference) -> str:
    if exact:
        return "equal"
    if left.dtype != right.dtype:
        return "dtype differs"
    return "within tolerance" if found.within_tolerance else "differs"


def _tensor(run_directory: Path, artifact: Artifact) -> Array:
    from safetensors import SafetensorError, safe_open

    path = (run_directory / MANIFEST).with_name(artifact.tensor_file)
    remedy = f"delete {path.parent} and run dump_artifacts.py again"
    try:
        with safe_open(path, framework="numpy") as tensors:
            array: Array = tensors.get_tensor(artifact.key)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: {artifact.key} cannot be read ({error}): {remedy}") from error
    if array.shape != artifact.shape or array.dtype.name != artifact.dtype:
        raise InputError(f"{path}: {artifact.key} is not as its manifest says: {remedy}")
    return array
