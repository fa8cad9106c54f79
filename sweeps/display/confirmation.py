"""What a person sees of a confirmation: a bar with the time left on a terminal, a line for each training elsewhere."""

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
        trainings: how many there are, with those that an earlier session has finished.
        steps: updates of each.
        rate: updates a second of all trials together during the search, 0 where it is not known.
    """

    def __init__(self, console: Console, trainings: int, steps: int, rate: float) -> None:
        super().__init__(console)
        self._trainings, self._steps_each = trainings, steps
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
            rest = "; ".join(filter(None, [f"{len(self._over)} of up to {self._trainings}", self.time_left()]))
            say_words(self._console, f"         {event.name}: {event.words}" + (f" ({rest})" if event.is_over else ""))
        self.refresh()

    def seconds_left(self) -> float:
        """Return how long the race takes at most, infinite while it is not known."""
        return self._throughput.seconds(self._steps_each * self._trainings - self._updates_made())

    def time_left(self) -> str:
        """Return the time left in words, an empty text while it is not known."""
        return time_left(self.seconds_left())

    def _updates_made(self) -> int:
        running = sum(step for name, step in self._steps.items() if name not in self._over)
        return running + self._steps_each * len(self._over)

    def _live_area(self) -> Table:
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self._steps_each * self._trainings, completed=self._updates_made(), width=12)
        words = f"{len(self._over)} of up to {self._trainings}"
        line.add_row("confirm", bar, "  ".join(filter(None, [words, self.time_left()])))
        return line
