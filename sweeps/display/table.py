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
from sweeps.spec.space import Value, hydra_text

ROWS = 12  # beside the trials that are going on
OVER = ("COMPLETE", "PRUNED", "FAIL")
STYLES = {
    "WAITING": "cyan",
    "RUNNING": "cyan",
    "COMPLETE": "green",
    "PRUNED": "yellow",
    "FAIL": "red",
    "STOPPED": "yellow",
}
ALWAYS = 4  # settings, the tutorial's, that stay when steps are gone
GAP = 2  # columns between two
REASONS = 3  # of failed trials below the table, where there is no room for notes


@dataclass
class Row:
    """One trial, or its attempts so far."""

    origin: int
    params: Mapping[str, Value]
    preset: str = ""  # whose settings they are, if they are the baseline
    state: str = "RUNNING"
    step: int = 0
    score: float | None = None  # objective, or as it would be if the trial ended here
    reason: str = ""

    @property
    def note(self) -> str:
        """Why it ended, in its first words; what is left out is in the report."""
        reason = re.split(r"[;.] ", self.reason)[0] if self.state in ("PRUNED", "FAIL") else ""
        return ", ".join(filter(None, [self.preset, reason]))


@dataclass(frozen=True)
class Progress:
    """How far a search is."""

    title: str
    done: int
    budget: int
    words: str


@dataclass
class _Column:
    title: str
    cells: dict[int, str]  # by a trial's origin
    justify: Literal["left", "right"] = "right"
    style: Callable[[Row], str] = lambda row: ""

    @property
    def width(self) -> int:
        return max(cell_len(line) for text in (self.title, *self.cells.values()) for line in text.split("\n"))


@dataclass(frozen=True)
class TrialsTable:
    """Trials, the best of them always, and how far the search is.

    As the terminal narrows, first the notes go, then settings from the last on down to four,
    then the steps, then the other settings. Trial, score and state are always there.

    Args:
        keys: the settings that are searched.
        rows: all trials that have begun.
        best: of them.
        progress: what stands in the last line.
        all_rows: whether they may be more than the terminal has lines.
    """

    keys: Sequence[str]
    rows: Sequence[Row]
    best: Row | None
    progress: Progress
    all_rows: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        heads = {key: re.sub(r"[._]", "\n", name) for key, name in short_names(self.keys).items()}
        lines = 1 + max((head.count("\n") for head in heads.values()), default=0)
        rows = self._chosen(math.inf if self.all_rows else console.height - lines - REASONS - 3)
        columns = {"step": _Column("step", {row.origin: str(row.step) for row in rows})}
        for key, head in heads.items():
            cells = {row.origin: three_digits(row.params[key]) for row in rows if key in row.params}
            columns[key] = _Column(head, cells)
        columns |= self._fixed(rows)
        shown, with_notes = self._fitting(columns, rows, width)

        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for key in shown:
            table.add_column(columns[key].title, justify=columns[key].justify, no_wrap=True, vertical="bottom")
        if with_notes:
            table.add_column()
        for row in rows:
            texts = [Text(columns[key].cells.get(row.origin, ""), columns[key].style(row)) for key in shown]
            notes = [Text(row.note)] if with_notes else []
            table.add_row(*texts, *notes, style="bold" if row is self.best else "")
        yield table
        if not with_notes:
            yield from (Text(words) for words in self._reasons(rows))
        if left_out := [key for key in self.keys if key not in shown]:
            yield Text(f"{len(left_out)} of {len(self.keys)} settings have no room here; MLflow has all", "dim")
        p = self.progress
        yield bar_line(p.title, p.done, p.budget, Text(p.words), width)

    def _chosen(self, most: float) -> list[Row]:
        """The best trial, those that are going on, and the latest others, as far as there are lines."""
        best = [self.best] if self.best is not None else []
        going_on = [row for row in self.rows if row.state not in OVER]
        over = sorted((row for row in self.rows if row.state in OVER), key=lambda row: -row.origin)
        latest = [row for row in over if row not in best][: ROWS - len(best)]
        chosen = [*best, *going_on, *latest][: int(min(max(most, 1), len(self.rows)))]
        return sorted(chosen, key=lambda row: (row.state not in OVER, row.origin))

    def _fixed(self, rows: Sequence[Row]) -> dict[str, _Column]:
        scores = {row.origin: three_digits(row.score) for row in rows if row.score is not None}
        states = {row.origin: "best" if row is self.best else row.state.lower() for row in rows}
        return {
            "trial": _Column("trial", {row.origin: str(row.origin) for row in rows}),
            "score": _Column("score", scores),
            "state": _Column("state", states, "left", lambda row: STYLES.get(row.state, "")),
        }

    def _fitting(self, columns: Mapping[str, _Column], rows: Sequence[Row], width: int) -> tuple[list[str], bool]:
        """The columns that there is room for, and whether there is for notes, by the order in which they go."""
        shown = ["trial", "score", "state", "step", *self.keys]

        def room() -> int:
            return width - sum(columns[key].width + GAP for key in shown) + GAP

        with_notes = room() >= GAP + max((cell_len(row.note) for row in rows), default=0)
        for key in (*reversed(self.keys[ALWAYS:]), "step", *reversed(self.keys[:ALWAYS])):
            if room() >= 0:
                break
            shown.remove(key)
        return shown, with_notes

    def _reasons(self, rows: Sequence[Row]) -> list[str]:
        """Why the latest trials failed."""
        failed = [row for row in rows if row.state == "FAIL"][-REASONS:]
        return [f"trial {row.origin} failed: {row.note}" for row in failed]


def best_of(rows: Sequence[Row]) -> Row | None:
    """The one with the lowest score of those that came to their end."""
    complete = [row for row in rows if row.state == "COMPLETE" and row.score is not None]
    return min(complete, key=lambda row: (row.score, row.origin), default=None)


def three_digits(value: Value) -> str:
    """For a table on a terminal: 2.13e-4, 0.817, 20.3, 1042."""
    if not isinstance(value, float):
        return hydra_text(value).replace("/", "/\n")  # 0.78/0.82, of layers
    if 100 <= abs(value) < 1e6:
        return f"{value:.0f}"
    if 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.3g}"
