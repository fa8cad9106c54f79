"""A worker that joins a study in a shared database, from any host, and leaves at any time.

It needs the study's name and address: the rest stands in the study, and is compared with
what is here. It takes turns with the others at the database, runs trials until the budget is
used and none is going on any more (one whose host died may have to be taken up), and at
SIGTERM saves its trial, which is queued for others.
"""

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import Trial
from rich.console import Console

from experiments.cli.signals import handled
from experiments.records.folders import RunFolder, write_json
from experiments.runs import snapshot
from experiments.runs.start import check_same_images, find_extractor, load_data
from experiments.tracking.address import VARIABLE, fix_tracking_uri
from experiments.tracking.delivery import fetch_file, give_up_run
from gan.errors import ConfigError
from sweeps.display.search import SearchDisplay
from sweeps.spec.plan import read_plan
from sweeps.study import attempts, optuna_log, pruners, published, samplers, storage
from sweeps.study.identity import IDENTITY, check_identity
from sweeps.workers.child import TRIAL
from sweeps.workers.protocol import Task
from sweeps.workers.worker import TrialFailed, Worker

POLL = 1.0  # seconds between two looks at a study in which there is nothing to begin
# What differs between hosts; all else is the study's.
OWN = (
    "search.role", "search.study", "search.storage", "search.grace_seconds", "records.root", "data", "data.source",
    "data.path", "eval.extractor_weights", "train.threads", "--config-dir",
)  # fmt: skip


class CodeChanged(Exception):
    """The study goes on with another version of the program."""


class JoinedWorker(Worker):
    """A worker of a shared study."""

    def _read_study(self, arguments: list[str]) -> None:
        own = read_plan(arguments).search
        assert own.storage is not None
        self._address, self._own = own.storage, arguments
        self._arguments: list[str] = []  # of the search, as last seen
        self._trial = -1  # that it is or was at
        names: list[str] = []
        if storage.is_there(own.storage):  # or to open it would make it
            opened = storage.open_shared_storage(own.storage, own.retries, own.grace_seconds)
            names = optuna.get_all_study_names(opened)
        if own.study not in names:
            known = ", ".join(sorted(names)) or "none"
            raise ConfigError(
                "search.study", "one that a search has begun in this database", own.study, f"there: {known}"
            )
        self._storage = opened
        self.study = optuna.load_study(study_name=own.study, storage=opened)
        if published.ARGUMENTS not in self.study.user_attrs:
            raise ConfigError("search.study", "one that was begun with search.storage", own.study)
        self._look(self.study.user_attrs)

    def _look(self, attributes: dict[str, Any]) -> None:
        """Read what may change while a study goes on: its budget, its pruner, the program. Raises CodeChanged."""
        if not published.same_code(attributes[published.CODE], published.code_version()):
            raise CodeChanged(attributes[published.CODE])
        if attributes[published.ARGUMENTS] != self._arguments:
            self._arguments = attributes[published.ARGUMENTS]
            self.plan = read_plan(merged(self._arguments, self._own))
            self.study.pruner = pruners.make_pruner(self.plan)

    def prepare(self, console: Console) -> None:
        """Compare what is here with the study, and put what its trials need into its folder. Raises ConfigError."""
        attributes = self.study.user_attrs
        fix_tracking_uri()
        if (address := attributes.get(published.TRACKING)) and not os.environ.get(VARIABLE, "").strip():
            os.environ[VARIABLE] = address
        self.plan.records.check_writable()
        config = self.plan.config
        dataset = load_data(config, self.plan.records, console)
        self._data = (dataset.source, dataset.path)
        check_same_images(dataset, attributes[published.FACTS], "data")
        weights = find_extractor(config.eval.extractor, config.eval.extractor_weights)
        facts = {**self.plan.identity(), "dataset_sha256": dataset.sha256, "fid_proxy_id": weights.id}
        check_identity(self.plan.search.study, attributes[IDENTITY], facts, self.plan)
        (self.folder.path / "logs").mkdir(parents=True, exist_ok=True)
        if not self.folder.facts.exists():
            write_json(self.folder.facts, attributes[published.FACTS])

    def run(self) -> None:
        """Until nothing is left to do. Raises StorageInternalError, and CodeChanged."""
        since = time.monotonic()
        while not self.ended:
            try:
                if not self._one():
                    return
                since = time.monotonic()
            except StorageInternalError:
                if time.monotonic() - since > storage.OUTAGE_SECONDS:
                    raise
                time.sleep(storage.PAUSE)
        with contextlib.suppress(StorageInternalError), self._turn():
            attempts.tidy(self.study, self.plan.search.retries)  # others take up at once what was interrupted

    def _one(self) -> bool:
        """Run a trial, or wait where there is none to begin; False when there never will be."""
        with self._turn() as self._held:
            self._look(self.study.user_attrs)
            attempts.tidy(self.study, self.plan.search.retries)
            trials = self.study.get_trials(deepcopy=False)
            seconds = float(self.study.user_attrs.get(attempts.SECONDS, 0.0))
            if attempts.may_begin(self.plan, trials, seconds) and not self.ended:
                self._optimize(len(attempts.counted(trials)))
                return True
        if all(trial.state.is_finished() for trial in trials):
            return False
        self._ended.wait(POLL)
        return True

    def _optimize(self, count: int) -> None:
        self.study.sampler = samplers.make_sampler(self.plan, self.number, count)
        try:
            self.study.optimize(self._objective, n_trials=1, catch=(TrialFailed,))
        except (UpdateFinishedTrialError, ValueError):
            trial = self.study.get_trials(deepcopy=False)[self._trial]
            if not trial.state.is_finished():
                raise
            words = "taken up by another worker, as this one gave no sign of life"
            self.say({"trial": self._trial, "state": "FAIL", "reason": words})

    def _turn(self) -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        stack.enter_context(storage.turn(self._address, self.plan.search.study))
        return stack

    def _begun(self, trial: Trial) -> None:
        self._trial = trial.number
        attempts.begin(self._storage, trial)
        self._held.close()

    def notes(self, trial: Trial, run: RunFolder) -> dict[str, str]:
        """Where an attempt that is not the first goes on."""
        (history,) = attempts.histories([self.study.get_trials(deepcopy=False)[trial.number]])
        if not history:
            return {}
        words = self._where(trial, run)
        trial.set_user_attr(attempts.TAKEN_UP, words)
        return {attempts.TAKEN_UP: words}

    def _where(self, trial: Trial, run: RunFolder) -> str:
        host, files = socket.gethostname(), run.checkpoints.files() if run.config.is_file() else []
        if files:
            return f"from {files[-1].stem} in the run's folder on {host}"
        run_id = trial.user_attrs.get(attempts.MLFLOW_RUN)
        if run_id is None or run_id in run.mlflow_run_ids():
            return f"from step 0 on {host}: there was no checkpoint"
        if content := fetch_file(run.records, run_id, snapshot.ARTIFACT):
            with contextlib.suppress(ValueError, KeyError):
                shutil.rmtree(run.path, ignore_errors=True)
                snapshot.unpack(content, run, self._data, self.plan.config.eval.extractor_weights)
                return f"from {run.checkpoints.files()[-1].stem}, uploaded to MLflow, on {host}"
        words = f"from step 0 on {host}: the run's folder is not here, and nothing was uploaded"
        give_up_run(run.records, run_id, words)
        return words

    def reported(self, trial: Trial, run: RunFolder) -> None:
        if not self.folder.delivery.exists():  # this host has records of its own
            if stores := self.study.user_attrs.get(published.STORES):
                write_json(self.folder.delivery, stores)
            return
        ids = run.mlflow_run_ids()
        if ids and trial.user_attrs.get(attempts.MLFLOW_RUN) != ids[-1]:
            trial.set_user_attr(attempts.MLFLOW_RUN, ids[-1])

    def left(self, trial: Trial) -> None:
        trial.set_user_attr(f"{attempts.LEFT}{trial.number}", "interrupted")


