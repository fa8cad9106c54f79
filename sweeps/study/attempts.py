"""Trials, attempts and the budget: which count, which are requeued, which worker has them."""

import contextlib
import copy
import functools
import hashlib
import os
import socket
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import is_heartbeat_enabled
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from experiments.records import journal
from experiments.records.folders import RunFolder
from gan import metric_names
from gan.errors import ConfigError
from sweeps.spec.plan import Plan
from sweeps.study.optuna_log import experimental
from sweeps.study.states import State

# Attributes of trials.
ORIGIN = "origin"  # which suggestion it is: Optuna's numbers count attempts
OUTCOME = "outcome"  # how it ended; a failed trial without one is requeued
HOPELESS = "hopeless"  # its settings are at fault: it diverged, or early stopping ended it
COMPLETE = "complete"  # the outcome of a trial that came to its end
PAUSED = "paused at step "  # and which: an outcome that may be followed by a promotion
REPEATS = "the settings of trial "  # and its number: an outcome that took no training
BASELINE = "baseline"  # trained with the settings that the search starts from, whatever the space can say of them
NAMED = "named"  # the words of search.start_from that named its settings
KILLED = "killed in trial "  # and its number: how its process died; the next attempt has it too, so they can be counted
NO_MEMORY = "no memory in trial "  # and its number: beside others, or alone, it lacked memory
# Its number, once a worker has it; another number is that of the attempt before, whose attributes it has.
BEGUN = "begun"
WORKER = "worker"  # host and process of the worker that has or had it
LEFT = "left in trial "  # and its number: its worker went without a fault of the trial, and why
MLFLOW_RUN = "mlflow_run"  # that it is recorded in
RESUMED = "taken_up"  # where another attempt resumed
HOST = "host"  # of WORKER: boot and process namespace, within which its process id means something, and its start
STEP = "step"  # how far it is, now and then
SECONDS = "seconds"  # of the study: searched so far, all sessions together


