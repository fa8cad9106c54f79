"""What a person sees: live on a terminal; elsewhere one line a stage, and one a minute of a training."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gan import metrics

PLAIN_SECONDS = 60.0  # between two plain lines
WIDE = 90  # columns of a terminal that has room for a bar


def brief(value: Any) -> str:
    """For a table: four digits; nothing for what is absent."""
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def stage(console: Console, words: str) -> Iterator[None]:
    """Say what goes on meanwhile: a spinner on a terminal, a line elsewhere."""
    if not console.is_terminal:
        console.print(f"now      {words}", markup=False, highlight=False, soft_wrap=True)
        yield
        return
    with console.status(escape(words)):
        yield


class Output(Console):
    """The standard output. Where nobody reads it any more, as after `| head`, work goes on in silence."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class TrainingDisplay:
    """A `gan.tracker.Tracker` that shows steps, rate, time left, losses and the last score."""

    def __init__(self, console: Console, steps: int, start: int = 0) -> None:
        self._console, self._steps = console, steps
        self._values: dict[str, float] = {}
        self.scale = ""  # what scores to expect, shown behind the score
        self._last_line = time.monotonic()
        self._start = self.step = self._printed = start
        self._bar: Progress | None = None
        if console.is_terminal:
            wide = [BarColumn(bar_width=None)] if console.width >= WIDE else []
            more = [TextColumn("{task.fields[rate]}"), TimeElapsedColumn()] if console.width >= WIDE else []
            self._bar = Progress(
                TextColumn("{task.description}"),
                *wide,
                MofNCompleteColumn(),
                *more,
                TextColumn("left"),
                TimeRemainingColumn(compact=not more),
                TextColumn("{task.fields[values]}"),
                console=console,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task("compiling", total=steps, completed=start, rate="", values="")

    def __enter__(self) -> "TrainingDisplay":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the last state standing; may be called twice."""
        if self._bar is not None:
            self._bar.stop()
        elif self.step > self._printed:
            self._print_line()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._values |= values
        if self._bar is None and self._printed == self._start:  # an early sign that all is well
            self._print_line()

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        pass

    def tick(self, step: int) -> None:
        now, self.step = time.monotonic(), step
        if self._bar is not None:
            doing = "training" if step < self._steps else "scoring"
            self._bar.update(self._task, description=doing, completed=step, rate=self._rate(), values=self._summary())
        elif now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            self._print_line()

    def _print_line(self) -> None:
        self._printed = self.step
        parts = [f"step {self.step}/{self._steps}", self._rate(), self._time_left(), self._summary()]
        self._console.print("  ".join(filter(None, parts)), markup=False, highlight=False, soft_wrap=True)

    def _time_left(self) -> str:
        rate = self._values.get(metrics.STEPS_PER_SECOND)
        if rate is None or self.step == self._steps:
            return ""
        left = (self._steps - self.step) / rate
        return f"{left / 60:.0f} min left" if left > 90 else f"{left:.0f} s left"

    def _rate(self) -> str:
        rate = self._values.get(metrics.STEPS_PER_SECOND)
        return f"{rate:.1f} steps/s" if rate is not None else ""

    def _summary(self) -> str:
        shown = {"D": metrics.D_LOSS, "G": metrics.G_LOSS, "FID proxy": metrics.FID_PROXY}
        parts = [f"{label} {self._values[key]:.4g}" for label, key in shown.items() if key in self._values]
        return "  ".join(parts) + (f" {self.scale}" if metrics.FID_PROXY in self._values and self.scale else "")
