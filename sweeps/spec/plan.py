"""The plan of a search, read from its command line and checked before anything is written."""

import itertools
import math
import os
import re
import shlex
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli.compose import GROUPS, PRECISION, compose_config, compose_settings, named_keys, preset_of
from experiments.cli.overrides import parse, quote_texts, value_text
from experiments.records.folders import Records, RunFolder
from experiments.settings.precision import AUTO
from experiments.settings.rules import describe, get, text_keys
from experiments.settings.schema import RESUME_MAY_CHANGE, Config, effective, in_brief
from experiments.training import gpus
from experiments.training.facts import read_records, settings
from experiments.training.hardware import available_cores
from gan.errors import ConfigError, without_password
from sweeps.spec.schema import FEWEST_SCORES, MOST_TRIALS, SCORES, SearchConfig, Settings, split_password
from sweeps.spec.space import (
    WHEN,
    Dimension,
    Space,
    Value,
    active,
    as_overrides,
    combinations,
    distinct_values,
    hydra_text,
    impossible_condition,
    inherits_value,
    read_space,
    without_fixed_conditions,
)

TUTORIAL = "tutorial"  # the preset that a search starts from unless it names another
MAP_PRESET = "search=grid"  # of a map of two settings, which sweeps/grid.py makes
DEFAULTS = "defaults"  # the preset that searches of earlier versions started from
SPACE_PREFIX = "search.space."  # of the dimensions in a study's identity
BASELINE_PREFIX = "baseline."  # of the baseline's settings in a study's identity
BATCH_SIZE = "train.batch_size"
EVERY_STEPS = "eval.every_steps"
MANY_SCORES = 100  # of a trial: more take more time than they are worth
START_FROM = "search.start_from"
LEARN_FROM = "search.learn_from"
LEARNING = ("tpe", "priorband", "linear", "gp")  # samplers that can learn from the trials of other studies
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
MOST_WORKERS = 4  # unless search.workers says otherwise: each takes about 1 GB


