"""Trials that grow: each begins short, and the best of those of one length train on to the next (search.pruner=asha).

Asynchronous successive halving by promotion, algorithm 2 of Li et al. (2020), A System for Massively Parallel
Hyperparameter Tuning. A trial that reaches its rung is paused: its state is kept, and whenever it is among the best
third there, it is promoted: another attempt resumes it from its checkpoint, in the same run.
"""

import bisect
import copy
import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from sweeps.spec.plan import Plan
from sweeps.spec.space import Value
from sweeps.study import attempts
from sweeps.study.optuna_log import experimental

MOST_SIMULATED = 400  # trials, of more the fractions that are promoted are alike
RUNG = "rung"  # attribute of a trial that was promoted: the rung that it trains to, 0 is the lowest


def rung_of(plan: Plan, trial: FrozenTrial | Trial) -> int:
    """Return the rung that a trial trains to. The baseline's is the highest: all others are compared with it."""
    if attempts.is_baseline(plan, trial):
        return len(plan.rungs) - 1
    return int(trial.user_attrs.get(RUNG, 0))


def target(plan: Plan, trial: FrozenTrial | Trial) -> int:
    """Return the step at which a trial is paused, or ends."""
    return plan.rungs[rung_of(plan, trial)]


def promoted_to(plan: Plan, trial: FrozenTrial | Trial) -> int:
    """Return the step that a promoted trial trains on to; 0 for one that was not promoted."""
    return target(plan, trial) if RUNG in trial.user_attrs else 0


