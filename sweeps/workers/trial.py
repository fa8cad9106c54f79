"""One trial, in a process of its own: a run as experiments/run.py makes it, which its worker listens to.

The worker starts `python sweeps/workers/trial.py` and writes a `Job` to its standard input, as a
line of JSON. What it answers is in sweeps/workers/protocol.py.

A line `prune <reason>` ends the trial for good; the end of the standard input, as when
the worker dies, interrupts it, to be resumed from its checkpoint.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

import numpy as np
from filelock import FileLock, Timeout
from rich.console import Console

from experiments.cli import entry
from experiments.cli.compose import compose, flags
from experiments.records.folders import InUse, RunFolder, read_json
from experiments.records.status import TRIAL_STATE, FailureKind, RunStatus
from experiments.settings.rules import describe
from experiments.settings.schema import RESUME_MAY_CHANGE, Config
from experiments.training.ancestor import KEY as INIT_FROM
from experiments.training.snapshot import upload, uploading
from experiments.training.start import Membership, Run, check_same_images, new_run, resumed_run
from experiments.training.train import Outcome, train
from gan.checkpoint import CheckpointError
from gan.errors import ConfigError, InputError, explained
from sweeps.study.states import State
from sweeps.workers.protocol import Ended, Job, Message, Progress, Scalars, Started, to_line

# What a run that is taken up must have been trained with; the study's ancestor and images may have been moved since.
SETTINGS = {
    key for key in describe(Config) if key not in RESUME_MAY_CHANGE and not key.startswith("data.") and key != INIT_FROM
}
TICK = 0.5  # seconds between two messages that only say how far it is
LOCK_SECONDS = 180.0  # to wait for a predecessor that is still saving its state, or delivering it


class Orders:
    """What the worker says meanwhile."""

    def __init__(self) -> None:
        self.stop = False
        self.reason = ""  # to be pruned
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            if line.startswith("prune "):
                self.reason = line.removeprefix("prune ").strip()
                self.stop = True
        self.stop = True  # the worker is gone, or wants to be

    def end(self, number: int, frame: FrameType | None) -> None:
        """A signal that is meant for all."""
        self.stop = True


class Messages:
    """A `gan.tracker.Tracker` that tells the worker."""

    def __init__(self, descriptor: int) -> None:
        self.step = 0
        self._stream = os.fdopen(descriptor, "w", buffering=1)
        self._last = 0.0

    def say(self, message: Message) -> None:
        with contextlib.suppress(OSError):  # without a worker the orders end as well
            self._stream.write(to_line(message))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.say(Scalars(step, dict(values)))

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        pass

    def tick(self, step: int) -> None:
        self.step = step
        if time.monotonic() - self._last >= TICK:
            self._last = time.monotonic()
            self.say(Progress(step))


def main(arguments: list[str]) -> int:
    messages = Messages(os.dup(1))
    os.dup2(2, 1)  # whatever else is written belongs to the log
    log = os.fdopen(
        os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace"
    )  # descriptor 2 itself becomes TensorFlow's
    console = Console(file=log, width=120, highlight=False, soft_wrap=True)
    job = Job(**json.loads(sys.stdin.readline()))
    orders = Orders()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the search says what is to be done
    signal.signal(signal.SIGTERM, orders.end)
    messages.say(_train(job, orders, messages, console))
    return 0


def _train(job: Job, orders: Orders, messages: Messages, console: Console) -> Ended:
    """Train as the job says, and return how that ended."""
    try:
        with _prepared(job, console) as run, uploading(run.folder, job.upload_minutes):
            messages.step = run.checkpoint.step if run.checkpoint is not None else 0
            messages.say(Started(messages.step))
            pause_at = job.pause_at if job.pause_at is not None else math.inf
            outcome = train(
                run,
                console,
                trackers=[messages],
                should_stop=lambda: orders.stop or messages.step >= pause_at,
                final=job.final,
                closing_tags=lambda outcome: _tags(job, outcome, orders.reason, outcome.step >= pause_at),
            )
            if job.upload_minutes is not None and outcome.status == RunStatus.KILLED and not orders.reason:
                upload(run.folder)  # another host may resume it
        return Ended(outcome.status, outcome.step, outcome.failure, outcome.failure_kind)
    except InUse as error:  # no fault of the trial, which is requeued
        console.print(f"interrupted: {error}", markup=False)
        return Ended(RunStatus.KILLED, 0, str(error))
    except (ConfigError, CheckpointError, OSError) as error:
        failure = explained(error) if isinstance(error, OSError) else str(error)
        console.print(f"error: {failure}", markup=False)
        return Ended(RunStatus.FAILED, 0, failure, _kind(error))


def _kind(error: Exception) -> FailureKind:
    if isinstance(error, InputError) or (isinstance(error, ConfigError) and error.key == INIT_FROM):
        return FailureKind.INPUTS
    return FailureKind.RECORDS if isinstance(error, OSError) else FailureKind.OTHER


@contextlib.contextmanager
def _prepared(job: Job, console: Console) -> Iterator[Run]:
    """The run of a job: a new one, or the one that was begun before. No other process is at it. Raises InUse."""
    study = RunFolder(Path(job.study))
    folder = RunFolder(study.records.runs / job.name)
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with (
        _patiently(lambda: FileLock(folder.path.parent / f".{job.name}.lock", timeout=0), job.name),
        _run(job, folder, study, console) as run,
    ):
        check_same_images(run.dataset, read_json(study.facts), "data")
        yield run


@contextlib.contextmanager
def _run(job: Job, folder: RunFolder, study: RunFolder, console: Console) -> Iterator[Run]:
    overrides = [*job.overrides, f"name={job.name}"]
    composed = compose(overrides, job.config_dir)
    config = composed.config
    if folder.config.is_file():
        with _patiently(folder.owned, job.name):
            config.resume = job.name
            yield resumed_run(folder, config, SETTINGS, console)
        return
    if folder.path.exists():  # its process was killed before there was anything in it
        shutil.rmtree(folder.path)
    member = Membership(study, job.title, job.params, job.tags)
    run = new_run(config, None, [*flags(job.config_dir), *composed.overrides], console, member)
    with run.folder.owned():
        yield run


@contextlib.contextmanager
def _patiently(lock: Callable[[], AbstractContextManager[object]], name: str) -> Iterator[None]:
    """Hold a lock of a run as soon as another process frees it. Raises InUse."""
    with contextlib.ExitStack() as stack:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                stack.enter_context(lock())
                break
            except (Timeout, InUse):
                if time.monotonic() > deadline:
                    raise InUse("run", f"free within {LOCK_SECONDS:g} s", name, "another process is using it") from None
                time.sleep(0.2)
        yield


def _tags(job: Job, outcome: Outcome, reason: str, paused: bool) -> dict[str, str]:
    """What MLflow says of a trial that is over; one that was interrupted is not."""
    states = {
        RunStatus.FINISHED: State.COMPLETE,
        RunStatus.FAILED: State.FAIL,
        RunStatus.KILLED: State.PRUNED if reason else State.PAUSED if paused else State.RUNNING,
    }
    pruned = {"pruned_because": reason} if reason else {}
    return {**job.tags, TRIAL_STATE: states[outcome.status].value, **pruned}


if __name__ == "__main__":
    entry.run(main)
