"""The run whose networks another run starts from."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.records.folders import Records, RunFolder
from experiments.settings.rules import get
from experiments.settings.schema import Config
from gan.checkpoint import Checkpoint, CheckpointError, CheckpointWarning, read
from gan.errors import ConfigError

KEY = "train.init_from"
SIDE = 8 * 8  # pixels of the generator's first feature map


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint to start from.

    Attributes:
        file: of the checkpoint.
        checkpoint: its content.
        run: that it is of; None for a file outside of a run's folder.
    """

    file: Path
    checkpoint: Checkpoint
    run: RunFolder | None

    @property
    def tags(self) -> dict[str, str]:
        """What is recorded of it with a run that starts from it."""
        name = self.run.name if self.run is not None else self.file.name
        tags = {"init_from": name, "init_from.step": str(self.checkpoint.step)}
        if self.run is not None and (ids := self.run.mlflow_run_ids()):
            tags["init_from.mlflow_run"] = ids[0]
        return tags


def find_ancestor(reference: str, records: Records, config: Config) -> Ancestor:
    """Find the checkpoint that a new run is to start from.

    Args:
        reference: a run as `Records.find_run` knows it, whose newest checkpoint is taken, or a checkpoint's file.
        records: where runs are looked for.
        config: the settings of the new run.

    Raises:
        ConfigError: if there is none that can be read, or it is of networks of other shapes.
    """
    path = Path(os.path.expanduser(reference))
    try:
        if path.is_file():
            file, run = path.resolve(), _run_of(path.resolve())
        else:
            run = records.find_run(reference, KEY)
            file = _newest(run)
        checkpoint = read(file)
    except CheckpointError as error:
        raise ConfigError(KEY, "a run with a checkpoint, or the file of one", reference, str(error)) from error
    for key, value in _settings_of(checkpoint.arrays, reference).items():
        if get(config, key) != value:
            remedy = f"its {key} is {value}: {key}={str(value).lower() if isinstance(value, bool) else value}"
            raise ConfigError(KEY, f"a run with {key}={get(config, key)}, as this one has", reference, remedy)
    return Ancestor(file, checkpoint, run)


def _run_of(file: Path) -> RunFolder | None:
    folder = file.parent.parent
    return RunFolder(folder) if (folder / "config.yaml").is_file() else None


def _newest(run: RunFolder) -> Path:
    """Return the newest checkpoint that can be read. Raises CheckpointError if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)  # what matters is said of the file that is taken
        step = run.checkpoints.latest().step
    return run.checkpoints.folder / f"step_{step:08d}.npz"


def _settings_of(arrays: dict[str, np.ndarray], reference: str) -> dict[str, Any]:
    """Return what a state's shapes say of the settings of its networks. Raises ConfigError for another kind of file."""
    try:
        latent_dim, features = arrays["generator/dense/kernel"].shape
        width = arrays["discriminator/conv_1/kernel"].shape[-1]
        last = arrays["discriminator/logits/kernel"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise ConfigError(KEY, "a checkpoint of a run", reference, "it has no such networks") from error
    return {
        "model.latent_dim": latent_dim,
        "model.generator.width": features // SIDE,
        "model.discriminator.width": width,
        "model.discriminator.batch_norm": "discriminator/bn_2/gamma" in arrays,
        "model.discriminator.spectral_norm": "discriminator/conv_1/u" in arrays,
        "model.minibatch_stddev": last % (8 * width) != 0,
    }
