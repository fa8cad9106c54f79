"""The figures of a comparison of runs, as PNGs for light and dark grounds."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from experiments.reports import figures
from experiments.reports.figures import SavedFigure
from experiments.reports.groups import Compared, Group, common_steps, in_run_alike
from experiments.reports.result import SCORES, ranking
from experiments.reports.statistics import mean, standard_deviation
from gan import metric_names
from gan.images import grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mark = tuple[int, int]  # indices of a run's colour and line

COLUMNS = 5  # steps whose samples stand side by side
LOSSES = {
    metric_names.D_LOSS: ("discriminator's loss", "mean"),
    metric_names.G_LOSS: ("generator's loss", "mean"),
    metric_names.D_REAL: ("D's probability for real images", "mean"),
    metric_names.D_FAKE: ("D's probability for generated ones", "mean"),
}


def counts(runs: Sequence[Compared]) -> str:
    """Return how many images the scores during some runs are of, in words."""
    return " and ".join(f"{count:,}" for count in sorted({run.config.eval.num_images for run in runs}))


def draw(
    runs: Sequence[Compared], groups: Sequence[Group], styles: Sequence[Mark], real: np.ndarray | str, out: Path
) -> dict[str, SavedFigure | str]:
    """Draw the figures of a comparison.

    Args:
        runs: in the order of the groups.
        groups: of these runs.
        styles: colour and line of each run.
        real: images, (N, 32, 32, 3) uint8, or why there are none.
        out: folder of the figures.

    Returns:
        The figures by section, or a sentence that says why one cannot be drawn.
    """
    count = runs[0].config.eval.num_images
    sections: dict[str, SavedFigure | str] = {}
    names = [group.name_of(run) for group in groups for run in group.runs]
    if not in_run_alike(runs):
        sections["Scores"] = f"Their scores on the way cannot be compared: they are of {counts(runs)} images."
    elif any(metric_names.FID_PROXY in run.curves for run in runs):
        panels = {f"eval/{name}": title for name, title in SCORES.items() if name != metric_names.NN_DISTANCE}
        caption = f"Scores of {count:,} images during the runs, always of the same latents."
        sections["Scores"] = figures.save(
            "scores over updates",
            lambda theme: _curves(theme, runs, names, styles, panels),
            out / "scores.png",
            caption,
        )
    else:
        sections["Scores"] = "No run has been scored yet."
    sections["Losses"] = figures.save(
        "losses over updates", lambda theme: _curves(theme, runs, names, styles, LOSSES), out / "losses.png",
        "Means since the point before.",
    )  # fmt: skip
    sections["The same latents"] = _same_latents(runs, names, real, out)
    metric = ranking(groups)
    if len(groups) > 1 and any(group.values(metric) for group in groups):
        evaluation = runs[0].config.eval
        count = evaluation.final_num_images if metric == metric_names.FINAL_FID_PROXY else evaluation.num_images
        sections["Final scores"] = figures.save(
            "FID proxy", lambda theme: _finals(theme, groups, styles, metric), out / "final.png",
            f"{count:,} images; each dot a seed, the bar mean ± standard deviation.",
        )  # fmt: skip
    return sections


def _curves(
    theme: str,
    runs: Sequence[Compared],
    names: Sequence[str],
    styles: Sequence[Mark],
    panels: dict[str, tuple[str, str]],
) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    figure = figures.new_figure(10, 6.6 + 0.22 * math.ceil(len(runs) / 2))
    for axes, (metric, (title, unit)) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for run, name, mark in zip(runs, names, styles, strict=True):
            steps, values = run.curves.get(metric, ([], []))
            marker = "o" if len(steps) < 20 else ""
            axes.plot(steps, values, marker=marker, markersize=3, label=name, **figures.style(theme, mark))
        axes.set(title=title, xlabel="updates", ylabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        if "lower" in unit:
            axes.set_ylim(bottom=0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(runs) > 1 else 1)
    return figure


def _same_latents(
    runs: Sequence[Compared], names: Sequence[str], real: np.ndarray | str, out: Path
) -> SavedFigure | str:
    dims = {run.config.model.latent_dim for run in runs}
    if len(dims) > 1:
        return f"The runs have latents of {' and '.join(map(str, sorted(dims)))} numbers: none are the same."
    steps = common_steps(runs, COLUMNS)
    if not steps:
        return "There is no step at which all runs drew samples."
    caption = "Each row a run, each column a step; the same place in all samples is the same latent."
    caption += f" No real images: {real}" if isinstance(real, str) else " Below, real images."
    return figures.save(
        "the same latents at equal steps", lambda _: _sheet(runs, names, steps, real), out / "latents.png", caption
    )


def _sheet(runs: Sequence[Compared], names: Sequence[str], steps: Sequence[int], real: np.ndarray | str) -> "Figure":
    """Draw rows of samples, one a run, and one of real images.

    Args:
        runs: whose samples are drawn.
        names: of the rows.
        steps: of the columns.
        real: images, (N, 32, 32, 3) uint8, or why there are none.
    """
    rows = len(runs) + (not isinstance(real, str))
    figure = figures.new_figure(2.1 * len(steps) + 0.4, 2.25 * rows + 0.3)
    axes = figure.subplots(rows, len(steps), squeeze=False)
    for row, run, name in zip(axes, runs, names, strict=False):
        for place, step in zip(row, steps, strict=True):
            with Image.open(run.samples[step]) as image:
                figures.show_pixels(place, np.asarray(image))
        row[0].set_ylabel("\n".join(textwrap.wrap(name, 26)))
    for place, step in zip(axes[0], steps, strict=True):
        place.set_title(f"{step:,} updates")
    if not isinstance(real, str):
        tiles = np.resize(np.arange(len(real)), 16 * len(steps)).reshape(len(steps), 16)
        for place, indices in zip(axes[-1], tiles, strict=True):
            figures.show_pixels(place, grid(real[indices], 4, 4))
        axes[-1, 0].set_ylabel("real images")
    return figure


def _finals(theme: str, groups: Sequence[Group], styles: Sequence[Mark], metric: str) -> "Figure":
    figure = figures.new_figure(10, 1.2 + 0.5 * len(groups))
    axes = figure.subplots()
    index = 0
    for place, group in enumerate(groups):
        values = group.values(metric)
        colour = figures.style(theme, styles[index])["color"]
        axes.scatter(values, [place] * len(values), color=colour, s=30, zorder=3)
        if len(values) > 1:
            std = standard_deviation(values)
            axes.errorbar(mean(values), place + 0.2, xerr=std, fmt="|", color=colour, capsize=4, markersize=10)
        index += len(group.runs)
    axes.set_yticks(range(len(groups)), ["\n".join(textwrap.wrap(group.name, 40)) for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel("FID proxy (lower is better)")
    axes.set_xlim(left=0)
    return figure
