"""Reads the plan of a search from its command line, and checks it before anything is written."""

import itertools
import os
import re
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from experiments.cli.compose import GROUPS, PRECISION, compose_config, compose_settings, preset_of
from experiments.cli.overrides import NOTE, parse, quote_texts, value_text
from experiments.settings.rules import describe, get, text_keys
from experiments.settings.schema import AUTO, Config
from gan.errors import ConfigError, without_password
from gan.metric_names import LAST_SCORES
from sweeps.spec.plan import LEARN_FROM, LEARNING, SPACE_PREFIX, START_FROM, TUTORIAL, Plan
from sweeps.spec.read_space import impossible_condition, read_space, without_fixed_conditions
from sweeps.spec.schema import FEWEST_SCORES, MOST_TRIALS, SearchConfig, Settings, split_password
from sweeps.spec.space import WHEN, Dimension, Space, combinations, hydra_text

BATCH_SIZE = "train.batch_size"
EVERY_STEPS = "eval.every_steps"
MANY_SCORES = 100  # of a trial: more take more time than they are worth
NOTIFY = "search.notify"
KEEP_CHECKPOINTS = 2  # the latest of a trial, 17 MB each; the best by score is kept beside them
# Settings that act in some searches alone, and in which.
ACTS: Mapping[str, tuple[str, Callable[[SearchConfig], bool]]] = {
    "search.min_steps": ("search.pruner=asha", lambda search: search.pruner == "asha"),
    "search.resources.cpus": ("search.launcher=ray or slurm", lambda search: search.launcher != "local"),
    "search.resources.gpus": ("search.launcher=ray or slurm", lambda search: search.launcher != "local"),
    "search.slurm.partition": ("search.launcher=slurm", lambda search: search.launcher == "slurm"),
    "search.slurm.minutes": ("search.launcher=slurm", lambda search: search.launcher == "slurm"),
    "search.ray_address": ("search.launcher=ray", lambda search: search.launcher == "ray"),
    "search.grace_seconds": ("search.storage is an address", lambda search: search.storage is not None),
}


def read_plan(arguments: list[str]) -> Plan:
    """Read a plan from the arguments of a command line.

    An address of a database loses its password: it goes to the environment variable PGPASSWORD,
    where libpq looks for it, in this process and in its children.

    Raises:
        ConfigError: for an argument, a setting or a combination of settings that is wrong.
    """
    args = _parse_arguments(arguments)
    unconditional, conditions = _take_conditions(args.overrides)
    search_overrides, space_texts, other_overrides = _split_overrides(_quote_texts(unconditional))
    for key, condition in conditions.items():
        if key not in space_texts:
            raise ConfigError(key, "several values where it has a prior or a condition", f"one{condition}")
        space_texts[key] += condition
    search = compose_settings("optuna_search", Settings, ("search",), search_overrides, args.config_dir).search

    fixed_overrides = [*_quote_texts(search.overrides), *other_overrides]
    if preset_of(fixed_overrides) is None:
        fixed_overrides = [f"experiment={TUTORIAL}", *fixed_overrides]
    fixed = {override.key_or_group: value_text(override) for override in parse(fixed_overrides)}
    fixed_keys = fixed.keys()
    _check_search_keys(fixed | space_texts)
    _check_fixed_keys(fixed)
    added = _search_run_overrides(search, fixed_keys)
    config = compose_config([*fixed_overrides, *added], args.config_dir)
    fixed_overrides = [
        each for each in fixed_overrides if each.partition("=")[0].lstrip("+") != NOTE
    ]  # the study's alone
    precision = f"{PRECISION}={config.train.precision}"
    fixed_overrides = [precision if each == f"{PRECISION}={AUTO}" else each for each in fixed_overrides]
    overrides = [*fixed_overrides, *added]

    named = {override.key_or_group for override in parse(search_overrides)}
    if _is_budget_without_trials(search, named):
        search.trials = MOST_TRIALS
    if "search.confirm.top" not in named:
        search.confirm.top = min(search.confirm.top, search.trials - 1)
    if search.storage is not None:
        search.storage, password = split_password(search.storage)
        if password is not None:
            os.environ["PGPASSWORD"] = password

    preset_space = {key: text for key, text in search.space.items() if key not in fixed_keys}
    written = read_space(preset_space | space_texts)
    _check_conditions([dimension for dimension in written if dimension.key in space_texts], written)
    space, left_out = without_fixed_conditions(written, config)
    if not space:
        raise ConfigError("search.space", "one dimension or more that means something", "; ".join(left_out))
    flags = [f"--config-dir={args.config_dir}"] if args.config_dir is not None else []
    command = [without_password(argument) for argument in [*flags, *args.overrides]]
    command = [argument for argument in command if not argument.startswith(f"{NOTIFY}=")]  # it may hold a secret
    plan = Plan(search, space, fixed_overrides, overrides, config, args.config_dir, command, tuple(left_out))
    _check(plan)
    return plan