def next_promotion(plan: Plan, trials: Sequence[FrozenTrial], updates: float) -> FrozenTrial | None:
    """Return the paused trial that is to train on, from the highest rung that has one; None where none is to.

    Args:
        plan: of the search.
        trials: all attempts of its study.
        updates: that are left.
    """
    if len(plan.rungs) == 1:  # asked at every turn, of thousands of trials
        return None
    lasts, scores = _suggestions(trials)
    furthest = furthest_step(plan, trials)
    for rung in reversed(range(len(plan.rungs) - 1)):
        step = plan.rungs[rung]
        upper = plan.rungs[rung + 1]
        if upper - step + reserve(plan, furthest, updates, upper) > updates:
            continue
        ranked = []
        for origin, trial in lasts.items():
            if step in scores[origin]:
                ranked.append((scores[origin][step], origin))
            elif trial.state.is_finished() and rung_of(plan, trial) >= rung:  # it failed before it came there
                ranked.append((math.inf, origin))
        for _, origin in sorted(ranked)[: len(ranked) // plan.search.eta]:
            if attempts.paused_at(lasts[origin]) == step:
                return lasts[origin]
    return None


def furthest_step(plan: Plan, trials: Sequence[FrozenTrial]) -> int:
    """Return the step that the furthest trial beside the baseline has come to, or is on its way to."""
    furthest = 0
    for trial in _suggestions(trials, begun=False)[0].values():
        if attempts.is_baseline(plan, trial):
            continue
        if trial.state == TrialState.COMPLETE:
            return plan.rungs[-1]
        step = attempts.paused_at(trial) if trial.state.is_finished() else target(plan, trial)
        furthest = max(furthest, step or 0)
    return furthest


def reserve(plan: Plan, furthest: int, updates: float, reached: int) -> int:
    """Return how many updates to keep for the first trial beside the baseline that comes to the end.

    Args:
        plan: of the search.
        furthest: the step of the furthest trial.
        updates: that are left.
        reached: the step that what is to begin trains to.

    Returns:
        What the furthest trial still needs; 0 where it needs nothing, or the rest cannot pay for it.
    """
    last = plan.rungs[-1]
    return last - max(furthest, reached) if last - furthest <= updates else 0


def last_promotion(plan: Plan, trials: Sequence[FrozenTrial], updates: float) -> FrozenTrial | None:
    """Return the best paused trial of the highest rung where no trial but the baseline came to the end, else None.

    A small search, or one whose baseline is the best of a rung, would otherwise compare nothing at full length.

    Args:
        plan: of the search.
        trials: all attempts of its study.
        updates: that are left.
    """
    lasts, scores = _suggestions(trials)
    if any(t.state == TrialState.COMPLETE and not attempts.is_baseline(plan, t) for t in lasts.values()):
        return None
    if not all(trial.state.is_finished() for trial in lasts.values()):  # it may be the one that comes to the end
        return None
    paused = {origin: step for origin, t in lasts.items() if (step := attempts.paused_at(t)) in plan.rungs[:-1]}
    for origin in sorted(paused, key=lambda origin: (-paused[origin], scores[origin][paused[origin]], origin)):
        if plan.rungs[plan.rungs.index(paused[origin]) + 1] - paused[origin] <= updates:
            return lasts[origin]
    return None


def promote(plan: Plan, study: Study, trial: FrozenTrial) -> None:
    """Queue an attempt that trains a paused trial on to its next rung.

    Args:
        plan: of the search.
        study: whose turn the caller has.
        trial: that is paused.
    """
    trial = copy.deepcopy(trial)
    trial.user_attrs[RUNG] = rung_of(plan, trial) + 1
    del trial.user_attrs[attempts.OUTCOME]
    with experimental():
        RetryHeartbeatStaleTrialCallback()(study, trial)


def counts(steps: Sequence[int], trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """Return how many suggestions have a score at each rung, by its step.

    steps: those of the rungs.
    """
    lasts, scores = _suggestions(trials)
    return {step: sum(step in scores[origin] for origin in lasts) for step in steps}


def common_rung(steps: Sequence[int], trials: Sequence[FrozenTrial], enough: int) -> int:
    """Return the step of the highest rung with enough scores to learn from (Falkner et al. 2018, BOHB).

    Args:
        steps: those of the study's rungs, lowest first.
        trials: all attempts of its study.
        enough: scores that a rung above the lowest must have.
    """
    return max((step for step, count in counts(steps, trials).items() if count >= enough), default=steps[0])


def at_one_rung(steps: Sequence[int], trials: Sequence[FrozenTrial], enough: int) -> list[FrozenTrial]:
    """Return each suggestion once, those with a score at `common_rung` as complete trials of that score.

    So scores of unlike lengths are never compared. Trials that are paused below that rung are left out.

    Args:
        steps: those of the study's rungs, lowest first.
        trials: all attempts of its study.
        enough: scores that a rung above the lowest must have.
    """
    step, (_, scores) = common_rung(steps, trials, enough), _suggestions(trials)
    shown = []
    for trial in attempts.counted(trials):
        by_step = scores.get(attempts.origin(trial), {})
        if attempts.is_repeat(trial):  # it has the scores of another, at whatever length these were then
            continue
        if step in by_step:
            trial = copy.copy(trial)
            trial.state, trial.values = TrialState.COMPLETE, [by_step[step]]
        elif attempts.paused_at(trial) is not None:  # below that rung
            continue
        shown.append(trial)
    return shown


def with_failures(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return trials with those that failed by their settings as complete ones, whose score is just above all others."""
    worst = max((t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None), default=None)
    shown = []
    for trial in trials:
        if worst is not None and attempts.HOPELESS in trial.user_attrs and trial.state != TrialState.COMPLETE:
            trial = copy.copy(trial)
            trial.state, trial.values = TrialState.COMPLETE, [math.nextafter(worst, math.inf)]
        shown.append(trial)
    return shown


def scored_settings(plan: Plan, trials: Sequence[FrozenTrial]) -> list[tuple[dict[str, Value], dict[int, float]]]:
    """Return the settings that have a score at a rung, and these scores by step.

    Settings that failed before a rung have an infinite score there.

    Args:
        plan: of the search.
        trials: all attempts of its study.

    Returns:
        The longest trained first, and of one length that with the lowest score; those that failed last.
    """
    lasts, scores = _suggestions(trials)
    scored = []
    for origin, trial in lasts.items():
        at_rungs = {step: score for step, score in scores[origin].items() if step in plan.rungs}
        if attempts.HOPELESS in trial.user_attrs:
            at_rungs.setdefault(target(plan, trial), math.inf)
        if trial.params and at_rungs:
            scored.append((trial.params, at_rungs))

    def order(settings: tuple[dict[str, Value], dict[int, float]]) -> tuple[bool, int, float]:
        step, score = max(settings[1].items())
        return math.isinf(score), -step, score

    return sorted(scored, key=order)


def updates_spent(plan: Plan, trials: Sequence[FrozenTrial]) -> int:
    """Return the updates of all trials together; of one that is not over, those that it was begun for."""
    lasts, scores = _suggestions(trials, begun=False)
    return sum(
        _step_of(trial, scores[origin]) if trial.state.is_finished() else target(plan, trial)
        for origin, trial in lasts.items()
    )


def updates_made(trials: Sequence[FrozenTrial]) -> int:
    """Return the updates that all trials together have made so far."""
    lasts, scores = _suggestions(trials, begun=False)
    return sum(_step_of(trial, scores[origin]) for origin, trial in lasts.items())


def _step_of(trial: FrozenTrial, scores: Iterable[int]) -> int:
    """Return the step that a trial has come to; scores: the steps of its scores, earlier attempts' among them."""
    return max([*scores, int(trial.user_attrs.get(attempts.STEP, 0))], default=0)


def ladder(plan: Plan) -> list[tuple[int, int]]:
    """Return the rungs and about how many trials come there, the baseline included, if all are sound.

    With a budget of updates it is as many trials as these pay for.
    """
    trials, updates = plan.budget, plan.search.updates
    if updates is not None:
        most = min(trials, updates // plan.rungs[0])
        trials = max(bisect.bisect_right(range(most + 1), updates, lo=1, key=lambda n: _cost(_reached(plan, n))) - 1, 1)
    return _reached(plan, trials)


def _reached(plan: Plan, trials: int) -> list[tuple[int, int]]:
    """Return the rungs and about how many of so many trials come there."""
    simulated = min(trials, MOST_SIMULATED)
    counts = _simulated_ladder(simulated, len(plan.rungs), plan.search.eta)
    return [(step, round(trials / simulated * count)) for step, count in zip(plan.rungs, counts, strict=True)]


def _cost(reached: Sequence[tuple[int, int]]) -> int:
    """Return how many updates it takes that so many trials come to each rung."""
    before = [0, *(step for step, _ in reached)]
    return sum((step - before[rung]) * count for rung, (step, count) in enumerate(reached))


@functools.cache
def _simulated_ladder(trials: int, rungs: int, eta: int) -> list[float]:
    """Return how many trials come to each rung on average, where some are better than others at every length.

    More are promoted than one of `eta`: what was among the best of the first few need not be so among all.
    """
    rng, searches = np.random.default_rng(0), max(4000 // trials, 1)
    reached = np.zeros(rungs)
    for _ in range(searches):
        scores = rng.permutation(trials)
        ranked = [[scores[0]] for _ in range(rungs)]  # the baseline trains to the end
        paused = [set[int]() for _ in range(rungs)]
        begun = 1
        while True:
            for rung in reversed(range(rungs - 1)):
                best = ranked[rung][: len(ranked[rung]) // eta]
                promoted = next((score for score in best if score in paused[rung]), None)
                if promoted is not None:
                    paused[rung].remove(promoted)
                    bisect.insort(ranked[rung + 1], promoted)
                    paused[rung + 1].add(promoted)
                    break
            else:
                if begun == trials:
                    break
                bisect.insort(ranked[0], scores[begun])
                paused[0].add(scores[begun])
                begun += 1
        reached += [len(scores) for scores in ranked]
    least = [trials, *[min(trials, 2)] * (rungs - 1)]  # one beside the baseline comes to the end
    return list(np.maximum(reached / searches, least))


def race_candidates(plan: Plan) -> int:
    """Return how many trials the confirmation compares with the baseline, at most."""
    return min(plan.search.confirm.top, plan.budget - 1)


def race_updates(plan: Plan) -> int:
    """Return how many updates the confirmation makes at most."""
    return plan.search.confirm.seeds * (1 + race_candidates(plan)) * plan.search.steps


def in_words(plan: Plan) -> str:
    """Return how many trials there will be and how long they are, for the terminal."""
    search, steps = plan.search, plan.search.steps
    count = f"{plan.budget:,} trials" if search.updates is None else f"{search.updates:,} updates in trials"
    if plan.is_limited_by_hours_alone:
        count = f"{search.hours:g} hours of trials"
    if len(plan.rungs) == 1:
        return f"{count} of up to {steps:,} updates"
    first, *others = (f"{step:,}" for step in plan.rungs)
    return f"{count} of {first} updates, the best of every {search.eta} promoted to {' and then '.join(others)}"


def expected_updates(plan: Plan) -> int:
    """Return about how many updates all trials of a search make together, if none is pruned."""
    if plan.search.updates is not None:
        return plan.search.updates
    return _cost(ladder(plan))


def _suggestions(
    trials: Sequence[FrozenTrial], begun: bool = True
) -> tuple[dict[int, FrozenTrial], dict[int, dict[int, float]]]:
    """Return the last attempt at each suggestion, and its scores by step, by the number of its first attempt.

    Args:
        trials: all attempts.
        begun: whether to leave out those that no worker has begun.
    """
    scores: dict[int, dict[int, float]] = {}
    for trial in trials:
        scores.setdefault(attempts.origin(trial), {}).update(trial.intermediate_values)
    lasts = {attempts.origin(trial): trial for trial in attempts.counted(trials) if not attempts.is_repeat(trial)}
    return {o: trial for o, trial in lasts.items() if not begun or attempts.ORIGIN in trial.user_attrs}, scores
