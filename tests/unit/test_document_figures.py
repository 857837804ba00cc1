"""Figures of document_access say what their rows say, whatever the rows."""

from __future__ import annotations

import functools
import importlib
import json
import re
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import document_rows
import pandas as pd
import pytest
import vl_convert
from document_rows import Row
from indexscope.figures import (
    common,
    document_common,
    document_memory,
    document_published,
    document_step,
    document_throughput,
)
from indexscope.figures.catalog import DOCUMENT_FIGURES, DOCUMENT_SCALE_FIGURES

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
FIGURES = {**DOCUMENT_FIGURES, **DOCUMENT_SCALE_FIGURES}
Tables = Mapping[str, list[Row]]


def drawn(name: str, tables: Tables) -> common.Figure:
    draw = importlib.import_module(f"indexscope.figures.{name}").draw
    figure: common.Figure = draw(
        *(document_rows.frame(table, tables.get(table, ())) for table in FIGURES[name].tables)
    )
    return figure


@functools.cache
def study() -> Tables:
    return document_rows.everything()


@functools.cache
def of_study(name: str) -> common.Figure:
    return drawn(name, study())


def access(*rows: Row) -> pd.DataFrame:
    return document_rows.frame("document_access", rows)


def svg_of(figure: common.Figure) -> str:
    specification = figure.specification()
    json.dumps(specification, allow_nan=False)  # as the page needs it
    return vl_convert.vegalite_to_svg(specification)


@functools.cache
def svg_of_study(name: str) -> str:
    return svg_of(of_study(name))


def texts_of(svg: str) -> list[str]:
    """The lines of text in the SVG."""
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [line for text in found for line in ([part.text or "" for part in text] or [text.text or ""])]


def words_of(figure: common.Figure) -> str:
    return " ".join([figure.title, figure.conditions, figure.support, *figure.notes])


def one_loader() -> Tables:
    """One loader, one process, no repeats."""
    row = document_rows.training("arrow")
    return {
        "document_access": [row],
        "document_access_steps": document_rows.steps(row),
        "document_access_processes": document_rows.processes(row),
        "document_fetches": [document_rows.fetch("arrow")],
        "document_published": [document_rows.published(ours=None)],
        "document_scale": [row for row in document_rows.scale(rounds=1) if row["way"] == "offset_index"],
    }


def nothing_completed() -> Tables:
    rows = [
        document_rows.training(loader, "distributed", 2, outcome=outcome)
        for loader, outcome in (("in_memory", "out_of_memory_host"), ("arrow", "failed"))
    ]
    return {
        "document_access": rows,
        "document_fetches": [document_rows.fetch("arrow", outcome="failed")],
        "document_published": [document_rows.published(ours=None)],
        "document_scale": [row for row in document_rows.scale() if row["step"] == "build"],
    }


# All figures


@pytest.mark.parametrize("name", FIGURES)
def test_without_any_row_a_figure_says_so(name: str) -> None:
    figure = drawn(name, {})
    assert not figure.is_finding
    assert figure.rows.empty
    assert len(figure.rows.columns) > 4
    svg_of(figure)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("made", [study, one_loader, nothing_completed])
def test_a_figure_fits_a_page_and_says_no_nan(made: Callable[[], Tables], name: str) -> None:
    figure = of_study(name) if made is study else drawn(name, made())
    svg = svg_of_study(name) if made is study else svg_of(figure)
    shown = " ".join(texts_of(svg))
    assert len(svg) < 500_000
    width = re.search(r'<svg[^>]* width="([\d.]+)"', svg)
    assert width is not None
    assert float(width[1]) <= common.WIDEST + 2 * common.THEME["padding"]
    assert " ".join(figure.title.split()) in " ".join(shown.split())
    assert not {"nan", "none", "inf"} & set(re.split(r"[^a-z]+", (words_of(figure) + shown).lower()))


def test_the_program_draws_from_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "document_memory"
    document_rows.write(tmp_path / "tables", study())
    arguments = [name, "--tables", tmp_path / "tables", "--output", tmp_path / "figures" / name]
    monkeypatch.setattr(sys, "argv", ["plot.py", *map(str, arguments)])
    program = runpy.run_path(str(SCRIPTS / "plot.py"), run_name="__main__")
    assert set(FIGURES) <= set(program["ALL_FIGURES"])
    made = pd.read_csv(tmp_path / "figures" / f"{name}.csv")
    assert len(made) == len(of_study(name).rows)


