"""What docs/tutorial.md says of the tutorial's listing on Keras 3, so that it is noticed when it changes."""

import warnings

import keras
import numpy as np

from gan.models import build_discriminator


def test_a_discriminator_frozen_after_compiling_never_learns() -> None:
    """The listing's order of lines: compile, then trainable = False, then train."""
    discriminator = build_discriminator(seed=0)
    discriminator.compile(loss="binary_crossentropy", optimizer=keras.optimizers.Adam(2e-4, 0.5))
    discriminator.trainable = False
    before = discriminator.get_weights()
    images = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The model does not have any trainable weights")
        for label in (1.0, 0.0):
            discriminator.train_on_batch(images, np.full((8, 1), label, np.float32))
    weights = [(a, b) for a, b, v in zip(before, discriminator.get_weights(), discriminator.weights, strict=True)
               if "seed" not in v.path]  # fmt: skip
    assert len(weights) == 22
    for a, b in weights:
        np.testing.assert_array_equal(a, b)
