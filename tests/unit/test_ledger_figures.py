"""The figures of the ledger: parts add up, say what is known how, and the titles go with the data."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import tables
from indexscope import schemas
from indexscope.figures import common, files, part_growth, peak_parts
from indexscope.figures.catalog import FIGURES
from ledger_rows import MATRIX_WORDS, colbert, moment, part, ragatouille

FAISS = "ragatouille_faiss_true"
DRAW: dict[str, Callable[..., common.Figure]] = {
    "peak_parts": peak_parts.draw,
    "part_growth": part_growth.draw,
}


Tables = tuple[pd.DataFrame, pd.DataFrame]


def frames(rows: list[tables.Row], runs: list[tables.Row]) -> Tables:
    ledger = pa.Table.from_pylist(rows, schema=schemas.LEDGER).to_pandas()
    return ledger, tables.frame("runs", runs)


def study(sizes: tuple[int, ...] = (200, 400)) -> Tables:
    runs, rows = [], []
    for size in sizes:
        for system, parts in (("colbert", colbert(size)), (FAISS, ragatouille(size))):
            of = tables.run(system, size, "ledger")
            without = [tables.run(system, size, "none", repeat, peak=700.0 + repeat) for repeat in (1, 2, 3)]
            runs += [of, *without]
            rows += moment(of, parts)
    return frames(rows, runs)


def csv_of(figure: common.Figure, directory: Path) -> list[dict[str, str]]:
    """The rows that the figure ships with; it is not rendered, which takes long."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(files.vl_convert, "vegalite_to_svg", lambda *arguments, **options: "<svg/>")
        files.save(figure, directory / "figure")
    with (directory / "figure.csv").open() as file:
        return list(csv.DictReader(file))


def svg_of(figure: common.Figure, directory: Path) -> str:
    files.save(figure, directory / "figure")
    return (directory / "figure.svg").read_text()


# The peak as a stack


def test_the_rows_drawn_are_those_of_the_table_and_add_up(tmp_path: Path) -> None:
    ledger, runs = study()
    rows = csv_of(peak_parts.draw(ledger, runs), tmp_path)
    assert len(rows) == len(ledger)
    assert sorted(float(row["mib"]) for row in rows) == sorted(ledger["mib"])
    for run, of_run in ledger.groupby("run"):
        drawn = [row for row in rows if row["run"] == run]
        assert sum(float(row["mib"]) for row in drawn) == pytest.approx(of_run["tree_rss_mib"].iloc[0])
    worker = [row for row in rows if row["role"] == "worker" and row["documents"] == "400"]
    assert [(row["part"], row["mib"], row["evidence"]) for row in worker] == [
        ("libraries and files", "250", "observed"),
        ("tensors", "200", "observed"),
        ("retained by the allocator", "40", "inferred"),
        ("unexplained", "20", "inferred"),
    ]


def test_the_title_names_what_holds_most_data_of_each_system() -> None:
    figure = peak_parts.draw(*study())
    # ColBERT: 200 of 760 MiB; RAGatouille: 80 of 390; libraries: 500 and 300
    assert figure.title == (
        "At 400 documents libraries and modules are 66 to 77 % of the peak; what holds most data is "
        f"{MATRIX_WORDS} (200 MiB, 26 %) for ColBERT; numpy [60672, 96] float32, compute_faiss_kmeans (80 MiB, 21 %) "
        "for RAGatouille, use_faiss=True"
    )
    assert figure.is_finding
    # Medians without a profiler: 702; ledger: 660, 350, 760, 390
    assert figure.support == (
        "Under the ledger the peak differs by -352 to +58 MiB from the median without a profiler."
    )
    # Unexplained: 20 of 660 and 760, 10 of 350 and 390
    assert figure.notes[0] == "Attributed: 97.0 to 97.4 % of the peak, of it inferred 0 to 6 % of the peak."


def test_the_title_goes_with_the_data() -> None:
    of = tables.run("colbert", 300, "ledger")
    small = peak_parts.draw(*frames(moment(of, colbert(300, matrix=2.0)), [of]))
    large = peak_parts.draw(*frames(moment(of, colbert(300, matrix=900.0)), [of]))
    assert f"{MATRIX_WORDS} (2 MiB, 0 %) for ColBERT" in small.title  # named, however small
    assert f"{MATRIX_WORDS} (900 MiB, 62 %) for ColBERT" in large.title
    assert "libraries and modules are 34 % of the peak" in large.title
    nothing = [part("libraries and files", 100.0), part("unexplained", 1.0)]
    assert (
        "nothing else that holds data has a name" in peak_parts.draw(*frames(moment(of, nothing), [of])).title
    )


def test_the_instruments_own_memory_is_not_what_holds_most_data() -> None:
    of = tables.run("colbert", 300, "ledger")
    own = part("native buffers", 500.0, name="the ledger's own records")
    figure = peak_parts.draw(*frames(moment(of, [*colbert(300), own]), [of]))
    assert MATRIX_WORDS in figure.title
    assert "own records" not in figure.title