def test_a_loader_has_one_colour_whichever_loaders_there_are() -> None:
    def colours(*present: str) -> dict[str, str]:
        scale = document_common.loader_scale(present).to_dict()
        return dict(zip(scale["domain"], scale["range"], strict=True))

    assert len(set(colours().values())) == len(document_common.LOADERS)
    assert colours("Arrow")["Arrow"] == colours()["Arrow"] == colours("offset index", "Arrow")["Arrow"]
    assert not set(colours().values()) & set(document_common.PARTS.values())


def test_situations_say_what_is_unlike_a_plain_training() -> None:
    rows = access(
        document_rows.training("arrow", "distributed", 2, workers=1, precision="bf16", cache="cold"),
        document_rows.training("in_memory", documents=9000, experiment="limited"),
    )
    usual, limited = common.each_row(rows)
    assert document_common.situation_words(usual, 2000) == (
        "DistributedDataParallel on 2 ranks, 1 worker a rank, bf16, cold page cache"
    )
    assert (
        document_common.situation_words(limited, 2000) == "one process, 9,000 documents, under a memory limit"
    )


# Throughput


def test_the_title_names_slowest_and_fastest_where_the_world_is_largest() -> None:
    figure = of_study("document_throughput")
    # 16 samples a step of 0.0829 s and 0.0791 s, the second repeat 1 % slower.
    assert figure.title == (
        "DistributedDataParallel on 2 ranks: from ir_datasets (193 samples per second) to in memory (202), "
        "the loader changes throughput by 4.8 %"
    )
    assert figure.support == "The difference of these two is beyond the spread of repeats (2 and 2 runs)."
    assert (
        "4 of 53 runs did not complete (2 out of memory (host), 2 unsupported), told in words."
        in figure.notes
    )
    assert any("1 worker 1.08; 2 workers 1.08; bf16 0.91" in note for note in figure.notes)


def test_differences_within_the_spread_are_said_to_be() -> None:
    rows = [
        document_rows.training(loader, repeat=repeat, samples_per_second=rate)
        for loader, rates in (("arrow", (100.0, 120.0)), ("in_memory", (115.0, 125.0)))
        for repeat, rate in enumerate(rates, 1)
    ]
    figure = drawn("document_throughput", {"document_access": rows})
    # Made-up fetches take 1.4 % of a step more with one than with the other.
    assert figure.title == (
        "One process: 110 to 120 samples per second, but the loader is not why: reading differs by 1.4 % of a step"
    )
    explained = drawn(
        "document_throughput",
        {"document_access": [row | {"fetch_seconds": 0.1 * row["fetch_seconds"] + 0.01 * (row["loader"] == "arrow")}
                             for row in rows]},
    )  # fmt: skip
    assert explained.title.startswith("One process: from Arrow (110 samples per second) to in memory (120)")
    assert figure.support == "The difference of these two is within the spread of repeats (2 and 2 runs)."


def test_one_loader_without_repeats_is_no_comparison() -> None:
    figure = drawn("document_throughput", one_loader())
    assert figure.title == "Arrow: 112 samples per second (one process)"
    assert "Several loaders in one situation were not measured." in figure.notes
    assert figure.support == ""
    two = [document_rows.training(loader) for loader in ("arrow", "in_memory")]
    support = drawn("document_throughput", {"document_access": two}).support
    assert support == "The difference of these two is not backed by repeats (1 and 1 runs)."


def test_runs_that_did_not_complete_are_drawn_in_words() -> None:
    texts = texts_of(svg_of_study("document_throughput"))
    assert sum(text.startswith("× out of memory (host)") for text in texts) == 2
    assert sum(text.startswith("unsupported: made-up reason") for text in texts) == 2
    figure = drawn("document_throughput", nothing_completed())
    assert figure.title == "No training completed (1 out of memory (host), 1 failed)"
    assert not figure.is_finding
    some = [document_rows.training("arrow"), document_rows.training("arrow", repeat=2, outcome="failed")]
    assert any(
        "1 failed" in text
        for text in texts_of(svg_of(drawn("document_throughput", {"document_access": some})))
    )


# Steps


def test_the_parts_of_a_step_add_up_to_it() -> None:
    rows = access(document_rows.training("ir_datasets"), document_rows.training("offset_index", workers=2))
    parts = document_step.mean_parts(rows.assign(row=rows["loader"], situation="", series=rows["loader"]))
    milliseconds = parts.pivot(index="row", columns="part", values="milliseconds")
    inside, beside = milliseconds.loc["ir_datasets"], milliseconds.loc["offset_index"]
    assert inside.to_dict() == pytest.approx(
        {"fetch": 4.0, "tokenise": 4.0, "wait": 0.0, "host to device": 0.5, "forward": 20.0, "backward": 40.0,
         "communication": 0.0, "optimiser": 5.0, "other": 1.0}
    )  # fmt: skip
    # What workers do beside the step is no part of it.
    assert (beside["fetch"], beside["tokenise"], beside["wait"]) == pytest.approx((0.0, 0.0, 0.2))
    assert beside.sum() == pytest.approx(66.7)
    assert parts.groupby("row")["share"].sum().tolist() == pytest.approx([1.0, 1.0])


