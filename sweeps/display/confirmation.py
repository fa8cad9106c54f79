"""What a person sees of a confirmation: a bar with the time left on a terminal, a line for each training elsewhere."""

from collections.abc import Callable

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

from experiments.cli.progress import say_words
from sweeps.display.events import TrainingChanged
from sweeps.display.live import LiveDisplay
from sweeps.display.time_left import ThroughputMeter, time_left


class ConfirmDisplay(LiveDisplay):
    """Shows the events of `sweeps.analysis.confirm.confirm`.

    Args:
        console: where to print.
        most_trainings: returns how many there are at most, with those that an earlier session has finished: fewer
            when a candidate has left the race. Told how many train at a time, it counts those that wait, too.
        at_a_time: how many train side by side.
        steps: updates of each.
        rate: updates a second of all trials together during the search, 0 where it is not known.
    """

    def __init__(
        self, console: Console, most_trainings: Callable[..., int], at_a_time: int, steps: int, rate: float
    ) -> None:
        super().__init__(console)
        self._most_trainings, self._at_a_time, self._steps_each = most_trainings, at_a_time, steps
        self._throughput = ThroughputMeter(rate)
        self._steps: dict[str, int] = {}  # that each training has reached, by its name
        self._over: set[str] = set()  # names of trainings that have ended

    def event(self, event: TrainingChanged) -> None:
        """Show what happened to a training: a step, words for the user, or its end."""
        if event.step is not None:
            self._steps[event.name] = event.step
            self._throughput.record(event.name, event.step)
        if event.is_over:
            self._over.add(event.name)
        if event.words:
            rest = "; ".join(filter(None, [self._count(), self.time_left()]))
            say_words(self._console, f"         {event.name}: {event.words}" + (f" ({rest})" if event.is_over else ""))
        self.refresh()

    def seconds_left(self) -> float:
        """Return how long the race takes at most, infinite while it is not known."""
        most_updates = self._steps_each * self._most_trainings(at_a_time=self._at_a_time)
        return self._throughput.seconds(most_updates - self._updates_made())

    def time_left(self) -> str:
        """Return the time left in words, an empty text while it is not known."""
        return time_left(self.seconds_left(), at_most=True)

    def _count(self) -> str:
        return f"{len(self._over)} of up to {self._most_trainings()}"

    def _updates_made(self) -> int:
        running = sum(step for name, step in self._steps.items() if name not in self._over)
        return running + self._steps_each * len(self._over)

    def _live_area(self) -> Table:
        line = Table.grid(padding=(0, 1))
        total = self._steps_each * self._most_trainings()
        bar = ProgressBar(total=total, completed=self._updates_made(), width=12)
        line.add_row("confirm", bar, "  ".join(filter(None, [self._count(), self.time_left()])))
        return line
