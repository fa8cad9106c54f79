"""A worker whose trial does not end as it should."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from conftest import TESTS
from optuna.trial import TrialState

from experiments.records.folders import RunFolder, write_json
from gan.errors import InputError
from sweeps.display.events import Event, TrialEnded
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts, identity, published, storage
from sweeps.workers import worker
from sweeps.workers.objective import Objective
from sweeps.workers.protocol import Task


@pytest.fixture(autouse=True)
def optuna_logs_as_before() -> Iterator[None]:
    logger = logging.getLogger("optuna")
    before, propagated = logger.handlers[:], logger.propagate
    yield
    for handler in set(logger.handlers) - set(before):
        handler.close()
    logger.handlers, logger.propagate = before, propagated


def published_study(folder: Path, *more: str) -> tuple[Plan, optuna.Study]:
    """Return a study of two trials that workers can join, and its plan."""
    arguments = [
        f"records.root={folder}",
        "search=custom",
        "optim.learning_rate=interval(1e-4,3e-4)",
        "search.trials=2",
        *more,
    ]
    plan = read_plan(arguments)
    plan.folder.path.mkdir(parents=True)
    study = identity.open_study(storage.open_storage(plan), plan, plan.identity())
    write_json(plan.folder.facts, {"tags": {}})
    published.publish(study, plan)
    return plan, study


def task_of(plan: Plan) -> Task:
    arguments = [f"search.study={plan.search.study}", f"records.root={plan.records.root}"]
    return Task(arguments, 0, str(TESTS / "hanging_trial.py"), False)


def test_a_trial_whose_records_are_damaged_fails_with_the_reason(tmp_path: Path) -> None:
    plan, study = published_study(tmp_path)
    run = RunFolder(plan.records.runs / attempts.run_name(plan.search.study, 0))
    run.path.mkdir(parents=True)
    run.journal.write_text("[]\n")
    one = worker.Worker(task_of(plan))
    events: list[Event] = []
    one.listener = events.append
    assert one._run_one()
    (trial,) = study.get_trials()
    assert trial.state == TrialState.FAIL
    assert str(run.journal) in trial.user_attrs[attempts.OUTCOME]
    assert events[-1] == TrialEnded(0, "FAIL", trial.user_attrs[attempts.OUTCOME])


def test_a_trial_waits_where_its_host_lacks_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a promoted trial that is fetched from another host."""

    def value(objective: Objective) -> float:
        raise InputError("data.path", "the images of the study", "none")

    monkeypatch.setattr(Objective, "value", value)
    plan, study = published_study(tmp_path)
    one = worker.Worker(task_of(plan))
    one._run_one()
    assert "data.path must be" in one.failure
    attempts.requeue_lost(plan, study)
    assert attempts.counted(study.get_trials())[-1].state == TrialState.WAITING


def test_workers_are_told_what_precision_auto_stood_for(tmp_path: Path) -> None:
    plan, study = published_study(tmp_path, "train.precision=auto")
    arguments = study.user_attrs[published.ARGUMENTS]
    assert [each for each in arguments if "precision" in each] == [f"train.precision={plan.config.train.precision}"]
    assert plan.config.train.precision != "auto"


def test_the_settings_of_a_baseline_that_failed_are_not_trained_again(tmp_path: Path) -> None:
    """It would train to the full length, which only the baseline has a place for in the budget."""
    plan, study = published_study(tmp_path)
    first = study.ask()
    study.tell(first, state=TrialState.FAIL)
    params = dict(study.trials[0].params)
    study.enqueue_trial(params)
    again = study.ask()
    again.set_user_attr(attempts.ORIGIN, again.number)
    earlier = worker.Worker(task_of(plan))._same_settings(again, params)
    assert earlier is not None and earlier.number == 0


def test_a_fault_of_the_sampler_ends_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sampled(*args: object) -> object:
        raise ValueError("no such choice")

    monkeypatch.setattr(worker, "sampled_params", sampled)
    plan, _ = published_study(tmp_path)
    with pytest.raises(ValueError, match="no such choice"):
        worker.Worker(task_of(plan))._run_one()


def test_a_trial_that_another_worker_ended_is_lost_without_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, study = published_study(tmp_path)
    one = worker.Worker(task_of(plan))
    events: list[Event] = []
    one.listener = events.append

    def value(objective: Objective) -> float:
        study.tell(0, state=TrialState.FAIL)
        return objective._report(500, 1.0)

    monkeypatch.setattr(Objective, "value", value)
    assert one._run_one()
    assert events[-1] == TrialEnded(0, "FAIL", "resumed by another worker, as this one gave no sign of life")


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_a_worker_of_its_own_is_not_held_by_a_trial_that_hangs(
    signals: list[signal.Signals], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One signal, after the time that a trial has to save its state; a second one, at once."""
    plan, study = published_study(tmp_path)
    monkeypatch.setattr(worker, "KILL_SECONDS", 0.2 if len(signals) == 1 else 60.0)
    monkeypatch.setattr(worker, "SAME_SECONDS", 0.1)
    monkeypatch.setattr("experiments.cli.signals.is_ours", lambda: True)
    started = worker.Worker.start

    def send() -> None:
        for number in signals:
            time.sleep(0.5)
            os.kill(os.getpid(), number)

    def start(self: worker.Worker, *given: object) -> object:
        threading.Thread(target=send, daemon=True).start()
        return started(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(worker.Worker, "start", start)
    begin = time.monotonic()
    assert worker.work(task_of(plan)) == 128 + signals[0]
    assert time.monotonic() - begin < 25  # the trial itself hangs for 30
    assert attempts.counted(study.get_trials())[-1].state == TrialState.WAITING


def test_a_trial_that_hangs_when_its_worker_is_to_end_is_killed_and_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, study = published_study(tmp_path)
    monkeypatch.setattr(worker, "KILL_SECONDS", 0.2)
    killed: list[int] = []
    kill = worker.Worker.kill
    monkeypatch.setattr(worker.Worker, "kill", lambda self: (killed.append(1), kill(self)))
    task = task_of(plan)
    reading, writing = os.pipe()
    started = worker.Worker.start

    def start(self: worker.Worker, *given: object) -> object:
        process = started(self, *given)  # type: ignore[arg-type]
        os.close(writing)  # the search is gone
        return process

    monkeypatch.setattr(worker.Worker, "start", start)
    with open(reading) as orders:
        assert worker.work(task, orders) == 0
    assert killed == [1]
    states = [trial.state for trial in optuna.load_study(study_name=plan.search.study, storage=study._storage).trials]
    assert states == [TrialState.FAIL, TrialState.WAITING]
    assert attempts.counted(study.get_trials())[-1].state == TrialState.WAITING
