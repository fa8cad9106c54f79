"""MLflow as people meet it: `make ui` on a finished run and a finished study, in headless Chromium.

Each test is a page that people look at; what it looked like is kept in build/screenshots/.
"""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import NARROW, ROOT, noise_images
from filelock import FileLock
from PIL import Image

from experiments.processes.process import run
from experiments.records.folders import Records, RunFolder, read_json
from experiments.records.journal import curve
from gan import metric_names

CHROMIUM = shutil.which("chromium")
pytest.importorskip("playwright", reason="Playwright is not installed: pip install playwright")
from playwright.sync_api import Browser, Locator, Page, Response, expect, sync_playwright  # noqa: E402

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")

SCREENSHOTS = ROOT / "build" / "screenshots"
STEPS, GRID, EVAL, LOG = 12, 4, 4, 2  # updates of the run; between two samples, scores and points of the losses
TRIALS = 3
RUN = [
    "name=short", f"train.steps={STEPS}", f"train.grid_every_steps={GRID}", f"train.log_every_steps={LOG}",
    f"eval.every_steps={EVAL}", "eval.num_images=50", "eval.final_num_images=50", "optim.learning_rate=0.002",
]  # fmt: skip
SEARCH = [
    f"search.trials={TRIALS}", "search.steps=6", "eval.every_steps=2", "eval.num_images=20", "eval.final_num_images=20", "search.pruner=none",
    "search.workers=1", "search.confirm.seeds=0",
]  # fmt: skip
SECONDS = 60  # for a page to show what it should, on a busy machine
WIDE = {"width": 1600, "height": 1200}
# What MLflow itself asks for in vain where there are no user accounts.
ASKED_IN_VAIN = "/ajax-api/2.0/mlflow/users/current"


