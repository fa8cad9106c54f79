"""One trial of a worker, from its process to its outcome in the study."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import optuna
from optuna.trial import Trial

from experiments.records import journal
from experiments.records.folders import RunFolder
from experiments.records.status import FailureKind, RunStatus
from gan import metric_names
from sweeps.display.events import Event, TrialEnded, TrialProgressed
from sweeps.spec.plan import Plan
from sweeps.spec.space import Value
from sweeps.study import attempts, rungs
from sweeps.study.states import State
from sweeps.workers.early_stopping import EarlyStopping
from sweeps.workers.protocol import Ended, Job, Message, Scalars, Started
from sweeps.workers.resumption import prepare_resumption, record_mlflow_run
from sweeps.workers.trial_process import TrialProcess

STEP_SECONDS = 2.0  # between two writes of how far a trial is


class TrialFailed(Exception):
    """One failed trial, not the end of the search."""


class Context(Protocol):
    """What a trial needs of its worker."""

    plan: Plan
    listener: Callable[[Event], None]

    @property
    def ended(self) -> bool:
        """Whether trials are to save their state and end."""

    def start(self, job: Job, log: Path) -> TrialProcess: ...
    def give_up(self, reason: str) -> None:
        """Begin no more trials, as all would fail for this reason."""

    def make_room(self) -> None:
        """Leave the memory to other workers, where there are any."""

    def count_death(self, origin: int | None, reason: str) -> None:
        """Count a process that died before its first update: where several do, all would."""

    def forget_deaths(self) -> None:
        """Count anew: a training has made an update, or has said how it ended."""


class Objective:
    """What Optuna minimises: a training in a process of its own, pruned by its scores on the way."""

    def __init__(self, worker: Context, trial: Trial, origin: int, params: dict[str, Value]) -> None:
        """Make the job.

        Args:
            worker: whose trial it is.
            trial: the attempt.
            origin: the suggestion that it is an attempt at.
            params: what is trained, by dotted keys.
        """
        self._worker, self._trial, self._origin = worker, trial, origin
        plan = worker.plan
        self._is_baseline = attempts.is_baseline(plan, trial)
        name = attempts.run_name(plan.search.study, origin)
        self._run = RunFolder(plan.records.runs / name)
        target = rungs.target(plan, trial)
        self._pause_at = target if target < plan.search.steps else None
        tags = {"optuna.study_name": plan.search.study, "optuna.trial_number": str(trial.number)}
        self._job = Job(
            overrides=[
                *plan.trial_overrides({} if attempts.BASELINE in trial.user_attrs else params),
                f"train.threads={plan.threads}",
            ],
            config_dir=plan.config_dir,
            study=str(plan.folder.path),
            name=name,
            title=f"trial-{origin:04d}",
            params={"optuna.trial_number": origin},
            tags=tags | prepare_resumption(plan, trial, self._run),
            upload_minutes=plan.search.checkpoint_upload_minutes,
            pause_at=self._pause_at,
        )
        self._scores: dict[int, float] = {}  # by step
        self._last_value: float | None = None  # what a pruner compares
        self._early_stopping = EarlyStopping()
        self._pruned = ""  # why
        self._is_hopeless = False  # what early stopping says, not others' scores
        self._has_started = self._has_trained = False  # in this attempt
        self._step = 0  # how far it is
        self._written = 0.0  # when that was

    def value(self) -> float:
        """Train, and return the objective.

        Raises:
            optuna.TrialPruned: if it is paused at its rung, fell behind, or early stopping ended it.
            TrialFailed: if it failed or was interrupted.
        """
        curves = journal.curves(self._run.journal)  # of an attempt before this one
        for step, score in zip(*curves.get(metric_names.FID_PROXY, ([], [])), strict=True):
            self._report(step, score)
        self._early_stopping.replay(curves)
        process = self._worker.start(self._job, self._worker.plan.folder.path / "logs" / f"{self._job.title}.log")
        ended: Ended | None = None
        try:
            for message in process.messages():
                self._note_life(message)
                if isinstance(message, Ended):
                    ended = message
                elif isinstance(message, Scalars):
                    self._look(process, message)
                else:
                    self._record_step(message.step)
        finally:  # whatever the database said: no training without its worker
            process.interrupt()
        return self._end(process, ended)

    def _note_life(self, message: Message) -> None:
        self._has_started = True
        if not self._has_trained and not isinstance(message, Started):
            self._has_trained = True
            self._worker.forget_deaths()

    def _record_step(self, step: int) -> None:
        self._step = max(step, self._step)
        if time.monotonic() - self._written >= STEP_SECONDS:
            self._written = time.monotonic()
            self._trial.set_user_attr(attempts.STEP, step)

    def _look(self, process: TrialProcess, scalars: Scalars) -> None:
        """Report a score, and prune the trial if it is behind others or hopeless."""
        step, score = scalars.step, scalars.values.get(metric_names.FID_PROXY)
        reason = self._early_stopping.look(step, scalars.values)
        is_hopeless = bool(reason)
        if score is not None and step not in self._scores:  # else reported by an attempt before this one
            value = self._report(step, score)
            self._worker.listener(TrialProgressed(self._trial.number, step, value))
            if not reason and step < self._worker.plan.search.steps and self._trial.should_prune():
                reason = f"behind at step {step}"
        if reason and not self._pruned and not self._is_baseline:  # others are compared with it
            self._pruned, self._is_hopeless = reason, is_hopeless
            process.prune(reason)

    def _report(self, step: int, score: float) -> float:
        """Report what a pruner compares: the objective as it would be if the trial ended here."""
        self._scores[step] = score
        self._last_value = value = metric_names.in_run_score(list(self._scores.values()))
        self._trial.report(value, step)
        record_mlflow_run(self._worker.plan, self._trial, self._run)
        return value

    def _is_paused(self, ended: Ended | None) -> bool:
        if self._pause_at is None or ended is None or ended.status != RunStatus.KILLED:
            return False
        return ended.step >= self._pause_at and self._pause_at in self._scores

    def _end(self, process: TrialProcess, ended: Ended | None) -> float:
        number, trial = self._trial.number, self._trial
        trial.set_user_attr(attempts.STEP, max(self._step, ended.step if ended is not None else 0))  # the budget's
        if ended is not None and ended.status == RunStatus.FINISHED:
            value = attempts.objective_of(self._run)
            trial.set_user_attr(attempts.OUTCOME, attempts.COMPLETE)
            self._worker.listener(TrialEnded(number, State.COMPLETE, score=value))
            return value
        if ended is not None and ended.status == RunStatus.KILLED and self._pruned:
            if self._is_hopeless:
                trial.set_user_attr(attempts.HOPELESS, True)
            trial.set_user_attr(attempts.OUTCOME, self._pruned)
            self._worker.listener(TrialEnded(number, State.PRUNED, self._pruned))
            raise optuna.TrialPruned(self._pruned)
        if self._is_paused(ended):
            reason = f"{attempts.PAUSED}{self._pause_at}"
            trial.set_user_attr(attempts.OUTCOME, reason)
            self._worker.listener(TrialEnded(number, State.PAUSED, reason, self._last_value))
            raise optuna.TrialPruned(reason)
        if ended is not None and ended.status == RunStatus.FAILED and not ended.would_end_all:
            if ended.failure_kind == FailureKind.OUT_OF_MEMORY:  # those beside it may have had the memory
                trial.set_user_attr(f"{attempts.NO_MEMORY}{number}", ended.failure)
                self._worker.make_room()
            else:
                if ended.failure_kind == FailureKind.DIVERGED:  # before the outcome, with which the trial is over
                    trial.set_user_attr(attempts.HOPELESS, True)
                trial.set_user_attr(attempts.OUTCOME, ended.failure)
            self._worker.listener(TrialEnded(number, State.FAIL, ended.failure))
            raise TrialFailed(ended.failure)
        reason = ended.failure if ended is not None and ended.failure else "interrupted"
        state = State.STOPPED
        if ended is None and not self._worker.ended:
            state, reason = State.FAIL, process.ending()
            # Before its training begins, no settings of its own can be at fault.
            trial.set_user_attr(f"{attempts.KILLED if self._has_started else attempts.LEFT}{number}", reason)
            if not self._has_trained:
                self._worker.count_death(self._origin if self._has_started else None, reason)
        else:
            trial.set_user_attr(f"{attempts.LEFT}{number}", reason)
        self._worker.listener(TrialEnded(number, state, reason))
        if ended is not None and ended.status == RunStatus.FAILED:
            self._worker.give_up(reason)
        raise TrialFailed(reason)
