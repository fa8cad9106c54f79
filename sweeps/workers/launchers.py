"""What starts workers of a shared study: this machine, a Ray cluster or SLURM.

Each worker is `python sweeps/workers/worker.py` with its task on standard input, so nothing of it
stands in a list of processes, and the end of that input ends it in order.
"""

import dataclasses
import importlib.util
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from experiments import ROOT
from experiments.hardware import gpus
from gan.downloads import USER_HOME
from gan.errors import ConfigError, first_line
from sweeps.spec.plan import Plan
from sweeps.workers.child import Child
from sweeps.workers.protocol import Task

WORKER = Path(__file__).with_name("worker.py")
STOP_SECONDS = 60.0  # for trials to save their state
POLL = 0.2
CONNECT_SECONDS = 10.0
ALONE = "local"  # Ray's word for a cluster of this machine alone, started for this
PACKAGES = {"ray": "ray", "slurm": "submitit"}  # that launchers need
PROGRAMS = {"slurm": "srun"}  # likewise
# What workers on other nodes get of this environment, beside what their nodes have.
HANDED_ON = ("PGPASSWORD", "PGPASSFILE", "PGSSLMODE", "PGSSLROOTCERT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_USERNAME",
             "MLFLOW_TRACKING_PASSWORD", USER_HOME)  # fmt: skip


class Launcher(Protocol):
    """Workers by number."""

    def start(self, tasks: list[Task]) -> None: ...
    def alive(self) -> set[int]:
        """Numbers of those that are at work, or wait for a place."""

    def stop(self) -> None:
        """Let all save their trials and end."""

    def exit(self, number: int) -> tuple[int, str]:
        """Exit code and last words of a worker that ended badly; 0 and none of another."""


class CannotLaunch(Exception):
    """What was to start workers does not."""


def check_launcher(name: str) -> None:
    """Raises ConfigError where its package is not installed."""
    if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
        raise ConfigError("search.launcher", "one that is installed", name, f'pip install -e ".[{name}]"')
    if name in PROGRAMS and shutil.which(PROGRAMS[name]) is None:
        raise ConfigError("search.launcher", f"{name} where {PROGRAMS[name]} is, as on a login node", name)


def make_launcher(plan: Plan, logs: Path) -> Launcher:
    """Return the launcher of a plan. Raises ConfigError where its cluster is not there; logs: of the workers."""
    logs.mkdir(parents=True, exist_ok=True)
    if plan.search.launcher == "ray":
        return RayLauncher(plan, logs)
    if plan.search.launcher == "slurm":
        return SlurmLauncher(plan, logs)
    return LocalLauncher(logs, plan.config.train.devices)


