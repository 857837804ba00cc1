"""What the workflow adds to its runs: wall time of a configuration less the measured runs' own.

Set-up (environments, extensions, corpus, checkpoint) is made first and timed apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measured

# Rules whose products runs start from; slices, which some of these need, take a second each.
SET_UP = ["make_checkpoint", "split_documents", "resolve_cell", "compile_extensions"]


def snakemake(directory: Path, arguments: list[str]) -> float:
    """Run the workflow in `directory`, with the checkout's environments; returns seconds."""
    started = time.monotonic()
    command = [
        *(
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            measured.REPOSITORY / "Snakefile",
            "--cores",
            "all",
        ),
        *("--directory", directory, "--conda-prefix", measured.REPOSITORY / ".snakemake" / "conda"),
        *("--quiet", "rules", *arguments),
    ]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configfile", type=Path, help="configuration laid over the default")
    parser.add_argument(
        "--limit", type=float, default=15, help="percent of the wall time allowed (default: 15)"
    )
    args = parser.parse_args()
    chosen = ["--configfile", str(args.configfile.resolve())] if args.configfile else []
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        set_up = snakemake(directory, ["--until", *SET_UP, *chosen])
        wall = snakemake(directory, chosen)
        records = [json.loads(path.read_text()) for path in directory.glob("results/index_runs/**/run.json")]
    runs = sum(record["wall_seconds"] for record in records)
    share = 100 * (wall - runs) / wall
    print(
        f"{len(records)} runs: wall {wall:.0f} s, the runs' own {runs:.0f} s, the workflow's {wall - runs:.0f} s "
        f"({share:.1f} %); set-up before it {set_up:.0f} s"
    )
    if share > args.limit:
        sys.exit(f"The workflow takes more than {args.limit:g} % of the wall time.")


if __name__ == "__main__":
    main()
