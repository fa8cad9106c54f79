"""What each augmentation keeps, moves and lets through."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.settings import schema
from gan.augment import AUGMENTATIONS, augment, mirrored

KINDS = list(AUGMENTATIONS)
STEP = tf.constant(3)


def noise(count: int = 8) -> np.ndarray:
    """Nowhere 0, so that what is cut or moved away is seen."""
    values = np.random.default_rng(0).uniform(0.1, 1, (count, 32, 32, 3))
    return values.astype(np.float32)


def test_the_words_of_the_setting_are_those_of_the_table() -> None:
    assert {kind for word in schema.AUGMENT_CHOICES for kind in word.split("+")} == AUGMENTATIONS.keys()
    assert len(set(schema.AUGMENT_CHOICES)) == 2 ** len(AUGMENTATIONS) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_functions_of_seed_purpose_and_step(kind: str) -> None:
    images = tf.constant(noise())
    first = augment(images, [kind], 0, "real", STEP)
    np.testing.assert_array_equal(first, augment(images, [kind], 0, "real", STEP))
    for other in ((1, "real", STEP), (0, "fake", STEP), (0, "real", STEP + 1)):
        assert not np.array_equal(first, augment(images, [kind], *other))
    assert augment(images, [], 0, "real", STEP) is images


def test_several_are_applied_one_after_the_other() -> None:
    images = tf.constant(noise())
    expected = images
    for kind in KINDS:
        expected = augment(expected, [kind], 0, "real", STEP)
    np.testing.assert_array_equal(augment(images, KINDS, 0, "real", STEP), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_to_every_image(kind: str) -> None:
    images = tf.constant(noise())
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(augment(images, [kind], 0, "fake", STEP))
    gradient = tape.gradient(total, images).numpy()
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).sum((1, 2, 3)) > 0).all()


def test_color_moves_the_mean_by_brightness_alone() -> None:
    images = noise(200)
    changed = augment(tf.constant(images), ["color"], 0, "real", STEP).numpy()
    moved = changed.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert np.abs(moved).max() <= 0.5 + 1e-5
    assert moved.min() < -0.45 and moved.max() > 0.45
    contrast = changed.mean(3).std((1, 2)) / images.mean(3).std((1, 2))  # of greys, which saturation leaves alone
    assert 0.5 - 1e-4 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5 + 1e-4


def test_translation_moves_whole_pixels_and_fills_with_grey() -> None:
    images = noise(200)
    moved = augment(tf.constant(images), ["translation"], 0, "real", STEP).numpy()
    shifts = set()
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for image, whole in zip(moved, padded, strict=True):
        draws = [
            (y, x) for y in range(9) for x in range(9) if np.array_equal(whole[8 - y : 40 - y, 8 - x : 40 - x], image)
        ]
        assert len(draws) == 1
        shifts.add((draws[0][0] - 4, draws[0][1] - 4))
    assert {y for y, _ in shifts} == {x for _, x in shifts} == set(range(-4, 5))


def test_cutout_is_one_square_of_half_the_side() -> None:
    images = noise(200)
    cut = augment(tf.constant(images), ["cutout"], 0, "real", STEP).numpy()
    holes = (cut == 0).all(3)
    np.testing.assert_array_equal(cut[~holes], images[~holes])
    sides = set()
    for hole in holes:
        rows, columns = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
        assert hole.sum() == len(rows) * len(columns) > 0
        sides |= {len(rows), len(columns)}
    assert min(sides) == 8 and max(sides) == 16  # at the edge half of it is outside


def test_half_of_the_images_are_mirrored() -> None:
    images = noise(400)
    turned = mirrored(tf.constant(images), 0, STEP).numpy()
    is_turned = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(turned, images, strict=True)])
    np.testing.assert_array_equal(turned[~is_turned], images[~is_turned])
    assert 0.4 < is_turned.mean() < 0.6
