"""A search whose trials, workers, fork server and own process are killed with kill -9, again and again."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import psutil
import pytest
from conftest import ROOT, SOAK, TESTS, THOROUGH, TRIAL_WITHOUT_TRAINING, chaos_seed, noise_images
from mlflow import MlflowClient
from optuna.trial import TrialState

from experiments.processes.process import ADDRESS
from experiments.records import journal
from experiments.records.folders import Records, RunFolder
from experiments.tracking.delivery import in_mlflow
from gan import metric_names
from sweeps.study import attempts

STEPS, EVERY = 80, 8
TRIALS, KILLS = (12, 50) if SOAK else (5, 15) if THOROUGH else (3, 5)


def start(root: Path, images: Path, log: Path) -> "subprocess.Popen[bytes]":
    arguments = [
        f"records.root={root}", "data=npz", f"data.path={images}", f"search.trials={TRIALS}", f"search.steps={STEPS}",
        f"eval.every_steps={EVERY}", "search.workers=2", "search.confirm.seeds=0", "search.retries=100",
        "search=custom", "optim.learning_rate=tag(log,interval(5e-5,1e-3))", "search.pruner=median",
    ]  # fmt: skip
    with open(log, "a") as stream:
        command = [sys.executable, str(TESTS / "stub_search.py"), TRIAL_WITHOUT_TRAINING, *arguments]
        own = {name: value for name, value in os.environ.items() if name != ADDRESS}  # it has a fork server of its own
        return subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream, env=own)


def processes(parent: int, script: str) -> list[psutil.Process]:
    """Those below the search that run a script."""
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        try:
            if any(script in word for word in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_kills_lose_nothing(tmp_path: Path) -> None:
    rng = random.Random(chaos_seed())
    root, images, log = tmp_path / "records", tmp_path / "images.npz", tmp_path / "log"
    np.savez(images, images=noise_images(64))
    kills: Counter[str] = Counter()
    search = start(root, images, log)
    deadline = time.monotonic() + 500
    first = ["trial", "worker", "server", "search"]  # at least one of each
    while sum(kills.values()) < KILLS and search.poll() is None:
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(rng.uniform(0.3, 2.0))
        # A search that was just started is left to start trials, most of the time.
        kind = first[0] if first else rng.choices(["trial", "worker", "server", "search", "all"], [10, 4, 2, 2, 1])[0]
        scripts = {
            "trial": [TRIAL_WITHOUT_TRAINING],
            "worker": ["sweeps/workers/worker.py"],
            "server": ["processes/fork_server.py"],
            "all": [TRIAL_WITHOUT_TRAINING, "sweeps/workers/worker.py", "processes/fork_server.py"],
        }
        try:
            victims = [p for script in scripts.get(kind, []) for p in processes(search.pid, script)]
        except psutil.NoSuchProcess:
            break
        if kind in ("trial", "worker"):
            victims = rng.sample(victims, min(1, len(victims)))
        if kind in ("search", "all"):
            victims.insert(0, psutil.Process(search.pid))
        for victim in victims:
            try:
                victim.kill()
                kills[kind] += 1
                first = [other for other in first if other != kind]
            except psutil.NoSuchProcess:
                continue
        if kind in ("search", "all"):
            search.wait()
            search = start(root, images, log)
    if search.poll() is None:
        search.wait(200)
    print(dict(kills))
    assert search.returncode == 0, log.read_text()[-3000:]
    assert sum(kills.values()) >= KILLS, f"the search was over after {dict(kills)}: make it longer"

    records = Records(root)
    study = optuna.load_study(study_name="gan", storage=f"sqlite:///{records.studies_database}")
    every = study.get_trials()
    trials = attempts.counted(every)
    assert sorted(attempts.origin(trial) for trial in trials) == list(range(TRIALS))  # budgets exact, each number once
    assert {trial.state for trial in every} <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    client = MlflowClient(f"sqlite:///{records.database}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "gan"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == TRIALS + 1 == len(client.search_runs([experiment.experiment_id]))
    parent = runs.pop("study gan")
    assert parent.info.status == "FINISHED"
    for trial in trials:
        number = attempts.origin(trial)
        folder = RunFolder(records.runs / attempts.run_name("gan", number))
        steps, scores = journal.curve(folder.journal, metric_names.FID_PROXY)
        assert steps == list(range(EVERY, steps[-1] + 1, EVERY))  # no gap, nothing twice
        run = runs[f"trial-{number:04d}"]
        history = client.get_metric_history(run.info.run_id, metric_names.FID_PROXY)
        points = [(step, in_mlflow(metric_names.FID_PROXY, score)) for step, score in zip(steps, scores, strict=True)]
        assert [(point.step, point.value) for point in history] == points
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["optuna.trial_state"] == trial.state.name
        assert run.info.status == {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}[trial.state.name]
        if trial.state == TrialState.COMPLETE:
            assert steps[-1] == STEPS
            assert trial.value == pytest.approx(np.mean(scores[-3:]), rel=1e-12)
    best = min(t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None)
    assert study.best_value == best
    assert (records.studies / "gan" / "report.html").exists()
