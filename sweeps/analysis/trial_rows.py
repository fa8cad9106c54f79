"""Trials as rows of a page's table."""

import math
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from experiments.tracking.delivery import Delivery
from sweeps.spec.plan import Plan
from sweeps.study import attempts


def steps_of(trial: FrozenTrial) -> int:
    """Return the step of a trial's last score."""
    return max(trial.intermediate_values, default=0)


def by_score(trial: FrozenTrial) -> tuple[bool, int, float, int]:
    """Return a key that sorts complete trials first, then the others, the longest first; of one length the best first."""
    complete = trial.state == TrialState.COMPLETE
    steps = 0 if complete else steps_of(trial)
    score = trial.value if complete else trial.intermediate_values.get(steps)
    return not complete, -steps, math.inf if score is None else score, trial.number


def row(plan: Plan, trial: FrozenTrial) -> dict[str, Any]:
    """Return what a page shows of a trial."""
    run = attempts.run_of(plan, trial)
    return {
        "origin": attempts.origin(trial),
        "state": attempts.state_name(trial).lower(),
        "score": trial.value if trial.state == TrialState.COMPLETE else None,
        "last": trial.intermediate_values.get(steps_of(trial)),  # what the score would be if it had ended there
        "steps": steps_of(trial),
        "params": attempts.shown_params(plan, trial),
        "outcome": _why_it_ended(trial),
        "url": Delivery(run).url if run.config.is_file() else None,
    }


def _why_it_ended(trial: FrozenTrial) -> str:
    """Return what its state does not say of how a trial ended."""
    outcome = str(trial.user_attrs.get(attempts.OUTCOME, ""))
    return "" if outcome == "complete" or attempts.paused_at(trial) is not None else outcome
