"""Fréchet distance between two sets of features: NumPy, float64."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """Mean (d,) and covariance (d, d) of `count` feature vectors, float64."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def statistics(features: np.ndarray) -> Statistics:
    """features (N, d), N at least 2 -> their mean and unbiased covariance.

    Raises ValueError for another shape, too few vectors, NaN or infinity.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (N, d) with N at least 2; got shape {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite; some are NaN or infinite")
    mean = features.mean(axis=0)
    centred = features - mean
    return Statistics(mean, centred.T @ centred / (len(features) - 1), len(features))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 √(Σ₁ Σ₂)), the squared distance of Fréchet (1957) for Gaussians.

    tr √(Σ₁ Σ₂) is the sum of the singular values of L₁ᵀ L₂ with Σ = L Lᵀ: always real,
    also where a covariance has no full rank. Raises ValueError for unlike dimensions.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"feature dimensions differ: {a.mean.size} and {b.mean.size}")
    root = np.linalg.svd(_factor(a.covariance).T @ _factor(b.covariance), compute_uv=False).sum()
    shift = a.mean - b.mean
    return float(shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * root)


def _factor(covariance: np.ndarray) -> np.ndarray:
    """L with L Lᵀ = covariance, from its eigenvalues clipped at 0."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.clip(values, 0.0, None))
