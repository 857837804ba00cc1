"""Draw a figure of the published study or of logs from elsewhere: NAME.svg, NAME.html and NAME.csv (the rows drawn)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
from indexscope import schemas
from indexscope.analysis import external_logs, mprof_log, published
from indexscope.figures import common, files, published_functions, published_sentences
from indexscope.figures import external_logs as external_logs_figure
from indexscope.figures.catalog import PUBLISHED_FIGURES
from indexscope.run_record import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", choices=PUBLISHED_FIGURES, help="which figure")
    parser.add_argument("--published", type=Path, required=True, metavar="FOLDER", help="config/published")
    parser.add_argument(
        "--checked", type=Path, required=True, metavar="FOLDER", help="what check_published.py wrote"
    )
    parser.add_argument("--external", type=Path, required=True, metavar="TABLE", help="external_logs.parquet")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="NAME", help="path without suffix of the three files"
    )
    arguments = parser.parse_args()
    try:
        figure = draw(arguments.figure, arguments.published, arguments.checked, arguments.external)
    except InputError as error:
        sys.exit(str(error))
    files.save(figure, arguments.output)


def draw(name: str, folder: Path, checked: Path, external: Path) -> common.Figure:
    """Raises: InputError: an input cannot be read."""
    if name == "external_logs":
        return external_logs_figure.draw(files.read_table(external, schemas.EXTERNAL_LOGS), _curves(external))
    study = published.read_study(folder)
    conditions = (
        f"{study['author']}, {study['date']}: {study['corpus']}, {study['checkpoint']}, {study['machine']}, "
        f"{study['profiler']}, one run each."
    )
    if name == "published_functions":
        return published_functions.draw(_read(checked / "cells.csv"), conditions)
    return published_sentences.draw(_read(checked / "sentence_values.csv"), conditions)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): make it with check_published.py") from None


def _curves(external: Path) -> pd.DataFrame:
    batches = [
        batch
        for log in external_logs.read(external)
        if log.kind == external_logs.MPROF
        for batch in mprof_log.curve_batches(
            log.log, log.system, log.documents, lambda said: print(said, file=sys.stderr)
        )
    ]
    frame: pd.DataFrame = pa.Table.from_batches(batches, schemas.MEMORY_CURVE).to_pandas()
    return frame


if __name__ == "__main__":
    main()
