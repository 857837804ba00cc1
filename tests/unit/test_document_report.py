"""The report of document_access says what its tables say."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

import altair as alt
import document_rows
import pandas as pd
import pytest
import tables
from document_rows import Row
from indexscope import schemas
from indexscope.figures import catalog, common, files
from indexscope.report import document_access, page

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "report.py"
CONFIGURATION = """\
document_access: {corpus: null, checkpoint: null, model: {layers: 2, hidden_size: 64}}
index_memory: {corpus: synthetic, checkpoint: synthetic_small}
"""
Tables = Mapping[str, list[Row]]


def draw(directory: Path, *names: str) -> None:
    """Figures with a chart that takes no time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(files.vl_convert, "vegalite_to_svg", lambda *arguments, **options: "<svg/>")
        for name in names:
            rows = pd.DataFrame({"loader": ["arrow"], "value": [1.5]})
            chart = alt.Chart(rows).mark_bar().encode(x="value:Q")
            texts = (f"Title of {name}", "Conditions", "Support", [], f"Caption of {name}")
            files.save(common.Figure(chart, rows, *texts), directory / name)


def frames(made: Tables) -> dict[str, pd.DataFrame]:
    return {name: document_rows.frame(name, made.get(name, ())) for name in schemas.DOCUMENT_TABLES}


def text_of(html: str) -> str:
    html = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    return text.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")


