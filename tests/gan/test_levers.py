"""The regularization options within one update: what each changes, by how much, and that off is off."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import noise_images

from experiments.settings.rules import Choice, describe
from experiments.settings.schema import Config
from gan import update
from gan.labels import Labels
from gan.losses import LOSSES
from gan.models import build_discriminator, build_generator
from gan.optimizers import Adam, Decay
from gan.update import VALUES, Update, restore_generator

BATCH = 4
UPDATE_RULES = ("tutorial", "batch")
ALL: dict[str, Any] = {
    "loss": "hinge",
    "labels": Labels(0.1, fresh=True, real_only=True, flip=0.2),
    "r1_gamma": 1.0,
    "r1_every_steps": 2,
    "augmentations": ("color", "translation", "cutout"),
    "horizontal_flip": True,
    "ema_decay": 0.9,
    "decay": Decay("cosine", steps=8, start=0.25),
}


def small(update_rule: str, precision: str = "float32", spectral_norm: bool = False, **options: Any) -> Update:
    """The project's networks, narrow."""
    return Update(
        build_generator(5, width=8, precision=precision, seed=0),
        build_discriminator(width=4, spectral_norm=spectral_norm, precision=precision, seed=0),
        Adam(1e-3, beta_1=0.5),
        Adam(1e-3, beta_1=0.5),
        noise_images(40),
        update_rule=update_rule,
        batch_size=BATCH,
        **options,
    )


def linear(update_rule: str, **options: Any) -> Update:
    """A linear discriminator, and steps along the gradient itself."""
    keras.utils.set_random_seed(0)
    generator = [keras.Input((2,)), keras.layers.Dense(3072, name="d"), keras.layers.Reshape((32, 32, 3))]
    discriminator = [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(1, name="out")]
    return Update(
        keras.Sequential(generator, name="generator"),
        keras.Sequential(discriminator, name="discriminator"),
        *(keras.optimizers.SGD(0.01) for _ in range(2)),
        noise_images(40),
        update_rule=update_rule,
        batch_size=BATCH,
        **options,
    )


def test_the_losses_of_the_setting_are_those_of_the_table() -> None:
    rule = describe(Config)["train.loss"]["rule"]
    assert isinstance(rule, Choice)
    assert set(rule.options) == LOSSES.keys()


@pytest.mark.parametrize(
    ("update_rule", "precision"),
    [("tutorial", "mixed_bfloat16"), pytest.param("batch", "float32", marks=pytest.mark.slow)],
)
def test_with_all_options_on_a_restored_state_trains_on_exactly(update_rule: str, precision: str) -> None:
    first, second = (small(update_rule, precision, True, **ALL) for _ in range(2))
    first.run(1, 3)
    second.restore(first.state())
    rows = first.run(4, 3).numpy()
    values = [second(4).numpy(), *second.run(5, 2).numpy()]
    np.testing.assert_array_equal(values, rows)
    state = first.state()
    for name, value in second.state().items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)
        assert np.isfinite(value).all(), name
    assert {name.partition("/")[0] for name in state} >= {"ema_generator", "generator", "discriminator"}
    assert {"discriminator/conv_1/u", "discriminator/logits/u"} <= state.keys()


@pytest.mark.parametrize("update_rule", ["tutorial", pytest.param("batch", marks=pytest.mark.slow)])
def test_options_that_are_off_add_no_operation(update_rule: str) -> None:
    def operations(update: Update) -> list[str]:
        graph = update._compiled.get_concrete_function().graph.as_graph_def()
        return sorted([n.op for n in graph.node] + [n.op for f in graph.library.function for n in f.node_def])

    plain = operations(small(update_rule))
    off = {"loss": "bce", "r1_gamma": 0.0, "augmentations": (), "ema_decay": 0.0, "decay": None}
    assert operations(small(update_rule, labels=Labels(flip=0.0), **off)) == plain
    for lever in ({"ema_decay": 0.9}, {"r1_gamma": 1.0}, {"labels": Labels(flip=0.1)}, {"augmentations": ("color",)}):
        assert len(operations(small(update_rule, **lever))) > len(plain)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("update_rule", ["tutorial", pytest.param("batch", marks=pytest.mark.slow)])
def test_every_loss_trains_both_networks(update_rule: str, loss: str) -> None:
    update = small(update_rule, loss=loss)
    before = update.state()
    values = dict(zip(VALUES, update(1).numpy(), strict=True))
    after = update.state()
    assert np.isfinite(list(values.values())).all()
    assert values["alive"] > 0
    for name in ("generator/dense/kernel", "discriminator/conv_1/kernel"):
        assert not np.array_equal(before[name], after[name])


# --- R1


@pytest.mark.parametrize(("update_rule", "fraction"), [("tutorial", 1.0), ("batch", 0.5)])
@pytest.mark.parametrize(("every", "step", "weight"), [(1, 1, 1.0), (4, 4, 4.0), (4, 3, 0.0)])
def test_r1_draws_a_linear_discriminator_to_zero(
    update_rule: str, fraction: float, every: int, step: int, weight: float
) -> None:
    """Its penalty is gamma / 2 |w|², whatever the images; the gradient gamma w."""
    gamma, rate = 3.0, 0.01
    plain, penalised = linear(update_rule), linear(update_rule, r1_gamma=gamma, r1_every_steps=every)
    start = plain.state()["discriminator/out/kernel"]
    values = [update(step).numpy() for update in (plain, penalised)]
    np.testing.assert_allclose(
        values[0][0], values[1][0], rtol=1e-4 if update_rule == "batch" else 0.1
    )  # without the penalty
    ends = [update.state()["discriminator/out/kernel"] for update in (plain, penalised)]
    if update_rule == "tutorial":  # then comes the step on fakes, which sees other weights
        start = start + 0.0
        np.testing.assert_allclose(ends[1] - ends[0], -rate * gamma * weight * fraction * start, atol=2e-4)
    else:
        np.testing.assert_allclose(ends[1] - ends[0], -rate * gamma * weight * fraction * start, atol=1e-7)


