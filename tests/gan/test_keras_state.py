"""The library in a notebook whose Keras has other defaults."""

import subprocess
import sys
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from gan.averaging import copy_of
from gan.models import build_discriminator, build_generator, in_keras_layers
from gan.optimizers import Adam

LATENTS = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)


@pytest.fixture
def unusual_defaults() -> Iterator[None]:
    before = keras.config.floatx(), keras.config.image_data_format(), keras.config.dtype_policy()
    keras.config.set_floatx("float16")
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_image_data_format(before[1])
    keras.config.set_dtype_policy(before[2])


def results() -> tuple[np.ndarray, ...]:
    generator = copy_of(build_generator(width=8, seed=0))
    images = generator(LATENTS, training=False)
    plain = in_keras_layers(generator)(LATENTS, training=False)
    logits = build_discriminator(width=8, seed=0)(images, training=True)
    rate = Adam(1.1e-4).learning_rate
    return tuple(tensor.numpy() for tensor in (images, plain, logits, rate))


@pytest.fixture(scope="module")
def expected() -> tuple[np.ndarray, ...]:
    return results()


def test_networks_and_optimisers_do_not_depend_on_them(
    expected: tuple[np.ndarray, ...], unusual_defaults: None
) -> None:
    for result, usual in zip(results(), expected, strict=True):
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, usual)
    assert keras.config.dtype_policy().name == "mixed_float16"  # the notebook's own stay
    assert (keras.config.floatx(), keras.config.image_data_format()) == ("float16", "channels_first")


def test_another_backend_is_refused_in_a_line() -> None:
    code = (
        "import sys, types; sys.modules['keras'] = keras = types.ModuleType('keras');"
        "keras.config = types.SimpleNamespace(backend=lambda: 'jax')\nimport gan"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "ImportError: gan needs Keras on TensorFlow, and this process runs it on jax already" in done.stderr
