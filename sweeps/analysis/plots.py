"""The pictures of a search: samples of its trials side by side, and the map of a grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial

from experiments.cli.progress import short_names
from experiments.reports import figures
from experiments.reports.charts import Chart, escaped
from experiments.reports.slider import as_jpeg
from gan.images import read_pixels
from sweeps.spec.plan import Plan
from sweeps.spec.space import table_text
from sweeps.study import attempts

COLUMNS = 4  # of the contact sheet
MOST_SETTINGS = 8  # under each trial's samples
MOST_ON_SHEET = 24  # trials on it, the best ones
SCORE = "score"


@dataclass(frozen=True)
class Cell:
    """Samples of one trial on the page."""

    origin: int
    title: str
    settings: list[str]
    picture: str  # source of an <img>


@dataclass(frozen=True)
class SampleMap:
    """Samples of each combination of two settings."""

    across: str
    down: str
    columns: list[str]
    rows: list[tuple[str, list[Cell | None]]]


def save_pictures(plan: Plan, trials: Sequence[FrozenTrial]) -> list[Path]:
    """Draw the pictures of a search into plots/, as MLflow shows them and docs may use them.

    Args:
        plan: of the search.
        trials: all that count; of too few some pictures are left out.

    Returns:
        The files.
    """
    plan.folder.plots.mkdir(exist_ok=True)
    done = attempts.finished(trials)
    saved = []
    if is_map(plan) and done:
        saved.append(figures.save_png(lambda: _draw_map(plan, done), plan.folder.plots / "map.png"))
        if with_samples(plan, done):
            file = plan.folder.plots / "map_of_samples.png"
            saved.append(figures.save_png(lambda: _draw_sample_map(plan, done), file))
    if named := with_samples(plan, done)[:MOST_ON_SHEET]:
        saved.append(figures.save_png(lambda: _draw_sheet(plan, named), plan.folder.plots / "contact_sheet.png"))
    return saved


def with_samples(plan: Plan, done: Sequence[FrozenTrial]) -> list[tuple[FrozenTrial, Path]]:
    """Return the trials that have samples, in order, each with its last ones."""
    return [(trial, file) for trial in done if (file := last_samples(plan, trial)) is not None]


def is_map(plan: Plan) -> bool:
    """Return whether a search tries all combinations of two settings."""
    return plan.search.sampler == "grid" and len(plan.space) == 2


def contact_sheet(plan: Plan, done: Sequence[FrozenTrial]) -> list[Cell]:
    """Return the same latents by the completed trials that have samples. done: best first."""
    named = with_samples(plan, done)[:MOST_ON_SHEET]
    return [Cell(attempts.origin(t), _title(plan, t), _settings(plan, t), as_jpeg(file)) for t, file in named]


def map_chart(plan: Plan, done: Sequence[FrozenTrial]) -> Chart:
    """Return the score of each combination of two settings; the first goes from left to right."""
    columns, rows, by_place = _places(plan, done)
    scores = [
        [by_place[r, c].value if (r, c) in by_place else None for c in range(len(columns))] for r in range(len(rows))
    ]
    texts = [["" if score is None else f"{score:.3g}" for score in row] for row in scores]
    missing = [(r, c) for r, row in enumerate(scores) for c, score in enumerate(row) if score is None]
    keys = [
        [attempts.origin(by_place[r, c]) if (r, c) in by_place else None for c in range(len(columns))]
        for r in range(len(rows))
    ]
    across, down = plan.space
    heat = {
        "type": "heatmap", "z": scores, "x": list(map(escaped, columns)), "y": list(map(escaped, rows)), "text": texts,
        "texttemplate": "%{text}", "colorscale": "Viridis", "reversescale": True, "hoverongaps": False,
        "customdata": keys,
        "hovertemplate": f"{across.key} %{{x}}<br>{down.key} %{{y}}<br>score %{{z:.4~g}}<extra></extra>",
        "colorbar": {"thickness": 12, "outlinewidth": 0, "title": {"text": SCORE}},
    }  # fmt: skip
    none = {  # in the page's colour, where the map has none
        "type": "scatter", "mode": "text", "x": [escaped(columns[c]) for _, c in missing],
        "y": [escaped(rows[r]) for r, _ in missing], "text": ["none"] * len(missing),
        "textfont": {"color": "var(--ink)"}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip
    axis = {"type": "category", "showgrid": False}
    layout = {
        "height": 120 + 50 * len(rows),
        "xaxis": {**axis, "title": {"text": across.key}},
        "yaxis": {**axis, "title": {"text": down.key}, "autorange": "reversed"},
    }
    return Chart("map", {"data": [heat, none] if missing else [heat], "layout": layout}, "Lower is better.")


def sample_map(plan: Plan, done: Sequence[FrozenTrial]) -> SampleMap | None:
    """Return samples placed as on the map; None where no run has any."""
    columns, rows, by_place = _places(plan, done)
    cells = {
        place: Cell(attempts.origin(trial), _title(plan, trial), [], as_jpeg(file))
        for place, trial in by_place.items()
        if (file := last_samples(plan, trial)) is not None
    }
    lines = [(name, [cells.get((r, c)) for c in range(len(columns))]) for r, name in enumerate(rows)]
    return SampleMap(plan.space[0].key, plan.space[1].key, columns, lines) if cells else None


def _places(plan: Plan, done: Sequence[FrozenTrial]) -> tuple[list[str], list[str], dict[tuple[int, int], FrozenTrial]]:
    """Return the values of two settings as texts, and the best trial by row and column.

    Trials of before the space was extended may lie beside the map.
    """
    across, down = plan.space
    columns, rows = ([table_text(value) for value in dimension.grid()] for dimension in (across, down))
    by_place = {}
    for trial in reversed(done):
        y, x = (table_text(trial.params[d.key]) if d.key in trial.params else None for d in (down, across))
        if attempts.BASELINE not in trial.user_attrs and y in rows and x in columns:
            by_place[rows.index(y), columns.index(x)] = trial
    return columns, rows, by_place


def _draw_map(plan: Plan, done: Sequence[FrozenTrial]) -> Figure:
    columns, rows, by_place = _places(plan, done)
    figure = figures.new_figure(max(0.95 * len(columns), 4) + 2, max(0.6 * len(rows), 2) + 1.2)
    axes = figure.subplots()
    scores = np.full((len(rows), len(columns)), np.nan)
    for place, trial in by_place.items():
        scores[place] = trial.value
    image = axes.imshow(scores, cmap="viridis_r", aspect="auto")
    for (row, column), score in np.ndenumerate(scores):
        has_score = np.isfinite(score)
        axes.text(
            column, row, f"{score:.3g}" if has_score else "none", ha="center", va="center",
            color=figures.ink_on(image.to_rgba(score)) if has_score else figures.INK["light"],
        )  # fmt: skip
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=plan.space[0].key, ylabel=plan.space[1].key)
    axes.grid(False)
    figure.colorbar(image, label=f"{SCORE} (lower is better)")
    return figure


def _draw_sample_map(plan: Plan, done: Sequence[FrozenTrial]) -> Figure:
    """Draw the same latents by each combination of two settings, with its score."""
    columns, rows, by_place = _places(plan, done)
    figure = figures.new_figure(2.4 * len(columns) + 0.6, 2.5 * len(rows) + 0.6)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for place, axis in np.ndenumerate(axes):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        trial = by_place.get((place[0], place[1]))
        if trial is not None and (file := last_samples(plan, trial)) is not None:
            axis.imshow(read_pixels(file), interpolation="nearest")
            axis.set_title(f"{trial.value:.3g}", fontsize=9)
    for axis, name in zip(axes[-1], columns, strict=True):
        axis.set_xlabel(name)
    for axis, name in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(name)
    figure.supxlabel(plan.space[0].key)
    figure.supylabel(plan.space[1].key)
    return figure


def last_samples(plan: Plan, trial: FrozenTrial) -> Path | None:
    """Return the last samples of the latents that all runs share, None if there are none."""
    samples = attempts.run_of(plan, trial).sample_files
    return samples[max(samples)] if samples else None


def _title(plan: Plan, trial: FrozenTrial) -> str:
    preset = f" ({plan.preset})" if attempts.is_baseline(plan, trial) else ""
    return f"trial {attempts.origin(trial)}{preset}: {trial.value:.4g}"


def _settings(plan: Plan, trial: FrozenTrial) -> list[str]:
    """Return a trial's settings in lines; of many only those that differ from the baseline's, and so many."""
    params = attempts.shown_params(plan, trial)
    names = short_names(params)
    if len(params) > MOST_SETTINGS:
        near = plan.baseline  # of a baseline whose layers differ the mean
        params = {k: value for k, value in params.items() if value != near.get(k) and not plan.is_baseline({k: value})}
    lines = [f"{names[key]} {table_text(value)}" for key, value in params.items()]
    return lines if len(lines) <= MOST_SETTINGS else [*lines[:MOST_SETTINGS], f"and {len(lines) - MOST_SETTINGS} more"]


def _draw_sheet(plan: Plan, named: Sequence[tuple[FrozenTrial, Path]]) -> Figure:
    """Draw the same latents by trials with their samples, best first, with the settings under each."""
    columns = min(COLUMNS, len(named))
    rows = math.ceil(len(named) / columns)
    figure = figures.new_figure(2.6 * columns, (2.6 + 0.22 * (min(len(plan.space), MOST_SETTINGS + 1) + 1)) * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (trial, file) in zip(axes.flat, named, strict=False):
        figures.show_pixels(axis, read_pixels(file))
        axis.set_title(_title(plan, trial), fontsize=10)
        axis.text(0, -0.03, "\n".join(_settings(plan, trial)), transform=axis.transAxes, va="top", fontsize=9)
    return figure
