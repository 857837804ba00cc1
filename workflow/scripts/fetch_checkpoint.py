"""Download a ColBERT checkpoint from the Hugging Face hub, with a manifest: commit, files, sizes, SHA-256.

What an interrupted download has brought is kept beside the output: start again, and it goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from indexscope.checkpoints import fetch_checkpoint
from indexscope.config import settings_from_json
from indexscope.run_record import InputError
from indexscope.settings.checkpoints import Checkpoint, HubCheckpointSettings


def main() -> None:
    """Parse the command line, download, print what was fetched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint",
        required=True,
        help='JSON file or inline JSON: {"source": "hub", "repository": …, "revision": …}',
    )
    parser.add_argument("--output", required=True, type=Path, help="directory to write")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        settings = settings_from_json(Checkpoint, arguments.checkpoint, "--checkpoint")
        if not isinstance(settings, HubCheckpointSettings):
            raise InputError(
                f"--checkpoint: source: {settings.source} needs no download; use make_checkpoint.py"
            )
        manifest = fetch_checkpoint(settings, arguments.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    print(
        f"{settings.repository} at {manifest['commit']}: {len(manifest['files'])} files, "
        f"{manifest['bytes']} bytes, {time.monotonic() - started:.1f} seconds"
    )


if __name__ == "__main__":
    main()
