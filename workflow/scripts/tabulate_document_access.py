"""Tabulate trainings of document_access: one row for each, for each rank and step, and for each process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from indexscope import schemas
from indexscope.analysis import document_access
from indexscope.analysis.run_directories import listed_paths
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "runs",
        type=Path,
        nargs="*",
        metavar="RUN.JSON",
        help="run.json of each training; steps.jsonl lies beside it",
    )
    parser.add_argument(
        "--access", type=Path, required=True, help="the table of trainings to write (Parquet)"
    )
    parser.add_argument("--steps", type=Path, required=True, help="the table of steps to write (Parquet)")
    parser.add_argument(
        "--processes", type=Path, required=True, help="the table of processes to write (Parquet)"
    )
    arguments = parser.parse_args()
    try:
        paths = listed_paths(arguments.runs, None)
        rows, processes = [], []
        for path in paths:
            run = document_access.read_run(path)
            rows.append(document_access.access_row(run))
            processes += list(document_access.process_rows(run))
        document_access.check_equal_work(rows)
        schemas.write_batches(_steps(paths), schemas.DOCUMENT_ACCESS_STEPS, arguments.steps)
    except InputError as error:
        sys.exit(str(error))
    schemas.write_table(rows, schemas.DOCUMENT_ACCESS, arguments.access)
    schemas.write_table(processes, schemas.DOCUMENT_ACCESS_PROCESSES, arguments.processes)


def _steps(paths: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    """Of one training after the other: there may be millions."""
    for path in paths:
        steps = list(document_access.step_rows(document_access.read_run(path)))
        yield pa.RecordBatch.from_pylist(steps, schema=schemas.DOCUMENT_ACCESS_STEPS)


if __name__ == "__main__":
    main()
