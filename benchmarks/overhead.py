"""What everything around the updates costs: a run with all its records against the bare updates.

    python benchmarks/overhead.py [steps=3000]      (some eight minutes on two cores)

Both are processes of their own that take turns of five seconds, one stopped while the
other runs: a machine's speed drifts by more than what is measured. The clock starts
behind the first call, which compiles, and stops when all is delivered to MLflow. The
data are the built-in drawings; every interval is the default, and the database and the
caches are there, as in any but the very first run.
"""

import itertools
import subprocess
import sys
import tempfile

import numpy as np
from arguments import arguments
from rich.console import Console
from rich.table import Table
from turns import Runner, say

from experiments.cli.compose import compose_config
from experiments.cli.stderr import native_stderr_to
from experiments.records.status import RunStatus
from experiments.training.start import Run, new_run


class Milestones:
    """A `gan.tracker.Tracker` that says when the first call is over, and when the last is."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.started = False

    def scalars(self, step: int, values: object) -> None:
        pass

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        pass

    def tick(self, step: int) -> None:
        if not self.started:
            self.started = True
            say(f"started {step}")
        elif step == self.steps:
            say("trained")


def with_everything(run: Run) -> None:
    from experiments.training.train import train

    with run.folder.owned():
        outcome = train(run, Console(quiet=True), trackers=[Milestones(run.config.train.steps)])
    assert outcome.status == RunStatus.FINISHED, outcome.failure
    say("done")


def bare(run: Run) -> None:
    """Make updates without an end."""
    from experiments.training.build import build_update

    update, per_call = build_update(run.config, run.dataset.train), run.config.train.steps_per_call
    for call in itertools.count():
        update.run(call * per_call + 1, per_call).numpy()
        say(f"started {per_call}" if call == 0 else f"updated {per_call}")


def child(trackers: str, steps: int, folder: str) -> None:
    with native_stderr_to():
        settings = ["data=embedded", f"train.steps={steps}", f"records.root={folder}"]
        run = new_run(compose_config(settings), None, settings, Console(quiet=True))
        {"all": with_everything, "none": bare}[trackers](run)


def main(steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "all", "50", folder], check=True, stdout=subprocess.DEVNULL)
        runners = everything, nothing = [Runner([__file__, what, str(steps), folder]) for what in ("all", "none")]
        try:
            trained = None
            while (said := everything.turn()) != "done":
                assert said in (None, "trained"), said
                trained = everything.seconds if said else trained
                nothing.turn()
        finally:
            for runner in runners:
                runner.close()
    assert trained is not None
    count = steps - everything.first
    update, end = nothing.seconds / nothing.updates, everything.seconds - trained
    extra = everything.seconds - count * update
    table = Table("of a run of", f"{steps:,} updates")
    table.add_row("an update, bare", f"{update * 1e3:.1f} ms")
    table.add_row("an update, with all between updates", f"{trained / count * 1e3:.1f} ms")
    table.add_row("after the last update: scores, images, model, delivery", f"{end:.1f} s")
    table.add_row("extra between updates, of the wall clock", f"{(extra - end) / everything.seconds:.1%}")
    table.add_row("extra in all, of the wall clock", f"{extra / everything.seconds:.1%}")
    Console(width=120).print(table)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        child(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    else:
        main(**arguments(steps=3000))
