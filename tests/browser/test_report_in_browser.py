"""The report in a real browser: every chart is drawn, nothing is fetched, nothing sticks out.

The folder tests/unit holds the made-up tables.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import document_rows
import faiss_rows
import pyarrow.parquet as pq
import pytest
import remote_rows
import tables
import torch_tables
from checkout import Checkout
from indexscope.analysis.memory_comparison import compare_memory
from indexscope.figures.catalog import TORCH_FIGURES
from indexscope.report.page import CATALOGS
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.browser
FIRST_SCREEN = 900  # pixels high where the page is 1280 wide
# Those of which the made-up study has rows.
MANY_MARKS = ["peak_memory", "memory_over_time", "memory_by_function", "artifact_comparison"]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        reason = "needs Chromium and its driver: apt-get install -y chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    options = Options()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    yield browser
    browser.quit()


def crowded() -> dict[str, list[tables.Row]]:
    """The study with as much to say on the first screen as there can be: systems, sizes, troubles, a campaign."""
    study = tables.study()
    common = {"campaign": "spring_2026_on_the_large_machine"}
    for number in range(7):
        study["runs"] += [
            tables.run(
                f"system_{number}", size, profiler, repeat,
                peak=1100.0 + number, framework="colbert", label=f"ColBERT, settings of RAGatouille, variant {number}",
            )
            for size in (300, 1000)
            for profiler in ("none", "spans", "memory_profiler")
            for repeat in (1, 2, 3)
        ]  # fmt: skip
    label = study["runs"][-1]["label"]
    killed = tables.run("system_6", 3000, outcome="out_of_memory_host", peak=9000.0, label=label)
    failed = {
        "kmeans_attempts": 2,
        "kmeans_failures": "torch: OutOfMemoryError: CUDA out of memory. Tried to allocate",
    }
    study["runs"] = [{**run, **common} for run in [*study["runs"], killed]]
    study["runs"][4] |= failed
    study["memory_comparison"] = list(compare_memory(study["runs"]))
    return study


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("results")
    study = tables.study()
    tables.write(directory / "tables", **study)
    tables.draw_figures(directory / "figures", study)
    (directory / "configuration.yaml").write_text("measurement:\n  threads: 2\n")
    tables.write(directory / "crowded", **crowded())
    for tables_folder, page in (("tables", "report.html"), ("crowded", "crowded.html")):
        command = [sys.executable, ROOT / "workflow" / "scripts" / "report.py"]
        command += ["--tables", directory / tables_folder, "--figures", directory / "figures"]
        command += ["--configuration", directory / "configuration.yaml", "--output", directory / page]
        subprocess.run(command, check=True)
    return directory


def charts_of(figures: Path) -> list[str]:
    return sorted(path.stem for path in figures.glob("*.html"))


def open_page(browser: webdriver.Chrome, page: Path, width: int, drawn: str) -> None:
    """Open `page` and wait until `drawn`, a JavaScript expression, holds."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    for log in ("browser", "performance"):
        browser.get_log(log)  # what came before
    browser.get(page.as_uri())
    WebDriverWait(browser, 60).until(lambda each: each.execute_script(f"return {drawn}"))


