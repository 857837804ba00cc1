"""The figures of faiss_tables: titles go with the rows, whatever is missing; a mode has one colour."""

from __future__ import annotations

import functools
import importlib
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import faiss_rows as tables
import pandas as pd
import pytest
from faiss_rows import Row, Tables
from indexscope.figures import (
    common,
    faiss_alternatives,
    faiss_common,
    faiss_estimators,
    faiss_latency,
    faiss_memory,
    files,
)
from indexscope.figures.catalog import FAISS_FIGURES, FAISS_RFC_FIGURES

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
FIGURES = {**FAISS_FIGURES, **FAISS_RFC_FIGURES}


def drawn(name: str, rows: Tables) -> common.Figure:
    draw = importlib.import_module(f"indexscope.figures.{name}").draw
    figure: common.Figure = draw(
        *(tables.frame(table, rows.get(table, ())) for table in FIGURES[name].tables)
    )
    return figure


@functools.cache
def of_study(name: str) -> common.Figure:
    """The figure of the default configuration, drawn once for all tests that only read it."""
    return drawn(name, tables.study())


def notes_of(figure: common.Figure) -> str:
    return " ".join([figure.conditions, figure.support, *figure.notes])


@functools.cache
def specification_of(name: str) -> dict[str, Any]:
    """Of the figure of the default configuration."""
    return of_study(name).specification()


def datasets(figure: common.Figure) -> list[Row]:
    """All rows that the specification draws."""
    return [row for rows in figure.specification()["datasets"].values() for row in rows]


def of_memory(rows: list[Row]) -> common.Figure:
    return drawn("faiss_memory", {"faiss_memory": rows})


# All figures


@pytest.mark.parametrize("name", FIGURES)
def test_without_any_row_a_figure_says_so(name: str) -> None:
    figure = drawn(name, {})
    assert not figure.is_finding
    assert figure.rows.empty
    assert len(figure.rows.columns) > 4


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_a_page_and_stays_small(name: str) -> None:
    figure = of_study(name)
    svg = files.vl_convert.vegalite_to_svg(specification_of(name))
    assert len(svg) < 320_000  # before paths are rounded
    width = re.search(r'<svg[^>]* width="([\d.]+)"', svg)
    assert width is not None
    assert float(width[1]) <= common.WIDEST + 2 * common.THEME["padding"]
    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    lines = [line for text in texts for line in ([part.text or "" for part in text] or [text.text or ""])]
    shown = " ".join(" ".join(lines).split())
    assert " ".join(figure.title.split()) in shown
    for text in (shown, figure.title, notes_of(figure)):
        assert not {"nan", "inf"} & set(re.split(r"[^a-z]+", text.lower()))


@pytest.mark.parametrize("name", ["faiss_projection", "faiss_rfc"])
def test_the_program_draws_from_tables(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.vl_convert, "vegalite_to_svg", lambda *arguments, **options: "<svg/>")
    directory = tables.write(tmp_path / "tables", tables.study())
    output = tmp_path / "figures" / name
    monkeypatch.setattr(sys, "argv", ["plot.py", name, "--tables", str(directory), "--output", str(output)])
    runpy.run_path(str(SCRIPTS / "plot.py"), run_name="__main__")
    assert {path.suffix for path in output.parent.iterdir()} == {".svg", ".html", ".csv"}


def test_a_load_mode_has_one_colour_in_every_figure() -> None:
    modes = faiss_common.MODE_COLOURS
    assert faiss_alternatives.COLOURS["keep"] == modes["default"]
    assert faiss_alternatives.COLOURS["disable"] == modes["skip"]
    assert faiss_alternatives.COLOURS["share"] == modes["shared"]
    others = [*common.ROLE_COLOURS.values(), *faiss_common.PART_COLOURS.values(), common.ALARM]
    series = pd.DataFrame({"series": [str(number) for number in range(9)]})
    others += common.system_scale(series).range
    assert not set(modes.values()) & set(others)
    for name in ("faiss_memory", "faiss_estimators", "faiss_rfc"):
        told = re.findall(
            r'"domain": \["default", "skip", "shared"\], "range": (\["#[^]]*\])',
            json.dumps(specification_of(name)),
        )
        assert set(told) <= {json.dumps(list(modes.values()))}, name
        assert told, name


# Cells and words


def test_cells_have_medians_and_ranges_of_completed_processes() -> None:
    rows = [
        tables.process("ivf_pq", "l2", 20, "default", repeat, measured_mib=value)
        for repeat, value in enumerate([100.0, 104.0, 90.0], 1)
    ]
    rows.append(tables.process("ivf_pq", "l2", 20, "default", 4, outcome="killed"))
    (cell,) = common.each_row(faiss_common.cells(tables.frame("faiss_memory", rows)))
    assert (cell.runs, cell.measured_mib, cell.low_mib, cell.high_mib) == (3, 100.0, 90.0, 104.0)
    assert cell.error == pytest.approx(cell.formula_mib / 100 - 1)
    assert pd.isna(cell.measured_outcome)


