"""The budget of a search: how much is used, and what may begin with the rest."""

import math
from collections.abc import Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweeps.spec.plan import Plan
from sweeps.study import rungs
from sweeps.study.attempts import BASELINE, NAMED, counted, is_repeat

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
    if _may_begin_another(plan, trials) and _queue_start_point(study, len(trials)):
        return
    promoted = _next_promotion(plan, trials)
    if promoted is not None:
        rungs.promote(plan, study, promoted)


def _queue_start_point(study: Study, count: int) -> bool:
    """Queue the next start point that is not among the study's trials, `count` in number; False where there is none."""
    points = dict(study.user_attrs.get(START_POINTS, {}))
    while points:
        name = next(iter(points))
        study.enqueue_trial(points.pop(name), user_attrs={NAMED: name}, skip_if_exists=True)
        study.set_user_attr(START_POINTS, points)
        if len(study.get_trials(deepcopy=False)) > count:
            return True
    return False


def _next_promotion(plan: Plan, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    return rungs.next_promotion(plan, trials, updates_left(plan, trials))


def _may_begin_another(plan: Plan, trials: Sequence[FrozenTrial]) -> bool:
    return used(plan, trials) < plan.budget and plan.rungs[0] <= updates_left(plan, trials)


def updates_left(plan: Plan, trials: Sequence[FrozenTrial]) -> float:
    """Return how many updates of the budget are left, without those of running trials; infinite without a limit."""
    limit = plan.search.updates
    return math.inf if limit is None else limit - rungs.updates_spent(plan, trials)


def used(plan: Plan, trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials of the budget are used; of a grid, how many of its points."""
    every = counted(trials)
    if plan.search.sampler == "grid":
        every = [t for t in every if not is_repeat(t) and BASELINE not in t.user_attrs]
    return len(every)
