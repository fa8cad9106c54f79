"""The benchmarks that the docs quote still run; what they measure is not a test's business."""

import subprocess
import sys

import pytest
from conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"


def run(*arguments: str, stdin: str = "") -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=BENCHMARKS, input=stdin, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_our_contestant_makes_updates_on_demand() -> None:
    lines = run("contestant.py", "ours", "update_rule=batch", "batch_size=4", "threads=1", stdin="2\n1\n\n").split()
    assert lines[0] == "ready"
    two, one, memory = map(float, lines[1:])
    assert one > 0 < two
    assert 100 < memory < 1500  # MB; a run of this size has no right to more


@pytest.mark.slow
def test_results_and_profile() -> None:
    table = run("same_results.py", "updates=10")
    assert "tutorial: ours" in table
    profile = run("profile_update.py", "update_rule=batch")
    assert "convolutions, to the kernels" in profile


def test_multiply_adds_are_those_of_the_layers() -> None:
    """53 million for an image of G and 10.6 million for a logit of D, counted from the networks as they are built."""
    code = """
from step_speed import DISCRIMINATOR, GENERATOR
from gan.layers import UpsampleConv2D
from gan.models import build_discriminator, build_generator
import math
for build, expected in ((build_generator, GENERATOR), (build_discriminator, DISCRIMINATOR + 6400)):
    count = 0
    for layer in build().layers:
        if hasattr(layer, "kernel"):
            pixels = math.prod(layer.compute_output_shape(layer.input.shape)[1:-1])
            taps = 4 if isinstance(layer, UpsampleConv2D) else math.prod(layer.kernel.shape[:-2])
            count += pixels * taps * math.prod(layer.kernel.shape[-2:])
    assert count == expected, (count, expected)
"""
    run("-c", code)


ARGUMENTS = "from arguments import arguments; print(arguments(path=str, steps=2500, seeds=(0, 1)))"


def test_arguments_have_the_types_of_their_defaults() -> None:
    assert run("-c", ARGUMENTS, "path=a=b", "seeds=3,4,5") == "{'path': 'a=b', 'steps': 2500, 'seeds': (3, 4, 5)}\n"


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ("stesp=3", "error: an argument must be one of path, steps, seeds, as key=value; got 'stesp=3' (did you mean 'steps'?)"),
        ("steps", "error: an argument must be one of path, steps, seeds, as key=value; got 'steps' (did you mean 'steps'?)"),
        ("steps=many", "error: steps must be a whole number; got 'many'"),
        ("seeds=0,x", "error: seeds must be whole numbers, as in 1,2,3; got '0,x'"),
        ("path=", "error: path must be given; got ''"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_argument_ends_in_one_line(mistake: str, line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ARGUMENTS, "path=x", mistake], cwd=BENCHMARKS, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (1, f"{line}\n")


def test_the_page_of_options_has_the_table_of_their_results() -> None:
    code = """
import lever_scores
rows = lever_scores.Rows(lever_scores.ROOT / "docs/results/levers.csv").rows
for of in ("ship", "horse"):
    print(lever_scores.options_table(rows, of, 2500, "tutorial"))
"""
    page = (ROOT / "docs" / "levers.md").read_text(encoding="utf-8")
    lines = [line for line in run("-c", code).splitlines() if line]
    assert len(lines) > 30 and lines[0].startswith("| option | seeds |")
    assert [line for line in lines if line not in page] == []
