"""What a person sees of a search: a live table on a terminal, a line for each trial elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.errors import first_line
from experiments.progress import brief
from sweeps import study as studies
from sweeps.plan import Plan
from sweeps.space import Value, short_names
from sweeps.time_left import Throughput, time_left

ROWS = 12  # of the table, beside the trials that are going on
OVER = ("COMPLETE", "PRUNED", "FAIL")
STYLES = {
    "RUNNING": "cyan",
    "COMPLETE": "green",
    "PRUNED": "yellow",
    "FAIL": "red",
    "STOPPED": "yellow",
}


@dataclass
class Row:
    """One trial, or its attempts so far."""

    origin: int
    params: Mapping[str, Value]
    state: str = "RUNNING"
    step: int = 0
    score: float | None = None  # objective, or as it would be if the trial ended here
    reason: str = ""
    is_baseline: bool = False


def short(params: Mapping[str, Value]) -> str:
    """Settings in a few words: the last part of each key and four digits."""
    return "  ".join(f"{name} {brief(params[key])}" for key, name in short_names(params).items())


class SearchDisplay:
    """Follows the events of a `sweeps.pool.Pool`."""

    def __init__(self, console: Console, plan: Plan, trials: Sequence[FrozenTrial], searched: float = 0.0) -> None:
        """searched: seconds before, in all sessions together."""
        self._console, self._plan, self._searched = console, plan, searched
        self._rows: dict[int, Row] = {}  # by origin
        self._origins: dict[int, int] = {}  # of trial numbers
        self.throughput = Throughput()
        for trial in studies.counted(trials):
            if trial.state != TrialState.WAITING:
                self._add(trial)
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> "SearchDisplay":
        if self._live is not None:
            self._live.start()
            self.refresh()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._console.print(self._table())

    def event(self, event: Mapping[str, Any]) -> None:
        number = event["trial"]
        if "params" in event:
            self._origins[number] = event["origin"]
            row = Row(event["origin"], event["params"], is_baseline=event.get("baseline", False))
            self._rows[event["origin"]] = row
            self._line(event["origin"], "begins: " + short(event["params"]))
        row = self._rows[self._origins[number]]
        row.step = event.get("step") or row.step
        if "step" in event and event["step"] is not None:
            self.throughput.saw(str(number), event["step"])
        row.score = event.get("score", row.score)
        if "state" in event:
            row.state, row.reason = event["state"], first_line(Exception(event.get("reason", "")))
            self._line(row.origin, _ending(row))
        self.refresh()

    def stopping(self) -> None:
        for row in self._rows.values():
            if row.state == "RUNNING":
                row.state = "STOPPED"
        words = "stopping: trials save their state"
        if self._live is None:
            self._console.print(words, markup=False, highlight=False, soft_wrap=True)
        else:
            self._live.console.print(words)
        self.refresh()

    def refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._table())

    def _add(self, trial: FrozenTrial) -> None:
        number = studies.origin(trial)
        self._origins[trial.number] = number
        steps = trial.intermediate_values
        last = steps[max(steps)] if steps else None
        score = trial.value if trial.state == TrialState.COMPLETE else last
        reason = str(trial.user_attrs.get(studies.OUTCOME, ""))
        is_baseline = studies.is_baseline(self._plan, trial)
        params = studies.shown_params(self._plan, trial)
        self._rows[number] = Row(
            number, params, trial.state.name, max(steps, default=0), score, reason, is_baseline=is_baseline
        )

    def _line(self, origin: int, text: str) -> None:
        if self._live is None:
            self._console.print(f"trial {origin:4d}  {text}", markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Group:
        over = [row for row in self._rows.values() if row.state in OVER]
        running = [row for row in self._rows.values() if row.state in ("RUNNING", "STOPPED")]
        best = min((row for row in over if row.state == "COMPLETE"), key=lambda row: row.score or 0.0, default=None)
        latest = sorted(over, key=lambda row: row.origin)[-ROWS:]
        if best is not None and best not in latest:
            latest = [best, *latest[1:]]
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("trial", justify="right")
        table.add_column("state")
        for name in short_names(dimension.key for dimension in self._plan.space).values():
            table.add_column(name, justify="right")
        table.add_column("step", justify="right")
        table.add_column("score", justify="right")
        table.add_column("", overflow="ellipsis", no_wrap=True)
        for row in [*latest, *running]:
            mark = "best" if row is best else (self._plan.baseline_words if row.is_baseline else "")
            score = "" if row.score is None else f"{row.score:.4g}"
            values = [brief(row.params[d.key]) if d.key in row.params else "" for d in self._plan.space]
            words = ", ".join(filter(None, [mark, row.reason if row.state != "COMPLETE" else ""]))
            state = Text(row.state.lower(), STYLES.get(row.state, ""))
            table.add_row(
                str(row.origin), state, *values, str(row.step), score, words, style="bold" if row is best else ""
            )
        return Group(table, self._summary(len(over), best))

    def _summary(self, over: int, best: Row | None) -> Table:
        budget = self._plan.budget
        words = f"{over} of {budget} trials"
        if best is not None and best.score is not None:
            words += f"  best {best.score:.4g} (trial {best.origin})"
        if left := time_left(self._seconds_left()):
            words += f"  {left}"
        line = Table.grid(padding=(0, 1))
        line.add_row(f"study {self._plan.search.study}", ProgressBar(total=budget, completed=over, width=20), words)
        return line

    def _seconds_left(self) -> float:
        """Of trials that are going on or to come, and of the confirmation."""
        search, confirm = self._plan.search, self._plan.search.confirm
        running = sum(search.steps - row.step for row in self._rows.values() if row.state in ("RUNNING", "STOPPED"))
        over = [row.step for row in self._rows.values() if row.state in ("COMPLETE", "PRUNED") and row.step]
        waiting = max(self._plan.budget - len(self._rows), 0) * (sum(over) / len(over) if over else search.steps)
        seconds = self.throughput.seconds(waiting)
        if search.hours is not None:  # after which none is begun
            seconds = min(seconds, max(search.hours * 3600 - self._searched - self.throughput.elapsed, 0.0))
        confirmed = confirm.seeds * (1 + confirm.top) * search.steps
        return seconds + self.throughput.seconds(running + confirmed)


def _ending(row: Row) -> str:
    if row.state == "COMPLETE":
        return f"score {row.score:.4g}" if row.score is not None else "complete"
    word = {"PRUNED": "pruned", "FAIL": "failed"}[row.state]
    return f"{word}: {row.reason}"
