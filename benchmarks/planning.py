"""Planning a configuration of 1,000 runs: the wall time of `snakemake --dry-run`, in fresh processes."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="runs of the configuration (default: 1000)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: 3)")
    parser.add_argument("--limit", type=float, default=30, help="seconds allowed (default: 30)")
    args = parser.parse_args()
    # Three systems and two profilers: six runs for each size and repeat.
    sizes = ", ".join(str(100 * size) for size in range(1, 11))
    repeats = -(-args.runs // 60)
    systems = "[colbert, ragatouille_faiss_true, ragatouille_faiss_false]"
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "many.yaml"
        configuration.write_text(
            f"index_memory:\n  systems: {systems}\n  grids:\n"
            f"    - {{sizes: [{sizes}], profilers: [none, spans], repeats: {repeats}}}\n"
        )
        command = [
            *(
                sys.executable,
                "-m",
                "snakemake",
                "--snakefile",
                measured.REPOSITORY / "Snakefile",
                "--dry-run",
            ),
            *("--quiet", "all", "--directory", Path(folder), "--configfile", configuration),
        ]
        trials = [measured.run(command) for _ in range(args.repeats)]
    seconds = [trial.seconds for trial in trials]
    print(
        f"{60 * repeats} runs: {statistics.median(seconds):.1f} s "
        f"(least {min(seconds):.1f}, most {max(seconds):.1f}, {len(seconds)} repeats), "
        f"peak {max(trial.peak_mib for trial in trials):.0f} MiB"
    )
    if statistics.median(seconds) > args.limit:
        sys.exit(f"Planning takes more than {args.limit:g} seconds.")


if __name__ == "__main__":
    main()