# --- labels


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_flipped_labels_are_ds_alone(update_rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    update = linear(update_rule, labels=Labels(0.0, flip=0.4))
    seen: dict[str, list[np.ndarray]] = {"d": [], "g": []}

    def spy(which: str) -> Any:
        return lambda t, x: seen[which].append(t.numpy()[:, 0]) or tf.reduce_mean(x)

    monkeypatch.setattr(update, "loss", dataclasses.replace(update.loss, d=spy("d"), g=spy("g")))
    for step in range(1, 51):
        getattr(update, f"_{update_rule}")(tf.constant(step))
    real, fake = np.array(seen["d"][::2]), np.array(seen["d"][1::2])
    assert set(np.unique(real)) == set(np.unique(fake)) == {0.0, 1.0}
    assert 0.3 < (real == 0).mean() < 0.5
    assert 0.3 < (fake == 1).mean() < 0.5
    assert len(np.unique(real, axis=0)) > 5  # anew each step
    assert not np.array_equal(real == 0, fake == 1)
    assert (np.array(seen["g"]) == 1).all()


def test_one_sided_noise_leaves_fake_labels_at_zero() -> None:
    both, one = (Labels(0.2, fresh=True, real_only=only).draw(0, tf.constant(1), 8) for only in (False, True))
    np.testing.assert_array_equal(both[0], one[0])
    assert not one[1].numpy().any()
    assert both[1].numpy().all()


# --- augmentation


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_real_and_fake_images_are_augmented_alike_in_every_pass(
    update_rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = update.augment

    def spy(images: tf.Tensor, kinds: tuple[str, ...], seed: int, purpose: str, step: tf.Tensor) -> tf.Tensor:
        calls.append((purpose, kinds))
        return original(images, kinds, seed, purpose, step)

    monkeypatch.setattr(update, "augment", spy)
    built = linear(update_rule, augmentations=("translation", "cutout"))
    getattr(built, f"_{update_rule}")(tf.constant(1))
    assert calls == [(purpose, ("translation", "cutout")) for purpose in ("real", "fake", "generator")]


def test_flips_are_of_real_images_alone() -> None:
    plain, flipped = linear("tutorial"), linear("tutorial", horizontal_flip=True)
    (real, z, *_), (turned, same_z, *_) = (update._draw(tf.constant(1)) for update in (plain, flipped))
    np.testing.assert_array_equal(z, same_z)
    assert not np.array_equal(real, turned)
    for a, b in zip(real.numpy(), turned.numpy(), strict=True):
        assert np.array_equal(a, b) or np.array_equal(a[:, ::-1], b)


# --- the average


@pytest.mark.parametrize("update_rule", ["tutorial", pytest.param("batch", marks=pytest.mark.slow)])
def test_the_average_follows_every_update_and_is_what_is_drawn(update_rule: str) -> None:
    update, plain = small(update_rule, ema_decay=0.3), small(update_rule)
    state = update.state()
    expected = {name: value.astype(np.float64) for name, value in state.items() if name.startswith("generator/")}
    for step in range(1, 5):
        update(step)
        state = update.state()
        past = min(0.3, (1 + step) / (10 + step))
        expected = {name: past * value + (1 - past) * state[name] for name, value in expected.items()}
    for name, value in expected.items():
        np.testing.assert_allclose(state[f"ema_{name}"], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        small(update_rule, ema_decay=0.3)(1), plain(1), rtol=1e-5
    )  # training knows nothing of it
    assert update.eval_generator is not update.generator
    assert plain.eval_generator is plain.generator

    z = np.random.default_rng(0).standard_normal((2, 5), np.float32)
    restored = build_generator(5, width=8)
    restore_generator(restored, state)
    np.testing.assert_array_equal(restored.predict_on_batch(z), update.eval_generator.predict_on_batch(z))
    assert not np.array_equal(restored.predict_on_batch(z), update.generator.predict_on_batch(z))


# --- learning rates


def test_learning_rates_fall_with_the_step() -> None:
    update = linear("tutorial", decay=Decay("linear", steps=10))
    update.run(1, 6)
    for optimizer in (update.g_optimizer, update.d_optimizer):
        assert float(optimizer.learning_rate) == pytest.approx(0.01 * 0.5)
    again = linear("tutorial", decay=Decay("linear", steps=10))
    again.restore(update.state())
    again(10)
    assert float(again.d_optimizer.learning_rate) == pytest.approx(0.01 * 0.1)  # of the rate it was made with


# --- spectral norm


@pytest.mark.parametrize(("update_rule", "iterations"), [("tutorial", 2), ("batch", 1)])
def test_one_power_iteration_for_each_step_of_d(update_rule: str, iterations: int) -> None:
    update = small(update_rule, spectral_norm=True)
    calls = []
    layer = update.discriminator.get_layer("conv_2")
    iterate = layer.iterate
    layer.iterate = lambda: calls.append(layer.u.numpy()) or iterate()
    getattr(update, f"_{update_rule}")(tf.constant(1))
    assert len(calls) == iterations
    assert np.linalg.norm(layer.u) == pytest.approx(1, abs=1e-5)
