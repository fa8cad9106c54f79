"""Ctrl-C and SIGTERM, at whatever the run is just doing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from experiments.records import journal
from experiments.records.folders import Records, RunFolder

LONG = ["train.steps=100000", "train.batch_size=8", "eval.every_steps=100000"]
WITHIN = 10.0  # seconds from the signal to the end


def start(root: Path, npz: Path, *arguments: str) -> "subprocess.Popen[str]":
    settings = [f"records.root={root}", "data=npz", f"data.path={npz}", "name=run", *LONG, *arguments]
    command = [sys.executable, str(ROOT / "experiments/run.py"), *settings]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(folder: RunFolder, step: int) -> None:
    deadline = time.monotonic() + 120
    while not (folder.journal.exists() and (journal.curve(folder.journal, "train/d_loss")[0] or [0])[-1] >= step):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGINT, "updates"), (signal.SIGTERM, "updates"), (signal.SIGTERM, "start")]
)
def test_a_signal_saves_and_says_how_to_go_on(number: signal.Signals, moment: str, npz: Path, tmp_path: Path) -> None:
    folder = RunFolder(Records(tmp_path / "r").runs / "run")
    process = start(tmp_path / "r", npz)
    if moment == "updates":
        wait_for_step(folder, 50)
    else:  # while TensorFlow is imported, or compiles
        deadline = time.monotonic() + 60
        while not folder.journal.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    process.send_signal(number)
    begin = time.monotonic()
    out, err = process.communicate(timeout=60)
    seconds = time.monotonic() - begin
    assert process.returncode == 128 + number, err
    assert err == ""
    assert "resume=run" in out
    assert seconds < (WITHIN if moment == "updates" else 2 * WITHIN)  # the rest of the start comes first
    assert journal.last_status(folder.journal) == "KILLED"
    last = folder.checkpoints.latest().step
    assert last >= (50 if moment == "updates" else 1)


@pytest.mark.slow
def test_a_second_one_leaves_at_once(npz: Path, tmp_path: Path) -> None:
    folder = RunFolder(Records(tmp_path / "r").runs / "run")
    process = start(tmp_path / "r", npz, "train.steps=100", "eval.num_images=20000")
    wait_for_step(folder, 100)  # now it scores, for long
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 2
    assert "resume with" in out and "resume=run" in out
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert "Traceback" not in err


@pytest.mark.slow
def test_one_that_comes_when_all_is_trained_leaves_the_rest_to_a_resume(npz: Path, tmp_path: Path) -> None:
    """Scoring and the last samples are still to be made."""
    folder = RunFolder(Records(tmp_path / "r").runs / "run")
    process = start(tmp_path / "r", npz, "train.steps=60", "eval.num_images=20", "eval.final_num_images=20")
    wait_for_step(folder, 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "at step 60 of 60" in out
    assert journal.last_status(folder.journal) == "KILLED"
    command = [sys.executable, str(ROOT / "experiments/run.py"), "resume=run", f"records.root={tmp_path / 'r'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert journal.curve(folder.journal, "final/fid_proxy")[0] == [60]
    assert folder.generator.exists()
    assert journal.last_status(folder.journal) == "FINISHED"
