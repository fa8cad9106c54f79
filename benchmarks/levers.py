"""What each regularization option of docs/levers.md costs an update, against the tutorial's settings.

    python benchmarks/levers.py [train.update_rule=batch] [other settings of both]

Turns of a few updates with and without the option; the medians of the ratios of each pair of turns. Processor time, of
all cores together: a machine that does other things as well changes it less than the time on the clock.
"""

import sys
import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from experiments.cli.compose import compose_config
from experiments.cli.stderr import native_stderr_to
from experiments.hardware.cores import use_threads
from gan.errors import ConfigError

if TYPE_CHECKING:
    from gan.update import Update

OPTIONS = (
    "train.ema_decay=0.999",
    "train.label_flip=0.05",
    "train.loss=hinge",
    "train.loss=non_saturating",
    "train.loss=relativistic",
    "train.r1_gamma=1",
    "train.r2_gamma=1",
    "train.d_steps=2",
    "train.lecam=0.3",
    "train.consistency=10",
    "train.augment=color",
    "train.augment=translation",
    "train.augment=cutout",
    "train.augment=color+translation+cutout",
    "train.augment=color+translation+cutout train.augment_target=0.6",
    "train.horizontal_flip=true",
    "optim.decay=cosine",
    "model.discriminator.spectral_norm=true",
    "model.minibatch_stddev=true",
    "model.discriminator.batch_norm=false",
    "model.architecture=resnet",
    "model.generator.width=64",
    "model.discriminator.width=16",
)
TURNS, UPDATES = 7, 6


def main(common: list[str]) -> None:
    use_threads(None)
    with native_stderr_to():
        plain = _update(common)
        for option in OPTIONS:
            other = _update([*common, *option.split()])
            turns = [(_milliseconds(plain), _milliseconds(other)) for _ in range(TURNS)]
            ratio, base = median(b / a for a, b in turns), median(a for a, _ in turns)
            print(f"{option:45} x{ratio:.3f}  {(ratio - 1) * base:+6.1f} ms of {base:.0f}", flush=True)


def _update(settings: list[str]) -> "Update":
    from experiments.training.build import build_update

    images = np.random.default_rng(0).integers(0, 256, (5000, 32, 32, 3), np.uint8)
    update = build_update(compose_config(settings), images)
    update.run(1, 2)  # compiles it
    return update


def _milliseconds(update: "Update") -> float:
    """Return the processor time of an update."""
    start = time.process_time()
    update.run(1, UPDATES).numpy()
    return 1000 * (time.process_time() - start) / UPDATES


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"error: {error}")
