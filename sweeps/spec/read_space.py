"""Reads the space of a search from its texts: Hydra's grammar for sweeps, with conditions and priors.

A dimension is a key of run.py and the values that it may take: `interval(0.5, 0.99)`,
`tag(log, interval(5e-5, 1e-3))`, `int(interval(64, 256))`, `range(16, 129, 16)` or `choice(a, b)`. One that means
something only beside others says so: `interval(0, 0.3) when train.loss=bce`; what is known of it before the search
stands behind its values: `choice(0, 0.5, 0.9) prior 0 high`.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, QuotedString, RangeSweep
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from experiments.cli.compose import check_keys
from experiments.cli.overrides import exact, parse, range_length
from experiments.settings.rules import NONE, NULL, PerLayer, describe
from experiments.settings.schema import Config, effective
from gan.errors import ConfigError
from sweeps.spec.space import (
    AND,
    CONFIDENCES,
    PRIOR,
    WHEN,
    Condition,
    Dimension,
    Prior,
    Space,
    as_choice,
    hydra_text,
    in_order,
    is_in_distribution,
)

FORMS = "interval(low, high), tag(log, interval(low, high)), range(start, stop, step) or choice(a, b, ...)"
MAX_INTEGER = 2**53  # samplers compute in floating point, which cannot represent every integer above it
MAX_STEPS = 1_000_000  # from 0 to the end of a range: with more, rounding errors would confuse its values
# Keys that decide how a trial is scored, stored or run. Trials that differ in them cannot be ranked.
FIXED_SECTIONS = ("data.", "eval.", "records.", "tracking.")
FIXED_KEYS = {
    "name", "note", "resume", "seed", "train.steps", "train.steps_per_call", "train.threads", "train.devices",
    "train.jit_compile", "train.deterministic", "train.init_from",
    "train.log_every_steps", "train.grid_every_steps", "train.checkpoint_every_steps", "train.keep_checkpoints",
}  # fmt: skip


def read_space(texts: Mapping[str, str]) -> Space:
    """Return the dimensions of a space in the order of its keys.

    Args:
        texts: for each key its values in Hydra's grammar.

    Raises:
        ConfigError: where there is no key, a key is unknown or may not differ between trials, or a text is wrong.
    """
    if not texts:
        raise ConfigError("search.space", "one key or more", "none", "for instance 'model.dropout=interval(0,0.5)'")
    space = {}
    for key, text in texts.items():
        values_and_prior, conditions = _split_conditions(text)
        values, _, prior = re.sub(r"\s+prior\s+", PRIOR, values_and_prior).partition(PRIOR)
        dimension = _read_dimension(key, values)
        space[key] = dataclasses.replace(
            dimension, conditions=_read_conditions(key, conditions), prior=_read_prior(dimension, prior)
        )
    _check_circles(space)
    return tuple(space.values())


def without_fixed_conditions(space: Space, config: Config) -> tuple[Space, list[str]]:
    """Decide the conditions on settings that are not searched.

    Args:
        space: as it is written.
        config: the settings of all trials.

    Returns:
        The space with conditions on its own dimensions alone, and the texts of the dimensions that mean nothing with
        these settings and are not in it. A dimension that depends on one of those is not in it either, nor is one whose
        condition no value of the space fulfils.
    """
    kept: dict[str, Dimension] = {}
    left_out: dict[str, str] = {}
    for dimension in in_order(space):
        searched = {each.key for each in space}
        fixed = [each for each in dimension.conditions if each.key not in searched]
        hopeless = any(each.key in left_out for each in dimension.conditions) or impossible_condition(dimension, space)
        if hopeless or not all(each.holds(effective(config, each.key)) for each in fixed):
            left_out[dimension.key] = f"{dimension.key} ({dimension.text.partition(WHEN)[2]})"
            continue
        kept[dimension.key] = dataclasses.replace(
            dimension, conditions=tuple(each for each in dimension.conditions if each.key in searched)
        )
    return tuple(kept[each.key] for each in space if each.key in kept), list(left_out.values())


def impossible_condition(dimension: Dimension, space: Space) -> tuple[Condition, Dimension] | None:
    """Return a condition of a dimension that no value of the space fulfils, with the dimension that it names."""
    named = {each.key: each for each in space}
    pairs = [(each, named[each.key]) for each in dimension.conditions if each.key in named]
    return next((pair for pair in pairs if not _can_hold(*pair)), None)


def _can_hold(condition: Condition, dimension: Dimension) -> bool:
    d = dimension.distribution
    if isinstance(d, CategoricalDistribution):
        return any(map(condition.holds, d.choices))
    return condition.is_negated or any(is_in_distribution(d, value) for value in condition.values)


def _split_conditions(text: str) -> tuple[str, str]:
    """Split the text of a dimension into its values and its conditions; these are empty where it has none."""
    values, _, conditions = re.sub(r"\s+when\s+", WHEN, text.strip()).partition(WHEN)
    return values, conditions


def _read_prior(dimension: Dimension, text: str) -> Prior | None:
    """Return the prior of a dimension, None where it has none, or raise ConfigError."""
    if not text:
        return None
    word, _, confidence = text.strip().partition(" ")
    confidence = confidence.strip() or "medium"
    if confidence not in CONFIDENCES:
        rule = f"a value, and low, medium or high where it says how sure that is, as in {dimension.values} prior {word} high"
        raise ConfigError(f"{dimension.key} prior", rule, text)
    (override,) = parse([f"{dimension.key}={word}"])
    value = override.value()
    value = as_choice(value.text if isinstance(value, QuotedString) else value)
    d = dimension.distribution
    if isinstance(d, CategoricalDistribution):
        inside = any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in d.choices)
    else:
        inside = isinstance(value, int | float) and not isinstance(value, bool) and d.low <= value <= d.high
    if not inside:
        raise ConfigError(f"{dimension.key} prior", f"a value of {dimension.values}", word)
    return Prior(value, confidence)


def _read_conditions(key: str, text: str) -> tuple[Condition, ...]:
    return tuple(_read_condition(key, each.strip()) for each in text.split(AND)) if text else ()


def _read_condition(owner: str, text: str) -> Condition:
    """Return the condition of a dimension, or raise ConfigError."""
    form = f"{owner}{WHEN}..."
    match = re.fullmatch(r"([\w.]+)(!?=)(.+)", text)
    if match is None:
        raise ConfigError(form, "key=value, key=a|b or key!=value", text)
    key, relation, values = match.groups()
    check_keys([f"{key}={values.partition('|')[0]}"])
    spec = describe(Config).get(key)
    if spec is None or key == owner:
        raise ConfigError(form, "a condition on another setting", text)
    parsed = []
    for word in values.split("|"):
        (override,) = parse([f"{key}={word}"])
        value = override.value()
        parsed.append(as_choice(value.text if isinstance(value, QuotedString) else value))
    _check_values(form, text, spec, parsed)
    return Condition(key, tuple(parsed), relation == "!=")


def _check_circles(space: Mapping[str, Dimension]) -> None:
    """Raise ConfigError for conditions that lead back to where they began."""

    def follow(key: str, way: tuple[str, ...]) -> None:
        if key in way:
            raise ConfigError("search.space", "without a circle of conditions", " -> ".join([*way, key]))
        for condition in space[key].conditions if key in space else ():
            follow(condition.key, (*way, key))

    for key in space:
        follow(key, ())


def _read_dimension(key: str, text: str) -> Dimension:
    """Return the dimension of a key whose values are a text in Hydra's grammar."""
    (override,) = parse([f"{key}={text}"])
    check_keys([f"{key}={text}"])
    spec = describe(Config).get(key)
    if spec is None or key in FIXED_KEYS or key.startswith(FIXED_SECTIONS):
        raise ConfigError(key, "given one value in a search, as scores of unlike trials cannot be compared", text)
    sweep = override.value()
    if not isinstance(sweep, IntervalSweep | RangeSweep | ChoiceSweep):
        raise ConfigError(key, FORMS, text)
    if unknown_tags := sweep.tags - {"log"}:
        raise ConfigError(key, "without tags but log", text, ", ".join(sorted(unknown_tags)))
    if sweep.tags and not isinstance(sweep, IntervalSweep):
        raise ConfigError(key, "an interval where it has tag(log, ...)", text)
    if isinstance(sweep, ChoiceSweep):
        return _choice_dimension(key, text, sweep, spec)
    value_type = _value_type(spec)
    if value_type is bool:
        raise ConfigError(key, "choice(false, true)", text)
    if value_type is str:
        raise ConfigError(key, f"choice(a, b, ...) of words {spec['rule']}", text)
    if isinstance(sweep, IntervalSweep):
        return _interval_dimension(key, text, sweep, spec)
    return _range_dimension(key, sweep, spec)


