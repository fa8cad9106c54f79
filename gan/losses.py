"""Losses: pure functions of logits."""

import math

import tensorflow as tf

# Keras 2 clipped the probability to [1e-7, 1 - 1e-7]; on logits that is this bound.
LOGIT_BOUND = math.log((1 - 1e-7) / 1e-7)  # 16.118


def binary_crossentropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of (B, 1) logits with (B, 1) targets, a float32 scalar.

    The logits are clipped as Keras 2 clipped probabilities: beyond ±16.1 there is no
    gradient. Without the clip a target above 1 (label noise) has no least loss, and the
    discriminator runs off to minus infinity.
    """
    clipped = tf.clip_by_value(logits, -LOGIT_BOUND, LOGIT_BOUND)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=clipped))


def within_bound(logits: tf.Tensor) -> tf.Tensor:
    """Share of the logits that carry a gradient, a float32 scalar in [0, 1]."""
    return tf.reduce_mean(tf.cast(tf.abs(logits) < LOGIT_BOUND, tf.float32))
