"""Runs in a notebook: their settings, curves, samples and generators.

    from experiments.notebook import best, load, runs

    runs()                                 # a table of all runs, trials of searches among them
    load("first")                          # shows the run: scores, settings, samples over steps
    load("first").history()["eval/fid_proxy"].plot()
    best("ships").generate(16, seed=7)     # an array of images that shows itself

Nothing here writes anything.
"""

import html
import io
import numbers
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from rich.console import Console

from experiments.cli.stderr import native_stderr_to
from experiments.records import journal
from experiments.records.folders import BEST, Records, RunFolder
from experiments.records.overview import read_runs
from experiments.reports.page import FOLDER, render
from experiments.reports.slider import make_slider
from experiments.settings.schema import Config
from experiments.training.facts import read_records, settings
from experiments.training.generator import find_checkpoint, load_generator, sample_latents
from gan.errors import ConfigError
from gan.images import grid

if TYPE_CHECKING:
    import keras
    import pandas as pd

COLUMNS = 8  # of a grid of images
FRAME_HEIGHT = 560  # of a run in a notebook, pixels


def load(name: str | Path = "last", root: str | Path | None = None) -> "Run":
    """Return a run.

    Args:
        name: its name, folder or MLflow id; `last`; or `best:<study>`.
        root: of the records; by default the project's `mlruns`.

    Raises:
        ConfigError: where there is no such run, or its records are damaged.
    """
    if not isinstance(name, str | Path):
        raise ConfigError("name", "a run's name, folder or MLflow id", name)
    folder = _records(root).find_run(str(name), "name")
    config, facts = read_records(folder, "name")
    return Run(folder, config, facts)


def best(study: str, root: str | Path | None = None) -> "Run":
    """Return the run of a finished search's winner.

    Args:
        study: the search's name.
        root: of the records; by default the project's `mlruns`.

    Raises:
        ConfigError: where there is no such study, or its search is not over.
    """
    return load(f"{BEST}{study}", root)


def runs(root: str | Path | None = None) -> "pd.DataFrame":
    """Return a row for each run, the newest first: name, study, state, score and of how many images, step, preset.

    The settings that a run changes of its preset have columns of their own.

    Args:
        root: of the records; by default the project's `mlruns`.
    """
    import pandas as pd

    overviews = read_runs(_records(root))
    rows = [
        {
            "study": run.study,
            "state": run.state,
            "fid_proxy": run.score,
            "num_images": run.num_images,
            "step": run.step,
            "preset": run.preset,
            **run.changed,
        }
        for run in overviews
    ]
    return pd.DataFrame(rows, index=pd.Index([run.name for run in overviews], name="run"))


def _records(root: str | Path | None) -> Records:
    return Records.at(str(root) if root is not None else None)


class Images(np.ndarray):
    """Images (N, H, W, 3) uint8, an array that a notebook shows as a picture."""

    def _repr_png_(self) -> bytes | None:
        if self.ndim != 4 or self.shape[-1] != 3 or self.dtype != np.uint8 or not self.size:
            return None  # a part of it, such as one channel, or what was computed of it
        pixels = np.asarray(self)
        columns = min(len(pixels), COLUMNS)
        rows = -(-len(pixels) // columns)
        blank = np.full((rows * columns - len(pixels), *pixels.shape[1:]), 255, np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(grid(np.concatenate([pixels, blank]), rows, columns)).save(buffer, "PNG")
        return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class Run:
    """A run, as its folder has it.

    Attributes:
        folder: of the run.
        config: its settings, by section: `run.config.model.bn_momentum`.
        facts: what else is recorded: command, data, code.
    """

    folder: RunFolder
    config: Config
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by key: `run.settings["model.bn_momentum"]`."""
        return settings(self.config)

    @property
    def scores(self) -> dict[str, float]:
        """The scores of a finished run by name: `fid_proxy`, `kid_proxy`, ...; none for a run that trained on since."""
        prefix = "final/"
        if self._scored is None or not self._scored.is_final:
            return {}
        return {
            name.removeprefix(prefix): values[-1]
            for name, (_, values) in self._curves.items()
            if name.startswith(prefix)
        }

    @property
    def score(self) -> float:
        """The FID proxy as lists of runs have it, see `score_of`; NaN for a run without any."""
        return self._scored.value if self._scored is not None else float("nan")

    def history(self) -> "pd.DataFrame":
        """Return all curves: a row for each step, a column for each metric, NaN where a metric has no value."""
        import pandas as pd

        columns = {name: dict(zip(steps, values, strict=True)) for name, (steps, values) in self._curves.items()}
        return pd.DataFrame(columns).sort_index().rename_axis("step")

    def generator(self, step: int | str = "last") -> "keras.Model":
        """Return the generator as it was scored: latents (N, latent_dim) float32 -> images (N, 32, 32, 3) in [-1, 1].

        Args:
            step: `last`, `best` (by in-run score) or a step that there is a checkpoint of.

        Raises:
            ConfigError: where there is no such checkpoint.
        """
        checkpoint = find_checkpoint(self.folder, str(step), Console(stderr=True))
        with native_stderr_to():  # what TensorFlow says of the hardware as it is imported
            return load_generator(self.config, checkpoint)

    def generate(self, num_images: int = 64, seed: int = 0, step: int | str = "last") -> Images:
        """Return samples. Equal seeds give equal latents in every run, here and in generate.py.

        Args:
            num_images: how many, at least 1.
            seed: of the latents, at least 0.
            step: of the checkpoint, as in `generator`.

        Returns:
            (num_images, 32, 32, 3) uint8.

        Raises:
            ConfigError: for a number or a checkpoint that cannot be.
        """
        for key, value, least in (("num_images", num_images, 1), ("seed", seed, 0)):
            if not isinstance(value, numbers.Integral) or value < least:
                raise ConfigError(key, f"a whole number of at least {least}", value)
        generator = self.generator(step)
        from gan.evaluation.scorer import images_of

        latents = sample_latents(seed, num_images, self.config.model.latent_dim)
        return images_of(generator, latents).view(Images)

    @property
    def _curves(self) -> journal.Curves:
        file = self.folder.journal
        return _curves_of(file, file.stat().st_size) if file.exists() else {}

    @property
    def _scored(self) -> journal.Score | None:
        return journal.score_of(self._curves)

    def __repr__(self) -> str:
        if self._scored is None:
            return f"<Run {self.name}: not scored yet>"
        return f"<Run {self.name}: FID proxy {self.score:.4g} after {self._scored.step:,} updates>"

    def _repr_html_(self) -> str:
        slider = make_slider({self.name: self.folder.sample_files})
        page = render(FOLDER / "notebook.html", run=self, scored=self._scored, frames=slider)
        return f'<iframe title="{html.escape(self.name)}" srcdoc="{html.escape(page)}" style="width: 100%; height: {FRAME_HEIGHT}px; border: 0"></iframe>'


@lru_cache(maxsize=32)
def _curves_of(file: Path, size: int) -> journal.Curves:
    """Return the curves of a journal as long as it has this size: a run that trains adds to it."""
    return journal.curves(file)
