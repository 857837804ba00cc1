"""The examples of docs/extending.md, taken from the page: each is short, and the real workflow runs with it."""

from __future__ import annotations

import email.message
import json
import mailbox
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from checkout import Checkout

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
ADAPTER = "workflow/scripts/indexscope/frameworks/ngrams.py"
SETTINGS = "MailboxCorpusSettings"
FIGURE = "workflow/scripts/indexscope/figures/index_size.py"


class Example(NamedTuple):
    """A block of the page: where it goes, in the page's words, its file, and the text."""

    place: str
    file: str
    text: str


def examples(heading: str) -> list[Example]:
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(
        r"^(New file|At the end of|Above `Corpus` in|As a case of `open_corpus` in) `([\w./]+)`[^\n]*\n\n"
        r"```\w+\n(.*?)```",
        section,
        re.DOTALL | re.MULTILINE,
    )
    assert len(blocks) == section.count("\n```\n")
    return [Example(*block) for block in blocks]


def follow(checkout: Checkout, heading: str) -> None:
    """Do what a section of the page says."""
    for place, file, text in examples(heading):
        path = checkout.path / file
        assert path.exists() is (place != "New file")
        before = path.read_text() if path.exists() else ""
        if place in ("New file", "At the end of"):
            path.write_text(before + text)
        elif place == "Above `Corpus` in":
            path.write_text(
                replaced(r"\n(Corpus = Annotated\[\n[^,]*),\n", rf"\n{text}\n\n\1 | {SETTINGS},\n", before)
            )
        else:
            path.write_text(
                replaced(
                    r"(corpora import \()(.*\n +case .*?\n)(\n\ndef )",
                    rf"\1\n    {SETTINGS},\2{text}\3",
                    before,
                )
            )


def replaced(pattern: str, replacement: str, text: str) -> str:
    """`text` with the first match of `pattern` replaced; there must be one."""
    result, count = re.subn(pattern, lambda match: match.expand(replacement), text, count=1, flags=re.DOTALL)
    assert count == 1
    return result


