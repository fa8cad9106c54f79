"""A worker whose trial does not end when it should."""

import os
from pathlib import Path

import optuna
import pytest
from conftest import TESTS
from optuna.trial import TrialState

from experiments.records.folders import write_json
from sweeps.spec.plan import read_plan
from sweeps.study import attempts, identity, published, storage
from sweeps.workers import worker
from sweeps.workers.protocol import Task


def test_a_trial_that_hangs_when_its_worker_is_to_end_is_killed_and_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        f"records.root={tmp_path}",
        "search=custom",
        "optim.learning_rate=interval(1e-4,3e-4)",
        "search.trials=2",
    ]
    plan = read_plan(arguments)
    plan.folder.path.mkdir(parents=True)
    study = identity.open_study(storage.open_storage(plan), plan, plan.identity())
    write_json(plan.folder.facts, {"tags": {}})
    published.publish(study, plan)
    monkeypatch.setattr(worker, "KILL_SECONDS", 0.2)
    killed: list[int] = []
    kill = worker.Worker.kill
    monkeypatch.setattr(worker.Worker, "kill", lambda self: (killed.append(1), kill(self)))
    task = Task(
        [f"search.study={plan.search.study}", f"records.root={tmp_path}"], 0, str(TESTS / "hanging_trial.py"), False
    )
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
