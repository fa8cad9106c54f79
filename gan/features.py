"""What a score looks at: extractors that turn images into feature vectors.

An extractor's id names its kind and a hash of its weights. Scores with different ids
are never compared.
"""

import hashlib
import itertools
from typing import Protocol

import numpy as np
import tensorflow as tf


class FeatureExtractor(Protocol):
    id: str

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """images (N, 32, 32, 3) uint8 -> features (N, d) float32."""


class RandomCNN:
    """A small CNN with fixed random weights: no training, no download, the same everywhere.

    Three stride-2 convolutions with LeakyReLU; the features are the mean activations of
    all three stages, projected to 64 dimensions.
    """

    DIMENSIONS = 64
    WIDTHS = (32, 64, 128)
    BATCH = 500  # images at a time

    def __init__(self) -> None:
        # Raw bits: unlike NumPy's distributions, their stream is the same in every release.
        bits = np.random.PCG64(20240229)

        def uniform(shape: tuple[int, ...], variance: float) -> np.ndarray:
            unit = (bits.random_raw(int(np.prod(shape))) >> np.uint64(11)) * 2.0**-53
            return ((unit - 0.5) * np.sqrt(12 * variance)).astype(np.float32).reshape(shape)

        channels = (3, *self.WIDTHS)
        kernels = [uniform((3, 3, c_in, c_out), 2 / (9 * c_in)) for c_in, c_out in itertools.pairwise(channels)]
        projection = uniform((sum(self.WIDTHS), self.DIMENSIONS), 100 / self.DIMENSIONS)
        digest = hashlib.sha256(b"".join(w.tobytes() for w in (*kernels, projection))).hexdigest()
        self.id = f"random_cnn-{digest[:8]}"
        self._kernels = [tf.constant(k) for k in kernels]
        self._projection = tf.constant(projection)
        self._compiled = tf.function(self._forward, input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.uint8)])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        parts = [self._compiled(images[k : k + self.BATCH]).numpy() for k in range(0, len(images), self.BATCH)]
        return np.concatenate(parts)

    def _forward(self, images: tf.Tensor) -> tf.Tensor:
        x = tf.cast(images, tf.float32) / 127.5 - 1.0
        means = []
        for kernel in self._kernels:
            x = tf.nn.leaky_relu(tf.nn.conv2d(x, kernel, strides=2, padding="SAME"), 0.2)
            means.append(tf.reduce_mean(x, axis=(1, 2)))
        return tf.concat(means, axis=1) @ self._projection
