"""The report says what the tables say, on one page that needs nothing else."""

from __future__ import annotations

import base64
import re
import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest
import tables
from indexscope.figures import common, files
from indexscope.report import facts, page
from indexscope.run_record import InputError

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "report.py"
FAISS = "ragatouille_faiss_true"


def run_report(directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the program on the tables, figures and configuration in `directory`; returns the page."""
    output = directory / "report.html"
    arguments = ["--tables", directory / "tables", "--figures", directory / "figures"]
    arguments += ["--configuration", directory / "configuration.yaml", "--output", output]
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return output.read_text(encoding="utf-8")


def results(directory: Path, rows: dict[str, list[tables.Row]]) -> Path:
    tables.write(directory / "tables", **rows)
    tables.draw_figures(directory / "figures", rows)
    (directory / "configuration.yaml").write_text("measurement:\n  threads: 2 # <b>\n")
    return directory


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of results, and the page made of them."""
    directory = results(tmp_path_factory.mktemp("study"), tables.study())
    with pytest.MonkeyPatch.context() as monkeypatch:
        return directory, run_report(directory, monkeypatch)


def labelled(*rows: tables.Row) -> pd.DataFrame:
    return common.label_systems(tables.frame("runs", rows))


def text_of(html: str) -> str:
    html = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_first_screen_counts_outcomes_and_tells_findings(study: tuple[Path, str]) -> None:
    first = text_of(study[1].split("<h2>Figures</h2>")[0])
    assert "21 index builds with ColBERT; RAGatouille, use_faiss=True; and" in first
    assert "of 300 and 1,000 documents" in first
    assert "20 completed 1 out of memory (host)" in first
    assert "Indexing 1,000 documents takes ColBERT 1,484 MiB at its peak, 22 % more than" in first
    assert "beyond the spread of repeats (3 and 3 runs)" in first
    assert "memory_profiler misses up to 204 MiB" in first
    assert "Artifacts that differ beyond tolerance: 0 of 9" in first
    assert "corpus synthetic UKPLab/dapr, Genomics" in first
    assert "documents 300, 1,000 100,000, 250,000, 500,000, 1,000,000, 2,000,000" in first
    assert "cpu NVIDIA RTX 6000 Ada" in first
    assert "Intel Xeon Processor @ 2.90GHz, 2 cores" in first
    assert "2025-11-03 14:20 to 2025-11-03 14:20 UTC" in first
    assert "colbert 3.11.7 2.10.0 4.57.6 1.14.1.post1 0.2.22 –" in first


def test_the_page_needs_nothing_else(study: tuple[Path, str]) -> None:
    references = tables.references(study[1])
    assert [each for each in references if not each.startswith(("data:", "#"))] == []
    assert study[1].count("window.vegaEmbed") == 1  # one copy of Vega for all figures
    assert "default-src 'none'" in study[1]


def test_every_figure_is_there_with_its_caption_and_its_rows(study: tuple[Path, str]) -> None:
    directory, html = study
    for name in ("peak_memory", "memory_over_time", "memory_by_function", "artifact_comparison"):
        assert html.count(f'data-chart="{name}"') == 1
        texts = files.read_specification(directory / "figures" / f"{name}.html")["usermeta"]
        plain = text_of(html).replace("&#39;", "'")
        assert texts["title"] in plain
        assert texts["caption"] in plain
        match = re.search(rf'href="data:text/csv;base64,([^"]+)" download="{name}.csv"', html)
        assert match
        assert base64.b64decode(match[1]) == (directory / "figures" / f"{name}.csv").read_bytes()


def test_every_run_has_a_row(study: tuple[Path, str]) -> None:
    html = study[1]
    body = re.search(r"cost of 21 runs</summary>.*?<tbody>(.*?)</tbody>", html, flags=re.DOTALL)
    assert body
    assert body[1].count("<tr>") == 21
    assert "the kernel ended process 100 (SIGKILL)" in body[1]
    assert "threads: 2 # &lt;b&gt;" in html  # the configuration, escaped


def test_an_empty_study_makes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(run_report(results(tmp_path, {}), monkeypatch))
    assert "Nothing was run: the table of runs is empty." in text
    assert "No run completed" in text
    assert "The table of runs is empty: nothing was run." in text


def test_a_study_without_a_completed_run_makes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [tables.run(FAISS, 10_000, peak=None, outcome="out_of_memory_cuda")]
    text = text_of(run_report(results(tmp_path, {"runs": runs}), monkeypatch))
    assert "1 index build with RAGatouille, use_faiss=True of 10,000 documents." in text
    assert "1 out of memory (CUDA)" in text
    assert "No run completed: 1 out of memory (CUDA)" in text


def test_figures_come_in_a_fixed_order_and_unknown_ones_last(study: tuple[Path, str], tmp_path: Path) -> None:
    for path in (study[0] / "figures").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / path.name.replace("peak_memory", "another")).write_bytes(path.read_bytes())
    assert [figure.name for figure in page.read_figures(tmp_path)] == [
        "peak_memory",
        "memory_over_time",
        "memory_by_function",
        "artifact_comparison",
        "another",
    ]


