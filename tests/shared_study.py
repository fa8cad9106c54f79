"""A study in a real PostgreSQL that many processes share, with `tests/stub_trial.py` in place of trainings."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from conftest import ROOT, TESTS, noise_images
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from experiments.processes.process import Process
from experiments.processes.process import start as start_program
from sweeps.spec.schema import split_password
from sweeps.study import attempts, published, storage

STUB = "stub_trial.py"
SCRIPT = "sweeps/optuna_search.py"


class Shared:
    """A study that processes are started for."""

    def __init__(self, folder: Path, address: str, *arguments: str) -> None:
        self.folder, self.bare = folder, split_password(address)[0]
        self.password, self.address = str(split_password(address)[1]), address
        images = folder / "images.npz"
        np.savez(images, images=noise_images(64))
        self.arguments = [
            "search=custom", "optim.learning_rate=tag(log,interval(5e-5,1e-3))", "data=npz", f"data.path={images}",
            "eval.extractor=random_cnn", "eval.every_steps=10", "search.steps=60", "search.pruner=none",
            "search.confirm.seeds=0", "search.grace_seconds=12", *arguments,
        ]  # fmt: skip
        self.started: list[Process] = []
        self.stub, self.environment = STUB, dict[str, str]()
        self._storage: RDBStorage | None = None

    def start(self, *arguments: str, root: str = "records") -> Process:
        log = self.folder / f"log-{len(self.started)}"
        own = [f"search.storage={self.bare}", f"records.root={self.folder / root}"]
        with open(log, "w") as stream:
            environment = {**os.environ, "PGPASSWORD": self.password, **self.environment}
            started = start_program(
                TESTS / "stub_search.py",
                [self.stub, *arguments, *own],
                stdout=stream,
                stderr=stream,
                environment=environment,
                folder=ROOT,
            )
        self.started.append(started)
        return started

    def search(self, *arguments: str, root: str = "records") -> Process:
        return self.start(*self.arguments, *arguments, root=root)

    def worker(self, *arguments: str, root: str = "records") -> Process:
        return self.start("search.role=worker", "search.grace_seconds=12", *arguments, root=root)

    def log(self, process: Process) -> str:
        return (self.folder / f"log-{self.started.index(process)}").read_text()

    def begin(self) -> None:
        """Make the study, as a search that is stopped before its first trial leaves it."""
        process = self.search("search.workers=1", "search.trials=2")
        wait_for(lambda: published.ARGUMENTS in self.attributes(), process, self)
        process.terminate()
        process.wait(60)

    def attributes(self) -> dict[str, object]:
        with contextlib.suppress(KeyError, SQLAlchemyError):  # not made yet
            return self.study.user_attrs
        return {}

    @property
    def study(self) -> optuna.Study:
        if self._storage is None:
            self._storage = storage.open_database(self.address, None)  # the search may be making its tables
        return optuna.load_study(study_name="gan", storage=self._storage)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
        if self._storage is not None:
            self._storage.engine.dispose()

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return attempts.counted(self.attempts())

    def attempts(self) -> list[optuna.trial.FrozenTrial]:
        try:
            return self.study.get_trials()
        except KeyError:  # not made yet
            return []


def wait_for(condition: Callable[[], bool], process: Process, study: Shared, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None or condition(), study.log(process)
        assert time.monotonic() < deadline, study.log(process)
        time.sleep(0.1)
