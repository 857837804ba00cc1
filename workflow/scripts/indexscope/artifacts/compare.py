"""Compare the dumped artifacts of two runs: one row for each artifact, missing ones and failed runs included.

Each artifact is compared as stored. Where that is not equal and the order of centroids or of lists decides what is
stored, a second row compares it up to order (`order.py`): after a one-to-one match of the two indexes' final
centroids. What is equal as stored is equal up to order too and has no second row.

Differences are of values in float64. A NaN equals a NaN at the same place; a NaN against a number is an
infinite difference, and no distance in ULP. `exact` means bit for bit: it is false for 0.0 against -0.0, whose
values are equal.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from indexscope.artifacts import distances
from indexscope.artifacts.dump import (
    FINAL_STAGE,
    WHOLE_INDEX,
    Array,
    Artifact,
    artifact_key,
    every_index_has,
    read_manifest,
)
from indexscope.artifacts.order import (
    BLOCK,
    Lists,
    Match,
    Values,
    blocks,
    compare_lists,
    count_codes,
    first_uses,
    match_centroids,
)
from indexscope.run_record import COMPLETED, InputError, RunIdentity

MANIFEST = Path("artifacts") / "manifest.json"  # below a run directory
AS_STORED, UP_TO_ORDER = "as stored", "up to order"
_PRESENCE = {
    (True, True): "both",
    (True, False): "left only",
    (False, True): "right only",
    (False, False): "neither",
}
_FLOATS = ("float16", "bfloat16", "float32", "float64")
# Artifacts by name: one row for each centroid, one code for each embedding, one row for each embedding.
_BY_CENTROID = ("centroids", "prenorm_centroids", "postnorm_centroids", "half_centroids", "ivf_lengths")
_CENTROIDS = artifact_key(FINAL_STAGE, WHOLE_INDEX, 0, "centroids")  # those that are matched
_CODES = ("codes", "compress_codes", "presort_codes")
# … and the codes that were made in the same call.
_BY_EMBEDDING = {"residuals": "codes", "residuals_before_packing": "compress_codes"}


@dataclass(frozen=True)
class Pair:
    """Two run directories to compare, under a name for tables and figures."""

    pair: str
    left: Path
    right: Path


@dataclass(frozen=True)
class VersionComparison:
    """Two runs of torch_versions to compare; the left version is the one that artifacts come from."""

    left_version: str
    right_version: str
    kind: Literal["versions", "repeat", "injection"]
    injected: tuple[str, ...]
    pair: Pair

    def columns(self) -> dict[str, str]:
        """What schemas.TORCH_ARTIFACTS has before the columns of ARTIFACT_COMPARISON."""
        return {
            "left_version": self.left_version,
            "right_version": self.right_version,
            "kind": self.kind,
            "injected": " + ".join(self.injected),
        }


@dataclass(frozen=True)
class Tolerance:
    """numpy.allclose's rule, |left - right| <= atol + rtol * |right|, with numpy's and torch's defaults."""

    rtol: float = 1e-5
    atol: float = 1e-8

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value < np.inf:
                raise InputError(f"{name}: {value} is no tolerance: give a number that is not negative")

    def admits(self, distance: Array, right: Array) -> bool:
        """Whether all of `distance` is within tolerance of the values `right`, float64."""
        near = distance <= self.atol + self.rtol * np.abs(right)
        # Only itself is near an infinity, whatever rtol makes of it.
        return bool((near & np.isfinite(right) | (distance == 0)).all())


@dataclass(frozen=True)
class Tolerances:
    """The default one, of all floating-point dtypes, and looser ones by dtype, as the bitsandbytes tests have."""

    default: Tolerance = Tolerance()
    bitsandbytes: Mapping[str, Tolerance] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """How the values of two arrays of the same shape differ."""

    within_tolerance: bool | None  # None unless both are floating point
    within_bitsandbytes_tolerance: bool | None  # None unless both are of one dtype that has such a tolerance
    equal_fraction: float
    mean_absolute_difference: float
    max_absolute_difference: float
    max_ulp_distance: int | None  # None unless both are of one floating dtype, and where a NaN meets a number
    nan_against_number: int = 0  # elements

    @classmethod
    def none(cls, dtype: str, tolerances: Tolerances) -> Difference:
        """Of an array of `dtype` and itself."""
        return _Sum(dtype, dtype, tolerances).result()


