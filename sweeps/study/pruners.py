"""Pruners: they compare the in-run scores of a trial with those of others at the same step.

sweeps/workers/objective.py asks them after each score, and ends the trial.
"""

import copy
from collections.abc import Container
from typing import Any

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweeps.spec.plan import Plan
from sweeps.study.attempts import counted, origin


class CountedPruner(BasePruner):
    """A wrapper around a pruner that shows it each suggestion once, however many attempts the suggestion took."""

    def __init__(self, pruner: BasePruner) -> None:
        self._pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether the wrapped pruner would prune the trial."""
        view = copy.copy(study)
        # Replaced on the copy and not in a subclass, as Optuna itself makes its studies.
        view.get_trials = lambda *args, **options: counted_trials(study, *args, **options)  # type: ignore[method-assign]
        return self._pruner.prune(view, trial)


class SuggestionHyperbandPruner(HyperbandPruner):
    """Hyperband whose brackets are of suggestions, not of attempts; it compares the trials that a study shows it.

    Optuna's asks the database, which has all attempts, and a requeued trial may change its bracket.
    """

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        suggestion = copy.copy(trial)
        suggestion.number = origin(trial)
        return super()._get_bracket_id(study, suggestion)

    def _create_bracket_study(self, study: Study, bracket_id: int) -> Study:
        def get_trials(*args: Any, **options: Any) -> list[FrozenTrial]:
            trials = study.get_trials(*args, **options)
            return [trial for trial in trials if self._get_bracket_id(study, trial) == bracket_id]

        view = copy.copy(study)
        view.get_trials = get_trials  # type: ignore[method-assign]
        return view


def counted_trials(
    study: Study, deepcopy: bool = True, states: Container[TrialState] | None = None
) -> list[FrozenTrial]:
    """Return the trials of a study without attempts that a later trial resumed.

    Args:
        study: that has them.
        deepcopy: whether they are copies, which the caller may change.
        states: those of the trials to return; by default all.
    """
    trials = counted(study.get_trials(deepcopy=deepcopy))
    return [trial for trial in trials if states is None or trial.state in states]


def make_pruner(plan: Plan) -> BasePruner:
    """Return the pruner of a plan. The first trials that it prunes end at about a third of search.steps."""
    search, every_steps = plan.search, plan.config.eval.every_steps
    third = max(round(search.steps / 3 / every_steps), 1) * every_steps  # the step of the score nearest to a third
    pruner: BasePruner = {
        # The worse half ends at a third of the steps, and half of the others at two thirds.
        "halving": SuccessiveHalvingPruner(min_resource=third, reduction_factor=2),
        "median": MedianPruner(n_startup_trials=4, n_warmup_steps=third - 1),
        "hyperband": SuggestionHyperbandPruner(min_resource=third, max_resource=search.steps, reduction_factor=2),
        "none": NopPruner(),
        "asha": NopPruner(),  # trials are paused and promoted: sweeps/study/rungs.py
    }[search.pruner]
    return CountedPruner(pruner)
