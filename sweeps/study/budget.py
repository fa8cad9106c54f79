"""The budget of a search: how many trials are used, and whether another may begin."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from sweeps.spec.plan import Plan
from sweeps.study.attempts import BASELINE, counted, is_repeat


def may_begin(plan: Plan, trials: Sequence[FrozenTrial], seconds: float) -> bool:
    """Return whether a trial waits to be resumed, or there is budget for another.

    Args:
        plan: of the search.
        trials: all attempts of its study.
        seconds: searched so far, in all sessions together.
    """
    if any(trial.state == TrialState.WAITING for trial in trials):
        return True
    hours = plan.search.hours
    in_time = hours is None or seconds < hours * 3600
    return in_time and used(plan, trials) < plan.budget


def used(plan: Plan, trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials of the budget are used; of a grid, how many of its points."""
    every = counted(trials)
    if plan.search.sampler == "grid":
        every = [t for t in every if not is_repeat(t) and BASELINE not in t.user_attrs]
    return len(every)
