"""From a command line to a checked `Config`, with one clear line for every mistake."""

import re
import shutil
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException
from omegaconf import AnyNode, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException, ValidationError

from experiments.cli import presets
from experiments.cli.environment import CONF, check_checkout
from experiments.cli.overrides import nearest_key, parse, plain_line, quote, value_text
from experiments.hardware.precision import fastest_precision
from experiments.settings.renamed import refuse_renamed
from experiments.settings.rules import NONE, NULL, ClassId, check, describe, get, sections_of, text_keys
from experiments.settings.schema import AUTO, FOLLOWS, Config
from gan.errors import ConfigError, nearest

Settings = TypeVar("Settings")

PRECISION = "train.precision"
VERSION_BASE = "1.3"  # of Hydra, whose behaviour is kept
GROUPS = ("data", "experiment")
VERBOSE = "hydra.verbose"
OF_HYDRA = (VERBOSE, "hydra.sweep.dir", "hydra.mode")  # settings of Hydra's own that may be given
HELP_WIDTH = 120  # where there is no terminal
TYPES = {
    "int": "an integer",
    "int | None": "an integer",
    "float": "a number",
    "float | None": "a number",
    "str": "a word",
    "bool": "true or false",
    "str | None": "text",
    "int | str": "an integer or a word",
    "bool | str": "a word",
    "dict": "keys with their texts",
    "list": "a list of texts",
}

OmegaConf.register_new_resolver("settings_help", lambda: settings_help(), replace=True)


def store_schema(name: str, settings: type) -> None:
    """Let Hydra know the types of settings.

    Texts and names of classes are left as they are: OmegaConf would make '2026.1' of the number 2026.10 in a YAML file,
    where `check` asks for quotation marks.
    """
    schema = OmegaConf.structured(settings)
    classes = [key for key, spec in describe(settings).items() if isinstance(spec["rule"], ClassId)]
    for key in text_keys(settings) + classes:
        owner, _, last = key.rpartition(".")
        section = OmegaConf.select(schema, owner) if owner else schema
        section._content[last] = AnyNode(section[last], key=last, parent=section)
    ConfigStore.instance().store(name=name, node=schema)


store_schema("schema", Config)


@dataclass(frozen=True)
class Composed:
    """The configuration that a command line of run.py makes."""

    config: Config
    # Completed: a shared key reaches every layer that the command line does not name, auto is said.
    overrides: list[str]
    node: DictConfig  # the configuration as Hydra has it, with Hydra's own part


def compose(overrides: list[str], search_folder: str | None = None) -> Composed:
    """Compose the configuration of a run.

    A preset may set values layer by layer. A shared key that overrides it, of the command line or of a preset that builds
    on it, has to mean every layer all the same: `experiment=tutorial model.bn_momentum=0.9`.

    Args:
        overrides: arguments `key=value`.
        search_folder: a folder of the user's own YAML files, looked at first.

    Raises:
        ConfigError: for a mistake in the overrides or in a preset.
    """
    check_keys(overrides, search_folder)
    for override in parse(overrides):
        if override.is_sweep_override():
            remedy = "--multirun trains a run for each of several values"
            raise ConfigError(override.key_or_group, "one value", value_text(override), remedy)
    try:
        node = _compose(overrides, search_folder)
        for file in presets.chosen(overrides, GROUPS):
            if presets.has(content := presets.read(file, _folders(search_folder)), "hydra"):
                raise ConfigError("hydra", "absent in a preset", content["hydra"], f"in {file}")
        shadowed = _shadowed(named_keys(overrides), preset_of(overrides), search_folder)
        cleared = [key for key in shadowed if OmegaConf.select(node, key) is not None]
        for key in cleared:
            OmegaConf.update(node, key, None)
        completed = [f"{key}=null" for key in cleared]
        if OmegaConf.select(node, PRECISION) == AUTO:
            OmegaConf.update(node, PRECISION, fastest_precision())
            completed.append(f"{PRECISION}={node.train.precision}")
        with open_dict(node):
            hydra_part = node.pop("hydra")
        config = to_config(node)
        refuse_none(config)
    except ConfigError as error:
        raise _placed(error, overrides, search_folder) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise _one_line(error, overrides, search_folder) from error
    hydra_part.overrides.task.extend(completed)
    with open_dict(node):
        node["hydra"] = hydra_part
    return Composed(config, overrides + completed, node)


