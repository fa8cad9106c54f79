"""What a search will do, read from its command line and checked before anything is written."""

import os
from argparse import ArgumentError, ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli.compose import GROUPS, compose_config, compose_settings, named_keys, preset_of
from experiments.cli.overrides import parse, quote_texts
from experiments.records.folders import Records
from experiments.runs.facts import settings
from experiments.runs.threads import available_cores
from experiments.settings.rules import describe, text_keys
from experiments.settings.schema import RESUME_MAY_CHANGE, Config, effective, in_brief
from gan.errors import ConfigError, without_password
from sweeps.spec.schema import FEWEST_SCORES, MOST_TRIALS, SCORES, SearchConfig, Settings, split_password
from sweeps.spec.space import Dimension, Space, Value, as_overrides, combinations, follows, read_space, text_of

TUTORIAL = "tutorial"  # the preset that a search starts from unless it names another
DEFAULTS = "defaults"  # the one that searches of earlier versions started from
SPACE = "search.space."  # before the dimensions in a study's identity
BATCH_SIZE = "train.batch_size"
BASELINE = "baseline."  # and before what the baseline has in them
KEEP_CHECKPOINTS = 2  # of a trial: 17 MB each, and the best one
MOST_WORKERS = 4  # unless search.workers says otherwise: each takes about 1 GB


