"""Targets of the discriminator, and what is done to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from gan import devices, xla
from gan.randomness import stateless_seed, uniform


@dataclass(frozen=True)
class Labels:
    """Targets: real ones near 1, fake ones near 0, some of them swapped.

    Args:
        noise: greatest distance of a target from 0 or 1, in [0, 0.5].
        fresh: whether the noise is drawn again in each update, and not once.
        inward: whether real targets are 1 - noise, and not 1 + noise. Fake ones are 0 + noise.
        real_only: whether fake targets are 0: one-sided, Salimans et al. (2016).
        flip: fraction of D's targets that `flipped` swaps, in [0, 0.5).
    """

    noise: float = 0.05
    fresh: bool = False
    inward: bool = False
    real_only: bool = False
    flip: float = 0.0

    def draw(self, seed: int, step: tf.Tensor, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Draw the targets of a batch.

        Args:
            seed: of the run.
            step: scalar integer, the number of the update. Without `fresh` the targets do not depend on it.
            batch_size: of the whole batch, over all devices.

        Returns:
            (real, fake) targets, each (batch_size, 1) float32.
        """
        when = step if self.fresh else 0
        real, fake = (
            xla.number(self.noise) * uniform((batch_size, 1), stateless_seed(seed, f"labels/{side}", when))
            for side in ("real", "fake")
        )
        return (1.0 - real if self.inward else 1.0 + real), (tf.zeros_like(fake) if self.real_only else fake)

    def flipped(self, labels: Sequence[tf.Tensor], seed: int, step: tf.Tensor) -> Sequence[tf.Tensor]:
        """Swap some of the labels for the other side's, as D sees them; which ones is drawn anew each step.

        The generator's target is what `draw` returned: with swapped labels it would learn to look fake.

        Args:
            labels: (real, fake), each (B, 1) float32. On several devices they are this device's rows of the batch.
            seed: of the run.
            step: scalar integer, the number of the update.

        Returns:
            (real, fake), each (B, 1) float32. On average a fraction `flip` is swapped; with 0 they are `labels`.
        """
        if not self.flip:
            return labels
        swap_real, swap_fake = (
            devices.share(
                uniform(devices.whole_shape(label), stateless_seed(seed, f"label flip/{side}", step))
                < xla.number(self.flip)
            )
            for side, label in zip(("real", "fake"), labels, strict=True)
        )
        real, fake = labels
        return tf.where(swap_real, fake, real), tf.where(swap_fake, real, fake)


TUTORIAL = Labels()  # what the tutorial has
