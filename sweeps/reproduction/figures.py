"""The figures of docs/results.md."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.reports import figures
from experiments.reports.groups import Compared, common_steps
from gan import metric_names
from gan.images import grid, read_pixels
from sweeps.reproduction.rows import Row, presets_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 5  # steps whose samples stand side by side


def curves_figure(rows: Sequence[Row], of: str, steps: int) -> "Figure":
    """Draw in-run scores over updates: a colour for each preset, a line for each seed.

    Args:
        rows: of curves.csv.
        of: the class.
        steps: updates of the trainings.
    """
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = figures.new_figure(9, 4.5)
    axes = figure.subplots()
    selected = [row for row in rows if row["class"] == of and row["steps"] == str(steps)]
    for colour, preset in enumerate(presets_of(selected)):
        group = [row for row in selected if row["preset"] == preset]
        for line, seed in enumerate(sorted({row["seed"] for row in group})):
            points = sorted((int(row["step"]), float(row[metric_names.FID])) for row in group if row["seed"] == seed)
            steps_of, scores = zip(*points, strict=True)
            look = figures.style((colour, line % len(figures.LINES)))
            axes.plot(steps_of, scores, color=look["color"], linestyle=look["linestyle"], label="" if line else preset)
    axes.set(xlabel="updates", ylabel="FID proxy during the run (lower is better)", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(title="a line a seed")
    return figure


def latents_figure(runs: Mapping[str, Compared], real: np.ndarray) -> "Figure":
    """Draw the same latents by several runs at equal steps, and real images below.

    Args:
        runs: by the title of their row.
        real: images, (N, 32, 32, 3) uint8.
    """
    steps = common_steps(list(runs.values()), COLUMNS)
    figure = figures.new_figure(2.1 * len(steps) + 0.4, 2.25 * (len(runs) + 1) + 0.3)
    axes = figure.subplots(len(runs) + 1, len(steps), squeeze=False)
    for row, (title, run) in zip(axes, runs.items(), strict=False):
        for place, step in zip(row, steps, strict=True):
            figures.show_pixels(place, read_pixels(run.samples[step]))
        row[0].set_ylabel(title)
    for place, step in zip(axes[0], steps, strict=True):
        place.set_title(f"{step:,} updates")
    tiles = np.resize(np.arange(len(real)), 16 * len(steps)).reshape(len(steps), 16)
    for place, indices in zip(axes[-1], tiles, strict=True):
        figures.show_pixels(place, grid(real[indices], 4, 4))
    axes[-1, 0].set_ylabel("real images")
    return figure
