"""The section that compares every two systems phase by phase: what changed, and what was suppressed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indexscope.analysis.run_comparison import CHANGES, FUNCTION, OUTCOME, TIME, UNCHANGED, kind

from .facts import Table

Row = Mapping[str, Any]

_QUANTITIES = {
    "tree_peak_rss_mib": "peak of the process tree",
    "index_peak_rss_mib": "peak of the process tree",
    "start_rss_mib": "RSS at its start",
    "peak_rss_mib": "peak RSS",
    "end_rss_mib": "RSS at its end",
    "end_tree_pss_mib": "PSS of all processes at its end",
}
_COLUMNS = ["what", "of", "left", "right", "ratio"]
_NUMERIC = frozenset({2, 3, 4})


@dataclass(frozen=True)
class Pair:
    """Two systems at one size under one profiler."""

    title: str
    summary: str
    changed: Table
    suppressed: Table


def pairs(rows: Iterable[Row], labels: Mapping[str, str]) -> list[Pair]:
    """From rows of the table run_comparison, in their order; `labels` names systems.

    Pairs of which one side has a single run can claim no change: they are left out unless their outcomes differ.
    """
    grouped: dict[tuple[str, str, int, str], list[Row]] = {}
    for row in rows:
        key = (row["left"], row["right"], row["documents"], row["profiler"])
        grouped.setdefault(key, []).append(row)
    return [
        _pair(key, group, labels)
        for key, group in grouped.items()
        for outcome in [next(row for row in group if row["level"] == OUTCOME)]
        if outcome["verdict"] != UNCHANGED or min(outcome["left_runs"], outcome["right_runs"]) > 1
    ]


def _pair(key: tuple[str, str, int, str], rows: Sequence[Row], labels: Mapping[str, str]) -> Pair:
    left, right, documents, profiler = key
    outcome = next(row for row in rows if row["level"] == OUTCOME)
    measured = [row for row in rows if row["level"] not in (OUTCOME, FUNCTION)]
    changed = [_row(row) for row in measured if row["verdict"] in CHANGES]
    suppressed = [[*_row(row), row["reason"]] for row in measured if row["verdict"] == UNCHANGED]
    return Pair(
        f"{labels.get(left, left)} → {labels.get(right, right)}, {documents:,} documents, {profiler}",
        f"{outcome['reason']}; {len(changed)} changed, {len(suppressed)} suppressed",
        Table(_COLUMNS, changed, _NUMERIC),
        Table([*_COLUMNS, "why it is no change"], suppressed, _NUMERIC),
    )


def _row(row: Row) -> list[str]:
    unit = "s" if kind(row["quantity"]) == TIME else "MiB"
    quantity = "time" if unit == "s" else _QUANTITIES[row["quantity"]]
    of = f"{row['part']} ({row['role']})" if row["role"] else row["part"]
    ratio = row.get("ratio")
    return [
        quantity,
        of,
        *(_side(row, side, unit) for side in ("left", "right")),
        f"× {ratio:.2f}" if ratio is not None else "",
    ]


def _side(row: Row, side: str, unit: str) -> str:
    """The median, and the range where there is one."""
    middle, low, high = (row.get(f"{side}_{name}") for name in ("median", "min", "max"))
    if middle is None:
        return "–"
    digits = 2 if unit == "s" else 0
    spread = f" ({low:,.{digits}f}–{high:,.{digits}f})" if low != high else ""
    return f"{middle:,.{digits}f} {unit}{spread}"