def test_a_bar_says_its_peak_its_share_and_its_largest_things(tmp_path: Path) -> None:
    svg = svg_of(peak_parts.draw(*study((400,))), tmp_path)
    for words in (
        "ColBERT: 760 MiB, 97.4 % attributed; 702 MiB without a profiler",
        f"1. {MATRIX_WORDS}: 200 MiB (tensors; worker)",
        "parent 250 MiB",
        "worker 510 MiB",
        "libraries and files 250",
        "1. numpy [60672, 96] float32, compute_faiss_kmeans: 80 MiB (native buffers)",
    ):
        assert words in svg, words
    assert 'stroke-dasharray="3,2"' in svg  # an inferred part


def drawn_segments(figure: common.Figure) -> list[dict[str, Any]]:
    datasets = figure.specification()["datasets"].values()
    return next(rows for rows in datasets if rows and {"stop", "drawn"} <= set(rows[0]))


def test_what_is_drawn_is_as_long_as_the_peak_and_unexplained_is_its_own() -> None:
    of = tables.run("colbert", 300, "ledger")
    segments = drawn_segments(peak_parts.draw(*frames(moment(of, colbert(300)), [of])))
    assert max(each["stop"] for each in segments) == pytest.approx(710.0)
    assert sum(each["stop"] - each["start"] for each in segments) == pytest.approx(710.0)
    kinds = {(each["part"], each["drawn"]) for each in segments}
    assert ("retained by the allocator", "inferred") in kinds
    assert ("unexplained", "observed") in kinds  # grey as it is, not pale
    ordered = sorted(segments, key=lambda each: each["start"])
    assert [each["role"] for each in ordered if each["mib"]] == ["parent"] * 2 + ["worker"] * 4


def test_many_small_rows_are_drawn_as_one_but_stay_in_the_csv(tmp_path: Path) -> None:
    of = tables.run("colbert", 300, "ledger")
    small = [part("imported modules", 0.5, name=f"package {number}") for number in range(200)]
    figure = peak_parts.draw(*frames(moment(of, [*colbert(300), *small]), [of]))
    merged = [each for each in drawn_segments(figure) if each["part"] == "imported modules"]
    assert [(each["words"], each["mib"]) for each in merged] == [("200 smaller ones", 100.0)]
    assert sum(row["part"] == "imported modules" for row in csv_of(figure, tmp_path)) == 200


def test_more_than_there_is_is_drawn_back_and_said(tmp_path: Path) -> None:
    of = tables.run("colbert", 300, "ledger")
    figure = peak_parts.draw(*frames(moment(of, colbert(300, unexplained=-30.0)), [of]))
    # 690 MiB of parts in 660 MiB
    assert "104.5 % of the peak" in figure.notes[0]
    assert "In 1 of 1 the parts add up to more than there is." in figure.notes[0]
    back = next(each for each in drawn_segments(figure) if each["mib"] == -30.0)
    assert (back["start"], back["stop"]) == (pytest.approx(660.0), pytest.approx(690.0))
    assert min(float(row["mib"]) for row in csv_of(figure, tmp_path)) == -30.0
    assert "104.5 % attributed" in (tmp_path / "figure.html").read_text()


def test_too_little_attributed_is_said() -> None:
    of = tables.run("colbert", 300, "ledger")
    figure = peak_parts.draw(*frames(moment(of, colbert(300, unexplained=310.0)), [of]))
    assert figure.notes[0].startswith("Attributed: 69.0 % of the peak")
    assert "Below 95 % in 1 of 1: least for ColBERT at 300 documents." in figure.notes[0]
    assert figure.support == (
        "No run without a profiler of the same system and size says how far the ledger disturbs."
    )


def test_memory_of_a_gpu_is_no_part_of_the_tree(tmp_path: Path) -> None:
    of = tables.run("colbert", 300, "ledger")
    figure = peak_parts.draw(
        *frames(moment(of, [*colbert(300), part("tensors", 64.0, device="cuda:0")]), [of])
    )
    assert sum(float(row["mib"]) for row in csv_of(figure, tmp_path)) == pytest.approx(710.0)
    assert "Beside what is drawn, 64 MiB were alive on a GPU at that moment." in figure.notes


# Growth


def test_growth_is_per_1000_documents_and_a_power() -> None:
    assert part_growth.growth([200, 400], [100.0, 200.0]) == (pytest.approx(500.0), pytest.approx(1.0))
    assert part_growth.growth([400, 100, 200], [160.0, 10.0, 40.0]) == (
        pytest.approx(500.0),
        pytest.approx(2.0),
    )
    assert part_growth.growth([200, 400], [50.0, 50.0]) == (0.0, pytest.approx(0.0, abs=1e-9))
    per_1000, exponent = part_growth.growth([200, 400], [0.5, 20.0])
    assert per_1000 == pytest.approx(97.5)
    assert math.isnan(exponent)
    assert all(math.isnan(value) for value in part_growth.growth([200], [100.0]))


