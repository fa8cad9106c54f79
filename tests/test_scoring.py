import numpy as np
import pytest
from conftest import noise_images

from gan.features import RandomCNN
from gan.models import build_generator
from gan.scoring import Scorer, sample


def test_features_are_fixed_and_named_by_their_weights() -> None:
    a, b = RandomCNN(), RandomCNN()
    assert a.id == b.id == "random_cnn-d5cd40d7"
    images = noise_images(7)
    features = a(images)
    assert features.shape == (7, 64)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, b(images))


def test_features_do_not_depend_on_the_batching(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor, images = RandomCNN(), noise_images(10)
    whole = extractor(images)
    monkeypatch.setattr(RandomCNN, "BATCH", 3)
    np.testing.assert_allclose(extractor(images), whole, atol=1e-4)


def test_score_is_lower_the_nearer_the_images() -> None:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 32).astype(np.uint8)[None, :, None, None]
    real = (ramp + rng.integers(0, 50, (500, 1, 1, 3))).astype(np.uint8) * np.ones((1, 1, 32, 1), np.uint8)
    scorer = Scorer.of(RandomCNN(), real)

    class Replay:
        """Stands in for a generator: gives these images whatever the latents."""

        input_shape = (None, 4)

        def __init__(self, images: np.ndarray) -> None:
            self.images = images

        def predict_on_batch(self, latents: np.ndarray) -> np.ndarray:
            return self.images[: len(latents)].astype(np.float32) / 127.5 - 1

    def score(images: np.ndarray) -> float:
        return scorer(Replay(images), 200)["fid_proxy"]  # type: ignore[arg-type]

    same, noisy, noise = (
        score(real),
        score(np.clip(real + rng.normal(0, 30, real.shape), 0, 255)),
        score(noise_images(500)),
    )
    assert 0 <= same < noisy < noise


def test_samples_come_from_a_fixed_bank_and_are_uint8() -> None:
    generator = build_generator(latent_dim=5, seed=0)
    a, b = sample(generator, 3), sample(generator, 3)
    assert a.shape == (3, 32, 32, 3)
    assert a.dtype == np.uint8
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, sample(generator, 3, seed=1))
    assert not np.array_equal(a, sample(generator, 3, purpose="other"))
