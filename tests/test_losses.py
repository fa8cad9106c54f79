import numpy as np
import pytest
import tensorflow as tf

from gan.losses import LOGIT_BOUND, binary_crossentropy, within_bound


def column(*values: float) -> tf.Tensor:
    return tf.constant(values, tf.float32)[:, None]


def test_cross_entropy_in_closed_form() -> None:
    logits, targets = np.array([-2.0, 0.5, 3.0]), np.array([0.0, 1.03, 0.97])
    p = 1 / (1 + np.exp(-logits))
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()
    assert float(binary_crossentropy(column(*targets), column(*logits))) == pytest.approx(expected, rel=1e-6)
    assert float(binary_crossentropy(column(1.0), column(0.0))) == pytest.approx(np.log(2), rel=1e-6)


def test_the_clip_is_keras_2s() -> None:
    assert abs(LOGIT_BOUND - 16.118) < 1e-3
    assert 1 / (1 + np.exp(LOGIT_BOUND)) == pytest.approx(1e-7)
    at_bound = float(binary_crossentropy(column(0.0), column(LOGIT_BOUND)))
    assert float(binary_crossentropy(column(0.0), column(1000.0))) == pytest.approx(at_bound)


@pytest.mark.parametrize(("logit", "moves"), [(0.0, True), (16.0, True), (-16.0, True), (16.2, False), (-16.2, False)])
def test_no_gradient_beyond_the_clip(logit: float, moves: bool) -> None:
    logits = column(logit)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = binary_crossentropy(column(0.3), logits)
    assert bool(tape.gradient(loss, logits) != 0) == moves


def test_a_target_above_one_has_a_least_loss() -> None:
    """Without the clip it falls for ever: the trap of the listing on tf_keras."""
    far, further = (float(binary_crossentropy(column(1.05), column(x))) for x in (20.0, 2000.0))
    assert far == further > -1


def test_share_within_the_bound() -> None:
    assert float(within_bound(column(0.0, 17.0, -17.0, 3.0))) == 0.5
