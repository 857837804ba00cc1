"""Each question is answered by its rows: planted ones both ways, and none at all."""

from __future__ import annotations

import csv
import runpy
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tables
from indexscope import schemas
from indexscope.analysis.answers import QUESTIONS, answer_questions, read_statements
from indexscope.analysis.answers.measured import TABLES
from indexscope.analysis.answers.question import NOT_SUPPORTED, NOT_TESTABLE, SUPPORTED
from indexscope.figures import memory_over_time
from indexscope.report import answers
from indexscope.run_record import InputError

REPO = Path(__file__).parents[2]
SCRIPT = REPO / "workflow/scripts/answer_questions.py"
STATEMENTS = REPO / "config/published/memory_questions.csv"
Row = tables.Row
Rows = dict[str, list[Row]]

INDEXER = "colbert.indexing.collection_indexer.CollectionIndexer."
SAMPLE = INDEXER + "_sample_embeddings"
ENCODE = tables.QUALIFIED["encoder.encode_passages"]
FAISS_KMEANS = "colbert.indexing.collection_indexer.compute_faiss_kmeans"
TORCH_KMEANS = "ragatouille.models.torch_kmeans.compute_pytorch_kmeans"
PROCESS_CORPUS = "ragatouille.RAGPretrainedModel.RAGPretrainedModel._process_corpus"
WORK = "colbert.indexing.collection_indexer.encode"
FAISS, TORCH = "ragatouille_faiss_true", "ragatouille_faiss_false"


def answered(rows: Mapping[str, Iterable[Row]]) -> dict[str, dict[str, Any]]:
    """Answers by question, from rows as the Parquet files would give them."""
    complete = {
        name: pa.Table.from_pylist(list(rows.get(name, ())), schema=schemas.TABLES[name]).to_pylist()
        for name in TABLES
    }
    return {row["question"]: row for row in answer_questions(complete, {})}


def verdict(question: str, rows: Mapping[str, Iterable[Row]]) -> str:
    return str(answered(rows)[question]["verdict"])


def level(
    of: Row, function: str, start: float, end: float, peak: float, role: str = "parent", **columns: Any
) -> Row:
    """A span; its times do not matter."""
    return tables.span(of, function, (1.0, 2.0), (start, end, peak), role, **columns)


def repeated(system: str, documents: int = 300, peaks: Iterable[float] = (1000.0, 1010.0)) -> list[Row]:
    """Runs without a profiler, which say how much identical runs differ: 10 MiB."""
    return [tables.run(system, documents, repeat=repeat, peak=peak) for repeat, peak in enumerate(peaks, 1)]


def test_every_question_is_untestable_without_rows_and_says_what_to_run() -> None:
    found = answered({})
    assert list(found) == [question.name for question in QUESTIONS]
    assert len(found) == len(QUESTIONS) == 14
    for row in found.values():
        assert row["verdict"] == NOT_TESTABLE
        assert row["answer"] and row["remedy"]


# Is memory_profiler right?


def profiled(shown_mib: float, ratio: float, peak_mib: float = 900.0) -> Rows:
    with_spans, with_lines = (tables.run(FAISS, 300, profiler) for profiler in ("spans", "memory_profiler"))
    return {
        "runs": [*repeated(FAISS), with_spans, with_lines],
        "spans": [level(with_spans, "train", 500, 520, peak_mib)],
        "memory_by_function": [tables.function_row(with_lines, "train", (500, shown_mib, 500 + shown_mib))],
        "memory_comparison": [
            tables.comparison(
                "profilers",
                300,
                (f"{FAISS}/none", [10.0]),
                (f"{FAISS}/memory_profiler", [10.0 * ratio]),
                quantity="index_seconds",
            )
        ],
    }


def test_memory_profiler_is_right_where_it_shows_the_peak_and_takes_no_time() -> None:
    assert verdict("right_profiler", profiled(395, 1.05)) == SUPPORTED
    blind = answered(profiled(20, 1.05))["right_profiler"]
    assert blind["verdict"] == NOT_SUPPORTED
    assert "380 MiB within a line are not shown" in blind["answer"]
    assert verdict("right_profiler", profiled(395, 2.0)) == NOT_SUPPORTED
    without_time = profiled(395, 1.0) | {"memory_comparison": []}
    assert verdict("right_profiler", without_time) == NOT_TESTABLE


