"""Archives: what identifies is gone from every file, equal results give equal bytes, nothing bad is unpacked."""

from __future__ import annotations

import base64
import json
import runpy
import socket
import sys
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import indexscope
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tables
import yaml
from indexscope import archive, schemas
from indexscope.redaction import COMMON_NAMES, Identity, Redactor
from indexscope.run_record import InputError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
PROJECT, HOME = "/scratch/team/study", "/home/marlene"
WHO = Identity(
    hosts=("gpunode17.cluster.local", "gpunode17"),
    users=("marlene",),
    folders=(PROJECT, HOME),
    project=(PROJECT,),
)
# Texts that tell who and where, and what is left of them.
PLANTED = {
    f"{PROJECT}/.snakemake/conda/ab_/lib/python3.11/site-packages/colbert/indexer.py": (
        ".snakemake/conda/ab_/lib/python3.11/site-packages/colbert/indexer.py"
    ),
    f"{HOME}/venv/lib/python3.11/site-packages/colbert/infra/run.py": (
        "[path]/lib/python3.11/site-packages/colbert/infra/run.py"
    ),
    f"RuntimeError in {HOME}/x/y.py, line 3: no space on gpunode17": (
        "RuntimeError in [path]/y.py, line 3: no space on [host]"
    ),
    f"File '{HOME}/my data/run.log' is missing": "File '[path]/run.log' is missing",
    f"{HOME}/my notes/b.log": "[path]/b.log",
    f"PATH=/usr/local/bin:{HOME}/bin": "PATH=[path]:[path]",
    "file:///data/marlene/corpus.jsonl": "[path]/corpus.jsonl",
    "git@github.com:marlene/secret.git": "[remote]",
    "git+https://marlene:token@git.example.org/lab/secret.git": "[remote]",
    "https://marlene:token@example.org/data": "https://example.org/data",
    "ask marlene@example.org": "ask [address]",
    "marlene_laptop, GPUNODE17.cluster.local": "[user]_laptop, [host]",
    "~/secret/plan.txt and ~marlene/x": "[path] and [path]",
    r"C:\Users\marlene\run.log": "[path]",
    HOME: "[path]",
    PROJECT: "",
}
# What only looks like it.
HARMLESS = [
    "results/index_runs/colbert-0a1b2c3d/120/none/1",
    "and/or, 12 MiB/s, 3 / 4, 1/2",
    "https://www.w3.org/2000/svg",
    "/proc/self/clear_refs could not be written",
    "Intel(R) Xeon(R) Processor @ 2.90GHz",
    "12.8.4.1",
    "marlenes",
    "RAGatouille (use_faiss=True)",
    "codes, residuals: equal",
]


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(WHO)


@pytest.mark.parametrize("text", PLANTED)
def test_what_identifies_is_taken_out_of_a_text(text: str, redactor: Redactor) -> None:
    redacted = redactor.value(text)
    assert redacted == PLANTED[text]
    assert redactor.value(redacted) == redacted
    assert redactor.removed


@pytest.mark.parametrize("text", HARMLESS)
def test_what_does_not_identify_stays(text: str, redactor: Redactor) -> None:
    assert redactor.value(text) == text
    assert not redactor.removed


def test_two_paths_stay_two(redactor: Redactor) -> None:
    """Tables are joined by the path of a log."""
    texts = [redactor.value(f"/data/{name}/run.log") for name in ("a", "b", "a")]
    assert texts == ["[path]/run.log", "[path 2]/run.log", "[path]/run.log"]


SECRET = f"{HOME}/x/log.py on gpunode17 by marlene"


def write_parquet(path: Path, secret: str) -> None:
    schema = pa.schema(
        [("a", pa.string()), ("b", pa.int64()), ("c", pa.list_(pa.string()))], metadata={"by": secret}
    )
    columns = {
        "a": ["plain", None, secret, "plain"],
        "b": [1, 2, 3, 4],
        "c": [[secret, "plain"], None, [], [None]],
    }
    pq.write_table(pa.table(columns, schema=schema), path)


def write_page(path: Path, secret: str) -> None:
    data = json.dumps({"rows": [{"run": secret, "é": "<b>"}]}).replace("<", "\\u003c")
    table = base64.b64encode(f"a,b\n{secret},1\n".encode()).decode()
    path.write_text(
        f'<html><body><p>{secret}</p><a href="data:text/csv;base64,{table}">CSV</a><br/>'
        f'<script type="application/json" id="x">{data}</script>'
        '<script>var marlene = a /b/ c; x("//");</script></body></html>'
    )


