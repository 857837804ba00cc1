"""Figures say what the tables say: known findings, every run shown, and no crash without data."""

from __future__ import annotations

import csv
import functools
import itertools
import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import tables
from indexscope.figures import (
    artifact_comparison,
    common,
    confounds,
    files,
    functions,
    ghost,
    memory_by_function,
    memory_model,
    memory_over_time,
    part_growth,
    peak_memory,
    peak_parts,
    phase_time,
    profiler_cost,
    published_beside_ours,
    resolved_settings,
)
from indexscope.run_record import InputError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
FAISS, TORCH = "ragatouille_faiss_true", "ragatouille_faiss_false"
# figure → how it is drawn, and the tables it takes in order
FIGURES: dict[str, tuple[Callable[..., common.Figure], list[str]]] = {
    "artifact_comparison": (artifact_comparison.draw, ["artifact_comparison", "runs"]),
    "confounds": (confounds.draw, ["confounds", "runs"]),
    "phase_time": (phase_time.draw, ["runs", "memory_comparison", "published_encode_seconds"]),
    "profiler_cost": (profiler_cost.draw, ["runs", "memory_comparison", "published_encode_seconds"]),
    "resolved_settings": (resolved_settings.draw, ["runs"]),
    "ghost": (ghost.draw, ["runs", "spans", "memory_by_function", "memory_profiler_lines"]),
    "memory_by_function": (memory_by_function.draw, ["runs", "spans", "memory_by_function"]),
    "memory_over_time": (memory_over_time.draw, ["runs", "memory_curve", "spans", "memory_comparison"]),
    "memory_model": (memory_model.draw, ["memory_model", "memory_model_terms"]),
    "part_growth": (part_growth.draw, ["ledger", "runs"]),
    "peak_parts": (peak_parts.draw, ["ledger", "runs"]),
    "peak_memory": (peak_memory.draw, ["runs", "memory_comparison"]),
    "published_beside_ours": (published_beside_ours.draw, ["published_memory", "runs"]),
}


def drawn(name: str, **rows: list[tables.Row]) -> common.Figure:
    draw, names = FIGURES[name]
    return draw(*(tables.frame(table, rows.get(table, ())) for table in names))


@functools.cache
def of_study(name: str) -> common.Figure:
    """The figure of tables.study(), drawn once for all tests that only read it."""
    return drawn(name, **tables.study())


def words_of(figure: common.Figure) -> str:
    """Everything that the figure can show, as one text."""
    return json.dumps(figure.specification(), ensure_ascii=False)


def svg_texts(path: Path) -> list[str]:
    root = ElementTree.parse(path).getroot()
    texts = root.iter("{http://www.w3.org/2000/svg}text")
    return [line for text in texts for line in ([part.text or "" for part in text] or [text.text or ""])]


# What all figures share


@pytest.mark.parametrize("name", FIGURES)
def test_without_any_row_a_figure_says_so(name: str, tmp_path: Path) -> None:
    figure = drawn(name)
    assert not figure.is_finding
    assert figure.rows.empty
    assert len(figure.rows.columns) > 4
    files.save(figure, tmp_path / name)
    texts = svg_texts(tmp_path / f"{name}.svg")
    assert figure.title in texts
    assert figure.caption in texts


@pytest.mark.parametrize("name", FIGURES)
def test_without_a_completed_run_a_figure_is_drawn(name: str, tmp_path: Path) -> None:
    runs = [
        tables.run("colbert", 300, "spans", peak=800.0, outcome="failed"),
        tables.run(FAISS, 300, "spans", peak=None, outcome="out_of_memory_host"),
    ]
    curve = tables.samples(runs[0], "parent", [(0.0, 20.0), (1.5, 800.0)])
    files.save(drawn(name, runs=runs, memory_curve=curve), tmp_path / name)
    if name in ("memory_over_time", "peak_memory"):
        texts = " ".join(svg_texts(tmp_path / f"{name}.svg"))
        assert "No run completed: 1 out of memory (host), 1 failed" in texts
        assert texts.count("out of memory (host)") >= 2


def test_saved_files_are_an_svg_a_page_without_network_and_the_rows(tmp_path: Path) -> None:
    runs = [tables.run("colbert", 300, peak=1210.0), tables.run(FAISS, 300, peak=948.5)]
    figure = drawn("peak_memory", runs=runs)
    files.save(figure, tmp_path / "deep" / "peak_memory")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [
        "peak_memory.csv",
        "peak_memory.html",
        "peak_memory.svg",
    ]
    with (tmp_path / "deep" / "peak_memory.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["system"], float(row["tree_peak_rss_mib"])) for row in rows] == [
        ("colbert", 1210.0),
        (FAISS, 948.5),
    ]
    assert tables.references((tmp_path / "deep" / "peak_memory.html").read_text()) == []
    assert files.read_specification(tmp_path / "deep" / "peak_memory.html") == figure.specification()


def test_a_label_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    label = "</script><!-- <b>bold</b> & it's"
    files.save(drawn("peak_memory", runs=[tables.run("colbert", 300, label=label)]), tmp_path / "figure")
    specification = files.read_specification(tmp_path / "figure.html")
    assert label in specification["usermeta"]["title"]
    assert "<b>" not in (tmp_path / "figure.html").read_text()


