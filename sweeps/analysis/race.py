"""A race on fresh seeds: candidates and the baseline train on one more seed each, until it is decided which is better.

After every seed from the second on, each candidate's mean is compared with the baseline's by its t value, with the
variance pooled over all that still race. The race is over when the leader is better than the baseline, or nobody is left.
Several interim analyses of several candidates would find differences that are none: the error of the whole race is held
at 5 % by simulation.

A candidate need not be shown to be worse to leave the race: it leaves as soon as it is a standard error behind the best.
So the seeds are spent on those that may win, and no more lucky winners are found, as the simulated races do the same.

Scores are not compared in pairs of one seed: over the seeds of docs/results/runs.csv the scores of two presets do not
go together (their correlations lie on both sides of 0).
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.reports.statistics import CONFIDENCE, Difference

FEWEST = 2  # seeds, of which there is a variance
BEHIND = 1.0  # standard errors of the difference from the best, the baseline included, at which a candidate leaves
RACES = 20_000  # simulated


@dataclass(frozen=True)
class InterimAnalysis:
    """What is known after a seed."""

    differences: list[Difference]  # of each candidate from the baseline, with intervals that hold over the whole race
    racing: list[int]  # indices of the candidates that stay in the race
    leader: int  # of the lowest mean
    is_over: bool


def analyse(
    samples: Sequence[Sequence[float]], control: Sequence[float], candidates: int, seeds: int
) -> InterimAnalysis:
    """Compare the candidates that still race with the baseline.

    Args:
        samples: of each candidate the score of every seed so far, two or more, as many as of the baseline.
        control: the baseline's.
        candidates: how many began the race.
        seeds: of the whole race, at most.

    Returns:
        How far each candidate is from the baseline, without p-values, and which of them stay in the race.
    """
    groups = np.array([control, *samples], float)
    count = groups.shape[1]
    means = groups.mean(axis=1)
    error = math.sqrt(groups.var(axis=1, ddof=1).mean() * 2 / count)
    margin = _limits(candidates, seeds)[len(samples), count] * error
    leader = int(np.argmin(means[1:]))
    values = [float(mean - means[0]) for mean in means[1:]]
    differences = [Difference(value, value - margin, value + margin, math.nan) for value in values]
    racing = [k for k, mean in enumerate(means[1:]) if mean - means.min() <= BEHIND * error]
    is_over = not racing or differences[leader].high < 0 or count >= seeds
    return InterimAnalysis(differences, racing, leader, is_over)


@functools.cache
def _limits(candidates: int, seeds: int) -> dict[tuple[int, int], float]:
    """Return how many standard errors are decisive, by the number of candidates that race and of seeds so far.

    Races between equals are simulated. Each interim analysis allows the same error, the largest with which no more than
    5 % of all races decide anything (Pocock 1977, for groups that leave).
    """
    scores = np.random.default_rng(0).standard_normal((RACES, candidates + 1, seeds))
    largest = {}  # |t| of the candidates that race, by the number of seeds: (races, candidates that race)
    for count, means, variances in _after_each_seed(scores):
        pooled = np.cumsum(variances, axis=1)[:, 1:] / np.arange(2, candidates + 2)
        away = np.maximum.accumulate(np.abs(means[:, 1:] - means[:, :1]), axis=1)
        largest[count] = np.sort(away / np.sqrt(pooled * 2 / count), axis=0)

    def limits(error: float) -> dict[int, np.ndarray]:
        return {count: np.quantile(values, 1 - error, axis=0) for count, values in largest.items()}

    low, high = 0.0, 1 - CONFIDENCE
    for _ in range(12):
        error = (low + high) / 2
        low, high = (error, high) if _fraction_decided(scores, limits(error)) <= 1 - CONFIDENCE else (low, error)
    return {(g + 1, count): float(limit) for count, row in limits(low).items() for g, limit in enumerate(row)}


def _after_each_seed(scores: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the number of seeds so far, and the means and variances of their scores.

    Args:
        scores: (races, groups, seeds).

    Yields:
        The number, from FEWEST on, and two arrays, (races, groups).
    """
    total, squares = np.zeros(scores.shape[:2]), np.zeros(scores.shape[:2])
    for count in range(1, scores.shape[2] + 1):
        total += scores[:, :, count - 1]
        squares += scores[:, :, count - 1] ** 2
        if count >= FEWEST:
            means = total / count
            yield count, means, (squares - count * means**2) / (count - 1)


def _fraction_decided(scores: np.ndarray, limits: dict[int, np.ndarray]) -> float:
    """Return which fraction of races between equals decide that one differs from the baseline.

    Args:
        scores: (races, groups, seeds); the first group is the baseline.
        limits: by the number of seeds so far, how many standard errors are decisive with 1, 2, ... racing candidates.
    """
    races, groups, _ = scores.shape
    racing = np.ones((races, groups - 1), bool)
    decided = np.zeros(races, bool)
    for seeds, means, variances in _after_each_seed(scores):
        count = racing.sum(axis=1)
        pooled = (variances[:, 0] + (variances[:, 1:] * racing).sum(axis=1)) / (count + 1)
        limit = np.append(np.inf, limits[seeds])[count]  # with no candidate left nothing is decided
        error = np.sqrt(pooled * 2 / seeds)
        away = np.abs(means[:, 1:] - means[:, :1]) > (limit * error)[:, None]
        decided |= (away & racing).any(axis=1)
        best = np.minimum(np.where(racing, means[:, 1:], np.inf).min(axis=1), means[:, 0])
        racing &= means[:, 1:] - best[:, None] <= BEHIND * error[:, None]
    return float(decided.mean())
