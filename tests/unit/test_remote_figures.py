"""Figures of remote_indexing say what their rows say, whatever the rows."""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import remote_rows
import vl_convert
from indexscope.figures import (
    common,
    remote_common,
    remote_costs,
    remote_gpu_memory,
    remote_pages,
    remote_searches,
)
from indexscope.figures.catalog import REMOTE_FIGURES
from remote_rows import Row

Tables = Mapping[str, list[Row]]


def drawn(name: str, made: Tables) -> common.Figure:
    draw = importlib.import_module(f"indexscope.figures.{name}").draw
    tables = (remote_rows.frame(table, made.get(table, ())) for table in REMOTE_FIGURES[name].tables)
    figure: common.Figure = draw(*tables)
    return figure


def svg_of(figure: common.Figure) -> str:
    specification = figure.specification()
    json.dumps(specification, allow_nan=False)  # as the page needs it
    return vl_convert.vegalite_to_svg(specification)


@functools.cache
def of_study(name: str) -> tuple[common.Figure, str]:
    figure = drawn(name, remote_rows.everything())
    return figure, svg_of(figure)


def texts_of(svg: str) -> list[str]:
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return [line for text in found for line in ([part.text or "" for part in text] or [text.text or ""])]


def words_of(figure: common.Figure) -> str:
    return " ".join([figure.title, figure.conditions, figure.support, *figure.notes])


def gpus(*rows: list[Row]) -> pd.DataFrame:
    return remote_rows.frame("remote_gpus", [row for each in rows for row in each])


def costs(*rows: Row) -> pd.DataFrame:
    return remote_rows.frame("remote_costs", rows)


def bare() -> Tables:
    """What a run leaves that failed, was searched in vain, and of which no price or throughput is known."""
    return {
        "remote_pages": [remote_rows.page("only.pdf", None, "unreadable")],
        "remote_gpus": remote_rows.gpus(minutes=None, chosen=None, fix=None, needs={"encoding": 1e6}),
        "remote_costs": [
            remote_rows.cost(moment="actual", usd=None, work_seconds=None, actual_by_estimated=None)
        ],
        "remote_searches": [remote_rows.search(outcome="failed")],
    }


# All figures


@pytest.mark.parametrize("name", REMOTE_FIGURES)
def test_without_any_row_a_figure_says_so(name: str) -> None:
    figure = drawn(name, {})
    assert not figure.is_finding
    assert figure.rows.empty
    assert len(figure.rows.columns) > 4
    svg_of(figure)


@pytest.mark.parametrize("name", REMOTE_FIGURES)
@pytest.mark.parametrize("made", [remote_rows.everything, remote_rows.on_gpu, bare])
def test_a_figure_fits_a_page_and_says_no_nan(made: Callable[[], Tables], name: str) -> None:
    figure = drawn(name, made())
    svg = svg_of(figure)
    shown = " ".join(texts_of(svg))
    width = re.search(r'<svg[^>]* width="([\d.]+)"', svg)
    assert width is not None
    assert float(width[1]) <= common.WIDEST + 2 * common.THEME["padding"]
    assert " ".join(figure.title.split()) in " ".join(shown.split())
    assert not {"nan", "none", "inf"} & set(re.split(r"[^a-z]+", (words_of(figure) + shown).lower()))


# GPU memory


def test_the_smallest_gpu_that_fits_is_named_with_the_phase_that_decides() -> None:
    figure, svg = of_study("remote_gpu_memory")
    assert figure.title == (
        "Small (16,000 MiB) is the smallest GPU that fits: ColBERT needs 2,500 MiB in training, with the margin"
    )
    assert figure.support == "Predicted only: nothing ran on a GPU here."
    assert "2,000 MiB, 2,500 MiB with the margin" in texts_of(svg)
    assert any("Beyond the right edge: Huge (80,000 MiB)" in note for note in figure.notes)


