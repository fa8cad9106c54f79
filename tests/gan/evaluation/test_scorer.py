from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import dataset, noise_images, small_scorer

from gan.evaluation.scorer import Reference, Scorer, sample
from gan.models import build_generator


class Replay:
    """Stands in for a generator: gives these images whatever the latents."""

    input_shape = (None, 4)

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def predict_on_batch(self, latents: np.ndarray) -> np.ndarray:
        return self.images[: len(latents)].astype(np.float32) / 127.5 - 1


def ramps(count: int, seed: int) -> np.ndarray:
    """Soft shades: (count, 32, 32, 3) uint8."""
    ramp = np.linspace(0, 200, 32).astype(np.uint8)[None, :, None, None]
    shades = np.random.default_rng(seed).integers(0, 50, (count, 1, 1, 3))
    return (ramp + shades).astype(np.uint8) * np.ones((1, 1, 32, 1), np.uint8)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return small_scorer(ramps(500, 0), ramps(100, 1))


def test_scores_tell_near_from_far(scorer: Scorer) -> None:
    real = ramps(250, 0)
    noisy = np.clip(real + np.random.default_rng(0).normal(0, 30, real.shape), 0, 255).astype(np.uint8)
    near, far, noise = (scorer(Replay(images), 250) for images in (real, noisy, noise_images(250)))  # type: ignore[arg-type]
    assert list(near) == ["fid_proxy", "kid_proxy", "density", "coverage", "nn_distance"]
    for name in ("fid_proxy", "kid_proxy", "nn_distance"):
        assert near[name] < far[name] < noise[name], name
    assert near["fid_proxy"] < 4 * scorer.reference.real_baseline
    assert noise["fid_proxy"] == pytest.approx(scorer.reference.noise_baseline, rel=0.1)
    assert near["density"] > 0.5
    assert near["coverage"] > 0.7
    assert (noise["density"], noise["coverage"]) == (0, 0)


def test_the_excess_is_what_new_real_images_get(tmp_path: Path) -> None:
    """Six numbers of white noise as features: the formula's Gaussian."""

    class Gaussian:
        id = "gaussian-1"

        def __call__(self, images: np.ndarray) -> np.ndarray:
            return np.random.default_rng(len(images)).standard_normal((len(images), 6)).astype(np.float32)

    extractor = Gaussian()
    scorer = Scorer(extractor, Reference.of(extractor, dataset(noise_images(1500)), tmp_path))
    counts = range(200, 230)  # another draw for each
    scores = [scorer.of_images(noise_images(count))["fid_proxy"] for count in counts]
    expected = np.mean([scorer.reference.excess(count) for count in counts])
    assert np.mean(scores) == pytest.approx(expected, rel=0.2)


def test_copies_of_training_images_show_and_held_out_ones_do_not(scorer: Scorer) -> None:
    assert scorer.of_images(ramps(500, 0))["nn_distance"] < 0.01
    assert scorer.of_images(ramps(100, 1))["nn_distance"] == pytest.approx(1)


def test_without_held_out_images_there_is_no_nn_distance() -> None:
    scorer = small_scorer(ramps(60, 0))
    assert "nn_distance" not in scorer.of_images(ramps(20, 1))


def test_copies_as_held_out_images_give_no_nn_distance() -> None:
    """There would be nothing to divide by."""
    scorer = small_scorer(ramps(60, 0), ramps(60, 0)[::-1])
    assert np.isnan(scorer.reference.held_out)
    assert "nn_distance" not in scorer.of_images(ramps(20, 1))


def test_images_that_are_all_alike_have_finite_scores() -> None:
    """One image repeated: the usual check whether a network can overfit."""
    one = ramps(1, 0)
    scorer = small_scorer(one.repeat(60, axis=0), one.repeat(20, axis=0))
    far, near = scorer.of_images(noise_images(50)), scorer.of_images(one.repeat(50, axis=0))
    assert "nn_distance" not in far
    assert np.isfinite([*far.values(), *near.values()]).all()
    assert near["fid_proxy"] == pytest.approx(0, abs=1e-3)
    assert far["fid_proxy"] > 1
    assert scorer.reference.real_baseline == pytest.approx(0, abs=1e-3)


def test_a_reference_is_computed_once_for_each_extractor_and_data_set(tmp_path: Path) -> None:
    calls = []

    class Counting:
        def __init__(self, id: str) -> None:
            self.id = id

        def __call__(self, images: np.ndarray) -> np.ndarray:
            calls.append(self.id)
            return images.reshape(len(images), -1)[:, :4].astype(np.float32)

    def make(id: str, train: np.ndarray, test: np.ndarray | None = None) -> Reference:
        return Reference.of(Counting(id), dataset(train, test), tmp_path)

    first = make("a-1", noise_images(60))
    assert calls
    calls.clear()
    again = make("a-1", noise_images(60))
    assert not calls
    for field in ("features", "radii", "real_baseline", "noise_baseline"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    np.testing.assert_array_equal(first.real.covariance, again.real.covariance)
    assert first.real.count == again.real.count == 60

    others: list[Callable[[], Reference]] = [
        lambda: make("a-2", noise_images(60)),
        lambda: make("a-1", noise_images(60, seed=1)),
        lambda: make("a-1", noise_images(60), noise_images(5)),
    ]
    for other in others:
        other()
        assert calls
        calls.clear()
    assert len(list(tmp_path.glob("reference-*.npz"))) == 4


def test_samples_come_from_a_fixed_bank_and_are_uint8() -> None:
    generator = build_generator(latent_dim=5, seed=0)
    a, b = sample(generator, 3), sample(generator, 3)
    assert a.shape == (3, 32, 32, 3)
    assert a.dtype == np.uint8
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, sample(generator, 3, seed=1))
    assert not np.array_equal(a, sample(generator, 3, purpose="other"))


def test_features_are_those_of_the_images_that_are_drawn(scorer: Scorer) -> None:
    generator = build_generator(5, width=8, seed=0)
    features = scorer.features(generator, 600, seed=3)
    np.testing.assert_array_equal(features, scorer.extractor(sample(generator, 600, seed=3)))