def test_missing_input_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message() -> str:
        with pytest.raises(SystemExit) as ended:
            run_report(tmp_path, monkeypatch)
        assert not (tmp_path / "report.html").exists()
        return str(ended.value.code)

    assert message().startswith(f"{tmp_path / 'tables' / 'runs.parquet'}: no such table")
    tables.write(tmp_path / "tables")
    assert message() == f"{tmp_path / 'figures'}: holds no figure; draw some first (snakemake figures)"
    tables.draw_figures(tmp_path / "figures", {})
    assert message() == f"{tmp_path / 'configuration.yaml'}: cannot be read (No such file or directory)"
    (tmp_path / "figures" / "peak_memory.csv").unlink()
    assert message() == f"{tmp_path / 'figures' / 'peak_memory.csv'}: is missing; draw the figure anew"


def test_a_folder_without_figures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no figure"):
        page.read_figures(tmp_path)


# What the runs cannot tell


def test_limits_name_scale_synthetic_input_and_device() -> None:
    (scale, synthetic, device, *_) = facts.limits(labelled(tables.run("colbert", 1000)))
    assert "1,000 documents, 0.05 % of the published 2,000,000" in scale
    assert synthetic.startswith("Synthetic here: corpus and checkpoint.")
    assert device.startswith("Nothing ran on a GPU")


def test_limits_are_silent_where_they_do_not_hold() -> None:
    columns = {"corpus": "dapr Genomics", "checkpoint": "answerai-colbert-small-v1", "device": "cuda"}
    runs = [tables.run("colbert", 2_000_000, repeat=repeat, **columns) for repeat in (1, 2)]
    assert facts.limits(labelled(*runs)) == [
        "Repeats, which differ in nothing, differ by up to 0 MiB at their peak (allocator: default); smaller "
        "differences are no finding.",
        "The peak of a process tree is the largest of samples about 20 ms apart; a shorter spike can be lost "
        "from it. The peaks of functions (spans) are each process's own and come from the kernel's counter. "
        "RSS counts pages that processes share in each of them.",
    ]


def test_limits_name_every_setting_in_which_systems_differ() -> None:
    sentences = facts.limits(
        labelled(
            tables.run("colbert", 300, torch_version="2.0.1"),
            tables.run(FAISS, 300, doc_maxlen=256, index_bsize=64, nbits=2, kmeans_iterations=4),
        )
    )
    settings = next(each for each in sentences if each.startswith("The systems differ"))
    assert settings.startswith(
        "The systems differ in more than their code: passages after splitting (300 or 393) and process model "
        "(child process or in process)."
    )
    assert "Their environments differ too: torch (2.0.1 or 2.10.0)." in sentences


def test_limits_say_how_far_repeats_differ_and_what_ran_once() -> None:
    sentences = facts.limits(
        labelled(
            tables.run("colbert", 300, repeat=1, peak=1000.0),
            tables.run("colbert", 300, repeat=2, peak=1034.0),
            tables.run("colbert", 300, repeat=3, peak=5.0, outcome="killed"),
            tables.run("colbert", 300, "spans", peaks_exact=False),
        )
    )
    assert any("1 of 2 combinations of system, size and profiler were run once" in each for each in sentences)
    assert any("differ by up to 34 MiB" in each for each in sentences)
    assert any(each.startswith("In 1 of 3 runs the kernel's peak counter") for each in sentences)


def test_limits_tell_peaks_outside_the_index_call() -> None:
    sentences = facts.limits(
        labelled(
            tables.run("colbert", 300, tree_peak_moment="exit"),
            tables.run("colbert", 300, "spans", tree_peak_moment="exit"),
            tables.run(FAISS, 300, tree_peak_moment="start-up"),
            tables.run(FAISS, 300, "spans"),
        )
    )
    assert (
        "In 3 of 4 runs the tree is largest while no index is being built (2 at exit and 1 at start-up): "
        "that peak is what a machine must hold, not what indexing needs."
    ) in sentences


def test_comparisons_are_printed_with_names_and_spread() -> None:
    runs = labelled(tables.run("colbert", 300), tables.run(FAISS, 300))
    row = tables.comparison("systems", 300, ("colbert", [1200.0]), (FAISS, [900.0]), separated=None)
    table = facts.comparison_table(tables.frame("memory_comparison", [row]), runs)
    assert table.rows[0][:4] == ["ColBERT", "RAGatouille, use_faiss=True", "300", "tree_peak_rss_mib"]
    assert table.rows[0][-3:] == ["-300.00", "0.750", "not backed by repeats"]
