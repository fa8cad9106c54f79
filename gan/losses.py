"""Losses: pure functions of targets and logits. A row of `LOSSES` has the discriminator's and the generator's.

The discriminator's is of one batch, real or fake: the update rule `tutorial` updates
D on each alone. Targets are (B, 1), near 1 for real and near 0 for
fake; cross-entropy takes them as they are, the others see only which of the two is nearer.
The relativistic loss compares a real batch with a fake one, and has no targets.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

# Keras 2 clipped the probability to [1e-7, 1 - 1e-7]; on logits that is this bound.
LOGIT_BOUND = math.log((1 - 1e-7) / 1e-7)  # 16.118


def binary_crossentropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the mean cross-entropy of (B, 1) logits with (B, 1) targets, a float32 scalar.

    The logits are clipped as Keras 2 clipped probabilities: beyond ±16.1 there is no
    gradient. Without the clip a target above 1 (label noise) has no least loss, and the
    discriminator's loss falls without bound.
    """
    clipped = tf.clip_by_value(logits, -LOGIT_BOUND, LOGIT_BOUND)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=clipped))


def hinge(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the mean of max(0, 1 - logit) for real and max(0, 1 + logit) for fake; Lim and Ye (2017)."""
    return tf.reduce_mean(tf.nn.relu(1.0 - _toward(targets, logits)))


def non_saturating(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the mean of -log sigmoid(logit) for real and -log(1 - sigmoid(logit)) for fake, without a clip."""
    return tf.reduce_mean(tf.nn.softplus(-_toward(targets, logits)))


def relativistic(winners: tf.Tensor, losers: tf.Tensor) -> tf.Tensor:
    """Return the mean of softplus(loser - winner) over pairs of logits, each (B, 1); Huang et al. (2024), R3GAN.

    For D the real images are to win, for G the fake ones.
    """
    return tf.reduce_mean(tf.nn.softplus(losers - winners))


def within_bound(logits: tf.Tensor) -> tf.Tensor:
    """Return the fraction of the logits that carry a gradient under cross-entropy, a float32 scalar in [0, 1]."""
    return tf.reduce_mean(tf.cast(tf.abs(logits) < LOGIT_BOUND, tf.float32))


def gradient_penalty(gradient: tf.Tensor) -> tf.Tensor:
    """Return half the mean squared norm of the gradient of the logits to the images, a float32 scalar.

    Mescheder et al. (2018): R1 on real images, R2 on fake ones, to be weighted by their gamma.

    Args:
        gradient: (B, H, W, C). With batch normalisation that to an image is of all logits of its batch.
    """
    return tf.reduce_mean(tf.reduce_sum(tf.square(gradient), (1, 2, 3))) / 2


def _toward(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the logits, those of fake targets with the sign turned: above 0 is right."""
    return tf.where(targets > 0.5, logits, -logits)


def _hinge_alive(targets: Sequence[tf.Tensor], logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the fraction within the margin for D; the generator's loss is a straight line."""
    d = [tf.cast(_toward(t, x) < 1.0, tf.float32) for t, x in zip(targets, logits[:2], strict=True)]
    return tf.reduce_mean(tf.concat([*d, tf.ones_like(logits[2])], 0))


@dataclass(frozen=True)
class Loss:
    """A discriminator's and a generator's loss.

    Attributes:
        d: takes (targets, logits), each (B, 1), or (logits to raise, logits to lower) for the relativistic loss; returns a
            float32 scalar.
        g: the generator's, likewise.
        alive: takes D's targets (real, fake) and the logits (real, fake, generator); returns the fraction of the logits
            that carry a gradient, a float32 scalar in [0, 1].
        is_relativistic: whether it compares each real image with a fake one, and has no targets.
    """

    d: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    g: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    alive: Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], tf.Tensor]
    is_relativistic: bool = False


LOSSES = {
    "bce": Loss(binary_crossentropy, binary_crossentropy, lambda targets, logits: within_bound(tf.concat(logits, 0))),
    "hinge": Loss(hinge, lambda targets, logits: -tf.reduce_mean(logits), _hinge_alive),
    "non_saturating": Loss(non_saturating, non_saturating, lambda targets, logits: tf.constant(1.0)),
    "relativistic": Loss(relativistic, relativistic, lambda targets, logits: tf.constant(1.0), is_relativistic=True),
}
