"""sweeps/workers/trial.py itself, but for the training: a score follows from the settings and the step.

Everything around it is real: the run's folder and lock, its journal and checkpoints, what
is said to the worker, the tags that MLflow gets.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from rich.console import Console

from experiments.cli import entry
from experiments.records.journal import Journal
from experiments.records.status import RunStatus
from experiments.settings.schema import Config
from experiments.training.start import Run
from experiments.training.train import Outcome
from gan import metric_names
from gan.checkpoint import Checkpoint
from gan.tracker import Tracker, Trackers
from sweeps.workers import trial

SECONDS = 0.05  # an update


def score(config: Config, step: int) -> float:
    return 10 + abs(config.optim.generator_learning_rate - 3e-4) * 1e4 + 100 / (step + 1)


def train(
    run: Run,
    console: Console,
    *,
    trackers: Sequence[Tracker],
    should_stop: Callable[[], bool],
    final: bool,
    closing_tags: Callable[[Outcome], Mapping[str, str]],
) -> Outcome:
    config, status = run.config, RunStatus.FINISHED
    step = run.checkpoint.step if run.checkpoint is not None else 0
    journal = Journal(run.folder, run.weights.id)
    if run.resumed:
        journal.status(RunStatus.RUNNING)
    tracker = Trackers([journal, *trackers])
    while step < config.train.steps:
        time.sleep(SECONDS)
        step += 1
        if step % config.eval.every_steps == 0:
            tracker.scalars(step, {metric_names.FID_PROXY: score(config, step)})
        run.folder.checkpoints.save(Checkpoint(step, {"a": np.zeros(3)}, {}))
        if should_stop():
            status = RunStatus.KILLED if step < config.train.steps else status
            break
    outcome = Outcome(status, step)
    journal.tags(closing_tags(outcome))
    journal.status(status)
    journal.close()
    return outcome


if __name__ == "__main__":
    trial.train = train
    entry.run(trial.main)