def test_noise_is_that_of_the_repeats() -> None:
    """A gap of 30 MiB is none where identical runs differ by 40."""
    rows = profiled(370, 1.0)
    assert verdict("right_profiler", rows) == NOT_SUPPORTED
    rows["runs"] += repeated("colbert", peaks=(700.0, 740.0))
    assert verdict("right_profiler", rows) == SUPPORTED


# Were the logs read rightly?


def published(corrected: bool) -> Row:
    return {
        "source": "published",
        "system": "RAGatouille (use_faiss=True)",
        "documents": 100_000,
        "function": "setup",
        "start_mib": 2115.0,
        "corrected": corrected,
        "runs": 1,
    }


def run_table(with_mib: float) -> list[Row]:
    of = tables.run(FAISS, 300, "memory_profiler")
    rows = [("def run(self):", 500.0), ("with torch.inference_mode():", with_mib), ("self.setup()", 600.0)]
    rows.append(("self.finalize()", 650.0))
    return [
        tables.line(of, 1, ("collection_indexer", "run"), mib)
        | {"line_number": number, "line_contents": text}
        for number, (text, mib) in enumerate(rows, start=60)
    ]


def test_logs_are_read_rightly_unless_a_log_contradicts() -> None:
    assert verdict("logs_read_rightly", {"published_memory": [published(False)]}) == SUPPORTED
    wrong = {
        "published_memory": [published(True), published(False)],
        "memory_profiler_lines": run_table(650.0),
    }
    row = answered(wrong)["logs_read_rightly"]
    assert row["verdict"] == NOT_SUPPORTED
    assert row["answer"].startswith("1 of 2 published rows")
    assert "In 1 of 1 logs made here" in row["answer"]
    at_start = wrong | {"memory_profiler_lines": run_table(500.0)}
    assert "In 0 of 1 logs" in answered(at_start)["logs_read_rightly"]["answer"]


# RAGatouille against ColBERT


def started(ragatouille: float, before_split: float, colbert: float = 700.0) -> Rows:
    ours, base = tables.run(FAISS, 300, "spans"), tables.run("colbert", 300, "spans")
    return {
        "runs": [*repeated(FAISS), ours, base],
        "spans": [
            level(ours, PROCESS_CORPUS, before_split, ragatouille, ragatouille),
            level(ours, "indexer.index", ragatouille, ragatouille + 100, 1200),
            level(base, "indexer.index", colbert, colbert + 1, colbert + 1),
        ],
    }


def test_ragatouille_starts_higher_for_its_libraries_or_for_its_corpus() -> None:
    row = answered(started(1000, 950))["ragatouille_starts_higher"]
    assert row["verdict"] == SUPPORTED
    assert "300 MiB above" in row["answer"] and "the difference is 250 MiB" in row["answer"]
    assert verdict("ragatouille_starts_higher", started(1000, 720)) == NOT_SUPPORTED
    assert verdict("ragatouille_starts_higher", started(705, 702)) == NOT_SUPPORTED


def kept(ragatouille: float, colbert: float, **columns: Any) -> Rows:
    ours = tables.run(FAISS, 300, "spans")
    same = {name: ours[name] for name in ("process_model", "environment", "nbits", "index_bsize", "passages")}
    same |= {"framework": "colbert", "kmeans_iterations": 20}
    base = tables.run("colbert_fair", 300, "spans", **(same | columns))
    return {
        "runs": [*repeated(FAISS), ours, base],
        "spans": [
            level(ours, "indexer.index", 1000, 1000 + ragatouille, 1500),
            level(base, "indexer.index", 800, 800 + colbert, 1300),
        ],
    }


def test_retention_is_compared_on_equal_work_only() -> None:
    assert verdict("ragatouille_retains_more", kept(150, 100)) == SUPPORTED
    assert verdict("ragatouille_retains_more", kept(100, 145)) == NOT_SUPPORTED
    assert verdict("ragatouille_retains_more", kept(105, 100)) == NOT_SUPPORTED, "within what chance makes"
    assert verdict("ragatouille_retains_more", kept(150, 100, passages=300)) == NOT_TESTABLE


