"""What a dry run shows: the first suggestions, and the time of a trial."""

import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from experiments.cli import signals
from sweeps.search import dry_run, throughput
from sweeps.spec.read_plan import read_plan

SPACE = ["search=custom", "model.dropout=choice(0.1,0.2,0.25)", "train.label_noise=range(0,0.11,0.05)"]


def test_the_baseline_comes_first_and_suggestions_repeat() -> None:
    plan = read_plan([*SPACE, "search.trials=9"])
    shown = list(dry_run.suggestions(plan))
    assert len(shown) == dry_run.SUGGESTIONS
    assert shown[0] == {"model.dropout": 0.25, "train.label_noise": 0.05}  # the tutorial's
    assert list(dry_run.suggestions(plan)) == shown
    other = read_plan([*SPACE, "search.trials=9", "search.seed=1"])
    assert list(dry_run.suggestions(other))[1:] != shown[1:]


def test_a_grid_shows_its_points_and_no_more_than_it_has() -> None:
    plan = read_plan([*SPACE[:2], "search.sampler=grid", "search.trials=9"])
    shown = [params["model.dropout"] for params in dry_run.suggestions(plan)]
    assert sorted(shown) == [0.1, 0.2, 0.25]


def test_the_slowest_of_the_trials_side_by_side_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(["3.0 0.5", "5.0 0.25"] * 2)
    monkeypatch.setattr(throughput, "available_cores", lambda: 2)
    monkeypatch.setattr(throughput, "fork_server", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(
        throughput, "run", lambda *_, environment: subprocess.CompletedProcess([], 0, next(numbers), "")
    )
    timing = throughput.measure(read_plan([*SPACE, "search.workers=2"]))
    assert (timing.start_seconds, timing.update_seconds) == (5.0, 0.5)
    assert timing.trial_seconds(100) == pytest.approx(5 + 1.1 * 100 * 0.5)
    crowded = read_plan([*SPACE, "search.workers=50"])  # two are timed, not fifty
    timing = throughput.measure(crowded)
    assert (timing.start_seconds, timing.update_seconds) == (25 * 5.0, 25 * 0.5)
    assert throughput.crowding(crowded).startswith("search.workers=50 is more than 2: ")
    assert throughput.crowding(read_plan([*SPACE, "search.workers=2"])) == ""


def test_a_search_on_a_cluster_trains_one_trial_on_this_host(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = iter(["3.0 0.5"])
    monkeypatch.setattr(throughput, "fork_server", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(
        throughput, "run", lambda *_, environment: subprocess.CompletedProcess([], 0, next(numbers), "")
    )
    address = "search.storage=postgresql+psycopg://me@host/db"
    plan = read_plan([*SPACE, "search.launcher=slurm", "search.workers=64", address])
    dry_run.dry_run(plan, Console(width=120), {})
    shown = capsys.readouterr().out
    assert "measuring the throughput of one trial on this host" in shown
    assert "speed    of one trial on this host; the 64 workers may be faster or slower" in shown


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "8.0 h for the search, which is about 520,000 updates"),
        (["search.trials=1000"], "8.0 h for the search, which is about 520,000 updates"),
        (["search.trials=3"], "10 min for 10,500 updates"),  # they end before the hours
        (["search.updates=100000"], "lengths  about 69 trials to 500, about 27 to 1,500, about 11 to 5,000 updates"),
    ],
)
def test_hours_bound_the_time_of_a_search(
    settings: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timing = throughput.TrialTiming(start_seconds=10.0, update_seconds=0.1)
    monkeypatch.setattr(throughput, "measure", lambda _: timing)
    plan = read_plan([*SPACE, "search.workers=2", "search.hours=8", *settings])
    dry_run.dry_run(plan, Console(width=200), {})
    assert words in capsys.readouterr().out


def test_a_dry_run_that_is_stopped_leaves_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, environment: object) -> subprocess.CompletedProcess[str]:
        assert list(tmp_path.iterdir())
        os.kill(os.getpid(), signal.SIGTERM)
        return subprocess.CompletedProcess([], 143, "", "")

    monkeypatch.setattr(throughput, "fork_server", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(throughput, "run", interrupted)
    monkeypatch.setattr(signals, "is_ours", lambda: True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        throughput.measure(read_plan([*SPACE, "search.workers=1"]))
    assert ended.value.code == 143
    assert not list(tmp_path.iterdir())


def test_a_trial_that_fails_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "fork_server", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(
        throughput, "run", lambda *_, environment: subprocess.CompletedProcess([], 1, "", "error: out of memory\n")
    )
    with pytest.raises(throughput.CannotMeasure, match="cannot be measured: out of memory"):
        throughput.measure(read_plan(SPACE))
