"""Regenerate the published study's tables, mark the cells that its logs contradict, and check its sentences.

Writes into the folder OUTPUT: `study.md` (all on one page), one FUNCTION.md and FUNCTION.csv for each of the seven
tables, `cells.csv` (every cell), `sentences.md`, `sentences.csv` and `sentence_values.csv`. A cell of a run whose
log is not at hand is checked against what was recorded from that log before, where it was, and says so.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from indexscope.analysis import external_logs, published
from indexscope.analysis import published_tables as tables
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--published", type=Path, required=True, metavar="FOLDER", help="config/published")
    parser.add_argument(
        "--external", type=Path, metavar="TABLE", help="external_logs.parquet, for the study's logs"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="the folder to write into"
    )
    arguments = parser.parse_args()
    try:
        write(arguments.published, arguments.external, arguments.output)
    except InputError as error:
        sys.exit(str(error))


def write(folder: Path, external: Path | None, output: Path) -> None:
    """Raises: InputError, as the functions of indexscope.analysis.published."""

    def report(said: str) -> None:
        print(said, file=sys.stderr)

    study = published.read_study(folder)
    logs = published.read_recorded(folder) | published.read_logs(external_logs.read(external), report)
    cells = published.read_cells(folder, logs)
    checked = [published.check(sentence, cells) for sentence in published.read_sentences(folder)]
    for run in sorted(logs.keys() - {cell.run for cell in cells}):
        report(f"{logs[run].log}: the study published no cell of this run")
    for function, source_file in study["source_files"].items():
        name = tables.file_name(function)
        tables.write_text(output / f"{name}.md", tables.function_markdown(function, source_file, cells))
        tables.write_text(output / f"{name}.csv", tables.function_csv(function, cells))
    tables.write_text(output / "cells.csv", tables.cells_csv(cells))
    tables.write_text(output / "sentences.md", tables.sentences_markdown(checked))
    tables.write_text(output / "sentences.csv", tables.sentences_csv(checked))
    tables.write_text(output / "sentence_values.csv", tables.sentence_values_csv(checked))
    tables.write_text(output / "study.md", tables.page_markdown(cells, checked, logs, study))


if __name__ == "__main__":
    main()
