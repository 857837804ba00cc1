"""Write the report: one HTML page, with tables and interactive figures, that needs no network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope import schemas
from indexscope.figures.files import read_table
from indexscope.report import page
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder with the tables (Parquet)")
    parser.add_argument("--figures", type=Path, required=True, help="folder with the figures")
    parser.add_argument(
        "--configuration", type=Path, required=True, help="the resolved configuration (YAML), shown as it is"
    )
    parser.add_argument("--output", type=Path, required=True, help="the page to write (HTML)")
    arguments = parser.parse_args()
    try:
        runs = read_table(arguments.tables / "runs.parquet", schemas.RUNS)
        comparison = read_table(arguments.tables / "memory_comparison.parquet", schemas.MEMORY_COMPARISON)
        external = arguments.tables / "external_logs.parquet"  # not where an archive has none
        logs = read_table(external, schemas.EXTERNAL_LOGS) if external.exists() else None
        figures = page.read_figures(arguments.figures)
        try:
            configuration = arguments.configuration.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{arguments.configuration}: cannot be read ({error.strerror})") from None
    except InputError as error:
        sys.exit(str(error))
    text = page.render(runs, comparison, figures, configuration, logs)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(arguments.output)


if __name__ == "__main__":
    main()
