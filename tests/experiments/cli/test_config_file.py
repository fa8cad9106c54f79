"""A run's config.yaml holds its settings to the letter."""

import pytest

from experiments.cli.config_file import from_yaml, to_yaml
from experiments.settings.schema import Config
from gan.errors import ConfigError

TEXTS = (
    "costs ${seed}", "${oc.env:HOME}/x", "pays ${much}", r"a\${x}", r"a\\${x}", "$HOME ${", "1e3", "08", "null", "yes",
    "two  spaces", "end\\", "größe 船", "a: b # c",
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    config = Config(note=text)
    config.data.path = f"/pictures/{text}"
    config.data.class_id = text
    read = from_yaml(to_yaml(config))
    assert read == config


def test_numbers_and_lists_are_read_as_they_were_written() -> None:
    config = Config()
    config.optim.learning_rate = 2e-4
    config.model.bn_momentum_generator = [0.78, 0.82]
    assert from_yaml(to_yaml(config)) == config


@pytest.mark.parametrize("text", ["", "a: [", "train: {steps: many}", "train: {unknown: 1}", "note: ${x}"])
def test_other_than_settings_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        from_yaml(text)


def test_a_value_that_breaks_a_rule_names_its_key() -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size"):
        from_yaml("train: {batch_size: 1}")
