"""Figures say what the tables say: known findings, every run shown, and no crash without data."""

from __future__ import annotations

import csv
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
    files,
    memory_by_function,
    memory_over_time,
    peak_memory,
)
from indexscope.run_record import InputError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
FAISS, TORCH = "ragatouille_faiss_true", "ragatouille_faiss_false"
# figure → how it is drawn, and the tables it takes in order
FIGURES: dict[str, tuple[Callable[..., common.Figure], list[str]]] = {
    "artifact_comparison": (artifact_comparison.draw, ["artifact_comparison", "runs"]),
    "memory_by_function": (memory_by_function.draw, ["runs", "spans", "memory_by_function"]),
    "memory_over_time": (memory_over_time.draw, ["runs", "memory_curve", "spans", "memory_comparison"]),
    "peak_memory": (peak_memory.draw, ["runs", "memory_comparison"]),
}


def drawn(name: str, **rows: list[tables.Row]) -> common.Figure:
    draw, names = FIGURES[name]
    return draw(*(tables.frame(table, rows.get(table, ())) for table in names))


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
    study = tables.study()
    colours = []
    for name in ("memory_by_function", "peak_memory"):
        found = re.findall(
            r'"domain": (\["ColBERT".*?\]), "range": (\[.*?\])', words_of(drawn(name, **study))
        )
        assert found
        colours += found
    assert len(set(colours)) == 1
    assert len(set(json.loads(colours[0][1]))) == len(tables.LABELS)


def test_no_colour_has_two_meanings() -> None:
    used = [
        *common.system_scale(pd.DataFrame({"series": [str(number) for number in range(9)]})).range,
        *common.ROLE_COLOURS.values(),
        *artifact_comparison.VERDICTS.values(),
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
    figure = drawn("memory_over_time", **tables.study())
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
    assert "1,000 documents, 1,310 passages · none, repeat 1" in texts
    assert "peak 1,493 MiB" in texts
    assert sum(text.startswith("finalize ") for text in texts) == 5  # all panels but the one without spans
    assert (tmp_path / "figure.svg").stat().st_size < 1_500_000


def test_panels_of_a_row_have_equal_scales() -> None:
    specification = drawn("memory_over_time", **tables.study()).specification()
    for row in (specification["concat"][:3], specification["concat"][3:]):
        x = {json.dumps(found) for panel in row for found in _domains(panel, "x")}
        y = {json.dumps(found) for panel in row for found in _domains(panel, "y")}
        assert len(x) == len(y) == 1


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


def test_memory_by_function_tells_what_memory_profiler_misses() -> None:
    figure = drawn("memory_by_function", **tables.study())
    index = by_function(figure, "index")
    top = 1210 + 84 - 490  # of the memory_profiler run's worker
    assert index["start_mib"] == pytest.approx(0.67 * top)
    assert index["final_mib"] == pytest.approx(0.73 * top)
    assert index["peak_mib"] == pytest.approx(1210 + 9 - 490)
    assert index["unseen_mib"] == pytest.approx(1210 + 9 - 490 - 0.73 * top)
    assert index["role"] == "worker"
    assert by_function(figure, "indexer.index")["role"] == "parent"
    most = 951 + 9 - 0.73 * (951 + 84)
    assert figure.title == (
        f"memory_profiler misses up to {most:.0f} MiB: CollectionIndexer.index peaks at 960 MiB, its row says "
        "693 to 756 MiB (RAGatouille, use_faiss=False, 300 documents)"
    )
    assert figure.support == "This difference is not backed by repeats (1 and 1 runs)."


def test_missing_rows_and_runs_are_said() -> None:
    figure = drawn("memory_by_function", **tables.study())
    assert pd.isna(by_function(figure, "finalize")["final_mib"])
    assert len(figure.rows) == 7 * 6  # one a function, system and size, measured or not
    words = words_of(figure)
    assert "in worker, no row" in words
    assert "memory_profiler: no run · spans: × 1 out of memory (host)" in words
    assert "Of 42 functions drawn, 22 have no row of memory_profiler and 7 have no span." in figure.notes


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
    peaks = memory_by_function.exact_peaks(tables.frame("spans", attempts))
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
    assert train["unseen_mib"] == 80
    assert figure.support == "This difference is beyond the spread of repeats (3 and 2 runs)."


def test_logs_from_elsewhere_are_counted() -> None:
    run = tables.run("colbert", 300, "memory_profiler")
    here = tables.function_row(run, "train", (100, 10, 110))
    elsewhere = {**here, "log": "logs/colbert_100k.log"}
    figure = drawn("memory_by_function", runs=[run], memory_by_function=[here, elsewhere])
    assert "1 logs of runs from elsewhere are in the table and not drawn." in figure.notes
    assert by_function(figure, "train")["memory_profiler_runs"] == 1
    assert not figure.is_finding


# Artifacts


def test_artifact_comparison_counts_what_differs(tmp_path: Path) -> None:
    figure = drawn("artifact_comparison", **tables.study())
    assert figure.title == (
        "Artifacts that differ beyond tolerance: 0 of 9 (repeat against repeat (colbert), 300 documents); "
        "7 of 9 (use_faiss true against false, 1,000 documents); 9 of 9 (colbert against ragatouille, 1,000 "
        "documents); and 1 more pair"
    )
    assert figure.support == "Between repeats of the same system 9 of 9 artifacts are equal, bit for bit."
    files.save(figure, tmp_path / "figure")
    texts = svg_texts(tmp_path / "figure.svg")
    for verdict in artifact_comparison.VERDICTS:
        assert verdict in texts
    assert texts.count("run failed") == len(tables.ARTIFACTS) + 1  # the legend
    assert "25 % equal, max 0.12" in texts
    assert len(figure.rows) == 9 * 6


def test_without_a_repeat_the_noise_floor_is_unknown() -> None:
    left, right = tables.run("colbert", 300), tables.run(FAISS, 300)
    rows = [tables.artifact("pair", left, right, name) for name in tables.ARTIFACTS]
    figure = drawn("artifact_comparison", artifact_comparison=rows, runs=[left, right])
    assert figure.support.endswith("the noise floor is not known.")
    assert figure.title == "Artifacts that differ beyond tolerance: 0 of 9 (pair, 300 documents)"


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
    assert "1 of 50" in figure.title


def test_a_fraction_below_one_is_never_all() -> None:
    left, right = tables.run("colbert", 300), tables.run(FAISS, 300)
    for fraction, words in [
        (0.9999999, "over 99.9 % equal"),
        (1e-9, "below 0.1 % equal"),
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
    assert figure.notes == [
        "Largest effect of a profiler, at 300 documents: ColBERT with profiler memory_profiler takes 67 MiB "
        "more than ColBERT with profiler none; this is not backed by repeats (1 and 3 runs).",
        "1 of 21 runs did not complete (1 out of memory (host)), marked ×.",
    ]
    assert "1 to 3 repeats" in figure.conditions
    assert "corpus synthetic · checkpoint synthetic_small · cpu (Intel Xeon" in figure.conditions
    assert len(figure.rows) == len(study["runs"])
    files.save(figure, tmp_path / "figure")
    texts = svg_texts(tmp_path / "figure.svg")
    assert texts.count("out of memory (host)") == 1
    assert texts.count("×") == 1
    assert "1,227" in texts  # the median of ColBERT's three repeats at 300 documents


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
