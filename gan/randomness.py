"""Random numbers as a function of (seed, purpose, step).

No draw depends on how many came before it, so a run that is taken up at step 700 draws
what it would have drawn anyway, and nothing about randomness needs to be saved.
"""

import hashlib

import tensorflow as tf

SEED_LIMIT = 2**31 - 2  # Keras folds seeds below this before it hands them to TensorFlow


def derive(seed: int, purpose: str) -> int:
    """A seed in [0, 2^31 - 2) of its own for one purpose of a run."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % SEED_LIMIT


def stateless_seed(seed: int, purpose: str, step: tf.Tensor | int) -> tf.Tensor:
    """The (2,) int32 seed that TensorFlow's stateless operations take."""
    return tf.stack([tf.constant(derive(seed, purpose), tf.int32), tf.cast(step, tf.int32)])


def latents(seed: int, purpose: str, count: int, latent_dim: int) -> tf.Tensor:
    """A fixed bank of z: (count, latent_dim) float32, standard normal."""
    return tf.random.stateless_normal((count, latent_dim), stateless_seed(seed, purpose, 0))
