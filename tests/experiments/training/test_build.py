"""Settings reach the networks, the optimizers and the update."""

from conftest import noise_images

from experiments.settings.schema import (
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
)
from experiments.training.build import build_update
from gan.labels import TUTORIAL, Labels
from gan.losses import LOSSES
from gan.optimizers import Adam, Decay


def test_every_setting_reaches_what_it_is_for() -> None:
    config = Config(
        model=ModelConfig(
            latent_dim=3,
            dropout=0.1,
            generator=GeneratorConfig(bn_momentum=[0.1, 0.2], width=4),
            discriminator=DiscriminatorConfig(
                bn_momentum=[0.3, 0.4, 0.5], leaky_relu_alpha=[0.01, 0.02, 0.03, 0.04], width=2, spectral_norm=True
            ),
        ),
        optim=OptimConfig(
            generator_learning_rate=1e-3,
            discriminator_learning_rate=2e-3,
            beta_1=0.6,
            beta_2=0.7,
            epsilon=1e-5,
            decay="linear",
            decay_from=0.25,
        ),
        train=TrainConfig(
            steps=40,
            batch_size=4,
            loss="hinge",
            label_noise=0.2,
            label_noise_mode="fresh",
            label_noise_side="inward",
            label_noise_on="real",
            label_flip=0.125,
            r1_gamma=1.5,
            r1_every_steps=7,
            augment="color+cutout",
            horizontal_flip=True,
            ema_decay=0.9,
            update_rule="batch",
        ),
        seed=5,
    )
    update = build_update(config, noise_images(8))
    assert (update.batch_size, update.seed) == (4, 5)
    assert update.loss is LOSSES["hinge"]
    assert update.labels == Labels(0.2, fresh=True, inward=True, real_only=True, flip=0.125)
    assert (update.r1_gamma, update.r1_every_steps) == (1.5, 7)
    assert (update.augmentations, update.horizontal_flip) == (("color", "cutout"), True)
    assert update.average is not None
    assert update.average.decay == 0.9
    assert update.decay == Decay("linear", 40, 0.25)
    assert update._update_rule == update._batch
    for optimizer, rate in ((update.g_optimizer, 1e-3), (update.d_optimizer, 2e-3)):
        assert isinstance(optimizer, Adam)
        assert abs(float(optimizer.learning_rate.numpy()) - rate) < 1e-9
        assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.6, 0.7, 1e-5)
    generator, discriminator = update.generator, update.discriminator
    assert generator.input_shape == (None, 3)
    assert [generator.get_layer(f"bn_{k}").momentum for k in (1, 2)] == [0.1, 0.2]
    assert generator.get_layer("conv_1").filters == 4
    assert [discriminator.get_layer(f"bn_{k}").momentum for k in (2, 3, 4)] == [0.3, 0.4, 0.5]
    assert [discriminator.get_layer(f"leaky_relu_{k}").negative_slope for k in range(1, 5)] == [0.01, 0.02, 0.03, 0.04]
    assert discriminator.get_layer("conv_1").filters == 2
    assert discriminator.get_layer("dropout_1").rate == 0.1
    assert type(discriminator.get_layer("conv_1")).__name__ == "SpectralConv2D"


def test_the_defaults_are_the_tutorials_update() -> None:
    model = ModelConfig(
        latent_dim=2, generator=GeneratorConfig(width=2), discriminator=DiscriminatorConfig(width=1, batch_norm=False)
    )
    update = build_update(Config(model=model), noise_images(8))
    assert update.labels == TUTORIAL
    assert update.loss is LOSSES["bce"]
    assert update._update_rule == update._tutorial
    assert (update.r1_gamma, update.augmentations, update.horizontal_flip) == (0.0, (), False)
    assert update.average is update.decay is None
    assert not [layer for layer in update.discriminator.layers if layer.name.startswith("bn_")]
