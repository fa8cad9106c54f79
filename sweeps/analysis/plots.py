"""The figures of a search: Optuna's own, in the look of all others, and further ones."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import optuna
import optuna.visualization.matplotlib as plots
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.importance import BaseImportanceEvaluator, FanovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from PIL import Image

from experiments.cli.progress import short_names
from experiments.reports import figures
from experiments.reports.figures import SavedFigure
from gan import metric_names
from sweeps.spec.plan import Plan
from sweeps.spec.schema import SCORES
from sweeps.spec.space import table_text
from sweeps.study import attempts, rungs
from sweeps.study.optuna_log import experimental
from sweeps.study.samplers import trials_in_space, without_float_errors

COLUMNS = 4  # of the contact sheet
NEWEST = 24  # trials on it at most, the best ones
NAMED = 10  # trials in a legend at most, the best ones
SCORE = "score"
FEWEST, MOST = 4, 200  # completed trials for importances


def importances(study: Study, plan: Plan | None = None) -> dict[str, float]:
    """Return the importance of each setting, as a fraction of the score's variance (fANOVA).

    It is empty where there are fewer than FEWEST completed trials. Of more than MOST a part is drawn, as the time
    grows with their square. plan: whose space all trials are shown in, as that of a study may have been extended.
    """
    done = attempts.finished(study.get_trials(deepcopy=False))
    if plan is not None:
        done = attempts.finished(_comparable(plan, study.get_trials(deepcopy=False)))
        done = trials_in_space(done, plan.space, plan.values_before_extension)
    if len(done) < FEWEST:
        return {}
    if len(done) > MOST:
        done = [done[k] for k in np.random.default_rng(0).choice(len(done), MOST, replace=False)]
    with experimental():
        return get_param_importances(as_suggested(done), evaluator=FanovaImportanceEvaluator(seed=0))


def _comparable(plan: Plan, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return trials whose scores can be compared: where they grow, those of one rung."""
    return rungs.at_one_rung(plan, trials, FEWEST) if len(plan.rungs) > 1 else list(trials)


class _FixedImportances(BaseImportanceEvaluator):
    """Importances that were computed before."""

    def __init__(self, fractions: dict[str, float]) -> None:
        self._fractions = fractions

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        return self._fractions


def as_suggested(trials: Sequence[FrozenTrial]) -> Study:
    """Return a study in memory in which each suggestion is one trial, numbered as everywhere else."""
    study = optuna.create_study()
    study.add_trials(map(without_float_errors, sorted(trials, key=attempts.origin)))
    return study


def draw_figures(plan: Plan, trials: Sequence[FrozenTrial]) -> dict[str, SavedFigure]:
    """Draw the figures of a search into plots/, in a light and a dark theme.

    Args:
        plan: of the search.
        trials: all that count; of too few some figures are left out.

    Returns:
        The saved figures by title.
    """
    plan.folder.plots.mkdir(exist_ok=True)
    study = as_suggested(_comparable(plan, trials))
    score = SCORE if len(plan.rungs) == 1 else f"{SCORE} at {rungs.common_rung(plan, trials, FEWEST):,} updates"
    done = attempts.finished(trials)
    if not done:
        return {}
    drawn: dict[str, SavedFigure] = {}
    if plan.search.sampler == "grid" and len(plan.space) == 2:
        drawn |= _map(plan, done)
    if (sheet := _contact_sheet(plan, done)) is not None:
        drawn["contact sheet"] = sheet
    drawn["history"] = figures.save(
        "history", lambda theme: _history(theme, trials), plan.folder.plots / "history.png",
        "A trial that was paused or pruned stands at its last score.",
    )  # fmt: skip
    drawn["scores on the way"] = figures.save(
        "scores on the way", lambda theme: _on_the_way(theme, done, trials), plan.folder.plots / "scores_on_the_way.png",
        f"The mean of the last {SCORES} scores, which pruners see. Dark to bright: best to worst completed trial.",
    )  # fmt: skip
    plotters: dict[str, Callable[[], Any]] = {}
    if fractions := importances(study, plan):
        two = list(fractions)[:2]
        plotters |= {
            "importances": lambda: plots.plot_param_importances(
                study, evaluator=_FixedImportances(fractions), target_name=score
            ),
            "slices": lambda: plots.plot_slice(study, target_name=score),
            "parallel coordinates": lambda: plots.plot_parallel_coordinate(study, target_name=score),
        }
        if len(two) == 2:
            plotters["contour"] = lambda: plots.plot_contour(study, params=two, target_name=score)
    for title, plotter in plotters.items():
        drawn[title] = _save(title, plotter, plan.folder.plots / f"{title.replace(' ', '_')}.png")
    return drawn