def requests(browser: webdriver.Chrome) -> list[str]:
    """Addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent]


def marks(browser: webdriver.Chrome, chart: str) -> dict[str, Any]:
    counted: dict[str, Any] = browser.execute_script(
        """const chart = document.querySelector(`[data-chart="${arguments[0]}"]`);
        return {svg: chart.querySelectorAll("svg").length, marks: chart.querySelectorAll("svg path").length,
                height: chart.getBoundingClientRect().height, texts: chart.textContent};""",
        chart,
    )
    return counted


ALL_DRAWN = "document.querySelectorAll('[data-drawn=true]').length === document.querySelectorAll('[data-chart]').length"
# What sticks out of the page without being in a box of its own that scrolls.
STICKING_OUT = """return Array.from(document.querySelectorAll("body *"))
  .filter(each => each.offsetParent && !each.closest(".chart, .scroll table, pre, .skip"))
  .filter(each => each.getBoundingClientRect().right > innerWidth + 0.5)
  .map(each => each.outerHTML.slice(0, 80))"""


def check_page(browser: webdriver.Chrome, page: Path, width: int) -> None:
    """Nothing was fetched, nothing went wrong, nothing sticks out, and 1280 × 900 shows the whole first screen."""
    assert browser.get_log("browser") == []
    assert [url for url in requests(browser) if not url.startswith("data:")] == [page.as_uri()]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(STICKING_OUT) == []
    header = browser.find_element(By.ID, "first-screen")
    if width == 1280:
        assert header.rect["y"] + header.rect["height"] <= FIRST_SCREEN
        assert browser.execute_script(
            "return Array.from(document.querySelectorAll('header .scroll'))"
            ".every(each => each.scrollWidth <= each.clientWidth)"
        )
    columns = browser.execute_script(
        "return new Set(Array.from(document.querySelectorAll('.findings li, .conditions section'))"
        ".map(each => Math.round(each.getBoundingClientRect().left))).size"
    )
    assert columns > 1 if width == 1280 else columns == 1


@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_is_drawn_and_fetches_nothing(
    browser: webdriver.Chrome, results: Path, width: int
) -> None:
    page = results / "report.html"
    open_page(browser, page, width, ALL_DRAWN)
    charts = charts_of(results / "figures")
    assert len(charts) == len(browser.find_elements(By.CSS_SELECTOR, "[data-chart]")) >= 5
    for chart in charts:
        counted = marks(browser, chart)
        assert counted["svg"] == 1
        assert counted["texts"]
        assert counted["height"] > 100
        if chart in MANY_MARKS:
            assert counted["marks"] > 20
    assert "peak 1,493 MiB" in marks(browser, "memory_over_time")["texts"]
    assert "out of memory (host)" in marks(browser, "peak_memory")["texts"]
    check_page(browser, page, width)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".findings li")) == 3


@pytest.mark.parametrize("width", [1280, 400])
def test_the_first_screen_holds_all_that_there_can_be(
    browser: webdriver.Chrome, results: Path, width: int
) -> None:
    page = results / "crowded.html"
    open_page(browser, page, width, ALL_DRAWN)
    check_page(browser, page, width)
    first = browser.find_element(By.ID, "first-screen").text
    assert "spring_2026_on_the_large_machine" in first
    assert "A k-means attempt failed in 1 of 150 runs" in first
    assert "And 3 more, in the table of runs" in first


def test_a_link_opens_the_table_that_it_leads_into(browser: webdriver.Chrome, results: Path) -> None:
    page = results / "crowded.html"
    open_page(browser, page, 1280, ALL_DRAWN)
    runs = browser.find_element(By.ID, "runs")
    assert runs.get_attribute("open") is None  # 150 rows
    browser.find_element(By.CSS_SELECTOR, "header a[href='#runs']").click()
    WebDriverWait(browser, 10).until(lambda _: runs.get_attribute("open"))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_of_a_real_run_is_drawn_and_fetches_nothing(
    browser: webdriver.Chrome, finished: Checkout, width: int
) -> None:
    page = finished.path / "results" / "report.html"
    open_page(browser, page, width, ALL_DRAWN)
    charts = charts_of(page.parent / "figures")
    assert len(browser.find_elements(By.CSS_SELECTOR, "[data-chart]")) == len(charts)
    for chart in charts:
        assert marks(browser, chart)["svg"] == 1
        assert marks(browser, chart)["marks"] > 20
    runs = pq.read_metadata(page.parent / "tables" / "runs.parquet").num_rows
    first = browser.find_element(By.ID, "first-screen").text
    assert f"{runs} completed" in first
    assert "given the same work, RAGatouille takes" in first
    check_page(browser, page, width)
    assert page.stat().st_size < 12e6


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_of_real_versions_is_drawn_and_fetches_nothing(
    browser: webdriver.Chrome, compared_versions: Checkout, width: int
) -> None:
    page = compared_versions.path / "results" / "torch_versions.html"
    open_page(browser, page, width, ALL_DRAWN)
    assert len(browser.find_elements(By.CSS_SELECTOR, "[data-chart]")) == len(TORCH_FIGURES)
    for chart in TORCH_FIGURES:
        assert marks(browser, chart)["svg"] == 1
        assert marks(browser, chart)["marks"] > 5
    first = browser.find_element(By.ID, "first-screen").text
    assert "9.9.9" in first
    assert "makes all final artifacts equal" in first
    assert browser.get_log("browser") == []
    assert [url for url in requests(browser) if not url.startswith("data:")] == [page.as_uri()]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(STICKING_OUT) == []


# Experiment → writes the tables of a made-up study into a folder.
MADE_UP = {
    "torch_versions": lambda folder: torch_tables.write(folder, torch_tables.study()),
    "faiss_tables": lambda folder: faiss_rows.write(folder, faiss_rows.study()),
    "document_access": lambda folder: document_rows.write(folder, document_rows.everything()),
    "remote_indexing": lambda folder: remote_rows.write(folder, remote_rows.everything()),
}


@pytest.fixture(scope="module", params=sorted(MADE_UP))
def made_up_page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory, experiment = tmp_path_factory.mktemp(request.param), request.param
    MADE_UP[experiment](directory / "tables")
    (directory / "figures").mkdir()
    for name in CATALOGS[experiment]:
        command = [sys.executable, ROOT / "workflow" / "scripts" / "plot.py", name]
        command += ["--tables", directory / "tables", "--output", directory / "figures" / name]
        subprocess.run(command, check=True)
    (directory / "configuration.yaml").write_text(f"{experiment}:\n  documents: 1000\n")
    command = [sys.executable, ROOT / "workflow" / "scripts" / "report.py", "--experiment", experiment]
    command += ["--tables", directory / "tables", "--figures", directory / "figures"]
    command += ["--configuration", directory / "configuration.yaml"]
    subprocess.run([*command, "--output", directory / f"{experiment}.html"], check=True)
    return directory / f"{experiment}.html"


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_of_another_experiment_fits(
    browser: webdriver.Chrome, made_up_page: Path, width: int
) -> None:
    open_page(browser, made_up_page, width, ALL_DRAWN)
    check_page(browser, made_up_page, width)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("experiment", ["faiss_tables", "document_access", "remote_indexing"])
def test_the_page_of_a_real_experiment_is_drawn_and_fetches_nothing(
    browser: webdriver.Chrome, request: pytest.FixtureRequest, experiment: str, width: int
) -> None:
    finished = {
        "faiss_tables": "finished_faiss",
        "document_access": "finished_access",
        "remote_indexing": "finished_remote",
    }[experiment]
    page = request.getfixturevalue(finished).path / "results" / f"{experiment}.html"
    open_page(browser, page, width, ALL_DRAWN)
    check_page(browser, page, width)
    for chart in CATALOGS[experiment]:
        assert marks(browser, chart)["svg"] == 1
        assert marks(browser, chart)["marks"] > 5


def test_a_mark_tells_its_numbers(browser: webdriver.Chrome, results: Path) -> None:
    open_page(browser, results / "report.html", 1280, ALL_DRAWN)
    cell = browser.find_element(By.CSS_SELECTOR, '[data-chart="artifact_comparison"] .mark-rect path')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    ActionChains(browser).move_to_element(cell).perform()
    WebDriverWait(browser, 10).until(
        lambda each: "equal fraction" in each.find_element(By.CSS_SELECTOR, ".vg-tooltip").text
    )


def test_each_figure_alone_is_drawn_and_fetches_nothing(browser: webdriver.Chrome, results: Path) -> None:
    for chart in charts_of(results / "figures"):
        page = results / "figures" / f"{chart}.html"
        open_page(browser, page, 1280, "document.querySelectorAll('#chart svg.marks path').length > 0")
        assert [url for url in requests(browser) if not url.startswith("data:")] == [page.as_uri()]
        assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []
