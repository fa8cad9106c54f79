import numpy as np
import pytest

from gan.frechet import Statistics, frechet_distance, statistics


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
