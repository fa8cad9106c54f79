"""Candidates against the baseline: means, intervals, and which is better."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from experiments.reports.statistics import CONFIDENCE, Difference, compare_with_control, mean, standard_deviation
from sweeps.analysis import race
from sweeps.spec.space import Value

UNKNOWN = Difference(math.nan, math.nan, math.nan, math.nan)  # where one of two has no score


@dataclass
class Candidate:
    """Settings that are trained again."""

    title: str  # trial-0007, or the baseline's preset
    params: dict[str, Value]  # none for the baseline
    search_score: float | None  # the objective in the search
    seeds: list[int] = field(default_factory=list)  # those that finished
    scores: list[float] = field(default_factory=list)  # the objective of each seed
    final: list[float] = field(default_factory=list)  # the score of each at its end, of more images
    failures: list[str] = field(default_factory=list)
    origin: int | None = None  # of its trial; None for the baseline of a grid, which may have no trial
    is_racing: bool = True  # not behind the others after some seeds
    difference: Difference | None = None  # from the baseline, after the last seed

    @property
    def mean(self) -> float:
        return mean(self.scores)

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds."""
        return standard_deviation(self.scores)


@dataclass(frozen=True)
class Comparison:
    """The result of the confirmation."""

    baseline: Candidate
    candidates: list[Candidate]  # best first
    difference: Difference  # of the best candidate's mean from the baseline's; below 0 is better
    baseline_words: str = "the tutorial's settings"

    @property
    def best(self) -> Candidate:
        """The best of the trials."""
        return self.candidates[0]

    @property
    def winner(self) -> Candidate:
        """The settings to train with: a trial's only where its mean is lower and no more of its seeds failed.

        Those without a score on a fresh seed are not recommended.
        """
        if not self.baseline.scores or not self.best.scores:
            return self.best if self.best.scores else self.baseline
        is_ahead = self.best.mean < self.baseline.mean and len(self.best.failures) <= len(self.baseline.failures)
        return self.best if is_ahead else self.baseline

    @property
    def better(self) -> bool:
        """Whether the best trial is shown to be better than the baseline."""
        return self.difference.high < 0 and self.winner is self.best and not self.best.failures

    def words(self) -> str:
        """Return the result as a sentence."""
        best, baseline, usual = self.best, self.baseline, self.baseline_words
        if not best.scores and not baseline.scores:
            return f"No training on a fresh seed came to its end: {self._failed([baseline, *self.candidates])}"
        if not best.scores:
            return f"Keep {usual}: {baseline.mean:.4g}; {self._failed(self.candidates)} (lower is better)"
        if not baseline.scores:
            failed = self._failed([baseline])
            return f"{best.title} cannot be compared: {best.mean:.4g}; {failed} (lower is better)"
        facts = f"{self._seeds()}; difference {self.difference.value:+.3g}, {self._interval()}"
        if self.winner is baseline:
            means = f"{baseline.mean:.4g} against {best.mean:.4g} for the best trial, {best.title}"
            return f"Keep {usual}: {means} ({facts}; lower is better)"
        means = f"{best.mean:.4g} against {baseline.mean:.4g} for {usual} ({facts})"
        if self.better:
            return f"{best.title} is better: {means}"
        luck = "; that may be luck, as the interval contains 0"
        unsure = self.difference.low <= 0 <= self.difference.high and not best.failures
        return f"{best.title} is not shown to be better: {means}{luck if unsure else ''}"

    def _failed(self, candidates: Sequence[Candidate]) -> str:
        """Say why each of some candidates has no score."""
        failures = [(candidate.title, candidate.failures[-1]) for candidate in candidates if candidate.failures]
        return ", ".join(f"{title} failed on {failure}" for title, failure in failures)

    def _seeds(self) -> str:
        first, second = (self.best, self.baseline) if self.winner is self.best else (self.baseline, self.best)
        counts = [len(first.scores), len(second.scores)]
        words = f"{counts[0]} and {counts[1]} fresh seeds"
        if counts[0] == counts[1]:
            words = f"{counts[0]} fresh seed{'s' if counts[0] > 1 else ''} each"
        failed = [f"{len(c.failures)} of {c.title} failed" for c in (self.baseline, self.best) if c.failures]
        return ", ".join([words, *failed])

    def _interval(self) -> str:
        if not self.difference.has_interval:
            return "no interval, which takes two seeds or more of each"
        return f"{CONFIDENCE:.0%} interval {self.difference.low:+.3g} to {self.difference.high:+.3g}"


