"""A search's command line, checked before anything is written."""

from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf

from experiments.cli.compose import compose_config
from experiments.records.folders import RunFolder, write_json
from experiments.settings.rules import get
from gan.errors import ConfigError
from sweeps.spec.plan import plan_warnings
from sweeps.spec.read_plan import read_plan
from sweeps.spec.schema import MOST_TRIALS
from sweeps.spec.space import sampled_params
from sweeps.study.identity import check_identity


def test_no_argument_searches_the_four_settings() -> None:
    plan = read_plan([])
    assert {d.key: d.text for d in plan.space} == {
        "model.bn_momentum": "interval(0.5, 0.99)",
        "model.leaky_relu_alpha": "interval(0, 0.5)",
        "train.label_noise": "interval(0, 0.3)",
        "optim.learning_rate": "tag(log, interval(5e-05, 0.001))",
    }
    # The baseline is the preset to the digit; the sampler, which knows one number for all layers, sees their mean.
    assert plan.preset == "tutorial"
    assert compose_config(plan.trial_overrides({})).model == compose_config(["experiment=tutorial"]).model
    assert plan.baseline_for_tables == {
        "model.bn_momentum": "0.78/0.82/0.8",
        "model.leaky_relu_alpha": "0.2/0.25",
        "train.label_noise": 0.05,
        "optim.learning_rate": 2e-4,
    }
    assert plan.baseline == {
        "model.bn_momentum": 0.8,
        "model.leaky_relu_alpha": 0.225,
        "train.label_noise": 0.05,
        "optim.learning_rate": 2e-4,
    }
    assert not plan.is_baseline(plan.baseline)
    momentum = compose_config(plan.trial_overrides({"model.bn_momentum": 0.9})).model
    assert (momentum.generator.bn_momentum, momentum.discriminator.bn_momentum) == ([0.9] * 2, [0.9] * 3)
    assert momentum.discriminator.leaky_relu_alpha == [0.2, 0.25, 0.2, 0.25]
    assert plan.config.train.steps == plan.search.steps
    assert (plan.rungs, plan.config.eval.every_steps) == ((500, 1500, 5000), 250)
    assert not plan_warnings(plan)


def test_the_command_line_adds_replaces_and_fixes_dimensions() -> None:
    plan = read_plan(
        ["model.bn_momentum=choice(0.5,0.9)", "model.leaky_relu_alpha=0.3", "model.dropout=interval(0,0.5)"]
    )
    assert [d.key for d in plan.space] == [
        "model.bn_momentum",
        "train.label_noise",
        "optim.learning_rate",
        "model.dropout",
    ]
    assert plan.space[0].text == "choice(0.5, 0.9)"
    assert plan.config.model.discriminator.leaky_relu_alpha == [0.3] * 4
    assert [d.key for d in read_plan(["search=custom", "model.dropout=interval(0,0.5)"]).space] == ["model.dropout"]


def test_the_space_of_all_options_has_the_tutorial_in_it_and_only_valid_runs() -> None:
    plan = read_plan(["search=levers"])
    assert {d.key for d in plan.space} >= {"train.ema_decay", "train.loss", "train.augment", "optim.decay"}
    assert not plan_warnings(plan)
    assert plan.identity() == read_plan(["search=levers"]).identity()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(5):
        params = sampled_params(plan.space, study.ask())
        config = compose_config(plan.trial_overrides(params))
        assert {key: get(config, key) for key in params} == params
    fixed = read_plan(["search=custom", "train.loss=hinge", "train.label_noise=interval(0,0.3)"])
    assert "train.loss" not in {d.key for d in fixed.space}
    assert [line for line in plan_warnings(fixed) if "acts in train.loss=bce alone" in line]


def test_the_name_of_a_study_is_a_text(tmp_path: Path) -> None:
    assert read_plan(["search.study=2026.10"]).search.study == "2026.10"
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "1e3.yaml").write_text("defaults: [default, _self_]\nstudy: 2026.10\n")
    with pytest.raises(
        ConfigError, match=r"search\.study must be letters.*got 2026\.1 \(in search/1e3\.yaml; a text: put"
    ):
        read_plan(["--config-dir", str(tmp_path), "search=1e3"])


