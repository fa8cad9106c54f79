"""PriorBand's mixture: what is suggested around a prior and around the best trial, and how often."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import truncnorm

from sweeps.spec.read_plan import read_plan
from sweeps.spec.read_space import read_space
from sweeps.spec.space import Space, Value, sampled_params
from sweeps.study import priorband
from sweeps.study.priorband import PriorBandSampler
from sweeps.study.suggestions import KIND, MUTATION, PRIOR, RANDOM, TPE, from_unit, to_unit

SPACE = {
    "optim.learning_rate": "tag(log, interval(1e-5, 1e-3)) prior 1e-4 high",
    "model.dropout": "interval(0, 0.5) prior 0",
    "model.latent_dim": "interval(16, 256)",
    "train.loss": "choice(bce, hinge, non_saturating) prior hinge high",
    "train.label_noise": "interval(0, 0.3) prior 0.1 low when train.loss=bce",
}


def sampler(space: Space, seed: int = 0) -> PriorBandSampler:
    return PriorBandSampler(space, seed, eta=3, startup=4)


def finished(space: Space, values: Mapping[str, Value], score: float, number: int = 0) -> FrozenTrial:
    distributions = {d.key: d.distribution for d in space if d.key in values}
    trial = create_trial(value=score, params=dict(values), distributions=distributions)
    trial.number = number
    return trial


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(0.5, 0.99),
        FloatDistribution(5e-5, 1e-3, log=True),
        FloatDistribution(0, 0.4, step=0.1),
        IntDistribution(16, 256),
        IntDistribution(16, 256, log=True),
        IntDistribution(16, 128, step=16),
    ],
)
def test_numbers_and_places_in_their_range_are_each_others(distribution: BaseDistribution) -> None:
    places = [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]
    values = [from_unit(distribution, place) for place in places]
    assert values == sorted(values)
    assert (values[0], values[-1]) == pytest.approx((distribution.low, distribution.high))  # type: ignore[attr-defined]
    for value in values:
        assert distribution._contains(distribution.to_internal_repr(value))
        assert from_unit(distribution, to_unit(distribution, value)) == pytest.approx(value)
    assert to_unit(FloatDistribution(1e-5, 1e-3, log=True), 1e-4) == pytest.approx(0.5)


@pytest.mark.parametrize("distribution", [IntDistribution(1, 3), FloatDistribution(0, 0.4, step=0.1)])
def test_all_values_of_a_range_have_equal_room(distribution: BaseDistribution) -> None:
    drawn = Counter(from_unit(distribution, place) for place in (np.arange(3000) + 0.5) / 3000)
    count = len(drawn)
    assert set(drawn.values()) <= {3000 // count - 1, 3000 // count, 3000 // count + 1}


def test_densities_are_those_of_the_draws() -> None:
    distribution = FloatDistribution(0.0, 2.0)
    normal = truncnorm((0 - 0.1) / 0.25, (1 - 0.1) / 0.25, loc=0.1, scale=0.25)
    for value in (0.0, 0.2, 1.0, 2.0):
        found = priorband._log_density(distribution, value, 0.2, 0.25, 1.0)
        assert found == pytest.approx(normal.logpdf(value / 2))
    many = np.array([each / 2 for each in draws(distribution, 0.2, 0.25)])
    assert many.mean() == pytest.approx(normal.mean(), abs=0.02)
    assert many.std() == pytest.approx(normal.std(), abs=0.02)
    choices = CategoricalDistribution(("a", "b", "c"))
    assert math.exp(priorband._log_density(choices, "b", "b", 0.0, 6.0)) == pytest.approx(6 / 8)
    assert math.exp(priorband._log_density(choices, "a", "b", 0.0, 6.0)) == pytest.approx(1 / 8)


def draws(distribution: BaseDistribution, value: Value, std: float, weight: float = 1.0) -> list[float]:
    one = sampler(())
    return [one._near(distribution, value, std, weight) for _ in range(2000)]


def test_without_scores_a_quarter_is_random_and_the_rest_the_priors() -> None:
    space = read_space(SPACE)
    assert sampler(space).fractions([]) == {RANDOM: 0.25, PRIOR: 0.75}
    bare = read_space({key: text.partition(" prior ")[0] for key, text in SPACE.items()})
    assert sampler(bare).fractions([]) == {RANDOM: 0.25, TPE: 0.75}


def test_fractions_follow_what_would_have_suggested_the_best() -> None:
    space = read_space(SPACE)
    at_prior = {"optim.learning_rate": 1e-4, "model.dropout": 0.0, "model.latent_dim": 100, "train.loss": "hinge"}
    elsewhere = {
        "optim.learning_rate": 9e-4,
        "model.dropout": 0.5,
        "model.latent_dim": 250,
        "train.loss": "non_saturating",
    }
    good = [finished(space, at_prior, k, k) for k in range(3)] + [finished(space, elsewhere, 9, k) for k in range(3, 9)]
    wrong = [finished(space, elsewhere, k, k) for k in range(3)] + [
        finished(space, at_prior, 9, k) for k in range(3, 9)
    ]
    trusted, distrusted = sampler(space).fractions(good), sampler(space).fractions(wrong)
    for fractions in (trusted, distrusted):
        assert sum(fractions.values()) == pytest.approx(1)
        assert fractions[RANDOM] == 0.25
    assert trusted[PRIOR] > 0.37 > 0.2 > distrusted[PRIOR]
    assert distrusted[MUTATION] > 0.55


def test_suggestions_lie_around_the_prior_and_the_best() -> None:
    space = read_space(SPACE)
    best = {
        "optim.learning_rate": 5e-4,
        "model.dropout": 0.4,
        "model.latent_dim": 30,
        "train.loss": "bce",
        "train.label_noise": 0.2,
    }
    study = optuna.create_study()
    for number in range(9):
        study.add_trial(finished(space, best, 1.0 + number))
    by_kind: dict[str, list[dict[str, Value]]] = {}
    for seed in range(300):
        study.sampler = sampler(space, seed)
        trial = study.ask()
        params = sampled_params(space, trial)
        assert ("train.label_noise" in params) == (params["train.loss"] == "bce")
        by_kind.setdefault(study.trials[-1].user_attrs[KIND], []).append(params)
        study.tell(trial, state=TrialState.FAIL)
    assert by_kind.keys() == {RANDOM, PRIOR, MUTATION}
    assert len(by_kind[RANDOM]) == pytest.approx(75, abs=25)
    kept = np.mean([params["model.dropout"] == 0.4 for params in by_kind[MUTATION]])
    assert kept == pytest.approx(0.5, abs=0.12)
    rates = {kind: np.median([float(str(p["optim.learning_rate"])) for p in group]) for kind, group in by_kind.items()}
    assert rates[PRIOR] == pytest.approx(1e-4, rel=0.3)
    assert rates[MUTATION] == pytest.approx(5e-4, rel=0.3)
    losses = Counter(params["train.loss"] for params in by_kind[PRIOR])
    assert losses["hinge"] > 0.55 * sum(losses.values())


def test_tpe_takes_the_place_of_priors_that_are_not_there() -> None:
    space = read_space({key: text.partition(" prior ")[0] for key, text in SPACE.items() if "when" not in text})
    study = optuna.create_study()
    kinds = Counter()
    for seed in range(60):
        study.sampler = sampler(space, seed)
        trial = study.ask()
        params = sampled_params(space, trial)
        kinds[study.trials[-1].user_attrs[KIND]] += 1
        study.tell(trial, abs(math.log(float(str(params["optim.learning_rate"])) / 1e-4)))
    assert kinds.keys() == {RANDOM, TPE, MUTATION}
    assert study.best_value < 0.2


def test_the_literatures_priors_are_inside_their_dimensions() -> None:
    plan = read_plan(["search=levers", "search.sampler=priorband"])
    priors = {dimension.key: dimension.prior for dimension in plan.space if dimension.prior is not None}
    assert len(priors) >= 10
    assert str(priors["train.ema_decay"]) == "0.999 high"
    assert "prior" not in "".join(str(value) for value in plan.identity().values())  # scores do not depend on them
