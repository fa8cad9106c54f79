import keras
import numpy as np
import pytest
import tensorflow as tf

from gan.errors import ConfigError
from gan.optimizers import Adam, Decay


def test_another_decay_is_refused() -> None:
    with pytest.raises(ConfigError, match="kind must be one of linear, cosine; got 'exponential'"):
        Decay("exponential", 100)


def test_adam_is_keras_adam() -> None:
    """Weights and slots over twenty steps, with a rate that changes on the way."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (5,), (1,))]
    optimizers = [kind(0.01, beta_1=0.5, beta_2=0.99, name="adam") for kind in (Adam, keras.optimizers.Adam)]
    variables = [[keras.Variable(v, name=f"v{k}") for k, v in enumerate(start)] for _ in optimizers]
    for step in range(20):
        gradients = [rng.standard_normal(value.shape).astype(np.float32) * 10.0 ** (step % 5 - 3) for value in start]
        for optimizer, mine in zip(optimizers, variables, strict=True):
            optimizer.learning_rate = 0.01 / (1 + step)
            optimizer.apply([tf.constant(g) for g in gradients], mine)
    ours, kerass = ([*mine, *optimizer.variables] for optimizer, mine in zip(optimizers, variables, strict=True))
    assert [v.path for v in ours[3:]] == [v.path for v in kerass[3:]]
    for a, b in zip(ours, kerass, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7)
    assert not np.array_equal(ours[0], start[0])
    assert Adam.from_config(optimizers[0].get_config()).get_config() == optimizers[0].get_config()


def test_amsgrad_is_refused_not_ignored() -> None:
    with pytest.raises(ValueError, match="amsgrad"):
        Adam(0.01, amsgrad=True)


@pytest.mark.parametrize(
    ("kind", "start", "expected"),
    [
        ("linear", 0.0, [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        ("linear", 0.5, [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]),
        ("cosine", 0.0, [1.0, (1 + np.cos(np.pi / 4)) / 2, 0.5, (1 - np.cos(np.pi / 4)) / 2, 0.0, 0.0]),
    ],
)
def test_rates_fall_from_one_to_zero(kind: str, start: float, expected: list[float]) -> None:
    """The fifth of four updates, and any later one, gets nothing: there is none."""
    decay = Decay(kind, steps=4, start=start)
    np.testing.assert_allclose([decay(tf.constant(step)) for step in range(1, 7)], expected, atol=1e-6)