FILES: dict[str, Callable[[Path, str], Any]] = {
    "tables/a.parquet": write_parquet,
    "figures/a.csv": lambda path, secret: path.write_text(f'a,b\n"{secret}, x",1\n,2\n'),
    "figures/a.svg": lambda path, secret: path.write_text(
        f'<svg><text x="1"/><text>{secret}</text><g/></svg>'
    ),
    "report.html": write_page,
    "index_runs/a/run.json": lambda path, secret: path.write_text(
        json.dumps({secret: [{"x": secret}], "n": 1.5})
    ),
    "configuration.yaml": lambda path, secret: path.write_text(
        f"# By {secret}.\nlog: {secret}\nsizes: [1, 2]\n"
    ),
    "note.txt": lambda path, secret: path.write_text(f"\n{secret}\n"),
}


def planted_file(folder: Path, name: str, secret: str = SECRET) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    FILES[name](path, secret)
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_redacted_and_searched(name: str, tmp_path: Path, redactor: Redactor) -> None:
    source, target = planted_file(tmp_path, name), tmp_path / ("redacted" + Path(name).suffix)
    assert WHO.found_in(source, name) is not None
    redactor.file(source, target)
    assert WHO.found_in(target, name) is None


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("secret", ["marlene", "gpunode17", HOME, f"{PROJECT}/x", "gpunode17.cluster.local"])
def test_each_single_secret_is_found(name: str, secret: str, tmp_path: Path) -> None:
    """The search finds one by one what is planted, so that a redaction that missed it would be noticed."""
    assert WHO.found_in(planted_file(tmp_path, name, secret), name) is not None
    assert WHO.found_in(planted_file(tmp_path, name, "nothing"), name) is None


def test_what_is_left_of_files_is_well_formed(tmp_path: Path, redactor: Redactor) -> None:
    left = "[path]/log.py on [host] by [user]"

    def redacted(name: str) -> Path:
        target = tmp_path / ("left" + Path(name).suffix)
        redactor.file(planted_file(tmp_path, name), target)
        return target

    table = pq.read_table(redacted("tables/a.parquet"))
    assert table.to_pydict() == {
        "a": ["plain", None, left, "plain"],
        "b": [1, 2, 3, 4],
        "c": [[left, "plain"], None, [], [None]],
    }
    assert table.schema.metadata == {b"by": left.encode()}
    assert redacted("figures/a.csv").read_text() == f'a,b\n"{left}, x",1\n,2\n'
    assert [text.text for text in ElementTree.parse(redacted("figures/a.svg")).getroot()] == [
        None,
        left,
        None,
    ]
    assert json.loads(redacted("index_runs/a/run.json").read_text()) == {left: [{"x": left}], "n": 1.5}
    text = redacted("configuration.yaml").read_text()
    assert text.startswith(f"# By {left}.\n")
    assert yaml.safe_load(text) == {"log": left, "sizes": [1, 2]}
    page = redacted("report.html").read_text()
    assert base64.b64encode(f"a,b\n{left},1\n".encode()).decode() in page
    assert '{"run":"[path]/log.py on [host] by [user]","\\u00e9":"\\u003cb>"}' in page
    assert 'var marlene = a /b/ c; x("//");' in page  # code is a library's, and stays


def test_a_table_is_redacted_and_searched_in_constant_memory(tmp_path: Path, redactor: Redactor) -> None:
    """Four times as many rows, and no more memory at the peak."""
    peaks = []
    for groups in (4, 16):
        source, target = tmp_path / f"{groups}.parquet", tmp_path / "out.parquet"
        rows = pa.table({"a": [f"/x/{number}/y.py" for number in range(1 << 10)] * 64})
        with pq.ParquetWriter(source, rows.schema) as writer:
            for _ in range(groups):
                writer.write_table(rows)
        pool = pa.system_memory_pool()
        previous = pa.default_memory_pool()
        proxy = pa.proxy_memory_pool(pool)
        pa.set_memory_pool(proxy)
        try:
            redactor.file(source, target)
            WHO.found_in(target, "a.parquet")
        finally:
            pa.set_memory_pool(previous)
        assert pq.read_metadata(target).num_rows == groups << 16
        peaks.append(proxy.max_memory())
    assert peaks[1] < 1.3 * peaks[0]