def _map(plan: Plan, done: Sequence[FrozenTrial]) -> dict[str, SavedFigure]:
    """Draw the score and the samples of each combination of two settings; the first goes from left to right."""
    across, down = plan.space
    names = [[table_text(value) for value in dimension.grid()] for dimension in (across, down)]
    on_map = [trial for trial in reversed(done) if attempts.BASELINE not in trial.user_attrs]
    places = {(table_text(t.params[down.key]), table_text(t.params[across.key])): t for t in on_map}
    by_place = {(names[1].index(y), names[0].index(x)): t for (y, x), t in places.items()}
    size = max(0.95 * len(names[0]), 4) + 2, max(0.6 * len(names[1]), 2) + 1.2

    def heat(theme: str) -> Figure:
        figure = figures.new_figure(*size)
        axes = figure.subplots()
        scores = np.full((len(names[1]), len(names[0])), np.nan)
        for place, trial in by_place.items():
            scores[place] = trial.value
        image = axes.imshow(scores, cmap="viridis_r", aspect="auto")
        for (row, column), score in np.ndenumerate(scores):
            has_score = np.isfinite(score)
            axes.text(
                column, row, f"{score:.3g}" if has_score else "none", ha="center", va="center",
                color=figures.ink_on(image.to_rgba(score)) if has_score else figures.INK[theme],
            )  # fmt: skip
        axes.set_xticks(range(len(names[0])), names[0])
        axes.set_yticks(range(len(names[1])), names[1])
        axes.set(xlabel=across.key, ylabel=down.key)
        axes.grid(False)
        figure.colorbar(image, label=f"{SCORE} (lower is better)")
        return figure

    def sheet(theme: str) -> Figure:
        figure = figures.new_figure(1.9 * len(names[0]) + 0.6, 1.9 * len(names[1]) + 0.6)
        axes = figure.subplots(len(names[1]), len(names[0]), squeeze=False)
        for place, axis in np.ndenumerate(axes):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if place in by_place and (file := _last_samples(plan, by_place[place])) is not None:
                with Image.open(file) as image:
                    figures.show_pixels(axis, np.asarray(image))
        for axis, name in zip(axes[0], names[0], strict=True):
            axis.set_title(name)
        for axis, name in zip(axes[:, 0], names[1], strict=True):
            axis.set_ylabel(name)
        figure.supxlabel(across.key)
        figure.supylabel(down.key)
        return figure

    drawn = {"map": figures.save("map", heat, plan.folder.plots / "map.png")}
    if any(_last_samples(plan, trial) is not None for trial in done):
        words = "The same 16 latents drawn by each combination, placed as on the map."
        drawn["map of samples"] = figures.save("map of samples", sheet, plan.folder.plots / "map_of_samples.png", words)
    return drawn


