from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg

from gan.evaluation import metrics
from gan.evaluation.metrics import (
    NEIGHBOURS,
    Statistics,
    density_and_coverage,
    frechet_bias,
    frechet_distance,
    kernel_distance,
    nearest_distance,
    neighbour_radii,
    statistics,
)


def gaussian(mean: object, covariance: object) -> Statistics:
    return Statistics(np.asarray(mean, float), np.asarray(covariance, float), 100)


def test_a_set_against_itself_is_zero() -> None:
    s = statistics(np.random.default_rng(0).standard_normal((500, 16)))
    assert abs(frechet_distance(s, s)) < 1e-10


def test_closed_forms() -> None:
    eye = np.eye(3)
    assert frechet_distance(gaussian([1, 2, 2], eye), gaussian([0, 0, 0], eye)) == pytest.approx(9)
    assert frechet_distance(gaussian([0] * 3, 4 * eye), gaussian([0] * 3, eye)) == pytest.approx(3 * (2 - 1) ** 2)
    commuting = gaussian([0, 0], np.diag([9, 1])), gaussian([0, 0], np.diag([4, 16]))
    assert frechet_distance(*commuting) == pytest.approx((3 - 2) ** 2 + (1 - 4) ** 2)
    # 2x2, not commuting: tr sqrt(AB) = sqrt(tr AB + 2 sqrt(det AB)).
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.5], [-0.5, 2.0]])
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a) + np.trace(b) - 2 * root
    assert frechet_distance(gaussian([0, 0], a), gaussian([0, 0], b)) == pytest.approx(expected, rel=1e-12)


def test_rank_deficient_sets() -> None:
    real = np.array([[2.0, 1.0]] * 50 + [[1.0, 1.0]] * 50)
    fake = np.array([[9.0, 9.0]] * 50 + [[2.0, 9.0]] * 50)
    assert frechet_distance(statistics(real), statistics(fake)) == pytest.approx(89.0909, abs=1e-4)


def test_rotation_leaves_it_and_scaling_squares() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((200, 5)), rng.standard_normal((300, 5)) * 2 + 1
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    distance = frechet_distance(statistics(a), statistics(b))
    assert frechet_distance(statistics(a @ rotation), statistics(b @ rotation)) == pytest.approx(distance)
    assert frechet_distance(statistics(3 * a), statistics(3 * b)) == pytest.approx(9 * distance)


def test_statistics_are_numpys() -> None:
    x = np.random.default_rng(2).standard_normal((50, 4)).astype(np.float32)
    s = statistics(x)
    np.testing.assert_allclose(s.mean, x.astype(np.float64).mean(0))
    np.testing.assert_allclose(s.covariance, np.cov(x.astype(np.float64), rowvar=False))
    assert (s.mean.dtype, s.covariance.dtype, s.count) == (np.float64, np.float64, 50)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros(5), "shape"),
        (np.zeros((1, 5)), "at least 2"),
        (np.full((5, 2), np.nan), "finite"),
        (np.full((5, 2), np.inf), "finite"),
    ],
)
def test_what_has_no_statistics_is_refused(features: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        statistics(features)


def test_unlike_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2"):
        frechet_distance(gaussian([0] * 3, np.eye(3)), gaussian([0] * 2, np.eye(2)))


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_scipys_square_root_of_a_matrix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (statistics(rng.standard_normal((400, 12)) @ rng.standard_normal((12, 12))) for _ in range(2))
    root = np.trace(scipy.linalg.sqrtm(a.covariance @ b.covariance).real)
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance) + np.trace(b.covariance) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("n", "m", "d"), [(500, 1000, 8), (2000, 5000, 64)])
def test_two_samples_of_one_distribution_are_as_far_apart_as_the_formula_says(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(3)
    distances = [
        frechet_distance(statistics(rng.standard_normal((n, d))), statistics(rng.standard_normal((m, d))))
        for _ in range(30)
    ]
    error = np.std(distances, ddof=1) / np.sqrt(len(distances))
    expected = frechet_bias(n, m, np.ones(d))
    assert expected == pytest.approx((1 / n + 1 / m) * (d + d * (d + 1) / 4))
    # First order: the next term is smaller by about d/N.
    assert abs(np.mean(distances) - expected) < 4 * error + expected * d / n
    assert error < 0.1 * expected


def test_the_excess_of_a_gaussian_of_unlike_variances() -> None:
    rng = np.random.default_rng(8)
    variances = np.array([9.0, 1.0, 0.25, 0.0])
    pairs = [rng.standard_normal((2, 400, 4)) * np.sqrt(variances) for _ in range(200)]
    distances = [frechet_distance(statistics(a), statistics(b)) for a, b in pairs]
    error = np.std(distances, ddof=1) / np.sqrt(len(distances))
    assert abs(np.mean(distances) - frechet_bias(400, 400, variances)) < 4 * error
    assert error < 0.1 * np.mean(distances)


def test_kernel_distance_of_a_few_vectors_by_hand() -> None:
    real, fake = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [0.0, 0.0]])
    # k(x, y) = (x·y/2 + 1)³; within real 1, within fake 1; across (2³ + 1³ + 1³ + 1³) / 4.
    assert kernel_distance(real, fake, subsets=1) == pytest.approx(1 + 1 - 2 * 11 / 4)


