"""The pages that can go stale: what is generated is up to date, what is named exists."""

import re
import runpy
import tomllib
from pathlib import Path
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
ARCHITECT = runpy.run_path(str(DOCS / "make_architecture.py"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
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


# Folders of the checkout; the records and what commands write are not in it.
TOP = ("gan/", "experiments/", "sweeps/", "tests/", "docs/", "conf/", "benchmarks/", ".github/")


def missing(page: Path) -> list[str]:
    """Paths of this checkout and links that a page names, and that lead nowhere; Git's {a,b} and a(b, c) are none."""
    text = page.read_text(encoding="utf-8")
    paths = [word for word in re.findall(r"`([^`\s]+)`", text) if word.startswith(TOP) and "*" not in word]
    links = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text)
    lost = [path for path in paths if not (ROOT / path).exists()]
    for target, anchor in links:
        file = page.parent / target if target else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            lost.append(f"{target}#{anchor}" if anchor else target)
    return lost


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_links_exist(page: Path) -> None:
    assert missing(page) == []


def test_a_path_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `key.of_it`: here\n`gan/models.py`, `gan/step.py`, [none](none.md#there), [a](#a-keyof_it-here), [b](page.md#b)"
    )
    assert missing(page) == ["gan/step.py", "none.md#there", "page.md#b"]
    assert len(re.findall(r"`(?:gan|experiments|sweeps|tests)/", ARCHITECTURE.read_text(encoding="utf-8"))) > 30


def test_every_lever_that_is_searched_has_its_paragraph() -> None:
    text = (DOCS / "levers.md").read_text(encoding="utf-8")
    space = yaml.safe_load((ROOT / "conf" / "search" / "levers.yaml").read_text())["space"]
    named = {key for key in describe(Config) if f"`{key}" in text or f" {key}=" in text}
    tutorials = {"train.label_noise", "train.label_noise_side", "model.bn_momentum", "model.leaky_relu_alpha"}
    assert space.keys() - named <= tutorials


def test_the_diagrams_of_the_architecture_are_what_the_imports_say() -> None:
    diagrams: dict[Path, str] = ARCHITECT["render"]()
    assert len(diagrams) == 2
    for file, text in diagrams.items():
        assert file.read_text(encoding="utf-8") == text, f"{file} is out of date; draw it anew: {ARCHITECT['COMMAND']}"


@pytest.mark.parametrize("name", ["architecture_house.svg", "architecture_data.svg"])
def test_diagrams_can_be_read(name: str) -> None:
    text = (DOCS / "images" / name).read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", text)]
    assert sizes and min(sizes) >= 13


def test_the_house_shows_every_module() -> None:
    root = ElementTree.fromstring(ARCHITECT["house"]())
    lines = [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text") if e.get("class") == "modules"]
    shown = [module for line in lines for module in line.split(", ")]
    files = [f for folder in ("gan", "experiments", "sweeps") for f in (ROOT / folder).rglob("*.py")]
    modules = [file.stem for file in files if file.name != "__init__.py"]
    assert sorted(shown) == sorted([*modules, "weights"])  # a package in a package: one name


def test_a_module_that_is_gone_is_not_drawn() -> None:
    with pytest.raises(SystemExit, match=r"gan/gone\.py is in the diagram of the data flow, and not in the tree"):
        ARCHITECT["_row"]([("gone", "gan.gone")], 0)


def test_the_workflow_tests_each_python_that_is_supported() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    (job,) = workflow["jobs"].values()
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert pyproject["project"]["requires-python"] == ">=3.11,<3.14"
    assert any(step.get("run", "").startswith("make test") for step in job["steps"])
    assert {"push", "pull_request", "schedule"} <= set(workflow[True])  # YAML 1.1 reads `on` as true


def test_the_hook_of_each_commit_is_make_lint() -> None:
    hooks = [h for r in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"] for h in r["hooks"]]
    assert [(hook["entry"], hook["language"], hook["pass_filenames"]) for hook in hooks] == [
        ("make lint", "system", False)
    ]


def test_the_release_in_the_changes_is_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    releases = re.findall(r"^## (\d\S+) \(\d{4}-\d\d-\d\d\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == version


def test_the_page_of_faults_lists_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "mutants"))
    import faults_experiments
    import faults_gan
    import faults_sweeps

    faults = [*faults_gan.FAULTS, *faults_experiments.FAULTS, *faults_sweeps.FAULTS]
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+)` \| `(.+)` \| (.+) \| `(.+)` in `(.+)` \|$", page, re.MULTILINE)
    assert [row[:3] for row in rows] == [(fault.name, fault.file, fault.what) for fault in faults]
    for *_, test, file in rows:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), test
