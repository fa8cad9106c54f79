"""Who is at a trial, and what becomes of it when nobody is."""

import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts
from sweeps.study.optuna_log import experimental

SPACE = ["search=custom", "model.dropout=interval(0,0.5)", "search.trials=4"]


def running(pid: int, host: str, start: str) -> optuna.Study:
    """A study with one running trial of a worker."""
    study = optuna.create_study()
    trial = study.ask()
    trial.suggest_float("model.dropout", 0, 0.5)
    trial.set_user_attr(attempts.WORKER, f"here:{pid}")
    trial.set_user_attr(attempts.HOST, f"{host} {start}")
    trial.set_user_attr(attempts.BEGUN, trial.number)
    return study


def plan(root: Path, *arguments: str) -> Plan:
    return read_plan([*SPACE, f"records.root={root}", *arguments])


def ended() -> tuple[int, str]:
    """Id and start of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = attempts.start_of(process.pid)
    process.communicate(b"\n")
    return process.pid, start


def test_a_worker_that_lives_keeps_its_trial(tmp_path: Path) -> None:
    study = running(os.getpid(), attempts.host(), attempts.start_of(os.getpid()))
    attempts.requeue_lost(plan(tmp_path), study)
    assert [t.state for t in study.trials] == [TrialState.RUNNING]


@pytest.mark.parametrize("case", ["ended", "its id is another's", "before the host was started anew"])
def test_a_worker_that_is_gone_costs_its_trial_no_retry(case: str, tmp_path: Path) -> None:
    pid, start = ended() if case == "ended" else (os.getpid(), "1")
    study = running(pid, attempts.host() if case != "before the host was started anew" else "another boot", start)
    attempts.requeue_lost(plan(tmp_path, "search.retries=0"), study)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert study.trials[0].user_attrs[f"{attempts.LEFT}0"] == f"here:{pid} died"
    assert attempts.counted(study.trials) == study.trials[1:]


def test_a_trial_whose_worker_died_right_after_its_end_is_complete(tmp_path: Path) -> None:
    pid, start = ended()
    study = running(pid, attempts.host(), start)
    trial = optuna.trial.Trial(study, study.trials[0]._trial_id)
    trial.report(40.0, 100)
    trial.report(30.0, 200)
    trial.set_user_attr(attempts.OUTCOME, attempts.COMPLETE)
    attempts.requeue_lost(plan(tmp_path), study)
    assert [(t.state, t.value) for t in study.trials] == [(TrialState.COMPLETE, 30.0)]


def test_a_stopped_trial_waits_with_its_scores(tmp_path: Path) -> None:
    """What a person sees of it: it is stopped, no failure, until a worker resumes it."""
    study = running(os.getpid(), attempts.host(), attempts.start_of(os.getpid()))
    trial = optuna.trial.Trial(study, study.trials[0]._trial_id)
    trial.report(40.0, 100)
    trial.report(30.0, 200)
    trial.set_user_attr(f"{attempts.LEFT}0", "interrupted")
    study.tell(0, state=TrialState.FAIL)
    assert attempts.state_name(study.trials[0]) == "STOPPED"
    attempts.requeue_lost(plan(tmp_path), study)
    (waiting,) = attempts.counted(study.trials)
    assert (waiting.number, waiting.state, attempts.state_name(waiting)) == (1, TrialState.WAITING, "STOPPED")
    assert waiting.intermediate_values == {100: 40.0, 200: 30.0}
    assert study.trials[1].intermediate_values == {}  # a copy has them
    again = study.ask()
    assert attempts.counted(study.trials)[0].intermediate_values == {100: 40.0, 200: 30.0}
    again.report(41.0, 100)
    (resumed,) = attempts.counted(study.trials)
    assert (attempts.state_name(resumed), resumed.intermediate_values) == ("RUNNING", {100: 41.0})


def test_a_trial_that_failed_of_itself_is_not_stopped(tmp_path: Path) -> None:
    study = running(os.getpid(), attempts.host(), attempts.start_of(os.getpid()))
    trial = optuna.trial.Trial(study, study.trials[0]._trial_id)
    trial.set_user_attr(f"{attempts.KILLED}0", "killed by signal 9")
    study.tell(0, state=TrialState.FAIL)
    assert attempts.state_name(study.trials[0]) == "FAIL"


def test_a_worker_of_another_host_is_left_to_its_heartbeat(tmp_path: Path) -> None:
    study = running(os.getpid(), "another host", "1")
    attempts.requeue_lost(plan(tmp_path, f"search.storage=sqlite:///{tmp_path}/shared.db"), study)
    assert [t.state for t in study.trials] == [TrialState.RUNNING]


def test_a_trial_that_lacks_memory_is_tried_alone_before_it_is_given_up(tmp_path: Path) -> None:
    """Beside 2 others, beside 1, alone, and once more."""
    study = running(os.getpid(), attempts.host(), attempts.start_of(os.getpid()))
    for number in range(4):
        study._storage.set_trial_user_attr(study.trials[-1]._trial_id, f"{attempts.NO_MEMORY}{number}", "no memory")
        study.tell(number, state=TrialState.FAIL)
        attempts.requeue_lost(plan(tmp_path, "search.retries=1", "search.workers=3"), study)
        assert len(study.trials) == min(number + 2, 4)
        if number < 3:
            study.ask()


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")  # it is that of a host that died
def test_a_score_is_told_for_a_host_that_died_before_it_could(tmp_path: Path) -> None:
    """A heartbeat that is missing is all that is known of it here."""
    with experimental():
        storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/studies.db", heartbeat_interval=1, grace_period=1)
    study = optuna.create_study(storage=storage)
    for ended in (True, False):
        trial = study.ask()
        trial.report(7.5, 100)
        for key, value in {
            attempts.BEGUN: trial.number,
            attempts.HOST: "another 1",
            attempts.WORKER: "there:1",
        }.items():
            trial.set_user_attr(key, value)
        if ended:
            trial.set_user_attr(attempts.OUTCOME, attempts.COMPLETE)
        storage.record_heartbeat(trial._trial_id)
    time.sleep(2.5)
    attempts.requeue_lost(plan(tmp_path, f"search.storage=sqlite:///{tmp_path}/studies.db"), study)
    assert [(t.state.name, t.value) for t in study.trials[:2]] == [("COMPLETE", 7.5), ("FAIL", None)]


def test_a_process_that_was_killed_uses_up_a_retry(tmp_path: Path) -> None:
    study = running(os.getpid(), attempts.host(), attempts.start_of(os.getpid()))
    study._storage.set_trial_user_attr(study.trials[0]._trial_id, f"{attempts.KILLED}0", "killed by signal 9")
    study.tell(0, state=TrialState.FAIL)
    attempts.requeue_lost(plan(tmp_path, "search.retries=0"), study)
    assert [t.state for t in study.trials] == [TrialState.FAIL]
    attempts.requeue_lost(plan(tmp_path, "search.retries=1"), study)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_requeuing_changes_no_trial_that_is_over(tmp_path: Path) -> None:
    study = running(os.getpid(), attempts.host(), attempts.start_of(os.getpid()))
    for number in (0, 1):
        if number:
            study.ask()
        study._storage.set_trial_user_attr(study.trials[number]._trial_id, f"{attempts.LEFT}{number}", "stopped")
        study.tell(number, state=TrialState.FAIL)
        attempts.requeue_lost(plan(tmp_path), study)
    cached = study.get_trials(deepcopy=False)
    assert attempts.histories(cached) == [[], [0], [0, 1]]
