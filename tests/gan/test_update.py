"""What the two update rules do, value by value."""

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import noise_images

from gan import augment, labels, update
from gan.errors import ConfigError
from gan.labels import Labels
from gan.losses import binary_crossentropy
from gan.models import build_discriminator, build_generator, in_keras_layers
from gan.optimizers import Adam
from gan.randomness import stateless_seed
from gan.update import VALUES, Update, dropout_states

BATCH = 8
UPDATE_RULES = ("tutorial", "batch")


NOISE = Labels()


def make(
    update_rule: str = "tutorial",
    labels: Labels = NOISE,
    seed: int = 0,
    precision: str = "float32",
    dropout: float = 0.25,
    **options: Any,
) -> Update:
    return Update(
        build_generator(width=16, seed=seed, precision=precision),
        build_discriminator(dropout=dropout, width=8, seed=seed, precision=precision),
        Adam(2e-4, beta_1=0.5),
        Adam(2e-4, beta_1=0.5),
        noise_images(100),
        update_rule=update_rule,
        batch_size=BATCH,
        labels=labels,
        seed=seed,
        **options,
    )


def group(state: dict[str, np.ndarray], prefix: str, moving: bool) -> dict[str, np.ndarray]:
    return {k: v for k, v in state.items() if k.startswith(prefix) and ("moving" in k) == moving}


def statistics(model: keras.Model, images: tf.Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of the inputs of every batch normalisation, on batch statistics, without dropout."""
    values = {}
    x = images
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            mean, variance = tf.nn.moments(x, [0, 1, 2])
            values[layer.name] = (mean.numpy(), variance.numpy())
            x = (x - mean) / tf.sqrt(variance + layer.epsilon) * layer.gamma + layer.beta
        elif not isinstance(layer, keras.layers.Dropout):
            x = layer(x)
    return values


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_both_networks_change_and_everything_is_finite(update_rule: str) -> None:
    update = make(update_rule)
    before = update.state()
    values = update(1).numpy()
    after = update.state()
    for network in ("generator/", "discriminator/"):
        for name in group(before, network, moving=False):
            assert not np.array_equal(before[name], after[name]), name
    assert np.isfinite(values).all()
    named = dict(zip(VALUES, values, strict=True))
    assert 0 < named["train/d_real"] < 1
    assert 0 < named["train/d_fake"] < 1
    assert named["alive"] == 1


@pytest.mark.parametrize(("update_rule", "d_steps"), [("tutorial", 2), ("batch", 1)])
def test_optimiser_steps_an_update(update_rule: str, d_steps: int) -> None:
    update = make(update_rule)
    for step in (1, 2, 3):
        update(step)
    assert int(update.d_optimizer.iterations) == 3 * d_steps
    assert int(update.g_optimizer.iterations) == 3


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_generators_moving_statistics_move_once_by_its_own_batch(update_rule: str) -> None:
    update = make(update_rule)
    before = update.state()
    z = update._draw(tf.constant(1), 0)[1]
    expected = statistics(update.generator, z)
    update(1)
    after = update.state()
    for layer, (mean, variance) in expected.items():
        momentum = 0.78
        for name, batch in (("moving_mean", mean), ("moving_variance", variance)):
            want = momentum * before[f"generator/{layer}/{name}"] + (1 - momentum) * batch
            np.testing.assert_allclose(after[f"generator/{layer}/{name}"], want, rtol=1e-4, atol=1e-6)


def record_calls(update: Update, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, np.ndarray]]:
    """The discriminator's moving statistics before each of its passes, run without compilation."""
    seen: list[dict[str, np.ndarray]] = []
    original: Callable[..., tf.Tensor] = update._logits

    def spy(images: tf.Tensor, batch: str, step: tf.Tensor, seed: int, update_statistics: bool = True) -> tf.Tensor:
        seen.append({"pass": np.array(batch), **group(update.state(), "discriminator/", moving=True)})
        logits = original(images, batch, step, seed, update_statistics)
        seen.append({"pass": np.array(f"after {batch}"), **group(update.state(), "discriminator/", moving=True)})
        return logits

    monkeypatch.setattr(update, "_logits", spy)
    return seen


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_discriminators_statistics_move_by_real_and_fake_and_not_while_g_learns(
    update_rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = make(update_rule)
    seen = record_calls(update, monkeypatch)
    getattr(update, f"_{update_rule}")(tf.constant(1))
    assert [str(s["pass"]) for s in seen] == [
        "real",
        "after real",
        "fake",
        "after fake",
        "generator",
        "after generator",
    ]
    for name in group(seen[0], "discriminator/", moving=True):
        assert not np.array_equal(seen[0][name], seen[1][name]), name
        assert not np.array_equal(seen[2][name], seen[3][name]), name
        np.testing.assert_array_equal(seen[4][name], seen[5][name])


def fakes_seen(update: Update, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    seen = {}
    original = update._logits

    def spy(images: tf.Tensor, batch: str, step: tf.Tensor, seed: int, update_statistics: bool = True) -> tf.Tensor:
        seen[batch] = images.numpy()
        return original(images, batch, step, seed, update_statistics)

    monkeypatch.setattr(update, "_logits", spy)
    return seen


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_which_statistics_the_fakes_are_drawn_with(update_rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    update = make(update_rule)
    z = update._draw(tf.constant(1), 0)[1]
    on_moving = update.generator(z, training=False).numpy()
    on_batch = update.generator.stateless_call(
        update.generator.trainable_variables, update.generator.non_trainable_variables, z, training=True
    )[0].numpy()
    assert np.abs(on_moving - on_batch).max() > 0.01
    seen = fakes_seen(update, monkeypatch)
    getattr(update, f"_{update_rule}")(tf.constant(1))
    np.testing.assert_allclose(seen["fake"], on_moving if update_rule == "tutorial" else on_batch, atol=1e-5)
    np.testing.assert_allclose(seen["generator"], on_batch, atol=1e-5)


def test_discriminator_momentum_has_no_effect_on_training() -> None:
    """Nor does the generator's under `batch`: the page in docs/tutorial.md."""

    def weights(update_rule: str, g_momentum: float, d_momentum: float) -> np.ndarray:
        update = Update(
            build_generator(bn_momentum=[g_momentum] * 2, width=16, seed=0),
            build_discriminator(bn_momentum=[d_momentum] * 3, width=8, seed=0),
            Adam(2e-4, beta_1=0.5),
            Adam(2e-4, beta_1=0.5),
            noise_images(100),
            update_rule=update_rule,
            batch_size=BATCH,
        )
        for step in (1, 2, 3):
            update(step)
        return np.concatenate([v.ravel() for k, v in update.state().items() if "moving" not in k])

    reference = weights("tutorial", 0.8, 0.8)
    np.testing.assert_array_equal(weights("tutorial", 0.8, 0.1), reference)
    assert not np.array_equal(weights("tutorial", 0.1, 0.8), reference)
    np.testing.assert_array_equal(weights("batch", 0.1, 0.1), weights("batch", 0.8, 0.8))


# --- labels


def test_fixed_labels_are_fixed_and_fresh_ones_are_not() -> None:
    fixed, fresh = Labels(0.05), Labels(0.05, fresh=True)
    one, two = (fixed.draw(0, tf.constant(step), 32) for step in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    one, two = (fresh.draw(0, tf.constant(step), 32) for step in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert not np.array_equal(a, b)


def test_label_ranges_and_sides() -> None:
    for inward in (False, True):
        real, fake = (x.numpy() for x in Labels(0.2, fresh=True, inward=inward).draw(0, tf.constant(7), 1000))
        assert real.shape == fake.shape == (1000, 1)
        low, high = (0.8, 1.0) if inward else (1.0, 1.2)
        assert low - 1e-6 <= real.min() < low + 0.01
        assert high - 0.01 < real.max() <= high + 1e-6
        assert 0 <= fake.min() < 0.01
        assert 0.19 < fake.max() <= 0.2
        assert abs(np.corrcoef(real[:, 0], fake[:, 0])[0, 1]) < 0.1
    real, fake = Labels(0.0).draw(0, tf.constant(1), 4)
    assert real.numpy().tolist() == [[1.0]] * 4
    assert fake.numpy().tolist() == [[0.0]] * 4


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_the_generators_target_is_the_real_labels(update_rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = []
    update = make(update_rule)

    def spy(t: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        targets.append(t.numpy())
        return binary_crossentropy(t, x)

    monkeypatch.setattr(update, "loss", dataclasses.replace(update.loss, d=spy, g=spy))
    getattr(update, f"_{update_rule}")(tf.constant(1))
    real, fake = update.labels.draw(0, tf.constant(1), BATCH)
    for got, want in zip(targets, (real, fake, real), strict=True):
        np.testing.assert_array_equal(got, want)


# --- randomness


@pytest.mark.parametrize("update_rule", ["tutorial", pytest.param("batch", marks=pytest.mark.slow)])
def test_equal_seeds_give_equal_runs_and_others_do_not(update_rule: str) -> None:
    def run(seed: int) -> dict[str, np.ndarray]:
        update = make(update_rule, Labels(0.1, fresh=True), seed)
        for step in (1, 2, 3):
            update(step)
        return update.state()

    first, second, other = run(0), run(0), run(1)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    assert not np.array_equal(first["generator/dense/kernel"], other["generator/dense/kernel"])


def test_images_that_stay_on_a_gpu_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make()
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    packed = make()
    assert (plain.images.dtype, packed.images.dtype) == (tf.uint8, tf.int64)  # GatherV2 has a kernel of the second
    for step in (1, 2):
        np.testing.assert_array_equal(packed.real_images(step), plain.real_images(step))
        np.testing.assert_array_equal(packed(step), plain(step))
    assert make(jit_compile=True).images.dtype == tf.uint8  # XLA has its own


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_state_taken_up_goes_on_as_if_never_interrupted(update_rule: str) -> None:
    straight = make(update_rule)
    for step in (1, 2):
        straight(step)
    state = straight.state()
    for step in (3, 4):
        straight(step)
    resumed = make(update_rule, seed=0)
    resumed.restore(state)
    for step in (3, 4):
        resumed(step)
    for name, value in straight.state().items():
        np.testing.assert_array_equal(resumed.state()[name], value, err_msg=name)


def test_a_state_of_other_networks_is_refused() -> None:
    state = make().state()
    state.pop("generator/dense/bias")
    with pytest.raises(ValueError, match="generator/dense/bias"):
        make().restore(state)


def test_a_state_of_other_shapes_changes_nothing() -> None:
    update = make()
    before = update.state()
    state = {name: value + 1 for name, value in before.items()}
    state["generator/dense/bias"] = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match="other networks: it has no generator/dense/bias of shape"):
        update.restore(state)
    for name, value in update.state().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_weights_of_other_networks_change_nothing() -> None:
    """Neither those that fit nor a layer of the generator that has the name and shape of one of the discriminator."""
    update = make("batch")
    before, state = update.state(), {name: value + 1 for name, value in make("batch").state().items()}
    del state["discriminator/bn_2/gamma"]
    assert "generator/bn_2/gamma" in state
    with pytest.raises(ValueError, match="it has no discriminator/bn_2/gamma"):
        update.start_from(state)
    for name, value in update.state().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"update_rule": "bacth"}, "update_rule must be one of tutorial, batch; got 'bacth' (did you mean 'batch'?)"),
        ({"loss": "wgan"}, "loss must be one of bce, hinge, non_saturating, relativistic; got 'wgan'"),
        ({"augmentations": ("colour",)}, "augmentations must be one of color, translation, cutout; got 'colour'"),
    ],
)
def test_unknown_names_are_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**options)
    assert words in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_draws_depend_on_the_step_alone() -> None:
    update = make()
    real, z, *_ = update._draw(tf.constant(5), 0)
    update(1)
    again, z_again, *_ = update._draw(tf.constant(5), 0)
    np.testing.assert_array_equal(real, again)
    np.testing.assert_array_equal(z, z_again)
    assert not np.array_equal(z, update._draw(tf.constant(6), 0)[1])
    np.testing.assert_array_equal(update.real_images(5), real)
    scaled = noise_images(100).astype(np.float32) / 127.5 - 1
    for image in real.numpy():
        assert np.isclose(np.abs(scaled - image).max(axis=(1, 2, 3)), 0, atol=1e-6).any()


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_no_two_draws_of_an_update_share_a_seed(update_rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, latents, labels, flips, dropout and augmentation of each batch."""
    purposes: list[str] = []

    def noted(seed: int, purpose: str, step: tf.Tensor | int) -> tf.Tensor:
        purposes.append(purpose)
        return stateless_seed(seed, purpose, step)

    for module in (augment, labels, update):
        monkeypatch.setattr(module, "stateless_seed", noted)
    made = make(update_rule, Labels(fresh=True, flip=0.25))
    made.augmentations, made.horizontal_flip = tuple(augment.AUGMENTATIONS), True
    getattr(made, f"_{update_rule}")(tf.constant(1))
    assert len(purposes) == len(set(purposes))
    assert {"batch", "latents", "mirror", "labels/real", "label flip/fake"} <= set(purposes)
    for batch in ("real", "fake", "generator"):
        assert {f"dropout/{batch}/dropout_1", f"augment/{batch}/brightness"} <= set(purposes)


def test_each_pass_has_its_own_dropout_and_the_layers_counters_stay() -> None:
    update = make()
    images = update._draw(tf.constant(1), 0)[0]
    passes = {
        name: update._discriminate(images, name, tf.constant(1), 0, update_statistics=False).numpy()
        for name in ("real", "fake", "generator")
    }
    again = update._discriminate(images, "real", tf.constant(1), 0, update_statistics=False)
    np.testing.assert_array_equal(passes["real"], again)
    assert not np.array_equal(passes["real"], passes["fake"])
    assert not np.array_equal(passes["fake"], passes["generator"])
    counters = [int(v.numpy()[1]) for _, v in dropout_states(update.discriminator)]
    assert counters == [0] * 4


def test_without_dropout_the_discriminator_has_no_randomness() -> None:
    update = make(dropout=0.0)
    images = update._draw(tf.constant(1), 0)[0]
    real, fake = (
        update._discriminate(images, name, tf.constant(1), 0, update_statistics=False) for name in ("real", "fake")
    )
    np.testing.assert_array_equal(real, fake)
    assert np.isfinite(update(1)).all()


@pytest.mark.parametrize("update_rule", UPDATE_RULES)
def test_compiled_once(update_rule: str) -> None:
    update = make(update_rule)
    for step in range(1, 5):
        update(step)
    assert update._compiled.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("update_rule", ["batch", pytest.param("tutorial", marks=pytest.mark.slow)])
def test_fast_layers_and_optimisers_train_as_keras_own(update_rule: str) -> None:
    """Update for update the same, until rounding is blown up by Adam's division and then by chaos.

    Keras' own layers with and without oneDNN diverge at the same rate: 1e-6 after one update, 1e-3 after ten.
    """
    fast = make(update_rule)
    nets = [in_keras_layers(net) for net in (fast.generator, fast.discriminator)]
    plain = Update(
        *nets,
        *(keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in nets),
        noise_images(100),
        update_rule=update_rule,
        batch_size=BATCH,
        labels=NOISE,
    )
    start = fast.state()
    for step, tolerance in enumerate((1e-5, 1e-4, 3e-4, 1e-3, 3e-3), start=1):
        np.testing.assert_allclose(fast(step), plain(step), atol=tolerance, err_msg=str(step))
    state, expected = fast.state(), plain.state()
    for name in group(start, "", moving=False).keys() - {"g_optimizer/iteration", "d_optimizer/iteration"}:
        if name.endswith("kernel"):
            way = np.linalg.norm(expected[name] - start[name])
            assert np.linalg.norm(state[name] - expected[name]) < 0.05 * way, name


@pytest.mark.parametrize(("update_rule", "precision"), [("tutorial", "float32"), ("batch", "mixed_bfloat16")])
def test_many_updates_in_one_call_are_the_same_as_one_by_one(update_rule: str, precision: str) -> None:
    singly, together = make(update_rule, precision=precision), make(update_rule, precision=precision)
    rows = [singly(step).numpy() for step in range(1, 6)]
    values = [*together.run(1, 1).numpy(), *together.run(2, 3).numpy(), *together.run(5, 1).numpy()]
    np.testing.assert_array_equal(values, rows)
    for name, value in singly.state().items():
        np.testing.assert_array_equal(together.state()[name], value, err_msg=name)
    assert together._compiled.experimental_get_tracing_count() == 1


def test_state_is_float32_in_mixed_precision() -> None:
    update = make(precision="mixed_bfloat16")
    assert update(1).dtype == tf.float32
    assert {v.dtype for k, v in update.state().items() if "iteration" not in k} == {np.dtype(np.float32)}


def test_bfloat16_stays_near_float32() -> None:
    """One update from the same start: losses agree to bfloat16's eight bits."""
    exact, mixed = (make(precision=p, dropout=0)(1).numpy() for p in ("float32", "mixed_bfloat16"))
    np.testing.assert_allclose(mixed, exact, atol=0.15)
    assert not np.array_equal(mixed, exact)
