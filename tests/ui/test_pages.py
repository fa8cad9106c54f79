"""Pages with charts, by the keyboard and for those who do not see them."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from conftest import ROOT
from rich.console import Console

from experiments.records.folders import Records
from experiments.reports.charts import Chart
from experiments.reports.index import file_of, refresh
from experiments.reports.page import render
from experiments.reports.stills import with_still
from sweeps.analysis.live_page import LivePage
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts

CHROMIUM = shutil.which("chromium")
pytest.importorskip("playwright", reason="Playwright is not installed: pip install playwright")
from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")

HEATMAP = {
    "type": "heatmap",
    "z": [[1, 2]],
    "x": ["a", "b"],
    "y": ["c"],
    "text": [["1", "2"]],
    "customdata": [["6", "7"]],
}
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
        expect(page.locator("#marked")).to_have_text("run 7")
        page.keyboard.press(key)
        expect(page).to_have_url(re.compile("#key=7$"))  # the page says so a moment later
        expect(page.locator("#marked")).to_have_text("run 7 release")
        page.keyboard.press(key)
        expect(page).to_have_url(re.compile("^[^#]*$"))
        page.keyboard.press("Shift+Tab")


def test_no_button_sends_a_chart_anywhere(page: Page, tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text(TEMPLATE)
    chart = Chart("map", {"data": [HEATMAP], "layout": {}})
    (tmp_path / "page.html").write_text(render(tmp_path / "x.html", chart=chart))
    page.goto((tmp_path / "page.html").as_uri())
    buttons = page.locator(".modebar-btn")
    expect(buttons.first).to_be_attached(timeout=30_000)
    titles = page.evaluate("[...document.querySelectorAll('.modebar-btn')].map((each) => each.dataset.title)")
    assert not [title for title in titles if any(word in title.lower() for word in ("share", "cloud", "edit", "send"))]
    page.locator("tr").hover()
    expect(page.locator(".overlay circle")).to_have_count(1)  # its cell of the map


def test_a_chart_is_zoomed_until_it_has_its_ranges_again_and_is_whole_on_paper(page: Page, tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text(TEMPLATE)
    points = {"type": "scatter", "mode": "markers", "x": [0, 1], "y": [1, 3], "customdata": ["6", "7"]}
    chart = with_still(Chart("scores", {"data": [points], "layout": {"yaxis": {"range": [0, 5]}}}))
    (tmp_path / "page.html").write_text(render(tmp_path / "x.html", chart=chart))
    page.goto((tmp_path / "page.html").as_uri())
    plot, still = page.locator(".plot"), page.locator(".still")
    expect(page.locator(".plot .main-svg").first).to_be_visible(timeout=30_000)
    expect(still).to_be_hidden()
    for changes, is_zoomed in (
        ({"xaxis.range": [0, 0.5], "yaxis.range": [1, 2]}, True),
        ({"xaxis.autorange": True, "yaxis.range": [0, 5]}, False),  # as a double click does
        ({"yaxis.range": [0, 1]}, True),
        ({"yaxis.range": [0, 5]}, False),
    ):
        page.evaluate("(changes) => Plotly.relayout(document.querySelector('.plot'), changes)", changes)
        assert page.evaluate("document.querySelector('.plot').classList.contains('zoomed')") == is_zoomed, changes
    page.emulate_media(media="print")
    expect(still.locator("svg")).to_be_visible()
    expect(plot).to_be_hidden()


@pytest.mark.parametrize("width", [390, 1400])
def test_what_was_chosen_can_be_seen_and_released(width: int, page: Page, tmp_path: Path) -> None:
    template = TEMPLATE.replace('title="run 7"', f'title="run 7: {"settings " * 200}"').replace(
        "<table>", "<table><!-- -->"
    )
    (tmp_path / "x.html").write_text(
        template.replace("{{ interactive(chart) }}", "").replace("<table>", "{{ interactive(chart) }}<table>")
    )
    chart = Chart("scores", {"data": [{"type": "scatter", "x": [0], "y": [1], "customdata": ["7"]}], "layout": {}})
    (tmp_path / "page.html").write_text(render(tmp_path / "x.html", chart=chart))
    page.set_viewport_size({"width": width, "height": 600})
    page.goto((tmp_path / "page.html").as_uri())
    expect(page.get_by_role("img", name="scores")).to_be_visible(timeout=30_000)
    row, bar = page.locator("tr[data-key]"), page.locator("#marked")
    row.click()
    expect(bar).to_be_visible()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    place, covered = row.bounding_box(), bar.bounding_box()
    assert place is not None and covered is not None
    assert place["y"] + place["height"] <= covered["y"] and covered["height"] <= 0.35 * 600
    bar.get_by_role("button", name="release").click()
    expect(bar).to_be_hidden()
    expect(page).to_have_url(re.compile("^[^#]*$"))


def test_a_page_that_is_read_is_not_renewed(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = read_plan(["search=custom", "model.dropout=interval(0,0.5)", f"records.root={tmp_path}"])
    plan.folder.path.mkdir(parents=True)
    study = optuna.create_study()
    trial = study.ask({dimension.key: dimension.distribution for dimension in plan.space})
    trial.report(9.0, plan.search.steps)
    trial.set_user_attr(attempts.ORIGIN, 0)
    study.tell(trial, 9.0)
    monkeypatch.setattr("sweeps.analysis.live_page.RELOAD_SECONDS", 0.2)
    live = LivePage(plan, study, "python sweeps/optuna_search.py")
    live.write("")
    page.goto(live.file.as_uri())
    page.evaluate("window.is_the_first = true")
    page.locator("tr[data-key]").first.focus()
    page.wait_for_timeout(3000)
    assert page.evaluate("window.is_the_first")
    page.locator("#follow input").uncheck()
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(3000)
    assert page.evaluate("window.is_the_first")
    page.locator("#follow input").check()  # which has the focus then
    page.wait_for_function("!window.is_the_first", timeout=30_000)
