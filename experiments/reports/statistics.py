"""The statistics of scores over seeds: mean, standard deviation, and Dunnett's comparisons with one control."""

import functools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95  # of all intervals of one comparison together


@dataclass(frozen=True)
class Difference:
    """How far a sample's mean lies above the control's; NaN where that takes more scores."""

    value: float
    low: float  # of the simultaneous interval
    high: float
    p_value: float  # two-sided, adjusted for the number of samples

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.low)


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean, NaN of no values."""
    return float(np.mean(values)) if len(values) else math.nan


def standard_deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation (n - 1 degrees of freedom), NaN of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def mean_and_std(values: Sequence[float], digits: int = 3) -> str:
    """Return "mean ± standard deviation", without the second of one value, and nothing of no values."""
    if not len(values):
        return ""
    deviation = f" ± {standard_deviation(values):.2g}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}g}{deviation}"


def compare_with_control(samples: Sequence[Sequence[float]], control: Sequence[float]) -> list[Difference]:
    """Compare the means of several samples with that of one control, by Dunnett (1955).

    The variance is pooled over all groups. The intervals hold together with probability CONFIDENCE, so that
    the best of the samples may be chosen first. Of one sample it is the two-sample t test.

    Args:
        samples: one or more, of one score or more each; their sizes may differ.
        control: one score or more.

    Returns:
        The difference of each sample. It has no interval where the sample or the control has but one score.
    """
    values = [mean(sample) - mean(control) for sample in samples]
    if len(control) < 2 or max(map(len, samples)) < 2:
        return [Difference(value, math.nan, math.nan, math.nan) for value in values]
    groups = [np.asarray(group, float) for group in (*samples, control)]
    if not any(np.ptp(group) for group in groups):  # dunnett would divide by their variance, 0
        differences = [Difference(value, value, value, 0.0 if value else 1.0) for value in values]
    else:
        from scipy.stats import dunnett  # slow to import: a mistake should be answered before

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a group whose scores are all equal
            p_values = dunnett(*groups[:-1], control=groups[-1], rng=0).pvalue
        freedom = sum(map(len, groups)) - len(groups)
        deviation = math.sqrt(sum(((group - group.mean()) ** 2).sum() for group in groups) / freedom)
        margin = critical_value(tuple(map(len, samples)), len(control)) * deviation
        margins = [margin * math.sqrt(1 / len(sample) + 1 / len(control)) for sample in samples]
        differences = [
            Difference(value, value - margin, value + margin, min(max(float(p), 0.0), 1.0))
            for value, margin, p in zip(values, margins, p_values, strict=True)
        ]
    return [
        difference if len(sample) > 1 else Difference(difference.value, math.nan, math.nan, math.nan)
        for difference, sample in zip(differences, samples, strict=True)
    ]


@functools.cache
def critical_value(sizes: tuple[int, ...], control_size: int) -> float:
    """Return how many standard errors Dunnett's simultaneous two-sided intervals reach.

    scipy's `dunnett(...).confidence_interval()` looks for it with random numbers that change on the way: it is
    off by up to 6 % of the error rate, and warns of it for one in thirty combinations of sizes. Here they are
    the same at each step.

    Args:
        sizes: of each sample, in scores.
        control_size: of the control, in scores.
    """
    from scipy.optimize import brentq
    from scipy.stats import multivariate_t, t

    count = len(sizes)
    freedom = sum(sizes) + control_size - count - 1
    alone = float(t.ppf((1 + CONFIDENCE) / 2, freedom))
    if count == 1:
        return alone
    bonferroni = float(t.ppf(1 - (1 - CONFIDENCE) / 2 / count, freedom))
    weights = 1 / np.sqrt(1 + control_size / np.array(sizes))
    correlations = np.outer(weights, weights)
    np.fill_diagonal(correlations, 1.0)
    distribution = multivariate_t(shape=correlations, df=freedom)

    def excess(reach: float) -> float:
        limit = np.full(count, reach)
        return float(distribution.cdf(limit, lower_limit=-limit, random_state=0)) - CONFIDENCE

    return float(brentq(excess, 0.98 * alone, 1.02 * bonferroni, xtol=1e-4))  # with room for the errors of cdf
