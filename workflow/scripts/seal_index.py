"""Seal an index, so that a later process or another machine can tell that it has the same; or check it.

`write` first adds what an index lacks to be searched where nothing else of it is: its passages and where each is
from, as RAGatouille keeps them (`--collection`). Then it writes the SHA-256 of every file. `check` names the first
file that differs, is missing, or was added.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import sealing
from indexscope.run_record import InputError
from indexscope.searching import passages


def main() -> None:
    """Parse the command line, write or check the seal, print how much was sealed."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write", help="complete an index and seal it")
    write.add_argument("index", type=Path, help="folder of the index")
    write.add_argument(
        "--collection",
        type=Path,
        help="what was indexed: document_id and text as JSON lines; its passages are put into an index without any",
    )
    write.add_argument(
        "--pages", type=Path, help="what became of the pages of PDFs (JSON lines): their titles"
    )
    write.add_argument("--output", type=Path, required=True, help="the seal to write (JSON)")
    check = commands.add_parser("check", help="compare an index with its seal; ends with 1 where they differ")
    check.add_argument("index", type=Path, help="folder of the index")
    check.add_argument("seal", type=Path, help="what `write` wrote")
    arguments = parser.parse_args()
    try:
        if arguments.command == "check":
            content = sealing.check(arguments.index, arguments.seal)
        else:
            if arguments.collection is not None:
                passages.complete(arguments.index, arguments.collection, arguments.pages)
            content = sealing.write(arguments.index, arguments.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    print(
        f"{arguments.index}: {content['count']} files, {content['bytes']} bytes, SHA-256 {content['sha256']}"
    )


if __name__ == "__main__":
    main()
