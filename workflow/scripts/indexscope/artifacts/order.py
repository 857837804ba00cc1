"""Equality up to order: centroids matched one to one, and what follows from that match.

K-means gives its centroids in an arbitrary order, and a code is a centroid's number. Two indexes may thus be the
same but for their numbering. So may the order within an inverted list be another one where a sort is not stable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 1 << 20  # elements in memory at a time, so that copies in float64 and int64 stay small
_ASSIGNED = 4096  # most centroids of an optimal assignment: some 10 s and 200 MiB
_TILE = 2048  # centroids a side whose distances are in memory at a time
NO_PARTNER = -1


class Values(Protocol):
    """A tensor that can be read in parts."""

    @property
    def size(self) -> int: ...

    def flat(self, start: int, stop: int) -> Array:
        """Elements `start` to `stop` of the tensor in C order, (stop - start,)."""


@dataclass(frozen=True)
class Match:
    """Which centroid of the right index is which of the left one."""

    partner: NDArray[np.int64]  # (centroids,) the right centroid's number, or NO_PARTNER
    equal: int  # partners that are equal, bit for bit
    distances: NDArray[np.float64]  # Euclidean, from the other centroids to their partners
    method: str = ""  # how those partners were found

    @classmethod
    def identity(cls, centroids: int) -> Match:
        return cls(np.arange(centroids), centroids, np.zeros(0))

    @property
    def is_exact(self) -> bool:
        return self.equal == len(self.partner)

    def permuted(self, right: Array) -> Array:
        """Rows of `right` in the order of the left index; rows without a partner are absent."""
        permuted: Array = right[self.partner[self.partner != NO_PARTNER]]
        return permuted

    def in_order(self, left: Array) -> Array:
        """The rows of `left` that `permuted` has the partners of."""
        with_partner: Array = left[self.partner != NO_PARTNER]
        return with_partner

    def same_list(self, left: Array, right: Array) -> NDArray[np.bool_]:
        """Whether the codes at each place, (n,) and (n,), are those of partners."""
        known = (left >= 0) & (left < len(self.partner))
        partner = np.where(known, self.partner[np.where(known, left, 0)], NO_PARTNER)
        same: NDArray[np.bool_] = (partner == right) & (partner != NO_PARTNER)
        return same

    def sentence(self) -> str:
        """Such as: 4,095 of 4,096 centroids have an equal partner; optimal assignment of 1 other: …"""
        total, others = len(self.partner), len(self.distances)
        if self.is_exact:
            moved = int((self.partner != np.arange(total)).sum())
            return f"all {total:,} centroids have an equal partner, {moved:,} of them at another place"
        said = f"{self.equal:,} of {total:,} centroids have an equal partner"
        if others:
            median, largest = np.median(self.distances), self.distances.max()
            said += (
                f"; {self.method} of {others:,} other{'s' * (others > 1)}: "
                f"median distance {median:.2g}, largest {largest:.2g}"
            )
        if alone := total - self.equal - others:
            said += f"; {alone:,} ha{'ve' if alone > 1 else 's'} no partner"
        return said


def match_centroids(
    left: Array, right: Array, values: Callable[[Array], Array], first_use: Callable[[], tuple[Array, Array]]
) -> Match:
    """Match the rows of two (centroids, dim) arrays of one shape and dtype.

    Equal rows first. The others: up to 4,096 by the assignment with the smallest sum of distances; more, as
    mutual nearest neighbours, which may leave some without a partner. Rows with a NaN or an infinity only have
    equal partners.

    Args:
        values: from stored rows to float64.
        first_use: for each centroid of the left and of the right index, where in the index's codes it is first
            used. Tells apart centroids that are equal among themselves.
    """
    partner = np.full(len(left), NO_PARTNER)
    _match_equal(left, right, partner, first_use)
    equal = int((partner != NO_PARTNER).sum())
    x, y = values(left), values(right)
    free = np.setdiff1d(np.arange(len(right)), partner)
    rows = np.flatnonzero((partner == NO_PARTNER) & np.isfinite(x).all(axis=1))
    columns = free[np.isfinite(y[free]).all(axis=1)]
    few = max(len(rows), len(columns)) <= _ASSIGNED
    found = (_assigned if few else _mutual_nearest)(x[rows], y[columns])
    partner[rows[found[0]]] = columns[found[1]]
    distances = np.linalg.norm(x[rows[found[0]]] - y[columns[found[1]]], axis=1)
    return Match(partner, equal, distances, "optimal assignment" if few else "mutual nearest neighbours")


def _match_equal(
    left: Array, right: Array, partner: NDArray[np.int64], first_use: Callable[[], tuple[Array, Array]]
) -> None:
    at_right, at_left = _by_content(right), _by_content(left)
    both = {content for content in at_left if content in at_right}
    repeated = [content for content in both if max(len(at_left[content]), len(at_right[content])) > 1]
    if repeated:
        of_left, of_right = first_use()
        for content in repeated:
            at_left[content].sort(key=lambda number: int(of_left[number]))
            at_right[content].sort(key=lambda number: int(of_right[number]))
    for content in both:
        for number, other in zip(at_left[content], at_right[content], strict=False):
            partner[number] = other


def _by_content(rows: Array) -> dict[bytes, list[int]]:
    numbers: dict[bytes, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        numbers[row.tobytes()].append(number)
    return numbers


def _assigned(x: Array, y: Array) -> tuple[Array, Array]:
    from scipy.optimize import linear_sum_assignment

    distances = _squared_distances(x, y)
    rows, columns = linear_sum_assignment(np.sqrt(distances, out=distances))
    return rows, columns


def _mutual_nearest(x: Array, y: Array) -> tuple[Array, Array]:
    """Rows of `x` and of `y` that are each other's nearest; in tiles, so that memory stays constant."""
    nearest, distance = np.zeros(len(x), np.int64), np.full(len(x), np.inf)
    nearest_back, distance_back = np.zeros(len(y), np.int64), np.full(len(y), np.inf)
    for i in range(0, len(x), _TILE):
        for j in range(0, len(y), _TILE):
            tile = _squared_distances(x[i : i + _TILE], y[j : j + _TILE])
            _keep_nearer(nearest[i : i + _TILE], distance[i : i + _TILE], tile, j)
            _keep_nearer(nearest_back[j : j + _TILE], distance_back[j : j + _TILE], tile.T, i)
    rows = np.flatnonzero(nearest_back[nearest] == np.arange(len(x))) if len(y) else np.zeros(0, np.int64)
    return rows, nearest[rows]


