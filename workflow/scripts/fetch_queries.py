"""Download queries and relevance judgements (source hub) and write a manifest of them: commit, files, SHA-256.

What an interrupted download has brought is kept: start again, and it goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope.config import settings_from_json
from indexscope.corpora.queries import fetch_queries
from indexscope.run_record import InputError
from indexscope.settings.torch_versions import HubQueries, Queries


def main() -> None:
    """Parse the command line, download, print what was fetched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--queries",
        required=True,
        metavar="JSON",
        help='settings with "source": "hub", inline or a file that holds them',
    )
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        help="folder; manifest.json is written last, files are under content/",
    )
    arguments = parser.parse_args()
    try:
        settings = settings_from_json(Queries, arguments.queries, "--queries")
        if not isinstance(settings, HubQueries):
            raise InputError(f"--queries: source: {settings.source} needs no download; use make_queries.py")
        manifest = fetch_queries(settings, arguments.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    print(f"{len(manifest['files'])} files, {manifest['bytes']} bytes, commit {manifest['commit']}")


if __name__ == "__main__":
    main()
