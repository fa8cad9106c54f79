"""An image classifier, trained for the features that it learns on the way."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from gan.arrays import Arrays
from gan.evaluation.extractors import POOLED, TAPPED, LayerMeans
from gan.evaluation.weights import WIDTHS
from gan.images import scale
from gan.keras_state import keras_defaults
from gan.layers import BatchNormalization
from gan.randomness import derive

# The last size counts double. Of the weightings compared in docs/fid_proxy.md, this one ranks late checkpoints most as the
# two other networks do.
IMPORTANCE = np.repeat([1.0, 1.0, 2.0], [WIDTHS[k] for k in TAPPED])
PADDING = 4  # pixels that a training image may shift


@keras_defaults()
def build_classifier(num_classes: int, seed: int) -> keras.Model:
    """Build a network: images (B, 32, 32, 3) float32 in [-1, 1] -> logits (B, num_classes).

    The network whose folded form is `gan.evaluation.extractors.ConvFeatures`; 0.58 M parameters.
    """
    x = images = keras.Input((32, 32, 3), name="images")
    for index, width in enumerate(WIDTHS):
        if index in POOLED:
            x = layers.MaxPooling2D(name=f"pool_{index}")(x)
        initializer = keras.initializers.HeNormal(derive(seed, f"classifier/conv_{index}"))
        x = layers.Conv2D(
            width, 3, padding="same", use_bias=False, kernel_initializer=initializer, name=f"conv_{index}"
        )(x)
        # Not Keras' own: its gradients are sums of three terms, which TensorFlow adds in an order of the moment.
        x = BatchNormalization(name=f"bn_{index}")(x)
        x = layers.ReLU(name=f"relu_{index}")(x)
    x = layers.GlobalAveragePooling2D(name="means")(x)
    head = keras.initializers.GlorotUniform(derive(seed, "classifier/logits"))
    return keras.Model(images, layers.Dense(num_classes, kernel_initializer=head, name="logits")(x))


@keras_defaults()
def train_classifier(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 256,
    learning_rate: float = 0.2,
    weight_decay: float = 5e-3,
    label_smoothing: float = 0.0,
    mirror: bool = True,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> None:
    """Train a classifier in place by SGD with one cycle of the learning rate, shifts and flips.

    Equal seeds give equal weights on the same machine with the same threads. The cycle is Smith &
    Topin's (2018), with straight slopes. Nesterov's momentum is 0.9.

    Args:
        model: as `build_classifier` makes it; its weights are changed.
        images: (N, 32, 32, 3) uint8. Each is shifted by up to 4 pixels either way; its reflection fills the edge.
        labels: (N,) integers in [0, num_classes).
        epochs: passes over the images. In each the images that do not fill a batch are left out.
        seed: of the order of the images, the shifts and the flips.
        batch_size: images in an update, from 1 to N.
        learning_rate: at the peak of the cycle.
        weight_decay: of the weights themselves, times the learning rate, a step; biases, scales and offsets have none.
        label_smoothing: in [0, 1]; the part of each target that is spread evenly over all classes.
        mirror: whether about half of the images are flipped left to right.
        on_step: called after each update with its number, 1 for the first, the number of all, and its loss in nats.

    Raises:
        ValueError: for fewer images than a batch.
    """
    if len(images) < batch_size:
        raise ValueError(f"at least {batch_size} images are needed for one update; got {len(images)}")
    steps = epochs * (len(images) // batch_size)
    optimizer = keras.optimizers.SGD(learning_rate, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    objective = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    num_classes = model.output_shape[-1]

    def update(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = objective(tf.one_hot(y, num_classes), model(scale(x), training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables))
        return loss

    compiled = tf.function(update)
    rng = np.random.default_rng(derive(seed, "classifier/batches"))
    padded = np.pad(images, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)), mode="reflect")
    step = 0
    while step < steps:
        order = rng.permutation(len(images))
        for chosen in np.split(order[: len(order) // batch_size * batch_size], len(order) // batch_size):
            step += 1
            optimizer.learning_rate.assign(learning_rate * one_cycle(step / steps))
            loss = compiled(_augmented(padded[chosen], mirror, rng), labels[chosen])
            on_step(step, steps, float(loss))


def one_cycle(part: float) -> float:
    """Return the fraction of the peak learning rate after a part of the training: up for a fifth, then down to 0."""
    return min(part / 0.2, (1.0 - part) / 0.8)


def _augmented(padded: np.ndarray, mirror: bool, rng: np.random.Generator) -> np.ndarray:
    """Shift each image by up to PADDING pixels either way, and mirror half of them if `mirror`."""
    count, size = len(padded), padded.shape[1] - 2 * PADDING
    rows = rng.integers(0, 2 * PADDING + 1, (count, 1)) + np.arange(size)
    columns = rng.integers(0, 2 * PADDING + 1, (count, 1)) + np.arange(size)
    mirrored = rng.random(count) < (0.5 if mirror else 0.0)
    columns[mirrored] = columns[mirrored, ::-1]
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def fold(model: keras.Model) -> Arrays:
    """Fold each batch normalisation into its convolution.

    Returns `kernel_k` and `bias_k` of `gan.evaluation.extractors.ConvFeatures`, and the last layer as `head`
    (256, num_classes) and `head_bias` (num_classes,).
    """
    weights = {}
    for index in range(len(WIDTHS)):
        kernel = model.get_layer(f"conv_{index}").kernel.numpy()
        bn = model.get_layer(f"bn_{index}")
        gain = bn.gamma.numpy() / np.sqrt(bn.moving_variance.numpy() + bn.epsilon)
        weights[f"kernel_{index}"] = kernel * gain
        weights[f"bias_{index}"] = bn.beta.numpy() - bn.moving_mean.numpy() * gain
    head = model.get_layer("logits")
    return {**weights, "head": head.kernel.numpy(), "head_bias": head.bias.numpy()}


def fit_projection(means: np.ndarray, dimensions: int, importance: np.ndarray | float = 1.0) -> Arrays:
    """Fit standardisation and PCA of features as one affine map, (features - offset) @ projection.

    Mapped, the features have mean 0, no correlation and, over the dimensions, a mean variance of 1: what the
    first principal components of the standardised features have, in one scale. The sign of a component makes
    its largest weight positive.

    Args:
        means: (N, d) floats, one row an image; computed with in float64.
        dimensions: number of principal components, from 1 to d.
        importance: (d,) or one number, the standard deviation that each feature is standardised to.

    Returns:
        `offset` (d,) and `projection` (d, dimensions), float64.
    """
    means = means.astype(np.float64)
    offset, deviation = means.mean(axis=0), (means.std(axis=0) + 1e-6) / importance
    spectrum = np.linalg.eigh(np.cov((means - offset) / deviation, rowvar=False))
    variances, components = spectrum.eigenvalues[::-1][:dimensions], spectrum.eigenvectors[:, ::-1][:, :dimensions]
    signs = np.sign(components[np.abs(components).argmax(axis=0), np.arange(components.shape[1])])
    return {"offset": offset, "projection": components * signs / np.sqrt(variances.mean()) / deviation[:, None]}


def accuracy(weights: Arrays, images: np.ndarray, labels: np.ndarray) -> float:
    """Measure the fraction of the images whose class the folded network names.

    Args:
        weights: arrays by name, as `fold` gives them.
        images: (N, 32, 32, 3) uint8.
        labels: (N,) integers in [0, num_classes).

    Returns:
        The fraction, in [0, 1].
    """
    means = LayerMeans("", weights)(images)[:, -WIDTHS[-1] :]
    return float(((means @ weights["head"] + weights["head_bias"]).argmax(axis=1) == labels).mean())