@pytest.mark.parametrize(
    ("mib", "words"),
    [(0, "0 MiB"), (0.125, "0.125 MiB"), (12.34, "12.3 MiB"), (999.6, "1,000 MiB"), (12_800, "12.5 GiB")],
)
def test_sizes(mib: float, words: str) -> None:
    assert faiss_common.size(mib) == words


# Memory


def test_memory_says_the_ratio_that_was_measured() -> None:
    figure = of_study("faiss_memory")
    default = tables.parts("ivf_pq", "l2", 100, "default")["formula_mib"]
    shared = tables.parts("ivf_pq", "l2", 100, "shared")["formula_mib"]
    assert figure.title == (
        f"With a table each, 100 segments of IVFPQ with L2 need {default / shared:.3g} times the memory that they need "
        f"with one shared table: {faiss_common.size(1.011 * default)} beside {faiss_common.size(1.011 * shared)}"
    )
    assert "beyond the spread of repeats" in figure.support
    assert "within 2 % of the measured median in 54 of 54 cells from 20 segments on" in figure.support
    assert "IVF-Flat with L2, IVF-Flat with inner product and IVFPQ with inner product: no table" in notes_of(
        figure
    )
    assert "find the same, to rounding, in all modes" in notes_of(figure)


def test_where_there_is_nothing_to_share_the_panel_says_so() -> None:
    text = json.dumps(of_memory(tables.memory(["ivf_flat"], ["l2"])).specification())
    assert "no table is computed at load: nothing to share" in text
    assert of_memory(tables.memory(["ivf_flat"], ["l2"], [1, 100])).title.startswith(
        "100 segments of IVF-Flat with L2 take"
    )


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        (tables.memory(["ivf_pq"], ["l2"], [1]), "1 segment of IVFPQ with L2 need about the same"),
        (tables.memory(["ivf_pq"], ["l2"], [20], ["default"]), "20 segments of IVFPQ with L2 take 85.7 MiB in default"),
        (tables.memory(["ivf_pq"], ["l2"], [20], ["shared"]), "20 segments of IVFPQ with L2 take"),
        (tables.memory(["ivf_pq"], ["l2"], [20], ["default", "skip"]), "With a table each, 20 segments of IVFPQ"),
        (tables.memory(["ivf_pq"], ["l2"], [20], outcome="failed"), "No process completed; by formula 20 segments"),
    ],
    ids=["one segment", "default only", "shared only", "without shared", "none completed"],
)  # fmt: skip
def test_memory_of_odd_grids(rows: list[Row], title: str, tmp_path: Path) -> None:
    figure = of_memory(rows)
    assert figure.title.startswith(title)
    files.save(figure, tmp_path / "figure")
    assert "<path" in (tmp_path / "figure.svg").read_text()


def test_a_process_that_passed_its_limit_is_drawn_at_the_limit() -> None:
    rows = tables.memory(["ivf_pq"], ["l2"], [20], ["skip", "shared"])
    rows.append(
        tables.process("ivf_pq", "l2", 20, "default", outcome="out_of_memory_host", memory_limit_mib=50)
    )
    figure = of_memory(rows)
    (lost,) = [row for row in datasets(figure) if row.get("what") == "did not complete"]
    assert lost["drawn_mib"] == 50
    assert "1 of 7 processes did not complete (1 out of memory (host)), marked ×." in notes_of(figure)


def test_a_difference_within_the_spread_is_no_saving() -> None:
    rows = [
        tables.process("ivf_pq", "l2", 20, mode, repeat, measured_mib=value)
        for mode, values in (("default", [100.0, 110.0]), ("shared", [105.0, 99.0]))
        for repeat, value in enumerate(values, 1)
    ]
    assert of_memory(rows).title.startswith("20 segments of IVFPQ with L2 need about the same")


def test_other_results_are_said_and_rounding_is_not_called_wrong() -> None:
    rows = tables.memory(["ivf_pq"], ["l2"], [20])
    for row in rows:
        if row["load_mode"] == "skip":
            row["results_digest"] = "other bits"
    wrong, rounding = faiss_common.unequal_results(tables.frame("faiss_memory", rows))
    assert (wrong, rounding) == ([], ["IVFPQ with L2, 20 segments"])
    next(row for row in rows if row["load_mode"] == "shared")["results_digest"] = "other"
    wrong, rounding = faiss_common.unequal_results(tables.frame("faiss_memory", rows))
    assert (wrong, rounding) == (["IVFPQ with L2, 20 segments"], [])
    assert "do not find the same in every process: IVFPQ with L2, 20 segments" in notes_of(of_memory(rows))