def _keep_nearer(nearest: Array, distance: Array, tile: Array, start: int) -> None:
    """Update the views `nearest` and `distance` with the smallest of each row of `tile`."""
    column = tile.argmin(axis=1)
    smallest = tile[np.arange(len(tile)), column]
    nearer = smallest < distance
    nearest[nearer] = column[nearer] + start
    distance[nearer] = smallest[nearer]


def _squared_distances(x: Array, y: Array) -> Array:
    """(n, dim) and (m, dim) to (n, m), in float64: near rows keep some 8 digits."""
    distances: Array = x @ y.T
    distances *= -2
    distances += (x**2).sum(axis=1)[:, None]
    distances += (y**2).sum(axis=1)
    return np.maximum(distances, 0, out=distances)


@dataclass
class Lists:
    """How many inverted lists hold the same entries as their partners, whatever the order."""

    lists: int
    equal: int = 0
    common: int = 0  # entries that a list and its partner both have
    entries: int = 0  # of both sides, an entry that is in a list twice counted once

    @property
    def are_equal(self) -> bool:
        return self.equal == self.lists

    @property
    def equal_fraction(self) -> float:
        """Entries that a list and its partner share, of those of both sides (Dice's coefficient)."""
        return 2 * self.common / self.entries if self.entries else 1.0


def compare_lists(
    left: Values, left_lengths: Array, right: Values, right_lengths: Array, match: Match
) -> Lists:
    """Compare lists as sets with those of their centroids' partners.

    Args:
        left, right: the entries, integers, list after list.
        left_lengths, right_lengths: (centroids,) entries of each list, in all as many as there are entries.
    """
    found = Lists(len(left_lengths))
    starts, right_starts = _starts(left_lengths), _starts(right_lengths)
    partner_lengths = np.where(match.partner == NO_PARTNER, 0, right_lengths[match.partner])
    found.entries += int(right_lengths.sum() - partner_lengths.sum())
    for first, last in _blocks_of_lists(left_lengths + partner_lengths):
        numbers = np.arange(last - first)
        partners = match.partner[first:last]
        mine = left.flat(int(starts[first]), int(starts[last])).astype(np.int64)
        others = [
            right.flat(int(right_starts[partner]), int(right_starts[partner + 1]))
            for partner in partners[partners != NO_PARTNER]
        ]
        theirs = np.concatenate([np.zeros(0, np.int64), *others])
        lowest = min(mine.min(initial=0), theirs.min(initial=0))
        span = 1 + int(max(mine.max(initial=0), theirs.max(initial=0)) - lowest)
        x = np.unique(np.repeat(numbers, left_lengths[first:last]) * span + mine - lowest)
        y = np.unique(np.repeat(numbers, partner_lengths[first:last]) * span + theirs - lowest)
        common = np.intersect1d(x, y, assume_unique=True)
        of_left, of_right, of_both = (
            np.bincount(keys // span, minlength=len(numbers)) for keys in (x, y, common)
        )
        same = (of_left == of_both) & (of_right == of_both) & (partners != NO_PARTNER)
        found.equal += int(same.sum())
        found.common += len(common)
        found.entries += len(x) + len(y)
    return found


def _starts(lengths: Array) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)])


def _blocks_of_lists(sizes: Array) -> Iterator[tuple[int, int]]:
    """Ranges of lists, each of at most BLOCK entries or of one list."""
    ends, first = np.cumsum(sizes), 0
    while first < len(sizes):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + BLOCK, side="right")))
        yield first, last
        first = last


def blocks(size: int, length: int = BLOCK) -> Iterator[tuple[int, int]]:
    """Ranges of at most `length` that cover `size`."""
    return ((start, min(start + length, size)) for start in range(0, size, length))


def count_codes(codes: Values, centroids: int) -> NDArray[np.int64]:
    """(centroids,) how often each code occurs."""
    counts = np.zeros(centroids, np.int64)
    for start, stop in blocks(codes.size):
        counts += np.bincount(codes.flat(start, stop), minlength=centroids)[:centroids]
    return counts


def first_uses(chunks: list[Values], centroids: int) -> NDArray[np.int64]:
    """(centroids,) the place at which each code is first used in all chunks' codes; past the end: never."""
    total = sum(codes.size for codes in chunks)
    places, before = np.full(centroids, total), 0
    for codes in chunks:
        for start, stop in blocks(codes.size):
            used, at = np.unique(codes.flat(start, stop), return_index=True)
            known = (used >= 0) & (used < centroids)
            used, at = used[known], at[known]
            places[used] = np.minimum(places[used], before + start + at)
        before += codes.size
    return places
