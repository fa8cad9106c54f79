import os
from pathlib import Path

import numpy as np
import pytest
from conftest import RunProgram, noise_images
from mlflow import MlflowClient
from rich.console import Console

from experiments.evaluate import Evaluation, _log, main
from experiments.records.journal import curve, curves
from experiments.settings.schema import DataPlace, RecordsConfig
from experiments.training.generator import load_generator
from experiments.training.start import Run
from gan.averaging import recalibrated
from gan.checkpoint import Checkpoint
from gan.errors import ConfigError
from gan.models import build_generator
from gan.update import restore_generator


def wanted(made: Run, **changes: object) -> Evaluation:
    settings: dict[str, object] = {"run": "last", "records": RecordsConfig(root=made.config.records.root), **changes}
    return Evaluation(**settings)  # type: ignore[arg-type]


def test_mistakes_are_one_line_and_leave_nothing(untrained_run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, images=noise_images(64, seed=9))
    for changes, message in (
        ({"run": None}, "run must be given; got None"),
        ({"run": "nosuchrun"}, "run must be last, or a run's MLflow id, name or folder; got 'nosuchrun'"),
        ({"step": "4"}, "there is no checkpoint of step 4"),
        ({"step": "4"}, "but of 3, 6"),
        ({"step": "best"}, "step must be a checkpoint that can be read; got 'best'"),
        (
            {"extractor": "random_cnn", "extractor_weights": str(other)},
            "extractor_weights must be absent for random_cnn",
        ),
        ({"data": DataPlace(str(other))}, "data.path must be on the run's own images"),
        ({"extractor_weights": str(other)}, "weights made by experiments/train_features.py"),
    ):
        with pytest.raises(ConfigError) as caught:
            main(wanted(untrained_run, **changes))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not untrained_run.folder.journal.exists()


def test_a_generator_takes_its_own_weights_only(untrained_run: Run) -> None:
    arrays = untrained_run.folder.checkpoints.latest().arrays
    generator = build_generator(seed=1)
    restore_generator(generator, arrays)
    same = build_generator(seed=6)
    for a, b in zip(generator.variables, same.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="belongs to other networks"):
        restore_generator(build_generator(latent_dim=5), arrays)


def test_a_runs_generator_is_the_one_that_it_was_scored_by(untrained_run: Run) -> None:
    config, checkpoint = untrained_run.config, untrained_run.folder.checkpoints.latest()
    z = np.random.default_rng(0).standard_normal((2, 100), np.float32)
    average = {name.replace("generator/", "ema_generator/"): value * 0.5 for name, value in checkpoint.arrays.items()}
    both = Checkpoint(6, {**checkpoint.arrays, **average}, {})
    plain, averaged = (load_generator(config, stored) for stored in (checkpoint, both))
    assert not np.array_equal(plain.predict_on_batch(z), averaged.predict_on_batch(z))
    np.testing.assert_array_equal(averaged.get_layer("conv_3").kernel, plain.get_layer("conv_3").kernel * 0.5)

    config.eval.recalibrate_batch_norm = True
    loaded, expected = load_generator(config, both), recalibrated(averaged)
    for a, b in zip(loaded.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(loaded.predict_on_batch(z), averaged.predict_on_batch(z))


def test_as_many_images_as_the_run_takes_at_its_end_unless_told(
    untrained_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    file = untrained_run.folder.config
    file.write_text(file.read_text().replace("final_num_images: 5000", "final_num_images: 30"))
    for changes, count in (({}, 30), ({"num_images": 25}, 25)):
        assert main(wanted(untrained_run, extractor="random_cnn", **changes)) == 0
        assert f"mine, step 6: {count} images" in capsys.readouterr().out
    scored = {key.split("/")[2] for key in curves(untrained_run.folder.journal)}
    assert scored == {"30", "25"}


def test_a_run_that_cannot_be_written_is_said_before_it_is_scored(
    untrained_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    folder = untrained_run.folder.path
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != folder and access(place, mode))
    with pytest.raises(ConfigError, match=r"run must be .*Permission denied"):
        main(wanted(untrained_run, extractor="random_cnn"))


def test_damaged_records_are_not_taken_for_a_run_that_trains(untrained_run: Run) -> None:
    untrained_run.folder.journal.write_text('nothing\n{"time": 1, "kind": "tags", "tags": {}}\n')
    with pytest.raises(ConfigError, match="the run must be one with undamaged records"):
        _log(untrained_run.folder, 6, {"evaluate/x": 1.0}, Console(quiet=True))


def test_all_metrics_are_printed_and_logged_under_extractor_and_count(untrained_run: Run, program: RunProgram) -> None:
    common = [f"records.root={untrained_run.config.records.root}", "num_images=50"]
    done = program("run=mine", *common, script="experiments/evaluate.py")
    assert done.returncode == 0, done.stderr
    assert f"mine, step 6: 50 images, {untrained_run.weights.id}" in done.stdout
    assert "mine: delivered" in done.stdout
    assert "cannot be compared" not in done.stdout
    prefix = f"evaluate/{untrained_run.weights.id}/50"
    names = ["fid_proxy", "kid_proxy", "density", "coverage", "nn_distance", "fid_proxy_floor", "fid_proxy_ceiling"]
    for name in names:
        steps, (value,) = curve(untrained_run.folder.journal, f"{prefix}/{name}")
        assert steps == [6]
        assert f"{value:.4g}" in done.stdout, name

    # An earlier step, another extractor and other latents stand beside it; the same again adds nothing.
    for arguments in (["step=3"], ["seed=4"], []):
        assert program("run=last", *common, *arguments, script="experiments/evaluate.py").returncode == 0
    other = program("run=last", *common, "extractor=random_cnn", script="experiments/evaluate.py")
    assert f"the run's own scores are in {untrained_run.weights.id} and cannot be compared with these" in other.stdout
    client = MlflowClient(f"sqlite:///{untrained_run.folder.records.database}")
    run_id = untrained_run.folder.mlflow_run_ids()[-1]
    metrics = client.get_run(run_id).data.metrics
    extractors = {key.split("/")[1].partition("-")[0] for key in metrics if key.startswith("evaluate/")}
    assert extractors == {"cifar_cnn", "random_cnn"}
    history = client.get_metric_history(run_id, f"{prefix}/fid_proxy")
    assert sorted(point.step for point in history) == [3, 6]
    assert metrics[f"{prefix}/seed_4/fid_proxy"] != metrics[f"{prefix}/fid_proxy"]

    # While the run trains, its records are left alone.
    with untrained_run.folder.owned():
        busy = program("run=mine", *common, "seed=5", script="experiments/evaluate.py")
    assert busy.returncode == 1
    assert "not logged: the run is still training" in busy.stdout
    assert not curve(untrained_run.folder.journal, f"{prefix}/seed_5/fid_proxy")[0]
