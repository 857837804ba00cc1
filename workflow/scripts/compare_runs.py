"""Compare two sets of runs phase by phase, print what changed and what was suppressed, and gate on it.

A and B are folders: a run directory, one that holds run directories (a system, a size, repeats), or one with the
tables runs.parquet and spans.parquet. Where both hold one system these two are compared, else systems of one name.
Exit code: 0 when nothing regressed, 1 when something did (see --gate), 2 for bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from indexscope import schemas
from indexscope.analysis import run_comparison
from indexscope.analysis.run_comparison import Side, Thresholds
from indexscope.analysis.run_directories import run_rows, span_batches
from indexscope.run_record import InputError

_GATES = {
    "memory": (run_comparison.MEMORY,),
    "time": (run_comparison.TIME,),
    "both": (run_comparison.MEMORY, run_comparison.TIME),
    "none": (),
}
_NAMES = {
    "tree_peak_rss_mib": "peak of the process tree",
    "index_peak_rss_mib": "peak of the process tree",
    "peak_rss_mib": "peak",
    "start_rss_mib": "at its start",
    "end_rss_mib": "at its end",
    "end_tree_pss_mib": "PSS of all processes at its end",
}


def main() -> None:
    defaults = Thresholds()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("left", type=Path, metavar="A", help="the runs to compare with")
    parser.add_argument("right", type=Path, metavar="B", help="the runs that may have changed")
    parser.add_argument("--system", help="compare this system only")
    parser.add_argument(
        "--factor",
        type=float,
        default=defaults.factor,
        help="medians must differ by this factor (default: %(default)s)",
    )
    parser.add_argument(
        "--floor-mib", type=float, default=defaults.mib, help="and by this much memory (default: %(default)s)"
    )
    parser.add_argument(
        "--floor-seconds", type=float, default=defaults.seconds, help="or time (default: %(default)s)"
    )
    parser.add_argument(
        "--gate",
        choices=list(_GATES),
        default="memory",
        help="what must not increase; a worse outcome fails every gate but none (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, help="also write the rows as a table (Parquet)")
    arguments = parser.parse_args()
    try:
        if arguments.factor < 1:
            raise InputError(f"--factor: {arguments.factor} is below 1: give 1.1 for ten percent")
        thresholds = Thresholds(arguments.factor, arguments.floor_mib, arguments.floor_seconds)
        pairs = _pairs(_read(arguments.left), _read(arguments.right), arguments)
        rows = []
        for left, right in pairs:
            compared = run_comparison.compare(left, right, thresholds)
            _print(left, right, compared)
            rows += compared
        if arguments.output:
            schemas.write_table(rows, schemas.RUN_COMPARISON, arguments.output)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    if arguments.gate != "none":
        sys.exit(_gate(run_comparison.regressions(rows, _GATES[arguments.gate]), arguments.gate))


def _read(path: Path) -> dict[str, tuple[list[Any], list[Any]]]:
    """Rows of runs and of spans by system.

    Raises:
        InputError: there are no runs, or they cannot be read.
    """
    if (path / "runs.parquet").exists():
        runs, spans = (
            run_comparison.read_rows(path / f"{name}.parquet", schemas.TABLES[name])
            for name in ("runs", "spans")
        )
    else:
        records = sorted(path.rglob("run.json")) if path.is_dir() else []
        if not records:
            raise InputError(f"{path}: there is no run.json in or below it, and no runs.parquet: name a run")
        runs = list(run_rows(records, {}))
        files = [record.with_name("spans.jsonl") for record in records]
        spans = pa.Table.from_batches(
            span_batches(file for file in files if file.exists()), schemas.SPANS
        ).to_pylist()
    systems: dict[str, tuple[list[Any], list[Any]]] = {}
    for run in runs:
        systems.setdefault(run["system"], ([], []))[0].append(run)
    for span in spans:
        systems[span["system"]][1].append(span)
    return systems


def _pairs(
    left: dict[str, Any], right: dict[str, Any], arguments: argparse.Namespace
) -> list[tuple[Side, Side]]:
    if arguments.system:
        for path, systems in ((arguments.left, left), (arguments.right, right)):
            if arguments.system not in systems:
                raise InputError(
                    f"--system: {path} has no runs of {arguments.system}: it has {', '.join(systems)}"
                )
        left, right = ({arguments.system: each[arguments.system]} for each in (left, right))
    named = [(name, name) for name in left if name in right]
    if len(left) == len(right) == 1:
        named = [(next(iter(left)), next(iter(right)))]
    pairs = []
    for left_name, right_name in named:
        sides = [run_comparison.sides(*left[left_name]), run_comparison.sides(*right[right_name])]
        pairs += [(sides[0][key], sides[1][key]) for key in sorted(sides[0].keys() & sides[1].keys())]
    if not pairs:
        raise InputError(
            f"{arguments.left} and {arguments.right} have no system, size and profiler in common: measure both alike"
        )
    return pairs


def _print(left: Side, right: Side, rows: Sequence[dict[str, Any]]) -> None:
    first = rows[0]
    names = left.name if left.name == right.name else f"{left.name} → {right.name}"
    print(f"{names}, {first['documents']:,} documents, profiler {first['profiler']}: {first['reason']}")
    if unequal := run_comparison.unequal_work(left, right):
        print(f"  Unequal besides: {'; '.join(unequal)}")
    changed = [row for row in rows if row["verdict"] in run_comparison.CHANGES]
    suppressed = [row for row in rows[1:] if row["verdict"] == run_comparison.UNCHANGED]
    print(f"  {len(changed)} changed:" if changed else "  Nothing changed.")
    for row in changed:
        print(f"    {row['verdict']:<12} {_line(row)}")
    if suppressed:
        print(f"  {len(suppressed)} not changed, and why:")
    for row in suppressed:
        print(f"    {'':<12} {_line(row)}: {row['reason']}")
    print()


def _line(row: dict[str, Any]) -> str:
    if row["quantity"] == run_comparison.OUTCOME:
        return str(row["reason"])
    kind = run_comparison.kind(row["quantity"])
    what = "time" if kind == run_comparison.TIME else _NAMES.get(row["quantity"], row["quantity"])
    of = row["part"].rpartition(".")[2] if row["level"] == run_comparison.FUNCTION else row["part"]
    process = f" ({row['role']})" if row["role"] else ""
    unit = "s" if kind == run_comparison.TIME else "MiB"
    values = " → ".join(_side(row, side, unit) for side in ("left", "right"))
    ratio = f", × {row['ratio']:.2f}" if row["ratio"] else ""
    return f"{of}{process}, {what}: {values}{ratio}"


def _side(row: dict[str, Any], side: str, unit: str) -> str:
    median = row.get(f"{side}_median")
    if median is None:
        return "–"
    low, high = row[f"{side}_min"], row[f"{side}_max"]
    digits = 1 if unit == "MiB" else 2
    spread = f" ({low:,.{digits}f}–{high:,.{digits}f})" if low != high else ""
    return f"{median:,.{digits}f} {unit}{spread}"


def _gate(failed: Sequence[Any], gate: str) -> int:
    if not failed:
        print(f"Gate {gate}: passed.")
        return 0
    print(f"Gate {gate}: {len(failed)} regressed:")
    for row in failed:
        print(f"  {_line(row)}")
    return 1


if __name__ == "__main__":
    main()
