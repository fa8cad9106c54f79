"""A cluster on this machine: PostgreSQL, an MLflow server on it, a Ray cluster of two nodes, a search of eight trials.

    make cluster-demo

One node is killed in the middle; its trial is resumed on the other. Everything listens on
loopback, lies in a temporary folder and is stopped in the end.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from servers import binaries, mlflow_server, running

ROOT = Path(__file__).resolve().parents[1]
TRIALS = 8
SEARCH = [
    "data=embedded", "search.study=demo", f"search.trials={TRIALS}", "search.workers=2", "search.steps=24", "eval.every_steps=4",
    "eval.num_images=50", "eval.final_num_images=50", "train.batch_size=8", "train.checkpoint_every_steps=4", "train.log_every_steps=4",
    "search.pruner=none", "search.confirm.seeds=0", "search.launcher=ray", "search.grace_seconds=12",
]  # fmt: skip


@contextlib.contextmanager
def ray_cluster() -> Iterator[Any]:
    """Two nodes of one core each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    # Not 127.0.0.1, for which Ray's drivers put the machine's outer address.
    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 * 2**20}
    head = {**node, "node_ip_address": "127.0.0.2", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.victim = cluster.add_node(**node, node_ip_address="127.0.0.3")
        yield cluster
    finally:
        cluster.shutdown()


def kill(node: Any) -> None:
    """As a power cut: all that runs on it, at once."""
    raylet = psutil.Process(next(info.process.pid for info in node.all_processes["raylet"]))
    for process in [raylet, *raylet.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def pids(node: Any) -> set[int]:
    raylet = psutil.Process(next(info.process.pid for info in node.all_processes["raylet"]))
    return {process.pid for process in raylet.children(recursive=True)}


def main() -> int:
    if binaries() is None:
        print("error: PostgreSQL is not installed (on Debian: apt-get install postgresql)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # or servers would stay
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-demo-")))
        server = stack.enter_context(running())
        print(f"postgres 127.0.0.1:{server.port}")
        tracking = stack.enter_context(mlflow_server(folder, server.fresh()))
        print(f"mlflow   {tracking}")
        cluster = stack.enter_context(ray_cluster())
        print(f"ray      {cluster.address}, two nodes")
        address = server.fresh()
        storage = RDBStorage(address)
        stack.callback(storage.engine.dispose)
        return search(folder, address.replace(f":{server.password}@", "@"), server.password, tracking, cluster, storage)


def search(folder: Path, address: str, password: str, tracking: str, cluster: Any, storage: RDBStorage) -> int:
    arguments = [*SEARCH, f"search.storage={address}", f"search.ray_address={cluster.address}"]
    command = [sys.executable, "sweeps/optuna_search.py", *arguments, f"records.root={folder / 'records'}"]
    environment = {**os.environ, "PGPASSWORD": password, "MLFLOW_TRACKING_URI": tracking}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        killed = None
        while process.poll() is None:
            time.sleep(0.5)
            if killed is None and (killed := at_work(storage, pids(cluster.victim))) is not None:
                kill(cluster.victim)
                print(f"killed   a node of the cluster, in the middle of trial {killed}")
        return report(storage, killed, process.returncode)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(120)


def trials(storage: RDBStorage) -> list[optuna.trial.FrozenTrial]:
    names = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name="demo", storage=storage).get_trials() if "demo" in names else []


def at_work(storage: RDBStorage, workers: set[int]) -> int | None:
    """A trial with a checkpoint that one of these processes is at, once others have finished."""
    all_trials = trials(storage)
    if not any(trial.state == TrialState.COMPLETE for trial in all_trials):
        return None
    for trial in all_trials:
        pid = int(str(trial.user_attrs.get("worker", ":0")).rpartition(":")[2])
        if trial.state == TrialState.RUNNING and pid in workers and len(trial.intermediate_values) >= 2:
            return trial.number
    return None


def report(storage: RDBStorage, killed: int | None, code: int) -> int:
    found = trials(storage)
    complete = [trial for trial in found if trial.state == TrialState.COMPLETE]
    again = [trial for trial in complete if killed in trial.system_attrs.get("retry_history", [])]
    for trial in again:
        print(f"resumed  trial {killed} {trial.user_attrs['taken_up']}")
    print(f"done     {len(complete)} of {TRIALS} trials, one node of two lost; everything is stopped")
    return code or int(len(complete) != TRIALS or len(again) != 1)


if __name__ == "__main__":
    sys.exit(main())
