"""Make memory of known size while an instrument looks on: how right is what measures memory here?"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from indexscope.ground_truth import cases, spikes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    compiling = commands.add_parser("compile", help="compile the library that makes the spikes")
    compiling.add_argument("--output", type=Path, required=True, help="the shared library to write")
    all_of_them = commands.add_parser("all", help="every case, each in a fresh process, by every instrument")
    all_of_them.add_argument("--library", type=Path, required=True, help="what `compile` wrote")
    all_of_them.add_argument(
        "--interval", type=float, required=True, help="seconds between samples of the curve"
    )
    all_of_them.add_argument("--output", type=Path, required=True, help="the rows (JSON lines) to write")
    one = commands.add_parser("one", help="one spike, in the job of a rule that has a benchmark")
    one.add_argument("--library", type=Path, required=True, help="what `compile` wrote")
    one.add_argument("--mib", type=int, required=True, help="size of the spike")
    one.add_argument("--milliseconds", type=float, required=True, help="how long it is held")
    one.add_argument("--shell", type=int, required=True, help="process id of the job's shell ($$)")
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        sys.exit("Measuring needs Linux (/proc).")
    try:
        if arguments.command == "compile":
            spikes.compile_library(str(arguments.output))
        elif arguments.command == "all":
            _measure(arguments.library, arguments.interval, arguments.output)
        else:
            spike = spikes.Spike(arguments.mib, arguments.milliseconds / 1000)
            cases.become_benchmarked(spike, str(arguments.library), arguments.shell)
    except spikes.NoCompiler as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{spikes.SOURCE} cannot be compiled: {error.stderr}")


def _measure(library: Path, interval_seconds: float, output: Path) -> None:
    partial = output.with_name(output.name + ".partial")
    with partial.open("w", encoding="utf-8") as lines:
        for row in cases.observe_all(str(library), interval_seconds):
            lines.write(json.dumps(row) + "\n")
    partial.replace(output)


if __name__ == "__main__":
    main()
