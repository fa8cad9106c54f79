"""What a search leaves behind: best.yaml, trials.csv, figures, and one HTML page with all of it."""

import base64
import contextlib
import csv
import io
import math
import shlex
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import optuna
import optuna.visualization.matplotlib as plots
import yaml
from optuna.exceptions import ExperimentalWarning
from optuna.importance import get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from PIL import Image

from experiments.records import RunFolder
from experiments.tracking import Delivery, public, tracking_uri
from gan import metrics
from gan.arrays import write_atomically
from sweeps import study as studies
from sweeps.confirm import Verdict
from sweeps.display import brief
from sweeps.plan import Plan
from sweeps.settings import SCORES
from sweeps.space import as_overrides

TEMPLATE = Path(__file__).with_name("report.html")
DEFAULT_UI = "http://127.0.0.1:5000"
COLUMNS = 4  # of the contact sheet
NEWEST = 24  # pictures on it at most, the best ones


@dataclass(frozen=True)
class Report:
    """The files of a study, under its folder."""

    best: Path
    trials: Path
    page: Path
    figures: dict[str, Path]  # by title, those that could be drawn


def write_report(
    plan: Plan, study: Study, folder: RunFolder, verdict: Verdict | None, rescored: float | None
) -> Report:
    trials = studies.counted(study.get_trials(deepcopy=False))
    report = Report(
        folder.path / "best.yaml",
        folder.path / "trials.csv",
        folder.path / "report.html",
        _figures(plan, folder, trials),
    )
    winner = _winner(trials, verdict)
    if winner is not None:
        write_atomically(report.best, _best(plan, winner, verdict).encode())
    write_atomically(report.trials, _csv(plan, trials).encode())
    write_atomically(report.page, _page(plan, study, folder, trials, verdict, rescored, report).encode())
    return report


def _winner(trials: Sequence[FrozenTrial], verdict: Verdict | None) -> FrozenTrial | None:
    """The best confirmed settings if they are better than the tutorial's, else the best of the search."""
    done = studies.finished(trials)
    if verdict is not None:
        confirmed = [trial for trial in done if trial.params == verdict.best.params]
        return confirmed[0] if confirmed else None
    return done[0] if done else None


def train_command(plan: Plan, params: dict[str, Any]) -> str:
    """The command that trains with some settings of the space, to the tutorial's length unless said otherwise."""
    own = [override for override in plan.given if not override.startswith("eval.")]
    return shlex.join(["python", "experiments/run.py", *own, *as_overrides(params)])


def _best(plan: Plan, winner: FrozenTrial, verdict: Verdict | None) -> str:
    lines = [
        f"# Study {plan.search.study}: {verdict.words() if verdict is not None else 'not confirmed on fresh seeds'}"
    ]
    lines += ["# Train with these settings:", f"#   {train_command(plan, winner.params)}"]
    content = {
        "trial": studies.origin(winner),
        "search_score": winner.value,
        "confirmed_score": verdict.best.mean if verdict is not None else None,
        "overrides": as_overrides(winner.params),
    }
    return "\n".join(lines) + "\n" + yaml.safe_dump(content, sort_keys=False)


def _csv(plan: Plan, trials: Sequence[FrozenTrial]) -> str:
    keys = [dimension.key for dimension in plan.space]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "score", "steps", "seconds", *keys, "outcome", "run"])
    for trial in sorted(trials, key=studies.origin):
        seconds = trial.duration.total_seconds() if trial.duration is not None else ""
        writer.writerow(
            [
                studies.origin(trial),
                trial.state.name,
                "" if trial.value is None or trial.state != TrialState.COMPLETE else repr(trial.value),
                steps_of(trial),
                seconds,
                *(trial.params.get(key, "") for key in keys),
                trial.user_attrs.get(studies.OUTCOME, ""),
                studies.run_name(plan.search.study, studies.origin(trial)),
            ]
        )
    return text.getvalue()


def steps_of(trial: FrozenTrial) -> int:
    """The step of its last score."""
    return max(trial.intermediate_values, default=0)


def saved_steps(plan: Plan, trials: Sequence[FrozenTrial]) -> tuple[int, int]:
    """Updates that pruned trials did not make, and those that all trials would have made without."""
    over = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    over = [t for t in over if not str(t.user_attrs.get(studies.OUTCOME, "")).startswith(studies.REPEATS)]
    pruned = [t for t in over if t.state == TrialState.PRUNED]
    return sum(plan.search.steps - steps_of(t) for t in pruned), plan.search.steps * len(over)


def importances(study: Study) -> dict[str, float]:
    """Of each setting for the score, as shares of 1; nothing where there are too few trials to tell."""
    if len(studies.finished(study.get_trials(deepcopy=False))) < 4:
        return {}
    with _quiet():
        return get_param_importances(study)


def as_suggested(trials: Sequence[FrozenTrial]) -> Study:
    """A study in memory in which each suggestion is one trial, so that figures have the numbers of all else."""
    study = optuna.create_study()
    study.add_trials(sorted(trials, key=studies.origin))
    return study


