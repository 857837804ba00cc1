"""The report of remote_indexing says what its tables say; what became of runs is on index_memory's page, too."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

import altair as alt
import pandas as pd
import pytest
import remote_rows
import tables
from indexscope import schemas
from indexscope.figures import catalog, common, files
from indexscope.report import facts, index_memory, interruptions, page, remote_indexing
from remote_rows import Row

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "report.py"
CONFIGURATION = "remote_indexing: {corpus: pdfs}\n"
RETRIED = {
    "scheduler": "slurm",
    "scheduler_job": "124",
    "granted_mib": 4000,
    "attempt": 2,
    "earlier_attempts": "Attempt 1 as job 123 with 2,000 MiB: killed by Slurm for memory (OUT_OF_MEMORY), in stage "
    "encoding, last seen 2026-01-02T03:04:05Z.",
}
Tables = Mapping[str, list[Row]]


def draw(directory: Path, *names: str) -> None:
    """Figures with a chart that takes no time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(files.vl_convert, "vegalite_to_svg", lambda *arguments, **options: "<svg/>")
        for name in names:
            rows = pd.DataFrame({"system": ["colbert"], "value": [1.5]})
            chart = alt.Chart(rows).mark_bar().encode(x="value:Q")
            texts = (f"Title of {name}", "Conditions", "Support", [], f"Caption of {name}")
            files.save(common.Figure(chart, rows, *texts), directory / name)


def frames(made: Tables) -> dict[str, pd.DataFrame]:
    return {name: remote_rows.frame(name, made.get(name, ())) for name in schemas.REMOTE_TABLES}


def text_of(html: str) -> str:
    html = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    return text.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")


