"""Tabulate what was published of loaders and memory beside formulas and what document_access measured here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis import document_access, document_published
from indexscope.document_access import memory_model
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path, required=True, metavar="FOLDER", help="config/published")
    parser.add_argument("--access", type=Path, required=True, help="document_access.parquet")
    parser.add_argument(
        "--collection", type=Path, required=True, help="the documents of the grids (JSON lines or TSV)"
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        published = document_published.Published.read(arguments.published)
        trainings = document_access.read_table(
            arguments.access, document_published.COLUMNS, "tabulate_document_access.py"
        )
        sizes = memory_model.collection_sizes(arguments.collection)
    except InputError as error:
        sys.exit(str(error))
    rows = document_published.published_rows(published, trainings, sizes)
    schemas.write_table(rows, schemas.DOCUMENT_PUBLISHED, arguments.output)


if __name__ == "__main__":
    main()
