"""Draw training samples from a collection: JSON lines of query, positive_id and negative_id, seeded.

The query is a few words of the positive document.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope.document_access.samples import write_samples
from indexscope.run_record import InputError


def main() -> None:
    """Parse the command line, write the samples, print how many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path, help="documents as JSON lines (document_id, text) or TSV")
    parser.add_argument("--samples", type=int, required=True, help="how many samples")
    parser.add_argument("--seed", type=int, required=True, help="of the drawing")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    try:
        documents = write_samples(arguments.collection, arguments.samples, arguments.seed, arguments.output)
    except (InputError, OSError) as error:
        sys.exit(str(error))
    print(f"{arguments.output}: {arguments.samples} samples of {documents} documents")


if __name__ == "__main__":
    main()