def superseded(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of trials that a later attempt continues."""
    return {number for history in histories(trials) for number in history}


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return one trial for each suggestion: its last attempt, with the scores of those before until it has its own."""
    past = histories(trials)
    gone = {number for history in past for number in history}
    by_number = {trial.number: trial for trial in trials}
    lasts = []
    for trial, history in zip(trials, past, strict=True):
        if trial.number in gone:
            continue
        if history and not trial.intermediate_values and not trial.state.is_finished():
            scores = [by_number[n].intermediate_values for n in history if n in by_number]
            trial = copy.copy(trial)
            trial.intermediate_values = next(filter(None, reversed(scores)), {})
        lasts.append(trial)
    return lasts


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials with a score, best first; repeats have that of another, and are left out."""
    complete = [t for t in counted(trials) if t.state == TrialState.COMPLETE and not is_repeat(t)]
    return sorted(complete, key=lambda t: (t.value, t.number))


def enqueue_baseline(plan: Plan, study: Study) -> None:
    """Queue the baseline as the first trial; a grid has none, as it consists of its points."""
    if plan.search.sampler != "grid":
        study.enqueue_trial(plan.baseline, user_attrs={ORIGIN: 0, BASELINE: True})


def is_baseline(plan: Plan, trial: FrozenTrial | Trial) -> bool:
    """Return whether a trial is trained with the baseline's settings, to the digit."""
    return BASELINE in trial.user_attrs or plan.is_baseline(trial.params)


def shown_params(plan: Plan, trial: FrozenTrial | Trial) -> dict[str, Any]:
    """Return the parameters of a trial for tables, in the order of the space.

    For the baseline they are the values in effect, layer by layer.
    """
    if BASELINE in trial.user_attrs:
        return plan.baseline_for_tables
    order = {dimension.key: index for index, dimension in enumerate(plan.space)}
    return {key: trial.params[key] for key in sorted(trial.params, key=lambda key: order.get(key, len(order)))}


def is_continued(trial: FrozenTrial | Trial) -> bool:
    """Whether an earlier attempt at a trial's settings was begun. Asked before `begin`, which is an attempt's own."""
    return BEGUN in trial.user_attrs


def is_repeat(trial: FrozenTrial) -> bool:
    """Whether a trial has the outcome of an earlier one of the same settings, and took no training."""
    return str(trial.user_attrs.get(OUTCOME, "")).startswith(REPEATS)


def paused_at(trial: FrozenTrial) -> int | None:
    """Return the step at which a trial is paused, None for any other."""
    outcome = str(trial.user_attrs.get(OUTCOME, ""))
    return int(outcome.removeprefix(PAUSED)) if outcome.startswith(PAUSED) else None


def state_name(trial: FrozenTrial) -> State:
    """Return the state of a trial, for people."""
    if paused_at(trial) is not None:
        return State.PAUSED
    return State.STOPPED if _is_stopped(trial) else State[trial.state.name]


def _is_stopped(trial: FrozenTrial) -> bool:
    """Whether its search or its worker ended, no fault of the trial: another attempt resumes it."""
    left = trial.state == TrialState.FAIL and OUTCOME not in trial.user_attrs
    waits = trial.state == TrialState.WAITING and BEGUN in trial.user_attrs  # that other attempt
    return waits or (left and f"{LEFT}{trial.number}" in trial.user_attrs)


def origin(trial: FrozenTrial | Trial) -> int:
    return int(trial.user_attrs.get(ORIGIN, trial.number))


def suggestion(trials: Sequence[FrozenTrial], number: int) -> int:
    """Return the number of the suggestion that a trial is an attempt at: how many suggestions were made before it.

    It never changes: trials made later do not count.
    """
    (earlier,) = histories([trials[number]])
    return sum(not history for history in histories(trials[: [*earlier, number][0]]))


def run_of(plan: Plan, trial: FrozenTrial) -> RunFolder:
    """Return the run in which all attempts at a trial's settings are recorded."""
    return RunFolder(plan.records.runs / run_name(plan.search.study, origin(trial)))


def run_name(study: str, origin: int) -> str:
    """Return the name of a run, which all attempts at a suggestion share."""
    return f"{study}-trial-{origin:04d}"


def histories(trials: Sequence[FrozenTrial]) -> list[list[int]]:
    """Return the numbers of the attempts that each trial continues; empty for a first one."""
    with experimental():  # once, not for each of thousands
        return [RetryHeartbeatStaleTrialCallback.retry_history(trial) for trial in trials]


def requeue_lost(plan: Plan, study: Study) -> None:
    """Requeue interrupted trials, and those whose workers are gone, within the retries of the plan.

    The caller has the turn, so no other worker is beginning one. A dead worker of this host is recognised by its
    process, one of another host by its heartbeat.
    """
    _tell_complete(study)
    with experimental():
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(BEGUN) != trial.number:  # its worker died before it wrote anything
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        elif _is_gone(trial, alone=plan.search.storage is None) and trial.user_attrs.get(OUTCOME) == COMPLETE:
            study.tell(trial.number, max(trial.intermediate_values.items())[1], skip_if_finished=True)
        elif _is_gone(trial, alone=plan.search.storage is None):
            reason = f"{trial.user_attrs[WORKER]} died"
            study._storage.set_trial_user_attr(trial._trial_id, f"{LEFT}{trial.number}", reason)
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    trials = study.get_trials(deepcopy=False)
    gone = superseded(trials)
    for trial in trials:
        if trial.state == TrialState.FAIL and OUTCOME not in trial.user_attrs and trial.number not in gone:
            _requeue(plan, study, trial)


def _tell_complete(study: Study) -> None:
    """Tell the scores of trials that came to their end on hosts that died before they could tell them."""
    if not is_heartbeat_enabled(study._storage):
        return
    stale = set(study._storage._get_stale_trial_ids(study._study_id))  # type: ignore[attr-defined]
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial._trial_id in stale and trial.user_attrs.get(OUTCOME) == COMPLETE:
            study.tell(trial.number, max(trial.intermediate_values.items())[1], skip_if_finished=True)


def _requeue(plan: Plan, study: Study, trial: FrozenTrial) -> None:
    """Queue a failed trial anew, from its checkpoint, unless its own process was killed or lacked memory too often.

    A process that is killed may need more memory than there is. One that says so may have it where fewer run, and each
    time one worker fewer is left. Workers and searches that are stopped are no fault of the trial.
    """
    trial = copy.deepcopy(trial)  # the callback, too, writes to it
    reasons = {f"{why}{trial.number}" for why in (KILLED, NO_MEMORY, LEFT)} & trial.user_attrs.keys()
    if trial.user_attrs.get(BEGUN) == trial.number and not reasons:
        trial.user_attrs[f"{KILLED}{trial.number}"] = f"no sign of life from {trial.user_attrs[WORKER]}"
    killed, without_memory = (
        sum(attribute.startswith(why) for attribute in trial.user_attrs) for why in (KILLED, NO_MEMORY)
    )
    retries = plan.search.retries
    if killed <= retries and without_memory <= retries + plan.workers - 1:
        with experimental():
            RetryHeartbeatStaleTrialCallback()(study, trial)


def _is_gone(trial: FrozenTrial, alone: bool) -> bool:
    """Return whether a running trial's worker has ended, as far as this host can tell.

    `alone`: no other host works on the study.
    """
    where, _, start = str(trial.user_attrs.get(HOST, "")).partition(" ")
    if where != host():
        return alone  # from before this host was restarted
    return start != start_of(int(str(trial.user_attrs[WORKER]).rpartition(":")[2]))


def ended_at(plan: Plan, trial: FrozenTrial) -> datetime | None:
    """Return when an attempt ended; None for one that runs.

    That a worker died may be noticed a night later: such an attempt ended with its last record, where they are here.
    """
    begin, end, file = trial.datetime_start, trial.datetime_complete, run_of(plan, trial).journal
    says_when = trial.state != TrialState.FAIL or OUTCOME in trial.user_attrs
    if says_when or begin is None or end is None or not file.exists():
        return end
    with contextlib.suppress(ConfigError):  # a damaged journal says nothing of it
        return max((time for time in journal.times(file) if begin <= time <= end), default=begin)
    return end


def start_of(pid: int) -> str:
    """Return what tells a process from a later one with its id, whatever the clock does; nothing if it has ended."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        stat = Path(f"/proc/{pid}/stat")  # of Linux, in ticks since the boot
        # After the name of its program, which may be of any bytes.
        return (
            stat.read_bytes().rpartition(b")")[2].split()[19].decode() if stat.exists() else str(process.create_time())
        )
    except (psutil.NoSuchProcess, OSError):
        return ""


@functools.cache
def host() -> str:
    """Return what is alike for two processes only if one of them can see the other by its id."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # Linux alone says so
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def begin(storage: RDBStorage, trial: Trial) -> None:
    """Record who is at a trial: from now on its process and its heartbeat tell whether it is."""
    if storage.get_heartbeat_interval() is not None:
        storage.record_heartbeat(trial._trial_id)
    trial.set_user_attr(WORKER, f"{socket.gethostname()}:{os.getpid()}")
    trial.set_user_attr(HOST, f"{host()} {start_of(os.getpid())}")
    trial.set_user_attr(BEGUN, trial.number)


def objective_of(folder: RunFolder) -> float:
    """Return what a search minimises, of a run that came to its end: the mean of its last in-run scores."""
    return metric_names.in_run_score(scores_of(folder)[1])


def scores_of(folder: RunFolder) -> tuple[list[int], list[float]]:
    """Return the steps and in-run scores that a run's journal holds."""
    return journal.curve(folder.journal, metric_names.FID_PROXY)
