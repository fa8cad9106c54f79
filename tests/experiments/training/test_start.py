import io
import os
import shlex
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_images
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console

from experiments.cli.paths import shown
from experiments.records.folders import Records, read_json
from experiments.records.journal import Journal
from experiments.settings.rules import describe
from experiments.settings.schema import (
    RESUME_MAY_CHANGE,
    Config,
    DataConfig,
    EvalConfig,
    RecordsConfig,
    TrainConfig,
    flatten,
)
from experiments.training.facts import run_facts
from experiments.training.start import Run, _recorded_class, load_data, new_run, resumed_run
from gan.checkpoint import Checkpoint, CheckpointError
from gan.data.contract import DataWarning
from gan.errors import ConfigError
from gan.evaluation.weights import FOLDER, random_weights

QUIET = Console(quiet=True)


@pytest.fixture
def config(npz: Path, tmp_path: Path) -> Config:
    return Config(
        data=DataConfig(source="npz", path=str(npz), class_id="all"), records=RecordsConfig(root=str(tmp_path / "r"))
    )


@pytest.fixture
def run(config: Config) -> Run:
    return new_run(config, None, [], QUIET)


def save(run: Run, step: int) -> Path:
    return run.folder.checkpoints.save(Checkpoint(step, {"window": noise_images(1)}, {"best_score": None}))


def test_a_name_that_is_taken_is_said_before_the_data_are_read(run: Run, npz: Path) -> None:
    npz.unlink()
    again = Config(name=run.folder.name, data=run.config.data, records=run.config.records)
    with pytest.raises(ConfigError, match="name must be new"):
        new_run(again, None, [], QUIET)


def test_what_may_change_on_resume_are_real_keys() -> None:
    assert set(RESUME_MAY_CHANGE) <= describe(Config).keys()


def test_a_run_whose_checkpoints_are_gone_says_that_it_begins_anew(run: Run) -> None:
    console = Console(record=True, width=200)
    assert resumed_run(run.folder, Config(), set(), console).checkpoint is None
    assert "no checkpoint is left" not in console.export_text()  # it was stopped before its first
    journal = Journal(run.folder)
    journal.scalars(70, {"train/d_loss": 0.5})
    journal.close()
    resumed_run(run.folder, Config(), set(), console)
    assert "no checkpoint is left of its 70 updates: it trains from the beginning" in console.export_text()


def test_a_resumed_run_keeps_what_it_was_given(run: Run) -> None:
    """An extended run that was stopped trains to its new end without the setting."""
    save(run, 7)
    new = Config(train=TrainConfig(steps=99, log_every_steps=3))
    resumed_run(run.folder, new, {"train.steps", "train.log_every_steps"}, QUIET)
    again = resumed_run(run.folder, Config(), set(), QUIET)
    assert again.resumed
    assert again.checkpoint is not None
    assert (again.checkpoint.step, again.config.train.steps, again.config.train.log_every_steps) == (7, 99, 3)


def test_a_note_is_kept_until_a_resume_has_another(run: Run) -> None:
    save(run, 7)
    notes: list[tuple[str | None, set[str], str | None]] = [
        ("a wider D", {"note"}, "a wider D"),
        (None, set(), "a wider D"),
        (None, {"note"}, None),
    ]
    for given, keys, expected in notes:
        again = resumed_run(run.folder, Config(note=given), keys, QUIET)
        assert again.config.note == read_json(run.folder.facts)["note"] == expected


def test_a_killed_run_is_not_resumed_to_an_end_before_what_it_recorded(run: Run) -> None:
    save(run, 30)
    journal = Journal(run.folder)
    journal.scalars(38, {"train/d_loss": 0.5})
    journal.close()
    for steps in (29, 31):
        with pytest.raises(ConfigError, match=r"train.steps must be at least 38, the step that the run has reached"):
            resumed_run(run.folder, Config(train=TrainConfig(steps=steps)), {"train.steps"}, QUIET)
    assert resumed_run(run.folder, Config(train=TrainConfig(steps=38)), {"train.steps"}, QUIET).config.train.steps == 38