def _figures(plan: Plan, folder: RunFolder, trials: Sequence[FrozenTrial]) -> dict[str, Path]:
    """Drawn into plots/; what cannot be drawn of so few trials is left out."""
    folder.plots.mkdir(exist_ok=True)
    study = as_suggested(trials)
    done = studies.finished(trials)
    if not done:
        return {}
    files = {}
    if (sheet := _contact_sheet(plan, folder, done)) is not None:
        files["contact sheet"] = sheet
    figures: dict[str, Callable[[], Any]] = {
        "history": lambda: plots.plot_optimization_history(study),
        "scores on the way": lambda: plots.plot_intermediate_values(study),
    }
    if shares := importances(study):
        two = list(shares)[:2]
        figures |= {
            "importances": lambda: plots.plot_param_importances(study),
            "slices": lambda: plots.plot_slice(study),
            "parallel coordinates": lambda: plots.plot_parallel_coordinate(study),
        }
        if len(two) == 2:
            figures["contour"] = lambda: plots.plot_contour(study, params=two)
    for title, draw in figures.items():
        files[title] = _save(draw, folder.plots / f"{title.replace(' ', '_')}.png")
    return files


def _save(draw: Callable[[], Any], file: Path) -> Path:
    with _quiet():
        axes = draw()
    first = axes.flat[0] if isinstance(axes, np.ndarray) else axes
    figure = first.figure
    if not isinstance(axes, np.ndarray):
        figure.set_size_inches(9, 5)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    write_atomically(file, buffer.getvalue())
    return file


@contextlib.contextmanager
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def last_samples(folder: RunFolder) -> Path | None:
    """The last picture of the latents that all runs share."""
    pictures = sorted(folder.samples.glob(f"{metrics.SAMPLES}_*.png"))
    return pictures[-1] if pictures else None


def _contact_sheet(plan: Plan, folder: RunFolder, done: Sequence[FrozenTrial]) -> Path | None:
    """The same latents drawn by every completed trial, best first, settings under each."""
    named = [(t, RunFolder(folder.records.runs / studies.run_name(plan.search.study, studies.origin(t)))) for t in done]
    shown = [(trial, file) for trial, run in named if (file := last_samples(run)) is not None][:NEWEST]
    if not shown:
        return None
    rows = math.ceil(len(shown) / COLUMNS)
    caption = 0.22 * (len(plan.space) + 1)
    figure, axes = plt.subplots(
        rows, COLUMNS, figsize=(2.6 * COLUMNS, (2.6 + caption) * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (trial, file) in zip(axes.flat, shown, strict=False):
        with Image.open(file) as picture:
            axis.imshow(np.asarray(picture), interpolation="nearest")
        own = " (the tutorial's)" if studies.origin(trial) == 0 else ""
        axis.set_title(f"trial {studies.origin(trial)}{own}: {trial.value:.4g}", fontsize=9)
        settings = [f"{key.rpartition('.')[2]} {brief(value)}" for key, value in trial.params.items()]
        axis.text(0, -0.03, "\n".join(settings), transform=axis.transAxes, va="top", fontsize=8)
    file = folder.plots / "contact_sheet.png"
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    write_atomically(file, buffer.getvalue())
    return file


def _page(
    plan: Plan,
    study: Study,
    folder: RunFolder,
    trials: Sequence[FrozenTrial],
    verdict: Verdict | None,
    rescored: float | None,
    report: Report,
) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["brief"] = lambda value: "" if value is None else brief(value)
    saved, without = saved_steps(plan, trials)
    winner = _winner(trials, verdict)
    states = {state: sum(t.state.name == state for t in trials) for state in ("COMPLETE", "PRUNED", "FAIL")}
    return environment.from_string(TEMPLATE.read_text()).render(
        study=plan.search.study,
        verdict=verdict,
        confirmed=[verdict.tutorial, *verdict.candidates] if verdict is not None else [],
        winner=winner,
        rescored=rescored,
        command=train_command(plan, winner.params) if winner is not None else "",
        num_images=plan.config.eval.num_images,
        final_num_images=metrics.FINAL_NUM_IMAGES,
        last_scores=SCORES,
        identity=study.user_attrs[studies.IDENTITY],
        states=states,
        saved=saved,
        without=without,
        figures={title: _inline(file) for title, file in report.figures.items()},
        importances=importances(study),
        keys=[dimension.key for dimension in plan.space],
        space=plan.space,
        search=plan.search,
        rows=[_row(plan, folder, trial) for trial in sorted(trials, key=_by_score)],
    )


def _by_score(trial: FrozenTrial) -> tuple[bool, float, int]:
    complete = trial.state == TrialState.COMPLETE
    return not complete, float(trial.value or 0.0) if complete else -steps_of(trial), trial.number


def _row(plan: Plan, folder: RunFolder, trial: FrozenTrial) -> dict[str, Any]:
    run = RunFolder(folder.records.runs / studies.run_name(plan.search.study, studies.origin(trial)))
    return {
        "origin": studies.origin(trial),
        "state": trial.state.name.lower(),
        "score": trial.value if trial.state == TrialState.COMPLETE else None,
        "steps": steps_of(trial),
        "params": trial.params,
        "outcome": trial.user_attrs.get(studies.OUTCOME, ""),
        "url": _url(run) if run.config.is_file() else None,
    }


def _url(run: RunFolder) -> str | None:
    """Of the run in MLflow's UI: the server's own, or where `make ui` serves the database."""
    uri, place = tracking_uri(run.records), Delivery(run).url
    return None if place is None else (DEFAULT_UI if uri.startswith("sqlite") else public(uri)) + place


def _inline(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