def test_presets_are_under_the_command_line() -> None:
    plan = read_plan(["search=quick", "search.trials=9", "eval.num_images=100"])
    assert (plan.search.study, plan.search.trials, plan.config.eval.num_images) == ("quick", 9, 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search.trials=0"], r"search.trials must be in \[2, 100000\]; got 0"),
        (["search.sampler=tpee"], "did you mean 'tpe'"),
        (["search.trails=9"], "search.trails must be a known setting.*'search.trials'"),
        (["trials=9"], "trials must be a known setting; got '9'.*'search.trials=9'"),
        (["seeds=9", "study=a,b"], "study must be a known setting; got 'a,b'.*'search.study=a,b'"),
        (
            ["train.loss=bce,hinge", "train.r1_every_steps=1,4 when train.loss=non_saturating"],
            r"train.r1_every_steps when ... must be a condition that train.loss=choice\(bce, hinge\) can fulfil; "
            "got 'train.loss=non_saturating'",
        ),
        (
            ["model.dropout=interval(0,0.5)", "train.r1_every_steps=1,4 when model.dropout=0.6"],
            "train.r1_every_steps when ... must be a condition that model.dropout=interval",
        ),
        (["search.resources.cpus=2"], "search.resources.cpus must be absent unless search.launcher=ray or slurm; got"),
        (["search.resources.gpus=1"], "search.resources.gpus must be absent unless search.launcher=ray or slurm; got"),
        (["search.slurm.partition=gpu"], "search.slurm.partition must be absent unless search.launcher=slurm"),
        (["search.slurm.minutes=10"], "search.slurm.minutes must be absent unless search.launcher=slurm"),
        (["search.ray_address=auto"], "search.ray_address must be absent unless search.launcher=ray"),
        (["search.grace_seconds=60"], "search.grace_seconds must be absent unless search.storage is an address"),
        (
            ["search.launcher=slurm", "search.storage=sqlite:////tmp/x.db", "search.resources.cpus=1.5"],
            "search.resources.cpus must be a whole number with SLURM; got 1.5",
        ),
        (["search.learn_from=quick"], r"a list of texts; got 'quick' \(search.learn_from=\[quick\]\)"),
        (["search=quik"], "search must be one of custom, default, grid, levers, quick.*'quick'"),
        (["search.confirm.top=99"], "search.confirm.top must be at most 19"),
        (
            [
                "search=custom",
                "search.sampler=grid",
                "model.latent_dim=range(1,60000)",
                "train.batch_size=range(2,60000)",
            ],
            r"a grid must be of at most 100,000 combinations; got '3,5",
        ),
        (["search.storage=None"], "write null for none"),
        (["search.sampler=grid"], r"range\(...\) or choice\(...\) for search.sampler=grid"),
        (
            ["search.min_steps=503"],
            "search.min_steps must be a multiple of eval.every_steps, which would be 1 then; got 503 "
            r"\(search.min_steps=502 is scored every 251 updates\)",
        ),
        (
            ["search.sampler=cmaes"],
            "search.pruner must be halving, median, hyperband or none with search.sampler=cmaes.*; got 'asha'",
        ),
        (["search.steps=1000", "eval.every_steps=400"], "search.steps must be at least 3 times eval.every_steps=400"),
        (["search.space={a: interval(0,1)}"], "dimension by dimension"),
        (["model.dropout=0,0.1", "model.dropout=0.2"], "model.dropout must be a dimension or one value, not both"),
        (
            ["train.steps=100"],
            r"train.steps must be absent in a search, which has search.steps; got '100' \(search.steps=100\)",
        ),
        (["name=x"], "name must be absent"),
        (["search=custom"], "search.space must be one key or more"),
        (["search.study=../x"], "search.study must be letters"),
        (["train.update_rule=bacth"], "train.update_rule must be one of"),
        (["model.bn_momentun=interval(0,1)"], "'model.bn_momentum'"),
        (["--multirun"], "--config-dir FOLDER"),
        (["--config-dir"], "--config-dir must be a folder"),
        (["search.trials=5,10"], "search.trials must be one value"),
        (
            ["train.devices=2", "train.batch_size=choice(15,16)"],
            "train.batch_size must be a choice or a range of mul.* of 2",
        ),
        (
            ["train.devices=2", "train.batch_size=interval(8,64)"],
            "train.batch_size must be a choice or a range of mult",
        ),
        (
            ["train.r1_gamma=range(0,1e22,1e21)"],
            "train.r1_gamma must be a range of integers up to 9,007,199,254,740,992",
        ),
        (["search.workers=none"], "search.workers must be an integer"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_plan(arguments)


def test_commands_of_a_search_have_its_folder_of_presets(tmp_path: Path) -> None:
    from sweeps.analysis.report import train_command

    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nmodel:\n  dropout: 0.1\n")
    plan = read_plan(["--config-dir", str(tmp_path), "experiment=mine"])
    assert plan.config.model.dropout == 0.1
    command = train_command(plan, {"model.bn_momentum": 0.5})
    assert command == f"python experiments/run.py --config-dir {tmp_path} experiment=mine model.bn_momentum=0.5"


def test_batch_sizes_that_devices_can_share_are_taken() -> None:
    assert read_plan(["train.devices=2", "train.batch_size=range(8,65,8)"]).space[-1].key == "train.batch_size"
    assert read_plan(["train.batch_size=choice(15,16)"]).space[-1].key == "train.batch_size"


def test_few_trials_need_no_word_about_the_confirmation() -> None:
    assert read_plan(["search.trials=3"]).search.confirm.top == 2


def test_a_budget_of_updates_or_hours_stands_for_itself(tmp_path: Path) -> None:
    """Unless trials are given where it is given: in a preset, or on the command line."""
    assert read_plan(["search=levers"]).search.trials == 100
    assert read_plan(["search=levers", "search.updates=60000"]).search.trials == MOST_TRIALS
    assert read_plan(["search.updates=60000"]).search.trials == MOST_TRIALS
    assert read_plan(["search.updates=60000", "search.trials=20"]).search.trials == 20
    assert read_plan(["search.hours=8"]).search.trials == MOST_TRIALS
    assert read_plan(["search=levers", "search.hours=8"]).search.trials == MOST_TRIALS
    assert read_plan(["search.hours=8", "search.trials=20"]).search.trials == 20
    folder = tmp_path / "search"
    folder.mkdir()
    (folder / "both.yaml").write_text("updates: 50000\ntrials: 30\nspace:\n  model.dropout: choice(0, 0.25)\n")
    preset = ["--config-dir", str(tmp_path), "search=both"]
    assert read_plan(preset).search.trials == 30
    assert read_plan([*preset, "search.hours=8"]).search.trials == MOST_TRIALS
    assert read_plan([*preset, "search.updates=60000"]).search.trials == MOST_TRIALS


def test_a_dimension_of_a_preset_is_left_out_where_its_condition_cannot_hold() -> None:
    plan = read_plan(["search=levers", "train.loss=hinge,non_saturating"])
    assert "train.label_noise" not in {dimension.key for dimension in plan.space}
    assert any("train.label_noise (train.loss=bce)" in text for text in plan.left_out)


def test_scores_come_at_even_distances() -> None:
    for steps, every in ((1500, 250), (1000, 167), (100, 17), (3, 1)):
        assert read_plan([f"search.steps={steps}", "search.pruner=halving"]).config.eval.every_steps == every
    # Twice until the first rung: a tenth of the steps, or what the user says.
    for steps, shortest, every in (
        (5000, None, 250),
        (1500, None, 75),
        (12, None, 1),
        (5000, 600, 300),
        (5000, 999, 333),
        (5000, 60, 30),
        (5000, 5000, 625),
    ):
        settings = [f"search.steps={steps}"] + ([f"search.min_steps={shortest}"] if shortest else [])
        assert read_plan(settings).config.eval.every_steps == every


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model.dropout=interval(0,0.5) prior 0.6"],
            r"model.dropout prior must be a value of interval\(0, 0.5\); got '0.6'",
        ),
        (
            ["train.loss=bce,hinge prior lsgan"],
            r"train.loss prior must be a value of choice\(bce, hinge\); got 'lsgan'",
        ),
        (["train.loss=bce,hinge prior bce sure"], "train.loss prior must be a value, and low, medium or high where"),
        (["train.loss=bce,hinge prior"], "train.loss"),
        (["model.minibatch_stddev=true,false prior 1"], "model.minibatch_stddev prior must be a value of"),
    ],
)
def test_mistakes_with_priors(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_plan(arguments)


def test_priors_are_read_beside_conditions_and_left_out_of_what_makes_a_study() -> None:
    plan = read_plan(
        [
            "search=custom",
            "train.loss=bce,hinge prior hinge high",
            "train.label_noise=interval(0,0.3) prior 0.1 when train.loss=bce",
        ]
    )
    assert [d.full_text for d in plan.space] == [
        "choice(bce, hinge) prior hinge high",
        "interval(0, 0.3) prior 0.1 medium when train.loss=bce",
    ]
    bare = read_plan(["search=custom", "train.loss=bce,hinge", "train.label_noise=interval(0,0.3) when train.loss=bce"])
    assert plan.identity() == bare.identity()
    assert read_plan(["data=folder", "data.path=/a prior b"]).config.data.path == "/a prior b"


def test_the_baseline_is_known_in_any_form() -> None:
    space = ["search=custom", "model.generator.bn_momentum=interval(0.7,0.9)", "model.dropout=interval(0,0.5)"]
    plan = read_plan(space)
    assert plan.is_baseline({"model.generator.bn_momentum": 0.78, "model.dropout": 0.25})
    assert not plan.is_baseline({"model.generator.bn_momentum": 0.8, "model.dropout": 0.25})
    assert plan.is_baseline(plan.baseline)


@pytest.mark.parametrize(
    ("argument", "preset", "words"),
    [
        ("experiment=tuned", "tuned", "the settings of experiment=tuned"),
        ("experiment=defaults", "defaults", "the settings of experiment=defaults"),
        ("train.precision=mixed_bfloat16", "tutorial", "the tutorial's settings"),
    ],
)
def test_a_search_starts_from_any_preset(argument: str, preset: str, words: str) -> None:
    plan = read_plan([argument])
    assert (plan.preset, plan.baseline_name) == (preset, words)
    expected = compose_config([f"experiment={preset}"])
    assert compose_config(plan.trial_overrides({})).model == expected.model
    assert plan.config.optim == expected.optim


def test_the_identity_holds_the_baseline() -> None:
    assert read_plan(["experiment=defaults"]).identity() != read_plan([]).identity()
    changed = read_plan(["experiment=tuned_four", "train.label_noise=0.05"])  # equal but for the baseline
    same = read_plan(["train.label_noise=0.05"])
    with pytest.raises(ConfigError, match=r"baseline\.model\.bn_momentum: 0\.78/0\.82/0\.8 in the study, 0\.2 now"):
        check_identity("gan", same.identity(), changed.identity(), changed)
    check_identity("gan", same.identity(), same.identity(), same)


def test_other_images_are_said_first_and_in_words() -> None:
    plan = read_plan([])
    stored = {
        **plan.identity(),
        "dataset_sha256": "1" * 64,
        "fid_proxy_id": "x",
        "model.dropout": 0.1,
        "seed": 1,
        "a": 1,
    }
    now = {**plan.identity(), "dataset_sha256": "2" * 64, "fid_proxy_id": "y"}
    with pytest.raises(ConfigError) as caught:
        check_identity("gan", stored, now, plan, "cifar10 /data, class 8 (ship)")
    message = str(caught.value)
    assert (
        "got 'gan' (images: cifar10 /data, class 8 (ship) in the study, others now (data.path=... says where" in message
    )
    assert "1111" not in message and message.count(" in the study, ") == 3
    assert message.endswith("; 2 settings more)")


def test_warnings() -> None:
    (inert,) = plan_warnings(read_plan(["train.update_rule=batch"]))
    assert "model.bn_momentum: nearly inert under train.update_rule=batch" in inert
    (outside,) = plan_warnings(read_plan(["optim.beta_1=interval(0.7,0.9)"]))
    assert outside.startswith(
        "optim.beta_1: the tutorial's settings have 0.5, outside of the space; trial 0 has it nevertheless"
    )
    (useless,) = plan_warnings(read_plan(["search=custom", "model.discriminator.bn_momentum=interval(0,0.9)"]))
    assert "no effect" in useless


def test_a_note_is_the_studys_alone() -> None:
    for prefix in ("", "+", "++"):
        plan = read_plan([f"{prefix}note=does dropout matter, early?"])
        assert plan.config.note == "does dropout matter, early?"
        assert plan.identity() == read_plan([]).identity()
        assert not [each for each in plan.trial_overrides({}) if "note" in each]


def test_identity_is_what_scores_depend_on() -> None:
    plain = read_plan([]).identity()
    for same in (
        ["search.trials=50", "search.sampler=random"],
        ["train.threads=1"],
        ["search.workers=3"],
        ["data.path=x"],
    ):
        assert read_plan(same).identity() == plain
    for other in (["seed=1"], ["search.steps=900"], ["eval.num_images=100"], ["train.precision=mixed_bfloat16"]):
        assert read_plan(other).identity() != plain


def test_a_grid_is_its_own_budget() -> None:
    space = ["search=custom", "model.dropout=choice(0.1,0.2)", "train.batch_size=range(16,65,16)"]
    assert read_plan([*space, "search.sampler=grid"]).budget == 8
    assert read_plan([*space, "search.sampler=grid", "search.trials=5"]).budget == 5
    assert read_plan(space).budget == 20


def test_conditions_are_read_from_the_command_line() -> None:
    plan = read_plan(["search=custom", "train.loss=bce,hinge", "train.label_noise=interval(0,0.3) when train.loss=bce"])
    assert [dimension.text for dimension in plan.space] == [
        "choice(bce, hinge)", "interval(0, 0.3) when train.loss=bce",
    ]  # fmt: skip
    assert plan.baseline == {"train.loss": "bce", "train.label_noise": 0.05}
    assert plan.identity()["search.space.train.label_noise"] == "interval(0, 0.3) when train.loss=bce"
    assert plan.baseline_for_tables == plan.baseline
    hinge = read_plan([*plan.command, "experiment=tutorial", "train.r1_every_steps=1,4 when train.loss=hinge"])
    assert "train.r1_every_steps" not in hinge.baseline_for_tables
    assert "baseline.train.r1_every_steps" in hinge.identity()
    again = read_plan([argument for argument in plan.command if argument])
    assert again.space == plan.space


def test_what_means_nothing_is_left_out_with_a_word() -> None:
    plan = read_plan(["search=levers", "train.loss=hinge", "train.augment=none"])
    keys = {dimension.key for dimension in plan.space}
    assert "train.label_flip" in keys
    assert not keys & {"train.loss", "train.label_noise", "train.augment_target"}
    words = [warning for warning in plan_warnings(plan) if "left out" in warning]
    assert len(words) == 5
    assert "train.augment_target (train.augment!=none): left out, as its condition does not hold" in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model.dropout=0.1 when train.loss=bce"],
            "model.dropout must be several values where it has a prior or a condition",
        ),
        (["train.label_noise=0.1,0.2 when train.loss=hinge"], "search.space must be one dimension or more that means"),
        (
            ["search.sampler=grid", "train.loss=bce,hinge", "train.label_noise=0.1,0.2 when train.loss=bce"],
            "train.label_noise must be without a condition in a grid",
        ),
    ],
)
def test_mistakes_with_conditions(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_plan(["search=custom", *arguments])


TUNED_SPACE = ["search=custom", "optim.learning_rate=tag(log,interval(5e-5,1e-3))", "train.loss=bce,hinge"]


def test_a_search_may_begin_with_settings_that_are_known(tmp_path: Path) -> None:
    quick = read_plan([*TUNED_SPACE, "search.start_from=[quick]"])
    learning_rate = compose_config(["experiment=quick"]).optim.learning_rate
    assert quick.start_points() == {"quick": {"optim.learning_rate": learning_rate, "train.loss": "bce"}}
    run = RunFolder(tmp_path / "runs" / "first")
    run.path.mkdir(parents=True)
    write_json(run.facts, {"dataset": {}, "tags": {}})

    def of_run(*settings: str) -> dict[str, object]:
        config = compose_config(["experiment=tutorial", *settings])
        OmegaConf.save(OmegaConf.structured(config), run.config)
        return read_plan([*TUNED_SPACE, "search.start_from=[run:first]", f"records.root={tmp_path}"]).start_points()[
            "run:first"
        ]

    assert of_run("optim.learning_rate=3e-4", "train.loss=hinge") == {
        "optim.learning_rate": 3e-4,
        "train.loss": "hinge",
    }
    assert of_run("optim.learning_rate=3e-3")["optim.learning_rate"] == 1e-3  # the nearest in the space
    assert of_run("eval.num_images=20", "eval.every_steps=100")  # how it was scored is not its settings
    with pytest.raises(
        ConfigError, match=r"search.start_from must be settings that differ .*model.dropout is 0.4 there, 0.25 here"
    ):
        of_run("model.dropout=0.4")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("[tunedd]", "search.start_from must be presets, run:<name> or best:<study>; got 'tunedd'"),
        ("[run:none]", "search.start_from must be a run"),
        ("[best:none]", "search.start_from"),
    ],
)
def test_settings_to_begin_with_that_are_not_there(settings: str, message: str, tmp_path: Path) -> None:
    plan = read_plan([*TUNED_SPACE, f"search.start_from={settings}", f"records.root={tmp_path}"])
    with pytest.raises(ConfigError) as caught:
        plan.start_points()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["search.start_from=[quick]", "search.trials=1"], "search.trials must be in"),
        (
            ["search.start_from=[quick,tuned]", "search.trials=2"],
            "search.start_from must be fewer than search.trials=2",
        ),
        (["search.updates=90000", "search.sampler=grid", "optim.learning_rate=1e-4,2e-4"], "absent in a grid"),
        (["search.start_from=[quick]", "search.sampler=grid", "optim.learning_rate=1e-4,2e-4"], "absent in a grid"),
    ],
)
def test_more_beginnings_than_trials(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_plan([*TUNED_SPACE, *settings])
    assert message in str(caught.value)
