"""The generator of a run: find its checkpoint, load it, save it."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from experiments.records.folders import RunFolder
from experiments.settings.schema import Config
from experiments.training.build import make_generator
from gan.arrays import temporary_name, write_atomically
from gan.checkpoint import Checkpoint, CheckpointError, CheckpointWarning
from gan.errors import ConfigError

if TYPE_CHECKING:
    import keras

PURPOSE = "pictures"  # of latents that a user asks for: not those that runs are scored and watched with


def find_checkpoint(folder: RunFolder, step: str, console: Console) -> Checkpoint:
    """Load a checkpoint of a run, and print a warning for each damaged one that is passed over.

    Args:
        folder: the run's folder.
        step: an update's number, `last` or `best`.
        console: where warnings are printed.

    Raises:
        ConfigError: in the name of `step`, if the checkpoint is not there or cannot be read; of `run`, if it has none.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CheckpointWarning)
        try:
            checkpoint = folder.checkpoints.find(step)
        except CheckpointError as error:
            if not folder.checkpoints.all_files():
                raise ConfigError("run", "one that has checkpoints", folder.name, str(error)) from error
            raise ConfigError("step", "a checkpoint that can be read", step, str(error)) from error
    for warning in caught:
        console.print(str(warning.message), style="yellow", markup=False)
    return checkpoint


def load_generator(config: Config, checkpoint: Checkpoint) -> "keras.Model":
    """Load the generator of a checkpoint as it was scored: see `Trainer.eval_generator`.

    Args:
        config: the run's settings.
        checkpoint: the state of the run at a step.

    Raises:
        ConfigError: if the state is of other networks, as after the settings were edited.
    """
    from gan.averaging import recalibrated
    from gan.update import restore_generator

    generator = make_generator(config)
    try:
        restore_generator(generator, checkpoint.arrays)
    except ValueError as error:
        raise ConfigError(
            "step", "one whose checkpoint fits the run's config.yaml", checkpoint.step, str(error)
        ) from error
    return recalibrated(generator) if config.eval.recalibrate_batch_norm else generator


def sample_latents(seed: int, count: int, latent_dim: int) -> np.ndarray:
    """Return the latents of a seed, (count, latent_dim) float32: the same in every run that takes so many numbers.

    Args:
        seed: at least 0.
        count: how many.
        latent_dim: numbers in each.
    """
    from gan import randomness

    return np.asarray(randomness.latents(seed, PURPOSE, count, latent_dim))


def write_generator(out: Path, generator: "keras.Model") -> None:
    """Save a generator in Keras' own layers; the file appears complete or not at all.

    Args:
        out: the .keras file.
        generator: in this project's layers.
    """
    from gan.models import in_keras_layers

    temporary = temporary_name(out, "keras")
    try:
        in_keras_layers(generator).save(temporary)
        write_atomically(out, temporary.read_bytes())  # Keras does not wait for the disk
    finally:
        temporary.unlink(missing_ok=True)
