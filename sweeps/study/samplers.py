"""The samplers that suggest the next trial: Optuna's and two of our own, shown all trials in the current space."""

import copy
import importlib.util
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from gan.errors import ConfigError
from sweeps.spec.plan import LEARNING, Plan
from sweeps.spec.space import active, is_in_distribution, remove_float_error, same_value
from sweeps.study import rungs
from sweeps.study.learned import LEARNED, earlier_trials, with_learned
from sweeps.study.linear_sampler import LinearSampler
from sweeps.study.optuna_log import experimental
from sweeps.study.priorband import PriorBandSampler

STARTUP_TRIALS = 8  # suggested at random before TPE or GP use a model
MODEL_BASED = (*LEARNING, "cmaes")  # samplers that learn from earlier trials
EXTRAS = {"cmaes": "cmaes", "gp": "torch"}  # packages that samplers need beside Optuna, the extras of pyproject.toml


def check_sampler(name: str) -> None:
    """Check that the package of a sampler is installed.

    Raises:
        ConfigError: where it is not.
    """
    if name in EXTRAS and importlib.util.find_spec(EXTRAS[name]) is None:
        raise ConfigError("search.sampler", "one that is installed", name, f'pip install -e ".[{name}]"')


def make_sampler(plan: Plan, number: int) -> BaseSampler:
    """Return the sampler for the next trial.

    A new one is made for each trial, so that a suggestion depends on the trials before it, and not on when the search was
    last started or which worker is free. Those that no model makes depend on their number alone.

    Args:
        plan: of the search.
        number: how many trials the study has; workers take turns, so no two of them ask with the same one.
    """
    search, space = plan.search, plan.space
    seed = int(np.random.SeedSequence([search.seed, 0, number]).generate_state(1)[0])
    makers: dict[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: TPESampler(
            n_startup_trials=STARTUP_TRIALS,
            multivariate=True,
            group=any(dimension.conditions for dimension in space),
            seed=seed,
        ),
        "priorband": lambda: PriorBandSampler(space, seed, search.eta, STARTUP_TRIALS),
        "linear": lambda: LinearSampler(plan, seed, STARTUP_TRIALS),
        "random": lambda: RandomSampler(seed),
        # Grid, QMC and CMA-ES each go through one sequence that all workers share.
        "grid": lambda: DecimalGridSampler({d.key: d.grid() for d in space}, search.seed % 2**32),
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
        return CurrentSpaceSampler(makers[search.sampler](), plan)


class CurrentSpaceSampler(BaseSampler):
    """A wrapper around a sampler: it converts all trials to the current space, and rounds suggestions to clean decimals.

    Optuna models only those parameters jointly that had the same distribution in all trials. After
    search.extend=true it would sample a dimension with another interval independently, for good.
    So trials are shown as if they had been suggested in the current space, and those outside of it not at all.

    A sampler that learns from scores sees those of one rung alone, where trials are promoted; the linear one all. It
    sees trials that failed by their settings as the worst.

    Args:
        sampler: one of Optuna's, or of our own.
        plan: of the search, with the current space.
    """

    def __init__(self, sampler: BaseSampler, plan: Plan) -> None:
        self._sampler, self._plan, self._space = sampler, plan, plan.space
        self._dimensions = {dimension.key: dimension for dimension in plan.space}
        self._learns = plan.search.sampler in LEARNING
        self._earlier: list[FrozenTrial] | None = None  # trials of other studies
        # The linear model tells lengths apart by itself.
        self._at_one_rung = len(plan.rungs) > 1 and self._learns and not isinstance(sampler, LinearSampler)
        # CMA-ES stores its state in coordinates of the space that a trial was suggested in.
        self._convert = not isinstance(sampler, CmaEsSampler)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        space = self._sampler.infer_relative_search_space(self._view(study), trial)
        if isinstance(self._sampler, GPSampler):  # it needs a value of every trial, those of earlier studies too
            return {key: space[key] for key in space if not self._dimensions[key].conditions}
        return space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        values = self._sampler.sample_relative(self._view(study), trial, search_space)
        return {key: self._dimensions[key].remove_float_error(value) for key, value in values.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        value = self._sampler.sample_independent(self._view(study), trial, param_name, param_distribution)
        return self._dimensions[param_name].remove_float_error(value)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()

    def _view(self, study: Study) -> Study:
        """Return a copy of a study whose trials are all in the current space, after those that it learns from."""
        view = copy.copy(study)
        if self._learns and self._earlier is None:  # once for a sampler, which is asked for each dimension
            self._earlier = earlier_trials(study.user_attrs.get(LEARNED, {}), self._space)
        earlier = self._earlier

        def get_trials(
            deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
        ) -> list[FrozenTrial]:
            trials = study._get_trials(deepcopy, None, use_cache)
            if self._at_one_rung:
                trials = rungs.at_one_rung(self._plan.rungs, trials, STARTUP_TRIALS)
            if self._learns:
                trials = rungs.with_failures(trials)
            trials = [trial for trial in trials if states is None or trial.state in states]
            trials = trials_in_space(trials, self._plan, self._convert)
            if earlier and (states is None or TrialState.COMPLETE in states):
                trials = with_learned(trials, earlier)
            return trials

        # Replaced on the copy and not in a subclass, as Optuna itself makes its studies.
        view.get_trials = view._get_trials = get_trials  # type: ignore[method-assign]
        return view


def trials_in_space(trials: Sequence[FrozenTrial], plan: Plan, convert: bool = True) -> list[FrozenTrial]:
    """Return trials as if they had been suggested in the space of a plan.

    Args:
        trials: of a study that may have been extended since.
        plan: with the current space.
        convert: whether distributions may be replaced by those of the space.

    Returns:
        The trials themselves that are running or have the distributions of the space. Of the others copies with these,
        without those whose values are outside of the space, or differ in what is no longer searched; none of the others
        where `convert` is False. Dimensions that mean nothing beside a trial's other values are in none.
    """
    space, values_before_extension = plan.space, plan.values_before_extension
    of_space = {dimension.key: dimension.distribution for dimension in space}
    shown = []
    for trial in trials:
        values = active(space, {**values_before_extension, **trial.params})
        distributions: dict[str, BaseDistribution] = {key: of_space[key] for key in values}
        if not trial.state.is_finished() or trial.distributions == distributions:
            shown.append(trial)
            continue
        is_whole = all(dimension.key in values or not dimension.is_active(values) for dimension in space)
        is_whole &= plan.is_baseline({key: value for key, value in trial.params.items() if key not in of_space})
        if convert and is_whole and all(is_in_distribution(distributions[key], values[key]) for key in distributions):
            converted = copy.copy(trial)
            converted.params = values
            converted.distributions = distributions
            shown.append(converted)
    return shown


def without_float_errors(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy of a trial without the errors of floating point that older studies have in values of ranges."""
    copied = copy.copy(trial)
    copied.params = {key: remove_float_error(trial.distributions[key], value) for key, value in trial.params.items()}
    return copied


class DecimalGridSampler(GridSampler):
    """A grid sampler that recognises its grid in an older study, whose values may differ by rounding."""

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Do nothing, as the budget ends the search: Optuna's stops the study, also where a lost trial is ended.

        Args:
            study: of the trial.
            trial: that is over.
            state: its own.
            values: its score.
        """

    @staticmethod
    def _grid_value_equal(value1: Any, value2: Any) -> bool:
        return same_value(value1, value2)
