"""Settings that had other names: records are read under the present ones, and users are told of them."""

from collections.abc import Mapping, MutableMapping
from typing import Any

from gan.errors import ConfigError

RENAMED = {"train.batch_norm": "train.update_rule"}  # former key: present key
FIRST_NAMES = {new: old for old, new in RENAMED.items()}


def refuse_renamed(key: str, value: Any, place: str = "") -> None:
    """Refuse the former name of a setting.

    Args:
        key: dotted, of a command line or a preset.
        value: what the user gives it.
        place: where it stands, as in "in experiment/mine.yaml"; empty for the command line.

    Raises:
        ConfigError: with the present name, where the key is a former one.
    """
    if key in RENAMED:
        raise ConfigError(key, f"written {RENAMED[key]}", value, place)


def with_present_keys(values: Mapping[str, Any], prefixes: tuple[str, ...] = ("",)) -> dict[str, Any]:
    """Return recorded values by their present keys.

    Args:
        values: by dotted key, as an earlier version recorded them.
        prefixes: what may stand before the key of a setting.

    Returns:
        The same values in the same order.
    """
    present = {prefix + old: prefix + new for prefix in prefixes for old, new in RENAMED.items()}
    return {present.get(key, key): value for key, value in values.items()}


def rename_sections(config: Any) -> None:
    """Give the settings of a run's config.yaml, in mappings as the file has them, their present names."""
    for old, new in RENAMED.items():
        section, _, name = old.rpartition(".")
        values = config.get(section) if isinstance(config, Mapping) else None
        if isinstance(values, MutableMapping) and name in values:
            values[new.removeprefix(f"{section}.")] = values.pop(name)
