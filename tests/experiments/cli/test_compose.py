from pathlib import Path

import pytest

from experiments.cli import environment, presets
from experiments.cli.compose import compose, compose_config, compose_settings
from experiments.cli.overrides import expand_sweep, quote_texts
from experiments.settings.rules import describe, text_keys
from experiments.settings.schema import Config, flatten
from gan.errors import ConfigError
from sweeps.spec.schema import Settings


def config(*overrides: str) -> Config:
    return compose_config(list(overrides))


def test_no_override_gives_the_dataclasses_defaults() -> None:
    assert flatten(config()) == flatten(Config())


def test_one_number_sets_every_layer() -> None:
    model = config("model.bn_momentum=0.9", "model.leaky_relu_alpha=0.3").model
    assert model.generator.bn_momentum == [0.9] * 2
    assert model.discriminator.bn_momentum == [0.9] * 3
    assert model.discriminator.leaky_relu_alpha == [0.3] * 4


def test_a_list_sets_one_value_a_layer() -> None:
    model = config("model.discriminator.bn_momentum=[0.1,0.2,0.3]", "model.generator.bn_momentum=0.4").model
    assert model.discriminator.bn_momentum == [0.1, 0.2, 0.3]
    assert model.generator.bn_momentum == [0.4, 0.4]


def test_tutorial_preset_is_the_tutorial_to_the_digit() -> None:
    c = config("experiment=tutorial")
    assert c.model.generator.bn_momentum == [0.78, 0.78]
    assert c.model.discriminator.bn_momentum == [0.82, 0.82, 0.8]
    assert c.model.discriminator.leaky_relu_alpha == [0.2, 0.25, 0.2, 0.25]
    assert (c.model.latent_dim, c.model.dropout) == (100, 0.25)
    assert (c.optim.generator_learning_rate, c.optim.discriminator_learning_rate, c.optim.beta_1) == (2e-4, 2e-4, 0.5)
    assert (c.train.steps, c.train.batch_size) == (15000, 32)
    assert (c.train.label_noise, c.train.label_noise_mode, c.train.label_noise_side) == (0.05, "fixed", "up")
    assert (c.train.update_rule, c.train.precision, c.data.class_id) == ("tutorial", "float32", 8)


def test_quick_preset_is_the_tutorial_cut_short() -> None:
    quick, tutorial = flatten(config("experiment=quick")), flatten(config("experiment=tutorial"))
    assert {key for key in quick if quick[key] != tutorial[key]} == {"train.steps", "train.grid_every_steps"}


def test_tuned_four_differs_from_the_tutorial_in_the_four_settings_alone() -> None:
    four, tutorial = config("experiment=tuned_four"), config("experiment=tutorial")
    settings, other = flatten(four), flatten(tutorial)
    of_layers = {f"model.{n}.bn_momentum" for n in ("generator", "discriminator")}
    of_layers |= {"model.discriminator.leaky_relu_alpha"}
    rates = {"optim.learning_rate", "optim.generator_learning_rate", "optim.discriminator_learning_rate"}
    noise_and_shared = {"train.label_noise", "model.bn_momentum", "model.leaky_relu_alpha"}
    assert {key for key in settings if settings[key] != other[key]} == of_layers | rates | noise_and_shared
    # One number for all layers, as a user would set it.
    assert set(four.model.generator.bn_momentum) == {four.model.bn_momentum}
    assert set(four.model.discriminator.leaky_relu_alpha) == {four.model.leaky_relu_alpha}
    again = config("experiment=tuned_four", "model.bn_momentum=0.9").model
    assert set(again.generator.bn_momentum) | set(again.discriminator.bn_momentum) == {0.9}


def test_a_shared_key_reaches_layers_that_a_preset_names() -> None:
    model = config("experiment=tutorial", "model.bn_momentum=0.9").model
    assert model.generator.bn_momentum == [0.9, 0.9]
    assert model.discriminator.bn_momentum == [0.9, 0.9, 0.9]
    assert model.discriminator.leaky_relu_alpha == [0.2, 0.25, 0.2, 0.25]
    both = config("experiment=tutorial", "model.bn_momentum=0.9", "model.generator.bn_momentum=[0.1,0.2]").model
    assert both.generator.bn_momentum == [0.1, 0.2]
    assert both.discriminator.bn_momentum == [0.9, 0.9, 0.9]
    assert compose(["model.bn_momentum=0.9"]).overrides == ["model.bn_momentum=0.9"]  # nothing to clear
    nested = "model={bn_momentum:0.9,generator:{bn_momentum:[0.1,0.2]}}"
    assert config("experiment=tutorial", nested).model.generator.bn_momentum == [0.1, 0.2]
    in_braces = config("experiment=tutorial", "model={bn_momentum:0.9}").model
    assert in_braces.generator.bn_momentum == [0.9, 0.9]


