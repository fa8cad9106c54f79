"""How soon a search finds good settings: searches of several kinds on a table of real trainings.

    python benchmarks/search_efficiency.py [table=docs/results/search_table.csv] [searches=100] [updates=40000] [at_once=2]

Boosted shallow trees learn the scores of benchmarks/search_table.py. First this prints how well they rank settings that they
did not see, beside how well one seed of some settings ranks another: trees without errors would have the root of that. Then
each kind of search runs `searches` times on this model. Noise as large as that between seeds is added to the scores. The
searches are compared by the noise-free score of the settings that they would return.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations
from pathlib import Path
from statistics import median

import numpy as np
import optuna
from arguments import arguments
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from search_table import BASELINE_WIDTHS, DIVERGED, SCORED, SPACE
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import GroupKFold
from sklearn.multioutput import MultiOutputRegressor

from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.spec.schema import MOST_TRIALS
from sweeps.spec.space import Dimension, Prior, Space, Value, active, sampled_params
from sweeps.study import attempts, rungs, samplers
from sweeps.study.pruners import make_pruner
from sweeps.study.suggestions import from_unit, to_unit

ROOT = Path(__file__).resolve().parents[1]
LOST = 300.0  # the score of a training that diverged
# Among few trainings of many dimensions, forests of deep trees ranked worse.
BOOSTING = {"n_estimators": 300, "max_depth": 2, "learning_rate": 0.05, "subsample": 0.5, "max_features": 0.3}
FOLDS = 5
FORMER = "TPE, halving (the default until 0.2)"
KINDS = {  # by name: settings of the search, and its priors
    "random, halving": (["search.sampler=random", "search.pruner=halving"], "none"),
    # Each names its sampler: that of search=levers is another one.
    "TPE, median": (["search.sampler=tpe", "search.pruner=median"], "none"),
    "TPE, hyperband": (["search.sampler=tpe", "search.pruner=hyperband"], "none"),
    FORMER: (["search.sampler=tpe", "search.pruner=halving"], "none"),
    "TPE, promotions": (["search.sampler=tpe", "search.pruner=asha"], "none"),
    "PriorBand without priors, promotions": (["search.sampler=priorband"], "none"),
    "PriorBand, promotions": (["search.sampler=priorband"], "literature"),
    "PriorBand with wrong priors, promotions": (["search.sampler=priorband"], "wrong"),
    "linear model without priors, promotions": (["search.sampler=linear"], "none"),
    "linear model, promotions": (["search.sampler=linear"], "literature"),
    "linear model with wrong priors, promotions": (["search.sampler=linear"], "wrong"),
}


@dataclass(frozen=True)
class Data:
    """The table as numbers.

    Attributes:
        params: of each training.
        settings: which of them have the same settings.
        scores: logarithms, (trainings, SCORED).
        steps: of SCORED.
    """

    params: list[dict[str, Value]]
    settings: np.ndarray
    scores: np.ndarray
    steps: list[int]

    @property
    def noise(self) -> np.ndarray:
        """Standard deviation over seeds at each step, pooled over the settings that have several."""
        squares, freedom = np.zeros(self.scores.shape[1]), 0
        for setting in np.unique(self.settings):
            group = self.scores[self.settings == setting]
            squares += ((group - group.mean(axis=0)) ** 2).sum(axis=0)
            freedom += len(group) - 1
        return np.sqrt(squares / max(freedom, 1))


@cache
def read_table(file: Path) -> Data:
    with open(file, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    finished = [json.loads(row["scores"]) for row in rows]
    steps = [int(step) for step in max(finished, key=len)]
    scores = []
    for row in finished:
        known = [LOST if row.get(str(step), DIVERGED) == DIVERGED else float(row[str(step)]) for step in steps]
        scores.append(np.log(np.minimum(known, LOST)))
    assert len(steps) == len(SCORED)
    return Data(
        [json.loads(row["params"]) for row in rows],
        np.array([int(row["setting"]) for row in rows]),
        np.array(scores),
        steps,
    )


class Surrogate:
    """Predicts the logarithms of the scores of settings."""

    def __init__(self, data: Data, chosen: np.ndarray) -> None:
        self._space = read_plan(SPACE).space
        self._trees = MultiOutputRegressor(GradientBoostingRegressor(random_state=0, **BOOSTING))
        features = np.array([self._features(data.params[k]) for k in chosen])
        self._trees.fit(features, data.scores[chosen])
        self._known: dict[tuple[float, ...], np.ndarray] = {}

    def predict(self, params: Mapping[str, Value]) -> np.ndarray:
        features = self._features(params)
        if features not in self._known:
            self._known[features] = self._trees.predict([features])[0]
        return self._known[features]

    def _features(self, params: Mapping[str, Value]) -> tuple[float, ...]:
        return tuple(value for dimension in self._space for value in _numbers(dimension, params))


def _numbers(dimension: Dimension, params: Mapping[str, Value]) -> Iterator[float]:
    """Yield one number for each choice, or the place in the range; below 0 where the dimension means nothing."""
    value, d = params.get(dimension.key), dimension.distribution
    if isinstance(d, CategoricalDistribution):
        yield from (float(value == choice and dimension.key in params) for choice in d.choices)
    else:
        yield to_unit(d, value) if dimension.key in params else -1.0


def rank_correlation(data: Data) -> tuple[float, float]:
    """Return Spearman's of the last score, predicted for settings that were not seen: of all, and of the better half."""
    predicted = np.zeros(len(data.params))
    folds = GroupKFold(FOLDS).split(predicted, groups=data.settings)
    for seen, unseen in folds:
        surrogate = Surrogate(data, seen)
        predicted[unseen] = [surrogate.predict(data.params[k])[-1] for k in unseen]
    last = data.scores[:, -1]
    better = last <= np.median(last)
    return float(spearmanr(predicted, last).statistic), float(spearmanr(predicted[better], last[better]).statistic)


