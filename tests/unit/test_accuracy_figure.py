"""The figure of who sees how much of a spike: its finding and its rows, from rows of known content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from indexscope import schemas
from indexscope.figures import catalog, files, measurement_accuracy

Row = dict[str, Any]


def row(instrument: str, seen_mib: float | None, **columns: Any) -> Row:
    values: Row = {
        "instrument": instrument,
        "case": "spike",
        "size_mib": 64,
        "gil": "released",
        "pages": "4 KiB",
        "hold_seconds": 0.005,
        "repeat": 1,
        "true_mib": 64.0,
        "bound_mib": 0.75,
        "detail": None,
        **columns,
    }
    error = None if seen_mib is None else seen_mib - values["true_mib"]
    within = None if error is None else abs(error) <= 0.75
    return {"seen_mib": seen_mib, "error_mib": error, "within_bound": within, **values}


def frame(rows: list[Row]) -> pd.DataFrame:
    return pa.Table.from_pylist(rows, schema=schemas.MEASUREMENT_ACCURACY).to_pandas()


def study() -> list[Row]:
    rows = []
    for hold, least in ((0.005, 16.0), (1.0, 64.0)):
        for gil in ("held", "released"):
            rows += [
                row("spans", 63.9, gil=gil, hold_seconds=hold),
                row("curve", least, gil=gil, hold_seconds=hold, detail="every 20 ms"),
                row("sampling thread", 0.0 if gil == "held" else 64.0, gil=gil, hold_seconds=hold),
                row("memory_profiler", 0.0, gil=gil, hold_seconds=hold),
            ]
        rows.append(row("Snakemake benchmark", 32.0 if hold < 1 else 64.0, hold_seconds=hold))
    # Neither is drawn: another kind of pages, and what no instrument could say.
    rows.append(row("spans", 10.0, pages="huge"))
    rows.append(row("spans", None, case="killed"))
    return rows


def test_finding_names_what_each_instrument_sees_least() -> None:
    figure = measurement_accuracy.draw(frame(study()))
    assert figure.is_finding
    assert figure.title == (
        "Spans see a spike held 5 ms to within 0.75 MiB, whatever its size and whoever has the GIL; "
        "the least that others see: "
        "curve 25 %, sampling thread 0 %, memory_profiler 0 % and Snakemake benchmark 50 %"
    )
    assert figure.notes == ["Held 1 s: the least is sampling thread 0 % and memory_profiler 0 %."]
    assert figure.support == (
        "4 of 5 measurements by spans, of all cases of the table, are within the declared bound of 0.75 MiB; "
        "the largest error is 54.000 MiB."
    )
    assert set(figure.rows["seen_percent"].round(1)) == {0.0, 25.0, 50.0, 99.8, 100.0}
    assert len(figure.rows) == len(study()) - 2


def test_a_spike_that_spans_miss_is_not_called_seen() -> None:
    rows = [*study(), row("spans", 40.0, repeat=2)]
    title = measurement_accuracy.draw(frame(rows)).title
    assert title.startswith(
        "Spans are off by up to 24.00 MiB for a spike held 5 ms; the least that others see: "
    )


def test_without_a_declared_bound_the_error_is_told() -> None:
    rows = [row("spans", 63.5, bound_mib=None, within_bound=None)]
    support = measurement_accuracy.draw(frame(rows)).support
    assert support == "Largest error of a span: 0.500 MiB in 1 measurements; no bound is declared here."


@pytest.mark.parametrize("rows", [study(), []], ids=["measured", "empty"])
def test_files_are_written(tmp_path: Path, rows: list[Row]) -> None:
    (tables,) = [entry.tables for entry in catalog.ACCURACY_FIGURES.values()]
    assert tables == list(schemas.ACCURACY_TABLES)
    figure = measurement_accuracy.draw(frame(rows))
    files.save(figure, tmp_path / "measurement_accuracy")
    svg = (tmp_path / "measurement_accuracy.svg").read_text()
    assert ("GIL held" in svg) == bool(rows)
    assert figure.is_finding == bool(rows)
