"""The workers of a search: started, let begin trials within the budget, replaced when they die."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

from optuna.study import Study
from optuna.trial import TrialState

from experiments.records.folders import RunFolder
from sweeps.spec.plan import Plan
from sweeps.study import attempts
from sweeps.workers.child import TRIAL, Child
from sweeps.workers.protocol import Task

PROGRAM = Path(__file__).with_name("worker.py")
DEATHS = 5  # of workers in a row without a finished trial, after which something else is wrong
STOP_SECONDS = 60.0  # for trials to save their state

Event = dict[str, Any]


class Listener(Protocol):
    """Is told what happens."""

    def event(self, event: Event) -> None: ...
    def refresh(self) -> None:
        """Called a few times a second."""

    def stopping(self) -> None:
        """Trials have been told to save their state and end."""


class CannotGoOn(Exception):
    """Something that every trial would fail of."""


class _Worker(Child):
    """A worker's process, from the search's side."""

    def __init__(self, task: Task, events: "queue.Queue[tuple[_Worker, Event | None]]") -> None:
        self.number = task.number
        self.ready = False
        self.trial: int | None = None  # that it is at
        self.again = False  # whether that is to be taken up again
        log = Path(task.folder) / "logs" / f"worker-{task.number}.err"
        super().__init__(PROGRAM, task.line(), log, heard=True, apart=True)  # the search ends it in order
        self._listener = threading.Thread(target=self._listen, args=(events,), daemon=True)
        self._listener.start()

    def _listen(self, events: "queue.Queue[tuple[_Worker, Event | None]]") -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                events.put((self, json.loads(line)))
        events.put((self, None))

    def close(self) -> None:
        """Kill what is left of it, its trial included."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.release()

    def release(self) -> None:
        """What it holds here, when it has ended; its trial may still be saving its state."""
        self.process.wait()
        self._listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class Pool:
    """Runs a study's trials until its budget is used up."""

    def __init__(self, plan: Plan, study: Study, folder: RunFolder, listener: Listener, program: Path = TRIAL) -> None:
        self._plan, self._study, self._folder, self._listener = plan, study, folder, listener
        self._program = program  # of a trial
        self._events: queue.Queue[tuple[_Worker, Event | None]] = queue.Queue()
        self._workers: list[_Worker] = []
        self._asking: _Worker | None = None  # that has been let begin a trial, and has not said which
        self._deaths = 0
        self._orphans = False  # whether a worker died, and left its trial
        self._begin = time.monotonic()
        self._seconds = float(study.user_attrs.get(attempts.SECONDS, 0.0))

    def run(self, should_stop: Callable[[], bool]) -> bool:
        """True when the budget is used up, False when stopped before. Raises CannotGoOn."""
        if not self._may_begin():
            return True
        try:
            for number in range(self._plan.workers):
                self._start(number)
            while not should_stop():
                self._let_one_begin()
                if self._asking is None and all(w.ready for w in self._workers):
                    adopt_orphans(self._study, self._plan.search.retries)  # of a worker that died just so
                    if not self._may_begin():
                        return True
                self._take_event()
            return False
        finally:
            self._end()

    def _start(self, number: int) -> None:
        task = Task(self._plan.command, str(self._folder.path), number, str(self._program))
        self._workers.append(_Worker(task, self._events))

    def _may_begin(self) -> bool:
        """Whether a trial is waiting to be taken up again, or there is budget for another."""
        return attempts.may_begin(self._plan, self._study.get_trials(deepcopy=False), self._elapsed())

    def _let_one_begin(self) -> None:
        """One after the other, so that each suggestion knows of those before it and budgets are exact."""
        if self._asking is not None:
            return
        if self._orphans:
            adopt_orphans(self._study, self._plan.search.retries, {worker.trial for worker in self._workers})
            self._orphans = False
        idle = [worker for worker in self._workers if worker.ready]
        if idle and self._may_begin():
            self._asking = idle[0]
            self._asking.ready = False
            self._asking.say("go\n")

    def _take_event(self) -> None:
        try:
            worker, event = self._events.get(timeout=0.25)
        except queue.Empty:
            self._listener.refresh()
            return
        if event is None:
            self._died(worker)
        elif "ready" in event:
            worker.ready = True
            if worker.trial is not None and worker.again:
                self._again([worker.trial])
            if self._asking is worker:  # there was nothing left to begin
                self._asking = None
            worker.trial, worker.again = None, False
            self._study.set_user_attr(attempts.SECONDS, self._elapsed())
        else:
            if "params" in event:
                worker.trial, self._asking = event["trial"], None
            if "state" in event:
                worker.again = event.get("again", False)
                self._deaths = 0
            self._listener.event(event)
            if event.get("stop"):
                raise CannotGoOn(f"{event['reason']}; the same command goes on when that is mended")

    def _again(self, numbers: list[int]) -> None:
        for number in attempts.take_up_again(self._study, numbers, self._plan.search.retries):
            self._listener.event({"trial": number, "state": "FAIL", "reason": "killed too often"})

    def _died(self, worker: _Worker) -> None:
        """Its trial is nobody's now; another worker takes its place."""
        self._workers.remove(worker)
        worker.release()
        if self._asking is worker:
            self._asking = None
        self._orphans = True
        self._deaths += 1
        if self._deaths > DEATHS:
            raise CannotGoOn(f"workers die as fast as they are started; the last words are in {self._folder.path}/logs")
        self._start(worker.number)

    def _end(self) -> None:
        for worker in self._workers:
            worker.end()
        if any(worker.trial is not None for worker in self._workers):
            self._listener.stopping()
        deadline = time.monotonic() + STOP_SECONDS
        try:
            for worker in self._workers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(deadline - time.monotonic(), 0.0))
        finally:
            for worker in self._workers:
                worker.close()
            self._study.set_user_attr(attempts.SECONDS, self._elapsed())
            adopt_orphans(self._study, self._plan.search.retries)

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._begin


def adopt_orphans(study: Study, retries: int, at_work: Collection[int | None] = ()) -> None:
    """Queue what no worker is at any more, and what was interrupted, to be taken up again."""
    trials = study.get_trials(deepcopy=False)
    orphans = [t.number for t in trials if t.state == TrialState.RUNNING and t.number not in at_work]
    for number in orphans:
        attempts.fail(study, number)
    lost = [t.number for t in trials if t.state == TrialState.FAIL and attempts.OUTCOME not in t.user_attrs]
    attempts.take_up_again(study, [*orphans, *lost] if not at_work else orphans, retries)
