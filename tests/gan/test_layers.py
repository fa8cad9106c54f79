"""The layers of `gan.layers` against Keras' own."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan.layers import (
    BatchNormalization,
    Conv2D,
    Dropout,
    MinibatchStddev,
    SpectralConv2D,
    SpectralDense,
    UpsampleConv2D,
)
from gan.models import build_generator, in_keras_layers

RNG = np.random.default_rng(0)


def both_forms(channels: int, filters: int, dtype: str = "float32") -> tuple[keras.Model, keras.Model]:
    """`UpsampleConv2D` and the two layers that it stands for, with equal weights; any height and width."""
    inputs = keras.Input((None, None, channels))
    plain_layers = [
        keras.layers.UpSampling2D(dtype=dtype),
        keras.layers.Conv2D(filters, 3, padding="same", dtype=dtype),
    ]
    plain = keras.Sequential([inputs, *plain_layers])
    merged = keras.Sequential([inputs, UpsampleConv2D(filters, dtype=dtype)])
    weights = [RNG.standard_normal(w.shape).astype(np.float32) for w in plain.get_weights()]
    plain.set_weights(weights)
    merged.set_weights(weights)
    return plain, merged


def outputs_and_gradients(model: keras.Model, images: np.ndarray, upstream: np.ndarray) -> dict[str, np.ndarray]:
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.cast(model(x), tf.float32)
        value = tf.reduce_sum(y * upstream)
    gradients = tape.gradient(value, [x, *[v.value for v in model.trainable_variables]])
    return {"output": y.numpy(), **dict(zip(("images", "kernel", "bias"), (g.numpy() for g in gradients), strict=True))}


def relative_error(value: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(value - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize("shape", [(2, 8, 8, 16), (1, 1, 1, 1), (3, 5, 7, 3), (2, 1, 6, 2), (1, 4, 1, 5)])
@pytest.mark.parametrize("filters", [1, 6])
def test_upsample_conv_is_upsampling_and_convolution(shape: tuple[int, ...], filters: int) -> None:
    """Every number of the output and of all gradients, also where the window leaves the image."""
    plain, merged = both_forms(shape[-1], filters)
    images = RNG.standard_normal(shape).astype(np.float32)
    upstream = RNG.standard_normal((shape[0], 2 * shape[1], 2 * shape[2], filters)).astype(np.float32)
    exact, result = (outputs_and_gradients(m, images, upstream) for m in (plain, merged))
    for name, value in exact.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-5, atol=1e-5 * np.abs(value).max(), err_msg=name)


def test_upsample_conv_in_bfloat16_is_as_exact_as_the_plain_form() -> None:
    shape, filters = (4, 8, 8, 32), 16
    images = RNG.standard_normal(shape).astype(np.float32)
    upstream = RNG.standard_normal((4, 16, 16, filters)).astype(np.float32)
    plain, merged = both_forms(32, filters, "mixed_bfloat16")
    reference = both_forms(32, filters)[0]
    reference.set_weights(plain.get_weights())
    exact, naive, result = (outputs_and_gradients(m, images, upstream) for m in (reference, plain, merged))
    for name, value in exact.items():
        assert relative_error(result[name], value) < max(1.5 * relative_error(naive[name], value), 2**-8), name


def test_upsample_conv_takes_the_weights_of_the_plain_generator(tmp_path: Path) -> None:
    """A generator in plain layers and ours give the same images from one weights file, read by either."""
    ours = build_generator(seed=1)
    plain = in_keras_layers(ours)
    z = RNG.standard_normal((5, 100)).astype(np.float32)
    np.testing.assert_allclose(plain(z), ours(z), atol=1e-5)
    np.savez(tmp_path / "weights.npz", *plain.get_weights())
    other = build_generator(seed=2)
    with np.load(tmp_path / "weights.npz") as file:
        other.set_weights([file[name] for name in file])
    np.testing.assert_array_equal(other(z), ours(z))


def test_upsample_conv_is_a_layer_like_any_other() -> None:
    layer = UpsampleConv2D(4, activation="relu", use_bias=False, kernel_initializer="he_normal", name="up")
    again = UpsampleConv2D.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    images = RNG.standard_normal((2, 3, 5, 2)).astype(np.float32)
    assert again(images).shape == again.compute_output_shape(images.shape) == (2, 6, 10, 4)
    assert layer.compute_output_shape((None, None, 5, 2)) == (None, None, 10, 4)
    assert [w.name for w in again.weights] == ["kernel"]
    assert again(images).numpy().min() == 0
    rebuilt = keras.Sequential.from_config(keras.Sequential([keras.Input((4, 4, 2)), layer]).get_config())
    assert isinstance(rebuilt.layers[0], UpsampleConv2D)
    with pytest.raises(ValueError, match="filters must be at least 1"):
        UpsampleConv2D(0)
    with pytest.raises(ValueError, match="ndim=4"):
        UpsampleConv2D(3)(np.zeros((2, 5), np.float32))


def test_conv_is_keras() -> None:
    """The same numbers, a bias or none, an activation or none."""
    x = RNG.standard_normal((3, 9, 8, 5)).astype(np.float32)
    for options in ({"strides": 2}, {"activation": "relu"}, {"use_bias": False}):
        ours, kerass = (kind(4, 3, padding="same", **options) for kind in (Conv2D, keras.layers.Conv2D))
        results = []
        for layer in (kerass, ours):
            layer.build(x.shape)
            layer.set_weights([RNG.standard_normal(w.shape) for w in layer.get_weights()])
        ours.set_weights(kerass.get_weights())
        for layer in (kerass, ours):
            with tf.GradientTape() as tape:
                y = layer(x)
                value = tf.reduce_sum(y**2)
            results.append([y, *tape.gradient(value, [v.value for v in layer.trainable_variables])])
        for exact, result in zip(*results, strict=True):
            np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [Conv2D(6, 3, padding="same"), UpsampleConv2D(6)], ids=["conv", "upsample_conv"])
def test_gradients_to_the_bias_are_right_in_bfloat16(layer: keras.layers.Layer) -> None:
    """A sum of 32,768 and more gradients of one sign, each the last bits of the sum."""
    layer = type(layer).from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})
    x = tf.zeros((32, 32, 32, 1))
    with tf.GradientTape() as tape:
        y = layer(x)
        upstream = tf.cast(tf.constant(RNG.uniform(0.5, 1.5, y.shape)), tf.bfloat16)
        value = tf.reduce_sum(tf.cast(y * upstream, tf.float32))
    exact = tf.cast(upstream, tf.float64).numpy().sum((0, 1, 2))
    np.testing.assert_allclose(tape.gradient(value, layer.bias.value), exact, rtol=2**-8)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_batch_normalization_is_keras(dtype: str) -> None:
    """Outputs, gradients and moving statistics over three batches, then inference."""
    ours, kerass = (kind(momentum=0.7, dtype=dtype) for kind in (BatchNormalization, keras.layers.BatchNormalization))
    tolerance = 1e-5 if dtype == "float32" else 2**-7
    for _ in range(3):
        images = (3 + 2 * RNG.standard_normal((4, 5, 6, 3))).astype(np.float32)
        x = tf.cast(images, ours.compute_dtype)
        upstream = tf.constant(RNG.standard_normal(images.shape), tf.float32)
        results = []
        for layer in (ours, kerass):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                value = tf.reduce_sum(tf.cast(y, tf.float32) * upstream)
            gradients = tape.gradient(value, [x, layer.gamma.value, layer.beta.value])
            assert y.dtype == layer.compute_dtype
            results.append([tf.cast(t, tf.float32).numpy() for t in (y, *gradients)])
        for result, exact in zip(*results, strict=True):
            np.testing.assert_allclose(result, exact, rtol=tolerance, atol=tolerance * np.abs(exact).max())
    for name in ("moving_mean", "moving_variance"):
        assert getattr(ours, name).dtype == "float32"
        np.testing.assert_allclose(getattr(ours, name), getattr(kerass, name), rtol=1e-5)
    np.testing.assert_allclose(
        tf.cast(ours(x), tf.float32), tf.cast(kerass(x), tf.float32), rtol=tolerance, atol=4 * tolerance
    )


def test_batch_normalization_statistics_are_float32_under_mixed_precision() -> None:
    """A mean of 128.5 with a standard deviation of half a unit: eight bits would lose it."""
    layer = BatchNormalization(momentum=0.0, dtype="mixed_bfloat16")
    x = tf.cast(tf.constant(RNG.choice([128.0, 129.0], (64, 8, 8, 1))), tf.bfloat16)
    layer(x, training=True)
    exact = tf.cast(x, tf.float64).numpy()
    np.testing.assert_allclose(layer.moving_mean, [exact.mean()], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [exact.var()], rtol=1e-4)


def test_frozen_batch_normalization_uses_its_moving_statistics() -> None:
    layer = BatchNormalization()
    x = tf.constant(RNG.standard_normal((4, 2, 2, 3)), tf.float32)
    layer(x)
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))


@pytest.mark.parametrize("options", [{"axis": 1}, {"scale": False}, {"center": False}, {"renorm": True}])
def test_batch_normalization_says_what_it_cannot(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="use Keras' layer otherwise"):
        BatchNormalization(**options)(np.zeros((2, 3, 3, 4), np.float32))
    with pytest.raises(ValueError, match="use Keras' layer otherwise"):
        BatchNormalization()(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("rate", [0.25, 0.3, 0.5])
def test_dropout_in_float32_draws_keras_masks(rate: float) -> None:
    x = tf.constant(RNG.standard_normal((4, 9, 9, 16)), tf.float32)
    ours, kerass = (kind(rate, seed=5) for kind in (Dropout, keras.layers.Dropout))
    for _ in range(2):
        np.testing.assert_allclose(ours(x, training=True), kerass(x, training=True), rtol=1e-6)
    np.testing.assert_array_equal(ours(x), x)
    np.testing.assert_array_equal(Dropout(0.0)(x, training=True), x)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("rate", [0.1, 0.25, 0.7])
def test_dropout_drops_its_fraction_and_keeps_the_mean(dtype: str, rate: float) -> None:
    layer = Dropout(rate, seed=3, dtype=dtype)
    y = tf.cast(layer(tf.ones((3, 101, 101, 33)), training=True), tf.float32).numpy()
    count = y.size
    assert abs((y == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / count)
    kept = np.unique(y[y != 0])
    assert len(kept) == 1
    assert kept[0] == pytest.approx(1 / (1 - rate), rel=2**-8 if dtype != "float32" else 1e-6)
    neighbours = np.corrcoef(y[..., :-1].ravel(), y[..., 1:].ravel())[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(count)  # the two halves of one random word do not know each other


SEEDED = keras.initializers.GlorotUniform(seed=1)  # how fast it comes to norm one depends on the kernel
SPECTRAL = [
    (lambda: SpectralConv2D(6, 3, strides=2, padding="same", kernel_initializer=SEEDED), (2, 8, 8, 5)),
    (lambda: SpectralDense(4, kernel_initializer=SEEDED), (3, 7)),
]


@pytest.mark.parametrize(("make", "shape"), SPECTRAL, ids=["conv", "dense"])
def test_spectral_kernels_come_to_norm_one(make: Callable[[], keras.layers.Layer], shape: tuple[int, ...]) -> None:
    layer = make()
    layer.build(shape)
    matrix = np.asarray(layer.variables[0], np.float64).reshape(-1, layer.u.shape[0])
    u = np.full(matrix.shape[1], matrix.shape[1] ** -0.5)
    for _ in range(2):  # as in NumPy
        v = matrix @ u / np.linalg.norm(matrix @ u)
        u = matrix.T @ v / np.linalg.norm(matrix.T @ v)
        layer.iterate()
        np.testing.assert_allclose(layer.u, u, rtol=1e-4)
    for _ in range(200):
        layer.iterate()
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    kernel = np.asarray(layer.kernel, np.float64).reshape(matrix.shape)
    np.testing.assert_allclose(kernel, matrix / largest, rtol=1e-4, atol=1e-6)
    assert np.linalg.svd(kernel, compute_uv=False)[0] == pytest.approx(1, rel=1e-4)


def test_spectral_gradients_are_those_of_u_and_v_held() -> None:
    """Miyato et al. (2018), equation 10 for one kernel: (G - <G, W/s> u v') / s."""
    layer = SpectralDense(4)
    layer.build((3, 7))
    for _ in range(3):
        layer.iterate()
    upstream = RNG.standard_normal((7, 4))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer.kernel * tf.constant(upstream, tf.float32))
    (gradient,) = tape.gradient(value, [layer.variables[0].value])
    matrix, u = np.asarray(layer.variables[0], np.float64), np.asarray(layer.u, np.float64)
    norm = np.linalg.norm(matrix @ u)
    v = matrix @ u / norm
    expected = (upstream - (upstream * matrix / norm).sum() * np.outer(v, u)) / norm
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("make", "shape"), SPECTRAL, ids=["conv", "dense"])
def test_no_pass_changes_a_spectral_layer_and_its_settings_come_back(
    make: Callable[[], keras.layers.Layer], shape: tuple[int, ...]
) -> None:
    layer = make()
    images = tf.constant(RNG.standard_normal(shape), tf.float32)
    outputs = layer(images, training=True)
    np.testing.assert_array_equal(layer(images), outputs)
    again = type(layer).from_config(layer.get_config())
    again.build(shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(images), outputs)
    half = type(layer).from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})
    half.build(shape)
    half.set_weights(layer.get_weights())
    assert half(images).dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(half(images), tf.float32), outputs, rtol=0.05, atol=0.05)


def test_minibatch_stddev_is_the_mean_deviation_of_all_features() -> None:
    x = np.random.default_rng(0).standard_normal((6, 3, 2, 4)).astype(np.float32)
    out = MinibatchStddev()(x).numpy()
    assert out.shape == (6, 3, 2, 5)
    np.testing.assert_array_equal(out[..., :4], x)
    np.testing.assert_allclose(out[..., 4], x.std(0).mean(), rtol=1e-5)
    np.testing.assert_allclose(MinibatchStddev()(x[:1])[..., 4], 0, atol=1e-3)  # a batch of one
    half = MinibatchStddev(dtype="mixed_bfloat16")(tf.cast(x, tf.bfloat16))
    assert half.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(half[0, 0, 0, 4], tf.float32), x.std(0).mean(), rtol=2e-2)
