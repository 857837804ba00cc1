"""Logs from elsewhere: found, downloaded once and whole, recognised, and in the tables beside our own."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import runpy
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import tables
from indexscope import config, schemas
from indexscope.analysis import external_logs, mprof_log
from indexscope.figures import external_logs as figure
from indexscope.figures import files
from indexscope.run_record import InputError
from indexscope.settings.external_logs import ExternalFile, ExternalLog, external_files
from profiler_logs import one_line_table, run_table

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
fetch_external_log = SimpleNamespace(**runpy.run_path(str(SCRIPTS / "fetch_external_log.py")))

CONTENT = run_table(500.0).encode() * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MPROF = """\
CMDLINE python index.py
MEM 100.500000 1600000000.0000
MEM 101.500000 1600000000.1000
CHLD 42 12.500000 1600000000.1003
MEM 102.500000 1600000000.2000
CHLD 42 13.500000 1600000000.2003
CHLD 43 1.000000 1600000000.2004
MEM 103.500000 1600000000.3000
CHLD 43 2.000000 1600000000.3003
FUNC colbert.indexer.index 100.0000 1600000000.05 190.0000 1600000000.25 1
FUNC colbert.indexer.__launch 100.0000 1600000000.06 150.0000 1600000000.24 2
FUNC other.index 1.0 1.0 2.0 2.0 1
"""


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT under any name but `missing`; breaks off as often as `breaks` says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []  # the range asked for
        self.breaks = 0
        self.answers: list[int] = []  # statuses to give first

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        if self.server.answers:
            self.send_error(self.server.answers.pop(0))
            return
        if self.path.endswith("missing"):
            self.send_error(404)
            return
        start = int(re.findall(r"\d+", asked)[0]) if asked and "norange" not in self.path else 0
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(fetch_external_log.LOCAL_COPIES, raising=False)


def fetch(url: str, output: Path, sha256: str = SHA256) -> None:
    fetch_external_log.fetch(url, sha256, output, wait_seconds=0.0)


# Downloads


def test_a_download(server: Server, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "a.txt"
    fetch(f"{server.url}/a.txt", output)
    assert output.read_bytes() == CONTENT
    assert [path.name for path in output.parent.iterdir()] == ["a.txt"]
    assert server.requests == [None]


@pytest.mark.parametrize("name", ["a.txt", "norange.txt"])
def test_a_download_that_breaks_off_is_taken_up(server: Server, tmp_path: Path, name: str) -> None:
    """Also where the server knows no ranges and begins anew."""
    server.breaks = 2
    fetch(f"{server.url}/{name}", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert server.requests[:2] == [None, f"bytes={half}-"]
    assert len(server.requests) == 3


def test_a_rerun_takes_up_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.txt.partial").write_bytes(CONTENT[:100])
    fetch(f"{server.url}/a.txt", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == CONTENT
    assert server.requests == ["bytes=100-"]


def test_a_first_part_of_another_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.txt.partial").write_bytes(b"x" * 100)
    fetch(f"{server.url}/a.txt", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == CONTENT
    assert server.requests == ["bytes=100-", None]


def test_an_overloaded_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.answers = [503, 429]
    fetch(f"{server.url}/a.txt", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == CONTENT


def test_another_file_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"a\.txt: the file there has the SHA-256 {SHA256}, not {'0' * 64}: "
    ):
        fetch(f"{server.url}/a.txt", tmp_path / "a.txt", "0" * 64)
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


def test_a_missing_file_is_one_sentence(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/missing: the server answers 404 \(Not Found\): correct the URL"):
        fetch(f"{server.url}/missing", tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


def test_without_a_connection_the_program_says_one_sentence(tmp_path: Path) -> None:
    with Server() as stopped:
        url = f"{stopped.url}/a.txt"
    with pytest.raises(
        InputError, match=r"cannot be downloaded \(.*refused\): connect to the network"
    ) as raised:
        fetch(url, tmp_path / "a.txt")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "a.txt").exists()


def test_a_server_that_always_breaks_off_leaves_what_came(server: Server, tmp_path: Path) -> None:
    server.breaks = 100
    with pytest.raises(InputError, match="a rerun takes the download up again"):
        fetch(f"{server.url}/a.txt", tmp_path / "a.txt")
    kept = (tmp_path / "a.txt.partial").read_bytes()
    assert kept
    assert CONTENT.startswith(kept)
    server.breaks = 0
    fetch(f"{server.url}/a.txt", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == CONTENT


def test_a_local_copy_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    (copies / "a.txt").write_bytes(CONTENT)
    monkeypatch.setenv(fetch_external_log.LOCAL_COPIES, str(copies))
    fetch("https://unreachable.invalid/a.txt", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == CONTENT
    (copies / "b.txt").write_text("another")
    with pytest.raises(InputError, match=r"b\.txt has the SHA-256 .*: it is another log"):
        fetch("https://unreachable.invalid/b.txt", tmp_path / "b.txt")


# Which files there are


def entry(log: str | Path, **settings: Any) -> ExternalLog:
    return ExternalLog(
        **{"log": str(log), "system": "ColBERT", "documents": 1000, "machine": "a laptop"} | settings
    )


def test_a_path_a_glob_and_a_url(tmp_path: Path) -> None:
    for name in ("b.log", "a.log", "[1].log"):
        (tmp_path / name).write_text(run_table(500.0))
    url = entry("https://host/some%20where/run%20[1].txt?raw=1", sha256=SHA256)
    found = external_files([entry(tmp_path / "?.log"), entry(tmp_path / "[1].log"), url])
    assert [(Path(file.path).name, file.entry) for file in found] == [
        ("a.log", 0),
        ("b.log", 0),
        ("[1].log", 1),
        ("run_1_.txt", 2),
    ]
    assert found[2].url is None
    assert found[3].url == url.log
    assert found[3].path == f"results/external_logs/{SHA256[:16]}/run_1_.txt"


def test_bad_entries_name_their_key(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"external_logs\[1\]\.log: no file matches '.*none\*'"):
        external_files([entry(tmp_path / "a.log"), entry(tmp_path / "none*")])
    with pytest.raises(InputError, match=r"external_logs\[0\]\.sha256: .* matches 2 files"):
        external_files([entry(tmp_path / "*.log", sha256=SHA256)])
    with pytest.raises(InputError, match=r"external_logs\[1\]\.log: .*a\.log is also of external_logs\[0\]"):
        external_files([entry(tmp_path / "*.log"), entry(tmp_path / "a.log")])
    values = {"log": "https://host/a.txt", "system": "x", "documents": 1, "machine": "y"}
    with pytest.raises(config.ConfigurationError, match="a URL needs the file's sha256"):
        config.load({"external_logs": [values]})


# What the files are


def described(path: Path, text: str, **settings: Any) -> dict[str, Any]:
    path.write_text(text)
    (file,) = external_files([entry(path, **settings)])
    return external_logs.describe(file, lambda said: None)


def test_kinds_are_recognised(tmp_path: Path) -> None:
    profiled = described(tmp_path / "a.log", run_table(500.0) * 2)
    assert (profiled["kind"], profiled["tables"], profiled["attempts"]) == ("memory_profiler", 2, 2)
    broken = described(tmp_path / "b.log", run_table(500.0)[:-300])
    assert (broken["kind"], broken["incomplete_tables"]) == ("memory_profiler", 1)
    recorded = described(tmp_path / "c.dat", MPROF)
    assert (recorded["kind"], recorded["calls"], recorded["samples"]) == ("mprof", 3, 8)
    assert recorded["sha256"] == hashlib.sha256(MPROF.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "settings", "sentence"),
    [
        ("", {}, r"external_logs\[0\]\.log: .* holds no table, call or sample"),
        ("CMDLINE python a.py\n", {}, "is not a log of memory_profiler"),
        ("hello\n", {}, "is not a log of memory_profiler"),
        (MPROF, {"sha256": SHA256}, rf"external_logs\[0\]\.sha256: .* not {SHA256}"),
    ],
)
def test_what_is_no_log_is_refused(
    tmp_path: Path, text: str, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        described(tmp_path / "a.log", text, **settings)


# Recordings


def samples(tmp_path: Path, text: str) -> tuple[list[tuple[float, ...]], list[str]]:
    path, said = tmp_path / "m.dat", list[str]()
    path.write_text(text)
    return [tuple(sample) for sample in mprof_log.samples(path, said.append)], said


def test_children_begin_and_end(tmp_path: Path) -> None:
    found, said = samples(tmp_path, MPROF)
    assert not said
    assert found == [
        (1, 0.0, 0, 100.5),
        (1, 0.1, 0, 101.5),
        (1, 0.1003, 42, 12.5),
        (1, 0.2, 0, 102.5),
        (1, 0.2003, 42, 13.5),
        (1, 0.2004, 43, 1.0),
        (1, 0.3, 0, 103.5),
        (1, 0.3003, 43, 2.0),
    ]
    found, _ = samples(tmp_path, MPROF + "MEM 104.5 1600000000.4000\n")
    assert found[-2:] == [(1, 0.4, 42, 0.0), (1, 0.4, 0, 104.5)]


def test_several_recordings_and_broken_lines(tmp_path: Path) -> None:
    found, said = samples(
        tmp_path, MPROF + "MEM 1x 5\n" + MPROF[:-1].replace("CMDLINE", "CMDLINE") + "\nMEM 12"
    )
    assert [sample[0] for sample in found] == [1] * 8 + [2] * 8
    assert found[8] == (2, 0.0, 0, 100.5)
    assert len(said) == 1
    assert "line 13 and 1 more of MEM or CHLD cannot be read" in said[0]
    headless, _ = samples(tmp_path, MPROF.split("\n", 1)[1])
    assert {sample[0] for sample in headless} == {1}


# The tables


def run_program(name: str, *arguments: str | Path) -> str:
    """Run a program here (starting Python and pyarrow anew takes seconds); returns what it says as it refuses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        try:
            runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
        except SystemExit as ended:
            return str(ended.code)
    return ""


