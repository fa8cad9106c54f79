"""Networks, optimizers and the compiled update of a `Config`."""

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from experiments.settings.schema import Config

if TYPE_CHECKING:
    import keras

    from gan.update import Update


def make_generator(config: Config) -> "keras.Model":
    """Return a generator of the settings of a run, with its first weights."""
    return _networks(config).build_generator(
        config.model.latent_dim,
        config.model.generator.bn_momentum,
        width=config.model.generator.width,
        precision=config.train.precision,
        seed=config.seed,
    )


def _networks(config: Config) -> ModuleType:
    """Return the module that builds the networks of an architecture."""
    from gan import models, resnet

    return resnet if config.model.architecture == "resnet" else models


def build_update(config: Config, images: np.ndarray, jit_compile: bool = False) -> "Update":
    """Build the networks, their optimizers and the update that trains them, on the devices of the settings.

    Args:
        config: the settings of a run.
        images: the training images, (N, 32, 32, 3) uint8.
        jit_compile: whether XLA compiles the update.

    Raises:
        ConfigError: if the devices are not there.
    """
    from gan.devices import count_devices, strategy_for

    with strategy_for(count_devices(config.train.devices, config.train.batch_size)).scope():
        return _build_update(config, images, jit_compile)


def _build_update(config: Config, images: np.ndarray, jit_compile: bool) -> "Update":
    from gan.labels import Labels
    from gan.optimizers import Adam, Decay
    from gan.update import Update

    model, optim, train = config.model, config.optim, config.train
    adam = {"beta_1": optim.beta_1, "beta_2": optim.beta_2, "epsilon": optim.epsilon}
    return Update(
        make_generator(config),
        _networks(config).build_discriminator(
            model.discriminator.bn_momentum,
            model.discriminator.leaky_relu_alpha,
            model.dropout,
            width=model.discriminator.width,
            batch_norm=model.discriminator.batch_norm,
            spectral_norm=model.discriminator.spectral_norm,
            minibatch_stddev=model.minibatch_stddev,
            precision=train.precision,
            seed=config.seed,
        ),
        Adam(optim.generator_learning_rate, **adam, name="generator_adam"),  # Keras' own names count up
        Adam(optim.discriminator_learning_rate, **adam, name="discriminator_adam"),
        images,
        update_rule=train.update_rule,
        batch_size=train.batch_size,
        labels=Labels(
            train.label_noise,
            fresh=train.label_noise_mode == "fresh",
            inward=train.label_noise_side == "inward",
            real_only=train.label_noise_on == "real",
            flip=train.label_flip,
        ),
        loss=train.loss,
        r1_gamma=train.r1_gamma,
        r2_gamma=train.r2_gamma,
        r1_every_steps=train.r1_every_steps,
        d_steps=train.d_steps,
        lecam=train.lecam,
        consistency=train.consistency,
        augment_target=train.augment_target,
        augmentations=[] if train.augment == "none" else train.augment.split("+"),
        horizontal_flip=train.horizontal_flip,
        ema_decay=train.ema_decay,
        decay=None if optim.decay == "constant" else Decay(optim.decay, train.steps, optim.decay_from),
        seed=config.seed,
        jit_compile=jit_compile,
    )
