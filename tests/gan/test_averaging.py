"""Copies of a generator to look at: averaged weights, statistics of many latents."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan import randomness
from gan.averaging import BATCH, BATCHES, MovingAverage, copy_of, recalibrated
from gan.models import build_generator


def small_generator() -> keras.Sequential:
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((3,)),
        keras.layers.Dense(4 * 4 * 2, name="in"),
        keras.layers.Reshape((4, 4, 2)),
        keras.layers.BatchNormalization(momentum=0.7, name="bn"),
        keras.layers.Conv2D(3, 3, padding="same", activation="tanh", name="out"),
    ]
    return keras.Sequential(layers, name="generator")


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_copy_draws_the_same_and_shares_nothing(precision: str) -> None:
    model = build_generator(4, width=8, precision=precision, seed=0)
    copy = copy_of(model)
    z = np.random.default_rng(0).standard_normal((2, 4), np.float32)
    before = model.predict_on_batch(z)
    np.testing.assert_array_equal(copy.predict_on_batch(z), before)
    for variable in copy.variables:
        variable.assign(variable * 2.0)
    np.testing.assert_array_equal(model.predict_on_batch(z), before)
    assert [v.path for v in copy.variables] == [v.path for v in model.variables]
    assert not copy.jit_compile


def test_the_average_is_that_of_a_loop_in_numpy() -> None:
    model = small_generator()
    average = MovingAverage(model, decay=0.4)
    expected = [v.numpy().astype(np.float64) for v in model.variables]
    rng = np.random.default_rng(0)
    for step in range(1, 12):
        for variable in model.variables:
            variable.assign(rng.standard_normal(variable.shape))
        average.move(tf.constant(step))
        past = min(0.4, (1 + step) / (10 + step))  # 0.4 from the fifth update on
        expected = [past * e + (1 - past) * v.numpy() for e, v in zip(expected, model.variables, strict=True)]
    for averaged, want in zip(average.model.variables, expected, strict=True):
        np.testing.assert_allclose(averaged, want, rtol=1e-5, atol=1e-6)
    assert any("moving_mean" in v.path for v in average.model.variables)


def test_recalibrated_statistics_are_those_of_all_latents() -> None:
    model = small_generator()
    before = model.get_weights()
    copy = recalibrated(model)
    z = randomness.latents(0, "recalibration", BATCHES * BATCH, 3)
    inputs = model.get_layer("in")(z).numpy().astype(np.float64).reshape(-1, 2)
    np.testing.assert_allclose(copy.get_layer("bn").moving_mean, inputs.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(copy.get_layer("bn").moving_variance, inputs.var(0), rtol=1e-4)
    assert copy.get_layer("bn").momentum == 0.7
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(copy.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
    weights = copy.get_weights()
    model.get_layer("in").kernel.assign(model.get_layer("in").kernel * 2)
    assert recalibrated(model, copy) is copy  # as a new copy of the new weights
    for a, b in zip(copy.get_weights(), recalibrated(model).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.set_weights(before)
    for a, b in zip(recalibrated(model, copy).get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
