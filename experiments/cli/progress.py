"""What a person sees: live on a terminal; elsewhere one line a stage, and one a minute of a training."""

import contextlib
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.cli.terminal import discard_output
from gan import metric_names

PLAIN_SECONDS = 60.0  # between two plain lines
BAR = 10, 40  # columns of a bar, at least and at most
LABEL = 9  # columns of the label before the words
LOSSES_AND_SCORE = {"D": metric_names.D_LOSS, "G": metric_names.G_LOSS, "FID proxy": metric_names.FID_PROXY}


def say(console: Console, text: str) -> None:
    """Print what may be copied, as paths and commands are: the terminal breaks the lines, and copies them whole."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def say_words(console: Console, text: str) -> None:
    """Print a label of nine columns and words: on a terminal in lines that end between two words."""
    if console.is_terminal:
        text = textwrap.fill(
            text,
            max(console.width, LABEL + 1),
            subsequent_indent=" " * LABEL,
            break_long_words=False,  # a path or a name
            break_on_hyphens=False,
        )
    say(console, text)


def bar_line(title: str, done: float, total: float, words: Text, width: int) -> Table | Text:
    """Return a title and words in one line, with a progress bar between them where it has room.

    Args:
        title: what is done.
        done: the part of `total` that is done.
        total: the whole.
        words: what stands after the bar.
        width: of the line, in columns.
    """
    room = width - cell_len(title) - words.cell_len - 4
    if room < BAR[0]:
        return Text.assemble(title, "  ", words)
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_row(Text(title), ProgressBar(total, done, min(room, BAR[1])), words)
    return line


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return the last part of each key, with the one before it where two would be the same."""
    ends = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(ends.values())
    return {key: end if count[end] == 1 else ".".join(key.split(".")[-2:]) for key, end in ends.items()}


def is_live(console: Console) -> bool:
    """Return whether what was printed can be drawn over, as on a terminal; else lines are printed now and then."""
    return console.is_terminal and not console.is_dumb_terminal


@contextlib.contextmanager
def stage(console: Console, words: str) -> Iterator[None]:
    """Say what is being done while the context is entered: a spinner on a terminal, a line elsewhere."""
    if not is_live(console):
        say(console, f"now      {words}")
        yield
        return
    with console.status(escape(words)):
        yield


@contextlib.contextmanager
def counted(console: Console, words: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress while the context is entered: a bar on a terminal, one line a minute elsewhere.

    The context's value is a function that is called with the number done and the total. A terminal gets the bar after a
    second: nothing is shown of what takes no time.
    """
    begin = last = time.monotonic()
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    bar = Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=True)
    task = bar.add_task(words)

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if not is_live(console) and now - last >= PLAIN_SECONDS:
            last = now
            left = duration((now - begin) * (total - done) / done)
            line = f"now      {words}: {done:,} of {total:,}, {left} left"
            say(console, line)
        elif is_live(console) and now - begin >= 1:
            bar.start()
            bar.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        if bar.live.is_started:
            bar.stop()


class Output(Console):
    """The standard output. Where nobody reads it any more, as after `| head`, work continues in silence."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard_output()


class TrainingDisplay:
    """A `gan.tracker.Tracker` that shows steps, rate, time left, losses and the last score.

    A terminal gets two live lines: how far it is, and how well it goes. As it narrows, the
    first loses its bar, then the time since the start, then the rate.
    """

    def __init__(
        self,
        console: Console,
        steps: int,
        start: int = 0,
        last_values: Mapping[str, float] | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            console: where it is shown.
            steps: of the whole training.
            start: the step that it resumes from.
            last_values: the last losses and score before that, by the names in `gan.metric_names`.
            is_stopping: whether it was told to stop, and saves its state as soon as it can.
        """
        self._console, self._steps = console, steps
        self._values: dict[str, float] = dict(last_values or {})
        self._begin = self._last_line = time.monotonic()
        self._start = self.step = self._printed = start
        self._at_end, self._is_stopping = "scoring", is_stopping
        self._ticks: list[tuple[int, float]] = []  # steps and times of the first tick and the last
        self._live = Live(self, console=console, refresh_per_second=4) if is_live(console) else None

    def __enter__(self) -> "TrainingDisplay":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the last state standing; may be called twice."""
        self._at_end = "trained"
        if self._live is not None:
            self._live.stop()
        elif self.step > self._printed:
            self._print_line()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._values |= values
        if self._live is None and self._printed == self._start:  # an early sign of progress
            self._print_line()

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        pass

    def tick(self, step: int) -> None:
        now, self.step = time.monotonic(), step
        self._ticks[1:] = [(step, now)]
        if self._live is None and now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            self._print_line()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._progress(options.max_width)
        if summary := self._summary():
            yield Text(summary)

    def _progress(self, width: int) -> Table | Text:
        """Return how far it is, in one line; below 60 columns it may become two."""
        doing = "compiling" if not self._ticks else "training" if self.step < self._steps else self._at_end
        if self._is_stopping():
            doing = "stopping"
        left = self._seconds_left()
        rate, elapsed = self._rate(), f"{_clock(time.monotonic() - self._begin)} elapsed"
        parts = {
            f"{self.step}/{self._steps}": "progress.download",
            f"{100 * self.step // self._steps}%": "progress.percentage",
            rate: "progress.data.speed",
            elapsed: "progress.elapsed",
            f"{_clock(left) if left is not None else '-:--:--'} left": "progress.remaining",
        }
        parts.pop("", None)  # before there is a rate
        for gone in ("", elapsed, rate):
            parts.pop(gone, None)
            words = Text("  ").join(Text(text, style) for text, style in parts.items())
            if len(doing) + 2 + words.cell_len <= width:
                break
        return bar_line(doing, self.step, self._steps, words, width)

    def _print_line(self) -> None:
        self._printed = self.step
        left = self._seconds_left()
        words = f"{duration(left)} left" if left else ""
        say(
            self._console,
            "  ".join(filter(None, [f"step {self.step}/{self._steps}", self._rate(), words, self._summary()])),
        )

    def _seconds_left(self) -> float | None:
        """Return the time left at the throughput of this session, scores and all else included; None before it has one."""
        if self.step >= self._steps:
            return 0.0
        if len(self._ticks) < 2:
            return None
        (first, begin), (last, now) = self._ticks
        return (self._steps - last) * (now - begin) / (last - first)

    def _rate(self) -> str:
        rate = self._values.get(metric_names.STEPS_PER_SECOND)
        return f"{rate:.1f} steps/s" if rate is not None else ""

    def _summary(self) -> str:
        return "  ".join(
            f"{label} {self._values[key]:.4g}" for label, key in LOSSES_AND_SCORE.items() if key in self._values
        )


def duration(seconds: float) -> str:
    """Return a time in a unit that suits it: 75 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