def _shadowed(named: set[str], preset: str | None, search_folder: str | None) -> list[str]:
    """Return the keys whose shared key overrides them: one a layer in a preset, one for all on the command line, say.

    Args:
        named: keys of the command line.
        preset: of experiment=, or None.
        search_folder: a folder of the user's presets, or None.
    """
    contents = presets.lineage(f"experiment/{preset}.yaml", _folders(search_folder)) if preset is not None else []

    def place(key: str) -> int:
        """Return how late a key is given; -1 if it is not."""
        given = [k for k, content in enumerate(contents) if presets.has(content, key)]
        return len(contents) if key in named else max(given, default=-1)

    return [key for key, shared in FOLLOWS.items() if place(shared) > place(key)]


def compose_config(overrides: list[str], search_folder: str | None = None) -> Config:
    """Return the configuration that `overrides` make, as `compose` does."""
    return compose(overrides, search_folder).config


def compose_settings(
    name: str, settings: type[Settings], groups: tuple[str, ...], overrides: list[str], search_folder: str | None
) -> Settings:
    """Compose the settings of another program than run.py: conf/<name>.yaml with overrides.

    Args:
        name: of the file in conf/, without .yaml.
        settings: the dataclass of the settings, which `store_schema` stored.
        groups: folders of presets that overrides may choose from.
        overrides: arguments `key=value`.
        search_folder: a folder of the user's presets, searched first; None for conf/ alone.

    Returns:
        An instance of `settings`, checked.

    Raises:
        ConfigError: if a key does not exist, or a value breaks its rule.
    """
    check_keys(overrides, search_folder, settings, groups)
    try:
        node = _compose(overrides, search_folder, name)
        with open_dict(node):
            del node["hydra"]
        result = OmegaConf.to_object(node)
    except (HydraException, OmegaConfBaseException) as error:
        raise _one_line(error, overrides, search_folder, settings) from error
    assert isinstance(result, settings)
    try:
        check(result)
        refuse_none(result)
    except ConfigError as error:
        raise _placed(error, overrides, search_folder, groups, settings) from error
    return result


def refuse_none(settings: object) -> None:
    """Raise ConfigError for a text that is the word None where the setting may be absent: name=None."""
    for key in text_keys(type(settings)):
        spec, value = describe(type(settings))[key], get(settings, key)
        if spec["default"] is None and value is not None and value.lower() in (NONE, "null"):
            raise ConfigError(key, str(spec["rule"] or "text"), value, NULL)


def flags(config_dir: str | None) -> list[str]:
    """Return the flags of run.py for presets from a folder of the user's; none for None."""
    return [] if config_dir is None else ["--config-dir", config_dir]