def _rank(candidate: Candidate) -> tuple[bool, int, bool, float]:
    return not candidate.scores, len(candidate.failures), not candidate.is_racing, candidate.mean


def after_seed(baseline: Candidate, racing: Sequence[Candidate], candidates: int, seeds: int) -> tuple[bool, str]:
    """Take out of the race those candidates that are behind after a seed, or failed on it.

    Args:
        baseline: with its scores so far.
        racing: the candidates that trained on the last seed.
        candidates: how many began the race.
        seeds: of the whole race, at most.

    Returns:
        Whether the race is over, and how it stands in words; none where there is nothing to say.
    """
    for candidate in racing:
        candidate.is_racing = not candidate.failures
    sound = [candidate for candidate in racing if candidate.is_racing]
    if not baseline.scores and len(baseline.failures) >= race.FEWEST:  # there is nothing to compare them with
        return True, ""
    if not sound or len(baseline.scores) < race.FEWEST or baseline.failures:
        return not sound, ""
    standing = race.analyse([candidate.scores for candidate in sound], baseline.scores, candidates, seeds)
    for k, candidate in enumerate(sound):
        candidate.difference = standing.differences[k]
        # The last one stays: there is always a best trial to speak of.
        candidate.is_racing = k in standing.racing or (not standing.racing and k == standing.leader)
    leader = sound[standing.leader]
    lead = -standing.differences[standing.leader].value
    words = [
        f"{leader.title} leads by {lead:.3g}" if lead > 0 else f"{baseline.title} leads {leader.title} by {-lead:.3g}"
    ]
    words += [f"{candidate.title} is behind" for candidate in sound if not candidate.is_racing]
    return standing.is_over, ", ".join(words)


def readmitted(baseline: Candidate, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that were behind another, where all that still raced have failed: they race again.

    Args:
        baseline: with its scores so far; without any, nobody can be compared with it.
        candidates: all that began the race, after a seed.
    """
    if not baseline.scores or any(candidate.is_racing for candidate in candidates):
        return []
    return [candidate for candidate in candidates if not candidate.failures]


def most_trainings(candidates: Sequence[Candidate], seeds: int, at_a_time: int = 1) -> int:
    """Return how many trainings a race has at most, those that are done included.

    Args:
        candidates: with their scores so far; the baseline first.
        seeds: of the whole race, at most.
        at_a_time: how many train side by side. At the end of a seed some may wait: each counts as a training.
    """
    done = [len(each.scores) + len(each.failures) for each in candidates]
    racing = sum(each.is_racing for each in candidates)
    return sum(done) + (seeds - done[0]) * math.ceil(racing / at_a_time) * at_a_time


def compare(candidates: Sequence[Candidate], baseline_words: str = "the tutorial's settings") -> Comparison:
    """Compare the best of the candidates with the baseline, the first of them.

    The intervals are those of the race; where there was none, seeds of the baseline failed, or the best was not in the
    race to its end, they are Dunnett's (1955).
    A candidate that fails on a seed comes after those that do not, and is not better, whatever its other seeds say.
    """
    baseline, *others = candidates
    others = sorted(others, key=_rank)
    scored = [candidate for candidate in others if candidate.scores]
    best = others[0]
    fewer_seeds = len(best.scores) < len(baseline.scores)  # it was behind, before another failed
    if best.difference is None or baseline.failures or fewer_seeds:
        differences: list[Difference] = []
        if baseline.scores and scored:
            differences = compare_with_control([candidate.scores for candidate in scored], baseline.scores)
        for candidate in others:
            candidate.difference = differences.pop(0) if differences else UNKNOWN
    return Comparison(baseline, others, best.difference or UNKNOWN, baseline_words)
