import hashlib

import numpy as np
import pytest

from gan.data import drawings


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    return drawings.draw()


def test_the_same_bytes_everywhere(images: tuple[np.ndarray, np.ndarray]) -> None:
    train, test = images
    assert train.shape == (5000, 32, 32, 3)
    assert test.shape == (1000, 32, 32, 3)
    assert train.dtype == test.dtype == np.uint8
    # A change of any pixel is a change of data set: raise VERSION with it.
    digest = hashlib.sha256(train.tobytes() + test.tobytes()).hexdigest()
    assert (drawings.VERSION, digest[:16]) == (1, "4bc3a9d0f313526e")


def test_every_image_is_another(images: tuple[np.ndarray, np.ndarray]) -> None:
    train, test = images
    assert len({image.tobytes() for image in np.concatenate(images)}) == len(train) + len(test)


def test_sky_above_water_and_something_between(images: tuple[np.ndarray, np.ndarray]) -> None:
    train = images[0].astype(np.float32)
    assert train[:, :8].mean() > train[:, 24:].mean() + 20  # sky is brighter than water
    # Ships have upright edges in the middle of the image; sky and water have few.
    edges = np.abs(np.diff(train, axis=2)).mean(axis=(0, 3))
    assert edges[12:18, 10:22].mean() > 1.5 * edges[:6].mean()
    assert edges[12:18, 10:22].mean() > 1.5 * edges[12:18, :3].mean()
    assert train.std(axis=0).min() > 20  # no pixel is the same in all


def test_only_exactly_rounded_operations_are_used() -> None:
    """Sines, exponentials, powers and matrix products differ between processors."""
    from pathlib import Path

    source = Path(drawings.__file__).read_text()
    for name in ("np.sin", "np.cos", "np.exp", "np.log", "np.power", "@ ", "np.dot", "einsum", "np.random.default_rng"):
        assert name not in source, name
