import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from rich.console import Console

from experiments.cli.progress import TrainingDisplay, counted, duration, is_live, say_words, stage
from experiments.records.folders import RunFolder
from experiments.records.journal import Journal
from experiments.training.train import last_values
from gan import metric_names


def test_plain_lines_at_the_first_values_once_a_minute_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with TrainingDisplay(Console(file=out), steps=110) as display:
        for step in range(1, 111):
            now[0] += 3.0
            display.tick(step)
            if step == 10:
                display.scalars(
                    step, {metric_names.D_LOSS: 0.5, metric_names.G_LOSS: 1.25, metric_names.STEPS_PER_SECOND: 0.33}
                )
                display.scalars(step, {metric_names.FID_PROXY: 12.3456})
    lines = out.getvalue().splitlines()
    assert [int(re.match(r"step (\d+)/110", line)[1]) for line in lines] == [10, 20, 40, 60, 80, 100, 110]  # type: ignore[index]
    assert lines[0] == "step 10/110  0.3 steps/s  5 min left  D 0.5  G 1.25"
    assert lines[2] == "step 40/110  0.3 steps/s  4 min left  D 0.5  G 1.25  FID proxy 12.35"
    assert "30 s left" in lines[-2]
    assert lines[-1] == "step 110/110  0.3 steps/s  D 0.5  G 1.25  FID proxy 12.35"


