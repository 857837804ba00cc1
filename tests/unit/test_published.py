"""The published study: its cells against its logs, its sentences against its cells, and ours beside."""

from __future__ import annotations

import csv
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tables
import yaml
from indexscope import config
from indexscope.analysis import external_logs, published, published_tables
from indexscope.analysis.external_logs import ExternalLog, sha256_of
from indexscope.analysis.memory_by_function import FUNCTIONS, QUALIFIED_NAMES, Names, function_rows
from indexscope.analysis.memory_profiler_log import LogReader
from indexscope.figures import (
    files,
    functions,
    published_beside_ours,
    published_functions,
    published_sentences,
)
from indexscope.run_record import InputError
from profiler_logs import INDEXER, one_line_table, reference_logs, run_table

REPO = Path(__file__).parents[2]
FOLDER = REPO / "config/published"
TRUE, FALSE = "RAGatouille (use_faiss=True)", "RAGatouille (use_faiss=False)"


def cells(logs: bool = True) -> list[published.Cell]:
    return published.read_cells(FOLDER, published.read_recorded(FOLDER) if logs else {})


def differing(found: list[published.Cell]) -> list[tuple[published.Run, str, str]]:
    return [(cell.run, cell.function, cell.column) for cell in found if cell.verdict == published.DIFFERS]


MISTAKEN = [
    (("ragatouille", use_faiss, documents), "setup", "start")
    for use_faiss, sizes in {
        "true": [100_000, 250_000, 500_000],
        "false": [100_000, 250_000, 500_000, 1_000_000, 2_000_000],
    }.items()
    for documents in sizes
]


# Cells


def test_eight_cells_contradict_the_logs() -> None:
    found = cells()
    assert len(found) == 3 * 91
    assert differing(found) == MISTAKEN
    assert differing(cells(logs=False)) == MISTAKEN  # by the file's own note
    wrong = [cell for cell in found if cell.verdict == published.DIFFERS]
    assert {cell.explanation for cell in wrong} == {
        "is the published final of indexer.index and the final of finalize"
    }
    assert wrong[0].published == 3434.3
    assert wrong[0].best == 2115.0
    # The same rows, seen without any log.
    assert {(cell.run, cell.function) for cell in found if not cell.adds_up} == {
        (run, function) for run, function, _ in MISTAKEN
    }


