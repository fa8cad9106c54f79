"""Command lines of the smaller programs: key=value, in the grammar of run.py and checked like its settings."""

import sys
from collections.abc import Callable
from typing import TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from experiments.compose import parse, quote_paths, settings_help, wrong_type
from experiments.errors import first_line
from experiments.terminal import tolerate_any_text
from gan.config import ConfigError, check, describe, nearest

Settings = TypeVar("Settings")

FAILED, USAGE_ERROR = 1, 2  # exit codes


def parse_arguments(settings: type[Settings], arguments: list[str]) -> Settings:
    """The dataclass that key=value arguments make; a list grows by each `key=value`. Raises ConfigError."""
    keys = describe(settings)
    lists: dict[str, list[object]] = {key: [] for key, spec in keys.items() if spec["type"] == list[str]}
    node = OmegaConf.structured(settings)
    for override in parse(quote_paths(arguments)):
        key = override.key_or_group
        if key not in keys or override.is_sweep_override() or override.is_delete() or override.is_add():
            rule = f"one of {', '.join(keys)}, with one value"
            raise ConfigError("an argument", rule, override.input_line, nearest(key, keys) if key not in keys else "")
        value = override.value()
        if key in lists:
            lists[key] += value if isinstance(value, list) else [value]
            value = lists[key]
        try:
            OmegaConf.update(node, key, value)
        except ValidationError as error:
            raise wrong_type(key, keys[key], str(override.input_line).partition("=")[2]) from error
    try:
        result = OmegaConf.to_object(node)
    except OmegaConfBaseException as error:
        raise ConfigError("an argument", "a plain value", " ".join(arguments), first_line(error)) from error
    assert isinstance(result, settings)
    check(result)
    return result


def run_program(settings: type[Settings], main: Callable[[Settings], int], doc: str | None) -> None:
    """Call main with the checked command line; every mistake of the user's is one line and exit code 2."""
    tolerate_any_text()
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(f"{doc}\n{settings_help(settings)}")
        sys.exit(0)
    try:
        sys.exit(main(parse_arguments(settings, arguments)))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except OSError as error:  # a full or read-only disk, met half-way
        print(f"error: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
