"""What a search leaves behind: best.yaml, trials.csv, figures, and one HTML page with all of it."""

import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from experiments.compose import flags
from experiments.figures import Picture
from experiments.page import render
from experiments.records import RunFolder
from experiments.tracking import Delivery
from gan.arrays import write_atomically
from sweeps import study as studies
from sweeps.confirm import Verdict, best_run
from sweeps.plan import Plan
from sweeps.plots import draw_figures, importances
from sweeps.settings import SCORES
from sweeps.space import as_overrides

TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Report:
    """The files of a study, under its folder."""

    best: Path
    trials: Path
    page: Path
    figures: dict[str, Picture]  # by title, those that could be drawn
    champion: RunFolder | None  # the run whose generator is the best


def write_report(
    plan: Plan, study: Study, folder: RunFolder, verdict: Verdict | None, rescored: float | None
) -> Report:
    trials = studies.counted(study.get_trials(deepcopy=False))
    winner = _winner(trials, verdict)
    report = Report(
        folder.path / "best.yaml",
        folder.path / "trials.csv",
        folder.path / "report.html",
        draw_figures(plan, folder, trials),
        _champion(plan, folder, winner, verdict),
    )
    if winner is not None and report.champion is not None:
        write_atomically(report.best, _best(plan, winner, report.champion, verdict).encode())
    write_atomically(report.trials, _csv(plan, trials).encode())
    write_atomically(report.page, _page(plan, study, folder, trials, verdict, rescored, report).encode())
    return report


def _winner(trials: Sequence[FrozenTrial], verdict: Verdict | None) -> FrozenTrial | None:
    """The best of the confirmed settings; of the search, where none were confirmed."""
    done = studies.finished(trials)
    if verdict is not None:
        confirmed = [trial for trial in done if trial.params == verdict.best.params]
        return confirmed[0] if confirmed else None
    return done[0] if done else None


def _champion(plan: Plan, folder: RunFolder, winner: FrozenTrial | None, verdict: Verdict | None) -> RunFolder | None:
    """Of the winner's runs the one that was scored best at its end; the trial itself where nothing was confirmed."""
    if winner is None:
        return None
    if verdict is not None:
        return best_run(plan, folder, verdict.best)
    return studies.run_of(plan, winner)


def train_command(plan: Plan, params: dict[str, Any]) -> str:
    """The command that trains with some settings of the space, to the tutorial's length unless said otherwise."""
    own = [override for override in plan.given if not override.startswith("eval.")]
    return shlex.join(["python", "experiments/run.py", *flags(plan.config_dir), *own, *as_overrides(params)])


def _best(plan: Plan, winner: FrozenTrial, champion: RunFolder, verdict: Verdict | None) -> str:
    lines = [
        f"# Study {plan.search.study}: {verdict.words() if verdict is not None else 'not confirmed on fresh seeds'}"
    ]
    lines += ["# Train with these settings:", f"#   {train_command(plan, winner.params)}"]
    content = {
        "trial": studies.origin(winner),
        "run": champion.name,
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
                studies.run_of(plan, trial).name,
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


def _page(
    plan: Plan,
    study: Study,
    folder: RunFolder,
    trials: Sequence[FrozenTrial],
    verdict: Verdict | None,
    rescored: float | None,
    report: Report,
) -> str:
    saved, without = saved_steps(plan, trials)
    winner = _winner(trials, verdict)
    states = {state: sum(t.state.name == state for t in trials) for state in ("COMPLETE", "PRUNED", "FAIL")}
    return render(
        TEMPLATE,
        study=plan.search.study,
        verdict=verdict,
        confirmed=[verdict.tutorial, *verdict.candidates] if verdict is not None else [],
        winner=winner,
        rescored=rescored,
        command=train_command(plan, winner.params) if winner is not None else "",
        num_images=plan.config.eval.num_images,
        final_num_images=plan.config.eval.final_num_images,
        last_scores=SCORES,
        identity=study.user_attrs[studies.IDENTITY],
        states=states,
        saved=saved,
        without=without,
        figures=report.figures,
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
    run = studies.run_of(plan, trial)
    return {
        "origin": studies.origin(trial),
        "state": trial.state.name.lower(),
        "score": trial.value if trial.state == TrialState.COMPLETE else None,
        "steps": steps_of(trial),
        "params": trial.params,
        "outcome": trial.user_attrs.get(studies.OUTCOME, ""),
        "url": Delivery(run).url if run.config.is_file() else None,
    }
