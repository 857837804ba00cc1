"""Write an experiment's report: one HTML page, with tables and interactive figures, that needs no network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from indexscope import schemas
from indexscope.figures.files import read_table
from indexscope.report import index_memory, page, torch_versions
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
    parser.add_argument("--output", type=Path, required=True, help="the page to write (HTML)")
    arguments = parser.parse_args()
    write = {page.INDEX_MEMORY: _index_memory, page.TORCH_VERSIONS: _torch_versions}[arguments.experiment]
    try:
        text = write(arguments.tables, arguments.figures, arguments.configuration)
    except InputError as error:
        sys.exit(str(error))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(arguments.output)


def _index_memory(tables: Path, figures: Path, configuration: Path) -> str:
    runs, comparison = _table(tables, "runs"), _table(tables, "memory_comparison")
    # Not where an archive has none.
    logs = _table(tables, "external_logs") if (tables / "external_logs.parquet").exists() else None
    drawn = page.read_figures(figures, page.INDEX_MEMORY)
    return index_memory.render(runs, comparison, drawn, _text(configuration), logs)


def _torch_versions(tables: Path, figures: Path, configuration: Path) -> str:
    measured = torch_versions.Measured(**{name: _table(tables, name) for name in torch_versions.TABLES})
    return torch_versions.render(
        measured, page.read_figures(figures, page.TORCH_VERSIONS), _text(configuration)
    )


def _table(directory: Path, name: str) -> pd.DataFrame:
    return read_table(directory / f"{name}.parquet", schemas.TABLES[name])


def _text(configuration: Path) -> str:
    try:
        return configuration.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{configuration}: cannot be read ({error.strerror})") from None


if __name__ == "__main__":
    main()
