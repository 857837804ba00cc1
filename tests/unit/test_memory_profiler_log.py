"""Every grammar of memory_profiler, with other output in it, cut short, and of several attempts."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import memory_profiler
import pyarrow.parquet as pq
import pytest
from indexscope import schemas
from indexscope.analysis.memory_profiler_log import UNKNOWN_FILE, LogReader, Row, Table, line_batches
from indexscope.run_record import InputError
from profiler_logs import (
    COLLECTION_INDEXER,
    GRAMMARS,
    INDEXER,
    SINCE_0_60,
    Grammar,
    one_line_table,
    reference_logs,
    run_table,
    table,
)

REPO = Path(__file__).parents[2]
SCRIPT = REPO / "workflow/scripts/parse_memory_profiler_log.py"

GROW = """\
@profile
def grow(n):
    # 12 rows of a table are quoted here:    12    1.0 MiB    0.0 MiB           1   pass
    a = [0]

    for i in range(3):
        a += [1] * n
    return a  #    99        7.0 MiB      7.0 MiB           7   return
"""
GROWN = {
    1: (100.0, 100.0, 1),
    4: (100.0, 0.0, 1),
    6: (130.0, 0.0, 4),
    7: (130.0, 30.0, 3),
    8: (129.5, -0.5, 1),
}


def read(tmp_path: Path, text: str) -> tuple[list[tuple[Table, Row]], list[str]]:
    log = tmp_path / "a.log"
    log.write_bytes(text.encode())
    said: list[str] = []
    return list(LogReader(log, said.append).rows()), said


def cells(rows: list[tuple[Table, Row]]) -> dict[int, tuple[float | None, float | None, int | None]]:
    return {row.line_number: (row.memory_mib, row.increment_mib, row.occurrences) for _, row in rows}


@pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS.keys())
def test_all_versions(tmp_path: Path, grammar: Grammar) -> None:
    rows, said = read(tmp_path, table("/a/my code/grow.py", GROW, GROWN, first=2, grammar=grammar))
    assert not said
    assert [row.line_contents for _, row in rows] == [line.rstrip() for line in GROW.rstrip("\n").split("\n")]
    assert {(t.index, t.attempt, t.source_file, t.function) for t, _ in rows} == {
        (0, 1, "/a/my code/grow.py", "grow")
    }
    expected: dict[int, tuple[float | None, float | None, int | None]]
    expected = dict.fromkeys(range(2, 10), (None, None, None))
    for line, (memory, increment, occurrences) in GROWN.items():
        printed = round(memory, grammar.precision), round(increment, grammar.precision)
        expected[line + 1] = (*printed, occurrences if grammar.occurrences else None)
    assert cells(rows) == expected
    assert {row.decimals for _, row in rows if row.memory_mib is not None} == {grammar.precision}


@pytest.mark.parametrize("grammar", [Grammar(precision=3), Grammar(occurrences="", precision=3)])
def test_wide_numbers_shift_columns(tmp_path: Path, grammar: Grammar) -> None:
    measured = {1: (1234567.891, 1234567.891, 12345678901), 2: (1234567.0, -1234567.125, 1)}
    text = table("a.py", "def f(x):\n    100  # hundred", measured, first=12345678, grammar=grammar)
    rows, said = read(tmp_path, text)
    assert not said
    occurrences = (12345678901, 1) if grammar.occurrences else (None, None)
    assert cells(rows) == {
        12345678: (1234567.891, 1234567.891, occurrences[0]),
        12345679: (1234567.0, -1234567.125, occurrences[1]),
    }
    assert rows[1][1].line_contents == "    100  # hundred"


def test_what_memory_profiler_itself_prints(tmp_path: Path) -> None:
    source = tmp_path / "grow.py"
    source.write_text("def grow(n):\n    block = b'x' * n\n\n    return len(block)\n")
    names: dict[str, object] = {}
    exec(compile(source.read_text(), str(source), "exec"), names)
    log = tmp_path / "a.log"
    with log.open("w") as stream:
        memory_profiler.profile(names["grow"], stream=stream, precision=3)(64 << 20)
    rows = list(LogReader(log, pytest.fail).rows())
    assert [row.line_number for _, row in rows] == [1, 2, 3, 4]
    assert rows[1][1].increment_mib == pytest.approx(64, abs=1)
    assert rows[2][1].memory_mib is None
    assert {row.decimals for _, row in rows if row.memory_mib} == {3}


def test_other_output_in_between(tmp_path: Path) -> None:
    plain = table("grow.py", GROW, GROWN)
    lines = plain.split("\n")
    noisy = [
        "10000",
        "  Iteration 0 (2.05 s): objective=249157\r  Iteration 1: nsplit=1       " + lines[0],
        "[Feb 16, 18:05:57] Loading extension",
        lines[1],
        lines[2],
        "",
        lines[3],
        *lines[4:6],
        "",  # ColBERT prints empty lines
        "#> Starting...",
        *lines[6:9],
        " 50%|█████     | 1/2 [00:01<00:01]",
        "100%|██████████| 2/2 [00:02]" + lines[9],
        *lines[10:],
        "    12",
        "MEM 12.5 13.5",
        "Done indexing!",
    ]
    rows, said = read(tmp_path, "\n".join(noisy))
    assert not said
    assert (rows, said) == read(tmp_path, plain)
    (tmp_path / "a.log").write_text("\n".join(noisy))
    assert sum(batch.num_rows for batch in line_batches([tmp_path / "a.log"], pytest.fail)) == len(rows)


def test_the_log_may_be_printed_through_logging(tmp_path: Path) -> None:
    text = "".join(
        f"2025-02-16 18:03:51 INFO {line}\n\n"
        for line in table("grow.py", GROW, GROWN).split("\n")
        if line.strip()
    )
    rows, _ = read(tmp_path, text)
    assert cells(rows) == cells(read(tmp_path, table("grow.py", GROW, GROWN))[0])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marked_encodings_and_dos_lines(tmp_path: Path, encoding: str) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(table("grow.py", GROW, GROWN).replace("\n", "\r\n").encode(encoding))
    assert list(LogReader(log, pytest.fail).rows()) == read(tmp_path, table("grow.py", GROW, GROWN))[0]


def test_a_lost_header_or_file_name(tmp_path: Path) -> None:
    two = table("a.py", "def a():\n    pass", {1: (1.0, 1.0, 1)}) + table("b.py", GROW, GROWN, first=50)
    no_header = re.sub(r"(Filename: b.py\n\n)Line #.*\n", r"\1", two)
    assert read(tmp_path, no_header) == read(tmp_path, two)
    rows, _ = read(tmp_path, two.replace("Filename: b.py\n", ""))
    assert {(t.index, t.source_file, t.function) for t, _ in rows} == {
        (0, "a.py", "a"),
        (1, UNKNOWN_FILE, "grow"),
    }


def test_rows_that_other_output_destroyed_are_counted(tmp_path: Path) -> None:
    lines = table("grow.py", GROW, GROWN).split("\n")
    lines[5] = lines[5][:20] + "#> Starting..."
    rows, said = read(tmp_path, "\n".join(lines))
    assert len(rows) == 7
    assert len(said) == 1
    assert "lacks 1 rows" in said[0]


def test_every_prefix_keeps_the_rows_it_has(tmp_path: Path) -> None:
    first = one_line_table(COLLECTION_INDEXER, "_sample_pids", 50.0, 5.0)
    text = first + table("grow.py", GROW, GROWN)
    whole, _ = read(tmp_path, text)
    between = range(len(first) - 1, len(first + "Filename: ") + 1)
    for end in range(len("Filename: /"), len(text) - 1, 3):
        rows, said = read(tmp_path, text[:end])
        assert len(said) == (end not in between)
        assert len(rows) >= len(re.findall(r"^ +\d+ .*\n", text[:end], re.MULTILINE))
        for (_, row), (_, expected) in zip(rows, whole, strict=False):
            assert expected.line_contents.startswith(row.line_contents)
            assert replace(row, line_contents="") == replace(expected, line_contents="")


def cut(text: str, rows: int) -> str:
    return "".join(text.splitlines(keepends=True)[: 4 + rows])


def test_a_table_that_breaks_off_in_mid_log_is_named(tmp_path: Path) -> None:
    rows, said = read(tmp_path, cut(table("grow.py", GROW, GROWN), 5) + run_table(200.0))
    assert [t.function for t, _ in rows] == ["grow"] * 5 + ["run"] * 7
    assert said == [
        f"{tmp_path / 'a.log'}: table 0 (grow.py, grow) is incomplete after line 5: "
        "another table begins in it; the rows read so far are kept"
    ]


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
def test_an_empty_log_has_no_rows(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == ([], [])
    assert list(line_batches([tmp_path / "a.log"], pytest.fail)) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b"Traceback (most recent call last):\n",
            "is not a log of memory_profiler: it has no line `Filename: ...`",
        ),
        (b"PAR1\0\0\x15", "is not a log of memory_profiler but binary"),
        (
            b"CMDLINE python a.py\nMEM 12.5 1600000000.5\n",
            "is a recording of calls (mprof), which has no lines",
        ),
        (b"FUNC m.f 1.0 1.5 2.0 2.5 1\n", "is a recording of calls (mprof), which has no lines"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_no_log_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    log = tmp_path / "a.log"
    if content is not None:
        log.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{log} {problem}")):
        list(line_batches([log], pytest.fail))


def attempts(rows: list[tuple[Table, Row]]) -> list[tuple[str | None, int]]:
    return list(dict.fromkeys((f"{t.index} {t.function}", t.attempt) for t, _ in rows))


SETUP = [("_sample_pids", 1.0), ("_sample_embeddings", 2.0), ("setup", 3.0)]


def setup_tables(announced: str | None = None) -> str:
    return "".join(
        one_line_table(COLLECTION_INDEXER, name, 100.0, grown, announced=announced and f"{announced}.{name}")
        for name, grown in SETUP
    )


@pytest.mark.parametrize(
    "message", ["", "PyTorch-based indexing did not succeed with error: out of memory ! Re...\n"]
)
def test_a_second_attempt_in_the_same_process(tmp_path: Path, message: str) -> None:
    corpus = one_line_table("/ragatouille/RAGPretrainedModel.py", "_process_corpus", 90.0, 10.0)
    rows, said = read(
        tmp_path,
        corpus
        + setup_tables()
        + message
        + setup_tables()
        + run_table(100.0)
        + one_line_table(INDEXER, "index", 100.0, 95.0),
    )
    assert not said
    assert [attempt for _, attempt in attempts(rows)] == [1, 1, 1, 1, 2, 2, 2, 2, 2]


def test_two_runs_in_one_file(tmp_path: Path) -> None:
    run = setup_tables() + run_table(100.0) + one_line_table(INDEXER, "index", 100.0, 95.0)
    elsewhere = run.replace("/site-packages/", "/home/ColBERT/")
    assert [attempt for _, attempt in attempts(read(tmp_path, run + elsewhere + run)[0])] == [1] * 5 + [
        2
    ] * 5 + [3] * 5


def test_parent_and_child_share_an_attempt_and_another_run_does_not(tmp_path: Path) -> None:
    def run(child: int, parent: int) -> str:
        return (
            setup_tables(f"{child} worker colbert.indexing.collection_indexer.CollectionIndexer")
            + run_table(100.0, f"{child} worker colbert.indexing.collection_indexer.CollectionIndexer.run")
            + one_line_table(
                INDEXER, "index", 50.0, 1.0, announced=f"{parent} parent colbert.indexer.Indexer.index"
            )
        )

    rows, said = read(tmp_path, run(11, 10) + run(21, 20))
    assert not said
    assert [attempt for _, attempt in attempts(rows)] == [1] * 5 + [2] * 5
    assert list(dict.fromkeys(t.process for t, _ in rows)) == [11, 10, 21, 20]
    assert rows[-1][0].qualified_name == "colbert.indexer.Indexer.index"


def test_ranks_share_an_attempt(tmp_path: Path) -> None:
    name = "worker colbert.indexing.collection_indexer.CollectionIndexer"
    text = setup_tables(f"11 {name}") + setup_tables(f"12 {name}")
    text += run_table(100.0, f"11 {name}.run") + run_table(100.0, f"12 {name}.run")
    assert {attempt for _, attempt in attempts(read(tmp_path, text)[0])} == {1}


def test_functions_that_run_many_times_begin_no_attempt(tmp_path: Path) -> None:
    chunk = one_line_table("/colbert/indexing/collection_encoder.py", "encode_passages", 100.0, 1.0)
    assert {attempt for _, attempt in attempts(read(tmp_path, setup_tables() + chunk * 5)[0])} == {1}


def test_names_without_a_def(tmp_path: Path) -> None:
    text = table("a.py", "f = lambda: 1", {1: (1.0, 1.0, 1)})
    text += table("a.py", "@one(\n    two\n)\nasync def three():\n    pass", {1: (1.0, 1.0, 1)})
    text += table("a.py", "f = lambda: 1", {1: (1.0, 1.0, 1)}, announced="7 other a.f")
    rows, _ = read(tmp_path, text)
    assert [t.function for t, _ in rows] == [None] + ["three"] * 5 + ["f"]


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    row = SINCE_0_60.row("{}", SINCE_0_60.cell(1.0), SINCE_0_60.cell(0.0), 1, "    x = 1")
    with log.open("w") as out:
        out.write(table("a.py", "def f():", {1: (1.0, 1.0, 1)}).rstrip("\n") + "\n")
        out.writelines(row.replace("    {}", f"{number:>6}") + "\n" for number in range(2, 12_000))
    tracemalloc.start()
    try:
        rows = sum(1 for _ in LogReader(log, lambda _: None).rows())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == 11_999
    assert peak < 1 << 20


def test_the_program(tmp_path: Path) -> None:
    log, output = tmp_path / "a.log", tmp_path / "new/lines.parquet"
    log.write_text(cut(table("grow.py", GROW, GROWN), 5))
    done = subprocess.run(
        [sys.executable, SCRIPT, log, "--output", output], capture_output=True, text=True, check=True
    )
    assert "table 0 (grow.py, grow) is incomplete" in done.stderr
    written = pq.read_table(output)
    assert written.schema.equals(schemas.MEMORY_PROFILER_LINES)
    assert written.num_rows == 5
    assert set(written["log"].to_pylist()) == {str(log)}


def test_the_program_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    good, bad, output = tmp_path / "a.log", tmp_path / "b.log", tmp_path / "lines.parquet"
    good.write_text(table("grow.py", GROW, GROWN))
    bad.write_text("no table\n")
    done = subprocess.run(
        [sys.executable, SCRIPT, good, bad, "--output", output], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{bad} is not a log of memory_profiler")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == [good, bad]


def test_real_logs_by_fixed_columns() -> None:
    """No number in these logs is wide, so cutting at fixed columns is an independent way to read them."""
    for log in reference_logs():
        expected = []
        for block in log.read_text().split("=" * 61 + "\n")[1:]:
            for line in block[: block.index("\n\n")].split("\n"):
                memory, increment, count = line[7:19].split(), line[20:32].split(), line[34:44].split()
                expected.append(
                    Row(
                        int(line[:6]),
                        float(memory[0]) if memory else None,
                        float(increment[0]) if increment else None,
                        int(count[0]) if count else None,
                        line[47:].rstrip(),
                        1 if memory else 0,
                    )
                )
        assert len(expected) > 200
        assert [row for _, row in LogReader(log, pytest.fail).rows()] == expected
