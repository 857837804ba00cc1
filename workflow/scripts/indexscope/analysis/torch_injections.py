"""What each injection of torch_versions makes equal, from the comparison of artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from indexscope.run_record import COMPLETED

# Columns of schemas.TORCH_ARTIFACTS that are read.
COLUMNS = [
    "left_version", "right_version", "kind", "injected", "left_outcome", "right_outcome", "artifact", "stage",
    "name", "compared_as", "verdict",
]  # fmt: skip
_FINAL = "final"
_MADE_EQUAL = ("all equal", "all equal up to order")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Comparison:
    """The artifacts of one pair of versions under one injection, the empty one included."""

    left_version: str
    right_version: str
    injected: str
    rows: tuple[Row, ...]

    @property
    def names(self) -> list[str]:
        return self.injected.split(" + ") if self.injected else []

    def columns(self) -> dict[str, Any]:
        """A row of schemas.TORCH_INJECTIONS without `smallest`."""
        first = self.rows[0]
        stored = [row for row in self.rows if row["compared_as"] == "as stored"]
        final = [row for row in stored if row["stage"] == _FINAL]
        # An artifact that was given is equal by that alone; final ones come after all that can be given.
        computed = [row for row in stored if row["stage"] != _FINAL and row["name"] not in self.names]
        equal = {row["artifact"] for row in final if row["verdict"] == "equal"}
        in_order = {row["artifact"] for row in self.rows if row["verdict"] == "equal up to order"}
        harmless = [row for row in final if row["artifact"] in equal | in_order]
        differing = [row["name"] for row in final if row["artifact"] not in equal | in_order]
        failed = {first["left_outcome"], first["right_outcome"]} != {COMPLETED}
        return {
            "left_version": self.left_version,
            "right_version": self.right_version,
            "injected": self.injected,
            "artifacts_injected": len(self.names),
            "left_outcome": first["left_outcome"],
            "right_outcome": first["right_outcome"],
            "final_artifacts": len(final),
            "equal": len(equal),
            "equal_up_to_order": len(harmless),
            # Each name once, whatever the chunks; of a failed run nothing is known.
            "differing": "" if failed else ", ".join(dict.fromkeys(differing)),
            "intermediate_artifacts": len(computed),
            "intermediate_equal": sum(row["verdict"] == "equal" for row in computed),
            "verdict": _verdict(failed, len(final), len(equal), len(harmless)),
        }


def tabulate_injections(artifacts: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Rows of schemas.TORCH_INJECTIONS, in the order of the comparisons.

    Args:
        artifacts: rows of schemas.TORCH_ARTIFACTS with at least COLUMNS, those of a comparison together. Those of
            kind `repeat` are left out: they compare a version with itself.
    """
    found = [
        _Comparison(*versions_and_injected, tuple(rows)).columns()
        for versions_and_injected, rows in groupby(
            (row for row in artifacts if row["kind"] != "repeat"),
            key=lambda row: (row["left_version"], row["right_version"], row["injected"]),
        )
    ]
    fewest: dict[tuple[str, str], int] = {}
    for row in found:
        if row["verdict"] in _MADE_EQUAL:
            pair, given = _pair(row), row["artifacts_injected"]
            fewest[pair] = min(given, fewest.get(pair, given))
    for row in found:
        # A part of an injection has fewer artifacts than it: the count alone decides.
        smallest = row["verdict"] in _MADE_EQUAL and row["artifacts_injected"] == fewest[_pair(row)]
        yield {**row, "smallest": smallest}


def _pair(row: Row) -> tuple[str, str]:
    return row["left_version"], row["right_version"]


def _verdict(failed: bool, final: int, equal: int, equal_up_to_order: int) -> str:
    if failed:
        return "run failed"
    if not final or equal_up_to_order < final:  # of nothing, not all are equal
        return "some differ"
    return "all equal" if equal == final else "all equal up to order"