def test_nothing_is_left_when_a_figure_cannot_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> str:
        raise ValueError("no drawing today")

    figure = drawn("peak_memory", runs=[tables.run("colbert", 300)])
    monkeypatch.setattr(files.vl_convert, "vegalite_to_svg", fail)
    with pytest.raises(ValueError, match="no drawing today"):
        files.save(figure, tmp_path / "peak_memory")
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_is_no_figure_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text("<html><script>1</script></html>")
    with pytest.raises(InputError, match=r"other\.html: holds no figure of IndexScope"):
        files.read_specification(tmp_path / "other.html")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["1,000", "b", "c"], "1,000, b and c"),
        (["RAGatouille, faiss", "b"], "RAGatouille, faiss; and b"),
    ],
)
def test_lists_in_sentences(words: list[str], sentence: str) -> None:
    assert common.listed(words) == sentence


def test_a_system_has_one_colour_in_all_figures() -> None:
    colours = []
    for name in ("memory_by_function", "peak_memory"):
        found = re.findall(r'"domain": (\["ColBERT".*?\]), "range": (\[.*?\])', words_of(of_study(name)))
        assert found
        colours += found
    assert len(set(colours)) == 1
    assert len(set(json.loads(colours[0][1]))) == len(tables.LABELS)


def test_no_colour_has_two_meanings() -> None:
    used = [
        *common.system_scale(pd.DataFrame({"series": [str(number) for number in range(9)]})).range,
        *common.ROLE_COLOURS.values(),
        *artifact_comparison.VERDICTS.values(),
        *confounds.COLOURS.values(),
        common.ALARM,
    ]
    assert len(used) == len(set(used))


def test_a_system_with_two_settings_is_two_series() -> None:
    runs = tables.frame(
        "runs",
        [
            tables.run("colbert", 300, cell="aaaaaaaa"),
            tables.run("colbert", 300, cell="bbbbbbbb"),
            tables.run("unlabelled", 300),
        ],
    )
    labelled = common.label_systems(runs)
    assert list(labelled["series"]) == ["ColBERT (aaaaaaaa)", "ColBERT (bbbbbbbb)", "unlabelled"]
    names = common.comparison_names(labelled)
    assert names["colbert-bbbbbbbb"] == "ColBERT (bbbbbbbb)"
    assert names["unlabelled/none"] == "unlabelled with profiler none"


@pytest.mark.parametrize(
    ("separated", "words"),
    [
        (True, "is beyond the spread of repeats (3 and 1 runs)"),
        (False, "is within the spread of repeats (3 and 1 runs)"),
        (None, "is not backed by repeats (3 and 1 runs)"),
    ],
)
def test_a_difference_names_the_larger_side_and_its_spread(separated: bool | None, words: str) -> None:
    row = tables.comparison("systems", 300, ("a", [100.0]), ("b", [150.0, 160.0, 155.0]), separated=separated)
    frame = tables.frame("memory_comparison", [row])
    (difference,) = common.differences(frame, "systems", "tree_peak_rss_mib", {"b": "System B"})
    assert (difference.high, difference.low) == ("System B", "a")
    assert (difference.mib, difference.percent) == (55.0, 55.0)
    assert difference.spread() == words
    assert common.differences(frame, "profilers", "tree_peak_rss_mib", {}) == []
    assert common.differences(frame, "systems", "wall_seconds", {}) == []


def test_the_drawn_run_is_completed_then_of_the_first_profiler_then_the_first_repeat() -> None:
    runs = common.label_systems(
        tables.frame(
            "runs",
            [
                tables.run("colbert", 300, "none", 1),
                tables.run("colbert", 300, "spans", 2),
                tables.run("colbert", 300, "spans", 1, outcome="killed"),
                tables.run(FAISS, 300, "spans", 2, outcome="killed"),
                tables.run(FAISS, 300, "spans", 1, outcome="killed"),
            ],
        )
    )
    chosen = common.one_run_each(runs, ["spans", "none"])
    assert list(chosen["run"]) == ["colbert-0a1b2c3d/300/spans/2", f"{FAISS}-0a1b2c3d/300/spans/1"]


# Memory over time


def test_a_process_keeps_its_memory_until_its_next_sample_or_its_end() -> None:
    run = tables.run("colbert", 300)
    curve = tables.frame(
        "memory_curve",
        [
            *tables.samples(run, "parent", [(0.0, 100.0), (4.0, 110.0)]),
            *tables.samples(run, "worker", [(1.0, 500.0), (2.0, 700.0), (3.0, 0.0)]),
        ],
    )
    summed = memory_over_time.sum_by_role(curve)
    assert summed.to_dict("list") == {
        "seconds": [0.0, 1.0, 2.0, 3.0, 4.0],
        "parent": [100.0, 100.0, 100.0, 100.0, 110.0],
        "worker": [0.0, 500.0, 700.0, 0.0, 0.0],
        "tree": [100.0, 600.0, 800.0, 100.0, 110.0],
    }


def test_thinning_keeps_peak_trough_and_both_ends() -> None:
    seconds = [number / 100 for number in range(10_000)]
    tree = [100.0 + number % 7 for number in range(10_000)]
    tree[4321], tree[8765] = 999.0, 1.0
    instants = pd.DataFrame({"seconds": seconds, "tree": tree})
    thinned = memory_over_time.thin(instants, 200)
    assert len(thinned) <= 202
    assert thinned["seconds"].is_monotonic_increasing
    assert {0.0, 43.21, 87.65, 99.99} <= set(thinned["seconds"])
    assert memory_over_time.thin(instants, 10_000) is instants


