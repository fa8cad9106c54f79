"""One run on several devices is the run of one: trained on two logical CPUs, each time in a process of its own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import NARROW, RunProgram

from experiments.records.folders import Records
from experiments.settings.schema import Config, TrainConfig
from gan import devices
from gan.errors import ConfigError

SCRIPT = "tests/two_devices.py"
SMALL = (
    *NARROW,
    "eval.extractor=random_cnn",
    "eval.num_images=20",
    "eval.final_num_images=20",
    "train.batch_size=4",
    "train.log_every_steps=2",
    "train.checkpoint_every_steps=2",
    "train.threads=1",  # devices that wait for each other must not wait for a thread
)

Arrays = dict[str, np.ndarray]


def compare(program: RunProgram, file: Path, update_rule: str, precision: str) -> Arrays:
    done = program("compare", update_rule, precision, str(file), script=SCRIPT)
    assert done.returncode == 0, done.stderr
    with np.load(file) as archive:
        return dict(archive)


def near(arrays: Arrays, a: str, b: str, within: float, of: Callable[[str], bool]) -> None:
    """Arrays agree to a fraction of their own length; the losses and probabilities to an absolute number."""
    np.testing.assert_allclose(arrays[f"{a}:values"], arrays[f"{b}:values"], atol=within)
    names = [name.partition(":")[2] for name in arrays if name.startswith(f"{a}:") and of(name)]
    assert len(names) > 5
    for name in names:
        x, y = arrays[f"{a}:{name}"], arrays[f"{b}:{name}"]
        assert np.linalg.norm(x - y) <= within * np.linalg.norm(x), name


def weights(name: str) -> bool:
    """Those that a gradient moves: a bias before a batch normalisation has but rounding errors for one."""
    return "optimizer" not in name and name.rpartition("/")[2] in ("kernel", "gamma", "moving_mean", "moving_variance")


def statistics(name: str) -> bool:
    return "/moving_" in name


@pytest.mark.slow
@pytest.mark.parametrize("update_rule", ["tutorial", "batch"])
def test_two_devices_train_as_one(update_rule: str, program: RunProgram, tmp_path: Path) -> None:
    """Dropout and fresh label noise are on; all updates come in one call.

    Adam divides small gradients by their size, and blows rounding errors up: a larger epsilon
    shows how small they are (1e-5 was measured), the real one what becomes of them in three updates.
    """
    arrays = compare(program, tmp_path / "arrays.npz", update_rule, "float32")
    near(arrays, "smooth1", "smooth2", 1e-4, weights)
    near(arrays, "options1", "options2", 1e-4, weights)
    near(arrays, "options1", "options2", 1e-4, lambda name: ":ema_generator/" in name and weights(name))
    near(arrays, "adam1", "adam2", 3e-3, weights)
    near(arrays, "adam1", "adam2", 3e-3, statistics)
    assert not np.allclose(arrays["adam1:generator/conv_1/kernel"], arrays["start:generator/conv_1/kernel"], rtol=1e-3)
    for key in ("g_optimizer/iteration", "d_optimizer/iteration"):
        assert arrays[f"adam1:{key}"] == arrays[f"adam2:{key}"]
    samples = [arrays[f"options samples{count}"].astype(int) for count in (1, 2)]  # of the moving average
    assert samples[0].shape == samples[1].shape == (5, 32, 32, 3)
    np.testing.assert_allclose(*samples, atol=1)

    # Each resumes from the state of the other, and trains and draws as the other would have.
    for one, other in ((1, 2), (2, 1)):
        near(arrays, f"straight{one}", f"swapped{other}", 1e-5, weights)
        samples = arrays[f"samples{one}"]
        assert samples.shape == (5, 32, 32, 3)
        np.testing.assert_allclose(samples.astype(int), arrays[f"swapped samples{other}"].astype(int), atol=1)

    np.testing.assert_allclose(arrays["penalty1"], arrays["penalty2"], rtol=1e-5)


@pytest.mark.slow
def test_two_devices_train_as_one_in_half_precision(program: RunProgram, tmp_path: Path) -> None:
    arrays = compare(program, tmp_path / "arrays.npz", "tutorial", "mixed_bfloat16")
    near(arrays, "smooth1", "smooth2", 2e-2, weights)
    near(arrays, "adam1", "adam2", 3e-2, weights)
    near(arrays, "straight1", "swapped2", 1e-2, weights)


def test_one_device_is_not_a_strategy_and_shares_nothing() -> None:
    assert not tf.distribute.has_strategy()
    with devices.strategy_for(1).scope():
        assert not tf.distribute.has_strategy()
        assert devices.sharing() == 1
        x = tf.ones((4, 2))
        assert devices.share(x) is devices.mean(x) is x
        assert devices.summands([x])[0] is x
    assert devices.on_all(devices.strategy_for(1), lambda step: step, x) is x


def test_auto_is_one_device_where_there_is_no_gpu() -> None:
    assert devices.count_devices("auto", 7) == 1


def test_counting_gpus_opens_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow opens all where logical ones are asked for, and then refuses to use fewer."""
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: ["one", "two", "three"] if kind == "GPU" else []
    )
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda *_: pytest.fail("opens all GPUs"))
    assert devices.count_devices("auto", 6) == 3
    assert devices.count_devices(2, 6) == 2
    assert devices._names() == ["GPU:0", "GPU:1", "GPU:2"]