def test_the_recipe_is_told_with_the_phase_that_runs_out_and_the_setting_that_fixes_it() -> None:
    frame = gpus(remote_rows.recipe())
    words = remote_gpu_memory.recipe_words(frame)
    assert words == (
        "The published recipe needs 25,000 MiB in training, with the margin: on Small and Middle "
        "(16,000 to 24,000 MiB) it runs out first in training, which use_faiss: true avoids (then 9,000 MiB)"
    )
    assert remote_gpu_memory.recipe_fit(frame) == (
        "The smallest GPU that holds the recipe as published is Large (40,000 MiB)."
    )
    nothing_helps = gpus(remote_rows.gpus(remote_rows.RECIPE, needs={"encoding": 20_000.0}, fix=None))
    assert "and no one setting is enough" in remote_gpu_memory.recipe_words(nothing_helps)


def test_where_the_recipe_fits_everywhere_its_out_of_memory_is_not_explained() -> None:
    words = remote_gpu_memory.recipe_words(gpus(remote_rows.gpus(remote_rows.RECIPE)))
    assert words.endswith("Small (16,000 MiB) too, so the memory model does not explain why it ran out")
    assert remote_gpu_memory.recipe_fit(gpus(remote_rows.gpus(remote_rows.RECIPE))) == ""


def test_a_recipe_with_little_and_with_much_text_is_told_as_both() -> None:
    little = remote_rows.gpus(remote_rows.RECIPE, "recipe_500", label="500 tokens")
    much = [row | {"label": "800 tokens"} for row in remote_rows.recipe()]
    words = remote_gpu_memory.recipe_words(gpus(much, little))
    assert words.startswith(
        "The published recipe needs 2,500 MiB (500 tokens) to 25,000 MiB (800 tokens) in training, "
        "with the margin; with the most text, on Small and Middle"
    )
    other = [row | {"phase": "encoding"} for row in little]
    assert "2,500 MiB in encoding (500 tokens) to 25,000 MiB in training (800 tokens)" in (
        remote_gpu_memory.recipe_words(gpus(much, other))
    )


def test_what_was_measured_on_a_gpu_stands_beside_the_prediction() -> None:
    figure = drawn("remote_gpu_memory", remote_rows.on_gpu())
    # Predicted 2,000 MiB, measured 1,900.
    assert "predicted peaks are 1.05 times the measured (1 run)" in figure.support
    assert "at most 1,900 MiB reserved" in figure.support
    kinds = figure.rows.groupby("kind")["mib"].max().to_dict()
    assert kinds[remote_gpu_memory.RESERVED] == 1900.0
    assert kinds[remote_gpu_memory.TENSORS] == 1500.0
    assert kinds[remote_gpu_memory.MARGIN] == 2500.0


def test_the_larger_system_decides_and_too_large_a_one_fits_nowhere() -> None:
    large = remote_rows.gpus(system=remote_rows.COLBERT, needs={"encoding": 30_000.0})
    words = remote_gpu_memory.smallest_words(gpus(remote_rows.gpus(), large))
    assert words.startswith(
        "Large (40,000 MiB) is the smallest GPU that fits: ColBERT needs 37,500 MiB in encoding"
    )
    huge = remote_rows.gpus(needs={"encoding": 90_000.0})
    assert remote_gpu_memory.smallest_words(gpus(huge)).startswith("No GPU listed is large enough")


# Costs


def test_actual_cost_stands_beside_its_estimate() -> None:
    figure, svg = of_study("remote_costs")
    assert figure.title.startswith(
        "ColBERT cost $0.03 on 2 cores, 2 GiB (estimated: $0.02); RAGatouille cost $0.03"
    )
    assert figure.support == (
        "The work took 1.50 times the estimated seconds. The estimate has 60 s more, of a container's start."
    )
    # The recipe with much text, on Small and Middle; with less it fits.
    assert sum("× not all fit" in text for text in texts_of(svg)) == 2
    alone = drawn("remote_costs", {"remote_gpus": remote_rows.recipe()})
    assert texts_of(svg_of(alone)).count("× does not fit") == 2
    assert "$0.02 → $0.03" in texts_of(svg)