class _InMemory:
    """An array in memory as order.Values."""

    def __init__(self, array: Array) -> None:
        self._values = array.reshape(-1)
        self.size, self.dtype = array.size, array.dtype.name

    def flat(self, start: int, stop: int) -> Array:
        return self._values[start:stop]


class _Stored:
    """A dumped tensor as order.Values: what is asked for is read, no more. bfloat16 is read as its bits, uint16.

    Raises:
        InputError: the file is damaged or is not as the manifest says.
    """

    def __init__(self, run_directory: Path, artifact: Artifact) -> None:
        self.path = (run_directory / MANIFEST).parent / artifact.tensor_file
        self.key, self.shape, self.dtype = artifact.key, artifact.shape, artifact.dtype
        self.size = int(np.prod(artifact.shape, dtype=np.int64))
        self._raw = np.dtype("uint16" if artifact.dtype == "bfloat16" else artifact.dtype).newbyteorder("<")
        self._remedy = (
            f"delete {run_directory / MANIFEST.parent} and run dump_artifacts.py again; for an artifact of "
            "another stage than final, delete the run directory and run index_collection.py again"
        )
        self._start = self._find()

    def flat(self, start: int, stop: int) -> Array:
        try:
            with self.path.open("rb") as file:
                file.seek(self._start + start * self._raw.itemsize)
                values: Array = np.fromfile(file, self._raw, stop - start)
        except OSError as error:
            raise self._unreadable(str(error)) from error
        if len(values) != stop - start:
            raise self._unreadable("it is truncated")
        return values

    def array(self) -> Array:
        """The whole tensor, for those that are small."""
        return self.flat(0, self.size).reshape(self.shape)

    def _find(self) -> int:
        """Where its bytes start. safetensors: the header's length (uint64), the header (JSON), the tensors."""
        from safetensors import SafetensorError, safe_open

        try:
            # Checks the header, and that the file is as long as that says. It cannot read bfloat16 without torch.
            with safe_open(self.path, framework="numpy") as tensors:
                shape = tensors.get_slice(self.key).get_shape()
            with self.path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                begin, end = json.loads(file.read(length))[self.key]["data_offsets"]
        except (OSError, SafetensorError) as error:
            raise self._unreadable(str(error)) from error
        if tuple(shape) != self.shape or end - begin != self.size * self._raw.itemsize:
            raise InputError(f"{self.path}: {self.key} is not as its manifest says: {self._remedy}")
        return 8 + length + int(begin)

    def _unreadable(self, why: str) -> InputError:
        return InputError(f"{self.path}: {self.key} cannot be read ({why}): {self._remedy}")


def read_pairs(argument: str) -> list[Pair]:
    """Read a JSON list of {"pair": name, "left": run directory, "right": run directory}.

    Several pairs may share a name, as sizes and repeats of one comparison do.

    Args:
        argument: the JSON itself, if it starts with `[`, else the path of a file that holds it.

    Raises:
        InputError: the file is missing, an entry is not of that form, or an entry is there twice.
    """
    pairs: list[Pair] = []
    for where, entry in _entries(argument, "pairs"):
        texts = isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())
        if not texts or set(entry) != {"pair", "left", "right"}:
            raise InputError(f"{where}: give the texts pair, left and right, not {entry!r}")
        pair = Pair(entry["pair"], Path(entry["left"]), Path(entry["right"]))
        if pair in pairs:
            raise InputError(f"{where}: {entry!r} is there twice; give each pair once")
        pairs.append(pair)
    return pairs