def test_external_logs_are_rows_of_the_tables(tmp_path: Path) -> None:
    table = tmp_path / "external_logs.parquet"
    logs = {"a.log": run_table(500.0) + one_line_table("x/toy.py", "main", 1.0, 1.0), "b.dat": MPROF}
    for name, text in logs.items():
        (tmp_path / name).write_text(text)
    given = [file.model_dump() for file in external_files([entry(tmp_path / name) for name in logs])]
    assert not run_program("tabulate_external_logs", json.dumps(given), "--output", table)
    assert pq.read_table(table).schema.equals(schemas.EXTERNAL_LOGS)
    functions = SCRIPTS.parents[1] / "config/functions.yaml"
    for name, arguments in {
        "parse_memory_profiler_log": [],
        "tabulate_memory_by_function": ["--functions", functions],
        "tabulate_memory_curve": [],
    }.items():
        output = tmp_path / f"{name}.parquet"
        assert not run_program(name, *arguments, "--external", table, "--output", output)
    lines = pq.read_table(tmp_path / "parse_memory_profiler_log.parquet")
    assert set(lines["log"].to_pylist()) == {str(tmp_path / "a.log")}
    rows = pq.read_table(tmp_path / "tabulate_memory_by_function.parquet").to_pylist()
    assert [(Path(row["log"]).name, row["function"], row["increment_mib"]) for row in rows] == [
        ("a.log", "setup", 100.0),
        ("a.log", "train", 20.0),
        ("a.log", "index", -30.0),
        ("a.log", "finalize", 5.0),
        ("a.log", "CollectionIndexer.run", 95.0),
        ("b.dat", "indexer.index", 90.0),
        ("b.dat", "Indexer._Indexer__launch", 50.0),
    ]
    curve = pq.read_table(tmp_path / "tabulate_memory_curve.parquet")
    assert curve.schema.equals(schemas.MEMORY_CURVE)
    assert set(curve["run"].to_pylist()) == {"external/ColBERT/1000/b.dat/1"}
    assert curve["role"].to_pylist() == [
        "parent", "parent", "worker", "parent", "worker", "worker", "parent", "worker"
    ]  # fmt: skip
    assert set(curve["profiler"].to_pylist()) == {"mprof"}


