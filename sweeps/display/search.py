"""What a person sees of a search: a live table on a terminal, a line for each trial elsewhere."""

from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.live import Live

from experiments.cli.progress import say, short_names
from gan.errors import first_line
from sweeps.display.events import Event, TrialBegan, TrialEnded, TrialProgressed
from sweeps.display.table import OVER, Progress, Row, TrialsTable, best_of, three_digits
from sweeps.display.time_left import Throughput, time_left
from sweeps.spec.plan import Plan
from sweeps.spec.space import Value, table_text
from sweeps.study import attempts


def short(params: Mapping[str, Value]) -> str:
    """Settings in a few words: the last part of each key and four digits."""
    return "  ".join(f"{name} {table_text(params[key])}" for key, name in short_names(params).items())


class SearchDisplay:
    """A `Listener` that draws what it hears of."""

    def __init__(self, console: Console, plan: Plan, trials: Sequence[FrozenTrial], searched: float = 0.0) -> None:
        """searched: seconds before, in all sessions together."""
        self._console, self._plan, self._searched = console, plan, searched
        self._rows: dict[int, Row] = {}  # by origin
        self._origins: dict[int, int] = {}  # of trial numbers
        self.throughput = Throughput()
        gone = attempts.superseded(trials)
        for trial, history in zip(trials, attempts.histories(trials), strict=True):
            if trial.number not in gone and (history or trial.state != TrialState.WAITING):
                self._add([*(trials[number] for number in history), trial])
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> "SearchDisplay":
        if self._live is not None:
            self._live.start()
            self.refresh()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._console.print(self._table(all_rows=True))

    def event(self, event: Event) -> None:
        if isinstance(event, TrialBegan):
            self._begin(event)
        row = self._rows[self._origins[event.number]]
        if isinstance(event, TrialProgressed):
            row.step = event.step
            self.throughput.saw(str(event.number), event.step)
        if isinstance(event, TrialProgressed | TrialEnded) and event.score is not None:
            row.score = event.score
        if isinstance(event, TrialEnded):
            row.state, row.reason = event.state, first_line(Exception(event.reason))
            self._line(row.origin, _ending(row))
        self.refresh()

    def _begin(self, event: TrialBegan) -> None:
        self._origins[event.number] = event.origin
        before = self._rows.get(event.origin, Row(event.origin, {}))  # of an attempt before this one
        preset = self._plan.preset if event.is_baseline else ""
        self._rows[event.origin] = Row(event.origin, event.params, preset, step=before.step, score=before.score)
        self._line(event.origin, "begins: " + short(event.params))

    def stopping(self) -> None:
        for row in self._rows.values():
            if row.state == "RUNNING":
                row.state = "STOPPED"
        words = "stopping: trials save their state"
        if self._live is None:
            say(self._console, words)
        else:
            self._live.console.print(words)
        self.refresh()

    def refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._table())

    def _add(self, of_suggestion: Sequence[FrozenTrial]) -> None:
        """One suggestion: its last attempt, with what is known of those before."""
        trial = of_suggestion[-1]
        number = self._origins[trial.number] = attempts.origin(trial)
        begun = next((each for each in reversed(of_suggestion) if each.params), trial)
        params = attempts.shown_params(self._plan, begun)
        scores = next((t.intermediate_values for t in reversed(of_suggestion) if t.intermediate_values), {0: None})
        score = trial.value if trial.state == TrialState.COMPLETE else scores[max(scores)]
        reason = str(trial.user_attrs.get(attempts.OUTCOME, ""))
        preset = self._plan.preset if attempts.is_baseline(self._plan, begun) else ""
        self._rows[number] = Row(number, params, preset, trial.state.name, max(scores), score, reason)

    def _line(self, origin: int, text: str) -> None:
        if self._live is None:
            say(self._console, f"trial {origin:4d}  {text}")

    def _table(self, all_rows: bool = False) -> TrialsTable:
        rows = list(self._rows.values())
        over, best = sum(row.state in OVER for row in rows), best_of(rows)
        words = [f"{over} of {self._plan.budget} trials"]
        if best is not None and best.score is not None:
            words.append(f"best {three_digits(best.score)} (trial {best.origin})")
        if not all_rows:  # the last table stays above what comes next
            words.append(time_left(self._seconds_left()))
        progress = Progress(f"study {self._plan.search.study}", over, self._plan.budget, "  ".join(filter(None, words)))
        return TrialsTable([dimension.key for dimension in self._plan.space], rows, best, progress, all_rows)

    def _seconds_left(self) -> float:
        """Of trials that are going on or to come, and of the confirmation."""
        search, confirm = self._plan.search, self._plan.search.confirm
        running = sum(search.steps - row.step for row in self._rows.values() if row.state not in OVER)
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
