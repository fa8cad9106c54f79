import hashlib
import json
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import RunProgram, noise_images

from experiments.records.folders import read_json, write_json
from experiments.settings.schema import RecordsConfig
from experiments.train_features import FeatureTraining, _provenance, main
from gan.errors import ConfigError
from gan.evaluation.extractors import load_extractor
from gan.evaluation.weights import FOLDER, find_weights


def test_weights_that_are_there_are_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "cifar_cnn.npz").write_text("mine")
    with pytest.raises(
        ConfigError, match=r"out must be a folder without cifar_cnn\.npz; got .*overwrite=true replaces it"
    ):
        main(FeatureTraining(out=str(tmp_path)))
    assert (tmp_path / "cifar_cnn.npz").read_text() == "mine"


def test_a_folder_that_cannot_be_is_said_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"out must be a folder that can be written; got .*file"):
        main(FeatureTraining(out=str(tmp_path / "file"), records=RecordsConfig(str(tmp_path / "r"))))


def test_training_writes_weights_that_can_be_used_and_where_they_come_from(
    program: RunProgram, cifar: Path, tmp_path: Path
) -> None:
    out = tmp_path / "my own, weights"
    common = [f"data.path={cifar}", f"records.root={tmp_path / 'records'}", f"out={out}"]
    done = program("epochs=2", *common, script="experiments/train_features.py")
    assert done.returncode == 0, done.stderr
    file = out / "cifar_cnn.npz"
    weights = find_weights("cifar_cnn", str(file))
    assert weights.id in done.stdout
    _, _, setting, root = shlex.split(done.stdout.splitlines()[-1].removeprefix("next     "))
    assert setting == f"eval.extractor_weights='{file}'"
    assert root == f"records.root={tmp_path / 'records'}"
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[:3]] == ["epoch 1/2", "epoch 2/2", "now"]
    provenance = json.loads((out / "cifar_cnn.json").read_text())
    assert provenance["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (provenance["id"], provenance["epochs"], provenance["seed"]) == (weights.id, 2, 0)
    assert 0 <= provenance["test_accuracy"] <= 1
    assert len(provenance["train_images_sha256"]) == 64
    assert str(tmp_path) not in json.dumps(provenance)
    assert load_extractor(weights)(noise_images(3)).shape == (3, 64)
    kept = program(
        f"network={file}", "seed=9", *common[:2], f"out={tmp_path / 'kept'}", script="experiments/train_features.py"
    )
    assert kept.returncode == 0, kept.stderr
    assert find_weights("cifar_cnn", str(tmp_path / "kept" / "cifar_cnn.npz")).id == weights.id
    assert json.loads((tmp_path / "kept" / "cifar_cnn.json").read_text())["seed"] == 0
    again = program("epochs=2", "overwrite=true", *common, script="experiments/train_features.py")
    assert again.returncode == 0, again.stderr
    assert find_weights("cifar_cnn", str(file)).id == weights.id  # the same bytes


def test_a_network_is_kept_with_the_provenance_of_its_own_weights_alone(tmp_path: Path) -> None:
    file = tmp_path / "cifar_cnn.npz"
    shutil.copy(FOLDER / "cifar_cnn.npz", file)
    shipped = read_json(FOLDER / "cifar_cnn.json")
    weights = find_weights("cifar_cnn", str(file))
    with pytest.raises(ConfigError, match=r"network must be weights with cifar_cnn\.json beside them"):
        _provenance(weights)
    write_json(file.with_suffix(".json"), shipped)
    assert _provenance(weights) == {key: shipped[key] for key in ("epochs", "seed", "minutes", "network_code")}
    write_json(file.with_suffix(".json"), {**shipped, "sha256": "0" * 64})
    with pytest.raises(ConfigError, match="it belongs to other weights"):
        _provenance(weights)
