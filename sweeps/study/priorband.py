"""A sampler for tens of trials in tens of dimensions: random settings, the prior's, and mutations of the best so far.

PriorBand: Mallik et al. (2023), *PriorBand: Practical Hyperparameter Optimization in the Age of Deep Learning*,
arXiv 2306.12370. How often the prior is asked, and how often the best settings are mutated, follows how likely each of
the two would have suggested the best trials. Here densities are compared by their geometric mean over the dimensions,
as a product over tens of them would let one win by far. In a space without priors TPE takes the prior's place.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweeps.spec.space import Space, Value
from sweeps.study.optuna_log import experimental
from sweeps.study.suggestions import (
    KIND,
    MUTATION,
    PRIOR,
    PRIOR_STD,
    PRIOR_WEIGHT,
    RANDOM,
    TPE,
    anywhere,
    from_unit,
    to_unit,
)

RANDOM_FRACTION = 0.25  # of all suggestions; the paper's is a half on the lowest rung
MUTATED_FRACTION = 0.5  # of the dimensions of a mutation
MUTATION_STD = 0.25  # of a dimension's range
MUTATION_WEIGHT = 2.0  # of the present choice, where another has 1


class PriorBandSampler(BaseSampler):
    """Suggests one trial.

    Args:
        space: whose dimensions may have priors.
        seed: of its random numbers.
        eta: the best of so many trials are what the fractions are learned from.
        startup: trials before TPE uses a model.
    """

    def __init__(self, space: Space, seed: int, eta: int, startup: int) -> None:
        self._dimensions = {dimension.key: dimension for dimension in space}
        self._has_priors = any(dimension.prior is not None for dimension in space)
        self._rng = np.random.default_rng(seed)
        self._eta = eta
        with experimental():
            self._tpe = TPESampler(n_startup_trials=startup, multivariate=True, group=True, seed=seed % 2**32)
        self._kind = ""  # of this suggestion
        self._best: Mapping[str, Value] = {}  # parameters of the best trial

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._choose(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        return self._tpe.infer_relative_search_space(study, trial) if self._kind == TPE else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        study._storage.set_trial_user_attr(trial._trial_id, KIND, TPE)
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if KIND not in trial.user_attrs:
            study._storage.set_trial_user_attr(trial._trial_id, KIND, self._kind)
        if self._kind == TPE:
            return self._tpe.sample_independent(study, trial, param_name, param_distribution)
        if self._kind == MUTATION and param_name in self._best:
            if self._rng.random() >= MUTATED_FRACTION:
                return self._best[param_name]
            return self._near(param_distribution, self._best[param_name], MUTATION_STD, MUTATION_WEIGHT)
        prior = self._dimensions[param_name].prior
        if self._kind == RANDOM or prior is None:
            return anywhere(self._rng, param_distribution)
        return self._near(param_distribution, prior.value, PRIOR_STD[prior.confidence], PRIOR_WEIGHT[prior.confidence])

    def _choose(self, trials: Sequence[FrozenTrial]) -> None:
        """Choose what suggests this trial, and the best trial so far."""
        ranked = sorted(trials, key=lambda trial: (trial.value, trial.number))
        fractions = self.fractions(ranked)
        self._kind = str(self._rng.choice(list(fractions), p=list(fractions.values())))
        self._best = ranked[0].params if ranked else {}

    def fractions(self, ranked: Sequence[FrozenTrial]) -> dict[str, float]:
        """Return how often each way of suggesting is to be used.

        Args:
            ranked: the trials with a score, best first.
        """
        other, rest = (PRIOR if self._has_priors else TPE), 1 - RANDOM_FRACTION
        if len(ranked) < self._eta:
            return {RANDOM: RANDOM_FRACTION, other: rest}
        if not self._has_priors:
            return {RANDOM: RANDOM_FRACTION, other: rest / 2, MUTATION: rest / 2}
        top = ranked[: max(len(ranked) // self._eta, 1)]
        weights = range(len(top), 0, -1)  # the best counts most
        prior = sum(w * self._likelihood(trial, None) for w, trial in zip(weights, top, strict=True))
        mutation = sum(w * self._likelihood(trial, ranked[0].params) for w, trial in zip(weights, top, strict=True))
        return {
            RANDOM: RANDOM_FRACTION,
            PRIOR: rest * prior / (prior + mutation),
            MUTATION: rest * mutation / (prior + mutation),
        }

    def _likelihood(self, trial: FrozenTrial, best: Mapping[str, Value] | None) -> float:
        """Return the density of a trial, geometric mean over its dimensions: by the prior, or by mutations of `best`."""
        logs = []
        for key, value in trial.params.items():
            distribution, prior = trial.distributions[key], self._dimensions[key].prior
            if best is not None and key in best:
                logs.append(_log_density(distribution, value, best[key], MUTATION_STD, MUTATION_WEIGHT))
            elif best is None and prior is not None:
                std, weight = PRIOR_STD[prior.confidence], PRIOR_WEIGHT[prior.confidence]
                logs.append(_log_density(distribution, value, prior.value, std, weight))
            else:
                logs.append(_log_density(distribution, value, value, math.inf, 1.0))
        return math.exp(sum(logs) / max(len(logs), 1))

    def _near(self, distribution: BaseDistribution, value: Value, std: float, weight: float) -> Any:
        """Draw from a normal distribution around a value, cut off at the ends of its range; or a choice, weighted."""
        if isinstance(distribution, CategoricalDistribution):
            weights = np.where([choice == value for choice in distribution.choices], weight, 1.0)
            return distribution.choices[self._rng.choice(len(weights), p=weights / weights.sum())]
        middle, drawn = to_unit(distribution, value), math.nan
        while not 0 <= drawn <= 1:
            drawn = self._rng.normal(middle, std)
        return from_unit(distribution, drawn)


def _log_density(distribution: BaseDistribution, value: Any, centre: Any, std: float, weight: float) -> float:
    """Return the logarithm of a density that `PriorBandSampler._near` draws by; of a uniform one without an end."""
    if isinstance(distribution, CategoricalDistribution):
        count = len(distribution.choices)
        return math.log((weight if value == centre else 1.0) / (weight + count - 1))
    if math.isinf(std):
        return 0.0
    at, middle = to_unit(distribution, value), to_unit(distribution, centre)
    inside = (math.erf((1 - middle) / std / math.sqrt(2)) + math.erf(middle / std / math.sqrt(2))) / 2
    return -(((at - middle) / std) ** 2) / 2 - math.log(std * math.sqrt(2 * math.pi) * inside)
