"""Samples over steps: the same latents of one run, or of several side by side, and a slider that chooses the step."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from PIL import Image

from gan.images import ZOOM, evenly, read_pixels

MOST_STEPS = 12  # more would make the page large
QUALITY = 90  # of the JPEGs


@dataclass(frozen=True)
class Slider:
    """What the macro `slider` shows.

    Attributes:
        steps: to choose from, at least one, in order.
        frames: by name, a picture for each step.
        keys: by name, the `data-key` of what is marked with it in charts; see charts.py.
    """

    steps: list[int]
    frames: dict[str, list[str]]
    keys: dict[str, str]

    @property
    def json(self) -> Markup:
        """All pictures but the last ones, which stand in the page anyway."""
        return htmlsafe_json_dumps({"steps": self.steps, "frames": [each[:-1] for each in self.frames.values()]})


def make_slider(samples: Mapping[str, Mapping[int, Path]], keys: Mapping[str, str] | None = None) -> Slider | None:
    """Return a slider over at most MOST_STEPS of the steps that all runs have samples of.

    Args:
        samples: files by step, by the name of the run.
        keys: of runs that charts mark, by name.

    Returns:
        The slider; None where no step is common to all.
    """
    common = set.intersection(*(set(files) for files in samples.values())) if samples else set()
    steps = evenly(sorted(common), MOST_STEPS)
    if not steps:
        return None
    frames = {name: [as_jpeg(files[step]) for step in steps] for name, files in samples.items()}
    return Slider(steps, frames, dict(keys or {}))


def as_jpeg(file: Path) -> str:
    """Return saved samples as the source of an <img>; the page enlarges them."""
    return pixels_as_jpeg(read_pixels(file))


def pixels_as_jpeg(pixels: np.ndarray) -> str:
    """Return pixels, (H, W, 3) uint8, as the source of an <img>, without the zoom that they may have."""
    small = pixels[::ZOOM, ::ZOOM]
    if pixels.shape == (ZOOM * small.shape[0], ZOOM * small.shape[1], 3) and np.array_equal(
        small.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1), pixels
    ):
        pixels = small
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
