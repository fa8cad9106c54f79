"""Distances between two sets of feature vectors: NumPy, float64, nothing else.

Every function takes features (N, d) of any float type, computes in float64 and raises
ValueError for another shape, unlike dimensions, too few vectors, NaN or infinity.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 5  # k of density and coverage, as their authors recommend
CHUNK = 1_000_000  # distances held at a time


@dataclass(frozen=True)
class Statistics:
    """Mean (d,) and covariance (d, d) of `count` feature vectors, float64."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @functools.cached_property  # many distances are from the same real images
    def factor(self) -> np.ndarray:
        """L (d, d) with L Lᵀ = covariance, from its eigenvalues clipped at 0."""
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(np.clip(values, 0.0, None))


def statistics(features: np.ndarray) -> Statistics:
    """Return the mean and unbiased covariance of features (N, d), N at least 2."""
    features = _checked(features, 2)
    mean = features.mean(axis=0)
    centred = features - mean
    return Statistics(mean, centred.T @ centred / (len(features) - 1), len(features))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Return the squared Fréchet distance of two Gaussians, |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 √(Σ₁ Σ₂)).

    Dowson & Landau (1982); of generated images, Heusel et al. (2017). tr √(Σ₁ Σ₂) is the
    sum of the singular values of L₁ᵀ L₂ with Σ = L Lᵀ: always real, also where a covariance
    has no full rank. 0 at best, but for rounding and `frechet_bias`.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"feature dimensions differ: {a.mean.size} and {b.mean.size}")
    root = np.linalg.svd(a.factor.T @ b.factor, compute_uv=False).sum()
    shift = a.mean - b.mean
    return float(shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * root)


def frechet_bias(count_a: int, count_b: int, variances: np.ndarray) -> float:
    """Estimate what the distance of two samples of one Gaussian is on average, above 0; to first order.

    (1/N + 1/M) times Σᵢ λᵢ, of the means, plus Σᵢⱼ λᵢλⱼ(1 + δᵢⱼ) / 2(λᵢ + λⱼ), of the covariances: the
    metric of Bures applied to the variance of a sample covariance. With unit variances
    (1/N + 1/M)(d + d(d+1)/4).

    Args:
        count_a: N, vectors in the one sample; at least 1.
        count_b: M, vectors in the other; at least 1.
        variances: (d,), the eigenvalues λ of the Gaussian's covariance.

    Returns:
        The bias, in the unit of `frechet_distance`: that of the features, squared.
    """
    variances = np.asarray(variances, np.float64)
    products, sums = np.outer(variances, variances), np.add.outer(variances, variances)
    terms = np.divide(products, 2.0 * sums, out=np.zeros_like(sums), where=sums > 0)
    return float((1 / count_a + 1 / count_b) * (variances.sum() + terms.sum() + np.trace(terms)))


def kernel_distance(
    real: np.ndarray, fake: np.ndarray, *, subset_size: int = 1000, subsets: int = 20, seed: int = 0
) -> float:
    """Estimate the squared maximum mean discrepancy with the kernel (x·y/d + 1)³, without bias.

    This is KID, Bińkowski et al. (2018).

    Args:
        real: (N, d) features, N at least 2.
        fake: (M, d) features, M at least 2.
        subset_size: vectors of each set in a subset, at least 2; fewer if the smaller set has no more.
        subsets: number of random subsets, at least 1. Within one no vector is drawn twice.
        seed: of the subsets.

    Returns:
        The mean over the subsets. It is around 0 (below it as often as above) for samples of one distribution.

    Raises:
        ValueError: for another shape, unlike dimensions, too few vectors, NaN or infinity.
    """
    real, fake = _pair(real, fake, 2)
    size = min(subset_size, len(real), len(fake))
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        x = real[rng.choice(len(real), size, replace=False)]
        y = fake[rng.choice(len(fake), size, replace=False)]
        within = _off_diagonal_mean(_cubic(x, x)) + _off_diagonal_mean(_cubic(y, y))
        values.append(within - 2.0 * _cubic(x, y).mean())
    return float(np.mean(values))


def neighbour_radii(real: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Return the distance of each vector to the k-th nearest other one of its set: (N,) float64, N above k."""
    real = _checked(real, k + 1)
    radii = []
    for start, rows in _squared_distances(real, real):
        rows[np.arange(len(rows)), start + np.arange(len(rows))] = -np.inf  # itself, first in order
        radii.append(np.partition(rows, k, axis=1)[:, k])
    return np.sqrt(np.maximum(np.concatenate(radii), 0.0))


def density_and_coverage(
    real: np.ndarray, fake: np.ndarray, radii: np.ndarray | None = None, k: int = NEIGHBOURS
) -> tuple[float, float]:
    """Measure how deep fakes lie among the real images, and how many of those have a fake near: Naeem et al. (2020).

    Args:
        real: (N, d) features, N above k.
        fake: (M, d) features, M at least 1.
        radii: (N,), `neighbour_radii(real, k)` if it is computed already; None to compute it here.
        k: which neighbour the ball around a real vector reaches to, at least 1.

    Returns:
        density: the mean number of balls of the real vectors (to their k-th neighbour) that a fake lies in, over k;
            1 for samples of one distribution, more where fakes crowd in the middle.
        coverage: the fraction of the balls with a fake in them, in [0, 1]; it grows with the number of fakes.

    Raises:
        ValueError: for another shape, unlike dimensions, too few vectors, NaN or infinity.
    """
    real, fake = _pair(real, fake, 1)
    radii = neighbour_radii(real, k) if radii is None else radii
    inside = 0
    covered = 0
    bounds = np.square(radii)[:, None] * (1 - 1e-9)  # on the rim, but for rounding, is not inside
    for start, rows in _squared_distances(real, fake):
        hits = rows < bounds[start : start + len(rows)]
        inside += int(hits.sum())
        covered += int(hits.any(axis=1).sum())
    return inside / (k * len(fake)), covered / len(real)


def nearest_distance(features: np.ndarray, to: np.ndarray) -> float:
    """Return the median over `features` of the distance to the nearest vector of `to`."""
    features, to = _pair(features, to, 1)
    nearest = np.concatenate([rows.min(axis=1) for _, rows in _squared_distances(features, to)])
    return float(np.median(np.sqrt(np.maximum(nearest, 0.0))))


def _checked(features: np.ndarray, at_least: int) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < at_least:
        raise ValueError(f"features must be (N, d) with N at least {at_least}; got shape {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite; some are NaN or infinite")
    return features


def _pair(a: np.ndarray, b: np.ndarray, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = _checked(a, at_least), _checked(b, at_least)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"feature dimensions differ: {a.shape[1]} and {b.shape[1]}")
    return a, b


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base = x @ y.T / x.shape[1] + 1.0
    return base * base * base


def _off_diagonal_mean(square: np.ndarray) -> float:
    n = len(square)
    return float((square.sum() - np.trace(square)) / (n * (n - 1)))


def _squared_distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield squared distances of some rows of `a` to all of `b`: start, (rows, len(b)); rounding may go below 0."""
    centre = b.mean(axis=0)  # near the origin the squares below lose fewest digits
    a, b = a - centre, b - centre
    b_squares = np.einsum("ij,ij->i", b, b)
    size = max(CHUNK // len(b), 1)
    for start in range(0, len(a), size):
        rows = a[start : start + size]
        squares = (-2.0 * rows) @ b.T
        squares += b_squares
        squares += np.einsum("ij,ij->i", rows, rows)[:, None]
        yield start, squares