def merged(arguments: Sequence[str], own: Sequence[str]) -> list[str]:
    """The search's arguments with a worker's own before them."""
    keys = {each.partition("=")[0] for each in own}
    return [*(each for each in arguments if each.partition("=")[0] not in keys), *own]


def check_own(arguments: Sequence[str]) -> None:
    """Raises ConfigError for a setting that is not a worker's to choose."""
    for each in arguments:
        key, _, value = each.partition("=")
        if "=" in each and key not in OWN:
            raise ConfigError(
                key, "left to the study, which a worker joins with it", value, f"a worker's own: {', '.join(OWN)}"
            )


def _listen(orders: TextIO, worker: Worker) -> None:
    orders.read()
    worker.end()


def join(arguments: list[str], number: int | None = None, program: Path = TRIAL, orders: TextIO | None = None) -> int:
    """Work for a study; the exit code. Raises ConfigError.

    number: of the worker, no two of a study alike, for the sampler's random numbers.
    orders: its end ends the worker.
    """
    check_own(arguments)
    plan = read_plan(arguments)
    if plan.search.storage is None:
        raise ConfigError("search.storage", "given in a worker", "none", "the address that the search has")
    folder = RunFolder(plan.records.studies / plan.search.study)
    number = int.from_bytes(os.urandom(4), "big") if number is None else number
    console = Console(highlight=False, soft_wrap=True)
    try:
        worker = JoinedWorker(Task(arguments, str(folder.path), number, str(program), shared=True))
        worker.prepare(console)
    except CodeChanged as error:
        raise ConfigError("the program", f"the study's version, {error}", published.code_version()) from None
    optuna_log.log_to(folder.path / "logs" / f"joined-{os.getpid()}.log")
    display = SearchDisplay(Console(highlight=False, soft_wrap=True, force_terminal=False), worker.plan, [])
    problems: list[str] = []

    def say(event: dict[str, Any]) -> None:
        display.event(event)
        if event.get("stop"):
            problems.append(event["reason"])
            worker.end()

    worker.say = say
    caught: list[int] = []

    def note(signum: int, frame: Any) -> None:
        caught.append(signum)
        threading.Thread(target=worker.end, daemon=True).start()  # the main thread may hold what this needs

    if orders is not None:
        threading.Thread(target=_listen, args=(orders, worker), daemon=True).start()
    console.print(f"joined   study {plan.search.study}", markup=False)
    with handled(note):
        try:
            worker.run()
        except CodeChanged as error:
            problems.append(f"the study goes on with the program's version {error}, this is {published.code_version()}")
    if problems:
        raise OSError(problems[0])
    console.print("left     " + ("its trial is queued for others" if worker.ended else "nothing is left to do"))
    return 128 + caught[0] if caught else 0
