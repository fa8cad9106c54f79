"""What a search leaves behind: best.yaml, trials.csv, figures, and one HTML page with all of it."""

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from experiments.cli.compose import flags
from experiments.cli.terminal import printable
from experiments.records.folders import read_json
from experiments.reports.page import render
from experiments.reports.slider import Slider, make_slider
from experiments.reports.stills import with_still
from experiments.tracking.address import serve_command
from gan import metric_names
from gan.arrays import write_atomically
from sweeps.analysis import plots
from sweeps.analysis.champion import Winner, find_winner
from sweeps.analysis.comparison import Comparison
from sweeps.analysis.confirm import run_of_seed
from sweeps.analysis.importances import FEWEST, fanova, length, ped_anova
from sweeps.analysis.race_chart import race_chart
from sweeps.analysis.space_charts import importance_charts, space_charts
from sweeps.analysis.trial_charts import trial_charts
from sweeps.analysis.trial_rows import by_score, last_score, row, rung_rows, steps_of
from sweeps.spec.plan import Plan, resume_command
from sweeps.spec.space import Value, as_overrides
from sweeps.study import attempts, identity
from sweeps.study.states import OVER

TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Report:
    """The files of a study, under its folder."""

    best: Path
    trials: Path
    importances: Path
    page: Path
    pictures: list[Path]  # PNGs, those that could be drawn
    winner: Winner | None


def write_report(plan: Plan, study: Study, comparison: Comparison | None, rescored: float | None) -> Report:
    """Write the files of a finished search into its folder.

    Args:
        plan: of the search.
        study: with all its trials.
        comparison: the result of the confirmation; None without one.
        rescored: the best trial's score of fresh latents; None where it has none.

    Returns:
        Where the files are, and the winner.
    """
    every = study.get_trials(deepcopy=False)
    trials = attempts.counted(every)
    report = Report(
        plan.folder.path / "best.yaml",
        plan.folder.path / "trials.csv",
        plan.folder.path / "importances.csv",
        plan.folder.path / "report.html",
        plots.save_pictures(plan, trials),
        find_winner(plan, trials, comparison),
    )
    if report.winner is not None:
        write_atomically(report.best, printable(_best(plan, report.winner, comparison)).encode())
    write_atomically(report.trials, printable(_csv(plan, trials, every)).encode())
    fractions = fanova(study, plan)
    write_atomically(report.importances, _importances_csv(fractions).encode())
    write_atomically(report.page, _page(plan, study, trials, comparison, rescored, report, fractions).encode())
    return report


def settings_of(plan: Plan, params: Mapping[str, Value]) -> list[str]:
    """Return what run.py takes to train with some settings of the space, or with none the baseline's.

    The length is the preset's.
    """
    fixed = [override for override in plan.fixed_overrides if not override.startswith("eval.")]
    return [*plan.with_ancestor(fixed), *as_overrides(params)]


def train_command(plan: Plan, params: Mapping[str, Value]) -> str:
    """Return the command that trains with `settings_of` these parameters."""
    return shlex.join(["python", "experiments/run.py", *flags(plan.config_dir), *settings_of(plan, params)])


def _best(plan: Plan, winner: Winner, comparison: Comparison | None) -> str:
    lines = [f"# Study {plan.search.study}: {winner.words}"]
    lines += ["# Train with these settings:", f"#   {train_command(plan, winner.params)}"]
    content: dict[str, Any] = {
        "trial": winner.origin,
        "run": winner.run.name,
        "better": winner.better,
        "search_score": winner.search_score,
        "confirmed_score": winner.confirmed_score,
        "seeds": winner.seeds,
        "overrides": settings_of(plan, winner.params),
    }
    if comparison is not None:  # the scores of the fresh seeds
        racing = [comparison.baseline, *comparison.candidates]
        content["race"] = {each.title: dict(zip(each.seeds, each.scores, strict=True)) for each in racing}
    return "\n".join(lines) + "\n" + yaml.safe_dump(content, sort_keys=False)


def _importances_csv(fractions: Mapping[str, float]) -> str:
    """Return which fraction of the score's variance each setting explains, the largest first; no rows of few trials."""
    return "".join(["setting,fraction\n", *(f"{key},{float(fraction)!r}\n" for key, fraction in fractions.items())])


def _csv(plan: Plan, trials: Sequence[FrozenTrial], every: Sequence[FrozenTrial]) -> str:
    """Return the table of trials.

    Args:
        plan: of the search.
        trials: the last attempt of each.
        every: all attempts, whose times add up.
    """
    seconds: dict[int, float] = {}
    for attempt in every:
        begin, end = attempt.datetime_start, attempts.ended_at(plan, attempt)
        if begin is not None and end is not None:
            origin = attempts.origin(attempt)
            seconds[origin] = seconds.get(origin, 0.0) + (end - begin).total_seconds()
    keys = [dimension.key for dimension in plan.space]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "score", "steps", "seconds", *keys, "outcome", "run", "preset"])
    for trial in sorted(trials, key=attempts.origin):
        writer.writerow(
            [
                attempts.origin(trial),
                attempts.state_name(trial),
                "" if (score := last_score(trial)) is None else repr(score),
                steps_of(trial),
                seconds.get(attempts.origin(trial), ""),
                *("null" if (value := trial.params.get(key, "")) is None else value for key in keys),
                trial.user_attrs.get(attempts.OUTCOME, ""),
                attempts.run_of(plan, trial).name,
                plan.preset if attempts.BASELINE in trial.user_attrs else "",  # to the digit, whatever its columns say
            ]
        )
    return text.getvalue()


