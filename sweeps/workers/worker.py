"""A worker: takes turns with others at a study's database, and runs one trial after the other.

It begins trials while there is budget, waits while others may leave one that must be resumed, and ends when all are
over. SIGTERM, or the end of its standard input, interrupts its trial, which is requeued for others.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console

from experiments.cli import entry
from experiments.cli.signals import SAME_SECONDS, handled
from experiments.processes.process import PRELOAD, fork_server
from gan.errors import ConfigError, InputError
from sweeps.display.events import Event, TrialBegan, TrialEnded
from sweeps.display.search import SearchDisplay
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.spec.space import Value, same_params, sampled_params
from sweeps.study import attempts, budget, optuna_log, pruners, published, rungs, samplers, storage
from sweeps.study.states import State
from sweeps.workers.joining import check_own_settings, compare_with_study
from sweeps.workers.objective import Objective, TrialFailed
from sweeps.workers.protocol import MAKES_ROOM, NO_TRIAL_COULD_DO_BETTER, Job, Task
from sweeps.workers.trial_process import TRIAL, TrialProcess

BEGUN_HERE = "one that a search has begun in this database"
DEATHS = 3  # of trials' processes before their first update, in a row, after which all are taken to die of the same
KILL_SECONDS = 50.0  # for a trial to save its state: less than launchers.STOP_SECONDS
POLL = 0.5  # seconds between two looks at a study in which there is nothing to begin


class CodeChanged(Exception):
    """The study continues with another version of the program."""


class Worker:
    """Runs trials of a study until nothing is left to do."""

    def __init__(self, task: Task) -> None:
        """Open the study.

        Raises:
            ConfigError: where there is no such study.
            CodeChanged: where it is of another version of the program.
        """
        self._program = Path(task.program)
        self.listener: Callable[[Event], None] = lambda event: None
        self.failure = ""  # for which all trials would fail
        self.is_supervised = False  # by the search that started it
        self.makes_room = False  # for others, which need its memory
        self._arguments = task.arguments
        self._published: list[str] = []  # the search's arguments, as last seen
        self._trial = -1  # that it is or was at; -1 before there is one
        self._fault: ValueError | None = None  # of that trial
        self._deaths: list[int | None] = []  # in a row before a first update: the suggestion, if its training had begun
        self._ended = threading.Event()
        self._process: TrialProcess | None = None
        self._turn = contextlib.ExitStack()
        self.plan: Plan = read_plan(task.arguments)
        self._storage = storage.open_storage(self.plan)
        self.study = self._load()
        self._read(self.study.user_attrs)

    def _load(self) -> optuna.Study:
        name, names = self.plan.search.study, optuna.get_all_study_names(self._storage)
        if name not in names:
            raise ConfigError("search.study", BEGUN_HERE, name, f"there: {', '.join(sorted(names)) or 'none'}")
        study = optuna.load_study(study_name=name, storage=self._storage)
        if published.ARGUMENTS not in study.user_attrs:
            raise ConfigError("search.study", BEGUN_HERE, name, "it was made by an older version, or by other means")
        return study

    def _read(self, attributes: dict[str, Any]) -> None:
        """Read what may change while a study goes on: its budget, its pruner, the program. Raises CodeChanged."""
        if not published.is_code_of_here(attributes[published.CODE]):
            raise CodeChanged(attributes[published.CODE])
        if attributes[published.ARGUMENTS] != self._published:
            self._published = attributes[published.ARGUMENTS]
            self.plan = read_plan(published.merged(self._published, self._arguments))
            self.study.pruner = pruners.make_pruner(self.plan)

    def run(self) -> None:
        """Run trials until nothing is left to do.

        Raises:
            StorageInternalError: where the database is away for too long.
            CodeChanged: where the study continues with another version of the program.
        """
        since = time.monotonic()
        while not self.ended:
            try:
                if not self._run_one():
                    return
                since = time.monotonic()
            except StorageInternalError:
                if time.monotonic() - since > storage.OUTAGE_SECONDS:
                    raise
                time.sleep(storage.PAUSE)
        with contextlib.suppress(StorageInternalError), storage.turn(self.plan):
            attempts.requeue_lost(self.plan, self.study)  # others resume interrupted trials at once

    def _run_one(self) -> bool:
        """Run a trial, or wait where there is none to begin; False when there never will be."""
        with contextlib.ExitStack() as self._turn:
            self._turn.enter_context(storage.turn(self.plan))
            attributes = self.study.user_attrs
            self._read(attributes)
            attempts.requeue_lost(self.plan, self.study)
            trials = self.study.get_trials(deepcopy=False)
            seconds = float(attributes.get(attempts.SECONDS, 0.0))
            if budget.may_begin(self.plan, trials, seconds) and not self.ended:
                budget.queue_next(self.plan, self.study, trials, seconds)
                self._optimize(len(attempts.counted(trials)))
                return True
        if all(trial.state.is_finished() for trial in trials):
            return False
        self._ended.wait(POLL)
        return True

    def _optimize(self, count: int) -> None:
        self.study.sampler = samplers.make_sampler(self.plan, count)
        self._trial, self._fault = -1, None
        try:
            self.study.optimize(self._objective, n_trials=1, catch=(TrialFailed,))
        except (UpdateFinishedTrialError, ValueError) as error:
            if self._trial < 0 or error is self._fault:
                raise
            words = "resumed by another worker, as this one gave no sign of life"
            self.listener(TrialEnded(self._trial, State.FAIL, words))

    def _objective(self, trial: Trial) -> float:
        try:
            return self._score(trial)
        except ValueError as error:  # Optuna's own says that another worker has ended the trial
            self._fault = error
            raise

    def _score(self, trial: Trial) -> float:
        # What it was begun with, even if the space has other dimensions since.
        params = dict(trial.params) if attempts.is_continued(trial) else sampled_params(self.plan.space, trial)
        origin = attempts.suggestion(self.study.get_trials(deepcopy=False), trial.number)
        trial.set_user_attr(attempts.ORIGIN, origin)
        self._trial = trial.number
        attempts.begin(self._storage, trial)
        self._turn.close()  # others may begin theirs
        settings, is_baseline = attempts.shown_params(self.plan, trial), attempts.is_baseline(self.plan, trial)
        promoted_to = rungs.promoted_to(self.plan, trial)
        self.listener(TrialBegan(trial.number, origin, settings, is_baseline, promoted_to))
        earlier = self._same_settings(trial, params)
        if earlier is not None:
            return self._repeat(trial, earlier)
        try:
            return Objective(self, trial, origin, params).value()
        except InputError as error:  # images that this host lacks: the trial waits for another, or for them
            trial.set_user_attr(f"{attempts.LEFT}{trial.number}", str(error))
            self.listener(TrialEnded(trial.number, State.FAIL, str(error)))
            self.give_up(str(error))
            raise TrialFailed(str(error)) from error
        except ConfigError as error:  # what is left of its run cannot be read
            trial.set_user_attr(attempts.OUTCOME, str(error))
            self.listener(TrialEnded(trial.number, State.FAIL, str(error)))
            raise TrialFailed(str(error)) from error

    def _same_settings(self, trial: Trial, params: dict[str, Value]) -> FrozenTrial | None:
        """Find an earlier trial of the very same settings, which would give the same result, or will."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL)
        same = [
            t
            for t in self.study.get_trials(deepcopy=False, states=states)
            if attempts.origin(t) < attempts.origin(trial)
            and not attempts.is_repeat(t)
            and (
                t.state != TrialState.FAIL
                or attempts.HOPELESS in t.user_attrs
                or attempts.is_baseline(self.plan, t)  # another one of full length has no place in the budget
            )
            and same_params(t.params, params)
        ]
        # The baseline's settings may lie beside the point of the space that it is seen as.
        is_baseline = attempts.is_baseline(self.plan, trial)
        same = [t for t in same if attempts.is_baseline(self.plan, t) == is_baseline]
        return same[0] if same else None

    def _repeat(self, trial: Trial, earlier: FrozenTrial) -> float:
        for step, value in earlier.intermediate_values.items():
            trial.report(value, step)
        reason = f"{attempts.REPEATS}{attempts.origin(earlier)}"
        trial.set_user_attr(attempts.OUTCOME, reason)
        if attempts.HOPELESS in earlier.user_attrs:
            trial.set_user_attr(attempts.HOPELESS, True)
        state = State.COMPLETE if earlier.state == TrialState.COMPLETE else State.PRUNED
        self.listener(TrialEnded(trial.number, state, reason, earlier.value))
        if earlier.state != TrialState.COMPLETE:
            raise optuna.TrialPruned(reason)
        assert earlier.value is not None
        return earlier.value

    def start(self, job: Job, log: Path) -> TrialProcess:
        self._process = TrialProcess(job, log, self._program)
        if self.ended:  # meanwhile
            self._process.interrupt()
        return self._process

    def end(self) -> None:
        """Begin nothing more, and interrupt the trial."""
        self._ended.set()
        if self._process is not None:
            self._process.interrupt()

    def kill(self) -> None:
        """Kill the trial: it hangs."""
        if self._process is not None:
            self._process.kill()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def make_room(self) -> None:
        """Leave the memory to other workers, if a search has started this one: it decides how many there are."""
        if self.is_supervised:
            self.makes_room = True
            self._ended.set()

    def count_death(self, origin: int | None, reason: str) -> None:
        """Give up where every process dies before it trains: it cannot be the settings of one trial.

        Args:
            origin: the suggestion; None where its training had not begun, so that no settings can be at fault.
            reason: how it died.
        """
        self._deaths.append(origin)
        if self._deaths.count(None) >= DEATHS or len(set(self._deaths)) >= DEATHS:
            self.give_up(f"the last {len(self._deaths)} processes of trials ended before an update: {reason}")

    def forget_deaths(self) -> None:
        self._deaths.clear()

    def give_up(self, reason: str) -> None:
        """End for a reason for which all trials would fail."""
        self.failure = reason
        self.end()


