"""Parsing memory_profiler logs: memory must not grow with the log, and how fast it goes.

Makes logs of growing size, with tables of 30 lines and framework output between them, and parses each in a fresh
process.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import measured

LINES_OF_A_TABLE = 30


def write_log(path: Path, mebibytes: int) -> int:
    """Write a log of about `mebibytes`; returns its number of tables."""
    tables = 0
    with path.open("w", encoding="utf-8") as log:
        while log.tell() < mebibytes * 2**20:
            log.write(f"[Feb 16, 18:03:51] [0] \t\t #> Encoding 25000 passages.. ({tables})\n")
            log.write(f"Filename: /framework/module_{tables % 7}.py\n\n")
            log.write("Line #    Mem usage    Increment  Occurrences   Line Contents\n" + "=" * 61 + "\n")
            for line in range(LINES_OF_A_TABLE):
                usage, increment = 1000 + line + tables % 100, line % 3
                log.write(
                    f"{line + 40:6d} {usage:8.1f} MiB {increment:8.1f} MiB {1:11d}       value = step({line})\n"
                )
            log.write("\n\n")
            tables += 1
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 20, 200], help="MiB (default: 1 20 200)")
    parser.add_argument(
        "--limit", type=float, default=400, help="highest peak allowed, in MiB (default: 400)"
    )
    args = parser.parse_args()
    print("| log (MiB) | tables | peak (MiB) | seconds | MiB per second |\n|---:|---:|---:|---:|---:|")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            log, lines = Path(folder) / "run.log", Path(folder) / "lines.parquet"
            tables = write_log(log, size)
            command = [*measured.program("parse_memory_profiler_log"), log, "--output", lines]
            seconds, peak = measured.run(command)
            worst = max(worst, peak)
            print(f"| {size} | {tables:,} | {peak:.0f} | {seconds:.1f} | {size / seconds:.1f} |", flush=True)
    if worst > args.limit:
        raise SystemExit(f"The peak of {worst:.0f} MiB passes the limit of {args.limit:.0f} MiB.")


if __name__ == "__main__":
    main()
