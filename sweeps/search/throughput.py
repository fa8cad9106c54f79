"""A measurement of how fast this machine trains the trials of a search side by side. It keeps nothing.

python sweeps/search/throughput.py <overrides as JSON>      (started by search.dry_run=true)
"""

import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from experiments.cli import entry
from experiments.cli.entry import stopped_by
from experiments.cli.overrides import as_text
from experiments.cli.signals import first_collected
from experiments.hardware import gpus
from experiments.hardware.cores import available_cores
from experiments.processes.process import PRELOAD, fork_server, last_words, run
from sweeps.spec.plan import Plan

UPDATES = 30  # that are timed
OVERHEAD_FACTOR = 1.1  # time with scores, samples and records, over the time of the updates (docs/performance.md)


class CannotMeasure(Exception):
    """A trial fails before there is anything to measure."""


@dataclass(frozen=True)
class TrialTiming:
    """How long one trial takes while others run beside it.

    Attributes:
        start_seconds: from the start of its process to its first update.
        update_seconds: of each update, without scores, samples and records.
    """

    start_seconds: float
    update_seconds: float

    def trial_seconds(self, steps: int) -> float:
        """Return how long a trial of so many updates takes."""
        return self.start_seconds + self.seconds(steps)

    def seconds(self, updates: int) -> float:
        """Return how long so many updates take, with scores, samples and records."""
        return OVERHEAD_FACTOR * updates * self.update_seconds


def side_by_side(plan: Plan) -> int:
    """Return how many trials `measure` trains: as many as run on this host; one where workers run on others.

    Beyond the cores, and the places on GPUs, more are no faster: then they are as slow as they are many.
    """
    if plan.search.launcher != "local":
        return 1
    return min(plan.workers, max(available_cores(), gpus.places(plan.config.train.devices)))


def crowding(plan: Plan) -> str:
    """Say that more trials run side by side than are of use; nothing where it is not so."""
    most = side_by_side(plan)
    if plan.search.launcher != "local" or plan.workers <= most:
        return ""
    return f"search.workers={plan.workers} is more than {most}: beyond that trials take memory, and are no faster"


def measure(plan: Plan) -> TrialTiming:
    """Train a few trials side by side for a moment, and return the times of the slowest.

    Raises:
        CannotMeasure: where one of them fails.
        SystemExit: where a signal stopped them.
    """
    with tempfile.TemporaryDirectory() as folder, first_collected() as caught:
        overrides = [*plan.overrides, f"train.threads={plan.threads}", as_text(f"records.root={folder}")]
        arguments = [json.dumps([overrides, plan.config_dir, str(plan.records.cache)])]
        count = side_by_side(plan)
        with fork_server([PRELOAD]), ThreadPoolExecutor(count) as threads:
            environments = [{**os.environ, **gpus.share_of(k, plan.config.train.devices)} for k in range(count)]
            done = list(
                threads.map(lambda variables: run(Path(__file__), arguments, environment=variables), environments)
            )
    if caught:  # only now, as the folder is removed
        sys.exit(stopped_by(caught[0]))
    for process in done:
        if process.returncode:
            raise CannotMeasure(f"the throughput cannot be measured: {last_words(process)}")
    times = [tuple(float(word) for word in process.stdout.split()) for process in done]
    slower = plan.workers / count if plan.search.launcher == "local" else 1.0
    return TrialTiming(
        start_seconds=slower * max(start_seconds for start_seconds, _ in times),
        update_seconds=slower * max(update_seconds for _, update_seconds in times),
    )


def main(arguments: list[str]) -> int:
    """Train one trial for UPDATES updates, and print the two numbers of its TrialTiming."""
    begin = time.perf_counter()
    overrides, config_dir, cache = json.loads(arguments[0])
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the standard output is for the result alone: a download would print to it

    from experiments.cli.compose import compose_config
    from experiments.cli.stderr import native_stderr_to
    from experiments.hardware.device import use_hardware
    from experiments.records.folders import Records
    from experiments.training.start import load_data

    config = compose_config(overrides, config_dir)
    records = Records.at(config.records.root)
    # What XLA has compiled for the trials before, where there is something.
    hardware = use_hardware(config.train, Path(cache) if Path(cache).is_dir() else records.cache)
    with native_stderr_to():
        from experiments.training.build import build_update

        update = build_update(config, load_data(config, records, Console(quiet=True)).train, hardware.jit_compile)
        update.run(1, 1).numpy()
        start = time.perf_counter()
        update.run(2, UPDATES).numpy()
    end = time.perf_counter()
    print(start - begin, (end - start) / UPDATES, file=result, flush=True)
    return 0


if __name__ == "__main__":
    entry.run(main)