def write(directory: Path, made: Tables, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the program on `made`; returns the page."""
    remote_rows.write(directory / "tables", made)
    draw(directory / "figures", *catalog.REMOTE_FIGURES, "peak_memory")
    (directory / "configuration.yaml").write_text(CONFIGURATION)
    output = directory / "remote_indexing.html"
    arguments = ["--experiment", "remote_indexing", "--tables", directory / "tables", "--figures"]
    arguments += [
        directory / "figures",
        "--configuration",
        directory / "configuration.yaml",
        "--output",
        output,
    ]
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return write(tmp_path_factory.mktemp("remote"), remote_rows.everything(), monkeypatch)


def test_the_first_screen_answers(html: str) -> None:
    first = text_of(html.partition("</header>")[0])
    for words in (
        "2 indexes built by RAGatouille and ColBERT · 16 documents of the corpus pdfs · cpu",
        "16 of 22 pages have text; 2 of 7 files could not be read (1 encrypted, 1 damaged).",
        "RAGatouille: 40 passages, 0.25 MiB, in 15 s; ColBERT: 40 passages, 0.25 MiB, in 15 s.",
        "RAGatouille cost $0.03 on 2 cores, 2 GiB (estimated: $0.02).",
        "The work took 1.50 times the estimated seconds.",
        "Small (16,000 MiB) is the smallest GPU that fits",
        "Predicted only: nothing ran on a GPU here.",
        "it runs out first in training, which use_faiss: true avoids (then 9,000 MiB).",
        "Predicted; the recipe was not run here.",
        "A query takes 10.2 ms (ColBERT) to 20.4 ms (RAGatouille).",
        "what does the handbook say of q1 handbook.pdf, page 1 The passage of rank 1",
        "colbert-ai 0.2.22: ColBERT and RAGatouille, same results; ragatouille 0.0.9.post2: ColBERT and RAGatouille",
        "Interrupted ColBERT, attempt 2 went on from chunk 2",
        "What this cannot tell : GPU memory and time, which are predicted",
    ):
        assert words in first, words


def test_every_link_within_the_page_leads_somewhere_and_nothing_else_is_needed(html: str) -> None:
    references = tables.references(html)
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert {each[1:] for each in references if each.startswith("#")} <= set(identifiers)
    assert len(identifiers) == len(set(identifiers))
    assert [each for each in references if not each.startswith(("data:", "#"))] == []


def test_the_page_shows_the_figures_of_its_own_experiment(html: str) -> None:
    assert set(re.findall(r'data-chart="(\w+)"', html.partition("<script")[0])) == set(catalog.REMOTE_FIGURES)


def test_empty_tables_make_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(write(tmp_path, {}, monkeypatch))
    assert "Nothing was indexed: the table of runs is empty." in text
    assert "No index was completed" in text
    assert "Nothing was searched." in text
    assert "nan" not in re.split(r"[^a-z]+", text.lower())


def test_any_configuration_makes_a_page() -> None:
    figures: list[page.EmbeddedFigure] = []
    for configuration in ("", "just words", "[1, 2", "remote_indexing: 3"):
        assert "From PDFs to a searchable index" in remote_indexing.render(frames({}), figures, configuration)


def test_what_the_tables_cannot_answer_is_left_out() -> None:
    made = frames({"remote_runs": [remote_rows.run(corpus="synthetic")]})
    found = remote_indexing.findings(made, set())
    assert [finding.question for finding in found] == ["What was indexed", "The index, and how long it took"]
    assert found[0].sentence == "16 documents of the corpus synthetic, which is not of PDFs"
    only = remote_indexing.cost(frames({"remote_gpus": remote_rows.gpus()}))
    assert only[1] == "Estimated only: no run with a known price."


def test_a_passage_is_traced_to_file_and_page_or_to_its_document() -> None:
    rows = [remote_rows.result(), remote_rows.result("q2", file=None, page=None, document_id="synthetic-7")]
    shown = remote_indexing.examples(remote_rows.frame("remote_results", rows)).rows
    assert [row[1] for row in shown] == ["handbook.pdf, page 1", "synthetic-7"]


def test_libraries_that_do_not_load_or_find_other_passages_are_said() -> None:
    loads = [
        remote_rows.load(remote_rows.COLBERT, "ragatouille", loads=False),
        remote_rows.load(remote_rows.RAGATOUILLE, "ragatouille", same_results=False),
    ]
    words = remote_indexing.loads_words(remote_rows.frame("remote_loads", loads))
    assert words == "ragatouille 0.0.9.post2: RAGatouille, other results for RAGatouille, not ColBERT"
    made = {"remote_loads": loads, "remote_searches": [remote_rows.search(outcome="failed")]}
    told = remote_indexing.troubles(frames(made))
    assert told.sentences == [
        "1 of 1 search did not complete (1 failed).",
        "Not every plain library loads every index: not ColBERT in ragatouille.",
    ]
    assert [row[-1] for row in told.table.rows] == [
        "made-up reason of failed",
        "made-up reason of ragatouille",
    ]


def test_limits_follow_from_rows() -> None:
    here = " ".join(sentence for _, sentence in remote_indexing.limits(frames(remote_rows.everything()), {}))
    for words in ("Nothing ran on a GPU here.", "random weights", "list prices as of 2026-07-01",
                  "2 of 2 systems built the index once", "less than a chunk (25,000)", "1 run went on"):  # fmt: skip
        assert words in here, words
    runs = [
        remote_rows.run(repeat=repeat, device="cuda", checkpoint="colbertv2", passages=30_000)
        for repeat in (1, 2)
    ]
    there = remote_indexing.limits(frames({"remote_runs": runs}), {})
    assert there == []


# What became of runs, on every page of runs


def labelled(*runs: Row) -> pd.DataFrame:
    return common.label_systems(pd.DataFrame(remote_rows.frame("remote_runs", runs)))


def test_a_run_that_slurm_killed_is_shown_with_what_it_had_before_and_then() -> None:
    runs = labelled(tables.run("colbert", 300, **RETRIED), tables.run("colbert", 1000))
    told = facts.troubles(runs)
    assert told.sentences == [
        "1 of 2 runs was ended before a result and started again (1 began anew): ColBERT at 300 documents."
    ]
    (row,) = told.table.rows
    assert row[-2] == "attempt 2"
    assert row[-1] == f"{RETRIED['earlier_attempts']} The last attempt had 4,000 MiB."
    assert ("Scheduler", "slurm, 4,000 MiB granted") in facts.machine(runs)


def test_runs_that_went_on_were_limited_or_not_alone_are_told_apart() -> None:
    runs = labelled(
        tables.run("colbert", 300, attempt=3, resumed_from="chunk 2"),
        tables.run(
            "colbert", 400, outcome="out_of_memory_host", scheduler="slurm", granted_mib=2000, attempt=1
        ),
        tables.run("colbert", 500, jobs_beside="slice_dataset, plot", cores_beside=0.9, attempt=1),
        tables.run("colbert", 600, cores_beside=1.5, attempt=1),
        tables.run("colbert", 700, cores_beside=0.02, attempt=1),
    )
    assert interruptions.interruptions(runs).sentences == [
        "1 of 5 runs was ended before a result and started again (1 went on from what was there): ColBERT at 300 "
        "documents.",
        "1 of 5 runs was limited by what slurm granted (2,000 MiB): ColBERT at 400 documents.",
        "1 of 5 runs was not alone, IndexScope’s own slice_dataset and plot ran beside: ColBERT at 500 documents.",
        "1 of 5 runs was disturbed, other programs used up to 1.5 cores meanwhile: ColBERT at 600 documents.",
    ]
    rows = interruptions.interruptions(runs).rows
    assert [what for _, what, _ in rows] == ["attempt 3", "limited by slurm", "not alone", "not alone"]
    assert rows[0][2].startswith("Gone on from chunk 2; times and memory are of the last attempt.")
    assert rows[2][2] == "slice_dataset, plot, 0.9 cores used by all else"


def test_runs_that_nothing_happened_to_are_not_mentioned() -> None:
    runs = labelled(tables.run("colbert", 300), tables.run("colbert", 400, attempt=1, cores_beside=0.1))
    assert interruptions.interruptions(runs) == interruptions.Interruptions([], [])
    assert facts.troubles(runs).sentences == []
    assert not [label for label, _ in facts.machine(runs) if label == "Scheduler"]


def test_the_page_of_index_memory_shows_them() -> None:
    study = tables.study()
    quiet = pd.DataFrame(remote_rows.frame("remote_runs", study["runs"]))
    comparison = tables.frame("memory_comparison", study["memory_comparison"])
    assert "started again" not in index_memory.render(quiet, comparison, [], "")
    study["runs"][0] |= RETRIED
    runs = pd.DataFrame(remote_rows.frame("remote_runs", study["runs"]))
    html = index_memory.render(runs, comparison, [], "")
    assert "was ended before a result and started again (1 began anew)" in text_of(
        html.partition("</header>")[0]
    )
    section = text_of(html.partition('id="troubles"')[2])
    assert "killed by Slurm for memory (OUT_OF_MEMORY), in stage encoding" in section
    assert "earlier attempts" in section  # a column of the table of runs
