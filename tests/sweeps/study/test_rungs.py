"""Trials that grow: the rungs, who is promoted, what a sampler sees of it, and what it costs."""

import math
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from gan.errors import ConfigError
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts, budget, rungs

DROPOUT = "model.dropout=interval(0,0.5)"


def plan(*arguments: str, root: Path | str = "/nowhere") -> Plan:
    return read_plan(["search=custom", DROPOUT, f"records.root={root}", *arguments])


class Study:
    """A study whose trials are told by hand."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.study = plan, optuna.create_study()

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials()

    def tell(self, scores: Sequence[float], outcome: str | None = None, baseline: bool = False) -> int:
        """Add a trial with a score at each rung from the lowest on; it is paused at the last unless that is the top."""
        if baseline:
            self.study.enqueue_trial({"model.dropout": 0.1}, user_attrs={attempts.BASELINE: True})
        trial = self.study.ask()
        trial.suggest_float("model.dropout", 0, 0.5)
        return self._end(trial, attempts.suggestion(self.trials, trial.number), scores, outcome)

    def go_on(self, scores: Sequence[float]) -> int:
        """Tell the scores of the trial that waits: it is promoted."""
        trial = self.study.ask()
        return self._end(trial, int(trial.user_attrs[attempts.ORIGIN]), scores, None)

    def fail(self) -> int:
        """Add a trial that diverges before its first score."""
        trial = self.study.ask()
        trial.suggest_float("model.dropout", 0, 0.5)
        trial.set_user_attr(attempts.ORIGIN, trial.number)
        trial.set_user_attr(attempts.OUTCOME, "d_loss is nan")
        trial.set_user_attr(attempts.HOPELESS, True)
        self.study.tell(trial, state=TrialState.FAIL)
        return trial.number

    def _end(self, trial: optuna.Trial, origin: int, scores: Sequence[float], outcome: str | None) -> int:
        trial.set_user_attr(attempts.ORIGIN, origin)
        for step, score in zip(self.plan.rungs, scores, strict=False):
            trial.report(score, step)
        if outcome is None and len(scores) < len(self.plan.rungs):
            outcome = f"{attempts.PAUSED}{self.plan.rungs[len(scores) - 1]}"
        trial.set_user_attr(attempts.OUTCOME, outcome or "complete")
        complete = outcome is None
        state = TrialState.COMPLETE if complete else TrialState.PRUNED
        self.study.tell(trial, scores[-1] if complete else None, state)
        return origin

    def promoted(self) -> int | None:
        trial = rungs.next_promotion(self.plan, self.trials, math.inf)
        return None if trial is None else attempts.origin(trial)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], (500, 1500, 5000)),
        (["search.min_steps=200"], (200, 600, 1700, 5000)),
        (["search.min_steps=500", "search.eta=2"], (500, 1000, 2250, 5000)),
        (["search.steps=6", "eval.every_steps=2"], (2, 6)),
        (["search.min_steps=5000"], (5000,)),
        (["search.min_steps=4000"], (4000, 5000)),
        (["search.pruner=halving"], (5000,)),
    ],
)
def test_rungs_grow_from_the_shortest_trials_to_the_longest(settings: list[str], expected: tuple[int, ...]) -> None:
    assert plan(*settings).rungs == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["search.eta=1"], "search.eta must be in [2, 100]; got 1"),
        (["search.min_steps=6000"], "search.min_steps must be at most search.steps=5000; got 6000"),
        (
            ["search.min_steps=500", "eval.every_steps=200"],
            "search.min_steps must be a multiple of eval.every_steps=200",
        ),
        (["search.min_steps=500", "search.pruner=none"], "search.min_steps must be absent unless search.pruner=asha"),
        (["search.updates=5000"], "search.updates must be at least 5,500: 5,000 of the tutorial's settings and 500 of"),
        (
            ["search.updates=6499", "search.start_from=[quick,tuned,lightweight]"],
            "search.updates must be at least 6,500: 5,000 of the tutorial's settings and 500 of 3 start points",
        ),
    ],
)
def test_what_makes_no_rungs_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(*settings)
    assert message in str(caught.value)


def test_the_best_third_of_a_rung_is_promoted_the_best_first() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1"))  # 1, 2, 6
    assert study.plan.rungs == (1, 2, 6)
    study.tell([9.0, 8.0, 7.0], baseline=True)
    study.tell([5.0])
    assert study.promoted() is None  # of two there is no third
    study.tell([6.0])
    assert study.promoted() == 1
    rungs.promote(study.plan, study.study, rungs.next_promotion(study.plan, study.trials, math.inf))  # type: ignore[arg-type]
    assert study.promoted() is None  # it is the only one, and waits
    assert study.go_on([5.0, 4.0]) == 1
    assert attempts.state_name(attempts.counted(study.trials)[-1]) == "PAUSED"
    study.tell([4.0])
    assert study.promoted() == 3  # of four there is one, and it is the best now
    study.tell([3.0])
    assert study.promoted() == 4
    study.tell([2.0])
    assert study.promoted() == 5
    rungs.promote(study.plan, study.study, rungs.next_promotion(study.plan, study.trials, math.inf))  # type: ignore[arg-type]
    assert study.promoted() == 4  # of six there are two
    study.go_on([2.0, 1.0])
    assert rungs.counts(study.plan.rungs, study.trials) == {1: 6, 2: 3, 6: 1}  # the baseline among them


def test_what_failed_counts_as_the_worst_of_its_rung() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1"))
    study.tell([5.0])
    study.tell([], "saturated discriminator")
    assert study.promoted() is None
    study.tell([], "d_loss is nan")
    assert study.promoted() == 0


def test_a_repeat_is_never_promoted() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1"))
    first = study.tell([5.0])
    study.tell([5.0], f"{attempts.REPEATS}{first}")
    study.tell([6.0])
    assert study.promoted() is None
    study.tell([7.0])
    assert study.promoted() == first


def test_samplers_see_scores_of_one_length_alone() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1"))
    study.tell([9.0, 8.0, 7.0], baseline=True)
    for score in (5.0, 6.0, 7.0):
        study.tell([score])
    rungs.promote(study.plan, study.study, rungs.next_promotion(study.plan, study.trials, math.inf))  # type: ignore[arg-type]
    study.go_on([5.0, 1.0])
    lowest = rungs.at_one_rung(study.plan.rungs, study.trials, enough=3)
    assert sorted(trial.value for trial in lowest) == [5.0, 6.0, 7.0, 9.0]  # 1.0 is of a longer training
    second = rungs.at_one_rung(study.plan.rungs, study.trials, enough=2)
    assert sorted(trial.value for trial in second) == [1.0, 8.0]
    assert {trial.state for trial in (*lowest, *second)} == {TrialState.COMPLETE}
    assert rungs.common_rung(study.plan.rungs, study.trials, 2) == 2


def test_samplers_see_what_failed_by_its_settings_as_the_worst() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1"))
    failed = study.fail()
    assert [trial.state for trial in rungs.with_failures(study.trials)] == [TrialState.FAIL]  # nothing to compare with
    for score in (5.0, 6.0):
        study.tell([score])
    shown = rungs.with_failures(rungs.at_one_rung(study.plan.rungs, study.trials, enough=2))
    assert sorted(shown, key=lambda trial: trial.value)[-1].number == failed
    assert [trial.value for trial in shown[1:]] == [5.0, 6.0]
    settings = rungs.scored_settings(study.plan, study.trials)
    assert [by_step for _, by_step in settings] == [{1: 5.0}, {1: 6.0}, {1: math.inf}]
    rungs.promote(study.plan, study.study, study.trials[1])
    trial = study.study.ask()
    trial.set_user_attr(attempts.OUTCOME, "saturated discriminator")
    trial.set_user_attr(attempts.HOPELESS, True)
    study.study.tell(trial, state=TrialState.PRUNED)
    (last,) = [by_step for params, by_step in rungs.scored_settings(study.plan, study.trials) if len(by_step) > 1]
    assert last == {1: 5.0, 2: math.inf}
    assert rungs.scored_settings(study.plan, study.trials)[0][1] == {1: 6.0}  # the longest, but it failed


def test_updates_are_a_budget_that_is_never_exceeded() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1", "search.updates=10"))
    study.tell([9.0, 8.0, 7.0], baseline=True)
    study.tell([5.0])
    study.tell([6.0])
    assert rungs.updates_spent(study.plan, study.trials) == 8
    assert budget.updates_left(study.plan, study.trials) == 2
    assert budget.may_begin(study.plan, study.trials, 0.0)
    budget.queue_next(study.plan, study.study, study.trials, 0.0)
    assert rungs.updates_spent(study.plan, study.trials) == 9  # the promotion is paid for from its beginning on
    study.go_on([5.0, 4.0])
    study.tell([4.0])
    assert budget.updates_left(study.plan, study.trials) == 0
    assert not budget.may_begin(study.plan, study.trials, 0.0)


def test_start_points_come_first_and_use_up_the_budget_like_any_trial() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1", "search.trials=4"))
    study.tell([9.0, 8.0, 7.0], baseline=True)
    points = {"again": {"model.dropout": 0.25}, **{f"point {k}": {"model.dropout": k / 10} for k in (2, 3, 4, 5)}}
    study.study.set_user_attr(budget.START_POINTS, points)
    for _ in range(3):
        assert budget.may_begin(study.plan, study.trials, 0.0)
        budget.queue_next(study.plan, study.study, study.trials, 0.0)
        study.tell([5.0])
    named = [trial.user_attrs.get(attempts.NAMED) for trial in study.trials]
    assert named == [None, "point 2", "point 3", "point 4"]  # not what the baseline was, again
    budget.queue_next(study.plan, study.study, study.trials, 0.0)  # a promotion
    study.go_on([5.0, 9.0])
    budget.queue_next(study.plan, study.study, study.trials, 0.0)  # another, as none but the baseline is at the end
    study.go_on([5.0, 9.0, 8.0])
    assert not budget.may_begin(study.plan, study.trials, 0.0)
    assert study.study.user_attrs[budget.START_POINTS].keys() == {"point 5"}


@pytest.mark.parametrize("others", [1, 2, 4])
def test_one_trial_beside_the_baseline_always_comes_to_the_end(others: int) -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1", f"search.trials={others + 1}"))
    assert study.plan.rungs == (1, 2, 6)
    study.tell([1.0, 1.0, 1.0], baseline=True)  # the best at every rung: it takes the place of the best third
    scores = [9.0, 8.0, 7.0, 6.0][-others:]
    for score in scores:
        assert budget.may_begin(study.plan, study.trials, 0.0)
        study.tell([score])
    for reached in ([6.0, 5.0], [6.0, 5.0, 4.0]):
        assert budget.may_begin(study.plan, study.trials, 0.0)
        budget.queue_next(study.plan, study.study, study.trials, 0.0)
        assert (
            rungs.last_promotion(study.plan, study.trials, math.inf) is None
        )  # one at a time: that one may come to the end
        study.go_on(reached)
    assert not budget.may_begin(study.plan, study.trials, 0.0)
    assert [t.value for t in attempts.finished(study.trials)] == [1.0, 4.0]


def test_the_last_promotion_is_paid_from_the_budget_and_failures_give_way() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1", "search.trials=3"))
    study.tell([9.0, 8.0, 7.0], baseline=True)
    first, second = study.tell([5.0]), study.tell([6.0])
    promoted = rungs.last_promotion(study.plan, study.trials, updates=1)
    assert promoted is not None and attempts.origin(promoted) == first
    assert rungs.last_promotion(study.plan, study.trials, updates=0) is None
    rungs.promote(study.plan, study.study, promoted)
    failing = study.study.ask()
    failing.set_user_attr(attempts.OUTCOME, "d_loss is nan")
    study.study.tell(failing, state=TrialState.FAIL)
    promoted = rungs.last_promotion(study.plan, study.trials, math.inf)
    assert promoted is not None and attempts.origin(promoted) == second


def test_a_repeat_brings_no_score_of_another_length_into_a_comparison() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1"))
    study.tell([90.0, 60.0, 30.0], baseline=True)
    repeat = study.study.ask()
    repeat.suggest_float("model.dropout", 0, 0.5)
    repeat.set_user_attr(attempts.OUTCOME, f"{attempts.REPEATS}0")
    repeat.report(30.0, 6)
    study.study.tell(repeat, 30.0)
    study.tell([70.0])
    shown = rungs.at_one_rung(study.plan.rungs, study.trials, enough=8)
    assert [trial.value for trial in shown] == [90.0, 70.0]  # all of the lowest rung
    assert [trial.value for trial in attempts.finished(study.trials)] == [30.0]


def test_a_search_ends_when_its_sampler_only_repeats_itself() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1", "search.updates=50"))
    study.tell([9.0, 8.0, 7.0], baseline=True)
    study.tell([9.5])
    for count in range(budget.TRIED_ALREADY):
        assert not budget.is_exhausted(study.plan, study.trials), count
        study.tell([9.5], outcome=f"{attempts.REPEATS}1")
    assert budget.is_exhausted(study.plan, study.trials)
    assert budget.ended_early(study.plan, study.trials)
    used_up = plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1", "search.updates=7")
    assert not budget.ended_early(used_up, study.trials)
    promoted = budget._next_promotion(study.plan, study.trials, math.inf)
    assert promoted is not None and attempts.origin(promoted) == 1  # but what was tried still trains to the end


@pytest.mark.parametrize("setting", ["search.updates=26", f"search.hours={26 / 3600}"])
def test_a_small_budget_brings_one_trial_to_the_end(setting: str) -> None:
    """Short ones do not use up what the first needs that comes to the end. In time, an update takes a second here."""
    study = Study(plan("search.steps=12", "eval.every_steps=1", "search.min_steps=1", setting))
    assert study.plan.rungs == (1, 3, 12)
    study.tell([9.0, 9.0, 9.0], baseline=True)

    def left() -> float:
        seconds = rungs.updates_made(study.trials) if study.plan.search.hours is not None else 0
        return round(budget.updates_left(study.plan, study.trials, seconds), 6)

    short = 0
    while budget._has_budget_for_another(study.plan, study.trials, left()):
        study.tell([20.0 + short])
        short += 1
    assert short == 3  # of 14 updates 11 are kept for the best of them
    best = budget._next_promotion(study.plan, study.trials, left())
    assert best is not None and attempts.origin(best) == 1
    rungs.promote(study.plan, study.study, best)
    assert left() == 9
    assert not budget._has_budget_for_another(study.plan, study.trials, left())


def test_start_points_do_not_begin_after_the_hours() -> None:
    study = Study(plan("search.steps=6", "eval.every_steps=1", "search.min_steps=1", "search.hours=1"))
    study.tell([9.0, 8.0, 7.0], baseline=True)
    study.study.set_user_attr(budget.START_POINTS, {"tuned": {"model.dropout": 0.2}})
    assert budget.may_begin(study.plan, study.trials, 1800.0)
    assert not budget.may_begin(study.plan, study.trials, 3500.0)  # as it could not end in time
    assert not budget.may_begin(study.plan, study.trials, 3600.0)


def test_a_promotion_that_the_rest_cannot_pay_is_not_begun() -> None:
    study = Study(plan("search.steps=12", "eval.every_steps=1", "search.min_steps=4", "search.updates=26"))
    assert study.plan.rungs == (4, 12)
    study.tell([9.0, 8.0], baseline=True)
    study.tell([5.0])
    study.tell([6.0])
    assert rungs.next_promotion(study.plan, study.trials, 7) is None
    assert rungs.next_promotion(study.plan, study.trials, 8) is not None
    assert budget.updates_left(study.plan, study.trials) == 6  # enough for another setting
    before = len(study.trials)
    budget.queue_next(study.plan, study.study, study.trials, 0.0)
    assert len(study.trials) == before
    assert budget.may_begin(study.plan, study.trials, 0.0)
    study.tell([7.0])
    assert not budget.may_begin(study.plan, study.trials, 0.0)


def test_the_expected_length_of_a_search() -> None:
    one = plan("search.trials=27")
    assert rungs.ladder(one) == [(500, 27), (1500, 11), (5000, 5)]
    assert rungs.expected_updates(one) == 27 * 500 + 11 * 1000 + 5 * 3500
    assert rungs.ladder(plan("search.trials=2")) == [(500, 2), (1500, 2), (5000, 2)]
    assert [count for _, count in rungs.ladder(plan("search.trials=100000"))] == pytest.approx(
        [1e5, 36e3, 13e3], rel=0.1
    )
    assert rungs.expected_updates(plan("search.updates=60000")) == 60_000
    for updates in (20_000, 60_000, 1_000_000):  # as many trials as these pay for
        assert 0.75 * updates <= rungs._cost(rungs.ladder(plan(f"search.updates={updates}"))) <= updates
    assert rungs.ladder(plan("search.updates=60000", "search.trials=27")) == rungs.ladder(one)
    assert rungs.race_updates(one) == 8 * (1 + 3) * 5000
    assert rungs.race_updates(plan("search.trials=3")) == 8 * (1 + 2) * 5000  # there are no more than two
    assert rungs.race_updates(plan("search.updates=60000")) == 8 * (1 + 3) * 5000
    assert rungs.race_updates(plan("search.trials=9", "search.pruner=none", "search.confirm.seeds=2")) == 2 * 4 * 5000
    assert rungs.expected_updates(plan("search.trials=4", "search.pruner=none")) == 4 * 5000
    assert rungs.in_words(one) == "27 trials of 500 updates, the best of every 3 promoted to 1,500 and then 5,000"
    assert rungs.in_words(plan("search.updates=60000", "search.pruner=none")) == (
        "60,000 updates in trials of up to 5,000 updates"
    )
