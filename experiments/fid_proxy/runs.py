"""Trainings that develop differently, with many checkpoints: good, slow, unequal, poor in variety, collapsing."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments import ROOT
from experiments.processes.process import PRELOAD, fork_server, start
from experiments.records import journal
from experiments.records.folders import Records, RunFolder
from experiments.records.status import FailureKind, RunStatus
from experiments.runs.facts import read_records
from gan.data.dataset import Dataset
from gan.errors import ConfigError

RUNS = {
    "tutorial-0": ["experiment=tutorial"],
    "tutorial-1": ["experiment=tutorial", "seed=1"],
    "tutorial-2": ["experiment=tutorial", "seed=2"],
    "batch-inward": ["train.update_rule=batch", "train.label_noise_mode=fresh", "train.label_noise_side=inward"],
    "slow": ["optim.learning_rate=5e-5"],
    "fast": ["optim.learning_rate=1e-3"],
    "long-memory": ["model.bn_momentum=0.99", "model.leaky_relu_alpha=0.05", "optim.beta_1=0.9"],
    "narrow": ["model.latent_dim=2"],
    "unequal-rates": [
        "optim.generator_learning_rate=4e-3",
        "optim.discriminator_learning_rate=1e-3",
        "model.dropout=0",
    ],
}
AT_ONCE = 2  # runs side by side, each with its part of the cores
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
PROGRAM = ROOT / "experiments" / "run.py"


def train_all(records: Records, dataset: Dataset, steps: int, every: int) -> list[RunFolder]:
    """Train RUNS, two at a time; finished runs stay, interrupted ones are resumed.

    Args:
        records: where the runs are.
        dataset: real images.
        steps: updates of each run.
        every: updates between two checkpoints, all of which stay.

    Raises:
        ConfigError: for a run that cannot be trained.
    """
    common = [
        f"data.path={dataset.path}", f"records.root={records.root}", f"train.steps={steps}",
        f"train.checkpoint_every_steps={every}", "train.keep_checkpoints=1000000", "eval.every_steps=1000000",
    ]  # fmt: skip
    folders = [RunFolder(records.runs / name) for name in RUNS]

    def finish(folder: RunFolder) -> bool:
        if not _ended(folder, dataset, steps, every):
            _train(folder, common)
        return _ended(folder, dataset, steps, every)

    with fork_server([PRELOAD]), ThreadPoolExecutor(AT_ONCE) as pool:
        for folder, ended in zip(folders, pool.map(finish, folders), strict=True):
            if not ended or not folder.checkpoints.files():
                raise ConfigError("the run", "one that can be trained", folder.name, f"see {_log(folder)}")
    return folders


def _train(folder: RunFolder, common: list[str]) -> None:
    threads = str(max((os.cpu_count() or 1) // AT_ONCE, 1))
    environment = {**os.environ, **dict.fromkeys(THREADS, threads)}
    environment.pop("MLFLOW_TRACKING_URI", None)  # they are nobody's experiments
    resumption = [f"resume={folder.name}"] if folder.config.exists() else [f"name={folder.name}", *RUNS[folder.name]]
    with open(_log(folder), "a", encoding="utf-8") as log:
        arguments = [*resumption, *common]
        start(PROGRAM, arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, environment=environment).wait()


def _log(folder: RunFolder) -> Path:
    return folder.records.root / f"{folder.name}.log"


def _ended(folder: RunFolder, dataset: Dataset, steps: int, every: int) -> bool:
    """Return whether a run finished as asked, or diverged: its checkpoints until then count."""
    if not folder.journal.exists():
        return False
    config, facts = read_records(folder, "the run")
    recorded = (config.train.steps, config.train.checkpoint_every_steps, facts["dataset"]["sha256"])
    if recorded != (steps, every, dataset.sha256):
        return False
    failure = journal.last_failure(folder.journal)
    if failure is not None:
        return failure.kind == FailureKind.DIVERGED
    return journal.last_status(folder.journal) == RunStatus.FINISHED
