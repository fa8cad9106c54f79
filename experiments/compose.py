"""From a command line to a checked `Config`, with one clear line for every mistake."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString, Sweep
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from experiments.records import Records
from gan.config import Config, ConfigError, check, describe, nearest

Settings = TypeVar("Settings")

CONF = Path(__file__).resolve().parents[1] / "conf"
GROUPS = ("data", "experiment")
PATHS = (
    "data.path", "records.root", "resume", "run", "out", "network", "eval.extractor_weights", "extractor_weights",
    "search.storage", "search.ray_address",
)  # fmt: skip
CLASS = "data.class_id"  # an index, or the name of a folder
TYPES = {
    "int": "an integer",
    "int | None": "an integer",
    "float": "a number",
    "float | None": "a number",
    "str": "a word",
    "bool": "true or false",
    "str | None": "text",
    "int | str": "an integer or a word",
    "dict": "keys with their texts",
    "list": "a list of texts",
}

ConfigStore.instance().store(name="schema", node=Config)
OmegaConf.register_new_resolver("settings_help", lambda: settings_help(), replace=True)
OmegaConf.register_new_resolver("records_root", lambda root: str(Records.at(root).root), replace=True)


def compose_config(overrides: list[str], search_folder: str | None = None) -> Config:
    """The configuration that `overrides` make. Raises ConfigError.

    search_folder: a folder of the user's own YAML files, looked at first.
    """
    completed = complete(overrides, search_folder)
    try:
        return to_config(_compose(completed, search_folder))
    except (HydraException, OmegaConfBaseException) as error:
        raise _one_line(error, overrides) from error


def compose_settings(
    name: str, settings: type[Settings], groups: tuple[str, ...], overrides: list[str], search_folder: str | None
) -> Settings:
    """The settings of another program than run.py: conf/<name>.yaml with overrides. Raises ConfigError."""
    check_keys(overrides, search_folder, settings, groups)
    try:
        result = OmegaConf.to_object(_compose(overrides, search_folder, name))
    except (HydraException, OmegaConfBaseException) as error:
        raise _one_line(error, overrides, settings) from error
    assert isinstance(result, settings)
    check(result)
    return result


def flags(config_dir: str | None) -> list[str]:
    """What run.py takes beside overrides, for presets from a folder of the user's own."""
    return [] if config_dir is None else ["--config-dir", config_dir]


def complete(overrides: list[str], search_folder: str | None = None) -> list[str]:
    """Let a shared key reach every layer that the same command line does not name.

    A preset may set values layer by layer; `experiment=tutorial model.bn_momentum=0.9`
    still has to mean every batch normalisation. Raises ConfigError.
    """
    check_keys(overrides, search_folder)
    given = named_keys(overrides)
    shadowed = [key for key, spec in describe().items() if spec["same_as"] in given and key not in given]
    if not shadowed:
        return overrides
    try:
        node = _compose(overrides, search_folder)
    except (HydraException, OmegaConfBaseException) as error:
        raise _one_line(error, overrides) from error
    return overrides + [f"{key}=null" for key in shadowed if OmegaConf.select(node, key) is not None]


def settings_help(settings: type = Config) -> str:
    """Keys with their defaults, meanings and ranges."""
    lines = []
    for key, spec in describe(settings).items():
        default = f"as {spec['same_as']}" if spec["same_as"] else spec["default"]
        rule = f"; {spec['rule']}" if spec["rule"] else ""
        lines.append(f"{key}={'none' if default is None else default}\n    {spec['doc']}{rule}")
    return "\n".join(lines)


def named_keys(overrides: list[str]) -> set[str]:
    """Return the keys that overrides name, those inside of model={bn_momentum:0.9} too."""
    return {key for override in parse(overrides) for key in _keys(override.key_or_group, override.value())}


def preset_of(overrides: list[str]) -> str | None:
    """Return the preset that overrides name by experiment=, if they do."""
    chosen = [override for override in parse(overrides) if override.key_or_group == "experiment"]
    return str(chosen[-1].get_value_element_as_str()) if chosen else None


def _keys(key: str, value: Any) -> Iterator[str]:
    """The keys that an override names: several for model={bn_momentum:0.9,dropout:0.3}."""
    yield key
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _keys(f"{key}.{name}", each)


def quote_paths(overrides: list[str], multirun: bool = False) -> list[str]:
    """Put quotes around paths and names that Hydra's grammar would not take as they are: ~/x, a=b, [x], (y)."""
    return [_quoted(text, multirun) for text in overrides]


def _quoted(text: str, multirun: bool) -> str:
    key, equals, value = text.partition("=")
    if key.lstrip("+") not in (*PATHS, CLASS) or not equals or not value:
        return text
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
        if override.is_sweep_override():
            fine = multirun
        else:
            index = key.endswith(CLASS) and type(override.value()) is int
            fine = index or override.value() is None or isinstance(override.value(), str | QuotedString)
    except (OverrideParseException, HydraException):
        fine = False
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return text if fine else f"{key}='{escaped}'"


