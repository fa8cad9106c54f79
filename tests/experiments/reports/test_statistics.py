"""Means, standard deviations, and how seldom equal settings are called better."""

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy.stats import dunnett, ttest_ind

from experiments.reports.statistics import (
    compare_with_control,
    critical_value,
    mean,
    mean_and_std,
    standard_deviation,
)

DRAWS = 10_000
SEEDS, CANDIDATES = range(2, 9), range(1, 6)


@pytest.fixture(autouse=True)
def _no_warnings() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_mean_and_standard_deviation_of_a_sample() -> None:
    assert (mean([1.0, 3.0]), standard_deviation([1.0, 3.0])) == (2.0, pytest.approx(math.sqrt(2)))
    assert math.isnan(mean([])) and math.isnan(standard_deviation([5.0]))
    assert mean_and_std([12.0, 14.0]) == "13 ± 1.4"
    assert mean_and_std([12.3456], digits=4) == "12.35"
    assert mean_and_std([]) == ""


def test_critical_values_are_those_of_dunnetts_tables() -> None:
    """Dunnett (1964), two-sided, 5 %."""
    for seeds, candidates, expected in ((3, 1, 2.776), (3, 2, 2.86), (5, 2, 2.50), (6, 3, 2.54), (5, 5, 2.70)):
        assert critical_value((seeds,) * candidates, seeds) == pytest.approx(expected, abs=0.006)


def test_one_sample_is_compared_by_the_pooled_t_test() -> None:
    sample, control = [1.0, 2.5, 3.0, 2.0], [2.0, 4.0, 5.0]
    (difference,) = compare_with_control([sample], control)
    expected = ttest_ind(sample, control)
    interval = expected.confidence_interval(0.95)
    assert difference.value == pytest.approx(np.mean(sample) - np.mean(control))
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))
    assert difference.p_value == pytest.approx(expected.pvalue, rel=1e-3)


def test_intervals_and_p_values_agree_with_scipy_and_do_not_change() -> None:
    rng = np.random.default_rng(0)
    for sizes in ((3, 3, 3), (5, 2, 4, 3), (2, 8, 8, 8, 8, 3)):  # the control last
        *samples, control = (list(rng.normal(size=size)) for size in sizes)
        differences = compare_with_control(samples, control)
        critical_value.cache_clear()
        assert compare_with_control(samples, control) == differences
        expected = dunnett(*samples, control=control, rng=1)
        interval = expected.confidence_interval(0.95)
        assert [d.low for d in differences] == pytest.approx(interval.low, rel=0.02)
        assert [d.high for d in differences] == pytest.approx(interval.high, rel=0.02)
        assert [d.p_value for d in differences] == pytest.approx(expected.pvalue, abs=0.002)


def test_samples_without_variance_or_of_one_score_give_no_warning() -> None:
    equal, lower = compare_with_control([[3, 3], [2, 2, 2]], [3, 3])
    assert (equal.low, equal.high, equal.p_value) == (0, 0, 1)
    assert (lower.low, lower.high, lower.p_value) == (-1, -1, 0)
    constant, single = compare_with_control([[3, 3, 3], [2]], [3.5, 4])
    assert constant.low < -0.75 < constant.high and constant.has_interval
    assert single.value == -1.75 and not single.has_interval
    assert not any(comparison.has_interval for comparison in compare_with_control([[1, 2], [3]], [2]))
    assert not any(comparison.has_interval for comparison in compare_with_control([[1], [3]], [2, 4]))


def simulated(rng: np.random.Generator, candidates: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws of equal settings, (draws, 1 + candidates, seeds), and their pooled standard error of a difference."""
    scores = rng.standard_normal((DRAWS, 1 + candidates, seeds))
    return scores, np.sqrt(scores.var(axis=2, ddof=1).mean(axis=1) * 2 / seeds)


def test_equal_settings_are_seldom_called_better() -> None:
    """The best of them in a confirmation, and the lowest in a comparison of runs."""
    rng = np.random.default_rng(0)
    error = 4 * math.sqrt(0.05 * 0.95 / DRAWS)
    for candidates, seeds in itertools.product(CANDIDATES, SEEDS):
        scores, errors = simulated(rng, candidates, seeds)
        means = scores.mean(axis=2)
        margins = critical_value((seeds,) * candidates, seeds) * errors
        differences = means[:, 1:] - means[:, :1]
        better = differences.min(axis=1) + margins < 0
        assert better.mean() <= 0.05
        assert abs(better.mean() - 0.025) < error
        unlike = np.abs(differences).max(axis=1) > margins  # what Dunnett's test is about
        assert abs(unlike.mean() - 0.05) < error
        lowest, second = np.sort(means, axis=1)[:, :2].T
        assert (second - lowest > margins).mean() < 0.05 + error
        for draw in (0, *np.flatnonzero(better)[:2]):  # the rule above is the program's and scipy's
            control, *samples = scores[draw]
            comparisons = compare_with_control(samples, control)
            assert (min(comparison.high for comparison in comparisons) < 0) == better[draw]
            p_value = dunnett(*samples, control=control, rng=0).pvalue[differences[draw].argmin()]
            if abs(p_value - 0.05) > 0.001:  # both are known to so many digits
                assert (p_value < 0.05 and differences[draw].min() < 0) == better[draw]


def test_intervals_hold_where_seeds_failed() -> None:
    sizes, control_size = (2, 5, 3), 4
    rng = np.random.default_rng(1)
    groups = [rng.standard_normal((DRAWS, size)) for size in (*sizes, control_size)]
    freedom = sum(sizes) + control_size - len(groups)
    errors = np.sqrt(sum(((g - g.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) for g in groups) / freedom)
    reach = critical_value(sizes, control_size) * errors
    outside = [
        np.abs(group.mean(axis=1) - groups[-1].mean(axis=1)) > reach * math.sqrt(1 / size + 1 / control_size)
        for group, size in zip(groups, sizes, strict=False)
    ]
    assert abs(np.any(outside, axis=0).mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 / DRAWS)
