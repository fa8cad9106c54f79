"""A small GAN on 32x32 images: data, models, the update, the loop, the score."""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.checkpoint import Checkpoints
    from gan.data.dataset import load_dataset
    from gan.evaluation.extractors import load_extractor
    from gan.evaluation.scorer import Reference, Scorer, images_of
    from gan.evaluation.weights import find_weights
    from gan.images import grid
    from gan.models import build_discriminator, build_generator
    from gan.optimizers import Adam
    from gan.randomness import latents, slerp
    from gan.trainer import Schedule, Trainer
    from gan.update import Update

__all__ = [
    "Adam",
    "Checkpoints",
    "Reference",
    "Schedule",
    "Scorer",
    "Trainer",
    "Update",
    "build_discriminator",
    "build_generator",
    "find_weights",
    "grid",
    "images_of",
    "latents",
    "load_dataset",
    "load_extractor",
    "slerp",
]

# Where they are. They are imported when they are asked for, as most of them take TensorFlow's seconds.
_MODULES = {
    "Adam": "gan.optimizers",
    "Checkpoints": "gan.checkpoint",
    "Reference": "gan.evaluation.scorer",
    "Schedule": "gan.trainer",
    "Scorer": "gan.evaluation.scorer",
    "Trainer": "gan.trainer",
    "Update": "gan.update",
    "build_discriminator": "gan.models",
    "build_generator": "gan.models",
    "find_weights": "gan.evaluation.weights",
    "grid": "gan.images",
    "images_of": "gan.evaluation.scorer",
    "latents": "gan.randomness",
    "load_dataset": "gan.data.dataset",
    "load_extractor": "gan.evaluation.extractors",
    "slerp": "gan.randomness",
}

USER_BACKEND = os.environ.get("KERAS_BACKEND", "")  # the user's own word, which may be about other projects

# A process has one backend of Keras, and this library needs TensorFlow's.
if "keras" not in sys.modules:
    os.environ["KERAS_BACKEND"] = "tensorflow"
elif (_backend := sys.modules["keras"].config.backend()) != "tensorflow":
    raise ImportError(
        f"gan needs Keras on TensorFlow, and this process runs it on {_backend} already: "
        "import gan before keras, or set KERAS_BACKEND=tensorflow"
    )


def __dir__() -> list[str]:
    return __all__  # those that nobody has asked for yet, too


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
