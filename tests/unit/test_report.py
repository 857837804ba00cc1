"""The report says what the tables say, on one page that needs nothing else."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import altair as alt
import pandas as pd
import pytest
import tables
from indexscope import schemas
from indexscope.analysis.confounds import confound_rows
from indexscope.analysis.memory_comparison import compare_memory
from indexscope.figures import common, files
from indexscope.report import equal_work, facts, page
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


DRAWN = [
    "artifact_comparison",
    "ghost",
    "memory_by_function",
    "memory_over_time",
    "peak_memory",
    "phase_time",
]


def draw(directory: Path, is_finding: bool = True) -> None:
    """Figures with the texts of DRAWN's but a chart that takes no time; how charts look is tested elsewhere."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(files.vl_convert, "vegalite_to_svg", lambda *arguments, **options: "<svg/>")
        for name in DRAWN:
            rows = pd.DataFrame({"system": ['a "quoted", name', "50 % <b>"], "peak_mib": [1.5, 2.0]})
            chart = alt.Chart(rows).mark_bar().encode(x="peak_mib:Q")
            figure = common.Figure(
                chart, rows, f"Title of {name}", f"Conditions of {name}", f"Support of {name}.", [f"Note of {name}"],
                f"Caption of {name}", is_finding=is_finding,
            )  # fmt: skip
            files.save(figure, directory / name)


def results(directory: Path, rows: dict[str, list[tables.Row]], is_finding: bool = True) -> Path:
    tables.write(directory / "tables", **rows)
    draw(directory / "figures", is_finding)
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


def first_screen(html: str) -> str:
    return text_of(html.partition("</header>")[0]).replace("&#39;", "'")


def test_the_first_screen_says_what_was_run_on_what_and_how_it_ended(study: tuple[Path, str]) -> None:
    first = first_screen(study[1])
    assert (
        "23 index builds: 3 systems, 300 and 1,000 documents; profilers none, spans, memory_profiler and ledger, each "
        "1 to 3 times." in first
    )
    assert "22 completed 1 out of memory (host)" in first
    assert (
        "1 of 23 runs ended out of memory (host): RAGatouille, use_faiss=False at 1,000 documents." in first
    )
    assert (
        "ColBERT colbert-ai 0.2.22 child process 300: none ×3, spans, memory_profiler, ledger; 1,000: none, spans"
        in first
    )
    assert "Intel Xeon Processor @ 2.90GHz, 2 cores, 24.0 GiB of memory, Linux 6.18.5" in first
    assert "2 threads, allocator default, memory read every 20 ms" in first
    assert "torch 2.10.0, transformers 4.57.6, FAISS 1.14.1.post1, colbert-ai 0.2.22" in first
    assert "2025-11-03 14:20 UTC · IndexScope 0123456789ab" in first
    assert "corpus synthetic UKPLab/dapr, Genomics" in first
    assert "documents 300, 1,000 100,000 to 2,000,000, 5 sizes" in first
    assert "passages 1,000 to 1,310 of 1,000 documents 327,523 of 250,000 documents" in first
    assert "cpu (2 cores) NVIDIA RTX 6000 Ada" in first


def test_the_first_screen_tells_three_findings_with_number_support_and_figure(
    study: tuple[Path, str],
) -> None:
    items = re.search(r'<ol class="findings".*?</ol>', study[1], flags=re.DOTALL)
    assert items
    told = [text_of(each).strip() for each in items[0].split("</li>")[:-1]]
    assert len(told) == 3
    assert (
        "At 1,000 documents ColBERT needs most memory, 1,484 MiB at its peak, 182 MiB (14 %) more than"
        in told[0]
    )
    assert "cannot be told: no two frameworks were given the same work" in told[0]
    assert "is not backed by repeats (1 and 1 runs)" in told[0]
    assert told[1:] == [
        "What line-by-line profiling misses Title of ghost. Support of ghost. Figure: ghost",
        "Whether the indexes are equal Title of artifact_comparison. Support of artifact_comparison. "
        "Figure: artifact comparison",
    ]
    for name in ("peak_memory", "ghost", "artifact_comparison"):
        assert f'<a href="#{name}">' in items[0]


