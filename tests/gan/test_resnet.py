"""The residual networks: the published sizes, what settings reach, and that they train as the tutorial's do."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import noise_images
from small_updates import ALL, BATCH

from experiments.cli.compose import compose_config
from experiments.training.build import build_update, make_generator
from gan.averaging import copy_of
from gan.layers import BatchNormalization, Conv2D, Dropout, LeakyReLU, SpectralConv2D, UpsampleConv2D
from gan.models import in_keras_layers
from gan.optimizers import Adam
from gan.resnet import build_discriminator, build_generator
from gan.update import VALUES, Update


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def layers_of(model: keras.Model, kind: type) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, kind)]


def resnet_update(update_rule: str, precision: str = "float32", epsilon: float = 1e-7, **options: Any) -> Update:
    return Update(
        build_generator(5, width=4, precision=precision, seed=0),
        build_discriminator(width=2, precision=precision, seed=0),
        Adam(1e-3, beta_1=0.5, epsilon=epsilon),
        Adam(1e-3, beta_1=0.5, epsilon=epsilon),
        noise_images(40),
        update_rule=update_rule,
        batch_size=BATCH,
        **options,
    )


def test_the_papers_networks_have_the_papers_sizes() -> None:
    """As torch-mimicry's SNGAN for 32x32 has them: 4,276,739 and, without batch normalisation, 1,053,825."""
    assert trainable(build_generator(128, width=256)) == 4_276_739
    assert trainable(build_discriminator(width=64, batch_norm=False)) == 1_053_825


def test_images_go_in_and_come_out() -> None:
    generator, discriminator = build_generator(7, width=4, seed=0), build_discriminator(width=2, seed=0)
    images = generator(np.random.default_rng(0).standard_normal((3, 7), np.float32))
    assert images.shape == (3, 32, 32, 3)
    assert np.abs(images).max() <= 1
    assert discriminator(images).shape == (3, 1)
    sides = [layer.output.shape[1] for layer in layers_of(discriminator, keras.layers.Add)]
    assert sides == [16, 8, 8, 8]
    assert [layer.output.shape[1] for layer in layers_of(generator, UpsampleConv2D)] == [8, 16, 32]


def test_settings_reach_their_layers() -> None:
    generator = build_generator(7, (0.1, 0.9), width=4)
    assert [layer.momentum for layer in layers_of(generator, BatchNormalization)] == [0.1] * 4 + [0.9] * 3
    discriminator = build_discriminator((0.1, 0.2, 0.3), (0.4, 0.5, 0.6, 0.7), 0.35, width=2, minibatch_stddev=True)
    assert [layer.momentum for layer in layers_of(discriminator, BatchNormalization)] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    slopes = [layer.negative_slope for layer in layers_of(discriminator, LeakyReLU)]
    assert slopes == [0.4, 0.5, 0.5, 0.6, 0.6, 0.7, 0.7, 0.7]
    assert [layer.rate for layer in layers_of(discriminator, Dropout)] == [0.35] * 4
    assert discriminator.get_layer("logits").kernel.shape == (5, 1)
    for momenta, slopes in (((0.1, 0.2), (0.2,) * 4), ((0.1, 0.2, 0.3), (0.2,) * 3)):
        with pytest.raises(ValueError, match="bn_momentum must have 3 values and leaky_relu_alpha 4"):
            build_discriminator(momenta, slopes, width=2)
    with pytest.raises(ValueError, match="at least one value"):
        build_generator(7, (), width=4)
    spectral = build_discriminator(width=2, batch_norm=False, spectral_norm=True)
    assert not layers_of(spectral, BatchNormalization)
    assert len(layers_of(spectral, SpectralConv2D)) == len(layers_of(spectral, Conv2D)) == 10


def test_a_1x1_convolution_before_the_upsampling_is_the_one_after_it() -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(np.float32)
    convolution, upsampling = Conv2D(5, 1), keras.layers.UpSampling2D()
    np.testing.assert_allclose(upsampling(convolution(x)), convolution(upsampling(x)), atol=1e-6)


def test_the_discriminator_sums_over_places() -> None:
    """Twice the features at each place would be twice the sum; a mean over 64 places is 64 times less."""
    model = build_discriminator(width=2, batch_norm=False, dropout=0.0, seed=0)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    before = keras.Model(model.input, model.get_layer("leaky_relu").output)(images).numpy()
    kernel, bias = (weight.numpy() for weight in model.get_layer("logits").weights)
    np.testing.assert_allclose(model(images), before.sum((1, 2)) @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_the_seed_fixes_the_weights_of_each_layer_by_itself() -> None:
    for build in (build_generator, build_discriminator):
        one, same, other = build(width=4, seed=3), build(width=4, seed=3), build(width=4, seed=4)
        kernels = [layer.kernel.numpy().ravel() for layer in one.layers if hasattr(layer, "kernel")]
        for a, b in zip(one.get_weights(), same.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])
        assert len({tuple(kernel[:3]) for kernel in kernels}) == len(kernels)


def test_keras_own_layers_make_the_same_images() -> None:
    generator = build_generator(6, width=4, seed=1)
    z = np.random.default_rng(0).standard_normal((3, 6), np.float32)
    generator(z, training=True)  # the moving statistics are no longer the first ones
    plain = in_keras_layers(generator)
    np.testing.assert_allclose(plain(z), generator(z), atol=1e-5)
    np.testing.assert_array_equal(copy_of(generator)(z), generator(z))
    assert all(type(layer).__module__.startswith("keras") for layer in plain.layers)


@pytest.mark.parametrize(
    ("update_rule", "precision", "options"),
    [
        ("tutorial", "float32", {"loss": "hinge", "ema_decay": 0.9}),
        pytest.param("batch", "mixed_bfloat16", {**ALL, "d_steps": 1}, marks=pytest.mark.slow),
    ],
)
def test_they_train_and_a_restored_state_trains_on_exactly(
    update_rule: str, precision: str, options: dict[str, Any]
) -> None:
    first, second = (resnet_update(update_rule, precision, **options) for _ in range(2))
    start = first.state()
    first.run(1, 2)
    second.restore(first.state())
    rows = first.run(3, 2).numpy()
    np.testing.assert_array_equal(second.run(3, 2), rows)
    assert rows.shape == (2, len(VALUES))
    assert np.isfinite(rows).all()
    state = first.state()
    for name in start:
        if name.endswith("kernel") and not name.startswith(("g_opt", "d_opt")):
            assert not np.array_equal(start[name], state[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("update_rule", ["tutorial", "batch"])
def test_xla_trains_them_the_same(update_rule: str) -> None:
    # With a large epsilon, as Adam's first step is otherwise the sign of a gradient, which rounding turns around.
    plain, compiled = (
        resnet_update(update_rule, epsilon=0.1, jit_compile=jit_compile) for jit_compile in (False, True)
    )
    np.testing.assert_allclose(compiled.run(1, 3), plain.run(1, 3), rtol=1e-5, atol=1e-5)


def test_the_setting_chooses_them() -> None:
    settings = ["model.architecture=resnet", "model.generator.width=4", "model.discriminator.width=2"]
    config = compose_config([*settings, "model.minibatch_stddev=true"])
    update = build_update(config, noise_images(8))
    assert update.generator.get_layer("block_3_conv_2") is not None
    assert update.discriminator.get_layer("minibatch_stddev") is not None
    assert make_generator(config).count_params() == update.generator.count_params()
    assert tf.reduce_all(tf.math.is_finite(update(1)))
