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

import pytest
import tables
from checkout import Checkout
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.browser
CHARTS = ["peak_memory", "memory_over_time", "memory_by_function", "artifact_comparison"]
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


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("results")
    study = tables.study()
    tables.write(directory / "tables", **study)
    tables.draw_figures(directory / "figures", study)
    (directory / "configuration.yaml").write_text("measurement:\n  threads: 2\n")
    command = [sys.executable, ROOT / "workflow" / "scripts" / "report.py", "--tables", directory / "tables"]
    command += ["--figures", directory / "figures", "--configuration", directory / "configuration.yaml"]
    subprocess.run([*command, "--output", directory / "report.html"], check=True)
    return directory


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


ALL_DRAWN = f"document.querySelectorAll('[data-drawn=true]').length === {len(CHARTS)}"


@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_is_drawn_and_fetches_nothing(
    browser: webdriver.Chrome, results: Path, width: int
) -> None:
    page = results / "report.html"
    open_page(browser, page, width, ALL_DRAWN)
    for chart in CHARTS:
        counted = marks(browser, chart)
        assert counted["svg"] == 1
        assert counted["marks"] > 20
        assert counted["height"] > 150
    assert "peak 1,493 MiB" in marks(browser, "memory_over_time")["texts"]
    assert "out of memory (host)" in marks(browser, "peak_memory")["texts"]
    assert browser.get_log("browser") == []
    assert [url for url in requests(browser) if not url.startswith("data:")] == [page.as_uri()]
    # Wide charts and tables scroll inside their own boxes.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    boxes = browser.execute_script(
        "return Array.from(document.querySelectorAll('main, header, figure, .chart, .scroll, h1, h3, p'))"
        ".filter(each => each.offsetParent).map(each => each.getBoundingClientRect().right)"
    )
    assert max(boxes) <= width


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_of_a_real_run_is_drawn_and_fetches_nothing(
    browser: webdriver.Chrome, finished: Checkout, width: int
) -> None:
    page = finished.path / "results" / "report.html"
    open_page(browser, page, width, ALL_DRAWN)
    for chart in CHARTS:
        assert marks(browser, chart)["marks"] > 20
    assert "12 completed" in browser.find_element(By.TAG_NAME, "body").text
    assert browser.get_log("browser") == []
    assert [url for url in requests(browser) if not url.startswith("data:")] == [page.as_uri()]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_mark_tells_its_numbers(browser: webdriver.Chrome, results: Path) -> None:
    open_page(browser, results / "report.html", 1280, ALL_DRAWN)
    cell = browser.find_element(By.CSS_SELECTOR, '[data-chart="artifact_comparison"] .mark-rect path')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    ActionChains(browser).move_to_element(cell).perform()
    WebDriverWait(browser, 10).until(
        lambda each: "equal fraction" in each.find_element(By.CSS_SELECTOR, ".vg-tooltip").text
    )


def test_each_figure_alone_is_drawn_and_fetches_nothing(browser: webdriver.Chrome, results: Path) -> None:
    for chart in CHARTS:
        page = results / "figures" / f"{chart}.html"
        open_page(browser, page, 1280, "document.querySelectorAll('#chart svg.marks path').length > 20")
        assert [url for url in requests(browser) if not url.startswith("data:")] == [page.as_uri()]
        assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []
