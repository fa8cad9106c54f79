"""The regularization options within one update: what each changes, by how much, and that off is off."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import THOROUGH, noise_images
from small_updates import ALL, BATCH, small

from experiments.settings.rules import Choice, describe
from experiments.settings.schema import Config
from gan import update
from gan.labels import Labels
from gan.losses import LOSSES
from gan.models import build_generator
from gan.optimizers import Decay
from gan.regularizers import AdaptiveAugmentation, LeCam
from gan.update import VALUES, Update, restore_generator

UPDATE_RULES = ("tutorial", "batch")


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
    ("update_rule", "precision", "d_steps"),
    [("tutorial", "mixed_bfloat16", 1), pytest.param("batch", "float32", 2, marks=pytest.mark.slow)],
)
def test_with_all_options_on_a_restored_state_trains_on_exactly(update_rule: str, precision: str, d_steps: int) -> None:
    update = small(update_rule, precision, True, **{**ALL, "d_steps": d_steps})
    update.run(1, 3)
    then = update.state()
    rows = update.run(4, 3).numpy()
    state = update.state()
    update.restore(then)  # the updates of a second one would take as long again to compile; tests of others have one
    values = [update(4).numpy(), *update.run(5, 2).numpy()]
    np.testing.assert_array_equal(values, rows)
    for name, value in update.state().items():
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
    off = {
        "loss": "bce", "r1_gamma": 0.0, "r2_gamma": 0.0, "augmentations": (), "ema_decay": 0.0, "decay": None, "d_steps": 1,
        "lecam": 0.0, "consistency": 0.0, "augment_target": 0.0,
    }  # fmt: skip
    assert operations(small(update_rule, labels=Labels(flip=0.0), **off)) == plain
    levers = [{"ema_decay": 0.9}, {"r1_gamma": 1.0}, {"labels": Labels(flip=0.1)}, {"augmentations": ("color",)}]
    levers += [{"r2_gamma": 1.0}, {"d_steps": 2}, {"lecam": 1.0}, {"consistency": 1.0}, {"loss": "relativistic"}]
    for lever in levers if THOROUGH else levers[:1] + levers[-2:]:
        assert len(operations(small(update_rule, **lever))) > len(plain), lever


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

# A penalty counts as much as the loss of its batch: half where D's loss is the mean of a real and a fake one.
FRACTIONS = [
    ("tutorial", "bce", 1.0),
    ("batch", "bce", 0.5),
    ("tutorial", "relativistic", 1.0),
    ("batch", "relativistic", 1.0),
]


@pytest.mark.parametrize(("update_rule", "loss", "fraction"), FRACTIONS)
@pytest.mark.parametrize(("every", "step", "weight"), [(1, 1, 1.0), (4, 4, 4.0), (4, 3, 0.0)])
def test_r1_draws_a_linear_discriminator_to_zero(
    update_rule: str, loss: str, fraction: float, every: int, step: int, weight: float
) -> None:
    """Its penalty is gamma / 2 |w|², whatever the images; the gradient gamma w."""
    gamma, rate = 3.0, 0.01
    plain, penalised = (
        linear(update_rule, loss=loss, **options) for options in ({}, {"r1_gamma": gamma, "r1_every_steps": every})
    )
    start = plain.state()["discriminator/out/kernel"]
    values = [update(step).numpy() for update in (plain, penalised)]
    np.testing.assert_allclose(
        values[0][0], values[1][0], rtol=0.1 if (update_rule, loss) == ("tutorial", "bce") else 1e-4
    )  # without the penalty
    ends = [update.state()["discriminator/out/kernel"] for update in (plain, penalised)]
    if (update_rule, loss) == ("tutorial", "bce"):  # then comes the step on fakes, which sees other weights
        start = start + 0.0
        np.testing.assert_allclose(ends[1] - ends[0], -rate * gamma * weight * fraction * start, atol=2e-4)
    else:
        np.testing.assert_allclose(ends[1] - ends[0], -rate * gamma * weight * fraction * start, atol=1e-7)


@pytest.mark.parametrize(("update_rule", "loss", "fraction"), FRACTIONS)
def test_r2_is_r1_on_fake_images(update_rule: str, loss: str, fraction: float) -> None:
    gamma, rate = 3.0, 0.01
    plain, penalised = linear(update_rule, loss=loss), linear(update_rule, loss=loss, r2_gamma=gamma)
    start = plain.state()["discriminator/out/kernel"]
    ends = []
    for each in (plain, penalised):
        each(1)
        ends.append(each.state()["discriminator/out/kernel"])
    tolerance = (
        2e-4 if (update_rule, loss) == ("tutorial", "bce") else 1e-7
    )  # after the step on real images the weights are others
    np.testing.assert_allclose(ends[1] - ends[0], -rate * gamma * fraction * start, atol=tolerance)


# --- pairs


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_the_relativistic_loss_is_of_pairs(update_rule: str) -> None:
    """D steps once along the gradient of softplus(fake - real), G along that of softplus(real - fake); in NumPy."""
    update = linear(update_rule, loss="relativistic")
    state = {name: value.astype(np.float64) for name, value in update.state().items()}
    real, z, *_ = (np.asarray(draw, np.float64) for draw in update._draw(tf.constant(1), 0))
    values = update(1).numpy()
    after = update.state()
    w, bias = state["discriminator/out/kernel"], state["discriminator/out/bias"]
    generate = state["generator/d/kernel"], state["generator/d/bias"]
    fake = (z @ generate[0] + generate[1]).reshape(real.shape)
    flat = real.reshape(BATCH, -1), fake.reshape(BATCH, -1)
    margin = (flat[0] - flat[1]) @ w  # of real over fake
    sigmoid = 1 / (1 + np.exp(margin))
    gradient = -((flat[0] - flat[1]) * sigmoid).mean(0)[:, None]
    np.testing.assert_allclose(values[0], np.log1p(np.exp(-margin)).mean(), rtol=1e-5)
    np.testing.assert_allclose(values[2:4], [1 - sigmoid.mean(), sigmoid.mean()], rtol=1e-4)
    new = w - 0.01 * gradient
    np.testing.assert_allclose(after["discriminator/out/kernel"], new, atol=1e-6)
    np.testing.assert_allclose(after["discriminator/out/bias"], bias, atol=1e-7)  # it is on both sides
    margin = (flat[1] - flat[0]) @ new  # of fake over real
    np.testing.assert_allclose(values[1], np.log1p(np.exp(-margin)).mean(), rtol=1e-4)
    pull = -(z[:, :, None] * (1 / (1 + np.exp(margin)))[:, :, None] * new[:, 0]).mean(0)
    moved = after["generator/d/kernel"] - generate[0]
    np.testing.assert_allclose(moved, -0.01 * pull, atol=1e-6)


def test_with_a_penalty_there_is_always_a_gradient() -> None:
    """Beyond the clip cross-entropy has none, but R1 has."""
    for options, alive in (({}, 0.0), ({"r1_gamma": 1.0}, 1.0), ({"lecam": 1.0}, 1.0)):
        update = linear("batch", **options)
        update.discriminator.layers[-1].bias.assign([1e3])
        assert update(1).numpy()[4] == alive


# --- steps of D


@pytest.mark.parametrize(
    ("update_rule", "steps_in_one"), [("tutorial", 2), pytest.param("batch", 1, marks=pytest.mark.slow)]
)
def test_d_takes_so_many_steps_each_on_its_own_batch(
    update_rule: str, steps_in_one: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = small(update_rule, d_steps=3)
    seen: dict[str, list[np.ndarray]] = {"real": [], "fake": [], "generator": []}
    original = update._logits

    def spy(images: tf.Tensor, batch: str, *others: Any) -> tf.Tensor:
        seen[batch].append(images.numpy())
        return original(images, batch, *others)

    monkeypatch.setattr(update, "_logits", spy)
    monkeypatch.setattr(update, "_discriminate", lambda images, batch, *given, **_: spy(images, batch, *given))
    getattr(update, f"_{update_rule}")(tf.constant(1))
    assert {name: len(batches) for name, batches in seen.items()} == {"real": 3, "fake": 3, "generator": 1}
    for batches in (seen["real"], seen["fake"]):
        assert not np.array_equal(batches[0], batches[1])
        assert not np.array_equal(batches[1], batches[2])
    assert (int(update.d_optimizer.iterations), int(update.g_optimizer.iterations)) == (3 * steps_in_one, 1)
    np.testing.assert_array_equal(seen["real"][0], small(update_rule)._draw(tf.constant(1), 0)[0])  # the run's own


def test_the_generators_statistics_move_once_however_many_steps_d_takes() -> None:
    several, fresh = small("batch", d_steps=2), small("batch")
    several(1)
    fresh._generate(fresh._draw(tf.constant(1), several._seeds[-1])[1])
    for name, value in fresh.state().items():
        if name.startswith("generator/") and "moving" in name:
            np.testing.assert_allclose(several.state()[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


# --- LeCam


@pytest.mark.parametrize(("update_rule", "loss", "fraction"), FRACTIONS)
def test_lecam_pulls_to_the_average_of_the_others(update_rule: str, loss: str, fraction: float) -> None:
    """Before the first update the averages are 0; after it, by (1 - 2/11) of the first mean logits."""
    weight, rate = 2.0, 0.01
    plain, pulled = linear(update_rule, loss=loss), linear(update_rule, loss=loss, lecam=weight)
    real = np.asarray(plain._draw(tf.constant(1), 0)[0], np.float64).reshape(BATCH, -1)
    start = plain.state()["discriminator/out/kernel"].astype(np.float64)
    logits = real @ start
    for each in (plain, pulled):
        each(1)
    state = pulled.state()
    np.testing.assert_allclose(state["lecam/real"], (1 - 2 / 11) * logits.mean(), rtol=1e-4)
    assert state["lecam/fake"] != 0
    if (update_rule, loss) != ("tutorial", "bce"):
        fake = np.asarray(small_fakes(update_rule), np.float64).reshape(BATCH, -1)
        pull = sum(2 * weight * (x * (x @ start)).mean(0)[:, None] for x in (real, fake))
        moved = state["discriminator/out/kernel"] - plain.state()["discriminator/out/kernel"]
        np.testing.assert_allclose(moved, -rate * fraction * pull, atol=1e-5)


def small_fakes(update_rule: str) -> np.ndarray:
    """What the linear generator makes of the latents of update 1, before it learns."""
    update = linear(update_rule)
    return update.generator(update._draw(tf.constant(1), 0)[1]).numpy()


def test_the_average_of_logits_moves_by_its_decay() -> None:
    lecam, expected = LeCam(1.0), 0.0
    for step in range(1, 40):
        logits = np.full((4, 1), step, np.float32)
        lecam.move("fake", tf.constant(logits), tf.constant(step))
        past = min(0.99, (1 + step) / (10 + step))
        expected = past * expected + (1 - past) * step
    assert float(lecam.averages["fake"]) == pytest.approx(expected, rel=1e-5)
    assert float(lecam.averages["real"]) == 0
    real = tf.constant([[1.0], [3.0]])
    assert float(lecam.penalty("real", real)) == pytest.approx(
        ((1 - expected) ** 2 + (3 - expected) ** 2) / 2, rel=1e-5
    )


# --- consistency


@pytest.mark.parametrize("update_rule", ["batch", pytest.param("tutorial", marks=pytest.mark.slow)])
def test_consistency_is_the_squared_change_of_logits_under_the_same_dropout(
    update_rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = small(update_rule, consistency=3.0)
    passes: list[tuple[str, bool, np.ndarray, np.ndarray]] = []
    original = update._logits

    def spy(images: tf.Tensor, batch: str, step: tf.Tensor, seed: int, update_statistics: bool = True) -> tf.Tensor:
        logits = original(images, batch, step, seed, update_statistics)
        passes.append((batch, update_statistics, images.numpy(), logits.numpy()))
        return logits

    monkeypatch.setattr(update, "_logits", spy)
    penalties: list[float] = []
    of = update._penalties
    monkeypatch.setattr(update, "_penalties", lambda *given: [penalties.append(float(p)) or p for p in of(*given)])
    getattr(update, f"_{update_rule}")(tf.constant(1))
    first = {name: (images, logits) for name, moves, images, logits in passes if moves}
    again = {name: (images, logits) for name, moves, images, logits in passes if not moves and name != "generator"}
    assert first.keys() == again.keys() == {"real", "fake"}
    for penalty, name in zip(penalties, ("real", "fake"), strict=True):
        assert penalty == pytest.approx(3 * np.square(first[name][1] - again[name][1]).mean(), rel=1e-4)
        assert not np.array_equal(first[name][0], again[name][0])
    assert not np.array_equal(again["real"][0] == 0, again["fake"][0] == 0)  # moved by draws of their own


# --- adaptive augmentation


def test_the_probability_does_not_depend_on_what_a_loss_of_pairs_leaves_open() -> None:
    """The relativistic loss is the same for logits that are all higher by as much."""
    probabilities = []
    for shift in (-9.0, 9.0):
        update = small("batch", loss="relativistic", augment_target=0.1, augmentations=("color",))
        bias = update.discriminator.trainable_variables[-1]
        assert bias.shape == (1,)
        bias.assign([shift])
        update.run(1, 40)
        probabilities.append(float(update.adaptive.probability))  # type: ignore[union-attr]
    assert probabilities[0] == probabilities[1] > 0


def test_the_probability_follows_how_sure_d_is() -> None:
    adaptive = AdaptiveAugmentation(0.5, batch_size=10_000)
    seen = []
    for positives in (8, 8, 8, 6, 1, 8):  # of eight: mean signs of 1, 0.5 and -0.75
        logits = np.where(np.arange(8) < positives, 2.0, -3.0).astype(np.float32)[:, None]
        adaptive.move(tf.constant(logits))
        seen.append(round(float(adaptive.probability), 5))
    assert seen == [0.1, 0.2, 0.3, 0.3, 0.2, 0.3]
    for _ in range(12):
        adaptive.move(tf.constant([[-1.0]]))
    assert float(adaptive.probability) == 0
    for _ in range(12):
        adaptive.move(tf.constant([[1.0]]))
    assert float(adaptive.probability) == 1


def test_images_are_augmented_as_often_as_the_probability_says() -> None:
    images = tf.constant(np.random.default_rng(0).uniform(-1, 1, (400, 4, 4, 3)).astype(np.float32))

    def changed(probability: float) -> float:
        out = update.augment(images, ("color",), 0, "real", tf.constant(1), tf.constant(probability))
        return float((np.abs(out - images).max((1, 2, 3)) > 0).mean())

    assert (changed(0.0), changed(1.0)) == (0.0, 1.0)
    assert changed(0.3) == pytest.approx(0.3, abs=0.07)
    always = update.augment(images, ("color",), 0, "real", tf.constant(1))
    np.testing.assert_array_equal(
        update.augment(images, ("color",), 0, "real", tf.constant(1), tf.constant(1.0)), always
    )


def test_with_a_target_nothing_is_augmented_at_first() -> None:
    plain, adaptive = (
        small("tutorial", augmentations=("color",) if on else (), augment_target=0.6 if on else 0.0) for on in (0, 1)
    )
    np.testing.assert_array_equal(adaptive.real_images(1), plain.real_images(1))
    adaptive.run(1, 3)
    assert float(adaptive.adaptive.probability) in (0.0, pytest.approx(BATCH / 100_000))
    assert "augment/probability" in adaptive.state()


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

    def spy(images: tf.Tensor, kinds: tuple[str, ...], seed: int, purpose: str, *others: Any) -> tf.Tensor:
        calls.append((purpose, kinds))
        return original(images, kinds, seed, purpose, *others)

    monkeypatch.setattr(update, "augment", spy)
    built = linear(update_rule, augmentations=("translation", "cutout"))
    getattr(built, f"_{update_rule}")(tf.constant(1))
    assert calls == [(purpose, ("translation", "cutout")) for purpose in ("real", "fake", "generator")]


def test_flips_are_of_real_images_alone() -> None:
    plain, flipped = linear("tutorial"), linear("tutorial", horizontal_flip=True)
    (real, z, *_), (turned, same_z, *_) = (update._draw(tf.constant(1), 0) for update in (plain, flipped))
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