def test_what_cannot_be_checked_is_said() -> None:
    found = cells()
    recorded = {cell.run for cell in found if cell.log_source == published.RECORDED_BEFORE}
    assert len(recorded) == 8
    unknown = [cell for cell in found if cell.run not in recorded]
    assert len({cell.run for cell in unknown}) == 5
    for cell in unknown:
        noted = (cell.function, cell.column) == ("setup", "start")
        assert (cell.log_source == published.NOTED) == noted
        assert (cell.verdict == published.PUBLISHED_ONLY) == (not noted)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "published"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_planted_mistake_is_found(folder: Path) -> None:
    edit(folder / published.CELLS, "colbert,,100000,train,1545.5,115.8", "colbert,,100000,train,1545.5,118.5")
    found = published.read_cells(folder, published.read_recorded(folder))
    assert set(differing(found)) - set(MISTAKEN) == {(("colbert", "", 100_000), "train", "increment")}
    (planted,) = [cell for cell in found if cell.function == "train" and cell.verdict == published.DIFFERS]
    assert planted.explanation == "is in no other cell of the run"
    assert not planted.adds_up


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        (published.CELLS, "1596.9,36.7", "1596.9,36.x", "row 2: increment_mib: '36.x' is no number"),
        (published.CELLS, "colbert,,100000", "colbert,true,100000", "row 2: framework, use_faiss, documents"),
        (published.CELLS, "start_mib,", "start,", "there is no column start_mib"),
        (published.RECORDED, "732.9,1502.4", "732.9,?", "row 3: increment_mib: '?' is no number"),
        (published.SENTENCES, "increment,ratio", "increment,times", "measure: 'times' is none of ratio,"),
        (published.STUDY, "machine:", "computer:", "machine is missing"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(
    folder: Path, name: str, old: str, new: str, sentence: str
) -> None:
    edit(folder / name, old, new)
    with pytest.raises(InputError) as raised:
        published.read_study(folder)
        published.read_cells(folder, published.read_recorded(folder))
        published.read_sentences(folder)
    assert str(raised.value).startswith(f"{folder / name}: ")
    assert sentence in str(raised.value)


# Logs


def log(path: Path, system: str = TRUE, documents: int = 100_000, published: bool = True) -> ExternalLog:
    return ExternalLog(
        path, external_logs.MEMORY_PROFILER, system, documents, "RTX 6000 Ada", published, "0" * 64
    )


def test_a_log_at_hand_stands_beside_the_published_cells(tmp_path: Path) -> None:
    """Of two attempts the last counts, and a part of the run in a second file is added."""
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_text(run_table(500.0) + run_table(3692.3))
    second.write_text(one_line_table(INDEXER, "index", 2114.2, 1320.1))
    logs = published.read_logs([log(first), log(second)], pytest.fail)
    (values,) = logs.values()
    assert values.functions["setup"] == (3692.3, 100.0, 3792.3)
    assert values.functions["indexer.index"] == (2114.2, 1320.1, 3434.3)
    run = ("ragatouille", "true", 100_000)
    verdicts = {
        (cell.function, cell.column): cell.verdict
        for cell in published.read_cells(FOLDER, logs)
        if cell.run == run
    }
    assert [verdicts["indexer.index", column] for column in published.COLUMNS] == ["agrees"] * 3
    assert [verdicts["setup", column] for column in published.COLUMNS] == ["differs", "differs", "agrees"]
    assert verdicts["_sample_embeddings", "start"] == "published only"
    with pytest.raises(InputError, match="system: 'RAGatouille' is no system of the published study"):
        published.read_logs([log(first, "RAGatouille")], pytest.fail)
    assert not published.read_logs([log(first, published=False)], pytest.fail)


def study_logs() -> list[ExternalLog]:
    entries = yaml.safe_load((REPO / "config/published_logs.yaml").read_text())["external_logs"]
    local = {sha256_of(path): path for path in reference_logs()}
    return [
        log(local[entry["sha256"]], entry["system"], entry["documents"])._replace(sha256=entry["sha256"])
        for entry in entries
    ]


def test_recorded_values_are_those_of_the_logs() -> None:
    logs, recorded = published.read_logs(study_logs(), pytest.fail), published.read_recorded(FOLDER)
    assert len(logs) == 9
    assert {run: values._replace(source="") for run, values in logs.items()} == {
        run: values._replace(source="") for run, values in recorded.items()
    }


def test_what_the_text_says_of_100k_is_in_no_log() -> None:
    """1488.8 and 797: neither the tables nor any line of a log has them."""
    for path in reference_logs():
        for _, row in LogReader(path, pytest.fail).rows():
            assert row.increment_mib not in (1488.8, 797.0, 796.9, 797.1)


def test_all_functions_of_the_configuration_have_rows() -> None:
    known = [(each.module, each.qualname) for each in config.load_functions(REPO / "config/functions.yaml")]
    names = Names(known)
    assert len(names.qualified) == len(known)
    (path,) = [path for path in reference_logs() if path.name.startswith("ragatouille_100k_True")]
    rows = {row["function"]: row for row in function_rows(path, pytest.fail, names)}
    assert list(rows)[:7] == FUNCTIONS
    traced = {
        each.qualname
        for each in config.load_functions(REPO / "config/functions.yaml")
        if each.memory_profiler and f"{each.module}.{each.qualname}" not in QUALIFIED_NAMES.values()
    }
    assert set(rows) - set(FUNCTIONS) == traced - {"Launcher.launch"}  # RAGatouille launches without a fork
    process_corpus = rows["RAGPretrainedModel._process_corpus"]
    assert (process_corpus["start_mib"], process_corpus["final_mib"]) == (1928.8, 2114.2)
    assert rows["Indexer._Indexer__launch"]["increment_mib"] == 1320.1
    seven = list(function_rows(path, pytest.fail))
    assert [rows[name] for name in FUNCTIONS] == seven


# Sentences


def checked(name: str) -> published.Checked:
    (sentence,) = [each for each in published.read_sentences(FOLDER) if each.name == name]
    return published.check(sentence, cells())


def test_the_sentences_against_the_tables() -> None:
    """Computed by hand from the published tables."""
    ratios = checked("increments_2x_to_35x")
    assert min(ratios.values.values()) == pytest.approx(1882.0 / 876.4)
    assert max(ratios.values.values()) == pytest.approx(1320.1 / 36.7)  # 35.97
    assert [where for where, inside in ratios.within.items() if not inside] == [f"{TRUE}, 100,000 documents"]
    encode = checked("encode_10_to_15_percent")
    assert min(encode.values.values()) == pytest.approx(100 * (1677.3 / 1502.4 - 1))  # 11.6
    assert max(encode.values.values()) == pytest.approx(100 * (3004.6 / 2549.8 - 1))  # 17.8
    train = checked("train_40_to_50_percent")
    assert (len(train.values), sum(train.within.values())) == (8, 4)
    verdicts = {each.name: published.check(each, cells()).holds for each in published.read_sentences(FOLDER)}
    assert verdicts == {
        "colbert_starts_at_4_gb": "yes",
        "ragatouille_starts_at_8_gb": "yes",
        "increments_2x_to_35x": "partly",
        "encode_10_to_15_percent": "partly",
        "sample_embeddings_797": "no",
        "encode_1488": "no",
        "train_colbert_smallest": "yes",
        "train_ragatouille_smallest": "yes",
        "train_40_to_50_percent": "no",
        "index_colbert_grows": "yes",
        "index_ragatouille_falls": "yes",
        "finalize_up_to_500": "partly",
        "largest_5049": "partly",
    }


def test_numbers_follow_the_cells(folder: Path) -> None:
    edit(folder / published.CELLS, "_sample_embeddings,732.9,813.8", "_sample_embeddings,732.9,797.4")
    (sentence,) = [each for each in published.read_sentences(FOLDER) if each.name == "sample_embeddings_797"]
    assert published.check(sentence, published.read_cells(folder, {})).holds == "yes"


@pytest.mark.parametrize(
    ("low", "high", "scope", "holds"),
    [
        ("10", "20", "every", "yes"),
        ("10.4", "20", "every", "yes"),  # 10.35 rounds to it
        ("10.5", "20", "every", "partly"),
        ("", "9", "every", "no"),
        ("12", "", "most", "yes"),
        ("15", "", "most", "no"),
        ("0", "", "every", "yes"),
    ],
)
def test_bounds_are_rounded_numbers(low: str, high: str, scope: str, holds: str) -> None:
    sentence = published.Sentence(
        "x", "x", "x", "x", "train", "colbert", None, "increment", "value", low, high, scope
    )
    made_up = [
        published.Cell(("colbert", "", size), "train", "increment", value, None, None, True, "")
        for size, value in [(1, 10.35), (2, 12.0), (3, 20.4)]
    ]
    assert published.check(sentence, made_up).holds == holds


# Tables


def test_tables_have_the_published_shape() -> None:
    text = published_tables.function_markdown("setup", "colbert/indexing/collection_indexer.py", cells())
    lines = text.splitlines()
    assert lines[0] == "### colbert/indexing/collection_indexer.py/`setup`"
    assert lines[2].startswith(
        "| Indexing Method | Document Size | Initial Memory | Memory Change | Final Memory |"
    )
    assert len(lines) == 4 + 13
    assert lines[4] == "| ColBERT | 100k | 727.9 MB | 817.5 MB | 1545.5 MB | recorded from the log: agrees |"
    assert lines[5].endswith("| published only, but the initial memory: noted from the log: agrees |")
    assert lines[9].startswith(f"| {TRUE} | 100k | **3434.3 MB ≠ 2115.0** | 1677.3 MB | 3792.3 MB |")
    assert sum("≠" in line for line in lines) == 8
    first = published_tables.function_markdown("indexer.index", "colbert/indexer.py", cells())
    assert "| Starting Memory | Memory Increment | Final Memory |" in first
    assert "| published only |" in first


def run_program(name: str, *arguments: str | Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        try:
            runpy.run_path(str(REPO / f"workflow/scripts/{name}.py"), run_name="__main__")
        except SystemExit as ended:
            return str(ended.code)
    return ""


def test_the_programs(tmp_path: Path) -> None:
    empty, output = tmp_path / "external_logs.parquet", tmp_path / "study"
    assert not run_program("tabulate_external_logs", "[]", "--output", empty)
    given = ["--published", FOLDER, "--external", empty]
    assert not run_program("check_published", *given, "--output", output)
    page = (output / "study.md").read_text()
    assert "Of 273 cells 173 can be checked; 8 differ from the log." in page
    assert "Of 13 runs the log is at hand for 0, its values are recorded in config/published for 8" in page
    assert page.count("\n### ") == 7
    with (output / "sample_embeddings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    assert (rows[0]["increment_mib"], rows[0]["increment_verdict"]) == ("813.8", "agrees")
    for figure in ("published_functions", "published_sentences", "external_logs"):
        assert not run_program(
            "plot_published", figure, *given, "--checked", output, "--output", tmp_path / figure
        )
        assert (tmp_path / f"{figure}.svg").stat().st_size > 1000
    refused = run_program("record_published_logs", "--external", empty, "--output", tmp_path / "x.csv")
    assert "no log is marked `published: true`" in refused
    refused = run_program("check_published", "--published", tmp_path, "--output", tmp_path / "nothing")
    assert refused.startswith(f"{tmp_path / published.STUDY} cannot be read")
    assert not (tmp_path / "nothing").exists()


# Figures


def test_functions_agree_with_the_other_figures() -> None:
    assert sorted(functions.FUNCTIONS) == sorted(FUNCTIONS)
    assert list(published.read_study(FOLDER)["source_files"]) == FUNCTIONS


def frame_of(text: str, path: Path) -> pd.DataFrame:
    path.write_text(text)
    return pd.read_csv(path)


def test_the_figure_of_the_tables_counts_and_marks(folder: Path) -> None:
    table = frame_of(published_tables.cells_csv(cells()), folder / "cells.csv")
    figure = published_functions.draw(table, "made up")
    assert figure.title == (
        "8 of the study's 273 cells contradict its own logs, all the start of setup; 165 others agree and 100 "
        "cannot be checked"
    )
    marked = figure.rows.dropna(subset=["contradicted_mib"])
    assert set(marked["function"]) == {"setup"}
    assert sorted(marked["contradicted_mib"])[0] == 2954.8
    assert figure.rows["increment_mib"].notna().all()
    agreeing = published_functions.draw(table[table["verdict"] != "differs"], "made up")
    assert agreeing.title.startswith(
        "No published cell contradicts the study's logs: 165 agree and 100 cannot"
    )


def test_the_figure_of_the_sentences_counts(folder: Path) -> None:
    every = [published.check(each, cells()) for each in published.read_sentences(FOLDER)]
    table = frame_of(published_tables.sentence_values_csv(every), folder / "values.csv")
    figure = published_sentences.draw(table, "made up")
    assert figure.title == "Of 13 sentences about the tables 6 hold, 4 hold in part and 3 do not"
    assert "797 MB" in figure.notes[0]


def measured(encode: tuple[float, float], repeats: int = 1) -> tuple[list[tables.Row], list[tables.Row]]:
    """Runs and memory_by_function rows: increments of ColBERT and RAGatouille in encode_passages."""
    runs, rows = [], []
    for system, label, increment in [
        ("colbert", "ColBERT", encode[0]),
        ("ragatouille_faiss_true", TRUE, encode[1]),
    ]:
        for repeat in range(1, repeats + 1):
            of = tables.run(system, 300, "memory_profiler", repeat, label=label)
            runs.append(of)
            grown = increment + 10 * (repeat - 1)
            rows.append(tables.function_row(of, "encoder.encode_passages", (800, grown, 800 + grown)))
            rows.append(tables.function_row(of, "index", (900, -5, 895)))
    return runs, rows


def beside(
    runs: list[tables.Row], rows: list[tables.Row], external: tuple[ExternalLog, ...] = ()
) -> tuple[Any, pd.DataFrame]:
    memory = [
        *published.published_rows(cells(), published.read_study(FOLDER)),
        *published.measured_rows(rows, runs, external),
    ]
    table = tables.frame("published_memory", memory)
    return published_beside_ours.draw(table, tables.frame("runs", runs)), table


@pytest.mark.parametrize(
    ("encode", "here"),
    [
        ((100.0, 120.0), "1.20 times: that RAGatouille takes more holds at this scale"),
        ((100.0, 101.0), "1.01 times: that RAGatouille takes more does not show at this scale"),
        ((100.0, 80.0), "0.80 times: that RAGatouille takes more does not show at this scale"),
        ((-1.0, 80.0), "here not both grow: that RAGatouille takes more holds at this scale"),
    ],
)
def test_the_title_says_whether_the_finding_holds_here(encode: tuple[float, float], here: str) -> None:
    figure, _ = beside(*measured(encode))
    assert figure.is_finding
    assert figure.title.startswith(
        "Published, encoding the sample takes RAGatouille 1.12 to 1.18 times ColBERT's memory; at 300 documents"
    )
    assert figure.title.endswith(here)
    assert "corpus UKPLab/dapr Genomics" in figure.conditions
    assert "RTX 6000 Ada" in figure.conditions
    assert (
        "Here: 300 documents, corpus synthetic, checkpoint synthetic_small, Intel(R) Xeon"
        in figure.conditions
    )
    agree = int(encode[1] > encode[0])
    # `index`: published RAGatouille's is smaller, and here both are equal: not larger either.
    assert figure.notes[0].startswith(
        f"Which of the two takes more is as published for {1 + agree} of 2 functions"
    )
    assert figure.notes[1].startswith("In 8 published rows (setup)")


def test_ours_are_medians_of_completed_runs_and_last_attempts() -> None:
    runs, rows = measured((100.0, 120.0), repeats=3)
    failed = tables.run("colbert", 300, "memory_profiler", 4, label="ColBERT", outcome="failed")
    again = tables.function_row(runs[0], "encoder.encode_passages", (800, 140, 940), attempt=2)
    rows += [tables.function_row(failed, "encoder.encode_passages", (1, 1, 2)), again]
    rows.append({**again, "function": "CollectionIndexer.run"})
    found = list(published.measured_rows(rows, [*runs, failed], []))
    encode = {row["system"]: row for row in found if row["function"] == "encoder.encode_passages"}
    assert {name: (row["increment_mib"], row["runs"]) for name, row in encode.items()} == {
        "ColBERT": (120.0, 3),  # of 140, 110, 120
        TRUE: (130.0, 3),
    }
    assert {row["function"] for row in found} == {"encoder.encode_passages", "index"}


def test_logs_from_elsewhere_have_a_column_of_their_own(tmp_path: Path) -> None:
    runs, rows = measured((100.0, 120.0))
    mine = log(tmp_path / "mine.log", "ColBERT", 5000, published=False)._replace(machine="a laptop")
    theirs = log(tmp_path / "theirs.log")
    rows += [
        {**tables.function_row(runs[0], "train", (1, 2, 3)), "log": str(each.log)} for each in (mine, theirs)
    ]
    figure, table = beside(runs, rows, (mine, theirs))
    (row,) = table[table["source"] == "log"].to_dict("records")
    assert (row["system"], row["documents"], row["machine"]) == ("ColBERT", 5000, "a laptop")
    assert "Elsewhere: 5,000 documents, a laptop, one run each." in figure.conditions
    files.save(figure, tmp_path / "figure")


def test_without_our_runs_the_published_numbers_are_drawn(tmp_path: Path) -> None:
    figure, _ = beside([], [])
    assert not figure.is_finding
    assert figure.title.endswith("times ColBERT's memory; here it was not measured for both")
    assert figure.notes[-1] == "No run with the profiler memory_profiler left a row here."
    files.save(figure, tmp_path / "figure")
