"""What a search would do, and how long it would take: shown, not done."""

import math
import sys
from collections.abc import Iterator

import optuna
from rich.console import Console
from rich.table import Table

from experiments.cli.entry import FAILED
from experiments.cli.progress import say, say_words, stage
from sweeps.display.search import short
from sweeps.display.time_left import duration
from sweeps.search import throughput
from sweeps.spec.plan import Plan
from sweeps.spec.space import Value, sampled_params, table_text
from sweeps.study import attempts, samplers

SUGGESTIONS = 5  # that a dry run shows


def dry_run(plan: Plan, console: Console) -> int:
    table = Table("setting", "space", plan.preset, box=None, header_style="bold")
    for dimension in plan.space:
        table.add_row(dimension.key, dimension.text, table_text(plan.baseline_for_tables[dimension.key]))
    console.print(table)
    first = "" if plan.search.sampler == "grid" else f"{plan.baseline_name}, and "
    say(console, f"{first}some of the kind that come first:")
    for number, params in enumerate(suggestions(plan)):
        say_words(console, f"trial {number}  {short(params)}")
    with stage(console, f"measuring the pace of {plan.workers} trials side by side"):
        try:
            measured = throughput.measure(plan)
        except RuntimeError as error:
            print(f"error: the pace cannot be measured: {error}", file=sys.stderr)
            return FAILED
    trial = measured.trial_seconds(plan.search.steps)
    rounds = math.ceil(plan.budget / plan.workers)
    confirm = plan.search.confirm
    again = math.ceil((confirm.top + 1) * confirm.seeds / plan.workers) if confirm.seeds else 0
    say_words(
        console,
        f"time     {1000 * measured.update_seconds:.0f} ms an update with {plan.workers} at a time: about "
        f"{duration(trial)} a trial, {duration(rounds * trial)} for {plan.budget} trials, less what pruning saves, "
        f"and {duration(again * trial)} to confirm",
    )
    return 0


def suggestions(plan: Plan) -> Iterator[dict[str, Value]]:
    study = optuna.create_study()
    if plan.search.sampler != "grid":
        study.enqueue_trial(plan.baseline, user_attrs={attempts.BASELINE: True})
    for number in range(min(SUGGESTIONS, plan.budget)):
        study.sampler = samplers.make_sampler(plan, 0, number)
        trial = study.ask()
        sampled_params(plan.space, trial)
        yield dict(attempts.shown_params(plan, trial))