def test_regularization_options_hold_for_the_whole_run(config: Config, run: Run) -> None:
    new = Config(train=TrainConfig(ema_decay=0.9))
    with pytest.raises(ConfigError, match=r"train\.ema_decay: 0\.0 in the run, 0\.9 now"):
        resumed_run(run.folder, new, {"train.ema_decay"}, QUIET)
    config.optim.decay = "linear"
    falling = new_run(config, None, [], QUIET)
    with pytest.raises(ConfigError, match=r"train\.steps must be 15000, as in the run; got 99 \(.*optim\.decay=linear"):
        resumed_run(falling.folder, Config(train=TrainConfig(steps=99)), {"train.steps"}, QUIET)
    assert resumed_run(falling.folder, Config(), set(), QUIET).config.optim.decay == "linear"


def test_settings_that_a_run_is_older_than_have_their_defaults(run: Run) -> None:
    """Its config.yaml has no word of them."""
    old = OmegaConf.load(run.folder.config)
    for section, keys in {
        "train": ("loss", "label_noise_on", "label_flip", "r1_gamma", "augment", "horizontal_flip", "ema_decay"),
        "optim": ("beta_2", "epsilon", "decay", "decay_from"),
        "eval": ("recalibrate_batch_norm",),
    }.items():
        for key in keys:
            del old[section][key]
    del old.model.generator.width, old.model.discriminator.width, old.model.discriminator.spectral_norm
    OmegaConf.save(old, run.folder.config)
    assert flatten(resumed_run(run.folder, Config(), set(), QUIET).config) == flatten(run.config)


def test_a_class_is_the_same_by_name_and_by_index(cifar: Path, tmp_path: Path) -> None:
    data = DataConfig(source="cifar10", path=str(cifar), class_id="ship")
    run = new_run(Config(data=data, records=RecordsConfig(root=str(tmp_path / "r"))), None, [], QUIET)
    assert run.config.data.class_id == 8
    assert resumed_run(run.folder, Config(data=DataConfig(class_id="ship")), {"data.class_id"}, QUIET).resumed
    with pytest.raises(ConfigError, match=r"data\.class_id: 8 in the run, 3 now"):
        resumed_run(run.folder, Config(data=DataConfig(class_id="cat")), {"data.class_id"}, QUIET)


def folder_config(place: Path, tmp_path: Path) -> Config:
    """Of a folder with the classes cats and dogs, the first chosen."""
    for seed, name in enumerate(("cats", "dogs")):
        (place / name).mkdir(parents=True)
        for k in range(40):
            Image.fromarray(noise_images(1, seed=seed)[0]).save(place / name / f"{k}.png")
    data = DataConfig(source="folder", path=str(place), class_id="cats")
    return Config(data=data, records=RecordsConfig(root=str(tmp_path / "r")))


def test_the_class_of_a_folder_is_recorded_by_name_and_a_resume_keeps_it(tmp_path: Path) -> None:
    run = new_run(folder_config(tmp_path / "pets", tmp_path), None, [], QUIET)
    assert run.config.data.class_id == "cats"
    assert read_json(run.folder.facts)["dataset"]["class_names"] == ["cats"]
    new = Config(data=DataConfig(class_id="cats"), resume=run.folder.name)
    assert resumed_run(run.folder, new, {"data.class_id"}, QUIET).dataset.sha256 == run.dataset.sha256
    run.config.data.class_id = "Mo\u0308we"  # as macOS keeps it
    assert _recorded_class("M\u00f6we", run.config) == "Mo\u0308we"
    new = Config(data=DataConfig(class_id="dogs"), resume=run.folder.name)
    with pytest.raises(ConfigError, match=r"data\.class_id: 'cats' in the run, 'dogs' now"):
        resumed_run(run.folder, new, {"data.class_id"}, QUIET)


def test_a_path_that_is_not_utf8_is_recorded_and_resumed(tmp_path: Path) -> None:
    run = new_run(folder_config(tmp_path / os.fsdecode(b"b\xfccher"), tmp_path), None, [], QUIET)
    assert resumed_run(run.folder, Config(), set(), QUIET).config.data.path == run.config.data.path
    with pytest.raises(ConfigError, match=r"records\.root must be .* UTF-8; got '.*r\\udcff'"):
        Config(records=RecordsConfig(root=os.fsdecode(b"r\xff")))
    with pytest.raises(ConfigError, match=r"records\.root must be .* UTF-8"):
        Records(tmp_path / os.fsdecode(b"r\xff")).check_writable()
    assert not list(tmp_path.glob("r?"))


