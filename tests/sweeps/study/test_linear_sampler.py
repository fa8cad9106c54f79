"""The sampler that learns by Bayesian linear regression from trials of every length."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import norm

from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.spec.space import Value, active, sampled_params
from sweeps.study import attempts, rungs, samplers
from sweeps.study.learned import LEARNED, earlier_trials
from sweeps.study.linear_sampler import AROUND, EARLIER, FIXED, LinearSampler, _of_earlier_studies, _value
from sweeps.study.suggestions import KIND, LINEAR, PRIOR, RANDOM

SPACE = [
    "search=custom", "search.sampler=linear", "search.steps=900", "search.min_steps=100", "eval.every_steps=50",
    "optim.learning_rate=tag(log, interval(1e-5, 1e-3))", "model.dropout=interval(0, 0.5)",
    "train.loss=choice(bce, hinge, non_saturating)", "train.label_noise=interval(0, 0.3) when train.loss=bce",
]  # fmt: skip
STEPS = (100, 300, 900)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    made = read_plan([*SPACE, f"records.root={tmp_path}"])
    assert made.rungs == STEPS
    return made


def effect(params: Mapping[str, Value]) -> float:
    """The logarithm of a score that is a sum: hinge is better, so is a dropout near 0.2."""
    return -0.5 * (params["train.loss"] == "hinge") + 8 * (float(str(params["model.dropout"])) - 0.2) ** 2


def known(plan: Plan, count: int, seed: int = 0, reached: Any = lambda number: 900) -> list[FrozenTrial]:
    """Settings at random, with scores up to the length that each has reached; the shorter, the higher."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        values = {
            "optim.learning_rate": float(10 ** rng.uniform(-5, -3)), "model.dropout": float(rng.uniform(0, 0.5)),
            "train.loss": str(rng.choice(["bce", "hinge", "non_saturating"])), "train.label_noise": float(rng.uniform(0, 0.3)),
        }  # fmt: skip
        params = active(plan.space, values)
        scores = {
            step: math.exp(3 + effect(params) + 1.5 * (900 - step) / 900) for step in STEPS if step <= reached(number)
        }
        trial = create_trial(
            state=TrialState.PRUNED, params=params, intermediate_values=scores,
            distributions={d.key: d.distribution for d in plan.space if d.key in params},
            user_attrs={attempts.ORIGIN: number, attempts.OUTCOME: f"{attempts.PAUSED}{max(scores)}"},
        )  # fmt: skip
        trial.number = number
        trials.append(trial)
    return trials


def suggestions(plan: Plan, trials: list[FrozenTrial], count: int = 60) -> list[tuple[str, dict[str, Value]]]:
    made = []
    for seed in range(count):
        study = optuna.create_study()
        study.add_trials(trials)
        study.sampler = LinearSampler(plan, seed, startup=8)
        trial = study.ask()
        params = sampled_params(plan.space, trial)
        made.append((study.trials[-1].user_attrs[KIND], params))
    return made


@pytest.mark.parametrize("reached", [lambda number: 900, lambda number: STEPS[number % 3]])
def test_the_model_finds_what_is_good_from_trials_of_any_length(plan: Plan, reached: Any) -> None:
    made = suggestions(plan, known(plan, 45, reached=reached))
    chosen = [params for kind, params in made if kind == LINEAR]
    assert len(chosen) == pytest.approx(48, abs=8)  # the others are at random
    assert Counter(params["train.loss"] for params in chosen)["hinge"] > 0.9 * len(chosen)
    assert np.median([float(str(params["model.dropout"])) for params in chosen]) == pytest.approx(0.2, abs=0.06)


def test_a_length_is_no_merit(plan: Plan) -> None:
    """All of hinge trained short and have high scores, all others long: what they lost there is not hinge's fault."""
    trials = known(plan, 60, reached=lambda number: 900)
    for trial in trials:
        if trial.params["train.loss"] == "hinge":
            trial.intermediate_values = {100: trial.intermediate_values[100]}
    scores = {loss: [] for loss in ("hinge", "bce")}  # type: dict[str, list[float]]
    for trial in trials:
        if trial.params["train.loss"] in scores:
            scores[trial.params["train.loss"]].append(trial.intermediate_values[max(trial.intermediate_values)])
    assert np.mean(scores["hinge"]) > np.mean(scores["bce"])
    chosen = [params["train.loss"] for kind, params in suggestions(plan, trials) if kind == LINEAR]
    assert chosen.count("hinge") > 0.9 * len(chosen)


