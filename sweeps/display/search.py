"""What a person sees of a search: a live table on a terminal, a line for each trial elsewhere."""

from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from experiments.cli.progress import duration, say
from gan.errors import first_line
from sweeps.display.events import Event, Stopping, TrialBegan, TrialEnded, TrialProgressed, WorkersReduced
from sweeps.display.live import LiveDisplay
from sweeps.display.table import Progress, Row, TrialsTable, best_of, three_digits
from sweeps.display.time_left import ThroughputMeter, time_left
from sweeps.spec.plan import Plan
from sweeps.spec.space import Value, name_values
from sweeps.study import attempts, rungs
from sweeps.study.states import OVER, State


def format_params(params: Mapping[str, Value]) -> str:
    """Return parameters in one line."""
    return "  ".join(name_values(params))


class SearchDisplay(LiveDisplay):
    """Shows the events of a search's workers: one row for each suggestion, however many attempts it took.

    Args:
        console: where to print.
        plan: of the search.
        trials: all that the study has at the start of this session.
        searched: seconds that earlier sessions have searched.
    """

    def __init__(self, console: Console, plan: Plan, trials: Sequence[FrozenTrial], searched: float = 0.0) -> None:
        super().__init__(console)
        self._plan, self._searched = plan, searched
        self._rows: dict[int, Row] = {}  # by the number of the suggestion, its origin
        self._origins: dict[int, int] = {}  # by the number of the trial
        self.throughput = ThroughputMeter()
        for trial in attempts.counted(trials):
            if trial.state != TrialState.WAITING or trial.params:  # else no worker has begun it
                self._add_row(trial)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._live is not None:
            self._console.print(self._table(all_rows=True))

    def event(self, event: Event) -> None:
        """Show what happened: to a trial, to the number of workers, or that the search stops."""
        if isinstance(event, WorkersReduced):
            say(self._console, f"workers  {event.workers} from now on: there is not enough memory for more")
            return
        if isinstance(event, Stopping):
            self._stopping()
            return
        if isinstance(event, TrialBegan):
            self._begin(event)
        row = self._rows[self._origins[event.number]]
        if isinstance(event, TrialProgressed):
            row.step = event.step
            self.throughput.record(str(event.number), event.step)
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
        self._rows[event.origin] = Row(
            event.origin, event.params, preset, step=before.step, score=before.score,
            promoted_to=event.promoted_to or before.promoted_to,
        )  # fmt: skip
        goes_on = f"promoted: trains on to {event.promoted_to:,} updates" if event.promoted_to else ""
        if before.state == State.STOPPED:
            goes_on = "resumes where it was stopped"
        self._line(event.origin, goes_on or "begins: " + format_params(event.params))

    def _stopping(self) -> None:
        for row in self._rows.values():
            if row.state == State.RUNNING:
                row.state = State.STOPPED
        say(self._console, "stopping: trials save their state")
        self.refresh()

    def _live_area(self) -> TrialsTable:
        return self._table()

    def _add_row(self, trial: FrozenTrial) -> None:
        """Add the row of a suggestion."""
        # A repeat took no updates.
        step = 0 if attempts.is_repeat(trial) else max(trial.intermediate_values, default=0)
        origin = attempts.origin(trial)
        self._origins[trial.number] = origin
        self._rows[origin] = Row(
            origin,
            params=attempts.shown_params(self._plan, trial),
            preset=self._plan.preset if attempts.is_baseline(self._plan, trial) else "",
            state=attempts.state_name(trial),
            step=step,
            score=trial.value if trial.state == TrialState.COMPLETE else trial.intermediate_values.get(step),
            reason=str(trial.user_attrs.get(attempts.OUTCOME, "")),
            promoted_to=rungs.promoted_to(self._plan, trial),
        )

    def _line(self, origin: int, text: str) -> None:
        """Print a line about a trial where there is no table."""
        if self._live is None:
            say(self._console, f"trial {origin:4d}  {text}")

    def _table(self, all_rows: bool = False) -> TrialsTable:
        """Return the table, for the live area or, with all rows, for the end of the search."""
        rows = list(self._rows.values())
        finished = sum(row.state in OVER for row in rows)
        best = best_of(rows)
        search = self._plan.search
        done: float = finished
        budget: float = self._plan.budget
        words = [f"{finished} of {budget} trials"]
        if search.updates is not None:
            done, budget = sum(row.step for row in rows), search.updates
            words = [f"{done:,} of {budget:,} updates"]
        elif search.hours is not None and self._plan.is_limited_by_hours_alone:
            done, budget = self._searched + self.throughput.elapsed, 3600 * search.hours
            words = [f"{finished} trials", f"{duration(done)} of {search.hours:g} h"]
        if best is not None and best.score is not None:
            words.append(f"best {three_digits(best.score)} (trial {best.origin})")
        if not all_rows:  # the table of all rows stays on the terminal, where a time left would be wrong soon
            words.append(time_left(self.seconds_left()))
        title = f"study {self._plan.search.study}"
        progress = Progress(title, done, budget, "  ".join(filter(None, words)))
        keys = [dimension.key for dimension in self._plan.space]
        return TrialsTable(keys, rows, best, progress, all_rows, self._plan.rungs)

    def _target(self, row: Row) -> int:
        """Return the step that a trial trains to."""
        return self._plan.rungs[-1] if row.preset else row.promoted_to or self._plan.rungs[0]

    def seconds_left(self) -> float:
        """Estimate seconds for the trials that run or are still to start, and for the confirmation.

        A race that may end early counts half: benchmarks/race.py.
        """
        search = self._plan.search
        if len(self._plan.rungs) > 1 or search.updates is not None:
            made = sum(row.step for row in self._rows.values())
            running_updates = sum(self._target(row) - row.step for row in self._rows.values() if row.state not in OVER)
            to_start = max(rungs.expected_updates(self._plan) - made - running_updates, 0)
        else:
            running_updates = sum(search.steps - row.step for row in self._rows.values() if row.state not in OVER)
            lengths = [
                row.step for row in self._rows.values() if row.state in (State.COMPLETE, State.PRUNED) and row.step
            ]
            mean_length = sum(lengths) / len(lengths) if lengths else search.steps
            to_start = round(max(self._plan.budget - len(self._rows), 0) * mean_length)
        seconds_to_start = self.throughput.seconds(to_start)
        if search.hours is not None:  # after which no trial starts
            hours_left_in_seconds = search.hours * 3600 - self._searched - self.throughput.elapsed
            seconds_to_start = min(seconds_to_start, max(hours_left_in_seconds, 0.0))
        confirm_updates = rungs.race_updates(self._plan) * (0.5 if self._plan.may_confirm_early else 1)
        return seconds_to_start + self.throughput.seconds(running_updates + confirm_updates)


def _ending(row: Row) -> str:
    """Return how a trial ended."""
    if row.state == State.COMPLETE:
        return f"score {row.score:.4g}" if row.score is not None else "complete"
    if row.state == State.PAUSED:
        return f"{row.reason}: score {row.score:.4g}" if row.score is not None else row.reason
    if row.state == State.STOPPED:
        return f"stopped at step {row.step:,}" + (f": {row.reason}" if row.reason not in ("", "interrupted") else "")
    return f"{State(row.state).word}: {row.reason}"
