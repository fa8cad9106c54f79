"""Files of presets, mainly the user's: their content, and the place of a mistake."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.overrides import nearest_key, parse
from experiments.settings.renamed import refuse_renamed
from experiments.settings.rules import describe, sections_of
from gan.errors import ConfigError

GLOBAL = "# @package _global_"  # the first line of a preset whose keys are those of the command line
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OF_HYDRA = ("defaults",)  # keys that are none of ours
SELF = "_self_"  # in a list of defaults, the file itself


def read(file: str, folders: list[Path]) -> Any:
    """Return the content of a preset, by section, as a command line would name its keys; None if it cannot be read.

    Args:
        file: its group and name, as in experiment/mine.yaml.
        folders: where it may be, in order.
    """
    path = next((folder / file for folder in folders if (folder / file).is_file()), None)
    if path is None:
        return None
    try:
        content = OmegaConf.to_container(OmegaConf.create(OmegaConf.load(path)), resolve=False)
        is_global = path.read_text(encoding="utf-8").startswith(GLOBAL)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException):
        return None
    return content if is_global else {file.partition("/")[0]: content}


def chosen(overrides: list[str], groups: tuple[str, ...]) -> list[str]:
    """Return the files of the presets that overrides choose, the last first, as its values go before the others.

    Args:
        overrides: arguments `key=value`.
        groups: folders of presets.
    """
    named = [o for o in parse(overrides) if o.key_or_group in groups and isinstance(o.value(), str)]
    return [f"{override.key_or_group}/{override.value()}.yaml" for override in reversed(named)]


def lineage(file: str, folders: list[Path]) -> list[Any]:
    """Return the content of a preset and of those that it builds on, each before those that override it.

    Args:
        file: its group and name, as in experiment/mine.yaml; Hydra could compose it, so it is in no circle.
        folders: where it and the others may be, in order.
    """
    content, group = read(file, folders), file.partition("/")[0]
    entries = content.get("defaults") or [] if isinstance(content, dict) else []
    bases = [entry for entry in entries if isinstance(entry, str)]
    contents = []
    for base in bases if SELF in bases else [*bases, SELF]:
        place = base.removeprefix("/") if base.startswith("/") else f"{group}/{base}"
        contents += [content] if base == SELF else lineage(f"{place}.yaml", folders)
    return contents


def has(content: Any, key: str) -> bool:
    """Return whether a preset gives a value to a key."""
    for name in key.split("."):
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return True


def value_of(content: Any, key: str) -> Any:
    """Return the value that a preset gives to a key."""
    for name in key.split("."):
        content = content[name]
    return content


def wrong_key(content: Any, file: str, settings: type) -> ConfigError | None:
    """Find the first mistake in the keys of a preset: one that is no setting, or a section without keys.

    Args:
        content: of the preset, as `read` returns it.
        file: its group and name, as in experiment/mine.yaml.
        settings: the dataclass of the settings.

    Returns:
        The mistake as an error, not raised; None if there is none.

    Raises:
        ConfigError: for a key that was renamed.
    """
    if not isinstance(content, dict):
        return ConfigError(file.partition("/")[0], "a preset of keys with their values", content, f"in {file}")
    keys = describe(settings)
    sections = sections_of(keys)
    for key, value in _leaves(content, sections):
        refuse_renamed(key, value, f"in {file}")
        if key in sections:
            inside = next(name for name in keys if name.startswith(f"{key}."))
            return ConfigError(key, "given key by key", value, f"in {file}; for example {inside}")
        if key not in keys and key not in OF_HYDRA:
            near = nearest_key(key, keys)
            return ConfigError(key, "a known setting", value, f"in {file}" + (f"; {near}" if near else ""))
    return None


def _leaves(content: dict[Any, Any], sections: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys with their values, in order; a section without keys is yielded itself."""
    for name, value in content.items():
        key = f"{prefix}{name}"
        if key in sections and isinstance(value, dict):
            yield from _leaves(value, sections, f"{key}.")
        else:
            yield key, value