def test_the_largest_saving_comes_first() -> None:
    saved = faiss_memory.largest_saving(faiss_common.cells(tables.frame("faiss_memory", tables.memory())))
    assert list(saved["index_type"]) == ["ivf_pq", "hnsw_pq", "hnsw_pq"]
    assert list(saved["saved_mib"]) == pytest.approx([99 * 4 * 1.011] * 3)
    assert saved["separated"].all()


# Projection


def test_the_projection_has_ours_beside_the_published() -> None:
    figure = of_study("faiss_projection")
    assert figure.title.startswith(
        "The formula gives 6 of 6 published numbers of table memory (RFC k-NN#1507: 12.5 GiB before, 128 MiB after); "
    )
    ours = figure.rows[
        (figure.rows["source"] == "here, IVFPQ with L2") & (figure.rows["what"] == "measured here")
    ]
    # A measured table is what a mode holds more than skip.
    assert dict(zip(ours["side"], ours["mib"], strict=True)) == pytest.approx(
        {"before": 404.4, "after": 4.044}
    )
    assert "within 1.1 % of the formula" in figure.support


def test_the_projection_says_what_was_run_and_what_differs() -> None:
    rows = tables.published(measured=True)
    rows[0] |= {"measured_mib": 9_000.0, "verdict": "differs"}
    rows[2]["formula_mib"] = 1.0
    figure = drawn("faiss_projection", {"faiss_published": rows})
    assert figure.title.startswith("The formula gives 5 of 6")
    assert figure.title.endswith("1 of 2 that were run here are reproduced")
    assert figure.support == "No table was measured here."


def test_the_projection_of_ours_alone() -> None:
    figure = drawn("faiss_projection", {"faiss_memory": tables.memory(["ivf_pq"], ["l2"], [20])})
    assert figure.title.startswith("80 MiB of tables, here, IVFPQ with L2")


# Estimators


def test_the_estimator_with_the_least_largest_error_is_named_first() -> None:
    figure = of_study("faiss_estimators")
    assert figure.title.startswith("Formula is off by at most 1.1 %; the largest errors of the others are ")
    assert (
        "Not defined: estimate 3 and estimate 4 for IVF-Flat with L2 and IVF-Flat with inner product."
        in notes_of(figure)
    )
    assert "formula is within 2 % in 54 of 54" in figure.support
    # In the mode that it is made for, an estimate is near.
    assert "in default mode estimate 4 (up to 8.8 %)" in figure.support


def test_an_estimator_can_beat_the_formula() -> None:
    rows = [
        row for row in tables.estimates(tables.memory(["ivf_pq"], ["l2"])) if row["estimator"] != "formula"
    ]
    figure = drawn("faiss_estimators", {"faiss_estimates": rows})
    assert not figure.title.startswith("Formula")
    ranked = faiss_estimators.ranking(tables.frame("faiss_estimates", rows))
    assert figure.title.lower().startswith(ranked["estimator"].iloc[0])
    assert list(ranked["largest"]) == sorted(ranked["largest"])


def test_estimators_without_a_completed_process() -> None:
    rows = tables.estimates(tables.memory(["ivf_pq"], ["l2"], outcome="failed"))
    assert not drawn("faiss_estimators", {"faiss_estimates": rows}).is_finding


def test_estimators_of_few_segments_say_that_none_has_twenty() -> None:
    rows = tables.estimates(tables.memory(["ivf_pq"], ["l2"], [1, 2], ["default"]))
    assert "All cells (none has 20 segments)" in drawn("faiss_estimators", {"faiss_estimates": rows}).support


# Alternatives


def test_alternatives_name_what_saves_and_what_does_not() -> None:
    figure = of_study("faiss_alternatives")
    assert figure.title == (
        "20 segments of IVFPQ with L2 take 84.7 MiB with a table each; disable 4.73 MiB (search 1.40 times as long); "
        "share 8.73 MiB (search 1.01 times as long); serialise with the model and initialise from the model index save "
        "nothing"
    )
    assert (
        "Nothing to choose for IVF-Flat with L2, IVF-Flat with inner product and IVFPQ with inner product"
        in notes_of(figure)
    )
    assert (
        "No vectors can be added any more: disable (HNSWPQ with L2 and HNSWPQ with inner product)."
        in notes_of(figure)
    )


def test_an_alternative_that_is_not_possible_says_why() -> None:
    names = ["keep", "share"]
    rows = [tables.alternative("ivf_pq", "l2", name) for name in names]
    rows.append(
        {key: value for key, value in rows[0].items() if not key.startswith(("measured", "search", "load"))}
        | {
            "alternative": "serialise with the model",
            "possible": False,
            "reason": "no such field in the file",
            "runs": 0,
        }
    )
    figure = drawn("faiss_alternatives", {"faiss_alternatives": rows})
    assert "not possible: no such field in the file" in [row.get("words") for row in datasets(figure)]


