"""Tabulate what was published of the memory of tables beside the formula and what was measured here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from indexscope import schemas
from indexscope.analysis import faiss_published
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path, required=True, help="config/published/faiss_tables.csv")
    parser.add_argument("--memory", type=Path, required=True, help="faiss_memory.parquet")
    parser.add_argument("--rfc", type=Path, help="faiss_rfc_memory.parquet, where it has been measured")
    parser.add_argument("--output", type=Path, required=True, help="the table to write (Parquet)")
    arguments = parser.parse_args()
    try:
        facts = faiss_published.read_facts(arguments.published)
        memory = [row for path in (arguments.memory, arguments.rfc) if path for row in _read(path)]
    except InputError as error:
        sys.exit(str(error))
    rows = faiss_published.published_rows(facts, memory)
    schemas.write_table(rows, schemas.FAISS_PUBLISHED, arguments.output)


def _read(path: Path) -> list[dict[str, Any]]:
    columns = [
        "index_type", "metric", "nlist", "pq_m", "code_size", "segments", "load_mode", "outcome", "measured_mib",
    ]  # fmt: skip
    try:
        names = pq.read_schema(path).names
        if missing := set(columns) - set(names):
            raise InputError(f"{path} has no column {sorted(missing)[0]}: run tabulate_faiss_memory.py again")
        rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}): run tabulate_faiss_memory.py") from error
    return rows


if __name__ == "__main__":
    main()
