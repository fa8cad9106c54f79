"""Whether equal seeds give equal runs here, and whether a run that was killed and resumed is the same run.

    python benchmarks/exact.py [steps=200] [settings=train.update_rule=tutorial]

Three runs of `experiments/run.py` on the built-in drawings: two in peace, one that is killed with kill -9 after its
first checkpoint and resumed. It prints in how many arrays the last checkpoints differ.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from arguments import arguments
from rich.console import Console
from rich.table import Table

from experiments.records.folders import Records, RunFolder

PROGRAM = Path(__file__).resolve().parents[1] / "experiments" / "run.py"


def start(*given: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(PROGRAM), *given], stdout=subprocess.DEVNULL)


def finish(*given: str) -> float:
    """Return how many seconds the program took."""
    begin = time.perf_counter()
    assert start(*given).wait() == 0, given
    return time.perf_counter() - begin


def differing(a: RunFolder, b: RunFolder) -> str:
    first, second = (folder.checkpoints.latest().arrays for folder in (a, b))
    unlike = [name for name in first if not np.array_equal(first[name], second[name])]
    return f"{len(unlike)} of {len(first)}"


def main(steps: int, settings: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records = Records(Path(folder))
        common = ["data=embedded", f"records.root={folder}", f"train.steps={steps}", *settings.split()]
        common += [f"train.checkpoint_every_steps={steps // 4}", f"eval.every_steps={steps}"]
        seconds = [finish(*common, f"name={name}") for name in ("first", "second")]
        killed = start(*common, "name=killed")
        runs = {name: records.runs / name for name in ("first", "second", "killed")}
        while not list(runs["killed"].glob("checkpoints/step_*.npz")):
            assert killed.poll() is None
            time.sleep(0.02)
        killed.kill()
        killed.wait()
        finish("resume=killed", f"records.root={folder}")
        folders = {name: RunFolder(path) for name, path in runs.items()}
        table = Table(settings, "")
        table.add_row("arrays that differ between two runs of one seed", differing(folders["first"], folders["second"]))
        table.add_row("and after kill -9 and a resume", differing(folders["first"], folders["killed"]))
        table.add_row("seconds of the first run, and of the second", f"{seconds[0]:.1f}, {seconds[1]:.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main(**arguments(steps=200, settings="train.update_rule=tutorial"))
