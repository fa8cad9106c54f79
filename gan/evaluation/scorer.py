"""Scores of a generator: how far its images are from the real ones, and in what way."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from gan import metric_names, randomness
from gan.cache import prepared
from gan.data.dataset import Dataset, pixel_hash
from gan.evaluation.extractors import FeatureExtractor
from gan.evaluation.metrics import (
    Statistics,
    density_and_coverage,
    frechet_bias,
    frechet_distance,
    kernel_distance,
    nearest_distance,
    neighbour_radii,
    statistics,
)
from gan.images import unscale

BATCH = 250  # images at a time
SCORING = "scoring"  # the bank of latents that scores are of
NEIGHBOUR_IMAGES = 5000  # real images that density, coverage and KID look at; nearly any class has no more
NOISE_IMAGES = 5000
VERSION = 1  # of what `Reference` holds; another one is computed anew


@dataclass(frozen=True)
class Reference:
    """The real images as an extractor sees them, and what scores to expect."""

    features: np.ndarray  # (N, d) float32, of all training images, in random order
    real: Statistics  # of the same
    radii: np.ndarray  # (n,) float64, `neighbour_radii` of the first n of them
    held_out: float  # `nearest_distance` of the test images to the training images; NaN where there are none but copies
    real_baseline: float  # Fréchet distance of two random halves of the training images
    noise_baseline: float  # of uniform noise to the training images

    @property
    def neighbours(self) -> np.ndarray:
        return self.features[: len(self.radii)]

    def excess(self, num_images: int) -> float:
        """Estimate the Fréchet distance of so many images that are as the real ones, to first order."""
        return frechet_bias(num_images, self.real.count, np.linalg.eigvalsh(self.real.covariance))

    @classmethod
    def of(cls, extractor: FeatureExtractor, dataset: Dataset, cache: Path) -> "Reference":
        """Compute the reference once for each extractor and data set; later calls read it from the cache.

        Args:
            extractor: what turns the images into features; its id is part of the cache's key.
            dataset: the real images. Those to train on are the reference; those held out, if any, give `held_out`.
            cache: folder of the cache.

        Returns:
            The reference, equal for equal extractors and images.
        """
        key = f"reference {VERSION} {extractor.id} {dataset.sha256} {pixel_hash(dataset.test)}"
        arrays = prepared(cache, "reference", key, lambda: _reference(extractor, dataset))
        held_out, real_baseline, noise_baseline = arrays["expectations"]
        real = Statistics(arrays["mean"], arrays["covariance"], len(arrays["features"]))
        return cls(
            arrays["features"], real, arrays["radii"], float(held_out), float(real_baseline), float(noise_baseline)
        )


def _reference(extractor: FeatureExtractor, dataset: Dataset) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.permutation(extractor(dataset.train))
    real = statistics(features)
    noise = extractor(rng.integers(0, 256, (NOISE_IMAGES, *dataset.train.shape[1:]), np.uint8))
    real_baseline = frechet_distance(*map(statistics, np.array_split(features, 2)))
    noise_baseline = frechet_distance(real, statistics(noise))
    held_out = nearest_distance(extractor(dataset.test), features) if len(dataset.test) else np.nan
    # Nothing but rounding, where all images are alike as well: they are the training images again.
    if held_out <= 1e-4 * np.sqrt(max(np.trace(real.covariance), noise_baseline)):
        held_out = np.nan
    return {
        "features": features,
        "mean": real.mean,
        "covariance": real.covariance,
        "radii": neighbour_radii(features[:NEIGHBOUR_IMAGES]),
        "expectations": np.array([held_out, real_baseline, noise_baseline]),
    }


@dataclass(frozen=True)
class Scorer:
    """Scores generators against one set of real images, always from the same latents."""

    extractor: FeatureExtractor
    reference: Reference

    def __call__(self, generator: keras.Model, num_images: int, *, seed: int = 0) -> dict[str, float]:
        """Score `num_images` images from the latents of a seed; the scores are returned by name.

        fid_proxy: `frechet_distance`. kid_proxy: `kernel_distance`. density, coverage: of the
        5 nearest neighbours. nn_distance: how near the images lie to the training images, relative
        to held-out ones; far below 1 they may be copies. It is left out where nothing is held out.
        """
        return self.of_features(self.features(generator, num_images, seed=seed))

    def features(self, generator: keras.Model, num_images: int, *, seed: int = 0) -> np.ndarray:
        """Compute what the extractor sees of the generator's images.

        Args:
            generator: (B, latent_dim) float32 -> (B, 32, 32, 3) float32 in [-1, 1].
            num_images: how many images are drawn, at least 1.
            seed: of the latents.

        Returns:
            (num_images, d) float32. The features of fewer images are the first of those of more, up to rounding.
        """
        z = randomness.latents(seed, SCORING, num_images, generator.input_shape[-1])
        # As they are drawn: only their features are held all at once.
        return np.concatenate([self.extractor(images) for images in _batches(generator, z)])

    def of_images(self, images: np.ndarray) -> dict[str, float]:
        """Return the same scores of (N, 32, 32, 3) uint8."""
        return self.of_features(self.extractor(images))

    def of_features(self, fake: np.ndarray) -> dict[str, float]:
        """Return the same scores of (N, d) features."""
        reference = self.reference
        density, coverage = density_and_coverage(reference.neighbours, fake, reference.radii)
        scores = {
            metric_names.FID: frechet_distance(reference.real, statistics(fake)),
            metric_names.KID: kernel_distance(reference.neighbours, fake),
            metric_names.DENSITY: density,
            metric_names.COVERAGE: coverage,
        }
        if reference.held_out > 0:  # 0 in a cache of earlier: all images were alike
            scores[metric_names.NN_DISTANCE] = nearest_distance(fake, reference.features) / reference.held_out
        return scores


def sample(generator: keras.Model, count: int, *, seed: int = 0, purpose: str = SCORING) -> np.ndarray:
    """Draw images from a fixed bank of latents, the same for every run of a study.

    Args:
        generator: (B, latent_dim) float32 -> (B, 32, 32, 3) float32 in [-1, 1].
        count: number of images, at least 1.
        seed: of the bank.
        purpose: names the bank; each purpose has latents of its own.

    Returns:
        (count, 32, 32, 3) uint8.
    """
    return images_of(generator, randomness.latents(seed, purpose, count, generator.input_shape[-1]))


def images_of(generator: keras.Model, latents: np.ndarray) -> np.ndarray:
    """Draw images (N, 32, 32, 3) uint8 of latents (N, latent_dim) float32, with the moving statistics."""
    return np.concatenate(list(_batches(generator, latents)))


def _batches(generator: keras.Model, latents: np.ndarray) -> Iterator[np.ndarray]:
    for k in range(0, len(latents), BATCH):
        yield unscale(generator.predict_on_batch(latents[k : k + BATCH]))