def test_alternatives_of_indexes_without_tables_are_none() -> None:
    rows = [tables.alternative("ivf_flat", metric, "share") for metric in tables.METRICS]
    figure = drawn("faiss_alternatives", {"faiss_alternatives": rows})
    assert not figure.is_finding
    assert tables.NO_TABLE in figure.caption


def test_alternatives_with_other_results_are_said() -> None:
    rows = [
        tables.alternative("ivf_pq", "l2", "keep"),
        tables.alternative("ivf_pq", "l2", "share", results_equal=False),
    ]
    assert "Other results than keep’s, beyond rounding: share (IVFPQ with L2)" in notes_of(
        drawn("faiss_alternatives", {"faiss_alternatives": rows})
    )


# Latency


def test_latency_names_the_break_even() -> None:
    figure = of_study("faiss_latency")
    assert figure.title == (
        "The table of 4 MiB a segment makes search faster in 8 of 16 combinations, at best 40 % less time (1,024 "
        "vectors a list, nprobe 1); slower in 8, at worst 25 % more time (4 vectors a list, nprobe 1)"
    )
    assert "from 64 vectors a list on for nprobe 1, nprobe 4, nprobe 16 and nprobe 64" in notes_of(figure)
    assert "HNSWPQ: search with the SDC table takes 1.000 times as long as without" in notes_of(figure)
    assert "with and without the table: equal to rounding in 16 and identical in 1 of 17" in notes_of(figure)


@pytest.mark.parametrize(
    ("ratios", "title", "words"),
    [
        (dict.fromkeys(tables.LIST_LENGTHS, 0.5), "faster in 16 of 16", "at every list length"),
        (dict.fromkeys(tables.LIST_LENGTHS, 1.5), "never makes search faster", "at none"),
        (dict.fromkeys(tables.LIST_LENGTHS, 1.0), "No difference is seen", "nowhere seen to differ"),
        ({4: 0.8, 32: 1.2, 256: 1.3, 1024: 1.4}, "faster in 4 of 16", "at some list lengths, without order"),
    ],
)
def test_latency_without_a_break_even(ratios: dict[int, float], title: str, words: str) -> None:
    rows = tables.break_even(ratios, break_even_length=None)
    figure = drawn("faiss_latency", {"faiss_latency": tables.latency(), "faiss_break_even": rows})
    assert title in figure.title
    assert faiss_latency.break_even_words(tables.frame("faiss_break_even", rows))[0].startswith(words)


def test_latency_of_one_nprobe_and_of_graphs_alone(tmp_path: Path) -> None:
    for chosen in (lambda row: row["nprobe"] == 4, lambda row: row["index_type"] == "hnsw_pq"):
        rows: dict[str, Any] = {
            name: [row for row in tables.study()[name] if chosen(row)]
            for name in ("faiss_latency", "faiss_break_even")
        }
        files.save(drawn("faiss_latency", rows), tmp_path / "figure")


# The RFC's segments


def test_a_mode_that_passed_the_limit_is_drawn_as_such() -> None:
    figure = of_study("faiss_rfc")
    assert figure.title == (
        "The RFC’s 100 segments need 12.7 GiB (by formula) with a table each and ended out of memory; 314 MiB with one "
        "shared table"
    )
    assert (
        "Did not complete: default (out of memory (host): memory_limit_mib: 18000 was passed)."
        in notes_of(figure)
    )
    words = [row["words"] for row in datasets(figure) if row.get("row") == "default" and "words" in row]
    assert words == ["12.7 GiB by formula; not measured: out of memory (host), limit of 17.6 GiB"]
    ideal = tables.parts("ivf_pq", "l2", 100, "shared", tables.RFC)
    ratio = 1.01 * ideal["formula_mib"] / (ideal["formula_mib"] - ideal["containers_mib"])
    assert f"Shared mode holds {ratio:.2f} times one table and the files" in figure.support


def test_all_of_the_rfc_measured_or_one_mode_alone() -> None:
    rows = tables.rfc_memory("completed")
    figure = drawn("faiss_rfc", {"faiss_rfc_memory": rows, "faiss_rfc_estimates": tables.estimates(rows)})
    assert figure.title.startswith("The RFC’s 100 segments need 12.8 GiB with a table each; 314 MiB with")
    alone = drawn("faiss_rfc", {"faiss_rfc_memory": rows[1:2]})
    assert alone.title == "The RFC’s 100 segments need 185 MiB in skip mode"
    nothing = [row for row in tables.rfc_memory() if row["load_mode"] == "default"]
    assert "(by formula) in default mode" in drawn("faiss_rfc", {"faiss_rfc_memory": nothing}).title