def test_growth_words() -> None:
    assert part_growth.growth_words(500.0, 1.0) == "+500 MiB per 1,000 (n^1.00)"
    assert part_growth.growth_words(-2.5, math.nan) == "-2.5 MiB per 1,000"
    assert part_growth.growth_words(0.0, 0.0) == "no growth"


def test_each_part_grows_as_the_table_says(tmp_path: Path) -> None:
    figure = part_growth.draw(*study())
    assert figure.title == (
        "From 200 to 400 documents what grows most is tensors, by 500 MiB per 1,000 documents for ColBERT; "
        "native buffers, by 200 MiB per 1,000 documents for RAGatouille, use_faiss=True"
    )
    assert figure.support.startswith("That is 100 % of what the growing parts add")
    rows = csv_of(figure, tmp_path)
    told = {(row["series"], row["documents"], row["part"]): row for row in rows}
    tensors = told["ColBERT", "400", "tensors"]
    assert (tensors["mib"], tensors["mib_per_1000_documents"]) == ("200", "500")
    assert float(tensors["exponent"]) == pytest.approx(1.0)
    libraries = told["ColBERT", "200", "libraries and files"]  # of both processes
    assert (libraries["mib"], libraries["mib_per_1000_documents"]) == ("500", "0")
    assert told["ColBERT", "200", "retained by the allocator"]["inferred_mib"] == "40"
    svg = svg_of(figure, tmp_path)
    assert "tensors 200, +500 MiB per 1,000 (n^1.00)" in svg
    assert "libraries and files 500, no growth" in svg


def test_one_size_says_that_growth_cannot_be_told(tmp_path: Path) -> None:
    figure = part_growth.draw(*study((200,)))
    assert figure.title == (
        "Only 200 documents were measured, so growth cannot be told; the largest part is libraries and files (300 to "
        "500 MiB) for ColBERT; and RAGatouille, use_faiss=True"
    )
    assert not figure.is_finding
    assert {row["exponent"] for row in csv_of(figure, tmp_path)} == {""}
    assert "part of the peak (MiB)" in (tmp_path / "figure.html").read_text()


def test_the_highest_point_of_each_phase_is_a_stack(tmp_path: Path) -> None:
    of = tables.run("colbert", 300, "ledger")
    rows = moment(of, colbert(300))
    rows += moment(of, colbert(300, matrix=7.0), "planning") + moment(of, colbert(300), "encoding")
    figure = part_growth.draw(*frames(rows, [of]))
    told = {(row["moment"], row["part"]): float(row["mib"]) for row in csv_of(figure, tmp_path)}
    assert told["planning", "tensors"] == 7.0
    assert told["encoding", "tensors"] == told["tree peak", "tensors"] == 150.0
    svg = svg_of(figure, tmp_path)
    for words in ("planning", "encoding", ">567<", ">710<"):
        assert words in svg


def test_a_negative_unexplained_stays_negative(tmp_path: Path) -> None:
    of = tables.run("colbert", 300, "ledger")
    figure = part_growth.draw(*frames(moment(of, colbert(300, unexplained=-30.0)), [of]))
    told = {row["part"]: float(row["mib"]) for row in csv_of(figure, tmp_path)}
    assert told["unexplained"] == -30.0
    assert sum(told.values()) == pytest.approx(660.0)


# Both


@pytest.mark.parametrize("name", DRAW)
def test_without_a_ledger_the_figure_says_how_to_get_one(name: str, tmp_path: Path) -> None:
    ledger, runs = frames([], [tables.run("colbert", 300)])
    figure = DRAW[name](ledger, runs)
    assert csv_of(figure, tmp_path) == []
    assert not figure.is_finding
    assert "--configfile config/explained.yaml" in (tmp_path / "figure.html").read_text()
    DRAW[name](*frames([], []))


@pytest.mark.parametrize("name", DRAW)
def test_a_run_that_did_not_complete_is_said(name: str) -> None:
    ledger, runs = study()
    ended = tables.run("colbert", 900, "ledger", outcome="out_of_memory_host")
    figure = DRAW[name](ledger, pd.concat([runs, tables.frame("runs", [ended])], ignore_index=True))
    assert any("1 of 5 runs did not complete (1 out of memory (host))" in note for note in figure.notes)


@pytest.mark.parametrize("name", DRAW)
def test_the_catalog_has_the_figure(name: str) -> None:
    assert FIGURES[name].tables == ["ledger", "runs"]


def test_every_part_of_the_ledger_has_a_colour_of_its_own() -> None:
    from indexscope.analysis import ledger

    assert set(ledger.PARTS) == set(peak_parts.PARTS)
    assert len(set(peak_parts.PARTS.values())) == len(peak_parts.PARTS)
    taken = {*common.ROLE_COLOURS.values(), *common._SYSTEM_COLOURS}
    assert not taken & set(peak_parts.PARTS.values())
