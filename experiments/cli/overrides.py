"""One argument `key=value` in Hydra's grammar: what it means, and what is wrong with it."""

import glob
import itertools
import math
import re
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, RangeSweep, Sweep
from hydra.errors import HydraException, OverrideParseException

from experiments import ROOT
from experiments.cli.config_file import literal
from experiments.settings.rules import stray_character
from gan.errors import ConfigError, nearest

NOTE = "note"  # one text, whatever commas it has
CLASS = "data.class_id"  # an index, or a text: the name of a folder
INTEGER = re.compile(r"0|[1-9][0-9]*")  # of a class
BETWEEN_COMMAS = re.compile(r"""(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,])+""")
FUNCTIONS = (
    "choice",
    "interval",
    "range",
    "tag",
    "int",
    "float",
    "str",
    "bool",
    "shuffle",
    "sort",
)  # of Hydra's grammar
MOST_RUNS = 1000  # of a multirun, which trains one after the other


# Names that other programs use.
ALIASES = {
    "lr": "optim.learning_rate",
    "epochs": "train.steps",
    "iterations": "train.steps",
    "momentum": "model.bn_momentum",
    "alpha": "model.leaky_relu_alpha",
    "noise": "train.label_noise",
    "z_dim": "model.latent_dim",
    "class": "data.class_id",
}


def nearest_key(word: str, keys: Iterable[str]) -> str:
    """Return `did you mean 'key'?` for the key meant by a word, or an empty string."""
    keys = list(keys)
    usual = ALIASES.get(word.lower())
    return f"did you mean {usual!r}?" if usual in keys else nearest(word, keys)


def _presets(word: str) -> str:
    """Return `did you mean experiment=quick?` for the name of one preset or more, or an empty string."""
    groups = [file.parent.name for file in sorted((ROOT / "conf").glob(f"*/{glob.escape(word)}.yaml"))]
    return f"did you mean {' or '.join(f'{group}={word}' for group in groups)}?" if groups else ""


def parse(overrides: list[str]) -> list[Override]:
    """Parse overrides in Hydra's grammar. Raises ConfigError for what is not in it."""
    parsed = []
    for text in overrides:
        if text.startswith("-") or ("=" not in text and not text.startswith("~")):
            raise ConfigError("an override", "key=value", text, stray_character(text) or _presets(text) or "see --help")
        try:
            parsed += OverridesParser.create().parse_overrides([_with_null(text)])
        except (OverrideParseException, HydraException) as error:
            if stray := stray_character(text):
                raise ConfigError("an override", "key=value in plain characters", text, stray) from error
            if re.search(r"(?i)=\s*(shuffle|sort)\(.*\bnull\b", text):
                remedy = "key=null,1,2 takes it, in the order given"
                raise ConfigError("an override", "without null in shuffle() and sort()", text, remedy) from error
            called = re.fullmatch(r"[^=]*=\s*(\w+)\(.*\)", text)
            if called is not None and called[1] not in FUNCTIONS:
                remedy = nearest(called[1], FUNCTIONS)
                raise ConfigError("an override", f"with one of {', '.join(FUNCTIONS)}", text, remedy) from error
            if called is not None:  # in the function's own words, without Python's
                remedy = re.sub(r"^.*while evaluating '.*?': ", "", plain_line(error))
                raise ConfigError("an override", f"with values that {called[1]}() takes", text, remedy) from error
            raise ConfigError("an override", "key=value", text, plain_line(error)) from error
        if isinstance(parsed[-1].value(), Glob):
            raise ConfigError("an override", "with its values written out, as in key=a,b,c", text)
        if _has_sweep_inside(parsed[-1].value()):  # which Hydra parses, but cannot use
            raise ConfigError("an override", "without several values inside of another value", text)
    return parsed


def _with_null(text: str) -> str:
    """Write choice(a,null) as a,null, which is the same to Hydra: its choice() takes no null."""
    has_null = re.search(r"(?i)\bnull\b", text)
    return re.sub(r"^([^=]*=\s*)choice\((.*)\)\s*$", r"\1\2", text) if has_null else text


