"""Start, increment and final of each function: published cells, constructed logs, real runs of known size."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from indexscope import schemas
from indexscope.analysis.memory_by_function import FUNCTIONS, QUALIFIED_NAMES, function_rows
from profiler_logs import (
    COLLECTION_ENCODER,
    COLLECTION_INDEXER,
    INDEXER,
    RAGATOUILLE_INDEX,
    one_line_table,
    reference_logs,
    run_table,
    table,
)

REPO = Path(__file__).parents[2]
SCRIPTS = REPO / "workflow/scripts"
PUBLISHED = REPO / "config/published/memory_by_function.csv"

Cells = tuple[float | None, float, float]  # start, increment, final


def read(tmp_path: Path, text: str) -> dict[tuple[int, str], Cells]:
    log = tmp_path / "a.log"
    log.write_text(text)
    rows = list(function_rows(log, pytest.fail))
    cells = {
        (row["attempt"], row["function"]): (row["start_mib"], row["increment_mib"], row["final_mib"])
        for row in rows
    }
    assert len(cells) == len(rows)
    return cells


PHASES = {
    (1, "setup"): (500.0, 100.0, 600.0),
    (1, "train"): (600.0, 20.0, 620.0),
    (1, "index"): (620.0, -30.0, 590.0),
    (1, "finalize"): (590.0, 5.0, 595.0),
}


def test_phases_are_lines_of_run_whose_block_shows_its_end(tmp_path: Path) -> None:
    """The row above `self.setup()` is the `with` line, which shows the memory at the end of the block."""
    assert read(tmp_path, run_table(500.0)) == PHASES


SAMPLE_EMBEDDINGS = """\
    def _sample_embeddings(self, sampled_pids):
        # self.encoder.encode_passages(local_sample) below
        local_sample = list(sampled_pids)
        local_sample_embs, doclens = self.encoder.encode_passages(local_sample)
        return sum(doclens)
"""
SETUP = """\
    def setup(self):
        sampled_pids = self._sample_pids()
        avg_doclen_est = self._sample_embeddings(sampled_pids)
"""


def encode_table(entry: float) -> str:
    return one_line_table(COLLECTION_ENCODER, "encode_passages", entry, 300.0)


def sampling_tables(entry: float) -> str:
    sampling = {
        1: (entry, entry, 1),
        3: (entry, 0.0, 1),
        4: (entry + 250, 250.0, 1),
        5: (entry + 250, 0.0, 1),
    }
    setup = {1: (entry, entry, 1), 2: (entry + 2, 2.0, 1), 3: (entry + 100, 98.0, 1)}
    return (
        encode_table(entry)
        + table(COLLECTION_INDEXER, SAMPLE_EMBEDDINGS, sampling)
        + table(COLLECTION_INDEXER, SETUP, setup)
    )


def test_a_function_is_measured_where_it_is_called(tmp_path: Path) -> None:
    """Its own table, and its calls in the phase `index`, have other numbers."""
    chunk = table(
        COLLECTION_INDEXER,
        "    def index(self):\n        embs, doclens = self.encoder.encode_passages(passages)",
        {1: (620.0, 620.0, 1), 2: (700.0, 80.0, 1)},
    )
    text = sampling_tables(500.0) + encode_table(620.0) + chunk + run_table(500.0)
    assert read(tmp_path, text) == PHASES | {
        (1, "encoder.encode_passages"): (500.0, 250.0, 750.0),
        (1, "_sample_embeddings"): (502.0, 98.0, 600.0),
    }


def test_without_its_caller_a_function_has_its_own_table(tmp_path: Path) -> None:
    text = encode_table(500.0) + encode_table(900.0) + one_line_table(INDEXER, "index", 400.0, 7.5)
    assert read(tmp_path, text) == {
        (1, "encoder.encode_passages"): (500.0, 300.0, 800.0),
        (1, "indexer.index"): (400.0, 7.5, 407.5),
    }


def test_a_table_that_breaks_off_does_not_tell_the_end_of_its_function(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(run_table(500.0).split("    67")[0] + one_line_table(INDEXER, "index", 400.0, 7.5)[:-2])
    said: list[str] = []
    assert [row["function"] for row in function_rows(log, said.append)] == ["setup", "train", "index"]
    assert len(said) == 2


def test_functions_of_the_same_name_elsewhere_are_others(tmp_path: Path) -> None:
    text = one_line_table("/ragatouille/models/colbert.py", "index", 400.0, 50.0)
    text += one_line_table("/my/train.py", "train", 400.0, 50.0)
    text += one_line_table("/my/train.py", "main", 400.0, 50.0, body="self.train()")
    text += one_line_table(COLLECTION_INDEXER, "index", 400.0, 30.0)
    assert read(tmp_path, text) == {(1, "index"): (400.0, 30.0, 430.0)}


def test_cells_that_do_not_add_up_yield_to_the_own_table(tmp_path: Path) -> None:
    """Under memory_profiler's command line, the increment of a call of a profiled function is wrong."""
    call = table("main.py", "def main():\n    indexer.index()", {1: (400.0, 400.0, 1), 2: (450.0, 450.0, 1)})
    assert read(tmp_path, call) == {(1, "indexer.index"): (400.0, 450.0, 450.0)}
    own = one_line_table(INDEXER, "index", 400.0, 50.0)
    assert read(tmp_path, call + own) == {(1, "indexer.index"): (400.0, 50.0, 450.0)}


