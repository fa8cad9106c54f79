"""Trials as rows of a page's table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from experiments.settings.text import brief
from experiments.tracking.delivery import Delivery
from sweeps.spec.plan import Plan
from sweeps.spec.space import name_values
from sweeps.study import attempts, rungs

BEST_PAUSED = 3  # that are named


def steps_of(trial: FrozenTrial) -> int:
    """Return the step of a trial's last score."""
    return max(trial.intermediate_values, default=0)


def last_score(trial: FrozenTrial) -> float | None:
    """Return the score of a complete trial, of another the last that it had; None where it had none."""
    return trial.value if trial.state == TrialState.COMPLETE else trial.intermediate_values.get(steps_of(trial))


def words(plan: Plan, trial: FrozenTrial) -> str:
    """Return a trial in a line: its score, state and settings."""
    settings = name_values(attempts.shown_params(plan, trial))
    state = attempts.state_name(trial).word
    parts = [brief(last_score(trial)), state if state == "complete" else f"{state} at step {steps_of(trial):,}"]
    return f"trial {attempts.origin(trial)}: {', '.join([*filter(None, parts), *settings])}"


def by_score(trial: FrozenTrial) -> tuple[bool, int, float, int]:
    """Return a key that sorts complete trials first, then the others, the longest first; of one length the best first."""
    complete = trial.state == TrialState.COMPLETE
    steps = 0 if complete else steps_of(trial)
    score = last_score(trial)
    return not complete, -steps, math.inf if score is None else score, trial.number


def row(plan: Plan, trial: FrozenTrial) -> dict[str, Any]:
    """Return what a page shows of a trial."""
    run = attempts.run_of(plan, trial)
    return {
        "origin": attempts.origin(trial),
        "words": words(plan, trial),
        "state": attempts.state_name(trial).word,
        "score": last_score(trial),
        "steps": steps_of(trial),
        "params": attempts.shown_params(plan, trial),
        "outcome": _why_it_ended(trial),
        "url": Delivery(run).url if run.config.is_file() else None,
    }


def _why_it_ended(trial: FrozenTrial) -> str:
    """Return what its state does not say of how a trial ended."""
    outcome = str(trial.user_attrs.get(attempts.OUTCOME, ""))
    return "" if outcome == attempts.COMPLETE or attempts.paused_at(trial) is not None else outcome


@dataclass(frozen=True)
class RungRow:
    """What became of the trials at one length."""

    step: int
    came: int  # trials with a score there
    promoted: int  # that train or trained on
    paused: int
    best: list[dict[str, Any]]  # rows of the best ones that are paused here


def rung_rows(plan: Plan, every: Sequence[FrozenTrial]) -> list[RungRow]:
    """Return a row for each rung; none where trials do not grow.

    Args:
        plan: of the search.
        every: all attempts of its study.
    """
    if len(plan.rungs) == 1:
        return []
    trials = [t for t in attempts.counted(every) if not attempts.is_baseline(plan, t) and not attempts.is_repeat(t)]
    of_trials = [trial for trial in every if not attempts.is_baseline(plan, trial)]
    counts, came_to = rungs.counts(plan.rungs, of_trials), [rungs.rung_of(plan, trial) for trial in trials]
    made = []
    for number, step in enumerate(plan.rungs):
        paused = sorted((t for t in trials if attempts.paused_at(t) == step), key=by_score)
        promoted = sum(rung > number for rung in came_to)
        best = [row(plan, trial) for trial in paused[:BEST_PAUSED]]
        made.append(RungRow(step, counts[step], promoted, len(paused), best))
    return made
