"""Discriminator regularizers with state: LeCam's averages of logits, adaptive augmentation's probability."""

import keras
import tensorflow as tf

from gan import devices, xla
from gan.averaging import warmed_up_decay
from gan.keras_state import keras_defaults

LECAM_DECAY = 0.99  # of the moving averages of logits, as in the paper's code
ADA_IMAGES = (
    100_000  # real images that D sees while the probability goes from 0 to 1; for trainings of hours it is 500,000
)


@keras_defaults()
def _scalar(name: str) -> keras.Variable:
    return keras.Variable(0.0, trainable=False, name=name)


class LeCam:
    """Pulls D's logits of real images to the moving average of those of fake ones, and the other way round.

    Tseng et al. (2021), Regularizing Generative Adversarial Networks under Limited Data, equation 3, from the first
    update on. The authors' code leaves out logits on the far side of the average, and begins after 1,000 updates.

    Args:
        weight: of the penalty.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.averages = {name: _scalar(f"{name}_logits") for name in ("real", "fake")}

    def penalty(self, name: str, logits: tf.Tensor) -> tf.Tensor:
        """Return the penalty on logits (B, 1) of images that are real or fake, a float32 scalar."""
        other = self.averages["fake" if name == "real" else "real"]
        return xla.number(self.weight) * tf.reduce_mean(tf.square(logits - other.value))

    def move(self, name: str, logits: tf.Tensor, step: tf.Tensor) -> None:
        """Move the average of real or fake logits.

        Args:
            name: real or fake.
            logits: (B, 1) float32, of this update.
            step: scalar integer, the number of the update, 1 for the first.
        """
        average, past = self.averages[name], warmed_up_decay(LECAM_DECAY, step)
        average.assign_sub((1.0 - past) * (average.value - devices.mean(tf.reduce_mean(logits))))


class AdaptiveAugmentation:
    """How often augmentations change an image: more often where D tells real images too surely.

    Karras et al. (2020), Training Generative Adversarial Networks with Limited Data, section 3: r_t is the mean sign of
    D's logits of real images, 0 where it guesses and 1 where it is sure of all.

    Args:
        target: that r_t is held near.
        batch_size: real images of a step of D, over all devices.
    """

    def __init__(self, target: float, batch_size: int) -> None:
        self.target, self.step_size = target, batch_size / ADA_IMAGES
        self.probability = _scalar("probability")

    def move(self, real_logits: tf.Tensor) -> None:
        """Make augmentations a little more frequent or rarer, by D's logits (B, 1) of a real batch.

        Those of a loss of pairs mean something beside each other alone: of it, the logits less those of the fake images.
        """
        mean_sign = devices.mean(tf.reduce_mean(tf.sign(real_logits)))
        change = tf.sign(mean_sign - xla.number(self.target)) * xla.number(self.step_size)
        self.probability.assign(tf.clip_by_value(self.probability.value + change, 0.0, 1.0))