def test_the_identity_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "lab3.example.org")
    monkeypatch.setattr(socket, "getfqdn", lambda: "lab3.example.org")
    monkeypatch.setenv("HOSTNAME", "localhost")
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, "rosa")
    monkeypatch.setenv("HOME", "/home/rosa")
    who = Identity.of_this_machine([tmp_path])
    assert who.hosts == ("lab3.example.org", "lab3")
    assert "rosa" in who.users
    assert not {*who.hosts, *who.users} & COMMON_NAMES
    assert {str(tmp_path), "/home/rosa"} <= set(who.folders)
    assert "lab3" not in Identity.of_this_machine([tmp_path], keep=["lab3"]).hosts


# The file


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    return {name: planted_file(tmp_path / "sources", name, "nothing") for name in FILES}


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> Path:
    """A copy of an archive with other members, as someone else could make it."""
    with zipfile.ZipFile(source) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(target, "w") as new:
        for name, content in change(members).items():
            new.writestr(name, content)
    return target


@pytest.fixture
def made(sources: dict[str, Path], tmp_path: Path) -> Path:
    path = tmp_path / "made.zip"
    archive.write(path, sources, {"indexscope": {"version": "0.1.0"}})
    return path


def test_equal_results_give_equal_bytes(sources: dict[str, Path], made: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    for path in sources.values():
        path.touch()
    archive.write(again, dict(reversed(sources.items())), {"indexscope": {"version": "0.1.0"}})
    assert again.read_bytes() == made.read_bytes()


def test_a_round_trip_gives_the_same_files(sources: dict[str, Path], made: Path, tmp_path: Path) -> None:
    manifest = archive.read_manifest(made)
    assert list(manifest.members) == sorted(sources)
    assert manifest.tables == ["a"]
    assert manifest.folder(Path("x/my results.v2.zip")) == f"my_results_v2-{manifest.digest[:8]}"
    archive.unpack(made, sources, tmp_path / "out")
    for name, path in sources.items():
        assert (tmp_path / "out" / name).read_bytes() == path.read_bytes()
    with zipfile.ZipFile(made) as zipped:
        assert zipped.testzip() is None


def changed_member(members: dict[str, bytes]) -> dict[str, bytes]:
    return members | {"note.txt": b"\nanother\n"}


def newer(members: dict[str, bytes]) -> dict[str, bytes]:
    manifest = json.loads(members["MANIFEST.json"])
    return members | {"MANIFEST.json": json.dumps(manifest | {"format": archive.FORMAT + 1}).encode()}


BAD: dict[str, tuple[Callable[[dict[str, bytes]], Mapping[str, bytes]], str]] = {
    "a member was changed": (changed_member, "note.txt is not what MANIFEST.json says"),
    "a member grew": (lambda members: members | {"note.txt": b"x" * 9999}, "note.txt is not what"),
    "a newer format": (newer, "format 2 is newer than 1"),
    "a foreign zip": (
        lambda members: {"a.txt": b""},
        "is no archive of IndexScope (it has no MANIFEST.json)",
    ),
    "a foreign manifest": (lambda members: {"MANIFEST.json": b"[1]"}, "is another program's"),
    "a member too many": (lambda members: members | {"b.txt": b""}, "b.txt is not listed"),
    "a member too few": (
        lambda members: {name: content for name, content in members.items() if name != "note.txt"},
        "note.txt is missing",
    ),
    "out of the folder": (lambda members: members | {"../x": b""}, "'../x' would not stay in the folder"),
    "an absolute path": (
        lambda members: members | {"/away/x": b""},
        "'/away/x' would not stay in the folder",
    ),
    "deep out of the folder": (lambda members: members | {"tables/../../x": b""}, "would not stay"),
    "another drive": (lambda members: members | {"C:x": b""}, "'C:x' would not stay in the folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_is_one_sentence_and_leaves_nothing(case: str, made: Path, tmp_path: Path) -> None:
    change, sentence = BAD[case]
    bad = rewritten(made, tmp_path / "bad.zip", change)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as raised:
        archive.unpack(bad, ["tables/a.parquet", "configuration.yaml"], tmp_path / "deep" / "out")
    message = str(raised.value)
    assert message.startswith(f"{bad}: ")
    assert sentence in message
    assert "\n" not in message
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_refused(part: float, made: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.zip"
    cut.write_bytes(made.read_bytes()[: int(part * made.stat().st_size)])
    with pytest.raises(InputError, match=r"cut\.zip: is no zip file, or is cut off"):
        archive.read_manifest(cut)


def test_a_flipped_byte_anywhere_in_a_member_is_noticed(made: Path, tmp_path: Path) -> None:
    content = bytearray(made.read_bytes())
    with zipfile.ZipFile(made) as zipped:
        offset = zipped.getinfo("tables/a.parquet").header_offset
    content[offset + 100] ^= 1
    flipped = tmp_path / "flipped.zip"
    flipped.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        archive.unpack(flipped, ["configuration.yaml"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_archive_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such archive; make it with snakemake archive"):
        archive.read_manifest(tmp_path / "none.zip")


# The programs


def run_program(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small result set of this machine, called gpunode17, whose user is marlene."""
    monkeypatch.setattr(socket, "gethostname", lambda: "gpunode17")
    monkeypatch.setattr(socket, "getfqdn", lambda: "gpunode17")
    monkeypatch.setenv("USER", "marlene")
    monkeypatch.setenv("LOGNAME", "marlene")
    folder = tmp_path / "study" / "results"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder.parent)
    run = tables.run("colbert", 120, outcome="failed", outcome_detail=f"{folder}/x.py: on gpunode17")
    curve = tables.samples(run, "parent", [(0.0, 1.0), (1.0, 2.0)])
    tables.write(folder / "tables", runs=[run], memory_curve=curve)
    directory = folder / "index_runs" / run["run"]
    (directory / "artifacts").mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps({"detail": f"{folder}/x.py by marlene"}))
    (directory / "artifacts" / "manifest.json").write_text("{}")
    (folder / "configuration.yaml").write_text("campaign: null\n")
    return folder


def make(monkeypatch: pytest.MonkeyPatch, results: Path) -> Path:
    output = results / "archive.zip"
    files = [*sorted((results / "tables").glob("*.parquet")), results / "configuration.yaml"]
    run_program(monkeypatch, "make_archive.py", *files, "--results", results, "--output", output)
    return output


def test_an_archive_is_made_and_unpacked(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(monkeypatch, results)
    assert "removed: 2 names, 2 paths." in capsys.readouterr().out
    manifest = archive.read_manifest(made)
    assert manifest.content["indexscope"]["version"] == indexscope.__version__
    assert manifest.content["lock_digests"] == ["5e6f7a8b"]
    assert {path.rsplit("/", 1)[1] for path in manifest.members if path.startswith("index_runs/")} == {
        "run.json",
        "manifest.json",
    }
    run_program(monkeypatch, "unpack_archive.py", made, "--output", results / "out")
    unpacked = {path.relative_to(results / "out").as_posix() for path in (results / "out").rglob("*.*")}
    expected = {f"tables/{path.name}" for path in (results / "tables").iterdir()}
    assert unpacked == expected | {"configuration.yaml", "MANIFEST.json"}
    (row,) = pq.read_table(results / "out/tables/runs.parquet").to_pylist()
    assert row["outcome_detail"] == "results/x.py: on [host]"
    before = pq.read_table(results / "tables/memory_curve.parquet")
    assert pq.read_table(results / "out/tables/memory_curve.parquet").equals(before)
    assert not list(results.glob("*.partial")) + list(results.glob(".archive-*"))


def test_what_redaction_missed_makes_no_archive(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Redactor, "text", lambda self, text: text)
    monkeypatch.setattr(Redactor, "value", lambda self, value: value)
    with pytest.raises(SystemExit, match="would still tell") as raised:
        make(monkeypatch, results)
    assert "run.json" in str(raised.value)
    assert not list(results.glob("archive*")) + list(results.glob(".archive-*"))


def test_a_name_that_results_go_by_is_refused_or_kept(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pq.read_table(results / "tables/runs.parquet").to_pylist()
    schemas.write_table(
        [row | {"campaign": "gpunode17_before"} for row in rows],
        schemas.RUNS,
        results / "tables/runs.parquet",
    )
    with pytest.raises(SystemExit, match="'gpunode17', a host or user name of this machine, is also a name"):
        make(monkeypatch, results)
    assert not list(results.glob("archive*"))
    monkeypatch.setenv("INDEXSCOPE_KEEP_NAMES", "gpunode17")
    assert archive.read_manifest(make(monkeypatch, results)).content["kept_names"] == ["gpunode17"]


def test_a_damaged_table_is_a_sentence(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (results / "tables/spans.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(SystemExit, match=r"spans\.parquet: cannot be archived \(.*\); make it anew"):
        make(monkeypatch, results)
    assert not list(results.glob("archive*")) + list(results.glob(".archive-*"))


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((SCRIPTS.parents[1] / "pyproject.toml").read_text())["project"]
    assert indexscope.__version__ == project["version"]
