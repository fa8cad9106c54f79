"""Runs killed with kill -9, resumed, and killed again come to the same end, to the bit."""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import NARROW, ROOT, SOAK, THOROUGH, Started, chaos_seed
from mlflow import MlflowClient

from experiments.records import journal
from experiments.records.folders import Records, RunFolder
from experiments.tracking.delivery import in_mlflow
from gan import metric_names

pytestmark = pytest.mark.usefixtures("forks")

STEPS = 40 if THOROUGH else 20
KILLS = 3 if THOROUGH else 2
SETTINGS = [
    f"train.steps={STEPS}", "train.batch_size=8", "train.log_every_steps=4", "train.grid_every_steps=8",
    "train.checkpoint_every_steps=5", "train.steps_per_call=3", "eval.every_steps=2", "eval.num_images=50", "eval.final_num_images=50",
    *([] if SOAK else NARROW),
]  # fmt: skip
COMBINATIONS = [("tutorial", "mixed_bfloat16", "fixed")]
if SOAK:  # then every pair of two settings is among them
    COMBINATIONS += [
        ("tutorial", "float32", "fresh"),
        ("batch", "mixed_bfloat16", "fresh"),
        ("batch", "float32", "fixed"),
    ]


def start(*arguments: str) -> Started:
    return Started(ROOT / "experiments/run.py", *arguments)


def half_written(folder: RunFolder) -> bool:
    """Whether a checkpoint is being written just now."""
    try:
        return any(name.endswith(".tmp") for name in os.listdir(folder.path / "checkpoints"))
    except FileNotFoundError:
        return False


def kill_when(run: Started, condition: Callable[[], bool]) -> bool:
    """Kill it at that moment; False if it ended before."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the moment did not come"
        if run.returncode is not None:
            return False
        time.sleep(0.001)
    run.process.kill()
    run.end()
    return True


def moments(folder: RunFolder, rng: random.Random) -> list[Callable[[], bool]]:
    """While a checkpoint is written; some records later; at whatever time."""
    lines, until = journal_lines(folder) + rng.randint(1, 6), time.monotonic() + rng.uniform(1, 6)
    return [lambda: half_written(folder), lambda: journal_lines(folder) >= lines, lambda: time.monotonic() > until]


@pytest.mark.parametrize(("update_rule", "precision", "noise"), COMBINATIONS)
def test_killed_runs_come_to_the_same_end(
    update_rule: str, precision: str, noise: str, npz: Path, tmp_path: Path
) -> None:
    rng = random.Random(chaos_seed())
    records = Records(tmp_path / "records")
    common = [f"records.root={records.root}", "data=npz", f"data.path={npz}", "train.threads=2"]
    settings = [*SETTINGS, f"train.update_rule={update_rule}", f"train.precision={precision}"]
    settings += [f"train.label_noise_mode={noise}"]
    straight, killed = (RunFolder(records.runs / name) for name in ("straight", "killed"))
    process = start(*common, *settings, "name=straight")
    assert process.process.wait(300) == 0, process.end()

    process = start(*common, *settings, "name=killed")
    kills = 0
    for attempt in range(10 * KILLS):
        if kill_when(process, moments(killed, rng)[attempt % 3]):
            kills += 1
        else:  # it came to its end before
            kills = 0
            shutil.rmtree(killed.path)
        if not killed.config.is_file():  # or killed before it was a run
            process = start(*common, *settings, "name=killed")
        else:
            process = start("resume=killed", common[0])
        if kills == KILLS:
            break
    else:
        pytest.fail("each time it came to its end before it could be killed")
    assert process.process.wait(300) == 0, process.end()

    a, b = straight.checkpoints.latest(), killed.checkpoints.latest()
    assert a.step == b.step == STEPS
    assert a.meta == b.meta
    assert a.arrays.keys() == b.arrays.keys()
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name], err_msg=name)
    keys = journal_keys(straight)
    assert {metric_names.D_LOSS, metric_names.FID_PROXY, metric_names.FINAL_FID_PROXY} <= keys == journal_keys(killed)
    client = MlflowClient(f"sqlite:///{records.database}")
    for key in keys - {metric_names.STEPS_PER_SECOND}:
        expected = journal.curve(straight.journal, key)
        assert journal.curve(killed.journal, key) == expected, key
        for folder in (straight, killed):  # and MLflow has each point once
            history = client.get_metric_history(folder.mlflow_run_ids()[-1], key)
            points = [(step, in_mlflow(key, value)) for step, value in zip(*expected, strict=True)]
            assert [(point.step, point.value) for point in history] == points, key
    samples = [file.name for file in sorted(straight.samples.iterdir())]
    assert samples == [file.name for file in sorted(killed.samples.iterdir())]
    for name in samples:
        assert (straight.samples / name).read_bytes() == (killed.samples / name).read_bytes(), name
    run = client.get_run(killed.mlflow_run_ids()[-1])
    assert run.info.status == "FINISHED"
    assert len(client.search_runs([run.info.experiment_id])) == 2


def journal_lines(folder: RunFolder) -> int:
    return folder.journal.read_bytes().count(b"\n") if folder.journal.exists() else 0


def journal_keys(folder: RunFolder) -> set[str]:
    return set(journal.curves(folder.journal))
