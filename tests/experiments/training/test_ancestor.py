"""Runs that start from another run's networks."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import NARROW, RunProgram, noise_images
from rich.console import Console

from experiments.cli.compose import compose_config
from experiments.records.folders import Records, RunFolder, read_json, write_json
from experiments.records.journal import all_tags
from experiments.reports.groups import differing, lineage, read_compared
from experiments.settings.schema import Config
from experiments.training.ancestor import find_ancestor, settings_of
from experiments.training.build import build_update
from experiments.training.facts import GROUP, ancestor_of
from experiments.training.start import new_run
from gan.checkpoint import Checkpoint
from gan.errors import ConfigError
from gan.models import build_discriminator, build_generator
from gan.update import variables_by_name


@pytest.fixture
def config(npz: Path, tmp_path: Path) -> Config:
    return compose_config([*NARROW, "data=npz", f"data.path={npz}", f"records.root={tmp_path / 'r'}", "name=second"])


@pytest.fixture
def first(config: Config) -> RunFolder:
    """A run of the same settings, at step 6 of no training."""
    config.name = "first"
    run = new_run(config, None, [], Console(quiet=True))
    config.name = "second"
    update = build_update(config, noise_images(8))
    run.folder.checkpoints.save(Checkpoint(6, update.state(), {"best_score": None}))
    return run.folder


def refusal(reference: str, config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        find_ancestor(reference, Records.at(config.records.root), config)
    return str(caught.value)


def test_a_run_is_found_by_whatever_names_it(config: Config, first: RunFolder) -> None:
    records = Records.at(config.records.root)
    study = records.studies / "ships"
    study.mkdir(parents=True)
    (study / "best.yaml").write_text(yaml.safe_dump({"run": "first"}))
    file = first.checkpoints.files()[0]
    for reference in ("first", "last", "best:ships", str(first.path), str(file)):
        ancestor = find_ancestor(reference, records, config)
        assert (ancestor.file, ancestor.checkpoint.step) == (file.resolve(), 6), reference
        assert ancestor.tags == {"init_from": "first", "init_from.step": "6"}
        assert ancestor.lasting_name == ("first" if reference in ("last", "best:ships") else None)
    write_json(first.delivery, {"stores": {"here": {"run_id": "ab12"}}})
    assert find_ancestor("first", records, config).tags["init_from.mlflow_run"] == "ab12"
    copied = records.root / "copy.npz"
    copied.write_bytes(file.read_bytes())
    assert find_ancestor(str(copied), records, config).tags == {"init_from": "copy.npz", "init_from.step": "6"}


def test_a_copy_knows_what_it_is_a_copy_of(config: Config, first: RunFolder, tmp_path: Path) -> None:
    records = Records.at(config.records.root)
    find_ancestor("first", records, config).copy_to(tmp_path / "copy.npz")
    shutil.rmtree(first.path)
    config.train.init_from = str(tmp_path / "copy.npz")
    second = new_run(config, None, [], Console(quiet=True))
    assert second.ancestor is not None  # it is not read again, when it may be gone
    assert ancestor_of(read_json(second.folder.facts)) == "first (step 6)"
    group = read_json(second.folder.facts)["tags"][GROUP]
    assert "init_from first (step 6)" in group
    assert str(tmp_path) not in group


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "model.latent_dim=64",
            "a run with model.latent_dim=64, as this one has; got 'first' (its model.latent_dim is 100",
        ),
        ("model.generator.width=32", "its model.generator.width is 16: model.generator.width=16"),
        ("model.discriminator.width=4", "its model.discriminator.width is 8"),
        ("model.discriminator.batch_norm=false", "model.discriminator.batch_norm=true"),
        ("model.discriminator.spectral_norm=true", "model.discriminator.spectral_norm=false"),
        ("model.minibatch_stddev=true", "model.minibatch_stddev=false"),
    ],
)
def test_networks_of_other_shapes_are_refused(change: str, words: str, config: Config, first: RunFolder) -> None:
    other = compose_config([*NARROW, change])
    other.records.root = config.records.root
    message = refusal("first", other)
    assert message.startswith("train.init_from must be a run with ")
    assert words in message


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("stddev", [False, True])
def test_one_more_channel_is_told_from_the_width(width: int, stddev: bool) -> None:
    networks = {
        "generator": build_generator(3, width=4),
        "discriminator": build_discriminator(width=width, minibatch_stddev=stddev),
    }
    arrays = {
        name: variable.numpy()
        for owner, of in networks.items()
        for name, variable in variables_by_name(owner, of).items()
    }
    assert settings_of(arrays)["model.minibatch_stddev"] == stddev


def test_what_is_no_checkpoint_is_refused(config: Config, first: RunFolder, npz: Path) -> None:
    assert "train.init_from must be last, or a run's MLflow id, name or folder" in refusal("nowhere", config)
    assert "a finished search; got 'best:ships' (searches: none)" in refusal("best:ships", config)
    assert "cannot be read" in refusal(str(npz), config)
    (file,) = first.checkpoints.files()
    file.write_bytes(file.read_bytes()[:100])
    assert "no readable checkpoint" in refusal("first", config)
    file.unlink()
    assert "no readable checkpoint" in refusal("first", config)


def test_a_run_that_has_no_such_networks_is_refused(config: Config, first: RunFolder) -> None:
    first.checkpoints.save(Checkpoint(7, {"window": np.zeros((0, 5))}, {}))
    assert "it has no such networks" in refusal("first", config)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.9), (0.9, 0.0), (0.9, 0.9)])
def test_networks_and_average_are_the_ancestors_and_optimisers_are_fresh(before: float, after: float) -> None:
    def update(seed: int, decay: float) -> Any:
        return build_update(compose_config([*NARROW, f"seed={seed}", f"train.ema_decay={decay}"]), noise_images(20))

    ancestor, heir = update(1, before), update(2, after)
    ancestor.run(1, 2)
    state, own = ancestor.state(), heir.state()
    heir.start_from(state)
    for name, value in heir.state().items():
        owner, _, rest = name.partition("/")
        source = name if name in state else f"generator/{rest}"
        expected = own[name] if owner.endswith("optimizer") else state[source]
        np.testing.assert_array_equal(value, expected, err_msg=name)
    assert int(heir.g_optimizer.iterations) == 0
    with pytest.raises(ValueError, match="other networks"):
        heir.start_from({name: value for name, value in state.items() if "dense/kernel" not in name})


def test_the_line_of_descent_is_recorded_and_shown(program: RunProgram, config: Config, first: RunFolder) -> None:
    records = Records.at(config.records.root)
    common = [
        *NARROW, "data=npz", f"data.path={config.data.path}", f"records.root={records.root}", "train.batch_size=4",
        "eval.num_images=20", "eval.final_num_images=20",
    ]  # fmt: skip
    done = program(*common, "train.init_from=first", "train.steps=2", "name=second")
    assert (done.returncode, done.stderr) == (0, "")
    assert "from     " in done.stdout
    second = RunFolder(records.runs / "second")
    assert read_compared(second).facts["tags"]["init_from.step"] == "6"
    assert lineage(read_compared(second)) == "second <- first (step 6)"
    assert lineage(read_compared(first)) == ""
    pair = [read_compared(first), read_compared(second)]
    assert differing(pair)["train.init_from"] == [None, "first (step 6)"]  # no path of this machine
    third = compose_config([*common, "train.init_from=second", "name=third"])
    third.train.init_from = "last"
    run = new_run(third, None, ["train.init_from=last", "train.steps=9"], Console(quiet=True))
    assert read_json(run.folder.facts)["params"]["train.init_from"] == "second"
    # Later `last` would be the run itself.
    assert read_json(run.folder.facts)["command"] == "python experiments/run.py train.steps=9 train.init_from=second"
    assert lineage(read_compared(run.folder)) == "third <- second (step 2) <- first (step 6)"
    assert all_tags(second.journal)["device"].startswith("CPU")

    refused = program(f"records.root={records.root}", "resume=second", "train.init_from=first")
    assert refused.returncode == 2
    assert "resume must be without settings that change the result" in refused.stderr
    refused = program(*common, "train.init_from=first", "name=fourth", "model.latent_dim=7")
    assert refused.returncode == 2
    assert "its model.latent_dim is 100" in refused.stderr
    assert not (records.runs / "fourth").exists()
    assert [file.stem for file in second.checkpoints.files()] == ["step_00000000", "step_00000002"]
    second.checkpoints.files()[-1].unlink()  # as if it had been killed before its first checkpoint,
    shutil.rmtree(first.path)  # and the ancestor removed
    resumed = program(f"records.root={records.root}", "resume=second")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert "resumed from step 0" in resumed.stdout
