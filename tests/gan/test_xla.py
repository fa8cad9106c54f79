"""The update compiled by XLA: one program for all numbers, and the plain update's results but for rounding."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import RunProgram, noise_images
from small_updates import ALL, small

from experiments.records.folders import Records
from experiments.records.journal import all_tags
from experiments.settings.rules import put
from experiments.settings.schema import Config
from experiments.training.build import build_update
from gan import randomness, update, xla
from gan.labels import Labels
from gan.update import ALIVE, VALUES

# Of each setting two numbers; those that are 0 by default have none, so that the option is on in both.
NUMBERS: dict[str, tuple[Any, Any]] = {
    "optim.generator_learning_rate": (1e-4, 3e-4),
    "optim.discriminator_learning_rate": (2e-4, 4e-4),
    "optim.beta_1": (0.5, 0.0),
    "optim.beta_2": (0.999, 0.9),
    "optim.epsilon": (1e-7, 1e-5),
    "optim.decay_from": (0.0, 0.5),
    "model.generator.bn_momentum": ([0.8, 0.7], [0.1, 0.2]),
    "model.discriminator.leaky_relu_alpha": ([0.2] * 4, [0.1, 0.2, 0.0, 0.4]),
    "model.dropout": (0.25, 0.4),
    "train.label_noise": (0.05, 0.0),
    "train.label_flip": (0.1, 0.2),
    "train.r1_gamma": (1.0, 0.3),
    "train.r1_every_steps": (2, 16),
    "train.ema_decay": (0.9, 0.999),
    "train.steps": (100, 5000),
    "seed": (0, 7),
}

# Of all options, without those that XLA compiles for longest.
CHEAP: dict[str, Any] = {"r2_gamma": 0.0, "d_steps": 1, "consistency": 0.0, "augment_target": 0.0, "augmentations": ()}


def narrow(numbers: dict[str, Any], **options: Any) -> update.Update:
    config = Config()
    for key, value in {"model.generator.width": 4, "model.discriminator.width": 2, **numbers, **options}.items():
        put(config, key, value)
    config.optim.decay = "linear"
    return build_update(config, noise_images(20), jit_compile=True)


def program_of(of: update.Update) -> xla.Program:
    assert isinstance(of._compiled, xla.Program)
    return of._compiled


def test_trials_that_differ_in_numbers_are_one_program() -> None:
    first = {key: values[0] for key, values in NUMBERS.items()}
    second = {key: values[1] for key, values in NUMBERS.items()}
    name = program_of(narrow(first)).name
    assert program_of(narrow(second)).name == name
    assert program_of(narrow(first, **{"train.batch_size": 8})).name != name


def test_a_program_is_of_one_kind_of_gpu_and_exact_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA keeps programs by their names, which do not say what they were compiled for."""

    def name(capability: tuple[int, int] | None, deterministic: bool) -> str:
        kind = {} if capability is None else {"compute_capability": capability}
        with monkeypatch.context() as patch:
            patch.setattr(xla.config, "is_op_determinism_enabled", lambda: deterministic)
            patch.setattr(tf.config, "list_physical_devices", lambda _: [] if capability is None else ["one", "other"])
            patch.setattr(tf.config.experimental, "get_device_details", lambda _: kind)
            program = xla.Program(lambda step: step, arguments=1)
            vars(program)["_text"] = "the same"
            return program.name

    names = [name(kind, exact) for kind in (None, (8, 0), (9, 0)) for exact in (True, False)]
    assert len(set(names)) == len(names)
    assert name((8, 0), True) == names[2]


@pytest.mark.slow
@pytest.mark.parametrize("key", NUMBERS)
def test_each_number_is_an_input(key: str) -> None:
    first = {key: values[0] for key, values in NUMBERS.items()}
    one, other = (program_of(narrow(first | {key: value})) for value in NUMBERS[key])
    assert one.name == other.name
    assert [one._inputs.floats, one._inputs.integers] != [other._inputs.floats, other._inputs.integers]


