"""Reference scores that share nothing with the proxy: other networks, other tasks, other seeds, and no network at all."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from gan.arrays import Arrays
from gan.cache import prepared
from gan.data.dataset import pixel_hash
from gan.evaluation.classifier import train_classifier
from gan.evaluation.extractors import compiled, in_batches
from gan.evaluation.weights import digest
from gan.images import scale
from gan.randomness import derive

BATCH = 250  # images at a time
VERSION = 1  # of the networks and their training
DIRECTIONS = 256  # of the sliced Wasserstein distance


class PooledFeatures:
    """The mean activations of a network's last layer before the logits."""

    def __init__(self, id: str, model: keras.Model) -> None:
        self.id = id
        pooled = keras.Model(model.input, model.get_layer("means").output)
        self._compiled = compiled(lambda images: pooled(scale(images), training=False))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return in_batches(self._compiled, images, BATCH)


def reference_network(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int,
    cache: Path,
    on_step: Callable[[int, int, float], None],
) -> PooledFeatures:
    """Train one of NETWORKS once; it is then read from the cache.

    Args:
        name: of the network.
        images: (N, 32, 32, 3) uint8.
        labels: (N,) classes.
        epochs: of the training.
        cache: folder of the weights.
        on_step: called with step, steps and loss.
    """
    keras.utils.set_random_seed(derive(0, name))
    model = NETWORKS[name]()

    def trained() -> Arrays:
        x, y = _turned(images) if name == "rotation" else (images, labels)
        train_classifier(
            model, x, y, epochs=epochs, seed=derive(0, name), learning_rate=0.1, weight_decay=5e-4,
            label_smoothing=0.1, mirror=name != "rotation", on_step=on_step,
        )  # fmt: skip
        return {str(k): variable.numpy() for k, variable in enumerate(model.variables)}

    arrays = prepared(cache, f"network-{name}", f"{VERSION} {epochs} {pixel_hash(images)}", trained)
    for k, variable in enumerate(model.variables):
        variable.assign(arrays[str(k)])
    return PooledFeatures(f"{name}-{digest(arrays)[:8]}", model)


def _turned(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn each image by 0 to 3 right angles; return by how many, too: which way is up, and nothing of classes."""
    turns = np.random.default_rng(derive(0, "rotation")).integers(0, 4, len(images))
    return np.stack([np.rot90(image, k) for image, k in zip(images, turns, strict=True)]), turns


def build_resnet() -> keras.Model:
    """Build residual blocks with strides and SiLU: 128 features."""
    images = keras.Input((32, 32, 3))
    x = _conv(images, 24, 1)
    for width, stride in ((32, 2), (64, 1), (64, 2), (128, 1), (128, 2)):
        shortcut = layers.Conv2D(width, 1, strides=stride, use_bias=False)(x)
        y = _conv(x, width, stride)
        y = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
        x = layers.Activation("silu")(layers.Add()([shortcut, y]))
    return _classifier(images, x, 10)


def build_rotation_network() -> keras.Model:
    """Build strided 4x4 convolutions with LeakyReLU and four outputs: 192 features."""
    x = images = keras.Input((32, 32, 3))
    for width in (48, 96, 192):
        x = layers.Conv2D(width, 4, strides=2, padding="same", use_bias=False)(x)
        x = layers.LeakyReLU(negative_slope=0.1)(layers.BatchNormalization()(x))
    x = layers.Conv2D(192, 3, padding="same", use_bias=False)(x)
    x = layers.LeakyReLU(negative_slope=0.1)(layers.BatchNormalization()(x))
    return _classifier(images, x, 4)


def _conv(x: tf.Tensor, width: int, stride: int) -> tf.Tensor:
    x = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
    return layers.Activation("silu")(layers.BatchNormalization()(x))


def _classifier(images: tf.Tensor, x: tf.Tensor, num_classes: int) -> keras.Model:
    means = layers.GlobalAveragePooling2D(name="means")(x)
    return keras.Model(images, layers.Dense(num_classes)(means))


NETWORKS = {"resnet": build_resnet, "rotation": build_rotation_network}


def sliced_wasserstein(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the root mean square of the 1-D Wasserstein-2 distance (of 255) over random directions of pixel space.

    real, fake: (N, 32, 32, 3) uint8, as many of each. Rabin et al. (2011).
    """
    if len(real) != len(fake):
        raise ValueError(f"as many images of each are needed; got {len(real)} and {len(fake)}")
    directions = np.random.default_rng(0).standard_normal((real[0].size, DIRECTIONS)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    a, b = (np.sort(x.reshape(len(x), -1).astype(np.float32) @ directions, axis=0) for x in (real, fake))
    return float(np.sqrt(np.mean((a - b) ** 2)))