def test_more_devices_than_there_are() -> None:
    with pytest.raises(ConfigError, match=r"train.devices must be at most 1, as TensorFlow sees CPU:0; got 2"):
        devices.count_devices(2, 8)


@pytest.mark.parametrize("value", [0, -1, True, "all", "Auto"])
def test_only_numbers_and_auto(value: object) -> None:
    with pytest.raises(ConfigError, match=r"train.devices must be at least 1, or auto"):
        Config(train=TrainConfig(devices=value))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.devices=3"], "train.batch_size must be a multiple of 3, the number of devices; got 4"),
        (["train.devices=4"], "train.devices must be at most 1, as TensorFlow sees CPU:0; got 4"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_is_written(
    arguments: list[str], message: str, program: RunProgram, tmp_path: Path
) -> None:
    done = program(*SMALL, *arguments, f"records.root={tmp_path / 'records'}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {message}\n"
    assert not (tmp_path / "records").exists()


def test_a_penalty_now_and_then_needs_one_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from experiments.training.start import _check_devices

    monkeypatch.setattr(devices, "_names", lambda: ["CPU:0", "CPU:1"])
    rare = TrainConfig(devices=2, r1_gamma=1.0, r1_every_steps=4)
    with pytest.raises(ConfigError, match=r"train\.r1_every_steps must be 1 on 2 devices; got 4"):
        _check_devices(Config(train=rare), Records(tmp_path))
    with pytest.raises(ConfigError, match=r"train\.jit_compile must be auto or false on 2 devices, .*; got True"):
        _check_devices(Config(train=TrainConfig(devices=2, jit_compile=True)), Records(tmp_path))
    compiled = TrainConfig(devices="auto", jit_compile=True)  # which is one device here
    for fine in (TrainConfig(devices=2, r1_gamma=1.0), TrainConfig(devices=2, r1_every_steps=4), compiled):
        _check_devices(Config(train=fine), Records(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_there", [True, False])
def test_compiled_programs_are_known_before_devices_are_asked_for(
    is_there: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from experiments.hardware import device
    from experiments.training import start

    kept: list[Path] = []
    monkeypatch.setattr(device, "visible", lambda: ["0"])
    monkeypatch.setattr("gan.xla.keep_programs", kept.append)
    monkeypatch.setattr(devices, "count_devices", lambda *_: len(kept) + 1)
    folder = tmp_path / "cache" / "xla"
    if is_there:
        folder.mkdir(parents=True)
    start._check_devices(Config(train=TrainConfig(devices="auto")), Records(tmp_path))
    assert kept == [folder] * is_there
    assert folder.exists() == is_there


def test_tensorflow_asked_early_keeps_its_voice(tmp_path: Path) -> None:
    """It is imported while the terminal is kept clean of it, and must not hold on to a stream that is closed then."""
    code = """
from experiments.training.start import _check_devices
from experiments.settings.schema import Config, TrainConfig
from experiments.records.folders import Records
_check_devices(Config(train=TrainConfig(devices="auto")), Records.at(None))
import tensorflow as tf
tf.get_logger().warning("hello")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "WARNING:tensorflow:hello\n")


def test_a_run_on_two_devices_goes_on_on_one(program: RunProgram, npz: Path, tmp_path: Path) -> None:
    from experiments.records.journal import Tags, read

    root, images = f"records.root={tmp_path / 'records'}", ("data=npz", f"data.path={npz}")
    done = program("run", *SMALL, *images, "train.steps=3", "train.devices=2", root, script=SCRIPT)
    assert done.returncode == 0, done.stderr
    (folder,) = Records(tmp_path / "records").all_runs()
    assert (folder.path / "samples.gif").exists()
    assert folder.generator.exists()

    done = program("resume=last", "train.steps=5", "train.devices=1", root)
    assert done.returncode == 0, done.stderr
    tags = [record.tags for record, _ in read(folder.journal, 0) if isinstance(record, Tags)]
    assert [tag["devices"] for tag in tags if "devices" in tag] == ["2", "1"]
    assert folder.checkpoints.latest().step == 5
