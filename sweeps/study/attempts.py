"""Trials, attempts and the budget: which count, which are requeued, who is at them."""

import copy
import os
import socket
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from experiments.records import journal
from experiments.records.folders import RunFolder
from gan import metric_names
from sweeps.spec.plan import Plan
from sweeps.study import attempts, optuna_log
from sweeps.study.optuna_log import experimental

# Attributes of trials.
ORIGIN = "origin"  # which suggestion it is: Optuna's numbers count attempts
OUTCOME = "outcome"  # how it ended; a failed trial without one is to be taken up again
REPEATS = "the settings of trial "  # and its number: an outcome that took no training
BASELINE = "baseline"  # trained with the settings that the search starts from, whatever the space can say of them
KILLED = "killed in trial "  # and its number: how its process died, once for each time; handed on to the next attempt
SECONDS = "seconds"  # of the study: searched so far, all sessions together


def superseded(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of those that a later trial goes on with."""
    return {number for history in histories(trials) for number in history}


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """One trial for each suggestion: of those that were taken up again, the last."""
    gone = superseded(trials)
    return [trial for trial in trials if trial.number not in gone]


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those with a score, best first."""
    complete = [t for t in counted(trials) if t.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda t: (t.value, t.number))


def is_baseline(plan: Plan, trial: FrozenTrial | Trial) -> bool:
    """Whether a trial is trained with the baseline's settings, to the digit."""
    return BASELINE in trial.user_attrs or plan.is_baseline(trial.params)


def shown_params(plan: Plan, trial: FrozenTrial | Trial) -> dict[str, Any]:
    """The parameters of a trial for tables; of the baseline what is in effect, layer by layer."""
    return plan.baseline_shown if BASELINE in trial.user_attrs else trial.params


def origin(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(ORIGIN, trial.number))


def suggestion(trials: Sequence[FrozenTrial], number: int) -> int:
    """Which suggestion a trial is the first attempt at or another, from 0 on.

    Whether a trial is another attempt is known when it is made, so this never changes.
    """
    (own,) = histories([trials[number]])
    return sum(not history for history in histories(trials[: [*own, number][0]]))


def run_of(plan: Plan, trial: FrozenTrial) -> RunFolder:
    """Where all attempts at a trial's settings are recorded."""
    return RunFolder(plan.records.runs / run_name(plan.search.study, origin(trial)))


def run_name(study: str, origin: int) -> str:
    """Of a trial's run; attempts to go on with it share the run."""
    return f"{study}-trial-{origin:04d}"


def histories(trials: Sequence[FrozenTrial]) -> list[list[int]]:
    """Numbers of the attempts before each trial, which it goes on with; none for a first one."""
    with experimental():  # once, and not for each of what may be thousands
        return [RetryHeartbeatStaleTrialCallback.retry_history(trial) for trial in trials]


def fail(study: Study, number: int) -> None:
    """End a trial whose worker is gone."""
    study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def take_up_again(study: Study, numbers: Sequence[int], retries: int, killed: str = "") -> list[int]:
    """Queue failed trials that have no outcome anew, from their checkpoints; the numbers of those out of retries.

    Only a trial whose own process was killed uses up a retry: what it needs may be more than
    there is. Workers and searches are stopped for reasons of their own. killed: how the process
    of these was, where it could not say so itself.
    """
    given_up = []
    trials = study.get_trials(deepcopy=False)
    gone = superseded(trials)
    for number in sorted(set(numbers) - gone):
        trial = trials[number]
        if trial.state != TrialState.FAIL or OUTCOME in trial.user_attrs:
            continue
        if killed:
            trial = copy.deepcopy(trial)
            trial.user_attrs[f"{KILLED}{number}"] = killed
        if sum(attribute.startswith(KILLED) for attribute in trial.user_attrs) > retries:
            given_up.append(number)
            continue
        with experimental():
            RetryHeartbeatStaleTrialCallback()(study, trial)
    return given_up


def may_begin(plan: Plan, trials: Sequence[FrozenTrial], seconds: float) -> bool:
    """Whether a trial is waiting to be taken up again, or there is budget for another.

    seconds: searched so far, all sessions together.
    """
    if any(trial.state == TrialState.WAITING for trial in trials):
        return True
    hours = plan.search.hours
    in_time = hours is None or seconds < hours * 3600
    return in_time and used(plan, trials) < plan.budget


def used(plan: Plan, trials: Sequence[FrozenTrial]) -> int:
    """How many trials of the budget are used; of a grid, how many of its points."""
    every = counted(trials)
    if plan.search.sampler == "grid":
        every = [t for t in every if not str(t.user_attrs.get(OUTCOME, "")).startswith(REPEATS)]
        every = [t for t in every if BASELINE not in t.user_attrs]
    return len(every)


def objective(scores: Sequence[float]) -> float:
    """What a search minimises: the mean of the last three in-run scores."""
    return metric_names.in_run_score(scores)


def scores_of(folder: RunFolder) -> tuple[list[int], list[float]]:
    """Steps and in-run scores that a run's journal holds."""
    return journal.curve(folder.journal, metric_names.FID_PROXY) if folder.journal.exists() else ([], [])


# Attributes of trials.
BEGUN = "begun"  # its own number, once somebody is at it: attributes are handed on to the next attempt
WORKER = "worker"  # host and process that is or was at it
LEFT = "left in trial "  # and its number: its worker saved it and went
MLFLOW_RUN = "mlflow_run"  # that it is recorded in
TAKEN_UP = "taken_up"  # where another attempt went on


def tidy(study: Study, retries: int) -> list[int]:
    """End trials whose workers are gone, and queue them and interrupted ones anew; numbers of those given up.

    The caller has the turn, so nobody is just about to begin one.
    """
    with optuna_log.experimental():
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(BEGUN) != trial.number:  # its worker died before anything was known of it
            attempts.fail(study, trial.number)
    trials = study.get_trials(deepcopy=False)
    gone = attempts.superseded(trials)
    lost = [t for t in trials if t.state == TrialState.FAIL and attempts.OUTCOME not in t.user_attrs]
    return [number for t in lost if t.number not in gone for number in requeue_if_lost(study, t, retries)]


def requeue_if_lost(study: Study, trial: FrozenTrial, retries: int) -> list[int]:
    known = {f"{attempts.KILLED}{trial.number}", f"{LEFT}{trial.number}"} & trial.user_attrs.keys()
    silent = trial.user_attrs.get(BEGUN) == trial.number and not known
    killed = f"no sign of life from {trial.user_attrs[WORKER]}" if silent else ""
    return attempts.take_up_again(study, [trial.number], retries, killed)


def begin(storage: RDBStorage, trial: optuna.Trial) -> None:
    """Say who is at a trial; from now on its heartbeat alone tells whether it is."""
    storage.record_heartbeat(trial._trial_id)
    trial.set_user_attr(WORKER, f"{socket.gethostname()}:{os.getpid()}")
    trial.set_user_attr(BEGUN, trial.number)