def test_without_external_logs_the_tables_are_as_before(tmp_path: Path) -> None:
    assert not run_program("tabulate_external_logs", "[]", "--output", tmp_path / "e.parquet")
    assert external_logs.read(tmp_path / "e.parquet") == external_logs.read(None) == []
    said = run_program("tabulate_external_logs", '[{"path": 1}]', "--output", tmp_path / "f.parquet")
    assert said.startswith("files: ")
    assert len(said.splitlines()) == 1


def test_a_recording_is_drawn_with_its_peak(tmp_path: Path) -> None:
    path = tmp_path / "b.dat"
    path.write_text(MPROF + "".join(f"MEM {i % 7}.0 16000000{i:05d}.0\n" for i in range(1, 4000)))
    (file,) = external_files([entry(path)])
    logs = tables.frame("external_logs", [external_logs.describe(file, pytest.fail)])
    curve = tables.frame(
        "memory_curve",
        [
            row
            for batch in mprof_log.curve_batches(path, "ColBERT", 1000, pytest.fail)
            for row in batch.to_pylist()
        ],
    )
    drawn = figure.draw(logs, curve)
    assert drawn.title.startswith(
        "The largest process of the recordings from elsewhere reaches 104 MiB: ColBERT,"
    )
    assert 103.5 in set(drawn.rows["rss_mib"])
    assert len(drawn.rows) < 1600
    files.save(drawn, tmp_path / "figure")
    empty = figure.draw(logs.assign(kind="memory_profiler"), curve.iloc[:0])
    assert not empty.is_finding


def test_an_external_file_refuses_unknown_keys() -> None:
    with pytest.raises(ValueError, match="extra"):
        ExternalFile.model_validate({"path": "a", "bogus": 1})
