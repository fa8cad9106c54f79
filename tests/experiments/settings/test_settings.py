import pytest
from omegaconf import OmegaConf

from experiments.cli.compose import compose_config
from experiments.cli.overrides import ALIASES, nearest_key
from experiments.settings.renamed import RENAMED, rename_sections, with_present_keys
from experiments.settings.rules import describe, get
from experiments.settings.schema import (
    Config,
    DataConfig,
    EvalConfig,
    GeneratorConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    flatten,
)
from gan.data.classes import class_index
from gan.errors import ConfigError, nearest


def test_defaults_are_the_tutorials() -> None:
    values = flatten(Config())
    expected = {
        "model.latent_dim": 100,
        "model.bn_momentum": 0.8,
        "model.leaky_relu_alpha": 0.2,
        "model.dropout": 0.25,
        "optim.learning_rate": 2e-4,
        "optim.beta_1": 0.5,
        "train.steps": 15000,
        "train.batch_size": 32,
        "train.label_noise": 0.05,
        "train.label_noise_mode": "fixed",
        "train.label_noise_side": "up",
        "train.update_rule": "tutorial",
        "train.loss": "bce",
        "train.label_noise_on": "both",
        "train.label_flip": 0,
        "train.r1_gamma": 0,
        "train.augment": "none",
        "train.horizontal_flip": False,
        "train.ema_decay": 0,
        "model.generator.width": 128,
        "model.discriminator.width": 32,
        "model.discriminator.batch_norm": True,
        "model.discriminator.spectral_norm": False,
        "optim.beta_2": 0.999,
        "optim.decay": "constant",
        "eval.recalibrate_batch_norm": False,
        "train.precision": "float32",
        "train.log_every_steps": 50,
        "train.grid_every_steps": 250,
        "train.checkpoint_every_steps": 500,
        "data.class_id": 8,
        "eval.every_steps": 500,
        "eval.num_images": 2000,
        "eval.final_num_images": 5000,
        "seed": 0,
    }
    assert {key: values[key] for key in expected} == expected


def test_keys_that_default_to_another_are_filled_in() -> None:
    config = Config(
        model=ModelConfig(bn_momentum=0.5, generator=GeneratorConfig(bn_momentum=[0.1, 0])),
        optim=OptimConfig(learning_rate=1e-3, discriminator_learning_rate=4e-3),
    )
    assert config.model.generator.bn_momentum == [0.1, 0.0]
    assert config.model.discriminator.bn_momentum == [0.5, 0.5, 0.5]
    assert config.model.discriminator.leaky_relu_alpha == [0.2] * 4
    assert config.optim.generator_learning_rate == 1e-3
    assert config.optim.discriminator_learning_rate == 4e-3


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (ModelConfig, "bn_momentum", 1.0),
        (ModelConfig, "bn_momentum", -0.1),
        (ModelConfig, "leaky_relu_alpha", 1.0),
        (ModelConfig, "dropout", 1.0),
        (ModelConfig, "latent_dim", 0),
        (OptimConfig, "learning_rate", 0.0),
        (OptimConfig, "learning_rate", float("nan")),
        (OptimConfig, "learning_rate", float("inf")),
        (OptimConfig, "beta_1", 1.0),
        (TrainConfig, "steps", 0),
        (TrainConfig, "batch_size", 1),
        (TrainConfig, "label_noise", 0.51),
        (TrainConfig, "label_noise_mode", "once"),
        (TrainConfig, "precision", "float16"),
        (TrainConfig, "log_every_steps", 0),
        (TrainConfig, "loss", "wgan"),
        (TrainConfig, "label_noise_on", "fake"),
        (TrainConfig, "label_flip", 0.5),
        (TrainConfig, "r1_gamma", -1.0),
        (TrainConfig, "r1_every_steps", 0),
        (TrainConfig, "augment", "colour"),
        (TrainConfig, "ema_decay", 1.0),
        (OptimConfig, "beta_2", 1.0),
        (OptimConfig, "epsilon", 0.0),
        (OptimConfig, "decay", "step"),
        (OptimConfig, "decay_from", 1.0),
        (DataConfig, "source", "mnist"),
        (DataConfig, "class_id", -1),
        (EvalConfig, "num_images", 1),
        (EvalConfig, "num_images", 10**6 + 1),
        (EvalConfig, "final_num_images", 1),
        (TrainConfig, "r1_every_steps", 10**9 + 1),  # an update counts in 32 bits
        (TrainConfig, "threads", 4097),
        (ModelConfig, "dropout", 0.999),
    ],
)
def test_values_out_of_range_name_key_rule_and_value(section: type, key: str, value: object) -> None:
    name = section.__name__.removesuffix("Config").lower()
    with pytest.raises(ConfigError, match=rf"^{name}\.{key} must be .*; got ") as caught:
        Config(**{name: section(**{key: value})})
    assert str(value) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [[0.5], [0.5] * 3, [0.5, 1.0], "high", True], ids=["short", "long", "range", "word", "bool"]
)
def test_per_layer_values_are_checked(value: object) -> None:
    with pytest.raises(ConfigError, match=r"model\.generator\.bn_momentum must be a number in \[0, 1\) or a list of 2"):
        Config(model=ModelConfig(generator=GeneratorConfig(bn_momentum=value)))


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "last", "all", "x" * 101])
def test_run_names_stay_in_their_folder(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^name must be"):
        Config(name=name)


def test_choices_suggest_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"one of tutorial, batch; got 'bacth' \(did you mean 'batch'\?\)"):
        Config(train=TrainConfig(update_rule="bacth"))