def _value_type(spec: dict[str, Any]) -> type:
    """Return float, bool, int or str: what one value of a setting is."""
    if isinstance(spec["rule"], PerLayer) or spec["type"] in (float, float | None):
        return float
    if spec["type"] is bool:
        return bool
    return int if spec["type"] in (int, int | None) else str


def _interval_dimension(key: str, text: str, sweep: IntervalSweep, spec: dict[str, Any]) -> Dimension:
    """Return the dimension of interval(low, high), or raise ConfigError."""
    low, high = float(sweep.start or 0.0), float(sweep.end or 0.0)
    log = "log" in sweep.tags
    integers = _value_type(spec) is int or (isinstance(sweep.start, int) and isinstance(sweep.end, int))
    if not low < high:
        raise ConfigError(key, "an interval whose low end is below its high end", text)
    if log and low <= 0:
        raise ConfigError(key, "an interval above 0 where it has tag(log, ...)", text)
    if integers and not (low.is_integer() and high.is_integer()):
        raise ConfigError(key, "an interval between integers", text)
    bounds = (int(low), int(high)) if integers else (low, high)
    _check_values(key, text, spec, bounds)
    canonical_text = f"interval({hydra_text(bounds[0])}, {hydra_text(bounds[1])})"
    if log:
        canonical_text = f"tag(log, {canonical_text})"
    if integers:
        return Dimension(key, f"int({canonical_text})", IntDistribution(int(low), int(high), log))
    return Dimension(key, canonical_text, FloatDistribution(low, high, log))


