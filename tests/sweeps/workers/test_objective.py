"""One trial of a worker: what ends it, and who is spared."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from experiments.records.status import FailureKind, RunStatus
from gan import metric_names
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts
from sweeps.workers.objective import Objective, TrialFailed
from sweeps.workers.protocol import Ended, Message, Scalars

SATURATED = {metric_names.D_REAL: 0.999, metric_names.D_FAKE: 0.001}


class Process:
    """Stands in for a trial's process whose discriminator is saturated from the first point on."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def messages(self) -> Iterator[Message]:
        for step in range(500, 1500, 50):
            yield Scalars(step, SATURATED)
            if self.reasons:
                yield Ended(RunStatus.KILLED, step)
                return
        yield Ended(RunStatus.FAILED, 1500, "it came to its end")

    def prune(self, reason: str) -> None:
        self.reasons.append(reason)

    def interrupt(self) -> None:
        pass


@pytest.mark.parametrize("is_baseline", [True, False])
def test_what_is_hopeless_is_pruned_unless_it_is_the_baseline(is_baseline: bool, tmp_path: Path) -> None:
    plan = read_plan(["search=custom", "model.dropout=interval(0,0.5)", f"records.root={tmp_path}"])
    study = optuna.create_study()
    study.enqueue_trial({"model.dropout": 0.1}, user_attrs={attempts.BASELINE: True} if is_baseline else {})
    trial = study.ask()
    params = {"model.dropout": trial.suggest_float("model.dropout", 0, 0.5)}
    process = Process()
    worker = SimpleNamespace(
        plan=plan, listener=lambda _: None, ended=False, start=lambda *_: process, forget_deaths=lambda: None
    )
    with pytest.raises(Exception, match="it came to its end" if is_baseline else "saturated discriminator") as caught:
        Objective(worker, trial, 0, params).value()
    assert isinstance(caught.value, optuna.TrialPruned) != is_baseline
    assert process.reasons == ([] if is_baseline else ["saturated discriminator"])
    assert (attempts.HOPELESS in study.trials[0].user_attrs) != is_baseline


@pytest.mark.parametrize("kind", FailureKind)
def test_only_divergence_is_the_settings_fault(kind: FailureKind, tmp_path: Path) -> None:
    plan = read_plan(["search=custom", "model.dropout=interval(0,0.5)", f"records.root={tmp_path}"])
    study = optuna.create_study()
    trial = study.ask()
    params = {"model.dropout": trial.suggest_float("model.dropout", 0, 0.5)}
    process = SimpleNamespace(messages=lambda: [Ended(RunStatus.FAILED, 7, "it failed", kind)], interrupt=lambda: None)
    gave_up: list[str] = []
    worker = SimpleNamespace(
        plan=plan, listener=lambda _: None, ended=False, start=lambda *_: process,
        give_up=gave_up.append, make_room=lambda: None, forget_deaths=lambda: None,
    )  # fmt: skip
    with pytest.raises(TrialFailed):
        Objective(worker, trial, 0, params).value()
    assert (attempts.HOPELESS in study.trials[0].user_attrs) == (kind == FailureKind.DIVERGED)
    assert study.trials[0].user_attrs[attempts.STEP] == 7  # they count, whatever became of them
    assert gave_up == (["it failed"] if kind in (FailureKind.RECORDS, FailureKind.INPUTS) else [])


def test_an_interrupted_trial_is_left_to_be_requeued(tmp_path: Path) -> None:
    plan = read_plan(["search=custom", "model.dropout=interval(0,0.5)", f"records.root={tmp_path}"])
    study = optuna.create_study()
    trial = study.ask()
    params = {"model.dropout": trial.suggest_float("model.dropout", 0, 0.5)}
    process = SimpleNamespace(messages=lambda: [Ended(RunStatus.KILLED, 0, "in use")], interrupt=lambda: None)
    worker = SimpleNamespace(  # no give_up
        plan=plan, listener=lambda _: None, ended=False, start=lambda *_: process, forget_deaths=lambda: None
    )
    with pytest.raises(TrialFailed, match="in use"):
        Objective(worker, trial, 0, params).value()
    assert study.trials[0].user_attrs[f"{attempts.LEFT}0"] == "in use"
    assert attempts.OUTCOME not in study.trials[0].user_attrs
