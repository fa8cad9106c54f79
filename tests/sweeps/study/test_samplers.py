"""What samplers suggest: clean decimals, in one model with the trials of a study that was extended."""

import importlib.util
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from sweeps.analysis.importances import as_suggested, fanova
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.spec.read_space import read_space
from sweeps.spec.schema import SAMPLERS
from sweeps.spec.space import same_params, sampled_params
from sweeps.study import attempts, identity, samplers
from sweeps.study.samplers import DecimalGridSampler, trials_in_space

INSTALLED = [name for name in SAMPLERS if importlib.util.find_spec(samplers.EXTRAS.get(name, "optuna"))]
RANGES = [
    f"range({start},{stop},{step})"
    for start in (0, 0.05, 0.1, 1e-5)
    for step in (0.1, 0.07, 0.025, 1 / 3)
    for stop in (0.3, 0.35, 0.41, 0.5)
    if start + 1.01 * step < stop
]


def plan_of(space: Any, sampler: str, before: dict[str, Any] | None = None) -> Any:
    return SimpleNamespace(
        space=space,
        values_before_extension=before or {},
        is_baseline=lambda params: not params,
        rungs=(1,),
        search=SimpleNamespace(seed=0, sampler=sampler, eta=3),
    )


@pytest.mark.parametrize("sampler", INSTALLED)
def test_values_of_a_range_are_clean_decimals(sampler: str) -> None:
    ranges = RANGES if sampler in ("random", "grid", "qmc") else RANGES[::9]
    for text in ranges:
        space = read_space(
            {"train.label_noise": text, "model.dropout": "interval(0,0.5)" if sampler != "grid" else text}
        )
        values = space[0].grid()
        start, _, step = (Decimal(word) for word in text[len("range(") : -1].split(","))
        assert values == [float(start + k * step) for k in range(len(values))]
        study = optuna.create_study()
        study.enqueue_trial({dimension.key: dimension.nearest(0.05) for dimension in space})
        for number in range(11 if sampler in samplers.MODEL_BASED else 5):
            study.sampler = samplers.make_sampler(plan_of(space, sampler), number)
            study.optimize(lambda trial: sampled_params(space, trial)["train.label_noise"], n_trials=1)  # noqa: B023
            assert study.trials[-1].params["train.label_noise"] in values, text
        assert len(as_suggested(study.trials).trials) == len(study.trials)


def test_older_studies_resume_though_their_values_are_no_decimals() -> None:
    distributions: dict[str, BaseDistribution] = {"model.dropout": FloatDistribution(0, 0.3, step=0.1)}
    trial = create_trial(value=1.0, params={"model.dropout": 0.1}, distributions=distributions)
    trial.params = {"model.dropout": 0.1 + 2 * 0.1}
    (seen,) = as_suggested([trial]).trials  # which Optuna refused
    assert seen.params == {"model.dropout": 0.3}
    assert same_params(trial.params, {"model.dropout": 0.3})
    assert not same_params({"model.dropout": 0.25}, {"model.dropout": 0.3})
    grid = DecimalGridSampler({"model.dropout": [0.1, 0.2, 0.3]})
    assert grid._same_search_space({"model.dropout": [0.1, 0.2, 0.1 + 2 * 0.1]})


def joint(plan: Plan, study: optuna.Study) -> dict[str, BaseDistribution]:
    sampler = samplers.make_sampler(plan, len(study.trials))
    return sampler.infer_relative_search_space(study, study.ask()._get_latest_trial())


def test_an_extended_dimension_stays_in_the_joint_model() -> None:
    space = ["search=custom", "optim.learning_rate=tag(log,interval(1e-5,1e-3))"]
    before = read_plan([*space, "model.dropout=interval(0,0.3)"])
    after = read_plan([*space, "model.dropout=interval(0.05,0.5)", "train.label_noise=interval(0,0.3)"])
    study = optuna.create_study()
    for number in range(40):
        study.sampler = samplers.make_sampler(before, number)
        study.tell(trial := study.ask(), sampled_params(before.space, trial)["model.dropout"] or 0)  # type: ignore[arg-type]
    assert joint(before, study).keys() == {"model.dropout", "optim.learning_rate"}
    present = {dimension.key: dimension.distribution for dimension in after.space}
    assert joint(after, study) == present  # also the one that is new, at the value that all had
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    shown = trials_in_space(complete, after)
    assert [trial.number for trial in shown] == [t.number for t in complete if t.params["model.dropout"] >= 0.05]
    words = list(identity.describe_extension(study, after, before.identity()))
    assert words[0] == "extends  model.dropout: interval(0, 0.3) -> interval(0.05, 0.5)"
    assert words[1] == "extends  train.label_noise: one value -> interval(0, 0.3)"
    assert words[2].strip().startswith(f"{len(shown)} of 40 trials guide the search")
    assert fanova(study, after).keys() == present.keys()
    study.sampler = samplers.make_sampler(after, 41)
    assert sampled_params(after.space, study.ask()).keys() == present.keys()


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_suggestions_depend_on_seed_and_number_alone(sampler: str) -> None:
    space = read_space({"model.dropout": "interval(0,0.5)"})

    def suggested(number: int, seed: int = 0) -> float:
        plan = plan_of(space, sampler)
        plan.search.seed = seed
        study = optuna.create_study(sampler=samplers.make_sampler(plan, number))
        return float(sampled_params(space, study.ask())["model.dropout"])

    assert suggested(1) == suggested(1)
    assert len({suggested(1), suggested(2), suggested(1, seed=1)}) == 3


