"""The search's side of its workers: starts them, follows the study in its database, replaces workers that die."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from experiments.cli.overrides import as_text
from sweeps.display.events import Event, Stopping, TrialBegan, TrialEnded, TrialProgressed, WorkersReduced
from sweeps.spec.plan import Plan
from sweeps.study import attempts, budget, published, rungs, storage
from sweeps.workers.launchers import CannotLaunch, Launcher, make_launcher
from sweeps.workers.protocol import MAKES_ROOM, NO_TRIAL_COULD_DO_BETTER, CannotGoOn, Task
from sweeps.workers.trial_process import TRIAL

POLL = 0.25  # seconds between two looks at the study
TIDY = 15.0  # seconds between two looks for workers on other hosts that are gone
DEATHS = 5  # deaths of workers in a row, without a finished trial, after which the search ends


class Supervisor:
    """Has a study's trials run until its budget is used up; other hosts may run some of them."""

    def __init__(self, plan: Plan, study: Study, on_event: Callable[[Event], None], program: Path = TRIAL) -> None:
        """Prepare.

        Args:
            plan: of the search.
            study: in its database.
            on_event: is told what happens.
            program: what trials run.
        """
        self._plan, self._study, self._on_event = plan, study, on_event
        self._program = program
        self._seen: dict[int, tuple[TrialState, int]] = {}  # state and last step, by trial's number
        self._stores_published = self._hours_told = False
        self._begin = time.monotonic()
        self._seconds = float(study.user_attrs.get(attempts.SECONDS, 0.0))

    def run(self, should_stop: Callable[[], bool]) -> bool:
        """Run what is left of the budget.

        Returns:
            Whether it is used up; False where it was stopped before.

        Raises:
            CannotGoOn: if all trials would fail for one reason, or workers cannot be started.
        """
        self._requeue_lost()
        trials = self._trials()
        self._seen = {t.number: _state(t) for t in trials if t.state.is_finished()}
        if self._is_over(trials) and self._is_over(self._requeued_trials()):
            return True
        launcher = make_launcher(self._plan, self._plan.folder.path / "logs")
        try:
            return self._follow(launcher, should_stop)
        except CannotLaunch as error:
            raise CannotGoOn(str(error)) from error
        finally:
            launcher.stop()
            with contextlib.suppress(StorageInternalError):
                self._requeue_lost()
                self._keep_seconds()
                self._tell(self._trials())

    def _follow(self, launcher: Launcher, should_stop: Callable[[], bool]) -> bool:
        deaths, finished, looked, words = 0, -1, time.monotonic(), ""
        places = set(range(self._plan.workers))
        started: set[int] = set()
        while not should_stop():
            trials = self._trials()
            self._tell(trials)
            over = sum(trial.state.is_finished() for trial in trials)
            deaths, finished = (0, over) if over != finished else (deaths, finished)
            dead = places - launcher.alive()
            for number in dead & started:
                code, words = launcher.exit(number)
                if code == NO_TRIAL_COULD_DO_BETTER:
                    raise CannotGoOn(f"{words}; the same command resumes when that is fixed")
                if code == MAKES_ROOM and len(places) > 1:
                    places.remove(number)
                    self._on_event(WorkersReduced(len(places)))
            if dead & started:
                dead &= places
                self._requeue_lost()
                trials = self._trials()
            if self._is_over(trials):  # unless a worker of a killed search has just left its trial
                trials = self._requeued_trials()
            if self._is_over(trials):
                self._tell(trials)
                return True
            if dead and self._may_begin(trials):
                deaths += bool(dead & started)
                if deaths > DEATHS:
                    logs = self._plan.folder.path / "logs"
                    raise CannotGoOn(f"workers end as fast as they are started: {words} (their logs are in {logs})")
                launcher.start([self._task(number) for number in sorted(dead)])
                started |= dead
            self._publish_stores()
            if time.monotonic() - looked > TIDY:
                self._requeue_lost()
                self._keep_seconds()
                looked = time.monotonic()
            elif not self._hours_told and self._plan.search.hours is not None:
                self._hours_told = self._elapsed() >= 3600 * self._plan.search.hours
                if self._hours_told:  # at once, as workers read there when it is over
                    self._keep_seconds()
            time.sleep(POLL)
        if not self._is_over(self._trials()):
            self._on_event(Stopping())
        return False

    def _task(self, number: int) -> Task:
        search = self._plan.search
        arguments = [f"search.study={search.study}", f"search.grace_seconds={search.grace_seconds}"]
        arguments.append(f"search.workers={self._plan.workers}")  # a worker that sees one GPU would count fewer
        if search.storage is not None:
            arguments += ["search.role=worker", f"search.storage={search.storage}"]
        arguments.append(as_text(f"records.root={self._plan.records.root}"))
        return Task(arguments, number, str(self._program))

    def _trials(self) -> list[FrozenTrial]:
        return storage.patiently(lambda: self._study.get_trials(deepcopy=False))

    def _may_begin(self, trials: list[FrozenTrial]) -> bool:
        return budget.may_begin(self._plan, trials, self._elapsed())

    def _is_over(self, trials: list[FrozenTrial]) -> bool:
        # In this order: the budget takes a look at the history of every trial, four times a second.
        return all(trial.state.is_finished() for trial in trials) and not self._may_begin(trials)

    def _requeue_lost(self) -> None:
        """Queue what workers left that are gone: the last of them may be."""

        def requeue() -> None:
            with storage.turn(self._plan):
                attempts.requeue_lost(self._plan, self._study)

        storage.patiently(requeue)

    def _requeued_trials(self) -> list[FrozenTrial]:
        self._requeue_lost()
        return self._trials()

    def _keep_seconds(self) -> None:
        self._study.set_user_attr(attempts.SECONDS, self._elapsed())

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._begin

    def _publish_stores(self) -> None:
        """Trials are recorded below the study's run in MLflow, which comes a little later."""
        if not self._stores_published and (stores := published.stores_of(self._plan.folder)):
            self._study.set_user_attr(published.STORES, stores)
            self._stores_published = True

    def _tell(self, trials: list[FrozenTrial]) -> None:
        """Tell what changed since the last look."""
        for trial in trials:
            before = self._seen.get(trial.number)
            if before is not None and before[0].is_finished():
                continue
            now = _state(trial)
            if now == before or trial.user_attrs.get(attempts.BEGUN) != trial.number:
                continue
            self._seen[trial.number] = now
            number = trial.number
            if before is None:
                params = attempts.shown_params(self._plan, trial)
                is_baseline = attempts.is_baseline(self._plan, trial)
                promoted_to = rungs.promoted_to(self._plan, trial)
                self._on_event(TrialBegan(number, attempts.origin(trial), params, is_baseline, promoted_to))
            if now[1]:
                scores = trial.intermediate_values
                self._on_event(TrialProgressed(number, now[1], scores[max(scores)] if scores else None))
            if trial.state.is_finished():
                score = trial.value if trial.state == TrialState.COMPLETE else None
                self._on_event(TrialEnded(number, attempts.state_name(trial), _reason(trial), score))


def _state(trial: FrozenTrial) -> tuple[TrialState, int]:
    steps = [*trial.intermediate_values, int(trial.user_attrs.get(attempts.STEP, 0))]
    return trial.state, 0 if attempts.is_repeat(trial) else max(steps)


def _reason(trial: FrozenTrial) -> str:
    """Return why a trial ended, in the words of its worker, its process or its host."""
    marks = (attempts.KILLED, attempts.NO_MEMORY, attempts.LEFT)
    keys = (attempts.OUTCOME, *(f"{mark}{trial.number}" for mark in marks))
    if trial.state == TrialState.COMPLETE and trial.user_attrs.get(attempts.OUTCOME) == "complete":
        return ""
    reasons = [str(trial.user_attrs[key]) for key in keys if key in trial.user_attrs]
    return reasons[0] if reasons else f"no sign of life from {trial.user_attrs.get(attempts.WORKER)}"