def read_comparisons(argument: str) -> list[VersionComparison]:
    """Read a JSON list of comparisons of torch_versions: those of read_pairs with versions, kind and injected.

    Raises:
        InputError: as read_pairs.
    """
    texts = ["left_version", "right_version", "kind", "pair", "left", "right"]
    comparisons: list[VersionComparison] = []
    for where, entry in _entries(argument, "comparisons"):
        known = isinstance(entry, dict) and set(entry) == {*texts, "injected"}
        lists = known and isinstance(entry["injected"], list)
        if not lists or not all(
            isinstance(value, str) for value in [*map(entry.get, texts), *entry["injected"]]
        ):
            raise InputError(
                f"{where}: give the texts {', '.join(texts)} and the list injected, not {entry!r}"
            )
        if entry["kind"] not in ("versions", "repeat", "injection"):
            raise InputError(f"{where}.kind: {entry['kind']!r} is not versions, repeat or injection")
        if bool(entry["injected"]) != (entry["kind"] == "injection"):
            raise InputError(f"{where}.injected: give names for the kind injection, and only for that")
        comparison = VersionComparison(
            entry["left_version"],
            entry["right_version"],
            entry["kind"],
            tuple(entry["injected"]),
            Pair(entry["pair"], Path(entry["left"]), Path(entry["right"])),
        )
        if comparison in comparisons:
            raise InputError(f"{where}: {entry!r} is there twice; give each comparison once")
        comparisons.append(comparison)
    return comparisons


