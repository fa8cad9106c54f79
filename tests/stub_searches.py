"""Searches with `tests/stub_trial.py` in place of trainings."""

from collections.abc import Callable
from pathlib import Path

import optuna
from conftest import TESTS

from experiments.records import journal
from experiments.records.folders import RunFolder, write_json
from gan import metric_names
from sweeps.display.events import Event
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts, identity, published, storage
from sweeps.workers.supervisor import Supervisor

STUB = TESTS / "stub_trial.py"
RATES = "optim.learning_rate=tag(log,interval(5e-5,1e-3))"
SMALL = ["search=custom", "search.steps=12", "eval.every_steps=2", "search.confirm.top=1", "search.pruner=none"]


class Search:
    """A study in a folder, searched as often as wanted."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self.root, self.arguments = root, [*SMALL, f"records.root={root}", *arguments]
        self.plan: Plan = read_plan(self.arguments)
        self.folder = self.plan.folder
        self.folder.path.mkdir(parents=True, exist_ok=True)
        opened = storage.open_storage(self.plan)
        self.study = identity.open_study(opened, self.plan, self.plan.identity())
        self.heard: list[Event] = []

    def run(self, should_stop: Callable[[], bool] = lambda: False, program: Path = STUB) -> bool:
        write_json(self.folder.facts, {"tags": {}})
        published.publish(self.study, self.plan)
        return Supervisor(self.plan, self.study, self.heard.append, program).run(should_stop)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return attempts.counted(self.study.get_trials())

    def scores(self, origin: int) -> tuple[list[int], list[float]]:
        run = RunFolder(self.plan.records.runs / attempts.run_name(self.plan.search.study, origin))
        return journal.curve(run.journal, metric_names.FID_PROXY)
