"""Command lines of the smaller programs: key=value, in the grammar of run.py and checked like its settings."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from hydra.core.override_parser.types import ChoiceSweep, QuotedString, Sweep
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from experiments.cli.compose import TYPES, refuse_none, settings_help, wrong_type
from experiments.cli.environment import say_what_is_set_aside
from experiments.cli.overrides import as_text, nearest_key, parse, quote_texts, value_text
from experiments.cli.progress import Output
from experiments.settings.rules import check, describe, text_keys
from gan.errors import ConfigError, first_line

Settings = TypeVar("Settings")
RUN = "run"  # the setting whose key may be left out
Main = Callable[[list[str]], int]  # of a program: from its arguments to its exit code


def parse_arguments(settings: type[Settings], arguments: list[str]) -> Settings:
    """Parse key=value arguments into a dataclass of settings.

    A list takes several values: key=[a,b], key=a,b, or key=a key=b. A word alone is a run, if there is a setting of that name.

    Args:
        settings: the dataclass.
        arguments: of the command line.

    Raises:
        ConfigError: if an argument is no setting, or its value breaks the setting's rule.
    """
    keys = describe(settings)
    arguments = _runs_named(arguments, keys)
    lists: dict[str, list[object]] = {key: [] for key, spec in keys.items() if spec["type"] == list[str]}
    node = OmegaConf.structured(settings)
    for override in parse(_as_typed(arguments, text_keys(settings), lists)):
        key = override.key_or_group
        value = override.value()
        if key in lists and isinstance(value, ChoiceSweep):
            value = [each.text if isinstance(each, QuotedString) else each for each in value.list]
        is_several = isinstance(value, Sweep)
        if key not in keys or is_several or override.is_delete() or override.is_add():
            rule = f"one of {', '.join(keys)}, with one value"
            raise ConfigError(
                "an argument", rule, override.input_line, nearest_key(key, keys) if key not in keys else ""
            )
        if key in lists:
            several = value if isinstance(value, list) else [value]
            if not all(isinstance(text, str | QuotedString) for text in several):
                raise ConfigError(key, TYPES["list"], value_text(override), "numbers in quotation marks")
            lists[key] += several
            value = lists[key]
        try:
            OmegaConf.update(node, key, value)
        except ValidationError as error:
            raise wrong_type(key, keys[key], value_text(override)) from error
    try:
        result = OmegaConf.to_object(node)
    except OmegaConfBaseException as error:
        raise ConfigError("an argument", "a plain value", " ".join(arguments), first_line(error)) from error
    assert isinstance(result, settings)
    check(result)
    refuse_none(result)
    return result


def _runs_named(arguments: list[str], keys: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the arguments with run= before those that are no key=value, if the program takes runs.

    Raises ConfigError for several where it takes one, and for what looks like a flag.
    """
    for text in arguments:
        if text.startswith("-"):
            raise ConfigError(
                "an argument", "key=value", text, f"did you mean {text.lstrip('-').partition('=')[0]}=...?"
            )
    if RUN not in keys:
        return arguments
    is_run = [bool(text) and "=" not in text and text[0] not in "~+-" and text not in keys for text in arguments]
    names = [
        text.removeprefix(f"{RUN}=")
        for text, is_name in zip(arguments, is_run, strict=True)
        if is_name or text.startswith(f"{RUN}=")
    ]
    if keys[RUN]["type"] != list[str] and len(names) > 1:
        raise ConfigError(RUN, "one run", " and ".join(names))
    return [f"{RUN}={text}" if is_name else text for text, is_name in zip(arguments, is_run, strict=True)]


def _as_typed(arguments: list[str], texts: Collection[str], lists: Collection[str]) -> list[str]:
    """Quote the texts, and the elements of lists unless one argument holds a whole list: run=[a,b]."""
    quoted = quote_texts(arguments, texts)
    parts = [argument.partition("=") for argument in quoted]
    is_element = [key in lists and not (value[:1] == "[" and value[-1:] == "]") for key, _, value in parts]
    return [
        as_text(argument, multirun=True) if element else argument
        for argument, element in zip(quoted, is_element, strict=True)
    ]


def with_arguments(settings: type[Settings], main: Callable[[Settings], int], doc: str | None) -> Main:
    """Return what `entry.run` takes of a program whose arguments are key=value.

    Args:
        settings: the dataclass of its arguments.
        main: takes them, checked, and returns an exit code.
        doc: what --help prints before the settings.
    """

    def checked(arguments: list[str]) -> int:
        if {"-h", "--help"} & set(arguments):
            print(f"{doc}\n{settings_help(settings)}")
            return 0
        args = parse_arguments(settings, arguments)
        say_what_is_set_aside(Output())
        return main(args)

    return checked