def write(directory: Path, made: Tables, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the program on `made`; returns the page."""
    document_rows.write(directory / "tables", made)
    draw(directory / "figures", *catalog.DOCUMENT_FIGURES, "peak_memory")
    (directory / "configuration.yaml").write_text(CONFIGURATION)
    output = directory / "document_access.html"
    arguments = [
        "--experiment",
        "document_access",
        "--tables",
        directory / "tables",
        "--figures",
        directory / "figures",
    ]
    arguments += ["--configuration", directory / "configuration.yaml", "--output", output]
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return write(tmp_path_factory.mktemp("documents"), document_rows.everything(), monkeypatch)


def test_the_first_screen_says_what_was_run_what_to_do_and_what_was_found(html: str) -> None:
    first = text_of(html.partition("</header>")[0])
    for words in (
        "53 trainings, 5 loaders · 2,000 and 20,000 documents of the corpus synthetic · world size 1, 2, 3 and 4 · cpu",
        "49 completed",
        "2 unsupported",
        "2 out of memory (host)",
        "Read with the in-memory loader (single, world size 1, warm page cache, 2,000 documents): 109 samples per "
        "second "
        "(runs 107 to 111), 301 MiB in all, opened in 10 ms.",
        "the loader changes throughput by 4.8 %.",
        "Fetching takes 0.25 to 5.4 % of a plain step",
        "Under 3,350 MiB the in-memory loader runs out of memory from 3 ranks on, as predicted",
        "A fetch takes from 18.9 µs (in memory) to 378 µs (ir_datasets)",
        "throughput seems 5.6 to 66 % higher than it is",
        "DistilBERT of 2 layers × 64 wide, random weights",
        "3,213,835",
        "What this cannot tell : what a corpus larger than memory does, lengths of real documents",
        "GPUs",
    ):
        assert words in first, words


def test_planned_endings_are_no_trouble_but_are_listed(html: str) -> None:
    assert 'class="troubles"' not in html
    text = text_of(html)
    assert "the process tree passed memory_limit_mib: 3350" in text
    assert "made-up reason of unsupported" in text


def test_every_link_within_the_page_leads_somewhere_and_nothing_else_is_needed(html: str) -> None:
    references = tables.references(html)
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert {each[1:] for each in references if each.startswith("#")} <= set(identifiers)
    assert len(identifiers) == len(set(identifiers))
    assert [each for each in references if not each.startswith(("data:", "#"))] == []


def test_the_page_shows_the_figures_of_its_own_experiment(html: str) -> None:
    assert re.findall(r'data-chart="(\w+)"', html.partition("<script")[0]) == list(catalog.DOCUMENT_FIGURES)


def test_empty_tables_make_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(write(tmp_path, {}, monkeypatch))
    assert "Nothing was run: the table of trainings is empty." in text
    assert "No training completed, so nothing can be said about any loader in training." in text
    assert "Everything completed." in text
    assert "nan" not in re.split(r"[^a-z]+", text.lower())


def test_any_configuration_makes_a_page() -> None:
    figures: list[page.EmbeddedFigure] = []
    for configuration in ("", "just words", "[1, 2", "document_access: 3"):
        assert "How a trainer" in document_access.render(frames({}), figures, configuration)


def test_the_recommendation_is_of_the_largest_warm_world_and_says_what_is_faster() -> None:
    rows = [
        document_rows.advice(1, "offset_index", situation="world size 1", samples_per_second=50.0),
        document_rows.advice(
            1, "arrow", situation="world size 2", samples_per_second=95.0, within_spread=True
        ),
        document_rows.advice(2, "in_memory", situation="world size 2", samples_per_second=100.0),
    ]
    rows.append(document_rows.advice(1, "arrow", situation="world size 8, cold page cache"))
    sentence, support = document_access.recommendation(document_rows.frame("document_advice", rows))
    assert sentence.startswith("Read with the Arrow file (world size 2): 95 samples per second")
    assert "The same in 1 of 2 other situations." in support
    assert "World size 1: the offset index, 50 samples per second" in support
    assert "The fastest is the in-memory loader, by 5.3 %, which is within the spread of repeats." in support
    rows[2]["samples_per_second"] = 90.0
    _, support = document_access.recommendation(document_rows.frame("document_advice", rows))
    assert support.endswith("It is also the fastest.")


def test_without_repeats_no_spread_is_said() -> None:
    row = document_rows.advice(samples_per_second_low=None, samples_per_second_high=None, open_seconds=None)
    (only,) = common.each_row(document_rows.frame("document_advice", [row]))
    assert document_access.numbers(only._asdict()) == "109 samples per second, 301 MiB in all"


def test_no_loader_can_be_recommended() -> None:
    rows = [document_rows.advice(2, fits=False)]
    sentence, _ = document_access.recommendation(document_rows.frame("document_advice", rows))
    assert sentence == "No loader can be recommended: none fits"
    assert document_access.recommendation(document_rows.frame("document_advice")) == ("", "")


def test_unplanned_endings_are_said_first() -> None:
    made = {
        "document_access": [
            document_rows.training("arrow", outcome="failed"),
            document_rows.training("in_memory", outcome="out_of_memory_host"),
            document_rows.training("in_memory", outcome="out_of_memory_host", experiment="limited"),
            document_rows.training("in_memory", precision="fp16", outcome="unsupported"),
        ],
        "document_fetches": [document_rows.fetch("arrow", outcome="killed")],
    }
    told = document_access.troubles(frames(made))
    assert told.sentences == [
        "2 of 4 trainings did not complete (1 out of memory (host), 1 failed): the Arrow file, one process; "
        "and the in-memory loader, one process.",
        "1 of 1 fetching processes did not complete (1 killed): the Arrow file.",
    ]
    assert len(told.table.rows) == 3
    assert len(document_access.outcome_table(frames(made)).rows) == 5


def test_published_out_of_memory_is_said_on_both_sides() -> None:
    rows = [
        document_rows.published(
            published=None, published_out_of_memory=True, ours=None, ours_out_of_memory=None
        ),
        document_rows.published(ours=None, ours_out_of_memory=True),
    ]
    theirs, ours = document_access.published_table(document_rows.frame("document_published", rows)).rows
    assert (theirs[4], theirs[6]) == ("out of memory", "–")
    assert (ours[4], ours[6]) == ("40", "out of memory")


def test_limits_follow_from_rows_and_configuration() -> None:
    settings = {
        "document_access": {"model": {"layers": 2, "hidden_size": 64}},
        "index_memory": {"corpus": "synthetic", "checkpoint": "synthetic_small"},
    }
    here = " ".join(
        sentence for _, sentence in document_access.limits(frames(document_rows.everything()), settings)
    )
    for words in (
        "2,000 documents, not the published 3,213,835",
        "Synthetic here: corpus and checkpoint.",
        "Nothing ran on a GPU.",
        "2 layers × 64 and random weights",
        "The largest world that completed has 2 ranks",
        "were run once",
        "Cold means",
        "The memory limit acts on",
    ):
        assert words in here, words
    columns = {"device": "cuda", "documents": 3_213_835, "world_size": 8, "parallelism": "distributed"}
    rows = [document_rows.training("arrow", repeat=repeat) | columns for repeat in (1, 2)]
    theirs = {
        "document_access": {
            "corpus": "msmarco",
            "checkpoint": "distilbert",
            "model": {"layers": 6, "hidden_size": 768},
        }
    }
    there = " ".join(
        sentence for _, sentence in document_access.limits(frames({"document_access": rows}), theirs)
    )
    for words in (
        "not the published",
        "Synthetic",
        "GPU",
        "weighs less",
        "largest world",
        "once",
        "Cold",
        "limit",
    ):
        assert words not in there, words
    assert "Each training was run 2 times on one machine" in there
