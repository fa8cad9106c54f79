"""Trainings that develop differently, with many checkpoints: good, slow, unequal, poor in variety, collapsing."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments import ROOT
from experiments.hardware.cores import available_cores
from experiments.processes.process import PRELOAD, fork_server, start
from experiments.records import journal
from experiments.records.folders import Records, RunFolder
from experiments.training.facts import read_records
from gan.data.classes import CIFAR10_CLASSES
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
PROGRAM = ROOT / "experiments" / "run.py"


def train_all(records: Records, datasets: dict[str, Dataset], steps: int, every: int) -> dict[str, list[RunFolder]]:
    """Train RUNS with the images of each class, two at a time; finished runs stay, interrupted ones are resumed.

    Args:
        records: where the runs are.
        datasets: real images by the name of their class.
        steps: updates of each run.
        every: updates between two checkpoints, all of which stay.

    Returns:
        The runs' folders by class, in the order of RUNS.

    Raises:
        ConfigError: for a run that cannot be trained.
    """
    common = [
        f"records.root={records.root}", f"train.steps={steps}", f"train.threads={max(available_cores() // AT_ONCE, 1)}",
        f"train.checkpoint_every_steps={every}", "train.keep_checkpoints=1000000", "eval.every_steps=1000000",
    ]  # fmt: skip
    folders = {of: [RunFolder(records.runs / _run_name(of, name)) for name in RUNS] for of in datasets}
    trainings = [
        (folder, of, settings) for of in datasets for folder, settings in zip(folders[of], RUNS.values(), strict=True)
    ]

    for folder in (folder for folder, *_ in trainings if folder.config.exists()):
        if (recorded := read_records(folder, "the run")[0].train.checkpoint_every_steps) != every:
            rule = f"steps with a checkpoint every {recorded} updates, as in the runs that are there"
            raise ConfigError("checkpoints", rule, f"one every {every}", "records.root=<another> trains anew")

    def finish(training: tuple[RunFolder, str, list[str]]) -> bool:
        folder, of, settings = training
        if not _ended(folder, datasets[of], steps, every):
            data = [f"data.path={datasets[of].path}"]
            begin = [f"name={folder.name}", f"data.class_id={CIFAR10_CLASSES.index(of)}", *settings]
            _train(folder, [f"resume={folder.name}"] if folder.config.exists() else begin, [*data, *common])
        return _ended(folder, datasets[of], steps, every)

    with fork_server([PRELOAD]), ThreadPoolExecutor(AT_ONCE) as pool:
        for (folder, *_), ended in zip(trainings, pool.map(finish, trainings), strict=True):
            if not ended or not folder.checkpoints.files():
                raise ConfigError("the run", "one that can be trained", folder.name, f"see {_log(folder)}")
    return folders


def _run_name(of: str, name: str) -> str:
    return name if of == "ship" else f"{of}-{name}"  # ships were trained first, under their plain names


def _train(folder: RunFolder, begin_or_resume: list[str], common: list[str]) -> None:
    environment = dict(os.environ)
    environment.pop("MLFLOW_TRACKING_URI", None)  # they are nobody's experiments
    with open(_log(folder), "a", encoding="utf-8") as log:
        arguments = [*begin_or_resume, *common]
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
    return journal.has_ended(folder.journal)
