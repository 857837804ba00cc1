"""Read the text of PDFs, page by page: documents.jsonl, pages.jsonl (what became of every page) and a manifest.

What cannot be read (encrypted, damaged, only images, too large, too slow) is a row with the reason; the rest is read.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from indexscope.config import settings_from_json
from indexscope.corpora.pdfs import extract
from indexscope.run_record import InputError
from indexscope.settings.corpora import Corpus, PdfCorpusSettings


def main() -> None:
    """Parse the command line, read the PDFs, print what became of their pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--corpus",
        required=True,
        help='JSON file or inline JSON, such as {"source": "pdfs", "path": "papers"}; without path: a sample',
    )
    parser.add_argument("--output", required=True, type=Path, help="folder; manifest.json is written last")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        settings = settings_from_json(Corpus, arguments.corpus, "--corpus")
        if not isinstance(settings, PdfCorpusSettings):
            raise InputError(f"--corpus: source: {settings.source} is not pdfs; use slice_dataset.py")
        manifest = extract(settings, arguments.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    counts = ", ".join(f"{count} {outcome}" for outcome, count in manifest["outcomes"].items())
    print(
        f"{len(manifest['files'])} files, {manifest['bytes']} bytes; pages: {counts}; "
        f"{time.monotonic() - started:.1f} seconds"
    )


if __name__ == "__main__":
    main()
