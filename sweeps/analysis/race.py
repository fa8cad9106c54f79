"""A race on fresh seeds: candidates and the baseline train on one more seed each, until it is decided which is better.

After every seed from the second on, each candidate's mean is compared with the baseline's by its t value, with the
variance pooled over all that still race. A candidate that is worse than the baseline or than the leader is out; the
race is over when the leader is better than the baseline, or nobody is left. Looking several times at several candidates
would find differences that are none: the error of the whole race is held at 5 % by simulation.

Scores are not compared in pairs of one seed: over the seeds of docs/results/runs.csv the scores of two presets do not
go together (their correlations lie on both sides of 0).
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.reports.statistics import CONFIDENCE, Difference

FEWEST = 2  # seeds, of which there is a variance
RACES = 20_000  # simulated


@dataclass(frozen=True)
class Look:
    """What is known after a seed."""

    differences: list[Difference]  # of each candidate from the baseline, with intervals that hold over the whole race
    racing: list[int]  # indices of the candidates that stay in the race
    leader: int  # of the lowest mean
    is_over: bool


def look(samples: Sequence[Sequence[float]], control: Sequence[float], candidates: int, seeds: int) -> Look:
    """Compare the candidates that still race with the baseline.

    Args:
        samples: of each candidate the score of every seed so far, two or more, as many as of the baseline.
        control: the baseline's.
        candidates: how many began the race.
        seeds: of the whole race, at most.
    """
    groups = np.array([control, *samples], float)
    count = groups.shape[1]
    limit, p_values = _limits(candidates, seeds)[len(samples), count]
    means = groups.mean(axis=1)
    error = math.sqrt(groups.var(axis=1, ddof=1).mean() * 2 / count)
    margin = limit * error
    leader = int(np.argmin(means[1:]))
    differences = []
    for mean in means[1:]:
        value = float(mean - means[0])
        t = abs(value) / error if error else math.inf * abs(value) if value else 0.0
        p_value = float(np.mean(p_values >= t))
        differences.append(Difference(value, value - margin, value + margin, p_value))
    behind = means[1:] - means[1 + leader]
    racing = [k for k, difference in enumerate(differences) if difference.low <= 0 and behind[k] <= margin]
    is_over = not racing or differences[leader].high < 0 or count >= seeds
    return Look(differences, racing, leader, is_over)


@functools.cache
def _limits(candidates: int, seeds: int) -> dict[tuple[int, int], tuple[float, np.ndarray]]:
    """Return how many standard errors are decisive, by the number of candidates that race and of seeds so far.

    Races between equals are simulated. Each look allows the same error, the largest with which no more than 5 % of all
    races decide anything (Pocock 1977, for groups that leave).

    Returns:
        The limit, and t values of the simulated looks for p-values: the largest of all candidates.
    """
    scores = np.random.default_rng(0).standard_normal((RACES, candidates + 1, seeds))
    looks = range(FEWEST, seeds + 1)
    largest = {(g, k): np.sort(_t(scores[:, : g + 1, :k]).max(axis=1)) for g in range(1, candidates + 1) for k in looks}
    low, high = 0.0, 1 - CONFIDENCE
    for _ in range(12):
        error = (low + high) / 2
        low, high = (error, high) if _fraction_decided(scores, largest, error) <= 1 - CONFIDENCE else (low, error)
    return {key: (float(np.quantile(values, 1 - low)), values) for key, values in largest.items()}


def _t(groups: np.ndarray) -> np.ndarray:
    """Return |t| of each candidate against the first group: (races, groups, seeds) -> (races, groups - 1)."""
    means, count = groups.mean(axis=2), groups.shape[2]
    error = np.sqrt(groups.var(axis=2, ddof=1).mean(axis=1) * 2 / count)
    return np.abs(means[:, 1:] - means[:, :1]) / error[:, None]


def _fraction_decided(scores: np.ndarray, largest: dict[tuple[int, int], np.ndarray], error: float) -> float:
    """Return which fraction of races between equals decide that one differs from the baseline."""
    races, groups, seeds = scores.shape
    candidates = groups - 1
    table = np.full((groups, seeds + 1), np.inf)
    for (g, k), values in largest.items():
        table[g, k] = np.quantile(values, 1 - error)
    racing = np.ones((races, candidates), bool)
    decided = np.zeros(races, bool)
    for k in range(FEWEST, seeds + 1):
        means, variances = scores[:, :, :k].mean(axis=2), scores[:, :, :k].var(axis=2, ddof=1)
        count = racing.sum(axis=1)
        pooled = (variances[:, 0] + (variances[:, 1:] * racing).sum(axis=1)) / (count + 1)
        margin = table[count, k] * np.sqrt(pooled * 2 / k)
        away = np.abs(means[:, 1:] - means[:, :1]) > margin[:, None]
        decided |= (away & racing).any(axis=1)
        best = np.where(racing, means[:, 1:], np.inf).min(axis=1)
        racing &= means[:, 1:] - best[:, None] <= margin[:, None]
    return float(decided.mean())
