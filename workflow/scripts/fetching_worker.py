"""Fetch documents through one loader, in a process of its own; started by measure_fetches.py."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from indexscope.document_access import fetching
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("request", help="what to fetch, and the file for the result (JSON)")
    request = json.loads(parser.parse_args().request)
    try:
        result = fetching.fetch(request)
    except InputError as error:
        sys.exit(f"InputError: {error}")
    Path(request["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
