"""Stands in for sweeps/workers/trial.py: the same job, orders, events and journal, without training.

Scores fall with the steps, and are the higher the further the learning rate is from 3e-4.
`model.dropout` says what goes wrong: 0.4 kills the process half-way, 0.3 fails, 0.35
finds the disk full, 0.36 no images, 0.45 the memory.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from experiments.cli.compose import compose_config
from experiments.records.folders import RunFolder
from experiments.records.journal import Journal
from experiments.records.status import FailureKind, RunStatus
from experiments.settings.schema import Config
from gan import metric_names
from sweeps.workers.protocol import Ended, Job, Scalars, Started, to_line

SECONDS = 0.02  # a score


def score(config: Config, step: int) -> float:
    return 10 + abs(config.optim.learning_rate - 3e-4) * 1e4 + 100 / (step + 1)


def main() -> None:
    job = Job(**json.loads(sys.stdin.readline()))
    orders: list[str] = []
    ended = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            orders.append(line)
            ended.set()
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    config = compose_config(job.overrides, job.config_dir)
    folder = RunFolder(Path(job.study).parents[1] / "runs" / job.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    state = folder.path / "stub.json"
    begun = json.loads(state.read_text()) if state.exists() else {"step": 0, "attempts": 0}
    begun |= {"attempts": begun["attempts"] + 1, "overrides": job.overrides}
    state.write_text(json.dumps(begun))
    say = lambda message: print(to_line(message), end="", flush=True)  # noqa: E731
    say(Started(begun["step"]))
    journal = Journal(folder)
    status, pause_at = RunStatus.KILLED, job.pause_at or config.train.steps + 1
    for step in range(begun["step"] + 1, config.train.steps + 1):
        if step > pause_at:
            break
        if ended.wait(SECONDS):
            break
        if step % config.eval.every_steps == 0:
            scalars = {metric_names.FID_PROXY: score(config, step)}
            journal.scalars(step, scalars)
            say(Scalars(step, scalars))
        begun["step"] = step
        state.write_text(json.dumps(begun))
        if config.model.dropout == 0.4 and step == config.train.steps // 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if config.model.dropout == 0.3:
            say(Ended(RunStatus.FAILED, step, "d_loss is nan at step 1", FailureKind.DIVERGED))
            return
        if config.model.dropout == 0.35:
            say(Ended(RunStatus.FAILED, step, "No space left on device", FailureKind.RECORDS))
            return
        if config.model.dropout == 0.36:
            say(Ended(RunStatus.FAILED, step, "there are no images", FailureKind.INPUTS))
            return
        if config.model.dropout == 0.45 or (config.model.dropout == 0.46 and begun["attempts"] == 1):
            say(Ended(RunStatus.FAILED, step, "out of memory", FailureKind.OUT_OF_MEMORY))
            return
    else:
        status = RunStatus.FINISHED
    time.sleep(0.01)
    say(Ended(status, begun["step"]))


if __name__ == "__main__":
    main()
