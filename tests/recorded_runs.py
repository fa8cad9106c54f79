"""Runs and searches as training leaves them, written down without one."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.records.folders import Records, RunFolder, write_json
from experiments.records.journal import FAILURE, FAILURE_KIND, Journal
from experiments.records.status import RunStatus
from gan import metric_names

CHECKPOINT = 1000  # bytes of each
DATASET = {
    "name": "npz", "description": "some ships", "sha256": "ab" * 32, "shape": [64, 32, 32, 3], "dtype": "uint8",
}  # fmt: skip
IMAGES = "2000 in the run, 5000 at the end"


def make_run(
    records: Records,
    name: str,
    arguments: Sequence[str] = ("experiment=quick",),
    scores: Sequence[float] = (30.0, 20.0, 10.0),
    status: RunStatus | None = RunStatus.FINISHED,
    final: float | None = 9.0,
    tags: dict[str, str] | None = None,
    study: str | None = None,
    age: float = 60.0,
    picture: bool = False,
) -> RunFolder:
    """Make the folder of a run that was scored every 100 updates.

    Args:
        records: where.
        name: of the run.
        arguments: of its command.
        scores: in-run scores.
        status: its last; None for a run that has not said so yet.
        final: its score at the end; None for none.
        tags: beside those that every run has.
        study: whose trial it is.
        age: in seconds.
        picture: whether it has samples.
    """
    folder = records.new_run(name)
    facts = {
        "created": int((time.time() - age) * 1000),
        "command": " ".join(["python experiments/run.py", *arguments]),
        "params": {"train.steps": 300},
        "tags": {
            "dataset": "npz", "fid_proxy_id": "cifar_cnn-8c", "dataset_sha256": "ab" * 32, "fid_proxy_images": IMAGES,
            "run_folder": f"runs/{name}", **(tags or {}),
        },
        "dataset": DATASET,
    }  # fmt: skip
    if study is not None:
        facts["parent"] = f"studies/{study}"
    write_json(folder.facts, facts)
    journal = Journal(folder)
    journal.status(RunStatus.RUNNING)
    for index, score in enumerate(scores, 1):
        journal.scalars(100 * index, {metric_names.FID_PROXY: score, "train/d_loss": 0.5})
        if picture:
            journal.image(100 * index, metric_names.SAMPLES, np.full((8, 8, 3), 20 * index, np.uint8))
    if final is not None:
        journal.scalars(100 * len(scores), {metric_names.FINAL_FID_PROXY: final})
    if tags:
        journal.tags(tags)
    if status == RunStatus.FAILED and FAILURE_KIND not in (tags or {}):
        journal.tags({FAILURE: "d_loss is nan", FAILURE_KIND: "diverged"})
    if status not in (None, RunStatus.RUNNING):
        journal.status(status)
    journal.close()
    folder.checkpoints.folder.mkdir()
    for file in ("step_00000200.npz", "step_00000300.npz", "best.npz"):
        (folder.checkpoints.folder / file).write_bytes(b"x" * CHECKPOINT)
    folder.config.write_text("seed: 0\n")
    return folder


def make_trial(
    records: Records, study: str, number: int, state: str, rate: float = 1e-4, **changes: object
) -> RunFolder:
    """Make the run of a trial. state: Optuna's word, PAUSED beside it."""
    statuses = {"COMPLETE": RunStatus.FINISHED, "FAIL": RunStatus.FAILED, "RUNNING": RunStatus.RUNNING}
    settings = {
        "arguments": ("experiment=tutorial", f"optim.learning_rate={rate}", "train.steps=300", "train.threads=1"),
        "status": statuses.get(state, RunStatus.KILLED),
        "tags": {"optuna.trial_state": state},
        "final": None,
        "study": study,
        **changes,
    }
    return make_run(records, f"{study}-trial-{number:04d}", **settings)  # type: ignore[arg-type]


def make_study(
    records: Records, study: str, winner: str | None = None, trial: int = 0, state: RunStatus = RunStatus.FINISHED
) -> RunFolder:
    """Make the folder of a search of the learning rate; winner: the run that best.yaml names, None before its end."""
    folder = RunFolder(records.studies / study)
    folder.path.mkdir(parents=True)
    facts = {
        "created": int((time.time() - 30) * 1000),
        "command": "python sweeps/optuna_search.py",
        "tags": {"run_folder": f"studies/{study}"},
        "dataset": DATASET,
        "params": {"space.optim.learning_rate": "interval(1e-5, 1e-3)"},
    }
    write_json(folder.facts, facts)
    journal = Journal(folder)
    journal.status(RunStatus.RUNNING)
    if winner is not None:
        (folder.path / "best.yaml").write_text(f"trial: {trial}\nrun: {winner}\n")
        journal.tags({"result": "Better: 8 against 10"})
    if state != RunStatus.RUNNING:
        journal.status(state)
    journal.close()
    return folder


def make_old(path: Path) -> None:
    """Let a file or folder be two hours old."""
    before = time.time() - 7200
    os.utime(path, (before, before))