def test_images_that_moved_may_be_pointed_at(run: Run, npz: Path) -> None:
    moved = npz.rename(npz.with_name("moved.npz"))
    with pytest.raises(ConfigError, match=r"data\.path must be an existing file"):
        resumed_run(run.folder, Config(), set(), QUIET)
    new = Config(data=DataConfig(path=str(moved)))
    assert resumed_run(run.folder, new, {"data.path"}, QUIET).dataset.sha256 == run.dataset.sha256
    assert resumed_run(run.folder, Config(), set(), QUIET).config.data.path == str(moved)


def test_a_run_goes_on_with_its_own_images_alone(run: Run, npz: Path) -> None:
    before = run.folder.config.read_text()
    other = npz.with_name("other.npz")
    np.savez(other, images=noise_images(64, seed=1))
    given = Config(data=DataConfig(path=str(other)))
    with pytest.raises(ConfigError, match=r"resume must be on the run's own images; got .*other\.npz"):
        resumed_run(run.folder, given, {"data.path"}, QUIET)
    np.savez(npz, images=noise_images(64, seed=1))  # changed where they are
    with pytest.raises(ConfigError, match="resume must be on the run's own images"):
        resumed_run(run.folder, Config(), set(), QUIET)
    assert run.folder.config.read_text() == before