def table(checkout: Checkout, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(checkout.path / f"results/tables/{name}.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout with the page's framework and figure, in which the workflow has been run with them alone."""
    checkout = Checkout(tmp_path_factory.mktemp("extended"))
    follow(checkout, "A framework")
    follow(checkout, "A figure")
    checkout.snakemake("--configfile", "ngrams.yaml")
    yield checkout


@pytest.mark.parametrize(
    ("heading", "files"),
    [
        ("A framework", [ADAPTER, "ngrams.yaml"]),
        (
            "A corpus",
            [
                "workflow/scripts/indexscope/settings/corpora.py",
                "workflow/scripts/indexscope/corpora/mail.py",
                "workflow/scripts/indexscope/corpora/catalog.py",
            ],
        ),
        ("A figure", [FIGURE, "workflow/scripts/indexscope/figures/catalog.py"]),
    ],
)
def test_an_example_is_short(heading: str, files: list[str]) -> None:
    found = examples(heading)
    assert [example.file for example in found] == files
    assert all(example.text.count("\n") < 50 for example in found)


def test_a_new_kind_of_corpus_is_sliced_and_planned(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    follow(checkout, "A corpus")
    box = mailbox.mbox(tmp_path / "list.mbox")
    for number in range(3):
        message = email.message.EmailMessage()
        message["Subject"] = f"Subject {number}"
        message["Message-ID"] = f"<{number}@list>"
        message.set_content(f"Words of message {number}: naïve.")
        box.add(message)
    box.close()
    command = [
        *(sys.executable, "workflow/scripts/slice_dataset.py", "--documents", "2", "--output", "2.parquet"),
        *("--corpus", '{"source": "mailbox", "path": "list.mbox"}'),
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert pq.read_table(tmp_path / "2.parquet").to_pylist() == [
        {
            "document_id": f"<{number}@list>",
            "text": f"Subject {number}\nWords of message {number}: naïve.",
        }
        for number in range(2)
    ]
    (tmp_path / "mail.yaml").write_text(
        "corpora: {mail: {source: mailbox, path: list.mbox}}\nindex_memory: {corpus: mail}\n"
    )
    assert checkout.planned("--configfile", "mail.yaml")["slice_dataset"] == 2


@pytest.mark.slow
def test_runs_of_a_new_framework_are_rows_with_phases_and_resolved_values(extended: Checkout) -> None:
    rows = table(extended, "runs")
    assert {(row["documents"], row["profiler"], row["repeat"]) for row in rows} == {
        (documents, profiler, repeat)
        for documents in (50, 100)
        for profiler in ("none", "spans")
        for repeat in (1, 2)
    }
    for row in rows:
        assert (row["outcome"], row["label"], row["framework"]) == ("completed", "Trigrams", "ngrams")
        assert row["passages"] == row["documents"]
        assert 0 < row["encoding_seconds"] <= row["index_seconds"] < row["wall_seconds"]
        assert row["planning_seconds"] is None
        assert row["seconds_per_25k_passages"] > 0
        assert row["index_size_mib"] > 0
        assert row["kmeans_backend"] is None
        assert 0 < row["index_peak_rss_mib"] <= row["tree_peak_rss_mib"]
    records = [
        json.loads(path.read_text()) for path in extended.path.glob("results/index_runs/*/*/*/*/run.json")
    ]
    assert len(records) == len(rows)
    for record in records:
        assert record["requested"] == {"n": 3, "lower_case": False}
        assert record["resolved"]["distinct_ngrams"] > 100
    spans = table(extended, "spans")
    assert {span["function"] for span in spans} == {"difflib.SequenceMatcher.set_seq2"}
    # Its phase is where the memory goes: twice the documents, more of it.
    risen = {span["documents"]: span["peak_rss_mib"] - span["start_rss_mib"] for span in spans}
    assert 0.5 < risen[50] < risen[100]


@pytest.mark.slow
def test_every_figure_and_the_report_cope_with_a_framework_of_another_kind(extended: Checkout) -> None:
    """No memory_profiler, no k-means, no partitions, no artifacts."""
    assert table(extended, "artifact_comparison") == []
    drawn = {path.name for path in (extended.path / "results/figures").iterdir()}
    names = {path.stem for path in (extended.path / "results/figures").glob("*.svg")}
    assert drawn == {f"{name}.{suffix}" for name in names for suffix in ("svg", "html", "csv")}
    assert "index_size" in names
    size = (extended.path / "results/figures/index_size.svg").read_text()
    assert "Trigrams has the largest index" in size
    page = (extended.path / "results/report.html").read_text()
    assert "Trigrams has the largest index" in page
    assert "Trigrams" in (extended.path / "results/figures/memory_over_time.svg").read_text()


@pytest.mark.slow
def test_a_second_start_finds_nothing_to_do(extended: Checkout) -> None:
    assert "Nothing to be done" in extended.snakemake("--configfile", "ngrams.yaml").stdout


@pytest.mark.slow
def test_a_function_of_another_framework_runs_nothing_again(extended: Checkout) -> None:
    path = extended.path / "config/functions.yaml"
    before = path.read_text()

    def planned_with(entry: str) -> dict[str, int]:
        path.write_text(before + entry)
        try:
            return extended.planned("--configfile", "ngrams.yaml")
        finally:
            path.write_text(before)

    assert "index_collection" not in planned_with("\nanother.framework:\n  build: {phase: true}\n")
    assert planned_with("\ndifflib:\n  SequenceMatcher.__init__: {}\n")["index_collection"] == 8


@pytest.mark.slow
def test_artifacts_of_an_index_of_another_layout_are_absent_when_asked_for(extended: Checkout) -> None:
    (extended.path / "pairs.yaml").write_text(
        (extended.path / "ngrams.yaml").read_text()
        + "  artifact_pairs: [{name: repeated, left: trigrams, right: trigrams, right_repeat: 2}]\n"
    )
    extended.snakemake("results/tables/artifact_comparison.parquet", "--configfile", "pairs.yaml")
    assert table(extended, "artifact_comparison") == []
    manifests = [
        json.loads(path.read_text()) for path in extended.path.glob("results/index_runs/**/manifest.json")
    ]
    assert [(manifest["layout"], manifest["artifacts"]) for manifest in manifests] == [(None, [])] * 4


def test_an_adapter_that_breaks_the_contract_is_refused_when_planning(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    adapter = checkout.path / ADAPTER
    (text,) = (example.text for example in examples("A framework") if example.file == ADAPTER)
    adapter.write_text(text.replace("EXTENSIONS = None\n", ""))
    done = checkout.snakemake("--dry-run", check=False)
    assert done.returncode != 0
    assert f"{ADAPTER}: EXTENSIONS is missing; see docs/extending.md" in done.stdout
    assert "Traceback" not in done.stdout
    assert "settings/adapters.py" not in done.stdout  # where it was found does not help