@dataclass(frozen=True)
class Plan:
    """A search whose settings are checked.

    Attributes:
        search: the settings search.*.
        space: the dimensions that trials differ in.
        fixed_overrides: overrides of run.py that hold for all trials, from the preset and the command line.
        overrides: the same, and those that every trial of a search has, such as train.steps.
        config: the settings that `overrides` compose. These are the baseline's; other trials differ in the space.
        config_dir: a folder of the user's with more presets.
        command: the arguments of the command line, without a password and without search.notify.
    """

    search: SearchConfig
    space: Space
    fixed_overrides: list[str]
    overrides: list[str]
    config: Config
    config_dir: str | None
    command: list[str]
    left_out: tuple[str, ...] = ()  # dimensions that mean nothing with the fixed settings

    @property
    def records(self) -> Records:
        """The folders that runs and studies are kept in."""
        return Records.at(self.config.records.root)

    @property
    def folder(self) -> RunFolder:
        """The folder of the study."""
        return RunFolder(self.records.studies / self.search.study)

    @property
    def workers(self) -> int:
        """How many trials run at the same time."""
        if self.search.workers:
            return self.search.workers
        most = min(MOST_WORKERS, self.search.trials)
        if self.search.launcher != "local":
            return most
        return min(available_cores(), gpus.places(self.config.train.devices) or most, most)

    @property
    def budget(self) -> int:
        """How many trials there will be: of a grid no more than it has points."""
        if self.search.sampler != "grid":
            return self.search.trials
        return min(self.search.trials, combinations(self.space))

    @property
    def rungs(self) -> tuple[int, ...]:
        """The steps at which trials are paused, and the last of all, with search.pruner=asha; else that alone.

        They grow by about search.eta from search.min_steps on, and are multiples of eval.every_steps.
        """
        steps, every = self.search.steps, self.config.eval.every_steps
        if self.search.pruner != "asha":
            return (steps,)
        first = self.search.min_steps or max(round(steps / 10 / every), 1) * every
        count = max(round(math.log(steps / first, self.search.eta)), 1) if first < steps else 0
        growth = [first * (steps / first) ** (rung / count) for rung in range(count)]
        rounded = [max(round(step / every), 1) * every for step in growth]
        return (*dict.fromkeys(step for step in rounded if step < steps), steps)

    @property
    def threads(self) -> int:
        """How many processor cores each trial computes on."""
        if self.search.launcher != "local":
            return self.config.train.threads or max(int(self.search.resources.cpus), 1)
        return self.config.train.threads or max(available_cores() // self.workers, 1)

    @property
    def preset(self) -> str:
        """The preset that the search starts from. Its settings are the baseline."""
        return preset_of(self.fixed_overrides) or TUTORIAL

    @property
    def names_preset(self) -> bool:
        """Whether the user chose the preset."""
        return any(argument.startswith("experiment=") for argument in (*self.search.overrides, *self.command))

    @property
    def baseline_name(self) -> str:
        """The baseline's name in a sentence."""
        return "the tutorial's settings" if self.preset == TUTORIAL else f"the settings of experiment={self.preset}"

    @property
    def baseline(self) -> dict[str, Value]:
        """The point of the space that is nearest to the baseline. The sampler sees trial 0 as this point.

        Dimensions that mean nothing there are not in it.
        """
        return active(self.space, self._values_of_baseline())

    def _values_of_baseline(self) -> dict[str, Value]:
        return {dimension.key: dimension.nearest(_or_inherited(dimension, self.config)) for dimension in self.space}

    @property
    def values_before_extension(self) -> dict[str, Value]:
        """For each dimension the value that trials had while it was not searched yet.

        That is the baseline's value. A dimension whose space does not contain it is left out.
        """
        return {key: value for key, value in self._values_of_baseline().items() if self.is_baseline({key: value})}

    @property
    def baseline_for_tables(self) -> dict[str, Value]:
        """For each dimension of the baseline its value as tables show it: 0.78/0.82/0.8 where layers differ."""
        return {key: in_brief(effective(self.config, key)) for key in self.baseline}

    def is_baseline(self, params: Mapping[str, Value]) -> bool:
        """Return whether these parameters are exactly the baseline's settings."""
        return all(self._is_baseline_value(key, value) for key, value in params.items())

    def start_points(self) -> dict[str, dict[str, Value]]:
        """Return the points of the space that search.start_from names, by the words that name them.

        Raises:
            ConfigError: where there are no such settings, or they differ from all trials outside of the space.
        """
        return {name: self._start_point(name) for name in self.search.start_from}

    def _start_point(self, name: str) -> dict[str, Value]:
        config = self._named_settings(name)
        theirs, ours = settings(config), settings(self.config)
        trained_with = [
            key
            for key in ours
            if not self._may_vary(key) and key not in (*RESUME_MAY_CHANGE, "seed") and not key.startswith("eval.")
        ]
        fixed = [key for key in trained_with if theirs[key] != ours[key]]
        if fixed:
            words = ", ".join(
                f"{key} is {hydra_text(theirs[key])} there, {hydra_text(ours[key])} here" for key in fixed
            )
            remedy = f"{words}; a dimension for it, or the same value for all trials"
            raise ConfigError(START_FROM, "settings that differ from all trials in the space alone", name, remedy)
        values = {d.key: d.nearest(_or_inherited(d, config)) for d in self.space}
        return active(self.space, values)

    def _named_settings(self, name: str) -> Config:
        if name.startswith(("run:", "best:")):
            run = self.records.find_run(name.removeprefix("run:"), START_FROM)
            return read_records(run, START_FROM)[0]
        rest = [override for override in self.overrides if not override.startswith("experiment=")]
        try:
            return compose_config([f"experiment={name}", *rest], self.config_dir)
        except ConfigError as error:
            raise ConfigError(START_FROM, "presets, run:<name> or best:<study>", name, str(error)) from error

    def trial_overrides(self, params: Mapping[str, Value]) -> list[str]:
        """Return the overrides of run.py for a trial with these parameters; with none, for the baseline."""
        return [*self.overrides, *as_overrides(params)]

    def identity(self) -> dict[str, Any]:
        """Return what the scores of a study depend on, apart from the data and the extractor, which are read later."""
        fixed = {key: value for key, value in settings(self.config).items() if not self._may_vary(key)}
        space = {f"{SPACE_PREFIX}{dimension.key}": dimension.text for dimension in self.space}
        values = {dimension.key: in_brief(effective(self.config, dimension.key)) for dimension in self.space}
        baseline = {f"{BASELINE_PREFIX}{key}": value for key, value in values.items()}
        grows = {"search.rungs": ", ".join(map(str, self.rungs))} if self.search.pruner == "asha" else {}
        return {**fixed, "search.steps": self.search.steps, **grows, **space, **baseline}

    def inherits_from_space(self, key: str) -> bool:
        """Return whether a setting takes its value from a shared setting that is searched."""
        shared_key = describe(Config)[key]["same_as"]
        return shared_key in self._searched_keys() and key not in named_keys(self.fixed_overrides)

    def _searched_keys(self) -> set[str]:
        return {dimension.key for dimension in self.space}

    def _is_baseline_value(self, key: str, value: Value) -> bool:
        """Return whether a parameter is the baseline's: as text, one value of all layers, or an inherited null."""
        setting = effective(self.config, key)
        if value == hydra_text(setting) or distinct_values(setting) == {value}:
            return True
        return value is None and inherits_value(key, self.config)

    def _may_vary(self, key: str) -> bool:
        """Return whether a setting may differ between trials: it is searched, or scores do not depend on it."""
        if key in self._searched_keys() or self.inherits_from_space(key):
            return True
        if key.startswith("data."):  # the data themselves are compared, not where they lie
            return True
        return key in RESUME_MAY_CHANGE and key != "eval.every_steps"


def _or_inherited(dimension: Dimension, config: Config) -> Any:
    """Return a setting in effect, null where a dimension has that for a value that another setting gives."""
    is_null = dimension.has_null and inherits_value(dimension.key, config)
    return None if is_null else effective(config, dimension.key)


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
    precision = f"{PRECISION}={config.train.precision}"
    fixed_overrides = [precision if each == f"{PRECISION}={AUTO}" else each for each in fixed_overrides]
    overrides = [*fixed_overrides, *added]

    named = {override.key_or_group for override in parse(search_overrides)}
    # A budget of updates stands for itself, unless who gave it, a preset or the command line, gave trials as well.
    of_preset = "search.updates" not in named and search.trials != describe(Settings)["search.trials"]["default"]
    if search.updates is not None and not of_preset and "search.trials" not in named:
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
    command = [without_password(argument) for argument in _join_option_values(arguments)]
    command = [argument for argument in command if not argument.startswith(f"{NOTIFY}=")]  # it may hold a secret
    plan = Plan(search, space, fixed_overrides, overrides, config, args.config_dir, command, tuple(left_out))
    _check(plan)
    return plan


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


def _join_option_values(arguments: Sequence[str]) -> list[str]:
    """Return arguments with `--config-dir FOLDER` as one argument, `--config-dir=FOLDER`."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--config-dir":
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


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
    if search.steps // every_steps < SCORES:
        remedy = f"eval.every_steps={search.steps // SCORES} or more steps"
        raise ConfigError(
            "search.steps", f"at least {SCORES} times eval.every_steps={every_steps}", search.steps, remedy
        )
    others = max(len(search.start_from), 1)
    if search.sampler == "cmaes" and search.pruner == "asha":
        rule = "halving, median, hyperband or none with search.sampler=cmaes, which learns from complete trials alone"
        raise ConfigError("search.pruner", rule, search.pruner)
    least = 2 * plan.rungs[0] if search.sampler == "grid" else search.steps + others * plan.rungs[0]
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
        rule = f"at most {search.trials - 1}, the trials beside the tutorial's"
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


def resume_command(plan: Plan) -> str:
    """Return the command that resumes a search, or that starts it after a dry run."""
    words = [word for word in plan.command if not word.startswith("search.dry_run=")]
    if words[:1] == [MAP_PRESET] and any(word.startswith("search.study=") for word in words):  # that grid.py gave it
        return shlex.join(["python", "sweeps/grid.py", *words[1:]])
    return shlex.join(["python", "sweeps/optuna_search.py", *words])


def plan_warnings(plan: Plan) -> list[str]:
    """Return what the user should know before the search starts."""
    left_out = [f"{text}: left out, as its condition does not hold" for text in plan.left_out]
    return [*left_out, *_warnings_of_settings_without_effect(plan), *_warnings_of_a_baseline_outside(plan)]


def _warnings_of_settings_without_effect(plan: Plan) -> list[str]:
    warnings = []
    keys = {dimension.key for dimension in plan.space}
    momenta = sorted(key for key in keys if key.endswith("bn_momentum"))
    if plan.config.train.update_rule == "batch" and momenta:
        warnings.append(
            f"{', '.join(momenta)}: nearly inert under train.update_rule=batch, where it moves only the statistics "
            "that samples are generated with; the update rule tutorial also trains D on them"
        )
    if "model.discriminator.bn_momentum" in keys:
        warnings.append("model.discriminator.bn_momentum: has no effect on training with either update rule")
    noise = sorted(key for key in keys if key.startswith("train.label_noise"))
    if plan.config.train.loss != "bce" and "train.loss" not in keys and noise:
        warnings.append(f"{', '.join(noise)}: acts in train.loss=bce alone")
    return warnings


def _warnings_of_a_baseline_outside(plan: Plan) -> list[str]:
    """Name the dimensions whose space does not contain the baseline's value."""
    if plan.search.sampler == "grid":
        return []
    warnings = []
    for key, value in plan.baseline.items():
        setting = effective(plan.config, key)
        if isinstance(setting, list) or plan.is_baseline({key: value}):
            continue
        warnings.append(
            f"{key}: {plan.baseline_name} have {setting}, outside of the space; "
            f"trial 0 has it nevertheless, and the sampler sees {value}"
        )
    return warnings
