"""PDFs as a corpus: pages become documents, whatever else there is becomes a row, and nothing stops the rest."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import deadly_pages
import pyarrow.parquet as pq
import pypdf
import pytest
from fpdf import FPDF
from indexscope import schemas
from indexscope.config import addressed, digest, load
from indexscope.corpora import pdf_pages, sample_pdfs
from indexscope.corpora.catalog import open_corpus
from indexscope.corpora.pdf_pages import Asked, Opened, Page, clean
from indexscope.corpora.pdfs import MOST_STOPPED, extract
from indexscope.corpora.sample_pdfs import TITLES, write_sample
from indexscope.corpora.slicing import write_slice
from indexscope.run_record import InputError
from indexscope.settings.corpora import PdfCorpusSettings, SyntheticCorpusSettings

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
MOST_PAGES, LARGEST_MIB = 30, 1.0


def settings(path: Path | str, **changes: Any) -> PdfCorpusSettings:
    return PdfCorpusSettings(source="pdfs", path=str(path), **changes)


def written(*texts: str, title: str | None = None) -> bytes:
    """A PDF with a page for each text, which stands on it as it is, a line a cell."""
    pdf = FPDF()
    if title:
        pdf.set_title(title)
    for text in texts:
        pdf.add_page()
        pdf.set_font("Helvetica", size=12)
        for line in text.splitlines():
            pdf.cell(text=line, new_x="LMARGIN", new_y="NEXT")
    return bytes(pdf.output())


def encrypted(password: str, algorithm: str) -> bytes:
    writer = pypdf.PdfWriter()
    writer.append(pypdf.PdfReader(io.BytesIO(written("secret words"))))
    writer.encrypt(user_password=password, owner_password="owner", algorithm=algorithm)
    return bytes_of(writer)


def bytes_of(writer: pypdf.PdfWriter) -> bytes:
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


def of_objects(*objects: bytes) -> bytes:
    """A PDF of the objects 1, 2, …; the first is the catalog."""
    content, offsets = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    xref = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return b"%sxref\n0 %d\n0000000000 65535 f \n%strailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
        content, size, xref, size, len(content),
    )  # fmt: skip


def stream(content: bytes, entries: bytes = b"", compressed: bool = False) -> bytes:
    if compressed:
        content, entries = zlib.compress(content), entries + b"/Filter/FlateDecode"
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(content), content)


def of_contents(*streams: bytes, objects: bytes = b"", more: tuple[bytes, ...] = ()) -> bytes:
    """A PDF with a page for each content stream; `more` are the objects from 4 on, `objects` the pages' XObjects."""
    first = 4 + len(more)
    pages = [
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents %d 0 R"
        b"/Resources<</Font<</F 3 0 R>>/XObject<<%s>>>>>>" % (first + 2 * index + 1, objects)
        for index in range(len(streams))
    ]
    kids = b" ".join(b"%d 0 R" % (first + 2 * index) for index in range(len(streams)))
    return of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(streams), kids),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *more,
        *(each for pair in zip(pages, streams, strict=True) for each in pair),
    )


def shown(text: bytes) -> bytes:
    return stream(b"BT /F 12 Tf 50 700 Td (%s) Tj ET" % text)