@pytest.mark.parametrize(("width", "gone"), [(120, []), (100, []), (80, ["━"]), (60, ["━", "0:31:03 elapsed"])])
def test_step_fraction_and_time_left_stay_on_a_narrow_terminal_after_scores_too(
    width: int, gone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    display = TrainingDisplay(Console(force_terminal=True), steps=15000)
    for step, seconds in ((1, 100.0), (12345, 1863.0)):
        now[0] = seconds
        display.tick(step)
    display.scalars(
        12345, {metric_names.D_LOSS: 0.45274, metric_names.G_LOSS: 1.83241, metric_names.STEPS_PER_SECOND: 107.04}
    )
    display.scalars(12345, {metric_names.FID_PROXY: 12.3456})
    first, second = rendered(display, width)
    for words in ("training", "12345/15000", "82%", "0:06:19 left", "107.0 steps/s", "0:31:03 elapsed", "━"):
        assert (words in first) == (words not in gone), (words, first)
    assert second == "D 0.4527  G 1.832  FID proxy 12.35"


@pytest.mark.parametrize("terminal", [False, True])
def test_what_takes_long_is_counted_and_what_does_not_is_silent(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with counted(Console(file=out, force_terminal=terminal, width=80), "reading images") as tell:
        for done in range(1, 9):
            now[0] += 0.1
            tell(done, 8)
    assert out.getvalue() == ""
    with counted(Console(file=out, force_terminal=terminal, width=80), "reading images") as tell:
        for done in range(1, 11):
            now[0] += 40
            tell(done, 1000)
    if terminal:
        assert "reading images" in out.getvalue()
        assert "10/1000" in out.getvalue()
    else:
        assert out.getvalue().splitlines() == [
            f"now      reading images: {done} of 1,000, {left} h left"
            for done, left in ((2, 11.1), (4, 11.1), (6, 11.0), (8, 11.0), (10, 11.0))
        ]


def test_the_live_lines_say_what_goes_on_and_break_between_words_where_nothing_fits() -> None:
    display = TrainingDisplay(
        Console(force_terminal=True), steps=10, start=4, last_values={metric_names.FID_PROXY: 20.0}
    )
    assert rendered(display, 60) == ["compiling  4/10  40%  0:00:00 elapsed  -:--:-- left", "FID proxy 20"]
    for step in (5, 6):
        display.tick(step)
    assert rendered(display, 60)[0].startswith("training  6/10  60%  0:00:00 elapsed  0:00:00 left")
    assert [line.strip() for line in rendered(display, 20)] == ["training  6/10  60%", "0:00:00 left", "FID proxy 20"]
    display.tick(10)
    assert rendered(display, 60)[0].startswith("scoring  ")
    display.close()
    assert rendered(display, 60)[0].startswith("trained  ")
    asked: list[int] = []
    stopping = TrainingDisplay(Console(force_terminal=True), steps=10, is_stopping=lambda: bool(asked))
    assert rendered(stopping, 60)[0].startswith("compiling  ")
    asked.append(2)  # Ctrl-C, which takes effect after the update
    assert rendered(stopping, 60)[0].startswith("stopping  ")


def rendered(display: TrainingDisplay, width: int) -> list[str]:
    """The lines of a terminal, none of them wider than it is."""
    console = Console(file=io.StringIO(), width=width, record=True, color_system=None)
    console.print(display)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert max(map(len, lines)) <= width
    return lines


def test_a_terminal_gets_live_lines() -> None:
    out = io.StringIO()
    with TrainingDisplay(Console(file=out, force_terminal=True, width=120), steps=10) as display:
        display.tick(5)
        display.scalars(5, {metric_names.D_LOSS: 0.5, metric_names.STEPS_PER_SECOND: 7.0})
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert all(words in text for words in ("5/10", "7.0 steps/s", "D 0.5"))


def test_words_break_between_words_on_a_terminal_and_not_elsewhere() -> None:
    text = "result   trial-0003 is better: 16 against 21 for the tutorial's settings, in /a/path/that/is/copied/whole"
    for width in (60, 80, 100):
        out = io.StringIO()
        say_words(Console(file=out, force_terminal=True, width=width), text)
        lines = out.getvalue().splitlines()
        assert all(len(line) <= width for line in lines)
        assert all(line.startswith(" " * 9) for line in lines[1:])
        assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    out = io.StringIO()
    say_words(Console(file=out, force_terminal=True, width=20), text)
    assert "/a/path/that/is/copied/whole\n" in out.getvalue()
    out = io.StringIO()
    say_words(Console(file=out, width=20), text)
    assert out.getvalue() == text + "\n"


def test_a_stage_is_one_line_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    with stage(Console(file=out, width=20), "scoring [5,000] images, and drawing the last samples"):
        assert out.getvalue() == "now      scoring [5,000] images, and drawing the last samples\n"
    assert len(out.getvalue().splitlines()) == 1


@pytest.mark.parametrize("plain", [True, False])
def test_a_stage_on_a_terminal_spins_and_leaves_nothing_in_colour_or_without(
    plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    with stage(Console(file=out, force_terminal=True, width=80), "scoring [5,000] images"):
        pass
    assert "scoring [5,000] images" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    colours = re.findall(r"\x1b\[[0-9;]*m", out.getvalue())
    assert any(re.search(r"3\dm", code) for code in colours) != plain, colours
    assert out.getvalue().endswith("\x1b[2K")  # the line is wiped


def test_work_goes_on_when_nobody_reads_any_more() -> None:
    code = """
import sys, time
from experiments.records.journal import Journal
from experiments.cli.progress import Output
out = Output()
for k in range(200):
    out.print(f"line {k}")
    time.sleep(0.001)
print("done", file=sys.stderr)
"""
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "line 0\n", "done\n")


def test_a_resumed_run_knows_the_losses_and_the_score_of_the_step_that_it_goes_on_from(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert last_values(folder, 0) == {}
    journal = Journal(folder)
    for step, score in ((10, 90.0), (20, 80.0), (30, 70.0)):  # 30: after the last checkpoint
        journal.scalars(step, {metric_names.D_LOSS: step / 100, metric_names.STEPS_PER_SECOND: 9.0})
        journal.scalars(step, {metric_names.FID_PROXY: score})
    journal.close()
    assert last_values(folder, 25) == {metric_names.D_LOSS: 0.2, metric_names.FID_PROXY: 80.0}


def test_a_terminal_that_cannot_draw_over_its_lines_gets_plain_ones() -> None:
    """As Emacs' shell and many a log of CI: TERM=dumb."""
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert [is_live(console) for console in (dumb, Console(force_terminal=True), Console(file=io.StringIO()))] == [
        False, True, False,
    ]  # fmt: skip
    with TrainingDisplay(dumb, steps=10) as display:
        display.scalars(5, {metric_names.D_LOSS: 0.5})
    assert "D 0.5" in dumb.file.getvalue()  # type: ignore[attr-defined]


def test_durations() -> None:
    assert [duration(seconds) for seconds in (75, 720, 12_240)] == ["75 s", "12 min", "3.4 h"]