def settings_help(settings: type = Config, values: object | None = None, without: Collection[str] = ()) -> str:
    """Return the text of --help, as wide as the terminal: keys with their defaults, meanings and ranges.

    Args:
        settings: the dataclass.
        values: an instance of it whose values are shown in place of the defaults.
        without: keys that are left out.
    """
    lines, width = [], shutil.get_terminal_size((HELP_WIDTH, 24)).columns
    for key, spec in describe(settings).items():
        if key in without:
            continue
        default = f"as {spec['same_as']}" if spec["same_as"] else spec["default"]
        if values is not None:
            default = get(values, key)
        rule = f"; {spec['rule']}" if spec["rule"] else ""
        shown = "none" if default is None else str(default).lower() if isinstance(default, bool) else default
        lines.append(f"{key}={shown}")
        lines += textwrap.wrap(f"{spec['doc']}{rule}", width, initial_indent="    ", subsequent_indent="    ",
                               break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return "\n".join(lines)


def named_keys(overrides: list[str]) -> set[str]:
    """Return the keys that overrides name, those inside of model={bn_momentum:0.9} too."""
    return {key for override in parse(overrides) for key in _keys(override.key_or_group, override.value())}


def preset_of(overrides: list[str]) -> str | None:
    """Return the preset that overrides name by experiment=, if they do."""
    chosen = [override for override in parse(overrides) if override.key_or_group == "experiment"]
    return str(chosen[-1].value()) if chosen else None


def _keys(key: str, value: Any) -> Iterator[str]:
    """Yield the keys that an override names: several for model={bn_momentum:0.9,dropout:0.3}."""
    yield key
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _keys(f"{key}.{name}", inner)


def _compose(overrides: list[str], search_folder: str | None, name: str = "config") -> DictConfig:
    """Compose a configuration with Hydra's own part. Raises ConfigError, and Hydra's and OmegaConf's errors."""
    check_checkout()
    extra = [f"hydra.searchpath=[{quote(f'file://{Path(search_folder).resolve()}')}]"] if search_folder else []
    with hydra.initialize_config_dir(str(CONF), job_name="run", version_base=VERSION_BASE):
        try:
            return hydra.compose(name, overrides + extra, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, ConfigError):
            raise
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError, OSError) as error:
            if search_folder is None:  # whatever Hydra raises on a user's own files
                raise
            files = [
                file
                for file in presets.chosen(overrides, (*GROUPS, "search"))
                if (Path(search_folder) / file).is_file()
            ]
            remedy = ": ".join([*files[:1], plain_line(error)])
            raise ConfigError("--config-dir", "a folder of presets in YAML", search_folder, remedy) from error


def to_config(node: DictConfig) -> Config:
    """Return the checked dataclass of a composed configuration."""
    config = OmegaConf.to_object(node)
    assert isinstance(config, Config)
    return config


def check_keys(
    overrides: list[str],
    search_folder: str | None = None,
    settings: type = Config,
    groups: tuple[str, ...] = GROUPS,
) -> None:
    """Check that the keys of overrides, and the presets that they choose, exist.

    Args:
        overrides: arguments `key=value`.
        search_folder: a folder of the user's presets; None for conf/ alone.
        settings: the dataclass of the settings.
        groups: folders of presets that overrides may choose from.

    Raises:
        ConfigError: for the first key or preset that does not exist, and for a section without keys.
    """
    keys = describe(settings)
    sections = sections_of(keys)
    for override in parse(overrides):
        name = override.key_or_group
        if name == "hydra" or name.startswith(("hydra.", "hydra/")):
            _check_hydra(override)
            continue
        if override.is_delete():
            raise ConfigError("an override", "key=value", override.input_line, "every setting has a value")
        if settings is Config and name.partition(".")[0] == "search":
            remedy = f"of a search: python sweeps/optuna_search.py {override.input_line}"
            raise ConfigError(name, "a setting of a run", value_text(override), remedy)
        if name in groups and not isinstance(override.value(), dict):
            _check_option(override, search_folder)
            continue
        for key in _keys(name, override.value()):
            refuse_renamed(key, value_text(override))
            if key not in keys and key not in sections:
                near = nearest_key(key, [*keys, *groups])
                raise ConfigError(key, "a known setting", value_text(override), near or "see --help")
        if name in sections and not isinstance(override.value(), dict):
            inside = ", ".join(key for key in keys if key.startswith(f"{name}."))
            raise ConfigError(name, "given key by key", value_text(override), inside)


def _check_hydra(override: Override) -> None:
    """Raise ConfigError for a setting of Hydra's own that would do nothing, or move records and logs."""
    name, value = override.key_or_group, override.value()
    if name not in OF_HYDRA:
        remedy = f"records.root= and name= say where a run is; of Hydra's there are {', '.join(OF_HYDRA)}"
        raise ConfigError(name, "absent", value_text(override), remedy)
    names = value if isinstance(value, list) else [value]
    if name == VERBOSE and not (isinstance(value, bool) or all(isinstance(each, str | QuotedString) for each in names)):
        raise ConfigError(name, "true, false or names of loggers", value_text(override))