def test_memory_over_time_names_peaks_phases_and_the_run_that_ran_out_of_memory(tmp_path: Path) -> None:
    figure = of_study("memory_over_time")
    assert figure.title == (
        "At 1,000 documents all processes together peak at 1,493 MiB for ColBERT (in index); 1,302 MiB for "
        "RAGatouille, use_faiss=False (in the index call); and 1,222 MiB for RAGatouille, use_faiss=True (in index)"
    )
    assert figure.support == (
        "Without a profiler the difference between these highest and lowest is not backed by repeats "
        "(1 and 1 runs)."
    )
    peaks = figure.rows.groupby(["series", "documents"])["tree_rss_mib"].max()
    assert peaks["ColBERT", 1000] == pytest.approx(1493)
    assert peaks["RAGatouille, use_faiss=True", 300] == pytest.approx(957)
    assert set(figure.rows["role"]) == {"parent", "worker", "manager"}
    files.save(figure, tmp_path / "figure")
    texts = svg_texts(tmp_path / "figure.svg")
    assert "× spans, repeat 1: out of memory (host)" in texts
    assert "1,310 passages · profiler none, repeat 1" in texts
    assert "peak 1,493 MiB" in texts
    assert "at 15.1 s, in index" in texts
    assert texts.count("phases are not recorded under profiler none") == 1
    assert sum(text.startswith("finalize ") for text in texts) == 5  # all panels but the one without spans
    assert (tmp_path / "figure.svg").stat().st_size < 1_500_000


def test_systems_of_a_size_have_equal_scales() -> None:
    blocks = of_study("memory_over_time").specification()["vconcat"]
    assert [block["title"]["text"] for block in blocks] == ["300 documents", "1,000 documents"]
    for block in blocks:
        assert len(block["concat"]) == 3
        for channel in ("x", "y"):
            assert len({json.dumps(found) for found in _domains(block, channel)}) == 1


@pytest.mark.parametrize(("systems", "columns"), [(1, 1), (2, 2), (4, 4), (5, 3), (7, 4)])
def test_systems_wrap_into_even_rows(systems: int, columns: int) -> None:
    runs = [tables.run(f"system_{number}", 300) for number in range(systems)]
    curve = [row for run in runs for row in tables.samples(run, "parent", [(0.0, 1000.0), (1.0, 900.0)])]
    figure = drawn("memory_over_time", runs=runs, memory_curve=curve)
    (block,) = figure.specification()["vconcat"]
    assert block["columns"] == columns
    assert len(block["concat"]) == systems
    assert figure.width <= common.WIDEST


def test_a_run_that_passed_its_limit_shows_its_curve_the_limit_and_its_end(tmp_path: Path) -> None:
    run = tables.run(
        "colbert",
        300,
        "spans",
        peak=790.0,
        outcome="out_of_memory_host",
        outcome_detail="the process tree passed memory_limit_mib: 800",
    )
    curve = tables.samples(run, "parent", [(0.0, 100.0), (2.0, 700.0), (3.5, 790.0)])
    for name in ("memory_over_time", "peak_memory"):
        figure = drawn(name, runs=[run, tables.run("colbert", 1000)], memory_curve=curve)
        files.save(figure, tmp_path / name)
        texts = svg_texts(tmp_path / f"{name}.svg")
        assert texts.count("limit 800 MiB") == 1
        assert "×" in texts
    files.save(drawn("memory_over_time", runs=[run], memory_curve=curve), tmp_path / "figure")
    assert "out of memory (host) at 3.5 s" in svg_texts(tmp_path / "figure.svg")


def test_a_phase_of_a_tenth_of_a_second_has_its_band_and_its_name(tmp_path: Path) -> None:
    run = tables.run("colbert", 300, "spans")
    spans = [
        tables.span(run, "setup", (80.0, 80.1), (10, 20, 30), "worker"),
        tables.span(run, "train", (80.1, 80.2), (10, 20, 30), "worker"),
    ]
    curve = tables.samples(run, "worker", [(0.0, 10.0), (80.05, 30.0), (80.15, 25.0), (100.0, 20.0)])
    figure = drawn("memory_over_time", runs=[run], memory_curve=curve, spans=spans)
    files.save(figure, tmp_path / "figure")
    assert {"setup 100 ms", "train 100 ms"} <= set(svg_texts(tmp_path / "figure.svg"))
    bands = [mark for mark in _marks(figure.specification()) if mark.get("type") == "rect"]
    assert all(band["strokeWidth"] > 0 for band in bands)  # as wide as a pixel, however short
    (note,) = [note for note in figure.notes if note.startswith("Published")]
    assert note.endswith("At 300 documents it holds: it is highest in setup for ColBERT.")


