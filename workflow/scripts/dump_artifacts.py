"""Dump the artifacts of a run's index: tensors (safetensors), and a manifest of shape, dtype and hash.

Runs in the framework's environment. Tensors are written beside the manifest; those that a run under the profiler
dumps has written itself, in RUN_DIR/dumps, are listed too and stay there. A run that did not complete gets a
manifest without artifacts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope.artifacts.dump import dump_artifacts
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_directory", type=Path, metavar="RUN_DIR", help="a run directory")
    parser.add_argument(
        "--output", type=Path, required=True, help="the manifest, RUN_DIR/artifacts/manifest.json"
    )
    arguments = parser.parse_args()
    try:
        manifest = dump_artifacts(arguments.run_directory, arguments.output)
    except InputError as error:
        sys.exit(str(error))
    print(f"{arguments.output}: {manifest.outcome}, {len(manifest.artifacts)} artifacts")


if __name__ == "__main__":
    main()
