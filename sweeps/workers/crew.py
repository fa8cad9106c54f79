"""The search's side of a shared study: workers are started elsewhere and followed in the database."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from experiments.cli.overrides import as_text
from experiments.records.folders import RunFolder
from sweeps.spec.plan import Plan
from sweeps.study import attempts, published, storage
from sweeps.workers.child import TRIAL
from sweeps.workers.launchers import CannotLaunch, Launcher, make_launcher
from sweeps.workers.pool import DEATHS, CannotGoOn, Listener
from sweeps.workers.protocol import Task

POLL = 1.0  # seconds between two looks at the study
TIDY = 15.0  # and between two looks for workers that are gone


class Crew:
    """Runs a shared study's trials until its budget is used up; others may work at it too."""

    def __init__(self, plan: Plan, study: Study, folder: RunFolder, listener: Listener, program: Path = TRIAL) -> None:
        self._plan, self._study, self._folder, self._listener = plan, study, folder, listener
        self._program = program  # of a trial
        self._told: dict[int, tuple[TrialState, int]] = {}  # state and last step, by trial's number
        self._published = False
        self._begin = time.monotonic()
        self._seconds = float(study.user_attrs.get(attempts.SECONDS, 0.0))
        assert plan.search.storage is not None
        self._address = plan.search.storage

    def run(self, should_stop: Callable[[], bool]) -> bool:
        """True when the budget is used up, False when stopped before. Raises CannotGoOn."""
        self._tidy()
        trials = self._trials()
        self._told = {t.number: _shown(t) for t in trials if t.state.is_finished()}
        if self._is_over(trials):
            return True
        self._launcher: Launcher = make_launcher(self._plan, self._folder.path / "logs")
        deaths, finished, tidied = 0, -1, time.monotonic()
        started: set[int] = set()
        try:
            while not should_stop():
                trials = self._trials()
                self._tell(trials)
                over = sum(trial.state.is_finished() for trial in trials)
                deaths, finished = (0, over) if over != finished else (deaths, finished)
                if self._is_over(trials):
                    return True
                dead = set(range(self._plan.workers)) - self._launcher.alive()
                if dead and self._may_begin(trials):
                    deaths += bool(dead & started)
                    if deaths > DEATHS:
                        raise CannotGoOn(f"workers end as fast as they are started: {self._launcher.last_words()}")
                    self._launcher.start([self._task(number) for number in sorted(dead)])
                    started |= dead
                self._publish_run()
                if time.monotonic() - tidied > TIDY:
                    self._tidy()
                    self._keep()
                    tidied = time.monotonic()
                self._listener.refresh()
                time.sleep(POLL)
            self._listener.stopping()
            return False
        except CannotLaunch as error:
            raise CannotGoOn(str(error)) from error
        finally:
            self._launcher.stop()
            with contextlib.suppress(StorageInternalError):
                self._tidy()
                self._keep()
                self._tell(self._trials())

    def _task(self, number: int) -> Task:
        arguments = [
            "search.role=worker",
            f"search.study={self._plan.search.study}",
            f"search.storage={self._address}",
            f"search.grace_seconds={self._plan.search.grace_seconds}",
            as_text(f"records.root={self._plan.records.root}"),
        ]
        return Task(arguments, str(self._folder.path), number, str(self._program), shared=True)

    def _trials(self) -> list[FrozenTrial]:
        return storage.patiently(lambda: self._study.get_trials(deepcopy=False))

    def _may_begin(self, trials: list[FrozenTrial]) -> bool:
        return attempts.may_begin(self._plan, trials, self._elapsed())

    def _is_over(self, trials: list[FrozenTrial]) -> bool:
        return not self._may_begin(trials) and all(trial.state.is_finished() for trial in trials)

    def _tidy(self) -> None:
        """Queue what workers left that are gone: the last of them may be."""

        def tidy() -> None:
            with storage.turn(self._address, self._plan.search.study):
                attempts.tidy(self._study, self._plan.search.retries)

        storage.patiently(tidy)

    def _keep(self) -> None:
        self._study.set_user_attr(attempts.SECONDS, self._elapsed())

    def _publish_run(self) -> None:
        """Trials are recorded below the study's run in MLflow, which comes a little later."""
        if not self._published and (stores := published.stores_of(self._folder)):
            self._study.set_user_attr(published.STORES, stores)
            self._published = True

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._begin

    def _tell(self, trials: list[FrozenTrial]) -> None:
        """What changed since the last look, as the events of a pool."""
        for trial in trials:
            known, shown = self._told.get(trial.number), _shown(trial)
            begun = trial.user_attrs.get(attempts.BEGUN) == trial.number
            if shown == known or not begun:
                continue
            event: dict[str, Any] = {"trial": trial.number}
            if known is None:
                event |= {"origin": attempts.origin(trial), "params": attempts.shown_params(self._plan, trial)}
                event["baseline"] = attempts.is_baseline(self._plan, trial)
            if trial.intermediate_values:
                step = max(trial.intermediate_values)
                event |= {"step": step, "score": trial.intermediate_values[step]}
            if trial.state.is_finished():
                event |= {"state": trial.state.name, "reason": _reason(trial)}
            if trial.state == TrialState.COMPLETE:
                event["score"] = trial.value
            self._told[trial.number] = shown
            self._listener.event(event)


def _shown(trial: FrozenTrial) -> tuple[TrialState, int]:
    return trial.state, max(trial.intermediate_values, default=0)


def _reason(trial: FrozenTrial) -> str:
    attributes = trial.user_attrs
    number = trial.number
    silent = f"no sign of life from {attributes.get(attempts.WORKER)}"
    told = (attributes.get(key) for key in (attempts.OUTCOME, f"{attempts.KILLED}{number}", f"{attempts.LEFT}{number}"))
    return str(next(filter(None, told), silent))