def test_the_idle_parent_is_told_beside_its_child() -> None:
    rows = kept(150, 100)
    shipped = tables.run("colbert", 300, "spans")
    rows["runs"].append(shipped)
    rows["spans"] += [
        level(shipped, "indexer.index", 700, 701, 701),
        level(shipped, WORK, 700, 842, 1100, "worker"),
    ]
    answer = answered(rows)["ragatouille_retains_more"]["answer"]
    assert "its child gains 142 MiB" in answer


# Phases


def phase(name: str, *levels: tuple[str, int, float, float, float], **columns: Any) -> Rows:
    """Spans of one function: system, documents, start, end and peak."""
    rows: Rows = {"runs": [], "spans": []}
    for system, documents, start, end, peak in levels:
        of = tables.run(system, documents, "spans", **columns)
        rows["runs"].append(of)
        rows["spans"].append(level(of, name, start, end, peak))
    return rows


def test_memory_falls_in_index_or_not() -> None:
    falls = phase("index", (FAISS, 300, 900, 700, 1000), (TORCH, 300, 900, 850, 1000))
    assert verdict("memory_falls_in_index", falls) == SUPPORTED
    rises = phase("index", (FAISS, 300, 900, 700, 1000), (TORCH, 300, 900, 970, 1000))
    row = answered(rises)["memory_falls_in_index"]
    assert row["verdict"] == NOT_SUPPORTED
    assert "in 1 of 2 systems and sizes" in row["answer"]
    assert "−200 MiB" in row["answer"] and "+70.0 MiB" in row["answer"]


def test_what_train_keeps_follows_its_peak_or_not() -> None:
    apart = phase("train", (FAISS, 300, 500, 520, 600), (FAISS, 1000, 500, 515, 900))
    assert verdict("train_not_monotonic", apart) == SUPPORTED
    together = phase("train", (FAISS, 300, 500, 520, 600), (FAISS, 1000, 500, 800, 900))
    assert verdict("train_not_monotonic", together) == NOT_SUPPORTED
    one_size = phase("train", (FAISS, 300, 500, 520, 600), (TORCH, 300, 500, 500, 900))
    assert verdict("train_not_monotonic", one_size) == NOT_TESTABLE


def test_finalize_varies_by_more_than_it_builds_or_not() -> None:
    """1,000,000 embeddings x 24 bytes are 22.9 MiB."""
    many = {"embeddings": 1_000_000}
    varies = phase("finalize", (FAISS, 300, 900, 820, 905), (TORCH, 300, 900, 905, 905), **many)
    row = answered(varies)["finalize_varies"]
    assert row["verdict"] == SUPPORTED
    assert "22.9 MiB" in row["answer"] and "−80.0 MiB to +5.0 MiB" in row["answer"]
    steady = phase("finalize", (FAISS, 300, 900, 910, 925), (TORCH, 300, 900, 920, 925), **many)
    assert verdict("finalize_varies", steady) == NOT_SUPPORTED
    assert verdict("finalize_varies", phase("finalize", (FAISS, 300, 900, 910, 925))) == NOT_TESTABLE


# k-means


def torch_kmeans(needed_mib: float, **columns: Any) -> Rows:
    """100,000 points and 2,048 partitions: a matrix of 781 MiB."""
    of = tables.run(TORCH, 1000, "spans", kmeans_points=100_000, partitions=2048, **columns)
    return {"runs": [of], "spans": [level(of, TORCH_KMEANS, 1000, 1000, 1000 + needed_mib)]}


def test_the_matrix_of_points_and_partitions_is_held_or_not() -> None:
    row = answered(torch_kmeans(2400))["cuda_memory_exhausted"]
    assert row["verdict"] == SUPPORTED
    assert "781 MiB" in row["answer"] and "3.1 times" in row["answer"]
    assert verdict("cuda_memory_exhausted", torch_kmeans(700)) == NOT_SUPPORTED
    in_parts = torch_kmeans(700) | {"runs": [torch_kmeans(700)["runs"][0] | {"partitions": 16_384}]}
    assert verdict("cuda_memory_exhausted", in_parts) == NOT_TESTABLE


