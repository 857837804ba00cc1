"""Two PDFs made on the spot, for trials without PDFs of one's own: pages of text like the synthetic corpus's."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from indexscope.corpora.synthetic import SyntheticCorpus
from indexscope.settings.corpora import SyntheticCorpusSettings
from indexscope.settings.files import NamedFile

TITLES = {
    "first_sample.pdf": "Sample of Made-up Findings, First Part",
    "second_sample.pdf": "Sample, Second Part",
}
PAGE_WORDS = 300  # a page is full with the paragraph that reaches them
# Paragraphs: about 60 words, never far more, so that a page has about 330.
PARAGRAPHS = {"median_words": 60.0, "sigma": 0.35, "length_growth": 0.0}
_MADE = datetime(2026, 1, 1, tzinfo=UTC)  # in the file: equal settings give equal bytes
_MICRO = "µ"  # which is Latin-1, as the Greek letter is not


def write_sample(folder: Path, pages: int, seed: int) -> list[NamedFile]:
    """Write the two PDFs to `folder`, which then has nothing else; equal arguments give equal files.

    Args:
        pages: of both together.
        seed: of their text.
    """
    partial = folder.with_name(folder.name + ".partial")
    for each in (partial, folder):
        shutil.rmtree(each, ignore_errors=True)
    partial.mkdir(parents=True)
    texts = _pages(pages, seed)
    shares = (pages - pages // 2, pages // 2)
    for (name, title), share in zip(TITLES.items(), shares, strict=True):
        _write_pdf(partial / name, title, [next(texts) for _ in range(share)])
    partial.replace(folder)
    return [NamedFile(name, folder / name) for name in TITLES]


def _pages(count: int, seed: int) -> Iterator[list[str]]:
    """The paragraphs of each page."""
    settings = SyntheticCorpusSettings.model_validate({"seed": seed, **PARAGRAPHS})
    # A paragraph has a word at least, so these are more than enough; they are drawn as they are taken.
    paragraphs = SyntheticCorpus(settings).documents(count * PAGE_WORDS)
    for _ in range(count):
        page: list[str] = []
        while sum(len(paragraph.split()) for paragraph in page) < PAGE_WORDS:
            page.append(" ".join(next(paragraphs).text.split()).translate(_LATIN))
        yield page


class _Latin(dict[int, str]):
    """For `str.translate`: what PDF's own fonts lack (all but Latin-1), by its name: β is beta, Β is Beta."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if code < 256:
            return character
        if character == "μ":
            return _MICRO
        name = unicodedata.name(character, "?").rpartition(" ")[2].lower()
        return name.capitalize() if character.isupper() else name


_LATIN = _Latin()


def _write_pdf(path: Path, title: str, pages: list[list[str]]) -> None:
    from fpdf import FPDF

    pdf = FPDF(format="A4")
    pdf.set_title(title)
    pdf.set_author("IndexScope")
    pdf.set_creation_date(_MADE)
    pdf.set_auto_page_break(auto=False)
    for paragraphs in pages:
        pdf.add_page()
        pdf.set_font("Times", size=11)
        for paragraph in paragraphs:
            pdf.multi_cell(0, 5, paragraph, new_x="LMARGIN", new_y="NEXT")
            pdf.ln(3)
    pdf.output(str(path))
