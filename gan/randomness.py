"""Random numbers as a function of (seed, purpose, step).

No draw depends on how many came before it, so a run that is resumed at step 700 draws
what it would have drawn anyway, and nothing about randomness needs to be saved.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from gan import xla

SEED_LIMIT = 2**31 - 2  # Keras folds seeds below this before it hands them to TensorFlow


def derive(seed: int, purpose: str) -> int:
    """Derive a seed in [0, 2^31 - 2) for one purpose of a run."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % SEED_LIMIT


def stateless_seed(seed: int, purpose: str, step: tf.Tensor | int) -> tf.Tensor:
    """Make the seed that TensorFlow's stateless operations take.

    Args:
        seed: of the run.
        purpose: what is drawn. Each purpose has draws of its own.
        step: scalar integer, the number of the update; 0 for what is drawn once.

    Returns:
        (2,) int32: a seed derived from `seed` and `purpose`, and the step.
    """
    return tf.stack([tf.convert_to_tensor(xla.integer(derive(seed, purpose)), tf.int32), tf.cast(step, tf.int32)])


def uniform(shape: Sequence[int] | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw numbers in [0, 1), float32, the same ones with XLA and without.

    Args:
        shape: of what is drawn.
        seed: as `stateless_seed` makes it.
    """
    if not xla.is_tracing():
        return tf.random.stateless_uniform(shape, seed)
    return _fractions(tf.random.stateless_uniform(shape, seed, None, None, tf.uint32))


def normal(shape: tuple[int, int], seed: tf.Tensor) -> tf.Tensor:
    """Draw standard normal numbers, float32, the same ones but for rounding with XLA and without.

    Args:
        shape: of what is drawn.
        seed: as `stateless_seed` makes it.
    """
    if not xla.is_tracing():
        return tf.random.stateless_normal(shape, seed)
    size = math.prod(shape)
    # Box and Muller (1958), as TensorFlow's own operation has it (random_distributions.h).
    pairs = tf.reshape(uniform(((size + 1) // 2 * 2,), seed), (-1, 2))
    radius = tf.sqrt(-2.0 * tf.math.log(tf.maximum(pairs[:, :1], 1e-7)))
    angle = 2.0 * math.pi * pairs[:, 1:]
    numbers = radius * tf.concat([tf.sin(angle), tf.cos(angle)], 1)
    return tf.reshape(tf.reshape(numbers, (-1,))[:size], shape)


def _fractions(bits: tf.Tensor) -> tf.Tensor:
    """Return numbers in [0, 1) whose fractions are the low 23 of uint32 bits, as TensorFlow has it; XLA takes others."""
    one = tf.constant(0x3F800000, tf.uint32)  # 1.0
    return tf.bitcast(tf.bitwise.bitwise_or(tf.bitwise.bitwise_and(bits, 0x7FFFFF), one), tf.float32) - 1.0


def latents(seed: int, purpose: str, count: int, latent_dim: int) -> tf.Tensor:
    """Draw a fixed bank of z.

    Args:
        seed: of the bank.
        purpose: names the bank; each purpose has latents of its own.
        count: number of latents. Those of a smaller bank are the first of a larger one's.
        latent_dim: length of a latent.

    Returns:
        (count, latent_dim) float32, standard normal.
    """
    return tf.random.stateless_normal((count, latent_dim), stateless_seed(seed, purpose, 0))


def slerp(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """Interpolate between two latents on a sphere.

    Spherical, after White (2016): in many dimensions normal vectors lie near a sphere, and the
    straight line would pass through its inside, where none is. Lengths change evenly. Latents of one
    direction, of opposite ones or of length 0 have no such way; the straight line is taken.

    Args:
        a: the first latent, (latent_dim,).
        b: the last latent, (latent_dim,).
        count: number of latents on the way, both ends included.

    Returns:
        (count, latent_dim) float32.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    fraction = np.linspace(0.0, 1.0, count)[:, None]
    cosine = a @ b / (lengths[0] * lengths[1]) if all(lengths) else 1.0
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    if np.sin(angle) < 1e-6:  # the same direction, or opposite ones, which have no shortest way
        return ((1 - fraction) * a + fraction * b).astype(np.float32)
    ways = np.sin((1 - fraction) * angle) * a / lengths[0] + np.sin(fraction * angle) * b / lengths[1]
    return (ways / np.sin(angle) * ((1 - fraction) * lengths[0] + fraction * lengths[1])).astype(np.float32)
