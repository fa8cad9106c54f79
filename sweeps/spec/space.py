"""The space of a search: Hydra's grammar for sweeps, as Optuna's distributions.

A dimension is a key of run.py and what it may be: `interval(0.5, 0.99)`, `tag(log,
interval(5e-5, 1e-3))`, `int(interval(64, 256))`, `range(16, 129, 16)` or `choice(a, b)`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, QuotedString, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from experiments.cli.compose import check_keys
from experiments.cli.overrides import exact, parse, range_length
from experiments.cli.progress import brief
from experiments.settings.rules import NONE, NULL, PerLayer, describe, get
from experiments.settings.schema import Config
from gan.errors import ConfigError

Value = float | int | str | bool | None

FORMS = "interval(low, high), tag(log, interval(low, high)), range(start, stop, step) or choice(a, b, ...)"
MOST_WHOLE = 2**53  # beyond it floating point, in which samplers compute, leaves integers out
MOST_STEPS = 1_000_000  # from 0 to the end of a range: with more, floating point would not find its values again
# Keys that decide how a trial is measured, kept or run: trials that differ in them cannot be ranked.
FIXED_SECTIONS = ("data.", "eval.", "records.")
FIXED_KEYS = {
    "name", "resume", "seed", "train.steps", "train.steps_per_call", "train.threads", "train.devices",
    "train.log_every_steps", "train.grid_every_steps", "train.checkpoint_every_steps", "train.keep_checkpoints",
}  # fmt: skip


@dataclass(frozen=True)
class Dimension:
    """One key of the space."""

    key: str
    text: str  # in Hydra's grammar
    distribution: BaseDistribution

    @property
    def has_null(self) -> bool:
        return isinstance(self.distribution, CategoricalDistribution) and None in self.distribution.choices

    def suggest(self, trial: Trial) -> Value:
        d = self.distribution
        if isinstance(d, FloatDistribution):
            return trial.suggest_float(self.key, d.low, d.high, step=d.step, log=d.log)
        if isinstance(d, IntDistribution):
            return trial.suggest_int(self.key, d.low, d.high, step=d.step, log=d.log)
        assert isinstance(d, CategoricalDistribution)
        value: Value = trial.suggest_categorical(self.key, d.choices)
        return value

    def nearest(self, value: Any) -> Value:
        """The value of the dimension that is closest to a value of the key; of words and lists that are not in it, the first."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution) and _choice(value) in d.choices:
            return _choice(value)
        if isinstance(value, list):  # one number for all layers
            value = round(sum(value) / len(value), 12)
        if isinstance(d, CategoricalDistribution):
            choices = [each for each in d.choices if each is not None]
            numbers = all(type(each) in (int, float) for each in (value, *choices))
            return min(choices, key=lambda each: abs(each - value)) if numbers else choices[0]
        assert isinstance(d, FloatDistribution | IntDistribution)
        return self.clean(min(max(value, d.low), d.high))

    def clean(self, value: Value) -> Value:
        return clean(self.distribution, value)

    @property
    def count(self) -> int:
        """How many values there are. Raises ConfigError for an interval."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return len(d.choices)
        assert isinstance(d, FloatDistribution | IntDistribution)
        if d.step is None or (isinstance(d, IntDistribution) and "interval" in self.text):
            raise ConfigError(self.key, "range(...) or choice(...) for search.sampler=grid", self.text)
        return round((d.high - d.low) / d.step) + 1

    def grid(self) -> list[Value]:
        """All values, for the grid sampler. Raises ConfigError for an interval."""
        d, count = self.distribution, self.count
        if isinstance(d, CategoricalDistribution):
            return list(d.choices)
        assert isinstance(d, FloatDistribution | IntDistribution)
        return [self.clean(d.low + k * d.step) for k in range(count) if d.step is not None]


Space = tuple[Dimension, ...]


def clean(d: BaseDistribution, value: Any) -> Any:
    """A value as its dimension writes it: of a range the decimal that is nearest, 0.3 for 0.30000000000000004."""
    if not isinstance(d, FloatDistribution | IntDistribution):
        return value
    number = int if isinstance(d, IntDistribution) else float
    if d.step is None:
        return number(value)
    return number(exact(d.low) + round((value - d.low) / d.step) * exact(d.step))


def read_space(texts: Mapping[str, str]) -> Space:
    """The dimensions of keys and their texts, in order. Raises ConfigError."""
    if not texts:
        raise ConfigError("search.space", "one key or more", "none", "for instance 'model.dropout=interval(0,0.5)'")
    return tuple(_dimension(key, text) for key, text in texts.items())


def brief_value(value: Value) -> str:
    """For a table: four digits, and null where a key follows another."""
    return "null" if value is None else brief(value)


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are one, but for what studies of before had of the errors of floating point."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def same_params(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(same_value(value, other[key]) for key, value in one.items())


def combinations(space: Space) -> int:
    """How many points a grid of the space has. Raises ConfigError for an interval in it."""
    return math.prod(dimension.count for dimension in space)


def sampled_params(space: Space, trial: Trial) -> dict[str, Value]:
    return {dimension.key: dimension.suggest(trial) for dimension in space}


def follows(key: str, config: Config) -> bool:
    """Whether a key has the value of the one that it defaults to, and so may be null."""
    shared = describe(Config)[key]["same_as"]
    return bool(shared) and _values(get(config, key)) == _values(get(config, shared))


def _values(value: Any) -> set[Any]:
    return set(value) if isinstance(value, list) else {value}


def as_overrides(params: Mapping[str, Value]) -> list[str]:
    """Parameters as run.py takes them."""
    exact = {key: repr(value) if isinstance(value, float) else text_of(value) for key, value in params.items()}
    return [f"{key}={value}" for key, value in exact.items()]


def _dimension(key: str, text: str) -> Dimension:
    (override,) = parse([f"{key}={text}"])
    check_keys([f"{key}={text}"])
    spec = describe(Config).get(key)
    if spec is None or key in FIXED_KEYS or key.startswith(FIXED_SECTIONS):
        raise ConfigError(key, "given one value in a search, as scores of unlike trials cannot be compared", text)
    sweep = override.value()
    if not isinstance(sweep, IntervalSweep | RangeSweep | ChoiceSweep):
        raise ConfigError(key, FORMS, text)
    if unknown := sweep.tags - {"log"}:
        raise ConfigError(key, "without tags but log", text, ", ".join(sorted(unknown)))
    if sweep.tags and not isinstance(sweep, IntervalSweep):
        raise ConfigError(key, "an interval where it has tag(log, ...)", text)
    if isinstance(sweep, ChoiceSweep):
        return _of_choice(key, text, sweep, spec)
    if _kind(spec) is bool:
        raise ConfigError(key, "choice(false, true)", text)
    if _kind(spec) is str:
        raise ConfigError(key, f"choice(a, b, ...) of words {spec['rule']}", text)
    return _of_interval(key, text, sweep, spec) if isinstance(sweep, IntervalSweep) else _of_range(key, sweep, spec)


def _kind(spec: dict[str, Any]) -> type:
    if isinstance(spec["rule"], PerLayer) or spec["type"] in (float, float | None):
        return float
    if spec["type"] is bool:
        return bool
    return int if spec["type"] in (int, int | None) else str


def _of_interval(key: str, text: str, sweep: IntervalSweep, spec: dict[str, Any]) -> Dimension:
    low, high = float(sweep.start or 0.0), float(sweep.end or 0.0)
    log = "log" in sweep.tags
    whole = _kind(spec) is int or (isinstance(sweep.start, int) and isinstance(sweep.end, int))
    if not low < high:
        raise ConfigError(key, "an interval whose low end is below its high end", text)
    if log and low <= 0:
        raise ConfigError(key, "an interval above 0 where it has tag(log, ...)", text)
    if whole and not (low.is_integer() and high.is_integer()):
        raise ConfigError(key, "an interval between integers", text)
    bounds = (int(low), int(high)) if whole else (low, high)
    _check_rule(key, text, spec, bounds)
    shown = f"interval({text_of(bounds[0])}, {text_of(bounds[1])})"
    shown = f"tag(log, {shown})" if log else shown
    if whole:
        return Dimension(key, f"int({shown})", IntDistribution(int(low), int(high), log))
    return Dimension(key, shown, FloatDistribution(low, high, log))


def _of_range(key: str, sweep: RangeSweep, spec: dict[str, Any]) -> Dimension:
    start, stop, step = sweep.start or 0, sweep.stop or 0, sweep.step
    text = f"range({text_of(start)}, {text_of(stop)}, {text_of(step)})"
    if not all(map(math.isfinite, (start, stop, step))) or step <= 0:
        raise ConfigError(key, "a range with a step above 0", text)
    whole = all(float(number).is_integer() for number in (start, step))
    count = range_length(sweep)
    last = exact(start) + (count - 1) * exact(step)
    if count < 2:
        raise ConfigError(key, "a range of two values or more", text, "its end is not part of it")
    if _kind(spec) is int and not whole:
        raise ConfigError(key, "a range of integers", text)
    if whole and max(abs(exact(start)), abs(last)) > MOST_WHOLE:
        raise ConfigError(key, f"a range of integers up to {MOST_WHOLE:,}", text)
    if whole:
        _check_rule(key, text, spec, (int(start), int(last)))
        return Dimension(key, text, IntDistribution(int(start), int(last), step=int(step)))
    if max(abs(exact(start)), abs(last)) / exact(step) > MOST_STEPS:
        raise ConfigError(key, f"a range of at most {MOST_STEPS:,} steps", text, "an interval has no steps")
    _check_rule(key, text, spec, (float(start), float(last)))
    return Dimension(key, text, FloatDistribution(float(start), float(last), step=float(step)))


def _of_choice(key: str, text: str, sweep: ChoiceSweep, spec: dict[str, Any]) -> Dimension:
    values = [each.text if isinstance(each, QuotedString) else each for each in sweep.list]
    if any(isinstance(value, dict) for value in values):
        raise ConfigError(key, "a choice of words, numbers or lists", text)
    choices = [_choice(value) for value in values]
    if len(set(choices)) < 2:
        raise ConfigError(key, "a choice of two values or more", text, f"{key}={text_of(choices[0])} fixes it")
    if len(set(choices)) < len(choices):
        raise ConfigError(key, "a choice of different values", text)
    if _kind(spec) is bool and not all(isinstance(value, bool) for value in values):
        raise ConfigError(key, "choice(false, true)", text)
    if _kind(spec) is str:
        choices = [str(value) for value in choices]
        values = list(choices)
    if _kind(spec) is int and any(isinstance(value, float | bool) for value in values):
        raise ConfigError(key, "a choice of integers", text)
    _check_rule(key, text, spec, values)
    return Dimension(key, f"choice({', '.join(map(text_of, choices))})", CategoricalDistribution(choices))


def _check_rule(key: str, text: str, spec: dict[str, Any], values: Any) -> None:
    rule, absent = spec["rule"], spec["default"] is None  # where null stands for another key's value
    wrong = [v for v in values if rule is not None and not rule.admits(v) and not (absent and v is None)]
    if wrong:
        word = text_of(_choice(wrong[0]))
        remedy = f"; {NULL}" if absent and word.lower() == NONE else ""
        raise ConfigError(key, str(rule), text, f"{word} is not{remedy}")


def _choice(value: Any) -> Value:
    """A value as Optuna keeps it: lists, which it does not know, as their text."""
    return text_of(value) if isinstance(value, list) else value


def text_of(value: Any) -> str:
    """A value in Hydra's grammar; numbers in as few digits as are exact."""
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if not isinstance(value, float):
        return str(value)
    short = f"{value:.12g}"
    return short if float(short) == value else repr(value)
