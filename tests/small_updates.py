"""Narrow networks in an update, and all regularization options at once."""

from typing import Any

from conftest import noise_images

from gan.labels import Labels
from gan.models import build_discriminator, build_generator
from gan.optimizers import Adam, Decay
from gan.update import Update

BATCH = 4
ALL: dict[str, Any] = {
    "loss": "hinge",
    "labels": Labels(0.1, fresh=True, real_only=True, flip=0.2),
    "r1_gamma": 1.0,
    "r2_gamma": 0.5,
    "r1_every_steps": 2,
    "d_steps": 2,
    "lecam": 0.3,
    "consistency": 2.0,
    "augment_target": 0.5,
    "augmentations": ("color", "translation", "cutout"),
    "horizontal_flip": True,
    "ema_decay": 0.9,
    "decay": Decay("cosine", steps=8, start=0.25),
}


def small(
    update_rule: str,
    precision: str = "float32",
    spectral_norm: bool = False,
    epsilon: float = 1e-7,
    **options: Any,
) -> Update:
    """The project's networks, narrow. epsilon: Adam's; a large one does not blow rounding up."""
    return Update(
        build_generator(5, width=8, precision=precision, seed=0),
        build_discriminator(width=4, spectral_norm=spectral_norm, precision=precision, seed=0),
        Adam(1e-3, beta_1=0.5, epsilon=epsilon),
        Adam(1e-3, beta_1=0.5, epsilon=epsilon),
        noise_images(40),
        update_rule=update_rule,
        batch_size=BATCH,
        **options,
    )