def _marks(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        own = [value["mark"]] if isinstance(value.get("mark"), dict) else []
        return own + [mark for inner in value.values() for mark in _marks(inner)]
    return [mark for inner in value for mark in _marks(inner)] if isinstance(value, list) else []


def _domains(value: Any, channel: str) -> list[Any]:
    found = []
    if isinstance(value, dict):
        encoding = value.get("encoding", {}).get(channel, {})
        if "domain" in (encoding.get("scale") or {}):
            found.append(encoding["scale"]["domain"])
        for inner in value.values():
            found += _domains(inner, channel)
    elif isinstance(value, list):
        for inner in value:
            found += _domains(inner, channel)
    return found


def test_a_long_run_of_many_systems_stays_a_small_picture(tmp_path: Path) -> None:
    runs = [tables.run(f"system_{number}", 1_000_000, "spans", peak=2000.0) for number in range(12)]
    curve = [
        row
        for run in runs
        for row in tables.samples(
            run, "parent", [(step * 0.1, 1000.0 + 997 * (step * 7919 % 1000) / 1000) for step in range(3000)]
        )
    ]
    files.save(drawn("memory_over_time", runs=runs, memory_curve=curve), tmp_path / "figure")
    assert (tmp_path / "figure.svg").stat().st_size < 1_500_000


# Memory by function


def by_function(figure: common.Figure, function: str, series: str = "ColBERT", size: int = 300) -> Any:
    rows = figure.rows
    chosen = rows[(rows["series"] == series) & (rows["documents"] == size) & (rows["function"] == function)]
    (row,) = chosen.to_dict("records")
    return row


def test_memory_by_function_tells_from_where_to_where_memory_goes() -> None:
    figure = of_study("memory_by_function")
    index = by_function(figure, "index")
    top = 1210 + 84 - 490  # of the memory_profiler run's worker
    assert index["start_mib"] == pytest.approx(0.67 * top)
    assert index["final_mib"] == pytest.approx(0.73 * top)
    assert index["peak_mib"] == pytest.approx(1210 + 9 - 490)
    assert index["role"] == "worker"
    assert by_function(figure, "indexer.index")["role"] == "parent"
    assert figure.title == (
        "At 1,000 documents building the index takes its process from 611 to 1,222 MiB in RAGatouille, "
        "use_faiss=True (parent); and from 502 to 1,003 MiB in ColBERT (worker)"
    )


def test_without_memory_profiler_the_spans_have_start_and_end(tmp_path: Path) -> None:
    figure = of_study("memory_by_function")
    setup = by_function(figure, "setup", size=1000)
    assert pd.isna(setup["start_mib"])
    top = 1484 + 9 - 490
    assert setup["spans_start_mib"] == pytest.approx(0.5 * top)
    assert setup["spans_end_mib"] == pytest.approx(0.62 * top)
    files.save(figure, tmp_path / "figure")
    assert f"+{0.12 * top:,.0f}" in svg_texts(tmp_path / "figure.svg")


def test_missing_rows_and_runs_are_said() -> None:
    figure = of_study("memory_by_function")
    assert pd.isna(by_function(figure, "finalize")["final_mib"])
    assert len(figure.rows) == 7 * 6  # one a function, system and size, measured or not
    assert "memory_profiler: no run · spans: × 1 out of memory (host)" in words_of(figure)
    assert "Of 42 functions drawn, 1 has no row of memory_profiler." in figure.notes


def published_notes(figure: common.Figure) -> list[str]:
    return [note for note in figure.notes if note.startswith("Published")]


def test_what_was_published_of_functions_is_held_against_the_rows() -> None:
    colbert, ragatouille = (tables.run(name, 300, "memory_profiler") for name in ("colbert", FAISS))
    rows = [
        tables.function_row(colbert, "indexer.index", (400, 5, 405)),
        tables.function_row(colbert, "setup", (700, 50, 750)),
        tables.function_row(colbert, "index", (750, 60, 810)),
        tables.function_row(ragatouille, "indexer.index", (900, 80, 980)),
        tables.function_row(ragatouille, "setup", (650, 50, 700)),
        tables.function_row(ragatouille, "index", (950, -40, 910)),
    ]
    runs = [colbert, ragatouille]
    starts, keeps, falls = published_notes(drawn("memory_by_function", runs=runs, memory_by_function=rows))
    assert "At 300 documents it does not hold: RAGatouille, use_faiss=True 650 MiB; and" in starts
    assert "At 300 documents it holds: RAGatouille, use_faiss=True 80 MiB; and ColBERT 5 MiB." in keeps
    assert keeps.endswith("indexer.index of ColBERT is a parent that waits: its worker builds the index.")
    assert falls.endswith("it holds: RAGatouille, use_faiss=True −40 MiB; and ColBERT +60 MiB.")
    alone = drawn("memory_by_function", runs=[colbert], memory_by_function=rows[:3])
    starts, keeps, falls = published_notes(alone)
    assert starts.endswith("Here it cannot be told: no such row of RAGatouille.")


def test_what_the_figures_call_published_was_published() -> None:
    """The statements that notes begin with, held against the published table itself."""
    table = pd.read_csv(SCRIPTS.parents[1] / "config" / "published" / "memory_by_function.csv")
    table["start"] = table["start_mib_in_log"].fillna(table["start_mib"])
    ours = table[table["framework"] == "ragatouille"].merge(
        table[table["framework"] == "colbert"], on=["documents", "function"], suffixes=("", "_colbert")
    )
    setup, call = (ours[ours["function"] == name] for name in ("setup", "indexer.index"))
    assert len(setup) == len(call) == 8
    assert (setup["start"] > setup["start_colbert"]).all()
    assert (call["increment_mib"] > call["increment_mib_colbert"]).all()
    index = ours[ours["function"] == "index"]
    assert (index["increment_mib"] < 0).all()
    assert (index["increment_mib_colbert"] > 0).all()
    highest = table.groupby(["framework", "use_faiss", "documents"], dropna=False)["final_mib"].max()
    for (framework, _, documents), level in highest.items():
        if framework == "ragatouille":
            assert level > highest["colbert", :, documents].item()
    inside = table[table["function"] != "indexer.index"]
    early = inside["function"].isin(["setup", "_sample_embeddings", "encoder.encode_passages", "train"])
    key = [inside["framework"], inside["use_faiss"].astype("string").fillna(""), inside["documents"]]
    late_high = inside["final_mib"].where(~early).groupby(key).max()
    assert (inside["final_mib"].where(early).groupby(key).max() > late_high).all()


def test_the_label_stands_for_the_first_encoding_and_for_the_last_attempt() -> None:
    run = tables.run(TORCH, 300, "spans")
    attempts = [
        tables.span(run, "setup", (1.0, 2.0), (10, 20, 30)),
        tables.span(run, "encoder.encode_passages", (1.2, 1.5), (10, 20, 25)),
        tables.span(run, "train", (2.0, 2.5), (20, 20, 900), raised="OutOfMemoryError"),
        tables.span(run, "setup", (3.0, 4.0), (10, 20, 31), call=1),
        tables.span(run, "encoder.encode_passages", (3.2, 3.5), (10, 20, 26), call=1),
        tables.span(run, "train", (4.0, 5.0), (20, 20, 100), call=1),
        tables.span(run, "encoder.encode_passages", (5.2, 5.5), (10, 20, 99), call=2),
    ]
    peaks = functions.last_spans(tables.frame("spans", attempts))
    assert dict(zip(peaks["function"], peaks["peak_rss_mib"], strict=True)) == {
        "setup": 31.0,
        "encoder.encode_passages": 26.0,
        "train": 100.0,
    }


def test_repeats_are_medians_and_failed_ones_do_not_count_beside_completed_ones() -> None:
    profiled = [tables.run("colbert", 300, "memory_profiler", repeat) for repeat in (1, 2)]
    spanned = [tables.run("colbert", 300, "spans", repeat) for repeat in (1, 2, 3)]
    killed = tables.run("colbert", 300, "spans", 4, outcome="killed")
    logs = [
        tables.function_row(profiled[0], "train", (100, 10, 110), attempt=1),
        tables.function_row(profiled[0], "train", (100, 30, 130), attempt=2),
        tables.function_row(profiled[1], "train", (100, 50, 150)),
    ]
    spans = [
        tables.span(run, "train", (1, 2), (100, 120, peak))
        for run, peak in zip([*spanned, killed], [200, 260, 220, 5], strict=True)
    ]
    figure = drawn(
        "memory_by_function", runs=[*profiled, *spanned, killed], spans=spans, memory_by_function=logs
    )
    train = by_function(figure, "train")
    assert (train["start_mib"], train["final_mib"]) == (100, 140)
    assert (train["peak_min_mib"], train["peak_mib"], train["peak_max_mib"]) == (200, 220, 260)
    haunted = drawn("ghost", runs=[*profiled, *spanned, killed], spans=spans, memory_by_function=logs)
    assert by_function(haunted, "train")["gap_mib"] == 80
    assert haunted.support == (
        "This gap is beyond the spread of repeats (3 and 2 runs); between what each of the two runs adds to "
        "its own level at the function's start it is 80 MiB. The peak is within CollectionIndexer.train."
    )


@pytest.mark.parametrize("name", ["memory_over_time", "memory_by_function", "peak_memory", "ghost"])
def test_logs_from_elsewhere_change_nothing(name: str) -> None:
    study = {
        name: [row for row in rows if row.get("system", "colbert") == "colbert" and "/1000/" not in str(row)]
        for name, rows in tables.study().items()
        if name not in ("artifact_comparison", "memory_comparison")
    }
    run = next(run for run in study["runs"] if run["profiler"] == "memory_profiler")
    elsewhere = {"run": "external/0/log.dat", "system": "colbert", "profiler": "mprof", "documents": 5}
    lines = [tables.line(run, 0, ("collection_indexer", "run"), 1.0)]
    log = {"log": "external/1/colbert_100k.log"}
    more = {
        **study,
        "memory_profiler_lines": [*lines, {**lines[0], **log, "memory_mib": 9e6}],
        "memory_by_function": [
            *study["memory_by_function"],
            {**tables.function_row(run, "train", (9e6, 1, 9e6)), **log, "process": None},
        ],
        "memory_curve": [
            *study["memory_curve"],
            {**tables.samples(run, "parent", [(9e6, 9e6)])[0], **elsewhere},
        ],
    }
    expected, figure = drawn(name, **{**study, "memory_profiler_lines": lines}), drawn(name, **more)
    pd.testing.assert_frame_equal(figure.rows, expected.rows)
    assert (figure.title, figure.support) == (expected.title, expected.support)
    new = [note for note in figure.notes if note not in expected.notes]
    by_log = name in ("memory_by_function", "ghost")
    assert new == ["Not drawn: 1 log from elsewhere, which the table also holds."] * by_log


# The ghost


def haunted_runs() -> dict[str, list[tables.Row]]:
    """One system: train takes 300 MiB and gives them back, within k-means; index is read in its callees."""
    profiled = tables.run(FAISS, 300, "memory_profiler")
    spanned = tables.run(FAISS, 300, "spans", kmeans_points=1 << 20, dim=64)  # a copy of 256 MiB
    indexer, encoder = "collection_indexer", ("collection_encoder", "encode_passages")
    return {
        "runs": [profiled, spanned],
        "memory_by_function": [
            tables.function_row(profiled, "indexer.index", (490, 90, 580)),
            tables.function_row(profiled, "setup", (500, 50, 550)),
            tables.function_row(profiled, "encoder.encode_passages", (500, 45, 545)),
            tables.function_row(profiled, "train", (550, 10, 560)),
            tables.function_row(profiled, "index", (560, 20, 580)),
        ],
        "memory_profiler_lines": [
            tables.line(profiled, 0, encoder, 570.0),
            tables.line(profiled, 1, (indexer, "setup"), 550.0),
            tables.line(profiled, 2, encoder, 640.0),
            tables.line(profiled, 3, (indexer, "run"), 600.0),
            tables.line(profiled, 4, (indexer, "run"), 9000.0, process=7),  # another process
            tables.line(profiled, 5, ("models/index", "build"), 8000.0),  # around Indexer.index
        ],
        "spans": [
            tables.span(spanned, "indexer.index", (0.0, 9.0), (480, 570, 850), depth=0),
            tables.span(spanned, "setup", (1.0, 2.0), (490, 540, 560), depth=1),
            tables.span(spanned, "train", (2.0, 4.0), (540, 550, 850), depth=1),
            tables.span(spanned, ghost._KMEANS, (2.5, 3.0), (545, 550, 850), depth=2),
            tables.span(spanned, "index", (4.0, 6.0), (550, 570, 630), depth=1),
        ],
    }


def test_the_ghost_is_what_no_reading_within_the_function_shows(tmp_path: Path) -> None:
    figure = drawn("ghost", **haunted_runs())
    files.save(figure, tmp_path / "figure")
    with (tmp_path / "figure.csv").open() as file:
        rows = {row["function"]: row for row in csv.DictReader(file)}
    readings = {name: float(row["highest_reading_mib"]) for name, row in rows.items()}
    # Of setup: the first encoding, its callee; of index: the second; of indexer.index: all of its process.
    assert readings == {
        "indexer.index": 640,
        "setup": 570,
        "encoder.encode_passages": 570,
        "train": 560,
        "index": 640,
    }
    gaps = {name: float(row["gap_mib"]) for name, row in rows.items() if row["gap_mib"]}
    assert gaps == {"indexer.index": 210, "setup": -10, "train": 290, "index": -10}
    assert float(rows["train"]["gap_above_start_mib"]) == (850 - 540) - (560 - 550)
    assert rows["train"]["peak_in"] == ghost._KMEANS
    assert figure.title == (
        "memory_profiler misses up to 290 MiB: CollectionIndexer.train peaks at 850 MiB, and no line-by-line "
        "reading within it is above 560 MiB (RAGatouille, use_faiss=True, 300 documents)"
    )
    texts = svg_texts(tmp_path / "figure.svg")
    assert "+290 MiB in compute_faiss_kmeans" in texts
    assert texts.count("−10 MiB, reading higher") == 2
    (note,) = published_notes(figure)
    assert note.endswith(
        "At 300 documents it holds: the exact peak of the build is in compute_faiss_kmeans (the copy is "
        "256.0 MiB, compute_faiss_kmeans adds 305.0 MiB) for RAGatouille, use_faiss=True."
    )


def test_a_peak_elsewhere_is_not_the_published_ghost() -> None:
    rows = haunted_runs()
    rows["spans"][-1] |= {"peak_rss_mib": 1900.0}
    rows["spans"].append(
        tables.span(
            rows["runs"][1],
            "colbert.indexing.codecs.residual.ResidualCodec.compress_into_codes",
            (5.0, 5.5),
            (560, 570, 1900),
            depth=2,
        )
    )
    figure = drawn("ghost", **rows)
    assert figure.title.startswith("memory_profiler misses up to 1,260 MiB: CollectionIndexer.index peaks at")
    (note,) = published_notes(figure)
    assert "it does not hold: the exact peak of the build is in ResidualCodec.compress_into_codes" in note


def test_without_both_profilers_there_is_no_ghost() -> None:
    study = tables.study()
    figure = drawn("ghost", **study)
    assert "Not drawn, of 5 systems and sizes, for want of the other profiler: 2 with spans only." in (
        figure.notes
    )
    alone = [run for run in study["runs"] if run["profiler"] != "spans"]
    assert not drawn("ghost", **{**study, "runs": alone, "spans": []}).is_finding


# Artifacts


def test_artifact_comparison_counts_what_differs(tmp_path: Path) -> None:
    figure = of_study("artifact_comparison")
    assert figure.title == (
        "Equal in every artifact: 0 of 2 pairs of systems and 1 of 1 repeats of one system"
    )
    assert figure.notes[:2] == [
        "Artifacts that differ beyond tolerance: use_faiss true against false (14 of 18); colbert against "
        "ragatouille (18 of 18).",
        "Not to be told, because a run did not complete: against the killed run.",
    ]
    assert figure.support == "Between repeats of the same system 9 of 9 artifacts are equal, bit for bit."
    files.save(figure, tmp_path / "figure")
    texts = svg_texts(tmp_path / "figure.svg")
    for verdict in artifact_comparison.VERDICTS:
        assert verdict in texts
    assert texts.count("run failed") == len(tables.ARTIFACTS) + 1  # the legend
    assert "25 % equal" in texts
    assert len(figure.rows) == 9 * 6


def test_without_a_repeat_the_noise_floor_is_unknown() -> None:
    left, right = tables.run("colbert", 300), tables.run(FAISS, 300)
    rows = [tables.artifact("pair", left, right, name) for name in tables.ARTIFACTS]
    figure = drawn("artifact_comparison", artifact_comparison=rows, runs=[left, right])
    assert figure.support.endswith("the noise floor is not known.")
    assert figure.title == "Equal in every artifact: 1 of 1 pairs of systems (pair)"


def test_many_chunks_become_one_row_with_the_worst_verdict() -> None:
    left, right = tables.run("colbert", 300), tables.run("colbert", 300, repeat=2)
    rows = [
        tables.artifact("pair", left, right, f"final/{chunk}/0/codes", "differs" if chunk == 37 else "equal")
        for chunk in range(50)
    ]
    figure = drawn("artifact_comparison", artifact_comparison=rows, runs=[left, right])
    assert list(figure.rows["artifact"]) == ["final/…/codes"]
    assert list(figure.rows["verdict"]) == ["differs"]
    assert list(figure.rows["compared"]) == [50]
    assert "pair (1 of 50)" in figure.notes[0]


def test_pairs_are_sorted_repeats_first_and_then_by_what_is_equal() -> None:
    left, right = tables.run("colbert", 300), tables.run(FAISS, 300)
    again = tables.run("colbert", 300, repeat=2)
    rows = [
        tables.artifact(pair, left, other, name, verdict if name.endswith("codes") else "equal")
        for pair, other, verdict in [
            ("A | B", right, "shape differs"),
            ("A | C", right, "within tolerance"),
            ("A: repeated", again, "equal"),
        ]
        for name in tables.ARTIFACTS
    ]
    table = tables.frame("artifact_comparison", rows)
    assert artifact_comparison.ordered_pairs(table) == ["A: repeated", "A | C", "A | B"]
    figure = drawn("artifact_comparison", artifact_comparison=rows, runs=[left, right, again])
    assert figure.title == (
        "Equal in every artifact: 1 of 2 pairs of systems (A | C) and 1 of 1 repeats of one system"
    )


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, "equal", "Here 1 of 1 such pairs of runs is equal, bit for bit: this holds at this scale."),
        (
            {},
            "differs",
            "Here 0 of 1 such pairs of runs is equal, bit for bit: this does not hold at this scale.",
        ),
        ({"nbits": 2}, "differs", ""),  # unequal work: nothing is told
        ({"kmeans_backend": "torch"}, "differs", ""),
    ],
)
def test_equal_work_of_two_frameworks_is_held_against_the_published_result(
    changes: dict[str, Any], verdict: str, words: str
) -> None:
    left = tables.run(FAISS, 300)
    same = {name: left[name] for name in ("passages", "nbits", "index_bsize", "kmeans_iterations")}
    right = tables.run("colbert", 300, **{**same, **changes})
    rows = [tables.artifact("pair", left, right, name, verdict) for name in tables.ARTIFACTS]
    figure = drawn("artifact_comparison", artifact_comparison=rows, runs=[left, right])
    published = [note for note in figure.notes if note.startswith("Published: given equal settings")]
    assert [note.partition("passages). ")[2] for note in published] == ([words] if words else [])