def seed_correlation(data: Data) -> float:
    """Return Spearman's between the last scores of two seeds, over all pairs of seeds of the settings that have several."""
    pairs = [
        (data.scores[a, -1], data.scores[b, -1])
        for setting in np.unique(data.settings)
        for a, b in permutations(np.flatnonzero(data.settings == setting), 2)
    ]
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def plan_of(kind: str, updates: int, steps: int) -> Plan:
    """Return the plan of a kind of search. Its widths are those of the table."""
    settings, priors = KINDS[kind]
    budget = [
        f"search.updates={updates}",
        f"search.trials={MOST_TRIALS}",
        f"search.steps={steps}",
        f"eval.every_steps={steps // 10}",
    ]
    plain = read_plan([*SPACE, *budget, *settings])
    if priors == "literature":
        return plain
    texts = [
        f"{d.key}={replace(d, prior=_wrong_prior(d) if priors == 'wrong' else None).full_text}" for d in plain.space
    ]
    return read_plan([*SPACE, *texts, *budget, *settings])


def _wrong_prior(dimension: Dimension) -> Prior | None:
    """Return a prior as sure as the literature's, and as far from it as can be."""
    prior, d = dimension.prior, dimension.distribution
    if prior is None:
        return None
    if isinstance(d, CategoricalDistribution):
        wrong = next(choice for choice in reversed(d.choices) if choice != prior.value)
    else:
        wrong = from_unit(d, 0.0 if to_unit(d, prior.value) > 0.5 else 1.0)
    return Prior(wrong, prior.confidence)