def test_class_by_index_name_or_all() -> None:
    assert class_index(8) == class_index("ship") == 8
    assert class_index("airplane") == 0
    assert class_index("all") is None
    for wrong in (-1, "shipp", True):
        with pytest.raises(ConfigError, match=r"data\.class_id"):
            class_index(wrong)
    with pytest.raises(ConfigError, match="did you mean 'ship'"):
        class_index("shipp")


def test_only_an_own_npz_may_have_a_class_above_nine() -> None:
    for source, path in (("npz", "own.npz"), ("auto", "own.npz")):
        assert Config(data=DataConfig(source=source, path=path, class_id=10)).data.class_id == 10
    for source, path in (("auto", None), ("cifar10", None), ("cifar10", "there"), ("embedded", None)):
        with pytest.raises(ConfigError, match=r"data\.class_id must be 0 to 9.*; got 10"):
            Config(data=DataConfig(source=source, path=path, class_id=10))


def test_a_folder_may_have_classes_of_any_name() -> None:
    for source, path in (("folder", "there"), ("auto", "there")):
        assert Config(data=DataConfig(source=source, path=path, class_id="shipp")).data.class_id == "shipp"
    for source in ("auto", "cifar10", "embedded", "npz"):
        with pytest.raises(
            ConfigError, match=r"data\.class_id must be 0 to 9.*; got 'shipp' \(did you mean 'ship'\?\)"
        ):
            Config(data=DataConfig(source=source, class_id="shipp"))


def test_nearest_looks_at_the_last_part_too() -> None:
    assert nearest("model.bn_momentun", describe(Config)) == "did you mean 'model.bn_momentum'?"
    assert nearest("dropuot", describe(Config)) == "did you mean 'model.dropout'?"
    assert nearest("zzz", describe(Config)) == ""


def test_every_key_is_described() -> None:
    for key, spec in describe(Config).items():
        assert spec["doc"], key
        assert get(Config(), key) is not None or spec["default"] is None


def test_usual_names_of_other_programs_are_understood() -> None:
    keys = describe(Config)
    assert nearest_key("lr", keys) == "did you mean 'optim.learning_rate'?"
    assert set(ALIASES.values()) <= keys.keys()
    assert nearest_key("lr", ["train.steps"]) == ""


@pytest.mark.parametrize("key", RENAMED)
def test_a_former_key_is_refused_with_the_present_one_and_read_from_records(key: str) -> None:
    present, config = RENAMED[key], Config()
    assert key not in describe(Config) and present in describe(Config)
    for override in (f"{key}=batch", "train={batch_norm:batch}"):
        with pytest.raises(ConfigError, match=f"^{key} must be written {present}; got"):
            compose_config([override])
    section, _, name = key.rpartition(".")
    recorded = OmegaConf.create({section: {name: get(config, present)}})
    rename_sections(recorded)
    assert recorded == {section: {present.rpartition(".")[2]: get(config, present)}}
    assert with_present_keys({f"search.space.{key}": 1, "seed": 2}, ("search.space.",)) == {
        f"search.space.{present}": 1,
        "seed": 2,
    }