def test_a_fraction_below_one_is_never_all() -> None:
    left, right = tables.run("colbert", 300), tables.run(FAISS, 300)
    for fraction, words in [
        (0.9999999, ">99.9 % equal"),
        (1e-9, "<0.1 % equal"),
        (0.0, '"0 % equal'),
    ]:
        row = tables.artifact("pair", left, right, "final/0/0/codes", "differs", equal_fraction=fraction)
        assert words in words_of(drawn("artifact_comparison", artifact_comparison=[row]))


# Peak memory


def test_peak_memory_tells_the_difference_and_its_spread(tmp_path: Path) -> None:
    study = tables.study()
    figure = drawn("peak_memory", **study)
    assert figure.title == (
        "Indexing 1,000 documents takes ColBERT 1,484 MiB at its peak, 22 % more than RAGatouille, "
        "use_faiss=True (1,213 MiB)"
    )
    assert figure.support == (
        "Between these two, the difference at 300 documents is beyond the spread of repeats (3 and 3 runs) "
        "and at 1,000 documents is not backed by repeats (1 and 1 runs)."
    )
    assert figure.notes[2:] == [
        "Largest effect of a profiler, at 300 documents: ColBERT with profiler memory_profiler takes 67 MiB "
        "more than ColBERT with profiler none; this is not backed by repeats (1 and 3 runs).",
        "1 of 23 runs did not complete (1 out of memory (host)), marked ×.",
    ]
    assert "1 to 3 repeats" in figure.conditions
    assert "corpus synthetic · checkpoint synthetic_small · cpu (Intel Xeon" in figure.conditions
    assert len(figure.rows) == len(study["runs"])
    files.save(figure, tmp_path / "figure")
    texts = svg_texts(tmp_path / "figure.svg")
    assert texts.count("out of memory (host)") == 2  # one of them is the white rim around it
    assert texts.count("×") == 1
    assert {"300", "1,000"} <= set(texts)
    assert "1,484 ColBERT" in texts
    (published,) = published_notes(figure)
    assert published.endswith(
        "Here it holds: the largest process is larger in 4 of 4 pairs of a RAGatouille and a ColBERT system of "
        "one size, all processes together in 0."
    )
    growth = (1484 - 1227) / 700 * 1000  # from the medians of three repeats and of one
    assert f"{growth:.0f} MiB for ColBERT" in figure.notes[1]


