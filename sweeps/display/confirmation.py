"""What a person sees of a confirmation: a bar with the time left on a terminal, a line for each training elsewhere."""

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from experiments.cli.progress import say_words
from sweeps.display.events import TrainingChanged
from sweeps.display.time_left import Throughput, time_left


class ConfirmDisplay:
    """Follows the events of `sweeps.analysis.confirm.confirm`.

    Args:
        console: where to print.
        trainings: how many there are, those that were done before included.
        steps: updates of each.
        rate: updates a second of the trials before; 0 where it is not known.
    """

    def __init__(self, console: Console, trainings: int, steps: int, rate: float) -> None:
        self._console, self._trainings, self._length = console, trainings, steps
        self._throughput = Throughput(rate)
        self._steps: dict[str, int] = {}  # of those that are going on or over
        self._over: set[str] = set()
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> "ConfirmDisplay":
        if self._live is not None:
            self._live.start()
            self.refresh()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def event(self, event: TrainingChanged) -> None:
        if event.step is not None:
            self._steps[event.name] = event.step
            self._throughput.saw(event.name, event.step)
        if event.is_over:
            self._over.add(event.name)
        if event.words:
            rest = "; ".join(filter(None, [f"{len(self._over)} of {self._trainings}", self.time_left()]))
            self._say(f"         {event.name}: {event.words}" + (f" ({rest})" if event.is_over else ""))
        self.refresh()

    def time_left(self) -> str:
        """Words for it; nothing while there is no telling."""
        return time_left(self._throughput.seconds(self._length * self._trainings - self._made()))

    def refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._line())

    def _made(self) -> int:
        return sum(
            self._length if name in self._over else self._steps[name] for name in self._steps.keys() | self._over
        )

    def _say(self, text: str) -> None:
        say_words(self._console if self._live is None else self._live.console, text)

    def _line(self) -> Table:
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self._length * self._trainings, completed=self._made(), width=12)
        words = f"{len(self._over)} of {self._trainings} trainings"
        line.add_row("confirm", bar, "  ".join(filter(None, [words, self.time_left()])))
        return line
