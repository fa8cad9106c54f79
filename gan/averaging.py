"""Copies of the generator for evaluation: a moving average of its weights, and statistics of many batches.

They do not influence training.
"""

import keras
import numpy as np
import tensorflow as tf

from gan import randomness, xla
from gan.keras_state import keras_defaults

BATCHES, BATCH = 8, 250  # of latents that `recalibrated` looks at


@keras_defaults()
def copy_of(model: keras.Model) -> keras.Model:
    """Return another model of the same layers and weights."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.jit_compile = model.jit_compile
    return copy


def warmed_up_decay(decay: float, step: tf.Tensor) -> tf.Tensor:
    """Return the weight of the past in a moving average at update `step`, 1 for the first: it grows to `decay`.

    It is min(decay, (1 + step) / (10 + step)), so that an average spans a ninth of the updates so far.
    """
    step = tf.cast(step, tf.float32)
    return tf.minimum(xla.number(decay), (1.0 + step) / (10.0 + step))


class MovingAverage:
    """Another model that follows all weights of a model, moving statistics included.

    Its weights change by average <- d * average + (1 - d) * weight, where d is `warmed_up_decay`. Without
    the warm-up an average of 0.999 is mostly the initial weights for its first 700 updates.
    """

    def __init__(self, of: keras.Model, decay: float) -> None:
        self.of, self.decay = of, decay
        self.model = copy_of(of)

    def move(self, step: tf.Tensor) -> None:
        past = warmed_up_decay(self.decay, step)
        for average, weight in zip(self.model.variables, self.of.variables, strict=True):
            average.assign_sub((1.0 - past) * (average.value - weight.value))


def recalibrated(generator: keras.Model, copy: keras.Model | None = None) -> keras.Model:
    """Return a copy whose batch normalisations hold the statistics of 2,000 fixed latents.

    Wu and Johnson (2021), Rethinking "Batch" in BatchNorm, section 3. The moving statistics of
    training remember a few batches of weights that have changed since.

    Args:
        generator: latents (B, latent_dim) float32 -> images; it stays as it is.
        copy: what this function returned for the same generator before, to be used again; None for a new one.
    """
    if copy is None:
        copy = copy_of(generator)
    else:
        copy.set_weights(generator.get_weights())
    layers = [layer for layer in copy.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # the moving statistics are those of the last batch
    seen: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in layers]
    latents = randomness.latents(0, "recalibration", BATCHES * BATCH, generator.input_shape[-1])
    for batch in tf.split(latents, BATCHES):
        copy(batch, training=True)
        for layer, statistics in zip(layers, seen, strict=True):
            statistics.append((layer.moving_mean.numpy(), layer.moving_variance.numpy()))
    for layer, momentum, statistics in zip(layers, momenta, seen, strict=True):
        means, variances = (np.array(values, np.float64) for values in zip(*statistics, strict=True))
        layer.momentum = momentum
        layer.moving_mean.assign(means.mean(0))
        layer.moving_variance.assign(variances.mean(0) + means.var(0))  # within batches and between them
    return copy
