"""Write an experiment's report: one HTML page, with tables and interactive figures, that needs no network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from indexscope import schemas
from indexscope.figures import common
from indexscope.figures.files import read_table
from indexscope.report import (
    compared_runs,
    document_access,
    faiss_tables,
    index_memory,
    page,
    remote_indexing,
    torch_versions,
    traces,
)
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--experiment",
        choices=list(page.CATALOGS),
        default=page.INDEX_MEMORY,
        help="whose report (default: %(default)s)",
    )
    parser.add_argument("--tables", type=Path, required=True, help="folder with the tables (Parquet)")
    parser.add_argument("--figures", type=Path, required=True, help="folder with the figures")
    parser.add_argument(
        "--configuration", type=Path, required=True, help="the resolved configuration (YAML), shown as it is"
    )
    parser.add_argument(
        "--traces", nargs="*", default=[], type=Path, help="runs for other viewers, to link (*.trace.json)"
    )
    parser.add_argument("--output", type=Path, required=True, help="the page to write (HTML)")
    arguments = parser.parse_args()
    write = {
        page.INDEX_MEMORY: _index_memory,
        page.TORCH_VERSIONS: _torch_versions,
        page.FAISS_TABLES: _faiss_tables,
        page.DOCUMENT_ACCESS: _document_access,
        page.REMOTE_INDEXING: _remote_indexing,
    }[arguments.experiment]
    try:
        text = write(arguments)
    except InputError as error:
        sys.exit(str(error))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(arguments.output)


def _index_memory(arguments: argparse.Namespace) -> str:
    tables = arguments.tables
    runs, comparison = _table(tables, "runs"), _table(tables, "memory_comparison")
    # Not where an archive has none.
    logs = _table(tables, "external_logs") if (tables / "external_logs.parquet").exists() else None
    drawn = page.read_figures(arguments.figures, page.INDEX_MEMORY)
    linked = traces.links(arguments.traces, arguments.output, common.label_systems(runs))
    spans = _table(tables, "spans")
    told = _rows(tables, "confounds")
    names = common.comparison_names(common.label_systems(runs))
    compared = compared_runs.pairs(_rows(tables, "run_comparison"), names)
    return index_memory.render(
        runs, comparison, drawn, _text(arguments.configuration), logs, linked, spans, told, compared,
        _rows(tables, "answers"),
    )  # fmt: skip


def _torch_versions(arguments: argparse.Namespace) -> str:
    tables = {name: _table(arguments.tables, name) for name in torch_versions.TABLES}
    drawn = page.read_figures(arguments.figures, page.TORCH_VERSIONS)
    return torch_versions.render(torch_versions.Measured(**tables), drawn, _text(arguments.configuration))


def _faiss_tables(arguments: argparse.Namespace) -> str:
    tables = {name: _table(arguments.tables, name) for name in schemas.FAISS_TABLES}
    drawn = page.read_figures(arguments.figures, page.FAISS_TABLES)
    return faiss_tables.render(tables, drawn, _text(arguments.configuration))


def _document_access(arguments: argparse.Namespace) -> str:
    tables = {name: _table(arguments.tables, name) for name in schemas.DOCUMENT_TABLES}
    drawn = page.read_figures(arguments.figures, page.DOCUMENT_ACCESS)
    return document_access.render(tables, drawn, _text(arguments.configuration))


def _remote_indexing(arguments: argparse.Namespace) -> str:
    tables = {name: _table(arguments.tables, name) for name in schemas.REMOTE_TABLES}
    drawn = page.read_figures(arguments.figures, page.REMOTE_INDEXING)
    return remote_indexing.render(tables, drawn, _text(arguments.configuration))


def _table(directory: Path, name: str) -> pd.DataFrame:
    return read_table(directory / f"{name}.parquet", schemas.TABLES[name])


def _rows(directory: Path, name: str) -> list[dict[str, Any]]:
    """The table's rows with None for what is missing; none where an older archive lacks the table."""
    there = (directory / f"{name}.parquet").exists()
    return common.plain_rows(_table(directory, name)) if there else []


def _text(configuration: Path) -> str:
    try:
        return configuration.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{configuration}: cannot be read ({error.strerror})") from None


if __name__ == "__main__":
    main()
