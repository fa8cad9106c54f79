"""How fast this machine would train a search's trials: measured, side by side, nothing kept.

python sweeps/search/throughput.py <overrides as JSON>      (started by search.dry_run=true)
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from experiments.cli.overrides import as_text
from sweeps.spec.plan import Plan

UPDATES = 30
# What a trial costs beside its updates, per update: scores, pictures and records (docs/performance.md).
AROUND = 1.1


@dataclass(frozen=True)
class Pace:
    """Of one trial among as many as there are workers."""

    start_seconds: float  # to the first update
    update_seconds: float

    def trial_seconds(self, steps: int) -> float:
        return self.start_seconds + AROUND * steps * self.update_seconds


def measure(plan: Plan) -> Pace:
    """Trains as many trials as there are workers, for a moment. Raises RuntimeError if they fail."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*plan.overrides, f"train.threads={plan.threads}", as_text(f"records.root={folder}")]
        command = [sys.executable, __file__, json.dumps([overrides, plan.config_dir])]
        processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(plan.workers)
        ]
        outputs = [process.communicate() for process in processes]
    for process, (_, words) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise RuntimeError([f"exit code {process.returncode}", *words.strip().splitlines()][-1])
    times = [[float(word) for word in out.split()] for out, _ in outputs]
    starts, updates = zip(*times, strict=True)
    return Pace(max(starts), max(updates))


def main() -> None:
    begin = time.perf_counter()
    overrides, config_dir = json.loads(sys.argv[1])
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a download says so on the standard output

    from experiments.cli.compose import compose_config
    from experiments.cli.stderr import native_stderr_to
    from experiments.records.folders import Records
    from experiments.runs.start import load_data
    from experiments.runs.threads import use_threads

    config = compose_config(overrides, config_dir)
    use_threads(config.train.threads)
    with native_stderr_to(Path("/dev/null")):
        from experiments.runs.build import build_update

        update = build_update(config, load_data(config, Records.at(config.records.root), Console(quiet=True)).train)
        update.run(1, 1).numpy()
        start = time.perf_counter()
        update.run(2, UPDATES).numpy()
    end = time.perf_counter()
    print(start - begin, (end - start) / UPDATES, file=result)


if __name__ == "__main__":
    main()
