"""What a score looks at: extractors that turn images into feature vectors."""

from collections.abc import Callable, Mapping
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from gan.errors import ConfigError
from gan.evaluation.weights import KEY, WIDTHS, Weights
from gan.images import check_images, scale
from gan.keras_state import keras_defaults

POOLED = (1, 3, 5)  # convolutions that a 2x2 maximum comes before: 32, 16, 16, 8, 8, 4 pixels a side
TAPPED = (2, 4, 5)  # convolutions whose mean activations are the features: the last of each size but the first

CONV_BATCH, INCEPTION_BATCH = 250, 50  # images at a time
INCEPTION_SIZE = 299

Forward = Callable[[tf.Tensor], tf.Tensor]


class FeatureExtractor(Protocol):
    """`id` names kind and weights; scores with different ids are never compared."""

    id: str

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map images (N, 32, 32, 3) uint8 to features (N, d) float32. Raises ValueError for other images."""


def load_extractor(weights: Weights) -> FeatureExtractor:
    """Build the network of some weights. Raises ConfigError where they do not fit it."""
    return ConvFeatures(weights.id, weights.arrays) if weights.arrays else InceptionFeatures(weights)


class ConvFeatures:
    """Six convolutions, the mean activations of their last three sizes, and an affine map.

    weights: `kernel_0` (3, 3, 3, 32) ... `kernel_5` (3, 3, 128, 256), `bias_0` (32,) ... `bias_5`,
    `offset` (448,), `projection` (448, d); features = (means - offset) @ projection. Stored in
    float16 or float32, used in float32.
    """

    def __init__(self, id: str, weights: Mapping[str, np.ndarray]) -> None:
        self.id = id
        self._offset, self._projection = (weights[name].astype(np.float32) for name in ("offset", "projection"))
        self._means = LayerMeans(id, weights)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        means = self._means(images) - self._offset
        # Always so many rows: how a product of matrices rounds a row depends on how many there are.
        means = np.pad(means, ((0, -len(images) % CONV_BATCH), (0, 0))).reshape(-1, CONV_BATCH, means.shape[1])
        return np.concatenate(means @ self._projection)[: len(images)]


class LayerMeans:
    """What `ConvFeatures` maps: (N, 32, 32, 3) uint8 -> mean activations of three layers (N, 448) float32."""

    def __init__(self, id: str, weights: Mapping[str, np.ndarray]) -> None:
        self.id = id
        self._compiled = compiled(_means_of(weights))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return in_batches(self._compiled, images, CONV_BATCH)


class InceptionFeatures:
    """The 2,048 mean activations of Keras' InceptionV3 on images enlarged to 299x299.

    The space of the published FID, in another implementation of network and resizing, so
    its scores are near published ones and not equal to them. Slow: a network for
    large images.
    """

    @keras_defaults()
    def __init__(self, weights: Weights) -> None:
        self.id = weights.id
        try:
            network = keras.applications.InceptionV3(include_top=False, weights=str(weights.file), pooling="avg")
        except (OSError, ValueError) as error:
            raise ConfigError(
                KEY, "weights of Keras' InceptionV3 without its top", str(weights.file), str(error)
            ) from error

        def forward(images: tf.Tensor) -> tf.Tensor:
            return network(tf.image.resize(scale(images), (INCEPTION_SIZE, INCEPTION_SIZE)), training=False)

        self._compiled = compiled(forward)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return in_batches(self._compiled, images, INCEPTION_BATCH)


def _means_of(weights: Mapping[str, np.ndarray]) -> Forward:
    convolutions = [(_constant(weights[f"kernel_{k}"]), _constant(weights[f"bias_{k}"])) for k in range(len(WIDTHS))]

    def forward(images: tf.Tensor) -> tf.Tensor:
        x = scale(images)
        means = []
        for index, (kernel, bias) in enumerate(convolutions):
            if index in POOLED:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias))
            if index in TAPPED:
                means.append(tf.reduce_mean(x, axis=(1, 2)))
        return tf.concat(means, axis=1)

    return forward


def _constant(array: np.ndarray) -> tf.Tensor:
    return tf.constant(array.astype(np.float32))


def compiled(forward: Forward) -> Forward:
    """Return a function of (B, 32, 32, 3) uint8 images, compiled once for all B."""
    function: Forward = tf.function(
        forward, input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.uint8)], autograph=False
    )
    return function


def in_batches(forward: Forward, images: np.ndarray, size: int) -> np.ndarray:
    """Return the features of images.

    Args:
        forward: what `compiled` returns.
        images: (N, 32, 32, 3) uint8.
        size: images that are computed at a time.

    Returns:
        (N, K) float32.
    """
    check_images(images)
    return np.concatenate([forward(images[k : k + size]).numpy() for k in range(0, len(images), size)])