def test_every_link_within_the_page_leads_somewhere(study: tuple[Path, str]) -> None:
    links = {each[1:] for each in tables.references(study[1]) if each.startswith("#")}
    identifiers = re.findall(r'\bid="([^"]+)"', study[1])
    assert links <= set(identifiers)
    assert len(identifiers) == len(set(identifiers))
    assert {"peak_memory", "category-memory", "equal-work", "limits", "tables", "configuration"} <= links


def test_the_page_needs_nothing_else(study: tuple[Path, str]) -> None:
    references = tables.references(study[1])
    assert [each for each in references if not each.startswith(("data:", "#"))] == []
    assert study[1].count("window.vegaEmbed") == 1  # one copy of Vega for all figures
    assert "default-src 'none'" in study[1]
    assert len(study[1].encode()) < 12e6


def test_every_figure_is_there_with_its_caption_and_its_rows(study: tuple[Path, str]) -> None:
    directory, html = study
    plain = text_of(html).replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")
    names = [path.stem for path in sorted((directory / "figures").glob("*.html"))]
    assert len(names) == html.count("data-chart=") >= 5
    for name in names:
        assert html.count(f'data-chart="{name}"') == 1
        texts = files.read_specification(directory / "figures" / f"{name}.html")["usermeta"]
        assert re.sub(r"\s+", " ", texts["title"]) in plain
        assert re.sub(r"\s+", " ", texts["caption"]) in plain
        match = re.search(rf'href="data:text/csv;charset=utf-8,([^"]*)" download="{name}.csv"', html)
        assert match
        assert unquote(match[1]) == (directory / "figures" / f"{name}.csv").read_text(encoding="utf-8")


def test_every_run_has_a_row(study: tuple[Path, str]) -> None:
    html = study[1]
    body = re.search(r"cost of 23 runs</summary>.*?<tbody>(.*?)</tbody>", html, flags=re.DOTALL)
    assert body
    assert body[1].count("<tr>") == 23
    assert "the kernel ended process 100 (SIGKILL)" in body[1]
    assert "threads: 2 # &lt;b&gt;" in html  # the configuration, escaped


def test_an_empty_study_makes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(run_report(results(tmp_path, {}, is_finding=False), monkeypatch))
    assert "Nothing was run: the table of runs is empty." in text
    assert "No run completed" in text
    assert "Who needs most memory" not in text


def test_a_study_without_a_completed_run_makes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [tables.run(FAISS, 10_000, peak=None, outcome="out_of_memory_cuda")]
    text = text_of(run_report(results(tmp_path, {"runs": runs}), monkeypatch))
    assert "1 index build: RAGatouille, use_faiss=True, 10,000 documents; profiler none, each once." in text
    assert "1 out of memory (CUDA)" in text
    assert "No run completed, so nothing can be said" in text


