"""What everything around the updates costs: a run with all its records against the bare updates.

    python benchmarks/overhead.py [STEPS]      (3,000 by default: some ten minutes on two cores)

One half of the bare updates comes before the run and the other after it, as a machine's
speed drifts. The clock starts behind the first call, which compiles, and stops when all
is delivered to MLflow. The data are the built-in pictures; every interval is the default,
and the database and the caches are there, as in any but the very first run.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.compose import compose_config
from experiments.native_log import native_stderr_to
from experiments.prepare import Run, new_run


class Clock:
    """A `gan.tracker.Tracker` that sees when the first call is over, and what follows the last."""

    def __init__(self) -> None:
        self.first: tuple[int, float] | None = None
        self.last = 0.0

    def scalars(self, step: int, values: object) -> None:
        pass

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        pass

    def tick(self, step: int) -> None:
        self.last = time.perf_counter()
        if self.first is None:
            self.first = step, self.last


def with_everything(run: Run) -> tuple[float, float]:
    """Seconds an update until the last update, and seconds from then to the end."""
    from experiments.training import train

    clock = Clock()
    with run.folder.owned():
        outcome = train(run, Console(quiet=True), trackers=[clock])
    assert outcome.status == "FINISHED", outcome.failure
    assert clock.first is not None
    step, start = clock.first
    return (clock.last - start) / (outcome.step - step), time.perf_counter() - clock.last


def bare(run: Run) -> tuple[float, float]:
    from experiments.training import build_update

    update, per_call = build_update(run.config, run.dataset.train), run.config.train.steps_per_call
    update.run(1, per_call).numpy()
    calls = run.config.train.steps // per_call
    start = time.perf_counter()
    for call in range(1, calls + 1):
        update.run(call * per_call + 1, per_call).numpy()
    return (time.perf_counter() - start) / (calls * per_call), 0.0


def measure(what: str, steps: int, folder: str) -> tuple[float, float]:
    """In a process of its own."""
    command = [sys.executable, __file__, what, str(steps), folder]
    words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(words[0]), float(words[1])


def child(what: str, steps: int, folder: str) -> None:
    with native_stderr_to(Path("/dev/null")):
        settings = ["data=embedded", f"train.steps={steps}", f"records.root={folder}"]
        run = new_run(compose_config(settings), None, settings, Console(quiet=True))
        print(*{"all": with_everything, "none": bare}[what](run))


def main(steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        measure("all", 50, folder)  # makes the database and the caches
        order = (("none", steps // 2), ("all", steps), ("none", steps // 2))
        before, everything, after = (measure(what, count, folder) for what, count in order)
    update = (before[0] + after[0]) / 2
    during, end = everything[0] - update, everything[1]
    table = Table("of a run of", f"{steps:,} updates")
    table.add_row("an update, bare: before, after", f"{before[0] * 1e3:.1f} ms, {after[0] * 1e3:.1f} ms")
    table.add_row("an update, with all between updates", f"{everything[0] * 1e3:.1f} ms")
    table.add_row("after the last update: scores, pictures, model, delivery", f"{end:.1f} s")
    table.add_row("extra between updates, of the wall clock", f"{during / (everything[0] + end / steps):.1%}")
    table.add_row("extra in all, of the wall clock", f"{(during + end / steps) / (everything[0] + end / steps):.1%}")
    Console(width=120).print(table)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        child(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    else:
        main(int(sys.argv[1]) if len(sys.argv) == 2 else 3000)
