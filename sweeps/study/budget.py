"""The budget of a search: how much is used, and what may begin with the rest."""

import math
from collections.abc import Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweeps.spec.plan import Plan
from sweeps.spec.space import same_params
from sweeps.study import rungs
from sweeps.study.attempts import BASELINE, NAMED, counted, is_repeat, origin
from sweeps.study.samplers import trials_in_space

TRIED_ALREADY = 20  # suggestions in a row that were trained before: the space has hardly any other left
GRID_POINT = "grid_id"  # attribute of Optuna's grid sampler: which point a trial is
START_POINTS = "start_points"  # attribute of a study: those not begun yet, by their words in search.start_from


def may_begin(plan: Plan, trials: Sequence[FrozenTrial], seconds: float) -> bool:
    """Return whether a trial waits to be resumed or promoted, or there is budget for another.

    Args:
        plan: of the search.
        trials: all attempts of its study.
        seconds: searched so far, in all sessions together.
    """
    if any(trial.state == TrialState.WAITING for trial in trials):
        return True
    left = updates_left(plan, trials, seconds)
    return _next_promotion(plan, trials, left) is not None or _may_begin_another(plan, trials, left)


def queue_next(plan: Plan, study: Study, trials: Sequence[FrozenTrial], seconds: float) -> None:
    """Queue the next start point that there is budget for, or else the next promotion; waiting trials come first.

    Args:
        plan: of the search.
        study: whose turn the caller has.
        trials: all attempts of the study.
        seconds: searched so far, in all sessions together.
    """
    if any(trial.state == TrialState.WAITING for trial in trials):
        return
    left = updates_left(plan, trials, seconds)
    if _has_budget_for_another(plan, trials, left) and _queue_start_point(plan, study, trials):
        return
    promoted = _next_promotion(plan, trials, left)
    if promoted is not None:
        rungs.promote(plan, study, promoted)


def _queue_start_point(plan: Plan, study: Study, trials: Sequence[FrozenTrial]) -> bool:
    """Queue the next start point that no trial has trained; False where there is none."""
    points = dict(study.user_attrs.get(START_POINTS, {}))
    # The baseline's own settings may lie beside the point that it has in the space.
    trained = [trial.params for trial in trials if BASELINE not in trial.user_attrs]
    is_queued = False
    while points and not is_queued:
        name, point = next(iter(points.items()))
        del points[name]
        if not plan.is_baseline(point) and not any(same_params(point, params) for params in trained):
            study.enqueue_trial(point, user_attrs={NAMED: name})
            is_queued = True
        study.set_user_attr(START_POINTS, points)
    return is_queued


def _next_promotion(plan: Plan, trials: Sequence[FrozenTrial], left: float) -> FrozenTrial | None:
    promoted = rungs.next_promotion(plan, trials, left)
    if promoted is None and len(plan.rungs) > 1 and not _may_begin_another(plan, trials, left):
        promoted = rungs.last_promotion(plan, trials, left)
    return promoted


def _may_begin_another(plan: Plan, trials: Sequence[FrozenTrial], left: float) -> bool:
    return _has_budget_for_another(plan, trials, left) and not is_exhausted(plan, trials)


def _has_budget_for_another(plan: Plan, trials: Sequence[FrozenTrial], left: float) -> bool:
    first = plan.rungs[0]
    if used(plan, trials) >= plan.budget or first > left:
        return False
    # Without a limit, as of thousands of trials, nothing is kept.
    return left == math.inf or first + rungs.reserve(plan, rungs.furthest_step(plan, trials), left, first) <= left


def ended_early(plan: Plan, trials: Sequence[FrozenTrial]) -> bool:
    """Return whether budget is left for another trial, but nothing else to try."""
    return _has_budget_for_another(plan, trials, updates_left(plan, trials)) and is_exhausted(plan, trials)


def is_exhausted(plan: Plan, trials: Sequence[FrozenTrial]) -> bool:
    """Return whether the sampler only suggests what was tried already; a grid has an end of its own."""
    if plan.search.sampler == "grid" or sum(map(is_repeat, trials)) < TRIED_ALREADY:  # asked of thousands, often
        return False
    lasts = sorted(counted(trials), key=origin)[-TRIED_ALREADY:]
    # Those of a space that was extended since say nothing of the present one.
    return all(map(is_repeat, lasts)) and len(trials_in_space(lasts, plan, convert=False)) == len(lasts)


def updates_left(plan: Plan, trials: Sequence[FrozenTrial], seconds: float = 0.0) -> float:
    """Return how many updates of the budget are left, without those of running trials; infinite without a limit.

    A budget of hours is as many as can be made in the rest of them, at the throughput so far.

    Args:
        plan: of the search.
        trials: all attempts of its study.
        seconds: searched so far, in all sessions together; 0 where the hours do not matter.
    """
    limit, hours = plan.search.updates, plan.search.hours
    if limit is None and (hours is None or not seconds):  # asked at every turn, of thousands of trials
        return math.inf
    spent = rungs.updates_spent(plan, trials)
    left = math.inf if limit is None else limit - spent
    if hours is not None and seconds:
        rest, made = 3600 * hours - seconds, rungs.updates_made(trials)
        if rest <= 0:
            return 0.0
        if made:
            left = min(left, made / seconds * rest - (spent - made))
    return left


def used(plan: Plan, trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials of the budget are used; of a grid, how many of its points."""
    every = counted(trials)
    if plan.search.sampler == "grid":  # those that another sampler suggested before are suggested again, and repeats
        return len({t.system_attrs[GRID_POINT] for t in every if GRID_POINT in t.system_attrs})
    return len(every)
