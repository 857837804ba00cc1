"""Write the first N documents of a corpus as Parquet (document_id, text) and as JSON lines beside it.

Nothing is downloaded: what has to be is fetched by fetch_dataset.py beforehand, and PDFs are read by extract_pdfs.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from indexscope.config import settings_from_json
from indexscope.corpora.catalog import open_corpus
from indexscope.corpora.slicing import write_slice
from indexscope.run_record import InputError
from indexscope.settings.corpora import Corpus


def main() -> None:
    """Parse the command line, write the slice, print what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--corpus", required=True, help='JSON file or inline JSON, such as {"source": "synthetic", "seed": 7}'
    )
    parser.add_argument(
        "--dataset",
        type=Path,
        help="folder that fetch_dataset.py made (sources hub and ir_datasets) or extract_pdfs.py (source pdfs)",
    )
    parser.add_argument(
        "--documents",
        required=True,
        type=_count,
        metavar="N|all",
        help="how many documents, from the first one on, or all of them",
    )
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        help="Parquet file to write; NAME.jsonl is written beside NAME.parquet",
    )
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        settings = settings_from_json(Corpus, arguments.corpus, "--corpus")
        corpus = open_corpus(settings, arguments.dataset)
        written = write_slice(corpus, arguments.documents, arguments.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    print(
        f"{written.documents} documents of {corpus.describe()}: {written.parquet_bytes} bytes of Parquet, "
        f"{written.jsonl_bytes} bytes of JSON lines, {time.monotonic() - started:.1f} seconds"
    )


def _count(argument: str) -> int | None:
    try:
        return None if argument == "all" else int(argument)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{argument!r} is neither a number nor all") from None


if __name__ == "__main__":
    main()