def test_a_shared_key_of_a_preset_reaches_layers_of_those_that_it_builds_on(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    for name, base, lines in (
        ("mine", "tutorial", "model: {bn_momentum: 0.9, leaky_relu_alpha: 0.1}"),
        ("again", "/experiment/mine", "optim: {generator_learning_rate: 1e-4}"),
        (
            "one",
            "again",
            "model: {bn_momentum: 0.5, generator: {bn_momentum: [0.1, 0.2]}}\noptim: {learning_rate: 3e-4}",
        ),
    ):
        content = f"{presets.GLOBAL}\ndefaults:\n  - {base}\n  - _self_\n{lines}\n"
        (tmp_path / "experiment" / f"{name}.yaml").write_text(content)
    mine, again, one = (compose([f"experiment={name}"], str(tmp_path)).config for name in ("mine", "again", "one"))
    for model in (mine.model, again.model):
        assert (model.generator.bn_momentum, model.discriminator.leaky_relu_alpha) == ([0.9] * 2, [0.1] * 4)
        assert model.discriminator.bn_momentum == [0.9] * 3
    assert (again.optim.generator_learning_rate, again.optim.discriminator_learning_rate) == (1e-4, 2e-4)
    assert (one.model.generator.bn_momentum, one.model.discriminator.bn_momentum) == ([0.1, 0.2], [0.5] * 3)
    assert one.optim.generator_learning_rate == 3e-4
    named = ["experiment=one", "optim.generator_learning_rate=5e-5"]
    assert compose(named, str(tmp_path)).config.optim.generator_learning_rate == 5e-5
    (tmp_path / "experiment" / "hydra.yaml").write_text(f"{presets.GLOBAL}\nhydra: {{job: {{chdir: true}}}}\n")
    with pytest.raises(ConfigError, match=r"hydra must be absent in a preset; .*in experiment/hydra\.yaml"):
        compose(["experiment=hydra"], str(tmp_path))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hydra.run.dir=/x", r"hydra\.run\.dir must be absent; got '/x' \(records\.root= and name= say where a run is"),
        ("hydra.job.chdir=true", r"hydra\.job\.chdir must be absent"),
        ("hydra/job_logging=stdout", "hydra/job_logging must be absent; got 'stdout'"),
        ("hydra.verbose=3", r"hydra\.verbose must be true, false or names of loggers; got '3'"),
        ("hydra.verbose=[1]", r"hydra\.verbose must be true, false or names of loggers"),
        ("model.bn_momentum=1.7", r"model\.bn_momentum must be in \[0, 1\); got 1\.7"),
        ("model.bn_momentun=0.8", r"model\.bn_momentun must be a known setting.*did you mean 'model\.bn_momentum'"),
        ("model.bn_momentum=[0.8]", r"model\.bn_momentum must be a number.*model\.generator\.bn_momentum"),
        ("model={bn_momentun:0.8}", r"model\.bn_momentun must be a known.*did you mean 'model\.bn_momentum'"),
        ("model=3", r"model must be given key by key; got '3' \(model\.architecture, "),
        ("~train.steps", r"must be key=value; got '~train\.steps'"),
        ("experiment=null", "tuned_four, tutorial; got None .defaults is without a preset"),
        ("data.path=", r"data\.path must be absent or not empty; got ''"),
        ("model.latent_dim=999999999999", r"model\.latent_dim must be in \[1, 65536\]"),
        ("train.steps=0", r"train\.steps must be in \[1, 1000000000\]; got 0"),
        ("train.steps=many", r"train\.steps must be an integer, in \[1, 1000000000\]; got 'many'"),
        ("train.steps=1.5", r"train\.steps must be an integer"),
        ("optim.learning_rate=-1", r"optim\.learning_rate must be greater than 0; got -1"),
        ("optim.learning_rate=fast", r"optim\.learning_rate must be a number, greater than 0; got 'fast'"),
        ("optim.generator_learning_rate=fast", r"optim\.generator_learning_rate must be a number"),
        ("data.class_id=10", r"data\.class_id must be 0 to 9"),
        ("data=interval(0,0)", r"data must be one of auto, .*; got 'interval\(0,0\)'"),
        ("data.class_id=shipp", "did you mean 'ship'"),
        ("data.class_id='ship,cat'", "several are several runs: --multirun"),
        ("data=fodler", "data must be one of auto, cifar10, embedded, folder, npz; got 'fodler'.*'folder'"),
        ("experiment=tutoral", "experiment must be one of defaults, quick, tuned, tuned_four, tutorial; got 'tutoral'"),
        ("+train.setps=5", r"train\.setps must be a known setting.*train\.steps"),
        ("train.steps", "an override must be key=value; got 'train.steps'"),
        ("train.steps=[1", "an override must be key=value"),
        ("train.steps=choice()", r"must be with values that choice\(\) takes; got .* \(empty choice is not legal\)"),
        ("train.steps=1,2", "--multirun"),
        ("name=[a]", "name must be letters a to z, digits"),
        ("experiment=glob(*)", "an override must be with its values written out, as in key=a,b,c"),
        ("optim.learning_rate=1e-3,2e-3", "must be one value; got '1e-3,2e-3' .--multirun trains a run for each"),
        ("optim.learning_rate=inf", "must be greater than 0, and finite; got inf"),
        ("optim.learning_rate=intervall(1,2)", "bool, shuffle, sort; got .* .did you mean 'interval'"),
        ("model.latent_dim=[choice(1,2)]", "an override must be without several values inside of another value"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config(override)
    assert "\n" not in str(caught.value)
    assert "hydra.cc" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "class_id"),
    [
        ("8", 8),
        ("08", "08"),
        ("two words", "two words"),
        ("1.5", "1.5"),
        ("true", "true"),
        ("a=b", "a=b"),
        ("a,b", "a,b"),
        ("-5", "-5"),
        ("null", "null"),
        ("1_000", "1_000"),
    ],
)
def test_a_class_is_an_index_or_the_name_of_a_folder(typed: str, class_id: int | str) -> None:
    overrides = quote_texts(["data=folder", f"data.class_id={typed}"], text_keys(Config))
    assert compose_config(overrides).data.class_id == class_id
    assert quote_texts(["data.class_id=8,cats"], [], multirun=True) == ["data.class_id=8,cats"]


def test_a_users_own_preset_folder(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nmodel:\n  dropout: 0.4\n")
    assert compose_config(["experiment=mine"], str(tmp_path)).model.dropout == 0.4
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nmodel:\n  dropuot: 0.4\n")
    with pytest.raises(ConfigError, match="dropuot"):
        compose_config(["experiment=mine"], str(tmp_path))
    (tmp_path / "experiment" / "mine.yaml").write_text("model:\n  dropout: 0.4\n")
    rule = r"experiment must be a preset whose first line is '# @package _global_'; got 'experiment/mine\.yaml'"
    with pytest.raises(ConfigError, match=rule):
        compose_config(["experiment=mine"], str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"train: {steps: 1e3}",
            r"train\.steps must be an integer, in \[1, .*got '1000\.0' \(in experiment/mine\.yaml",
        ),
        (b"train: {threads: None}", r"train\.threads must be an integer.*got 'None' \(in experiment/mine\.yaml"),
        *[
            (b"data: {class_id: %s}" % text, r"data\.class_id must be .*quotation marks")
            for text in (b"1.50", b"1e3", b"no")
        ],
        (
            b"name: 2026.10",
            r"name must be letters.*got 2026\.1 \(in experiment/mine\.yaml; a text: put it in quotation marks\)",
        ),
        (b"train: {steps: 0}", r"train\.steps must be in \[1, .*got 0 \(in experiment/mine\.yaml\)"),
        (b"train: {horizontal_flip: maybe}", r"true or false; got 'maybe' \(in experiment/mine\.yaml\)"),
        (b"train: {steps: null}", r"train\.steps must be an integer.*got 'null' \(in experiment/mine\.yaml\)"),
        (b"data: {class_id: [1]}", r"data\.class_id must be .*got \[1\] \(in experiment/mine\.yaml\)"),
        (
            b"data: folder",
            r"data must be given key by key; got 'folder' \(in experiment/mine\.yaml; for example data\.",
        ),
        (b"train: 5", r"train must be given key by key; got 5 \(in experiment/mine\.yaml; for example train\."),
        (b"train:", r"train must be given key by key; got None \(in experiment/mine\.yaml"),
        (
            b"model: {generator: [1]}",
            r"model\.generator must be given key by key; got \[1\] \(in experiment/mine\.yaml",
        ),
        (
            b"- a\n- b",
            r"experiment must be a preset of keys with their values; got \['a', 'b'\] \(in experiment/mine\.",
        ),
        (b"lr: 5", r"lr must be a known setting; got 5 \(in experiment/mine\.yaml; did you mean 'optim\.learning_rate"),
        (b"name: 0012", r"name must be .*quotation marks"),
        (b"records: {root: true}", r"records\.root must be .*quotation marks"),
        (b"name: None", r"name must be .*got 'None' \(in experiment/mine\.yaml; write null for none\)"),
    ],
)
def test_a_value_of_another_type_in_a_preset_names_its_key(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_bytes(b"# @package _global_\n" + content)
    with pytest.raises(ConfigError, match=message):
        compose_config(["experiment=mine"], str(tmp_path))


def test_a_preset_with_a_byte_order_mark_or_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_bytes(b"\xef\xbb\xbf# @package _global_\nname: boat\n")
    rule = r"experiment must be saved without a byte order mark; got 'experiment/mine\.yaml'"
    with pytest.raises(ConfigError, match=rule):
        compose_config(["experiment=mine"], str(tmp_path))
    file.write_bytes(b"# @package _global_\r\nname: boat\r\n")
    assert compose_config(["experiment=mine"], str(tmp_path)).name == "boat"


@pytest.mark.parametrize(
    "content",
    [b"{", b"\x80", b"\x00", b"defaults: {}", b"hydra: null", b"a: &a [*a]", b"!!python/object/apply:os.system [ls]"],
)
def test_a_damaged_preset_is_a_mistake_of_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_bytes(b"# @package _global_\n" + content)
    with pytest.raises(
        ConfigError, match=r"--config-dir must be a folder of presets in YAML; got .*\(experiment/mine\.yaml: "
    ) as caught:
        compose_config(["experiment=mine"], str(tmp_path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_sweeps_expand_as_hydra_does() -> None:
    runs = expand_sweep(["model.bn_momentum=0.7,0.8", "seed=range(2)", "train.steps=10"])
    assert runs == [
        [f"model.bn_momentum={m}", f"seed={s}", "train.steps=10"] for m in ("0.7", "0.8") for s in ("0", "1")
    ]
    with pytest.raises(ConfigError, match="sweep"):
        expand_sweep(["model.bn_momentum=interval(0,1)"])


def test_every_key_can_be_typed() -> None:
    """Each key of the dataclasses is reachable from the command line with its own default."""
    defaults = flatten(Config())
    for key, spec in describe(Config).items():
        if spec["default"] is not None:
            assert flatten(config(f"{key}={defaults[key]}"))[key] == defaults[key]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("trials: 0", r"search\.trials must be in \[2, 100000\]; got 0 \(in search/mine\.yaml\)"),
        ("trials: null", r"search\.trials must be an integer.*; got 'null' \(in search/mine\.yaml\)"),
        ("trails: 3", r"search\.trails must be a known setting; got 3 \(in search/mine\.yaml; did you mean"),
        ("5", r"--config-dir must be a folder of presets in YAML; got .*\(search/mine\.yaml: "),
    ],
)
def test_mistakes_in_the_presets_of_a_search_are_placed_too(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "mine.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        compose_settings("optuna_search", Settings, ("search",), ["search=mine"], str(tmp_path))


def test_an_installation_without_its_settings_says_how_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "CONF", tmp_path / "conf")
    with pytest.raises(ConfigError, match=r"the program must be run from its checkout, where `pip install -e \.`"):
        compose_config([])