class Simulation:
    """One search."""

    def __init__(self, plan: Plan, surrogate: Surrogate, data: Data, seed: int) -> None:
        self._plan, self._surrogate, self._steps, self._noise = plan, surrogate, data.steps, data.noise
        self._space: Space = plan.space
        self._rng = np.random.default_rng(seed)
        self._luck: dict[int, float] = {}  # of each suggestion, in standard deviations
        self._study = optuna.create_study(pruner=make_pruner(plan))
        baseline = active(plan.space, {**plan.baseline, **BASELINE_WIDTHS})
        self._study.enqueue_trial(baseline, user_attrs={attempts.BASELINE: True})
        plan.search.seed = seed

    def run(self) -> list[tuple[int, float]]:
        """Return how many updates were spent at each change of the best settings, and their score without noise."""
        curve: list[tuple[int, float]] = []
        spent, limit, origins = 0, self._plan.search.updates or 0, 0
        while True:
            trials = self._study.get_trials(deepcopy=False)
            promoted = rungs.next_promotion(self._plan, trials, limit - spent)
            if promoted is not None:
                rungs.promote(self._plan, self._study, promoted)
            elif limit - spent < self._plan.rungs[0]:
                return curve
            self._study.sampler = samplers.make_sampler(self._plan, origins)
            trial = self._study.ask()
            params = sampled_params(self._space, trial)
            if attempts.ORIGIN not in trial.user_attrs:
                trial.set_user_attr(attempts.ORIGIN, origins)
                origins += 1
            begun = self._plan.rungs[rungs.rung_of(self._plan, trial) - 1] if promoted is not None else 0
            spent += self._train(trial, params) - begun
            best = attempts.finished(self._study.get_trials(deepcopy=False))
            if best:
                curve.append((spent, math.exp(self._surrogate.predict(best[0].params)[-1])))

    def _train(self, trial: optuna.Trial, params: Mapping[str, Value]) -> int:
        """Report scores up to the trial's rung, or until it is pruned; return the step."""
        luck = self._luck.setdefault(attempts.origin(trial), float(self._rng.standard_normal()))
        scores = np.exp(self._surrogate.predict(params) + luck * self._noise)
        target = rungs.target(self._plan, trial)
        for step, score in zip(self._steps, scores, strict=True):
            trial.report(float(score), step)
            if step == target:
                break
            if trial.should_prune() and attempts.BASELINE not in trial.user_attrs:
                self._study.tell(trial, state=TrialState.PRUNED)
                return step
        is_last = target == self._plan.search.steps
        trial.set_user_attr(attempts.OUTCOME, "complete" if is_last else f"{attempts.PAUSED}{target}")
        self._study.tell(
            trial, float(score) if is_last else None, TrialState.COMPLETE if is_last else TrialState.PRUNED
        )
        return target


def simulate(kind: str, seed: int, updates: int, file: Path) -> list[tuple[int, float]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = read_table(file)
    return Simulation(plan_of(kind, updates, data.steps[-1]), _surrogate(file), data, seed).run()


@cache
def _surrogate(file: Path) -> Surrogate:
    data = read_table(file)
    return Surrogate(data, np.arange(len(data.params)))


def score_at(curve: Sequence[tuple[int, float]], updates: float) -> float:
    """Return the score of what a search would hand over after so many updates."""
    return next((score for spent, score in reversed(curve) if spent <= updates), math.nan)


def updates_to_reach(curves: Sequence[Sequence[tuple[int, float]]], score: float, limit: int) -> float:
    """Return after how many updates the median search is as good as a score; infinite if it never is."""
    for updates in range(limit // 200, limit + 1, limit // 200):
        if median(score_at(curve, updates) for curve in curves) <= score:
            return updates
    return math.inf


def main(table: str, searches: int, updates: int, at_once: int) -> None:
    console, file = Console(width=120), ROOT / table
    data = read_table(file)
    everywhere, better = rank_correlation(data)
    console.print(
        f"{len(data.params)} trainings of {len(np.unique(data.settings))} settings; rank correlation of settings that were "
        f"not seen: {everywhere:.2f}, in the better half {better:.2f}; of one seed with another {seed_correlation(data):.2f}; "
        f"standard deviation over seeds at the end {data.noise[-1]:.1%}"
    )
    curves: dict[str, list[list[tuple[int, float]]]] = {}
    with ProcessPoolExecutor(at_once) as pool:
        waiting = {
            kind: [pool.submit(simulate, kind, seed, updates, file) for seed in range(searches)] for kind in KINDS
        }
        for kind, futures in waiting.items():
            curves[kind] = [future.result() for future in futures]
    goal = median(score_at(curve, updates) for curve in curves[FORMER])
    quarter, half = updates // 4, updates // 2
    shown = Table("search", f"{quarter:,} updates", f"{half:,}", f"{updates:,}", "reaches the former's after")
    for kind, group in curves.items():
        cells = []
        for at in (quarter, half, updates):
            low, middle, high = np.nanpercentile([score_at(curve, at) for curve in group], [25, 50, 75])
            cells.append(f"{middle:.3g} ({low:.3g} to {high:.3g})")
        needed = updates_to_reach(group, goal, updates)
        shown.add_row(kind, *cells, f"{needed / updates:.2f} of its updates" if needed < math.inf else "never")
    console.print(shown)


if __name__ == "__main__":
    main(**arguments(table="docs/results/search_table.csv", searches=100, updates=40_000, at_once=2))