def _range_dimension(key: str, sweep: RangeSweep, spec: dict[str, Any]) -> Dimension:
    """Return the dimension of range(start, stop, step), or raise ConfigError."""
    start, stop, step = sweep.start or 0, sweep.stop or 0, sweep.step
    text = f"range({hydra_text(start)}, {hydra_text(stop)}, {hydra_text(step)})"
    if not all(map(math.isfinite, (start, stop, step))) or step <= 0:
        raise ConfigError(key, "a range with a step above 0", text)
    integers = all(float(number).is_integer() for number in (start, step))
    count = range_length(sweep)
    last = exact(start) + (count - 1) * exact(step)
    largest = max(abs(exact(start)), abs(last))
    if count < 2:
        raise ConfigError(key, "a range of two values or more", text, "its end is not part of it")
    if _value_type(spec) is int and not integers:
        raise ConfigError(key, "a range of integers", text)
    if integers and largest > MAX_INTEGER:
        raise ConfigError(key, f"a range of integers up to {MAX_INTEGER:,}", text)
    if integers:
        _check_values(key, text, spec, (int(start), int(last)))
        return Dimension(key, text, IntDistribution(int(start), int(last), step=int(step)))
    if largest / exact(step) > MAX_STEPS:
        raise ConfigError(key, f"a range of at most {MAX_STEPS:,} steps", text, "an interval has no steps")
    _check_values(key, text, spec, (float(start), float(last)))
    return Dimension(key, text, FloatDistribution(float(start), float(last), step=float(step)))


def _choice_dimension(key: str, text: str, sweep: ChoiceSweep, spec: dict[str, Any]) -> Dimension:
    """Return the dimension of choice(a, b, ...), or raise ConfigError."""
    values = [value.text if isinstance(value, QuotedString) else value for value in sweep.list]
    if any(isinstance(value, dict) for value in values):
        raise ConfigError(key, "a choice of words, numbers or lists", text)
    choices = [as_choice(value) for value in values]
    if len(set(choices)) < 2:
        raise ConfigError(key, "a choice of two values or more", text, f"{key}={hydra_text(choices[0])} fixes it")
    if len(set(choices)) < len(choices):
        raise ConfigError(key, "a choice of different values", text)
    if _value_type(spec) is bool and not all(isinstance(value, bool) for value in values):
        raise ConfigError(key, "choice(false, true)", text)
    if _value_type(spec) is str:
        choices = [str(value) for value in choices]
        values = list(choices)
    if _value_type(spec) is int and any(isinstance(value, float | bool) for value in values):
        raise ConfigError(key, "a choice of integers", text)
    _check_values(key, text, spec, values)
    return Dimension(key, f"choice({', '.join(map(hydra_text, choices))})", CategoricalDistribution(choices))


def _check_values(key: str, text: str, spec: dict[str, Any], values: Any) -> None:
    """Raise ConfigError for the first value that the rule of the setting does not admit."""
    rule, may_be_null = spec["rule"], spec["default"] is None  # null stands for another key's value
    for value in values:
        if rule is None or rule.admits(value) or (may_be_null and value is None):
            continue
        word = hydra_text(as_choice(value))
        remedy = f"; {NULL}" if may_be_null and word.lower() == NONE else ""
        raise ConfigError(key, str(rule), text, f"{word} is not{remedy}")
