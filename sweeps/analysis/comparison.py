"""Candidates against the baseline: means, intervals, and which is better."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sweeps.spec.space import Value

CONFIDENCE = 0.95


@dataclass
class Candidate:
    """Settings that are trained again."""

    title: str  # trial-0007, or the baseline's preset
    params: dict[str, Value]  # none for the baseline
    search_score: float | None  # the objective in the search
    seeds: list[int] = field(default_factory=list)  # those that came to their end
    scores: list[float] = field(default_factory=list)  # the objective of each
    final: list[float] = field(default_factory=list)  # and the score at its end, of more images
    failures: list[str] = field(default_factory=list)
    origin: int | None = None  # of the trial; None for the baseline

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores)) if self.scores else float("nan")

    @property
    def spread(self) -> float:
        """Standard deviation over seeds."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else float("nan")


@dataclass(frozen=True)
class Verdict:
    """What the confirmation came to."""

    baseline: Candidate
    candidates: list[Candidate]  # best first
    difference: float  # of the best candidate's mean to the baseline's; below 0 is better
    low: float  # of its interval, which knows of how many it is the best; NaN where there is none
    high: float
    baseline_words: str = "the tutorial's settings"

    @property
    def best(self) -> Candidate:
        """The best of the trials."""
        return self.candidates[0]

    @property
    def winner(self) -> Candidate:
        """The settings to train with: a trial's only where it has the lower mean, and failed on no more seeds."""
        return min((self.baseline, self.best), key=_rank)

    @property
    def better(self) -> bool:
        """Whether the best trial is known to be better than the baseline."""
        return self.high < 0 and self.winner is self.best and not self.best.failures

    def words(self) -> str:
        best, baseline, usual = self.best, self.baseline, self.baseline_words
        facts = f"{self._seeds()}; difference {self.difference:+.3g}, {self._interval()}"
        if self.winner is baseline:
            means = f"{baseline.mean:.4g} against {best.mean:.4g} for the best trial, {best.title}"
            return f"Keep {usual}: {means} ({facts}; lower is better)"
        means = f"{best.mean:.4g} against {baseline.mean:.4g} for {usual} ({facts})"
        if self.better:
            return f"{best.title} is better: {means}"
        luck = "" if np.isnan(self.high) or best.failures else "; that may be luck, as the interval holds 0"
        return f"{best.title} is not shown to be better: {means}{luck}"

    def _seeds(self) -> str:
        first, second = (self.best, self.baseline) if self.winner is self.best else (self.baseline, self.best)
        counts = [len(first.scores), len(second.scores)]
        words = f"{counts[0]} and {counts[1]} fresh seeds"
        if counts[0] == counts[1]:
            words = f"{counts[0]} fresh seed{'s' if counts[0] > 1 else ''} each"
        failed = [f"{len(c.failures)} of {c.title} failed" for c in (self.baseline, self.best) if c.failures]
        return ", ".join([words, *failed])

    def _interval(self) -> str:
        if np.isnan(self.high):
            return "no interval, which takes two seeds or more of each"
        return f"{CONFIDENCE:.0%} interval {self.low:+.3g} to {self.high:+.3g}"


def _rank(candidate: Candidate) -> tuple[int, float]:
    return len(candidate.failures), candidate.mean


def judge(wanted: Sequence[Candidate], baseline_words: str = "the tutorial's settings") -> Verdict | None:
    """The best of the candidates against the baseline, the first of them; None where either could not be trained.

    One that fails on a seed comes after those that do not, and is not better, whatever its other seeds say.
    """
    baseline, *others = wanted
    others = sorted((each for each in others if each.scores), key=_rank)
    if not baseline.scores or not others:
        return None
    low, high = _interval([each.scores for each in others], baseline.scores)
    return Verdict(baseline, others, others[0].mean - baseline.mean, low, high, baseline_words)


def _interval(others: Sequence[Sequence[float]], baseline: Sequence[float]) -> tuple[float, float]:
    """Of the first one's difference of means to the baseline's; NaN where either has but one score.

    Student's t, with the spread over seeds pooled from all settings, as three seeds of one say
    little of it, and Bonferroni's correction, as the first is the best of several.
    """
    if min(len(others[0]), len(baseline)) < 2:
        return float("nan"), float("nan")
    from scipy.stats import t  # slow to import: a mistake should be answered before

    groups = [np.asarray(scores) for scores in (*others, baseline)]
    freedom = sum(len(group) - 1 for group in groups)
    variance = sum(((group - group.mean()) ** 2).sum() for group in groups) / freedom
    quantile = t.ppf(1 - (1 - CONFIDENCE) / 2 / len(others), freedom)
    margin = float(quantile * np.sqrt(variance * (1 / len(others[0]) + 1 / len(baseline))))
    difference = float(groups[0].mean() - groups[-1].mean())
    return difference - margin, difference + margin
