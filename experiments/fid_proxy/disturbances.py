"""Ways to damage real images, each at five levels: (N, 32, 32, 3) uint8 -> the same, from worse to worst."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Disturb = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Disturbance:
    """`levels` in `unit`, rising; `apply(images, level, rng)`."""

    unit: str
    levels: tuple[float, ...]
    apply: Disturb


def noise(images: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Add normal noise to every value.

    Args:
        images: (N, 32, 32, 3) uint8.
        deviation: standard deviation of the noise, of 255.
        rng: of the noise.
    """
    return _uint8(images + rng.normal(0, deviation, images.shape))


def blur(images: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Apply a Gaussian filter.

    Args:
        images: (N, 32, 32, 3) uint8.
        sigma: of the filter, pixels.
        rng: not used.
    """
    return _uint8(ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0)))


def rectangles(images: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Put a black square somewhere into each image.

    Args:
        images: (N, 32, 32, 3) uint8.
        fraction: of the area that the square covers.
        rng: of its place.
    """
    size = images.shape[1]
    side = round(size * fraction**0.5)
    spoilt = images.copy()
    for image, (y, x) in zip(spoilt, rng.integers(0, size - side + 1, (len(images), 2)), strict=True):
        image[y : y + side, x : x + side] = 0
    return spoilt


def swirl(images: np.ndarray, turns: float, rng: np.random.Generator) -> np.ndarray:
    """Rotate about the centre, less towards the rim.

    Args:
        images: (N, 32, 32, 3) uint8.
        turns: at the centre.
        rng: not used.
    """
    size = images.shape[1]
    centre = (size - 1) / 2
    y, x = np.mgrid[:size, :size] - centre
    angle = 2 * np.pi * turns * np.exp(-np.hypot(x, y) / (size / 4))
    rows = y * np.cos(angle) - x * np.sin(angle) + centre
    columns = y * np.sin(angle) + x * np.cos(angle) + centre
    planes = images.transpose(0, 3, 1, 2).reshape(-1, size, size)
    turned = [ndimage.map_coordinates(plane, (rows, columns), order=1, mode="reflect") for plane in planes]
    return np.stack(turned).reshape(len(images), 3, size, size).transpose(0, 2, 3, 1)


def salt_and_pepper(images: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Make pixels black or white.

    Args:
        images: (N, 32, 32, 3) uint8.
        fraction: of the pixels.
        rng: of which pixels.
    """
    draw = rng.random(images.shape[:3])
    spoilt = images.copy()
    spoilt[draw < fraction / 2] = 0
    spoilt[draw > 1 - fraction / 2] = 255
    return spoilt


def contamination(others: np.ndarray) -> Disturb:
    """Return a disturbance that replaces a fraction of the images with `others`, those of other classes."""

    def apply(images: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
        count = round(len(images) * fraction)
        foreign = others[rng.choice(len(others), count, replace=False)]
        return np.concatenate([foreign, images[count:]])

    return apply


def all_disturbances(others: np.ndarray) -> dict[str, Disturbance]:
    return {
        "noise": Disturbance("standard deviation of 255", (5, 10, 20, 40, 80), noise),
        "blur": Disturbance("sigma, pixels", (0.4, 0.6, 0.9, 1.3, 2.0), blur),
        "rectangles": Disturbance("fraction of the area", (0.02, 0.05, 0.1, 0.2, 0.4), rectangles),
        "swirl": Disturbance("turns", (0.05, 0.1, 0.2, 0.4, 0.8), swirl),
        "salt and pepper": Disturbance("fraction of the pixels", (0.005, 0.01, 0.03, 0.1, 0.3), salt_and_pepper),
        "other classes": Disturbance("fraction of the images", (0.05, 0.1, 0.25, 0.5, 1.0), contamination(others)),
    }


def _uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
