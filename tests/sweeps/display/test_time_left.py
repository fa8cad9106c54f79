"""How long a search still takes."""

from pathlib import Path

import pytest
from rich.console import Console

import sweeps.display.time_left
from sweeps.display.confirmation import ConfirmDisplay
from sweeps.display.events import TrainingChanged, TrialBegan, TrialEnded, TrialProgressed
from sweeps.display.search import SearchDisplay
from sweeps.display.time_left import ThroughputMeter, time_left
from sweeps.spec.read_plan import read_plan


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sweeps.display.time_left, "time", clock)
    return clock


def test_throughput_is_of_the_updates_that_were_made_here(clock: Clock) -> None:
    throughput = ThroughputMeter(previous=4.0)
    assert throughput.seconds(240) == 60
    throughput.record("a", 500)  # resumed there
    clock.now += 10
    throughput.record("a", 600)
    throughput.record("b", 0)
    throughput.record("b", 100)
    assert throughput.rate == (200 + 60 * 4.0) / 70  # what the stage before made counts for a minute
    clock.now += 3590
    throughput.record("b", 71_900)
    assert throughput.rate == (72_000 + 60 * 4.0) / 3660
    first = ThroughputMeter()
    first.record("a", 0)
    clock.now += 10
    first.record("a", 200)
    assert first.rate == 20
    assert time_left(first.seconds(40_000)) == "about 33 min left"
    assert time_left(0) == time_left(ThroughputMeter().seconds(10)) == ""


def test_the_time_left_of_a_search_counts_its_confirmation(tmp_path: Path, clock: Clock) -> None:
    """Two of four trials of 1,000 updates are over after 100 s; two and six or nine trainings to confirm are left."""
    space = ["search=custom", "model.dropout=interval(0,0.5)", "search.steps=1000", "search.trials=4"]
    full, grown = ["search.pruner=none"], ["search.min_steps=100"]
    for settings, words in (
        ([*full, "search.confirm.seeds=0"], "about 2 min left"),
        ([*full, "search.confirm.seeds=2", "search.confirm.top=2"], "about 7 min left"),
        ([*full, "search.confirm.seeds=3", "search.confirm.top=2"], "about 5 min left"),  # half, as it may end early
        ([*full, "search.confirm.seeds=3", "search.hours=0.03"], "about 5 min left"),  # after 8 s none starts
        ([*full, "search.confirm.seeds=0", "search.hours=0.03", "search.trials=100000"], "2 trials  2 min of 0.03 h"),
        ([*grown, "search.confirm.seeds=0"], "about 10 s left"),  # 100 updates of two trials: none of these is promoted
        ([*grown, "search.confirm.seeds=0", "search.updates=3000"], "about 50 s left"),
    ):
        plan = read_plan([*space, *settings, f"records.root={tmp_path}"])
        console = Console(width=120, force_terminal=True, record=True, color_system=None)
        with SearchDisplay(console, plan, []) as display:
            for trial in (0, 1):
                display.event(TrialBegan(trial, trial, {"model.dropout": 0.1}))
                display.event(TrialProgressed(trial, 0))
            clock.now += 100
            for trial in (0, 1):
                display.event(TrialProgressed(trial, 1000, 9.0))
                display.event(TrialEnded(trial, "COMPLETE", score=9.0))
        assert words in console.export_text()


def test_a_confirmation_says_how_far_it_is(clock: Clock) -> None:
    console = Console(width=80, record=True, force_terminal=False)
    most = [4]
    with ConfirmDisplay(
        console, most_trainings=lambda at_a_time=1: most[0], at_a_time=1, steps=100, rate=2.0
    ) as display:
        assert display.time_left() == "at most 3 min left"  # at the throughput of the search
        display.event(TrainingChanged("tutorial seed 1", words="score 12.5", is_over=True))  # was done before
        display.event(TrainingChanged("trial-0003 seed 1", words="training"))
        display.event(TrainingChanged("trial-0003 seed 1", step=0))
        clock.now += 10
        display.event(TrainingChanged("trial-0003 seed 1", step=100))
        display.event(TrainingChanged("trial-0003 seed 1", words="score 11.5", is_over=True))
        most[0] = 3  # when a candidate has left
        display.event(TrainingChanged("tutorial seed 2", words="score 12", is_over=True))
    assert [line.strip() for line in console.export_text().splitlines()] == [
        "tutorial seed 1: score 12.5 (1 of up to 4; at most 2 min left)",
        "trial-0003 seed 1: training",
        "trial-0003 seed 1: score 11.5 (2 of up to 4; at most 64 s left)",
        "tutorial seed 2: score 12 (3 of up to 3)",
    ]


def test_a_confirmation_has_a_bar_on_a_terminal(clock: Clock) -> None:
    console = Console(width=60, force_terminal=True, record=True, color_system=None)
    with ConfirmDisplay(console, most_trainings=lambda at_a_time=1: 12, at_a_time=1, steps=1500, rate=10.0) as display:
        display.event(TrainingChanged("tutorial seed 1", words="training"))
        display.event(TrainingChanged("tutorial seed 1", step=0))
        assert display.time_left() == "at most 30 min left"
        console.print(display._live_area())
    assert "0 of up to 12  at most 30 min left" in console.export_text()
