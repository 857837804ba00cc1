"""The report of faiss_tables says what its tables say, on the first screen what matters, and what it cannot tell."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import faiss_rows
import pytest
import tables
from faiss_rows import Tables
from indexscope import schemas
from indexscope.figures import catalog
from indexscope.report import faiss_tables
from test_torch_report import draw, text_of

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "report.py"


def frames(made: Tables) -> dict[str, faiss_rows.pd.DataFrame]:
    return {name: faiss_rows.frame(name, made.get(name, ())) for name in schemas.FAISS_TABLES}


def write(directory: Path, made: Tables, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the program on `made`; returns the page."""
    faiss_rows.write(directory / "tables", made)
    draw(directory / "figures", *catalog.FAISS_FIGURES, "peak_memory", "faiss_rfc")
    (directory / "configuration.yaml").write_text("faiss_tables: {threads: 1}\n")
    output = directory / "faiss_tables.html"
    options = {
        "experiment": "faiss_tables",
        "tables": directory / "tables",
        "figures": directory / "figures",
        "configuration": directory / "configuration.yaml",
        "output": output,
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["report.py", *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return write(tmp_path_factory.mktemp("faiss"), faiss_rows.study(), monkeypatch)


def test_the_first_screen_says_what_was_loaded_and_what_was_found(html: str) -> None:
    first = text_of(html.partition("</header>")[0])
    default, shared = (faiss_rows.parts("ivf_pq", "l2", 100, mode) for mode in ("default", "shared"))
    saved = 1 - shared["formula_mib"] / default["formula_mib"]
    for words in (
        "378 processes · 6 kinds of index · 1, 2, 5, 10, 20, 50 and 100 segments · load modes default, skip and ",
        "378 completed",
        f"Of {default['formula_mib']:.0f} MiB that 100 segments of IVFPQ with L2 need by formula, "
        f"{default['redundant_mib']:.0f} MiB ({100 * default['redundant_mib'] / default['formula_mib']:.0f} %) equal",
        f"{100 * saved:.0f} % less.",
        "The difference is beyond the spread of repeats.",
        "Searches find the same, to rounding, in all modes (default, skip, shared) and repeats.",
        "A search takes 1.01 times as long as with an own table (0.98 to 1.04).",
        "With its table IVFPQ searches faster from 64 vectors a list on for nprobe 1",
        "HNSWPQ: search with the SDC table takes 1.000 times as long as without",
        "Formula is off by at most 1.1 %",
        "What this cannot tell",
        "A table is at most 4 MiB here, in the RFC 128 MiB",
        "AMD EPYC 9554, 2 cores",
    ):
        assert words in first, words


def test_every_link_leads_somewhere_and_the_page_needs_nothing_else(html: str) -> None:
    references = tables.references(html)
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert {each[1:] for each in references if each.startswith("#")} <= set(identifiers)
    assert len(identifiers) == len(set(identifiers))
    assert [each for each in references if not each.startswith(("data:", "#"))] == []


def test_the_page_shows_its_own_figures_and_tables(html: str) -> None:
    drawn = re.findall(r'data-chart="(\w+)"', html.partition("<script")[0])
    assert [name for name in drawn if name in catalog.FAISS_FIGURES] == list(catalog.FAISS_FIGURES)
    # Of the target beside the experiment, since it has been drawn.
    assert set(drawn) - set(catalog.FAISS_FIGURES) == {"faiss_rfc"}
    text = text_of(html)
    assert "126 cells of index type, metric, segments and load mode" in text
    assert "RFC k-NN#1507 tables before 2,048 64 8 100 12,800 12,800 – not run here" in text
    assert "nan" not in re.split(r"[^a-z]+", text.lower())


def test_processes_that_did_not_complete_are_said_first() -> None:
    rows = faiss_rows.memory(["ivf_pq"], ["l2"], [20])
    rows.append(
        faiss_rows.process(
            "ivf_pq", "l2", 100, "default", outcome="out_of_memory_host", outcome_detail="limit"
        )
    )
    found = faiss_tables.troubles(faiss_rows.frame("faiss_memory", rows))
    assert found.sentences == [
        "1 of 10 processes did not complete (out of memory (host)): IVFPQ with L2, 100 segments, default."
    ]
    assert found.table.rows == [
        ["IVFPQ with L2, 100 segments, default", "1", "out of memory (host)", "limit"]
    ]


def test_unequal_results_are_a_trouble() -> None:
    rows = faiss_rows.memory(["ivf_pq"], ["l2"], [20])
    rows[-1]["results_digest"] = "other"
    (sentence,) = faiss_tables.troubles(faiss_rows.frame("faiss_memory", rows)).sentences
    assert (
        "find other ids or distances in one process than in another: IVFPQ with L2, 20 segments." in sentence
    )


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert faiss_tables.findings(frames({}), set()) == []
    assert faiss_tables.limits(frames({}))[0].startswith("No process completed")
    assert faiss_tables.summary(frames({})["faiss_memory"]).startswith("Nothing was loaded")
    only_shared = {"faiss_memory": faiss_rows.memory(["ivf_pq"], ["l2"], [20], ["shared"])}
    assert faiss_tables.findings(frames(only_shared), set()) == []


def test_a_page_of_empty_tables_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Nothing was loaded" in write(tmp_path, {}, monkeypatch)


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        (dict.fromkeys(faiss_rows.LIST_LENGTHS, 0.5), "searches faster in all 16 combinations"),
        (dict.fromkeys(faiss_rows.LIST_LENGTHS, 1.5), "searches faster in none of 16 combinations"),
    ],
)
def test_whether_the_table_is_worth_it(ratios: dict[int, float], words: str) -> None:
    rows = faiss_rows.frame("faiss_break_even", faiss_rows.break_even(ratios, None))
    assert words in faiss_tables.worth(rows)[0]


def test_cells_with_one_process_are_a_limit() -> None:
    made = {"faiss_memory": faiss_rows.memory(["ivf_pq"], ["l2"], [20], repeats=1)}
    text = " ".join(faiss_tables.limits(frames(made)))
    assert "3 of 3 cells have one process only" in text
    assert "Repeats of a cell differ" not in text
    assert (
        "is not backed by repeats"
        in faiss_tables.sharing(frames(made)["faiss_memory"], frames({})["faiss_alternatives"])[1]
    )