def test_the_step_figure_says_how_much_of_a_step_fetching_takes() -> None:
    figure = of_study("document_step")
    assert figure.title.startswith("Fetching takes 0.25 to 5.4 % of a plain step, most with ir_datasets (")
    words = words_of(figure)
    assert "Communication: DistributedDataParallel at world size 2" in words
    assert "ir_datasets 4.02 ms → 40.2 ms" in words
    totals = figure.rows.groupby(["situation", "loader"])["milliseconds"].sum()
    assert totals[("one process", "in_memory")] == pytest.approx(70.7 * 1.005)  # of the two repeats


def test_single_steps_leave_out_the_warm_up() -> None:
    figure = of_study("document_step")
    spreads = [
        row
        for rows in figure.specification()["datasets"].values()
        for row in rows
        if row.keys() >= {"p10", "p90"}
    ]
    assert spreads
    plain = next(row for row in spreads if row["row"].endswith("in memory"))
    # Steps of the warm-up take twice as long, and there are few of them: the median alone would not show them.
    assert plain["p90"] == pytest.approx(70.7)


# Memory


def test_memory_names_least_and_most_and_the_copies_of_each_rank() -> None:
    figure = of_study("document_memory")
    assert figure.title == (
        "DistributedDataParallel on 2 ranks: all processes occupy 658 MiB with offset index and 850 MiB with in memory"
    )
    assert any("in memory 400 MiB, offset index 304 MiB" in note for note in figure.notes)
    kinds = figure.rows[figure.rows["loader"] == "shared_memory"].dropna(subset=["tree_pss_mib"])
    sums = kinds[["anon_mib", "file_mib", "shmem_mib"]].sum(axis=1)
    assert sums.tolist() == pytest.approx(kinds["tree_pss_mib"].tolist())


def test_a_run_under_a_limit_is_said_to_end_as_predicted_or_not() -> None:
    rows = document_rows.limited()
    sentence = document_memory.at_the_limit(access(*rows))
    assert sentence == (
        "Under 3,350 MiB the in-memory loader runs out of memory from 3 ranks on, as predicted; of those that "
        "completed the prediction is off by 2.0 % at most."
    )
    rows[1]["predicted_mib"] = 9999.0
    assert "not as predicted at 2 ranks" in document_memory.at_the_limit(access(*rows))
    assert document_memory.at_the_limit(access(document_rows.training())) == ""
    figure = drawn("document_memory", {"document_access": document_rows.limited()})
    assert figure.title.startswith("Under 3,350 MiB the in-memory loader runs out of memory")
    assert texts_of(svg_of(figure)).count("out of memory (host)") == 2


def test_memory_without_kinds_of_pages_is_drawn_as_not_told_apart() -> None:
    tables = {"document_access": [document_rows.training("arrow")]}
    assert "not told apart" in texts_of(svg_of(drawn("document_memory", tables)))


# Fetches


def test_fetches_compare_at_random_and_warm_first() -> None:
    figure = of_study("document_fetches")
    # In memory: 0.0002 s / 10 × 0.9 = 18 µs, repeats 5 % apart.
    assert (
        figure.title
        == "A fetch takes from 18.9 µs (in memory) to 378 µs (ir_datasets): at random, warm page cache"
    )
    assert "beyond the spread of repeats (3 and 3 processes)" in figure.support
    assert any("offset index 10×" in note and "cold over warm" in note for note in figure.notes)
    assert "Of the files of a cold start at most 0 % were still in the page cache." in figure.notes


def test_a_cold_start_that_was_not_cold_is_said() -> None:
    rows = [document_rows.fetch(cache="cold", cached_fraction_start=0.4)]
    figure = drawn("document_fetches", {"document_fetches": rows})
    assert "at most 40 % were still in the page cache" in words_of(figure)
    assert "cold page cache" in figure.title


def test_fetching_that_failed_is_drawn_in_words() -> None:
    rows = [document_rows.fetch("arrow"), document_rows.fetch("in_memory", outcome="out_of_memory_host")]
    figure = drawn("document_fetches", {"document_fetches": rows})
    assert "× out of memory (host)" in texts_of(svg_of(figure))
    assert "1 of 2 runs did not complete" in words_of(figure)


# Published


