"""Ctrl-C and SIGTERM, at whatever the run is just doing."""

import re
import signal
import time
from pathlib import Path

import pytest
from conftest import NARROW, ROOT, RunProgram, Started

from experiments.records import journal
from experiments.records.folders import Records, RunFolder

pytestmark = pytest.mark.usefixtures("forks")

LONG = ["train.steps=100000", "train.batch_size=8", "train.log_every_steps=10", "eval.every_steps=100000", *NARROW]
WITHIN = 10.0  # seconds from the signal to the end


def start(root: Path, npz: Path, *arguments: str) -> Started:
    settings = [f"records.root={root}", "data=npz", f"data.path={npz}", "name=run", *LONG, *arguments]
    return Started(ROOT / "experiments/run.py", *settings)


def reached(folder: RunFolder, step: int) -> bool:
    return folder.journal.exists() and (journal.curve(folder.journal, "train/d_loss")[0] or [0])[-1] >= step


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "updates"),
        pytest.param(signal.SIGTERM, "updates", marks=pytest.mark.slow),
        (signal.SIGTERM, "start"),
        (signal.SIGHUP, "updates"),  # the terminal is closed, or the connection lost
    ],
)
def test_a_signal_saves_and_says_how_to_go_on(number: signal.Signals, moment: str, npz: Path, tmp_path: Path) -> None:
    folder = RunFolder(Records(tmp_path / "r").runs / "run")
    run = start(tmp_path / "r", npz)
    # At the start it compiles.
    run.wait_for(folder.journal.exists if moment == "start" else lambda: reached(folder, 20))
    run.process.send_signal(number)
    begin = time.monotonic()
    out, err = run.end(60)
    seconds = time.monotonic() - begin
    assert run.returncode == 128 + number, err
    assert err == ""
    assert "resume=run" in out
    assert seconds < (WITHIN if moment == "updates" else 2 * WITHIN)  # the rest of the start comes first
    assert journal.last_status(folder.journal) == "KILLED"
    last = folder.checkpoints.latest().step
    assert last >= (20 if moment == "updates" else 1)


def test_a_second_one_leaves_at_once(npz: Path, tmp_path: Path) -> None:
    folder = RunFolder(Records(tmp_path / "r").runs / "run")
    run = start(tmp_path / "r", npz, "train.steps=20", "eval.num_images=200000")
    run.wait_for(lambda: reached(folder, 20))  # now it scores, for long
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.7)  # else it would be the same one, from the terminal and from a parent
    run.process.send_signal(signal.SIGINT)
    out, err = run.end(20)  # the score would take longer
    assert re.search(r"^next     python .*run\.py resume=run", out, re.MULTILINE)
    assert run.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert "Traceback" not in err


def test_one_that_comes_when_all_is_trained_leaves_the_rest_to_a_resume(
    npz: Path, tmp_path: Path, program: RunProgram
) -> None:
    """Scoring and the last samples are still to be made."""
    folder = RunFolder(Records(tmp_path / "r").runs / "run")
    run = start(tmp_path / "r", npz, "train.steps=20", "eval.num_images=20", "eval.final_num_images=20")
    run.wait_for(lambda: reached(folder, 20))
    run.process.send_signal(signal.SIGINT)
    out, err = run.end(60)
    assert run.returncode == 130, out + err
    assert "at step 20 of 20" in out
    assert journal.last_status(folder.journal) == "KILLED"
    done = program("resume=run", f"records.root={tmp_path / 'r'}")
    assert done.returncode == 0, done.stderr
    assert journal.curve(folder.journal, "final/fid_proxy")[0] == [20]
    assert folder.generator.exists()
    assert journal.last_status(folder.journal) == "FINISHED"
