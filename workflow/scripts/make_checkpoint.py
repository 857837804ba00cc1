"""Write a synthetic checkpoint in ColBERT's file layout (no download, no torch)."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from indexscope.checkpoints import write_checkpoint
from indexscope.config import settings_from_json
from indexscope.run_record import InputError
from indexscope.settings.checkpoints import SyntheticCheckpointSettings


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
        settings = settings_from_json(SyntheticCheckpointSettings, arguments.checkpoint, "--checkpoint")
        write_checkpoint(settings, arguments.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    weights_bytes = (arguments.output / "model.safetensors").stat().st_size
    print(
        f"synthetic, {settings.layers} layers of width {settings.hidden_size}, dim {settings.dim}: "
        f"{weights_bytes} bytes of weights, {time.monotonic() - started:.1f} seconds"
    )


if __name__ == "__main__":
    main()