def test_figures_come_by_category_in_the_catalogs_order_and_unknown_ones_last(
    study: tuple[Path, str], tmp_path: Path
) -> None:
    for name in DRAWN:
        for suffix in (".html", ".csv"):
            content = (study[0] / "figures" / (name + suffix)).read_bytes()
            (tmp_path / (name + suffix)).write_bytes(content)
            (tmp_path / (name.replace("peak_memory", "another") + suffix)).write_bytes(content)
    figures = page.read_figures(tmp_path)
    assert [(figure.category, figure.name) for figure in figures] == [
        ("Memory", "peak_memory"),
        ("Memory", "memory_over_time"),
        ("Functions", "memory_by_function"),
        ("Functions", "ghost"),
        ("Time", "phase_time"),
        ("Index", "artifact_comparison"),
        ("Other figures", "another"),
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
    draw(tmp_path / "figures")
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
    assert table.rows[0][:4] == [
        "ColBERT",
        "RAGatouille, use_faiss=True",
        "300",
        "peak of the process tree (MiB)",
    ]
    assert table.rows[0][-3:] == ["-300.00", "0.750", "not backed by repeats"]


# Who needs most memory, and what of it is the framework itself

FAIR = {"framework": "colbert", "environment": "ragatouille", "label": "ColBERT, equal work"}


def repeated(system: str, *peaks: float, documents: int = 300, **columns: Any) -> list[tables.Row]:
    """Runs without a profiler; their index calls peak at half of `peaks`."""
    return [
        tables.run(system, documents, repeat=number, peak=peak, **{"index_peak_rss_mib": peak / 2, **columns})
        for number, peak in enumerate(peaks, start=1)
    ]


def measured(*groups: list[tables.Row]) -> equal_work.Measured:
    rows = [row for group in groups for row in group]
    comparison = tables.frame("memory_comparison", compare_memory(rows))
    return equal_work.Measured(labelled(*rows), comparison)


def answered(*groups: list[tables.Row]) -> equal_work.Answer:
    answer = equal_work.answer(measured(*groups))
    assert answer
    return answer


def test_the_framework_itself_is_what_differs_on_equal_work() -> None:
    answer = answered(
        repeated("colbert", 1700, 1690),
        repeated(FAISS, 1240, 1250),
        repeated("colbert_fair", 1050, 1060, **FAIR),
    )
    assert answer.sentence == (
        "At 300 documents ColBERT needs most memory, 1,695 MiB at its peak, 450 MiB (36 %) more than RAGatouille, "
        "use_faiss=True; given the same work, RAGatouille takes 190 MiB more than ColBERT (1,245 and 1,055 MiB): so "
        "much is the framework itself"
    )
    assert answer.support == (
        "Each difference is beyond the spread of repeats (2 and 2 runs; chance alone does that in 33 % of cases). "
        "During the index call alone, given the same work: +95 MiB."
    )


def test_equal_work_at_a_smaller_size_answers_too() -> None:
    answer = answered(
        repeated("colbert", 1700, 1690),
        repeated(FAISS, 1240, 1250),
        repeated("colbert_fair", 1050, 1060, **FAIR),
        repeated("colbert", 2000, documents=900),
        repeated(FAISS, 1800, documents=900),
    )
    assert answer.sentence == (
        "At 900 documents ColBERT needs most memory, 2,000 MiB at its peak, 200 MiB (11 %) more than RAGatouille, "
        "use_faiss=True; at 300 documents, given the same work, RAGatouille takes 190 MiB more than ColBERT "
        "(1,245 and 1,055 MiB): so much is the framework itself"
    )


def test_the_larger_of_the_shipped_systems_is_told_first_at_the_largest_size() -> None:
    answer = answered(
        repeated("colbert", 5000, 5000),
        repeated("colbert", 1200, 1210, documents=900),
        repeated(FAISS, 1500, 1510, documents=900),
        repeated("colbert_fair", 1400, 1390, documents=900, **FAIR),
    )
    assert answer.sentence.startswith(
        "At 900 documents RAGatouille, use_faiss=True needs most memory, 1,505 MiB at its peak, 300 MiB (25 %) more "
        "than ColBERT; given the same work, RAGatouille takes 110 MiB more than ColBERT (1,505 and 1,395 MiB)"
    )


@pytest.mark.parametrize(
    ("peaks", "words"),
    [
        ([1040, 1300], "75 MiB more than ColBERT (1,245 and 1,170 MiB): no difference beyond the spread of repeats"),
        ([1100], "145 MiB more than ColBERT (1,245 and 1,100 MiB): so much is the framework itself, if repeats "
                 "confirm it"),
        ([1300, 1310], "60 MiB less than ColBERT (1,245 and 1,305 MiB): the framework itself adds nothing"),
    ],
)  # fmt: skip
def test_what_equal_work_says_goes_by_the_repeats(peaks: list[float], words: str) -> None:
    answer = answered(
        repeated("colbert", 1700, 1690),
        repeated(FAISS, 1240, 1250),
        repeated("colbert_fair", *peaks, **FAIR),
    )
    assert answer.sentence.endswith(f"RAGatouille takes {words}")


def test_without_equal_work_it_cannot_be_told() -> None:
    systems = repeated("colbert", 1700, 1690), repeated(FAISS, 1240, 1250)
    assert answered(*systems).sentence.endswith(
        "how much of it is the framework itself cannot be told: no two frameworks were given the same work (systems "
        "ragatouille_faiss_true and colbert_fair would be)"
    )
    fair = repeated("colbert_fair", 1050, 1060, nbits=2, passages=None, **FAIR)
    assert answered(*systems, fair).sentence.endswith(
        "RAGatouille, use_faiss=True and ColBERT, equal work are meant to be equal but are not, or not known to be, "
        "in bits per dimension and passages after splitting"
    )
    assert (
        "one framework only" in answered(systems[0], repeated("colbert_b", 1, framework="colbert")).sentence
    )


def test_a_system_that_ran_out_of_memory_is_named_as_unknown() -> None:
    killed = repeated("ragatouille_faiss_false", 2000, outcome="out_of_memory_host")
    answer = answered(repeated("colbert", 1700, 1690), repeated(FAISS, 1240, 1250), killed)
    assert answer.support.endswith("Not known of RAGatouille, use_faiss=False (out of memory (host)).")


def test_one_system_is_not_compared() -> None:
    assert equal_work.answer(measured(repeated("colbert", 1700, 1690))) is None
    assert equal_work.answer(equal_work.Measured(labelled(), tables.frame("memory_comparison"))) is None


INSIDE = {
    "framework": "colbert", "label": "Inside", "nbits": 2, "index_bsize": 64, "kmeans_iterations": 4,
    "passages": 300, "environment": "colbert", "ragatouille_version": None,
}  # fmt: skip


def test_parent_only_trees_and_equal_work_are_told_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        *repeated("colbert_fair", 1050, 1060, **FAIR),
        *repeated("colbert_in_process", 1100, 1120, **INSIDE),
        *repeated("colbert", 1700, 1690),
        *repeated(FAISS, 1240, 1250),
        tables.run("colbert", 300, "spans"),
    ]
    spans = [
        tables.span(rows[-1], function, (1.0, 2.0), (600.0, 620.0, 700.0), role, **pss)
        for function, role, pss in [
            ("setup", "worker", {"end_pss_mib": 510.0, "end_tree_pss_mib": 930.0}),
            ("finalize", "worker", {"end_pss_mib": 540.0, "end_tree_pss_mib": 960.0}),
            ("indexer.index", "parent", {}),
        ]
    ]
    study = {"runs": rows, "spans": spans, "confounds": list(confound_rows(rows))}
    study["memory_comparison"] = list(compare_memory(rows))
    html = run_report(results(tmp_path, study), monkeypatch)
    section = text_of(html[html.index('<h2 id="equal-work">') :].partition("<h2 ")[2])
    assert (
        "Measured as the study did, one process of each, RAGatouille, use_faiss=True needs 795 MiB more than ColBERT "
        "at 300 documents; counting whole process trees it needs 450 MiB less; given equal work and an equal "
        "environment it needs 190 MiB more." in section
    )
    for told in (
        "300 what is counted +1,245 +1,240 to +1,250 ColBERT, parent process: 450 ColBERT: 1,695 memory counted "
        "(parent process → process tree) within each of the same 2 runs",
        "300 process model −585 −600 to −570 ColBERT: 1,695 Inside: 1,110 process model (child process → in process) "
        "beyond the spread of repeats (2 and 2 runs)",
        "300 framework +190 +180 to +200 ColBERT, equal work: 1,055 RAGatouille, use_faiss=True: 1,245 framework (",
        "300 all, process trees −450 −460 to −440 ColBERT: 1,695 RAGatouille, use_faiss=True: 1,245 both ends,",
        "300 ColBERT peak of each (RSS) 450 1,205 1,695",
        "300 ColBERT end of planning (PSS) 420 510 930",
        "300 ColBERT end of finalizing (PSS) 420 540 960",
    ):
        assert told in section
    assert "end of training" not in section
    assert "cannot be told from these runs" not in section