def test_a_row_without_one_above_has_no_start(tmp_path: Path) -> None:
    text = run_table(500.0).replace(
        "    61    500.0 MiB    500.0 MiB           1       def", "    61" + " " * 41 + "def"
    )
    text = re.sub(r"    62 .*\n", "", text)
    log = tmp_path / "a.log"
    log.write_text(text)
    said: list[str] = []
    first = next(function_rows(log, said.append))
    assert (first["function"], first["start_mib"], first["final_mib"]) == ("setup", None, 600.0)
    assert "lacks 1 rows" in said[0]


BUILD = """\
    def build(self, collection):
        try:
            indexer.index(
                name=index_name, collection=collection
            )
        except Exception as err:
            monkey_patching = False
        if monkey_patching is False:
            indexer.index(name=index_name, collection=collection)
        return self
"""


def test_a_failed_attempt_and_its_fallback(tmp_path: Path) -> None:
    """RAGatouille's `build` returns once, and has a row for each attempt."""
    build = {
        1: (400.0, 400.0, 1),
        2: (400.0, 0.0, 1),
        3: (460.0, 60.0, 2),
        4: (400.0, 0.0, 1),
        6: (460.0, 0.0, 1),
        7: (450.0, -10.0, 1),
        8: (450.0, 0.0, 1),
        9: (545.0, 95.0, 1),
        10: (545.0, 0.0, 1),
    }
    text = (
        sampling_tables(400.0)
        + sampling_tables(500.0)
        + run_table(500.0)
        + table(RAGATOUILLE_INDEX, BUILD, build, first=162)
    )
    expected: dict[tuple[int, str], Cells] = {
        (1, "indexer.index"): (400.0, 60.0, 460.0),
        (1, "encoder.encode_passages"): (400.0, 250.0, 650.0),
        (1, "_sample_embeddings"): (402.0, 98.0, 500.0),
        (1, "setup"): (400.0, 100.0, 500.0),  # its own table: that of `run` is lost
        (2, "indexer.index"): (450.0, 95.0, 545.0),
        (2, "encoder.encode_passages"): (500.0, 250.0, 750.0),
        (2, "_sample_embeddings"): (502.0, 98.0, 600.0),
    }
    assert read(tmp_path, text) == expected | {(2, name): cells for (_, name), cells in PHASES.items()}


