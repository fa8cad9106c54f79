"""How long a search still takes: the updates that are left, at the throughput so far."""

import math
import time


class Throughput:
    """Measures updates a second of all trainings together.

    before: what it was in the stage before, which counts until this one has made updates.
    """

    def __init__(self, before: float = 0.0) -> None:
        self._before = before
        self._begin = time.monotonic()
        self._steps: dict[str, tuple[int, int]] = {}  # of each training: the first step seen, and the last

    def saw(self, training: str, step: int) -> None:
        """Note the step that a training is at; of one that was resumed, the first is where it goes on."""
        first, last = self._steps.get(training, (step, step))
        self._steps[training] = (first, max(last, step))

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begin

    def seconds(self, updates: float) -> float:
        """Return how long so many updates take; infinite while there is no telling."""
        made = sum(last - first for first, last in self._steps.values())
        rate = made / self.elapsed if made else self._before
        return updates / rate if rate else math.inf

    @property
    def rate(self) -> float:
        """Updates a second; 0 while there is no telling."""
        return 1 / self.seconds(1)


def time_left(seconds: float) -> str:
    """Return `about 5 min left`; nothing where nothing is left, or there is no telling."""
    return f"about {duration(seconds)} left" if 0 < seconds < math.inf else ""


def duration(seconds: float) -> str:
    """Return a time in a unit that suits it: 75 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