def test_the_published_timer_overstates_by_what_is_waited_for() -> None:
    rows = access(document_rows.training("ir_datasets"), document_rows.training("in_memory"))
    flaw = document_published.timed(rows).set_index("loader")
    # A step of 74.5 ms without the 8 ms of the wait, and one of 70.7 ms without 4.2.
    assert flaw["overstated_percent"].to_dict() == pytest.approx(
        {"ir_datasets": 100 * 8 / 66.5, "in_memory": 100 * 4.2 / 66.5}
    )
    assert document_published.hidden(flaw.reset_index()) == (
        "Loaders differ most in one process: by 5.4 % in whole steps, by 0 % by the published timer."
    )


def test_trainings_with_workers_do_not_show_the_flaw() -> None:
    assert document_published.timed(access(document_rows.training(workers=2))).empty


def test_published_beside_ours_says_out_of_memory_and_the_verdicts() -> None:
    figure = of_study("document_published")
    assert "most with ir_datasets (one process, cold page cache)" in figure.title
    assert "reproduced 2, differs 2, not testable here 11." in words_of(figure)
    assert texts_of(svg_of(figure)).count("out of memory") == 2
    theirs = drawn("document_published", {"document_published": [document_rows.published(ours=None)]})
    assert theirs.title == "Published throughput and memory; nothing of it was measured here"
    assert "not measured" in texts_of(svg_of(theirs))


# Scale


def test_scale_divides_by_the_bare_read_of_the_same_round() -> None:
    rows: list[dict[str, Any]] = document_rows.scale(rounds=3)
    for row in rows:
        if row["step"] == "fetch" and row["round"] == 2:
            row["p50_us"] *= 10  # a slow round is slow for all
    figure = drawn("document_scale", {"document_scale": rows})
    ratios = figure.rows[figure.rows["way"] == "offset_index"]["ratio_to_pread"].dropna()
    assert ratios.tolist() == pytest.approx([2.5, 2.5, 2.5])
    assert "offset index 5.3 µs, 2.5 times a bare pread" in figure.title
    assert "is built in 20.0 s with at most 150 MiB of memory; it has 14.0 bytes a document." in words_of(
        figure
    )


def test_fewer_documents_are_said() -> None:
    rows = document_rows.scale()
    for row in rows:
        if row["way"] == "ir_datasets":
            row["documents"] = 1_000_000
    rows.append(rows[0] | {"documents": 1_000_000, "peak_rss_mib": 149.0})
    figure = drawn("document_scale", {"document_scale": rows})
    assert "Fewer documents: ir_datasets over 1,000,000 documents." in figure.notes
    assert "(149 MiB for 1,000,000 documents)" in words_of(figure)
    assert "ir_datasets (1,000,000 documents)" in texts_of(svg_of(figure))


def test_words_of_rates_and_durations() -> None:
    assert [document_throughput.rate(value) for value in (1234.4, 99.94, 3.14159)] == [
        "1,234",
        "99.9",
        "3.14",
    ]
    assert [document_common.duration(value) for value in (2.5, 0.0125, 3.2e-6)] == [
        "2.5 s",
        "12.5 ms",
        "3.2 µs",
    ]
    assert document_common.percent_range([2.04, 13.6]) == "2 to 14 %"


def test_without_a_plain_training_loaders_are_compared_where_they_were_run() -> None:
    rows = [document_rows.training(loader, cache="cold") for loader in ("arrow", "in_memory")]
    title = drawn("document_throughput", {"document_access": rows}).title
    assert title.startswith("One process, cold page cache: from Arrow")


def test_own_predictions_are_no_published_numbers() -> None:
    own = document_rows.published(
        source="this project", quantity="outcome", published=None, ours=3000.0, ours_out_of_memory=True,
        world_size=3, by_formula=3100.0, verdict="reproduced", detail="predicted 3,100 MiB under a limit of 2,000 MiB",
    )  # fmt: skip
    figure = drawn("document_published", {"document_published": [document_rows.published(), own]})
    words = words_of(figure)
    assert "Of 1 published numbers and claims: not testable here 1." in words
    assert "Of 1 predictions of this project’s memory model: reproduced 1." in words
    assert not any(text.startswith("out of memory") for text in texts_of(svg_of(figure)))
    theirs = document_rows.published(
        quantity="outcome", published=None, published_out_of_memory=True, ours=None, ours_out_of_memory=True,
        world_size=4, detail="ours ran under a limit that was set for it",
    )  # fmt: skip
    texts = texts_of(
        svg_of(drawn("document_published", {"document_published": [document_rows.published(), theirs]}))
    )
    assert {"out of memory", "out of memory, under a limit"} <= set(texts)
