"""Command lines of the benchmarks: key=value, lists as 1,2,3. A mistake ends in one line."""

import sys
from typing import Any

from gan.errors import ConfigError, nearest


def arguments(**defaults: Any) -> dict[str, Any]:
    """Parse the command line into the types of the defaults; a tuple is a list of whole numbers, a type means that a value must be given."""
    given = dict(_split(argument, list(defaults)) for argument in sys.argv[1:])
    try:
        return {key: _value(key, default, given.get(key)) for key, default in defaults.items()}
    except ConfigError as error:
        sys.exit(f"error: {error}")


def _split(argument: str, keys: list[str]) -> tuple[str, str]:
    key, equals, value = argument.partition("=")
    if key not in keys or not equals:
        rule = f"one of {', '.join(keys)}, as key=value"
        sys.exit(f"error: {ConfigError('an argument', rule, argument, nearest(key, keys))}")
    return key, value


def _value(key: str, default: Any, text: str | None) -> Any:
    """Convert a text to the type of a default, and return the default where there is none.

    Raises:
        ConfigError: if the text is of another type, or is missing and must be given.
    """
    kind = default if isinstance(default, type) else type(default)
    if text is None and default is not kind:
        return default
    if not text and default is kind:
        raise ConfigError(key, "given", text or "")
    assert text is not None
    try:
        return tuple(int(part) for part in text.split(",")) if kind is tuple else kind(text)
    except ValueError as error:
        kinds = {int: "a whole number", float: "a number", tuple: "whole numbers, as in 1,2,3"}
        raise ConfigError(key, kinds[kind], text) from error
