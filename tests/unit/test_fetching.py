"""Datasets that are downloaded: huggingface_hub against a hub on 127.0.0.1, ir_datasets on files in its folder."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_hub import TOKEN, FakeHub, FakeRepository
from huggingface_hub import constants
from indexscope.config import digest
from indexscope.corpora import hub as hub_files
from indexscope.corpora.catalog import open_corpus
from indexscope.corpora.fetching import fetch_dataset
from indexscope.run_record import InputError
from indexscope.settings.corpora import HubCorpusSettings, IrDatasetsCorpusSettings

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
DAPR = ("dataset", "UKPLab/dapr")
CARD = b"""---
configs:
- config_name: Genomics-corpus
  data_files:
  - split: test
    path: Genomics/corpus/test-*
- config_name: ConditionalQA-corpus
  data_files: [{split: test, path: [ConditionalQA/corpus/*.parquet]}]
---
# Dataset card
"""


def rows(first: int, count: int) -> bytes:
    """A Parquet file with the columns of dapr's corpora."""
    numbers = range(first, first + count)
    columns = {
        "_id": [f"p{n}" for n in numbers],
        "text": [f"text {n}" for n in numbers],
        "title": ["T"] * count,
    }
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return content.getvalue()


def settings(**changes: Any) -> HubCorpusSettings:
    values = {"repository": "UKPLab/dapr", "revision": "main", "config": "Genomics-corpus", "split": "test"}
    return HubCorpusSettings(source="hub", id_column="_id", **{**values, **changes})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    files = {
        "README.md": CARD,
        "Genomics/corpus/test-00001-of-00002.parquet": rows(3, 2),
        "Genomics/corpus/test-00000-of-00002.parquet": rows(0, 3),
        "Genomics/qrels/test.parquet": b"other",
        "ConditionalQA/corpus/0000.parquet": rows(9, 1),
    }
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", "/nonexistent")
    with FakeHub({DAPR: FakeRepository(files)}).serving() as serving:
        monkeypatch.setenv("HF_ENDPOINT", serving.address)
        yield serving


def fetch(folder: Path, **changes: Any) -> dict[str, Any]:
    return fetch_dataset(settings(**changes), folder, report=lambda _: None)


def refused(folder: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as raised:
        fetch(folder, **changes)
    assert not (folder / "manifest.json").exists()
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix("dataset ")


def test_a_split_is_fetched_and_read_in_order(hub: FakeHub, tmp_path: Path) -> None:
    manifest = fetch(tmp_path)
    assert manifest == json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["commit"] == "a" * 40
    assert manifest["requested"]["revision"] == "main"
    names = [f"Genomics/corpus/test-0000{number}-of-00002.parquet" for number in (0, 1)]
    assert [file["path"] for file in manifest["files"]] == names
    assert all(len(file["sha256"]) == 64 for file in manifest["files"])
    corpus = open_corpus(settings(text_columns=["title", "text"]), tmp_path)
    assert list(corpus.documents(9)) == [(f"p{n}", f"T text {n}") for n in range(5)]
    assert corpus.describe() == "UKPLab/dapr at aaaaaaaaaaaa, text from title and text"
    assert corpus.where(3) == f"{tmp_path / 'content' / names[1]}: row 1"
    hub.downloads.clear()
    fetch(tmp_path)
    assert hub.downloads == ["README.md"]  # what is there and intact is not fetched again


def test_files_and_other_configurations(hub: FakeHub, tmp_path: Path) -> None:
    named = fetch(
        tmp_path / "a", config=None, split=None, files=["Genomics/corpus/*1-of*", "**/0000.parquet"]
    )
    assert [file["path"] for file in named["files"]] == [
        "Genomics/corpus/test-00001-of-00002.parquet",
        "ConditionalQA/corpus/0000.parquet",
    ]
    other = fetch(tmp_path / "b", config="ConditionalQA-corpus", revision="a" * 40)
    assert [file["path"] for file in other["files"]] == ["ConditionalQA/corpus/0000.parquet"]


def test_a_connection_that_breaks_is_resumed(hub: FakeHub, tmp_path: Path) -> None:
    """huggingface_hub writes 10 MiB at a time, and asks for what follows the last of them."""
    name = "Genomics/corpus/test-00000-of-00002.parquet"
    content = random.Random(1).randbytes(25 * 2**20)
    hub.repositories[DAPR].files[name] = content
    hub.cut_after[name] = 12 * 2**20
    fetch(tmp_path)
    assert hub.ranges == [f"bytes={10 * 2**20}-"]
    assert (tmp_path / "content" / name).read_bytes() == content


def test_a_killed_download_is_gone_on_with(hub: FakeHub, tmp_path: Path) -> None:
    name = "Genomics/corpus/test-00000-of-00002.parquet"
    content = random.Random(2).randbytes(25 * 2**20)
    hub.repositories[DAPR].files[name] = content
    hub.stall_after[name] = 12 * 2**20
    partial = tmp_path / "content" / f"{name}.partial"
    program = [sys.executable, SCRIPTS / "fetch_dataset.py", "--corpus", settings().model_dump_json()]
    started = subprocess.Popen([*program, "--output", tmp_path], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size >= 10 * 2**20):
        assert started.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    started.send_signal(signal.SIGKILL)
    started.wait()
    hub.stalled.set()
    assert not (tmp_path / "manifest.json").exists()
    done = subprocess.run([*program, "--output", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"commit {'a' * 40}")
    assert hub.ranges == [f"bytes={10 * 2**20}-"]
    assert (tmp_path / "content" / name).read_bytes() == content
    assert not partial.exists()


def test_a_partial_file_of_another_commit_is_fetched_anew(hub: FakeHub, tmp_path: Path) -> None:
    name = "Genomics/corpus/test-00000-of-00002.parquet"
    (tmp_path / "content" / name).parent.mkdir(parents=True)
    (tmp_path / "content" / f"{name}.partial").write_bytes(b"of another commit")
    (tmp_path / "content" / "Genomics/corpus/test-00001-of-00002.parquet").write_bytes(b"x" * len(rows(3, 2)))
    fetch(tmp_path)
    assert list(open_corpus(settings(), tmp_path).documents(9)) == [(f"p{n}", f"text {n}") for n in range(5)]


def test_what_arrives_changed_is_refused(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_files, "_is_intact", lambda *_: False)
    assert "did not arrive as it is there (its hash differs); start again" in refused(tmp_path)


def test_hashes_are_those_of_git_and_lfs(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    blob = "ce013625030ba8dba906f756967f9e9ca394464a"  # echo hello | git hash-object --stdin
    assert hub_files._is_intact(path, hub_files.RemoteFile("hello", 6, None, blob))
    assert not hub_files._is_intact(path, hub_files.RemoteFile("hello", 6, "0" * 64, blob))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"revision": "v9"}, "UKPLab/dapr of the hub: has no revision 'v9': take a commit from http"),
        (
            {"repository": "UKPLab/no"},
            "UKPLab/no of the hub: does not exist or is private: correct the name, or set",
        ),
        ({"config": "x"}, "UKPLab/dapr of the hub: its card lists no config 'x', only Genomics-corpus, Cond"),
        ({"split": "dev"}, "UKPLab/dapr of the hub: config 'Genomics-corpus' has no split 'dev', only test"),
        (
            {"config": None, "split": None, "files": ["a/*"]},
            "UKPLab/dapr of the hub: no file matches a/*; correct",
        ),
    ],
)
def test_what_does_not_exist(hub: FakeHub, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert refused(tmp_path, **changes).startswith(message)


def test_gated(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[DAPR].gated = True
    said = refused(tmp_path)
    assert said.startswith(
        f"UKPLab/dapr of the hub: is gated: accept its terms at {hub.address}/datasets/UKPLab/dapr"
    )
    assert "HF_TOKEN" in said
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert refused(tmp_path).startswith("UKPLab/dapr of the hub: refuses HF_TOKEN: set it to a valid token")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert len(fetch(tmp_path)["files"]) == 2


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "may not be read with this HF_TOKEN: open http"),
        (429, "is asked too often (429): wait some minutes"),
        (503, "answers 503 (Service Unavailable): start again later"),
    ],
)
def test_other_answers(hub: FakeHub, tmp_path: Path, status: int, message: str) -> None:
    hub.status = status
    assert refused(tmp_path).startswith(f"UKPLab/dapr of the hub: {message}")


