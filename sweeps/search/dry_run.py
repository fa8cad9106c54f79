"""A dry run of a search: it shows the space, a few suggestions and the time that the search would take."""

import math
from collections.abc import Iterator

import optuna
from rich.console import Console
from rich.table import Table

from experiments.cli.progress import duration, say_words, stage
from sweeps.analysis.confirm import at_a_time
from sweeps.display.search import format_params
from sweeps.search import throughput
from sweeps.spec.plan import Plan
from sweeps.spec.space import Value, sampled_params, table_text
from sweeps.study import attempts, rungs, samplers
from sweeps.study.learned import LEARNED, Learned

SUGGESTIONS = 5  # that a dry run shows


def dry_run(plan: Plan, console: Console, learned: Learned) -> None:
    """Print what a search would do and how long it would take. Write nothing.

    Args:
        plan: of the search.
        console: where to print.
        learned: what the sampler knows of other studies.

    Raises:
        CannotMeasure: where no trial can be timed.
    """
    _print_space(plan, console)
    _print_suggestions(plan, console, learned)
    if words := throughput.crowding(plan):
        say_words(console, f"workers  {words}")
    count = throughput.side_by_side(plan)
    trials = f"{count} trials side by side" if plan.search.launcher == "local" else "one trial on this host"
    with stage(console, f"measuring the throughput of {trials}"):
        timing = throughput.measure(plan)
    _print_times(plan, timing, console)


def suggestions(plan: Plan, learned: Learned | None = None) -> Iterator[dict[str, Value]]:
    """Yield the parameters of the first trials, as a study without any would suggest them; learned: of other studies."""
    study = optuna.create_study()
    if learned:
        study.set_user_attr(LEARNED, learned)
    attempts.enqueue_baseline(plan, study)
    for point in plan.start_points().values():
        study.enqueue_trial(point, skip_if_exists=True)
    for number in range(min(SUGGESTIONS, plan.budget)):
        study.sampler = samplers.make_sampler(plan, number)
        trial = study.ask()
        sampled_params(plan.space, trial)
        yield dict(attempts.shown_params(plan, trial))


def _print_space(plan: Plan, console: Console) -> None:
    table = Table(box=None, header_style="bold")
    for title in ("setting", "space", plan.preset):
        table.add_column(title, overflow="fold")  # nothing is cut
    baseline = plan.baseline_for_tables
    for dimension in plan.space:
        value = table_text(baseline[dimension.key]) if dimension.key in baseline else ""  # it means nothing there
        table.add_row(dimension.key, dimension.full_text, value)
    console.print(table)


def _print_suggestions(plan: Plan, console: Console, learned: Learned) -> None:
    baseline = "" if plan.search.sampler == "grid" else f"{plan.baseline_name}, and "
    say_words(console, f"{baseline}examples of the first suggestions:")
    for number, params in enumerate(suggestions(plan, learned)):
        say_words(console, f"trial {number}  {format_params(params)}")


def _print_times(plan: Plan, timing: throughput.TrialTiming, console: Console) -> None:
    trial_seconds = timing.trial_seconds(plan.search.steps)
    search_seconds = math.ceil(plan.budget / plan.workers) * trial_seconds  # in rounds of trials side by side
    trials, saved = f"{plan.budget} trials", "" if plan.search.pruner == "none" else ", less what pruning saves"
    if len(plan.rungs) > 1 or plan.search.updates is not None:
        saved = ""
        updates = rungs.expected_updates(plan)
        starts = 0 if plan.is_limited_by_hours_alone else sum(count for _, count in rungs.ladder(plan))
        search_seconds = starts / plan.workers * timing.start_seconds + timing.seconds(updates) / plan.workers
        trials = f"{updates:,} updates"
        if len(plan.rungs) > 1 and not plan.is_limited_by_hours_alone:
            (first, trials_begun), *others = rungs.ladder(plan)
            about = "about " if plan.search.updates is not None else ""
            steps = "".join(f", about {count} to {step:,}" for step, count in others)
            say_words(
                console, f"lengths  {about}{trials_begun} trials to {first:,}{steps} updates, about {updates:,} in all"
            )
    hours = plan.search.hours
    if hours is not None and 3600 * hours < search_seconds:
        possible = float(f"{3600 * hours * plan.workers / timing.seconds(1):.2g}")
        search_seconds, trials, saved = 3600 * hours, f"the search, which is about {possible:,.0f} updates", ""
    confirm_rounds = plan.search.confirm.seeds * math.ceil((1 + rungs.race_candidates(plan)) / at_a_time(plan))
    if plan.search.launcher != "local":
        say_words(console, f"speed    of one trial on this host; the {plan.workers} workers may be faster or slower")
    say_words(
        console,
        f"time     {1000 * timing.update_seconds:.0f} ms per update with {plan.workers} at a time: about "
        f"{duration(trial_seconds)} per trial of {plan.search.steps:,}, {duration(search_seconds)} for {trials}{saved}"
        + (f", and at most {duration(confirm_rounds * trial_seconds)} to confirm" if confirm_rounds else "")
        + (", less if one is clearly better" if plan.may_confirm_early else ""),
    )
