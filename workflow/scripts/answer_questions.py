"""Answer the study's questions, and ours, from the tables of a finished campaign."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.analysis.answers import answer_questions, read_statements
from indexscope.analysis.answers.measured import read_tables
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder with the tables (Parquet)")
    parser.add_argument(
        "--published",
        type=Path,
        required=True,
        help="what the study says, by question (config/published/memory_questions.csv)",
    )
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        rows = answer_questions(read_tables(arguments.tables), read_statements(arguments.published))
        schemas.write_table(rows, schemas.ANSWERS, arguments.output)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