def test_what_means_nothing_is_not_suggested(plan: Plan) -> None:
    for trials in ([], known(plan, 30)):
        for _, params in suggestions(plan, trials, 30):
            assert ("train.label_noise" in params) == (params["train.loss"] == "bce")


def test_the_model_sees_no_values_that_mean_nothing(plan: Plan) -> None:
    sampler = LinearSampler(plan, 0, 8)
    points = sampler._without_inactive(sampler._anywhere(50))
    settings = [
        {d.key: _value(d, at) for d, at in zip(sampler._dimensions, point, strict=True) if not np.isnan(at)}
        for point in points
    ]
    assert {len(params) for params in settings} == {3, 4}
    assert settings == [active(plan.space, params) for params in settings]


def test_without_scores_half_is_from_the_priors(tmp_path: Path) -> None:
    priors = [text.replace("interval(0, 0.5)", "interval(0, 0.5) prior 0.4 high") for text in SPACE]
    plan = read_plan([*priors, f"records.root={tmp_path}"])
    made = suggestions(plan, [], 200)
    kinds = Counter(kind for kind, _ in made)
    assert kinds.keys() == {RANDOM, PRIOR}
    assert kinds[PRIOR] == pytest.approx(100, abs=25)
    dropout = [float(str(params["model.dropout"])) for kind, params in made if kind == PRIOR]
    assert np.median(dropout) == pytest.approx(0.4, abs=0.05)


def test_points_and_settings_are_each_others(plan: Plan) -> None:
    sampler = LinearSampler(plan, 0, 8)
    for trial in known(plan, 20):
        point = sampler._point(trial.params)
        assert np.isnan(point).sum() == ("train.label_noise" not in trial.params)
        again = sampler._settings(point[None])
        assert again.keys() == trial.params.keys()
        for key, value in again.items():
            assert value == (pytest.approx(trial.params[key]) if isinstance(value, float) else trial.params[key])
    around = sampler._around(sampler._point(known(plan, 1)[0].params), AROUND)
    changed = np.mean(around[:, 0] != sampler._point(known(plan, 1)[0].params)[0])
    assert changed == pytest.approx(0.25, abs=0.1)


def test_a_draw_of_the_effects_has_their_mean_and_spread(plan: Plan) -> None:
    """Against the closed form of a Gaussian posterior, with the precisions that the evidence found."""
    from sklearn.linear_model import BayesianRidge

    scored = rungs.scored_settings(plan, known(plan, 25))
    sampler = LinearSampler(plan, 0, 8)
    draws = np.array([sampler._effects(scored) for _ in range(800)])
    features = sampler._features(np.array([sampler._point(params) for params, _ in scored]))
    rows = np.array([[*row, *np.eye(3)[rung]] for row in features for rung in range(3)])
    logs = np.log([scores[step] for _, scores in scored for step in STEPS])
    weights = np.tile([1.0, 2.0, 4.0], len(features))
    found = BayesianRidge().fit(rows, logs, sample_weight=weights)
    centred = rows - np.average(rows, axis=0, weights=weights)
    precision = found.lambda_ * np.eye(rows.shape[1]) + found.alpha_ * centred.T @ (weights[:, None] * centred)
    mean = found.alpha_ * np.linalg.solve(precision, centred.T @ (weights * (logs - np.average(logs, weights=weights))))
    spread = np.sqrt(np.diag(np.linalg.inv(precision)))
    count = features.shape[1]
    np.testing.assert_allclose(draws.mean(axis=0), mean[:count], atol=6 * spread[:count].max() / math.sqrt(800) + 1e-6)
    np.testing.assert_allclose(draws.std(axis=0), spread[:count], rtol=0.15)


def test_scores_that_are_infinite_count_as_the_worst(plan: Plan) -> None:
    trials = known(plan, 30)
    for trial in trials:
        if trial.params["train.loss"] == "bce":
            trial.intermediate_values = {100: math.inf}
    chosen = [params["train.loss"] for kind, params in suggestions(plan, trials) if kind == LINEAR]
    assert chosen.count("bce") <= 2


def test_settings_that_are_given_are_left_alone(plan: Plan) -> None:
    study = optuna.create_study(sampler=samplers.make_sampler(plan, 0))
    study.enqueue_trial(plan.baseline)
    trial = study.ask()
    assert FIXED in study.trials[0].system_attrs
    assert sampled_params(plan.space, trial) == active(plan.space, plan.baseline)
    assert KIND not in study.trials[0].user_attrs


