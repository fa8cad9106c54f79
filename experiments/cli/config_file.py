"""A run's config.yaml: its settings as text, in OmegaConf's YAML."""

import dataclasses
import re
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.settings.renamed import rename_sections
from experiments.settings.schema import Config
from gan.errors import first_line


def to_yaml(config: Config) -> str:
    """Return settings as `from_yaml` reads them."""
    return OmegaConf.to_yaml(OmegaConf.create(_literal_in(dataclasses.asdict(config))))


def from_yaml(text: str) -> Config:
    """Return the settings of a config.yaml, of an earlier version too.

    Raises:
        ValueError: if there are none, or some that cannot be. It is ConfigError where one breaks a rule.
    """
    try:
        node = OmegaConf.create(text)
        if not node:
            raise ValueError("config.yaml is empty")
        rename_sections(node)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), node))
    except (KeyError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ValueError(first_line(error)) from error
    assert isinstance(config, Config)
    return config


def literal(text: str) -> str:
    """Return a text that OmegaConf reads as this one, ${...} in it included."""
    return re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", text)


def _literal_in(value: Any) -> Any:
    """Return nested settings with `literal` texts."""
    if isinstance(value, dict):
        return {key: _literal_in(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_literal_in(each) for each in value]
    return literal(value) if isinstance(value, str) else value
