"""The run whose networks another run starts from."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.cli.overrides import as_text
from experiments.records.folders import Records, RunFolder
from experiments.settings.rules import get
from experiments.settings.schema import Config
from gan.checkpoint import Checkpoint, CheckpointError, CheckpointWarning, read, write
from gan.errors import ConfigError

KEY = "train.init_from"
_OF = "init_from"  # in a copy's plain data: the tags of what it is a copy of


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint to start from.

    Attributes:
        file: of the checkpoint.
        checkpoint: its content.
        run: that it is of; None for a file outside of a run's folder.
        lasting_name: of the run, where it was found as `last` or `best:<study>`, which may be others later; or None.
    """

    file: Path
    checkpoint: Checkpoint
    run: RunFolder | None
    lasting_name: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """What is recorded of it with a run that starts from it."""
        if _OF in self.checkpoint.meta:
            return dict(self.checkpoint.meta[_OF])
        name = self.run.name if self.run is not None else self.file.name
        tags = {"init_from": name, "init_from.step": str(self.checkpoint.step)}
        if self.run is not None and (ids := self.run.mlflow_run_ids()):
            tags["init_from.mlflow_run"] = ids[0]
        return tags

    def copy_to(self, file: Path) -> None:
        """Write a copy that still knows its run, which may train on or be removed. Raises OSError."""
        meta = {**self.checkpoint.meta, _OF: self.tags}
        write(file, Checkpoint(self.checkpoint.step, self.checkpoint.arrays, meta))


def starting_from(overrides: Sequence[str], reference: str) -> list[str]:
    """Return overrides with another reference to the ancestor in place of theirs."""
    return [*(each for each in overrides if each.lstrip("+").partition("=")[0] != KEY), as_text(f"{KEY}={reference}")]


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
    try:
        described = settings_of(checkpoint.arrays)
    except ValueError as error:
        raise ConfigError(KEY, "a checkpoint of a run", reference, str(error)) from error
    for key, value in described.items():
        if get(config, key) != value:
            remedy = f"its {key} is {value}: {key}={str(value).lower() if isinstance(value, bool) else value}"
            raise ConfigError(KEY, f"a run with {key}={get(config, key)}, as this one has", reference, remedy)
    may_move = not path.is_file() and (reference == "last" or reference.startswith("best:"))
    return Ancestor(file, checkpoint, run, run.name if run is not None and may_move else None)


def _run_of(file: Path) -> RunFolder | None:
    folder = file.parent.parent
    return RunFolder(folder) if (folder / "config.yaml").is_file() else None


def _newest(run: RunFolder) -> Path:
    """Return the newest checkpoint that can be read. Raises CheckpointError if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)  # what matters is said of the file that is taken
        step = run.checkpoints.latest().step
    return run.checkpoints.by_step()[step]


def settings_of(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what a state's shapes say of the settings of its networks. Raises ValueError where it has none."""
    is_resnet = "generator/block_1_conv_1/kernel" in arrays
    first, norm = ("block_1_conv_1", "block_2_bn_1") if is_resnet else ("conv_1", "bn_2")
    try:
        latent_dim = arrays["generator/dense/kernel"].shape[0]
        channels = arrays[f"generator/{first}/kernel"].shape[-1]
        d_channels = arrays[f"discriminator/{first}/kernel"].shape[-1]
        last = arrays["discriminator/logits/kernel"].shape[0]
    except (KeyError, IndexError) as error:
        raise ValueError("it has no such networks") from error
    return {
        "model.architecture": "resnet" if is_resnet else "dcgan",
        "model.latent_dim": latent_dim,
        "model.generator.width": channels,
        "model.discriminator.width": d_channels // 2 if is_resnet else d_channels,
        "model.discriminator.batch_norm": f"discriminator/{norm}/gamma" in arrays,
        "model.discriminator.spectral_norm": f"discriminator/{first}/u" in arrays,
        "model.minibatch_stddev": last % (d_channels if is_resnet else 8 * d_channels) != 0,  # one more channel
    }
