"""Whether two searches of the same queries found the same: bit by bit, to rounding, or not."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

# Of a distance, relative: IVFPQ adds the same float32 terms in another order with its table than without it.
TOLERANCE = 1e-5

IDENTICAL = "identical"
ROUNDING = "equal to rounding"
DIFFERENT = "different"


class Found(NamedTuple):
    """What searches found; both of shape (queries, k)."""

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]

    def digest(self) -> str:
        """Of ids and distances, bit by bit."""
        return hashlib.sha256(self.ids.tobytes() + self.distances.tobytes()).hexdigest()[:16]


class Agreement(NamedTuple):
    verdict: str  # IDENTICAL, ROUNDING, DIFFERENT
    largest_difference: float  # of a distance, relative to its query's largest


def compare(left: Found, right: Found) -> Agreement:
    """Compare two searches of the same queries in the same vectors.

    Equal to rounding: at every rank the distances differ by no more than TOLERANCE of the query's largest, and
    ids differ only where that may exchange them: beside a rank at most twice as far off, or at the last one.
    """
    if left.ids.shape != right.ids.shape:
        return Agreement(DIFFERENT, float("inf"))
    # Ranks that nothing was found for have the id -1 and the largest float.
    if not np.array_equal(left.ids < 0, right.ids < 0):
        return Agreement(DIFFERENT, float("inf"))
    missing = left.ids < 0
    first = np.where(missing, 0, left.distances.astype(np.float64))
    second = np.where(missing, 0, right.distances.astype(np.float64))
    scale = np.abs(first).max(axis=1, keepdims=True, initial=1e-30)
    difference = np.abs(first - second) / scale
    largest = float(difference.max(initial=0.0))
    if left.digest() == right.digest():
        return Agreement(IDENTICAL, largest)
    exchanged = left.ids != right.ids
    if largest <= TOLERANCE and not np.any(exchanged & ~_exchangeable(first / scale)):
        return Agreement(ROUNDING, largest)
    return Agreement(DIFFERENT, largest)


def _exchangeable(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Ranks that rounding may give to another vector. Distances are in order of rank, relative."""
    near = np.abs(np.diff(distances, axis=1)) <= 2 * TOLERANCE
    result = np.zeros(distances.shape, dtype=bool)
    result[:, 1:] |= near
    result[:, :-1] |= near
    # Beyond the last rank another vector may be as near.
    result[:, -1] = True
    return result


def search_all(index: Any, queries: npt.NDArray[np.float32], k: int) -> Found:
    """Search every query alone, as a server does; (queries, dim)."""
    found = [index.search(query[None], k) for query in queries]
    return Found(
        np.concatenate([ids for _, ids in found]).astype(np.int64),
        np.concatenate([distances for distances, _ in found]).astype(np.float32),
    )
