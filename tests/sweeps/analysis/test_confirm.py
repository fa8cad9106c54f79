"""The result of a search's confirmation."""

import contextlib
import functools
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from conftest import TESTS

from experiments.records.folders import RunFolder
from experiments.records.journal import Journal
from experiments.records.status import FailureKind, RunStatus
from gan import metric_names
from gan.errors import ConfigError
from sweeps.analysis import race
from sweeps.analysis.comparison import Candidate, after_seed, compare, most_trainings
from sweeps.analysis.confirm import _failure, at_a_time, best_run, confirm
from sweeps.analysis.race_chart import race_chart
from sweeps.display.events import TrainingChanged
from sweeps.spec.read_plan import read_plan
from sweeps.workers.protocol import Ended, Job, Message, Progress
from sweeps.workers.trial_process import TrialProcess

STUB = TESTS / "stub_trial.py"


def candidate(title: str, *scores: float) -> Candidate:
    return Candidate(title, {"model.dropout": 0.1}, 9.0, list(range(1, len(scores) + 1)), list(scores))


def test_clearly_better_settings_are_called_better() -> None:
    result = compare(
        [candidate("tutorial", 20, 21, 22), candidate("trial-0003", 15, 16, 17), candidate("trial-0005", 9, 10, 11)]
    )
    assert [candidate.title for candidate in result.candidates] == ["trial-0005", "trial-0003"]
    assert result.better
    assert result.difference.value == -11
    # Dunnett's critical value of two candidates with 6 degrees of freedom is 2.86, times sqrt 2/3.
    assert (result.difference.low, result.difference.high) == pytest.approx((-13.335, -8.665), abs=0.005)
    assert result.words().startswith(
        "trial-0005 is better: 10 against 21 for the tutorial's settings (3 fresh seeds each"
    )
    assert result.best.std == pytest.approx(1.0)


def test_luck_is_not_called_better() -> None:
    result = compare([candidate("tutorial", 20, 30, 10), candidate("trial-0003", 12, 29, 17)])
    assert not result.better
    assert result.difference.low < 0 < result.difference.high
    assert "is not shown to be better" in result.words()
    worse = compare([candidate("tutorial", 10, 11, 12), candidate("trial-0003", 20, 21, 22)])
    assert worse.winner is worse.baseline
    assert worse.words().startswith(
        "Keep the tutorial's settings: 11 against 21 for the best trial, trial-0003 (3 fresh seeds each"
    )


def test_the_best_of_several_may_be_luck() -> None:
    """All of its seeds are better than all of the tutorial's; of three candidates one often has such luck."""
    lucky, others = (
        candidate("trial-0003", 12.9, 14.1, 14.5),
        [candidate("a", 14, 16.5, 17), candidate("b", 13.5, 15, 16.8)],
    )
    result = compare([candidate("tutorial", 14.8, 15.5, 16.9), lucky, *others])
    assert result.best is lucky
    assert not result.better
    assert "that may be luck" in result.words()


def test_scores_without_variance_are_compared_as_they_are() -> None:
    result = compare([candidate("tutorial", 3, 3), candidate("trial-0003", 2, 2)])
    assert result.better
    assert (result.difference.low, result.difference.high) == (-1, -1)


