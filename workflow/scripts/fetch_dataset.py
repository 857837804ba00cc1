"""Download a dataset (source hub or ir_datasets) and write a manifest of it: commit, files, sizes, SHA-256.

What an interrupted download has brought is kept: start again, and it goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from indexscope.config import settings_from_json
from indexscope.corpora.fetching import fetch_dataset
from indexscope.run_record import InputError
from indexscope.settings.corpora import Corpus, HubCorpusSettings, IrDatasetsCorpusSettings


def main() -> None:
    """Parse the command line, download, print what was fetched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--corpus",
        required=True,
        help='JSON file or inline JSON, such as {"source": "ir_datasets", "dataset": "vaswani"}',
    )
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        help="folder; manifest.json is written last, files are under content/",
    )
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        settings = settings_from_json(Corpus, arguments.corpus, "--corpus")
        if not isinstance(settings, HubCorpusSettings | IrDatasetsCorpusSettings):
            program = "extract_pdfs.py" if settings.source == "pdfs" else "slice_dataset.py"
            raise InputError(f"--corpus: source: {settings.source} needs no download; use {program}")
        manifest = fetch_dataset(settings, arguments.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    print(
        f"{len(manifest['files'])} files, {manifest['bytes']} bytes, {time.monotonic() - started:.1f} seconds"
        + (f", commit {manifest['commit']}" if "commit" in manifest else "")
    )


if __name__ == "__main__":
    main()