def _check_option(override: Override, search_folder: str | None) -> None:
    folders = [CONF] + ([Path(search_folder)] if search_folder else [])
    options = sorted({f.stem for folder in folders for f in (folder / override.key_or_group).glob("*.yaml")})
    if override.is_interval_sweep():
        raise ConfigError(override.key_or_group, "one of " + ", ".join(options), value_text(override))
    values = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
    for value in values:
        name = value.text if isinstance(value, QuotedString) else value
        if name is None or str(name) not in options:
            remedy = nearest(str(name), options)
            if name is None and "defaults" in options:
                remedy = "defaults is without a preset"
            raise ConfigError(override.key_or_group, "one of " + ", ".join(options), name, remedy)


def _folders(search_folder: str | None) -> list[Path]:
    """Return the folders in which presets may be, in the order in which they are searched."""
    return [Path(search_folder), CONF] if search_folder else [CONF]


def _placed(
    error: ConfigError,
    overrides: list[str],
    folder: str | None,
    groups: tuple[str, ...] = GROUPS,
    settings: type = Config,
) -> ConfigError:
    """Return the error with the file of its value added, if that is a preset and not the command line."""
    named = named_keys(overrides)
    if error.key in named or error.key not in describe(settings):
        return error
    for file in presets.chosen(overrides, groups):
        if presets.has(presets.read(file, _folders(folder)), error.key):
            remedy = f"in {file}" + (f"; {error.remedy}" if error.remedy else "")
            return ConfigError(error.key, error.rule, error.value, remedy)
    return error


def _one_line(error: Exception, overrides: list[str], folder: str | None, settings: type = Config) -> ConfigError:
    """Return a Hydra or OmegaConf error as key, rule and value; folder: of the user's presets."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__ or cause.__context__
    file = re.match(r"In '([^']+)'", str(error))  # where a value of another type stands, if not on the command line
    preset = f"{file[1]}.yaml" if file else ""
    place = f"in {preset}" if preset else ""
    content = presets.read(preset, _folders(folder)) if preset else None
    key = getattr(cause, "full_key", None)
    if isinstance(cause, ValidationError) and key in describe(settings):
        values = {o.key_or_group: value_text(o) for o in parse(overrides)}
        layers = [k for k, s in describe(settings).items() if s["same_as"] == key and "layer" in str(s["rule"])]
        remedy = f"a list, one value a layer, goes to {' or '.join(layers)}" if layers else place
        value = values.get(key, "another type in a YAML file")
        if presets.has(content, key):
            preset_value = presets.value_of(content, key)
            value = "null" if preset_value is None else str(preset_value)
        return wrong_type(key, describe(settings)[key], value, remedy)
    text = plain_line(cause or error)
    if preset and "Key 'experiment' not in" in text:
        marked = folder is not None and (Path(folder) / preset).read_bytes().startswith(presets.BYTE_ORDER_MARK)
        rule = "saved without a byte order mark" if marked else f"a preset whose first line is '{presets.GLOBAL}'"
        return ConfigError("experiment", rule, preset)
    if content is not None and (mistake := presets.wrong_key(content, preset, settings)):
        return mistake
    return ConfigError("the configuration", "one that Hydra can compose", text, place)


def wrong_type(key: str, spec: dict[str, Any], value: str, remedy: str = "") -> ConfigError:
    """Return the error for a value of another type than its setting's.

    Args:
        key: the setting.
        spec: what `describe` returns for the key.
        value: the value, as it was typed.
        remedy: what helps; by default the word null, where the value is the word None and the setting may be absent.
    """
    kind = TYPES[str(getattr(spec["type"], "__name__", spec["type"]))]
    if not remedy and spec["default"] is None and value.lower() == NONE:
        remedy = NULL
    if not remedy and kind == TYPES["list"] and re.fullmatch(r"[\w:,. -]+", value):
        remedy = f"{key}=[{value}]"
    return ConfigError(key, f"{kind}, {spec['rule']}" if spec["rule"] else kind, value, remedy)