def join(arguments: list[str], program: Path = TRIAL) -> int:
    """Work for a study that a search on another host or terminal has begun; return the exit code.

    Raises:
        ConfigError: if there is no such study, or what is here is unlike it.
    """
    check_own_settings(arguments)
    plan = read_plan(arguments)
    if plan.search.storage is None:
        raise ConfigError("search.storage", "the search's own in a worker", "none", "search.storage=<address> names it")
    if not storage.is_there(plan.search.storage):  # to open it would make it
        raise ConfigError("search.study", BEGUN_HERE, plan.search.study, "there: none")
    number = int.from_bytes(os.urandom(4), "big")
    return work(Task(arguments, number, str(program)))


def work(task: Task, orders: TextIO | None = None) -> int:
    """Run trials of a study until nothing is left to do, or a signal or the end of its orders comes.

    Args:
        task: what the worker is for.
        orders: a stream whose end ends the worker.

    Returns:
        The exit code.

    Raises:
        ConfigError: if there is no such study, or what is here is unlike it.
        OSError: where the study continues with another version of the program.
        StorageInternalError: where the database is away for too long.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        worker = Worker(task)
    except CodeChanged as error:
        raise ConfigError("the program", f"the study's version, {error}", published.code_version()) from None
    worker.is_supervised = orders is not None
    if task.compare:
        compare_with_study(worker.plan, worker.study.user_attrs, console)
    logs = worker.plan.folder.path / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    optuna_log.log_to(logs / f"optuna-{task.number}.log")
    worker.listener = SearchDisplay(
        Console(highlight=False, soft_wrap=True, force_terminal=False), worker.plan, []
    ).event
    caught: list[int] = []
    first = 0.0  # when the first signal came

    def stop() -> None:
        worker.end()
        time.sleep(KILL_SECONDS)
        worker.kill()

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if caught and time.monotonic() - first > SAME_SECONDS:  # it is not to be waited for
            worker.kill()
        elif not caught:
            first = time.monotonic()
            caught.append(number)
            threading.Thread(target=stop, daemon=True).start()  # the main thread may hold what this needs

    def wait_for_end(stream: TextIO) -> None:
        stream.read()
        stop()

    if orders is not None:
        threading.Thread(target=wait_for_end, args=(orders,), daemon=True).start()
    console.print(f"joined   study {worker.plan.search.study}", markup=False)
    with handled(end), _fork_server(task, logs / f"fork-server-{task.number}.log"):
        try:
            worker.run()
        except CodeChanged as error:
            version = published.code_version()
            raise OSError(f"the study continues with the program's version {error}, this is {version}") from None
    if worker.failure:
        print(f"error: {worker.failure}", file=sys.stderr)
        return NO_TRIAL_COULD_DO_BETTER
    if worker.makes_room:
        console.print("left     memory is not enough for so many trials at a time")
        return MAKES_ROOM
    console.print("ended    " + ("its trial is queued for others" if worker.ended else "nothing is left to do"))
    return 128 + caught[0] if caught else 0


def _fork_server(task: Task, log: Path) -> AbstractContextManager[None]:
    """Return a server for the trials of a worker that is on its own; only those of the usual program need it."""
    return fork_server([PRELOAD], log) if Path(task.program) == TRIAL else nullcontext()


def main(arguments: list[str]) -> int:
    return work(Task(**json.loads(sys.stdin.readline())), sys.stdin)


if __name__ == "__main__":
    entry.run(main, failures=storage.FAILURES)
