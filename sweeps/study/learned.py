"""What earlier studies learned, as a study keeps it and as a sampler sees it (search.learn_from).

Only the ranks of earlier trials are kept, as their scores may be of other images or lengths. A sampler sees ranks of the
study's own trials beside them; the linear one sees scores that the earlier ones would have at their ranks. So the earlier trials guide its first suggestions, and weigh the less the more trials the
study has of its own. They are in no other count.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.spec.space import Space, Value, active, is_in_distribution

LEARNED = "learned"  # attribute of a study: by name of an earlier one, its trials' parameters, best first
Learned = Mapping[str, Sequence[Mapping[str, Value]]]


def earlier_trials(learned: Learned, space: Space) -> list[FrozenTrial]:
    """Return the trials of earlier studies that are in a space; their values are ranks within a study, in (0, 1)."""
    of_space = {dimension.key: dimension.distribution for dimension in space}
    earlier: list[FrozenTrial] = []
    for settings in learned.values():
        inside = [values for values in (active(space, each) for each in settings) if is_inside(space, values)]
        for place, values in enumerate(inside):
            earlier.append(
                create_trial(
                    value=(place + 0.5) / len(inside),
                    params=values,
                    distributions={key: of_space[key] for key in values},
                )
            )
    for number, trial in enumerate(earlier):
        trial.number = number - len(earlier)  # before the study's own, which begin at 0
    return earlier


def with_learned(trials: Iterable[FrozenTrial], earlier: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials of earlier studies, and then a study's own with ranks in place of scores."""
    current = list(trials)
    complete = sorted(t.value for t in current if t.state == TrialState.COMPLETE and t.value is not None)
    return [*earlier, *(_ranked(trial, complete) for trial in current)]


def is_inside(space: Space, values: Mapping[str, Value]) -> bool:
    """Return whether a space has these values, and they are all that it needs."""
    return all(
        is_in_distribution(dimension.distribution, values[dimension.key])
        if dimension.key in values
        else not dimension.is_active(values)
        for dimension in space
    )


def _ranked(trial: FrozenTrial, complete: Sequence[float]) -> FrozenTrial:
    if trial.state != TrialState.COMPLETE:
        return trial
    trial = copy.copy(trial)
    trial.values = [(complete.index(trial.values[0]) + 0.5) / len(complete)]
    return trial
