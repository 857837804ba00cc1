"""Write the queries of a slice (queries.jsonl), its relevant documents (qrels.jsonl) and a manifest of them.

Judgements of documents that are not in the slice, and queries that are left without a relevant document, are
left out; the manifest says how many.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope.config import settings_from_json
from indexscope.corpora.queries import make_queries, write_queries
from indexscope.run_record import InputError
from indexscope.settings.torch_versions import Queries


def main() -> None:
    """Parse the command line, make the queries, print how many there are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--queries",
        required=True,
        metavar="JSON",
        help='settings, such as {"source": "known_item"}, or a file that holds them',
    )
    parser.add_argument(
        "--collection", required=True, type=Path, help="the slice: document_id and text as JSON lines"
    )
    parser.add_argument("--dataset", type=Path, help="what fetch_queries.py fetched, for source hub")
    parser.add_argument("--output", required=True, type=Path, help="folder; manifest.json is written last")
    arguments = parser.parse_args()
    try:
        settings = settings_from_json(Queries, arguments.queries, "--queries")
        made = make_queries(settings, arguments.collection, arguments.dataset)
        manifest = write_queries(made, settings.model_dump(mode="json"), arguments.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    counted = ", ".join(
        f"{name.replace('_', ' ')}: {value}" for name, value in manifest.items() if isinstance(value, int)
    )
    print(counted.removeprefix("format: 1, "))


if __name__ == "__main__":
    main()