class WorkerProcess(Child):
    """A worker as a child process; if this process ends first, so does the worker.

    Args:
        task: what it works on.
        log: the file that its output is appended to.
        environment: variables beside those of this process.
    """

    def __init__(self, task: Task, log: Path, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(WORKER, task.line(), log, read=False, environment=environment)

    def wait(self, seconds: float = float("inf")) -> int | None:
        """Its exit code; polled, so that a signal's handler may do the same meanwhile."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL)
        return self.process.poll()

    def close(self, seconds: float = STOP_SECONDS) -> None:
        """Let it save its trial and end; after so many seconds, kill it. It kills a trial that hangs before that."""
        self.interrupt()
        if self.wait(seconds) is None:
            self.process.kill()
            self.process.wait()

    def exit(self) -> tuple[int, str]:
        """Return its exit code and last words if it ended badly; 0 and none otherwise."""
        code = self.process.poll() or 0
        if code < 0:
            return code, self.ending()
        return (code, last_line(self.log)) if code else (0, "")


def last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1].removeprefix("error: ") if lines else "no words"


class LocalLauncher:
    """Workers on this machine, spread over its GPUs.

    Args:
        logs: the folder of the workers' logs.
        devices: the setting train.devices.
    """

    def __init__(self, logs: Path, devices: int | str = 1) -> None:
        self._logs, self._devices = logs, devices
        self._workers: dict[int, WorkerProcess] = {}

    def start(self, tasks: list[Task]) -> None:
        for task in tasks:
            if before := self._workers.get(task.number):
                before.interrupt()
            local = dataclasses.replace(task, compare=False)  # this very host has just compared
            log = self._logs / f"worker-{task.number}.log"
            self._workers[task.number] = WorkerProcess(local, log, gpus.share_of(task.number, self._devices))

    def alive(self) -> set[int]:
        return {number for number, worker in self._workers.items() if worker.process.poll() is None}

    def stop(self) -> None:
        for worker in self._workers.values():
            worker.interrupt()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers.values():
            worker.close(max(deadline - time.monotonic(), 0.0))

    def exit(self, number: int) -> tuple[int, str]:
        return self._workers[number].exit()


def work(line: str, log: str, environment: dict[str, str]) -> tuple[int, str]:
    """Run a worker on a node of a cluster until it ends or is cancelled.

    Args:
        line: the worker's `Task`, as JSON.
        log: path of the file that its output is appended to.
        environment: variables beside those of this process.

    Returns:
        Exit code and last words, as `Launcher.exit` does.
    """
    worker = WorkerProcess(Task(**json.loads(line)), Path(log), environment)
    try:
        worker.wait()
    except KeyboardInterrupt:  # what Ray's cancel is, here
        worker.close()
        return 0, ""
    return worker.exit()


def _check_reachable(address: str) -> None:
    """Raise ConfigError for a Ray cluster that does not answer: Ray would look for it for minutes."""
    host, colon, port = address.rpartition("/")[2].rpartition(":")
    if colon:
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> ConfigError:
    return ConfigError("search.ray_address", "of a Ray cluster that can be reached", address, first_line(error))


class RayLauncher:
    """Workers as Ray tasks; one whose node is lost is begun anew by Ray on another."""

    def __init__(self, plan: Plan, logs: Path) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's word for its coming default
        import ray

        self._ray, self._logs, self._resources = ray, logs, plan.search.resources
        self._refs: dict[int, Any] = {}
        self._exits: dict[int, tuple[int, str]] = {}
        address = plan.search.ray_address or os.environ.get("RAY_ADDRESS") or ALONE
        options = {}
        if address == ALONE:
            options["_node_ip_address"] = "127.0.0.1"
        else:
            _check_reachable(address)
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False,
                runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
                **options,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise _unreachable(address, error) from error
        self._check_place()

    def _check_place(self) -> None:
        most = {
            key: max((n["Resources"].get(key, 0.0) for n in self._ray.nodes() if n["Alive"]), default=0.0)
            for key in ("CPU", "GPU")
        }
        for key, amount in (("CPU", self._resources.cpus), ("GPU", self._resources.gpus)):
            if amount > most[key]:
                self._ray.shutdown()
                name = f"search.resources.{key.lower()}s"
                raise ConfigError(name, f"at most {most[key]:g}, which the largest node of the Ray cluster has", amount)

    def start(self, tasks: list[Task]) -> None:
        environment = {key: os.environ[key] for key in HANDED_ON if os.environ.get(key)}
        remote = self._ray.remote(num_cpus=self._resources.cpus, num_gpus=self._resources.gpus, max_retries=-1)(work)
        for task in tasks:
            log = str(self._logs / f"worker-{task.number}.log")
            self._refs[task.number] = remote.remote(task.line(), log, environment)

    def alive(self) -> set[int]:
        numbers = set()
        for number, ref in self._refs.items():
            if not self._ray.wait([ref], timeout=0)[0]:
                numbers.add(number)
                continue
            try:
                self._exits[number] = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                self._exits[number] = (1, first_line(error))
        return numbers

    def stop(self) -> None:
        waiting = [self._refs[number] for number in self.alive()]
        for ref in waiting:
            self._ray.cancel(ref)
        if waiting:
            self._ray.wait(waiting, num_returns=len(waiting), timeout=STOP_SECONDS)
        self._ray.shutdown()

    def exit(self, number: int) -> tuple[int, str]:
        return self._exits[number]


class SlurmWork:
    """A job: a worker, which at the end of its time or when it is preempted saves its trial and is queued anew."""

    def __init__(self, line: str, log: str) -> None:
        self._line, self._log = line, log
        self._worker: WorkerProcess | None = None

    def __call__(self) -> tuple[int, str]:
        self._worker = WorkerProcess(Task(**json.loads(self._line)), Path(self._log))
        signal.signal(
            signal.SIGTERM, lambda number, frame: self._worker.interrupt() if self._worker else None
        )  # scancel
        self._worker.wait()
        return self._worker.exit()

    def checkpoint(self) -> Any:
        """Called by submitit at SLURM's signal."""
        import submitit

        if self._worker is not None:
            self._worker.close()
        return submitit.helpers.DelayedSubmission(SlurmWork(self._line, self._log))


class SlurmLauncher:
    """Workers as the jobs of an array.

    Args:
        plan: with the resources, partition and minutes of the jobs.
        logs: the folder of the workers' logs.
        cluster: submitit's executor: `slurm`, or `local` for processes on this host.

    Raises:
        ConfigError: if SLURM is not there.
    """

    def __init__(self, plan: Plan, logs: Path, cluster: str = "slurm") -> None:
        import submitit

        self._logs = logs
        self._jobs: dict[int, Any] = {}
        search = plan.search
        try:
            self._executor = submitit.AutoExecutor(folder=logs / "jobs", cluster=cluster, slurm_max_num_timeout=10_000)
        except RuntimeError as error:
            raise ConfigError(
                "search.launcher", "slurm where sbatch is, as on a login node", "slurm", first_line(error)
            ) from error
        partition = {"slurm_partition": search.slurm.partition} if search.slurm.partition else {}
        self._executor.update_parameters(
            name=f"search-{search.study}",
            timeout_min=search.slurm.minutes,
            cpus_per_task=max(int(search.resources.cpus), 1),
            gpus_per_node=int(search.resources.gpus),
            slurm_array_parallelism=plan.workers,
            **partition,
        )

    def start(self, tasks: list[Task]) -> None:
        import submitit

        try:
            with self._executor.batch():
                jobs = [
                    self._executor.submit(SlurmWork(task.line(), str(self._logs / f"worker-{task.number}.log")))
                    for task in tasks
                ]
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError) as error:
            raise CannotLaunch(f"SLURM refuses the jobs: {first_line(error)}") from error
        self._jobs |= {task.number: job for task, job in zip(tasks, jobs, strict=True)}

    def alive(self) -> set[int]:
        return {number for number, job in self._jobs.items() if not job.done()}

    def stop(self) -> None:
        waiting = [self._jobs[number] for number in self.alive()]
        for job in waiting:
            job.cancel(check=False)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(not job.done(force_check=True) for job in waiting):
            time.sleep(1.0)

    def exit(self, number: int) -> tuple[int, str]:
        job = self._jobs[number]
        return job.result() if job.exception() is None else (1, last_line(self._logs / f"worker-{number}.log"))