@pytest.mark.parametrize("sampler", [name for name in ("tpe", "priorband", "gp") if name in INSTALLED])
@pytest.mark.parametrize("pruner", ["asha", "halving"])
def test_models_see_trials_that_failed_by_their_settings(sampler: str, pruner: str) -> None:
    options = [f"search.sampler={sampler}", f"search.pruner={pruner}", "search.steps=6", "eval.every_steps=1"]
    plan = read_plan(["search=custom", "model.dropout=interval(0,0.5)", *options])
    study = optuna.create_study()
    for state, attributes in (
        (TrialState.COMPLETE, {}),
        (TrialState.FAIL, {attempts.HOPELESS: True}),
        (TrialState.FAIL, {}),
        (TrialState.PRUNED, {attempts.HOPELESS: True}),
    ):
        study.add_trial(
            create_trial(
                state=state, value=9.0 if state == TrialState.COMPLETE else None, user_attrs=attributes,
                params={"model.dropout": 0.1}, distributions={"model.dropout": FloatDistribution(0, 0.5)},
            )
        )  # fmt: skip
    view = samplers.make_sampler(plan, 4)._view(study)  # type: ignore[attr-defined]
    assert [trial.number for trial in view.get_trials(states=(TrialState.COMPLETE,))] == [0, 1, 3]
    assert study.trials[1].state == TrialState.FAIL


CONDITIONAL = {
    "train.loss": "choice(bce, hinge)",
    "train.label_noise": "interval(0, 0.3) when train.loss=bce",
    "model.dropout": "interval(0, 0.5)",
}


@pytest.mark.parametrize("sampler", [name for name in INSTALLED if name != "grid"])
def test_a_dimension_idles_where_its_condition_does_not_hold(sampler: str) -> None:
    space = read_space(CONDITIONAL)
    study = optuna.create_study()
    for number in range(16):
        study.sampler = samplers.make_sampler(plan_of(space, sampler), number)
        study.tell(trial := study.ask(), float(str(sampled_params(space, trial)["model.dropout"])))
        assert ("train.label_noise" in trial.params) == (trial.params["train.loss"] == "bce")
    assert {trial.params["train.loss"] for trial in study.trials} == {"bce", "hinge"}
    assert fanova(study).keys() == {"train.loss", "model.dropout"}  # of what all trials have


def test_what_is_shown_is_in_the_order_of_the_space_and_idles_in_the_baseline_too() -> None:
    plan = read_plan(["search=custom", "train.r1_every_steps=1,4 when train.r1_gamma!=0", "train.r1_gamma=0,1"])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    study.enqueue_trial(plan.baseline, user_attrs={attempts.BASELINE: True})
    study.enqueue_trial({"train.r1_gamma": 1})
    trials = [study.ask(), study.ask()]
    for trial in trials:
        sampled_params(plan.space, trial)
    assert attempts.shown_params(plan, trials[0]) == {"train.r1_gamma": 0.0}
    assert list(attempts.shown_params(plan, trials[1])) == ["train.r1_every_steps", "train.r1_gamma"]


def test_tpe_models_a_conditional_dimension_from_the_trials_that_have_it() -> None:
    space = read_space(CONDITIONAL)
    study = optuna.create_study()
    for number in range(40):
        study.sampler = samplers.make_sampler(plan_of(space, "tpe"), number)
        params = sampled_params(space, trial := study.ask())
        noise = params.get("train.label_noise")
        study.tell(trial, 5.0 if noise is None else abs(float(str(noise)) - 0.2))
    late = [trial.params["train.label_noise"] for trial in study.trials[20:] if "train.label_noise" in trial.params]
    assert len(late) > 14
    assert sum(abs(noise - 0.2) for noise in late) / len(late) < 0.05  # at random it would be 0.083


def test_a_condition_that_is_new_keeps_the_trials_that_fit() -> None:
    before = read_plan(["search=custom", "train.loss=bce,hinge", "train.label_noise=interval(0,0.3)"])
    after = read_plan(
        ["search=custom", "train.loss=bce,hinge", "train.label_noise=interval(0,0.3) when train.loss=bce"]
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(8):
        study.tell(trial := study.ask(), float(len(sampled_params(before.space, trial))))
    shown = trials_in_space(study.trials, after)
    assert len(shown) == 8
    for trial in shown:
        assert ("train.label_noise" in trial.params) == (trial.params["train.loss"] == "bce")
        assert trial.params.keys() == trial.distributions.keys()


def test_a_grid_takes_any_seed_and_never_ends_a_study_itself() -> None:
    space = read_space({"model.dropout": "choice(0.1,0.25)"})
    plan = plan_of(space, "grid")
    plan.search.seed = 5_000_000_000
    study = optuna.create_study()
    for number in range(2):
        study.sampler = samplers.make_sampler(plan, number)
        trial = study.ask()
        sampled_params(space, trial)
        study.tell(trial, 1.0)  # outside of Study.optimize, as of a trial whose host died
    assert {trial.params["model.dropout"] for trial in study.trials} == {0.1, 0.25}


def test_gp_models_what_every_trial_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's intersection of spaces looks no further than the last of the trials of earlier studies."""
    space = read_space({"train.loss": "choice(bce,hinge)", "train.label_noise": "interval(0,0.3) when train.loss=bce"})

    class Gp(optuna.samplers.RandomSampler):
        def __init__(self, seed: int, n_startup_trials: int) -> None:
            super().__init__(seed)

        def infer_relative_search_space(self, study: object, trial: object) -> dict[str, BaseDistribution]:
            return {dimension.key: dimension.distribution for dimension in space}

    monkeypatch.setattr(samplers, "GPSampler", Gp)
    study = optuna.create_study(sampler=samplers.make_sampler(plan_of(space, "gp"), 0))
    asked = study.ask()
    modelled = study.sampler.infer_relative_search_space(study, study.trials[asked.number])
    assert list(modelled) == ["train.loss"]
