"""Disks that are full, read-only or gone."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, RunProgram, Started

from experiments.records import journal
from experiments.records.folders import Records, RunFolder

SETTINGS = [
    "train.batch_size=4",
    "train.log_every_steps=2",
    "train.checkpoint_every_steps=2",
    "eval.every_steps=100000",
    "eval.num_images=20",
    "eval.final_num_images=20",
]


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("to mount a small file system takes root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_keeps_the_last_checkpoint_and_says_so(
    program: RunProgram, npz: Path, tmp_path: Path, mlflow_database: Path
) -> None:
    with small_disk(tmp_path / "disk", 45) as root:  # a checkpoint is 17 MB
        shutil.copy(mlflow_database, root)  # or the run waits long for a database that cannot be made
        common = [f"records.root={root}", "data=npz", f"data.path={npz}", "name=run", *SETTINGS]
        done = program(*common, "train.steps=40", "train.keep_checkpoints=9")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: records cannot be written ([Errno 28] No space left on device")
        folder = RunFolder(Records(root).runs / "run")
        last = folder.checkpoints.latest()  # intact, and the one that the line names
        assert f"the last checkpoint is {folder.checkpoints.files()[-1]}" in done.stderr
        assert last.step >= 2
        assert not list(folder.path.rglob("*.tmp"))
        # With room again the same run resumes.
        (folder.path / "checkpoints" / "step_00000002.npz").unlink(missing_ok=last.step > 2)
        subprocess.run(["mount", "-o", "remount,size=400m", str(root)], check=True)
        again = program(
            "resume=run", f"records.root={root}", f"train.steps={last.step + 2}", "train.keep_checkpoints=1"
        )
        assert again.returncode == 0, again.stderr
        assert folder.checkpoints.latest().step == last.step + 2
        assert journal.last_status(folder.journal) == "FINISHED"


def test_a_read_only_disk_is_said_before_anything_else(program: RunProgram, npz: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 5) as root:
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        common = [f"records.root={root}/records", "data=npz", f"data.path={npz}"]
        for script in ("experiments/run.py", "sweeps/optuna_search.py"):
            done = program(*common, script=script)
            assert done.returncode == 2, script
            assert done.stderr.count("\n") == 1
            assert "records.root must be a folder that can be written" in done.stderr
            assert "Read-only file system" in done.stderr


@pytest.mark.usefixtures("forks")
def test_vanished_records_end_the_run_with_a_line(npz: Path, tmp_path: Path) -> None:
    root = tmp_path / "records"
    settings = [f"records.root={root}", "data=npz", f"data.path={npz}", "name=run", *SETTINGS, "train.steps=100000"]
    run = Started(ROOT / "experiments/run.py", *settings)
    folder = RunFolder(Records(root).runs / "run")
    run.wait_for(lambda: bool(folder.checkpoints.files()))
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)
    _, err = run.end(60)
    assert run.returncode == 1
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: records cannot be written (")
    assert not folder.path.exists()