def failed_attempt(
    outcome: str = "completed", backend: str = "faiss", error: str = "472178688 bytes"
) -> Rows:
    of = tables.run(
        "ragatouille_limited",
        500,
        "spans",
        outcome=outcome,
        kmeans_backend=backend,
        kmeans_attempts=2 if backend == "faiss" else 1,
        kmeans_points=57_639,
        partitions=2048,
        kmeans_failures=f"torch: RuntimeError: you tried to allocate {error}. Error code 12",
    )
    trains = [tables.span(of, "train", (10, 15), (1200, 1250, 2100), raised="RuntimeError")]
    if backend == "faiss":
        trains.append(tables.span(of, "train", (40, 50), (1300, 1310, 1400), call=1))
    return {"runs": [of], "spans": trains}


def test_a_failed_k_means_is_followed_by_faiss_or_not() -> None:
    row = answered(failed_attempt())["fallback_to_faiss"]
    assert row["verdict"] == SUPPORTED
    assert "asked for 450 MiB and did not get them" in row["answer"]
    assert "57,639 points x 2,048 partitions x 4 bytes are 450 MiB" in row["answer"]
    assert "25.0 s between" in row["answer"]
    assert len([each for each in row["evidence"] if ", attempt " in each]) == 2
    assert verdict("fallback_to_faiss", failed_attempt("out_of_memory_host", "torch")) == NOT_SUPPORTED
    cuda = answered(failed_attempt(error="27.55 GiB"))["fallback_to_faiss"]["answer"]
    assert "asked for 28,211 MiB" in cuda


def test_a_run_with_a_failed_attempt_answers_nothing_else() -> None:
    assert verdict("train_not_monotonic", failed_attempt()) == NOT_TESTABLE


def test_encoding_is_alike_within_the_noise_or_not() -> None:
    alike = phase(ENCODE, (FAISS, 300, 900, 950, 1100), (TORCH, 300, 910, 950, 1105))
    alike["runs"] += repeated(FAISS)
    assert verdict("encoding_alike", alike) == SUPPORTED
    unlike = phase(ENCODE, (FAISS, 300, 900, 950, 1100), (TORCH, 300, 900, 950, 1150))
    unlike["runs"] += repeated(FAISS)
    assert verdict("encoding_alike", unlike) == NOT_SUPPORTED
    one_backend = phase(
        ENCODE, (FAISS, 300, 900, 950, 1100), (TORCH, 300, 900, 950, 1100), kmeans_backend="faiss"
    )
    assert verdict("encoding_alike", one_backend) == NOT_TESTABLE


def ghost(needed_mib: float, points: int = 200_000, **columns: Any) -> Rows:
    """200,000 points of 96 float32 are 73.2 MiB."""
    of = tables.run(FAISS, 300, "spans", kmeans_points=points, **columns)
    return {"runs": [of], "spans": [level(of, FAISS_KMEANS, 1000, 1000, 1000 + needed_mib)]}


def ledger_row(of: Row, shape: str, function: str = FAISS_KMEANS) -> Row:
    return {
        **{name: of[name] for name in ("run", "system", "cell", "documents", "profiler", "repeat")},
        "moment": f"highest point of {FAISS_KMEANS}",
        "seconds": 4.0,
        "tree_rss_mib": 1100.0,
        "process_id": 100,
        "role": "parent",
        "part": "tensors",
        "name": f"aten._to_copy {shape} float32",
        "function": function,
        "shape": shape,
        "dtype": "float32",
        "device": "cpu",
        "mib": 4.4,
        "evidence": "observed",
        "basis": "storage",
    }


def test_the_ghost_is_seen_by_its_peak_by_the_ledger_or_not_at_all() -> None:
    assert verdict("ghost", ghost(80)) == SUPPORTED
    assert verdict("ghost", ghost(20)) == NOT_SUPPORTED
    small = ghost(3, points=12_000)  # 4.4 MiB, which malloc may have had free
    assert verdict("ghost", small) == NOT_TESTABLE
    assert verdict("ghost", ghost(3, points=12_000, allocator="pinned")) == NOT_SUPPORTED
    assert verdict("ghost", ghost(5, points=12_000, allocator="pinned")) == SUPPORTED
    of = tables.run(FAISS, 300, "ledger", kmeans_points=12_000)
    listed = small | {"runs": [*small["runs"], of], "ledger": [ledger_row(of, "[12000, 96]")]}
    row = answered(listed)["ghost"]
    assert row["verdict"] == SUPPORTED
    assert any(each.startswith("ledger: ") for each in row["evidence"])
    others = listed | {
        "ledger": [ledger_row(of, "[12000, 128]"), ledger_row(of, "[12000, 96]", "colbert.other")]
    }
    assert verdict("ghost", others) == NOT_TESTABLE