def _has_sweep_inside(value: Any) -> bool:
    inner = value.list if isinstance(value, ChoiceSweep) else value
    inner = inner.values() if isinstance(inner, dict) else inner
    return isinstance(inner, Iterable) and not isinstance(inner, str) and any(
        isinstance(item, Sweep) or _has_sweep_inside(item) for item in inner
    )  # fmt: skip


def value_text(override: Override) -> str:
    """Return the text behind the equals sign of an override."""
    return str(override.input_line).partition("=")[2]


def quote_texts(
    overrides: list[str], texts: Collection[str], groups: Collection[str] = (), multirun: bool = False
) -> list[str]:
    """Take the values of some keys as they are typed, whatever they mean in Hydra's grammar.

    Args:
        overrides: arguments `key=value`.
        texts: keys whose values are texts: `name=1e3` is no number, `data.path=a=b,[x]` no list.
        groups: keys that choose a file of presets by its name.
        multirun: whether several values, `name=a,b`, are several texts and not one.

    Returns:
        The same arguments, with quotation marks around values that need them.
    """
    quoted = []
    for text in overrides:
        key = text.partition("=")[0].lstrip("+")
        if key in texts or (key in groups and _has_number(text, multirun)):
            text = as_text(text, multirun and key != NOTE)
        elif key == CLASS:
            text = as_text(text, multirun, integers=True)
        quoted.append(text)
    return quoted


def as_text(text: str, multirun: bool = False, integers: bool = False) -> str:
    """Return an argument whose value is a text, with quotation marks where Hydra would read something else.

    Args:
        text: the argument, `key=value`.
        multirun: whether several values, `key=a,b`, are several texts and not one.
        integers: whether the value is an integer or a text: 8 is the first, while 08, -8, 1e3 and null are texts.
    """
    key, equals, value = text.partition("=")
    if not equals or not value or (integers and INTEGER.fullmatch(value)):
        return text
    parsed = _parsed(text)
    if multirun and isinstance(parsed, ChoiceSweep):
        return f"{key}={_quote_choices(value, parsed, integers)}"
    if parsed is None and value.lower() == "null" and not integers:
        return text
    if multirun and isinstance(parsed, Sweep):
        return text
    if isinstance(parsed, str) and (value[0] in "'\"" or not ("\\" in value or "${" in value)):
        return text  # as it is, or in quotation marks of the user's
    return f"{key}={quote(literal(value))}"


def _quote_choices(value: str, sweep: ChoiceSweep, integers: bool) -> str:
    called = re.fullmatch(r"\s*(choice|shuffle|sort)\((.*)\)\s*", value)
    values = BETWEEN_COMMAS.findall(called[2] if called else value)
    if len(values) != len(sweep.list):  # escaped commas, or a function that is none of these
        return value
    quoted = ",".join(as_text(f"x={choice.strip()}", integers=integers).removeprefix("x=") for choice in values)
    return f"{called[1]}({quoted})" if called else quoted


def quoted_again(text: str) -> str:
    """Return an argument that Hydra wrote, with quotation marks in the place of its backslashes.

    Hydra writes backslashes before the spaces and colons of a value.
    """
    key, _, value = text.partition("=")
    parsed = _parsed(text)
    return f"{key}={quote(parsed)}" if "\\" in value and isinstance(parsed, str) else text


def quote(text: str) -> str:
    """Put a text in quotation marks, as Hydra reads it.

    A backslash stands for itself, unless it is before a quotation mark.
    """
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"


def _parsed(text: str) -> Any:
    """Return the value of an argument; Ellipsis if Hydra cannot read it."""
    try:
        (override,) = OverridesParser.create().parse_overrides([_with_null(text)])
        return override.value()
    except (OverrideParseException, HydraException):
        return ...


