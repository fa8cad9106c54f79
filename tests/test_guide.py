"""Every command that the docs show is one that the programs take; those of the guide are run, in their order."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, RunProgram, noise_images
from PIL import Image

from experiments import runs
from experiments.cli.arguments import parse_arguments
from experiments.cli.compose import GROUPS, compose_config, preset_of
from experiments.cli.overrides import expand_sweep, quote_texts
from experiments.compare import Comparison
from experiments.evaluate import Evaluation
from experiments.generate import Generation
from experiments.records.differences import differences, run_name
from experiments.settings.rules import text_keys
from experiments.settings.schema import Config
from sweeps.spec.plan import MAP_PRESET
from sweeps.spec.read_plan import read_plan

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
SMALL = ["data=embedded", "eval.every_steps=2", "eval.num_images=20", "eval.final_num_images=20"]
EXTRA = {  # what makes a command of the guide a short one
    "experiments/run.py": [*SMALL, "train.steps=6"],
    "sweeps/optuna_search.py": [
        *SMALL,
        "search.trials=2",
        "search.steps=6",
        "search.min_steps=2",
        "search.confirm.seeds=0",
    ],
    "sweeps/grid.py": [*SMALL, "search.steps=6"],
    "experiments/evaluate.py": ["num_images=20"],
    "experiments/compare.py": [],
    "experiments/runs.py": [],
    "experiments/generate.py": [],
}


def commands(page: Path) -> list[list[str]]:
    """Indented lines that call a program of this project, without comments; continued lines as one."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    lines = [line.strip() for line in text.splitlines() if line.startswith("    python ")]
    commands = [shlex.split(line, comments=True)[1:] for line in lines]
    return [words for words in commands if words[0].startswith(("experiments/", "sweeps/", "benchmarks/", "docs/"))]


def accepted(program: str, arguments: list[str]) -> None:
    """Raises ConfigError for what the program would refuse."""
    if program == "experiments/run.py":
        overrides = [a for a in arguments if a not in ("-m", "--multirun")]
        overrides = quote_texts(overrides, text_keys(Config), GROUPS, "-m" in arguments)
        for job in expand_sweep(overrides) if "-m" in arguments else [overrides]:
            compose_config(job)
    elif program == "sweeps/optuna_search.py":
        read_plan(arguments)
    elif program == "sweeps/grid.py":
        read_plan([MAP_PRESET, *arguments])
    elif program == "experiments/runs.py":
        of_command, _, rest = runs.parse(arguments)
        parse_arguments(of_command, rest)
    else:
        settings = {"compare": Comparison, "evaluate": Evaluation, "generate": Generation}.get(Path(program).stem)
        if settings is not None:
            parse_arguments(settings, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_such_that_the_programs_take_them(page: Path) -> None:
    for program, *arguments in commands(page):
        assert (ROOT / program).is_file(), program
        if not any("..." in argument for argument in arguments):  # an outline
            accepted(program, arguments)


def test_there_are_commands_and_wrong_ones_are_found(tmp_path: Path) -> None:
    assert sum(len(commands(page)) for page in PAGES) > 40
    page = tmp_path / "page.md"
    page.write_text("text\n\n    python experiments/run.py \\\n        model.bn_momentun=0.8   # typed wrong\n")
    (command,) = commands(page)
    assert command == ["experiments/run.py", "model.bn_momentun=0.8"]
    with pytest.raises(ValueError, match="bn_momentum"):
        accepted(command[0], command[1:])


def test_the_guide_from_beginning_to_end(program: RunProgram, tmp_path: Path) -> None:
    make_run = ["experiments/run.py", "experiment=quick"]  # with which the guide begins
    boats = tmp_path / "Pictures" / "boats"
    boats.mkdir(parents=True)
    for number, pixels in enumerate(noise_images(40)):
        Image.fromarray(pixels).save(boats / f"{number}.png")
    for script, *words in [make_run, *commands(ROOT / "docs" / "guide.md")]:
        arguments = [word.replace("~/Pictures/boats", str(boats)) for word in words]
        names_data = any(word.startswith("data=") for word in arguments)
        extra = [word for word in EXTRA[script] if not (names_data and word.startswith("data="))]
        command = [*arguments, *extra, f"records.root={tmp_path / 'records'}"]
        if script == "experiments/run.py" and not any(word.startswith(("-m", "name=")) for word in arguments):
            quoted = quote_texts(arguments, text_keys(Config), GROUPS)
            name = run_name(preset_of(quoted), differences(quoted))  # as without the extras
            again = "" if not (tmp_path / "records" / "runs" / name).exists() else "-2"
            command.append(f"name={name}{again}")
        done = program(*command, script=script, cwd=tmp_path)
        assert done.returncode == 0, f"{script} {arguments}\n{done.stdout}{done.stderr}"
    assert {file.name for file in tmp_path.glob("*.*")} >= {"winner.png", "banner.png", "walk.gif", "samples.npz"}
    pages = [*(tmp_path / "records").glob("comparisons/*/compare.html")]
    assert len(pages) == 2
