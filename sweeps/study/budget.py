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
    hours = plan.search.hours
    in_time = hours is None or seconds < hours * 3600
    return in_time and (_next_promotion(plan, trials) is not None or _may_begin_another(plan, trials))


def queue_next(plan: Plan, study: Study, trials: Sequence[FrozenTrial]) -> None:
    """Queue the next start point that there is budget for, or else the next promotion; waiting trials come first.

    Args:
        plan: of the search.
        study: whose turn the caller has.
        trials: all attempts of the study.
    """
    if any(trial.state == TrialState.WAITING for trial in trials):
        return
    if _has_budget_for_another(plan, trials) and _queue_start_point(plan, study, trials):
        return
    promoted = _next_promotion(plan, trials)
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


def _next_promotion(plan: Plan, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    left = updates_left(plan, trials)
    promoted = rungs.next_promotion(plan, trials, left)
    if promoted is None and len(plan.rungs) > 1 and not _may_begin_another(plan, trials):
        promoted = rungs.last_promotion(plan, trials, left)
    return promoted


def _may_begin_another(plan: Plan, trials: Sequence[FrozenTrial]) -> bool:
    return _has_budget_for_another(plan, trials) and not is_exhausted(plan, trials)


def _has_budget_for_another(plan: Plan, trials: Sequence[FrozenTrial]) -> bool:
    left, first = updates_left(plan, trials), plan.rungs[0]
    if used(plan, trials) >= plan.budget or first > left:
        return False
    # Without a limit, as of thousands of trials, nothing is kept.
    return left == math.inf or first + rungs.reserve(plan, rungs.furthest_step(plan, trials), left, first) <= left


def ended_early(plan: Plan, trials: Sequence[FrozenTrial]) -> bool:
    """Return whether budget is left for another trial, but nothing else to try."""
    return _has_budget_for_another(plan, trials) and is_exhausted(plan, trials)


def is_exhausted(plan: Plan, trials: Sequence[FrozenTrial]) -> bool:
    """Return whether the sampler only suggests what was tried already; a grid has an end of its own."""
    if plan.search.sampler == "grid" or sum(map(is_repeat, trials)) < TRIED_ALREADY:  # asked of thousands, often
        return False
    lasts = sorted(counted(trials), key=origin)[-TRIED_ALREADY:]
    # Those of a space that was extended since say nothing of the present one.
    return all(map(is_repeat, lasts)) and len(trials_in_space(lasts, plan, convert=False)) == len(lasts)


def updates_left(plan: Plan, trials: Sequence[FrozenTrial]) -> float:
    """Return how many updates of the budget are left, without those of running trials; infinite without a limit."""
    limit = plan.search.updates
    return math.inf if limit is None else limit - rungs.updates_spent(plan, trials)


def used(plan: Plan, trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials of the budget are used; of a grid, how many of its points."""
    every = counted(trials)
    if plan.search.sampler == "grid":  # those that another sampler suggested before are suggested again, and repeats
        return len({t.system_attrs[GRID_POINT] for t in every if GRID_POINT in t.system_attrs})
    return len(every)
