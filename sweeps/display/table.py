"""The table of a search's trials on a terminal of any width and height."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from experiments.cli.progress import bar_line, short_names
from experiments.settings.text import brief
from sweeps.spec.space import Value, hydra_text
from sweeps.study.states import OVER, State

MAX_FINISHED_ROWS = 12  # beside the trials that are running
STYLES: dict[str, str] = {
    State.WAITING: "cyan",
    State.RUNNING: "cyan",
    State.COMPLETE: "green",
    State.PAUSED: "blue",
    State.PRUNED: "yellow",
    State.FAIL: "red",
    State.STOPPED: "yellow",
}
KEPT_SETTINGS = 4  # the tutorial's, which are left out only after the column of steps
GAP = 2  # characters between two columns
MAX_FAILURES = 3  # failed trials that are named below the table where there is no room for notes


@dataclass
class Row:
    """One suggestion, with all attempts at it so far.

    Attributes:
        origin: the number of the suggestion: how many were made before it.
        params: its parameters.
        preset: the preset whose settings they are, if they are the baseline's.
        state: Optuna's name of the state, or PAUSED or STOPPED.
        step: the last step that is known.
        score: the objective, or what it would be if the trial ended now.
        reason: why the trial ended.
        promoted_to: the step that it was promoted to, 0 if it was not.
    """

    origin: int
    params: Mapping[str, Value]
    preset: str = ""
    state: str = State.RUNNING
    step: int = 0
    score: float | None = None
    reason: str = ""
    promoted_to: int = 0

    @property
    def note(self) -> str:
        """The preset, and the first words of the reason. The report has all of it."""
        first_words = re.split(r"[;.] ", self.reason)[0] if self.state in (State.PRUNED, State.FAIL) else ""
        return ", ".join(filter(None, [self.preset, first_words]))


@dataclass(frozen=True)
class Progress:
    """What the last line of the table says: a title, how much of the budget is used, and words."""

    title: str
    done: float
    budget: float
    words: str


@dataclass
class _Column:
    """One column: its title, which may have several lines, and its cells."""

    title: str
    cells: dict[int, str]  # by a trial's origin
    justify: Literal["left", "right"] = "right"
    style: Callable[[Row], str] = lambda row: ""

    @property
    def width(self) -> int:
        return max(cell_len(line) for text in (self.title, *self.cells.values()) for line in text.split("\n"))


@dataclass(frozen=True)
class TrialsTable:
    """A table of trials for a terminal of any width and height, with the progress of the search below.

    As the terminal narrows, columns are left out in this order: the notes; the settings from the last
    one on, down to four; the steps; the other settings. Trial, score and state are always there.
    As it gets lower, finished trials are left out, the oldest first. The best one is always there.

    Args:
        keys: the settings that are searched.
        rows: all trials that have started.
        best: the best of them.
        progress: for the last line.
        all_rows: whether to show all rows, also where the terminal has fewer lines.
        rungs: the lengths of trials that grow, one where they do not.
    """

    keys: Sequence[str]
    rows: Sequence[Row]
    best: Row | None
    progress: Progress
    all_rows: bool = False
    rungs: Sequence[int] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        titles = {key: re.sub(r"[._]", "\n", name) for key, name in short_names(self.keys).items()}
        title_lines = 1 + max((title.count("\n") for title in titles.values()), default=0)
        grows = len(self.rungs) > 1
        rows = self._visible_rows(
            math.inf if self.all_rows else console.height - title_lines - MAX_FAILURES - 3 - grows
        )
        columns = self._columns(titles, rows)
        visible, with_notes = self._visible_columns(columns, rows, width)
        yield self._table([columns[key] for key in visible], rows, with_notes)
        if not with_notes:
            yield from (Text(line) for line in self._failures(rows))
        left_out = [key for key in self.keys if key not in visible]
        if left_out:
            yield Text(f"{len(left_out)} of {len(self.keys)} settings have no room here; MLflow has all", "dim")
        if grows:
            yield Text(self._ladder(width))
        progress = self.progress
        yield bar_line(progress.title, progress.done, progress.budget, Text(progress.words), width)

    def _visible_rows(self, max_rows: float) -> list[Row]:
        """Return the best trial, the running ones, and the latest of the others, as far as there are lines."""
        best = [self.best] if self.best is not None else []
        running = [row for row in self.rows if row.state not in OVER]
        finished = sorted((row for row in self.rows if row.state in OVER), key=lambda row: -row.origin)
        latest = [row for row in finished if row not in best]
        latest = latest if self.all_rows else latest[: MAX_FINISHED_ROWS - len(best)]
        count = int(min(max(max_rows, 1), len(self.rows)))
        visible = [*best, *running, *latest][:count]
        return sorted(visible, key=lambda row: (row.state not in OVER, row.origin))

    def _columns(self, titles: Mapping[str, str], rows: Sequence[Row]) -> dict[str, _Column]:
        """Return all columns but the notes: trial, score, state, step, and one for each key of `titles`."""
        scores = {row.origin: three_digits(row.score) for row in rows if row.score is not None}
        states = {row.origin: "best" if row is self.best else State(row.state).word for row in rows}
        columns = {
            "trial": _Column("trial", {row.origin: str(row.origin) for row in rows}),
            "score": _Column("score", scores),
            "state": _Column("state", states, "left", lambda row: STYLES.get(row.state, "")),
            "step": _Column("step", {row.origin: str(row.step) for row in rows}),
        }
        for key, title in titles.items():
            values = {row.origin: three_digits(row.params[key]) for row in rows if key in row.params}
            columns[key] = _Column(title, values)
        return columns

    def _visible_columns(
        self, columns: Mapping[str, _Column], rows: Sequence[Row], width: int
    ) -> tuple[list[str], bool]:
        """Return the columns that there is room for, and whether there is room for the notes too."""
        visible = ["trial", "score", "state", "step", *self.keys]

        def room() -> int:
            return width - sum(columns[key].width + GAP for key in visible) + GAP

        with_notes = room() >= GAP + max((cell_len(row.note) for row in rows), default=0)
        for key in (*reversed(self.keys[KEPT_SETTINGS:]), "step", *reversed(self.keys[:KEPT_SETTINGS])):
            if room() >= 0:
                break
            visible.remove(key)
        return visible, with_notes

    def _table(self, columns: Sequence[_Column], rows: Sequence[Row], with_notes: bool) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for column in columns:
            table.add_column(column.title, justify=column.justify, no_wrap=True, vertical="bottom")
        if with_notes:
            table.add_column()
        for row in rows:
            cells = [Text(column.cells.get(row.origin, ""), column.style(row)) for column in columns]
            notes = [Text(row.note)] if with_notes else []
            table.add_row(*cells, *notes, style="bold" if row is self.best else "")
        return table

    def _ladder(self, width: int) -> str:
        """Return how many trials came to each length, and how many of them were promoted."""
        counts = [(step, sum(row.step >= step for row in self.rows)) for step in self.rungs]
        promoted = [sum(row.promoted_to > step for row in self.rows) for step in self.rungs]
        parts = [f"{step:,}: {count}" for step, count in counts]
        more = [f"{part}, {up} promoted" if up else part for part, up in zip(parts, promoted, strict=True)]
        line = f"updates  {'; '.join(more)}"
        return line if len(line) <= width else f"updates  {'; '.join(parts)}"

    def _failures(self, rows: Sequence[Row]) -> list[str]:
        """Return why the latest trials failed."""
        failed = [row for row in rows if row.state == State.FAIL][-MAX_FAILURES:]
        return [f"trial {row.origin} failed: {row.note}" for row in failed]


def best_of(rows: Sequence[Row]) -> Row | None:
    """Return the complete trial with the lowest score."""
    complete = [row for row in rows if row.state == State.COMPLETE and row.score is not None]
    return min(complete, key=lambda row: (row.score, row.origin), default=None)


def three_digits(value: Value) -> str:
    """Return a value for a table on a terminal: 2.13e-4, 0.817, 20.3, 1042; those of layers one below the other."""
    return brief(value, 3) if isinstance(value, float) else hydra_text(value).replace("/", "/\n")