def saved_steps(plan: Plan, trials: Sequence[FrozenTrial]) -> tuple[int, int]:
    """Return the updates that pruning and pausing saved, and those that all trials would have made without it."""
    over = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED) and not attempts.is_repeat(t)]
    short = [t for t in over if t.state == TrialState.PRUNED]
    return sum(plan.search.steps - steps_of(t) for t in short), plan.search.steps * len(over)


def _page(
    plan: Plan,
    study: Study,
    trials: Sequence[FrozenTrial],
    comparison: Comparison | None,
    rescored: float | None,
    report: Report,
    fractions: Mapping[str, float],
) -> str:
    saved, without = saved_steps(plan, trials)
    winner, done = report.winner, attempts.finished(trials)
    every = study.get_trials(deepcopy=False)
    decisive = ped_anova(study, plan)
    parallel, slice_charts = space_charts(plan, every)
    charts = [*trial_charts(plan, every), *([parallel] if parallel is not None else [])]
    charts += importance_charts(plan, every, fractions, decisive)
    confirmed = [comparison.baseline, *comparison.candidates] if comparison is not None else []
    race = race_chart(confirmed)
    is_map = plots.is_map(plan) and bool(done)
    trained = [t for t in trials if not attempts.is_repeat(t)]
    states = {name: sum(attempts.state_name(t) == name for t in trained) for name in OVER}
    return render(
        TEMPLATE,
        study=plan.search.study,
        note=read_json(plan.folder.facts).get("note") if plan.folder.facts.exists() else None,
        comparison=comparison,
        confirmed=confirmed,
        race=with_still(race) if race is not None else None,
        frames=_frames(plan, trials, comparison),
        map=with_still(plots.map_chart(plan, done)) if is_map else None,
        sample_map=plots.sample_map(plan, done) if is_map else None,
        sheet=[] if is_map else plots.contact_sheet(plan, done),
        winner=winner,
        baseline=plan.baseline_name,
        rescored=rescored,
        command=train_command(plan, winner.params) if winner is not None else "",
        images=identity.images_of(study),
        dates=_dates(every),
        seed=plan.config.seed,
        search_command=resume_command(plan),
        num_images=plan.config.eval.num_images,
        final_num_images=plan.config.eval.final_num_images,
        last_scores=metric_names.LAST_SCORES,
        identity=study.user_attrs[identity.IDENTITY],
        states=states,
        rungs=rung_rows(plan, every),
        saved=saved,
        without=without,
        charts=[with_still(chart) for chart in charts],
        slice_charts=[with_still(chart) for chart in slice_charts],
        steps=length(plan, every),
        fanova=fractions,
        ped_anova=decisive,
        fewest=FEWEST,
        keys=[dimension.key for dimension in plan.space],
        space=plan.space,
        search=plan.search,
        serve=serve_command(plan.records),
        rows=[row(plan, trial) for trial in sorted(trials, key=by_score)],
    )


def _dates(every: Sequence[FrozenTrial]) -> str:
    """Return the days on which trials were trained."""
    times = [trial.datetime_start for trial in every] + [trial.datetime_complete for trial in every]
    known = [time for time in times if time is not None]
    days = dict.fromkeys(f"{time:%Y-%m-%d}" for time in (min(known), max(known))) if known else {}
    return " to ".join(days)


def _frames(plan: Plan, trials: Sequence[FrozenTrial], comparison: Comparison | None) -> Slider | None:
    """Return the samples of the best trial on the way, beside the baseline's: of one fresh seed, or of the search."""
    done = attempts.finished(trials)
    baseline = [trial for trial in done if attempts.is_baseline(plan, trial)][:1]
    best = [trial for trial in done if not attempts.is_baseline(plan, trial)][:1]
    names = [plan.preset] * len(baseline) + [f"trial {attempts.origin(trial)}" for trial in best]
    shown = dict(zip(names, [*baseline, *best], strict=True))
    keys = {name: str(attempts.origin(trial)) for name, trial in shown.items()}
    runs = {name: attempts.run_of(plan, trial) for name, trial in shown.items()}
    seeds = set(comparison.best.seeds) & set(comparison.baseline.seeds) if comparison is not None else set()
    if comparison is not None and seeds:
        title = f"trial {comparison.best.origin}"
        pair = {plan.preset: comparison.baseline, title: comparison.best}
        confirmed = {name: run_of_seed(plan, candidate, min(seeds)) for name, candidate in pair.items()}
        fresh = {name: str(each.origin) for name, each in pair.items() if each.origin is not None}
        if (frames := make_slider({name: run.sample_files for name, run in confirmed.items()}, fresh)) is not None:
            return frames
    return make_slider({name: run.sample_files for name, run in runs.items()}, keys)