@dataclass(frozen=True)
class Plan:
    """A search, checked."""

    search: SearchConfig
    space: Space
    given: list[str]  # settings of the preset and the command line that hold for all trials, as run.py takes them
    overrides: list[str]  # the same, and what makes trials of them
    config: Config  # the same, composed: the baseline, and what trials have beside the space
    config_dir: str | None
    command: list[str]  # the arguments that it was read from

    @property
    def records(self) -> Records:
        return Records.at(self.config.records.root)

    @property
    def workers(self) -> int:
        cores = available_cores() if self.search.launcher == "local" else MOST_WORKERS
        return self.search.workers or min(cores, MOST_WORKERS, self.search.trials)

    @property
    def budget(self) -> int:
        """Settings to try: no more than a grid has."""
        if self.search.sampler != "grid":
            return self.search.trials
        return min(self.search.trials, combinations(self.space))

    @property
    def threads(self) -> int:
        """Cores of each trial."""
        if self.search.launcher != "local":
            return self.config.train.threads or max(int(self.search.resources.cpus), 1)
        return self.config.train.threads or max(available_cores() // self.workers, 1)

    @property
    def preset(self) -> str:
        """The preset that the search starts from, its baseline."""
        return preset_of(self.given) or TUTORIAL

    @property
    def names_preset(self) -> bool:
        """Whether the user chose it."""
        return any(each.startswith("experiment=") for each in (*self.search.overrides, *self.command))

    @property
    def baseline_words(self) -> str:
        """What the baseline is called in a sentence."""
        return "the tutorial's settings" if self.preset == TUTORIAL else f"the settings of experiment={self.preset}"

    @property
    def baseline(self) -> dict[str, Value]:
        """The point of the space nearest to the baseline, as which the sampler sees trial 0."""
        return {
            d.key: d.nearest(None if d.has_null and follows(d.key, self.config) else effective(self.config, d.key))
            for d in self.space
        }

    @property
    def former(self) -> dict[str, Value]:
        """Of each dimension the value that trials had before it was one: the baseline's, if the space has it."""
        return {key: value for key, value in self.baseline.items() if self.is_baseline({key: value})}

    @property
    def baseline_shown(self) -> dict[str, Value]:
        """What the baseline has in the dimensions of the space, for tables: 0.78/0.82/0.8 where layers differ."""
        return {dimension.key: in_brief(effective(self.config, dimension.key)) for dimension in self.space}

    def is_baseline(self, params: Mapping[str, Value]) -> bool:
        """Whether training with these parameters is training with the baseline's settings, to the last digit."""
        own = {key: effective(self.config, key) for key in params}
        return all(
            value == text_of(own[key]) or {value} == _values(own[key]) or (value is None and follows(key, self.config))
            for key, value in params.items()
        )

    def trial_overrides(self, params: Mapping[str, Value]) -> list[str]:
        """The command line of a run with these parameters; with none, of the baseline."""
        return [*self.overrides, *as_overrides(params)]

    def identity(self) -> dict[str, Any]:
        """What the scores of a study depend on, but for the data and the extractor, which are known later."""
        own = {key: value for key, value in settings(self.config).items() if not self._varies(key)}
        space = {f"{SPACE}{dimension.key}": dimension.text for dimension in self.space}
        baseline = {f"{BASELINE}{key}": value for key, value in self.baseline_shown.items()}
        return {**own, "search.steps": self.search.steps, **space, **baseline}

    def follows(self, key: str) -> bool:
        """Whether a key takes its value from a dimension of the space."""
        searched = {dimension.key for dimension in self.space}
        return describe(Config)[key]["same_as"] in searched and key not in named_keys(self.given)

    def _varies(self, key: str) -> bool:
        """Whether trials differ in a setting, or may without a difference to their scores."""
        searched = {dimension.key for dimension in self.space}
        free = key in RESUME_MAY_CHANGE and key != "eval.every_steps"
        return key in searched or self.follows(key) or free or key.startswith("data.")


def _values(value: Any) -> set[Any]:
    return set(value) if isinstance(value, list) else {value}


def read_plan(arguments: list[str]) -> Plan:
    """Raises ConfigError."""
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

    of_search, of_space, of_trials = _sorted(_as_typed(args.overrides))
    search = compose_settings("optuna_search", Settings, ("search",), of_search, args.config_dir).search
    fixed = [*_as_typed(search.overrides), *of_trials]
    if preset_of(fixed) is None:
        fixed = [f"experiment={TUTORIAL}", *fixed]
    given = {override.key_or_group for override in parse(fixed)}
    for key, instead in (("train.steps", "search.steps"), ("name", "search.study"), ("resume", "search.study")):
        if key in given:
            raise ConfigError(key, f"absent in a search, which has {instead}", "a value")
    texts = {key: each for key, each in search.space.items() if key not in given} | of_space

    own = {"eval.every_steps": -(-search.steps // FEWEST_SCORES), "train.keep_checkpoints": KEEP_CHECKPOINTS}
    trials = [f"{key}={value}" for key, value in own.items() if key not in given]
    overrides = [*fixed, f"train.steps={search.steps}", *trials]
    config = compose_config(overrides, args.config_dir)
    if not any(override.key_or_group == "search.confirm.top" for override in parse(of_search)):
        search.confirm.top = min(search.confirm.top, search.trials - 1)
    if search.storage is not None:
        search.storage, password = split_password(search.storage)
        if password is not None:
            os.environ["PGPASSWORD"] = password  # where libpq looks, here and in all children: nothing else has it
    command = [without_password(argument) for argument in _in_one_piece(arguments)]
    plan = Plan(search, read_space(texts), fixed, overrides, config, args.config_dir, command)
    _check(plan)
    return plan


def _as_typed(overrides: list[str]) -> list[str]:
    return quote_texts(overrides, [*text_keys(Config), *text_keys(Settings)], ("search", *GROUPS), multirun=True)


def _in_one_piece(arguments: Sequence[str]) -> list[str]:
    """Each option with its value, so that every argument has its key before an `=`."""
    found: list[str] = []
    for argument in arguments:
        if found and found[-1] == "--config-dir":
            found[-1] += f"={argument}"
        else:
            found.append(argument)
    return found


def _sorted(overrides: list[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Settings of the search, dimensions of its space, and settings of its trials."""
    of_search, of_space, of_trials = [], {}, []
    for each in overrides:
        name, _, value = each.partition("=")
        if f"{name.lstrip('+')}.".startswith("search.space."):
            example = "'model.dropout=interval(0,0.5)'"
            raise ConfigError("search.space", "given dimension by dimension on a command line", value, example)
        (override,) = parse([each])
        key = override.key_or_group
        if key == "search" or key.startswith("search."):
            if override.is_sweep_override():
                raise ConfigError(key, "one value", value)
            of_search.append(each)
        elif override.is_sweep_override():
            of_space[key] = value
        else:
            of_trials.append(each)
    return of_search, of_space, of_trials


def _check(plan: Plan) -> None:
    """What no single key's rule says."""
    search, every = plan.search, plan.config.eval.every_steps
    if search.steps // every < SCORES:
        remedy = f"eval.every_steps={search.steps // SCORES} or more steps"
        raise ConfigError("search.steps", f"at least {SCORES} times eval.every_steps={every}", search.steps, remedy)
    if search.confirm.seeds and search.confirm.top > search.trials - 1:
        rule = f"at most {search.trials - 1}, the trials beside the tutorial's"
        raise ConfigError("search.confirm.top", rule, search.confirm.top)
    if search.launcher != "local" and search.storage is None:
        remedy = "search.storage=postgresql+psycopg://user@host:port/database, which its hosts share"
        raise ConfigError("search.launcher", "local without search.storage", search.launcher, remedy)
    if search.launcher == "slurm" and search.resources.gpus % 1:
        raise ConfigError("search.resources.gpus", "a whole number with SLURM", search.resources.gpus)
    devices = plan.config.train.devices
    for dimension in plan.space:
        if dimension.key == BATCH_SIZE and isinstance(devices, int) and devices > 1:
            _check_batch_sizes(dimension, devices)
    if search.sampler == "grid" and (count := combinations(plan.space)) > MOST_TRIALS:
        remedy = "fewer values of each setting, or another sampler"
        raise ConfigError("a grid", f"of at most {MOST_TRIALS:,} combinations", f"{count:,}", remedy)


def _check_batch_sizes(dimension: Dimension, devices: int) -> None:
    """Raises ConfigError for a size that the devices cannot share, which would fail in each trial that has it."""
    rule = f"a choice or a range of multiples of {devices}, the number of devices"
    if "interval" in dimension.text or any(int(str(size)) % devices for size in dimension.grid()):
        raise ConfigError(dimension.key, rule, dimension.text)


def notices(plan: Plan) -> list[str]:
    """What the user should know before it begins."""
    lines = []
    keys = {dimension.key for dimension in plan.space}
    momenta = sorted(key for key in keys if key.endswith("bn_momentum"))
    if plan.config.train.batch_norm == "batch" and momenta:
        lines.append(
            f"{', '.join(momenta)}: nearly inert under train.batch_norm=batch, where it moves only the statistics "
            "that pictures are drawn with; the recipe tutorial also trains D on them"
        )
    if "model.discriminator.bn_momentum" in keys:
        lines.append("model.discriminator.bn_momentum: has no effect on training in either recipe")
    noise = sorted(key for key in keys if key.startswith("train.label_noise"))
    if plan.config.train.loss != "bce" and "train.loss" not in keys and noise:
        lines.append(f"{', '.join(noise)}: acts in train.loss=bce alone")
    for key, value in plan.baseline.items():
        own = effective(plan.config, key)
        if plan.search.sampler != "grid" and not plan.is_baseline({key: value}) and not isinstance(own, list):
            shown = f"{plan.baseline_words} have {own}"
            lines.append(f"{key}: {shown}, outside of the space; trial 0 has it all the same, seen as {value}")
    return lines
