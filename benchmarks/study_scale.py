"""What a shared database costs a search: with 1 to 64 workers, and with 10 to 10,000 finished trials in the study.

    python benchmarks/study_scale.py [workers=1,4,16,64] [trials=5000]              (some half an hour)
    python benchmarks/study_scale.py finished=10,100,1000,10000                     (some ten minutes)

Workers are those of a search, each in a process of its own, taking turns at the database;
their trials train nothing and report six made-up scores. Suggestions are at random, so that
what is measured is the database and not the sampler; growth is with TPE, the default.
PostgreSQL is a private server on this machine, its disk writes not waited for.
"""

import json
import multiprocessing
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from pathlib import Path
from statistics import median

import numpy as np
import optuna
from arguments import arguments
from optuna.distributions import CategoricalDistribution
from optuna.trial import Trial, TrialState, create_trial
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers import Postgres, running

from experiments.records.folders import write_json
from sweeps.analysis.report import write_report
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.spec.space import sampled_params
from sweeps.study import attempts, identity, published, storage
from sweeps.workers.protocol import Task
from sweeps.workers.worker import Worker

REPORTS = 6  # scores of a trial
MORE = 5  # trials that are timed in a study of so many


class StubWorker(Worker):
    """Runs trials without a training, and keeps what the database took."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.times: dict[str, list[float]] = {"turn": [], "suggest": [], "report": []}

    def _optimize(self, count: int) -> None:
        self.times["turn"].append(time.perf_counter() - self._asked)
        self._granted = time.perf_counter()
        super()._optimize(count)

    def _run_one(self) -> bool:
        self._asked = time.perf_counter()
        return super()._run_one()

    def _objective(self, trial: Trial) -> float:
        params = sampled_params(self.plan.space, trial)
        trial.set_user_attr(attempts.ORIGIN, trial.number)
        attempts.begin(self._storage, trial)
        self._turn.close()
        self.times["suggest"].append(time.perf_counter() - self._granted)
        rng = np.random.default_rng(trial.number)
        for step in range(1, REPORTS + 1):
            start = time.perf_counter()
            trial.report(float(rng.random()) / step + abs(float(str(params["model.bn_momentum"])) - 0.7), step * 50)
            pruned = trial.should_prune()
            self.times["report"].append(time.perf_counter() - start)
            if pruned:
                trial.set_user_attr(attempts.OUTCOME, "behind")
                raise optuna.TrialPruned
        trial.set_user_attr(attempts.OUTCOME, "complete")
        return float(rng.random())


def work(arguments: list[str], number: int, result: str) -> None:
    """A worker, until the budget is used up."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    worker = StubWorker(Task(arguments, number, ""))
    start = time.perf_counter()
    worker.run()
    Path(result).write_text(json.dumps({**worker.times, "wall": time.perf_counter() - start}), encoding="utf-8")


def new_study(root: Path, address: str, trials: int, sampler: str) -> tuple[Plan, optuna.Study]:
    plan = read_plan(
        [
            f"search.storage={address}", f"records.root={root}", f"search.trials={trials}", f"search.sampler={sampler}",
            "search.steps=300", "data=embedded", "search.confirm.seeds=0",
        ]
    )  # fmt: skip
    plan.folder.path.mkdir(parents=True)
    write_json(plan.folder.facts, {"tags": {}})
    study = identity.open_study(storage.open_storage(plan), plan, {"fid_proxy_id": "made up"})
    published.publish(study, plan)
    return plan, study


def own_arguments(root: Path, address: str) -> list[str]:
    return ["search.role=worker", "search.study=gan", f"search.storage={address}", f"records.root={root}"]


def wait_for(jobs: list[SpawnProcess], connections: Callable[[], int]) -> int:
    """Wait until all jobs have ended, and return the most connections to the database that were seen."""
    most = 0
    while any(job.is_alive() for job in jobs):
        most = max(most, connections())
        time.sleep(1)
    for job in jobs:
        job.join()
        assert job.exitcode == 0
    return most


