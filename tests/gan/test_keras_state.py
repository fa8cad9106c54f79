"""The library in a notebook whose Keras has other defaults."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from gan import keras_state
from gan.averaging import copy_of
from gan.keras_state import DownloadError, download, keras_homes
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


def test_downloads_are_looked_for_where_keras_puts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KERAS_HOME", "")  # as Keras, this takes it for none
    assert keras_homes() == [home / ".keras"]
    monkeypatch.setenv("KERAS_HOME", "~/other")
    assert keras_homes() == [home / "other"]
    monkeypatch.setattr(keras_state.os, "access", lambda place, mode: False)  # root may write anywhere
    assert keras_homes() == [home / "other", Path("/tmp/.keras")]


def test_a_silent_server_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras_state, "SILENT_SECONDS", 0.2)
    before, begin = socket.getdefaulttimeout(), time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        origin = f"http://127.0.0.1:{server.getsockname()[1]}/weights.h5"
        with pytest.raises(DownloadError, match="timed out"):
            download(origin, "models", "0" * 32)
    assert time.monotonic() - begin < 30
    assert socket.getdefaulttimeout() == before
