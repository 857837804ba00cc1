"""Make a checkpoint folder: a synthetic one in ColBERT's file layout, or a copy of a local one (no download)."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from indexscope.checkpoints import copy_checkpoint, write_checkpoint
from indexscope.config import settings_from_json
from indexscope.run_record import InputError
from indexscope.settings.checkpoints import (
    Checkpoint,
    LocalCheckpointSettings,
    SyntheticCheckpointSettings,
)


def main() -> None:
    """Parse the command line, write the checkpoint, print what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint",
        required=True,
        help='JSON file or inline JSON, such as {"source": "synthetic", "layers": 12}',
    )
    parser.add_argument("--output", required=True, type=Path, help="directory to write")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        settings = settings_from_json(Checkpoint, arguments.checkpoint, "--checkpoint")
        match settings:
            case SyntheticCheckpointSettings():
                write_checkpoint(settings, arguments.output)
                what = (
                    f"synthetic, {settings.layers} layers of width {settings.hidden_size}, dim {settings.dim}"
                )
            case LocalCheckpointSettings():
                copy_checkpoint(settings, arguments.output)
                what = f"a copy of {settings.path}"
            case _:
                raise InputError("--checkpoint: source: hub is downloaded by fetch_checkpoint.py")
    except (InputError, OSError) as error:
        sys.exit(str(error))
    written = sum(path.stat().st_size for path in arguments.output.iterdir())
    print(f"{what}: {written} bytes, {time.monotonic() - started:.1f} seconds")


if __name__ == "__main__":
    main()