def many_workers(count: int, trials: int, address: str, root: Path, connections: Callable[[], int]) -> dict[str, float]:
    """Figures of one search with so many workers, after a check that no trial was lost or made twice."""
    _, study = new_study(root, address, trials, "random")
    spawn = multiprocessing.get_context("spawn")
    results = [root / f"worker-{k}.json" for k in range(count)]
    jobs = [
        spawn.Process(target=work, args=(own_arguments(root, address), k, str(result)))
        for k, result in enumerate(results)
    ]
    for job in jobs:
        job.start()
    most = wait_for(jobs, connections)
    times = [json.loads(result.read_text()) for result in results]
    finished = study.get_trials(deepcopy=False)
    states = Counter(trial.state for trial in finished)
    assert len(finished) == trials, f"{len(finished)} trials, not {trials}"
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}, states
    assert len({tuple(trial.params.values()) for trial in finished}) == trials  # no suggestion twice
    begins, ends = (
        [getattr(t, f"datetime_{when}") for t in finished if getattr(t, f"datetime_{when}")]
        for when in ("start", "complete")
    )
    seconds = (max(ends) - min(begins)).total_seconds()
    return {
        "trials/hour": 3600 * trials / seconds,
        "suggest": 1000 * median(x for worker in times for x in worker["suggest"]),
        "report": 1000 * median(x for worker in times for x in worker["report"]),
        "turn": 1000 * median(x for worker in times for x in worker["turn"]),
        "connections": most,
        "waiting": sum(sum(worker["turn"]) for worker in times) / sum(worker["wall"] for worker in times),
    }


def clients_of(server: Postgres) -> int:
    (row,) = server.query("select count(*) from pg_stat_activity where datname like 'd%'")
    return int(str(row[0]))


def workers_table(trials: int, counts: tuple[int, ...]) -> Table:
    columns = ("trials/hour", "turn", "suggest", "report", "waiting", "connections")
    table = Table("database", "workers", "trials an hour", "turn, ms", "suggest, ms", "report, ms", "fraction waiting")
    table.add_column("connections")
    for name in ("PostgreSQL", "SQLite"):
        for count in counts:
            with tempfile.TemporaryDirectory() as folder, running() as server:
                root = Path(folder)
                address = server.fresh() if name == "PostgreSQL" else f"sqlite:///{root}/studies.db"
                figures = many_workers(count, trials, address, root, lambda: clients_of(server))
            row = [f"{figures[c]:,.0f}" if c == "trials/hour" else f"{figures[c]:.3g}" for c in columns]
            table.add_row(name, str(count), *row)
    return table


def finished_trials(plan: Plan, count: int) -> list[optuna.trial.FrozenTrial]:
    """Make finished trials, half of them pruned at a third, as by halving."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        numbers = [
            (d.key, d.distribution) for d in plan.space if not isinstance(d.distribution, CategoricalDistribution)
        ]
        params = {key: float(rng.uniform(values.low, values.high)) for key, values in numbers}
        pruned = number % 2 == 1
        scores = {50 * step: float(rng.random() + 9 / step) for step in range(1, 3 if pruned else 7)}
        made.append(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                value=None if pruned else float(rng.random()),
                params=params,
                distributions={d.key: d.distribution for d in plan.space},
                user_attrs={attempts.ORIGIN: number, attempts.OUTCOME: "made up", attempts.BEGUN: number},
                intermediate_values=scores,
            )
        )
    return made


def growth_table(sizes: tuple[int, ...]) -> Table:
    table = Table("finished trials", "turn, ms", "suggest (TPE), ms", "report, ms", "final report, s", "page, MB")
    table.add_column("database, MB")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder, running() as server:
            root, address = Path(folder), server.fresh()
            plan, study = new_study(root, address, size + MORE, "tpe")
            study.add_trials(finished_trials(plan, size - 1))
            worker = StubWorker(Task(own_arguments(root, address), 0, ""))
            worker.run()
            milliseconds = {
                operation: 1000 * median(worker.times[operation][-MORE * (REPORTS if operation == "report" else 1) :])
                for operation in worker.times
            }
            start = time.perf_counter()
            report = write_report(plan, study, None, None)
            seconds = time.perf_counter() - start
            megabytes = report.page.stat().st_size / 1e6
            (stored,) = server.query("select max(pg_database_size(datname)) from pg_database where datname like 'd%'")
        row = [f"{milliseconds[operation]:.3g}" for operation in ("turn", "suggest", "report")]
        table.add_row(f"{size:,}", *row, f"{seconds:.3g}", f"{megabytes:.2f}", f"{int(str(stored[0])) / 1e6:.0f}")
    return table


def main(workers: tuple[int, ...], trials: int, finished: tuple[int, ...]) -> None:
    Console(width=120).print(growth_table(finished) if finished else workers_table(trials, workers))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # or the database's server would stay
    main(**arguments(workers=(1, 4, 16, 64), trials=5000, finished=()))