@pytest.mark.parametrize("latents", ["choice(32,64,96)", "range(32,97,32)"])
def test_what_was_tried_is_not_suggested_again(latents: str, tmp_path: Path) -> None:
    plan = read_plan(
        [*SPACE[:5], "train.loss=choice(bce,hinge)", f"model.latent_dim={latents}", "model.dropout=choice(0,0.25)",
         f"records.root={tmp_path}"]
    )  # fmt: skip
    space = {d.key: d.distribution for d in plan.space}
    points = [(loss, dim, dropout) for loss in ("bce", "hinge") for dim in (32, 64, 96) for dropout in (0, 0.25)]
    trials = []
    for number, values in enumerate(points[:-1]):  # the last one is the worst, by the others
        params = dict(zip(("train.loss", "model.latent_dim", "model.dropout"), values, strict=True))
        scores = {100: 10.0 + 5 * (values[0] == "hinge") + values[1] + values[2]}
        attributes = {attempts.ORIGIN: number, attempts.OUTCOME: f"{attempts.PAUSED}100"}
        trials.append(
            create_trial(
                state=TrialState.PRUNED,
                params=params,
                distributions=space,
                intermediate_values=scores,
                user_attrs=attributes,
            )
        )
        trials[-1].number = number
    chosen = [tuple(params[key] for key in ("train.loss", "model.latent_dim", "model.dropout"))
              for kind, params in suggestions(plan, trials, 20) if kind == LINEAR]  # fmt: skip
    assert set(chosen) == {points[-1]}


def earlier(plan: Plan, count: int) -> list[FrozenTrial]:
    """Settings of another study as samplers are shown them: ranks in (0, 1), numbers below 0."""
    return earlier_trials({"ships": sorted((trial.params for trial in known(plan, count)), key=effect)}, plan.space)


def test_ranks_of_other_studies_guide_the_first_suggestions(plan: Plan) -> None:
    learned = {"ships": [trial.params for trial in earlier(plan, 40)]}
    chosen = []
    for seed in range(40):
        study = optuna.create_study()
        study.set_user_attr(LEARNED, learned)
        study.sampler = samplers.make_sampler(plan, seed)
        trial = study.ask()
        params = sampled_params(plan.space, trial)
        chosen += [params] if study.trials[-1].user_attrs[KIND] == LINEAR else []
    assert len(chosen) > 20
    assert [params["train.loss"] for params in chosen].count("hinge") > 0.8 * len(chosen)


def test_own_scores_count_more_than_ranks_of_other_studies(plan: Plan) -> None:
    """There the worst was what is best here."""
    theirs = earlier(plan, 40)
    for trial in theirs:
        trial.values = [1 - (trial.value or 0)]
    sampler, trials = LinearSampler(plan, 0, 8), known(plan, 40)
    own = rungs.scored_settings(plan, trials)
    effects = np.mean([sampler._effects([*own, *_of_earlier_studies(theirs, own)]) for _ in range(50)], axis=0)
    alone = np.mean([sampler._effects(_of_earlier_studies(theirs, [])) for _ in range(50)], axis=0)
    losses = sampler._features(np.array([sampler._point({"train.loss": loss}) for loss in ("bce", "hinge")]))
    assert np.diff(losses @ effects) < 0 < np.diff(losses @ alone)


def test_ranks_are_as_far_apart_as_scores(plan: Plan) -> None:
    theirs, own = earlier(plan, 9), rungs.scored_settings(plan, known(plan, 30))
    logs = np.log([scores[EARLIER] for _, scores in _of_earlier_studies(theirs, own)])
    spread = np.std([math.log(scores[100]) for _, scores in own])
    np.testing.assert_allclose(logs, spread * norm.ppf((np.arange(9) + 0.5) / 9), rtol=1e-9)
    assert _of_earlier_studies(known(plan, 5), own) == []


def test_equal_searches_get_equal_suggestions(plan: Plan) -> None:
    trials = known(plan, 12)
    assert suggestions(plan, trials, 5) == suggestions(plan, trials, 5)


def test_trials_of_one_length(tmp_path: Path) -> None:
    flat = [text for text in SPACE if not text.startswith("search.min_steps")]
    plan = read_plan([*flat, "search.pruner=none", f"records.root={tmp_path}"])
    trials = known(plan, 20)
    assert [set(scores) for _, scores in rungs.scored_settings(plan, trials)] == [{900}] * 20
    assert LINEAR in {kind for kind, _ in suggestions(plan, trials, 20)}
