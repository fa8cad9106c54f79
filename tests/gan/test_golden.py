"""One update by each update rule on a tiny net, computed again in plain float64 NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import noise_images

from gan.labels import Labels
from gan.losses import LOGIT_BOUND
from gan.update import VALUES, Update

BATCH, LATENT, HIDDEN, EPSILON = 6, 3, 5, 1e-3
RATE, BETA_1, BETA_2, ADAM_EPSILON = 0.01, 0.5, 0.999, 1e-7
MOMENTUM = 0.6

Weights = dict[str, np.ndarray]


def tiny_generator() -> keras.Sequential:
    return keras.Sequential(
        [
            keras.Input((LATENT,)),
            keras.layers.Dense(HIDDEN, use_bias=False, name="in"),
            keras.layers.BatchNormalization(momentum=MOMENTUM, name="bn"),
            keras.layers.Dense(32 * 32 * 3, activation="tanh", name="out"),
            keras.layers.Reshape((32, 32, 3), name="shape"),
        ],
        name="generator",
    )


def tiny_discriminator() -> keras.Sequential:
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(HIDDEN, use_bias=False, name="in"),
            keras.layers.BatchNormalization(momentum=MOMENTUM, name="bn"),
            keras.layers.LeakyReLU(negative_slope=0.2, name="leaky"),
            keras.layers.Dense(1, name="out"),
        ],
        name="discriminator",
    )


def normalise(x: np.ndarray, w: Weights) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    mean, variance = x.mean(0), x.var(0)
    normal = (x - mean) / np.sqrt(variance + EPSILON)
    return w["gamma"] * normal + w["beta"], (normal, variance, mean)


def normalise_back(grad: np.ndarray, cache: tuple[np.ndarray, ...], w: Weights, into: Weights) -> np.ndarray:
    normal, variance, _ = cache
    into["gamma"], into["beta"] = (grad * normal).sum(0), grad.sum(0)
    g = grad * w["gamma"]
    return (g - g.mean(0) - normal * (g * normal).mean(0)) / np.sqrt(variance + EPSILON)


def move(w: Weights, cache: tuple[np.ndarray, ...]) -> None:
    _, variance, mean = cache
    w["moving_mean"] = MOMENTUM * w["moving_mean"] + (1 - MOMENTUM) * mean
    w["moving_variance"] = MOMENTUM * w["moving_variance"] + (1 - MOMENTUM) * variance


def generate(z: np.ndarray, w: Weights) -> tuple[np.ndarray, tuple[object, ...]]:
    h, cache = normalise(z @ w["in"], w)
    images = np.tanh(h @ w["out"] + w["bias"])
    return images, (z, h, images, cache)


def generate_moving(z: np.ndarray, w: Weights) -> np.ndarray:
    h = z @ w["in"]
    h = w["gamma"] * (h - w["moving_mean"]) / np.sqrt(w["moving_variance"] + EPSILON) + w["beta"]
    return np.tanh(h @ w["out"] + w["bias"])


def generate_back(grad: np.ndarray, tape: tuple, w: Weights) -> Weights:
    z, h, images, cache = tape
    gradients: Weights = {}
    grad = grad * (1 - images**2)
    gradients["out"], gradients["bias"] = h.T @ grad, grad.sum(0)
    gradients["in"] = z.T @ normalise_back(grad @ w["out"].T, cache, w, gradients)
    return gradients


def discriminate(x: np.ndarray, w: Weights) -> tuple[np.ndarray, tuple[object, ...]]:
    h, cache = normalise(x @ w["in"], w)
    slope = np.where(h > 0, 1.0, 0.2)
    return (h * slope) @ w["out"] + w["bias"], (x, h * slope, slope, cache)


def discriminate_back(grad: np.ndarray, tape: tuple, w: Weights) -> tuple[Weights, np.ndarray]:
    x, active, slope, cache = tape
    gradients: Weights = {"out": active.T @ grad, "bias": grad.sum(0)}
    inner = normalise_back((grad @ w["out"].T) * slope, cache, w, gradients)
    gradients["in"] = x.T @ inner
    return gradients, inner @ w["in"].T


def loss(targets: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    assert np.abs(logits).max() < LOGIT_BOUND
    p = 1 / (1 + np.exp(-logits))
    value = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()
    return float(value), (p - targets) / len(logits)


class Adam:
    """Kingma and Ba (2015), algorithm 1, in the order of operations at the end of its section 2."""

    def __init__(self) -> None:
        self.t, self.m, self.v = 0, {}, {}

    def apply(self, w: Weights, gradients: Weights) -> None:
        self.t += 1
        rate = RATE * np.sqrt(1 - BETA_2**self.t) / (1 - BETA_1**self.t)
        for name, g in gradients.items():
            self.m[name] = BETA_1 * self.m.get(name, 0.0) + (1 - BETA_1) * g
            self.v[name] = BETA_2 * self.v.get(name, 0.0) + (1 - BETA_2) * g**2
            w[name] = w[name] - rate * self.m[name] / (np.sqrt(self.v[name]) + ADAM_EPSILON)


def expected_update(
    update_rule: str, g: Weights, d: Weights, draws: list[np.ndarray], g_adam: Adam, d_adam: Adam
) -> list[float]:
    real, z, real_labels, fake_labels = draws
    real = real.reshape(BATCH, -1)
    if update_rule == "tutorial":
        fake = generate_moving(z, g)
        losses, probabilities = [], []
        for images, labels in ((real, real_labels), (fake, fake_labels)):
            logits, tape = discriminate(images, d)
            move(d, tape[3])
            value, grad = loss(labels, logits)
            d_adam.apply(d, discriminate_back(grad, tape, d)[0])
            losses.append(value)
            probabilities.append((1 / (1 + np.exp(-logits))).mean())
        images, g_tape = generate(z, g)
        move(g, g_tape[3])
    else:
        images, g_tape = generate(z, g)
        move(g, g_tape[3])
        losses, probabilities, total = [], [], {}
        for batch, labels in ((real, real_labels), (images, fake_labels)):
            logits, tape = discriminate(batch, d)
            move(d, tape[3])
            value, grad = loss(labels, logits)
            for name, part in discriminate_back(grad / 2, tape, d)[0].items():
                total[name] = total.get(name, 0.0) + part
            losses.append(value)
            probabilities.append((1 / (1 + np.exp(-logits))).mean())
        d_adam.apply(d, total)
    logits, tape = discriminate(images, d)  # moving statistics stay
    g_loss, grad = loss(real_labels, logits)
    g_adam.apply(g, generate_back(discriminate_back(grad, tape, d)[1], g_tape, g))
    return [sum(losses) / 2, g_loss, *probabilities, 1.0]


def weights_of(model: keras.Model) -> Weights:
    names = {"in": "kernel", "out": "kernel"}
    bn, out = model.get_layer("bn"), model.get_layer("out")
    values = {layer: getattr(model.get_layer(layer), attribute) for layer, attribute in names.items()}
    values |= {name: getattr(bn, name) for name in ("gamma", "beta", "moving_mean", "moving_variance")}
    values["bias"] = out.bias
    return {name: np.asarray(value, np.float64) for name, value in values.items()}


@pytest.mark.parametrize("update_rule", ["tutorial", "batch"])
def test_two_updates_agree_with_numpy(update_rule: str) -> None:
    keras.utils.set_random_seed(1)
    adam = keras.optimizers.Adam
    update = Update(
        tiny_generator(),
        tiny_discriminator(),
        adam(RATE, beta_1=BETA_1),
        adam(RATE, beta_1=BETA_1),
        noise_images(50),
        update_rule=update_rule,
        batch_size=BATCH,
        labels=Labels(0.3, fresh=True),
    )
    g, d = weights_of(update.generator), weights_of(update.discriminator)
    g_adam, d_adam = Adam(), Adam()
    for step in (1, 2):
        draws = [np.asarray(x, np.float64) for x in update._draw(tf.constant(step), 0)]
        values = update(step).numpy()
        expected = expected_update(update_rule, g, d, draws, g_adam, d_adam)
        np.testing.assert_allclose(values, expected, rtol=2e-4, err_msg=str(VALUES))
        for model, want in ((update.generator, g), (update.discriminator, d)):
            for name, value in weights_of(model).items():
                np.testing.assert_allclose(value, want[name], rtol=2e-3, atol=2e-4, err_msg=f"{model.name} {name}")
