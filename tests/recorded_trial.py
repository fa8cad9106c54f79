"""The trial without training of `tests/chaos/`, fed to MLflow while it runs, as real ones are."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.cli import entry
from experiments.tracking.feeder import Feeder
from experiments.training.start import Run
from experiments.training.train import Outcome
from sweeps.workers import trial

sys.path.insert(0, str(Path(__file__).parent / "chaos"))
import trial_without_training as quick


def train(run: Run, console: Console, **options: Any) -> Outcome:
    feeder = Feeder(run.folder)
    feeder.start()
    try:
        return quick.train(run, console, **options)
    finally:
        feeder.finish(60)


if __name__ == "__main__":
    trial.train = train
    entry.run(trial.main)
