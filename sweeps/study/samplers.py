"""What suggests the next trial: Optuna's samplers, and what they are shown of a study."""

import copy
import importlib.util
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from gan.errors import ConfigError
from sweeps.spec.plan import Plan
from sweeps.spec.space import Space, Value, clean, same_value
from sweeps.study.optuna_log import experimental

STARTUP_TRIALS = 8  # at random, before TPE models anything

MODELS = ("tpe", "gp", "cmaes")  # samplers that learn from earlier trials
EXTRAS = {"cmaes": "cmaes", "gp": "torch"}  # packages that samplers need beside Optuna


def check_sampler(name: str) -> None:
    """Raises ConfigError where its package is not installed."""
    if name in EXTRAS and importlib.util.find_spec(EXTRAS[name]) is None:
        raise ConfigError("search.sampler", "one that is installed", name, f'pip install -e ".[{name}]"')


def make_sampler(plan: Plan, worker: int, number: int) -> BaseSampler:
    """What suggests the next trial, when a study has `number` of them.

    Made anew for each, so that a suggestion depends on the trials before it and not on
    when the search was last started; no two workers draw the same numbers.
    """
    search, space = plan.search, plan.space
    seed = int(np.random.SeedSequence([search.seed, worker, number]).generate_state(1)[0])
    makers: dict[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: TPESampler(n_startup_trials=STARTUP_TRIALS, multivariate=True, seed=seed),
        "random": lambda: RandomSampler(seed),
        # These two and CMA-ES go through one sequence that all workers share.
        "grid": lambda: DecimalGridSampler({d.key: d.grid() for d in space}, search.seed),
        "qmc": lambda: QMCSampler(
            scramble=True,
            seed=search.seed % 2**32,
            independent_sampler=RandomSampler(seed),
            warn_asynchronous_seeding=False,
        ),
        "cmaes": lambda: CmaEsSampler(seed=seed, n_startup_trials=1, independent_sampler=RandomSampler(seed)),
        "gp": lambda: GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
    }
    with experimental():
        return InSpace(makers[search.sampler](), space, plan.former)


class InSpace(BaseSampler):
    """Another sampler, with all trials in one space and clean decimals as suggestions.

    Optuna models together only what had the same distribution in all trials: after search.extend=true a dimension with
    another interval would be suggested on its own for good. So trials are shown as if they had been suggested in the
    present space, and those outside of it not at all.
    """

    def __init__(self, sampler: BaseSampler, space: Space, former: Mapping[str, Value]) -> None:
        """
        Args:
            sampler: of Optuna.
            space: the present one.
            former: of dimensions that trials before an extension had no other value of, that value.
        """
        self._sampler, self._space, self._former = sampler, space, former
        self._clean = {dimension.key: dimension.clean for dimension in space}
        self._moves = not isinstance(sampler, CmaEsSampler)  # which keeps its state in coordinates of the former space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(self._view(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        values = self._sampler.sample_relative(self._view(study), trial, search_space)
        return {key: self._clean[key](value) for key, value in values.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        value = self._sampler.sample_independent(self._view(study), trial, param_name, param_distribution)
        return self._clean[param_name](value)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()

    def _view(self, study: Study) -> Study:
        view = copy.copy(study)

        def get_trials(
            deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
        ) -> list[FrozenTrial]:
            trials = study._get_trials(deepcopy, states, use_cache)
            return [seen for each in trials if (seen := in_space(each, self._space, self._former, self._moves))]

        # Not methods of a subclass, as Optuna makes its studies itself.
        view.get_trials = view._get_trials = get_trials  # type: ignore[method-assign]
        return view


def in_space(trial: FrozenTrial, space: Space, former: Mapping[str, Value], moves: bool = True) -> FrozenTrial | None:
    """A trial as if it had been suggested in a space; None where its settings are not in it.

    Args:
        trial: of a study that may have been extended since.
        space: the present one.
        former: values of dimensions that the trial is older than.
        moves: whether it may be shown with other distributions than it had.
    """
    present = {dimension.key: dimension.distribution for dimension in space}
    if not trial.state.is_finished() or trial.distributions == present:
        return trial
    params = {key: trial.params.get(key, former.get(key)) for key in present}
    known = trial.params.keys() | former.keys() >= present.keys()
    if not (moves and known and all(is_in(each, params[key]) for key, each in present.items())):
        return None
    seen = copy.copy(trial)
    seen.params, seen.distributions = params, present
    return seen


def clean_trial(trial: FrozenTrial) -> FrozenTrial:
    """A trial without the errors of floating point that studies of before have in the values of ranges."""
    seen = copy.copy(trial)
    seen.params = {key: clean(trial.distributions[key], value) for key, value in trial.params.items()}
    return seen


def is_in(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value may come of a distribution; within an interval, of a range with other steps too."""
    if isinstance(distribution, FloatDistribution):
        if not isinstance(value, int | float):
            return False
        nearest = min(max(value, distribution.low), distribution.high)
        return same_value(float(value), nearest)
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # no such choice
        return False


class DecimalGridSampler(GridSampler):
    """Takes a grid for the same though its values were once written with the errors of floating point."""

    @staticmethod
    def _grid_value_equal(value1: Any, value2: Any) -> bool:
        return same_value(value1, value2)
