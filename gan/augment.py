"""Differentiable augmentation: what D sees of real and of fake images alike.

Zhao et al. (2020), Differentiable Augmentation for Data-Efficient GAN Training, with their
sizes. The generator learns through the same operations, so it does not learn to make
augmented images, and D cannot learn its few real images by heart.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from gan import devices
from gan.randomness import stateless_seed, uniform

SHIFT = 1 / 8  # of the image's side, either way
HOLE = 1 / 2  # side of the square that is cut out, of the image's

Draw = Callable[[str], tf.Tensor]  # (B, 1, 1, 1) float32 in [0, 1), for a purpose


def augment(
    images: tf.Tensor,
    kinds: Sequence[str],
    seed: int,
    purpose: str,
    step: tf.Tensor,
    probability: tf.Tensor | None = None,
) -> tf.Tensor:
    """Change images by each of some augmentations, with one draw an image.

    Args:
        images: (B, H, W, C) float32 in [-1, 1]. On several devices they are this device's rows of the batch.
        kinds: names in `AUGMENTATIONS`, applied in this order. With none the images come back as they are.
        seed: of the run.
        purpose: names the batch: real, fake or generator. Each has draws of its own.
        step: scalar integer, the number of the update. Equal steps give equal draws.
        probability: float32 scalar in [0, 1] with which each augmentation changes an image; None for always.

    Returns:
        (B, H, W, C) float32. `color` may take values beyond [-1, 1].

    Raises:
        KeyError: for a name that is not in `AUGMENTATIONS`.
    """

    def draw(name: str) -> tf.Tensor:
        return _draw_per_image(images, stateless_seed(seed, f"augment/{purpose}/{name}", step))

    for kind in kinds:
        changed = AUGMENTATIONS[kind](images, draw)
        images = changed if probability is None else tf.where(draw(f"{kind} or not") < probability, changed, images)
    return images


def mirrored(images: tf.Tensor, seed: int, step: tf.Tensor, purpose: str = "mirror") -> tf.Tensor:
    """Turn about half of the images left to right.

    Args:
        images: (B, H, W, C). On several devices they are this device's rows of the batch.
        seed: of the run.
        step: scalar integer, the number of the update. Which images are turned is drawn anew each step.
        purpose: what they are turned for. Each purpose has draws of its own.

    Returns:
        (B, H, W, C) of the same dtype.
    """
    draw = _draw_per_image(images, stateless_seed(seed, purpose, step))
    return tf.where(draw < 0.5, tf.reverse(images, [2]), images)


def _draw_per_image(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw a number for each image, (B, 1, 1, 1): this device's part of those for the whole batch."""
    return devices.share(uniform((devices.whole_shape(images)[0], 1, 1, 1), seed))


def color(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Change brightness by up to ±0.5, then saturation by 0 to 2 and contrast by 0.5 to 1.5 about the means."""
    images += draw("brightness") - 0.5
    grey = tf.reduce_mean(images, 3, keepdims=True)
    images = grey + (images - grey) * (2 * draw("saturation"))
    mean = tf.reduce_mean(images, (1, 2, 3), keepdims=True)
    return mean + (images - mean) * (draw("contrast") + 0.5)


def translation(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Move each image by whole pixels; what is uncovered is 0 (grey).

    Each axis is one product with shifted unit matrices: exact, and so is its gradient (on a
    GPU with TF32 to 10 bits).
    """
    rows, columns = (_shifted(side, draw(f"shift/{axis}")) for axis, side in enumerate(images.shape[1:3]))
    images = tf.einsum("byh,bhwc->bywc", rows, images)
    return tf.einsum("bxw,bywc->byxc", columns, images)


def cutout(images: tf.Tensor, draw: Draw) -> tf.Tensor:
    """Set a square of each image to 0; its centre is anywhere, so part of it may lie outside."""
    rows, columns = (_hole(side, draw(f"hole/{axis}")) for axis, side in enumerate(images.shape[1:3]))
    return images * (1.0 - rows[:, :, None, None] * columns[:, None, :, None])


def _shifted(side: int, draw: tf.Tensor) -> tf.Tensor:
    """Return unit matrices, each moved by a random number of rows or columns, (B, side, side)."""
    most = int(side * SHIFT + 0.5)
    shift = tf.cast(tf.floor(draw * (2 * most + 1)), tf.int32)[:, :, 0, 0] - most
    return tf.one_hot(tf.range(side) - shift, side)


def _hole(side: int, draw: tf.Tensor) -> tf.Tensor:
    """Return 1 where the square is along one axis, else 0, (B, side)."""
    hole = int(side * HOLE + 0.5)
    first = tf.floor(draw[:, :, 0, 0] * (side + 1 - hole % 2)) - hole // 2
    place = tf.range(side, dtype=tf.float32)
    return tf.cast((place >= first) & (place < first + hole), tf.float32)


AUGMENTATIONS = {"color": color, "translation": translation, "cutout": cutout}
