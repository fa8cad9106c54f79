"""The pages that can go stale: what is generated is up to date, what is named exists."""

import re
import runpy
from xml.etree import ElementTree

import pytest
import yaml
from conftest import ROOT

from experiments.settings.rules import describe
from experiments.settings.schema import Config
from sweeps.spec.schema import Settings

DOCS = ROOT / "docs"
ARCHITECTURE = DOCS / "architecture.md"
MAKER = runpy.run_path(str(DOCS / "make_configuration.py"))
PAGE: str = MAKER["render"]()


def cells(row: str) -> list[str]:
    """Of a table's row; `\\|` is a character of a cell."""
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_the_page_of_settings_is_what_the_dataclasses_say() -> None:
    committed = MAKER["PAGE"].read_text(encoding="utf-8")
    assert committed == PAGE, f"docs/configuration.md is out of date; write it anew: {MAKER['COMMAND']}"


@pytest.mark.parametrize("settings", [Config, Settings])
def test_every_key_has_one_row(settings: type) -> None:
    rows = [cells(line) for line in PAGE.splitlines() if line.startswith("| `")]
    assert {len(row) for row in rows} == {5}
    names = [row[0] for row in rows]
    for key, spec in describe(settings).items():
        assert names.count(f"`{key}`") == 1, key
        assert spec["doc"] and spec["doc"] in rows[names.index(f"`{key}`")][3], key


def test_a_bar_in_a_text_does_not_end_its_cell() -> None:
    spec = {"type": int, "default": 1, "doc": "a | b", "rule": None, "same_as": ""}
    row = MAKER["_table"]("train", {"train.steps": spec}).splitlines()[-1]
    assert cells(row) == ["`train.steps`", "1", "an integer", "a | b", ""]


def test_paths_in_the_architecture_exist() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    paths = [word for word in re.findall(r"`([^`\s]+)`", text) if "/" in word]
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_every_lever_that_is_searched_has_its_paragraph() -> None:
    text = (DOCS / "levers.md").read_text(encoding="utf-8")
    space = yaml.safe_load((ROOT / "conf" / "search" / "levers.yaml").read_text())["space"]
    named = {key for key in describe(Config) if f"`{key}" in text or f" {key}=" in text}
    tutorials = {"train.label_noise", "train.label_noise_side", "model.bn_momentum", "model.leaky_relu_alpha"}
    assert space.keys() - named <= tutorials


@pytest.mark.parametrize("name", ["architecture_house.svg", "architecture_data.svg"])
def test_pictures_can_be_read_and_name_modules_that_exist(name: str) -> None:
    root = ElementTree.parse(DOCS / "images" / name).getroot()
    text = " ".join(root.itertext())
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", text)]
    assert sizes and min(sizes) >= 13
    files = [file for package in ("gan", "experiments", "sweeps") for file in (ROOT / package).glob("*")]
    assert set(re.findall(r"\w+\.py", text)) <= {file.name for file in files}
    listed = [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text") if e.get("class") == "modules"]
    assert {module for line in listed for module in line.split(", ")} <= {file.stem for file in files}
