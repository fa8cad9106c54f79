"""The generator of a run: found, loaded, written."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from experiments.records.folders import RunFolder
from gan.errors import ConfigError

if TYPE_CHECKING:
    import keras

import warnings
from typing import TYPE_CHECKING

from experiments.settings.schema import Config
from gan.checkpoint import Checkpoint, CheckpointError, CheckpointWarning

if TYPE_CHECKING:
    import keras


def find_checkpoint(folder: RunFolder, step: str, console: Console) -> Checkpoint:
    """Raises ConfigError for one that is not there or cannot be read."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CheckpointWarning)
        try:
            checkpoint = folder.checkpoints.find(step)
        except CheckpointError as error:
            raise ConfigError("step", "a checkpoint that can be read", step, str(error)) from error
    for warning in caught:
        console.print(str(warning.message), style="yellow", markup=False)
    return checkpoint


def load_generator(config: Config, checkpoint: Checkpoint) -> "keras.Model":
    """The generator of a run as it was at a checkpoint, or what it was scored and drawn by: see `Trainer.eval_generator`."""
    from gan.averaging import recalibrated
    from gan.models import build_generator
    from gan.update import restore_generator

    generator = build_generator(
        config.model.latent_dim,
        config.model.generator.bn_momentum,
        width=config.model.generator.width,
        precision=config.train.precision,
    )
    restore_generator(generator, checkpoint.arrays)
    return recalibrated(generator) if config.eval.recalibrate_batch_norm else generator


def write_generator(out: Path, generator: "keras.Model") -> None:
    """In Keras' own layers, whole or not at all."""
    from gan.models import in_keras_layers

    temporary = out.with_name(f".{out.stem}.{os.getpid()}.keras")
    try:
        in_keras_layers(generator).save(temporary)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
