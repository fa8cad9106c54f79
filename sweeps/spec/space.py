"""The space of a search: its dimensions as Optuna's distributions, where each means something, and values as texts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from experiments.cli.overrides import exact
from experiments.cli.progress import short_names
from experiments.settings.rules import describe, get
from experiments.settings.schema import Config
from experiments.settings.text import brief
from gan.errors import ConfigError

Value = float | int | str | bool | None  # of one parameter, as Optuna stores it
Number = FloatDistribution | IntDistribution
WHEN, AND, PRIOR = " when ", " and ", " prior "
CONFIDENCES = ("low", "medium", "high")  # of a prior; medium where it says none


@dataclass(frozen=True)
class Condition:
    """That a setting has one of some values, or none of them: `train.loss=bce|hinge`, `train.r1_gamma!=0`."""

    key: str
    values: tuple[Value, ...]
    is_negated: bool

    def __str__(self) -> str:
        return f"{self.key}{'!=' if self.is_negated else '='}{'|'.join(map(hydra_text, self.values))}"

    def holds(self, value: Any) -> bool:
        """Return whether it holds where the setting has this value."""
        return any(same_value(value, each) for each in self.values) != self.is_negated


@dataclass(frozen=True)
class Prior:
    """What is known of a dimension before a search: a good value, and how sure that is."""

    value: Value
    confidence: str

    def __str__(self) -> str:
        return f"{hydra_text(self.value)} {self.confidence}"


@dataclass(frozen=True)
class Dimension:
    """One key of the space.

    Attributes:
        key: the setting, such as model.dropout.
        values: its values in Hydra's grammar.
        distribution: its values as Optuna's distribution.
        conditions: all of which hold where it means something.
        prior: what is known of it; scores do not depend on that.
    """

    key: str
    values: str
    distribution: Number | CategoricalDistribution
    conditions: tuple[Condition, ...] = ()
    prior: Prior | None = None

    @property
    def text(self) -> str:
        """Its values in Hydra's grammar, and its conditions."""
        return f"{self.values}{WHEN}{AND.join(map(str, self.conditions))}" if self.conditions else self.values

    @property
    def full_text(self) -> str:
        """The text with the prior, for a person."""
        if self.prior is None:
            return self.text
        return f"{self.values}{PRIOR}{self.prior}{self.text.removeprefix(self.values)}"

    def is_active(self, params: Mapping[str, Value]) -> bool:
        """Return whether it means something beside values of the dimensions before it."""
        return all(each.key in params and each.holds(params[each.key]) for each in self.conditions)

    @property
    def has_null(self) -> bool:
        """Whether null is one of the choices."""
        return isinstance(self.distribution, CategoricalDistribution) and None in self.distribution.choices

    def suggest(self, trial: Trial) -> Value:
        """Let a trial's sampler suggest a value."""
        d = self.distribution
        if isinstance(d, FloatDistribution):
            return trial.suggest_float(self.key, d.low, d.high, step=d.step, log=d.log)
        if isinstance(d, IntDistribution):
            return trial.suggest_int(self.key, d.low, d.high, step=d.step, log=d.log)
        value: Value = trial.suggest_categorical(self.key, d.choices)
        return value

    def nearest(self, setting: Any) -> Value:
        """Return the value of the dimension that is closest to a setting.

        A list, with one number for each layer, counts as its mean. A word or a list that is none of
        the choices has no closest one: then it is the first.
        """
        d = self.distribution
        if isinstance(d, CategoricalDistribution) and as_choice(setting) in d.choices:
            return as_choice(setting)
        if isinstance(setting, list):
            setting = round(sum(setting) / len(setting), 12)
        if isinstance(d, CategoricalDistribution):
            choices = [choice for choice in d.choices if choice is not None]
            all_numbers = all(type(value) in (int, float) for value in (setting, *choices))
            return min(choices, key=lambda choice: abs(choice - setting)) if all_numbers else choices[0]
        return self.remove_float_error(min(max(setting, d.low), d.high))

    def remove_float_error(self, value: Value) -> Value:
        """Return a value of the dimension without errors of floating point."""
        return remove_float_error(self.distribution, value)

    @property
    def count(self) -> int:
        """How many values there are.

        Raises:
            ConfigError: for an interval, whose values cannot be counted.
        """
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return len(d.choices)
        if d.step is None or (isinstance(d, IntDistribution) and "interval" in self.values):
            raise ConfigError(self.key, "range(...) or choice(...) for search.sampler=grid", self.text)
        return round((d.high - d.low) / d.step) + 1

    def grid(self) -> list[Value]:
        """Return all values, for the grid sampler.

        Raises:
            ConfigError: for an interval.
        """
        d, count = self.distribution, self.count
        if isinstance(d, CategoricalDistribution):
            return list(d.choices)
        assert d.step is not None  # an interval has no count
        return [self.remove_float_error(d.low + index * d.step) for index in range(count)]


