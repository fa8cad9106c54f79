import numpy as np
import pytest
import tensorflow as tf

from gan.losses import LOGIT_BOUND, LOSSES, binary_crossentropy, gradient_penalty, relativistic, within_bound


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


def test_fraction_within_the_bound() -> None:
    assert float(within_bound(column(0.0, 17.0, -17.0, 3.0))) == 0.5


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_hinge_and_softplus_in_closed_form_whatever_the_noise(noise: float) -> None:
    logits = np.array([-2.0, 0.5, 3.0])
    real, fake, x = column(*[1 - noise] * 3), column(*[noise] * 3), column(*logits)
    assert float(LOSSES["hinge"].d(real, x)) == pytest.approx(np.maximum(0, 1 - logits).mean())
    assert float(LOSSES["hinge"].d(fake, x)) == pytest.approx(np.maximum(0, 1 + logits).mean())
    assert float(LOSSES["hinge"].g(real, x)) == pytest.approx(-logits.mean())
    loss = LOSSES["non_saturating"]
    assert float(loss.d(real, x)) == pytest.approx(np.log1p(np.exp(-logits)).mean(), rel=1e-6)
    assert float(loss.d(fake, x)) == pytest.approx(np.log1p(np.exp(logits)).mean(), rel=1e-6)
    assert float(loss.g(real, x)) == pytest.approx(np.log1p(np.exp(-logits)).mean(), rel=1e-6)


def test_non_saturating_is_cross_entropy_without_its_clip() -> None:
    targets, near, far = column(1.0, 0.0), column(0.3, -2.0), column(-50.0, 70.0)
    loss = LOSSES["non_saturating"].d
    assert float(loss(targets, near)) == pytest.approx(float(binary_crossentropy(targets, near)), rel=1e-6)
    assert float(loss(targets, far)) == pytest.approx(60)
    assert float(binary_crossentropy(targets, far)) == pytest.approx(LOGIT_BOUND)


def test_fraction_of_logits_that_carry_a_gradient() -> None:
    targets = (column(1.0, 1.0), column(0.0, 0.0))
    logits = (column(0.0, 40.0), column(0.0, -40.0), column(50.0, 0.0))
    alive = {name: float(loss.alive(targets, logits)) for name, loss in LOSSES.items()}
    assert alive == {"bce": 0.5, "hinge": pytest.approx(4 / 6), "non_saturating": 1.0, "relativistic": 1.0}
    wrong = (column(-40.0, -40.0), column(40.0, 40.0), column(0.0, 0.0))  # which the hinge pulls on for ever
    assert float(LOSSES["hinge"].alive(targets, wrong)) == 1
    right = (column(40.0, 40.0), column(-40.0, -40.0), column(-40.0, -40.0))  # G is still told where to go
    assert float(LOSSES["hinge"].alive(targets, right)) == pytest.approx(1 / 3)


def test_r1_in_closed_form() -> None:
    """Of w·x² the gradient is 2wx."""
    rng = np.random.default_rng(0)
    images, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 4, 2), (4, 4, 2)))
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = tf.reduce_sum(w * x**2, (1, 2, 3))[:, None]
    assert float(gradient_penalty(tape.gradient(logits, x))) == pytest.approx(
        ((2 * w * images) ** 2).sum((1, 2, 3)).mean() / 2, rel=1e-5
    )


def test_the_relativistic_loss_is_of_the_margin() -> None:
    winners, losers = column(2.0, -1.0), column(0.5, 3.0)
    expected = np.log1p(np.exp([-1.5, 4.0])).mean()
    assert float(relativistic(winners, losers)) == pytest.approx(expected, rel=1e-6)
    assert float(relativistic(column(50.0), column(-50.0))) == pytest.approx(0)