def test_without_equal_work_the_section_says_what_is_missing(study: tuple[Path, str]) -> None:
    section = text_of(study[1][study[1].index('<h2 id="equal-work">') :])
    assert "with equal work and an equal environment it was not measured." in section
    assert (
        "What is the framework itself cannot be told from these runs: no two frameworks were given" in section
    )


def test_chance_of_samples_that_do_not_overlap() -> None:
    assert equal_work.by_chance(2, 2) == pytest.approx(1 / 3)
    assert equal_work.by_chance(3, 3) == pytest.approx(0.1)


# Facts of the first screen


def test_the_encoders_geometry_comes_from_the_configuration() -> None:
    def encoder(configuration: dict[str, Any]) -> str:
        rows = facts.scale(labelled(tables.run("colbert", 300)), configuration).rows
        return next(row[1] for row in rows if row[0] == "encoder")

    settings = {"layers": 12, "hidden_size": 384}
    assert (
        encoder({"checkpoints": {"synthetic_small": settings}})
        == "synthetic_small: 12 layers × 384 wide, 96 values a token"
    )
    hub = {"repository": "answerdotai/answerai-colbert-small-v1"}
    assert "answerdotai/answerai-colbert-small-v1, 96" in encoder({"checkpoints": {"synthetic_small": hub}})
    assert encoder({"checkpoints": None}) == "synthetic_small: 96 values a token"


