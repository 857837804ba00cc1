"""What programs that measure runs have in common on their command lines."""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys

ONLY_LINUX = "Measuring needs Linux (/proc); parsing logs, figures and the report work everywhere."


def require_linux() -> None:
    """End the program with a sentence where there is no /proc."""
    if not sys.platform.startswith("linux"):
        sys.exit(ONLY_LINUX)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add what every measured run is made of."""
    parser.add_argument("--cell", type=pathlib.Path, required=True, help="resolved cell (JSON)")
    parser.add_argument("--collection", required=True, help="documents as JSON lines: document_id, text")
    parser.add_argument("--checkpoint", required=True, help="folder of a ColBERT checkpoint")
    parser.add_argument(
        "--extensions", help="folder of compiled torch extensions, where the framework has any"
    )
    parser.add_argument("--documents", type=int, required=True, help="number of documents in the collection")


def leave_by_exception() -> None:
    """On SIGTERM and SIGHUP end by an exception: processes of a run are ended, nothing half-written stays."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
