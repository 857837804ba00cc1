"""How far apart two tensors of the same dtype and shape are, down to units in the last place. numpy only.

Values are given as bytes and the name of a torch dtype, for numpy has no bfloat16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_BLOCK = 1 << 20  # elements compared at a time, so that float64 copies stay small

# torch dtype → the integers that hold its bits, and the bits of its infinity.
_FLOATING = {
    "float16": (np.int16, 0x7C00),
    "bfloat16": (np.int16, 0x7F80),
    "float32": (np.int32, 0x7F80_0000),
    "float64": (np.int64, 0x7FF0_0000_0000_0000),
}
_OTHER = {
    "bool": np.uint8,
    "uint8": np.uint8,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
}
COMPARABLE = frozenset({*_FLOATING, *_OTHER})


@dataclass(frozen=True)
class Distance:
    """How the values of two tensors differ.

    Attributes:
        elements: of one of them.
        equal: elements with the same bits, or a NaN in both; 0.0 and -0.0 are not equal here.
        sum_absolute_difference: of values as float64; infinite where a NaN meets a number.
        max_absolute_difference: likewise.
        max_ulp_distance: of floating-point values, how many representable values lie between them, one end
            included; 0.0 and -0.0 have none. None for other dtypes, and where a NaN meets a number.
    """

    elements: int
    equal: int
    sum_absolute_difference: float
    max_absolute_difference: float
    max_ulp_distance: int | None

    @property
    def equal_fraction(self) -> float:
        return self.equal / self.elements if self.elements else 1.0

    @property
    def mean_absolute_difference(self) -> float:
        return self.sum_absolute_difference / max(self.elements, 1)

    def __add__(self, other: Distance) -> Distance:
        """Of both together: several outputs of one operator."""
        ulps = [each.max_ulp_distance for each in (self, other) if each.max_ulp_distance is not None]
        return Distance(
            self.elements + other.elements,
            self.equal + other.equal,
            self.sum_absolute_difference + other.sum_absolute_difference,
            max(self.max_absolute_difference, other.max_absolute_difference),
            max(ulps, default=None),
        )


def distance(left: Array, right: Array, dtype: str) -> Distance:
    """Compare two tensors of `dtype`, each as (bytes,) uint8 in the same order of elements.

    Integers are subtracted as float64: exact below 2**53.

    Raises:
        KeyError: `dtype` is not in COMPARABLE.
    """
    integers, infinity = _FLOATING[dtype] if dtype in _FLOATING else (_OTHER[dtype], None)
    x, y = left.view(integers), right.view(integers)
    equal, total, largest, ulps, unordered = 0, 0.0, 0.0, 0, False
    for start in range(0, x.size, _BLOCK):
        one, two = x[start : start + _BLOCK], y[start : start + _BLOCK]
        apart = one != two
        if infinity is not None and apart.any():
            apart &= ~(_is_nan(one, infinity) & _is_nan(two, infinity))
        equal += int(one.size - apart.sum())
        if not apart.any():
            continue
        one, two = one[apart], two[apart]
        with np.errstate(invalid="ignore"):
            differences = np.abs(_values(one, dtype) - _values(two, dtype))
        differences[np.isnan(differences)] = np.inf
        total += float(differences.sum())
        largest = max(largest, float(differences.max()))
        if infinity is not None:
            unordered |= bool((_is_nan(one, infinity) | _is_nan(two, infinity)).any())
            ulps = max(ulps, _max_ulps(one, two))
    return Distance(int(x.size), equal, total, largest, None if infinity is None or unordered else ulps)


def _is_nan(bits: Array, infinity: int) -> Array:
    return (bits & np.iinfo(bits.dtype).max) > infinity


def _values(bits: Array, dtype: str) -> Array:
    if dtype == "bfloat16":  # the upper half of a float32
        return (bits.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return (bits.view(dtype) if dtype in _FLOATING else bits).astype(np.float64)


def _max_ulps(left: Array, right: Array) -> int:
    """Floats, as integers of their bits, are in order once negative ones are mirrored."""
    lowest = np.int64(np.iinfo(left.dtype).min)
    x, y = (np.where(bits < 0, lowest - bits.astype(np.int64), bits) for bits in (left, right))
    # Unsigned, for the distance of 64-bit floats of opposite signs takes 64 bits.
    far = np.where(x > y, x.view(np.uint64) - y.view(np.uint64), y.view(np.uint64) - x.view(np.uint64))
    return min(int(far.max()), int(np.iinfo(np.int64).max))