@pytest.fixture(scope="module")
def records(forks: None, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Records:
    """A short run and a finished study, made once for all processes that test."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent
    records = Records(base / "ui records")
    made = base / "ui made"
    with FileLock(base / "ui.lock"):
        if not made.exists():
            images = base / "ui images.npz"
            np.savez(images, images=noise_images(64))
            common = ["data=npz", f"data.path={images}", f"records.root={records.root}"]
            for program, arguments in (("experiments/run.py", RUN), ("sweeps/optuna_search.py", [*SEARCH, *NARROW])):
                env = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
                done = run(ROOT / program, [*common, *arguments], environment=env, folder=ROOT, seconds=900)
                assert done.returncode == 0, done.stdout + done.stderr
            made.touch()
    return records


@pytest.fixture(scope="module")
def short(records: Records) -> RunFolder:
    return RunFolder(records.runs / "short")


@contextlib.contextmanager
def served(root: Path) -> Iterator[str]:
    """`make ui` until the end of the block; the address that it says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bin_folder = Path(sys.executable).parent
    # The environment is there already, even if a file it is made of is newer.
    command = ["make", f"BIN={bin_folder}", "--old-file=.venv/.ready", "ui", f"RECORDS={root}", f"PORT={port}"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    output = process.stdout
    lines: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        for line in output:
            lines.append(line)
            if line.startswith("all runs:"):
                ready.set()
        ready.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        assert ready.wait(180)
        assert process.poll() is None, "".join(lines)
        (address,) = [line.split()[-1] for line in lines if line.startswith("all runs:")]
        assert address.startswith(f"http://127.0.0.1:{port}/")
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(60)
        listener.join(60)  # it ends when all that could write are gone
        assert not listener.is_alive()
        output.close()
    assert len(lines) <= 6 and "Traceback" not in "".join(lines), lines


@pytest.fixture(scope="module")
def address(records: Records) -> Iterator[str]:
    with served(records.root) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root a sandbox
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a person who was never here; no exception of the UI's, no failed or outside request in all the test."""
    context = browser.new_context(viewport=WIDE)
    context.set_default_timeout(SECONDS * 1000)
    expect.set_options(timeout=SECONDS * 1000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"exception: {error}"))

    def check(response: Response) -> None:
        if not response.url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:")):
            problems.append(f"outside: {response.url}")
        elif response.status >= 400 and ASKED_IN_VAIN not in response.url:
            problems.append(f"{response.status}: {response.url}")

    page.on("response", check)
    yield page
    context.close()
    assert problems == []


def opened(page: Page, url: str) -> None:
    """Go there, and close the panel that MLflow opens for everyone who comes for the first time."""
    page.goto(url)
    panel = page.get_by_text("MLflow Assistant")
    expect(panel).to_be_visible()
    page.get_by_role("button", name="Close", exact=True).click()


def shown(page: Page, name: str) -> None:
    """Keep what the page looks like; it says of no error."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    assert page.locator("[class*='alert-error'], [class*='notification-notice']").all_inner_texts() == []
    wrong = re.compile("went wrong|not found|does not exist|failed to|error loading|load error", re.IGNORECASE)
    assert page.get_by_text(wrong).all_inner_texts() == []


def run_page(page: Page, address: str, name: str) -> None:
    """From the list of all runs to one of them, as people go."""
    opened(page, address)
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def row(page: Page, name: str) -> Locator:
    """Of a table of names and values."""
    return page.get_by_role("row").filter(has=page.get_by_role("cell", name=name, exact=True))


def command_in(description: Locator) -> list[str]:
    """The words of the command in a code block, as a shell would take it from the clipboard."""
    return shlex.split(description.locator("pre").inner_text().replace("\\\n", ""))


def top(locator: Locator) -> tuple[float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"], box["y"]


@pytest.mark.slow
def test_before_any_run_there_is_an_experiment_that_says_what_goes_there(page: Page, tmp_path: Path) -> None:
    with served(tmp_path / "new") as address:
        opened(page, address)
        expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
        expect(page.get_by_text("lower is better")).to_be_visible()
        expect(page.get_by_text("0 matching runs")).to_be_visible()
        shown(page, "0_no_runs")


@pytest.mark.slow
def test_the_experiment_is_described(page: Page, address: str) -> None:
    server = address.partition("#")[0]
    opened(page, f"{server}#/experiments")
    experiment = page.get_by_role("row").filter(has=page.get_by_role("link", name="gan", exact=True))
    expect(experiment).to_contain_text("lower is better")
    shown(page, "1_experiments")


def test_the_list_begins_with_the_best_score(page: Page, address: str, short: RunFolder) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    opened(page, address)
    study, run = (page.get_by_role("link", name=name, exact=True) for name in ("study gan", "short"))
    expect(study).to_be_visible()
    expect(run).to_be_visible()
    expect(page.get_by_text("lower is better")).to_be_visible()
    for column in (metric_names.FINAL_FID_PROXY, metric_names.FID_PROXY, "model.bn_momentum"):
        expect(page.get_by_role("columnheader", name=column, exact=True).first).to_be_in_viewport()
    _, (score,) = curve(short.journal, metric_names.FINAL_FID_PROXY)
    expect(page.get_by_role("gridcell", name=f"{score:.4g}", exact=True).first).to_be_in_viewport()
    column = page.locator(f"[role=gridcell][col-id='metrics.`{metric_names.FINAL_FID_PROXY}`']")
    scores = [float(text) for text in column.all_inner_texts() if text != "-"]
    assert len(scores) == 2 and scores == sorted(scores)  # of the run, and of the study's winner
    shown(page, "2_runs")


@pytest.mark.slow
def test_trials_stand_below_their_study_where_runs_are_sorted_by_time(page: Page, address: str) -> None:
    opened(page, f"{address}&orderByKey=attributes.start_time&orderByAsc=false")
    study, run = (page.get_by_role("link", name=name, exact=True) for name in ("study gan", "short"))
    trials = [page.get_by_role("link", name=f"trial-{number:04d}", exact=True) for number in range(TRIALS)]
    expect(study).to_be_visible()
    for trial in trials:
        expect(trial).to_have_count(0)
    page.get_by_role("gridcell").filter(has=study).get_by_role("button").click()
    for trial in trials:
        expect(trial).to_be_visible()
        assert top(trial)[0] > top(study)[0]  # indented
        assert top(study)[1] < top(trial)[1] < top(run)[1]  # below the study, above what was before it
    shown(page, "3_runs_of_a_study")


@pytest.mark.slow
def test_a_run_says_how_it_was_made(page: Page, address: str, short: RunFolder) -> None:
    facts = read_json(short.facts)
    run_page(page, address, "short")
    page.get_by_text("Show more", exact=True).click()
    description = page.get_by_text("Trained on npz").locator("xpath=..")
    _, (score,) = curve(short.journal, metric_names.FINAL_FID_PROXY)
    expect(description).to_contain_text(re.compile(rf"^FID proxy {score:.4g} of 50 images after {STEPS} updates; "))
    expect(description).to_contain_text("lower is better")
    expect(description.locator("img")).to_have_count(2)
    for number, width in enumerate((414, 860)):  # of the samples, and of real images beside generated ones
        expect(description.locator("img").nth(number)).to_have_js_property("naturalWidth", width)
    expect(description).to_contain_text(f"runs/{short.name} of the records")
    assert command_in(description) == shlex.split(facts["command"])
    expect(page.get_by_text("About this run")).to_be_in_viewport(ratio=1)  # no long line pushes it out
    expect(row(page, "optim.learning_rate")).to_contain_text("0.002")
    expect(page.get_by_text("fid_proxy_id")).to_be_visible()
    expect(page.get_by_text("Finished", exact=True)).to_be_visible()
    shown(page, "4_run")

    digest = facts["dataset"]["sha256"]
    page.get_by_role("button", name=f"npz ({digest[:8]})").click()
    panel = page.get_by_role("dialog")
    expect(panel).to_contain_text(f"sha256: {digest}")
    expect(panel).to_contain_text("num images: 64")
    expect(panel).to_contain_text("no labels, 64 images")
    expect(panel).not_to_contain_text("airplane")  # the images are of no known class
    shown(page, "5_data_set")


@pytest.mark.slow
def test_curves_have_all_their_points(page: Page, address: str, short: RunFolder) -> None:
    run_page(page, address, "short")
    page.get_by_role("tab", name="Model metrics").click()
    expect(page.get_by_role("heading", name="fid_proxy").first).to_be_visible()
    shown(page, "6_curves")
    for key in (metric_names.FID_PROXY, metric_names.D_LOSS):
        page.get_by_role("searchbox", name="Search metric charts").fill(key)
        legend = page.get_by_text(f"short ({key})")
        expect(legend).to_be_visible()
        card = legend.locator("xpath=ancestor::*[.//*[contains(@class, 'js-plotly-plot')]][1]")
        steps, _ = curve(short.journal, key)
        expect(card.locator(".scatterlayer path.point")).to_have_count(len(steps))
        expect(card.locator(".scatterlayer path.js-line").first).to_be_visible()
        shown(page, f"7_{key.replace('/', '_')}")


@pytest.mark.slow
def test_the_slider_shows_the_picture_of_its_step(page: Page, address: str, short: RunFolder) -> None:
    samples = {int(file.stem.rpartition("_")[2]): file for file in short.samples.glob("*.png")}
    assert sorted(samples) == list(range(0, STEPS + 1, GRID))
    run_page(page, address, "short")
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_role("searchbox", name="Search metric charts").fill(metric_names.SAMPLES)
    heading = page.get_by_role("heading", name=metric_names.SAMPLES, exact=True)
    card = heading.locator("xpath=ancestor::*[.//button][1]")
    card.get_by_role("button").first.click()  # to fill the screen: in the card the settings leave no room for it
    grid = page.get_by_role("dialog", name=metric_names.SAMPLES)
    image, slider = grid.locator("img"), grid.get_by_role("slider")
    for step in sorted(samples):
        if step:
            slider.press("ArrowRight")
        expect(slider).to_have_attribute("aria-valuenow", str(step))
        expect(image).to_have_attribute("src", re.compile(rf"step%2B{step}%2B"))
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        assert nearest(on_screen(image), samples) == step
        shown(page, f"8_samples_{step:02d}")


def on_screen(image: Locator) -> np.ndarray:
    """(H, W, 3) as the browser draws it."""
    return np.asarray(Image.open(io.BytesIO(image.screenshot())).convert("RGB"), np.float64)


def nearest(seen: np.ndarray, samples: dict[int, Path]) -> int:
    """Find the step whose samples an image shows: the browser scales it, and what it gets is compressed."""
    distances = {}
    for step, file in samples.items():
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB").resize(seen.shape[1::-1]), np.float64)
        distances[step] = float(np.abs(seen - pixels).mean())
    first, second = sorted(distances.values())[:2]
    assert first < second / 2, distances  # no matter of luck
    return min(distances, key=lambda step: distances[step])


@pytest.mark.slow
def test_the_model_has_its_scores_signature_and_input_example(page: Page, address: str, short: RunFolder) -> None:
    run_page(page, address, "short")
    page.get_by_role("row").filter(has_text="Ready").get_by_role("link", name="generator").click()
    expect(page.get_by_role("heading", name="generator")).to_be_visible()
    expect(page.get_by_text("Latents (N, 100) float32")).to_be_visible()
    _, (score,) = curve(short.journal, metric_names.FINAL_FID_PROXY)
    value = row(page, metric_names.FINAL_FID_PROXY)
    value.scroll_into_view_if_needed()
    expect(value).to_contain_text(f"{score:.4g}")
    shown(page, "9_model")

    page.get_by_role("link", name="Artifacts").click()
    files = page.get_by_role("listitem")
    files.get_by_text("MLmodel", exact=True).click()
    code = page.get_by_role("main").locator("code")
    expect(code).to_contain_text("signature:")
    signature = yaml.safe_load(code.inner_text())["signature"]
    shapes = [json.loads(signature[side])[0]["tensor-spec"] for side in ("inputs", "outputs")]
    assert shapes == [{"dtype": "float32", "shape": [-1, 100]}, {"dtype": "float32", "shape": [-1, 32, 32, 3]}]
    shown(page, "10_signature")
    files.get_by_text("input_example.json", exact=True).click()
    expect(code).to_have_text(re.compile(r"^\s*\["))
    assert np.shape(json.loads(code.inner_text())) == (2, 100)
    shown(page, "11_input_example")


@pytest.mark.slow
def test_a_study_names_its_children_and_has_its_report(page: Page, address: str, records: Records) -> None:
    run_page(page, address, "study gan")
    expect(page.get_by_text("sweeps/optuna_search.py").first).to_be_visible()
    expect(page.get_by_text("Child runs", exact=True)).to_be_in_viewport()
    for number in range(TRIALS):
        expect(page.get_by_role("link", name=f"trial-{number:04d}")).to_be_visible()
    shown(page, "12_study")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("report.html", exact=True).click()
    report = page.frame_locator("iframe")
    expect(report.get_by_role("heading").first).to_be_visible()
    shown(page, "13_report")


def test_a_report_answers_to_the_hand(page: Page, browser: Browser, records: Records) -> None:
    """Plotly unpacks itself and draws; a trial under the pointer is marked where it is; without JavaScript stills are there."""
    report = (records.root / "studies" / "gan" / "report.html").as_uri()
    page.goto(report)
    history, parallel = (
        page.locator(f"h2:text-is('{title}') + .chart") for title in ("History", "Parallel coordinates")
    )
    for chart in (history, parallel):
        chart.scroll_into_view_if_needed()
        expect(chart.locator(".main-svg").first).to_be_visible()
        expect(chart.locator(".still")).to_be_hidden()
    page.locator("tr[data-key='1'] td").nth(2).click()
    expect(page.locator("#marked")).to_contain_text("trial 1: ")
    circle = history.locator(".overlay circle")
    expect(circle).to_have_count(1)
    points = [box for point in history.locator(".points path").all() if (box := point.bounding_box()) is not None]
    x, y = middle(circle.bounding_box())
    assert min(abs(x - at[0]) + abs(y - at[1]) for at in map(middle, points)) < 2  # on the trial's point
    assert str(parallel.locator(".overlay polyline").get_attribute("points")).count(",") > 1
    shown(page, "8_report")
    page.keyboard.press("Escape")
    expect(circle).to_have_count(0)

    context = browser.new_context(java_script_enabled=False, color_scheme="dark")
    plain = context.new_page()
    plain.goto(report)
    expect(plain.locator("h2:text-is('History') + .chart .still svg")).to_be_visible()
    expect(plain.locator("tr[data-key='1']")).to_be_visible()
    context.close()


def middle(box: Any) -> tuple[float, float]:
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.slow
def test_the_winners_model_says_where_it_is_registered(page: Page, address: str, records: Records) -> None:
    best = yaml.safe_load((records.studies / "gan" / "best.yaml").read_text())
    run_page(page, address, "study gan")
    page.get_by_role("link", name=f"trial-{best['trial']:04d}").click()
    page.get_by_role("row").filter(has_text="Ready").get_by_role("link", name="generator").click()
    expect(page.get_by_role("heading", name="generator")).to_be_visible()
    expect(page.get_by_text("gan v1").first).to_be_visible()
    expect(page.get_by_text("Not registered")).to_have_count(0)
    shown(page, "14_winner")