def compare_pair(pair: Pair, tolerances: Tolerances) -> Iterator[dict[str, Any]]:
    """Rows of schemas.ARTIFACT_COMPARISON for one pair. Tensors are read only where hashes differ, in blocks.

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
    order = _Order(left, right, tolerances)
    for key in dict.fromkeys([*expected, *left.artifacts, *right.artifacts]):
        row = {
            "pair": pair.pair,
            "left_run": left.run.run,
            "right_run": right.run.run,
            "left_outcome": left.outcome,
            "right_outcome": right.outcome,
            "documents": left.run.documents,
            "artifact": key,
            "stage": key.split("/", 1)[0],
            "name": key.rsplit("/", 1)[1],
            "presence": _PRESENCE[key in left.artifacts, key in right.artifacts],
            **left.columns("left", key),
            **right.columns("right", key),
        }
        compared = _compared(left, right, key, tolerances)
        yield {**row, "compared_as": AS_STORED, **compared}
        if compared["verdict"] not in ("equal", "missing", "run failed"):
            up_to_order = order.compared(key)
            if up_to_order is not None:
                yield {**row, "compared_as": UP_TO_ORDER, **up_to_order}


def difference(left: Array, right: Array, tolerances: Tolerances) -> Difference:
    """How `left` and `right`, of the same shape, differ in value; dtypes may differ.

    Integers are subtracted as float64: exact below 2**53.
    """
    return _difference(_InMemory(left), _InMemory(right), tolerances)


def _difference(left: _Stored | _InMemory, right: _Stored | _InMemory, tolerances: Tolerances) -> Difference:
    total = _Sum(left.dtype, right.dtype, tolerances)
    for start, stop in blocks(left.size, BLOCK):
        total.add(left.flat(start, stop), right.flat(start, stop))
    return total.result()


class _Sum:
    """The difference of two tensors, block after block; bfloat16 as its bits, uint16."""

    def __init__(self, left_dtype: str, right_dtype: str, tolerances: Tolerances) -> None:
        self._dtypes = left_dtype, right_dtype
        self._floats = left_dtype in _FLOATS and right_dtype in _FLOATS
        self._one_dtype = left_dtype == right_dtype
        looser = tolerances.bitsandbytes.get(left_dtype) if self._one_dtype else None
        self._default = tolerances.default if self._floats else None
        self._bitsandbytes = looser if self._floats else None
        self._elements, self._equal, self._total, self._largest = 0, 0, 0.0, 0.0
        self._within, self._within_bitsandbytes = True, True
        self._ulps, self._nans = 0, 0

    def add(self, left: Array, right: Array) -> None:
        """Two arrays of one shape and the dtypes given."""
        left, right = left.reshape(-1), right.reshape(-1)
        self._elements += left.size
        if self._one_dtype:
            bits = f"u{left.dtype.itemsize}"
            apart = np.flatnonzero(left.view(bits) != right.view(bits))  # mostly few: the others are equal
            self._equal += left.size - apart.size
            left, right = left[apart], right[apart]
        if not left.size:
            return
        x, y = values(left, self._dtypes[0]), values(right, self._dtypes[1])
        nans = np.isnan(x), np.isnan(y)
        same = (x == y) | (nans[0] & nans[1])
        if not self._floats:  # of 64 bits, float64 may not tell them apart
            same = left == right
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf, where both are equal
            distance = np.where(same, 0.0, np.abs(x - y))
        distance[np.isnan(distance)] = np.inf
        self._equal += int(same.sum())
        self._total += float(distance.sum())
        self._largest = max(self._largest, float(distance.max()))
        self._nans += int((nans[0] != nans[1]).sum())
        if self._default is not None:
            self._within = self._within and self._default.admits(distance, y)
        if self._bitsandbytes is not None:
            self._within_bitsandbytes = self._within_bitsandbytes and self._bitsandbytes.admits(distance, y)
        if self._floats and self._one_dtype:
            found = distances.distance(left.view(np.uint8), right.view(np.uint8), self._dtypes[0])
            self._ulps = max(self._ulps, found.max_ulp_distance or 0)

    def result(self) -> Difference:
        size = max(self._elements, 1)
        return Difference(
            within_tolerance=self._within if self._default else None,
            within_bitsandbytes_tolerance=self._within_bitsandbytes if self._bitsandbytes else None,
            equal_fraction=self._equal / size if self._elements else 1.0,
            mean_absolute_difference=self._total / size,
            max_absolute_difference=self._largest,
            max_ulp_distance=self._ulps if self._floats and self._one_dtype and not self._nans else None,
            nan_against_number=self._nans,
        )


def values(stored: Array, dtype: str) -> Array:
    """Values as float64; of bfloat16, which numpy has not, from its bits: the upper half of a float32."""
    if dtype == "bfloat16":
        stored = (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float64)


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

    def stored(self, key: str) -> _Stored:
        return _Stored(self.directory, self.artifacts[key])

    def codes(self) -> list[Values]:
        """The final codes, chunk after chunk."""
        chunks = [
            each for each in self.artifacts.values() if (each.stage, each.name) == (FINAL_STAGE, "codes")
        ]
        return [self.stored(each.key) for each in sorted(chunks, key=lambda each: int(each.chunk))]


def _compared(left: _Side, right: _Side, key: str, tolerances: Tolerances) -> dict[str, Any]:
    if {left.outcome, right.outcome} != {COMPLETED}:
        return {"verdict": "run failed"}
    of_left, of_right = left.artifacts.get(key), right.artifacts.get(key)
    if of_left is None or of_right is None:
        return {"verdict": "missing"}
    exact = of_left.sha256 == of_right.sha256
    if of_left.shape != of_right.shape:
        return {"exact": exact, "verdict": "shape differs"}
    if exact:
        found = Difference.none(of_left.dtype, tolerances)
    else:
        found = _difference(left.stored(key), right.stored(key), tolerances)
    return {
        "exact": exact,
        "verdict": _verdict(of_left, of_right, exact, found),
        "detail": _detail(exact, found, of_left, of_right),
        **_columns(found, of_left.dtype, tolerances),
    }


def _columns(found: Difference, dtype: str, tolerances: Tolerances) -> dict[str, Any]:
    columns = asdict(found)
    del columns["nan_against_number"]
    if found.within_tolerance is not None:
        columns |= asdict(tolerances.default)
    if found.within_bitsandbytes_tolerance is not None:
        looser = tolerances.bitsandbytes[dtype]
        columns |= {"bitsandbytes_rtol": looser.rtol, "bitsandbytes_atol": looser.atol}
    return columns


def _verdict(left: Artifact, right: Artifact, exact: bool, found: Difference) -> str:
    if exact:
        return "equal"
    if left.dtype != right.dtype:
        return "dtype differs"
    if found.within_tolerance:
        return "within tolerance"
    return "within bitsandbytes tolerance" if found.within_bitsandbytes_tolerance else "differs"


def _detail(exact: bool, found: Difference, left: Artifact, right: Artifact) -> str | None:
    if right.injected:
        return "given to the right run, which did not compute it"
    if found.nan_against_number:
        return f"a NaN against a number in {_counted(found.nan_against_number, 'element')}"
    if not exact and left.dtype == right.dtype and found.equal_fraction == 1:
        return "equal values, other bits: the sign of a zero or the payload of a NaN"
    return None


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


class _Order:
    """Compares what the order of centroids, or of a list, decides. The match is found when first needed."""

    def __init__(self, left: _Side, right: _Side, tolerances: Tolerances) -> None:
        self._left, self._right, self._tolerances = left, right, tolerances
        self._sides = left, right
        self._methods: dict[str, Callable[[str, Match], dict[str, Any] | None]] = {
            **dict.fromkeys(_BY_CENTROID, self._permuted),
            **dict.fromkeys(_CODES, self._relabelled),
            **dict.fromkeys(_BY_EMBEDDING, self._where_codes_match),
            "ivf": self._inverted_lists,
            "sort_indices": self._sorted_lists,
            "sorted_codes": self._counts,
        }

    def compared(self, key: str) -> dict[str, Any] | None:
        """The columns of an artifact that both have; None where order decides nothing, or nothing is known."""
        left, right = self._left.artifacts[key], self._right.artifacts[key]
        method = self._methods.get(left.name)
        comparable = left.dtype == right.dtype and (left.shape == right.shape or left.name == "ivf")
        if method is None or not comparable or self._match is None:
            return None
        return method(key, self._match)

    @functools.cached_property
    def _match(self) -> Match | None:
        """None where there are no centroids, or not as many of the same dtype on both sides."""
        key = _CENTROIDS
        left, right = self._left.artifacts.get(key), self._right.artifacts.get(key)
        if left is None or right is None or (left.shape, left.dtype) != (right.shape, right.dtype):
            return None
        if left.sha256 == right.sha256:
            return Match.identity(left.shape[0])

        def first_use() -> tuple[Array, Array]:
            of_left, of_right = (first_uses(side.codes(), left.shape[0]) for side in self._sides)
            return of_left, of_right

        def as_float64(rows: Array) -> Array:
            return values(rows, left.dtype)

        rows = self._left.stored(key).array(), self._right.stored(key).array()
        return match_centroids(*rows, as_float64, first_use)

    def _permuted(self, key: str, match: Match) -> dict[str, Any] | None:
        artifact = self._left.artifacts[key]
        if artifact.shape[:1] != (len(match.partner),):
            return None
        left = match.in_order(self._left.stored(key).array())
        right = match.permuted(self._right.stored(key).array())
        total = _Sum(artifact.dtype, artifact.dtype, self._tolerances)
        rows = max(1, BLOCK // max(1, left[:1].size))
        equal = 0
        for start, stop in blocks(len(left), rows):
            total.add(left[start:stop], right[start:stop])
            equal += sum(map(_same_bits, left[start:stop], right[start:stop]))
        found, paired = total.result(), len(left) / max(len(match.partner), 1)
        exact = equal == len(match.partner)
        columns = _columns(found, artifact.dtype, self._tolerances)
        if paired < 1:  # what has no partner is not equal and is near nothing
            columns["equal_fraction"] *= paired
            columns |= {
                name: False for name, value in columns.items() if name.startswith("within_") and value is True
            }
        verdict = _verdict(artifact, artifact, exact, found) if paired == 1 else "differs"
        if key == _CENTROIDS:
            said = match.sentence()
        else:
            whole = f"{equal:,} of {len(match.partner):,}"
            said = f"{whole} {'lists are as long' if artifact.name == 'ivf_lengths' else 'rows are equal'}"
            said += ", by the partners of the final centroids"
        return _up_to_order(exact, verdict, said, columns)

    def _relabelled(self, key: str, match: Match) -> dict[str, Any]:
        same, total = 0, self._left.stored(key).size
        for start, stop in blocks(total, BLOCK):
            same += int(match.same_list(*self._both(key, start, stop)).sum())
        said = f"{same:,} of {_counted(total, 'embedding')} have the same centroid or its partner"
        return _up_to_order(
            same == total, "differs", said, {"equal_fraction": same / total if total else 1.0}
        )

    def _where_codes_match(self, key: str, match: Match) -> dict[str, Any] | None:
        """Residuals belong to embeddings, which have an order of their own: equal ones are equal as stored."""
        artifact = self._left.artifacts[key]
        codes = f"{key.rpartition('/')[0]}/{_BY_EMBEDDING[artifact.name]}"
        shapes = [side.artifacts[codes].shape for side in self._sides if codes in side.artifacts]
        if shapes != [artifact.shape[:1]] * 2:
            return None
        embeddings = artifact.shape[0]
        width = int(np.prod(artifact.shape[1:], dtype=np.int64))
        total, matched, equal = _Sum(artifact.dtype, artifact.dtype, self._tolerances), 0, 0
        for start, stop in blocks(embeddings, max(1, BLOCK // max(width, 1))):
            same = match.same_list(*self._both(codes, start, stop))
            left, right = (
                rows.reshape(-1, width)[same] for rows in self._both(key, start * width, stop * width)
            )
            total.add(left, right)
            matched += len(left)
            equal += int((left.view(np.uint8) == right.view(np.uint8)).all(axis=1).sum())
        said = (
            f"{matched:,} of {_counted(embeddings, 'embedding')} have the same centroid or its partner; "
            f"{equal:,} of these have equal residuals; the differences are of these"
        )
        columns = _columns(total.result(), artifact.dtype, self._tolerances)
        return _up_to_order(False, "differs", said, columns)

    def _inverted_lists(self, key: str, match: Match) -> dict[str, Any] | None:
        lengths_key = key + "_lengths"
        if not all(lengths_key in side.artifacts for side in self._sides):
            return None
        lengths = self._left.stored(lengths_key).array(), self._right.stored(lengths_key).array()
        found = self._lists(key, lengths, match)
        shapes = {side.artifacts[key].shape for side in self._sides}
        said = f"{found.equal:,} of {_counted(found.lists, 'list')} hold the same passages"
        return _up_to_order(
            found.are_equal,
            "differs" if len(shapes) == 1 else "shape differs",
            said,
            {"equal_fraction": found.equal_fraction},
        )

    def _sorted_lists(self, key: str, match: Match) -> dict[str, Any] | None:
        codes = key.rpartition("/")[0] + "/sorted_codes"
        if not all(codes in side.artifacts for side in self._sides):
            return None
        left, right = (count_codes(side.stored(codes), len(match.partner)) for side in self._sides)
        if {int(left.sum()), int(right.sum())} != {self._left.stored(key).size}:
            return None  # codes that no centroid has
        found = self._lists(key, (left, right), match)
        said = f"{found.equal:,} of {_counted(found.lists, 'code')} have the same embeddings"
        if found.are_equal:
            said = f"different order, equal IVF: {said}"
        return _up_to_order(found.are_equal, "differs", said, {"equal_fraction": found.equal_fraction})

    def _counts(self, key: str, match: Match) -> dict[str, Any]:
        left, right = (count_codes(side.stored(key), len(match.partner)) for side in self._sides)
        left, right = match.in_order(left), match.permuted(right)
        total = self._left.stored(key).size
        common = int(np.minimum(left, right).sum())
        said = f"{int((left == right).sum()):,} of {_counted(len(match.partner), 'code')} occur as often"
        return _up_to_order(
            common == total, "differs", said, {"equal_fraction": common / total if total else 1.0}
        )

    def _lists(self, key: str, lengths: tuple[Array, Array], match: Match) -> Lists:
        return compare_lists(self._left.stored(key), lengths[0], self._right.stored(key), lengths[1], match)

    def _both(self, key: str, start: int, stop: int) -> tuple[Array, Array]:
        return self._left.stored(key).flat(start, stop), self._right.stored(key).flat(start, stop)


def _same_bits(left: Array, right: Array) -> bool:
    return left.tobytes() == right.tobytes()


def _up_to_order(exact: bool, otherwise: str, detail: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **columns,
        "exact": exact,
        "detail": detail,
        "verdict": "equal up to order" if exact else otherwise,
    }


def _entries(argument: str, name: str) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON list, inline or in a file, each with where it is."""
    inline = argument.lstrip().startswith("[")
    source = name if inline else argument
    try:
        entries = json.loads(argument if inline else Path(argument).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read as JSON ({error}): give a list of {name}") from error
    if not isinstance(entries, list):
        raise InputError(f"{source} is not a list: give a list of {name}")
    return ((f"{source}[{number}]", entry) for number, entry in enumerate(entries))
