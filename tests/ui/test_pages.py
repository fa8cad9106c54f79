"""Pages with charts, by the keyboard and for those who do not see them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from rich.console import Console

from experiments.records.folders import Records
from experiments.reports.charts import Chart
from experiments.reports.index import file_of, refresh
from experiments.reports.page import render

CHROMIUM = shutil.which("chromium")
pytest.importorskip("playwright", reason="Playwright is not installed: pip install playwright")
from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")

TEMPLATE = """{% extends "page.html" %}{% from "page.html" import interactive with context %}
{% block body %}<table><tr data-key="7" title="run 7"><td>7</td></tr></table>{{ interactive(chart) }}{% endblock %}"""


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root a sandbox
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser.new_page()
        browser.close()


@pytest.mark.parametrize("width", [390, 1400])
def test_the_score_of_a_card_is_one_line(width: int, page: Page, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs" / "demo", tmp_path / "r")
    records = Records.at(str(tmp_path / "r"))
    refresh(records, Console(quiet=True))
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(file_of(records).as_uri())
    scores = page.locator(".score")
    assert scores.count() > 0
    for box in [score.bounding_box() for score in scores.all()]:
        assert box is not None and box["height"] < 48 and box["width"] > box["height"] / 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_row_is_marked_by_the_keyboard_and_a_chart_has_its_name(page: Page, tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text(TEMPLATE)
    chart = Chart(
        "scores by step", {"data": [{"type": "scatter", "x": [0], "y": [1], "customdata": ["7"]}], "layout": {}}
    )
    (tmp_path / "page.html").write_text(render(tmp_path / "x.html", chart=chart))
    page.goto((tmp_path / "page.html").as_uri())
    expect(page.get_by_role("img", name="scores by step")).to_be_visible(timeout=30_000)
    for key in ("Enter", " "):
        page.keyboard.press("Tab")
        page.keyboard.press(key)
        assert page.url.endswith("#key=7")
        expect(page.locator("#marked")).to_have_text("run 7")
        page.keyboard.press(key)
        assert "#" not in page.url
        page.keyboard.press("Shift+Tab")