def test_parent_and_child(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    child = "11 worker colbert.indexing.collection_indexer.CollectionIndexer.run"
    parent = "10 parent colbert.indexer.Indexer.index"
    log.write_text(run_table(500.0, child) + one_line_table(INDEXER, "index", 400.0, 1.0, announced=parent))
    rows = list(function_rows(log, pytest.fail))
    assert [(row["function"], row["process"]) for row in rows] == [
        ("indexer.index", 10),
        *((name, 11) for name in ("setup", "train", "index", "finalize")),
    ]
    assert all(row["qualified_name"] == QUALIFIED_NAMES[row["function"]] for row in rows)


def test_qualified_names_are_not_guessed(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(one_line_table("/my/script.py", "main", 1.0, 1.0, body="indexer.index()"))
    assert [row["qualified_name"] for row in function_rows(log, pytest.fail)] == [None]


def test_many_runs_in_one_log(tmp_path: Path) -> None:
    rows = read(tmp_path, run_table(500.0) * 20)
    assert rows == {(attempt, name): cells for attempt in range(1, 21) for (_, name), cells in PHASES.items()}
    assert list(rows) == sorted(rows, key=lambda key: (key[0], FUNCTIONS.index(key[1])))


def test_an_mprof_recording(tmp_path: Path) -> None:
    text = """\
        CMDLINE python index.py
        MEM 100.500000 1600000000.1000
        FUNC colbert.indexer.index 100.0000 1.0000 190.0000 9.0000 1
        FUNC colbert.indexing.collection_encoder.encode_passages 190.0000 7.0000 191.0000 7.5000 4
        FUNC colbert.indexing.collection_encoder.encode_passages 110.0000 2.0000 150.0000 4.0000 4
        FUNC colbert.indexing.collection_indexer.setup 105.0000 2.0000 130.5000 5.0000 3
        FUNC colbert.indexing.collection_indexer.run 105.0000 2.0000 195.0000 8.0000 2
        FUNC colbert.indexing.collection_indexer.setup 205.0000 12.0000 230.0000 15.0000 3
        CHLD 4 12.5 1600000000.2000
        FUNC ragatouille.models.colbert.index 1.0 1.0 2.0 9.5 1
        """
    assert read(tmp_path, textwrap.dedent(text)) == {
        (1, "indexer.index"): (100.0, 90.0, 190.0),
        (1, "encoder.encode_passages"): (110.0, 40.0, 150.0),
        (1, "setup"): (105.0, 25.5, 130.5),
        (2, "setup"): (205.0, 25.0, 230.0),
    }


def test_the_program(tmp_path: Path) -> None:
    log, empty, output = tmp_path / "a.log", tmp_path / "empty.log", tmp_path / "new/by_function.parquet"
    log.write_text(run_table(500.0))
    empty.write_text("")
    program = [sys.executable, SCRIPTS / "tabulate_memory_by_function.py"]
    subprocess.run([*program, empty, log, "--output", output], check=True)
    written = pq.read_table(output)
    assert written.schema.equals(schemas.MEMORY_BY_FUNCTION)
    assert written["function"].to_pylist() == ["setup", "train", "index", "finalize"]
    assert set(written["log"].to_pylist()) == {str(log)}
    missing = subprocess.run(
        [*program, tmp_path / "no.log", "--output", tmp_path / "b"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "no.log cannot be read" in missing.stderr


TOY_FRAMEWORK = {
    "colbert/indexing/collection_encoder.py": """
        class CollectionEncoder:
            def encode_passages(self, passages):
                scratch = b"s" * (16 << 20)
                return b"e" * (passages << 20)
        """,
    "colbert/indexing/collection_indexer.py": """
        import contextlib
        from .collection_encoder import CollectionEncoder

        class CollectionIndexer:
            def __init__(self, fail):
                self.encoder = CollectionEncoder()
                self.fail = fail

            def run(self):
                with contextlib.nullcontext():
                    self.setup()
                    self.train()
                    self.index()
                    self.finalize()

            def setup(self):
                avg_doclen_est = self._sample_embeddings(64)

            def _sample_embeddings(self, local_sample):
                local_sample_embs = self.encoder.encode_passages(local_sample)
                self.sample = b"h" * (8 << 20)

            def train(self):
                self.centroids = b"c" * (32 << 20)
                if self.fail:
                    raise MemoryError("points x clusters")

            def index(self):
                for chunk in range(2):
                    embs = self.encoder.encode_passages(4)
                del self.sample

            def finalize(self):
                self.ivf = b"i" * (24 << 20)
        """,
    "colbert/indexer.py": """
        from .indexing.collection_indexer import CollectionIndexer

        class Indexer:
            def index(self, fail):
                self.worker = CollectionIndexer(fail)
                self.worker.run()
        """,
    "ragatouille/models/index.py": """
        from colbert.indexer import Indexer

        class PLAIDModelIndex:
            def build(self):
                try:
                    indexer = Indexer()
                    indexer.index(
                        fail=True
                    )
                except Exception as err:
                    indexer = None
                indexer = Indexer()
                indexer.index(fail=False)
                return indexer
        """,
    "main.py": """
        import functools, importlib, sys
        from indexscope.measure import line_profile, records

        log = records.Appender(sys.argv[1])
        for dotted in sys.argv[2:]:
            module, cls, name = dotted.rsplit(".", 2)
            owner = getattr(importlib.import_module(module), cls)
            setattr(owner, name, line_profile.wrap(getattr(owner, name), dotted, "parent", log))
        importlib.import_module("ragatouille.models.index").PLAIDModelIndex().build()
        """,
}


def test_known_allocations_through_memory_profiler(tmp_path: Path) -> None:
    """IndexScope's log of a toy framework; its first attempt fails in `train`, as torch k-means may."""
    for name, text in TOY_FRAMEWORK.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text).lstrip())
    log = tmp_path / "memory_profiler.log"
    profiled = ["run", "setup", "_sample_embeddings"]
    names = [QUALIFIED_NAMES["setup"].replace("setup", name) for name in profiled]
    names += [QUALIFIED_NAMES["encoder.encode_passages"], QUALIFIED_NAMES["indexer.index"]]
    names += ["ragatouille.models.index.PLAIDModelIndex.build"]
    # Blocks go back to the system as soon as they are freed.
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS), "MALLOC_MMAP_THRESHOLD_": "65536"}
    subprocess.run([sys.executable, tmp_path / "main.py", log, *names], env=environment, check=True)
    rows = list(function_rows(log, pytest.fail))
    increments = {(row["attempt"], row["function"]): row["increment_mib"] for row in rows}
    assert increments == pytest.approx(
        {
            (1, "indexer.index"): 40,  # 8 + 32, still held by the traceback
            (1, "encoder.encode_passages"): 64,
            (1, "_sample_embeddings"): 8,
            (1, "setup"): 8,
            (1, "train"): 32,
            (2, "indexer.index"): 56,  # 32 + 24
            (2, "encoder.encode_passages"): 64,
            (2, "_sample_embeddings"): 8,
            (2, "setup"): 8,
            (2, "train"): 32,
            (2, "index"): -8,
            (2, "finalize"): 24,
        },
        abs=1.5,
    )
    for row in rows:
        assert row["start_mib"] + row["increment_mib"] == pytest.approx(row["final_mib"], abs=0.2)
        assert row["qualified_name"] == QUALIFIED_NAMES[row["function"]]
    assert len({row["process"] for row in rows}) == 1


def test_published_cells_to_the_printed_digit() -> None:
    logs = reference_logs()
    with PUBLISHED.open(newline="") as file:
        published = list(csv.DictReader(file))
    compared = 0
    for log in logs:
        found = re.match(r"(colbert|ragatouille)_(\d+)([kM])_(?:(True|False)_)?", log.name)
        assert found is not None
        documents = int(found[2]) * {"k": 1_000, "M": 1_000_000}[found[3]]
        run = (found[1], (found[4] or "").lower(), str(documents))
        rows = {row["function"]: row for row in function_rows(log, pytest.fail)}
        assert list(rows) == FUNCTIONS
        assert {row["attempt"] for row in rows.values()} == {1}
        for cells in published:
            if (cells["framework"], cells["use_faiss"], cells["documents"]) == run:
                row = rows[cells["function"]]
                start = cells["start_mib_in_log"] or cells["start_mib"]
                printed = [f"{row[column]:.1f}" for column in ("start_mib", "increment_mib", "final_mib")]
                assert printed == [start, cells["increment_mib"], cells["final_mib"]], (log.name, cells)
                compared += 1
    assert compared == 56
