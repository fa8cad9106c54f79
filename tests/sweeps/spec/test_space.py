"""The space of a search, from Hydra's grammar to Optuna's distributions."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from experiments.cli.compose import compose_config
from experiments.cli.progress import short_names
from experiments.settings.schema import Config, effective
from gan.errors import ConfigError
from sweeps.spec.read_plan import read_plan
from sweeps.spec.read_space import read_space, without_fixed_conditions
from sweeps.spec.space import as_overrides, combinations, sampled_params


@pytest.mark.parametrize(
    ("key", "text", "distribution", "words"),
    [
        ("model.bn_momentum", "interval(0.5,0.99)", FloatDistribution(0.5, 0.99), "interval(0.5, 0.99)"),
        ("model.dropout", "interval(0, 0.5)", FloatDistribution(0, 0.5), "interval(0, 0.5)"),
        (
            "optim.learning_rate",
            "tag(log, interval(5e-5, 1e-3))",
            FloatDistribution(5e-5, 1e-3, log=True),
            "tag(log, interval(5e-05, 0.001))",
        ),
        ("model.latent_dim", "interval(16,256)", IntDistribution(16, 256), "int(interval(16, 256))"),
        (
            "model.latent_dim",
            "int(tag(log,interval(16,256)))",
            IntDistribution(16, 256, log=True),
            "int(tag(log, interval(16, 256)))",
        ),
        ("train.batch_size", "range(16,65,16)", IntDistribution(16, 64, step=16), "range(16, 65, 16)"),
        ("model.dropout", "range(0,0.5,0.1)", FloatDistribution(0, 0.4, step=0.1), "range(0, 0.5, 0.1)"),
        (
            "train.update_rule",
            "choice(tutorial,batch)",
            CategoricalDistribution(["tutorial", "batch"]),
            "choice(tutorial, batch)",
        ),
        ("train.batch_size", "16,32", CategoricalDistribution([16, 32]), "choice(16, 32)"),
        (
            "model.generator.bn_momentum",
            "choice([0.5,0.6],0.8)",
            CategoricalDistribution(["[0.5,0.6]", 0.8]),
            "choice([0.5,0.6], 0.8)",
        ),
        ("model.generator.bn_momentum", "interval(0,0.9)", FloatDistribution(0, 0.9), "interval(0, 0.9)"),
        (
            "train.horizontal_flip",
            "choice(false,true)",
            CategoricalDistribution([False, True]),
            "choice(false, true)",
        ),
        (
            "train.augment",
            "choice(none,color+cutout)",
            CategoricalDistribution(["none", "color+cutout"]),
            "choice(none, color+cutout)",
        ),
    ],
)
def test_grammar(key: str, text: str, distribution: object, words: str) -> None:
    (dimension,) = read_space({key: text})
    assert (dimension.key, dimension.distribution, dimension.text) == (key, distribution, words)
    assert read_space({key: words}) == (dimension,)  # what is shown means the same


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("model.bn_momentum", "interval(0.99,0.5)", r"low end is below its high end; got 'interval\(0.99,0.5\)'"),
        ("model.bn_momentum", "interval(0.5,1.2)", r"model.bn_momentum must be in \[0, 1\); .* \(1.2 is not\)"),
        ("model.bn_momentum", "interval(0.5,1)", r"in \[0, 1\)"),
        ("model.bn_momentun", "interval(0,1)", r"model.bn_momentun must be a known setting.*'model.bn_momentum'"),
        ("model.bn_momentum", "choice(0.8)", r"two values or more.*model.bn_momentum=0.8 fixes it"),
        ("model.bn_momentum", "choice(0.8,0.8,0.7)", "different values"),
        ("model.bn_momentum", "choice({a:1},0.7)", "a choice of words, numbers or lists"),
        ("model.bn_momentum", "choice(0.8,high)", r"in \[0, 1\).*high is not"),
        ("model.bn_momentum", "0.8", r"must be interval\(low, high\)"),
        ("model.bn_momentum", "glob(*)", "must be with its values written out"),
        ("model.bn_momentum", "interval(0,", "must be key=value"),
        ("optim.learning_rate", "tag(log,interval(0,1))", "above 0"),
        ("optim.learning_rate", "tag(ln,interval(0.1,1))", "without tags but log"),
        ("optim.learning_rate", "tag(log,choice(0.1,1))", "an interval where it has tag"),
        ("model.latent_dim", "interval(0.5,7)", "between integers"),
        ("model.latent_dim", "range(1,3,0.5)", "a range of integers"),
        ("model.dropout", "range(0,0.1,0.1)", "two values or more"),
        ("model.dropout", "range(0.5,0,-0.1)", "a step above 0"),
        ("train.update_rule", "interval(0,1)", "choice"),
        ("train.update_rule", "choice(tutorial,bacth)", "one of tutorial, batch.*bacth is not"),
        ("train.batch_size", "choice(4,8.0)", r"train\.batch_size must be a choice of integers; got 'choice\(4,8.0\)'"),
        ("train.batch_size", "choice(4,true)", "a choice of integers"),
        ("train.batch_size", "choice(4,null)", "null is not"),
        ("optim.generator_learning_rate", "choice(None,1e-4)", "None is not; write null for none"),
        ("model.dropout", "range(0,0.3,1e-9)", "a range of at most 1,000,000 steps"),
        ("model.dropout", "range(0,inf,0.1)", "a step above 0"),
        ("train.horizontal_flip", "choice(0,1)", r"choice\(false, true\)"),
        ("train.horizontal_flip", "interval(0,1)", r"choice\(false, true\)"),
        ("eval.recalibrate_batch_norm", "choice(false,true)", "given one value in a search"),
        ("seed", "choice(0,1)", "given one value in a search"),
        ("train.steps", "choice(10,20)", "given one value in a search"),
        ("eval.num_images", "choice(10,20)", "given one value in a search"),
        ("data.class_id", "choice(8,9)", "given one value in a search"),
        ("experiment", "choice(tutorial,quick)", "given one value in a search"),
    ],
)
def test_mistakes_are_one_line(key: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_space({key: text})


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"search.space must be one key or more"):
        read_space({})


def test_suggestions_are_the_overrides_of_a_valid_run() -> None:
    """Whatever is suggested composes, and comes back to the last digit."""
    texts = {
        "model.bn_momentum": "interval(0,0.99)",
        "model.latent_dim": "tag(log,interval(2,500))",
        "train.update_rule": "choice(tutorial,batch)",
        "model.discriminator.leaky_relu_alpha": "choice([0.1,0.2,0.3,0.4],0.5)",
        "model.dropout": "range(0,0.5,0.1)",
    }
    space = read_space(texts)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(5):
        params = sampled_params(space, study.ask())
        config = compose_config(as_overrides(params))
        assert config.model.bn_momentum == params["model.bn_momentum"]
        assert config.model.generator.bn_momentum == [params["model.bn_momentum"]] * 2
        assert config.model.latent_dim == params["model.latent_dim"]
        assert config.train.update_rule == params["train.update_rule"]
        assert config.model.dropout == params["model.dropout"]
        assert len(config.model.discriminator.leaky_relu_alpha) == 4


@pytest.mark.parametrize(
    ("key", "text", "nearest"),
    [
        ("model.bn_momentum", "interval(0.5,0.99)", 0.8),
        ("model.bn_momentum", "interval(0.9,0.99)", 0.9),
        ("model.dropout", "range(0,0.5,0.1)", 0.2),
        ("train.batch_size", "range(8,100,20)", 28),
        ("model.latent_dim", "interval(16,64)", 64),
        ("train.update_rule", "choice(batch,tutorial)", "tutorial"),
        ("model.bn_momentum", "choice(0.5,0.6)", 0.6),
        ("optim.learning_rate", "choice(5e-5,1e-4,4e-4)", 1e-4),
        ("train.batch_size", "choice(8,16,48,64)", 16),
        ("model.generator.bn_momentum", "interval(0,0.9)", 0.8),
        ("train.horizontal_flip", "choice(true,false)", False),
    ],
)
def test_the_point_nearest_to_a_setting(key: str, text: str, nearest: object) -> None:
    (dimension,) = read_space({key: text})
    value = dimension.nearest(effective(Config(), key))
    assert value == pytest.approx(nearest) if isinstance(nearest, float) else value == nearest


def test_null_is_a_choice_where_a_key_follows_another() -> None:
    plan = read_plan(["search=custom", "optim.generator_learning_rate=choice(1e-4,null)"])
    assert plan.space[0].text == "choice(0.0001, null)"
    assert plan.baseline == {"optim.generator_learning_rate": None}
    assert plan.is_baseline(plan.baseline)
    assert compose_config(as_overrides(plan.baseline)) == Config()
    plan = read_plan(["search=custom", "model.generator.bn_momentum=choice(null,0.8)"])  # the tutorial has 0.78
    assert plan.baseline == {"model.generator.bn_momentum": 0.8}


def test_numbers_in_texts_have_all_their_digits() -> None:
    (dimension,) = read_space({"train.label_noise": "range(0,0.5,0.1666666666666667)"})
    assert dimension.text == "range(0, 0.5, 0.1666666666666667)"
    assert dimension.grid() == [0, 0.1666666666666667, 0.3333333333333334]


def test_names_are_short_but_never_the_same() -> None:
    names = short_names(["model.generator.width", "model.discriminator.width", "train.loss"])
    assert list(names.values()) == ["generator.width", "discriminator.width", "loss"]


def test_grid_values() -> None:
    space = read_space({"model.dropout": "range(0,0.5,0.1)", "train.batch_size": "choice(16,32)"})
    assert space[0].grid() == [0, 0.1, 0.2, 0.3, 0.4]
    assert combinations(space) == 10
    assert space[1].grid() == [16, 32]
    for text in ("interval(0,0.5)", "int(interval(16,32))"):
        (dimension,) = read_space({"train.batch_size" if "int(" in text else "model.dropout": text})
        with pytest.raises(ConfigError, match=r"range\(...\) or choice\(...\) for search.sampler=grid"):
            dimension.grid()


# --- conditions


CONDITIONAL = {
    "train.label_noise": "interval(0, 0.3) when train.loss=bce",
    "train.loss": "choice(bce, hinge, non_saturating)",
    "train.r1_every_steps": "choice(1, 16)  when  train.r1_gamma!=0 and train.loss=hinge|non_saturating",
    "train.r1_gamma": "choice(0, 1) when train.loss!=bce",
}


def test_a_condition_is_part_of_the_text() -> None:
    texts = {dimension.key: dimension.text for dimension in read_space(CONDITIONAL)}
    assert texts["train.label_noise"] == "interval(0, 0.3) when train.loss=bce"
    assert texts["train.r1_every_steps"] == ("choice(1, 16) when train.r1_gamma!=0 and train.loss=hinge|non_saturating")
    assert read_space(texts) == read_space(CONDITIONAL)


@pytest.mark.parametrize("sampler", [optuna.samplers.RandomSampler(seed=0), optuna.samplers.TPESampler(seed=0)])
def test_no_trial_has_a_value_that_does_nothing(sampler: optuna.samplers.BaseSampler) -> None:
    space = read_space(CONDITIONAL)
    seen: set[tuple[str, ...]] = set()

    def objective(trial: optuna.Trial) -> float:
        params = sampled_params(space, trial)
        assert params == trial.params
        assert list(params) == [dimension.key for dimension in space if dimension.key in params]
        is_bce = params["train.loss"] == "bce"
        assert ("train.label_noise" in params) == is_bce
        assert ("train.r1_gamma" in params) != is_bce
        assert ("train.r1_every_steps" in params) == (params.get("train.r1_gamma", 0) == 1)
        seen.add(tuple(params))
        return 0.0

    optuna.create_study(sampler=sampler).optimize(objective, n_trials=40)
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"model.dropout": "choice(0, 0.1) when train.los=bce"}, "got 'bce' (did you mean 'train.loss'"),
        ({"model.dropout": "choice(0, 0.1) when train.loss=bec"}, "model.dropout when ... must be one of bce, hinge"),
        (
            {"model.dropout": "choice(0, 0.1) when train.loss"},
            "must be key=value, key=a|b or key!=value; got 'train.loss'",
        ),
        ({"model.dropout": "choice(0, 0.1) when model.dropout=0"}, "must be a condition on another setting"),
        (
            {
                "model.dropout": "choice(0, 0.1) when train.loss=bce",
                "train.loss": "choice(bce, hinge) when train.augment=none",
                "train.augment": "choice(none, color) when model.dropout!=0",
            },
            "search.space must be without a circle of conditions; got 'model.dropout -> train.loss -> train.augment",
        ),
    ],
)
def test_mistakes_in_conditions(texts: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_space(texts)
    assert message in str(caught.value)


def test_conditions_on_fixed_settings_are_decided_at_once() -> None:
    space, left_out = without_fixed_conditions(read_space(CONDITIONAL), compose_config(["experiment=tutorial"]))
    assert (len(space), left_out) == (4, [])

    def fixed(loss: str) -> tuple[list[str], list[str]]:
        texts = {key: text for key, text in CONDITIONAL.items() if key != "train.loss"}
        space, left_out = without_fixed_conditions(read_space(texts), compose_config([f"train.loss={loss}"]))
        return [f"{dimension.key} {dimension.text}" for dimension in space], left_out

    assert fixed("hinge") == (
        ["train.r1_every_steps choice(1, 16) when train.r1_gamma!=0", "train.r1_gamma choice(0, 1)"],
        ["train.label_noise (train.loss=bce)"],
    )
    kept, left_out = fixed("bce")
    assert kept == ["train.label_noise interval(0, 0.3)"]
    assert sorted(text.partition(" ")[0] for text in left_out) == ["train.r1_every_steps", "train.r1_gamma"]


def test_every_trial_of_all_levers_can_be_composed() -> None:
    plan = read_plan(["search=levers"])
    assert not plan.left_out
    assert plan.baseline.keys() < {dimension.key for dimension in plan.space}  # those of R1, ADA and decay idle there

    def objective(trial: optuna.Trial) -> float:
        config = compose_config(plan.trial_overrides(sampled_params(plan.space, trial)))
        idle = {dimension.key for dimension in plan.space} - trial.params.keys()
        assert ("train.label_flip" in idle) == (config.train.loss == "relativistic")
        assert ("train.augment_target" in idle) == (config.train.augment == "none")
        return 0.0

    optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).optimize(objective, n_trials=8)
