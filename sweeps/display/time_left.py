"""How long a search still takes: the updates that are left, at the throughput so far."""

import math
import time

from experiments.cli.progress import duration

PREVIOUS_SECONDS = 60.0  # that the rate of a stage before counts as much as


class ThroughputMeter:
    """Measures how many updates a second all trainings make together.

    Args:
        previous: updates a second of the stage before, 0 where there was none. It counts as much as the first
            seconds of this stage, in which processes begin.
    """

    def __init__(self, previous: float = 0.0) -> None:
        self._previous = previous
        self._start = time.monotonic()
        self._first_steps: dict[str, int] = {}  # by training; of a resumed one the step that it resumed at
        self._last_steps: dict[str, int] = {}

    def record(self, training: str, step: int) -> None:
        """Record the step that a training is at."""
        self._first_steps.setdefault(training, step)
        self._last_steps[training] = max(step, self._last_steps.get(training, step))

    @property
    def elapsed(self) -> float:
        """Seconds since this meter was made."""
        return time.monotonic() - self._start

    @property
    def rate(self) -> float:
        """Updates a second, 0 while it is not known."""
        updates = sum(self._last_steps.values()) - sum(self._first_steps.values())
        weight = PREVIOUS_SECONDS if self._previous else 0.0
        return (updates + weight * self._previous) / (self.elapsed + weight) if updates else self._previous

    def seconds(self, updates: float) -> float:
        """Return how many seconds so many updates take, infinitely many while the rate is not known."""
        rate = self.rate
        return updates / rate if rate else math.inf


def time_left(seconds: float, at_most: bool = False) -> str:
    """Return `about 5 min left`, or an empty text for no time and for infinite time, which is not known.

    Args:
        seconds: that are left.
        at_most: whether it may take less, as a race does that is decided early: `at most 5 min left`.
    """
    return f"{'at most' if at_most else 'about'} {duration(seconds)} left" if 0 < seconds < math.inf else ""
