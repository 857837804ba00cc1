"""What programs that measure runs have in common on their command lines."""

from __future__ import annotations

import argparse
import json
import pathlib
import signal
import sys
from typing import Union

ONLY_LINUX = "Measuring needs Linux (/proc); parsing logs, figures and the report work everywhere."


def require_linux() -> None:
    """End the program with a sentence where there is no /proc."""
    if not sys.platform.startswith("linux"):
        sys.exit(ONLY_LINUX)


ALL = "all"


def add_run(parser: argparse.ArgumentParser, may_be_all: bool = False) -> None:
    """Add what every measured run is made of; `--documents` may be `all` where `documents` reads it."""
    parser.add_argument("--cell", type=pathlib.Path, required=True, help="resolved cell (JSON)")
    parser.add_argument("--collection", required=True, help="documents as JSON lines: document_id, text")
    parser.add_argument("--checkpoint", required=True, help="folder of a ColBERT checkpoint")
    parser.add_argument(
        "--extensions", help="folder of compiled torch extensions, where the framework has any"
    )
    parser.add_argument(
        "--documents",
        type=_number_or_all if may_be_all else int,
        required=True,
        help="number of documents in the collection" + ("; all: they are counted" if may_be_all else ""),
    )


def _number_or_all(text: str) -> Union[int, str]:
    return text if text == ALL else int(text)


def documents(args: argparse.Namespace) -> int:
    """The number of documents that was given, or how many the collection has.

    A document may be several rows, one after the other; no more than one of them is in memory.
    """
    if args.documents != ALL:
        return int(args.documents)
    count, last = 0, None
    with open(args.collection, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                document_id = json.loads(line)["document_id"]
            except (ValueError, TypeError, KeyError):
                sys.exit(
                    "%s:%d is no JSON object with a document_id; make it again" % (args.collection, number)
                )
            count += count == 0 or document_id != last
            last = document_id
    return count


def leave_by_exception() -> None:
    """On SIGTERM and SIGHUP end by an exception: processes of a run are ended, nothing half-written stays."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