def _has_number(text: str, multirun: bool) -> bool:
    value = _parsed(text)
    values = value.list if multirun and isinstance(value, ChoiceSweep) else [value]
    return any(isinstance(number, int | float) for number in values)


def range_values(sweep: RangeSweep) -> list[int | float]:
    """Return the values of a range, computed in decimals: 0.3 where floating point gives 0.30000000000000004.

    They are integers if start and step of the range are, else floats.
    """
    first, step = exact(sweep.start or 0), exact(sweep.step)
    whole = isinstance(sweep.start or 0, int) and isinstance(sweep.step, int)
    number = int if whole else float
    return [number(first + k * step) for k in range(range_length(sweep))]


def range_length(sweep: RangeSweep) -> int:
    """Return the number of values of a range.

    The end of the range is not part of it, nor is a value that is less than it only by rounding.

    Raises:
        ConfigError: if a number is not finite, or the step is 0.
    """
    start, stop, step = exact(sweep.start or 0), exact(sweep.stop or 0), exact(sweep.step)
    if not step or not all(number.is_finite() for number in (start, stop, step)):
        raise ConfigError("a range", "of finite numbers with a step other than 0", f"range({start},{stop},{step})")
    return max(math.ceil((stop - start) / step - Decimal("1e-9")), 0)


def exact(number: float) -> Decimal:
    """Return a number as the decimal that was typed."""
    return Decimal(repr(number))


def expand_sweep(overrides: list[str]) -> list[list[str]]:
    """Return the overrides of each run of a multirun, combined as Hydra's sweeper does.

    Raises:
        ConfigError: if there are no runs or too many, or a value is an interval.
    """
    parsed = parse(overrides)
    count = math.prod(_length(override) for override in parsed)
    if count > MOST_RUNS:
        raise ConfigError("the sweep", f"of at most {MOST_RUNS:,} runs", f"{count:,}", "fewer values of each key")
    if not count:
        raise ConfigError("the sweep", "of at least one run", " ".join(overrides))
    values: dict[str, list[str]] = {}  # of a repeated key, the last value
    for override in parsed:
        key = override.get_key_element()
        if override.is_interval_sweep():
            raise ConfigError("the sweep", "a list of values, as in key=1,2,3", override.input_line)
        several = override.is_sweep_override()
        texts = override.sweep_string_iterator() if several else [override.get_value_element_as_str()]
        values[key] = [f"{key}={text}" for text in texts]
    return [list(job) for job in itertools.product(*values.values())]


def _length(override: Override) -> int:
    sweep = override.value()
    if isinstance(sweep, RangeSweep):
        return range_length(sweep)
    return len(sweep.list) if isinstance(sweep, ChoiceSweep) else 1


def clean_ranges(overrides: list[str]) -> list[str]:
    """Replace the ranges of a multirun by lists of their values in decimals, which Hydra's ranges are not.

    Raises:
        ConfigError: if a range is empty.
    """
    return list(_clean_ranges(overrides))


def _clean_ranges(overrides: list[str]) -> Iterator[str]:
    for text, override in zip(overrides, parse(overrides), strict=True):
        sweep = override.value()
        if isinstance(sweep, RangeSweep) and not range_length(sweep):
            remedy = "its end is not part of it; downwards the step is negative"
            raise ConfigError(override.key_or_group, "a range with a value in it", value_text(override), remedy)
        if isinstance(sweep, RangeSweep) and range_length(sweep) <= MOST_RUNS:
            values = ",".join(map(repr, range_values(sweep)))
            several = sweep.shuffle and "," in values
            yield f"{text.partition('=')[0]}=" + (f"shuffle({values})" if several else values)
        else:
            yield str(override.input_line)


def plain_line(error: Any) -> str:
    """Return the message of an error of Hydra's or OmegaConf's in one line of at most 300 characters."""
    text = str(error).strip().split("\n    full_key")[0].split("See https://hydra.cc")[0]
    return re.sub(r"\s+", " ", text).strip()[:300]
