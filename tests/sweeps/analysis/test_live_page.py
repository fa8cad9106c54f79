"""The page of a search while it runs."""

import html
import re
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from PIL import Image

from sweeps.analysis.comparison import Candidate
from sweeps.analysis.live_page import LivePage
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts

SPACE = [
    "search=custom",
    "model.dropout=interval(0,0.5)",
    "search.steps=600",
    "search.min_steps=100",
    "search.trials=8",
]
COMMAND = "python sweeps/optuna_search.py"


def made(root: Path, *more: str) -> tuple[Plan, optuna.Study]:
    """A search whose baseline is complete, one trial is paused, one failed and one runs."""
    plan = read_plan([*SPACE, f"records.root={root}", *more])
    plan.folder.path.mkdir(parents=True)
    study = optuna.create_study()
    distributions = {dimension.key: dimension.distribution for dimension in plan.space}
    for number, (state, outcome, scores) in enumerate(
        (
            (TrialState.COMPLETE, "complete", {100: 50.0, 250: 30.0, 600: 20.0}),
            (TrialState.PRUNED, "paused at step 100", {100: 40.0}),
            (TrialState.FAIL, "d_loss is nan at <step> 12", {}),
            (TrialState.RUNNING, None, {100: 35.0}),
        )
    ):
        attributes = {attempts.ORIGIN: number} | ({attempts.OUTCOME: outcome} if outcome else {})
        attributes |= {attempts.BASELINE: True} if number == 0 else {}
        study.add_trial(
            create_trial(
                state=state,
                value=scores[600] if state == TrialState.COMPLETE else None,
                params={"model.dropout": 0.1 * number},
                distributions=distributions,
                user_attrs=attributes,
                intermediate_values=scores,
            )
        )
    return plan, study


def text(page: Path) -> str:
    return html.unescape(
        " ".join(
            re.sub(r"<style>.*?</style>|<script.*?</script>|<[^>]+>", " ", page.read_text(), flags=re.DOTALL).split()
        )
    )


def test_the_page_says_how_far_a_search_is(tmp_path: Path) -> None:
    plan, study = made(tmp_path)
    samples = attempts.run_of(plan, study.trials[3]).path / "samples"
    samples.mkdir(parents=True)
    for step in (0, 100):
        Image.new("RGB", (8, 8), (step, 0, 0)).save(samples / f"samples_{step:08d}.png")
    page = LivePage(plan, study, COMMAND)
    page.update(600.0)
    assert page.file == plan.folder.path / "report.html"
    source, words = page.file.read_text(), text(page.file)
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in source
    assert "Searching: 3 of 8 trials, about 10 min left." in words
    assert "The best that came to its end is trial 0, with a score of 20." in words
    assert "trial 3, step 100" in words
    assert source.count("data:image/jpeg;base64,") == 1  # the newest alone
    assert re.findall(r"<tr><td>(\d+)</td><td>(\d+)</td><td>\d*</td><td>(\d*)</td>", source) == [
        ("100", "2", "1"),
        ("250", "0", "0"),
        ("600", "0", ""),
    ]
    assert "&lt;step&gt;" in source  # markup in a name or a reason stays text
    rows = re.findall(r"<tr data-key[^>]*><td>(\d)</td><td>(\S*?)</td><td>(\w+)</td><td>(\d+)</td>", source)
    assert rows == [
        ("0", "20", "complete", "600"),
        ("3", "35", "running", "100"),
        ("1", "40", "paused", "100"),
        ("2", "", "failed", "0"),
    ]
    assert not re.findall(r"<[^>]*\b(?:src|href)=.http|@import|url\(", source)  # nothing is asked of the network


def test_the_page_counts_the_hours_where_these_are_the_budget(tmp_path: Path) -> None:
    plan, study = made(tmp_path, "search.hours=8", "search.trials=100000")
    study.set_user_attr(attempts.SECONDS, 5400.0)
    LivePage(plan, study, COMMAND).update(23_400.0)
    assert "Searching: 1.5 of 8.0 hours, about 6.5 h left." in text(plan.folder.path / "report.html")


def test_the_confirmation_fills_up(tmp_path: Path) -> None:
    plan, study = made(tmp_path)
    lost = Candidate("trial-0002", {}, 9.0, scores=[50.0, 52.0], is_racing=False)
    page = LivePage(plan, study, COMMAND)
    page.update(3600, [Candidate("tutorial", {}, None, scores=[20.0, 21.5]), lost])
    words = text(page.file)
    assert (
        "Confirming: the best trials race against the tutorial's settings on fresh seeds, at most 60 min left." in words
    )
    assert "tutorial 20, 21.5" in words
    assert "trial-0002 50, 52 behind" in words
    most = plan.search.confirm.seeds + 2  # who is behind trains no further
    assert f'<progress value="4" max="{most}" aria-label="trainings at most">' in page.file.read_text()


def test_a_page_is_written_now_and_then_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, study = made(tmp_path)
    now = [100.0]
    monkeypatch.setattr("sweeps.analysis.live_page.time.monotonic", lambda: now[0])
    written: list[float] = []

    def write(*_: object, **__: object) -> None:
        written.append(now[0])
        now[0] += 0.2  # it takes long: no more than a hundredth of the time

    page = LivePage(plan, study, COMMAND)
    monkeypatch.setattr("sweeps.analysis.live_page.LEAST_SECONDS", 2.0)
    page._free = 0.5
    monkeypatch.setattr(page, "write", write)
    for _ in range(60):
        page.update(1.0)
        now[0] += 1.0
    often, seldom = [100.0, 102.2, 104.4], [124.6, 144.8]
    assert written == [pytest.approx(at, abs=2.2) for at in (*often, *seldom)]


def test_a_search_that_ended_need_not_reload_its_page(tmp_path: Path) -> None:
    plan, study = made(tmp_path)
    page = LivePage(plan, study, COMMAND)
    page.write("", is_over=True)
    assert "http-equiv" not in page.file.read_text()
    assert f"Stopped. The command below resumes it. {COMMAND}" in text(page.file)


def test_a_page_before_the_first_trial(tmp_path: Path) -> None:
    plan, _ = made(tmp_path, "search.updates=9000")
    LivePage(plan, optuna.create_study(), COMMAND).write("")
    assert "Searching: 0 of 9,000 updates." in text(plan.folder.path / "report.html")


def test_a_page_that_cannot_be_drawn_ends_no_search(tmp_path: Path) -> None:
    plan, study = made(tmp_path)
    samples = attempts.run_of(plan, study.trials[3]).path / "samples"
    samples.mkdir(parents=True)
    (samples / "samples_00000100.png").write_bytes(b"no picture")
    said: list[str] = []
    page = LivePage(plan, study, COMMAND, said.append)
    page.write("")
    page.write("")
    assert [line.partition(":")[0] for line in said] == ["page     cannot be drawn, and the search goes on"]
    assert not page.file.exists()