def test_troubles_name_failed_attempts_and_runs_that_did_not_complete() -> None:
    failure = "torch: OutOfMemoryError"
    troubles = facts.troubles(
        labelled(
            tables.run("colbert", 300),
            tables.run(FAISS, 300, kmeans_attempts=2, kmeans_failures=failure),
            tables.run(FAISS, 1000, repeat=1, outcome="out_of_memory_host", outcome_detail="SIGKILL"),
            tables.run(FAISS, 1000, repeat=2, outcome="out_of_memory_host"),
            tables.run("colbert", 1000, outcome="failed"),
        )
    )
    assert troubles.sentences == [
        "2 of 5 runs ended out of memory (host): RAGatouille, use_faiss=True at 1,000 documents.",
        "1 of 5 runs ended as failed: ColBERT at 1,000 documents.",
        "A k-means attempt failed in 1 of 5 runs (torch: OutOfMemoryError): RAGatouille, use_faiss=True at 300 "
        "documents.",
    ]
    assert [list(row[-2:]) for row in troubles.table.rows] == [
        ["out of memory (host)", "SIGKILL"],
        ["out of memory (host)", "–"],
        ["failed", "–"],
        ["failed k-means attempt", failure],
    ]
    assert facts.troubles(labelled(tables.run("colbert", 300))).sentences == []


def test_systems_are_listed_with_their_colour_and_at_most_seven() -> None:
    runs = [tables.run(f"system_{number}", 300) for number in range(11)]
    shown, left = facts.systems(labelled(*runs))
    assert (len(shown), left) == (7, 4)
    assert len({system.colour for system in shown}) == 7
    sizes = [tables.run("colbert", size, repeat=repeat) for size in (200, 500) for repeat in (1, 2)]
    (colbert,), _ = facts.systems(labelled(*sizes, tables.run("colbert", 900, "spans")))
    assert colbert.runs == "200, 500: none ×2; 900: spans"


def test_versions_that_differ_are_told_with_their_environments() -> None:
    runs = labelled(
        tables.run("colbert", 300, torch_version="2.0.1", environment="old"), tables.run(FAISS, 300)
    )
    assert "torch 2.0.1 (old) or 2.10.0 (ragatouille), transformers 4.57.6" in facts.versions_words(runs)


def test_campaign_and_logs_from_elsewhere_are_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: tables.Row = {
        "log": "/home/somebody/secret/250k.log", "entry": 0, "kind": "memory_profiler", "system": "published ColBERT",
        "documents": 250_000, "machine": "RTX 6000 Ada", "published": True, "source": "250k.log",
        "sha256": "0123456789abcdef" * 4, "bytes": 12, "attempts": 1, "tables": 7, "incomplete_tables": 0,
        "calls": 0, "samples": 0,
    }  # fmt: skip
    runs = [tables.run("colbert", 300, campaign="spring")]
    results(tmp_path, {"runs": runs})
    schemas.write_table([log], schemas.EXTERNAL_LOGS, tmp_path / "tables" / "external_logs.parquet")
    html = run_report(tmp_path, monkeypatch)
    assert "IndexScope · campaign spring" in first_screen(html)
    assert "1 log from elsewhere" in first_screen(html)
    assert "published ColBERT 250,000 RTX 6000 Ada memory_profiler 250k.log yes" in text_of(html)
    assert "/home/somebody" not in html