def sampled(colbert_back: float, ragatouille_back: float, points: int = 200_000, **columns: Any) -> Rows:
    """200,000 points are 95 % of a sample of 77.1 MiB."""
    rows: Rows = {"runs": [], "spans": []}
    for system, role, back in (("colbert", "worker", colbert_back), (FAISS, "parent", ragatouille_back)):
        of = tables.run(system, 300, "spans", kmeans_points=points, **columns)
        rows["runs"].append(of)
        rows["spans"] += [
            level(of, ENCODE, 700, 800, 900, role),
            level(of, SAMPLE, 700, 800 - back, 900, role),
        ]
    return rows


def test_the_sample_is_given_back_by_one_by_both_or_by_neither() -> None:
    assert verdict("memory_reuse", sampled(77, 0)) == SUPPORTED
    both = answered(sampled(77, 76))["memory_reuse"]
    assert both["verdict"] == NOT_SUPPORTED
    assert "here both give it back" in both["answer"]
    neither = answered(sampled(0, 0))["memory_reuse"]
    assert neither["verdict"] == NOT_SUPPORTED
    assert "here both give it back" not in neither["answer"]
    assert verdict("memory_reuse", sampled(0, 0, points=12_000)) == NOT_TESTABLE
    assert verdict("memory_reuse", sampled(4.6, 0, points=12_000, allocator="pinned")) == SUPPORTED


# Time


