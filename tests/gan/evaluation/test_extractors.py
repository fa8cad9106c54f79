import hashlib
import io
import json
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import noise_images

from gan.errors import ConfigError
from gan.evaluation import extractors, weights
from gan.evaluation.extractors import LayerMeans, load_extractor
from gan.evaluation.weights import DIMENSIONS, FOLDER, INCEPTION_FILE, find_weights, random_weights

SHIPPED = FOLDER / "cifar_cnn.npz"


@pytest.mark.parametrize("name", ["cifar_cnn", "random_cnn"])
def test_features_are_fixed_and_do_not_depend_on_the_batching(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = find_weights(name)
    extractor, images = load_extractor(weights), noise_images(10)
    features = extractor(images)
    assert extractor.id == weights.id
    assert (features.shape, features.dtype) == ((10, DIMENSIONS), np.float32)
    np.testing.assert_array_equal(features, load_extractor(find_weights(name))(images))
    monkeypatch.setattr(extractors, "CONV_BATCH", 3)
    np.testing.assert_allclose(extractor(images), features, atol=1e-4)


def test_features_of_fewer_images_are_the_first_of_those_of_more() -> None:
    extractor, images = load_extractor(find_weights("random_cnn")), noise_images(600)
    features = extractor(images)
    assert features.shape == (600, DIMENSIONS)
    for count in (1, 20, 250, 299):
        np.testing.assert_array_equal(extractor(images[:count]), features[:count])


def test_features_are_the_standardised_means_of_the_layers() -> None:
    weights, images = find_weights("cifar_cnn"), noise_images(4)
    offset, projection = (weights.arrays[name].astype(np.float64) for name in ("offset", "projection"))
    expected = (LayerMeans("", weights.arrays)(images) - offset) @ projection
    np.testing.assert_allclose(load_extractor(weights)(images), expected, rtol=1e-3, atol=1e-3)


def test_random_weights_are_the_same_everywhere() -> None:
    assert find_weights("random_cnn").id == "random_cnn-c23e3e85"


def test_shipped_weights_are_small_plain_and_named_by_their_hash() -> None:
    content = SHIPPED.read_bytes()
    provenance = json.loads(SHIPPED.with_suffix(".json").read_text())
    assert len(content) <= 1_500_000
    assert provenance["sha256"] == hashlib.sha256(content).hexdigest()
    assert find_weights("cifar_cnn").id == provenance["id"] == f"cifar_cnn-{provenance['sha256'][:8]}"
    assert provenance["test_accuracy"] >= 0.85
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        assert {stored[name].dtype.name for name in stored.files} <= {"float16", "float32"}
    assert json.dumps(str(Path.home())) not in json.dumps(provenance)


def test_shipped_weights_know_the_classes_of_the_real_test_images(real_cifar: Path) -> None:
    from gan.arrays import read_npz
    from gan.data.dataset import load_dataset, pixel_hash
    from gan.evaluation.classifier import accuracy

    data = load_dataset("cifar10", str(real_cifar), "all", real_cifar / "cache")
    provenance = json.loads(SHIPPED.with_suffix(".json").read_text())
    assert (provenance["train_images_sha256"], provenance["test_images_sha256"]) == (data.sha256, pixel_hash(data.test))
    assert data.test_labels is not None
    measured = accuracy(read_npz(SHIPPED), data.test, data.test_labels)
    assert measured == pytest.approx(provenance["test_accuracy"], abs=0.001)
    # Standardised and projected on the training images: mean 0, variance 1, components uncorrelated.
    features = load_extractor(find_weights("cifar_cnn"))(data.train[:10_000])
    assert np.abs(features.mean(axis=0) / features.std(axis=0)).max() < 0.05
    assert features.var(axis=0).mean() == pytest.approx(1, abs=0.05)
    assert np.abs(np.corrcoef(features, rowvar=False) - np.eye(DIMENSIONS)).max() < 0.1


def test_own_weights_serve_under_an_id_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    np.savez(file, **random_weights())
    weights = find_weights("cifar_cnn", str(file))
    assert weights.id.startswith("cifar_cnn-")
    assert weights.id != find_weights("cifar_cnn").id
    images = noise_images(3)
    np.testing.assert_array_equal(load_extractor(weights)(images), load_extractor(find_weights("random_cnn"))(images))


def test_weights_that_cannot_be_used_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, foreign, wrong = tmp_path / "a.npz", tmp_path / "b.npz", tmp_path / "c.npz"
    text.write_text("text")
    np.savez(foreign, x=np.zeros(3))
    np.savez(wrong, **{**random_weights(), "projection": np.zeros((448, 2))})
    for extractor, file, message in (
        ("cifar_cnn", tmp_path / "none.npz", "No such file"),
        ("cifar_cnn", text, "weights made by experiments/train_features.py"),
        ("cifar_cnn", foreign, "no array kernel_0"),
        ("cifar_cnn", wrong, "no array projection of shape (448, 64)"),
        ("random_cnn", text, "absent for random_cnn"),
        ("inception", tmp_path / "none.h5", "No such file"),
        ("inception", text, "weights of Keras' InceptionV3, .h5"),
    ):
        with pytest.raises(ConfigError, match=r"^eval.extractor_weights must be") as caught:
            find_weights(extractor, str(file))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"^extractor_weights must be"):
        find_weights("cifar_cnn", str(text), "extractor_weights")


def test_inception_that_is_neither_here_nor_to_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="not in Keras' cache and cannot be fetched") as caught:
        find_weights("inception")
    assert INCEPTION_FILE in str(caught.value)
    assert "\n" not in str(caught.value)


def test_inception_from_a_given_file_and_from_keras_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "keras"
    (home / "models").mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(home))
    keras.utils.set_random_seed(0)
    network = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
    file = home / "models" / INCEPTION_FILE
    with warnings.catch_warnings():
        # Keras 3.15 copies variables in a way that NumPy 2.4 has deprecated.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        network.save(tmp_path / "legacy.h5")
    (tmp_path / "legacy.h5").rename(file)
    content = file.read_bytes()
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="cannot be fetched"):  # with another hash it may be half of a download
        find_weights("inception")
    file.write_bytes(content)
    monkeypatch.setattr(weights, "INCEPTION_MD5", hashlib.md5(content).hexdigest())
    cached, from_file = find_weights("inception"), find_weights("inception", str(file))
    assert cached == from_file
    images = noise_images(2)
    features = load_extractor(cached)(images)
    assert features.shape == (2, 2048)
    import tensorflow as tf

    from gan.images import scale

    expected = network(tf.image.resize(scale(images), (299, 299)), training=False)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_images_of_a_network_are_refused() -> None:
    """As pixels they would all be 0 or 1, and their score would be wrong without a word."""
    with pytest.raises(ValueError, match=r"gan.images.unscale makes them"):
        load_extractor(find_weights("random_cnn"))(noise_images(4).astype(np.float32) / 127.5 - 1)


def test_an_extractor_of_no_such_name_is_no_other() -> None:
    for file in (None, "x.h5"):
        with pytest.raises(
            ConfigError, match=r"eval.extractor must be one of cifar_cnn, .*; got 'cifar' \(did you mean"
        ):
            find_weights("cifar", file)
