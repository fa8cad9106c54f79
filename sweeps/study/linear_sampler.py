"""A sampler for tens of dimensions that learns from trials of every length: Bayesian linear regression of their scores.

The logarithm of a score is modelled as a sum: one effect for each choice, a parabola for each number, and an offset for
each length. Few trials in many dimensions tell little more than such sums. The coefficients have ridge's prior, whose
strength the evidence sets (MacKay 1992, *Bayesian interpolation*). Of many settings, drawn at random, around the priors
and around the best trials, the one is suggested that one draw of the coefficients from their posterior finds best
(Thompson 1933; Russo et al. 2018, arXiv 1707.02038). So workers that ask at once get different settings.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeps.spec.plan import Plan
from sweeps.spec.space import Dimension, Value, in_order
from sweeps.study import rungs
from sweeps.study.suggestions import KIND, LINEAR, PRIOR, PRIOR_STD, PRIOR_WEIGHT, RANDOM, anywhere, from_unit, to_unit

RANDOM_FRACTION = 0.2  # of the suggestions, which no model chooses
ANYWHERE, AROUND = 300, 200  # settings that the model chooses from: at random; around the best trials, and priors
BEST = 5  # trials that settings are drawn around
CHANGED = 0.25  # of the dimensions of such a setting
CHANGED_STD = 0.15  # of a changed number, in its range
# Trials of earlier studies (search.learn_from) count as those of one more length, and less than the shortest.
EARLIER, EARLIER_WEIGHT = 0, 0.5
FIXED = "fixed_params"  # Optuna's attribute of a trial that was enqueued with its settings


Scored = tuple[Mapping[str, Value], Mapping[int, float]]  # settings, and their scores by step


class LinearSampler(BaseSampler):
    """Suggests one trial.

    Args:
        plan: of the search.
        seed: of its random numbers.
        startup: settings with a score, of this study or earlier ones, before the model is used.
    """

    def __init__(self, plan: Plan, seed: int, startup: int) -> None:
        self._plan, self._startup = plan, startup
        self._dimensions = in_order(plan.space)
        self._rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {dimension.key: dimension.distribution for dimension in self._dimensions}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if FIXED in trial.system_attrs:  # nothing of it is to be suggested
            return {}
        trials = study.get_trials(deepcopy=False)
        scored = rungs.scored_settings(self._plan, trials)
        kind, params = self._suggest(scored, _of_earlier_studies(trials, scored))
        study._storage.set_trial_user_attr(trial._trial_id, KIND, kind)
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return anywhere(self._rng, param_distribution)

    def _suggest(self, current: Sequence[Scored], earlier: Sequence[Scored]) -> tuple[str, dict[str, Any]]:
        """Return what suggests settings, and a value for every dimension that means something with them.

        Args:
            current: settings of this study and their scores by step, the longest first and of one length the lowest score.
            earlier: settings of other studies, the best first.
        """
        scored = [*current, *earlier]
        has_priors = any(dimension.prior is not None for dimension in self._dimensions)
        if len(scored) < self._startup or self._rng.random() < RANDOM_FRACTION:
            if has_priors and self._rng.random() < 0.5:
                return PRIOR, self._settings(self._around_priors(1))
            return RANDOM, self._settings(self._anywhere(1))
        best = [self._point(params) for params, _ in scored[:BEST]]
        drawn = [self._anywhere(ANYWHERE), *(self._around(point, AROUND // len(best)) for point in best)]
        drawn += [self._around_priors(AROUND)] if has_priors else []
        points = self._without_inactive(self._on_values(np.concatenate(drawn)))
        tried = {key for params, _ in current for key in _keys(self._point(params)[None])}
        fresh = np.array([key not in tried for key in _keys(points)])
        points = points[fresh] if fresh.any() else points  # a small space may have no others
        predicted = self._features(points) @ self._effects(scored)
        return LINEAR, self._settings(points[[np.argmin(predicted)]])

    def _effects(self, scored: Sequence[Scored]) -> np.ndarray:
        """Return the effects of the features on the logarithm of the score: one draw from their posterior."""
        from sklearn.linear_model import BayesianRidge  # takes a second to import

        features = self._features(np.array([self._point(params) for params, _ in scored]))
        lengths = {EARLIER: EARLIER_WEIGHT}  # and their weights: the longer, the nearer to what is searched for
        lengths |= {step: 2.0**rung for rung, step in enumerate(self._plan.rungs)}
        rows, scores, weights = [], [], []
        for row, (_, by_step) in zip(features, scored, strict=True):
            for (step, weight), offset in zip(lengths.items(), np.eye(len(lengths)), strict=True):
                if step in by_step:
                    rows.append(np.concatenate([row, offset]))
                    scores.append(by_step[step])
                    weights.append(weight)
        finite = np.isfinite(scores)
        logs = np.log(np.where(finite, scores, np.max(np.array(scores)[finite], initial=1.0)))
        model = BayesianRidge().fit(np.array(rows), logs, sample_weight=weights)
        drawn = self._rng.multivariate_normal(model.coef_, model.sigma_, method="eigh")
        return drawn[: features.shape[1]]

    # Points are arrays, (points, dimensions): of a number its place in the range, of a choice its index; NaN for none.

    def _anywhere(self, count: int) -> np.ndarray:
        columns = [self._rng.random(count) for _ in self._dimensions]
        for column, dimension in zip(columns, self._dimensions, strict=True):
            if choices := _choices(dimension):
                column[:] = np.floor(column * len(choices))
        return np.stack(columns, axis=1)

    def _around(self, point: np.ndarray, count: int) -> np.ndarray:
        """Draw points that differ from one in a few dimensions."""
        points = self._anywhere(count)
        for column, at, dimension in zip(points.T, point, self._dimensions, strict=True):
            if np.isnan(at):
                continue
            if not _choices(dimension):
                column[:] = np.clip(at + self._rng.normal(0, CHANGED_STD, count), 0, 1)
            column[self._rng.random(count) >= CHANGED] = at
        return points

    def _around_priors(self, count: int) -> np.ndarray:
        """Draw points as surely near the priors as these are sure."""
        points = self._anywhere(count)
        for column, dimension in zip(points.T, self._dimensions, strict=True):
            if (prior := dimension.prior) is None:
                continue
            if choices := _choices(dimension):
                weights = np.where([choice == prior.value for choice in choices], PRIOR_WEIGHT[prior.confidence], 1.0)
                column[:] = self._rng.choice(len(choices), count, p=weights / weights.sum())
            else:
                middle = to_unit(dimension.distribution, prior.value)
                column[:] = np.clip(self._rng.normal(middle, PRIOR_STD[prior.confidence], count), 0, 1)
        return points

    def _on_values(self, points: np.ndarray) -> np.ndarray:
        """Move points of ranges with steps to the places of their values, so that equal settings are equal points."""
        for column, dimension in zip(points.T, self._dimensions, strict=True):
            d = dimension.distribution
            if not _choices(dimension) and getattr(d, "step", None) is not None:
                column[:] = [to_unit(d, from_unit(d, at)) for at in column]
        return points

    def _point(self, params: Mapping[str, Value]) -> np.ndarray:
        point = np.full(len(self._dimensions), math.nan)
        for k, dimension in enumerate(self._dimensions):
            if dimension.key in params:
                value, choices = params[dimension.key], _choices(dimension)
                point[k] = choices.index(value) if choices else to_unit(dimension.distribution, value)
        return point

    def _without_inactive(self, points: np.ndarray) -> np.ndarray:
        """Set to NaN what means nothing beside the other values of a point."""
        places = {dimension.key: k for k, dimension in enumerate(self._dimensions)}
        points = points.copy()
        for k, dimension in enumerate(self._dimensions):  # each after those that its conditions name
            for condition in dimension.conditions:
                named = self._dimensions[place := places[condition.key]]
                column, choices = points[:, place], _choices(named)
                if choices:
                    holds = np.array([*map(condition.holds, choices)])[np.nan_to_num(column).astype(int)]
                else:
                    holds = np.array([condition.holds(_value(named, at)) for at in np.nan_to_num(column)])
                points[np.isnan(column) | ~holds, k] = math.nan
        return points

    def _features(self, points: np.ndarray) -> np.ndarray:
        """Return a column for each choice and two for each number, all 0 where a dimension means nothing."""
        columns = []
        for column, dimension in zip(points.T, self._dimensions, strict=True):
            if choices := _choices(dimension):
                made = [(column == index) - 1 / len(choices) for index in range(len(choices))]
            else:
                made = [column - 0.5, (column - 0.5) ** 2 - 1 / 12]
            columns += [np.where(np.isnan(column), 0.0, each) for each in made]
        return np.stack(columns, axis=1)

    def _settings(self, point: np.ndarray) -> dict[str, Any]:
        """Return the values of one point, (1, dimensions)."""
        return {
            dimension.key: _value(dimension, at)
            for dimension, at in zip(self._dimensions, self._without_inactive(point)[0], strict=True)
            if not np.isnan(at)
        }


def _of_earlier_studies(trials: Sequence[FrozenTrial], current: Sequence[Scored]) -> list[Scored]:
    """Return the settings of other studies, the best first, with scores as far apart as those of this one.

    Their ranks are all that is known: each has the score of its rank in a normal distribution.
    """
    ranked = sorted((trial.values[0], trial.number, trial.params) for trial in trials if trial.number < 0)
    scores = [scores[min(scores)] for _, scores in current]
    logs = np.log([score for score in scores if math.isfinite(score)])
    standard_deviation = float(np.std(logs)) if len(logs) > 1 else 1.0
    return [
        (params, {EARLIER: math.exp(standard_deviation * NormalDist().inv_cdf(rank))}) for rank, _, params in ranked
    ]


def _choices(dimension: Dimension) -> Sequence[Value]:
    """Return the choices of a dimension; none of numbers."""
    d = dimension.distribution
    return d.choices if isinstance(d, CategoricalDistribution) else ()


def _keys(points: np.ndarray) -> list[bytes]:
    """Return for each point what it has in common with the same one but for rounding."""
    return [row.tobytes() for row in np.round(np.nan_to_num(points, nan=-1.0), 9) + 0.0]  # -0 is 0


def _value(dimension: Dimension, at: float) -> Value:
    choices = _choices(dimension)
    return choices[int(at)] if choices else from_unit(dimension.distribution, float(at))