def chunks(passages: int, calls: int, documents: int = 30_000) -> Rows:
    """ColBERT has 30,000 documents in 2 chunks; `calls` of RAGatouille after that of the sample."""
    ours = tables.run(FAISS, documents, "spans", passages=passages)
    base = tables.run("colbert", documents, "spans")
    return {
        "runs": [ours, base],
        "spans": [level(ours, ENCODE, 1, 1, 1, call=call) for call in range(calls + 1)]
        + [level(base, ENCODE, 1, 1, 1, "worker", call=call) for call in range(-(-documents // 25_000) + 1)],
    }


def test_iterations_are_chunks_of_passages_or_not() -> None:
    row = answered(chunks(55_000, 3))["fourteen_iterations"]
    assert row["verdict"] == SUPPORTED
    assert "55,000 passages of 30,000 documents" in row["answer"]
    assert verdict("fourteen_iterations", chunks(55_000, 5)) == NOT_SUPPORTED
    assert verdict("fourteen_iterations", chunks(30_000, 2)) == NOT_SUPPORTED, "no more than ColBERT"
    assert verdict("fourteen_iterations", chunks(390, 1, documents=300)) == NOT_TESTABLE


def test_what_takes_long_before_encoding() -> None:
    long = [tables.run(FAISS, 300, planning_seconds=3.0, training_seconds=4.0, encoding_seconds=2.0)]
    row = answered({"runs": long})["before_encoding"]
    assert row["verdict"] == SUPPORTED
    assert "planning 3.0 s and training 4.0 s (82 % of the index call) before 2.0 s" in row["answer"]
    short = [*long, tables.run("colbert", 300, planning_seconds=0.5, training_seconds=0.5)]
    assert verdict("before_encoding", {"runs": short}) == NOT_SUPPORTED
    # The largest size alone decides.
    assert verdict("before_encoding", {"runs": [*short, long[0] | tables.key(FAISS, 900)]}) == SUPPORTED


# What is published


def test_published_statements_are_evidence_and_name_a_question(tmp_path: Path) -> None:
    statements = read_statements(STATEMENTS)
    rows = {row["question"]: row for row in answer_questions({}, statements)}
    quoted = [each for row in rows.values() for each in row["evidence"]]
    assert quoted and all(each.startswith("config/published/memory_questions.csv: ") for each in quoted)
    wrong = tmp_path / "memory_questions.csv"
    wrong.write_text("question,statement,source\nwhy,because,blog\n")
    with pytest.raises(InputError, match="no question is called 'why'"):
        read_statements(wrong)
    with pytest.raises(InputError, match="restore it"):
        read_statements(tmp_path / "missing.csv")


def test_published_numbers_add_up() -> None:
    """Those that are computed from others, and those that are cells of the study."""
    text = {name: rows[0]["statement"] for name, rows in read_statements(STATEMENTS).items()}
    assert "27.55 GiB" in text["cuda_memory_exhausted"]
    assert round(902_734 * 8_192 * 4 / 2**30, 2) == 27.55
    assert -(-327_523 // 25_000) == 14 and -(-250_000 // 25_000) == 10
    with (REPO / "config/published/memory_by_function.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    for function, question in (("train", "train_not_monotonic"), ("finalize", "finalize_varies")):
        for framework in ("colbert", "ragatouille"):
            adds = [
                float(row["increment_mib"])
                for row in cells
                if (row["function"], row["framework"]) == (function, framework)
            ]
            assert f"{min(adds)} to {max(adds)}" in text[question]


# The program, the report and the figure


def test_the_program_writes_the_table_and_says_which_table_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tables"
    for name in TABLES:
        schemas.write_table(failed_attempt().get(name, ()), schemas.TABLES[name], folder / f"{name}.parquet")
    output = tmp_path / "answers.parquet"
    command = [str(SCRIPT), "--tables", str(folder), "--published", str(STATEMENTS), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", command)
    runpy.run_path(str(SCRIPT), run_name="__main__")
    table = pq.read_table(output)
    assert table.schema.names == schemas.ANSWERS.names
    assert table.num_rows == len(QUESTIONS)
    (folder / "ledger.parquet").unlink()
    with pytest.raises(SystemExit, match=r"ledger\.parquet cannot be read"):
        runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_report_counts_verdicts_and_escapes_texts() -> None:
    rows = list(answer_questions({}, {}))
    for row, told in zip(rows, (SUPPORTED, NOT_SUPPORTED, NOT_SUPPORTED), strict=False):
        row["verdict"] = told
    rows[0]["answer"] = "`a<b>` & c"
    shown = answers.shown(rows)
    assert shown.summary == "3 of 14 questions answered: 1 claim supported, 2 not"
    assert [asker for asker, _ in shown.by_asker] == ["Asked by the study's author", "Asked by this project"]
    assert str(shown.by_asker[0][1][0].answer) == "<code>a&lt;b&gt;</code> &amp; c"
    assert shown.by_asker[0][1][1].style == "not-supported"
    assert not answers.shown([])


def test_the_section_shows_each_question_once_with_its_verdict_and_rows() -> None:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(answers.__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    found = list(answered(failed_attempt()).values())
    page = environment.get_template("answers.html.jinja").render(answers=answers.shown(found))
    assert page.count('class="answer"') == page.count("<details>") == len(QUESTIONS)
    assert page.count('<p class="verdict supported">supported</p>') == 1
    assert (
        page.count('<p class="verdict not-testable-here">') == len(QUESTIONS) - 1 == page.count("To test it:")
    )
    assert "3 rows that it rests on" in page and "runs: ragatouille_limited" in page


def test_both_attempts_are_on_the_timeline() -> None:
    rows = failed_attempt()
    of = rows["runs"][0]
    curve = tables.samples(of, "parent", [(0, 100), (12, 2100), (15, 1250), (45, 1400), (60, 1200)])
    frames = [tables.frame("runs", rows["runs"]), tables.frame("memory_curve", curve)]
    frames += [tables.frame("spans", rows["spans"]), tables.frame("memory_comparison")]
    figure = memory_over_time.draw(*frames)
    assert any("train at 15.0 s (RuntimeError)" in note for note in figure.notes)
    words = [
        row["words"]
        for data in figure.specification()["datasets"].values()
        for row in data
        if str(row.get("words", "")).startswith("train")
    ]
    assert {"train 5.0 s ×", "train 10.0 s"} <= set(words)
    # The highest point is in the first attempt, though the second has a train of its own.
    assert any("it is highest in train" in note for note in figure.notes)
