"""What a setting is made of: its meaning, its rule, and the checks that follow from them."""

import copy
import dataclasses
import functools
import math
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from gan.data.classes import CIFAR10_RULE
from gan.errors import ConfigError, nearest

# What an editor or a web page makes of plain characters.
PLAIN = {"\u2212": "-", "\u00ad": "-", **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015", "-")}
PLAIN |= dict.fromkeys("\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a", "'")
CONTROL_NAMES = {
    "\r": "CARRIAGE RETURN, as in a file with Windows line ends, which dos2unix takes out",
    "\n": "LINE FEED",
    "\t": "CHARACTER TABULATION",
}
QUOTE = "a text: put it in quotation marks"
NONE, NULL = "none", "write null for none"  # the word that people type for null, in any case, and the remedy


@dataclass(frozen=True)
class Interval:
    """Finite numbers from `low` to `high`; an open end excludes its bound."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{'greater than' if self.low_open else 'at least'} {self.low:g}"
        return f"in {'(' if self.low_open else '['}{self.low:g}, {self.high:.10g}{')' if self.high_open else ']'}"

    def admits(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(value, float) and not math.isfinite(value):  # an integer may be beyond any float
            return False
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(self.options)

    def admits(self, value: Any) -> bool:
        return value in self.options


@dataclass(frozen=True)
class ClassId:
    """A class by index or name, or all. The data decide which classes there are."""

    def __str__(self) -> str:
        return f"{CIFAR10_RULE} (of an own npz also above 9, of a folder the name of a sub-folder)"

    def admits(self, value: Any) -> bool:
        if isinstance(value, int) and not isinstance(value, bool):
            return value >= 0
        return isinstance(value, str) and bool(value.strip())


@dataclass(frozen=True)
class PerLayer:
    """A number for every layer or a list with one for each; absent, another key's number."""

    layers: int
    each: Interval

    def __str__(self) -> str:
        return f"a number {self.each} or a list of {self.layers} of them, one a layer"

    def admits(self, value: Any) -> bool:
        if self.each.admits(value):
            return True
        return isinstance(value, list) and len(value) == self.layers and all(map(self.each.admits, value))


@dataclass(frozen=True)
class FolderName:
    """A word that can name a folder and cannot leave it."""

    def __str__(self) -> str:
        return "letters a to z, digits, '.', '_' and '-', the first a letter or digit, at most 100, and not last or all"

    def admits(self, value: Any) -> bool:
        return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value) is not None and value not in ("last", "all")


@dataclass(frozen=True)
class NotEmpty:
    """Any text that is not empty, as an unset shell variable would be."""

    def __str__(self) -> str:
        return "absent or not empty"

    def admits(self, value: Any) -> bool:
        return bool(value.strip())


@dataclass(frozen=True)
class Command:
    """A program and its arguments, quoted as in a shell, which it is not given to."""

    def __str__(self) -> str:
        return "a program and its arguments, as 'notify-send GAN {}'"

    def admits(self, value: Any) -> bool:
        try:
            return bool(shlex.split(value))
        except ValueError:  # a quotation mark alone
            return False


@dataclass(frozen=True)
class Utf8(NotEmpty):
    """A path that goes into databases and web addresses."""

    def __str__(self) -> str:
        return "absent or not empty, and all of its bytes UTF-8"

    def admits(self, value: Any) -> bool:
        return super().admits(value) and is_utf8(value)