def marks_of(specification: Any, shape: str) -> list[dict[str, Any]]:
    """The rows that a figure draws with the mark `shape` of its legend."""
    found = []
    for layer in _layers(specification):
        if any(step.get("calculate") == f"'{shape}'" for step in layer.get("transform", [])):
            found += specification["datasets"][layer["data"]["name"]]
    return found


def _layers(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        own = [value] if "mark" in value else []
        return own + [layer for inner in value.values() for layer in _layers(inner)]
    return [layer for inner in value for layer in _layers(inner)] if isinstance(value, list) else []


@pytest.mark.parametrize("sizes", [[300], [300, 1000], [10_000, 2_000_000]])
def test_every_repeat_is_a_point_on_axes_that_all_profilers_share(sizes: list[int]) -> None:
    runs = [
        tables.run(system, size, profiler, repeat, peak=1000.0 + size / 1000 + repeat)
        for system in tables.LABELS
        for size in sizes
        for profiler, repeats in (("none", 3), ("spans", 1))
        for repeat in range(1, repeats + 1)
    ]
    specification = drawn("peak_memory", runs=runs).specification()
    assert len(marks_of(specification, "peak of the whole run")) == len(runs)
    assert len(marks_of(specification, "peak during the index call")) == len(runs)
    memory = "x" if len(sizes) == 1 else "y"
    assert len({json.dumps(domain) for domain in _domains(specification, memory)}) == 1
    scales = {
        layer["encoding"][memory]["scale"]["type"]
        for layer in _layers(specification)
        if len(sizes) > 1 and "scale" in layer.get("encoding", {}).get(memory, {})
    }
    assert scales == {1: set(), 2: {"linear"} if sizes[-1] == 1000 else {"log"}}[len(sizes)]
    names = [panel["title"]["text"] for panel in specification["concat" if len(sizes) == 1 else "hconcat"]]
    assert names == ["profiler none", "profiler spans"]


def test_names_beside_lines_do_not_overlap() -> None:
    for sizes, mib in [([300, 1000], (0.0, 2000.0)), ([300, 9000], (500.0, 2000.0))]:
        axes = peak_memory._Axes(sizes, (0.0, 1.0), mib, logarithmic=mib[0] > 0)
        levels = pd.Series([900.0, 901.0, 902.0, 1999.0, 2000.0])
        pixels = [axes._length(place) for place in axes.spread(levels)]
        per_pixel = (axes._length(mib[1]) - axes._length(mib[0])) / peak_memory._HEIGHT
        apart = [(right - left) / per_pixel for left, right in itertools.pairwise(pixels)]
        assert min(apart) >= peak_memory._LABEL_HEIGHT - 1e-6
        assert pixels[-1] <= axes._length(mib[1])


def test_a_peak_outside_the_index_call_is_told_apart(tmp_path: Path) -> None:
    exit_run = {"tree_peak_moment": "exit", "index_peak_rss_mib": 1600.0}
    runs = [
        tables.run("colbert", 300, repeat=1, peak=1700.0, **exit_run),
        tables.run("colbert", 300, repeat=2, peak=1720.0, **exit_run),
        tables.run(FAISS, 300, peak=1300.0),
    ]
    compared = [
        tables.comparison("systems", 300, ("colbert", [1710.0]), (FAISS, [1300.0])),
        tables.comparison(
            "systems", 300, ("colbert", [1600.0]), (FAISS, [1300.0]), quantity="index_peak_rss_mib"
        ),
    ]
    figure = drawn("peak_memory", runs=runs, memory_comparison=compared)
    assert figure.title.startswith(
        "Indexing 300 documents takes ColBERT 1,710 MiB at its peak (at exit), 32 %"
    )
    assert figure.support.endswith(
        "During the index call alone ColBERT takes 1,600 MiB and RAGatouille, use_faiss=True 1,300 MiB; this "
        "difference is not backed by repeats (1 and 1 runs)."
    )
    files.save(figure, tmp_path / "figure")
    texts = svg_texts(tmp_path / "figure.svg")
    assert "1,710 (exit)" in texts
    assert "1,300" in texts
    assert "peak during the index call" in texts
    over_time = drawn(
        "memory_over_time", runs=runs, memory_curve=tables.samples(runs[0], "parent", [(0.0, 1700.0)])
    )
    assert "1,700 MiB for ColBERT (at exit)" in over_time.title


def test_a_run_without_a_sample_is_marked_too(tmp_path: Path) -> None:
    runs = [tables.run("colbert", 300, peak=1000.0), tables.run(FAISS, 300, peak=None, outcome="unsupported")]
    figure = drawn("peak_memory", runs=runs)
    files.save(figure, tmp_path / "figure")
    assert "unsupported, no sample" in svg_texts(tmp_path / "figure.svg")
    assert figure.title == "The highest peak is 1,000 MiB: ColBERT, 300 documents, profiler none"
    assert figure.support == "No two systems were run without a profiler at the same size."


# The programs


def run_program(name: str, *arguments: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize("name", FIGURES)
def test_programs_draw_from_tables(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tables.run("colbert", 300, "spans")
    directory = tables.write(
        tmp_path, runs=[run], memory_curve=tables.samples(run, "parent", [(0.0, 1000.0)])
    )
    output = tmp_path / "figures" / name
    run_program("plot", name, "--tables", directory, "--output", output, monkeypatch=monkeypatch)
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".svg", ".html", ".csv"}


def test_a_bad_table_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tables.write(tmp_path)
    runs = directory / "runs.parquet"

    def message() -> str:
        with pytest.raises(SystemExit) as ended:
            run_program(
                "plot",
                "peak_memory",
                *("--tables", directory, "--output", tmp_path / "x"),
                monkeypatch=monkeypatch,
            )
        return str(ended.value.code)

    runs.write_bytes((directory / "memory_comparison.parquet").read_bytes())
    assert message().startswith(f"{runs}: lacks the column(s) run, system, cell")
    runs.write_text("not a table")
    assert message().startswith(f"{runs}: not a Parquet table")
    runs.unlink()
    assert message() == f"{runs}: no such table; the workflow's tabulate and compare rules make it"
    assert not list(tmp_path.glob("x.*"))