def test_draws_are_the_same() -> None:
    seed = randomness.stateless_seed(3, "some", 5)

    def draws() -> list[tf.Tensor]:
        return [
            randomness.uniform((7, 3), seed), randomness.normal((5, 3), seed), randomness.normal((1, 100), seed),
            tf.random.stateless_uniform((40,), seed, maxval=1000, dtype=tf.int32),
        ]  # fmt: skip

    def flat() -> tf.Tensor:
        return tf.concat([tf.reshape(tf.cast(draw, tf.float32), (-1,)) for draw in draws()], 0)

    plain, compiled = flat(), xla.Program(flat, arguments=0)()
    np.testing.assert_array_equal(compiled[:21], plain[:21])
    np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("update_rule", "precision", "options"),
    [
        ("batch", "float32", {**ALL, **CHEAP}),
        pytest.param("batch", "float32", {**ALL, "spectral_norm": True}, marks=pytest.mark.slow),
        pytest.param("tutorial", "float32", {**ALL, "spectral_norm": True}, marks=pytest.mark.slow),
        pytest.param("batch", "mixed_bfloat16", {}, marks=pytest.mark.slow),
        pytest.param("tutorial", "float32", {}, marks=pytest.mark.slow),
        pytest.param("batch", "float32", {**ALL, "loss": "bce"}, marks=pytest.mark.slow),
        pytest.param("batch", "float32", {"loss": "non_saturating", "spectral_norm": True}, marks=pytest.mark.slow),
        pytest.param("tutorial", "mixed_bfloat16", ALL, marks=pytest.mark.slow),
        pytest.param("batch", "float32", {"labels": Labels(0.1, inward=True)}, marks=pytest.mark.slow),
    ],
)
def test_five_updates_are_those_of_the_plain_one(
    update_rule: str, precision: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "XLA_ROWS", 3)
    plain, compiled = (small(update_rule, precision, epsilon=1e-2, jit_compile=on, **options) for on in (False, True))
    start = plain.state()
    rows, expected = compiled.run(1, 5), plain.run(1, 5)
    assert rows.shape == (5, len(VALUES))
    within = 1e-4 if precision == "float32" else 5e-2
    exact = len(VALUES) if precision == "float32" else VALUES.index(ALIVE)  # which counts logits beyond a bound
    np.testing.assert_allclose(rows[:, :exact], expected[:, :exact], atol=within)
    state, wanted = compiled.state(), plain.state()
    assert state.keys() == wanted.keys()
    for name in [
        name for name in start if name.endswith(("kernel", "iteration", "probability")) and "adam" not in name
    ]:
        way = np.linalg.norm(wanted[name] - start[name])
        assert np.linalg.norm(state[name] - wanted[name]) <= 20 * within * way, name


@pytest.mark.slow  # the short tests see that such runs are one program, and that a program is kept
def test_a_study_compiles_once(program: RunProgram, npz: Path, tmp_path: Path) -> None:
    """Two runs of unlike numbers, each in a process of its own."""
    records = Records(tmp_path / "the records")
    common = [
        "data=npz", f"data.path={npz}", f"records.root={records.root}", "train.jit_compile=true", "train.steps=3",
        "train.update_rule=batch", "train.batch_size=4", "model.generator.width=4", "model.discriminator.width=2",
        "model.discriminator.batch_norm=false", "eval.num_images=20", "eval.final_num_images=20",
        "eval.extractor=random_cnn",
    ]  # fmt: skip
    kernels = []
    for number, own in enumerate((["seed=1"], ["seed=2", "optim.learning_rate=1e-3", "model.dropout=0.4"])):
        done = program(*common, *own, f"name=run-{number}")
        assert (done.returncode, done.stderr) == (0, "")
        assert "compiled by XLA" in done.stdout
        assert len(list((records.cache / "xla").iterdir())) == 1
        folder = records.find_run(f"run-{number}")
        assert all_tags(folder.journal)["jit_compile"] == "true"
        kernels.append(folder.checkpoints.latest().arrays["generator/dense/kernel"])
    assert not np.array_equal(*kernels)