Space = tuple[Dimension, ...]


def in_order(space: Space) -> list[Dimension]:
    """Return the dimensions, each after those that its conditions name."""
    ordered: dict[str, Dimension] = {}
    waiting = list(space)
    keys = {dimension.key for dimension in space}
    while waiting:
        ready = [d for d in waiting if all(c.key in ordered or c.key not in keys for c in d.conditions)]
        ordered |= {dimension.key: dimension for dimension in ready}
        waiting = [dimension for dimension in waiting if dimension.key not in ordered]
        assert ready, "a circle, which read_space refuses"
    return list(ordered.values())


def is_in_distribution(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether a distribution contains a value. Of a range of floats only the ends count, not its steps."""
    if isinstance(distribution, FloatDistribution):
        if not isinstance(value, int | float):
            return False
        nearest = min(max(value, distribution.low), distribution.high)
        return same_value(float(value), nearest)
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # no such choice
        return False


def active(space: Space, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values of those dimensions that mean something beside the others, in the order of the space.

    A dimension without a value is not active.
    """
    kept: dict[str, Value] = {}
    for dimension in in_order(space):
        if dimension.key in values and dimension.is_active(kept):
            kept[dimension.key] = values[dimension.key]
    return {dimension.key: kept[dimension.key] for dimension in space if dimension.key in kept}


def combinations(space: Space) -> int:
    """Return how many points a grid of the space has.

    Raises:
        ConfigError: for an interval in it.
    """
    return math.prod(dimension.count for dimension in space)


def sampled_params(space: Space, trial: Trial) -> dict[str, Value]:
    """Let a trial's sampler suggest a value for every dimension that means something beside the others."""
    params: dict[str, Value] = {}
    for dimension in in_order(space):
        if dimension.is_active(params):
            params[dimension.key] = dimension.suggest(trial)
    return {dimension.key: params[dimension.key] for dimension in space if dimension.key in params}


def as_overrides(params: Mapping[str, Value]) -> list[str]:
    """Return parameters as overrides `key=value` of run.py, with every digit of a number."""
    texts = {key: repr(value) if isinstance(value, float) else hydra_text(value) for key, value in params.items()}
    return [f"{key}={text}" for key, text in texts.items()]


def inherits_value(key: str, config: Config) -> bool:
    """Return whether a setting has the value of the shared setting that it defaults to.

    For instance model.generator.dropout defaults to model.dropout. Instead of such a value it may be null.
    """
    shared_key = describe(Config)[key]["same_as"]
    return bool(shared_key) and distinct_values(get(config, key)) == distinct_values(get(config, shared_key))


def distinct_values(setting: Any) -> set[Any]:
    """Return the different values of a setting, which may be a list with one for each layer."""
    return set(setting) if isinstance(setting, list) else {setting}


def remove_float_error(distribution: BaseDistribution, value: Any) -> Any:
    """Return a value as its distribution means it: in a range the nearest decimal, 0.3 for 0.30000000000000004."""
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return value
    number = int if isinstance(distribution, IntDistribution) else float
    if distribution.step is None:
        return number(value)
    steps = round((value - distribution.low) / distribution.step)
    return number(exact(distribution.low) + steps * exact(distribution.step))


def same_value(one: Any, other: Any) -> bool:
    """Return whether two values are equal. Numbers may differ by rounding, as those of older studies do."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def same_params(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two sets of parameters have the same keys and equal values."""
    return one.keys() == other.keys() and all(same_value(value, other[key]) for key, value in one.items())


def hydra_text(value: Any) -> str:
    """Return a value in Hydra's grammar. A number gets as few digits as are exact."""
    if isinstance(value, list):
        return "[" + ",".join(map(hydra_text, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if not isinstance(value, float):
        return str(value)
    short = f"{value:.12g}"
    return short if float(short) == value else repr(value)


def table_text(value: Value) -> str:
    """Return a value for a table: a number with four digits, and null where a key inherits its value."""
    return "null" if value is None else brief(value)


def name_values(params: Mapping[str, Value]) -> list[str]:
    """Return parameters as texts: the last part of each key, and its value in four digits."""
    return [f"{name} {table_text(params[key])}" for key, name in short_names(params).items()]


def as_choice(value: Any) -> Value:
    """Return a value as a choice of Optuna, which does not admit lists: they become their text."""
    return hydra_text(value) if isinstance(value, list) else value
