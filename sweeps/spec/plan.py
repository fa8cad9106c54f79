"""The plan of a search: its checked settings, and what follows from them."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli.compose import compose_config, named_keys, preset_of
from experiments.hardware import gpus
from experiments.hardware.cores import available_cores
from experiments.records.folders import Records, RunFolder
from experiments.settings.rules import describe
from experiments.settings.schema import RESUME_MAY_CHANGE, Config, effective, in_brief
from experiments.training.ancestor import starting_from
from experiments.training.facts import read_records, settings
from gan.errors import ConfigError
from sweeps.spec.schema import MOST_TRIALS, SearchConfig
from sweeps.spec.space import (
    Dimension,
    Space,
    Value,
    active,
    as_overrides,
    combinations,
    distinct_values,
    hydra_text,
    inherits_value,
)

TUTORIAL = "tutorial"  # the preset that a search starts from unless it names another
MAP_PRESET = "search=grid"  # of a map of two settings, which sweeps/grid.py makes
DEFAULTS = "defaults"  # the preset that searches of earlier versions started from
SPACE_PREFIX = "search.space."  # of the dimensions in a study's identity
BASELINE_PREFIX = "baseline."  # of the baseline's settings in a study's identity
START_FROM = "search.start_from"
LEARN_FROM = "search.learn_from"
LEARNING = ("tpe", "priorband", "linear", "gp")  # samplers that can learn from the trials of other studies
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
    def is_limited_by_hours_alone(self) -> bool:
        """Whether neither a number of trials nor updates limit the search, but hours do."""
        search = self.search
        unlimited = search.trials == MOST_TRIALS and search.sampler != "grid"
        return search.hours is not None and search.updates is None and unlimited

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
    def may_confirm_early(self) -> bool:
        """Whether the confirmation may be decided before its last seed, as it is from the second on."""
        return self.search.confirm.seeds > 2

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

    @property
    def ancestor_file(self) -> Path | None:
        """The study's copy of the checkpoint that all trials start from; None where they start from nothing."""
        return self.folder.path / "init_from.npz" if self.config.train.init_from is not None else None

    def with_ancestor(self, overrides: Sequence[str]) -> list[str]:
        """Return overrides of run.py with the study's copy in place of the run that all trials start from."""
        if (file := self.ancestor_file) is None:
            return list(overrides)
        return starting_from(overrides, str(file))

    def trial_overrides(self, params: Mapping[str, Value]) -> list[str]:
        """Return the overrides of run.py for a trial with these parameters; with none, for the baseline."""
        return [*self.with_ancestor(self.overrides), *as_overrides(params)]

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


def resume_command(plan: Plan) -> str:
    """Return the command that resumes a search, or that starts it after a dry run."""
    words = [word for word in plan.command if not word.startswith("search.dry_run=")]
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