def test_what_was_warned_of_is_said_where_the_images_cannot_be_used(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        warnings.warn("CIFAR-10 cannot be downloaded", DataWarning, stacklevel=2)
        raise ConfigError("data.class_id", "8 (ship) for the built-in drawings", "cat")

    monkeypatch.setattr("experiments.training.start.load_dataset", refuse)
    said = io.StringIO()
    with pytest.raises(ConfigError, match="built-in drawings"):
        load_data(config, Records(tmp_path), Console(file=said))
    assert "CIFAR-10 cannot be downloaded" in said.getvalue()


def test_what_auto_came_to_is_what_a_run_keeps(npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(npz.parent)
    config = Config(data=DataConfig(path=npz.name), records=RecordsConfig(root=str(tmp_path / "r")))
    saved = resumed_run(new_run(config, None, [], QUIET).folder, Config(), set(), QUIET).config
    assert (saved.data.source, saved.data.path, saved.data.class_id) == ("npz", str(npz), "all")


def test_a_run_without_a_checkpoint_starts_again_and_one_with_damaged_ones_does_not(run: Run) -> None:
    assert resumed_run(run.folder, Config(), set(), QUIET).checkpoint is None
    save(run, 3).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        resumed_run(run.folder, Config(), set(), QUIET)


@pytest.mark.parametrize(
    ("section", "key", "value", "why"),
    [
        ("model", "latent_dim", 7, "its model.latent_dim is 100, not 7"),
        ("train", "ema_decay", 0.5, "it is of a run without train.ema_decay"),
        ("eval", "extractor", None, "its best score is in another, not cifar_cnn-"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_and_nothing_is_written(
    section: str, key: str, value: object, why: str, run: Run
) -> None:
    model = run.config.model
    arrays = {
        "generator/dense/kernel": np.zeros((model.latent_dim, 1)),
        "generator/conv_1/kernel": np.zeros((1, model.generator.width)),
        "discriminator/conv_1/kernel": np.zeros((1, model.discriminator.width)),
        "discriminator/logits/kernel": np.zeros((8 * model.discriminator.width, 1)),
        "discriminator/bn_2/gamma": np.zeros(1),
    }
    scored_in = run.weights.id if value is not None else "another"
    run.folder.checkpoints.save(Checkpoint(3, arrays, {"fid_proxy_id": scored_in}))
    if value is not None:
        assert resumed_run(run.folder, Config(), set(), QUIET).checkpoint is not None
        edited = OmegaConf.load(run.folder.config)
        edited[section][key] = value
        OmegaConf.save(edited, run.folder.config)
    before = run.folder.config.read_bytes()
    with pytest.raises(CheckpointError, match=r"step 3 in .* does not fit the run's config\.yaml") as caught:
        resumed_run(run.folder, Config(note="new"), {"note"}, QUIET)
    assert why in str(caught.value)
    assert run.folder.config.read_bytes() == before
    assert read_json(run.folder.facts)["note"] is None
    assert not run.folder.journal.exists()


def test_scores_of_unlike_extractors_never_meet_in_one_run(
    config: Config, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of a run may move; others are refused, and so is a program that ships others."""
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", **random_weights())
    config.eval.extractor_weights = "mine.npz"
    mine = new_run(config, None, [], QUIET)
    assert mine.weights.id != run.weights.id
    assert mine.config.eval.extractor_weights == str(tmp_path / "mine.npz")
    (tmp_path / "mine.npz").rename("moved.npz")
    again = resumed_run(
        mine.folder, Config(eval=EvalConfig(extractor_weights="moved.npz")), {"eval.extractor_weights"}, QUIET
    )
    assert again.weights.id == mine.weights.id
    assert again.config.eval.extractor_weights == str(tmp_path / "moved.npz")

    new = Config(eval=EvalConfig(extractor_weights=str(FOLDER / "cifar_cnn.npz")))
    with pytest.raises(ConfigError, match="cannot be compared with others") as caught:
        resumed_run(mine.folder, new, {"eval.extractor_weights"}, QUIET)
    assert mine.weights.id in str(caught.value)
    assert run.weights.id in str(caught.value)
    with pytest.raises(ConfigError, match=r"eval\.extractor: 'cifar_cnn' in the run, 'random_cnn' now"):
        resumed_run(run.folder, Config(eval=EvalConfig(extractor="random_cnn")), {"eval.extractor"}, QUIET)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", ""),
        ("config.yaml", "train: [unclosed"),
        ("config.yaml", "train:\n  setps: 3\n"),
        ("config.yaml", "train:\n  steps: many\n"),
        ("run.json", "{"),
        ("run.json", "{}"),
        ("run.json", None),
    ],
)
def test_damaged_records_are_one_line(run: Run, name: str, content: str | None) -> None:
    file = run.folder.path / name
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(ConfigError, match=r"resume must be a run with undamaged records; got") as caught:
        resumed_run(run.folder, Config(), set(), QUIET)
    assert "\n" not in str(caught.value)


def test_one_damaged_neighbour_hides_no_run(run: Run) -> None:
    run.folder.delivery.write_text("{")
    with pytest.raises(ConfigError, match="most recent"):
        run.folder.records.find_run("nosuchrun")


def test_the_description_has_the_command_in_lines_that_a_shell_takes(config: Config) -> None:
    overrides = ["records.root='/a b/c'", "data.path=" + "x" * 100, *(f"train.steps={k}" for k in range(20))]
    run = new_run(config, None, overrides, QUIET)
    note = read_json(run.folder.facts)["tags"]["mlflow.note.content"]
    result, changed, code, about = note.split("\n\n")
    assert result == "No score yet."
    assert changed == "No preset, and `train.steps=19`."
    assert "64 images. The score is `eval/fid_proxy`" in about
    assert about.endswith(f"Folder: `runs/{run.folder.name}` of the records.")
    lines = code.split(" \\\n")
    assert all(line.startswith("    ") for line in lines)
    assert [len(line) for line in lines if len(line.split()) > 1] <= [90] * len(lines)
    assert shlex.split(code.replace("\\\n", "")) == ["python", "experiments/run.py", *overrides]


@pytest.mark.parametrize(
    ("source", "class_id", "names"),
    [("cifar10", 8, 1), ("cifar10", "all", 10), ("embedded", 8, 1), ("embedded", "all", 0), ("npz", 8, 0)],
)
def test_classes_have_names_where_they_are_known(
    source: str, class_id: int | str, names: int, config: Config, run: Run
) -> None:
    images = replace(run.dataset, source=source, class_id=class_id)
    facts = run_facts(config, images, run.weights, run.folder, "python experiments/run.py")
    assert len(facts["dataset"]["class_names"]) == names


def test_the_resume_command_quotes_for_shell_and_hydra(config: Config, tmp_path: Path) -> None:
    from experiments.cli.compose import compose_config

    config.records.root = str(tmp_path / "a b=c,'d' [x]")
    run = new_run(config, None, [], QUIET)
    overrides = shlex.split(run.resume_command)[2:]
    assert compose_config(overrides).records.root == config.records.root


def test_paths_are_shown_relative_only_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a" / "b") == "a/b"
    assert shown(Path("/usr/lib")) == "/usr/lib"
