"""Pruners: each suggestion is compared once, however many attempts it took."""

import optuna
import pytest
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import FrozenTrial, TrialState

from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts, pruners


def interrupted_study(count: int) -> optuna.Study:
    """Return a study whose trials were all interrupted after a score, and resumed."""
    plan = read_plan(["search=custom", "model.dropout=interval(0,0.5)"])
    study = optuna.create_study()
    for number in range(count):
        trial = study.ask()
        trial.set_user_attr(attempts.ORIGIN, number)
        trial.set_user_attr(f"{attempts.LEFT}{number}", "stopped")
        trial.report(20.0 + number, 300)
    for number in range(count):
        study.tell(number, state=TrialState.FAIL)
    attempts.requeue_lost(plan, study)
    for _ in range(count):
        study.ask().report(20.0, 300)
    return study


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_a_resumed_trial_competes_once(pruner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = interrupted_study(8)
    options = [f"search.pruner={pruner}", "search.steps=900", "eval.every_steps=100"]
    made = pruners.make_pruner(read_plan(["search=custom", "model.dropout=interval(0,0.5)", *options]))
    compared: dict[int, tuple[int, list[int]]] = {}

    def prune(self: SuccessiveHalvingPruner, study: optuna.Study, trial: FrozenTrial) -> bool:
        compared[trial.number] = (id(self), [each.number for each in study.get_trials()])
        return False

    monkeypatch.setattr(SuccessiveHalvingPruner, "prune", prune)
    for trial in study.trials:
        made.prune(study, trial)
    competitors = {number for _, numbers in compared.values() for number in numbers}
    assert competitors == set(range(8, 16))
    for number in range(8):  # both attempts are in one bracket
        (again,) = (t.number for t in study.trials[8:] if attempts.origin(t) == number)
        assert compared[number] == compared[again]
    assert len({bracket for bracket, _ in compared.values()}) == (2 if pruner == "hyperband" else 1)
