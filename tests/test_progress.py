import io
import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT
from rich.console import Console

from experiments.progress import TrainingDisplay, stage
from gan import metrics


def test_plain_lines_at_the_first_values_once_a_minute_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with TrainingDisplay(Console(file=out), steps=110) as display:
        for step in range(1, 111):
            now[0] += 3.0
            display.tick(step)
            if step == 10:
                display.scalars(step, {metrics.D_LOSS: 0.5, metrics.G_LOSS: 1.25, metrics.STEPS_PER_SECOND: 0.33})
                display.scalars(step, {metrics.FID_PROXY: 12.3456})
    lines = out.getvalue().splitlines()
    assert [int(re.match(r"step (\d+)/110", line)[1]) for line in lines] == [10, 20, 40, 60, 80, 100, 110]  # type: ignore[index]
    assert lines[0] == "step 10/110  0.3 steps/s  5 min left  D 0.5  G 1.25"
    assert lines[2] == "step 40/110  0.3 steps/s  4 min left  D 0.5  G 1.25  FID proxy 12.35"
    assert "30 s left" in lines[-2]
    assert lines[-1] == "step 110/110  0.3 steps/s  D 0.5  G 1.25  FID proxy 12.35"


def test_a_score_comes_with_what_to_expect() -> None:
    out = io.StringIO()
    with TrainingDisplay(Console(file=out), steps=10) as display:
        display.scale = "(real 0.8, noise 300)"
        display.tick(10)
        display.scalars(10, {metrics.FID_PROXY: 12.3456})
    assert out.getvalue() == "step 10/10  FID proxy 12.35 (real 0.8, noise 300)\n"


def test_a_terminal_gets_a_live_line() -> None:
    out = io.StringIO()
    with TrainingDisplay(Console(file=out, force_terminal=True, width=120), steps=10) as display:
        display.scalars(5, {metrics.D_LOSS: 0.5, metrics.STEPS_PER_SECOND: 7.0})
        display.tick(5)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "5/10" in text
    assert "7.0 steps/s" in text
    assert "D 0.5" in text


def test_a_stage_is_one_line_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    with stage(Console(file=out, width=20), "scoring [5,000] images, and drawing the last pictures"):
        assert out.getvalue() == "now      scoring [5,000] images, and drawing the last pictures\n"
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


def test_a_narrow_terminal_loses_the_bar_and_not_the_numbers() -> None:
    out = io.StringIO()
    with TrainingDisplay(Console(file=out, force_terminal=True, width=60), steps=15000) as display:
        display.scalars(5, {metrics.D_LOSS: 0.4527, metrics.G_LOSS: 1.8324, metrics.STEPS_PER_SECOND: 7.0})
        display.tick(12345)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "12345/15000" in text
    assert "D 0.4527  G 1.832" in text


def test_the_live_line_says_what_goes_on_before_and_after_the_updates() -> None:
    out = io.StringIO()
    with TrainingDisplay(Console(file=out, force_terminal=True, width=120), steps=10) as display:
        display._bar.refresh()  # type: ignore[union-attr]
        display.tick(5)
        display._bar.refresh()  # type: ignore[union-attr]
        display.tick(10)
    words = re.findall(r"compiling|training|scoring", out.getvalue())
    assert list(dict.fromkeys(words)) == ["compiling", "training", "scoring"]


def test_work_goes_on_when_nobody_reads_any_more() -> None:
    code = """
import sys, time
from experiments.progress import Output
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