def test_kernel_distance_is_unbiased_seeded_and_grows_with_a_shift() -> None:
    rng = np.random.default_rng(4)
    values = [
        kernel_distance(rng.standard_normal((100, 6)), rng.standard_normal((100, 6)), subsets=1) for _ in range(200)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(200)
    assert min(values) < 0
    real, fake = rng.standard_normal((300, 6)), rng.standard_normal((400, 6))
    options = {"subset_size": 100, "subsets": 5}
    assert kernel_distance(real, fake, **options) == kernel_distance(real, fake, **options)
    assert kernel_distance(real, fake, **options) != kernel_distance(real, fake, **options, seed=1)
    shifted = [kernel_distance(real, fake + shift, **options) for shift in (0, 0.5, 1)]
    assert shifted[0] < shifted[1] < shifted[2]


def test_radii_and_nearest_by_hand() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    np.testing.assert_allclose(neighbour_radii(line, k=1), [1, 1, 2, 4])
    np.testing.assert_allclose(neighbour_radii(line, k=2), [3, 2, 3, 6])
    assert nearest_distance(np.array([[0.5], [3.25], [10.0]]), line) == pytest.approx(0.5)


def test_density_and_coverage_by_hand() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    # Balls with k=1: (-1, 1), (0, 2), (1, 5), (3, 11).
    fake = np.array([[0.5], [0.6], [4.0], [20.0]])
    density, coverage = density_and_coverage(line, fake, k=1)
    assert density == pytest.approx((2 + 2 + 2 + 0) / 4)
    assert coverage == 1.0
    density, coverage = density_and_coverage(line, np.array([[4.0], [4.5]]), k=1)
    assert (density, coverage) == (pytest.approx(4 / 2), 0.5)


def test_density_and_coverage_of_samples_and_of_what_they_miss() -> None:
    rng = np.random.default_rng(5)
    real, same = rng.standard_normal((1500, 8)), rng.standard_normal((1500, 8))
    density, coverage = density_and_coverage(real, same)
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(1 - 2**-NEIGHBOURS, abs=0.02)  # Naeem et al.: 1 - 1/2^k for large sets
    assert density_and_coverage(real, same, neighbour_radii(real)) == (density, coverage)
    few = np.repeat(same[:15], 100, axis=0)
    assert density_and_coverage(real, few)[1] < 0.15
    assert density_and_coverage(real, real) == (1.0, 1.0)
    assert density_and_coverage(real, same + 100) == (0, 0)
    assert density_and_coverage(real, same * 0.1)[0] > 1.5  # all in the crowded middle


def test_neighbours_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    real, fake = rng.standard_normal((60, 3)), rng.standard_normal((50, 3))
    whole = density_and_coverage(real, fake), nearest_distance(fake, real)
    monkeypatch.setattr(metrics, "CHUNK", 400)
    assert (density_and_coverage(real, fake), nearest_distance(fake, real)) == whole


GOOD = np.random.default_rng(7).standard_normal((20, 3))


@pytest.mark.parametrize("distance", [kernel_distance, density_and_coverage, nearest_distance])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD[:, :2], "differ"),
        (GOOD[:0], "at least"),
        (np.full((20, 3), np.nan), "finite"),
        (GOOD[0], "shape"),
    ],
)
def test_what_has_no_distance_is_refused(
    distance: Callable[[np.ndarray, np.ndarray], object], bad: np.ndarray, message: str
) -> None:
    for pair in ((GOOD, bad), (bad, GOOD)):
        with pytest.raises(ValueError, match=message):
            distance(*pair)


def test_too_few_vectors_for_k_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 6"):
        neighbour_radii(GOOD[:5])
    with pytest.raises(ValueError, match="at least 2"):
        kernel_distance(GOOD, GOOD[:1])