def test_a_damaged_program_is_compiled_anew(program: RunProgram, tmp_path: Path) -> None:
    folder = tmp_path / "kept programs"

    def compute(number: str) -> str:
        done = program(str(folder), number, script="tests/xla_program.py")
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    with ThreadPoolExecutor(2) as threads:  # both compile, and write the same file
        result, other = threads.map(compute, ("0.5", "0.5"))
    assert other == result
    (kept,) = folder.iterdir()
    assert compute("0.25") != result
    assert list(folder.iterdir()) == [kept]
    kept.write_bytes(kept.read_bytes()[:1000])
    assert compute("0.5") == result
    assert compute("0.5") == result  # the next one is compiled under its usual name again


# --- where programs are kept


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(xla.FLAGS, "")


def test_the_folder_is_made_and_the_oldest_programs_go(flags: None, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "xla"
    folder.mkdir(parents=True)
    for age in range(xla.MOST_KEPT + 3):
        file = folder / f"xla_compile_cache__{age}.pb"
        file.touch()
        os.utime(file, (10**9 - age, 10**9 - age))
    xla.keep_programs(folder)
    assert os.environ[xla.FLAGS] == f"{xla.DIRECTORY}='{folder}'"
    assert {file.name for file in folder.iterdir()} == {f"xla_compile_cache__{age}.pb" for age in range(xla.MOST_KEPT)}
    assert xla._forget_programs()
    assert not list(folder.iterdir())
    assert not xla._forget_programs()


def test_a_folder_that_cannot_be_written_is_read(flags: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    xla.keep_programs(tmp_path)
    assert os.environ[xla.FLAGS] == f"{xla.DIRECTORY}='{tmp_path}' {xla.READ_ONLY}"


def test_a_place_that_is_no_folder_keeps_nothing(flags: None, npz: Path) -> None:
    xla.keep_programs(npz)
    xla.keep_programs(npz / "below")
    assert os.environ[xla.FLAGS] == ""


def test_the_users_own_flags_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(xla.FLAGS, "--tf_xla_clustering_debug")
    xla.keep_programs(tmp_path)
    assert os.environ[xla.FLAGS] == f"--tf_xla_clustering_debug {xla.DIRECTORY}='{tmp_path}'"
    before = f"{xla.DIRECTORY}=/own"
    monkeypatch.setenv(xla.FLAGS, before)
    xla.keep_programs(tmp_path)
    assert os.environ[xla.FLAGS] == before


def test_programs_in_a_folder_of_the_user_are_not_removed(
    monkeypatch: pytest.MonkeyPatch, flags: None, tmp_path: Path
) -> None:
    monkeypatch.setattr(xla, "_kept_in", set())
    users = tmp_path / "users"
    users.mkdir()
    (users / "xla_compile_cache__1.pb").touch()
    monkeypatch.setenv(xla.FLAGS, f"{xla.DIRECTORY}='{users}'")
    xla.keep_programs(tmp_path / "ours")
    assert not xla._forget_programs()
    assert list(users.iterdir())


def test_the_folder_of_the_process_that_started_this_one_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(xla, "_kept_in", set())
    monkeypatch.setenv(xla.FLAGS, f"{xla.DIRECTORY}='{tmp_path}'")
    (tmp_path / "xla_compile_cache__1.pb").touch()
    xla.keep_programs(tmp_path)
    assert os.environ[xla.FLAGS] == f"{xla.DIRECTORY}='{tmp_path}'"
    assert xla._forget_programs()


@pytest.mark.parametrize("error", [tf.errors.ResourceExhaustedError, tf.errors.InternalError])
def test_a_full_gpu_costs_no_program(error: type[tf.errors.OpError], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise error(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory")

    program = xla.Program(lambda step: step, arguments=1)
    monkeypatch.setattr(program, "_under", lambda name: full)
    monkeypatch.setattr(xla, "_forget_programs", lambda: pytest.fail("removed"))
    with pytest.raises(error):
        program(tf.constant(1))