def _compose(overrides: list[str], search_folder: str | None, name: str = "config") -> DictConfig:
    extra = [f"hydra.searchpath=['file://{Path(search_folder).resolve()}']"] if search_folder else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            return compose(name, overrides + extra)
        except (HydraException, OmegaConfBaseException, ConfigError):
            raise
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError, OSError) as error:
            if search_folder is None:  # all that Hydra stumbles over in a user's own files
                raise
            raise ConfigError(
                "--config-dir", "a folder of presets in YAML", search_folder, _first_line(error)
            ) from error


def to_config(node: DictConfig) -> Config:
    """The checked dataclass of a composed configuration."""
    config = OmegaConf.to_object(node)
    assert isinstance(config, Config)
    return config


def expand_sweep(overrides: list[str]) -> list[list[str]]:
    """The overrides of each run of a multirun, as Hydra's own sweeper combines them."""
    try:
        return BasicSweeper.split_arguments(parse(overrides), max_batch_size=None)[0]
    except HydraException as error:
        raise ConfigError(
            "the sweep", "a list of values, as in key=1,2,3", " ".join(overrides), _first_line(error)
        ) from error


def parse(overrides: list[str]) -> list[Override]:
    """Raises ConfigError for what is not Hydra's grammar."""
    parsed = []
    for text in overrides:
        try:
            parsed += OverridesParser.create().parse_overrides([text])
        except (OverrideParseException, HydraException) as error:
            raise ConfigError("an override", "key=value", text, _first_line(error)) from error
        if _has_sweep_inside(parsed[-1].value()):  # which Hydra parses and then stumbles over
            raise ConfigError("an override", "without several values inside of another value", text)
    return parsed


def _has_sweep_inside(value: Any) -> bool:
    inner = value.list if isinstance(value, ChoiceSweep) else value
    inner = inner.values() if isinstance(inner, dict) else inner
    return isinstance(inner, Iterable) and not isinstance(inner, str) and any(
        isinstance(each, Sweep) or _has_sweep_inside(each) for each in inner
    )  # fmt: skip


def check_keys(
    overrides: list[str],
    search_folder: str | None = None,
    settings: type = Config,
    groups: tuple[str, ...] = GROUPS,
) -> None:
    """Raises ConfigError for a key, or an option of a group, that does not exist."""
    keys = describe(settings)
    sections = {key[:dot] for key in keys for dot in [i for i, c in enumerate(key) if c == "."]}
    for override in parse(overrides):
        name = override.key_or_group
        if name == "hydra" or name.startswith(("hydra.", "hydra/")):
            continue
        if override.is_delete():
            raise ConfigError("an override", "key=value", override.input_line, "every setting has a value")
        if name in groups and not isinstance(override.value(), dict):
            _check_option(override, search_folder)
            continue
        for key in _keys(name, override.value()):
            if key not in keys and key not in sections:
                near = nearest(key, [*keys, *groups])
                raise ConfigError(key, "a known setting", _value(override), near or "see --help")
        if name in sections and not isinstance(override.value(), dict):
            inside = ", ".join(key for key in keys if key.startswith(f"{name}."))
            raise ConfigError(name, "given key by key", _value(override), inside)


def _value(override: Override) -> str:
    """What stands behind the equals sign."""
    return str(override.input_line).partition("=")[2]


def _check_option(override: Override, search_folder: str | None) -> None:
    folders = [CONF] + ([Path(search_folder)] if search_folder else [])
    options = sorted({f.stem for folder in folders for f in (folder / override.key_or_group).glob("*.yaml")})
    if override.is_interval_sweep():
        raise ConfigError(override.key_or_group, "one of " + ", ".join(options), _value(override))
    values = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
    for value in values:
        name = value.text if isinstance(value, QuotedString) else value
        if name is None or str(name) not in options:
            raise ConfigError(override.key_or_group, "one of " + ", ".join(options), name, nearest(str(name), options))


def _one_line(error: Exception, overrides: list[str], settings: type = Config) -> ConfigError:
    """A Hydra or OmegaConf error as key, rule, value."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    key = getattr(cause, "full_key", None)
    if isinstance(cause, ValidationError) and key in describe(settings):
        values = {o.key_or_group: _value(o) for o in parse(overrides)}
        layers = [k for k, s in describe(settings).items() if s["same_as"] == key and "layer" in str(s["rule"])]
        remedy = f"a list, one value a layer, goes to {' or '.join(layers)}" if layers else ""
        return wrong_type(key, describe(settings)[key], values.get(key, "another type in a YAML file"), remedy)
    text = _first_line(cause or error)
    if misplaced := re.search(r"In '(experiment/[^']+)': .*Key 'experiment' not in", text):
        return ConfigError("experiment", "a preset whose first line is '# @package _global_'", f"{misplaced[1]}.yaml")
    return ConfigError("the configuration", "one that Hydra can compose", text)


def wrong_type(key: str, spec: dict[str, Any], value: str, remedy: str = "") -> ConfigError:
    kind = TYPES[str(getattr(spec["type"], "__name__", spec["type"]))]
    return ConfigError(key, f"{kind}, {spec['rule']}" if spec["rule"] else kind, value, remedy)


def _first_line(error: Any) -> str:
    text = str(error).strip().split("\n    full_key")[0].split("See https://hydra.cc")[0]
    return re.sub(r"\s+", " ", text).strip()[:300]