def test_the_cheapest_gpu_need_not_be_the_smallest() -> None:
    # 2 minutes at $0.6 an hour, 1 minute at $0.9 an hour.
    assert remote_costs.cheapest_words(gpus(remote_rows.gpus())) == (
        "The cheapest GPU that fits is not the smallest: estimated for RAGatouille, Middle, 60 s and $0.015; the "
        "smallest that fits, Small, 2 minutes and $0.02"
    )
    only = [row | {"minutes": 1.0, "usd": row["usd_per_hour"] / 60} for row in remote_rows.gpus()]
    assert remote_costs.cheapest_words(gpus(only)).startswith(
        "The smallest GPU that fits is also the cheapest"
    )


def test_an_estimate_for_another_machine_says_which() -> None:
    both = costs(remote_rows.cost(machine="Small"), remote_rows.cost(moment="actual"))
    assert remote_costs.actual_words(both) == (
        "RAGatouille cost $0.03 on 2 cores, 2 GiB (estimated: $0.02 on Small)"
    )
    assert remote_costs.actual_words(costs(remote_rows.cost())) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "$0.00"), (12.3, "$12.30"), (0.1, "$0.10"), (0.0042, "$0.0042"), (0.00000123, "$0.0000012")],
)
def test_dollars(value: float, words: str) -> None:
    assert remote_common.usd(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0123, "12.3 ms"), (1.234, "1.23 s"), (180.0, "3 minutes"), (7560.0, "2.1 hours")],
)
def test_durations(seconds: float, words: str) -> None:
    assert remote_common.duration(seconds) == words


# Searches


def test_latency_is_told_with_the_spread_of_processes() -> None:
    figure, svg = of_study("remote_searches")
    assert figure.title == "A query takes 10.2 ms (ColBERT) to 20.4 ms (RAGatouille)"
    assert (
        figure.support == "The difference of these two is beyond the spread of repeats (3 and 3 processes)."
    )
    assert any("ColBERT 196 (98 one at a time)" in note for note in figure.notes)
    assert (
        "All processes of a system found the same passages in the same order, single or in batches."
        in figure.notes
    )
    assert "10.2 ms, p99 20.4 ms" in texts_of(svg)
    assert len(figure.rows) == 12


def test_results_that_differ_are_said() -> None:
    rows = [remote_rows.search(), remote_rows.search(mode="batch", results_digest="another")]
    notes = drawn("remote_searches", {"remote_searches": rows}).notes
    assert "Repeats or modes did not find the same passages in the same order: RAGatouille." in notes
    one = drawn("remote_searches", {"remote_searches": rows[:1]})
    assert not any("same passages" in note for note in one.notes)
    assert one.title == "A query takes 20 ms in the middle (RAGatouille)"
    assert one.support == ""


def test_a_search_that_failed_is_drawn_in_words() -> None:
    rows = [remote_rows.search(), remote_rows.search(remote_rows.COLBERT, outcome="failed")]
    figure = drawn("remote_searches", {"remote_searches": rows})
    assert "× failed" in texts_of(svg_of(figure))
    assert any("1 of 2 runs did not complete" in note for note in figure.notes)


def test_without_judgements_nothing_is_said_of_them() -> None:
    known = remote_rows.frame("remote_searches", [remote_rows.search(found_in_k=None)])
    assert remote_searches.found_words(remote_common.with_series(known)) == ""


# Pages


def test_pages_are_counted_by_outcome_and_files_that_were_not_read_stand_first() -> None:
    figure, svg = of_study("remote_pages")
    assert figure.title == "16 of 22 pages have text; 2 of 7 files could not be read (1 encrypted, 1 damaged)"
    assert "Pages that are not indexed: 2 empty, 3 image only, 1 timed out." in figure.notes
    assert common.unique(figure.rows["file"])[:2] == ["locked.pdf", "torn.pdf"]
    assert figure.rows["pages"].sum() == 22
    shown = texts_of(svg)
    assert "× encrypted: made-up reason of encrypted" in shown
    assert "10 with text, 1 empty, 1 image only" in shown


def test_many_files_are_cut_and_said_to_be() -> None:
    rows: list[dict[str, Any]] = [remote_rows.page(f"{number:03d}.pdf", 1) for number in range(40)]
    figure = drawn("remote_pages", {"remote_pages": rows})
    assert figure.title == "40 of 40 pages have text, of 40 files"
    assert f"{40 - remote_pages.MOST_FILES} more files are in the table." in figure.notes
    assert len(figure.rows) == 40
