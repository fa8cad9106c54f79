import keras
import numpy as np
import pytest

from gan.errors import ConfigError
from gan.layers import SpectralConv2D, SpectralDense, UpsampleConv2D
from gan.models import build_discriminator, build_generator, in_keras_layers


def layers_of(model: keras.Model, kind: type) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if isinstance(layer, kind)]


def test_the_tutorials_generator() -> None:
    model = build_generator()
    assert model.count_params() == 1_051_267
    assert model.input_shape == (None, 100)
    assert model.output_shape == (None, 32, 32, 3)
    assert [layer.momentum for layer in layers_of(model, keras.layers.BatchNormalization)] == [0.78, 0.78]
    images = model.predict_on_batch(np.random.default_rng(0).standard_normal((4, 100), np.float32))
    assert images.dtype == np.float32
    assert np.abs(images).max() <= 1


def test_the_tutorials_discriminator() -> None:
    model = build_discriminator()
    assert model.count_params() == 396_609
    assert [layer.momentum for layer in layers_of(model, keras.layers.BatchNormalization)] == [0.82, 0.82, 0.8]
    assert [layer.negative_slope for layer in layers_of(model, keras.layers.LeakyReLU)] == [0.2, 0.25, 0.2, 0.25]
    assert [layer.rate for layer in layers_of(model, keras.layers.Dropout)] == [0.25] * 4
    shapes = [layer.output.shape[1:] for layer in layers_of(model, keras.layers.Conv2D)]
    assert shapes == [(16, 16, 32), (8, 8, 64), (5, 5, 128), (5, 5, 256)]  # 8x8 is padded to 9x9 before the third
    # Logits, not probabilities: scaling the last layer goes beyond 1.
    model.get_layer("logits").kernel.assign(model.get_layer("logits").kernel * 1000)
    logits = model.predict_on_batch(np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)))
    assert logits.shape == (8, 1)
    assert np.abs(logits).max() > 1


def test_settings_reach_their_layers() -> None:
    generator = build_generator(7, (0.1, 0.2))
    assert generator.input_shape == (None, 7)
    assert [layer.momentum for layer in layers_of(generator, keras.layers.BatchNormalization)] == [0.1, 0.2]
    discriminator = build_discriminator((0.1, 0.2, 0.3), (0.4, 0.5, 0.6, 0.7), 0.8)
    assert [layer.momentum for layer in layers_of(discriminator, keras.layers.BatchNormalization)] == [0.1, 0.2, 0.3]
    assert [layer.negative_slope for layer in layers_of(discriminator, keras.layers.LeakyReLU)] == [0.4, 0.5, 0.6, 0.7]
    assert {layer.rate for layer in layers_of(discriminator, keras.layers.Dropout)} == {0.8}
    with pytest.raises(ValueError, match="zip"):
        build_generator(bn_momentum=(0.1,))


def test_initial_weights_are_keras_defaults_and_a_function_of_the_seed() -> None:
    for build in (build_generator, build_discriminator):
        model = build(seed=3)
        for layer in layers_of(model, keras.layers.Conv2D) + layers_of(model, keras.layers.Dense):
            assert isinstance(layer.kernel_initializer, keras.initializers.GlorotUniform)
            fan_in, fan_out = (np.prod(layer.kernel.shape[:-2]) * layer.kernel.shape[k] for k in (-2, -1))
            bound = np.sqrt(6 / (fan_in + fan_out))
            kernel = np.asarray(layer.kernel)
            assert 0.98 * bound < np.abs(kernel).max() <= bound
            assert not np.asarray(layer.bias).any()
        same, other = build(seed=3), build(seed=4)
        for a, b in zip(model.trainable_variables, same.trainable_variables, strict=True):
            np.testing.assert_array_equal(a, b)
        assert not np.array_equal(model.trainable_variables[0], other.trainable_variables[0])


def test_each_layer_has_a_seed_of_its_own() -> None:
    layers = [layer for build in (build_generator, build_discriminator) for layer in build(seed=0).layers]
    seeds = [layer.kernel_initializer.seed for layer in layers if hasattr(layer, "kernel_initializer")]
    seeds += [layer.seed for layer in layers if isinstance(layer, keras.layers.Dropout)]
    assert len(seeds) == len(set(seeds)) == 4 + 5 + 4


def test_mixed_precision_keeps_weights_and_ends_in_float32() -> None:
    for build in (build_generator, build_discriminator):
        model = build(precision="mixed_bfloat16")
        assert {v.dtype for v in model.trainable_variables} == {"float32"}
        assert model.outputs[0].dtype == "float32"
        assert model.get_layer("conv_2").compute_dtype == "bfloat16"


def test_widths_scale_the_networks() -> None:
    generator, discriminator = build_generator(width=24), build_discriminator(width=6)
    assert generator.get_layer("dense").output.shape == (None, 8 * 8 * 24)
    assert [layer.filters for layer in layers_of(generator, UpsampleConv2D)] == [24, 12]
    assert [layer.filters for layer in layers_of(discriminator, keras.layers.Conv2D)] == [6, 12, 24, 48]
    assert generator.output_shape == (None, 32, 32, 3)


def test_a_discriminator_without_batch_norm_and_with_spectral_norm() -> None:
    plain, model = build_discriminator(seed=0), build_discriminator(batch_norm=False, spectral_norm=True, seed=0)
    assert not layers_of(model, keras.layers.BatchNormalization)
    assert len(layers_of(model, SpectralConv2D)) == 4
    assert isinstance(model.get_layer("logits"), SpectralDense)
    for name in ("conv_1/kernel", "logits/kernel"):  # equal starts: trainings differ by the option alone
        variable, expected = (next(v for v in m.variables if v.path.endswith(name)) for m in (model, plain))
        np.testing.assert_array_equal(variable, expected)
    assert model.predict_on_batch(np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 1)


def test_keras_own_layers_keep_activation_and_bias() -> None:
    model = keras.Sequential(
        [keras.Input((4, 4, 3)), UpsampleConv2D(5, activation="relu", use_bias=False, name="up")], name="one"
    )
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    expected = model.predict_on_batch(images)
    assert expected.min() == 0 < expected.max()
    np.testing.assert_allclose(in_keras_layers(model).predict_on_batch(images), expected, atol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "mixed_float16", "float64"])
def test_a_precision_that_training_cannot_have_is_refused(precision: str) -> None:
    for build in (build_generator, build_discriminator):
        with pytest.raises(ConfigError, match="precision must be one of float32, mixed_bfloat16; got"):
            build(width=8, precision=precision)
