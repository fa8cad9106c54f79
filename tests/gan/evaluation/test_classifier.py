import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import noise_images

from gan.evaluation.classifier import (
    PADDING,
    _augmented,
    accuracy,
    build_classifier,
    fit_projection,
    fold,
    one_cycle,
    train_classifier,
)
from gan.evaluation.extractors import LayerMeans
from gan.images import scale


def two_classes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, dark or bright."""
    labels = np.random.default_rng(seed).integers(0, 2, count)
    return (noise_images(count, seed) // 2 + 100 * labels[:, None, None, None]).astype(np.uint8), labels


def small_training(seed: int) -> tuple[keras.Model, list[float]]:
    losses: list[float] = []
    model = build_classifier(2, seed)
    images, labels = two_classes(64, 0)
    train_classifier(
        model, images, labels, epochs=4, seed=seed, batch_size=16, learning_rate=0.05,
        on_step=lambda step, steps, loss: losses.append(loss) if step <= steps == 16 else None,
    )  # fmt: skip
    return model, losses


def test_it_learns_repeats_and_folds_into_what_the_extractor_runs() -> None:
    model, losses = small_training(0)
    assert len(losses) == 16
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    again, _ = small_training(0)
    for a, b in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)

    # The folded network gives the numbers of the network in inference mode.
    images, labels = two_classes(40, 1)
    weights = fold(model)
    taps = [model.get_layer(f"relu_{k}").output for k in (2, 4, 5)]
    expected = [np.mean(x, axis=(1, 2)) for x in keras.Model(model.input, taps)(scale(images), training=False)]
    means = LayerMeans("", weights)(images)
    np.testing.assert_allclose(means, np.concatenate(expected, axis=1), rtol=1e-3, atol=1e-4)
    logits = np.asarray(model(scale(images), training=False))
    np.testing.assert_allclose(means[:, -256:] @ weights["head"] + weights["head_bias"], logits, rtol=1e-3, atol=1e-3)
    assert accuracy(weights, images, labels) == (logits.argmax(axis=1) == labels).mean()


def test_no_gradient_is_a_sum_whose_order_is_left_to_the_moment() -> None:
    """TensorFlow adds three tensors and more in an order that depends on its threads; of two there is but one."""
    model = build_classifier(2, 0)

    @tf.function(input_signature=[tf.TensorSpec((8, 32, 32, 3))])
    def gradients(images: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(model(images, training=True) ** 2)
        return tape.gradient(value, [variable.value for variable in model.trainable_variables])

    operations = gradients.get_concrete_function().graph.get_operations()
    assert "Conv2DBackpropFilter" in {operation.type for operation in operations}
    assert not [operation.name for operation in operations if operation.type == "AddN" and len(operation.inputs) > 2]


def test_fewer_images_than_a_batch_train_nothing_and_are_refused() -> None:
    images, labels = two_classes(15, 0)
    with pytest.raises(ValueError, match="at least 16 images are needed for one update; got 15"):
        train_classifier(build_classifier(2, 0), images, labels, epochs=1, seed=0, batch_size=16)


def test_the_learning_rate_goes_up_and_down_once() -> None:
    assert one_cycle(0.1) == pytest.approx(0.5)
    assert one_cycle(0.2) == pytest.approx(1)
    assert one_cycle(0.6) == pytest.approx(0.5)
    assert one_cycle(1.0) == 0


def test_augmentation_shifts_and_mirrors() -> None:
    image = noise_images(1)[0]
    padded = np.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="reflect")
    windows = {
        padded[y : y + 32, x : x + 32][:, ::flip].tobytes()
        for y in range(2 * PADDING + 1) for x in range(2 * PADDING + 1) for flip in (1, -1)
    }  # fmt: skip
    many = np.repeat(padded[None], 400, axis=0)
    seen = {x.tobytes() for x in _augmented(many, True, np.random.default_rng(0))}
    assert seen <= windows
    assert len(seen) > 100
    upright = {padded[y : y + 32, x : x + 32].tobytes() for y in range(9) for x in range(9)}
    assert {x.tobytes() for x in _augmented(many, False, np.random.default_rng(0))} <= upright


def test_the_projection_standardises_and_takes_the_principal_components() -> None:
    rng = np.random.default_rng(0)
    # Two directions of one hidden number, one of noise; scales far apart.
    hidden = rng.standard_normal(2000)
    means = np.stack([1000 * hidden + 5, hidden + rng.standard_normal(2000) * 0.1, rng.standard_normal(2000)], axis=1)
    fitted = fit_projection(means, 2)
    mapped = (means - fitted["offset"]) @ fitted["projection"]
    np.testing.assert_allclose(mapped.mean(axis=0), 0, atol=1e-9)
    covariance = np.cov(mapped, rowvar=False)
    np.testing.assert_allclose(covariance, np.diag([4 / 3, 2 / 3]), atol=0.05)
    assert abs(covariance[0, 1]) < 1e-9
    assert np.trace(covariance) == pytest.approx(2, rel=1e-3)
    # What counts double has four times the variance: the noise, then, before what the first two share.
    fitted = fit_projection(means, 2, np.array([1.0, 1.0, 2.0]))
    weighted = np.cov((means - fitted["offset"]) @ fitted["projection"], rowvar=False)
    np.testing.assert_allclose(weighted, np.diag([4 / 3, 2 / 3]), atol=0.05)
    assert abs(fitted["projection"][2, 0]) > 100 * abs(fitted["projection"][0, 0])