def test_a_training_that_never_ends_counts_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is killed half-way, at each attempt."""
    monkeypatch.setattr("sweeps.analysis.confirm.TrialProcess", functools.partial(TrialProcess, program=STUB))
    arguments = ["search=custom", "model.dropout=interval(0,0.5)", "search.steps=12", "search.retries=0"]
    plan = read_plan([*arguments, "search.confirm.seeds=1", f"records.root={tmp_path}"])
    killed = Candidate("trial-0001", {"model.dropout": 0.4}, 9.0)
    confirm(plan, [killed], lambda _: None, lambda: False)
    (failure,) = killed.failures
    assert failure.startswith("seed 1: ")
    assert "killed" in failure


@pytest.mark.parametrize("kind", list(FailureKind))
def test_what_the_machine_lacked_is_not_the_settings_fault(kind: FailureKind, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    with contextlib.closing(Journal(run)) as journal:
        journal.failure(kind, "why", 3)
        journal.status(RunStatus.FAILED)
    assert _failure(run) == ("why" if kind in (FailureKind.DIVERGED, FailureKind.OTHER) else "")


def test_a_search_on_a_cluster_confirms_with_the_cores_that_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.analysis.confirm.available_cores", lambda: 4)
    shared = "search.storage=postgresql+psycopg://me@host/db"
    for cpus, count in ((2, 2), (8, 1)):
        command = [shared, "search.launcher=slurm", "search.workers=16", f"search.resources.cpus={cpus}"]
        assert at_a_time(read_plan(command)) == count


def test_settings_that_fail_on_a_seed_are_not_better() -> None:
    failing = candidate("trial-0005", 1, 2)
    failing.failures = ["seed 3: d_loss is nan"]
    sound = candidate("trial-0003", 19, 20, 21)
    result = compare([candidate("tutorial", 20, 21, 22), failing, sound])
    assert result.best is sound
    alone = compare([candidate("tutorial", 20, 21, 22), failing])
    assert not alone.better
    assert alone.winner is alone.baseline
    assert alone.words().startswith("Keep the tutorial's settings: 21 against 1.5 for the best trial, trial-0005")
    assert "3 and 2 fresh seeds, 1 of trial-0005 failed" in alone.words()


def test_of_two_that_fail_as_often_the_lower_mean_wins() -> None:
    baseline, failing = candidate("tutorial", 20, 21), candidate("trial-0005", 5, 5.2)
    for each in (baseline, failing):
        each.failures = ["seed 3: d_loss is nan"]
    failing.is_racing = False  # as any that failed
    result = compare([baseline, failing])
    assert (result.winner, result.better) == (failing, False)


def test_one_seed_shows_nothing() -> None:
    result = compare([candidate("tutorial", 20), candidate("trial-0003", 2)])
    assert not result.better
    assert math.isnan(result.difference.high)
    assert result.winner is result.best
    assert "not shown to be better" in result.words()
    kept = compare([candidate("tutorial", 87), candidate("trial-0003", 90)])
    assert kept.winner is kept.baseline
    assert kept.words().startswith(
        "Keep the tutorial's settings: 87 against 90 for the best trial, trial-0003 (1 fresh seed each"
    )
    for comparison in (result, kept):
        assert "no interval, which takes two seeds" in comparison.words()
        assert "nan" not in comparison.words()
    equal = compare([candidate("tutorial", 87), candidate("trial-0003", 87)])
    assert equal.winner is equal.baseline


def test_where_no_training_ended_nothing_is_recommended_and_the_reasons_are_said() -> None:
    baseline, other = candidate("tutorial"), candidate("trial-0003")
    baseline.failures, other.failures = ["seed 1: out of memory"], ["seed 1: d_loss is nan"]
    result = compare([baseline, other])
    assert (result.winner, result.better) == (baseline, False)
    assert result.words() == (
        "No training on a fresh seed came to its end: tutorial failed on seed 1: out of memory, "
        "trial-0003 failed on seed 1: d_loss is nan"
    )


def test_settings_without_a_score_on_fresh_seeds_are_not_recommended() -> None:
    failing = candidate("trial-0003")
    failing.failures = ["seed 1: d_loss is nan"]
    kept = compare([candidate("tutorial", 10, 11), failing])
    assert (kept.winner, kept.better) == (kept.baseline, False)
    words = "Keep the tutorial's settings: 10.5; trial-0003 failed on seed 1: d_loss is nan (lower is better)"
    assert kept.words() == words
    race_chart([kept.baseline, *kept.candidates])


def test_a_baseline_without_a_score_is_not_recommended() -> None:
    baseline = candidate("tutorial")
    baseline.failures = ["seed 1: d_loss is nan", "seed 2: g_loss is nan"]
    result = compare([baseline, candidate("trial-0003", 10, 11)])
    assert (result.winner, result.better) == (result.best, False)
    words = "trial-0003 cannot be compared: 10.5; tutorial failed on seed 2: g_loss is nan (lower is better)"
    assert result.words() == words
    race_chart([baseline, *result.candidates])


def test_a_seed_that_the_baseline_lost_does_not_make_a_worse_trial_the_winner() -> None:
    baseline, worse = candidate("tutorial", 10, 10.5, 9.8, 10.2), candidate("trial-0003", 20, 21, 19.5, 20, 21)
    baseline.failures = ["seed 1: killed"]
    result = compare([baseline, worse])
    assert result.winner is baseline
    assert result.words().startswith("Keep the tutorial's settings: 10.12 against 20.3 for the best trial")
    surely_better = compare([candidate("tutorial", 20, 21, 19.5, 20, 21), baseline])
    assert "luck" not in surely_better.words()  # it failed on a seed, and its interval does not contain 0


SCORES: dict[str, list[float]] = {}  # of each candidate, by seed from 8 on


class Training:
    """Stands in for the process of a training that ends with one of SCORES, or is killed where there is none."""

    def __init__(self, job: Job, log: Path, environment: dict[str, str]) -> None:
        self._job = job

    def messages(self) -> Iterator[Message]:
        title, _, seed = self._job.title.removeprefix("confirm ").partition(", seed ")
        assert [each for each in self._job.overrides if each.startswith("seed=")] == [f"seed={seed}"]
        run = RunFolder(Path(self._job.study).parents[1] / "runs" / self._job.name)
        run.path.mkdir(parents=True)
        journal = Journal(run)
        score = SCORES[title][int(seed) - 8]
        status = RunStatus.FAILED if math.isnan(score) else RunStatus.FINISHED
        if status == RunStatus.FAILED:
            journal.failure(FailureKind.DIVERGED, "d_loss is nan", 1)
        else:
            journal.scalars(1, {metric_names.FID_PROXY: score, metric_names.FINAL_FID_PROXY: score})
        journal.status(status)
        journal.close()
        yield Ended(status, 1)

    def ending(self) -> str:
        return "killed"


def race_of(
    root: Path, monkeypatch: pytest.MonkeyPatch, seeds: int, **scores: list[float]
) -> tuple[list[Candidate], list[str]]:
    """Confirm candidates that will have these scores; the first is the baseline."""
    monkeypatch.setattr("sweeps.analysis.confirm.TrialProcess", Training)
    SCORES.clear()
    SCORES.update(scores)
    arguments = ["search=custom", "model.dropout=interval(0,0.5)", "search.steps=12", "seed=7"]
    plan = read_plan([*arguments, f"search.confirm.seeds={seeds}", f"records.root={root}"])
    wanted = [Candidate(title, {}, None, origin=None if k == 0 else k) for k, title in enumerate(scores)]
    words: list[str] = []
    confirm(plan, wanted, lambda _: None, lambda: False, words.append)
    for each in wanted:
        runs = plan.records.runs.glob(f"gan-confirm-{each.title}-seed-*")
        assert sorted(int(run.name.rpartition("-")[2]) for run in runs) == [
            8 + k for k in range(len(each.seeds) + len(each.failures))
        ]
    return wanted, words


class Hungry(Training):
    """The process of `hungry` is killed for want of memory beside another, at both attempts."""

    kills = 0
    gave_up, is_alone = threading.Event(), threading.Event()

    def messages(self) -> Iterator[Message]:
        if "tutorial" in self._job.title:
            assert self.gave_up.wait(10)
            yield from super().messages()
            self.is_alone.set()
        elif self.gave_up.is_set():
            assert self.is_alone.is_set()
            yield from super().messages()
        else:
            Hungry.kills += 1
            if Hungry.kills == 2:
                self.gave_up.set()


def test_what_lacks_memory_beside_others_trains_again_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.analysis.confirm.TrialProcess", Hungry)
    SCORES.clear()
    SCORES.update(tutorial=[20], hungry=[10])
    arguments = ["search=custom", "model.dropout=interval(0,0.5)", "search.steps=12", "seed=7", "search.workers=2"]
    options = ["search.confirm.seeds=1", "search.retries=1", f"records.root={tmp_path}"]
    wanted = [Candidate("tutorial", {}, None), Candidate("hungry", {}, 9.0)]
    events: list[TrainingChanged] = []
    confirm(read_plan([*arguments, *options]), wanted, events.append, lambda: False)
    assert [(each.scores, each.failures) for each in wanted] == [([20], []), ([10], [])]
    told = [(event.words, event.is_over) for event in events if event.name == "hungry seed 8" and event.words]
    assert told[-3:] == [("killed; trains again alone", False), ("training", False), ("score 10", True)]


@pytest.mark.parametrize(("named", "expected"), [((), [1, 1, 2]), (("train.threads=1",), [1, 1, 1])])
def test_a_training_that_is_left_alone_has_all_cores(
    named: tuple[str, ...], expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, int] = {}

    class Noted(Training):
        def __init__(self, job: Job, *arguments: object, **options: object) -> None:
            super().__init__(job, *arguments, **options)
            word = [override for override in job.overrides if override.startswith("train.threads=")][-1]
            threads[job.params["confirms"]] = int(word.partition("=")[2])

    monkeypatch.setattr("sweeps.analysis.confirm.TrialProcess", Noted)
    monkeypatch.setattr("sweeps.analysis.confirm.available_cores", lambda: 2)
    monkeypatch.setattr("sweeps.spec.plan.available_cores", lambda: 2)
    SCORES.clear()
    SCORES.update(tutorial=[20], first=[10], second=[11])
    arguments = [
        "search=custom",
        "model.dropout=interval(0,0.5)",
        "search.steps=12",
        "seed=7",
        "search.workers=2",
        *named,
    ]
    wanted = [Candidate(title, {}, None) for title in SCORES]
    confirm(
        read_plan([*arguments, "search.confirm.seeds=1", f"records.root={tmp_path}"]),
        wanted,
        lambda _: None,
        lambda: False,
    )
    assert [threads[title] for title in SCORES] == expected
    assert [each.scores for each in wanted] == [[20], [10], [11]]


def test_a_race_ends_as_soon_as_it_is_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, words = race_of(tmp_path, monkeypatch, 5, tutorial=[20, 21], first=[5, 6], second=[7, 6])
    assert [each.scores for each in wanted] == [[20, 21], [5, 6], [7, 6]]
    assert words == ["         after 2 seeds: first leads by 15, second is behind"]
    result = compare(wanted)
    assert result.better
    assert result.winner.title == "first"
    assert result.words().startswith(
        "first is better: 5.5 against 20.5 for the tutorial's settings (2 fresh seeds each"
    )


def test_who_is_behind_trains_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"tutorial": [20.0, 22, 21, 20], "first": [19.0, 21, 18, 20], "lost": [22.0, 23]}
    wanted, words = race_of(tmp_path, monkeypatch, 4, **scores)
    assert [len(each.scores) for each in wanted] == [4, 4, 2]
    assert most_trainings(wanted, 4) == 4 + 4 + 2
    assert words[0].endswith("lost is behind")
    result = compare(wanted)
    assert not result.better
    assert [each.title for each in result.candidates] == ["first", "lost"]


def test_who_is_a_standard_error_behind_the_best_leaves() -> None:
    """The standard error of these differences is 1: of each group the variance is 1, of two seeds."""
    root = math.sqrt(0.5)

    def racing(*means: float) -> list[int]:
        baseline, *others = ([mean - root, mean + root] for mean in means)
        return race.analyse(others, baseline, len(others), 4).racing

    assert racing(20, 19.5, 20.45, 18.9) == [0, 2]  # behind the leader
    assert racing(20, 20.9, 21.1, 20.5) == [0, 2]  # behind the baseline
    assert racing(20, 21.1, 22) == []


def test_a_lead_that_is_luck_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, words = race_of(tmp_path, monkeypatch, 3, tutorial=[20, 24, 22], lucky=[23, 21, 24])
    assert words[-1] == "         after 3 seeds: tutorial leads lucky by 0.667"
    result = compare(wanted)
    assert result.winner is wanted[0]


def test_who_fails_on_a_seed_is_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, _ = race_of(tmp_path, monkeypatch, 3, tutorial=[20, 21, 22], failing=[1, math.nan], sound=[19, 22, 20])
    assert wanted[1].failures == ["seed 9: d_loss is nan"]
    assert most_trainings(wanted, 3) == 3 + 2 + 3
    assert [len(each.scores) for each in wanted] == [3, 1, 3]
    result = compare(wanted)
    assert result.best is wanted[2]


def test_who_was_behind_a_leader_that_fails_races_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {
        "tutorial": [20, 24, 22, 20], "leader": [11, 15, math.nan], "second": [15.9, 16.1, 16, 16], "failed": [math.nan],
    }  # fmt: skip
    wanted, words = race_of(tmp_path, monkeypatch, 4, **scores)
    assert "second is behind" in words[0]
    assert [len(each.scores) for each in wanted] == [3, 2, 3, 0]  # the missing seed, and then it is decided
    assert words[-1].startswith("         after 3 seeds: second leads by ")
    result = compare(wanted)
    assert (result.best.title, result.better) == ("second", True)
    assert "3 fresh seeds each" in result.words()


def test_a_race_against_a_baseline_that_fails_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, _ = race_of(tmp_path, monkeypatch, 5, tutorial=[math.nan, math.nan], sound=[19, 22])
    assert [(len(each.scores), len(each.failures)) for each in wanted] == [(0, 2), (2, 0)]


def test_a_race_of_one_seed_has_no_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, words = race_of(tmp_path, monkeypatch, 1, tutorial=[20], first=[1])
    result = compare(wanted)
    assert (words, result.better, result.difference.has_interval) == ([], False, False)


class Endless:
    """Stands in for the process of a training that goes on until it is interrupted."""

    started: ClassVar[list["Endless"]] = []

    def __init__(self, *args: object, **options: object) -> None:
        self.interrupted = threading.Event()
        self.started.append(self)

    def messages(self) -> Iterator[Message]:
        yield Progress(1)
        self.interrupted.wait(5)
        yield Ended(RunStatus.KILLED, 1)

    def interrupt(self) -> None:
        self.interrupted.set()

    def ending(self) -> str:
        return "interrupted"


def test_a_failure_of_the_search_itself_interrupts_all_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.analysis.confirm.TrialProcess", Endless)
    arguments = ["search=custom", "model.dropout=interval(0,0.5)", "search.steps=12", "search.workers=2"]
    plan = read_plan([*arguments, f"records.root={tmp_path}"])

    def on_event(event: TrainingChanged) -> None:
        if event.step:
            raise OSError("No space left on device")

    Endless.started.clear()
    with pytest.raises(OSError, match="No space left"):
        confirm(plan, [candidate("tutorial"), candidate("one"), candidate("two")], on_event, lambda: False)
    assert 1 <= len(Endless.started) <= 2  # and the third was not begun
    assert all(each.interrupted.is_set() for each in Endless.started)


@pytest.mark.parametrize(("candidates", "seeds"), [(1, 2), (1, 4), (3, 4), (3, 8)])
def test_races_between_equals_are_decided_in_one_of_twenty(candidates: int, seeds: int) -> None:
    rng, decided, races = np.random.default_rng(7), 0, 2000
    for _ in range(races):
        scores = rng.standard_normal((candidates + 1, seeds))
        racing, is_over, count = list(range(candidates)), False, race.FEWEST
        while not is_over:
            interim = race.analyse([scores[1 + k, :count] for k in racing], scores[0, :count], candidates, seeds)
            if any(difference.low > 0 or difference.high < 0 for difference in interim.differences):
                decided += 1
                break
            racing, is_over, count = [racing[k] for k in interim.racing], interim.is_over, count + 1
    assert decided / races == pytest.approx(0.05, abs=0.015)  # three standard errors


def test_what_is_decisive_falls_with_the_seeds_and_grows_with_the_candidates() -> None:
    limits = race._limits(3, 4)
    assert [limits[3, seeds] for seeds in (2, 3, 4)] == pytest.approx([4.61853, 3.42317, 3.10740], abs=1e-5)
    assert [limits[count, 4] for count in (1, 2, 3)] == pytest.approx([3.03116, 3.08747, 3.10740], abs=1e-5)


def test_the_difference_is_of_all_seeds_where_the_leader_failed_in_the_end() -> None:
    baseline, behind, leader = candidate("tutorial", 20, 21), candidate("trial-1", 40, 41.5), candidate("trial-2", 9, 8)
    after_seed(baseline, [behind, leader], 2, 4)
    assert not behind.is_racing
    baseline.scores.append(30.0)
    leader.failures.append("seed 3: nan")
    after_seed(baseline, [leader], 2, 4)
    result = compare([baseline, behind, leader])
    assert result.best is behind
    assert result.difference.value == pytest.approx(behind.mean - baseline.mean)
    assert behind.difference is result.difference  # as the chart draws it


def test_means_and_variances_after_each_seed() -> None:
    scores = np.random.default_rng(1).standard_normal((5, 3, 4))
    steps = list(race._after_each_seed(scores))
    assert [count for count, _, _ in steps] == [2, 3, 4]
    for count, means, variances in steps:
        assert means == pytest.approx(scores[:, :, :count].mean(axis=2))
        assert variances == pytest.approx(scores[:, :, :count].var(axis=2, ddof=1))


def test_seeds_of_a_confirmation_are_bounded() -> None:
    with pytest.raises(ConfigError, match=r"search.confirm.seeds must be in \[0, 50\]; got 51"):
        read_plan(["search=custom", "model.dropout=interval(0,0.5)", "search.confirm.seeds=51"])


def test_the_run_of_the_best_seed_is_registered(tmp_path: Path) -> None:
    plan = read_plan(["search=custom", "model.dropout=interval(0,0.5)", f"records.root={tmp_path}"])
    scored = Candidate("trial-0001", {}, 9.0, seeds=[1, 2, 3], final=[12.0, 10.0, 11.0])
    assert best_run(plan, scored).name == "gan-confirm-trial-0001-seed-2"
