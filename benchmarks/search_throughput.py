"""Trials an hour of a search with one and with more workers, and what a trial costs beside its training.

    python benchmarks/search_throughput.py [rounds=2] [steps=300] [workers=1,2] [trials=4]     (some ten minutes)

They take turns, so many trials each, nothing pruned, the built-in drawings. An hour
counts from the beginning of the first trial to the end of the last. A trial's fixed
cost is what is left of its time after its updates and its scores, which grow with the
steps: start-up, compilation, saving, delivery to MLflow, its process' end.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import optuna
from arguments import arguments
from rich.console import Console
from rich.table import Table

from experiments.records import journal
from experiments.records.folders import RunFolder
from gan import metric_names
from sweeps.study.attempts import run_name

ROOT = Path(__file__).resolve().parents[1]


def search(workers: int, steps: int, trials: int, root: Path) -> tuple[float, list[float]]:
    """Trials an hour, and the fixed cost of each in seconds."""
    settings = {
        "data": "embedded", "records.root": root, "search.workers": workers, "search.trials": trials,
        "search.steps": steps, "search.pruner": "none", "search.confirm.seeds": 0,
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "sweeps/optuna_search.py"), *(f"{k}={v}" for k, v in settings.items())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    done = optuna.load_study(study_name="gan", storage=f"sqlite:///{root}/studies.db").get_trials()
    begins = [trial.datetime_start for trial in done if trial.datetime_start is not None]
    ends = [trial.datetime_complete for trial in done if trial.datetime_complete is not None]
    assert len(ends) == len(begins) == trials
    hours = (max(ends) - min(begins)).total_seconds() / 3600
    costs = []
    for trial in done:
        assert trial.duration is not None
        training = seconds_of_training(RunFolder(root / "runs" / run_name("gan", trial.number)))
        costs.append(trial.duration.total_seconds() - training)
    return trials / hours, costs


def seconds_of_training(folder: RunFolder) -> float:
    """Of updates and scores, as the journal has them."""
    updates = scores = 0.0
    last_step, last_time = 0, 0
    for record, _ in journal.read(folder.journal, 0):
        if isinstance(record, journal.Scalars) and metric_names.STEPS_PER_SECOND in record.values:
            updates += (record.step - last_step) / record.values[metric_names.STEPS_PER_SECOND]
            last_step = record.step
        if isinstance(record, journal.Scalars) and metric_names.FID_PROXY in record.values:
            scores += (record.time - last_time) / 1000
        last_time = record.time
    return updates + scores


def main(rounds: int, steps: int, workers: tuple[int, ...], trials: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rates: dict[int, list[float]] = {number: [] for number in workers}
    costs: dict[int, list[float]] = {number: [] for number in workers}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for number in workers:
                rate, fixed = search(number, steps, trials, Path(folder) / f"{turn}-{number}")
                rates[number].append(rate)
                costs[number] += fixed
    first = workers[0]
    table = Table("workers", "trials an hour", f"of {first} worker's", "fixed cost of a trial, s (median, most)")
    for number in workers:
        ratio = statistics.median(rate / one for rate, one in zip(rates[number], rates[first], strict=True))
        spread = f"{statistics.median(costs[number]):.1f}, {max(costs[number]):.1f}"
        table.add_row(str(number), f"{statistics.median(rates[number]):.0f}", f"{ratio:.2f}", spread)
    Console(width=120).print(table)


if __name__ == "__main__":
    main(**arguments(rounds=2, steps=300, workers=(1, 2), trials=4))
