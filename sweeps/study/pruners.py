"""What compares a trial's scores on the way with those of others at the same step."""

import copy
from collections.abc import Container

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweeps.spec.plan import Plan
from sweeps.study.attempts import counted


class CountedPruner(BasePruner):
    """Another pruner that sees each suggestion once, however many attempts it took."""

    def __init__(self, pruner: BasePruner) -> None:
        self._pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        view = copy.copy(study)
        # Not a method of a subclass, as Optuna makes its studies itself.
        view.get_trials = lambda *args, **options: counted_of(study, *args, **options)  # type: ignore[method-assign]
        return self._pruner.prune(view, trial)


def counted_of(study: Study, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
    """`Study.get_trials` without those that another attempt took up again."""
    trials = counted(study.get_trials(deepcopy=deepcopy))
    return [trial for trial in trials if states is None or trial.state in states]


def make_pruner(plan: Plan) -> BasePruner:
    """What compares a trial's scores on the way with those of others at the same step."""
    search, every = plan.search, plan.config.eval.every_steps
    third = max(round(search.steps / 3 / every), 1) * every  # the score that is nearest to it
    pruner: BasePruner = {
        # The worse half ends at a third of the way, and half of the others at two thirds.
        "halving": SuccessiveHalvingPruner(min_resource=third, reduction_factor=2),
        "median": MedianPruner(n_startup_trials=4, n_warmup_steps=third - 1),
        "hyperband": HyperbandPruner(min_resource=third, max_resource=search.steps, reduction_factor=2),
        "none": NopPruner(),
    }[search.pruner]
    return CountedPruner(pruner)
