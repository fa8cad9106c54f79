"""How long a search still takes: the updates that are left, at the throughput so far."""

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

    def forget(self, training: str) -> None:
        """Let the next step of a training be its first again; what it made so far stays counted."""
        if training in self._steps:
            first, last = self._steps.pop(training)
            made = self._steps.pop("", (0, 0))[1]
            self._steps[""] = (0, made + last - first)

    @property
    def rate(self) -> float:
        """Updates a second; 0 while nothing is known."""
        made = sum(last - first for first, last in self._steps.values())
        return made / (time.monotonic() - self._begin) if made else self._before

    def words(self, updates: float) -> str:
        """Return `about 5 min left` for so many updates; nothing while there is no telling."""
        if updates <= 0 or not self.rate:
            return ""
        return f"about {duration(updates / self.rate)} left"


def duration(seconds: float) -> str:
    """Return a time in a unit that suits it: 75 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
