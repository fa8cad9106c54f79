"""Trainings that go unlike ways, with many checkpoints: good, slow, noisy, poor in variety, collapsing."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments import journal
from experiments.records import Records, RunFolder
from gan.config import ConfigError

RUNS = {
    "tutorial-0": ["experiment=tutorial"],
    "tutorial-1": ["experiment=tutorial", "seed=1"],
    "batch-inward": ["train.batch_norm=batch", "train.label_noise_mode=fresh", "train.label_noise_side=inward"],
    "slow": ["optim.learning_rate=5e-5"],
    "fast": ["optim.learning_rate=1e-3"],
    "long-memory": ["model.bn_momentum=0.99", "model.leaky_relu_alpha=0.05", "optim.beta_1=0.9"],
    "noisy-labels": ["train.label_noise=0.4"],
    "narrow": ["model.latent_dim=2"],
    "collapsing": ["optim.generator_learning_rate=4e-3", "optim.discriminator_learning_rate=1e-3", "model.dropout=0"],
}
AT_ONCE = 2  # runs side by side, each with its share of the cores
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
PROGRAM = Path(__file__).resolve().parents[1] / "run.py"


def train_all(records: Records, data_path: str, steps: int, every: int) -> list[RunFolder]:
    """The runs of RUNS, two at a time; what is finished stays, what was broken off is taken up.

    every: updates between two checkpoints, all of which stay. Raises ConfigError for a run that cannot go.
    """
    common = [
        f"data.path='{data_path}'", f"records.root='{records.root}'", f"train.steps={steps}",
        f"train.checkpoint_every_steps={every}", "train.keep_checkpoints=1000000", "eval.every_steps=1000000",
    ]  # fmt: skip
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, code in pool.map(lambda name: (name, _train(records, name, common)), RUNS):
            if code not in (0, 1):  # 1: it diverged, and its checkpoints until then count
                raise ConfigError("the run", "one that can be trained", name, f"see {records.root / f'{name}.log'}")
    return [RunFolder(records.runs / name) for name in RUNS]


def _train(records: Records, name: str, common: list[str]) -> int:
    folder = RunFolder(records.runs / name)
    if _ended(folder):
        return 0
    threads = {name: str(max((os.cpu_count() or 1) // AT_ONCE, 1)) for name in THREADS}
    start = ["resume=" + name] if folder.config.exists() else [f"name={name}", *RUNS[name]]
    with open(records.root / f"{name}.log", "a", encoding="utf-8") as log:
        command = [sys.executable, str(PROGRAM), *start, *common]
        return subprocess.run(command, stdout=log, stderr=log, env={**os.environ, **threads}).returncode


def _ended(folder: RunFolder) -> bool:
    if not folder.journal.exists():
        return False
    last = [record["status"] for record, _ in journal.read(folder.journal, 0) if "status" in record]
    return bool(last) and last[-1] in ("FINISHED", "FAILED")
