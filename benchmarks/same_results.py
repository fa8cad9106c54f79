"""How far training with the fast layers differs from training with Keras' own, and how far rounding alone makes it differ.

    python benchmarks/same_results.py [updates=500]

Three trainings from the same seed: ours, Keras' own layers and optimiser, and the latter
with TensorFlow's other convolutions (oneDNN switched off). It prints the greatest
difference of any loss or probability up to an update, to Keras' own.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from arguments import arguments
from rich.console import Console
from rich.table import Table

KINDS = {"ours": {}, "Keras": {}, "Keras, oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"}}
SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def train(kind: str, update_rule: str, updates: int) -> None:
    """Print the values of every update; in a process of its own, as oneDNN is chosen once."""
    import keras
    import tensorflow as tf

    from gan.data.dataset import load_dataset
    from gan.models import build_discriminator, build_generator, in_keras_layers
    from gan.optimizers import Adam
    from gan.update import Update

    generator, discriminator, optimizer = build_generator(seed=0), build_discriminator(seed=0), Adam
    if kind != "ours":
        generator, discriminator = in_keras_layers(generator), in_keras_layers(discriminator)
        optimizer = keras.optimizers.Adam
    with tempfile.TemporaryDirectory() as cache:
        images = load_dataset("embedded", None, "all", Path(cache)).train
    of_both = optimizer(2e-4, beta_1=0.5), optimizer(2e-4, beta_1=0.5)
    update = Update(generator, discriminator, *of_both, images, update_rule=update_rule)
    rows = tf.concat([update.run(first, 10) for first in range(1, updates + 1, 10)], 0)
    np.savetxt(sys.stdout, rows.numpy(), fmt="%.9g")


def values(kind: str, update_rule: str, updates: int) -> np.ndarray:
    command = [sys.executable, __file__, kind, update_rule, str(updates)]
    environment = {**os.environ, **KINDS[kind]}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return np.loadtxt(done.stdout.splitlines())


def main(updates: int) -> None:
    steps = [step for step in SHOWN if step <= updates]
    table = Table("greatest difference to Keras' own layers", *(f"after {step}" for step in steps))
    for update_rule in ("tutorial", "batch"):
        exact = values("Keras", update_rule, updates)
        for kind in ("ours", "Keras, oneDNN off"):
            difference = np.abs(values(kind, update_rule, updates) - exact).max(axis=1)
            table.add_row(f"{update_rule}: {kind}", *(f"{difference[:step].max():.0e}" for step in steps))
    Console(width=140).print(table)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        train(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main(**arguments(updates=500))