def _is_budget_without_trials(search: SearchConfig, named: set[str]) -> bool:
    """Return whether updates or hours limit a search alone: who gave them gave no number of trials.

    Args:
        search: the settings of the search, its preset's included.
        named: the keys that the command line names.
    """
    budgets = {"search.updates": search.updates, "search.hours": search.hours}
    given = {key for key, value in budgets.items() if value is not None}
    is_preset_with_trials = search.trials != describe(Settings)["search.trials"]["default"]
    return bool(given) and "search.trials" not in named and (bool(given & named) or not is_preset_with_trials)


def _parse_arguments(arguments: list[str]) -> Namespace:
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--config-dir")
    try:
        args, unknown = parser.parse_known_intermixed_args(arguments)
    except ArgumentError as error:
        raise ConfigError("--config-dir", "a folder", "nothing", str(error)) from error
    if unknown:
        raise ConfigError("an argument", "key=value or --config-dir FOLDER", unknown[0], "see --help")
    if args.config_dir is not None and not Path(args.config_dir).is_dir():
        raise ConfigError("--config-dir", "a folder", args.config_dir)
    return args


def _take_conditions(overrides: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return overrides without the priors and conditions of dimensions, which are not Hydra's, and these by key."""
    plain, conditions = [], {}
    for text in overrides:
        match = re.fullmatch(r"([^=\s]+=.+?)(\s+when\s+[\w.]+!?=.+)", text, re.DOTALL)
        override, condition = match.groups() if match else (text, "")
        # Only behind several values, as a path may have the word in it.
        match = re.fullmatch(r"([^=\s]+=(?:.+\)|[^\s]+,[^\s]+))(\s+prior\s.+)", override, re.DOTALL)
        override, prior = match.groups() if match else (override, "")
        plain.append(override)
        if prior or condition:
            conditions[override.partition("=")[0].lstrip("+")] = prior + condition
    return plain, conditions


def _quote_texts(overrides: list[str]) -> list[str]:
    return quote_texts(overrides, [*text_keys(Config), *text_keys(Settings)], ("search", *GROUPS), multirun=True)


def _split_overrides(overrides: list[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Split overrides into settings of the search, texts of its space by key, and settings of all trials."""
    search_overrides, space_texts, other_overrides = [], {}, []
    fixed: dict[str, str] = {}
    for text in overrides:
        name, _, value = text.partition("=")
        if f"{name.lstrip('+')}.".startswith(SPACE_PREFIX):
            example = "'model.dropout=interval(0,0.5)'"
            raise ConfigError("search.space", "given dimension by dimension on a command line", value, example)
        (override,) = parse([text])
        key = override.key_or_group
        if key == "search" or key.startswith("search."):
            if override.is_sweep_override():
                raise ConfigError(key, "one value", value)
            search_overrides.append(text)
        elif override.is_sweep_override():
            space_texts[key] = value
        else:
            other_overrides.append(text)
            fixed[key] = value
    for key in space_texts.keys() & fixed.keys():
        raise ConfigError(key, "a dimension or one value, not both", f"{space_texts[key]} and {fixed[key]}")
    return search_overrides, space_texts, other_overrides


def _check_search_keys(values: dict[str, str]) -> None:
    """Raise ConfigError for a setting of the search without its section: trials=5."""
    for key, value in values.items():
        if key not in describe(Config) and f"search.{key}" in describe(Settings):
            raise ConfigError(key, "a known setting", value, f"did you mean 'search.{key}={value}'?")


def _check_fixed_keys(fixed: Mapping[str, str]) -> None:
    """Raise ConfigError for a setting of run.py that a search has another setting for. fixed: values by key."""
    for key, instead in (
        ("train.steps", "search.steps"),
        ("name", "search.study"),
        ("resume", "search.study"),
        ("notify", "search.notify"),
    ):
        if key in fixed:
            raise ConfigError(key, f"absent in a search, which has {instead}", fixed[key], f"{instead}={fixed[key]}")


def _check_conditions(dimensions: Sequence[Dimension], space: Space) -> None:
    """Raise ConfigError for a dimension of the command line that would never mean anything in the space."""
    for dimension in dimensions:
        if impossible := impossible_condition(dimension, space):
            condition, named = impossible
            rule = f"a condition that {named.key}={named.values} can fulfil"
            raise ConfigError(f"{dimension.key}{WHEN}...", rule, str(condition))


def _search_run_overrides(search: SearchConfig, fixed_keys: Collection[str]) -> list[str]:
    """Return the overrides of run.py that a search adds to those of the user. Raises ConfigError."""
    added = [f"train.steps={search.steps}"]
    if EVERY_STEPS not in fixed_keys:
        added.append(f"{EVERY_STEPS}={_score_every_steps(search)}")
    if "train.keep_checkpoints" not in fixed_keys:
        added.append(f"train.keep_checkpoints={KEEP_CHECKPOINTS}")
    return added


def _score_every_steps(search: SearchConfig) -> int:
    """Return how often a trial is scored unless the user says it: at the least twice on its lowest rung.

    Raises:
        ConfigError: where search.min_steps could only be reached by very many scores.
    """
    if search.pruner != "asha":
        return -(-search.steps // FEWEST_SCORES)  # rounded up
    if search.min_steps is None:
        return max(round(search.steps / 20), 1)
    every = _largest_divisor(search.min_steps, search.steps)
    if _is_seldom_enough(every, search.min_steps, search.steps):
        return every
    others = (search.min_steps + sign * distance for distance in itertools.count(1) for sign in (-1, 1))
    near = next(n for n in others if _is_seldom_enough(_largest_divisor(n, search.steps), n, search.steps))
    rule = f"a multiple of {EVERY_STEPS}, which would be {every} then"
    remedy = f"search.min_steps={near} is scored every {_largest_divisor(near, search.steps)} updates"
    raise ConfigError("search.min_steps", rule, search.min_steps, remedy)


def _largest_divisor(min_steps: int, steps: int) -> int:
    """Return the longest distance of scores with two or more of them in `min_steps`, and FEWEST_SCORES in `steps`."""
    divisors = (min_steps // k for k in range(2, min_steps + 1) if min_steps % k == 0)
    return next((every for every in divisors if steps >= FEWEST_SCORES * every), 1)


def _is_seldom_enough(every: int, min_steps: int, steps: int) -> bool:
    return every >= min(steps / MANY_SCORES, min_steps / 4)


def _check(plan: Plan) -> None:
    """Raise ConfigError where settings do not go together. The rule of a single key is checked before."""
    search = plan.search
    every_steps = plan.config.eval.every_steps
    for key, (condition, acts) in ACTS.items():
        value = get(Settings(search), key)
        if value != describe(Settings)[key]["default"] and not acts(search):
            raise ConfigError(key, f"absent unless {condition}", value)
    if search.min_steps is not None:
        if search.min_steps > search.steps:
            rule = f"at most search.steps={search.steps}"
            raise ConfigError("search.min_steps", rule, search.min_steps, "search.min_steps=<updates> sets it")
        if search.min_steps % every_steps:
            rule = f"a multiple of eval.every_steps={every_steps}"
            raise ConfigError("search.min_steps", rule, search.min_steps, "scores are compared at that step")
    if search.steps // every_steps < LAST_SCORES:
        remedy = f"eval.every_steps={search.steps // LAST_SCORES} or more steps"
        raise ConfigError(
            "search.steps", f"at least {LAST_SCORES} times eval.every_steps={every_steps}", search.steps, remedy
        )
    others = max(len(search.start_from), 1)
    if search.sampler == "cmaes" and search.pruner == "asha":
        rule = "halving, median, hyperband or none with search.sampler=cmaes, which learns from complete trials alone"
        raise ConfigError("search.pruner", rule, search.pruner)
    if search.updates is not None and search.sampler == "grid":
        rule = "absent in a grid, whose budget is its points"
        raise ConfigError("search.updates", rule, search.updates, "search.trials=<most> bounds it")
    least = search.steps + others * plan.rungs[0]
    if search.updates is not None and search.updates < least:
        each = f"{others} start points" if others > 1 else "another trial"
        rule = f"at least {least:,}: {search.steps:,} of {plan.baseline_name} and {plan.rungs[0]:,} of {each}"
        raise ConfigError("search.updates", rule, search.updates)
    if search.start_from and search.sampler == "grid":
        raise ConfigError(START_FROM, "absent in a grid, which is all of its points", hydra_text(search.start_from))
    if search.learn_from and search.sampler not in LEARNING:
        raise ConfigError("search.sampler", f"one of {', '.join(LEARNING)} with {LEARN_FROM}", search.sampler)
    if search.study in search.learn_from:
        raise ConfigError(LEARN_FROM, "other studies than the search's own", search.study)
    if len(search.start_from) >= search.trials:
        rule = f"fewer than search.trials={search.trials}, the baseline among them"
        raise ConfigError(START_FROM, rule, hydra_text(search.start_from))
    if search.confirm.seeds and search.confirm.top > search.trials - 1:
        rule = f"at most {search.trials - 1}, the trials beside the baseline"
        raise ConfigError("search.confirm.top", rule, search.confirm.top)
    if search.launcher != "local" and search.storage is None:
        remedy = "search.storage=postgresql+psycopg://user@host:port/database, which its hosts share"
        raise ConfigError("search.launcher", "local without search.storage", search.launcher, remedy)
    for key in ("search.resources.cpus", "search.resources.gpus"):
        if search.launcher == "slurm" and (value := get(Settings(search), key)) % 1:
            raise ConfigError(key, "a whole number with SLURM", value)
    devices = plan.config.train.devices
    for dimension in plan.space:
        if dimension.key == BATCH_SIZE and isinstance(devices, int) and devices > 1:
            _check_batch_sizes(dimension, devices)
    conditional = [dimension for dimension in plan.space if dimension.conditions]
    if search.sampler == "grid" and conditional:
        raise ConfigError(conditional[0].key, "without a condition in a grid", conditional[0].text)
    if search.sampler == "grid" and (count := combinations(plan.space)) > MOST_TRIALS:
        remedy = "fewer values of each setting, or another sampler"
        raise ConfigError("a grid", f"of at most {MOST_TRIALS:,} combinations", f"{count:,}", remedy)


def _check_batch_sizes(dimension: Dimension, devices: int) -> None:
    """Raise ConfigError for a batch size that the devices cannot share: every trial that has it would fail."""
    rule = f"a choice or a range of multiples of {devices}, the number of devices"
    if "interval" in dimension.values or any(int(str(size)) % devices for size in dimension.grid()):
        raise ConfigError(dimension.key, rule, dimension.text)
