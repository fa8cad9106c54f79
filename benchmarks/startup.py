"""Seconds from the command to what a user waits for; medians of five, caches warm.

python benchmarks/startup.py
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

PROGRAMS = Path(__file__).parents[1] / "experiments"
REPETITIONS = 5


def seconds(program: str, arguments: list[str], line: str | None) -> float:
    """Until a line of the output begins so, or until the end."""
    start = time.perf_counter()
    command = [sys.executable, str(PROGRAMS / program), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    found = None
    for text in process.stdout:
        if found is None and line is not None and text.startswith(line):
            found = time.perf_counter() - start
    process.wait()
    if line is None:
        return time.perf_counter() - start
    assert found is not None, f"{arguments} never printed {line}"
    return found


def seconds_between_runs(arguments: list[str]) -> float:
    """Return the seconds from the end of a multirun's first run to the first update of its second."""
    command = [sys.executable, str(PROGRAMS / "run.py"), "-m", "seed=0,1", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    end = between = None
    for text in process.stdout:
        if "#1 : " in text:  # Hydra's line about the second
            end = time.perf_counter()
        elif between is None and end is not None and text.startswith("step 1/"):
            between = time.perf_counter() - end
    process.wait()
    assert between is not None
    return between


def main() -> None:
    table = Table("from the command to", "seconds")
    with tempfile.TemporaryDirectory() as folder:
        short = ["data=embedded", f"records.root={folder}", "train.log_every_steps=1", "train.steps=1"]
        seconds("run.py", short, None)  # makes the database and the caches
        samples = [f"records.root={folder}", f"out={folder}/samples.png", "overwrite=true"]
        for what, program, arguments, line in (
            ("the first update done", "run.py", short, "step 1/"),
            ("--help", "run.py", ["--help"], None),
            ("--cfg job", "run.py", ["--cfg", "job"], None),
            ("a mistake's one line", "run.py", ["model.bn_momentun=0.9"], None),
            ("64 samples from a checkpoint", "generate.py", samples, "image"),
        ):
            taken = [seconds(program, arguments, line) for _ in range(REPETITIONS)]
            table.add_row(f"{what} ({program})", f"{median(taken):.1f}")
        taken = [seconds_between_runs(short) for _ in range(REPETITIONS)]
        table.add_row("the second run's first update, from the end of the first (run.py -m)", f"{median(taken):.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