IMAGE = stream(
    b"\x80", b"/Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8"
)
FORM = stream(b"/I Do", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</I 4 0 R>>>>")
ENDLESS = stream(b"/E Do", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</E 6 0 R>>>>")
DRAWN = {  # page by page, with and without text
    "image.pdf": ([b"/I Do"], ["image_only"]),
    "image in a form.pdf": ([b"/O Do"], ["image_only"]),
    "inline image.pdf": ([b"BI /W 1 /H 1 /CS /G /BPC 8 ID x EI"], ["image_only"]),
    "endless form.pdf": ([b"/E Do"], ["empty"]),
    "drawing.pdf": ([b"0 0 9 9 re f"], ["image_only"]),
    "signs.pdf": ([b"BT /F 12 Tf (- . -) Tj ET"], ["empty"]),
    "blank text.pdf": ([b"BT /F 12 Tf ( ) Tj ET"], ["empty"]),
    "unused image.pdf": ([b"q Q"], ["empty"]),
    "bomb.pdf": ([], ["text", "too_large", "text"]),
}


class Extracted(NamedTuple):
    folder: Path
    manifest: dict[str, Any]
    rows: list[dict[str, Any]]
    documents: list[dict[str, Any]]
    reports: list[str]

    def outcomes(self, file: str) -> list[str]:
        return [row["outcome"] for row in self.rows if row["file"] == file]

    def reason(self, file: str) -> str:
        return next(row["reason"] for row in self.rows if row["file"] == file)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def extracted(path: Path | str, folder: Path, **changes: Any) -> Extracted:
    reports: list[str] = []
    manifest = extract(settings(path, **changes), folder, reports.append)
    return Extracted(
        folder, manifest, lines(folder / "pages.jsonl"), lines(folder / "documents.jsonl"), reports
    )


def fill(folder: Path) -> None:
    """A folder with everything that a folder of PDFs may have."""
    good = written("First words", "Second words", title="A Title")
    files = {
        "papers/good.pdf": good,
        "papers/deep er/Größe ß.PDF": written("Upper case"),
        "again/good.pdf": good,
        "a#page=1.pdf": written("Hash"),
        "encrypted.pdf": encrypted("password", "AES-256"),
        "empty password.pdf": encrypted("", "AES-128"),
        "zero.pdf": b"",
        "garbage.pdf": os.urandom(3000).replace(b"%PDF-", b"%pdf-"),
        "only a header.pdf": b"%PDF-1.7\n",
        "cut.pdf": of_contents(shown(b"kept"), shown(b"lost"))[:-430],
        "missing page.pdf": of_contents(shown(b"kept"), shown(b"lost")).replace(
            b"[4 0 R 6 0 R]", b"[4 0 R 9 0 R]"
        ),
        "broken xref.pdf": re.sub(rb"startxref\n\d+", b"startxref\n7", written("Recovered")),
        "no pages.pdf": of_objects(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 0/Kids[]>>"),
        "cyclic.pdf": of_objects(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 1/Kids[2 0 R]>>"),
        "long.pdf": of_contents(*[shown(b"x")] * (MOST_PAGES + 1)),
        "heavy.pdf": good + b"%" * int(LARGEST_MIB * 2**20),
        "lost content.pdf": of_contents(shown(b"here"), b"null"),
        ".hidden.pdf": good,
        ".hidden/other.pdf": good,
        "notes.txt": b"no PDF",
    }
    for name, (contents, _) in DRAWN.items():
        streams = [stream(content) for content in contents]
        if name == "bomb.pdf":
            streams = [shown(b"before"), stream(bytes(80_000_000), compressed=True), shown(b"after")]
        files[name] = of_contents(*streams, objects=b"/I 4 0 R/O 5 0 R/E 6 0 R", more=(IMAGE, FORM, ENDLESS))
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "link.pdf").symlink_to("papers/good.pdf")
    (folder / "nowhere.pdf").symlink_to("gone")
    (folder / "papers" / "loop").symlink_to("..")
    os.mkfifo(folder / "pipe.pdf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pdfs")
    fill(path)
    return path


@pytest.fixture(scope="module")
def everything(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    output = tmp_path_factory.mktemp("dataset") / "new"
    return extracted(folder, output, most_pages=MOST_PAGES, largest_mib=LARGEST_MIB)


OUTCOMES = {
    "papers/good.pdf": ["text", "text"],
    "papers/deep er/Größe ß.PDF": ["text"],
    "again/good.pdf": ["text", "text"],
    "link.pdf": ["text", "text"],
    "a#page=1.pdf": ["text"],
    "encrypted.pdf": ["encrypted"],
    "empty password.pdf": ["text"],
    "zero.pdf": ["empty"],
    "garbage.pdf": ["damaged"],
    "only a header.pdf": ["damaged"],
    "cut.pdf": ["damaged"],
    "missing page.pdf": ["damaged", "text"],
    "broken xref.pdf": ["text"],
    "no pages.pdf": ["empty"],
    "cyclic.pdf": ["damaged"],
    "long.pdf": ["too_large"],
    "heavy.pdf": ["too_large"],
    "lost content.pdf": ["text", "damaged"],
    "nowhere.pdf": ["unreadable"],
    "pipe.pdf": ["unreadable"],
    **{name: outcomes for name, (_, outcomes) in DRAWN.items()},
}


@pytest.mark.parametrize("file", OUTCOMES)
def test_outcome_of_each_page(everything: Extracted, file: str) -> None:
    assert everything.outcomes(file) == OUTCOMES[file], [
        row["reason"] for row in everything.rows if row["file"] == file
    ]


def test_there_is_nothing_else_and_files_are_in_order(everything: Extracted) -> None:
    files = list(dict.fromkeys(row["file"] for row in everything.rows))
    assert files == sorted(OUTCOMES)
    assert [file["path"] for file in everything.manifest["files"]] == files
    assert len(everything.reports) == len(files)


def test_what_is_no_text_has_a_sentence_as_reason(everything: Extracted) -> None:
    for row in everything.rows:
        assert (row["reason"] is None) == (row["outcome"] == "text") == (row["document_id"] is not None)
        if row["reason"]:
            assert re.fullmatch(r"[A-Z0-9].*\.", row["reason"]), row["reason"]
    assert "OCR" in everything.reason("image.pdf")
    assert "qpdf --decrypt" in everything.reason("encrypted.pdf")
    assert "most_pages" in everything.reason("long.pdf")
    assert "largest_mib" in everything.reason("heavy.pdf")
    assert "link" in everything.reason("nowhere.pdf")
    assert "2 pages, 1 are in it: get the file again" in everything.reason("missing page.pdf")


def test_documents_are_the_pages_with_text(everything: Extracted) -> None:
    of_file = {document["document_id"]: document for document in everything.documents}
    assert of_file["papers/good.pdf#page=2"] == {
        "document_id": "papers/good.pdf#page=2",
        "text": "Second words",
        "file": "papers/good.pdf",
        "page": 2,
        "title": "A Title",
    }
    assert of_file["a#page=1.pdf#page=1"]["text"] == "Hash"
    assert of_file["empty password.pdf#page=1"]["text"] == "secret words"
    assert of_file["broken xref.pdf#page=1"]["text"] == "Recovered"
    assert of_file["bomb.pdf#page=3"]["text"] == "after"
    rows = [row for row in everything.rows if row["document_id"]]
    assert [row["document_id"] for row in rows] == list(of_file)
    for row in rows:
        document = of_file[row["document_id"]]
        assert row["characters"] == len(document["text"])
        assert {name: row[name] for name in ("file", "page", "title")} == {
            name: document[name] for name in ("file", "page", "title")
        }


def test_manifest_has_digests_and_counts(everything: Extracted, folder: Path) -> None:
    manifest = everything.manifest
    assert manifest == json.loads((everything.folder / "manifest.json").read_text(encoding="utf-8"))
    files = {file["path"]: file for file in manifest["files"]}
    good = folder / "papers" / "good.pdf"
    assert files["papers/good.pdf"]["sha256"] == hashlib.sha256(good.read_bytes()).hexdigest()
    assert files["heavy.pdf"]["sha256"] is None
    assert files["nowhere.pdf"] == {"path": "nowhere.pdf", "bytes": None, "sha256": None}
    assert manifest["pypdf"] == pypdf.__version__
    assert manifest["documents"] == len(everything.documents) == manifest["outcomes"]["text"]
    assert sum(manifest["outcomes"].values()) == len(everything.rows)
    assert {path.name for path in everything.folder.iterdir()} == {
        "documents.jsonl", "pages.jsonl", "manifest.json",
    }  # fmt: skip


def test_rows_are_of_the_table(everything: Extracted, tmp_path: Path) -> None:
    table = tmp_path / "pages.parquet"
    command = [sys.executable, SCRIPTS / "tabulate_remote_pages.py", "--output", table]
    subprocess.run([*command, everything.folder / "pages.jsonl"], check=True)
    assert pq.read_schema(table).remove_metadata() == schemas.REMOTE_PAGES
    assert pq.read_table(table).to_pylist() == everything.rows
    subprocess.run(command, check=True)  # the corpus is not of PDFs
    assert pq.read_table(table).num_rows == 0


def test_slices_of_it(everything: Extracted, folder: Path, tmp_path: Path) -> None:
    corpus = open_corpus(settings(folder), everything.folder)
    whole = write_slice(corpus, None, tmp_path / "all.parquet")
    assert whole.documents == len(everything.documents)
    assert lines(whole.jsonl) == [
        {"document_id": document["document_id"], "text": document["text"]}
        for document in everything.documents
    ]
    first = write_slice(corpus, 3, tmp_path / "3.parquet")
    assert lines(first.jsonl) == lines(whole.jsonl)[:3]
    position = [document["document_id"] for document in everything.documents].index("papers/good.pdf#page=2")
    assert corpus.where(position) == "papers/good.pdf: page 2"
    with pytest.raises(InputError, match=r"has only \d+; ask for fewer"):
        write_slice(corpus, 1000, tmp_path / "1000.parquet")


def test_what_was_extracted_must_be_as_it_was_written(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--dataset: is needed for source pdfs; run extract_pdfs\.py"):
        open_corpus(settings(folder))
    with pytest.raises(InputError, match=r"manifest\.json is missing: run extract_pdfs\.py"):
        open_corpus(settings(folder), tmp_path)
    output = tmp_path / "dataset"
    extracted(folder / "papers" / "good.pdf", output)
    with (output / "documents.jsonl").open("a", encoding="utf-8") as documents:
        documents.write("{}\n")
    with pytest.raises(
        InputError, match=r"documents\.jsonl: has changed since it was written; remove .*dataset"
    ):
        open_corpus(settings(folder), output)


def test_all_of_the_synthetic_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no end: ask for a number of documents"):
        write_slice(open_corpus(SyntheticCorpusSettings()), None, tmp_path / "all.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argument", ["many"])
def test_number_of_documents_is_a_number_or_all(argument: str, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, SCRIPTS / "slice_dataset.py", "--corpus", '{"source": "synthetic"}', "--documents",
         argument, "--output", tmp_path / "s.parquet"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"{argument!r} is neither a number nor all" in finished.stderr


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("missing", "corpora.mine.path: '{}' does not exist; correct it"),
        ("no-pdfs", "corpora.mine.path: '{}' has no file that ends in .pdf"),
        ("no-pdfs/*.pdf", "corpora.mine.path: '{}' matches no file; correct it"),
    ],
)
def test_a_path_without_pdfs(tmp_path: Path, path: str, sentence: str) -> None:
    (tmp_path / "no-pdfs").mkdir()
    (tmp_path / "no-pdfs" / "notes.txt").write_text("no PDF")
    configuration = load(
        {"corpora": {"synthetic": {"source": "synthetic"}, "pdfs": {"source": "pdfs"},
                     "mine": {"source": "pdfs", "path": str(tmp_path / path)}}}
    )  # fmt: skip
    with pytest.raises(InputError) as refused:
        addressed(configuration, "corpora", "mine")
    assert str(refused.value).startswith(sentence.format(tmp_path / path))


def test_no_page_with_text_is_an_error_that_says_why(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "scan.pdf").write_bytes(of_contents(stream(b"/I Do"), objects=b"/I 4 0 R", more=(IMAGE,)))
    (scans / "zero.pdf").touch()
    finished = subprocess.run(
        [sys.executable, SCRIPTS / "extract_pdfs.py", "--corpus", settings(scans).model_dump_json(), "--output",
         tmp_path / "dataset"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 1
    assert re.fullmatch(
        rf"{scans}: no page has text: 1 empty \(zero\.pdf: .*\); 1 image only \(scan\.pdf, page 1: .*OCR.*\); "
        r"name other PDFs\n",
        finished.stderr,
    ), finished.stderr
    assert not list((tmp_path / "dataset").iterdir())


def test_another_or_changed_file_makes_another_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(written("a"))
    digests = [digest(settings(tmp_path))]
    assert digests == [digest(settings(tmp_path))]
    (tmp_path / "b.pdf").symlink_to("gone")
    digests.append(digest(settings(tmp_path)))
    (tmp_path / "gone").write_bytes(written("b"))
    digests.append(digest(settings(tmp_path)))
    (tmp_path / "a.pdf").write_bytes(written("longer"))
    digests.append(digest(settings(tmp_path)))
    assert len(set(digests)) == 4


def test_names_are_below_the_folder_of_a_glob(tmp_path: Path) -> None:
    for name in ("x/2024/a.pdf", "x/2025/a.pdf"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(written(name))
    found = extracted(tmp_path / "x" / "*" / "a.pdf", tmp_path / "d")
    assert [document["document_id"] for document in found.documents] == [
        "2024/a.pdf#page=1", "2025/a.pdf#page=1",
    ]  # fmt: skip
    one = settings(tmp_path / "x" / "2024" / "a.pdf").files()
    assert [file.name for file in one] == ["a.pdf"]


def test_a_file_name_that_is_no_unicode(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.pdf")).write_bytes(written("x"))
    assert [file.name for file in settings(tmp_path).files()] == ["caf\\xe9.pdf"]
    assert len(digest(settings(tmp_path))) == 8


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("ﬁnd the ﬂow eﬀect oﬃce", "find the flow effect office"),
        ("an exam-\nple of it", "an example of it"),
        ("an exam- \n ple", "an example"),
        ("exam\u00ad\nple and co\u00adoperate", "example and cooperate"),
        ("über-\nfüllt", "überfüllt"),
        ("Jean-\nPaul", "Jean-\nPaul"),
        ("pages 3-\n4", "pages 3-\n4"),
        ("a list:\n- item", "a list:\n- item"),
        ("nul\x00 and \x07bell\x1b", "nul and bell"),
        ("pair \ud835\udc00 lone \ud835", "pair 𝐀 lone \ufffd"),
        ("a\r\nb\rc\fd\u2028e", "a\nb\nc\nd\ne"),
        ("a  \n\n\n\n  b\n", "a\n\nb"),
    ],
)
def test_text_is_cleaned(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    clean(text).encode()


def test_parted_words_of_a_pdf(tmp_path: Path) -> None:
    (tmp_path / "x.pdf").write_bytes(written("an exam-\nple with Latin é"))
    (page,) = pages_of(tmp_path / "x.pdf")
    assert page.text == "an example with Latin é"


def pages_of(path: Path) -> list[Page]:
    return [answer for answer in pdf_pages.read(Asked(path, 1, 10_000)) if isinstance(answer, Page)]


def test_title_of_xmp_metadata(tmp_path: Path) -> None:
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title><rdf:Alt>'
        b'<rdf:li xml:lang="x-default">Told by XMP</rdf:li></rdf:Alt></dc:title></rdf:Description></rdf:RDF>'
        b"</x:xmpmeta>"
    )
    path = tmp_path / "x.pdf"
    path.write_bytes(
        of_objects(
            b"<</Type/Catalog/Pages 2 0 R/Metadata 4 0 R>>",
            b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
            stream(xmp, b"/Type/Metadata/Subtype/XML"),
        )
    )
    assert next(pdf_pages.read(Asked(path, 1, 10))) == Opened(1, 1, "Told by XMP")


def test_memory_does_not_grow_with_pages(tmp_path: Path) -> None:
    """60 pages of 500 kB (in the file much less): held together they were 30 MB."""
    path = tmp_path / "x.pdf"
    padded = stream(b"BT /F 12 Tf (text) Tj ET\n%" + b" " * 500_000, compressed=True)
    path.write_bytes(of_contents(*[padded] * 60))
    tracemalloc.start()
    try:
        pages = pages_of(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [page.text for page in pages] == ["text"] * 60
    assert peak < 10e6


def test_a_page_that_takes_too_long(tmp_path: Path) -> None:
    slow = stream(b"BT /F 12 Tf " + b"1 0 0 1 5 5 Tm (a) Tj " * 300_000 + b"ET", compressed=True)
    (tmp_path / "slow.pdf").write_bytes(of_contents(shown(b"before"), slow, shown(b"after")))
    (tmp_path / "then.pdf").write_bytes(written("then"))
    started = time.monotonic()
    found = extracted(tmp_path, tmp_path / "d", page_seconds=1.5)
    assert found.outcomes("slow.pdf") == ["text", "timed_out", "text"]
    assert "page_seconds" in found.rows[1]["reason"]
    assert found.outcomes("then.pdf") == ["text"]
    assert time.monotonic() - started < 60


def test_a_page_that_needs_too_much_memory(tmp_path: Path) -> None:
    # 70 MB when unpacked, which pypdf holds several times.
    large = stream(b"BT /F 12 Tf (a) Tj ET\n%" + b" " * 70_000_000, compressed=True)
    (tmp_path / "large.pdf").write_bytes(of_contents(shown(b"before"), large, shown(b"after")))
    found = extracted(tmp_path, tmp_path / "d", memory_mib=128)
    assert found.outcomes("large.pdf") == ["text", "too_large", "text"]
    assert "memory_mib" in found.rows[1]["reason"]


@pytest.fixture
def dark_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pdf_pages, "serve", deadly_pages.serve)
    yield


@pytest.mark.usefixtures("dark_pages")
def test_pages_that_kill_the_process(tmp_path: Path) -> None:
    (tmp_path / "dark.pdf").write_bytes(of_contents(*[shown(b"x")] * 8))
    (tmp_path / "then.pdf").write_bytes(written("then"))
    found = extracted(tmp_path, tmp_path / "d")
    assert found.outcomes("dark.pdf") == ["text"] + ["damaged"] * 7
    reasons = [row["reason"] for row in found.rows if row["outcome"] == "damaged"]
    assert all("signal 9" in reason for reason in reasons[:MOST_STOPPED])
    assert all(reason.startswith("Not tried") for reason in reasons[MOST_STOPPED:])
    assert [row["page"] for row in found.rows] == [1, 2, 3, 4, 5, 6, 7, 8, 1]
    assert found.outcomes("then.pdf") == ["text"]


def test_an_interrupted_reading_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(written("a"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "documents.jsonl").write_text("of an earlier reading")

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(settings(tmp_path / "a.pdf"), tmp_path / "d", interrupt)
    assert not list((tmp_path / "d").iterdir())


def test_the_sample_is_two_pdfs_that_are_equal_each_time(tmp_path: Path) -> None:
    first = write_sample(tmp_path / "1", 5, seed=7)
    second = write_sample(tmp_path / "2", 5, seed=7)
    other = write_sample(tmp_path / "3", 5, seed=8)
    assert [file.name for file in first] == list(TITLES)
    assert [len(pypdf.PdfReader(file.path).pages) for file in first] == [3, 2]
    for one, same, different in zip(first, second, other, strict=True):
        assert one.path.read_bytes() == same.path.read_bytes() != different.path.read_bytes()
        assert pypdf.PdfReader(one.path).metadata.title == TITLES[one.name]  # type: ignore[union-attr]


def test_a_long_sample_has_letters_that_its_font_lacks(tmp_path: Path) -> None:
    """Capital ones too: at 60 pages a sentence begins with one."""
    write_sample(tmp_path / "1", 60, seed=7)
    text = "αβγκΒΜ µ".translate(sample_pdfs._LATIN)
    assert text == "alphabetagammakappaBetaMu µ"


def test_the_sample_as_a_corpus(tmp_path: Path) -> None:
    extract(PdfCorpusSettings(source="pdfs", sample_pages=6), tmp_path, lambda _: None)
    documents = lines(tmp_path / "documents.jsonl")
    assert [document["document_id"] for document in documents] == [
        f"{name}#page={page}" for name in TITLES for page in (1, 2, 3)
    ]
    for document in documents:
        assert 300 <= len(document["text"].split()) <= 480
        assert document["title"] == TITLES[document["file"]]
    assert {path.name for path in (tmp_path / "pdfs").iterdir()} == set(TITLES)
    assert json.loads((tmp_path / "manifest.json").read_text())["fpdf2"]
