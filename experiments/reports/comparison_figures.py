"""The figures of a comparison of runs: charts of scores and losses, and a sheet of the same latents at equal steps."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.reports.charts import Chart, escaped
from experiments.reports.groups import Compared, Group, common_steps, in_run_alike
from experiments.reports.result import SCORES, ranking
from experiments.reports.slider import as_jpeg, pixels_as_jpeg
from experiments.reports.statistics import mean, standard_deviation
from experiments.reports.stills import with_still
from gan import metric_names
from gan.images import grid

Mark = tuple[int, int]  # indices of a run's colour and line

COLUMNS = 5  # steps whose samples stand side by side
MOST_MARKED = 20  # points of a curve that has a marker at each
FEW_STEPS = 6  # between the ends of an axis
WRAPPED = 24  # characters of a group's name in a chart
LINES = ("solid", "dash", "dot")  # where there are more curves than colours
LOSSES = {
    metric_names.D_LOSS: "discriminator's loss",
    metric_names.G_LOSS: "generator's loss",
    metric_names.D_REAL: "D's probability for real images",
    metric_names.D_FAKE: "D's probability for generated ones",
}


@dataclass(frozen=True)
class Row:
    """Samples of one run on a sheet.

    Attributes:
        key: the run's name, by which charts mark it; empty for real images.
        title: of the row.
        pictures: sources of an <img>, one a step.
    """

    key: str
    title: str
    pictures: list[str]


@dataclass(frozen=True)
class Sheet:
    """The same latents by several runs at equal steps."""

    steps: list[int]
    rows: list[Row]
    caption: str


Sections = dict[str, Sheet | list[Chart] | str]


def counts(runs: Sequence[Compared]) -> str:
    """Return how many images the scores during some runs are of, in words."""
    return " and ".join(f"{count:,}" for count in sorted({run.config.eval.num_images for run in runs}))


def draw(runs: Sequence[Compared], groups: Sequence[Group], styles: Sequence[Mark], real: np.ndarray | str) -> Sections:
    """Draw the figures of a comparison.

    Args:
        runs: in the order of the groups.
        groups: of these runs.
        styles: colour and line of each run.
        real: images, (N, 32, 32, 3) uint8, or why there are none.

    Returns:
        Charts and a sheet of samples by section, or a sentence that says why one cannot be drawn.
    """
    sections: Sections = {}
    names = [group.name_of(run) for group in groups for run in group.runs]
    if not in_run_alike(runs):
        sections["Scores"] = f"Their scores on the way cannot be compared: they are of {counts(runs)} images."
    elif any(metric_names.FID_PROXY in run.curves for run in runs):
        panels = {
            f"eval/{name}": f"{title} ({unit})"
            for name, (title, unit) in SCORES.items()
            if name != metric_names.NN_DISTANCE
        }
        sections["Scores"] = _curves(runs, names, styles, panels)
    else:
        sections["Scores"] = "No run has been scored yet."
    sections["Losses"] = _curves(runs, names, styles, LOSSES)
    sections["The same latents"] = _same_latents(runs, names, real)
    metric = ranking(groups)
    if len(groups) > 1 and any(group.values(metric) for group in groups):
        sections["Final scores"] = [_finals(groups, styles, metric)]
    return sections


def _curves(
    runs: Sequence[Compared], names: Sequence[str], styles: Sequence[Mark], panels: Mapping[str, str]
) -> list[Chart]:
    """Return a chart for each metric, a curve for each run."""
    charts = []
    for metric, title in panels.items():
        data = []
        for run, name, (colour, line) in zip(runs, names, styles, strict=True):
            steps, values = run.curves.get(metric, ([], []))
            mode = "lines+markers" if len(steps) < MOST_MARKED else "lines"
            data.append(
                {
                    "type": "scatter", "mode": mode, "x": steps, "y": values, "showlegend": False,
                    "customdata": [run.name] * len(steps), "marker": {"size": 5},
                    "line": {"color": f"var(--c{colour})", "dash": LINES[line], "width": 2},
                    "hovertemplate": f"{escaped(name)}: %{{y:.4~g}} at step %{{x:,}}<extra></extra>",
                }
            )  # fmt: skip
        vertical = {"rangemode": "tozero"} if "lower" in title else {}
        every = [step for run in runs for step in run.curves.get(metric, ([], []))[0]]
        is_short = not every or max(every) - min(every) < FEW_STEPS
        ticks = {"dtick": 1} if is_short else {"nticks": 6}  # or two ticks would have the name of one step
        layout = {
            "height": 280, "xaxis": {"title": {"text": "updates"}, "tickformat": ",.0f", **ticks},
            "yaxis": vertical, "meta": {"width": 480},
        }  # fmt: skip
        charts.append(with_still(Chart(title, {"data": data, "layout": layout})))
    return charts


def _finals(groups: Sequence[Group], styles: Sequence[Mark], metric: str) -> Chart:
    """Return the score of each run, and mean and standard deviation over the seeds of each group."""
    data: list[dict[str, Any]] = []
    names = [escaped(textwrap.fill(group.name, WRAPPED)).replace("\n", "<br>") for group in groups]
    index = 0
    for group, name in zip(groups, names, strict=True):
        colour = f"var(--c{styles[index][0]})"
        index += len(group.runs)
        scored = [(run, value) for run in group.runs if (value := run.value(metric)) is not None]
        values, of_seeds = [value for _, value in scored], group.values(metric)
        if len(of_seeds) > 1:
            middle, deviation = mean(of_seeds), standard_deviation(of_seeds)
            data.append(
                {"type": "scatter", "mode": "lines", "x": [middle - deviation, middle + deviation], "y": [name] * 2,
                 "line": {"color": colour, "width": 5}, "opacity": 0.35, "hoverinfo": "skip", "showlegend": False}
            )  # fmt: skip
            data.append(
                {"type": "scatter", "mode": "markers", "x": [middle], "y": [name], "showlegend": False,
                 "hovertemplate": f"%{{x:.4~g}} ± {deviation:.3g}<extra></extra>",
                 "marker": {"color": colour, "symbol": "diamond", "size": 13}}
            )  # fmt: skip
        data.append(
            {
                "type": "scatter", "mode": "markers", "x": values, "y": [name] * len(values), "showlegend": False,
                "customdata": [run.name for run, _ in scored], "text": [f"seed {run.config.seed}" for run, _ in scored],
                "hovertemplate": "%{x:.4~g}, %{text}<extra></extra>",
                "marker": {"color": colour, "symbol": "circle-open" if len(values) > 1 else "circle", "size": 9},
            }
        )  # fmt: skip
    highest = max((x for trace in data for x in trace["x"]), default=1.0)
    evaluation = groups[0].runs[0].config.eval
    count = evaluation.final_num_images if metric == metric_names.FINAL_FID_PROXY else evaluation.num_images
    layout = {
        "height": 100 + 50 * len(groups), "xaxis": {"title": {"text": "FID proxy"}, "range": [0, 1.05 * highest]},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": names[::-1],
                  "range": [-0.6, len(names) - 0.4]},
    }  # fmt: skip
    words = (
        f"{count:,} images, lower is better; each circle a run, diamond and bar mean ± standard deviation over seeds."
    )
    return with_still(Chart("FID proxy", {"data": data, "layout": layout}, words))


def _same_latents(runs: Sequence[Compared], names: Sequence[str], real: np.ndarray | str) -> Sheet | str:
    dims = {run.config.model.latent_dim for run in runs}
    if len(dims) > 1:
        return f"The runs have latents of {' and '.join(map(str, sorted(dims)))} numbers: none are the same."
    steps = common_steps(runs, COLUMNS)
    if not steps:
        return "There is no step at which all runs drew samples."
    rows = [
        Row(run.name, name, [as_jpeg(run.samples[step]) for step in steps])
        for run, name in zip(runs, names, strict=True)
    ]
    caption = "Each row a run, each column a step; the same place in all samples is the same latent."
    if isinstance(real, str):
        return Sheet(steps, rows, f"{caption} No real images: {real}")
    tiles = np.resize(np.arange(len(real)), 16 * len(steps)).reshape(len(steps), 16)
    rows.append(Row("", "real images", [pixels_as_jpeg(grid(real[indices], 4, 4, zoom=1)) for indices in tiles]))
    return Sheet(steps, rows, f"{caption} Below, real images.")
