"""`snakemake --report`: made offline from finished results, with every figure, and without running anything anew."""

from __future__ import annotations

import base64
import re
import zipfile

import pytest
from checkout import Checkout
from indexscope.figures.catalog import FIGURES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(finished: Checkout) -> str:
    finished.snakemake("--configfile", "config/smoke.yaml", "--report", "report.html")
    return (finished.path / "report.html").read_text()


@pytest.mark.parametrize("name", FIGURES)
def test_the_report_holds_each_figure_with_its_caption(finished: Checkout, page: str, name: str) -> None:
    svg = (finished.path / f"results/figures/{name}.svg").read_bytes()
    assert base64.b64encode(svg).decode() in page
    assert f'"figure": "{name.replace("_", " ")}"' in page
    assert rf"literal\">results/figures/{name}.csv</tt>" in page  # the caption, rendered


def test_the_report_needs_no_network(page: str) -> None:
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']https?://", page)


def test_the_packed_report_holds_each_figure(finished: Checkout) -> None:
    finished.snakemake("--configfile", "config/smoke.yaml", "--report", "report.zip")
    with zipfile.ZipFile(finished.path / "report.zip") as archive:
        names = "\n".join(archive.namelist())
    assert all(f"{name}.svg" in names for name in FIGURES)


def test_captions_start_no_job(finished: Checkout) -> None:
    path = finished.path / "rules" / "captions" / "figure.rst"
    before = path.read_text()
    path.write_text(before + "\nOne more sentence.\n")
    try:
        assert finished.planned("--configfile", "config/smoke.yaml") == {}
    finally:
        path.write_text(before)