def test_no_network(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as offline:
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        assert refused(tmp_path).startswith(
            "UKPLab/dapr of the hub: is not here, and HF_HUB_OFFLINE forbids the network: unset it"
        )
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said = refused(tmp_path)
    assert said.startswith("UKPLab/dapr of the hub: cannot be reached at http://127.0.0.1:9 (")
    assert "check the network, or set HTTPS_PROXY" in said


def test_a_proxy_that_does_not_answer(hub: FakeHub, tmp_path: Path) -> None:
    """In a process of its own: huggingface_hub reads the proxy when it makes its first connection."""
    done = subprocess.run(
        [
            sys.executable,
            SCRIPTS / "fetch_dataset.py",
            "--corpus",
            settings().model_dump_json(),
            "--output",
            tmp_path,
        ],
        env={**os.environ, "http_proxy": "http://user:secret@127.0.0.1:9", "no_proxy": "", "NO_PROXY": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "dataset UKPLab/dapr of the hub: cannot be reached through the proxy http://127.0.0.1:9 ("
    )
    assert "secret" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_columns_are_no_part_of_what_is_downloaded() -> None:
    def names(**changes: Any) -> tuple[str, str]:
        changed = settings(**changes)
        return digest(changed.fetched()), digest(changed)

    first, columns, revision = names(), names(text_columns=["title"]), names(revision="v2")
    assert first[0] == columns[0] != revision[0]
    assert first[1] != columns[1]


def test_a_dataset_that_changed_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    fetch(tmp_path)
    file = tmp_path / "content" / "Genomics/corpus/test-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"of-00002\.parquet: has changed since it was fetched; remove "):
        open_corpus(settings(), tmp_path)
    file.unlink()
    with pytest.raises(InputError, match=r"of-00002\.parquet: is missing since it was fetched"):
        open_corpus(settings(), tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"manifest\.json is missing: run fetch_dataset\.py"):
        open_corpus(settings(), tmp_path)
    with pytest.raises(InputError, match=r"--dataset: is needed for source hub"):
        open_corpus(settings())


@pytest.mark.parametrize(
    ("data_files", "split", "expected"),
    [
        ("data/*.csv", "train", ["data/*.csv"]),
        ({"train": "a.csv", "test": ["b.csv", "c.csv"]}, "test", ["b.csv", "c.csv"]),
        ([{"split": "test", "path": "x/*"}, {"split": "test", "path": "y/*"}], "test", ["x/*", "y/*"]),
        (["a.csv", "b.csv"], "train", ["a.csv", "b.csv"]),
    ],
)
def test_forms_of_data_files_in_a_card(data_files: Any, split: str, expected: list[str]) -> None:
    card = (
        "---\n" + json.dumps({"configs": [{"config_name": "default", "data_files": data_files}]}) + "\n---\n"
    )
    assert hub_files.files_of_split(card, None, split) == expected


def test_a_card_without_configurations() -> None:
    with pytest.raises(ValueError, match="lists no configurations; give files instead of split"):
        hub_files.files_of_split("# only text", None, "train")


def test_globs_stay_within_a_folder() -> None:
    paths = ["a/x.csv", "a/b/x.csv", "x.csv", "a/y[1].csv", "a/z1.csv"]
    assert hub_files.matching(paths, ["a/*.csv"]) == ["a/x.csv", "a/y[1].csv", "a/z1.csv"]
    assert hub_files.matching(paths, ["**/x.csv"]) == ["a/b/x.csv", "a/x.csv", "x.csv"]
    assert hub_files.matching(paths, ["x.csv", "a/z[0-9].csv", "a/?.csv"]) == ["x.csv", "a/z1.csv", "a/x.csv"]
    assert hub_files.matching(paths, ["xxcsv", "x.csvv"]) == []


# ir_datasets looks its folder up when it is imported: these share one, with what it would have downloaded.


def archived(path: Path, name: str, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `vaswani` as ir_datasets keeps its download (three documents, one empty), and a damaged one."""
    folder = tmp_path_factory.mktemp("ir_datasets")
    documents = b"1\ncompact memories have\nflexible capacities\n   /\n2\n\n   /\n3\nsearch \xc3\xbc\n   /\n"
    archived(folder / "content" / "vaswani" / "npl.tar.gz", "doc-text", documents)
    archived(folder / "content" / "cranfield" / "cran.tar.gz", "cran.all.1400", b"x" * 1000)
    archive = folder / "content" / "cranfield" / "cran.tar.gz"
    archive.write_bytes(archive.read_bytes()[:90])
    with pytest.MonkeyPatch.context() as patch:
        # Another test may have imported it, with another folder.
        for name in [name for name in sys.modules if name.partition(".")[0] == "ir_datasets"]:
            patch.delitem(sys.modules, name)
        patch.setenv("IR_DATASETS_HOME", str(folder / "content"))
        patch.setenv("IR_DATASETS_DL_TRIES", "1")
        patch.setenv("IR_DATASETS_TMP", str(folder / "tmp"))
        yield folder


@pytest.fixture
def ir(downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (downloaded / "manifest.json").unlink(missing_ok=True)
    import ir_datasets

    # A corpus that is read takes the network from ir_datasets; put it back afterwards.
    monkeypatch.setattr(ir_datasets.lazy_libs, "requests", ir_datasets.lazy_libs.requests)
    return downloaded


def ir_settings(dataset: str = "vaswani", **changes: Any) -> IrDatasetsCorpusSettings:
    return IrDatasetsCorpusSettings(source="ir_datasets", dataset=dataset, **changes)


def ir_fetch(folder: Path, dataset: str = "vaswani") -> dict[str, Any]:
    return fetch_dataset(ir_settings(dataset), folder, report=lambda _: None)


def test_ir_datasets_are_read_from_what_was_fetched(ir: Path) -> None:
    manifest = ir_fetch(ir)
    assert (manifest["documents"], manifest["requested"]["dataset"]) == (3, "vaswani")
    assert {"vaswani/docs.txt", "vaswani/npl.tar.gz"} <= {file["path"] for file in manifest["files"]}
    corpus = open_corpus(ir_settings(on_empty_text="drop", text_fields=["text"]), ir)
    documents = list(corpus.documents(5))
    assert [document.document_id for document in documents] == ["1", "3"]
    assert documents[0].text.split() == ["compact", "memories", "have", "flexible", "capacities"]
    assert documents == [each for each in open_corpus(ir_settings(), ir).documents(5) if each.text.strip()]
    assert corpus.where(1) == "vaswani: document 3"
    for changes, message in (
        ({"on_empty_text": "error"}, r"^vaswani: document 2: document '2' has no text; correct it, or set"),
        (
            {"text_fields": ["title"]},
            r"^vaswani: document 1: field 'title' does not exist; text_fields may be \('d",
        ),
    ):
        with pytest.raises(InputError, match=message):
            list(open_corpus(ir_settings(**changes), ir).documents(5))


def test_a_slice_of_ir_datasets_never_uses_the_network(ir: Path) -> None:
    manifest = ir_fetch(ir)
    (ir / "manifest.json").write_text(json.dumps({**manifest, "requested": {}, "files": []}))
    with pytest.raises(
        InputError, match=r"^antique of ir_datasets: a file .* is not here any more; run fetch_d"
    ):
        list(open_corpus(ir_settings("antique"), ir).documents(1))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            "antique",
            r"antique of ir_datasets: cannot be reached through the proxy \(.*: correct HTTPS_PROXY, or unset",
        ),
        (
            "antiques",
            r"antiques of ir_datasets: there is no such dataset; https://ir-datasets\.com lists those there",
        ),
        ("cranfield", r"cranfield of ir_datasets: .*; remove .*content and run fetch_dataset\.py"),
    ],
)
def test_ir_datasets_that_cannot_be_had(
    ir: Path, dataset: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(InputError, match=f"^{message}") as raised:
        ir_fetch(ir, dataset)
    assert "\n" not in str(raised.value)
    assert not (ir / "manifest.json").exists()


def test_programs_fetch_and_slice(ir: Path, tmp_path: Path) -> None:
    def run(program: str, *arguments: str | Path) -> str:
        command = [sys.executable, SCRIPTS / program, "--corpus", ir_settings().model_dump_json(), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert " files, " in run("fetch_dataset.py", "--output", ir)
    said = run("slice_dataset.py", "--dataset", ir, "--documents", "3", "--output", tmp_path / "3.parquet")
    assert said.startswith(
        "3 documents of vaswani of ir_datasets, text from the fields that ir_datasets suggests"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.jsonl", "3.parquet"]


def test_made_corpora_need_no_download(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "fetch_dataset.py", "--corpus", '{"source": "synthetic"}']
    done = subprocess.run([*command, "--output", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "--corpus: source: synthetic needs no download; use slice_dataset.py\n"