def _history(theme: str, trials: Sequence[FrozenTrial]) -> Figure:
    figure = figures.new_figure(9, 4.5)
    axes = figure.subplots()
    done = [(attempts.origin(t), t.value) for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    pruned = [(attempts.origin(t), list(t.intermediate_values.values())[-1]) for t in trials if _is_pruned(t)]
    done.sort()
    blue, orange, *_ = figures.COLOURS[theme]
    axes.scatter(*zip(*done, strict=True), color=blue, label="completed")
    if pruned:
        axes.scatter(*zip(*pruned, strict=True), color=orange, marker="x", label="paused or pruned")
    numbers, values = zip(*done, strict=True)
    axes.step(numbers, np.minimum.accumulate(values), where="post", color=blue, alpha=0.6, label="best so far")
    axes.set(xlabel="trial", ylabel=f"{SCORE} (lower is better)", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def _is_pruned(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.PRUNED and bool(trial.intermediate_values)


def _on_the_way(theme: str, done: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> Figure:
    """Draw the scores of each trial over its updates. done: completed trials, best first."""
    figure = figures.new_figure(9, 5)
    axes = figure.subplots()
    ink = figures.INK[theme]
    for trial in filter(_is_pruned, trials):
        points = sorted(trial.intermediate_values.items())
        axes.plot(*zip(*points, strict=True), color=ink, alpha=0.4, linestyle="--", marker="x", markersize=4)
    colours = matplotlib.colormaps["viridis"](np.linspace(0.15 if theme == "light" else 0.3, 0.95, len(done)))
    for rank, (trial, colour) in enumerate(zip(done, colours, strict=True)):
        points = sorted(trial.intermediate_values.items())
        if points:
            label = f"trial {attempts.origin(trial)}" if rank < NAMED else None
            axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3, label=label)
    if any(map(_is_pruned, trials)):
        axes.plot([], [], color=ink, alpha=0.4, linestyle="--", marker="x", markersize=4, label="paused or pruned")
    axes.set(xlabel="updates", ylabel=f"{SCORE} (lower is better)", ylim=(0, None))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if axes.lines:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _save(title: str, plotter: Callable[[], Any], file: Path) -> SavedFigure:
    """Save one of Optuna's own plots in the look of all others."""

    def draw(theme: str) -> Figure:
        with experimental(), matplotlib.rc_context():  # Optuna chooses a style for the whole process
            axes = plotter()
        first = axes.flat[0] if isinstance(axes, np.ndarray) else axes
        figure: Figure = first.figure
        if not isinstance(axes, np.ndarray):
            figure.set_size_inches(9, 5)
        for axis in np.atleast_1d(axes):
            for side in ("left", "center", "right"):
                axis.set_title("", loc=side)  # the page has its own
        figure.suptitle("")
        if title == "importances" and (legend := first.get_legend()) is not None:
            legend.remove()  # of one entry
        figures.recolour(figure, theme)
        plt.close(figure)
        return figure

    return figures.save(title, draw, file)


def _last_samples(plan: Plan, trial: FrozenTrial) -> Path | None:
    """Return the last samples of the latents that all runs share, None if there are none."""
    samples = attempts.run_of(plan, trial).sample_files(metric_names.SAMPLES)
    return samples[max(samples)] if samples else None


def _contact_sheet(plan: Plan, done: Sequence[FrozenTrial]) -> SavedFigure | None:
    """Draw the same latents by every completed trial, best first, with the settings under each."""
    named = [(trial, _last_samples(plan, trial)) for trial in done]
    newest = [(trial, file) for trial, file in named if file is not None][:NEWEST]
    if not newest:
        return None
    columns = min(COLUMNS, len(newest))
    rows = math.ceil(len(newest) / columns)
    caption = 0.22 * (len(plan.space) + 1)

    def draw(theme: str) -> Figure:
        figure = figures.new_figure(2.6 * columns, (2.6 + caption) * rows)
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, (trial, file) in zip(axes.flat, newest, strict=False):
            with Image.open(file) as image:
                figures.show_pixels(axis, np.asarray(image))
            preset = f" ({plan.preset})" if attempts.is_baseline(plan, trial) else ""
            axis.set_title(f"trial {attempts.origin(trial)}{preset}: {trial.value:.4g}", fontsize=10)
            params = attempts.shown_params(plan, trial)
            settings = [f"{name} {table_text(params[key])}" for key, name in short_names(params).items()]
            axis.text(0, -0.03, "\n".join(settings), transform=axis.transAxes, va="top", fontsize=9)
        return figure

    words = "The same 16 latents drawn by each completed trial, best score first."
    return figures.save("contact sheet", draw, plan.folder.plots / "contact_sheet.png", words)