def is_utf8(text: str) -> bool:
    """Return whether the bytes of a file name were UTF-8: Python keeps others as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


@dataclass(frozen=True)
class Devices:
    """A number of devices, or as many as there are."""

    options = ("auto",)

    def __str__(self) -> str:
        return "at least 1, or auto"

    def admits(self, value: Any) -> bool:
        return value in self.options or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)


@dataclass(frozen=True)
class Switch:
    """On, off, or what suits the machine."""

    options = ("auto", "true", "false")

    def __str__(self) -> str:
        return "one of " + ", ".join(self.options)

    def admits(self, value: Any) -> bool:
        return value == "auto" or isinstance(value, bool)


class Rule(Protocol):
    """What a value must be; its text completes "must be ..."."""

    def admits(self, value: Any) -> bool: ...


def setting(default: Any, doc: str, rule: Rule | None = None, same_as: str = "") -> Any:
    """Return a dataclass field for a setting.

    Args:
        default: the value without another; a list or a dict is copied for each instance.
        doc: its meaning, for --help.
        rule: what a value must be; None for no rule beyond the type.
        same_as: the dotted key whose value holds where this setting is absent; empty for none.
    """
    metadata = {"doc": doc, "rule": rule, "same_as": same_as}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


FRACTION = Interval(0, 1, high_open=True)
COUNT = Interval(1, 10**9)
POSITIVE = Interval(0, low_open=True)


def check(settings: Any) -> None:
    """Raise ConfigError for the first value that breaks the rule of its key; None is allowed as a default."""
    texts = text_keys(type(settings))
    for key, spec in describe(type(settings)).items():
        rule, value = spec["rule"], get(settings, key)
        if value is None and spec["default"] is None:
            continue
        if key in texts and not isinstance(value, str):
            remedy = QUOTE if isinstance(value, int | float) else ""
            raise ConfigError(key, str(rule or "text"), value, remedy)
        if rule is not None and not rule.admits(value):
            words = f"{rule}, and finite" if isinstance(value, float) and not math.isfinite(value) else str(rule)
            raise ConfigError(key, words, value, _hint(spec, value))
        if isinstance(value, str) and (stray := misplaced_character(value)):
            raise ConfigError(key, "text without characters that cannot be seen", value, stray)


def text_keys(settings: type) -> list[str]:
    """Return the keys whose values are texts."""
    return [key for key, spec in describe(settings).items() if spec["type"] in (str, str | None)]


def _hint(spec: dict[str, Any], value: Any) -> str:
    """Return what a value that breaks its rule may have been meant for."""
    if spec["default"] is None and str(value).lower() == NONE:
        return NULL
    if isinstance(spec["rule"], ClassId) and isinstance(value, bool | float):
        return QUOTE  # as YAML makes numbers of the names 1.50 and 1e3, and false of no
    stray = stray_character(value) if isinstance(value, str) else ""
    has_options = isinstance(spec["rule"], Choice | Devices | Switch)
    return stray or (nearest(str(value), spec["rule"].options) if has_options else "")


def stray_character(text: str) -> str:
    """Name the first character of a text that is not plain ASCII, and what to type for it; empty if there is none."""
    for character in text:
        if not (character.isascii() and character.isprintable()):
            name = CONTROL_NAMES.get(character) or unicodedata.name(character, "")
            plain = PLAIN.get(character) or unicodedata.normalize("NFKC", character)
            remedy = f", in the place of {plain!r}" if plain != character and plain.isascii() else ""
            return f"{character!r} is U+{ord(character):04X} {name}".rstrip() + remedy
    return ""


def misplaced_character(text: str) -> str:
    """Name a character that no text has on purpose, at an end or at all: what `stray_character` says of it.

    These are control characters anywhere, and at an end spaces that are not plain, characters without a width, and
    typographic quotation marks around the whole.
    """
    for character in text:
        if unicodedata.category(character) == "Cc":
            return stray_character(character)
    for end in (text[:1], text[-1:]):
        if end and not end.isascii() and unicodedata.category(end) in ("Zs", "Cf"):
            return stray_character(end)
    around = len(text) > 1 and PLAIN.get(text[0]) == PLAIN.get(text[-1]) == "'"
    return stray_character(text) if around else ""


def describe(settings: type) -> dict[str, dict[str, Any]]:
    """Return all keys, dotted, in order, each with its `type`, `default`, `doc`, `rule` and `same_as`; only to be read."""
    return _described(settings)


@functools.cache  # a search with thousands of trials asks again and again
def _described(settings: type) -> dict[str, dict[str, Any]]:
    return dict(_describe(settings, ""))


def _describe(cls: type, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for f in dataclasses.fields(cls):
        if isinstance(f.type, type) and dataclasses.is_dataclass(f.type):
            yield from _describe(f.type, f"{prefix}{f.name}.")
        else:
            default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            yield f"{prefix}{f.name}", {"type": f.type, "default": default, **f.metadata}


def sections_of(keys: Iterable[str]) -> set[str]:
    """Return the sections that dotted keys are in: of a.b.c these are a and a.b."""
    return {key[:dot] for key in keys for dot, character in enumerate(key) if character == "."}


def get(config: Any, key: str) -> Any:
    """Return the value of a dotted key."""
    for name in key.split("."):
        config = getattr(config, name)
    return config


def put(config: Any, key: str, value: Any) -> None:
    """Set the value of a dotted key.

    Args:
        config: an instance of a settings dataclass.
        key: as in `optim.learning_rate`.
        value: the new value, which is not checked.
    """
    owner, _, name = key.rpartition(".")
    setattr(get(config, owner) if owner else config, name, value)
