"""Scores of a generator: one number for how far its images are from the real ones."""

from dataclasses import dataclass

import keras
import numpy as np

from gan import randomness
from gan.data import unscale
from gan.features import FeatureExtractor
from gan.frechet import Statistics, frechet_distance, statistics

BATCH = 250  # images at a time


@dataclass(frozen=True)
class Scorer:
    """Scores generators against one set of real images, always from the same latents."""

    extractor: FeatureExtractor
    real: Statistics

    @classmethod
    def of(cls, extractor: FeatureExtractor, images: np.ndarray) -> "Scorer":
        """images: (N, 32, 32, 3) uint8, the real ones."""
        return cls(extractor, statistics(extractor(images)))

    def __call__(self, generator: keras.Model, num_images: int) -> dict[str, float]:
        """Scores of `num_images` images; `fid_proxy` is 0 at best."""
        features = self.extractor(sample(generator, num_images))
        return {"fid_proxy": frechet_distance(self.real, statistics(features))}


def sample(generator: keras.Model, count: int, *, seed: int = 0, purpose: str = "scoring") -> np.ndarray:
    """(count, 32, 32, 3) uint8 from a fixed bank of latents, the same for every run of a study."""
    bank = randomness.latents(seed, purpose, count, generator.input_shape[-1])
    images = [generator.predict_on_batch(bank[k : k + BATCH]) for k in range(0, count, BATCH)]
    return unscale(np.concatenate(images))
